"""The numbers that need a reference: its noise does not matter, its scale is found, its frames pair."""

import dataclasses

import numpy as np
import pytest

from smae_jax.errors import UserError
from smae_jax.evaluation.estimators import Filter, best_filters, crop_about, raw, subset, trials
from smae_jax.evaluation.filters import (
    conserving_totals,
    median,
    nonlocal_means,
    stabilised,
    total_variation,
    unstabilised,
)
from smae_jax.evaluation.with_reference import make_reference, rmse_to, score_with_reference
from smae_jax.geometry import Center
from smae_jax.measurements import Measurements
from smae_jax.metrics import psnr, ssim
from smae_jax.simulate import simulate


@pytest.fixture(scope="module")
def scan():
    return simulate("saxs", frames=6, size=(64, 78), photons=2, center_offset=(1.5, -2), seed=1)


def measured(counts, valid, center=(0.0, 0.0)):
    """Measurements as the reader makes them; `valid` (1 or frames, height, width)."""
    counts = np.where(valid, counts, 0).astype(np.float32)
    return Measurements(counts, valid.astype(np.float32), center=Center.given(center))


def data_of(scan):
    return measured(scan.counts, scan.valid[None], scan.center)


def reference_of(scan, exposures, seed=0):
    """An independent reference of so many exposures; None = the truth."""
    truth = scan.truth.astype(np.float64)
    if exposures is None:
        return np.where(scan.valid, truth, 0)
    rng = np.random.default_rng(seed)
    return np.where(scan.valid, rng.poisson(exposures * truth), 0).astype(np.float32)


@pytest.mark.parametrize("exposures", [1, 3, 30])
def test_scores_do_not_depend_on_the_noise_of_the_reference(scan, exposures):
    data, valid = data_of(scan), scan.valid[None]
    denoisers = {"raw": raw, "smooth": Filter("Gaussian", 1.5)}
    exact = make_reference(measured(reference_of(scan, None), valid), data, noise="none")
    noisy = make_reference(measured(reference_of(scan, exposures), valid), data)
    at_best = score_with_reference(data, exact, denoisers)
    found = score_with_reference(data, noisy, denoisers)
    for one, best in zip(found, at_best, strict=True):
        assert one["score"] == pytest.approx(best["score"], abs=0.06)
        assert one["score_weighted"] == pytest.approx(best["score_weighted"], rel=0.12, abs=0.03)
    assert at_best[0]["score"] == pytest.approx(1, abs=0.05)
    if exposures == 1:  # the plain error does depend on it
        assert found[1]["rmse"] > 1.5 * at_best[1]["rmse"]


def test_true_rates_reach_the_ceiling_and_the_score_zero(scan):
    data = data_of(scan)
    reference = make_reference(measured(reference_of(scan, 4), scan.valid[None]), data)
    truth = np.where(scan.valid, scan.truth.astype(np.float64), 0)
    (row,) = score_with_reference(data, reference, {"truth": lambda data: truth})
    assert row["psnr_db"] == pytest.approx(reference.ceiling_db, abs=0.15)
    assert row["score"] == pytest.approx(0, abs=0.02)
    assert row["scale"] == pytest.approx(1, abs=0.02)


def test_numbers_are_those_of_the_metrics_at_true_scale_and_after_the_least_squares_scale(scan):
    data, valid = data_of(scan), scan.valid[None]
    counts = data.counts
    reference = make_reference(measured(reference_of(scan, None), valid), data, noise="none")
    # One factor for all, so that the frames' own factors are told from those of a stack.
    denoisers = {"half": lambda data: data.counts / 2, "raw": raw}
    half, whole = score_with_reference(data, reference, denoisers)
    r, use = reference.counts, reference.valid
    peak = r[use].max()
    assert half["psnr_db"] == pytest.approx(psnr(counts / 2, r, use, peak))
    assert whole["psnr_db"] == pytest.approx(psnr(counts, r, use, peak))
    assert whole["ssim"] == pytest.approx(ssim(counts, r, use, peak))
    factors = [
        np.sum((n * t)[scan.valid]) / np.sum((n * n)[scan.valid])
        for n, t in zip(counts, r, strict=True)
    ]
    scaled = counts * np.array(factors)[:, None, None]
    for row in (half, whole):
        assert row["psnr_scaled_db"] == pytest.approx(psnr(scaled, r, use, peak))
        assert row["rmse_scaled"] <= row["rmse"]
    assert half["scale"] == pytest.approx(2 * whole["scale"])


