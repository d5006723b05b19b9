"""Where hardly anything was counted hardly anything is answered; right answers are left as they are."""

import dataclasses

import numpy as np
import pytest

from smae_jax.finishing import Evidence, keep_shadows, shadows
from smae_jax.finishing.shadows import darkening
from smae_jax.geometry import Center
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers

SIZE = 96


def pattern(frames=32, rate=1.0):
    """Return a halo, (frames, SIZE, SIZE)."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    return np.tile(rate * (0.2 + 4 * np.exp(-(y**2 + x**2) / 400)), (frames, 1, 1))


def held_against(answer, truth, seed=0, **more):
    """Count photons of a truth and take answers through the stage."""
    counts = np.random.default_rng(seed).poisson(truth).astype(np.int32)
    exposure = np.ones((1, SIZE, SIZE), np.float32)
    data = Measurements(counts, exposure, center=Center.given(((SIZE - 1) / 2,) * 2))
    known = np.ones(answer.shape, bool)
    given = Answers(answer.astype(np.float32), known, ~known, **more)
    return keep_shadows(given, Evidence(data)), given


def test_rows_that_count_nothing_and_an_unlit_corner_are_answered_with_nearly_nothing():
    truth = pattern(64)
    y, x = np.mgrid[:SIZE, :SIZE]
    corner = y + x < 30
    truth[:, 40:43] = 0
    truth[:, corner] *= 0.01
    answer = truth + 0.02  # what a network spreads into the dark
    found, _ = held_against(answer, truth)
    assert found.counts[:, 40:43].mean() < 0.001
    inner = y + x < 27  # pixels beside the lit ones cannot be told from them
    assert found.counts[:, inner].mean() == pytest.approx(truth[:, inner].mean(), abs=0.0005)
    assert found.counts[:, corner].mean() < 0.25 * answer[:, corner].mean()
    lit = ~corner
    lit[38:45] = False
    np.testing.assert_array_equal(found.counts[:, lit], answer[:, lit].astype(np.float32))


def test_an_unlit_corner_of_one_frame_is_darkened_in_that_frame_alone():
    truth = pattern(3)
    truth[1, :40, :40] = 0.012
    answer = truth.copy()
    answer[1, :40, :40] = 0.05
    found, given = held_against(answer, truth)
    assert found.counts[1, :38, :38].mean() < 0.016
    np.testing.assert_array_equal(np.asarray(found.counts)[[0, 2]], given.counts[[0, 2]])


@pytest.mark.parametrize("rate", [0.02, 0.3, 5.0])
@pytest.mark.parametrize("frames", [1, 16])
def test_right_answers_stay(rate, frames):
    truth = pattern(frames, rate)
    found, given = held_against(truth, truth, seed=1)
    np.testing.assert_array_equal(found.counts, given.counts)


def test_pixels_that_keep_their_counts_stay_and_a_variance_falls_with_the_answer():
    truth = pattern(16)
    truth[:, 40:44] = 0
    answer = truth + 0.1
    kept = np.zeros(answer.shape, bool)
    kept[3, 41, 50] = True
    found, given = held_against(
        answer, truth, kept=kept, variance=(0.3 * answer).astype(np.float32)
    )
    assert found.counts[kept] == given.counts[kept]
    np.testing.assert_allclose(found.variance, 0.3 * found.counts, rtol=1e-4)
    assert "darker" in found.done[0][1]
    none, _ = held_against(np.full((2, SIZE, SIZE), np.nan), truth[:2])
    assert np.isnan(none.counts).all()


def test_without_a_centre_nothing_is_done():
    truth = pattern(4)
    _, given = held_against(truth, truth)
    data = Measurements(np.zeros((4, SIZE, SIZE), np.int32), np.ones((1, SIZE, SIZE), np.float32))
    assert keep_shadows(given, Evidence(data)) is given
    fewer = dataclasses.replace(data, center=Center.given((1.0, 1.0)))
    assert keep_shadows(given, Evidence(fewer.take([0]))) is given


def test_what_was_not_measured_is_not_looked_at():
    expected, use = np.full((64, 64), 3.0), np.ones((64, 64), bool)
    use[20:40] = False
    assert (darkening(expected, np.where(use, 3, 0), use) == 1).all()


@pytest.mark.parametrize("block", [16, 100, 1000])
def test_factors_do_not_depend_on_the_blocks_that_are_looked_at(monkeypatch, block):
    rng = np.random.default_rng(0)
    y, x = np.indices((150, 210))
    expected = 2.0 * np.exp(-((y - 70) ** 2 + (x - 90) ** 2) / 1e4)
    truth = np.where((x > 120) | (y == 30), 0.0, expected)
    counted, use = rng.poisson(truth), rng.random(truth.shape) > 0.02
    found = darkening(expected, counted, use)
    assert 0.1 < (found < 1).mean() < 0.9
    monkeypatch.setattr(shadows, "BLOCK", block)
    np.testing.assert_array_equal(darkening(expected, counted, use), found)
