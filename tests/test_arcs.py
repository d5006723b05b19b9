"""Rings whose peaks were eaten come back along the azimuth, with few photons too."""

import numpy as np
import pytest

from smae_jax.finishing import sums
from smae_jax.finishing.arcs import ARCS, RING, Rings, factor_of_arcs
from smae_jax.finishing.sums import correct_sums
from smae_jax.geometry import turn

CENTER, SIZE = (47.5, 47.5), 96
RADIUS = np.hypot(*np.mgrid[:SIZE, :SIZE] - 47.5)
EVERYWHERE = np.ones((SIZE, SIZE), bool)


def rings(rate, *, part=1.0, height=1.0):
    """Return a halo with sharp rings on a part of the azimuth, of so many photons."""
    y, x = np.mgrid[:SIZE, :SIZE] - 47.5
    azimuth = np.abs(np.mod(np.arctan2(y, x), np.pi) - np.pi / 2)
    there = azimuth < part * np.pi / 2
    sharp = sum(np.exp(-((RADIUS - r) ** 2) / 2) for r in (14, 23, 38))
    return rate * (1 + height * sharp * there)


def off(image, truth):
    return np.sqrt(np.mean((image / truth - 1) ** 2))


@pytest.mark.parametrize(("rate", "part", "left"), [(4.0, 1.0, 0.35), (30.0, 0.4, 0.8)])
def test_rings_that_were_eaten_come_back(rate, part, left):
    truth, eaten = rings(rate, part=part), rings(rate, part=part, height=0.5)
    found = np.random.default_rng(0).poisson(truth).astype(float)
    answer = eaten * factor_of_arcs(eaten, found, EVERYWHERE, CENTER)
    assert off(answer, truth) < left * off(eaten, truth)


def test_the_sums_of_a_scan_find_rings_that_round_neighbourhoods_do_not(monkeypatch):
    truth, eaten = (np.tile(rings(0.1, height=h), (64, 1, 1)) for h in (1.0, 0.0))
    counts = np.random.default_rng(1).poisson(truth).astype(np.float32)
    answer, light = eaten.astype(np.float32), np.ones((1, SIZE, SIZE), np.float32)
    with_arcs = answer * correct_sums(answer, counts, light, center=CENTER).factor
    monkeypatch.setattr(sums, "factor_of_arcs", lambda expected, *_: np.ones_like(expected))
    without = answer * correct_sums(answer, counts, light, center=CENTER).factor
    assert off(with_arcs, truth) < 0.8 * off(without, truth)


@pytest.mark.parametrize("arc", ARCS)
def test_right_answers_stay_within_a_part_of_the_noise(arc):
    truth = rings(9.0)
    counted = [np.random.default_rng(seed).poisson(truth).astype(float) for seed in range(4)]
    changed = [factor_of_arcs(truth, one, EVERYWHERE, CENTER, arcs=(arc,)) - 1 for one in counted]
    assert np.sqrt(np.mean(np.square(changed))) < 0.05 / 3


def test_where_little_was_counted_or_the_centre_is_off_the_frame_nothing_changes():
    truth = rings(1e-4)
    found = np.random.default_rng(2).poisson(truth).astype(float)
    assert (factor_of_arcs(truth, found, EVERYWHERE, CENTER) == 1).all()
    assert (factor_of_arcs(truth, 3 * truth, EVERYWHERE, (-96.0, 40.0)) == 1).all()
    nowhere = np.zeros_like(EVERYWHERE)
    assert (factor_of_arcs(0 * truth, 0 * truth, nowhere, CENTER) == 1).all()


def test_pixels_and_partners_lie_in_one_sector_and_sums_keep_all_counts():
    center = (30.5, 44.0)
    own = Rings.about(center, (SIZE, SIZE))
    on_frame = turn(EVERYWHERE, center, False)
    np.testing.assert_array_equal(
        np.where(on_frame, own.sector, 0), np.where(on_frame, turn(own.sector, center, 0), 0)
    )
    image = np.random.default_rng(3).random((SIZE, SIZE))
    measured = image > 0.3
    assert own.sums(image, measured).sum() == pytest.approx(image[measured].sum())
    np.testing.assert_allclose(own.onto(np.ones(own.shape)), 1)
    sums_of_rings = own.sums(image, measured)
    for arc in (RING, 16.0):
        np.testing.assert_allclose(own.along(sums_of_rings, arc).sum(), sums_of_rings.sum())


def test_an_arc_longer_than_its_ring_is_the_ring():
    own = Rings.about(CENTER, (SIZE, SIZE))
    image = np.random.default_rng(5).random(own.shape)
    for power in (1, 2):
        long, whole = (own.along(image, arc, power=power) for arc in (1e5, RING))
        np.testing.assert_allclose(long, whole, rtol=1e-4)
