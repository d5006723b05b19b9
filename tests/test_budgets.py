"""What a default training costs, counted and not timed, against stored budgets with a little room.

A change that exceeds one is slower everywhere. A change that saves something lowers the budget.
"""

import jax
import jax.numpy as jnp
import optax
import pytest

from benchmarks.speed import default_training, products_of, scan_of
from benchmarks.speed_limits import products
from smae_jax import training
from smae_jax.cli import main
from smae_jax.run.hooks import Tracer

BATCH, PATCH = 16, 64
OPERATIONS = 4.9e9
"""Of the products of a step: network forwards and backwards, and the optimizer."""
PRODUCTS = 110
MOVED = 115e6
"""Bytes in and out of the products."""
PROGRAMS = 26
"""That a training of the command line compiles on eight devices, small ones included."""


def test_products_of_a_step_keep_to_their_budget():
    some = products_of(*default_training(128, PATCH), BATCH)
    assert 0.9 * PRODUCTS < len(some) <= PRODUCTS
    assert 0.9 * OPERATIONS < sum(p.operations for p in some) <= OPERATIONS
    assert 0.9 * MOVED < sum(p.bytes for p in some) <= MOVED


def test_products_are_counted_as_a_hand_counts_them():
    def two(x, kernel, matrix):
        y = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jax.lax.scan(lambda c, _: (c @ matrix, None), y.reshape(-1, 5), length=3)[0]

    shapes = [(2, 6, 7, 3), (3, 3, 3, 5), (5, 5)]
    conv, *turns = products(two, *(jnp.zeros(shape) for shape in shapes))
    pixels = 2 * 6 * 7
    assert conv.operations == 2 * pixels * 27 * 5
    assert conv.bytes == 4 * (pixels * 3 + 27 * 5 + pixels * 5)
    assert [t.operations for t in turns] == [2 * pixels * 5 * 5] * 3


@pytest.mark.slow
def test_programs_of_a_training_keep_to_their_budget_and_a_trace_is_written(
    tmp_path, monkeypatch, compiled
):
    monkeypatch.chdir(tmp_path)
    jax.numpy.save(tmp_path / "scan.npy", scan_of(2, 48).counts)
    asked = (
        "train --run r --data.path scan.npy --data.center 23.5,23.5 --train.steps 4 --train.patch 16 "
        "--train.batch-size 2 --train.log-every 1 --train.profile --unet.widths 8 --unet.blocks 0"
    )
    monkeypatch.setattr("sys.argv", ["smae-jax", *asked.split()])
    assert not main()
    assert compiled.count("jit(one)") == 1
    assert len(compiled) <= PROGRAMS, " ".join(compiled)
    assert list((tmp_path / "r" / "profile").rglob("*.xplane.pb"))


def test_no_step_brings_anything_from_the_host():
    key, mesh = jax.random.key(0), training.make_mesh(1)
    given = jnp.zeros((1, 16, 16, 2))

    def quick(state, key, batch):
        del key, batch
        return state._replace(step=state.step + 1), {"loss": 0.0, "gradient_norm": 0.0}

    run = training.make_resident_run(
        quick, lambda key, data: data, key=key, data=given, mesh=mesh, looped=False
    )
    state = training.initial_state({"a": jnp.zeros(3)}, optax.identity())
    state, _ = run(state, 1)
    with jax.transfer_guard("disallow"):
        run(state, 1)


def test_a_trace_that_cannot_be_written_is_said_and_ends_no_training(tmp_path, monkeypatch):
    said = []
    tracer = Tracer(tmp_path / "profile", said.append)

    def full():
        raise jax.errors.JaxRuntimeError("OUT_OF_RANGE: the disk is full")

    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: None)
    monkeypatch.setattr(jax.profiler, "stop_trace", full)
    for step in range(1, 5):
        tracer(step, jnp.zeros(()), {"loss": 1.0})
    (line,) = said
    assert "profile" in line
    assert "disk is full" in line
