"""What is judged, and what it is judged by: a run on some frames of its input, and their reference."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from smae_jax.cautions import counted
from smae_jax.config import ApplyOptions, JudgeOptions, SomeFrames
from smae_jax.errors import UserError
from smae_jax.evaluation.estimators import subset
from smae_jax.evaluation.judging import refuse_same
from smae_jax.evaluation.with_reference import Reference, make_reference
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Say
from smae_jax.outliers import mask_outliers, take_out
from smae_jax.run.restore import Opened, calibrated_as_run, open_run, read_input


def open_judged(options: SomeFrames, say: Say) -> tuple[Opened, int]:
    """Open a run on the frames that are judged: where they are a part of the scan, they are answered alone.

    Args:
      options: which run, which frames, how many of them.
      say: receives every line that a person should read.

    Returns:
      (the run on these frames, number of frames before some were chosen).

    Raises:
      UserError: in one line, for anything that a user can mend.
    """
    opened = open_run(options, say)
    whole = opened.data.frames
    if options.frames and opened.data.center is None:
        raise UserError("--frames: is for scans; choose repeats with --repeats 0:4 instead")
    chosen = list(subset(whole, options.frames))
    if len(chosen) < whole:
        opened = dataclasses.replace(
            opened, data=opened.data.take(chosen), scale=opened.scale[chosen]
        )
    opened = _without_outliers(opened, say)
    if not opened.data.counts.any():
        raise UserError(
            f"--input {options.input}: nothing was counted in the {counted(opened.data.frames, 'frame')} to "
            "look at, outside mask and hot pixels; was the shutter closed? Choose others with --repeats"
        )
    return opened, whole


def _without_outliers(opened: Opened, say: Say) -> Opened:
    """Leave counts that stand out unjudged: one of them would outweigh all others."""
    if opened.config.data.outliers != "put_back":
        return opened
    calm = take_out(opened.data)
    if calm.outliers is None:
        return opened
    say(f"not judged: {counted(len(calm.outliers.counts), 'count')} far above all about them")
    return dataclasses.replace(opened, data=mask_outliers(calm))


def how_answered(frames: int, whole: int) -> str:
    """Say how frames of a scan are answered: what `infer` writes rests on all of them.

    >>> print(how_answered(8, 8))
    8 frames are answered as by infer
    """
    some, verb = counted(frames, "frame"), "is" if frames == 1 else "are"
    if frames == whole:
        return f"{some} {verb} answered as by infer"
    return (
        f"{some} of {whole} {verb} answered apart from the others (--frames); infer, which sees all of them, "
        "may answer otherwise"
    )


def refuse_repeats(options: SomeFrames, opened: Opened) -> None:
    """Refuse what is no scan of patterns.

    Raises:
      UserError: in one line.
    """
    data = opened.data
    if data.center is None or len(data.spatial) != 2 or opened.method.answers == "one":
        raise UserError(
            f"--run {options.run}: expected a run on the patterns of a scan, got one on repeats, which have "
            "one answer together; smae-jax evaluate judges these"
        )


def read_reference(options: JudgeOptions, opened: Opened) -> Measurements:
    """Read the reference as the run reads its own measurements.

    Raises:
      UserError: in one line, if it cannot be read.
    """
    names = (field.name for field in dataclasses.fields(ApplyOptions))
    of_reference = dataclasses.replace(
        ApplyOptions(**{name: getattr(options, name) for name in names}),
        input=options.reference,
        repeats=options.reference_repeats or "all",
        monitor="",
    )
    try:
        found = read_input(of_reference, opened.config)
    except UserError as error:
        told = re.sub(r"--(data\.)?repeats\b", "--reference-repeats", str(error))
        raise UserError(told) from error
    found = dataclasses.replace(found, integrated=opened.data.integrated)
    return calibrated_as_run(of_reference, opened.folder, opened.config, found)


def reference_of(
    options: JudgeOptions, found: Measurements, data: Measurements, which: np.ndarray, whole: int
) -> Reference:
    """Pair a reference with frames of a scan, and bring it to their scale.

    Args:
      options: how it is paired.
      found: the reference as read.
      data: the frames.
      which: their numbers in the input, from 0, (frames,).
      whole: number of frames of the input.

    Raises:
      UserError: in one line, if it cannot be paired, or holds a frame that it is to judge.
    """
    refuse_same(found, data, path=options.reference, kind="frame")
    if data.frames < whole == found.frames and options.pairing != "mean":
        found = found.take(which)
    return make_reference(found, data, pairing=options.pairing, noise=options.reference_noise)
