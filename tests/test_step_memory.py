"""What a step of training takes is told before it is compiled, and what does not fit is refused."""

import functools
import os

import jax
import numpy as np
import optax
import pytest

from smae_jax import models, step_memory
from smae_jax.losses import mse
from smae_jax.measurements import Measurements
from smae_jax.methods.thinning import Thinning
from smae_jax.placing import draw, place
from smae_jax.training import make_step

COUNTS = np.random.default_rng(0).poisson(3.0, (3, 40, 36)).astype(np.int32)
DATA = Measurements(COUNTS, np.ones((1, 40, 36), np.float32))


def step_of(name):
    method = Thinning(partner="none").settled(DATA)
    net = models.build(name, outputs=method.outputs, axes=2, widths=(8, 16))
    return make_step(net, method, mse, optax.identity()), place(DATA, method, patch=16)


@pytest.mark.parametrize("name", ["unet", "dncnn"])
def test_what_a_step_takes_is_told_within_a_factor_of_three(name):
    step, placed = step_of(name)
    told = step_memory.of_step(step, placed, batch_size=64)
    key = jax.random.key(0)
    state = jax.eval_shape(functools.partial(step.begin, patch=placed.patch), key)
    batch = jax.eval_shape(functools.partial(draw, batch_size=64), key, placed)
    taken = jax.jit(step).lower(state, key, batch).compile().memory_analysis()
    assert 1 / 3 < told / taken.temp_size_in_bytes < 3
    assert step_memory.of_step(step, placed, batch_size=128) == pytest.approx(2 * told, rel=0.05)
    assert step_memory.of_batch(placed, batch_size=64) < told / 5


@pytest.mark.parametrize(("memory", "status"), [(2**26, 2), (2**28, 0), (2**34, 0)])
def test_a_batch_that_does_not_fit_is_refused_or_said(
    memory, status, smae, small_scan, small, monkeypatch
):
    monkeypatch.setattr(step_memory, "of_machine", lambda: memory)
    data = ("--data.path", f"{small_scan}::counts", "--data.center", "17.5,14")
    steps = ("--train.steps", 1, "--train.batch-size", 2048)
    answer = smae("train", "--run", "r", *data, *small, *steps)
    said = "--train.batch-size 2048: a step takes about 0.1"
    assert answer.status == status, answer.err
    if status:
        assert answer.err.count("\n") == 1
        assert said in answer.err
        assert "0.062 GiB are there; --train.batch-size 2" in answer.err
        assert not os.path.exists("r")
    else:
        assert (f"WARNING: {said}" in answer.out) == (memory < 2**30)
