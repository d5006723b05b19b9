"""Muon on stacks of kernels does what optax's does kernel by kernel."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from smae_jax import training
from smae_jax.muon import orthogonalised

SHAPES = [(3, 3, 4, 4), (3, 3, 2, 7), (1, 1, 9, 3), (16, 16), (1, 5), (3, 3, 11, 5), (5, 40)]


def kernels(seed: int = 0) -> list[jax.Array]:
    keys = jax.random.split(jax.random.key(seed), len(SHAPES))
    return [jax.random.normal(k, s) for k, s in zip(keys, SHAPES, strict=True)]


def optax_muon(rate: float, weight_decay: float) -> optax.GradientTransformation:
    """The same kernel by kernel, as runs of earlier versions were made with it."""

    def numbers(parameters):
        dimensions = optax.contrib.MuonDimensionNumbers
        return jax.tree.map(
            lambda x: None if x.ndim < 2 else dimensions(tuple(range(x.ndim - 1)), (x.ndim - 1,)),
            parameters,
        )

    return optax.contrib.muon(
        optax.constant_schedule(rate),
        weight_decay=weight_decay,
        adam_weight_decay=weight_decay,
        consistent_rms=0.2,
        muon_weight_dimension_numbers=numbers,
    )


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_steps_and_states_are_those_of_optax_kernel_by_kernel(weight_decay):
    parameters = {"kernels": kernels(), "bias": jnp.arange(3.0), "scale": jnp.float32(2)}
    ours = training.make_optimizer("muon", optax.constant_schedule(0.1), weight_decay=weight_decay)
    theirs = optax_muon(0.1, weight_decay)
    states, found = [ours.init(parameters), theirs.init(parameters)], [parameters, parameters]
    chex.assert_trees_all_equal_structs(*states)
    steps = [jax.jit(optimizer.update) for optimizer in (ours, theirs)]
    for seed in range(1, 4):
        gradient = {"kernels": kernels(seed), "bias": jnp.ones(3), "scale": jnp.float32(-1)}
        for which, step in enumerate(steps):
            updates, states[which] = step(gradient, states[which], found[which])
            found[which] = optax.apply_updates(found[which], updates)
    chex.assert_trees_all_close(*found, rtol=2e-4, atol=2e-5)
    chex.assert_trees_all_close(*states, rtol=1e-5, atol=1e-6)


def test_singular_values_come_near_one_and_directions_stay():
    for before, after in zip(kernels(), jax.jit(orthogonalised)(kernels()), strict=True):
        u, _, v = np.linalg.svd(
            np.asarray(before).reshape(-1, before.shape[-1]), full_matrices=False
        )
        turned = u.T @ np.asarray(after).reshape(-1, before.shape[-1]) @ v.T
        np.testing.assert_allclose(turned, np.diag(np.diag(turned)), atol=0.02)
        assert np.diag(turned).min() > 0.5
        assert np.diag(turned).max() < 1.5


def test_a_kernel_of_zeros_stays_and_disturbs_no_other():
    given = kernels()
    alone = orthogonalised(given)
    given[1] = jnp.zeros_like(given[1])
    beside = orthogonalised(given)
    assert not beside[1].any()
    for place in (0, 2, 3, 4, 5, 6):
        chex.assert_trees_all_close(beside[place], alone[place], rtol=1e-5, atol=1e-6)
