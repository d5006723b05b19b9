"""Simulated scans: symmetric where they say so, repeatable, with photon noise."""

import h5py
import numpy as np
import pytest

from smae_jax.simulate import simulate, write_simulation


def turned(frames, center):
    """Turn frames by 180 degrees about a half-pixel centre; NaN where nothing comes from."""
    height, width = frames.shape[-2:]
    y, x = np.indices((height, width))
    y, x = (
        np.rint(2 * center[0] - y).astype(int),
        np.rint(2 * center[1] - x).astype(int),
    )
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return np.where(inside, frames[..., y % height, x % width], np.nan)


@pytest.mark.parametrize("kind", ["saxs", "waxd", "flat"])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (3.5, -6.0)])
def test_truth_equals_its_turn_about_the_centre(kind, offset):
    simulation = simulate(kind, frames=4, size=(48, 61), center_offset=offset, seed=3)
    assert simulation.center == (23.5 + offset[0], 30.0 + offset[1])
    partner = turned(simulation.truth, simulation.center)
    both = np.isfinite(partner)
    assert both.mean() > 0.6
    np.testing.assert_allclose(partner[both], simulation.truth[both], rtol=1e-5)


def test_saxs_is_not_its_mirror_image():
    truth = simulate("saxs", frames=4, size=64).truth
    mirrored = np.abs(truth - truth[:, :, ::-1]).mean() / truth.mean()
    assert mirrored > 0.05


def test_gisaxs_is_not_symmetric():
    truth = simulate("gisaxs", frames=1, size=64).truth
    assert np.abs(truth - turned(truth, (31.5, 31.5))).mean() / truth.mean() > 0.5


def test_asymmetry_has_the_amplitude_asked_for():
    truth = simulate("flat", frames=1, size=65, asymmetry=0.2).truth[0].astype(np.float64)
    partner = turned(truth, (32.0, 32.0))
    contrast = (truth - partner) / (truth + partner)
    assert np.max(contrast) == pytest.approx(0.2, rel=0.01)
    assert np.min(contrast) == pytest.approx(-0.2, rel=0.01)


def test_one_seed_gives_the_same_data_and_another_gives_other_data():
    first, again, other = (simulate("saxs", frames=3, size=32, seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(first.counts, again.counts)
    np.testing.assert_array_equal(first.truth, again.truth)
    assert (first.counts != other.counts).any()


@pytest.mark.parametrize("photons", [0.3, 20.0])
def test_counts_are_poisson_about_the_truth(photons):
    simulation = simulate("waxd", frames=16, size=64, photons=photons, seed=2)
    valid = simulation.valid
    truth = simulation.truth[:, valid].astype(np.float64)
    assert truth.mean() == pytest.approx(photons, rel=1e-4)
    counts = simulation.counts[:, valid].astype(np.float64)
    pull = (counts - truth) / np.sqrt(truth)
    assert abs(pull.mean()) < 5 / np.sqrt(pull.size)
    # The variance of a squared Poisson pull is 2 + 1 / mean.
    assert abs((pull**2).mean() - 1) < 5 * np.sqrt(np.mean(2 + 1 / truth) / pull.size)
    assert not simulation.counts[:, ~valid].any()


def test_flux_only_scales_the_truth():
    low, high = (simulate("saxs", frames=2, size=32, photons=p).truth for p in (1.0, 20.0))
    np.testing.assert_allclose(high, 20 * low, rtol=1e-5)


def test_saxs_spans_the_range_of_a_real_pattern():
    simulation = simulate("saxs", frames=4)
    frames = simulation.truth[:, simulation.valid]
    ratio = frames.max(axis=1) / frames.min(axis=1)
    assert (ratio > 80).all()
    assert (ratio < 1000).all()


def test_patterns_drift_smoothly_over_the_raster():
    simulation = simulate("saxs", frames=64, size=32)
    grid = simulation.truth.reshape(8, 8, 32, 32)
    step = np.abs(np.diff(grid, axis=1)).mean()
    across = np.abs(grid[:, 0] - grid[:, -1]).mean()
    assert 0 < step < 0.5 * across


def test_most_masked_pixels_have_a_partner():
    for kind in ("saxs", "waxd"):
        simulation = simulate(kind, frames=1, size=(128, 140))
        valid = simulation.valid
        filled = ~valid & valid[::-1, ::-1]
        assert 0.02 < 1 - valid.mean() < 0.15
        assert filled.sum() > 0.5 * (~valid).sum()
        assert (~valid & ~valid[::-1, ::-1]).any()  # the beamstop hides its own partner


def test_mask_switches_off():
    bare = simulate("flat", frames=1, size=64, gaps=False, beamstop=False)
    assert bare.valid.all()
    gaps = simulate("flat", frames=1, size=64, beamstop=False).valid
    stop = simulate("flat", frames=1, size=64, gaps=False, arm=False).valid
    arm = simulate("flat", frames=1, size=64, gaps=False).valid
    assert gaps[32, 32]
    assert not stop[32, 32]
    assert arm.sum() < stop.sum() < gaps.size


def test_flat_field_error_is_the_same_in_every_frame():
    simulation = simulate(
        "flat", frames=200, size=32, photons=500, flat_field_error=0.1, gaps=False, beamstop=False
    )
    sensitivity = simulation.counts.mean(axis=0) / simulation.truth.mean(axis=0)
    assert np.std(sensitivity) == pytest.approx(0.1, rel=0.1)
    assert np.std(simulation.truth) == 0


def test_readout_noise_makes_counts_float_of_that_rms():
    simulation = simulate("flat", frames=20, size=32, photons=4, readout_noise=3.0)
    assert simulation.counts.dtype == np.float32
    variance = simulation.counts[:, simulation.valid].var()
    assert variance == pytest.approx(4 + 9, rel=0.05)


def test_counts_above_sixteen_bits_are_not_cut():
    simulation = simulate("flat", frames=1, size=32, photons=70000)
    assert simulation.counts.dtype == np.int32
    assert simulation.counts.max() > 65535


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "sax"}, "kind"),
        ({"frames": 0}, "frames"),
        ({"size": (128, 8)}, "size"),
        ({"photons": 0}, "photons"),
        ({"asymmetry": 1.0}, "asymmetry"),
        ({"flat_field_error": -0.1}, "flat_field_error"),
        ({"readout_noise": -1}, "readout_noise"),
        ({"center_offset": (100, 0)}, "center_offset"),
        ({"raster_shape": (3, 3)}, "raster_shape"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(change, named):
    arguments = {"kind": "saxs", "frames": 4, "size": 64} | change
    with pytest.raises(ValueError, match=named):
        simulate(arguments.pop("kind"), **arguments)


def test_hdf5_holds_what_was_simulated(tmp_path):
    simulation = simulate("saxs", frames=6, size=(32, 40), raster_shape=(2, 3))
    path = tmp_path / "scan.h5"
    write_simulation(path, simulation)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["entry/data/data"], simulation.counts)
        np.testing.assert_array_equal(file["entry/truth"], simulation.truth)
        np.testing.assert_array_equal(file["entry/mask"][()] == 0, simulation.valid)
        np.testing.assert_array_equal(file["entry/center"], simulation.center)
        assert "nonzero = bad" in file["entry/mask"].attrs["convention"]
        default = file[file.attrs["default"]]
        assert default[default.attrs["default"]].attrs["signal"] == "data"
        assert file["entry/process/frames/orientation_rad"].shape == (6,)


