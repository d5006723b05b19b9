"""The peak of I(chi): fitted without bias, with errors that cover, across gaps and the wrap of azimuths."""

import numpy as np
import pytest

pytest.importorskip("lmfit")

from smae_jax.report.azimuthal import LIMITS, SHAPES, fit_around, fitted_around
from smae_jax.report.profiles import Profiles
from smae_jax.truths import axial_width

CHI = np.arange(-179.0, 180, 2)
HALF = CHI[90:]


def ring(rate, frames, *, light=2.0, gap=None, seed=0):
    """Counts of a ring, and as answers their expected values."""
    norm = np.full(len(CHI), light)
    if gap is not None:
        norm[gap] = 0
    mean = np.broadcast_to(rate * norm, (frames, len(CHI)))
    counts = np.random.default_rng(seed).poisson(mean).astype(float)
    return Profiles(counts, np.broadcast_to(norm, mean.shape), mean)


@pytest.mark.parametrize(
    ("shape", "spread", "more"),
    [("von_mises", 4.0, ()), ("gaussian", 12.0, ()), ("pseudo_voigt", 12.0, (0.4,))],
)
def test_fits_across_the_wrap_are_unbiased_and_their_errors_cover(shape, spread, more):
    rate = 2 + SHAPES[shape](CHI, 300.0, 177.0, spread, *more)
    found = fitted_around(ring(rate, 24, gap=np.s_[20:30]), CHI, "ring", shape=shape)
    width = {"von_mises": axial_width(spread), "gaussian": 2.3548 * spread}.get(shape, 2 * spread)
    for one, truth in zip(found, (177.0, width, 300.0), strict=True):
        np.testing.assert_allclose(one.denoised, truth, rtol=1e-3)
        pulls = one.difference(one.raw, np.full(24, truth)) / one.raw_sigma
        assert abs(pulls.mean()) < 4 / np.sqrt(24), one.name
        assert 0.6 < pulls.std() < 1.5, one.name


def test_a_gap_has_no_weight():
    """The gap is dark on both sides: what is missing is not taken for a dark azimuth."""
    rate = 5 + SHAPES["von_mises"](CHI, 300.0, 60.0, 3.0)
    both = np.r_[110:128, 20:38]  # azimuths of 41 to 75 degrees and their opposites
    for gap in (None, both):
        found = fitted_around(ring(rate, 1, light=50.0, gap=gap), CHI, "ring")
        truths = (60.0, axial_width(3.0), 300.0)
        for one, truth in zip(found, truths, strict=True):
            np.testing.assert_allclose(one.denoised, truth, rtol=1e-3)
    most = np.abs(np.sin(np.deg2rad(CHI - 60))) < 0.6
    assert np.isnan(fitted_around(ring(rate, 1, gap=most), CHI, "ring")[0].raw[0])


def test_a_wide_peak_and_a_level_are_told_apart():
    """A cosine has 90 degrees; its area is what rises above the lowest azimuth."""
    values = 7 + 2 * np.cos(2 * np.deg2rad(HALF - 20))
    fit = fit_around(values, np.full(90, 0.05), HALF)
    assert fit is not None
    np.testing.assert_allclose(fit.told[:, 0], [20, 90, 360], rtol=5e-3)
    np.testing.assert_allclose(fit.expected, values, rtol=1e-3)
    assert (fit.told[:, 1] < [0.2, 2, 10]).all()


def test_a_peak_wider_than_a_cosine_has_a_flat_top_and_up_to_140_degrees():
    """As the guide says; a wider one would be a dip."""
    assert axial_width(LIMITS["von_mises"][0]) == pytest.approx(140, abs=0.5)
    values = 2 + SHAPES["von_mises"](HALF, 300.0, 20.0, -1.5)
    fit = fit_around(values, np.full(90, 0.02), HALF)
    assert fit is not None
    np.testing.assert_allclose(fit.told[:, 0], [20, axial_width(-1.5), 300], rtol=2e-2)
    assert axial_width(-1.5) == pytest.approx(124.8, abs=0.1)


def test_an_even_ring_has_no_direction():
    found = fitted_around(ring(np.full(len(CHI), 5.0), 12), CHI, "ring")
    assert np.isnan(found[0].raw).sum() >= 9
    assert fitted_around(ring(np.zeros(len(CHI)), 1), CHI, "ring")[2].raw.tolist() == [
        pytest.approx(np.nan, nan_ok=True)
    ]


def test_replicas_tell_the_error_of_answers():
    rng = np.random.default_rng(1)
    rate = 2 + SHAPES["von_mises"](CHI, 300.0, 100.0, 4.0)
    raw = ring(rate, 16)
    off = rng.poisson(rate * raw.norm, (16, *raw.counts.shape)) - rate * raw.norm
    follows = Profiles(raw.counts, raw.norm, raw.counts, off)
    direction, width, area = fitted_around(follows, CHI, "ring")
    for one in (direction, width, area):
        assert one.denoised_sigma is not None
        np.testing.assert_allclose(one.denoised_sigma, one.raw_sigma, rtol=0.8)
        assert np.median(one.denoised_sigma / one.raw_sigma) == pytest.approx(1, abs=0.2)
