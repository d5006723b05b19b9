"""A run that stays open and compiled: frames in, answers out, of one shape, as a control system calls it.

Only what acts on single frames is done here. Combining frames and keeping the sums of a scan need a block of
frames and are left to `smae-jax infer`.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from numpy.typing import ArrayLike

from smae_jax import finishing
from smae_jax.config import FramesAlone
from smae_jax.errors import UserError
from smae_jax.inference import in_counts
from smae_jax.io.raw_frames import Frames
from smae_jax.io.sentinels import usable
from smae_jax.io.single_frames import read_alone
from smae_jax.measurements import Measurements, Origin
from smae_jax.methods.protocol import Answers, Say, silent
from smae_jax.outliers import take_out
from smae_jax.run.folder import RunFolder
from smae_jax.run.restore import Opened, open_run, stages_of
from smae_jax.splitting import LARGEST
from smae_jax.training import mesh_for


class Resident:
    """Frames of one shape in, answers out; opened and compiled once.

    The answer to a frame is what `infer` answers to that frame alone: it does not depend on the frames that
    come with it.

    Attributes:
      opened: the run, with its mask, dark, flat and centre, and with its parameters on the devices.
      shape: of a frame.
      batch_size: frames that go through the network together.
      marks: values that are marks and no measurements, as `--data.marks`.
      nothing: answers to a frame without counts: `known` tells where there can be an answer.
    """

    def __init__(
        self, options: FramesAlone, *, shape: tuple[int, int] | None = None, say: Say = silent
    ) -> None:
        """Open a run, put its parameters on the devices, and compile.

        Args:
          options: which run, and how it is applied.
          shape: (height, width) of the frames; None = those of the training.
          say: receives every line that a person should read.

        Raises:
          UserError: in one line, if there is no such run, or it is not applied to single frames.
        """
        self.shape = _shape(options, shape)
        self.batch_size = options.batch_size
        self.marks = options.marks
        self.opened = self._settled(options)
        center = self.opened.data.center
        for line in () if center is None else center.warnings():
            say(line)
        if self.opened.config.train.polar:
            say(
                "note: frames that come one by one are answered by the run's first network alone; 'smae-jax "
                "infer' answers a scan with both"
            )
        if options.marks == "run":
            self.marks = self.opened.config.data.marks
        self.nothing = self.answers(_blank(self.shape, np.int32))  # compiles

    @property
    def saturation(self) -> float | None:
        """Counts from which the run takes a pixel for saturated; None = each file's own cutoff."""
        return self.opened.config.data.saturation or None

    def __call__(self, frames: ArrayLike) -> np.ndarray:
        """Denoise frames.

        Args:
          frames: (frames, height, width), or one frame (height, width), as the detector gives them: counts,
            with marks and not-a-number where a pixel has none.

        Returns:
          Expected counts, as `frames`, float32; NaN where there is no answer.

        Raises:
          UserError: in one line, if they have another shape, are no numbers, or are too large for counts.
        """
        if np.ma.is_masked(frames):
            raise UserError(
                "frames: expected an array, got a masked one; give masked pixels the detector's mark, or use "
                "frames.astype(np.float32).filled(np.nan)"
            )
        values = np.asarray(frames)
        if values.dtype.kind not in "iuf":
            raise UserError(f"frames: expected real numbers of counts, got {values.dtype}")
        if values.ndim not in (2, 3) or values.shape[-2:] != self.shape:
            raise UserError(
                f"frames: expected (frames, {self.shape[0]}, {self.shape[1]}), got {values.shape}; open the "
                "run for frames of this shape, or use one that was trained on them"
            )
        stack = values[None] if values.ndim == 2 else values
        if not len(stack):
            return np.empty(stack.shape, np.float32)
        data = read_alone(
            Frames(stack),
            range(len(stack)),
            source="frames",
            marks=self.marks,
            saturation=self.saturation,
        )
        _refuse_uncountable(values, data, outliers=self.opened.config.data.outliers)
        answers = self.answers(data).counts
        return answers[0] if values.ndim == 2 else answers

    def answers(self, data: Measurements) -> Answers:
        """Denoise frames as they were read, batch by batch.

        Args:
          data: frames of `shape`, without the run's mask.

        Returns:
          Numpy arrays, (frames, height, width): counts of each frame's exposure, NaN where there is no
          answer; where there is one; where it stands on the partner alone.
        """
        size = self.batch_size
        found = [
            self._batch(data, np.arange(start, min(start + size, data.frames)))
            for start in range(0, data.frames, size)
        ]
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)

    def _batch(self, data: Measurements, which: np.ndarray) -> Answers:
        filled_up = np.minimum(np.arange(which[0], which[0] + self.batch_size), which[-1])
        some = data.take(filled_up)
        # One type of numbers, so that nothing compiles for another.
        some = dataclasses.replace(some, counts=some.counts.astype(np.float32))
        opened = self.opened.of_frames(some, alone=True)
        own = opened.data
        own = dataclasses.replace(own, exposure=np.ascontiguousarray(own.full_exposure))
        if finishing.put_back in opened.stages:
            own = take_out(own, alone=True)
        found = in_counts(dataclasses.replace(opened, data=own).answers(), own)
        kept = slice(0, len(which))
        known = np.asarray(found.known)[kept]
        counts = np.where(known, np.asarray(found.counts)[kept], np.nan).astype(np.float32)
        return Answers(counts, known, np.asarray(found.filled)[kept])

    def _settled(self, options: FramesAlone) -> Opened:
        """Open the run on a blank frame; what it would say of those counts is nobody's concern."""
        survey = RunFolder(Path(options.run)).survey()
        blank = _blank(self.shape, np.float32, survey.mean_counts or 1.0)
        opened = open_run(options.applied(), silent, data=blank)
        method, config = opened.method, opened.config
        if opened.data.center is None or method.answers == "one" or method.whole:
            raise UserError(
                f"--run {options.run}: answers repeats together, and here frames come one by one; give a run "
                "that was trained on the frames of a scan"
            )
        totals = config.predict.conserve_totals
        if options.conserve_totals != "run":
            totals = options.conserve_totals == "yes"
        mesh = mesh_for(options.batch_size)
        predictor = dataclasses.replace(
            opened.predictor, conserve_totals=totals, batch_size=options.batch_size, mesh=mesh
        )
        parameters: Any = jax.device_put(opened.parameters, NamedSharding(mesh, PartitionSpec()))
        outliers = config.data.outliers == "put_back"
        alone: dict[Any, Any] = {
            finishing.keep_shadows: functools.partial(finishing.keep_shadows, alone=True),
            finishing.keep_measured: functools.partial(finishing.keep_measured, alone=True),
        }
        stages = tuple(
            alone.get(stage, stage)
            for stage in stages_of(options.applied(), conserve_totals=totals, outliers=outliers)
        )
        return dataclasses.replace(
            opened, predictor=predictor, parameters=parameters, stages=stages
        )


