"""Inspection: the numbers mean what they say, and what cannot be used is warned of."""

import dataclasses

import matplotlib.image
import numpy as np
import pytest

from smae_jax.asymmetry import opposite, relative_asymmetry
from smae_jax.evaluation.inspection import inspect_scan, symmetry_chi_square
from smae_jax.figures import save
from smae_jax.figures.inspection import inspection_figure
from smae_jax.geometry import Center, turn
from smae_jax.io.reading import masked, read, read_mask
from smae_jax.measurements import Measurements, Origin
from smae_jax.simulate import simulate
from smae_jax.survey import settle


def as_scan(simulation, valid=None, center=None):
    valid = simulation.valid if valid is None else valid
    counts = np.where(valid, simulation.counts, 0).astype(np.float32)
    shares = {"detector": 0.0, "user": float(1 - valid.mean())}
    origin = Origin(dtype=str(simulation.counts.dtype), masked_by=shares)
    exposure = np.atleast_3d(valid.T).T.astype(np.float32)
    names = tuple(f"frame{n}.tif" for n in range(len(counts)))
    center = Center.given(simulation.center if center is None else center)
    return Measurements(counts, exposure, center, names=names, origin=origin)


def inspected(**arguments):
    scan = as_scan(simulate(**arguments))
    return inspect_scan(settle(scan, center="auto"))


@pytest.mark.parametrize("photons", [0.02, 0.5, 30.0])
def test_chi_square_of_symmetric_poisson_counts_is_one(photons):
    simulation = simulate(
        "saxs", frames=60, size=(80, 97), photons=photons, center_offset=(2.5, -4.0)
    )
    value = symmetry_chi_square(simulation.counts, simulation.valid, simulation.center)
    pairs = 60 * simulation.valid.sum() / 2 * min(1, photons)
    assert abs(value - 1) < 5 * np.sqrt(2 / pairs)


def test_chi_square_equals_the_sum_over_pairs():
    rng = np.random.default_rng(1)
    counts, valid = rng.poisson(1.5, (2, 6, 9)), rng.random((6, 9)) > 0.2
    center = (2.5, 5.0)
    terms = []
    for frame in counts:
        for y, x in np.ndindex(6, 9):
            row, column = 5 - y, 10 - x
            if not (0 <= row < 6 and 0 <= column < 9) or (row, column) <= (y, x):
                continue
            a, b = int(frame[y, x]), int(frame[row, column])
            if valid[y, x] and valid[row, column] and a + b > 0:
                terms.append((a - b) ** 2 / (a + b))
    assert symmetry_chi_square(counts, valid, center) == pytest.approx(np.mean(terms))


def test_chi_square_takes_unsigned_counts():
    counts = np.array([[0, 3]], np.uint16)
    assert symmetry_chi_square(counts, np.ones((1, 2), bool), (0.0, 0.5)) == 3.0


def test_chi_square_without_pairs_is_nan():
    counts = np.ones((4, 4))
    assert np.isnan(symmetry_chi_square(counts, np.zeros((4, 4), bool), (1.5, 1.5)))


def test_sum_over_the_scan_shows_an_asymmetry_that_frames_hide():
    simulation = simulate("waxd", frames=64, photons=0.3, asymmetry=0.15)
    inspection = inspect_scan(as_scan(simulation))
    assert inspection.chi_square < 1.05
    assert inspection.chi_square_sum > 1.3


@pytest.mark.parametrize("amplitude", [0.05, 0.2])
def test_relative_asymmetry_is_the_one_put_in(amplitude):
    simulation = simulate("flat", frames=64, size=96, photons=20, asymmetry=amplitude)
    own, partner, both = opposite(
        simulation.counts.sum(axis=0), simulation.valid, simulation.center
    )
    found = relative_asymmetry(own, partner, both)
    # A sine has the rms amplitude / sqrt(2) over the circle.
    assert found.relative == pytest.approx(amplitude / np.sqrt(2), rel=0.05)
    assert found.sigmas > 20


@pytest.mark.parametrize("fault", [{"readout_noise": 4.0}, {"flat_field_error": 0.1}, {}])
def test_noise_of_any_kind_is_no_asymmetry(fault):
    simulation = simulate("waxd", frames=32, photons=20, seed=8, **fault)
    inspection = inspect_scan(as_scan(simulation))
    assert inspection.symmetric
    assert inspection.asymmetry.sigmas < 5
    assert (inspection.chi_square_sum > 1.5) == bool(fault)
    assert any("note" in line for line in inspection.lines()) == bool(fault)
    assert not inspection.warnings()


@pytest.mark.parametrize("kind", ["saxs", "waxd"])
def test_symmetric_scans_pass_without_a_warning(kind):
    inspection = inspected(kind=kind, frames=32, center_offset=(3.5, 1.0))
    assert inspection.symmetric
    assert inspection.warnings() == []
    assert inspection.verdict() == "symmetric"


def test_pattern_without_the_symmetry_is_warned_of():
    for photons in (0.1, 1.0, 20.0):
        inspection = inspected(kind="gisaxs", frames=32, photons=photons)
        assert not inspection.symmetric
        assert any("WARNING" in line and "does not hold" in line for line in inspection.lines())


