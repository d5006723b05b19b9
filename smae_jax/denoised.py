"""What a denoiser made of measurements, for notebooks: arrays, pictures and files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from smae_jax.data.raw_repeats import split_label
from smae_jax.data.repeats import Repeats
from smae_jax.data.repeats_writers import write_repeats
from smae_jax.data.writers import write_frames
from smae_jax.evaluation.figures import denoised_figure
from smae_jax.measurements import Data, spectra_figure
from smae_jax.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Result:
    """What a denoiser made of data.

    Attributes:
      counts: expected counts, float32, NaN where there is no answer: (frames, height, width) for a scan,
        (*spatial[, channel]) where there is one answer to all repeats, else as the data.
      sigma: uncertainty of `counts`; None where the method gives none.
      filled: pixels answered from their partner alone, bool; None where there are none.
      data: what was denoised.
      run: folder of the training whose network made it.
    """

    counts: np.ndarray
    sigma: np.ndarray | None
    filled: np.ndarray | None
    data: Data
    run: Path

    def plot(self, frame: int = 0, **options: Any) -> Figure:
        """Draw before and after: spectra as `spectrum_figure` does, patterns as `denoised_figure`.

        Args:
          frame: which repeat or frame, where there are several results.
          options: of these, e.g. `ranges=[(2.5, 7.5)]`, `reference=mean`, or `truth=frames`.

        Raises:
          ValueError: for volumes, or a range that holds no channel.
        """
        data = self.data
        if data.dimensions == 2:
            together = self.counts.ndim < data.counts.ndim
            counts = data.counts.mean(axis=0, keepdims=True) if together else data.counts
            answer = self.counts[None] if together else self.counts
            valid = np.broadcast_to(data.valid, data.counts.shape)
            valid = valid.any(axis=0, keepdims=True) if together else valid
            options = {"filled": self.filled, **options}
            return denoised_figure(counts, answer, valid=valid, frame=frame, **options)
        several = self.counts.ndim == data.counts.ndim
        if several:
            data = dataclasses.replace(
                data,
                counts=data.counts[frame : frame + 1],
                valid=data.valid if len(data.valid) == 1 else data.valid[frame : frame + 1],
                exposure=data.exposure[frame : frame + 1],
            )
        answer, sigma = (
            part if part is None or not several else part[frame]
            for part in (self.counts, self.sigma)
        )
        metrics = RunFolder(self.run).metrics
        found = {"metrics": metrics} if metrics.is_file() else {}
        return spectra_figure(data, answer, sigma, found | options)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the result as the suffix says, with axis and uncertainties, as `smae-jax infer` does.

        Raises:
          ValueError: in one line, if the output exists or cannot be written.
        """
        data, process = self.data, {"run": str(self.run)}
        if data.dimensions == 2 and self.counts.ndim == data.counts.ndim and not data.channels:
            filled = np.zeros(self.counts.shape, bool) if self.filled is None else self.filled
            write_frames(
                str(path),
                np.nan_to_num(self.counts),
                valid=np.isfinite(self.counts) & ~filled,
                filled=filled,
                sigma=self.sigma,
                sources=data.names,
                process=process,
                overwrite=overwrite,
            )
            return
        write_repeats(
            str(path),
            self.counts,
            like=_repeats_of(data),
            sigma=self.sigma,
            process=process,
            overwrite=overwrite,
        )


def _repeats_of(data: Data) -> Repeats:
    name, unit = ("", "") if data.axis is None else split_label(data.axis_label)
    return Repeats(
        counts=data.counts,
        valid=data.valid,
        exposure=data.exposure,
        axis=data.axis,
        axis_name="" if name == "axis" else name,
        axis_unit=unit,
        names=data.names,
        source=str(data.options.get("path", "arrays")),
        dtype=data.counts.dtype.name,
        notes=data.notes,
        channels=data.channels,
    )
