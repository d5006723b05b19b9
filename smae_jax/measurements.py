"""The one record of what was measured: patterns of a scan, repeated spectra, volumes.

Plain numpy arrays with what is known of them. Knows nothing of files, of JAX or of networks.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from smae_jax.geometry import Center, Geometry


@dataclasses.dataclass(frozen=True)
class Axis:
    """Coordinates of the channels of a spectrum.

    Attributes:
      values: (n,), float64, ascending or descending.
      name: such as `energy`; "" if unknown.
      unit: such as `keV`; "" if unknown.
    """

    values: np.ndarray
    name: str = ""
    unit: str = ""

    @property
    def label(self) -> str:
        """Name and unit as figures and tables show them.

        >>> Axis(np.arange(3.0), "energy", "keV").label
        'energy (keV)'
        """
        return f"{self.name or 'axis'} ({self.unit})" if self.unit else self.name or "axis"


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where measurements came from.

    Attributes:
      source: file or pattern that was read; `arrays` where there was none.
      dtype: of the numbers on disk, e.g. `int32`.
      notes: what was recognised in the files, one sentence each, for the user.
      masked_by: share of all pixels, in [0, 1], that each cause masked first: `detector`, `not finite`,
        `saturated`, `user`, `hot`.
      exposure_s: measuring time of each frame in seconds, where the files tell it.
      leading: shape that the frames had on disk, such as (rows, columns) of a raster; () = one axis.
      marks: how further data of this detector are read, as `--data.marks`.
      motors: coordinates along each of these axes, None where there are none; () = of no axis.
      numbers: of the frames in the scan, from 0, where these are some of a large one; () = these are all.
    """

    source: str = "arrays"
    dtype: str = ""
    notes: tuple[str, ...] = ()
    masked_by: Mapping[str, float] = dataclasses.field(default_factory=dict)
    exposure_s: tuple[float, ...] | None = None
    leading: tuple[int, ...] = ()
    marks: str = "auto"
    motors: tuple[Axis | None, ...] = ()
    numbers: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Outliers:
    """Counts that stand out: taken out of the frames, to be put back into the answers.

    Attributes:
      places: frame, y and x of each, (n, 3), int64, in ascending order of frames.
      counts: what was counted there, (n,).
    """

    places: np.ndarray
    counts: np.ndarray

    def take(self, index: np.ndarray) -> Outliers:
        """Return those of the frames with these indices, numbered anew."""
        chosen = [np.nonzero(self.places[:, 0] == frame)[0] for frame in index]
        new = np.repeat(np.arange(len(index)), [len(one) for one in chosen])
        rows = np.concatenate([np.empty(0, np.int64), *chosen])
        return Outliers(np.column_stack([new, self.places[rows, 1:]]), self.counts[rows])


