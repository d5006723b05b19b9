"""smae_jax as a library: the nine calls of a training, and trainings of one line for notebooks.

    import smae_jax

    spectra = smae_jax.read("xrf_spectra.csv", repeats="0:4", axis_label="energy (keV)")
    denoiser = smae_jax.train(spectra, method="noise2noise")
    result = denoiser.denoise()
    result.counts, result.sigma
    result.plot(ranges=[(2.5, 7.5)])

`train` and `denoise` do what the command line does: a training leaves the same run folder, which
`smae-jax infer` takes as well, and `open_run` takes the folder of a training from the command line.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from smae_jax import losses, models
from smae_jax.arrays import from_arrays
from smae_jax.commands.infer import answer
from smae_jax.commands.train import train as train_run
from smae_jax.config import DataOptions, FramesAlone, InferConfig, TrainConfig
from smae_jax.config_file import from_dict
from smae_jax.config_file import load as load_config
from smae_jax.errors import UserError
from smae_jax.figures.frames import denoised_figure
from smae_jax.figures.losses import loss_figure, read_losses
from smae_jax.figures.spectrum import spectrum_figure
from smae_jax.finishing import STAGES, finish
from smae_jax.geometry import Center
from smae_jax.inference import predict
from smae_jax.io.writing import write
from smae_jax.measurements import Axis, Measurements
from smae_jax.methods import (
    Answers,
    Batch,
    DeepImagePrior,
    Masked,
    Method,
    Noise2Noise,
    Noise2Void,
    Pair,
    Smae,
    Supervised,
    Thinning,
    ZeroShot,
)
from smae_jax.methods.own import OwnMethod, adapted
from smae_jax.placing import Placing, place
from smae_jax.run.data import read_data
from smae_jax.run.folder import RunFolder
from smae_jax.run.resident import Resident
from smae_jax.run.restore import open_run as open_for
from smae_jax.run.shipped import shipped_config
from smae_jax.training import Loop, fit, make_optimizer, make_schedule, make_step

__all__ = [
    "STAGES",
    "Answers",
    "Axis",
    "Batch",
    "Center",
    "DeepImagePrior",
    "Denoiser",
    "Loop",
    "Masked",
    "Measurements",
    "Method",
    "Noise2Noise",
    "Noise2Void",
    "Pair",
    "Placing",
    "Result",
    "Smae",
    "Supervised",
    "Thinning",
    "UserError",
    "ZeroShot",
    "finish",
    "fit",
    "from_arrays",
    "losses",
    "make_optimizer",
    "make_schedule",
    "make_step",
    "open_run",
    "place",
    "predict",
    "read",
    "train",
    "unet",
]


OF_TRAINING = ("crop", "scale", "augment")
"""Options of `--data` that a training needs and reading does not."""


def read(path: str | Path, **options: Any) -> Measurements:
    """Read measurements from files, as a training of the command line does.

    Args:
      path: as `--data.path`: detector frames, spectra in text, arrays, HDF5, a folder.
      options: as `--data.*`: `mask="mask.tif"`, `mask_polarity="good"`, `center="490.5,410"`,
        `repeats="0:4"`, `dimensions=1`, `axis_label="energy (keV)"`, ...

    Returns:
      The measurements. Text files, and anything with `dimensions`, are repeats; other patterns are a scan of
      centro-symmetric ones, with their centre.

    Raises:
      UserError: in one line, if an option is unknown or the files cannot be read.
    """
    wanted = from_dict({"path": str(path), **options}, DataOptions, where="read")
    for name in options:
        if name in OF_TRAINING:
            raise UserError(
                f"read: {name}: says how measurements are trained on, not how they are read; give it to "
                f'train, as options={{"data.{name}": ...}}'
            )
    return read_data(wanted)


def unet(method: Method | OwnMethod, **options: Any) -> models.Network:
    """Return the default network, as wide as a method asks.

    Args:
      method: settled; or an object of one's own.
      options: of `models.build`, such as `widths=(32, 64)`, `precision="bfloat16"`.
    """
    method = adapted(method)
    head = "auto" if method.sees_measurement else "direct"
    measurements = method.source_channels // 2
    chosen = {"head": head, "measurements": measurements, "outputs": method.outputs, **options}
    return models.build("unet", **chosen)


def train(
    data: Measurements | ArrayLike,
    *,
    method: str = "",
    steps: int = 0,
    run: str | Path = "",
    config: str | Path = "",
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    verbose: bool = True,
) -> Denoiser:
    """Train a denoiser, with a progress bar; what `smae-jax train` does.

    Args:
      data: from `read` or `from_arrays`; an array is taken as by `from_arrays`.
      method: how it learns: `noise2noise`, `thinning`, `smae`, ...; "" = as the config says.
      steps: optimizer steps; 0 = as the config says.
      run: folder to keep; "" = a temporary one that lasts as long as the denoiser.
      config: TOML file; "" = the one that comes with the program: `spectra` for spectra and volumes,
        `thinning` for patterns; examples of repeated patterns are 64 points a side, of volumes 32.
      options: any other option by its name on the command line, e.g. `{"train.batch_size": 8, "seed": 7}`.
      overwrite: replace the run folder if it exists.
      verbose: say what was understood and chosen.

    Returns:
      The denoiser.

    Raises:
      UserError: in one line, for anything that the command line would refuse.
    """
    _refuse_reading(options or {})
    data = data if isinstance(data, Measurements) else from_arrays(data)
    scratch = Path(tempfile.mkdtemp(prefix="smae_jax-"))
    folder = Path(run) if run else scratch / "run"
    scan = data.center is not None
    base = load_config(config or shipped_config("thinning" if scan else "spectra"), TrainConfig)
    denoiser = Denoiser(folder, data, scratch)
    patch = {2: 64, 3: 32}.get(len(data.spatial))
    chosen: dict[str, Any] = {"data.dimensions": 0 if scan else len(data.spatial)}
    if patch and not config and not scan:
        chosen["train.patch"] = patch
    chosen |= {
        key: value for key, value in {"method": method, "train.steps": steps}.items() if value
    }
    chosen |= {**(options or {}), "run": str(folder), "overwrite": overwrite}
    wanted = from_dict(_nested(chosen), TrainConfig, where="train", default=base)

    def say(line: str) -> None:
        if verbose and str(scratch) not in line:  # where a temporary run lies is nobody's concern
            _say(line)

    train_run(wanted, say, data=data)
    return denoiser


def open_run(run: str | Path) -> Denoiser:
    """Take a training from before, from a notebook or the command line.

    Args:
      run: its folder.

    Raises:
      UserError: in one line, if there is none.
    """
    return Denoiser(run)


class Denoiser:
    """A finished training.

    Attributes:
      run: its folder.
      data: what it was trained on; None where it was opened.
    """

    def __init__(
        self, run: str | Path, data: Measurements | None = None, scratch: Path | None = None
    ) -> None:
        """Take a run, and a temporary folder that goes when the denoiser does.

        Args:
          run: its folder.
          data: what it is about to be trained on; None = it was trained before.
          scratch: the temporary folder.

        Raises:
          UserError: in one line, if there is no run.
        """
        self.run, self.data = Path(run), data
        if data is None:
            RunFolder(self.run).config()
        self._resident: Resident | None = None
        if scratch is not None:
            weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)

    @property
    def config(self) -> TrainConfig:
        """The options that it was trained with."""
        return RunFolder(self.run).config()

    def denoise(
        self, data: Measurements | ArrayLike | None = None, *, verbose: bool = False, **options: Any
    ) -> Result:
        """Denoise, as `smae-jax infer` does.

        Args:
          data: from `read` or `from_arrays`, or an array; None = what it was trained on.
          verbose: say what was done.
          options: as of `smae-jax infer`: `sigma=True` (error bars of patterns), `checkpoint`, `rule`, ...

        Returns:
          The result, in counts.

        Raises:
          UserError: in one line, if the data do not fit, or there are none.
        """
        if data is None and self.data is None:
            raise UserError("denoise: this run was opened without data; give some")
        if data is None:
            data = self.data
        elif not isinstance(data, Measurements):
            scan = RunFolder(self.run).survey().center is not None
            dimensions = 0 if scan else self.config.data.dimensions
            data = from_arrays(data, dimensions=dimensions)
        asked = from_dict({"run": str(self.run), **options}, InferConfig, where="denoise")
        say = _say if verbose else _silent
        opened = open_for(asked, say, data=data)
        return Result(answer(asked, opened, say), opened.data, self.run)

    def __call__(self, frames: ArrayLike) -> np.ndarray:
        """Denoise frames one by one, by what the first call opened and compiled; see `resident`.

        Args:
          frames: (frames, height, width), or one frame, in counts, as the detector gives them.

        Returns:
          Expected counts, as `frames`, float32; NaN where there is no answer.

        Raises:
          UserError: in one line, if they are no frames as those of the training.
        """
        if self._resident is None:
            self._resident = self.resident()
        return self._resident(frames)

    def resident(self, *, shape: tuple[int, int] | None = None, **options: Any) -> Resident:
        """Open and compile the run for frames that come one by one, as a control system has them.

        Args:
          shape: (height, width) of the frames; None = those of the training.
          options: as of `smae-jax watch`: `batch_size=8`, `conserve_totals="no"`, `keep_significant=0`, ...
            Stages that need several frames (combine, keep_sums) are none of them.

        Returns:
          A function from frames to answers.

        Raises:
          UserError: in one line, if the run is not applied to single frames.
        """
        asked = from_dict({"run": str(self.run), **options}, FramesAlone, where="resident")
        return Resident(asked, shape=shape, say=_silent)

    def losses(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return (steps, values) of the training loss and of the validation loss, by name."""
        path = RunFolder(self.run).metrics
        return {name: read_losses(path, name) for name in ("loss", "validation_loss")}

    def plot_losses(self) -> Figure:
        """Draw the losses of the training."""
        return loss_figure(RunFolder(self.run).metrics)


