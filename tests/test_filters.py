import numpy as np
import pytest
import tifffile

from smae_jax.evaluation import filters
from smae_jax.evaluation.scores import inverse_rate, score
from smae_jax.metrics import match_totals, noise_corrected_score


def test_rotated_average_by_hand():
    image = np.array([[1.0, 2.0, 3.0, 9.0], [4.0, 5.0, 6.0, 9.0]])
    # About the middle of the first three columns: 1 meets 6, 2 meets 5, 3 meets 4; the fourth has
    # none.
    values, valid = filters.rotated_average(image, np.ones((2, 4), bool), (0.5, 1.0))
    np.testing.assert_array_equal(values, [[3.5, 3.5, 3.5, 9], [3.5, 3.5, 3.5, 9]])
    assert valid.all()
    mask = np.array([[False, True, False, True], [True, True, True, False]])
    image[~mask] = np.nan
    values, valid = filters.rotated_average(image, mask, (0.5, 1.0))
    np.testing.assert_array_equal(values, [[6, 3.5, 4, 9], [4, 3.5, 6, 0]])
    np.testing.assert_array_equal(valid, [[True, True, True, True], [True, True, True, False]])


@pytest.mark.parametrize("center", [(7.0, 9.0), (6.5, 9.0), (6.5, 10.5), (3.0, 15.5)])
def test_rotated_average_keeps_symmetric_data_and_halves_noise(center):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:14, :20]
    symmetric = (np.abs(y - center[0]) + 3 * (x - center[1]) * (y - center[0])) ** 2
    valid = rng.uniform(size=(3, 14, 20)) > 0.2
    values, where = filters.rotated_average(np.broadcast_to(symmetric, (3, 14, 20)), valid, center)
    np.testing.assert_allclose(values[where], np.broadcast_to(symmetric, (3, 14, 20))[where])
    assert (where >= valid).all()
    again, still = filters.rotated_average(values, where, center)
    np.testing.assert_allclose(again, values)  # a projection
    np.testing.assert_array_equal(still, where)


def test_gaussian_keeps_a_constant_and_ignores_masked_pixels():
    rng = np.random.default_rng(1)
    valid = rng.uniform(size=(2, 15, 22)) > 0.4
    counts = np.where(valid, 5.0, np.nan)
    np.testing.assert_allclose(filters.gaussian(counts, valid, 1.3), np.where(valid, 5, 0))
    noisy = np.where(valid, rng.poisson(5.0, valid.shape), -1)
    np.testing.assert_array_equal(filters.gaussian(noisy, valid, 0), np.where(valid, noisy, 0))
    smoothed = filters.gaussian(noisy, valid, 1.3)
    assert smoothed[valid].std() < 0.6 * noisy[valid].std()
    np.testing.assert_array_equal(smoothed[1], filters.gaussian(noisy[1], valid[1], 1.3))


def test_best_gaussian_is_wider_for_smoother_truth():
    rng = np.random.default_rng(2)
    valid = np.ones((64, 50), bool)
    x = np.arange(50)
    widths = []
    for period in (5, 60):
        truth = np.tile(10 + 8 * np.sin(2 * np.pi * x / period), (64, 1))
        counts = rng.poisson(truth)
        sigma, smoothed = filters.best_gaussian(counts, valid, truth)
        np.testing.assert_array_equal(smoothed, filters.gaussian(counts, valid, sigma))
        widths.append(sigma)
    assert widths[0] < widths[1]


def test_inverse_rate_has_a_floor():
    valid = np.ones((9, 9), bool)
    assert inverse_rate(np.zeros((9, 9)), valid) == pytest.approx(1 / 0.3)
    assert inverse_rate(np.full((9, 9), 4.0), valid) == pytest.approx(1 / 4)


def test_score_does_not_depend_on_the_scale_of_the_prediction():
    rng = np.random.default_rng(3)
    rate = rng.gamma(3, 1, (24, 31))
    frames, valid = rng.poisson(rate, (5, 24, 31)), rng.uniform(size=rate.shape) > 0.2
    held_out = frames[2:]
    both = score(frames[:2], held_out, valid)
    assert both == pytest.approx(
        score(frames[:2] * np.array([2, 7])[:, None, None], held_out, valid)
    )
    singles = [score(frame, held_out, valid) for frame in frames[:2]]
    assert both["plain"] == pytest.approx(np.mean([s["plain"] for s in singles]))


@pytest.fixture(scope="module")
def muscle(shared_data):
    """P40: six raw frames cut to 512 x 512, and the mask of that crop."""
    held = np.load(shared_data / "muscle_p40_mask.npz")
    top, left = held["crop_origin"]
    files = sorted((shared_data / "muscle_p40_raw").glob("*.tif"))
    cut = np.s_[:, top : top + 512, left : left + 512]
    counts = np.stack([tifffile.imread(file) for file in files])[cut].astype(np.float64)
    return counts, held["crop_mask"] & (counts >= 0).all(axis=0)


# The published tables were made with the crop turned about its own middle; the centre of the mask
# file, (255.34, 255.82), lies as near to (255.5, 256.0).
MIDDLE = (255.5, 255.5)


@pytest.mark.parametrize(
    ("rotated", "sigma", "plain", "weighted"),
    [(False, 0.7, 0.30, 0.156), (True, 0.7, 0.32, 0.086), (True, 1.5, 0.95, 0.040)],
)
def test_muscle_protocol_reproduces_the_published_scores(muscle, rotated, sigma, plain, weighted):
    counts, valid = muscle
    sources, where = counts[[0, 2, 4]], valid
    if rotated:
        sources, where = filters.rotated_average(sources, valid, MIDDLE)
    result = score(filters.gaussian(sources, where, sigma), counts[[1, 3, 5]], valid)
    assert result["plain"] == pytest.approx(plain, abs=0.005)  # given with two decimals
    assert result["weighted"] == pytest.approx(weighted, abs=0.0005)  # given with three


@pytest.mark.parametrize(
    ("rotated", "sigma", "published"),
    [(False, 0, 1.002), (True, 0, 0.650), (False, 0.7, 0.363), (True, 0.7, 0.374)],
)
def test_muscle_table_of_one_frame_against_the_other_five(muscle, rotated, sigma, published):
    counts, valid = muscle
    scores = []
    for index, frame in enumerate(counts):
        others = np.delete(counts, index, axis=0).mean(axis=0)
        reference = match_totals(others, frame, valid)
        values, where = frame, valid
        if rotated:
            values, where = filters.rotated_average(frame, valid, MIDDLE)
        smoothed = filters.gaussian(values, where, sigma)
        scores.append(noise_corrected_score(smoothed, reference, reference / 5, valid))
    assert np.mean(scores) == pytest.approx(published, abs=0.0012)
