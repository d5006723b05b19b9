"""Pictures of a denoised frame: before, after, the truth where it is known, and what was taken away.

All panels in counts share one logarithmic colour scale. Where there is no value, nothing is drawn
over the hatched background. Knows nothing of how the frame was denoised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from smae_jax.measurements import Measurements, mean_of_frames
from smae_jax.metrics import rmse

_PAPER, _HATCH = "#e6e6e6", "#c4c4c4"
_OUTLINE, _WINDOW = "#5ad1e6", "#ffffff"
_LARGE = 320  # pixels; a larger frame is drawn whole in blocks, and its middle pixel by pixel
_BLOCKS = 400  # at most so many along a side
_DECADES = 4
_SIGMAS = 4
_PANEL_INCHES = 4.1


@dataclass(frozen=True)
class _Panel:
    """One picture: counts or sigmas, (height, width), NaN where there is none, and its titles."""

    name: str
    note: str
    values: np.ndarray
    outlined: np.ndarray | None = None


def denoised_figure(
    data: Measurements,
    denoised: ArrayLike,
    *,
    reference: Mapping[str, ArrayLike] | None = None,
    filled: ArrayLike | None = None,
    frame: int = 0,
    title: str = "",
) -> Figure:
    """Draw one frame before and after, its truth if there is one, and the residual in sigmas.

    The residual is (counts - denoised) / sqrt(denoised): photon noise has an rms of 1 and no
    pattern. Frames of more than 320 pixels are drawn twice: whole, summed up in blocks, and the
    surroundings of the beam pixel by pixel.

    Args:
      data: patterns; all is drawn per unit of exposure. Large frames are enlarged about their centre, where
        they have none about the middle of their counts.
      denoised: expected counts, (frames, height, width), or one answer to all, ([1,] height, width), which is
        drawn beside the mean of the frames; NaN where there is no answer.
      reference: name -> truth, or a measurement of more photons, whose own noise is then a part of the errors
        that are written below; shaped as `denoised`, NaN where unknown. A panel each; the first counts.
      filled: True = answered without a measurement of its own, outlined; shaped as `denoised`.
      frame: index of the frame drawn.
      title: headline.

    Returns:
      The figure, not yet written; a notebook shows it.
    """
    alone = np.ndim(denoised) == 3 and len(np.asarray(denoised)) == data.frames
    measured, light = mean_of_frames(data.take([frame]) if alone else data)
    answer = _one(denoised, frame).astype(np.float64)
    better = {name: _one(one, frame).astype(np.float64) for name, one in (reference or {}).items()}
    new = None if filled is None else _one(filled, frame).astype(bool) & ~np.isfinite(measured)
    whole = _Images(measured, answer, light, better, new)
    shape = measured.shape
    parts, corners, blocks = [whole], [(0, 0)], [1]
    window = None
    if max(shape) > _LARGE:
        center = _middle_of_counts(answer) if data.center is None else data.center.half_pixel
        window = window_about(shape, center)
        parts.append(whole.cut(window))
        corners.append((window[0].start, window[1].start))
        blocks = [int(np.ceil(max(shape) / _BLOCKS)), 1]
    rows = [_panels(part, block=block) for part, block in zip(parts, blocks, strict=True)]
    columns = len(rows[0])
    heights = [panels[0].values.shape[0] / panels[0].values.shape[1] for panels in rows]
    figure = Figure(
        figsize=(_PANEL_INCHES * columns, _PANEL_INCHES * sum(heights) + 1.0 + 0.5 * len(rows)),
        layout="constrained",
    )
    grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    known = next(iter(better.values()), None)
    scale = counts_scale(answer if known is None else np.where(np.isfinite(answer), known, np.nan))
    for axes, panels, corner, block in zip(grid, rows, corners, blocks, strict=True):
        _draw_row(axes, panels, corner, block, scale)
    if window is not None:
        for axes in grid[0]:
            _frame_window(axes, window)
    _add_scales(figure, grid)
    figure.suptitle(title or "Before and after", fontsize=14, fontweight="bold")
    return figure


def _one(array: ArrayLike, frame: int) -> np.ndarray:
    """Take one frame of a stack; a stack of one serves all frames, and so does a single frame."""
    array = np.asarray(array)
    return array if array.ndim == 2 else array[frame if len(array) > 1 else 0]


@dataclass(frozen=True)
class _Images:
    """What is drawn of a frame, (height, width) each; NaN where there is none."""

    measured: np.ndarray
    answer: np.ndarray
    light: np.ndarray
    better: dict[str, np.ndarray]
    new: np.ndarray | None = None

    def cut(self, window: tuple[slice, slice]) -> _Images:
        """Return a part."""
        measured, answer, light = (a[window] for a in (self.measured, self.answer, self.light))
        better = {name: one[window] for name, one in self.better.items()}
        return _Images(
            measured, answer, light, better, None if self.new is None else self.new[window]
        )


def _panels(images: _Images, *, block: int = 1) -> list[_Panel]:
    measured, answer, new = images.measured, images.answer, images.new
    both = np.isfinite(measured) & np.isfinite(answer) & (answer > 0)
    expected = sum_of_blocks(np.where(both, answer * images.light, np.nan), block)
    seen = sum_of_blocks(np.where(both, measured * images.light, np.nan), block)
    residual = (seen - expected) / np.sqrt(expected)
    zeros = 100 * np.mean(measured[np.isfinite(measured)] == 0) if both.any() else np.nan
    before, after = f"{zeros:.0f} % zeros", ""
    truth = next(iter(images.better.values()), None)
    if truth is not None and (compared := both & np.isfinite(truth)).any():
        errors = [rmse(image, truth, compared) for image in (measured, answer)]
        before = f"{before}, rms error {errors[0]:.3g} counts"
        after = f"rms error {errors[1]:.3g} counts"
    if new is not None and new.any():
        after = ", ".join(part for part in (after, "blue outline: filled from partners") if part)
    panels = [
        _Panel("before", before, mean_of_blocks(measured, block)),
        _Panel("denoised", after, mean_of_blocks(answer, block), new),
        *(_Panel(name, "", mean_of_blocks(one, block)) for name, one in images.better.items()),
    ]
    rms = np.sqrt(np.nanmean(residual**2)) if both.any() else np.nan
    note = f"rms {rms:.2f} (photon noise alone: 1)"
    return [*panels, _Panel("residual", note, residual)]


def sum_of_blocks(image: np.ndarray, block: int) -> np.ndarray:
    """Add up block x block pixels; NaN pixels do not count, NaN where there is no other."""
    if block == 1:
        return image
    padding = [(0, -size % block) for size in image.shape]
    padded = np.pad(image, padding, constant_values=np.nan)
    height, width = (size // block for size in padded.shape)
    blocks = padded.reshape(height, block, width, block)
    known = np.isfinite(blocks).any(axis=(1, 3))
    return np.where(known, np.nansum(blocks, axis=(1, 3)), np.nan)


def mean_of_blocks(image: np.ndarray, block: int) -> np.ndarray:
    """Average block x block pixels; NaN pixels do not count, NaN where there is no other."""
    pixels = sum_of_blocks(np.where(np.isfinite(image), 1.0, np.nan), block)
    return sum_of_blocks(image, block) / pixels


def _middle_of_counts(image: np.ndarray) -> tuple[float, float]:
    """Find where half of the counts lie above and half below, half left and half right."""
    weight = np.nan_to_num(np.maximum(image, 0))
    middle = []
    for axis in (1, 0):
        total = np.cumsum(weight.sum(axis=axis))
        middle.append(float(np.searchsorted(total, total[-1] / 2)))
    return middle[0], middle[1]


def window_about(shape: tuple[int, int], center: tuple[float, float]) -> tuple[slice, slice]:
    """Return the surroundings of the beam that are shown pixel by pixel: a quarter of the frame, or 128."""
    side = max(128, min(shape) // 4)
    starts = [
        int(np.clip(round(middle - side / 2), 0, max(0, size - side)))
        for middle, size in zip(center, shape, strict=True)
    ]
    return np.s_[starts[0] : starts[0] + side, starts[1] : starts[1] + side]


def counts_scale(expected: np.ndarray) -> LogNorm:
    """Span the expected counts, not the noise, so that both frames show what is there to see."""
    positive = expected[np.isfinite(expected) & (expected > 0)]
    low, high = np.percentile(positive, [0.5, 99.95]) if positive.size else (0.1, 1.0)
    return LogNorm(max(low, high / 10**_DECADES), max(high, 1.5 * low))


def _draw_row(
    row: Sequence[Axes], panels: list[_Panel], corner: tuple[int, int], block: int, scale: LogNorm
) -> None:
    for axes, panel in zip(row, panels, strict=True):
        height, width = panel.values.shape
        top, left = corner[0] - 0.5, corner[1] - 0.5
        sigmas = panel.name == "residual"
        floor = panel.values if sigmas else np.maximum(panel.values, scale.vmin or 0)
        axes.patch.set(facecolor=_PAPER, edgecolor=_HATCH, hatch="//////")
        axes.imshow(
            np.ma.masked_invalid(floor),
            norm=Normalize(-_SIGMAS, _SIGMAS) if sigmas else scale,
            cmap=matplotlib.colormaps["RdBu_r" if sigmas else "inferno"].with_extremes(bad="none"),
            extent=(left, left + block * width, top + block * height, top),
            interpolation="nearest",
        )
        if panel.outlined is not None:
            axes.add_collection(_outline(panel.outlined, corner), autolim=False)
        blocks = f" ({block} x {block} pixels)" if block > 1 else ""
        zoomed = ", enlarged" if corner != (0, 0) else ""
        axes.set_title(panel.name + zoomed + blocks, fontsize=12)
        axes.set_xlabel(panel.note, fontsize=9.5)
        axes.tick_params(labelsize=8, colors="#555555")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5, integer=True))
        for spine in axes.spines.values():
            spine.set_color("#999999")
    row[0].set_ylabel("y / pixel", fontsize=9)


def _outline(mask: np.ndarray, corner: tuple[int, int]) -> LineCollection:
    """Draw a line along the pixel edges where a mask begins or ends."""
    padded = np.pad(mask, 1).astype(np.int8)
    y, x = np.nonzero(np.diff(padded, axis=0)[:, 1:-1])
    flat = np.stack([np.stack([x - 0.5, y - 0.5], -1), np.stack([x + 0.5, y - 0.5], -1)], 1)
    y, x = np.nonzero(np.diff(padded, axis=1)[1:-1])
    steep = np.stack([np.stack([x - 0.5, y - 0.5], -1), np.stack([x - 0.5, y + 0.5], -1)], 1)
    lines = np.concatenate([flat, steep]) + np.array(corner[::-1])
    return LineCollection(list(lines), colors=_OUTLINE, linewidths=0.5, alpha=0.8)


def _frame_window(axes: Axes, window: tuple[slice, slice]) -> None:
    rows, columns = window
    place = (columns.start - 0.5, rows.start - 0.5)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    residual = axes.get_title().startswith("residual")
    color = "#333333" if residual else _WINDOW
    axes.add_patch(Rectangle(place, *size, fill=False, edgecolor=color, linewidth=1.0))


def _add_scales(figure: Figure, grid: np.ndarray) -> None:
    images, residuals = grid[:, :-1], grid[:, -1]
    bar = figure.colorbar(
        images[0, 0].images[0],
        ax=list(images.flat),
        location="bottom",
        label="counts per pixel (logarithmic; zeros take the darkest colour, hatched: no value)",
        extend="both",
        aspect=45,
        shrink=0.75,
    )
    bar.ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.ax.xaxis.set_minor_locator(NullLocator())
    figure.colorbar(
        residuals[0].images[0],
        ax=list(residuals),
        location="bottom",
        label="(before - denoised) / sqrt(denoised)",
        extend="both",
        aspect=20,
        shrink=0.9,
    )
