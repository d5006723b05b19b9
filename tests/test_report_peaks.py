"""Peaks and orientation of profiles: found, fitted without bias, with errors that cover."""

import dataclasses

import numpy as np
import pytest

from smae_jax.report.cake import Bins
from smae_jax.report.observable import Observable
from smae_jax.report.orientation import observed, orientation_of
from smae_jax.report.peaks import fitted, peaks_of, windows_of
from smae_jax.report.profiles import Profiles, rms
from smae_jax.report.response import moved

AXIS = np.linspace(0.2, 2.0, 181)
BINS = Bins(AXIS, "q", "nm^-1", np.arange(-179.0, 180, 2), "")
CENTER, SIGMA, AREA = 0.93, 0.045, 1.1


def scan(frames, *, norm=12.0, follow=0.4, seed=0, area=AREA):
    """Counts of a Gaussian on a falling line, with answers that follow their noise by a share."""
    rng = np.random.default_rng(seed)
    height = area / (SIGMA * np.sqrt(2 * np.pi))
    truth = 9 - 2 * AXIS + height * np.exp(-0.5 * ((AXIS - CENTER) / SIGMA) ** 2)
    counts = rng.poisson(truth * norm, (frames, len(AXIS)))
    mean = truth * norm
    answer = mean + follow * (counts - mean)
    norms = np.full(counts.shape, norm)
    off = follow * rng.normal(0, np.sqrt(mean), (16, *counts.shape))
    return Profiles(counts.astype(float), norms, answer, off)


def test_windows_hold_the_peaks_and_nothing_is_found_on_a_slope():
    windows = windows_of(BINS, scan(40))
    assert len(windows) == 1
    low, high = windows[0]
    assert low < CENTER - 2 * SIGMA < CENTER + 2 * SIGMA < high
    assert windows_of(BINS, scan(40, area=0.0)) == []


def test_fits_are_unbiased_and_their_errors_cover():
    pytest.importorskip("lmfit")
    found = scan(40)
    (peak,) = peaks_of(BINS, found, [(0.7, 1.16)])
    assert peak.shape == "gaussian"
    assert peak.area_sigmas > 20
    distance, position, width, area = fitted(BINS, found, peak)
    np.testing.assert_allclose(distance.raw, 2 * np.pi / position.raw)
    for one, truth in ((position, CENTER), (width, 2.3548 * SIGMA), (area, AREA)):
        pulls = (one.raw - truth) / one.raw_sigma
        assert abs(pulls.mean()) < 3 / np.sqrt(40), one.name
        assert 0.7 < pulls.std() < 1.35, one.name
        after = (one.denoised - truth) / one.denoised_sigma
        assert 0.6 < after.std() < 1.6, one.name
        assert one.denoised_sigma[0] < one.raw_sigma.mean()
        assert abs(one.shift[0]) < 4 * one.shift[1]


def test_a_peak_that_is_not_seen_has_an_area_and_no_position():
    pytest.importorskip("lmfit")
    whole = scan(6)
    (peak,) = peaks_of(BINS, whole, [(0.7, 1.16)], shape="gaussian")
    _, position, _, area = fitted(BINS, scan(6, area=0.0, seed=3), peak)
    assert np.isnan(position.raw).sum() >= 4
    assert np.isfinite(area.raw).all()


@pytest.mark.parametrize("empty", [[73], [50, 51, 52], [70, 71, 72]])
def test_bins_without_a_pixel_are_left_out_of_every_frame(empty):
    """One within the peak, those at the window's beginning (under a beamstop), and a gap on the flank."""
    pytest.importorskip("lmfit")
    whole = scan(40)
    masked = dataclasses.replace(whole)
    for values in (masked.counts, masked.norm, masked.denoised, masked.replicas):
        assert values is not None
        values[..., empty] = 0
    (peak,) = peaks_of(BINS, masked, [(0.7, 1.16)], shape="gaussian")
    for one, truth in zip(
        fitted(BINS, masked, peak)[1:], (CENTER, 2.3548 * SIGMA, AREA), strict=True
    ):
        assert np.isfinite(one.raw).all(), one.name
        pulls = (one.raw - truth) / one.raw_sigma
        assert abs(pulls.mean()) < 3 / np.sqrt(40), one.name
        assert 0.7 < pulls.std() < 1.35, one.name
        assert np.isfinite(one.denoised_sigma).all(), one.name


def azimuthal(frames, direction, spread, *, counts=400.0, gap=None, seed=0):
    """I(chi) of two opposite spots on a ring."""
    chi = np.deg2rad(BINS.azimuth)
    rate = 0.4 + np.exp(-((np.sin(chi - np.deg2rad(direction)) / spread) ** 2))
    norm = np.ones(len(chi))
    if gap is not None:
        norm[gap] = 0
    mean = counts * rate * norm
    seen = np.random.default_rng(seed).poisson(mean, (frames, len(chi))).astype(float)
    return Profiles(seen, np.broadcast_to(norm, seen.shape), np.broadcast_to(mean, seen.shape))


