"""Checkpoints: whole or not at all, from any number of devices, and refused by name where they do not fit."""

import errno
import logging
import os
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from smae_jax import training
from smae_jax.run.checkpoint import (
    CheckpointDamagedError,
    CheckpointMismatchError,
    CheckpointNotWrittenError,
    Checkpoints,
    read_json,
)


def state_of(mesh, *, width=3, seed=0):
    """A state with every kind of leaf, unlike in parameters, average and optimizer."""
    rng = np.random.default_rng(seed)
    parameters = {
        "enc0": {
            "kernel": jnp.array(rng.normal(size=(2, width)), jnp.float32),
            "bias": jnp.array(rng.normal(size=width), jnp.float32),
        }
    }
    optimizer = training.make_optimizer("adam", lambda step: 0.1, clip_norm=1.0)
    state = training.initial_state(parameters, optimizer)
    gradient = jax.tree.map(jnp.ones_like, parameters)
    _, moved = optimizer.update(gradient, state.optimizer_state, parameters)
    average = jax.tree.map(lambda p: p + 0.25, parameters)
    state = state._replace(step=jnp.int32(7), average=average, optimizer_state=moved)
    return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


@pytest.fixture
def one_device():
    return training.make_mesh(1)


def save(checkpoints, step, state, **notes):
    checkpoints.save(step, parameters=state.average, state=state, notes=notes)


@pytest.mark.parametrize(("saved_on", "restored_on"), [(8, 1), (1, 8), (2, 4)])
def test_state_of_any_number_of_devices_restores_bitwise_on_another(
    tmp_path, saved_on, restored_on
):
    state = state_of(training.make_mesh(saved_on))
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    save(checkpoints, 7, state, best_step=3, best_loss=None)
    checkpoints.close()

    mesh = training.make_mesh(restored_on)
    again = Checkpoints(tmp_path / "run" / "checkpoints")
    like = state_of(mesh, seed=1)
    restored = again.restore(7, "state", like)
    chex.assert_trees_all_equal(restored, state)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    for leaf in jax.tree.leaves(restored):
        assert len(leaf.sharding.device_set) == restored_on
    chex.assert_trees_all_equal(again.restore(7, "parameters", like.parameters), state.average)
    assert again.notes(7) == {"best_step": 3, "best_loss": None}


def test_newest_are_kept(tmp_path, one_device):
    checkpoints = Checkpoints(tmp_path, keep=2)
    state = state_of(one_device)
    for step in (1, 2, 5):
        save(checkpoints, step, state)
    assert checkpoints.steps() == Checkpoints(tmp_path).steps() == [2, 5]


def test_keep_only_deletes_the_others_and_a_deleted_step_can_be_saved_again(tmp_path, one_device):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 4, 6):
        save(checkpoints, step, state_of(one_device, seed=step))
    checkpoints.keep_only({4, 99})
    assert checkpoints.steps() == [4]
    save(checkpoints, 6, state_of(one_device, seed=60))
    save(checkpoints, 5, state_of(one_device, seed=5))  # older than the newest
    assert Checkpoints(tmp_path).steps() == [4, 5, 6]
    like = state_of(one_device)
    restored = Checkpoints(tmp_path).restore(6, "state", like)
    chex.assert_trees_all_equal(restored, state_of(one_device, seed=60))


