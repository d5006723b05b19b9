"""Scores of estimates made from repeats, on simulated counts with known truth."""

import numpy as np
import pytest

from smae_jax.evaluation import repeats_scores
from smae_jax.evaluation.repeats_scores import (
    by_left_out,
    by_reference,
    mean_rate,
    typical_variance,
)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """(1 channel, 600 points): a line off the middle on a slope."""
    x = np.arange(600)
    return (40 + 0.05 * x + 200 * np.exp(-(((x - 220) / 9) ** 2)))[None]


def measured(truth, exposure, seed=0):
    light = np.broadcast_to(np.asarray(exposure)[:, None], (len(exposure), truth.shape[-1]))
    counts = np.random.default_rng(seed).poisson(light[:, None] * truth).astype(float)
    return counts, np.array(light)


def judged(estimate, counts, light, gain=1.0, readout_variance=0.0):
    noise = {"gain": gain, "readout_variance": readout_variance}
    variance = typical_variance(counts, light, **noise)
    return by_left_out(estimate, counts, light, variance, photons=gain == 1)


def test_truth_has_chi_square_1_and_white_residuals(truth):
    counts, light = measured(truth, [0.5, 1.0, 1.5, 1.0])
    found = judged(lambda c, e: truth, counts, light)
    assert found["chi_square"] == pytest.approx(1, abs=0.07)
    assert found["neighbours"] == pytest.approx(0, abs=0.05)
    assert found["total_percent"] == pytest.approx(0, abs=0.5)


def test_mean_of_the_others_pays_for_its_own_noise(truth):
    """Three repeats judged by a fourth: 1 + 1/3."""
    counts, light = measured(truth, [1.0] * 4)
    assert judged(mean_rate, counts, light)["chi_square"] == pytest.approx(4 / 3, abs=0.08)


def test_blurred_estimate_leaves_a_pattern(truth):
    counts, light = measured(truth, [1.0] * 4)
    wide = judged(repeats_scores.gaussian(30.0), counts, light)
    assert wide["neighbours"] > 0.1


def test_readout_noise_is_counted_and_has_no_deviance(truth):
    rng = np.random.default_rng(1)
    counts = 3.0 * rng.poisson(truth[None] / 3, (4, *truth.shape)) + rng.normal(
        0, 20, (4, *truth.shape)
    )
    light = np.ones((4, 600))
    found = judged(lambda c, e: truth, counts, light, gain=3.0, readout_variance=400.0)
    assert found["chi_square"] == pytest.approx(1, abs=0.07)
    assert "deviance" not in found


def test_few_counts_do_not_blow_up(truth):
    """Where three repeats counted nothing and the fourth one photon, the mean is not infinitely wrong."""
    counts, light = measured(truth / 2000, [1.0] * 4)
    assert judged(mean_rate, counts, light)["chi_square"] < 3


def test_left_out_repeat_is_not_shown(truth):
    counts, light = measured(truth, [1.0] * 3)
    shown = []

    def estimate(some, exposure):
        shown.append([float(one.sum()) for one in some])
        return mean_rate(some, exposure)

    judged(estimate, counts, light)
    totals = [float(one.sum()) for one in counts]
    assert shown == [totals[1:], [totals[0], totals[2]], totals[:2]]


def test_reference_scores_are_those_of_the_definition(truth):
    high, light = measured(truth, [20.0, 30.0], seed=2)
    answer = truth + 1.0
    found = by_reference(answer, high, light, photons=True)
    mean = high.sum(axis=0) / 50
    rmse = np.sqrt(((answer - mean) ** 2).mean())
    assert found["rmse"] == pytest.approx(rmse)
    assert found["psnr_db"] == pytest.approx(20 * np.log10(mean.max() / rmse))
    assert found["total_to_reference_percent"] == pytest.approx(
        100 * (answer.sum() / mean.sum() - 1)
    )
    better = by_reference(truth, high, light, photons=True)
    assert better["deviance_to_reference"] < found["deviance_to_reference"]


def test_unmeasured_points_reach_no_score(truth):
    counts, light = measured(truth, [1.0] * 3)
    light[:, 100:110] = 0
    counts[..., 100:110] = 0  # as the reader leaves them
    found = judged(lambda c, e: truth, counts, light)
    assert found["chi_square"] == pytest.approx(1, abs=0.07)
    smoothed = repeats_scores.gaussian(2.0)(counts, light)
    assert np.abs(smoothed[0, 90:100] / truth[0, 90:100] - 1).max() < 0.3
    bridged = repeats_scores.savitzky_golay(11, 2)(counts, light)
    assert np.isfinite(bridged).all()


def test_best_setting_is_the_smallest(truth):
    counts, light = measured(truth, [1.0] * 3)
    kinds = repeats_scores.filters(truth.shape[1:])
    assert set(kinds) == {"Gaussian", "Savitzky-Golay"}
    assert set(repeats_scores.filters((8, 9))) == {"Gaussian"}

    def judge(estimate):
        return float(((estimate(counts, light) - truth) ** 2).mean())

    chosen = repeats_scores.best_of(kinds, judge)
    for (name, estimate), (kind, settings) in zip(chosen.items(), kinds.items(), strict=True):
        assert name.startswith(kind)
        assert judge(estimate) == min(map(judge, settings.values()))
        assert judge(estimate) < judge(mean_rate)
