"""smae_jax in a notebook: load, train, denoise, plot; arrays in, arrays out.

    import smae_jax

    spectra = smae_jax.load("xrf_spectra.csv", repeats="0:4", axis_label="energy (keV)")
    denoiser = smae_jax.train(spectra, method="noise2noise")
    result = denoiser.denoise()
    result.counts, result.sigma
    result.plot(ranges=[(2.5, 7.5)])

Every function calls what the command line calls: a training leaves the same run folder, which
`smae-jax infer` takes as well, and `open_run` takes the folder of a training from the command line.
"""

from __future__ import annotations

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

from smae_jax.commands.infer import infer
from smae_jax.commands.shipped import shipped_config
from smae_jax.commands.train import train as train_run
from smae_jax.config import InferConfig, TrainConfig
from smae_jax.config_file import from_dict
from smae_jax.config_file import load as load_config
from smae_jax.data.results import read_result
from smae_jax.denoised import Result
from smae_jax.evaluation.loss_figure import loss_figure, read_losses
from smae_jax.measurements import Data, as_files, from_arrays, is_scan, load
from smae_jax.run_folder import RunFolder

__all__ = ["Data", "Denoiser", "Result", "from_arrays", "load", "open_run", "train"]


def train(
    data: Data | ArrayLike,
    *,
    method: str = "",
    model: str = "",
    steps: int = 0,
    seed: int = 0,
    loss: str = "",
    run: str | Path = "",
    config: str | Path = "",
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    verbose: bool = True,
) -> Denoiser:
    """Train a denoiser, with a progress bar; what `smae-jax train` does.

    Args:
      data: from `load` or `from_arrays`; an array is taken as by `from_arrays`.
      method: how it learns: `noise2noise`, `thinning`, `smae`, ...; "" = as the config says.
      model: network; "" = as the config says.
      steps: optimizer steps; 0 = as the config says.
      seed: of every random number.
      loss: such as `poisson`; "" = as the config says.
      run: folder to keep; "" = a temporary one that lasts as long as the denoiser.
      config: TOML file; "" = the one that comes with the program: `spectra` for spectra and volumes,
        `thinning` for patterns; examples of repeated patterns are 64 points a side, of volumes 32.
      options: any other option by its name on the command line, e.g. `{"train.batch_size": 8}`.
      overwrite: replace the run folder if it exists.
      verbose: say what was understood and chosen.

    Returns:
      The denoiser.

    Raises:
      ValueError: in one line, for anything that the command line would refuse.
    """
    data = data if isinstance(data, Data) else from_arrays(data)
    scratch = Path(tempfile.mkdtemp(prefix="smae_jax-"))
    folder = Path(run) if run else scratch / "run"
    base = load_config(
        config or shipped_config("thinning" if is_scan(data) else "spectra"), TrainConfig
    )
    named = {"method": method, "model": model, "loss": loss, "train.steps": steps}
    patch = {2: 64, 3: 32}.get(data.dimensions)
    small = {"train.patch": patch} if patch and not config and not is_scan(data) else {}
    denoiser = Denoiser(folder, data, scratch)
    chosen = {
        **{f"data.{k}": v for k, v in as_files(data, scratch).items() if v is not None},
        **small,
        **{name: value for name, value in named.items() if value},
        **(options or {}),
        "seed": seed,
        "run": str(folder),
        "overwrite": overwrite,
    }
    wanted = from_dict(_nested(chosen), TrainConfig, where="train", default=base)

    def say(line: str) -> None:
        if verbose and str(scratch) not in line:  # where a temporary run lies is nobody's concern
            _say(line)

    train_run(wanted, say)
    return denoiser


def open_run(run: str | Path) -> Denoiser:
    """Take a training from before, from a notebook or the command line.

    Args:
      run: its folder.

    Raises:
      ValueError: in one line, if there is none.
    """
    RunFolder(Path(run)).config()
    return Denoiser(Path(run), None)


class Denoiser:
    """A finished training.

    Attributes:
      run: its folder.
      data: what it was trained on; None where it was opened.
    """

    def __init__(self, run: Path, data: Data | None, scratch: Path | None = None) -> None:
        """Take over a temporary folder, which goes when the denoiser does."""
        self.run, self.data = run, data
        if scratch is not None:
            weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)

    @property
    def config(self) -> TrainConfig:
        """The options that it was trained with."""
        return RunFolder(self.run).config()

    def denoise(
        self, data: Data | ArrayLike | None = None, *, verbose: bool = False, **options: Any
    ) -> Result:
        """Denoise, as `smae-jax infer` does.

        Args:
          data: from `load` or `from_arrays`, or an array; None = what it was trained on.
          verbose: say what was done.
          options: as of `smae-jax infer`: `sigma=True` (error bars of patterns), `checkpoint`, `rule`, ...

        Returns:
          The result, in counts.

        Raises:
          ValueError: in one line, if the data do not fit, or there are none.
        """
        if data is None and self.data is None:
            raise ValueError("denoise: this run was opened without data; give some")
        if data is None:
            data = self.data
        elif not isinstance(data, Data):
            data = from_arrays(data)
        assert data is not None, "either is there"
        with tempfile.TemporaryDirectory(prefix="smae_jax-") as scratch:
            files = as_files(data, Path(scratch), trained=self.config.data)
            asked: dict[str, Any] = {"run": str(self.run), "input": files["path"], **options}
            asked["output"] = f"{scratch}/denoised.h5"
            if not is_scan(data):
                asked["repeats"] = files.get("repeats") or "all"
            if "mask" in files:
                asked |= {name: files[name] for name in ("mask", "mask_polarity") if name in files}
            infer(from_dict(asked, InferConfig, where="denoise"), _say if verbose else _silent)
            counts, sigma, filled = read_result(asked["output"])
        if len(counts) == 1 and not is_scan(data):
            counts, sigma = counts[0], None if sigma is None else sigma[0]
        return Result(counts, sigma, filled, data, self.run)

    def losses(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return (steps, values) of the training loss and of the validation loss, by name."""
        path = RunFolder(self.run).metrics
        return {name: read_losses(path, name) for name in ("loss", "validation_loss")}

    def plot_losses(self) -> Figure:
        """Draw the losses of the training."""
        return loss_figure(RunFolder(self.run).metrics)


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
