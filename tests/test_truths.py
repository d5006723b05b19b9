"""What a simulated scan says of itself is what the report's own functions find in its noise-free images."""

import h5py
import numpy as np
import pytest

from smae_jax.simulate import simulate, write_simulation

pytest.importorskip("pyFAI")
pytest.importorskip("lmfit")

from smae_jax.geometry import Center, Geometry
from smae_jax.report.azimuthal import fitted_around
from smae_jax.report.cake import Cake
from smae_jax.report.meridian import Meridian
from smae_jax.report.orientation import orientation_of
from smae_jax.report.peaks import fitted, peaks_of
from smae_jax.report.period import fitted_period, orders_of
from smae_jax.report.profiles import Profiles

FRAMES, SIZE = 3, 256


def caked(scan):
    """Sums of the noise-free images: (frames, bins, azimuths), and the axes."""
    cake = Cake(Geometry(), Center.given(scan.center), (SIZE, SIZE))
    sums = [cake(one.astype(np.float64), np.ones((SIZE, SIZE))) for one in scan.truth]
    return cake.bins, np.stack([s for s, _ in sums]), np.stack([n for _, n in sums])


@pytest.fixture(scope="module", params=["saxs", "waxd"])
def scan(request):
    return simulate(request.param, frames=FRAMES, size=SIZE, photons=50.0, seed=4)


def along_the_meridian(scan, sums, norm, bins):
    """Sums in the sector of each frame: of SAXS, where the orders stand clear of halo and streak."""
    found = []
    for frame in range(FRAMES):
        direction = Meridian().direction(sums[frame], norm[frame], bins.azimuth)
        off = direction - scan.truths["direction"][frame, 0]
        assert abs((off + 90) % 180 - 90) < 1.0
        use = Meridian().within(direction, bins.azimuth)
        found.append([a[frame][:, use].sum(axis=1) for a in (sums, norm)])
    return np.moveaxis(np.array(found), 1, 0)


def test_places_and_widths(scan):
    """Of the reflections without another beside them; the line under each bends, hence the tolerances."""
    bins, sums, norm = caked(scan)
    saxs = scan.parameters["kind"] == "saxs"
    counts, light = sums.sum(axis=2), norm.sum(axis=2)
    if saxs:
        counts, light = along_the_meridian(scan, sums, norm, bins)
    profile = Profiles(counts, light, counts)
    for k in (2, 4) if saxs else (0, 3):
        place, width = scan.truths["place"][:, k], scan.truths["width"][:, k]
        window = place.min() - 1.6 * width[0], place.max() + 1.6 * width[0]
        (peak,) = peaks_of(bins, profile, [window], shape="gaussian")
        position, broad, area = fitted(bins, profile, peak)
        np.testing.assert_allclose(position.raw, place, rtol=0.01)
        np.testing.assert_allclose(broad.raw, width, rtol=0.15)
        if not saxs:  # an area of the mean over all azimuths
            np.testing.assert_allclose(area.raw, scan.truths["area"][:, k], rtol=0.25)
    orders = orders_of(bins, profile)
    assert [one.number for one in orders] == ([1, 3, 5] if saxs else [])
    if saxs:
        first, *_ = fitted_period(bins, profile, orders)
        np.testing.assert_allclose(first.raw, scan.truths["first_order"], rtol=0.005)


def test_direction_degree_and_width_around(scan):
    bins, sums, norm = caked(scan)
    for k, frame in np.ndindex(5, FRAMES):
        near = np.argsort(np.abs(bins.values - scan.truths["place"][frame, k]))[:2]
        along, light = sums[frame, near].sum(axis=0), norm[frame, near].sum(axis=0)
        degree = orientation_of(along[None], light[None], bins.azimuth).degree[0]
        assert degree == pytest.approx(scan.truths["degree"][frame, k], rel=0.12, abs=0.01)
    if scan.parameters["kind"] == "saxs":
        return  # rings hold halo and streak as well
    middle = np.abs(bins.values - scan.truths["place"][:, 0].mean()) < 2
    along, light = sums[:, middle].sum(axis=1), norm[:, middle].sum(axis=1)
    direction, width, _ = fitted_around(Profiles(along, light, along), bins.azimuth, "ring")
    off = direction.difference(direction.raw, scan.truths["direction"][:, 0])
    assert np.abs(off).max() < 1.5
    np.testing.assert_allclose(width.raw, scan.truths["azimuthal_width"][:, 0], rtol=0.03)


def test_truths_are_written_with_their_units(scan, tmp_path):
    write_simulation(tmp_path / "scan.h5", scan)
    write_simulation(tmp_path / "scan.npz", scan)
    with h5py.File(tmp_path / "scan.h5") as nexus, np.load(tmp_path / "scan.npz") as arrays:
        for name, values in scan.truths.items():
            np.testing.assert_array_equal(nexus[f"entry/truths/{name}"], values)
            np.testing.assert_array_equal(arrays[f"truth_{name}"], values)
            assert len(values) == FRAMES
        assert nexus["entry/truths/direction"].attrs["units"] == "degrees"
        assert nexus["entry/truths/area"].attrs["units"] == "counts pixel"
    assert ("first_order" in scan.truths) == (scan.parameters["kind"] == "saxs")


def test_patterns_without_reflections_have_no_truths(tmp_path):
    flat = simulate("flat", frames=1, size=16)
    write_simulation(tmp_path / "flat.h5", flat)
    assert flat.truths == {}
    with h5py.File(tmp_path / "flat.h5") as file:
        assert "entry/truths" not in file
