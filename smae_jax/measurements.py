"""Measurements as arrays for notebooks: from files, from arrays, and back to files for the commands."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from smae_jax.commands.build import prepare
from smae_jax.commands.place_repeats import read_data
from smae_jax.config import DataOptions
from smae_jax.config_file import from_dict
from smae_jax.data.repeats import Repeats
from smae_jax.data.repeats_readers import is_spectra
from smae_jax.data.scan import Scan
from smae_jax.evaluation.spectrum_figure import spectrum_figure


@dataclasses.dataclass(frozen=True)
class Data:
    """Measurements as arrays, and how the command line would read the same.

    Attributes:
      counts: (repeats, *spatial[, channel]), float32, 0 where invalid; patterns are (frames, height, width).
      valid: True = use, bool, (1 or repeats, *spatial).
      dimensions: axes of one repeat.
      axis: coordinates of the channels of a spectrum, (n,), float64; None = there is none.
      axis_label: such as `energy (keV)`.
      exposure: of each repeat, relative to their mean, (repeats,), float32.
      names: one per repeat.
      notes: what was recognised in the files.
      channels: whether the last axis of `counts` is a channel axis.
      options: the `data` options by which the command line reads the same; without a path, the arrays count.
    """

    counts: np.ndarray
    valid: np.ndarray
    dimensions: int
    axis: np.ndarray | None
    axis_label: str
    exposure: np.ndarray
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    channels: bool = False
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def plot(self, **options: Any) -> Figure:
        """Draw spectra with their mean; options as of `spectrum_figure`, e.g. `ranges=[(2.5, 7.5)]`.

        Raises:
          ValueError: for patterns and volumes.
        """
        return spectra_figure(self, None, None, options)


def load(path: str | Path, **options: Any) -> Data:
    """Read spectra, patterns or volumes from files.

    Args:
      path: as `--data.path`: spectra in text, `.npy`, `file.npz::name`, HDF5, images, a pattern, a folder.
      options: as `--data.*` on the command line: `repeats="0:4"`, `dimensions=1`,
        `axis_label="energy (keV)"`, `mask="mask.tif"`, `mask_polarity="good"`, `center="490.5,410"`, ...

    Returns:
      The data. Text files, and anything with `dimensions`, are repeats; other files are a scan of
      centro-symmetric patterns.

    Raises:
      ValueError: in one line, if an option is unknown or the files cannot be read.
    """
    options = {"path": str(path), **options}
    wanted = from_dict(options, DataOptions, where="load")
    if not is_spectra(wanted.path, dimensions=wanted.dimensions):
        return _of_scan(prepare(wanted)[0], options)
    repeats = read_data(wanted, wanted.path, repeats=wanted.repeats, mask=wanted.mask)
    return _of_repeats(repeats, options)


def from_arrays(
    counts: ArrayLike,
    *,
    dimensions: int = 0,
    valid: ArrayLike | None = None,
    axis: ArrayLike | None = None,
    axis_label: str = "",
    exposure: ArrayLike | None = None,
    channels: bool = False,
    **options: Any,
) -> Data:
    """Take measurements from arrays.

    Args:
      counts: (repeats, *spatial[, channel]), any real type; NaN = not measured.
      dimensions: axes of one repeat; 0 = all but the first (a single spectrum or pattern: say it).
      valid: True = use, bool, broadcastable to the spatial axes; None = all that is finite.
      axis: coordinates of the channels of spectra, (n,), ascending or descending.
      axis_label: such as `energy (keV)`.
      exposure: of each repeat, in any unit, (repeats,).
      channels: whether the last axis is a channel axis.
      options: other `data` options, e.g. `center="17.5,14"` of patterns.

    Returns:
      The data.

    Raises:
      ValueError: in one line, if the shapes do not fit or an option is unknown.
    """
    from_dict(options, DataOptions, where="from_arrays")
    values = np.asarray(counts)
    if dimensions and values.ndim == dimensions + channels:
        values = values[None]
    extra = values.ndim - 1 - channels
    if values.dtype.kind not in "iuf" or extra not in (1, 2, 3) or dimensions not in (0, extra):
        raise ValueError(
            f"from_arrays: expected numbers of shape (repeats, *spatial), got {values.dtype} of shape "
            f"{np.shape(counts)}; add the axis of the repeats, or say dimensions"
        )
    finite = np.isfinite(values)
    seen = np.asarray(finite.all(axis=-1) if channels else finite)
    if valid is not None:
        try:
            seen = seen & np.broadcast_to(np.asarray(valid, bool), seen.shape)
        except ValueError:
            raise ValueError(
                f"from_arrays: valid has shape {np.shape(valid)}; expected one that fits {seen.shape}"
            ) from None
    times = np.ones(len(values)) if exposure is None else np.asarray(exposure, np.float64)
    if times.shape != (len(values),) or not (np.isfinite(times) & (times > 0)).all():
        raise ValueError(
            f"from_arrays: exposure: expected {len(values)} values above 0, got shape {times.shape}"
        )
    places = None if axis is None else np.asarray(axis, np.float64)
    if places is not None and (extra != 1 or places.shape != seen.shape[1:]):
        raise ValueError(
            f"from_arrays: axis has shape {places.shape}; expected one value per channel of spectra of "
            f"shape {seen.shape[1:]}"
        )
    kept = seen[..., None] if channels else seen
    return Data(
        counts=np.where(kept, values, 0).astype(np.float32),
        valid=seen[:1] if (seen == seen[:1]).all() else seen,
        dimensions=extra,
        axis=places,
        axis_label=axis_label or ("channel" if places is None else "axis"),
        exposure=(times / times.mean()).astype(np.float32),
        names=tuple(f"repeat {index}" for index in range(len(values))),
        channels=channels,
        options=options | ({"dimensions": dimensions} if dimensions else {}),
    )


def spectra_figure(
    data: Data,
    denoised: np.ndarray | None,
    sigma: np.ndarray | None,
    options: Mapping[str, Any],
) -> Figure:
    """Draw spectra, with what was made of them where there is something.

    Raises:
      ValueError: for patterns, volumes and channels.
    """
    if data.dimensions != 1 or data.channels:
        what = f"{data.dimensions} dimensions" + (" and channels" if data.channels else "")
        raise ValueError(f"plot: expected spectra, got data of {what}; draw a cut of the arrays")
    return spectrum_figure(
        data.counts,
        denoised,
        valid=data.valid,
        exposure=data.exposure,
        sigma=sigma,
        axis=data.axis,
        axis_label=data.axis_label,
        **options,
    )


def _of_repeats(repeats: Repeats, options: Mapping[str, Any]) -> Data:
    return Data(
        counts=repeats.counts,
        valid=repeats.valid,
        dimensions=len(repeats.spatial),
        axis=repeats.axis,
        axis_label=repeats.axis_label,
        exposure=repeats.exposure,
        names=repeats.names,
        notes=repeats.notes,
        channels=repeats.channels,
        options=options,
    )


def _of_scan(scan: Scan, options: Mapping[str, Any]) -> Data:
    return Data(
        counts=scan.counts,
        valid=scan.valid,
        dimensions=2,
        axis=None,
        axis_label="channel",
        exposure=np.ones(len(scan.counts), np.float32),
        names=scan.metadata.sources,
        options=options,
    )


def is_scan(data: Data) -> bool:
    """Whether data are a scan of patterns about a beam centre, rather than repeats."""
    return data.dimensions == 2 and not data.options.get("dimensions")


def as_files(data: Data, folder: Path, *, trained: DataOptions | None = None) -> dict[str, Any]:
    """Return the `data` options by which the commands read these data; arrays are written first.

    Args:
      data: from files, whose own options are returned, or from arrays.
      folder: where arrays are written.
      trained: options of the run that reads them: its axes say how the array has to lie.
    """
    options = dict(data.options)
    if "path" in options and (trained is None or is_scan(data) or _lie_alike(options, trained)):
        return options if is_scan(data) else options | {"dimensions": data.dimensions}
    folder.mkdir(exist_ok=True)
    path = folder / "arrays.npz"
    valid = data.valid[..., None] if data.channels else data.valid
    if is_scan(data):
        counts = np.where(valid, data.counts, np.nan) if len(valid) > 1 else data.counts
        np.savez(path, counts=counts, usable=valid.any(axis=0))
        mask = {"mask": f"{path}::usable", "mask_polarity": "good"}
        return options | {"path": f"{path}::counts"} | ({} if valid.all() else mask)
    places = {"repeats_axis": 0, "channel_axis": -1 if data.channels else None}
    if trained is not None:
        places = {name: getattr(trained, name) for name in places}
    counts = np.where(valid, data.counts, np.nan)
    at = [places["repeats_axis"], places["channel_axis"]]
    if data.channels and at[1] is not None:
        counts = np.moveaxis(counts, (0, -1), at)
    else:
        counts = np.moveaxis(counts, 0, at[0])
    arrays: dict[str, Any] = {"counts": counts, "exposure": data.exposure}
    if data.axis is not None:
        arrays["axis"] = data.axis
    np.savez(path, **arrays)
    options = {"path": f"{path}::counts", "dimensions": data.dimensions, **places}
    known = data.axis is not None and data.axis_label != "axis"
    return options | ({"axis_label": data.axis_label} if known else {})


def _lie_alike(options: Mapping[str, Any], trained: DataOptions) -> bool:
    """Whether a file that was read with `options` is read alike with those of a run."""
    return all(
        options.get(name, default) == getattr(trained, name)
        for name, default in (("repeats_axis", 0), ("channel_axis", None))
    )
