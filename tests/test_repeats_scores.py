"""Scores of estimates made from repeats, on simulated counts with known truth."""

import numpy as np
import pytest

from smae_jax.evaluation import repeats_scores
from smae_jax.evaluation.repeats_scores import (
    by_left_out,
    by_reference,
    mean_rate,
    together,
    typical_variance,
)
from smae_jax.measurements import Measurements, mean_of_frames
from smae_jax.noise import Noise


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """(1 answer, 600 points): a line off the middle on a slope."""
    x = np.arange(600)
    return (40 + 0.05 * x + 200 * np.exp(-(((x - 220) / 9) ** 2)))[None]


def measured(truth, exposure, seed=0):
    light = np.repeat(np.asarray(exposure, np.float32)[:, None], truth.shape[-1], axis=1)
    counts = np.random.default_rng(seed).poisson(light * truth)
    return Measurements(counts.astype(np.int32), light)


def judged(estimator, data, noise=Noise()):
    variance = typical_variance(data, noise)
    return by_left_out(estimator, data, variance, photons=noise == Noise())


def test_truth_has_chi_square_1_and_white_residuals(truth):
    data = measured(truth, [0.5, 1.0, 1.5, 1.0])
    found = judged(lambda data: truth, data)
    assert found["chi_square"] == pytest.approx(1, abs=0.07)
    assert found["neighbours"] == pytest.approx(0, abs=0.05)
    assert found["total_percent"] == pytest.approx(0, abs=0.5)


def test_mean_of_the_others_pays_for_its_own_noise(truth):
    """Three repeats judged by a fourth: 1 + 1/3."""
    data = measured(truth, [1.0] * 4)
    assert judged(mean_rate, data)["chi_square"] == pytest.approx(4 / 3, abs=0.08)


def test_blurred_estimate_leaves_a_pattern(truth):
    data = measured(truth, [1.0] * 4)
    wide = judged(repeats_scores.gaussian(30.0), data)
    assert wide["neighbours"] > 0.1


def test_readout_noise_is_counted_and_has_no_deviance(truth):
    rng = np.random.default_rng(1)
    counts = 3.0 * rng.poisson(truth / 3, (4, 600)) + rng.normal(0, 20, (4, 600))
    data = Measurements(counts.astype(np.float32), np.ones((1, 600), np.float32))
    found = judged(lambda data: truth, data, Noise(3.0, 400.0))
    assert found["chi_square"] == pytest.approx(1, abs=0.07)
    assert "deviance" not in found


def test_few_counts_do_not_blow_up(truth):
    """Where three repeats counted nothing and the fourth one photon, the mean is not infinitely wrong."""
    data = measured(truth / 2000, [1.0] * 4)
    assert judged(mean_rate, data)["chi_square"] < 3


def test_left_out_repeat_is_not_shown(truth):
    data = measured(truth, [1.0] * 3)
    shown = []

    def estimate(some):
        shown.append([float(one.sum()) for one in some.counts])
        return mean_rate(some)

    judged(estimate, data)
    totals = [float(one.sum()) for one in data.counts]
    assert shown == [totals[1:], [totals[0], totals[2]], totals[:2]]


def test_reference_scores_are_those_of_the_definition(truth):
    high = measured(truth, [20.0, 30.0], seed=2)
    answer = truth[0] + 1.0
    found = by_reference(answer, high, photons=True)
    mean = high.counts.sum(axis=0) / 50
    rmse = np.sqrt(((answer - mean) ** 2).mean())
    assert found["rmse"] == pytest.approx(rmse)
    assert found["psnr_db"] == pytest.approx(20 * np.log10(mean.max() / rmse))
    assert found["total_to_reference_percent"] == pytest.approx(
        100 * (answer.sum() / mean.sum() - 1)
    )
    better = by_reference(truth[0], high, photons=True)
    assert better["deviance_to_reference"] < found["deviance_to_reference"]


def test_unmeasured_points_reach_no_score(truth):
    data = measured(truth, [1.0] * 3)
    light, counts = data.exposure.copy(), data.counts.copy()
    light[:, 100:110] = 0
    counts[..., 100:110] = 0  # as the reader leaves them
    data = Measurements(counts, light)
    found = judged(lambda data: truth, data)
    assert found["chi_square"] == pytest.approx(1, abs=0.07)
    smoothed = repeats_scores.gaussian(2.0)(data)
    assert np.abs(smoothed[0, 90:100] / truth[0, 90:100] - 1).max() < 0.3
    bridged = repeats_scores.savitzky_golay(11, 2)(data)
    assert np.isfinite(bridged).all()


def test_best_setting_is_the_smallest(truth):
    data = measured(truth, [1.0] * 3)
    kinds = repeats_scores.filters(truth.shape[1:])
    assert set(kinds) == {"Gaussian", "Savitzky-Golay"}
    assert set(repeats_scores.filters((8, 9))) == {"Gaussian"}

    def judge(estimate):
        return float(((estimate(data) - truth) ** 2).mean())

    chosen = repeats_scores.best_of(kinds, judge)
    for (name, estimate), (kind, settings) in zip(chosen.items(), kinds.items(), strict=True):
        assert name.startswith(kind)
        assert judge(estimate) == min(map(judge, settings.values()))
        assert judge(estimate) < judge(mean_rate)


def test_answers_to_each_repeat_count_by_their_exposure(truth):
    data = measured(truth, [1.0, 3.0])
    each = np.stack([truth[0], 2 * truth[0]])
    np.testing.assert_allclose(together(each, data), 1.75 * truth[0])
    each[1, 5] = np.nan  # no answer there
    assert together(each, data)[5] == truth[0, 5]
    assert np.array_equal(together(truth, data), truth[0])


def test_channels_are_scored_as_if_each_were_alone(truth):
    one, other = measured(truth, [1.0, 2.0, 0.5]), measured(truth / 2, [1.0, 2.0, 0.5], seed=5)
    both = Measurements(np.stack([one.counts, other.counts], axis=-1), one.exposure, channels=True)
    for estimator in (mean_rate, repeats_scores.gaussian(3.0), repeats_scores.savitzky_golay(7, 2)):
        found = estimator(both)
        assert found.shape == (1, 600, 2)
        for channel, data in enumerate((one, other)):
            np.testing.assert_allclose(found[..., channel], estimator(data))
    alone = [judged(mean_rate, data)["chi_square"] for data in (one, other)]
    assert judged(mean_rate, both)["chi_square"] == pytest.approx(np.mean(alone))
    assert mean_of_frames(both)[0].shape == (600, 2)
