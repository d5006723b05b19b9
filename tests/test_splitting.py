"""Splits of counts are exact, independent, and cheap to describe."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from smae_jax.finishing import halves, split_photons
from smae_jax.measurements import Measurements
from smae_jax.methods import Thinning
from smae_jax.splitting import (
    LARGEST,
    fission,
    local_variance,
    pixel_identity,
    share_tables,
    split_halves,
    thin_counts,
)

THIN = jax.jit(thin_counts, static_argnames=("shares", "most"))
SHARES = (0.8, 0.5, 0.07, 0.0, 1.0)


def drawn(counts, chosen, *, shares=SHARES, seed=0):
    counts = jnp.asarray(counts, jnp.float32)
    most = int(counts.max())
    key = jax.random.key(seed)
    return np.asarray(THIN(key, counts, jnp.asarray(chosen), shares=shares, most=most))


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 5, 31, 200, 70_001])
def test_a_part_of_a_count_is_binomial(count):
    kept = drawn(np.full((3, 150, 200), count), [0, 1, 2])
    for part, share in zip(kept, SHARES[:3], strict=True):
        low, high = (int(q) for q in stats.binom.ppf([1e-4, 1 - 1e-4], count, share))
        edges = np.unique(np.linspace(low, high + 1, min(12, high - low + 2)).astype(int))
        found, _ = np.histogram(part, np.concatenate([[-1], edges, [count + 2]]) - 0.5)
        below = stats.binom.cdf(edges - 1, count, share)
        expected = np.diff(np.concatenate([[0.0], below, [1.0]])) * part.size
        few = expected < 5
        assert found[few].sum() <= expected[few].sum() + 5 * np.sqrt(expected[few].sum() + 1)
        chi_square = ((found - expected)[~few] ** 2 / expected[~few]).sum()
        assert stats.chi2.sf(chi_square, max(1, (~few).sum() - 1)) > 1e-5


def test_all_or_nothing_is_exact():
    counts = np.random.default_rng(0).poisson(30, (2, 40, 50))
    kept = drawn(counts, [3, 4])
    np.testing.assert_array_equal(kept[0], 0)
    np.testing.assert_array_equal(kept[1], counts[1])


def test_parts_of_poisson_counts_are_independent_poisson_counts():
    counts = np.random.default_rng(1).poisson(3.0, (4, 200, 200))
    kept = drawn(counts, [0, 0, 1, 1])
    rest = counts - kept
    for part, mean in ((kept[:2], 2.4), (rest[:2], 0.6), (kept[2:], 1.5), (rest[2:], 1.5)):
        assert abs(part.mean() - mean) < 5 * np.sqrt(mean / part.size)
        assert abs(part.var() / mean - 1) < 5 * np.sqrt((2 + 1 / mean) / part.size)
    for k, r in ((kept[:2], rest[:2]), (kept[2:], rest[2:])):
        assert abs(np.corrcoef(k.ravel(), r.ravel())[0, 1]) < 5 / np.sqrt(k.size)


def test_works_in_any_number_of_dimensions_and_repeats_with_its_key():
    for shape in ((2, 17), (2, 5, 6), (2, 3, 4, 5)):
        counts = np.random.default_rng(2).poisson(9, shape)
        first = drawn(counts, [0, 1])
        assert first.shape == shape
        assert (first <= counts).all()
        assert (first >= 0).all()
        np.testing.assert_array_equal(first, drawn(counts, [0, 1]))
        assert (first != drawn(counts, [0, 1], seed=1)).any()


def test_tables_stay_small_for_large_counts():
    tables = share_tables((0.8, 0.2), 2**20)
    assert len(tables) == 21
    assert sum(table.size for _, table in tables) < 100_000


def test_gaussian_parts_are_uncorrelated_and_keep_their_means():
    mean, noise, share = 20.0, 3.0, 0.7
    rng = np.random.default_rng(3)
    values = (rng.normal(mean, noise, (2, 200, 200))).astype(np.float32)
    kept = np.asarray(
        fission(jax.random.key(0), jnp.asarray(values), jnp.float32(noise**2), jnp.float32(share))
    )
    rest = values - kept
    error = 5 * noise / np.sqrt(values.size)
    assert abs(kept.mean() - share * mean) < error
    assert abs(rest.mean() - 0.3 * mean) < error
    assert abs(np.corrcoef(kept.ravel(), rest.ravel())[0, 1]) < 5 / np.sqrt(values.size)


def test_the_local_variance_knows_gain_and_readout_noise():
    gain, noise = 2.5, 4.0
    rng = np.random.default_rng(4)
    values = gain * rng.poisson(40, (1, 80, 80)) + rng.normal(0, noise, (1, 80, 80))
    values[0, :10] = 0
    exposure = np.ones_like(values)
    exposure[0, :10] = 0
    found = local_variance(
        jnp.asarray(values, jnp.float32), jnp.asarray(exposure), gain=gain, readout_noise=noise
    )
    inner = np.asarray(found)[0, 10:]
    assert abs(inner.mean() / (gain**2 * 40 + noise**2) - 1) < 0.02
    assert inner.std() < 0.15 * inner.mean()


@pytest.mark.parametrize("by_identity", [False, True])
def test_a_count_above_the_bound_has_no_split_and_loses_no_bit_in_silence(by_identity):
    """Formerly 100 photons, split evenly under a bound of 63, lost 64 of them and kept 18."""
    counts = jnp.asarray([[100.0, 64.0, 63.0, 0.0]])
    named = {}
    if by_identity:
        named = {
            "identity": jnp.arange(4, dtype=jnp.uint32)[None],
            "salts": jnp.zeros(1, jnp.uint32),
        }
    kept = thin_counts(
        jax.random.key(0), counts, jnp.zeros(1, int), shares=(0.5,), most=63, **named
    )
    assert np.isnan(kept[0, :2]).all()
    assert 15 < float(kept[0, 2]) < 48
    assert float(kept[0, 3]) == 0


def test_counts_that_float32_does_not_hold_are_refused_in_one_line():
    counts = np.full((2, 20, 24), 3, np.int32)
    ones = np.ones((1, 20, 24), np.float32)
    counts[1, 4, 5] = LARGEST
    assert Thinning().settled(Measurements(counts, ones)).most >= LARGEST
    counts[1, 4, 5] = LARGEST + 1
    with pytest.raises(ValueError, match=r"16,777,217 counts.*mask it") as caught:
        Thinning().settled(Measurements(counts, ones))
    assert "\n" not in str(caught.value)


def identities(frames, size):
    """Of pixels of whole frames: (frames, size)."""
    return pixel_identity(jnp.asarray(frames)[:, None], jnp.arange(size, dtype=jnp.int32)[None])


def of_even_frames(count, frames=4, pixels=20_000):
    """Return one half of the photons of frames that have as many everywhere."""
    counts = np.full((frames, 1, pixels), count, np.int32)
    return split_photons(
        jax.random.key(1), Measurements(counts, np.ones((1, 1, pixels), np.float32))
    )


@pytest.mark.parametrize("count", [1, 6, 31, 32, 33, 300, 100_001])
def test_halves_are_binomial_and_hold_every_photon(count):
    first, second = (half[:, 0] for half in of_even_frames(count))
    np.testing.assert_array_equal(first + second, count)
    number = first.size
    assert abs(first.mean() - count / 2) < 5 * np.sqrt(count / 4 / number)
    assert abs(first.var() / (count / 4) - 1) < 5 * np.sqrt(2 / number)
    apart = first - count / 2
    for other in (np.roll(apart, 1, axis=0), np.roll(apart, 1, axis=1)):  # pixels and frames differ
        assert abs((apart * other).mean()) < 5 * count / 4 / np.sqrt(number)


def test_pixels_of_many_photons_are_split_among_others_of_few():
    counts = np.random.default_rng(5).poisson(20, (6, 5, 100)).astype(np.int32)
    counts[2, 3, 7], counts[4, 0, 0] = 1_000_001, 64
    data = Measurements(counts, np.ones((1, 5, 100), np.float32))
    first, second = split_photons(jax.random.key(2), data)
    np.testing.assert_array_equal(first + second, counts)
    assert abs(first[2, 3, 7] - 500_000) < 5 * 500
    without = counts.copy()
    without[2, 3, 7] = 1
    alone = split_photons(jax.random.key(2), dataclasses.replace(data, counts=without))[0]
    there = np.ones(counts.shape, bool)
    there[2, 3, 7] = False
    np.testing.assert_array_equal(alone[there], first[there])


def test_a_frame_is_halved_alike_whatever_stands_beside_it():
    counts = np.random.default_rng(5).poisson(20, (6, 500)).astype(np.int32)
    salts = jnp.arange(6, dtype=jnp.uint32)
    whole = split_halves(salts, counts)[0]
    some = np.array([4, 1, 3])
    np.testing.assert_array_equal(split_halves(salts[some], counts[some])[0], whole[some])
    assert (split_halves(salts + 6, counts)[0] != whole).mean() > 0.5


def test_halves_that_judge_are_independent_of_the_splits_of_a_training():
    """A half that held more of the photons that were targets would judge by what the network remembers."""
    counts = jnp.full((8, 50_000), 3.0)
    half = of_even_frames(3, 8, 50_000)[0]
    for split, share in enumerate((0.4, 0.6, 0.8)):
        shown = thin_counts(
            jax.random.key(0),
            counts,
            jnp.zeros(8, jnp.int32),
            shares=(share,),
            most=3,
            identity=identities(range(8), 50_000),
            salts=jnp.full(8, 64 * split, jnp.uint32),
        )
        found = np.corrcoef(np.asarray(shown).ravel(), half.ravel())[0, 1]
        assert abs(found) < 5 / np.sqrt(half.size)


def test_bright_frames_are_split_a_few_pixels_at_a_time_and_alike(monkeypatch):
    counts = np.random.default_rng(5).poisson(40_000.0, (3, 40, 40)).astype(np.int32)
    data = Measurements(counts, np.ones((1, 40, 40), np.float32))
    at_once = split_photons(jax.random.key(2), data)[0]
    assert (at_once - counts / 2).std() == pytest.approx(100, rel=0.05)
    monkeypatch.setattr(halves, "AT_ONCE", 1024)
    np.testing.assert_array_equal(split_photons(jax.random.key(2), data)[0], at_once)
