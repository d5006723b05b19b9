"""Fixed noise becomes one measurement: the pair, the split of the counts, and that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax import losses, models, training
from smae_jax.measurements import Measurements
from smae_jax.methods import DeepImagePrior
from smae_jax.placing import Placing, gather, place


def repeats_of(counts):
    counts = np.asarray(counts)
    counts = counts.astype(np.int32 if counts.dtype.kind in "iu" else np.float32)
    return Measurements(counts, np.ones((1, *counts.shape[1:]), np.float32))


def whole(placed, *, judging=False):
    """What a step sees: everything."""
    corner = jnp.zeros((1, len(placed.patch)), jnp.int32)
    return gather(placed, jnp.zeros(1, jnp.int32), corner, judging=judging)


@pytest.fixture
def bump():
    """A bump on a slope, twice, split for training and judging."""
    x = np.arange(64)
    rate = 5 + 0.1 * x + 30 * np.exp(-(((x - 22) / 5) ** 2))
    repeats = repeats_of(np.random.default_rng(0).poisson(rate, (2, 64)))
    method = DeepImagePrior().settled(repeats)
    return repeats, rate, place(repeats, method, how=Placing(patch=16, share=0.25))


def test_counts_are_split_and_none_is_in_both_parts(bump):
    repeats, rate, placed = bump
    total = repeats.counts.sum(axis=0)
    held, light = placed.judging
    np.testing.assert_array_equal(placed.counts[0, 0] + held[0, 0], total)
    assert held.sum() == pytest.approx(0.25 * total.sum(), rel=0.1)
    np.testing.assert_allclose(placed.exposure + light, 2.0)
    assert placed.scale[0] == pytest.approx(rate.mean(), rel=0.1)
    assert placed.patch == (64,)  # whole, whatever patch was asked for


def test_each_part_is_seen_where_it_belongs_with_every_pixel(bump):
    placed = bump[2]
    for judging, (counts, light) in (
        (False, (placed.counts, placed.exposure)),
        (True, placed.judging),
    ):
        batch = whole(placed, judging=judging)
        np.testing.assert_array_equal(batch.counts, counts[0])
        np.testing.assert_array_equal(batch.exposure, light)
        np.testing.assert_array_equal(batch.eligible, 1)


def test_values_that_are_no_counts_are_refused():
    with pytest.raises(ValueError, match="photon counts"):
        DeepImagePrior().settled(repeats_of(np.full((1, 20), 0.5)))


@pytest.mark.parametrize("spatial", [(31,), (9, 12), (4, 5, 6)])
def test_the_source_is_noise_that_stays_and_knows_no_count(spatial):
    method = DeepImagePrior(channels=3, jitter=0.0, seed=2)
    batches = []
    for seed in (0, 1):
        counts = np.random.default_rng(seed).poisson(4, (1, *spatial))
        batches.append(whole(place(repeats_of(counts), method)))
    first, second = (jax.jit(method.pair)(jax.random.key(i), b) for i, b in enumerate(batches))
    assert first.source.shape == (1, *spatial, 3)
    np.testing.assert_array_equal(first.source, second.source)
    assert (first.target != second.target).any()
    other = dataclasses.replace(method, seed=3).pair(jax.random.key(0), batches[0])
    assert (other.source != first.source).any()


def test_it_draws_the_signal_before_the_noise(bump):
    _, rate, placed = bump
    method = DeepImagePrior(channels=4, jitter=0.0)
    module = models.build("resnet", axes=1, head="direct", sizes={"features": 8, "blocks": 2})
    optimizer = training.make_optimizer(
        "adam", training.make_schedule("constant", learning_rate=1e-2, steps=1)
    )
    step = training.make_step(module, method, losses.poisson, optimizer, average_decay=0.9)
    own, other = whole(placed), whole(placed, judging=True)

    @jax.jit
    def train(state):
        def body(_, state):
            return step(state, jax.random.key(0), own)[0]

        return jax.lax.fori_loop(0, 200, body, state)

    judged = jax.jit(lambda parameters: step.loss_of(parameters, jax.random.key(0), other))
    begin = step.begin(jax.random.key(0), placed.patch)
    state = train(begin)
    assert float(judged(state.average)) < float(judged(begin.parameters)) - 0.05
    apply = models.apply_of(module)
    answer = method.denoise(lambda source: apply(state.average, source), own).counts[0]
    noisy = placed.counts[0, 0] / placed.exposure[0]
    flat = float(np.mean((placed.scale[0] - rate) ** 2))
    assert float(np.mean((answer - rate) ** 2)) < min(flat / 3, 3 * np.mean((noisy - rate) ** 2))
