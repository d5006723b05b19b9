"""Pair the frames of a low-count scan with those of a high-count reference, and bring them to one scale."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

import h5py
import numpy as np

from smae_jax.data.locations import find_files, split_inside
from smae_jax.data.scan import Scan


@dataclasses.dataclass(frozen=True)
class PairedScans:
    """Two scans frame by frame.

    Attributes:
      scan: the low-count frames that have a reference.
      reference: their high-count frames, in the same order.
      ratio: exposure of each reference frame in frames of `scan`, (frames,), float32, > 0.
      said: one line that tells how frames were paired and exposures compared.
    """

    scan: Scan
    reference: Scan
    ratio: np.ndarray
    said: str


def pair_scans(
    scan: Scan, reference: Scan, *, path: str, reference_path: str, by: str = "order"
) -> PairedScans:
    """Find each frame's reference.

    Args:
      scan: the low-count frames.
      reference: the high-count frames, of the same detector.
      path: where `scan` was read from, for messages and for the HDF5 key.
      reference_path: where `reference` was read from.
      by: "order", "name" (the files' names without folder and suffix), or the path of an HDF5 dataset that
        both files have and that holds an id per frame, such as `/entry/sample/point`.

    Returns:
      The frames that have a partner, in the order of `scan`.

    Raises:
      ValueError: in one line, if frames differ in shape, cannot be paired, or carry no counts in common.
    """
    if scan.counts.shape[1:] != reference.counts.shape[1:]:
        raise ValueError(
            f"--data.reference {reference_path}: frames of {reference.counts.shape[1:]}, but "
            f"{path} has {scan.counts.shape[1:]}; give frames of one detector"
        )
    if by == "order":
        if len(scan.counts) != len(reference.counts):
            raise ValueError(
                f"--data.reference {reference_path}: {len(reference.counts)} frames for the "
                f"{len(scan.counts)} of {path}; give as many, or pair them by --data.pair-by name or by "
                "an HDF5 key"
            )
        chosen = np.arange(len(scan.counts))
        own = chosen
    else:
        own, chosen = matches(
            _ids(scan, path, by), _ids(reference, reference_path, by), reference_path, by
        )
    low, high = take_frames(scan, own), take_frames(reference, chosen)
    ratio, how = exposure_ratio(low, high, reference_path)
    left = len(scan.counts) - len(own), len(reference.counts) - len(own)
    said = f"reference {reference_path}: {len(own)} frames paired by {by}"
    if any(left):
        said += f" ({left[0]} frames and {left[1]} references without a partner are left out)"
    return PairedScans(low, high, ratio, f"{said}; {how}")


def matches(
    own: Sequence[str], other: Sequence[str], reference_path: str, by: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of equal ids in both lists, in the order of the first.

    Raises:
      ValueError: if an id occurs twice, or none occurs in both.
    """
    for ids in (own, other):
        (name, times), *_ = Counter(ids).most_common(1)
        if times > 1:
            raise ValueError(
                f"--data.pair-by {by}: '{name}' names {times} frames of one scan; expected one; "
                "pair by another key"
            )
    places = {name: place for place, name in enumerate(other)}
    found = [(place, places[name]) for place, name in enumerate(own) if name in places]
    if not found:
        raise ValueError(
            f"--data.pair-by {by}: no frame has the name of a reference ('{own[0]}' here, '{other[0]}' in "
            f"{reference_path}); pair by another key or by order"
        )
    first, second = zip(*found, strict=True)
    return np.array(first), np.array(second)


def take_frames(scan: Scan, chosen: np.ndarray) -> Scan:
    """Return some frames of a scan, in the order asked for; no raster remains if any is left out."""
    if np.array_equal(chosen, np.arange(len(scan.counts))):
        return scan
    meta = scan.metadata
    exposure = meta.exposure_s
    return dataclasses.replace(
        scan,
        counts=scan.counts[chosen],
        valid=scan.valid if len(scan.valid) == 1 else scan.valid[chosen],
        metadata=dataclasses.replace(
            meta,
            sources=tuple(meta.sources[i] for i in chosen),
            exposure_s=None if exposure is None else tuple(exposure[i] for i in chosen),
            raster_shape=None,
        ),
    )


def exposure_ratio(low: Scan, high: Scan, path: str) -> tuple[np.ndarray, str]:
    """Compare the exposures of paired scans: by time where both tell it, else by their total counts.

    The totals are those of all pairs together, at pixels valid in both: one factor, so that a frame
    which is weaker than its reference stays so.

    Args:
      low: low-count frames.
      high: their references, frame by frame.
      path: of the references, for messages.

    Returns:
      (ratio, (frames,) float32; what was done, in words).

    Raises:
      ValueError: if the pairs have no valid pixel, or no counts, in common.
    """
    both = low.valid & high.valid
    totals = [float(np.sum(s.counts, where=both, dtype=np.float64)) for s in (low, high)]
    if not min(totals) > 0:
        raise ValueError(
            f"--data.reference {path}: no counts at the pixels that are valid in both scans; check masks "
            "and files"
        )
    counted, frames = totals[1] / totals[0], len(low.counts)
    times = low.metadata.exposure_s, high.metadata.exposure_s
    if times[0] is None or times[1] is None or min(*times[0], *times[1]) <= 0:
        return np.full(frames, counted, np.float32), (
            f"exposure x {counted:.4g} from matched totals (not both files tell their exposure time)"
        )
    ratio = np.divide(times[1], times[0])
    differ = "" if np.ptp(ratio) == 0 else f" to {ratio.max():.4g}"
    return ratio.astype(np.float32), (
        f"exposure x {ratio.min():.4g}{differ} from exposure times (totals: x {counted:.4g})"
    )


def _ids(scan: Scan, path: str, by: str) -> list[str]:
    if by == "name":
        return [_stem(source) for source in scan.metadata.sources]
    file = find_files(split_inside(path)[0])[0]
    try:
        with h5py.File(file, "r") as opened:
            dataset = opened.get(by)
            if not isinstance(dataset, h5py.Dataset):
                raise ValueError(
                    f"--data.pair-by {by}: {file} has no such dataset; expected order, name or the path of "
                    "a dataset with an id per frame"
                )
            values = np.ravel(dataset[()])
    except OSError:
        raise ValueError(
            f"--data.pair-by {by}: {file} is not an HDF5 file; expected order, name or the path of a "
            "dataset in HDF5 files"
        ) from None
    if len(values) != len(scan.counts):
        raise ValueError(
            f"--data.pair-by {by}: {len(values)} ids in {file} for {len(scan.counts)} frames; expected one "
            "per frame"
        )
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def _stem(source: str) -> str:
    """`low/P40_3.tif` -> `P40_3`; `scan.h5::/entry/data/data[3]` -> `scan[3]`."""
    file = source.partition("::")[0]
    index = re.search(r"\[[\d,]+\]$", source)
    name = re.sub(r"\[[\d,]+\]$", "", file).replace("\\", "/").rsplit("/", 1)[-1]
    return name.split(".", 1)[0] + (index[0] if index else "")
