"""Pair measurements with a reference of higher counts, and bring both to one scale."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

import h5py
import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.locations import find_files, split_inside
from smae_jax.measurements import Measurements, mean_rate


@dataclasses.dataclass(frozen=True)
class Paired:
    """Measurements and their references, frame by frame.

    Attributes:
      frames: the low-count frames that have a reference.
      reference: their high-count frames, in the same order.
      ratio: exposure of each reference frame in exposures of `frames`, (frames,), float32, > 0.
      said: one line that tells how frames were paired and exposures compared.
    """

    frames: Measurements
    reference: Measurements
    ratio: np.ndarray
    said: str


def pair_frames(
    data: Measurements,
    reference: Measurements,
    *,
    path: str,
    reference_path: str,
    by: str = "order",
    repeats: bool = False,
) -> Paired:
    """Find each frame's reference.

    Args:
      data: the low-count frames.
      reference: the high-count frames, of the same shape.
      path: where `data` were read from, for messages and for the HDF5 key.
      reference_path: where `reference` was read from.
      by: "order", "name" (the files' names without folder and suffix), or the path of an HDF5 dataset that
        both files have and that holds an id per frame, such as `/entry/sample/point`.
      repeats: whether the data are repeats rather than frames of a scan: each has its own reference, in
        order, or the sum of all references serves all.

    Returns:
      The frames that have a partner, in the order of `data`.

    Raises:
      UserError: in one line, if frames differ in shape, cannot be paired, or carry no counts in common.
    """
    if data.counts.shape[1:] != reference.counts.shape[1:]:
        raise UserError(
            f"--data.reference {reference_path}: frames of {reference.counts.shape[1:]}, but {path} has "
            f"{data.counts.shape[1:]}; give frames of one detector"
        )
    if repeats:
        return _pair_repeats(data, reference, reference_path)
    if by == "order":
        if data.frames != reference.frames:
            raise UserError(
                f"--data.reference {reference_path}: {reference.frames} frames for the {data.frames} of "
                f"{path}; give as many, or pair them by --data.pair-by name or by an HDF5 key"
            )
        own = chosen = np.arange(data.frames)
    else:
        ids, other = _ids(data, path, by), _ids(reference, reference_path, by)
        own, chosen = matches(ids, other, reference_path, by)
    low, high = _take(data, own), _take(reference, chosen)
    ratio, how = exposure_ratio(low, high, reference_path)
    left = data.frames - len(own), reference.frames - len(own)
    said = f"reference {reference_path}: {len(own)} frames paired by {by}"
    if any(left):
        said += f" ({left[0]} frames and {left[1]} references without a partner are left out)"
    return Paired(low, high, ratio, f"{said}; {how}")


def _pair_repeats(data: Measurements, reference: Measurements, path: str) -> Paired:
    """Give each repeat its own reference, in order, or all of them the sum of the references."""
    if reference.frames == data.frames:
        how = "one for each, in order"
    else:
        how = f"the sum of {reference.frames} for all {data.frames}"
        total = reference.counts.sum(axis=0, dtype=np.float64)[None]
        reference = dataclasses.replace(
            reference,
            counts=np.broadcast_to(total.astype(np.float32), data.counts.shape),
            exposure=reference.full_exposure.sum(axis=0, dtype=np.float64)[None].astype(np.float32),
            names=data.names,
        )
    rates = [mean_rate(one.channels_first, one.exposure) for one in (data, reference)]
    if not min(rates) > 0:
        raise UserError(
            f"--data.reference {path}: the mean counts are {rates[1]:.4g} for {rates[0]:.4g}; expected both "
            "above 0; check masks and files"
        )
    ratio = np.full(data.frames, rates[1] / rates[0], np.float32)
    said = f"reference {path}: {how}; counts per exposure are {ratio[0]:.3g} times as many"
    return Paired(data, reference, ratio, said)


def matches(
    own: Sequence[str], other: Sequence[str], reference_path: str, by: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of equal ids in both lists, in the order of the first.

    Raises:
      UserError: if an id occurs twice, or none occurs in both.
    """
    for ids in (own, other):
        (name, times), *_ = Counter(ids).most_common(1)
        if times > 1:
            raise UserError(
                f"--data.pair-by {by}: '{name}' names {times} frames of one scan; expected one; pair by "
                "another key"
            )
    places = {name: place for place, name in enumerate(other)}
    found = [(place, places[name]) for place, name in enumerate(own) if name in places]
    if not found:
        raise UserError(
            f"--data.pair-by {by}: no frame has the name of a reference ('{own[0]}' here, '{other[0]}' in "
            f"{reference_path}); pair by another key or by order"
        )
    first, second = zip(*found, strict=True)
    return np.array(first), np.array(second)


def exposure_ratio(low: Measurements, high: Measurements, path: str) -> tuple[np.ndarray, str]:
    """Compare the exposures of paired scans: by time where both tell it, else by their total counts.

    The totals are those of all pairs together, at pixels valid in both: one factor, so that a frame which is
    weaker than its reference stays so.

    Args:
      low: low-count frames.
      high: their references, frame by frame.
      path: of the references, for messages.

    Returns:
      (ratio, (frames,) float32; what was done, in words).

    Raises:
      UserError: if the pairs have no valid pixel, or no counts, in common.
    """
    both = low.valid & high.valid
    both = both[..., None] if low.channels else both
    totals = [float(np.sum(s.counts, where=both, dtype=np.float64)) for s in (low, high)]
    if not min(totals) > 0:
        raise UserError(
            f"--data.reference {path}: no counts at the pixels that are valid in both scans; check masks and "
            "files"
        )
    counted = totals[1] / totals[0]
    times = low.origin.exposure_s, high.origin.exposure_s
    if times[0] is None or times[1] is None or min(*times[0], *times[1]) <= 0:
        return np.full(low.frames, counted, np.float32), (
            f"exposure x {counted:.4g} from matched totals (not both files tell their exposure time)"
        )
    ratio = np.divide(times[1], times[0])
    differ = "" if np.ptp(ratio) == 0 else f" to {ratio.max():.4g}"
    return ratio.astype(np.float32), (
        f"exposure x {ratio.min():.4g}{differ} from exposure times (totals: x {counted:.4g})"
    )


def _take(data: Measurements, chosen: np.ndarray) -> Measurements:
    """Take some frames; the raster remains where none is left out."""
    return data if np.array_equal(chosen, np.arange(data.frames)) else data.take(chosen)


def _ids(data: Measurements, path: str, by: str) -> list[str]:
    if by == "name":
        return [_stem(name) for name in data.names]
    file = find_files(split_inside(path)[0])[0]
    try:
        with h5py.File(file, "r") as opened:
            dataset = opened.get(by)
            if not isinstance(dataset, h5py.Dataset):
                raise UserError(
                    f"--data.pair-by {by}: {file} has no such dataset; expected order, name or the path of "
                    "a dataset with an id per frame"
                )
            values = np.ravel(dataset[()])
    except OSError:
        raise UserError(
            f"--data.pair-by {by}: {file} is not an HDF5 file; expected order, name or the path of a dataset "
            "in HDF5 files"
        ) from None
    if len(values) != data.frames:
        raise UserError(
            f"--data.pair-by {by}: {len(values)} ids in {file} for {data.frames} frames; expected one per "
            "frame"
        )
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def _stem(source: str) -> str:
    """`low/P40_3.tif` -> `P40_3`; `scan.h5::/entry/data/data[3]` -> `scan[3]`."""
    file = source.partition("::")[0]
    index = re.search(r"\[[\d,]+\]$", source)
    name = re.sub(r"\[[\d,]+\]$", "", file).replace("\\", "/").rsplit("/", 1)[-1]
    return name.split(".", 1)[0] + (index[0] if index else "")