@pytest.mark.parametrize("exposure", [0.25, 7.0])
def test_another_exposure_is_scaled_by_totals_and_said(scan, exposure):
    data = data_of(scan)
    counts = data.counts
    high = np.rint(1000 * exposure * reference_of(scan, None))
    reference = make_reference(measured(high, scan.valid[None]), data)
    total = counts[:, scan.valid].sum(dtype=np.float64)
    assert reference.counts[reference.valid].sum() == pytest.approx(total)
    (said,) = (line for line in reference.said if "totals" in line)
    said_ratio = float(said.split("agree: ")[1].split()[0])
    assert said_ratio == pytest.approx(1000 * exposure, rel=0.03)
    # variance of factor * counts is factor^2 * counts
    expected = reference.counts / (1000 * exposure) * (total / scan.truth[:, scan.valid].sum())
    assert np.allclose(reference.variance, expected, rtol=0.01)


def test_frames_pair_by_order_or_with_the_mean_of_repeats(scan):
    data, valid = data_of(scan), scan.valid[None]
    counts = data.counts
    repeats = np.stack([reference_of(scan, 2, seed)[0] for seed in range(4)])
    with pytest.raises(UserError, match=r"4 frames.*--pairing mean") as caught:
        make_reference(measured(repeats, valid), data)
    assert "\n" not in str(caught.value)
    mean = make_reference(measured(repeats, valid), data, pairing="mean")
    assert np.array_equal(mean.counts[0], mean.counts[5])
    factor = counts[:, scan.valid].sum(dtype=float) / (6 * repeats.mean(axis=0)[scan.valid].sum())
    assert np.allclose(mean.counts[2], factor * repeats.mean(axis=0))
    assert np.allclose(mean.variance[2], factor**2 * repeats.mean(axis=0) / 4)
    one = make_reference(measured(repeats[:1], valid), data)
    assert any("one reference for all" in line for line in one.said)
    with pytest.raises(UserError, match="same detector"):
        make_reference(measured(repeats[..., :-1], valid[..., :-1]), data)
    with pytest.raises(UserError, match="check masks"):
        make_reference(measured(repeats[:1] + 1, ~valid), data)


def test_pixels_outside_either_mask_do_not_count(scan):
    data, valid = data_of(scan), scan.valid[None]
    reference = reference_of(scan, 3).astype(np.float32)
    other = valid.copy()
    other[:, 10:14] = False
    dirty = measured(np.where(other, data.counts, 1e6), valid, scan.center)
    high = measured(reference, other)
    rows = [
        score_with_reference(one, make_reference(high, one), {"raw": raw})[0]
        for one in (data, dirty)
    ]
    assert rows[0] == rows[1]


def test_reference_of_twice_the_exposure_per_frame_is_as_good_as_twice_the_frames(scan):
    data, valid = data_of(scan), scan.valid[None]
    twice = np.float32(2) * measured(reference_of(scan, 2), valid).exposure
    long = Measurements(reference_of(scan, 2), twice)
    short = measured(reference_of(scan, 2), valid)
    first, second = (make_reference(one, data) for one in (long, short))
    assert np.allclose(first.counts, second.counts)
    assert np.allclose(first.variance, second.variance)


