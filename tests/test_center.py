"""The centre: found where it is known, on simulated and on real frames."""

import numpy as np
import pytest
import tifffile

from smae_jax.center import find_center, turn, turn_correlation
from smae_jax.simulate import simulate


@pytest.mark.parametrize("kind", ["saxs", "waxd"])
@pytest.mark.parametrize(
    ("size", "offset"),
    [((96, 96), (0.0, 0.0)), ((97, 110), (0.5, -3.0)), ((120, 101), (-12.5, 9.0))],
)
def test_simulated_centre_is_found_exactly(kind, size, offset):
    scan = simulate(kind, frames=16, size=size, center_offset=offset, seed=4)
    found = find_center(scan.counts.sum(axis=0), scan.valid)
    assert found.half_pixel == scan.center
    np.testing.assert_allclose(found.subpixel, scan.center, atol=0.25)
    assert 0.5 < found.correlation < 1


def test_large_offset_is_found():
    scan = simulate("saxs", frames=16, size=128, center_offset=(30.0, -22.5), seed=1)
    found = find_center(scan.counts.sum(axis=0), scan.valid)
    assert found.half_pixel == scan.center


def test_centre_between_half_pixels_is_estimated():
    scan = simulate("saxs", frames=64, size=128, photons=20, center_offset=(2.2, -1.3), seed=1)
    found = find_center(scan.counts.sum(axis=0), scan.valid)
    np.testing.assert_allclose(found.subpixel, scan.center, atol=0.1)
    assert np.abs(np.subtract(found.half_pixel, scan.center)).max() <= 0.25


def test_visible_beamstop_and_arm_do_not_draw_the_centre():
    scan = simulate("saxs", frames=16, size=128, photons=5, center_offset=(4.5, -7.0), seed=2)
    gaps = simulate("flat", frames=1, size=128, beamstop=False).valid
    counts = scan.counts.sum(axis=0)  # 0 in the shadow, taken for data
    assert (gaps & ~scan.valid).sum() > 200
    found = find_center(counts, gaps)
    assert np.abs(np.subtract(found.half_pixel, scan.center)).max() <= 0.5


def test_symmetric_gaps_do_not_draw_the_centre():
    # Gaps symmetric about the middle of the frame, a pattern that is not: only the pattern counts.
    scan = simulate("saxs", frames=16, size=128, gaps=False, center_offset=(6.0, 5.5), seed=0)
    valid = scan.valid.copy()
    valid[20:26] = valid[-26:-20] = False
    valid[:, 60:68] = False
    found = find_center(np.where(valid, scan.counts.sum(axis=0), 0), valid)
    assert found.half_pixel == scan.center


def test_search_limits_the_centre():
    scan = simulate("waxd", frames=16, size=96, center_offset=(5.0, 0.0))
    counts = scan.counts.sum(axis=0)
    y, x = scan.center
    free = find_center(counts, scan.valid, search=((y - 3, y + 3), (x - 3, x + 3)))
    assert free.half_pixel == scan.center
    elsewhere = find_center(counts, scan.valid, search=((y - 20, y - 10), (x - 3, x + 3)))
    assert elsewhere.half_pixel[0] <= y - 9


def test_correlation_equals_the_one_computed_pair_by_pair():
    rng = np.random.default_rng(0)
    values, valid = rng.normal(size=(7, 10)) + 5, rng.random((7, 10)) > 0.2
    correlation = turn_correlation(values, valid)
    for center in [(3.0, 4.5), (2.5, 5.0), (4.0, 4.0)]:
        pairs = valid & turn(valid, center, False)
        expected = np.corrcoef(values[pairs], turn(values, center, np.nan)[pairs])[0, 1]
        assert correlation[int(2 * center[0]), int(2 * center[1])] == pytest.approx(expected)


@pytest.mark.parametrize("center", [(3.0, 4.5), (1.5, 7.0), (0.0, 0.0), (5.5, 2.0)])
def test_turn_maps_each_pixel_to_its_partner(center):
    frame = np.arange(70.0).reshape(7, 10)
    turned = turn(frame, center, np.nan)
    for y, x in np.ndindex(frame.shape):
        row, column = int(2 * center[0]) - y, int(2 * center[1]) - x
        inside = 0 <= row < 7 and 0 <= column < 10
        expected = frame[row, column] if inside else np.nan
        np.testing.assert_equal(turned[y, x], expected)


def test_turn_refuses_a_quarter_pixel():
    with pytest.raises(ValueError, match="half a pixel"):
        turn(np.zeros((4, 4)), (1.25, 1.0), 0)


@pytest.mark.parametrize(
    ("counts", "valid", "message"),
    [
        (np.ones((16, 16)), np.ones((16, 16), bool), "constant"),
        (np.ones((16, 16)), np.zeros((16, 16), bool), "no valid pixel"),
        (np.ones((16, 16)), np.ones((16, 15), bool), "one shape"),
    ],
)
def test_frames_without_a_centre_are_refused(counts, valid, message):
    with pytest.raises(ValueError, match=message):
        find_center(counts, valid)


def real(folder, name):
    """Load (summed counts, valid, known centre) of a real scan, (y, x) in pixels."""
    if name == "P1F1":
        with np.load(folder / "muscle_p1f1_2x8ms.npz") as file:
            return file["frames"].sum(axis=0, dtype=float), file["mask"], file["center"]
    subfolder, known = {
        "P40": ("muscle_p40_raw", "muscle_p40_mask.npz"),
        "P40, beamstop visible": ("muscle_p40_raw", "muscle_p40_mask.npz"),
        "Mn23, beamstop visible": ("scan_mn23_raw", "scan_mn23_12x1s.npz"),
    }[name]
    frames = np.stack(
        [tifffile.imread(path) for path in sorted((folder / subfolder).glob("*.tif"))]
    )
    with np.load(folder / known) as file:
        center = file["center"]
        valid = file["mask"] if name == "P40" else (frames >= 0).all(axis=0)
    return np.where(valid, frames, 0).sum(axis=0, dtype=float), valid, center


@pytest.mark.parametrize("name", ["P40", "P40, beamstop visible", "P1F1", "Mn23, beamstop visible"])
def test_known_centre_of_real_frames_is_found(shared_data, name):
    counts, valid, center = real(shared_data, name)
    found = find_center(counts, valid)
    np.testing.assert_allclose(found.subpixel, center, atol=0.25)
    nearest = 0.5 if name == "P40, beamstop visible" else 0.25
    assert np.abs(np.subtract(found.half_pixel, center)).max() <= nearest
    assert np.array_equal(np.multiply(found.half_pixel, 2) % 1, [0, 0])