@pytest.mark.parametrize("item", ["state", "parameters"])
def test_another_architecture_is_refused_with_the_name_of_the_parameter(tmp_path, one_device, item):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 7, state_of(one_device))
    other = state_of(one_device, width=5)
    like = other if item == "state" else other.parameters
    with pytest.raises(
        CheckpointMismatchError, match=r"enc0/bias' is \(3,\).* and \(5,\)"
    ) as caught:
        checkpoints.restore(7, item, like)
    assert str(tmp_path / "7") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parameters_that_are_absent_on_either_side_are_named(tmp_path, one_device):
    checkpoints = Checkpoints(tmp_path)
    state = state_of(one_device)
    save(checkpoints, 7, state)
    more = {**state.parameters, "dec0": {"bias": jnp.zeros(2)}}
    with pytest.raises(CheckpointMismatchError, match=r"'dec0/bias' is absent in the checkpoint"):
        checkpoints.restore(7, "parameters", more)
    fewer = {"enc0": {"kernel": state.parameters["enc0"]["kernel"]}}
    with pytest.raises(
        CheckpointMismatchError, match=r"'enc0/bias' is \(3,\).*absent in the network"
    ):
        checkpoints.restore(7, "parameters", fewer)


def test_reading_makes_no_folder(tmp_path):
    checkpoints = Checkpoints(tmp_path / "none")
    assert checkpoints.steps() == []
    checkpoints.keep_only(())
    checkpoints.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_left_is_no_checkpoint_and_does_not_hinder_the_next(tmp_path, one_device):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 2, state_of(one_device))
    checkpoints.close()
    half = tmp_path / "4.orbax-checkpoint-tmp" / "state"
    half.mkdir(parents=True)
    (half / "part").write_text("x")

    again = Checkpoints(tmp_path)
    assert again.steps() == [2]
    again.remove_unfinished()
    assert not half.exists()
    save(again, 4, state_of(one_device, seed=4))
    assert Checkpoints(tmp_path).steps() == [2, 4]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        ValueError("RESOURCE_EXHAUSTED: Error writing: No space [os_error_code='28']"),
    ],
)
def test_full_disk_is_said_in_one_line_and_leaves_nothing_half_written(
    tmp_path, one_device, monkeypatch, error
):
    checkpoints = Checkpoints(tmp_path)
    state = state_of(one_device)
    save(checkpoints, 2, state)

    def full(*_, **__):
        (tmp_path / "4.orbax-checkpoint-tmp").mkdir()
        raise error

    monkeypatch.setattr(checkpoints._manager, "save", full)
    with pytest.raises(CheckpointNotWrittenError, match=r"4: .*No space left.*--resume") as caught:
        save(checkpoints, 4, state)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def test_others_logs_and_hooks_are_as_they_were_after_orbax_has_worked(tmp_path, one_device):
    talkers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    before = [talker.level for talker in talkers], sys.unraisablehook
    checkpoints = Checkpoints(tmp_path)
    state = state_of(one_device)
    save(checkpoints, 2, state)
    with pytest.raises(ValueError, match="already exists"):
        save(checkpoints, 2, state)
    checkpoints.restore(2, "state", state)
    checkpoints.close()
    assert ([talker.level for talker in talkers], sys.unraisablehook) == before


def test_a_file_that_was_cut_short_is_said_in_one_line(tmp_path, one_device):
    checkpoints = Checkpoints(tmp_path)
    state = state_of(one_device)
    save(checkpoints, 2, state)
    for path in (tmp_path / "2" / "parameters").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(
        CheckpointDamagedError, match=r"2: this checkpoint cannot be read"
    ) as caught:
        checkpoints.restore(2, "parameters", state.parameters)
    assert "\n" not in str(caught.value)


def test_our_own_errors_are_not_called_a_full_disk(tmp_path, one_device):
    checkpoints = Checkpoints(tmp_path)
    state = state_of(one_device)
    save(checkpoints, 2, state)
    with pytest.raises(ValueError, match="already exists"):
        save(checkpoints, 2, state)


def test_json_of_a_run_is_read_or_refused_by_name(tmp_path):
    path = tmp_path / "prepare.json"
    path.write_text('{"scale": 2.5}')
    assert read_json(path) == {"scale": 2.5}
    path.write_text('{"scale": ')
    for damaged in (path, tmp_path / "missing.json"):
        with pytest.raises(ValueError, match=damaged.name):
            read_json(damaged)