def test_wrong_centre_is_warned_of():
    scan = as_scan(simulate("saxs", frames=64))
    assert inspect_scan(settle(scan, center=(63.5, 63.5))).symmetric
    wrong = inspect_scan(settle(scan, center=(66.5, 63.5)))
    assert not wrong.symmetric
    assert "centre" in wrong.warnings()[0]


def test_visible_beamstop_arm_is_told_from_an_asymmetry():
    simulation = simulate("waxd", frames=32, photons=10)
    gaps = simulate("flat", frames=1, beamstop=False).valid
    inspection = inspect_scan(as_scan(simulation, gaps))
    assert inspection.symmetric
    assert 0.005 < inspection.shadows < 0.1
    assert any("mask them" in line for line in inspection.warnings())


def test_scan_without_contrast_gives_a_guessed_centre():
    inspection = inspected(kind="flat", frames=8, size=64)
    assert any("guess" in line for line in inspection.warnings())


def test_scan_without_partners_is_warned_of():
    simulation = simulate("saxs", frames=2, size=64, beamstop=False)
    valid = np.zeros((64, 64), bool)
    valid[:, :20] = True
    inspection = inspect_scan(as_scan(simulation, valid, center=(31.5, 31.5)))
    assert not inspection.symmetric
    assert "partner" in inspection.warnings()[0]
    assert "no opposite pixels" in " ".join(inspection.lines())


def test_scan_of_zeros_is_described_without_an_error(tmp_path):
    simulation = simulate("flat", frames=2, size=32, photons=1e-9)
    center = Center((15.5, 15.5), (15.5, 15.5), 0.0)
    scan = dataclasses.replace(as_scan(simulation), center=center)
    inspection = inspect_scan(scan)
    assert inspection.zeros == 1.0
    assert len(inspection.lines()) >= 6
    save(inspection_figure(scan, inspection), tmp_path / "zeros.png")


def test_summary_states_the_facts():
    simulation = simulate("saxs", frames=6, size=(64, 80), photons=3)
    inspection = inspect_scan(as_scan(simulation))
    values = simulation.counts[:, simulation.valid]
    assert inspection.mean == pytest.approx(values.mean())
    assert inspection.median == np.median(values)
    assert inspection.maximum == values.max()
    assert inspection.zeros == pytest.approx((values == 0).mean())
    text = "\n".join(inspection.lines())
    for word in (
        "6 frames of 64 x 80",
        "uint16",
        "zeros, which are data",
        "centre: y 31.5, x 39.5",
    ):
        assert word in text
    assert all("\n" not in line for line in inspection.lines())


def test_frames_with_different_masks_use_each_pair_where_it_is_valid():
    simulation = simulate("waxd", frames=12, size=64, photons=5)
    rng = np.random.default_rng(0)
    valid = simulation.valid & (rng.random((12, 64, 64)) > 0.2)
    inspection = inspect_scan(as_scan(simulation, valid))
    assert inspection.symmetric
    assert inspection.chi_square == pytest.approx(1, abs=0.03)
    assert inspection.chi_square_sum == pytest.approx(1, abs=0.15)
    both = valid & turn(valid, simulation.center, False)
    assert inspection.pairs == both.any(axis=0).sum() // 2


@pytest.mark.parametrize("name", ["counts", "readout", "single", "gisaxs"])
def test_drawing_is_a_picture(tmp_path, name):
    arguments = {
        "counts": {"kind": "saxs", "frames": 8},
        "readout": {"kind": "waxd", "frames": 8, "readout_noise": 3.0},
        "single": {"kind": "saxs", "frames": 1, "photons": 0.01},
        "gisaxs": {"kind": "gisaxs", "frames": 4, "photons": 200.0},
    }[name]
    simulation = simulate(size=(48, 66), **arguments)
    scan = as_scan(simulation)
    path = tmp_path / "inspection.png"
    save(inspection_figure(scan, inspect_scan(scan)), path, dpi=110)
    picture = matplotlib.image.imread(path)
    assert min(picture.shape[:2]) > 800
    assert picture[..., :3].std() > 0.1


@pytest.mark.slow
def test_real_muscle_pattern_is_usable(shared_data):
    scan = read(str(shared_data / "muscle_p40_raw" / "*.tif"))
    mask = read_mask(str(shared_data / "muscle_p40_mask.npz") + "::mask", polarity="good")
    scan = masked(scan, mask)
    inspection = inspect_scan(settle(scan, center="auto"))
    assert inspection.symmetric
    assert inspection.warnings() == []
    assert 0.95 < inspection.chi_square < 1.05
    assert 0.01 < inspection.asymmetry.relative < 0.05


@pytest.mark.slow
def test_real_scan_with_its_beamstop_in_view_asks_for_a_mask(shared_data):
    scan = read(str(shared_data / "scan_mn23_raw" / "*.tif"))
    inspection = inspect_scan(settle(scan, center="auto"))
    assert inspection.symmetric
    assert len(inspection.warnings()) == 1
    assert "mask them" in inspection.warnings()[0]