def test_npz_holds_what_was_simulated(tmp_path):
    simulation = simulate("waxd", frames=2, size=32)
    path = tmp_path / "scan.npz"
    write_simulation(path, simulation)
    with np.load(path) as file:
        np.testing.assert_array_equal(file["counts"], simulation.counts)
        np.testing.assert_array_equal(file["mask"] == 0, simulation.valid)
        np.testing.assert_array_equal(file["truth"], simulation.truth)
        np.testing.assert_array_equal(file["center"], simulation.center)


def test_existing_file_is_kept_unless_told(tmp_path):
    simulation = simulate("flat", frames=1, size=32)
    path = tmp_path / "scan.h5"
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"scan\.h5"):
        write_simulation(path, simulation)
    assert path.read_bytes() == b"mine"
    write_simulation(path, simulation, overwrite=True)
    assert h5py.is_hdf5(path)


def test_other_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.h5"):
        write_simulation(tmp_path / "scan.csv", simulate("flat", frames=1, size=32))


def test_a_glass_is_symmetric_and_carries_geometry_and_shells(tmp_path):
    pytest.importorskip("xraylib")
    simulation = simulate("glass", frames=3, size=(48, 61), center_offset=(2.5, -4.0), seed=3)
    partner = turned(simulation.truth, simulation.center)
    both = np.isfinite(partner)
    np.testing.assert_allclose(partner[both], simulation.truth[both], rtol=1e-5)
    write_simulation(tmp_path / "glass.h5", simulation)
    with h5py.File(tmp_path / "glass.h5") as file:
        first = file["entry/process/frames/shell_1_angstrom"][()]
        detector, beam = file["entry/instrument/detector"], file["entry/instrument/beam"]
        distance, pixel = detector["distance"][()], detector["x_pixel_size"][()]
        wavelength = beam["incident_wavelength"][()]
        assert beam["incident_wavelength"].attrs["units"] == "angstrom"
    assert ((first >= 2.76) & (first <= 2.84)).all()
    # On the largest circle in the frame q is 15 1/angstrom.
    angle = np.arctan(24 * pixel / distance)
    assert 4 * np.pi / wavelength * np.sin(angle / 2) == pytest.approx(15)
