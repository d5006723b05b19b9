"""Spectra of Amptek's multichannel analysers (`.mca` text): counts, calibration and live time."""

from __future__ import annotations

import re

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.raw_repeats import RawRepeats
from smae_jax.io.text_lines import read_characters

_FIRST = "<<PMCA SPECTRUM>>"


def is_amptek(path: str) -> bool:
    """Whether a file begins as Amptek's do."""
    try:
        with open(path, "rb") as file:
            return file.read(64).lstrip(b"\xef\xbb\xbf \r\n").startswith(_FIRST.encode())
    except OSError:
        return False  # the reader that opens it says why


def read_amptek(path: str) -> RawRepeats:
    """Read the spectrum of one file.

    Args:
      path: text with `<<PMCA SPECTRUM>>`, `<<CALIBRATION>>` and `<<DATA>>`.

    Returns:
      Values (1, channels), int64. The axis is the straight line through the calibration points; None where
      there are fewer than two. The exposure is the live time.

    Raises:
      UserError: in one line, if the counts are missing, cut off or no whole numbers.
    """
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", read_characters(path))]
    counts = _counts(path, lines)
    tags = dict(re.split(r"\s+-\s+", line, maxsplit=1) for line in lines if " - " in line)
    live, notes = _figure(tags.get("LIVE_TIME", "")), list[str]()
    exposure = None
    if live is not None and live > 0:
        exposure = np.array([live])
        notes.append("exposure: the live time")
    axis, unit = _axis(lines, len(counts)), tags.get("LABEL", "").strip()
    if axis is None:
        notes.append("no calibration of two points: the axis is channel numbers")
        return RawRepeats(counts[None], exposure=exposure, notes=tuple(notes), oriented=True)
    unit = "" if unit.lower().startswith("channel") else unit
    notes.append(f"axis by the calibration, {axis[0]:g} to {axis[-1]:g} {unit}".rstrip())
    return RawRepeats(
        counts[None], axis, "energy", unit, exposure=exposure, notes=tuple(notes), oriented=True
    )


def _counts(path: str, lines: list[str]) -> np.ndarray:
    if "<<DATA>>" not in lines:
        raise UserError(f"{path}: has no <<DATA>>; is the file complete?")
    first = lines.index("<<DATA>>") + 1
    counts = list[int]()
    for number, line in enumerate(lines[first:], first + 1):
        if line == "<<END>>":
            if counts:
                return np.array(counts, np.int64)
            break
        if not line:
            continue
        if not re.fullmatch(r"\d{1,15}", line):
            raise UserError(
                f"{path}: line {number}: expected the counts of a channel, got '{line[:40]}'; is it damaged?"
            )
        counts.append(int(line))
    raise UserError(
        f"{path}: {len(counts)} channels and no <<END>> behind them; the file is cut off, write it again"
    )


def _axis(lines: list[str], channels: int) -> np.ndarray | None:
    """Return what the calibration points make of channel numbers, counted from 0."""
    if "<<CALIBRATION>>" not in lines:
        return None
    points = list[tuple[float, float]]()
    for line in lines[lines.index("<<CALIBRATION>>") + 1 :]:
        if line.startswith("<<"):
            break
        pair = [_figure(text) for text in line.split()]
        if len(pair) == 2 and pair[0] is not None and pair[1] is not None:
            points.append((pair[0], pair[1]))
    if len({channel for channel, _ in points}) < 2:
        return None
    channel, value = np.array(points).T
    centred = channel - channel.mean()
    slope = float(centred @ value / (centred @ centred))
    axis = value.mean() + slope * (np.arange(channels) - channel.mean())
    return axis if slope and np.isfinite(axis).all() else None


def _figure(text: str) -> float | None:
    """Return a finite number of a sane size, or None."""
    if not re.fullmatch(r"[+-]?\d+([.,]\d*)?([eE][+-]?\d{1,2})?", text.strip()):
        return None
    value = float(text.strip().replace(",", "."))
    return value if abs(value) < 1e12 else None