@dataclasses.dataclass(frozen=True)
class Measurements:
    """Frames of a scan, or repeats of one measurement, in one, two or three dimensions.

    Attributes:
      counts: (frames, *spatial) or (frames, *spatial, channel); int32 (int64 where it does not suffice) for
        whole numbers as the file had them, else float32; 0 where invalid, never NaN. Other types of whole
        numbers become one of these.
      exposure: full frames behind each pixel, float32, (1 or frames, *spatial); 0 = invalid.
      center: of the symmetry under a half turn, trusted or not (see `symmetry`); None = these are repeats.
      axis: of the last spatial axis of spectra; None = unknown.
      geometry: beam and detector.
      names: one per frame, for messages and for writing back.
      origin: where all this came from.
      channels: whether the last axis of `counts` is a channel axis.
      taken_out: what `outliers.take_out` replaced in `counts`; None = it has not looked.
      response: of each pixel relative to a usual one, (*spatial), float32, as a flat field tells it; it is
        part of `exposure` already. None = of all pixels alike.
      dark: what was taken off every frame before, (*spatial), float32; None = nothing.
      integrated: whether even whole values are known to be no photon counts, as those of a detector that
        integrates; None = nobody has looked, see `counting.judged`.
    """

    counts: np.ndarray
    exposure: np.ndarray
    center: Center | None = None
    axis: Axis | None = None
    geometry: Geometry = dataclasses.field(default_factory=Geometry)
    names: tuple[str, ...] = ()
    origin: Origin = dataclasses.field(default_factory=Origin)
    channels: bool = False
    taken_out: Outliers | None = None
    response: np.ndarray | None = None
    dark: np.ndarray | None = None
    integrated: bool | None = None

    def __post_init__(self) -> None:
        """Hold the shapes and dtypes together."""
        if self.counts.dtype.kind in "iu" and self.counts.dtype not in (np.int32, np.int64):
            object.__setattr__(self, "counts", whole_numbers(self.counts))
        if self.counts.dtype not in (np.int32, np.int64, np.float32):
            raise TypeError(
                f"counts: expected whole numbers or float32, got {self.counts.dtype}; convert with .astype"
            )
        if self.exposure.dtype != np.float32:
            raise TypeError(f"exposure: expected float32, got {self.exposure.dtype}")
        if self.center is not None and not isinstance(self.center, Center):
            raise TypeError(
                f"center: expected a Center, got {self.center!r}; Center.given((y, x)) makes one"
            )
        fits = self.exposure.shape[1:] == self.spatial
        if not fits or len(self.exposure) not in (1, len(self.counts)):
            raise TypeError(
                f"exposure: expected (1 or {len(self.counts)}, *{self.spatial}), got {self.exposure.shape}"
            )
        for name in ("response", "dark"):
            array = getattr(self, name)
            if array is not None and array.shape != self.spatial:
                raise TypeError(f"{name}: expected {self.spatial}, got {array.shape}")
        if not self.names:
            names = tuple(f"frame {index}" for index in range(len(self.counts)))
            object.__setattr__(self, "names", names)
        if len(self.names) != len(self.counts):
            raise TypeError(f"names: expected {len(self.counts)}, got {len(self.names)}")
        if self.axis is not None and self.axis.values.shape != self.spatial[-1:]:
            raise TypeError(f"axis: expected {self.spatial[-1:]}, got {self.axis.values.shape}")

    @property
    def symmetry(self) -> Center | None:
        """The centre about which a pixel's partner may be used; None where there is none, or only a guess."""
        return self.center if self.center is not None and self.center.trusted else None

    @property
    def outliers(self) -> Outliers | None:
        """What stands out, and is not in `counts`; None where nothing does."""
        return self.taken_out if self.taken_out is not None and len(self.taken_out.counts) else None

    @property
    def frames(self) -> int:
        """Number of frames or repeats."""
        return len(self.counts)

    @property
    def spatial(self) -> tuple[int, ...]:
        """Shape of one frame without its channels."""
        return self.counts.shape[1:-1] if self.channels else self.counts.shape[1:]

    @property
    def valid(self) -> np.ndarray:
        """Where there is a measurement, bool, (1 or frames, *spatial)."""
        return self.exposure > 0

    @property
    def frame_exposure(self) -> np.ndarray:
        """Exposure of each frame's usual pixel, (frames,), float32; 1 for one without valid pixels."""
        exposure = self.exposure
        if self.response is not None:
            usable = self.response > 0
            exposure = np.where(usable, exposure / np.where(usable, self.response, 1), 0)
        each = exposure.reshape(len(exposure), -1).max(axis=1)
        return np.broadcast_to(np.where(each > 0, each, 1), len(self.counts)).astype(np.float32)

    @property
    def full_exposure(self) -> np.ndarray:
        """Exposure behind every pixel of every frame, (frames, *spatial); a view where frames agree."""
        return np.broadcast_to(self.exposure, (len(self.counts), *self.spatial))

    @property
    def channels_first(self) -> np.ndarray:
        """Counts as (frames, channels, *spatial), one channel where there is no channel axis."""
        if self.channels:
            return np.ascontiguousarray(np.moveaxis(self.counts, -1, 1))
        return self.counts[:, None]

    @functools.cached_property
    def are_counts(self) -> bool:
        """Whether values are photon counts: all whole, none negative, and not known to be integrated."""
        return not self.integrated and not_counted(self.counts) is None

    @property
    def axis_label(self) -> str:
        """Name and unit of the axis; `channel` where there is none."""
        return "channel" if self.axis is None else self.axis.label

    def take(self, frames: Sequence[int] | np.ndarray | slice) -> Measurements:
        """Keep the frames with these indices, in this order."""
        index = np.arange(len(self.counts))[frames]
        exposure_s = self.origin.exposure_s
        origin = dataclasses.replace(
            self.origin,
            leading=(),
            motors=() if self.origin.leading else _taken(self.origin.motors, index),
            exposure_s=None if exposure_s is None else tuple(exposure_s[i] for i in index),
            numbers=tuple(self.origin.numbers[i] for i in index) if self.origin.numbers else (),
        )
        return dataclasses.replace(
            self,
            counts=self.counts[index],
            exposure=self.exposure if len(self.exposure) == 1 else self.exposure[index],
            names=tuple(self.names[i] for i in index),
            origin=origin,
            taken_out=None if self.taken_out is None else self.taken_out.take(index),
        )