def test_direction_degree_and_their_errors():
    many = azimuthal(300, 31.0, 0.4)
    direction, degree, hermans = observed(many, BINS.azimuth, "ring")
    truth = orientation_of(many.denoised, many.norm, BINS.azimuth)
    np.testing.assert_allclose(truth.direction, 31.0, atol=0.1)
    for one, exact in (
        (direction, truth.direction),
        (degree, truth.degree),
        (hermans, truth.hermans),
    ):
        pulls = (one.raw - exact) / one.raw_sigma
        assert abs(pulls.mean()) < 0.2, one.name
        assert 0.85 < pulls.std() < 1.15, one.name


def test_noise_of_raw_degrees_is_no_move_while_a_damped_degree_is():
    faint = azimuthal(400, 31.0, 3.0, counts=2.0)
    scatter = np.random.default_rng(1).normal(0, 0.01, (8, *faint.counts.shape)) * faint.denoised
    right = dataclasses.replace(faint, replicas=scatter)
    even = faint.denoised.mean(axis=1, keepdims=True)
    damped = dataclasses.replace(right, denoised=even + 0.2 * (faint.denoised - even))
    told, less = observed(right, BINS.azimuth, "ring"), observed(damped, BINS.azimuth, "ring")
    for one, other in zip(told[1:], less[1:], strict=True):
        apart = one.raw - one.denoised
        assert apart.mean() > 5 * apart.std() / 20, one.name  # noise alone
        shift, error = one.shift
        assert abs(shift) < 3 * error, one.name
        assert one.denoised_sigma.mean() < 0.3 * one.denoised.mean(), one.name
        missed = one.denoised.mean() - other.denoised.mean()
        assert other.shift[0] == pytest.approx(-missed, abs=3 * error), one.name
        assert other.denoised_sigma.mean() == pytest.approx(missed, rel=0.4), one.name


def test_limits_of_the_degree_and_of_hermans_factor():
    even = azimuthal(1, 0.0, 0.4)
    even = orientation_of(np.ones_like(even.norm), even.norm, BINS.azimuth)
    np.testing.assert_allclose([even.degree[0], even.hermans[0]], [0, 0], atol=1e-3)
    spots = np.where(np.abs(np.sin(np.deg2rad(BINS.azimuth - 1))) < 0.04, 1.0, 0.0)[None]
    sharp = orientation_of(spots, np.ones_like(spots), BINS.azimuth)
    assert sharp.degree[0] > 0.99
    assert sharp.hermans[0] > 0.98


def test_a_gap_is_known_from_the_other_side_and_too_little_says_nothing():
    whole = azimuthal(1, 31.0, 0.4)
    gap = azimuthal(1, 31.0, 0.4, gap=np.s_[100:125])
    found = [orientation_of(p.denoised, p.norm, BINS.azimuth) for p in (whole, gap)]
    np.testing.assert_allclose(found[1].direction, found[0].direction, atol=1.5)
    little = azimuthal(1, 31.0, 0.4, gap=np.abs(np.sin(np.deg2rad(BINS.azimuth))) < 0.6)
    assert np.isnan(orientation_of(little.denoised, little.norm, BINS.azimuth).direction[0])


def test_angles_differ_the_shorter_way_round():
    values = np.array([179.0, 1.0])
    one = Observable("direction", "ring", "degrees", values, np.ones(2), values[::-1], period=180.0)
    np.testing.assert_allclose(one.sigmas, [2, -2])
    assert one.middle(values) in (pytest.approx(0.0, abs=1e-6), pytest.approx(180.0, abs=1e-6))


def test_replicas_that_say_nothing_are_left_out():
    off = np.array([[3.0, 1.0, np.nan], [-3.0, np.nan, np.nan], [3.0, -1.0, 2.0]])
    np.testing.assert_allclose(rms(off), [3, 1, np.nan])


def test_a_step_from_the_fit_tells_what_fits_to_replicas_would():
    lmfit = pytest.importorskip("lmfit")
    model = lmfit.models.GaussianModel() + lmfit.models.LinearModel()
    start = model.make_params(amplitude=1, center=0.9, sigma=0.05, slope=-2, intercept=9)
    rng, weights = np.random.default_rng(0), 1 / np.sqrt(9 - 2 * AXIS)
    start["slope"].set(vary=False)
    truth = model.eval(start, x=AXIS)
    fit = model.fit(truth, start, x=AXIS, weights=weights, scale_covar=False)
    changes = rng.normal(0, 0.02, (5, len(AXIS)))
    found = moved(fit, changes, weights)
    assert set(found) == {"amplitude", "center", "sigma", "intercept"}
    for number, change in enumerate(changes):
        anew = model.fit(truth + change, start, x=AXIS, weights=weights, scale_covar=False)
        for name, values in found.items():
            error = fit.params[name].stderr
            off = anew.params[name].value - fit.params[name].value
            assert values[number] == pytest.approx(off, abs=0.02 * error), name
