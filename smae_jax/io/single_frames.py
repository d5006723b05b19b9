"""Frames that are read one by one, each as if there were no other: of a scan that is still being measured.

What `scans` decides of a whole scan (which values are marks) is decided here of every frame alone, with what
a training found out before. So a frame reads the same whenever it comes, and whatever comes with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from smae_jax.io.marks import Tally, decide_marks, parse_marks
from smae_jax.io.raw_frames import Frames
from smae_jax.io.scans import decide
from smae_jax.io.whole_numbers import type_of_all
from smae_jax.measurements import Measurements, Origin


def read_alone(
    frames: Frames,
    wanted: Sequence[int],
    *,
    source: str,
    name: str = "",
    marks: str = "auto",
    saturation: float | None = None,
) -> Measurements:
    """Read frames, and decide of each alone which pixels are measurements.

    Args:
      frames: of one file, or of an array at hand.
      wanted: indices, ascending, one at least.
      source: what they are read from, for messages.
      name: what they are named after; "" = `source`.
      marks: which values are marks, as a run keeps it.
      saturation: counts from which a pixel is saturated; None = the file's own cutoff.

    Returns:
      The frames; exposure (frames, height, width), 1 where a pixel is a measurement.
    """
    asked, header = parse_marks(marks), frames.header
    cutoff = header.count_cutoff if saturation is None else saturation
    counts, valid = list[np.ndarray](), list[np.ndarray]()
    for first, last in frames.runs(wanted):
        values, bad = frames.begin(first, last)(), frames.bad(first, last)
        masks = [None] * len(values) if bad is None else np.broadcast_to(bad, values.shape)
        for frame, mask in zip(values, masks, strict=True):
            tally = Tally(asked.values)
            tally.add(frame, mask, header.bit_depth)
            own, usable, _ = decide(frame[None], cutoff, mask, decide_marks(tally, asked))
            counts.append(own)
            valid.append(usable)
    kind = type_of_all(counts)
    labels = frames.labels(name or source)
    dtype = np.dtype(frames.values.dtype).name
    return Measurements(
        np.concatenate(counts, dtype=kind, casting="unsafe"),
        np.concatenate(valid).astype(np.float32),
        geometry=header.geometry,
        names=tuple(labels[index] for index in wanted),
        origin=Origin(source=source, dtype=dtype, marks=marks),
    )


def joined(parts: Sequence[Measurements]) -> Measurements:
    """Put frames that were read alone behind one another; the first part tells the rest."""
    kind = type_of_all(one.counts for one in parts)
    return dataclasses.replace(
        parts[0],
        counts=np.concatenate([one.counts for one in parts], dtype=kind, casting="unsafe"),
        exposure=np.concatenate([one.exposure for one in parts]),
        names=tuple(name for one in parts for name in one.names),
    )
