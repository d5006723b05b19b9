"""Choosing settings by repeats left out: what is shown to whom, and that the judge is fair."""

import numpy as np
import pytest

from benchmarks import cases, select_spectra
from smae_jax import from_arrays


@pytest.fixture
def spectra():
    """Four repeats of a line on a slope, and their rate."""
    x = np.arange(200)
    rate = 5 + 0.05 * x + 60 * np.exp(-(((x - 60) / 5) ** 2))
    return from_arrays(np.random.default_rng(5).poisson(rate, (4, 200)), dimensions=1), rate


def test_judge_is_not_among_what_is_trained_on(spectra):
    data, _ = spectra
    folds = select_spectra.folds_of_counts(data)
    for out, part in enumerate(folds.parts):
        np.testing.assert_array_equal(folds.judges[out], data.counts[out])
        np.testing.assert_array_equal(part.counts, np.delete(data.counts, out, axis=0))


def test_truth_scores_better_than_the_mean(spectra):
    data, rate = spectra
    folds = select_spectra.folds_of_counts(data)
    scores = {name: score.mean() for name, score in select_spectra.filters(folds).items()}
    truth = folds.scores(np.broadcast_to(rate, (4, 1, 200))).mean()
    assert truth < scores["best Gaussian"] < scores["mean of the others"]


def test_common_noise_does_not_judge_for_itself():
    """The mean keeps the noise that all repeats share; a plain judge would not see it."""
    rng = np.random.default_rng(1)
    x = np.arange(4000)
    rate = 300 + 50 * np.sin(x / 300)
    shared = rng.normal(0, 20, 4000)
    counts = (rate + shared + rng.normal(0, 10, (5, 4000))).astype(np.float32)
    data = from_arrays(counts, dimensions=1)
    folds = select_spectra.folds_with_common_noise(data, np.ones(4000, bool))
    means = np.stack([part.counts.mean(axis=0) for part in folds.parts])[:, None]
    off = folds.scores(means) - folds.scores(np.broadcast_to(rate, means.shape))
    expected = 100 / 4 + 400 * (1 + select_spectra.SHARE**2)
    assert off.mean() == pytest.approx(expected, rel=0.15)


def test_map_has_counts_of_the_measured_size():
    x = np.arange(800)
    mean = 1 + 40 * np.exp(-(((x - 300) / 12) ** 2)) + 20 * np.exp(-(((x - 500) / 12) ** 2))
    made = cases.spectra_map(mean).truth.reshape(18, 18, 800)
    assert (made > 0).all()
    assert made.mean() == pytest.approx(mean.mean(), rel=0.5)
    first, second = made[..., 300].ravel(), made[..., 500].ravel()
    assert first.std() > 0.3 * first.mean()
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5  # each line has a map of its own
