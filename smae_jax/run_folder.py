"""A run on disk: its options, what was prepared, and where its checkpoints and figures are.

runs/p40/config.toml  environment.json  prepare.json  mask.npz  metrics.jsonl
         checkpoints/<step>/  best/<step>/  figures/
"""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from smae_jax.checkpoint import read_json
from smae_jax.config import TrainConfig
from smae_jax.config_file import dump, load
from smae_jax.data.atomic import atomic_path, refuse_existing
from smae_jax.data.canvas import Canvas, centred_canvas
from smae_jax.data.scan import Scan


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What training found out and inference has to know; None where a run had no scan to find it on.

    Attributes:
      center: (y, x), the half pixel that partners are counted from.
      center_subpixel: (y, x), the sub-pixel estimate, for the record.
      frame_shape: detector frame (height, width).
      scale: counts per unit of rate, the mean over the training frames.
      mean_counts: counts per valid pixel and frame in training.
      frames: number of training frames.
      init_step: step of the base run that the parameters came from, where they came from one.
      reference_exposure: mean exposure of the paired reference, in frames of the scan.
      gain: values per photon of repeats, as measured or given.
      readout_variance: variance of repeats beside their photons', in values^2.
      common_variance: variance that is the same in all repeats, in values^2.
    """

    center: tuple[float, float] | None
    center_subpixel: tuple[float, float] | None
    frame_shape: tuple[int, int] | None
    scale: float | None
    mean_counts: float | None
    frames: int
    init_step: int | None = None
    reference_exposure: float | None = None
    gain: float | None = None
    readout_variance: float | None = None
    common_variance: float | None = None

    def canvas(self) -> Canvas:
        """Return the canvas that holds the whole frame, for prediction."""
        assert self.frame_shape is not None, "settle frame and centre on the input first"
        assert self.center is not None, "settle frame and centre on the input first"
        return centred_canvas(self.frame_shape, self.center, extent="all")


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths and records of a run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints to resume from."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """Folder of the best parameters."""
        return self.path / "best"

    @property
    def metrics(self) -> Path:
        """The log of the training, one JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def figures(self) -> Path:
        """Folder of pictures."""
        return self.path / "figures"

    def config(self) -> TrainConfig:
        """Read the options that the run was trained with."""
        path = self.path / "config.toml"
        if not path.is_file():
            raise ValueError(
                f"--run {self.path}: no run there (config.toml is missing); "
                "give a folder made by 'smae-jax train'"
            )
        return load(path, TrainConfig, of_run=True)

    def prepared(self) -> Prepared:
        """Read what the training prepared."""
        values = read_json(self.path / "prepare.json")
        try:
            return Prepared(
                center=_unless_null(tuple, values["center"]),
                center_subpixel=_unless_null(tuple, values["center_subpixel"]),
                frame_shape=_unless_null(tuple, values["frame_shape"]),
                scale=_unless_null(float, values["scale"]),
                mean_counts=_unless_null(float, values["mean_counts"]),
                frames=int(values["frames"]),
                init_step=_unless_null(int, values.get("init_step")),
                reference_exposure=_unless_null(float, values.get("reference_exposure")),
                gain=_unless_null(float, values.get("gain")),
                readout_variance=_unless_null(float, values.get("readout_variance")),
                common_variance=_unless_null(float, values.get("common_variance")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.path / 'prepare.json'}: {error!r} is missing or ill-typed; train the run again"
            ) from None

    def valid(self) -> np.ndarray:
        """Read the run's mask: True = use, bool, (height, width)."""
        path = self.path / "mask.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                return file["valid"].astype(bool)
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(f"{path}: not the mask of a run ({error}); give --mask") from None

    def create(self, config: TrainConfig, prepared: Prepared, scan: Scan | None) -> None:
        """Make the folder with everything that is known before the first step; no mask without a scan.

        Raises:
          ValueError: if something else is there, or it cannot be written.
        """
        self.refuse(overwrite=config.overwrite)
        with atomic_path(self.path, overwrite=config.overwrite) as folder:
            folder.mkdir()
            (folder / "config.toml").write_text(_record_of(config), encoding="utf-8")
            (folder / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n")
            record = dataclasses.asdict(prepared)
            (folder / "prepare.json").write_text(json.dumps(record, indent=2) + "\n")
            if scan is not None:
                np.savez_compressed(folder / "mask.npz", valid=scan.valid.any(axis=0))

    def go_on(self, config: TrainConfig, prepared: Prepared) -> None:
        """Write down a raised number of steps; refuse to go on with other frames.

        Raises:
          ValueError: if the frames are not those that the run was started with.
        """
        before = self.prepared()
        for name in ("frames", "frame_shape", "center", "scale"):
            here, there = getattr(prepared, name), getattr(before, name)
            if here is None or there is None:
                continue
            if np.shape(here) != np.shape(there) or not np.allclose(here, there, rtol=1e-5, atol=0):
                raise ValueError(
                    f"--resume: {config.data.path} has {name.replace('_', ' ')} {here}, and {there} when "
                    f"{self.path} was started; give it back those files, or start a new run"
                )
        with atomic_path(self.path / "config.toml", overwrite=True) as path:
            path.write_text(_record_of(config), encoding="utf-8")

    def refuse(self, *, overwrite: bool) -> None:
        """Refuse early what `create` would refuse after the data have been read.

        Raises:
          ValueError: if something is there, or with `overwrite` something else than a run.
        """
        try:
            refuse_existing(self.path, overwrite=overwrite)
        except ValueError:
            raise ValueError(
                f"--run {self.path}: exists already; choose another folder, go on with --resume, "
                "or replace it with --overwrite"
            ) from None
        empty = self.path.is_dir() and not any(self.path.iterdir())
        if self.path.exists() and not empty and not (self.path / "config.toml").is_file():
            raise ValueError(
                f"--run {self.path}: is not a run of this program and is not replaced; choose another "
                "folder"
            )


def _unless_null(kind: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else kind(value)


def _record_of(config: TrainConfig) -> str:
    """Return the options as a run keeps them: how it was started, not that it was replaced or resumed."""
    return dump(dataclasses.replace(config, resume=False, overwrite=False))


def environment() -> dict[str, object]:
    """Return versions and hardware, to be kept beside results."""
    packages = ("smae_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    devices = jax.devices()
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": devices[0].device_kind,
        "devices": len(devices),
        **{name: metadata.version(name) for name in packages},
    }
