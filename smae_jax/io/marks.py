"""What the marks of a scan are: decided by how values behave over frames spread over it.

A mark stands at the same pixels in all frames, at a number where counters of detectors end, apart from all
that was counted. The type that it is saved in does not tell: 65535 of a 16-bit counter may come as a float.
"""

from __future__ import annotations

import dataclasses
import math
import re
import zlib

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.sentinels import Marks, equal, largest_of, usable
from smae_jax.io.unit_of_counts import unit_in

FRAMES = 16
"""Most frames that are looked at."""
_BITS = (8, 10, 12, 14, 16, 20, 24, 31, 32)
_STEADY = 0.9  # share of the frames in which a mark stands in its place
_SURELY_A_MARK = 2**30  # no counter is filled by photons up to here
_TRACKED = 16  # different negative values that are looked at
_FLICKER = 1e-3  # share of the pixels of a typical frame; marks that come and go are fewer
_SPREAD = 3  # so many negative values that come and go are no marks


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the user says of marks.

    Attributes:
      text: as given.
      auto: whether marks are looked for.
      signed: whether negative values are measurements.
      values: marks that are known already.
    """

    text: str = "auto"
    auto: bool = True
    signed: bool = False
    values: tuple[float, ...] = ()


def parse_marks(text: str, option: str = "--data.marks") -> Asked:
    """Read `auto`, `none`, `signed`, values, or several of them.

    Raises:
      UserError: if it is none of these.

    >>> parse_marks("auto,65535").values, parse_marks("none").auto
    ((65535,), False)
    """
    words, values = set[str](), list[float]()
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part in ("auto", "none", "signed"):
            words.add(part)
            continue
        try:
            values.append(int(part) if re.fullmatch(r"[+-]?\d{1,20}", part) else float(part))
        except ValueError:
            values.append(math.nan)
    wrong = not (words or values) or not all(map(math.isfinite, values))
    if wrong or ("none" in words and (len(words) > 1 or values)):
        raise UserError(
            f"{option}: expected auto, none, signed (negative values are measurements), or values such as "
            f"65535 or auto,65535, got '{text}'"
        )
    auto = bool({"auto", "signed"} & words)
    return Asked(text.strip(), auto, "signed" in words or not auto, tuple(values))


class Tally:
    """How often values that may be marks were seen in each place, frame by frame."""

    def __init__(self, known: tuple[float, ...] = ()) -> None:
        """Begin with no frames; `known` values are marks, whatever the frames show."""
        self.known = known
        self.frames = 0
        self.pixels = 0
        self.largest = 0.0  # of the values that cannot be marks
        self.full = set[float]()
        self.seen: dict[float, np.ndarray] = {}  # value -> frames in which it stands in a place
        self.near: dict[float, int] = {}  # pixels of all frames that come close to a value
        self.negative: list[int] = []  # whole negative values of each frame
        self.lowest = 0.0
        self.decimals = False  # below zero
        self.units: list[float | None] = []
        self._digests = set[int]()

    def add(
        self, values: np.ndarray, bad: np.ndarray | None = None, bit_depth: int | None = None
    ) -> None:
        """Look at one frame; one that was seen already, or holds one value only, tells nothing.

        Args:
          values: as read, any real type, any shape, the same for all frames.
          bad: the file's own mask, True = bad; None = none.
          bit_depth: of the detector's counters, where the file tells.
        """
        left_out = np.zeros(values.shape, np.bool_) if bad is None else bad
        if values.dtype.kind == "f":
            left_out = left_out | ~usable(values)
        rest = np.where(left_out, np.zeros((), values.dtype), values)
        self.full |= {_rounded(rest.dtype, value) for value in largest_of(rest.dtype, bit_depth)}
        digest = zlib.crc32(rest.tobytes())
        if digest in self._digests or not rest.size or rest.min() == rest.max():
            return
        self._digests.add(digest)
        self.frames += 1
        self.pixels = rest.size
        self._add_negative(rest)
        ends = (*(2**n - k for n in _BITS for k in (1, 2)), *self.known)
        possible = {_rounded(rest.dtype, value) for value in ends if value > 0} | self.full
        while (top := rest.max().item()) in possible:
            here = equal(rest, top)
            self._count(top, here)
            rest = np.where(here, np.zeros((), rest.dtype), rest)
            near = (rest >= 0.9 * top) & ~equal(rest, top - 1)
            self.near[top] = self.near.get(top, 0) + int(near.sum())
        self.largest = max(self.largest, top)
        if rest.dtype.kind == "f":
            self.units.append(unit_in(rest))

    def _add_negative(self, values: np.ndarray) -> None:
        below = values[values < 0] if values.dtype.kind in "if" else values[:0]
        whole = below[np.mod(below, 1) == 0]
        self.negative.append(whole.size)
        if not below.size:
            return
        self.decimals |= whole.size < below.size
        self.lowest = min(self.lowest, float(below.min()))
        found, often = np.unique(whole[:: 1 + whole.size // 10**6], return_counts=True)
        for value in found[np.argsort(-often)].tolist():
            if value in self.seen or sum(v < 0 for v in self.seen) < _TRACKED:
                self._count(float(value), values == value)

    def _count(self, value: float, here: np.ndarray) -> None:
        if value not in self.seen:
            self.seen[value] = np.zeros(here.shape, np.uint8)
        self.seen[value] += here

    def steady(self, value: float) -> np.ndarray:
        """Return where a value stands in nearly all frames, bool."""
        return self.seen[value] >= max(1, math.ceil(_STEADY * self.frames))


def _rounded(dtype: np.dtype, value: float) -> float:
    """Return a number as a floating-point type rounds it; integer types hold it as it is, or not at all."""
    if dtype.kind != "f":
        return value
    with np.errstate(over="ignore"):
        return float(dtype.type(value))


def decide_marks(tally: Tally, asked: Asked) -> Marks:
    """Decide what the marks are.

    - A value at which a counter ends is a mark where it stands in nearly all frames, if it is the largest of
      its type, or twice as large as all others, or more pixels hold it than come near it. Elsewhere, or where
      it only comes and goes, it is saturated.
    - One frame alone tells less: there it has to be four times as large as all others.
    - Whole negative values are marks, unless they come and go in a typical frame, or are many different ones:
      then a dark was subtracted, and they are measurements but where one stands in all frames. Of one frame
      three different ones are many.

    Args:
      tally: of frames spread over the scan.
      asked: what the user says.
    """
    if not asked.auto:
        full = () if asked.text == "none" else tuple(sorted(tally.full - {*asked.values}))
        return Marks(asked.values, full=full, signed=True, kept=asked.text)
    found = Marks(asked.values)
    found = _largest(tally, asked, found)
    found = _negative(tally, asked, found)
    told = [value for value in asked.values if value in tally.seen]
    known = [_said(100 * tally.steady(v).mean(), v, "a mark as told beforehand") for v in told]
    notes, kept = [*known, *found.notes], ["auto"]
    notes += unit_note(tally)
    kept += [
        str(v) if isinstance(v, int) else f"{v:.17g}"
        for v in sorted({*found.anywhere, *found.places})
        if v >= 0
    ]
    kept += ["signed"] if found.signed else []
    return dataclasses.replace(found, notes=tuple(notes), kept=",".join(kept))


def marks_of_answers(mark: int, asked: Asked) -> Marks:
    """Return the marks of whole numbers that this program wrote: one says what has no answer, and no other.

    Args:
      mark: the number that stands where there is no answer.
      asked: what the user says; its values are marks as well.
    """
    values = tuple(dict.fromkeys((*asked.values, mark)))
    note = f"value {mark} is no answer of smae_jax, which wrote it (--data.marks none keeps it)"
    kept = ",".join(("auto", *map(str, asked.values)))  # files of others have marks of their own
    return Marks(values, signed=True, notes=(note,), kept=kept)


def _largest(tally: Tally, asked: Asked, found: Marks) -> Marks:
    """Tell marks from saturation and from counts among the values at which counters end."""
    several, others = tally.frames > 1, tally.largest
    anywhere, full = list(found.anywhere), set[float](tally.full)
    places, notes = dict(found.places), list(found.notes)
    for value in sorted((v for v in tally.seen if v > 0), reverse=True):
        own, total = value in tally.full, int(tally.seen[value].sum(dtype=np.int64))
        if value in asked.values or (value < others and not own):
            continue
        steady = tally.steady(value)
        apart = others <= value / (2 if several else 4)
        piled = total > max(2, tally.near[value])
        share = 100 * steady.mean()
        if own and value >= _SURELY_A_MARK:
            anywhere.append(value)
            notes.append(
                _said(share, value, "the largest of its type, at which nothing is counted")
            )
        elif several and steady.any() and (own or apart or piled):
            places[value] = steady
            full.add(value)
            why = f"constant in place in all {tally.frames} frames looked at"
            notes.append(_said(share, value, why))
        elif not several and ((own and value >= 2**14) or (apart and (total > 1 or value > 2**15))):
            anywhere.append(value)
            why = "the largest of its type" if own else f"far above all others (up to {others:g})"
            notes.append(_said(share, value, f"{why} in one frame"))
        elif own or piled:
            full.add(value)
            notes.append(
                f"saturated: value {value:.10g} comes and goes in {total} pixels of {tally.frames} frames "
                "looked at, and a counter ends there (--data.marks none keeps it)"
            )
        else:
            others = value
    return dataclasses.replace(
        found,
        anywhere=tuple(anywhere),
        places=places,
        full=tuple(sorted(full - {*anywhere})),
        notes=tuple(notes),
    )


def _negative(tally: Tally, asked: Asked, found: Marks) -> Marks:
    """Tell marks from what is left of a subtraction among the whole negative values."""
    values = sorted(v for v in tally.seen if v < 0 and v not in asked.values)
    steady = {value: tally.steady(value) for value in values}
    share = 100 * np.mean(tally.negative or [0]) / max(1, tally.pixels)
    said = ", ".join(f"{value:g}" for value in values[-4:])
    if tally.frames < 2:
        signed, fixed = len(values) >= _SPREAD, dict[float, np.ndarray]()
    else:
        moving = [v for v in values if tally.seen[v][~steady[v]].any()]
        typical = float(np.median(tally.negative or [0])) - sum(s.sum() for s in steady.values())
        signed = len(moving) >= _SPREAD or typical > max(2, _FLICKER * tally.pixels)
        fixed = {v: s for v, s in steady.items() if _stands(tally, v, s)}
    signed = bool(signed or asked.signed)
    notes = list(found.notes)
    if signed and (values or tally.decimals):
        notes.append(
            f"negative values, down to {tally.lowest:g}, are many or come and go, as after a dark was "
            "subtracted: they are measurements, and no photon counts (--data.marks=auto,-1 masks every -1)"
        )
    elif values:
        also = "; negative decimals are measurements" if tally.decimals else ""
        notes.append(
            f"{share:.2f} % gap: whole negative values ({said}{', ...' * (len(values) > 4)}){also} "
            "(--data.marks signed keeps them)"
        )
    elif tally.decimals:
        notes.append(
            f"negative values, down to {tally.lowest:g}, are no whole numbers: measurements, and no photon "
            "counts"
        )
    places = dict(found.places)
    if signed:
        places |= fixed
        notes += [
            _said(
                100 * where.mean(),
                value,
                f"constant in place in all {tally.frames} frames looked at",
            )
            for value, where in fixed.items()
        ]
    return dataclasses.replace(found, places=places, signed=signed, notes=tuple(notes))


def _stands(tally: Tally, value: float, steady: np.ndarray) -> bool:
    """Whether more pixels hold a value in all frames than would by chance."""
    elsewhere = tally.seen[value][~steady]
    chance = float(elsewhere.mean() / tally.frames) if elsewhere.size else 0.0
    return bool(steady.sum() > 10 * steady.size * chance**tally.frames)


def _said(share: float, value: float, why: str) -> str:
    return f"{share:.2f} % gap: value {value:.10g}, {why} (--data.marks none keeps it)"


def unit_note(tally: Tally) -> list[str]:
    """Say so where values are counts times a number: divided by a monitor, or by a time."""
    units = [unit for unit in tally.units if unit]
    whole = all(abs(unit - round(unit)) < 1e-6 for unit in units)
    if not units or None in tally.units or whole:
        return []
    low, high = min(units), max(units)
    same = high - low <= 1e-4 * high
    unit = (
        f"{high:.6g}" if same else f"a number from {low:.4g} to {high:.4g}, another in each frame"
    )
    return [
        f"values are whole multiples of {unit}, as counts are that were divided by a monitor or a time: they "
        f"are no photon counts as they stand, counts = value / {f'{high:.6g}' if same else 'that'}; give the "
        "counts themselves, and the monitor as --data.monitor"
    ]
