"""Light of other frames in dark places goes, so far as the counts of all frames that are dark there tell."""

import numpy as np
import pytest

import smae_jax
from smae_jax.finishing import Evidence, keep_dark
from smae_jax.methods.protocol import Answers

CENTER = (23.5, 23.5)
VALID = np.ones((48, 48), bool)
VALID[30:32] = False


def moving(frames=24, rate=0.2, size=48):
    """Return a bright spot and its partner that run about the centre, over a faint background."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    angle = np.linspace(0, np.pi, frames, endpoint=False)[:, None, None]
    down, right = 15 * np.sin(angle), 15 * np.cos(angle)
    spots = sum(np.exp(-((y - s * down) ** 2 + (x - s * right) ** 2) / 18) for s in (1, -1))
    return rate * (1 + 20 * spots)


def dark_in(truth):
    return VALID & (truth < truth.max(axis=0) / 8)


def through(truth, answer, *, kept=None, variance=None, center=CENTER, seed=0):
    """Count photons of a truth, and take an answer through the stage: the answers before and after."""
    counts = np.random.default_rng(seed).poisson(np.where(VALID, truth, 0)).astype(np.int32)
    data = smae_jax.from_arrays(counts, valid=VALID, center=center)
    counts = np.where(VALID, answer, np.nan).astype(np.float32)
    known = np.broadcast_to(VALID, truth.shape)
    given = Answers(counts, known, ~known, variance, kept)
    return given, keep_dark(given, Evidence(data))


def excess(answers, truth, where):
    return float((np.asarray(answers.counts) - truth)[where].mean())


def test_light_of_other_frames_goes_and_bright_places_stay():
    truth = moving()
    ghost = 0.06 * truth.mean(axis=0) * (truth < truth.max(axis=0) / 6)
    before, after = through(truth, truth + ghost)
    dark = dark_in(truth)
    assert excess(before, truth, dark) > 0.15 * truth[dark].mean()
    assert abs(excess(after, truth, dark)) < 0.4 * excess(before, truth, dark)
    bright = VALID & (truth > truth.max(axis=0) / 3)
    np.testing.assert_array_equal(np.asarray(after.counts)[bright], before.counts[bright])
    assert np.isnan(np.asarray(after.counts)[:, ~VALID]).all()
    [(stage, what)] = after.done
    assert stage == "keep_dark"
    assert "% rms" in what


@pytest.mark.parametrize("rate", [0.05, 3.0])
def test_right_answers_stay_within_a_part_of_the_noise(rate):
    truth = moving(rate=rate)
    _, after = through(truth, truth)
    dark = dark_in(truth)
    relative = np.asarray(after.counts)[dark] / truth[dark] - 1
    frames = dark.sum(axis=0)[dark.any(axis=0)].mean()
    assert np.sqrt((relative**2).mean()) < 0.1 / np.sqrt(rate * frames)


def test_pixels_that_keep_their_counts_stay_and_a_variance_follows():
    truth = moving(rate=1.0)
    kept = np.zeros(truth.shape, bool)
    kept[3, 20:24, 20:24] = True
    variance = np.ones(truth.shape, np.float32)
    before, after = through(truth, truth * 1.5, kept=kept, variance=variance)
    np.testing.assert_array_equal(np.asarray(after.counts)[kept], before.counts[kept])
    dark = dark_in(truth) & ~kept
    factor = np.asarray(after.counts)[dark] / before.counts[dark]
    assert factor.mean() < 0.75
    np.testing.assert_allclose(np.asarray(after.variance)[dark], factor**2, rtol=1e-4)


def test_frames_alike_single_frames_and_other_data_stay_as_they_are():
    alike = np.broadcast_to(moving()[0], (24, 48, 48))
    before, after = through(alike, 1.5 * alike)
    np.testing.assert_array_equal(np.asarray(after.counts), before.counts)
    one, same = through(moving()[:1], moving()[:1])
    assert same is one
