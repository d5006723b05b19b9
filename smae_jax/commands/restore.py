"""What applying a run to a scan or to repeats has in common: its parameters, its record, its figure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np

from smae_jax import models
from smae_jax.checkpoint import Checkpoints
from smae_jax.config import InferConfig, TrainConfig
from smae_jax.config_file import dump
from smae_jax.run_folder import RunFolder


def restore_network(
    folder: RunFolder,
    wanted: str,
    module: models.Network,
    *,
    channels: int,
    spatial: Sequence[int],
) -> tuple[models.Apply, Any, int]:
    """Restore the averaged parameters of a checkpoint: "best", "last", or a step.

    Args:
      folder: of the run.
      wanted: which checkpoint.
      module: the run's network.
      channels: of the source.
      spatial: shape of some source.

    Returns:
      (apply, parameters, step); parameters are numpy arrays.

    Raises:
      ValueError: if there is no such checkpoint, or it is of another network.
    """
    checkpoints = Checkpoints(folder.best if wanted == "best" else folder.checkpoints)
    steps = checkpoints.steps()
    if not steps:
        raise ValueError(f"{checkpoints.folder}: no checkpoint there; train the run to its end")
    step = steps[-1] if wanted in ("best", "last") else int(wanted) if wanted.isdigit() else -1
    if step not in steps:
        raise ValueError(
            f"--checkpoint {wanted}: expected best, last or one of the kept steps "
            f"{', '.join(map(str, steps))}"
        )
    like = jax.eval_shape(
        lambda key: models.initial_parameters(module, key, channels=channels, spatial=spatial),
        jax.random.key(0),
    )
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), like
    )
    parameters = checkpoints.restore(step, "parameters", like)
    checkpoints.close()
    return models.apply_of(module), jax.tree.map(np.asarray, parameters), step


def made_by(folder: RunFolder, trained: TrainConfig, *, step: int, group: str) -> dict[str, str]:
    """Return what an output remembers of the run that made it."""
    return {
        "program": "smae_jax",
        "version": metadata.version("smae_jax"),
        "run": str(folder.path),
        "step": str(step),
        "ensemble": group,
        "config": dump(trained),
    }


def check_output_figure(config: InferConfig) -> None:
    """Refuse a figure that exists, or that is no PNG, before the work."""
    if not config.figure.endswith(".png"):
        raise ValueError(f"--figure {config.figure}: expected a name ending in .png")
    if os.path.exists(config.figure) and not config.overwrite:
        raise ValueError(
            f"--figure {config.figure}: exists already; choose another name or --overwrite"
        )
