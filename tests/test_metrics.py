import numpy as np
import pytest

from smae_jax import metrics


@pytest.fixture
def images():
    """Two related images (2, 30, 41) of about 5 counts, and a mask that differs between them."""
    rng = np.random.default_rng(7)
    truth = rng.gamma(5.0, 1.0, (2, 30, 41))
    return rng.poisson(truth).astype(float), truth, rng.uniform(size=truth.shape) > 0.25


def test_values_by_hand():
    prediction, reference = np.array([[1.0, 4.0, 9.0]]), np.array([[1.0, 2.0, np.nan]])
    valid = np.array([[True, True, False]])
    assert metrics.rmse(prediction, reference, valid) == pytest.approx(2**0.5)
    assert metrics.psnr(prediction, reference, valid, 20.0) == pytest.approx(
        20.0 + 10 * np.log10(2)
    )
    assert metrics.count_ratio(prediction, reference, valid) == pytest.approx(5 / 3)
    # ((0 - 0.5) + (4 - 1)) / 2 pixels, over mean counts 1.5; and with weights 1 and 1/2
    variance = np.array([[0.5, 1.0, 0.0]])
    score = metrics.noise_corrected_score
    assert score(prediction, reference, variance, valid) == pytest.approx(1.25 / 1.5)
    weight = np.array([[1.0, 0.5, np.inf]])
    assert score(prediction, reference, variance, valid, weight) == pytest.approx((-0.5 + 1.5) / 2)
    # n = 1, p = 1: 0.  n = 2, p = 4: 2 (2 log 0.5 + 2)
    assert metrics.poisson_deviance(prediction, reference, valid) == pytest.approx(
        (4 * np.log(0.5) + 4) / 2
    )


def test_equal_images_are_perfect(images):
    _, truth, valid = images
    assert metrics.psnr(truth, truth, valid, 1.0) == np.inf
    assert metrics.ssim(truth, truth, valid, 10.0) == pytest.approx(1)
    assert metrics.poisson_deviance(truth, truth, valid) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("rubbish", [np.nan, np.inf, -1e9])
@pytest.mark.parametrize(
    "metric",
    [
        metrics.rmse,
        metrics.count_ratio,
        metrics.poisson_deviance,
        lambda p, r, v: metrics.psnr(p, r, v, 10.0),
        lambda p, r, v: metrics.ssim(p, r, v, 10.0),
        lambda p, r, v: metrics.noise_corrected_score(p, r, r, v, 1 / np.maximum(r, 0.3)),
        lambda p, r, v: metrics.match_totals(p, r, v)[v].std(),
    ],
)
def test_masked_pixels_have_no_influence(images, metric, rubbish):
    noisy, truth, valid = images
    clean = metric(noisy, truth, valid)
    dirty = metric(np.where(valid, noisy, rubbish), np.where(valid, truth, rubbish), valid)
    assert np.isfinite(clean)
    assert clean == dirty


def test_ssim_equals_scikit_image_away_from_the_border():
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(1)
    inner = rng.gamma(4, 1, (2, 20, 27))
    # A flat frame, wider than the window: there every definition of the border gives exactly 1.
    noisy, truth = np.pad(inner, ((0, 0), (12, 12), (12, 12)), constant_values=4.0)
    expected = structural_similarity(
        noisy, truth, data_range=9.0, gaussian_weights=True, use_sample_covariance=False, full=True
    )[1].mean()
    whole = metrics.ssim(noisy, truth, np.ones(noisy.shape, bool), 9.0)
    assert whole == pytest.approx(expected, rel=1e-12)
    assert whole < 0.8


def test_ssim_averages_frames(images):
    noisy, truth, _ = images
    valid = np.ones(truth.shape, bool)
    each = [metrics.ssim(n, t, v, 10.0) for n, t, v in zip(noisy, truth, valid, strict=True)]
    assert metrics.ssim(noisy, truth, valid, 10.0) == pytest.approx(np.mean(each))
    assert each[0] != pytest.approx(each[1], rel=1e-6)


def test_match_totals_scales_and_conserves(images):
    noisy, truth, valid = images
    matched = metrics.match_totals(3 * noisy, truth, valid)
    assert metrics.count_ratio(matched, truth, valid) == pytest.approx(1)
    np.testing.assert_allclose(matched, metrics.match_totals(noisy, truth, valid))


def test_raw_photon_noise_scores_one_plain_and_weighted():
    rng = np.random.default_rng(0)
    rate = np.linspace(0.5, 20, 300)[:, None] * np.ones((1, 300))
    valid = np.ones(rate.shape, bool)
    frame, reference = rng.poisson(rate), rng.poisson(rate, (4, 300, 300)).mean(0)
    for weight in (None, 1 / rate):
        score = metrics.noise_corrected_score(frame, reference, reference / 4, valid, weight)
        assert score == pytest.approx(1, abs=0.03)
        perfect = metrics.noise_corrected_score(rate, reference, reference / 4, valid, weight)
        assert perfect == pytest.approx(0, abs=0.01)


def test_deviance_of_the_truth_is_one_and_of_anything_else_more():
    counts = np.random.default_rng(2).poisson(30.0, (200, 200))
    valid = np.ones(counts.shape, bool)
    right = metrics.poisson_deviance(np.full(counts.shape, 30.0), counts, valid)
    assert right == pytest.approx(1, abs=0.03)  # chi-square with one degree of freedom
    for wrong in (25.0, 35.0):
        assert metrics.poisson_deviance(np.full(counts.shape, wrong), counts, valid) > right + 0.3
    assert np.isfinite(metrics.poisson_deviance(np.zeros(counts.shape), counts, valid))


def test_empty_masks_and_unlike_shapes_are_refused():
    image = np.ones((3, 4))
    with pytest.raises(ValueError, match="at least one valid pixel"):
        metrics.rmse(image, image, np.zeros((3, 4), bool))
    with pytest.raises(ValueError, match="one shape"):
        metrics.rmse(image, image.T, True)