def _taken(motors: tuple[Axis | None, ...], index: np.ndarray) -> tuple[Axis | None, ...]:
    return tuple(m and dataclasses.replace(m, values=m.values[index]) for m in motors)


def whole_numbers(values: np.ndarray) -> np.ndarray:
    """Return whole numbers of any type as int32, or int64 where that does not suffice.

    Raises:
      TypeError: if one of them is larger still.
    """
    kind = type_of_whole(values)
    if kind is None:
        raise TypeError(f"counts: expected at most {np.iinfo(np.int64).max}, got {values.max()}")
    return values.astype(kind)


def type_of_whole(values: np.ndarray) -> np.dtype | None:
    """Return the type that whole numbers are kept in: int32, or int64 where that does not suffice.

    Args:
      values: whole numbers of any type; None is returned if one of them is larger still.
    """
    kinds = np.dtype(np.int32), np.dtype(np.int64)
    if np.can_cast(values.dtype, kinds[0]):  # nothing to look for
        return kinds[0]
    lowest, highest = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for kind in kinds:
        if np.iinfo(kind).min <= lowest and highest <= np.iinfo(kind).max:
            return kind
    return None


def not_counted(values: np.ndarray) -> float | None:
    """Return the first value that is no photon count (negative, or not whole); None if all are."""
    whole = values.dtype.kind in "iu"
    if whole and (not values.size or values.min() >= 0):
        return None
    bad = values < 0 if whole else (values < 0) | (values != np.floor(values))
    odd = values[bad]
    return float(odd[0]) if odd.size else None


def mean_rate(counts: np.ndarray, exposure: np.ndarray) -> float:
    """Return mean counts per unit of exposure.

    Args:
      counts: (frames, channels, *spatial), 0 where invalid.
      exposure: (1 or frames, *spatial).
    """
    each = exposure.sum(dtype=np.float64) * (len(counts) // len(exposure)) * counts.shape[1]
    return float(counts.sum(dtype=np.float64) / max(each, 1e-30))


def mean_of_frames(data: Measurements) -> tuple[np.ndarray, np.ndarray]:
    """Average frames, each by its exposure and where it is valid.

    Returns:
      (mean counts per unit of exposure, NaN where no frame is valid; the exposure behind each value), both
      float64, (*spatial[, channel]).
    """
    exposure = data.full_exposure.sum(axis=0, dtype=np.float64)
    if data.channels:
        exposure = np.broadcast_to(exposure[..., None], data.counts.shape[1:])
    total = data.counts.sum(axis=0, dtype=np.float64)
    return np.where(exposure > 0, total / np.where(exposure > 0, exposure, 1), np.nan), exposure