@dataclasses.dataclass(frozen=True)
class Result:
    """What a denoiser made of measurements.

    Attributes:
      answers: with a leading axis, of 1 where all repeats have one answer.
      data: what was denoised.
      run: folder of the training whose network made it.
    """

    answers: Answers
    data: Measurements
    run: Path

    @property
    def together(self) -> bool:
        """Whether all repeats have one answer."""
        return self.data.center is None and len(self.answers.counts) == 1

    @property
    def counts(self) -> np.ndarray:
        """Expected counts, float32, NaN where there is no answer; (*spatial[, channel]) for one answer."""
        return self.answers.counts[0] if self.together else self.answers.counts

    @property
    def sigma(self) -> np.ndarray | None:
        """One standard deviation of `counts`; None where the method gives none."""
        sigma = self.answers.sigma
        return sigma[0] if self.together and sigma is not None else sigma

    @property
    def filled(self) -> np.ndarray:
        """Pixels answered from their partner alone, bool, as `counts`."""
        return self.answers.filled[0] if self.together else self.answers.filled

    def plot(self, frame: int = 0, **options: Any) -> Figure:
        """Draw before and after: spectra as `spectrum_figure` does, patterns as `denoised_figure`.

        Args:
          frame: which one, where there are several answers.
          options: of these, e.g. `ranges=[(2.5, 7.5)]`, `reference={"mean of 28": mean}`.

        Raises:
          UserError: for volumes, channels, or a range that holds no channel.
        """
        data, together = self.data, self.together
        if len(data.spatial) == 3 or data.channels:
            raise UserError(
                f"plot: expected spectra or patterns, got {data.counts.shape[1:]}; draw a cut of the arrays"
            )
        index = 0 if together else frame
        if len(data.spatial) == 2:
            filled = self.answers.filled
            return denoised_figure(
                data, self.answers.counts, **{"filled": filled, "frame": index, **options}
            )
        metrics = RunFolder(self.run).metrics
        sigma = self.answers.sigma
        chosen: dict[str, Any] = {"metrics": metrics} if metrics.is_file() else {}
        return spectrum_figure(
            data if together else data.take([frame]),
            self.answers.counts[index],
            None if sigma is None else sigma[index],
            **chosen | options,
        )

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the result as the suffix says, with axis and uncertainties, as `smae-jax infer` does.

        Raises:
          UserError: in one line, if the output exists or cannot be written.
        """
        answers = self.answers
        write(
            str(path),
            answers.counts,
            self.data,
            known=answers.known,
            filled=answers.filled,
            sigma=answers.sigma,
            process={"run": str(self.run)} | dict(answers.done),
            overwrite=overwrite,
        )


def _refuse_reading(options: Mapping[str, Any]) -> None:
    """Refuse options that say how files are read: the measurements are at hand."""
    known = {field.name for field in dataclasses.fields(DataOptions)}
    for name in options:
        group, _, last = name.partition(".")
        if group == "data" and last in known - {*OF_TRAINING, "reference", "pair_by"}:
            raise UserError(
                f"train: {name}: says how files are read, and the measurements are at hand; give it to read "
                "or from_arrays"
            )


def _nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `{"train.steps": 4}` into `{"train": {"steps": 4}}`; tuples into the lists of a config."""
    nested: dict[str, Any] = {}
    for name, value in options.items():
        *groups, last = name.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = list(value) if isinstance(value, tuple) else value
    return nested


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _silent(line: str) -> None:
    del line
