"""A run on disk: its options, what its survey found, and where its checkpoints and figures are.

runs/p40/config.toml  environment.json  survey.json  mask.npz  calibration.npz  coarse.npz  metrics.jsonl
         checkpoints/<step>/  best/<step>/  figures/

Runs of the former version have `prepare.json` instead of `survey.json`; it is read alike.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import jax
import numpy as np

from smae_jax.config import TrainConfig
from smae_jax.config_file import dump, load
from smae_jax.errors import UserError
from smae_jax.geometry import FIELDS, Center, Geometry
from smae_jax.io.atomic import atomic_path, refuse_existing
from smae_jax.likeness import Coarse, kept_of_training
from smae_jax.measurements import Measurements
from smae_jax.noise import Noise
from smae_jax.run.checkpoint import Checkpoints, read_json
from smae_jax.version import version

_FILES = (
    *("config.toml", "environment.json", "survey.json", "prepare.json", "metrics.jsonl"),
    *("mask.npz", "calibration.npz", "coarse.npz", "checkpoints", "best"),
)


def files_of_run(run: str) -> list[str]:
    """Return the files and folders of a run that must not be written over."""
    paths = (os.path.join(run, name) for name in _FILES)
    return [path for path in paths if run and os.path.lexists(path)]


@dataclasses.dataclass(frozen=True)
class Survey:
    """What training found out and inference has to know; None where a run had no data to find it on.

    Attributes:
      center: of the symmetry, trusted or not; None where there is none.
      geometry: of the geometry file, where one was given.
      frame_shape: of a frame, (height, width) of patterns.
      scale: counts per unit of rate, the mean over the training frames.
      mean_counts: counts per valid pixel and frame in training.
      frames: number of training frames.
      init_step: step of the base run that the parameters came from, where they came from one.
      reference_exposure: mean exposure of the paired reference, in frames of the data.
      noise: of repeats, as measured or given.
    """

    center: Center | None = None
    frame_shape: tuple[int, ...] | None = None
    scale: float | None = None
    mean_counts: float | None = None
    frames: int = 0
    init_step: int | None = None
    reference_exposure: float | None = None
    noise: Noise = Noise()
    geometry: Geometry | None = None

    def record(self) -> dict[str, Any]:
        """Return plain JSON values, as `from_record` reads them."""
        center = self.center
        return {
            "center": None if center is None else center.half_pixel,
            "center_subpixel": None if center is None else center.subpixel,
            "center_source": None if center is None else center.source,
            "center_trusted": None if center is None else center.trusted,
            "center_reason": None if center is None else center.reason,
            "center_unpaired": None if center is None else center.unpaired,
            "geometry": None if self.geometry is None else dataclasses.asdict(self.geometry),
            "frame_shape": self.frame_shape,
            "scale": self.scale,
            "mean_counts": self.mean_counts,
            "frames": self.frames,
            "init_step": self.init_step,
            "reference_exposure": self.reference_exposure,
            **self.noise._asdict(),
        }

    @classmethod
    def from_record(cls, values: dict[str, Any]) -> Survey:
        """Read what `record` returned, also that of a former version."""
        half, sub = (_unless_null(tuple, values[k]) for k in ("center", "center_subpixel"))
        noise = {name: _unless_null(float, values.get(name)) for name in Noise._fields}
        return cls(
            center=None
            if half is None
            else Center(
                half,
                half if sub is None else sub,
                source=str(values.get("center_source") or "of the run"),
                trusted=bool(values.get("center_trusted", True)),
                reason=str(values.get("center_reason") or ""),
                unpaired=bool(values.get("center_unpaired", False)),
            ),
            geometry=_unless_null(_geometry, values.get("geometry")),
            frame_shape=_unless_null(tuple, values["frame_shape"]),
            scale=_unless_null(float, values["scale"]),
            mean_counts=_unless_null(float, values["mean_counts"]),
            frames=int(values["frames"]),
            init_step=_unless_null(int, values.get("init_step")),
            reference_exposure=_unless_null(float, values.get("reference_exposure")),
            noise=Noise(**{name: value for name, value in noise.items() if value is not None}),
        )


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths and records of a run."""

    path: Path

    @classmethod
    def to_write(cls, run: str) -> RunFolder:
        """Return the folder that a run is written to; where a link stands there, the one that it names."""
        path = Path(run)
        return cls(path.resolve() if path.is_symlink() else path)

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

    @property
    def profile(self) -> Path:
        """Traces of steps, where they were asked for."""
        return self.path / "profile"

    @property
    def set_aside(self) -> Path:
        """Where a run lies that is being replaced, until the new one has made a step."""
        return self.path.absolute().with_name(f".{self.path.name}.replaced")

    @property
    def _replaced(self) -> Path:
        """Where a run lies that has been replaced, while it is removed."""
        return self.path.absolute().with_name(f".{self.path.name}.removed")

    def config(self) -> TrainConfig:
        """Read the options that the run was trained with.

        Raises:
          UserError: if there is no run, one that has made no step and replaces another, or one whose options
            this version does not know.
        """
        path = self.path / "config.toml"
        if not path.is_file():
            raise UserError(
                f"--run {self.path}: no run there (config.toml is missing); "
                "give a folder made by 'smae-jax train'"
            )
        if self.set_aside.is_dir() and not self.has_steps():
            raise UserError(
                f"--run {self.path}: its training has made no step; the run before it is kept in "
                f"{self.set_aside}, and comes back with 'smae-jax train --resume --run {self.path}'"
            )
        return load(path, TrainConfig, of_run=True)

    def survey(self) -> Survey:
        """Read what the training found out.

        Raises:
          UserError: if it is missing or damaged.
        """
        path = self.path / "survey.json"
        former = self.path / "prepare.json"
        values = read_json(former if former.is_file() and not path.is_file() else path)
        try:
            return Survey.from_record(values)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: {error!r} is missing or ill-typed; train the run again"
            ) from None

    def valid(self) -> np.ndarray | None:
        """Read the run's mask: True = use, bool, (height, width); None where it has none.

        Raises:
          UserError: if it is damaged.
        """
        found = self._arrays("mask.npz", ("valid",), "the mask", "give --mask")
        return found["valid"].astype(bool) if found else None

    def calibration(self) -> dict[str, np.ndarray]:
        """Read the run's `dark` counts and `flat` field, float32, (*spatial); those that it has.

        Raises:
          UserError: if they are damaged.
        """
        return self._arrays("calibration.npz", (), "the calibration", "give --dark and --flat")

    def coarse(self) -> Coarse | None:
        """Read the training frames in rings and wedges; None where the run keeps none of a centre.

        Raises:
          UserError: if they are damaged.
        """
        advice = "remove it, or train again"
        found = self._arrays("coarse.npz", Coarse._fields, "the coarse frames", advice)
        return Coarse(*(found[name].astype(float) for name in Coarse._fields)) if found else None

    def _arrays(
        self, name: str, needed: tuple[str, ...], what: str, advice: str
    ) -> dict[str, np.ndarray]:
        """Read the arrays of a file of the run; none where there is no such file."""
        path = self.path / name
        if not path.is_file():
            return {}
        try:
            with np.load(path, allow_pickle=False) as file:
                return {key: file[key] for key in {*needed, *file.files}}
        except (OSError, KeyError, ValueError, BadZipFile) as error:
            raise UserError(f"{path}: not {what} of a run ({error}); {advice}") from None

    def create(self, config: TrainConfig, survey: Survey, data: Measurements | None) -> None:
        """Make the folder with everything that is known before the first step; a mask of patterns.

        A run that is replaced is set aside, see `replacing`.

        Raises:
          UserError: if something else is there, or it cannot be written.
        """
        self.refuse(overwrite=config.overwrite)
        if self.path.is_dir() and any(self.path.iterdir()):
            os.replace(self.path, self.set_aside)
        with atomic_path(self.path, overwrite=config.overwrite) as folder:
            folder.mkdir()
            (folder / "config.toml").write_text(_record_of(config), encoding="utf-8")
            (folder / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n")
            (folder / "survey.json").write_text(json.dumps(survey.record(), indent=2) + "\n")
            if data is not None and len(data.spatial) == 2:
                np.savez_compressed(folder / "mask.npz", valid=data.valid.any(axis=0))
                if data.center is not None and not data.channels:
                    kept = kept_of_training(data)
                    np.savez_compressed(folder / "coarse.npz", **kept._asdict())
            known = {} if data is None else {"dark": data.dark, "flat": data.response}
            if known := {name: image for name, image in known.items() if image is not None}:
                np.savez_compressed(folder / "calibration.npz", **known)

    def has_steps(self) -> bool:
        """Whether a step is kept: a checkpoint, or the best parameters."""
        return any(Checkpoints(kept).steps() for kept in (self.checkpoints, self.best))

    @contextlib.contextmanager
    def replacing(self) -> Iterator[Callable[[], None]]:
        """Yield what says that the new run has made a step; without it a run set aside comes back."""
        made = False

        def step_made() -> None:
            nonlocal made
            if not made:
                made = True
                if (
                    self.set_aside.is_dir()
                ):  # by one move: a run of which a part is left must not come back
                    os.replace(self.set_aside, self._replaced)
                shutil.rmtree(self._replaced, ignore_errors=True)

        try:
            yield step_made
        finally:
            if not made and self.set_aside.is_dir():
                self._put_back()

    def take_back(self) -> bool:
        """Put a run back that was set aside for one that never made a step; True where there was one.

        Whoever calls it holds the folder: a training that was killed left it so. One of which a step is kept
        has replaced the other.
        """
        if not self.set_aside.is_dir() or self.has_steps():
            self._remove_replaced()
            return False
        self._put_back()
        return True

    def _put_back(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.replace(self.set_aside, self.path)

    def _remove_replaced(self) -> None:
        """Remove the run that was set aside; by one move first, as a part of it must not come back."""
        shutil.rmtree(self._replaced, ignore_errors=True)
        if self.set_aside.is_dir():
            os.replace(self.set_aside, self._replaced)
            shutil.rmtree(self._replaced, ignore_errors=True)

    def go_on(self, config: TrainConfig, survey: Survey) -> None:
        """Write down a raised number of steps; refuse to go on with other frames.

        Raises:
          UserError: if the frames are not those that the run was started with.
        """
        before, now = self.survey().record(), survey.record()
        for name in ("frames", "frame_shape", "center", "scale"):
            here, there = now[name], before[name]
            if here is None or there is None:
                continue
            if np.shape(here) != np.shape(there) or not np.allclose(here, there, rtol=1e-5, atol=0):
                raise UserError(
                    f"--resume: {config.data.path} has {name.replace('_', ' ')} {here}, and {there} when "
                    f"{self.path} was started; give it back those files, or start a new run"
                )
        with atomic_path(self.path / "config.toml", overwrite=True) as path:
            path.write_text(_record_of(config), encoding="utf-8")

    def refuse(self, *, overwrite: bool) -> None:
        """Refuse early what `create` would refuse after the data have been read.

        Raises:
          UserError: if something is there, or with `overwrite` something else than a run.
        """
        back = ", put back after a training that was killed" if self.take_back() else ""
        try:
            refuse_existing(self.path, overwrite=overwrite)
        except UserError:
            raise UserError(
                f"--run {self.path}: exists already{back}; choose another folder, go on with --resume, "
                "or replace it with --overwrite"
            ) from None
        empty = self.path.is_dir() and not any(self.path.iterdir())
        if self.path.exists() and not empty and not (self.path / "config.toml").is_file():
            raise UserError(
                f"--run {self.path}: is not a run of this program and is not replaced; choose another "
                "folder"
            )


def _geometry(values: dict[str, Any]) -> Geometry:
    told = {name: values[name] for name in FIELDS}
    fields: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in told.items()
    }
    return Geometry(**fields, sources=values["sources"])


def _unless_null(kind: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else kind(value)


def _record_of(config: TrainConfig) -> str:
    """Return the options as a run keeps them: how it was started, not that it was replaced or resumed."""
    return dump(dataclasses.replace(config, resume=False, overwrite=False))


def environment() -> dict[str, object]:
    """Return versions and hardware, to be kept beside results."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    devices = jax.devices()
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": devices[0].device_kind,
        "devices": len(devices),
        "smae_jax": version(),
        **{name: metadata.version(name) for name in packages},
    }
