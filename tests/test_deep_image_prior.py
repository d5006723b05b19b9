"""Fixed noise becomes one measurement: the pair, the split of the counts, and that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax import losses, models, training
from smae_jax.commands.place_repeats import place_repeats
from smae_jax.config import DeepImagePriorOptions, TrainConfig
from smae_jax.data.repeat_batches import whole_repeats
from smae_jax.data.repeats import Repeats
from smae_jax.methods.deep_image_prior import DeepImagePrior


def repeats_of(counts):
    counts = np.asarray(counts, np.float32)
    return Repeats(
        counts=counts,
        valid=np.ones((1, *counts.shape[1:]), bool),
        exposure=np.ones(len(counts), np.float32),
        axis=None,
        axis_name="",
        axis_unit="",
        names=tuple(map(str, range(len(counts)))),
        source="made",
        dtype="uint16",
        notes=(),
    )


@pytest.fixture
def placed():
    """A bump on a slope, twice, split for training and judging."""
    x = np.arange(64)
    rate = 5 + 0.1 * x + 30 * np.exp(-(((x - 22) / 5) ** 2))
    repeats = repeats_of(np.random.default_rng(0).poisson(rate, (2, 64)))
    prior = DeepImagePriorOptions(held_out=0.25)
    config = TrainConfig(method="deep_image_prior", deep_image_prior=prior)
    return repeats, rate, *place_repeats(config, repeats, lambda line: None)


def test_counts_are_split_and_none_is_in_both_parts(placed):
    repeats, rate, drawn, judging, scale = placed
    total = repeats.counts.sum(axis=0)
    np.testing.assert_array_equal(drawn.counts[0, 0] + judging.counts[0, 0], total)
    assert judging.counts.sum() == pytest.approx(0.25 * total.sum(), rel=0.1)
    np.testing.assert_allclose(drawn.exposure + judging.exposure, 2.0)
    assert scale == pytest.approx(rate.mean(), rel=0.1)


def test_values_that_are_no_counts_are_refused():
    config = TrainConfig(method="deep_image_prior")
    with pytest.raises(ValueError, match="photon counts"):
        place_repeats(config, repeats_of(np.full((1, 20), 0.5)), lambda line: None)


@pytest.mark.parametrize("spatial", [(31,), (9, 12), (4, 5, 6)])
def test_the_source_is_noise_that_stays_and_knows_no_count(spatial):
    method = DeepImagePrior(channels=3, jitter=0.0, seed=2)
    config = TrainConfig(method="deep_image_prior")
    batches = []
    for seed in (0, 1):
        counts = np.random.default_rng(seed).poisson(4, (1, *spatial))
        stack, _, _ = place_repeats(config, repeats_of(counts), lambda line: None)
        batches.append(whole_repeats(jax.tree.map(jnp.asarray, stack), 0))
    first, second = (method.pair(jax.random.key(i), b) for i, b in enumerate(batches))
    assert first.source.shape == (1, *spatial, 3)
    np.testing.assert_array_equal(first.source, second.source)
    assert (first.target != second.target).any()
    other = dataclasses.replace(method, seed=3).pair(jax.random.key(0), batches[0])
    assert (other.source != first.source).any()


def test_it_draws_the_signal_before_the_noise(placed):
    _, rate, drawn, judging, scale = placed
    method = DeepImagePrior(channels=4, jitter=0.0)
    module = models.build("resnet", axes=1, head="direct", sizes={"features": 8, "blocks": 2})
    parameters = models.initial_parameters(module, jax.random.key(0), channels=4, spatial=(64,))
    optimizer = training.make_optimizer(
        "adam", training.make_schedule("constant", learning_rate=1e-2, steps=1)
    )
    apply = models.apply_of(module)
    step = training.make_step(
        apply=apply, pair=method.pair, loss=losses.poisson, optimizer=optimizer, average_decay=0.9
    )
    own, other = (whole_repeats(jax.tree.map(jnp.asarray, part), 0) for part in (drawn, judging))

    @jax.jit
    def train(state):
        def body(_, state):
            return step(state, jax.random.key(0), own)[0]

        return jax.lax.fori_loop(0, 200, body, state)

    @jax.jit
    def judged(parameters):
        pair = method.pair(jax.random.key(0), other)
        return losses.poisson(apply(parameters, pair.source), pair.target, pair.weight)

    begin = training.initial_state(parameters, optimizer)
    state = train(begin)
    assert float(judged(state.average)) < float(judged(begin.parameters)) - 0.05
    answer = method.denoise(lambda source: apply(state.average, source), own).counts[0]
    noisy = drawn.counts[0, 0] / drawn.exposure[0]
    flat = float(np.mean((scale - rate) ** 2))
    assert float(np.mean((answer - rate) ** 2)) < min(flat / 3, 3 * np.mean((noisy - rate) ** 2))