def test_every_filter_is_at_its_best_setting(scan):
    data = data_of(scan).take([0, 1])
    truth = measured(reference_of(scan, None)[:2], scan.valid[None])
    reference = make_reference(truth, data, noise="none")
    error, tried = rmse_to(data, reference), []

    def judge(one):
        tried.append((error(one), one))
        return tried[-1][0]

    ticks = []
    chosen = best_filters(judge, advance=lambda: ticks.append(1))
    assert len(tried) == len(ticks) <= trials()
    assert [one.name for one in chosen] == [
        *("Gaussian", "Gaussian", "median", "non-local means", "total variation")
    ]
    assert [one.turned for one in chosen[:2]] == [False, True]
    noise = error(raw)
    for one in chosen[2:]:
        same = [value for value, other in tried if other.name == one.name]
        assert error(one) == min(same) < 0.5 * noise
        assert one.name in one.label


@pytest.mark.parametrize("name", ["median", "non-local means", "total variation", "Gaussian"])
def test_filters_look_at_valid_pixels_only_and_keep_the_orientation(scan, name):
    data = data_of(scan).take([0])
    counts, use = data.counts, data.valid
    setting = 3 if name == "median" else 1.0
    for turned in (False, True):
        estimator = Filter(name, setting, turned=turned)
        answer = estimator(data)
        dirty = np.where(use, counts, 1e5).astype(np.float32)
        assert np.allclose(answer, estimator(dataclasses.replace(data, counts=dirty)))
        assert not answer[~use].any()
        assert np.isfinite(answer).all()
        truth = scan.truth[:1]
        errors = [np.sqrt(np.mean((image - truth)[use] ** 2)) for image in (answer, counts)]
        assert errors[0] < 0.7 * errors[1]
        half = dataclasses.replace(data, exposure=data.exposure / 2)
        assert np.allclose(estimator(half), 2 * answer)


def test_median_is_that_of_the_valid_neighbours():
    rng = np.random.default_rng(0)
    image, valid = rng.integers(0, 50, (9, 11)).astype(float), rng.random((9, 11)) < 0.7
    found = median(image, valid, 3)
    for y, x in np.ndindex(image.shape):
        near = np.s_[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        expected = np.median(image[near][valid[near]]) if valid[y, x] else 0
        assert found[y, x] == expected


def test_root_and_its_inverse_are_unbiased_for_photon_counts():
    rng = np.random.default_rng(0)
    for rate in (2.0, 5.0, 40.0):
        roots = stabilised(rng.poisson(rate, 200_000))
        assert roots.std() == pytest.approx(1, abs=0.07)
        assert unstabilised(roots.mean()) == pytest.approx(rate, rel=0.02)
        means = rng.poisson(2 * rate, 200_000) / 2
        assert unstabilised(stabilised(means, 2).mean(), 2) == pytest.approx(rate, rel=0.02)


def test_constant_frames_stay_and_totals_are_kept():
    counts, valid = np.full((2, 20, 23), 7.0), np.ones((20, 23), bool)
    for answer in (nonlocal_means(counts, valid, 1.0), total_variation(counts, valid, 1.0)):
        # the unbiased inverse takes a root without noise for the mean of noisy ones
        assert np.allclose(conserving_totals(answer, counts, valid), 7)
    assert np.allclose(total_variation(counts, valid, 1.0, stabilise=False), 7)
    assert not conserving_totals(counts, 0 * counts, valid).any()
    assert np.array_equal(conserving_totals(0 * counts, counts, valid), 0 * counts)


def test_crop_and_subset():
    assert crop_about((100, 40), (20.0, 30.5), 64) == (slice(0, 64), slice(0, 40))
    assert crop_about((100, 90), (60.0, 50.5), 32) == (slice(44, 76), slice(35, 67))
    assert subset(10, 3) == (0, 4, 9)
    assert subset(3, 0) == subset(3, 5) == (0, 1, 2)
