"""The reference-free numbers, on simulated data whose truth they do not see: they must tell what it tells."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from smae_jax.evaluation.estimators import Filter, averaged, raw
from smae_jax.evaluation.filters import gaussian
from smae_jax.evaluation.fourier_ring import THRESHOLD, RingSums, spectrum
from smae_jax.evaluation.residuals import RingTotals, Whiteness
from smae_jax.evaluation.without_reference import score_without_reference, split_counts
from smae_jax.geometry import Center
from smae_jax.measurements import Measurements
from smae_jax.metrics import pixel_deviance
from smae_jax.simulate import simulate


def data_of(simulation):
    counts, exposure = simulation.counts.astype(np.int32), simulation.valid[None].astype(np.float32)
    return Measurements(counts, exposure, center=Center.given(simulation.center))


def blend(other, share_of_other, truth):
    """An estimate of known error: the truth with a share of another estimate."""

    def estimate(data):
        mixed = (1 - share_of_other) * truth + share_of_other * other(data)
        return np.where(data.valid, mixed, 0)

    return estimate


def family(simulation):
    """Denoisers from perfect to worthless, noisy ones and smooth ones."""
    truth = simulation.truth.astype(np.float64)
    family = {"raw": raw, "rotated": averaged}
    for sigma in (0.5, 0.7, 1, 1.5, 2, 3, 4, 6):
        family[f"Gaussian {sigma}"] = Filter("Gaussian", sigma)
    for sigma in (1, 2, 3):
        family[f"both {sigma}"] = Filter("Gaussian", sigma, turned=True)
    flat = Filter("Gaussian", 6)
    for part in (0.1, 0.3, 0.6):
        family[f"truth and noise {part}"] = blend(raw, part, truth)
        family[f"truth and blur {part}"] = blend(flat, part, truth)
    family["truth"] = blend(raw, 0.0, truth)
    return family


@pytest.fixture(scope="module", params=[("saxs", 1.0), ("waxd", 3.0), ("saxs", 0.1)], ids=str)
def scored(request):
    kind, photons = request.param
    scan = simulate(kind, frames=4, size=(80, 92), photons=photons, center_offset=(1.5, -2), seed=3)
    denoisers = family(scan)
    data = data_of(scan)
    rows, _ = score_without_reference(data, denoisers)
    use = np.broadcast_to(scan.valid, scan.counts.shape)
    answers = {name: one(data)[use] for name, one in denoisers.items()}
    return {row["name"]: row for row in rows}, answers, scan.truth[use].astype(np.float64)


def agreement(rows, key, truth):
    return spearmanr([rows[name][key] for name in truth], list(truth.values())).statistic


def test_held_out_deviance_ranks_denoisers_as_the_truth_does(scored):
    rows, answers, truth = scored
    risk = {name: pixel_deviance(answer, truth).mean() for name, answer in answers.items()}
    assert agreement(rows, "deviance", risk) > 0.95
    assert min(rows, key=lambda name: rows[name]["deviance"]).startswith("truth")
    shuffled = dict(zip(risk, np.roll(list(risk.values()), 7), strict=True))
    assert agreement(rows, "deviance", shuffled) < 0.8


def test_held_out_scores_rank_denoisers_by_their_true_error(scored):
    rows, answers, truth = scored
    errors = {name: np.sqrt(np.mean((a - truth) ** 2)) for name, a in answers.items()}
    assert agreement(rows, "held_out_score", errors) > 0.93
    weighted = {
        name: np.mean((a - truth) ** 2 / np.maximum(truth, 0.3)) for name, a in answers.items()
    }
    assert agreement(rows, "held_out_score_weighted", weighted) > 0.93


def test_held_out_score_is_the_true_error_in_units_of_the_noise(scored):
    rows, answers, truth = scored
    # The answers were made of the whole counts, the score of 90 %: for those of the truth it does not matter.
    expected = np.mean((answers["truth and blur 0.6"] - truth) ** 2) / truth.mean()
    assert rows["truth"]["held_out_score"] == pytest.approx(0, abs=0.12)
    assert rows["truth and blur 0.6"]["held_out_score"] == pytest.approx(expected, abs=0.13)
    assert rows["raw"]["held_out_score"] == pytest.approx(1 / 0.9, abs=0.12)


def test_difference_of_deviances_comes_with_its_error(scored):
    rows, _, _ = scored
    truth, worse = rows["truth"], rows["Gaussian 0.5"]
    assert worse["deviance_above"] > 4 * worse["deviance_above_error"] > 0
    assert truth["deviance_above"] <= 3 * truth["deviance_above_error"]
    assert min(row["deviance_above"] for row in rows.values()) == 0


def test_whiteness_tells_following_the_noise_from_taking_structure(scored):
    rows, _, _ = scored
    assert rows["truth"]["z_variance"] == pytest.approx(1, abs=0.05)
    assert rows["truth"]["z_neighbours"] == pytest.approx(0, abs=0.03)
    assert rows["truth"]["z_blocks"] == pytest.approx(1, abs=0.2)
    assert rows["Gaussian 0.5"]["z_variance"] < 0.3
    assert rows["Gaussian 0.7"]["z_neighbours"] < -0.1
    assert rows["raw"]["z_variance"] == 0
    blocks = [rows[f"Gaussian {sigma}"]["z_blocks"] for sigma in (2, 3, 4, 6)]
    assert blocks == sorted(blocks)


def test_whiteness_sees_a_peak_that_was_smoothed_away():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :80]
    rate = 3 + 40 * np.exp(-((y - 20) ** 2 + (x - 50) ** 2) / 18)
    counts, valid = rng.poisson(rate, (3, 64, 80)), np.ones((1, 64, 80), bool)
    right, wrong = Whiteness(), Whiteness()
    right.add(counts, np.broadcast_to(rate, counts.shape), valid)
    wrong.add(counts, np.broadcast_to(gaussian(rate, valid[0], 6), counts.shape), valid)
    assert right.variance == pytest.approx(1, abs=0.05)
    assert np.abs(right.correlation).max() < 0.03
    assert wrong.variance > 1.2
    assert wrong.correlation[0] > 0.15
    assert wrong.block_variance > 3 > right.block_variance


def test_whiteness_ignores_what_is_masked_or_unknown():
    rng = np.random.default_rng(1)
    counts = rng.poisson(4.0, (2, 30, 41)).astype(float)
    expected = np.full(counts.shape, 4.0)
    valid = np.ones(counts.shape, bool)
    valid[:, :, 7:9] = False
    clean, dirty = Whiteness(), Whiteness()
    clean.add(counts, expected, valid)
    expected[:, :, 7] = np.nan
    counts[:, :, 8] = 1e6
    dirty.add(counts, expected, valid)
    assert dirty.variance == clean.variance
    assert np.array_equal(dirty.correlation, clean.correlation)


def test_ring_totals_find_a_bias_and_nothing_in_the_truth():
    scan = simulate("saxs", frames=4, size=(80, 92), photons=1, center_offset=(1.5, -2))
    counts, truth = scan.counts.astype(float), scan.truth.astype(float)
    y, x = np.mgrid[:80, :92]
    radius = np.hypot(y - scan.center[0], x - scan.center[1])
    biased = truth * np.where((radius > 20) & (radius < 24), 1.15, 1)
    totals = {}
    for name, image in (("truth", truth), ("biased", biased), ("itself", counts)):
        totals[name] = RingTotals.about(scan.center, (80, 92))
        totals[name].add(counts, image, scan.valid[None])
    assert abs(totals["truth"].worst()[1]) < 4
    percent, sigmas = totals["biased"].worst()
    assert sigmas > 4
    assert percent > 5
    ratio, error = totals["biased"].ratio()
    worst = np.nanargmax(np.abs(ratio - 1) / error)
    assert 18 < totals["biased"].radius[worst] < 26
    assert totals["itself"].worst() == (0, 0)


def test_symmetry_is_that_of_photon_noise_before_and_none_after(scored):
    rows, _, _ = scored
    assert rows["raw"]["symmetry"] == pytest.approx(1, abs=0.06)
    assert rows["rotated"]["symmetry"] == pytest.approx(0, abs=1e-9)
    assert 0 < rows["Gaussian 1"]["symmetry"] < 0.3


def test_fourier_ring_correlation_is_signal_over_signal_and_noise():
    """For Poisson halves: |F(s)|^2 / (|F(s)|^2 + N), N the noise power, at every frequency."""
    rng = np.random.default_rng(2)
    pattern = gaussian_filter(rng.standard_normal((96, 110)), 2.0)
    rate = 4 * np.exp(1.5 * pattern / pattern.std())
    valid = np.ones(rate.shape, bool)
    sums, ideal, noise = (RingSums.zeros(rate.shape) for _ in range(3))
    for _ in range(6):
        halves = split_counts(rng, rng.poisson(rate).astype(np.float32), share=0.5)
        sums.add(halves[0][None], halves[1][None], valid)
        ideal.add(rate[None] / 2, rate[None] / 2, valid)
        noise.add(*[(rng.poisson(rate / 2) - rate / 2)[None]] * 2, valid)
    signal, noise_power = ideal.cross[1:], noise.cross[1:]
    expected = signal / (signal + noise_power)
    assert np.abs(sums.correlation[1:] - expected).max() < 0.15
    assert np.abs(sums.correlation[1:] - expected).mean() < 0.04
    first = np.nonzero(expected < THRESHOLD)[0][0] + 1
    assert sums.period() == pytest.approx(1 / sums.frequency[first], rel=0.12)
    half = RingSums.zeros(rate.shape)
    few = split_counts(rng, rng.poisson(rate / 20).astype(np.float32), share=0.5)
    half.add(few[0][None], few[1][None], valid)
    assert half.period() > 1.3 * sums.period()  # fewer photons, coarser


def test_fourier_ring_correlation_of_noise_is_none_and_a_shared_bias_is_seen_through():
    scan = simulate("saxs", frames=6, size=(80, 92), photons=1, center_offset=(1.5, -2))
    rng = np.random.default_rng(0)
    first, second = split_counts(rng, rng.poisson(2.0, (6, 80, 92)).astype(np.float32), share=0.5)
    noise = RingSums.zeros((80, 92))
    noise.add(first, second, scan.valid)
    assert np.abs(noise.correlation[4:]).max() < 0.2
    assert noise.period() > 20
    invented = gaussian_filter(rng.standard_normal((80, 92)), 1.0)

    def inventing(data):
        return Filter("Gaussian", 1.5)(data) * (1 + 2 * invented)

    names = {"honest": Filter("Gaussian", 1.5), "inventing": inventing}
    rows, _ = score_without_reference(data_of(scan), names)
    honest, false = rows
    assert false["frc_period"] < 0.7 * honest["frc_period"]  # looks better
    assert false["frc_to_raw_period"] >= 0.95 * honest["frc_to_raw_period"]  # is not
    assert false["deviance"] > honest["deviance"]


def test_mask_alone_does_not_correlate():
    rng = np.random.default_rng(3)
    valid = np.ones((64, 70), bool)
    valid[20:23] = valid[:, 40:42] = False
    images = rng.poisson(50.0, (2, 8, 64, 70)).astype(float)
    sums = RingSums.zeros((64, 70))
    sums.add(images[0], images[1], valid)
    assert np.abs(sums.correlation[3:]).max() < 0.2
    naive = [np.fft.fft2(np.where(valid, image, 0)) for image in images]
    ring = naive[0] * naive[1].conj()
    share = ring.real.sum() / np.sqrt((np.abs(naive[0]) ** 2).sum() * (np.abs(naive[1]) ** 2).sum())
    assert share > 0.9  # what filling the gaps is for
    assert spectrum(images[0], valid)[..., 0, 0] == pytest.approx(0, abs=1e-6)


def test_what_is_shown_is_a_part_of_photons_and_exposure():
    """Estimators see all frames at once, each with its part of the exposure."""
    data, seen = data_of(simulate("saxs", frames=3, size=(40, 44), photons=3)), []

    def watching(part):
        seen.append(part)
        return raw(part)

    score_without_reference(data, {"raw": watching}, held_out=0.2)
    shares = [float(part.exposure.max()) for part in seen]
    assert shares == pytest.approx([0.8, 0.5, 0.5, 1.0])
    assert all(part.frames == 3 and part.center == data.center for part in seen)
    assert np.array_equal(seen[1].counts + seen[2].counts, data.counts)
    total = data.counts.sum()
    for part, share in zip(seen, shares, strict=True):
        assert part.counts.sum() / total == pytest.approx(share, rel=0.03)
    assert all(part.counts.dtype == data.counts.dtype for part in seen)


def test_splits_are_independent_and_add_up():
    rng = np.random.default_rng(4)
    counts = rng.poisson(3.0, (200, 20, 21)).astype(np.float32)
    first, rest = split_counts(rng, counts, share=0.7)
    assert np.array_equal(first + rest, counts)
    assert first.mean() == pytest.approx(2.1, rel=0.02)
    assert first.var() == pytest.approx(2.1, rel=0.03)
    assert np.corrcoef(first.ravel(), rest.ravel())[0, 1] == pytest.approx(0, abs=0.015)
    for wrong in (counts + 0.5, -counts):
        with pytest.raises(ValueError, match="whole numbers"):
            split_counts(rng, wrong, share=0.5)
