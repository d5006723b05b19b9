"""Choosing settings by repeats left out: what is shown to whom, and that the judge is fair."""

import dataclasses

import numpy as np
import pytest

from benchmarks import select_spectra, spectra_map
from benchmarks.trained_in_memory import denoised_in_memory
from smae_jax.commands.infer import infer
from smae_jax.commands.train import train
from smae_jax.config import InferConfig
from smae_jax.data.repeats_readers import read_repeats

QUICK = {"train.steps": 6, "train.validate_every": 2, "train.batch_size": 2, "dncnn.features": 4}


@pytest.fixture
def spectra(tmp_path):
    """Four repeats of a line on a slope, in a file."""
    x = np.arange(200)
    rate = 5 + 0.05 * x + 60 * np.exp(-(((x - 60) / 5) ** 2))
    counts = np.random.default_rng(5).poisson(rate, (4, 200))
    path = tmp_path / "spectra.npy"
    np.save(path, counts)
    return path, counts, rate


def test_judge_is_not_among_what_is_trained_on(spectra):
    path, counts, _ = spectra
    folds = select_spectra.folds_of_counts(read_repeats(str(path), dimensions=1))
    for out, part in enumerate(folds.parts):
        np.testing.assert_array_equal(folds.judges[out], counts[out])
        np.testing.assert_array_equal(part.counts, np.delete(counts, out, axis=0))


def test_truth_scores_better_than_the_mean(spectra):
    path, _, rate = spectra
    folds = select_spectra.folds_of_counts(read_repeats(str(path), dimensions=1))
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
    repeats = read_repeats_of(counts)
    folds = select_spectra.folds_with_common_noise(repeats, np.ones(4000, bool))
    means = np.stack([part.counts.mean(axis=0) for part in folds.parts])[:, None]
    off = folds.scores(means) - folds.scores(np.broadcast_to(rate, means.shape))
    expected = 100 / 4 + 400 * (1 + select_spectra.SHARE**2)
    assert off.mean() == pytest.approx(expected, rel=0.15)


def read_repeats_of(counts):
    template = select_spectra.Repeats
    return template(
        counts=counts,
        valid=np.ones((1, counts.shape[1]), bool),
        exposure=np.ones(len(counts), np.float32),
        axis=None,
        axis_name="",
        axis_unit="",
        names=tuple(map(str, range(len(counts)))),
        source="test",
        dtype="float32",
        notes=(),
    )


@pytest.mark.slow
def test_training_in_memory_is_that_of_the_command_line(spectra, tmp_path):
    path, _, _ = spectra
    config = select_spectra.settings(select_spectra.ROOT / "configs" / "spectra.toml", QUICK)
    data = dataclasses.replace(config.data, path=str(path), dimensions=1)
    train_options = dataclasses.replace(config.train, devices=1)
    config = dataclasses.replace(
        config, data=data, train=train_options, run=str(tmp_path / "run"), seed=3
    )
    train(config, lambda line: None)
    output = tmp_path / "answer.npz"
    infer(InferConfig(run=config.run, input=str(path), output=str(output)), lambda line: None)
    repeats = read_repeats(str(path), dimensions=1)
    answers, _ = denoised_in_memory(config, repeats, [repeats], [3])
    with np.load(output) as file:
        np.testing.assert_allclose(answers[0, 0], file["counts"], rtol=1e-4)


def test_map_has_counts_of_the_measured_size():
    x = np.arange(800)
    mean = 1 + 40 * np.exp(-(((x - 300) / 12) ** 2)) + 20 * np.exp(-(((x - 500) / 12) ** 2))
    made = spectra_map.simulated_map(mean)
    assert made.shape == (18, 18, 800)
    assert (made > 0).all()
    assert made.mean() == pytest.approx(mean.mean(), rel=0.5)
    first, second = made[..., 300].ravel(), made[..., 500].ravel()
    assert first.std() > 0.3 * first.mean()
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5  # each line has a map of its own
