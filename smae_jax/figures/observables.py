"""Pictures of a quantity over a scan: as a series of frames, or as maps over its raster."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from smae_jax.figures.axes import count_frames, plain
from smae_jax.figures.profiles import DENOISED, RAW, REFERENCE

_CYCLIC, _PLAIN = "twilight", "viridis"


@dataclass(frozen=True)
class Series:
    """A quantity of every frame, (frames,) each; NaN where it could not be told.

    Attributes:
      title: what it is, and of which peak or ring.
      label: name and unit.
      raw, raw_sigma: of the counts, and one standard deviation.
      denoised, denoised_sigma: of the answers; None = the error is not known.
      reference: None = there is none.
      cyclic: whether it is an angle, whose ends meet.
    """

    title: str
    label: str
    raw: np.ndarray
    raw_sigma: np.ndarray
    denoised: np.ndarray
    denoised_sigma: np.ndarray | None = None
    reference: np.ndarray | None = None
    cyclic: bool = False


def series_figure(series: list[Series], *, numbers: np.ndarray) -> Figure:
    """Draw quantities against the frame's number, one panel below the other.

    Args:
      series: at least one.
      numbers: of the frames, (frames,).
    """
    figure = Figure(figsize=(8.4, 2.0 * len(series) + 0.6), layout="constrained")
    panels = figure.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
    for axes, one in zip(panels, series, strict=True):
        _bars(axes, numbers - 0.12, one.raw, one.raw_sigma, RAW, "raw")
        _bars(axes, numbers + 0.12, one.denoised, one.denoised_sigma, DENOISED, "denoised")
        if one.reference is not None:
            axes.plot(numbers, one.reference, "_", color=REFERENCE, markersize=9, label="reference")
        axes.set_title(one.title, fontsize=10, loc="left")
        axes.set_ylabel(one.label.split(" / ")[-1] if " / " in one.label else "", fontsize=9)
        axes.set_ylim(*_limits(one))
        plain(axes)
    count_frames(panels[-1], numbers)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, fontsize=9, frameon=False)
    return figure


def _bars(
    axes: Axes,
    numbers: np.ndarray,
    values: np.ndarray,
    sigma: np.ndarray | None,
    color: str,
    name: str,
) -> None:
    many = len(numbers) > 200
    axes.errorbar(
        *(numbers, values),
        yerr=None if many else sigma,
        fmt=".",
        color=color,
        markersize=2.5 if many else 5,
        elinewidth=0.9,
        label=name,
    )


def _limits(one: Series) -> tuple[float, float]:
    """Span the denoised values and most of the raw ones."""
    parts = [a for a in (one.denoised, one.raw, one.reference) if a is not None]
    known = [a[np.isfinite(a)] for a in parts]
    seen = np.concatenate([known[0], *(np.percentile(a, [4, 96]) for a in known[1:] if a.size)])
    if not seen.size:
        return 0.0, 1.0
    low, high = float(seen.min()), float(seen.max())
    bars = one.raw_sigma[np.isfinite(one.raw_sigma)]
    margin = 0.12 * (high - low) + (float(np.median(bars)) if bars.size else 0.0)
    margin = margin or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def map_figure(one: Series, raster: tuple[int, int]) -> Figure:
    """Draw a quantity over the raster of a scan: raw, denoised, reference where known, on one scale; sigmas.

    Args:
      one: of every frame, in row-major order.
      raster: (rows, columns).
    """
    panels = [("raw", one.raw), ("denoised", one.denoised)]
    if one.reference is not None:
        panels.append(("reference", one.reference))
    bars = [("sigma of raw", one.raw_sigma)]
    if one.denoised_sigma is not None:
        bars.append(("sigma of denoised", one.denoised_sigma))
    rows, columns = raster
    count = len(panels) + len(bars)
    side = float(np.clip(2.3 * rows / columns, 1.2, 4.0))
    figure = Figure(figsize=(2.3 * count + 0.6, side + 1.3), layout="constrained")
    grid = figure.subplots(1, count, squeeze=False)[0]
    known = one.denoised[np.isfinite(one.denoised)]
    low, high = np.percentile(known, [1, 99]) if known.size else (0.0, 1.0)
    low, high = (0.0, 180.0) if one.cyclic else (float(low), float(max(high, low + 1e-12)))
    left, right = grid[: len(panels)], grid[len(panels) :]
    for axes, (name, values) in zip(left, panels, strict=True):
        _map(axes, name, values, raster, (low, high), _CYCLIC if one.cyclic else _PLAIN)
    figure.colorbar(left[0].images[0], ax=list(left), location="bottom", label=one.label, aspect=40)
    errors = np.concatenate([values[np.isfinite(values)] for _, values in bars])
    most = float(np.percentile(errors, 98)) if errors.size else 1.0
    for axes, (name, values) in zip(right, bars, strict=True):
        _map(axes, name, values, raster, (0.0, most or 1.0), "cividis")
    figure.colorbar(right[0].images[0], ax=list(right), location="bottom", aspect=25)
    figure.suptitle(one.title, fontsize=11, fontweight="bold")
    return figure


def _map(
    axes: Axes,
    name: str,
    values: np.ndarray,
    raster: tuple[int, int],
    limits: tuple[float, float],
    colors: str,
) -> None:
    axes.imshow(
        np.ma.masked_invalid(values.reshape(raster)),
        vmin=limits[0],
        vmax=limits[1],
        cmap=matplotlib.colormaps[colors].with_extremes(bad="#dddddd"),
        interpolation="nearest",
        aspect="auto",
    )
    axes.set_title(name, fontsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(labelsize=7)
