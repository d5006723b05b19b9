"""`smae-jax import-torch`: the weights of the published PyTorch program become a run that `infer` accepts.

Nothing of the file is executed: PyTorch reads tensors and plain containers only (`weights_only`), everything
else is refused. PyTorch is an optional extra and is imported here alone.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smae_jax import models
from smae_jax.config import (
    DataOptions,
    ImportTorchConfig,
    PredictOptions,
    SmaeOptions,
    TrainConfig,
)
from smae_jax.errors import UserError
from smae_jax.models.sedcnn import published_parameters
from smae_jax.run.checkpoint import Checkpoints
from smae_jax.run.folder import RunFolder, Survey
from smae_jax.run.lock import held

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which programs keep the weights beside other things; looked for in this order."""


def import_torch(config: ImportTorchConfig, say: Callable[[str], None]) -> Path:
    """Read a checkpoint of the published network and write a run.

    Args:
      config: the options.
      say: receives every line that a person should read.

    Returns:
      The run folder.

    Raises:
      UserError: in one line, if PyTorch is not there, or the file is not a checkpoint of this network.
    """
    if not config.checkpoint:
        raise UserError(
            "import-torch: expected a PyTorch checkpoint, got none; "
            "try 'smae-jax import-torch model.ckpt --run runs/imported'"
        )
    if not config.run:
        raise UserError("--run: expected a folder for the run, got none; try --run runs/imported")
    folder = RunFolder.to_write(config.run)
    with held(folder.path):
        folder.refuse(overwrite=config.overwrite)
        parameters = write_run(
            read_state_dict(config.checkpoint),
            folder,
            origin=config.checkpoint,
            overwrite=config.overwrite,
        )
    say(
        f"{config.checkpoint}: {models.count_parameters(parameters):,} parameters of the published network, "
        f"in {folder.path}"
    )
    say(
        "it applies the published rule (each frame in units of its maximum, zero counts masked) to frames of "
        f"any size: 'smae-jax infer --run {folder.path} --input ... --output ... --center auto'"
    )
    return folder.path


def write_run(
    state: Mapping[str, np.ndarray], folder: RunFolder, *, origin: str, overwrite: bool = False
) -> dict[str, Any]:
    """Turn published weights into a run: its options, what inference needs, and the parameters.

    Args:
      state: arrays by published name, see `published_parameters`.
      folder: where to.
      origin: of the weights, kept in the notes of the checkpoint.
      overwrite: replace a run that is there.

    Returns:
      The parameters.

    Raises:
      UserError: if names or shapes are not the published network's, or the folder is taken.
    """
    try:
        published = published_parameters(state)
    except ValueError as error:
        raise UserError(f"{origin}: {error}") from None
    shape = published["conv0"]["kernel"].shape[2], published["out1"]["kernel"].shape[3]
    if shape != (1, 1):
        raise UserError(
            f"{origin}: expected a network of one channel in and one out, got {shape[0]} and {shape[1]}"
        )
    parameters = {"network": published}
    # No scan stands behind this run: inference takes frame size, centre and mask from its input.
    with folder.replacing() as step_made:
        folder.create(published_options(str(folder.path), overwrite=overwrite), Survey(), None)
        best = Checkpoints(folder.best)
        best.save(0, parameters=parameters, notes={"imported_from": Path(origin).name})
        best.close()
        step_made()
    return parameters


def published_options(run: str, *, overwrite: bool = False) -> TrainConfig:
    """Return the options under which the published network was trained and is to be applied."""
    return TrainConfig(
        run=run,
        overwrite=overwrite,
        method="smae",
        model="sedcnn4",
        loss="mse",
        data=DataOptions(scale="frame_max", augment="flips"),
        smae=SmaeOptions(rule="cross", reference=True),
        predict=PredictOptions(ensemble="flips"),
    )


def read_state_dict(path: str) -> dict[str, np.ndarray]:
    """Read the tensors of a PyTorch checkpoint, and nothing else.

    Args:
      path: file that `torch.save` wrote: a state dict, or a dict that holds one under one of `WRAPPERS`.

    Returns:
      float32 arrays by name.

    Raises:
      UserError: in one line, if PyTorch is not installed, the file is unreadable or holds anything else.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; give a checkpoint that torch.save wrote")
    try:
        import torch  # type: ignore[import-not-found]  # an optional extra
    except ImportError:
        raise UserError(
            f"{path}: reading a PyTorch checkpoint needs PyTorch, which is not installed; "
            "pip install 'smae_jax[torch]'"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with the file is said in one line below
            held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: holds more than tensors (a whole model, or Python objects), which is not loaded; save "
            "model.state_dict() instead, or it is not a PyTorch checkpoint"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        reason = (
            " ".join(str(error).split())[:120] if isinstance(error, RuntimeError | OSError) else ""
        )
        reason = reason or "truncated, or of another program"
        raise UserError(f"{path}: not a readable PyTorch checkpoint ({reason})") from None
    state = find_state(held, lambda value: isinstance(value, torch.Tensor), path)
    return {name: value.detach().to(torch.float32).numpy() for name, value in state.items()}


def find_state(held: Any, is_tensor: Callable[[Any], bool], path: str) -> dict[str, Any]:
    """Find the state dict in what a checkpoint holds: itself, or under one of `WRAPPERS`.

    Raises:
      UserError: if there is none.
    """
    node = held
    for _ in range(3):
        if not isinstance(node, Mapping):
            break
        if node and all(isinstance(k, str) and is_tensor(v) for k, v in node.items()):
            return dict(node)
        inner = next((node[key] for key in WRAPPERS if isinstance(node.get(key), Mapping)), None)
        if inner is None:
            break
        node = inner
    found = f"keys {', '.join(map(str, list(node)[:6]))}" if isinstance(node, Mapping) else ""
    raise UserError(
        f"{path}: expected tensors by name, itself or under {', '.join(WRAPPERS)}, got "
        f"{found or type(node).__name__}; save model.state_dict()"
    )