def _shape(options: FramesAlone, given: tuple[int, int] | None) -> tuple[int, int]:
    """Return the shape of the frames: as given, else as trained."""
    if not options.run:
        raise UserError("--run: expected a run folder made by 'smae-jax train', got none")
    folder = RunFolder(Path(options.run))
    folder.config()  # says what is wrong, if there is no run
    survey = folder.survey()
    if survey.frame_shape is None and (given is None or options.center == "run"):
        raise UserError(
            f"--run {options.run}: was made of a published checkpoint and knows no detector; give the shape "
            "of the frames, and --center y,x"
        )
    shape = given or survey.frame_shape or ()
    if len(shape) != 2:
        raise UserError(
            f"--run {options.run}: was trained on measurements of {shape}; expected a run of frames of a scan"
        )
    return int(shape[0]), int(shape[1])


def _refuse_uncountable(values: np.ndarray, data: Measurements, *, outliers: str) -> None:
    """Refuse what `infer` refuses: too many counts for a pixel, and nothing but numbers that are marks."""
    most = data.counts.max(initial=0)
    if most > LARGEST and outliers != "keep":
        most = take_out(data, alone=True).counts.max(initial=0)
    if most > LARGEST:
        raise UserError(
            f"frames: hold {most:,} counts in a pixel, and more than {LARGEST:,} are no counts of photons; "
            "is it a mark? put not-a-number there, or divide what was multiplied"
        )
    if values.dtype.kind == "f" and not data.counts.any():
        odd = values[np.isfinite(values) & (values != 0) & ~usable(values)]
        if odd.size:
            raise UserError(
                f"frames: hold no counts but 0 beside numbers such as {odd[0]:.3g}, which are taken for "
                "marks; expected counts of photons"
            )


def _blank(shape: tuple[int, int], dtype: Any, value: float = 0) -> Measurements:
    """Return one frame of a constant count."""
    counts = np.full((1, *shape), value, dtype)
    return Measurements(counts, np.ones((1, *shape), np.float32), origin=Origin(source="frames"))
