"""A mask over a ring that is not even: what the mean of its pixels is off that of all azimuths."""

import numpy as np
import pytest

from smae_jax.report import alarms
from smae_jax.report.profiles import Profiles
from smae_jax.report.uneven import unevenness

CHI = np.arange(-179.0, 180, 2)
ARCS = 1 + 9 * np.exp(-((np.sin(np.deg2rad(CHI - 30)) / 0.3) ** 2))
"""Two arcs, at 30 degrees and opposite."""
EVEN = np.ones(len(CHI))


def ring(rate, masked=(), *, light=4.0, frames=3, noise=False):
    norm = np.full(len(CHI), light)
    norm[list(masked)] = 0
    mean = np.broadcast_to(rate * norm, (frames, len(CHI)))
    counts = np.random.default_rng(0).poisson(mean).astype(float)
    return Profiles(counts, np.broadcast_to(norm, mean.shape), counts if noise else mean)


ONE_ARC = [*range(95, 115)]
"""Azimuths of 11 to 49 degrees."""


@pytest.mark.parametrize(("rate", "masked"), [(ARCS, ()), (EVEN, ONE_ARC), (EVEN, [*range(90)])])
def test_an_even_ring_or_one_without_a_mask_is_not_off(rate, masked):
    np.testing.assert_allclose(unevenness(ring(rate, masked)), 0, atol=1e-9)


def test_a_masked_arc_makes_the_mean_too_small_by_what_is_known_from_the_other_side():
    found = unevenness(ring(ARCS, ONE_ARC))
    known = np.delete(ARCS, ONE_ARC).mean() / ARCS.mean() - 1
    assert known < -0.2
    np.testing.assert_allclose(found, known, rtol=0.02)
    dark = unevenness(ring(ARCS, range(120, 165)))  # what is dark is masked: too large
    assert (dark > 0.15).all()
    assert np.isnan(unevenness(ring(ARCS, [*range(40), *range(90, 130)]))).all()


def test_an_alarm_names_rings_that_are_masked_unevenly():
    off, fine = unevenness(ring(ARCS, ONE_ARC)), unevenness(ring(EVEN, ONE_ARC))
    found = alarms.unevenly_masked({"ring a": fine, "ring b": off})
    assert found.state == "rings"
    assert "ring b: -2" in found.found
    assert "ring a" not in found.found
    assert alarms.unevenly_masked({"ring a": fine}).state == "quiet"
    assert alarms.unevenly_masked({}).state == "cannot tell"
    assert alarms.unevenly_masked({"ring a": np.full(3, np.nan)}).state == "cannot tell"


def test_noise_alone_is_no_alarm():
    noisy = unevenness(ring(EVEN, ONE_ARC, light=1.0, frames=40, noise=True))
    assert alarms.unevenly_masked({"ring": noisy}).state == "quiet"
