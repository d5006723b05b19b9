"""Pairs and answers of Noise2Noise, the draws of repeats, and the noise that repeats show."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax import losses
from smae_jax.config import TrainConfig
from smae_jax.measurements import Measurements
from smae_jax.methods import Noise2Noise
from smae_jax.noise import Noise, likelihood, measure_noise, shared_variance
from smae_jax.placing import Placed, draw, gather, held_out_pixels, whole_batch
from smae_jax.run.build import noise_of


def stack_of(counts, exposure=None, patch=None, **options):
    counts = np.asarray(counts, np.float32)
    if exposure is None:
        exposure = np.ones((len(counts), *counts.shape[2:]), np.float32)
    return Placed(
        counts=jnp.asarray(counts),
        exposure=jnp.asarray(exposure, jnp.float32),
        scale=jnp.full(len(counts), 2.0),
        held_out=jnp.zeros(counts.shape[2:], bool),
        frames=jnp.arange(len(counts)),
        judges=jnp.arange(len(counts)),
        others=(jnp.asarray(counts.sum(0)), jnp.asarray(exposure.sum(0), jnp.float32)),
        patch=counts.shape[2:] if patch is None else patch,
        **options,
    )


def whole(stack, channel=0):
    """All repeats of a channel, as prediction sees them."""
    return whole_batch(stack.counts[:, channel], stack.exposure, stack.scale, turned=False)


@pytest.fixture
def repeats():
    """Three repeats, one channel, seven points, of exposures 1, 2 and 3."""
    counts = np.arange(21, dtype=np.float32).reshape(3, 1, 7) ** 1.5 // 1
    exposure = np.ones((3, 7), np.float32) * np.array([[1.0], [2.0], [3.0]], np.float32)
    exposure[1, 2] = 0
    counts[1, 0, 2] = 0
    return stack_of(counts, exposure), counts[:, 0], exposure


@pytest.mark.parametrize("strategy", ["1:X", "X:1"])
def test_source_and_target_share_no_count(repeats, strategy):
    stack, counts, exposure = repeats
    method = Noise2Noise(strategy, augment="none")
    batch = gather(stack, jnp.arange(3), jnp.zeros((3, 1), int))
    pair = jax.jit(method.pair)(jax.random.key(0), batch)
    rate, light = pair.source[..., 0], pair.source[..., 1]
    seen = rate * light * 2 + pair.target[..., 0] * pair.weight[..., 0] * 2
    np.testing.assert_allclose(seen, np.broadcast_to(counts.sum(0), (3, 7)), rtol=1e-5)
    one = light if strategy == "1:X" else pair.weight[..., 0]
    np.testing.assert_array_equal(one, exposure)


def test_held_out_points_have_no_weight(repeats):
    stack, _, _ = repeats
    held = jnp.asarray([0, 1, 0, 0, 1, 0, 0], bool)
    stack = dataclasses.replace(stack, held_out=held)
    draw_pair = jax.jit(Noise2Noise(augment="none").pair)
    for judging in (False, True):
        batch = gather(stack, jnp.arange(3), jnp.zeros((3, 1), int), judging=judging)
        weight = draw_pair(jax.random.key(0), batch).weight[0, :, 0]
        np.testing.assert_array_equal(weight > 0, np.asarray(held) == judging)


def test_points_are_held_out_without_replacement():
    held = held_out_pixels((13, 10), share=0.2, seed=3, turned=False)
    assert held.sum() == 26
    assert (held != held_out_pixels((13, 10), share=0.2, seed=4, turned=False)).any()


def test_unequal_exposures_count_by_their_worth(repeats):
    stack, counts, exposure = repeats
    batch = whole(stack)
    answer = Noise2Noise().denoise(lambda source: source[..., :1], batch)
    np.testing.assert_allclose(answer.counts[0], counts.sum(0) / exposure.sum(0), rtol=1e-5)
    assert bool(answer.known.all())


@pytest.mark.parametrize("strategy", ["1:X", "X:1"])
def test_average_predicts_from_every_source_of_training(repeats, strategy):
    stack, counts, exposure = repeats
    method = Noise2Noise(strategy, prediction="average")
    answer = method.denoise(lambda source: source[..., :1], whole(stack))
    light, total = exposure, counts
    if strategy == "X:1":
        light, total = exposure.sum(0) - exposure, counts.sum(0) - counts
    rates = np.where(light > 0, total / np.where(light > 0, light, 1), 0)
    np.testing.assert_allclose(answer.counts[0], rates.mean(0), rtol=1e-5)


def test_points_that_no_repeat_measured_have_no_answer():
    exposure = np.ones((2, 5), np.float32)
    exposure[:, 3] = 0
    stack = stack_of(np.ones((2, 1, 5)) * exposure[:, None], exposure)
    answer = Noise2Noise().denoise(lambda source: source[..., :1], whole(stack))
    np.testing.assert_array_equal(np.isnan(answer.counts[0]), np.arange(5) == 3)


def test_channels_are_seen_beside_their_mean():
    counts = np.random.default_rng(0).poisson(6, (3, 2, 9)).astype(np.float32)
    stack = stack_of(counts, beside="others")
    method = Noise2Noise("X:1", augment="none", channels=True)
    batch = gather(stack, jnp.arange(6), jnp.zeros((6, 1), int))
    source = jax.jit(method.pair)(jax.random.key(1), batch).source
    assert source.shape == (6, 9, method.source_channels)
    others = counts.sum(0) - counts[1]  # the third and fourth example are of the second repeat
    np.testing.assert_allclose(source[2, :, 0] * 2 * 2, others[0], rtol=1e-5)
    np.testing.assert_allclose(source[3, :, 2] * 2 * 2, others.mean(0), rtol=1e-5)


def test_every_repeat_and_channel_comes_equally_often():
    counts = np.arange(6, dtype=np.float32).reshape(3, 2, 1) * np.ones(12, np.float32)
    batch = draw(jax.random.key(0), stack_of(counts, patch=(5,)), batch_size=12)
    found = np.bincount(np.asarray(batch.counts[:, 0], int), minlength=6)
    np.testing.assert_array_equal(found, 2)


@pytest.mark.parametrize("spatial", [(11,), (6, 9), (4, 5, 6)])
def test_patches_lie_anywhere_inside(spatial):
    counts = np.arange(np.prod(spatial), dtype=np.float32).reshape(1, 1, *spatial)
    patch = tuple(size - 2 for size in spatial)
    batch = draw(jax.random.key(2), stack_of(counts, patch=patch), batch_size=64)
    corners = {int(value) for value in batch.counts[(slice(None), *(0,) * len(spatial))]}
    assert len(corners) == 3 ** len(spatial) or len(spatial) == 3
    assert batch.counts.shape == (64, *patch)


def test_common_noise_is_made_independent():
    rng = np.random.default_rng(5)
    common = rng.normal(0, 3, 4000)
    counts = (100 + common + rng.normal(0, 2, (4, 1, 4000))).astype(np.float32)
    batch = gather(stack_of(counts), jnp.arange(4), jnp.zeros((4, 1), int))

    def correlation(method):
        pair = jax.jit(method.pair)(jax.random.key(3), batch)
        products = (pair.source[..., 0] - 50) * (pair.target[..., 0] - 50)
        return float(products.mean()) * 4

    assert correlation(Noise2Noise(augment="none")) == pytest.approx(9, abs=1)
    assert abs(correlation(Noise2Noise(augment="none", common_noise=3.0))) < 0.8


def test_the_noise_of_photons_is_told_from_readout_and_common_noise():
    rng = np.random.default_rng(7)
    rate = 40 + 30 * np.sin(np.arange(3000) / 40)
    ones = np.ones((5, 3000))
    assert measure_noise(rng.poisson(rate, (5, 3000)), ones) == Noise()
    assert measure_noise(rng.poisson(rate / 100, (5, 3000)), ones) == Noise()
    readout = rng.poisson(rate, (5, 3000)) * 2.0 + rng.normal(0, 20, (5, 3000))
    found = measure_noise(readout, ones)
    assert found.gain == pytest.approx(2, rel=0.35)
    assert found.readout_variance == pytest.approx(400, rel=0.15)
    assert found.common_variance == 0
    shared = readout + rng.normal(0, 15, 3000)
    assert measure_noise(shared, ones).common_variance == pytest.approx(225, rel=0.25)
    assert shared_variance(readout) < 20


def test_channels_of_unlike_brightness_are_no_common_noise():
    rng = np.random.default_rng(8)
    rate = (40 + 30 * np.sin(np.arange(800) / 40))[:, None] * [1, 9, 2, 7, 3]
    counts = rng.poisson(rate, (5, 800, 5)) * 2.0 + rng.normal(0, 20, (5, 800, 5))
    data = Measurements(counts.astype(np.float32), np.ones((1, 800), np.float32), channels=True)
    found = noise_of(TrainConfig(method="noise2noise"), Noise2Noise(), data)
    assert found.gain == pytest.approx(2, rel=0.2)
    assert found.common_variance == 0


def test_one_or_two_repeats_are_taken_as_photons():
    assert measure_noise(np.ones((2, 500)), np.ones((2, 500))) == Noise()


def test_the_likelihood_goes_from_poisson_to_squares():
    assert likelihood(Noise(), 3.0) is losses.poisson
    rng = np.random.default_rng(0)
    target = jnp.asarray(rng.normal(1, 0.2, (2, 50, 1)), jnp.float32)
    prediction = jnp.asarray(rng.uniform(0.8, 1.2, (2, 50, 1)), jnp.float32)
    weight = jnp.ones((2, 50, 1)).at[0, :9].set(0)
    wide = likelihood(Noise(1.0, 1e4), 1.0)
    slope = jax.grad(wide)(prediction, target, weight)
    squares = jax.grad(losses.mse)(prediction, target, weight) / 2
    np.testing.assert_allclose(slope, squares, rtol=1e-2, atol=1e-4)
    poisoned = jnp.where(weight > 0, target, jnp.nan)
    assert np.isfinite(jax.grad(wide)(prediction, poisoned, weight)).all()


def test_single_measurements_are_refused():
    stack = stack_of(np.ones((1, 1, 5)))
    batch = whole(stack)
    with pytest.raises(ValueError, match="thinning"):
        Noise2Noise().pair(jax.random.key(0), batch)
    one = Measurements(np.ones((1, 5), np.int32), np.ones((1, 5), np.float32))
    with pytest.raises(ValueError, match="at least 2 repeats, got 1"):
        Noise2Noise().settled(one)
