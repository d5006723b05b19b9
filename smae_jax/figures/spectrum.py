"""The picture of a denoised spectrum: repeats, mean, result with its band, residual, zooms and losses.

Knows nothing of how the spectrum was denoised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d

from smae_jax.errors import UserError
from smae_jax.figures.losses import needs_own_scale, own_scale, read_losses
from smae_jax.measurements import Measurements, mean_of_frames

_REPEATS, _MEAN, _DENOISED, _REFERENCE = "#b9bec4", "#3f7fb5", "#d1410c", "#1a1a1a"
_ZOOM, _MISSING = "#fff3d6", "#e6e6e6"
_MOST_REPEATS = 8
_DECADES = 1.5  # from here on a logarithmic scale shows more
_BLOCKS = 160  # along the residual
_SIGMAS = 5.0
_LETTERS = "abcdefghijklmnop"


class _Curves(NamedTuple):
    """What is drawn against the axis, each (channels,), NaN where unknown; rates (repeats, channels)."""

    x: np.ndarray
    rates: np.ndarray
    mean: np.ndarray
    answer: np.ndarray
    band: np.ndarray | None
    better: dict[str, np.ndarray]

    def cut(self, part: np.ndarray) -> _Curves:
        """Return the curves at some channels."""
        band = None if self.band is None else self.band[part]
        better = {name: one[part] for name, one in self.better.items()}
        rates = self.rates[:, part]
        return _Curves(self.x[part], rates, self.mean[part], self.answer[part], band, better)


def spectrum_figure(
    data: Measurements,
    denoised: ArrayLike | None = None,
    sigma: ArrayLike | None = None,
    *,
    noise: ArrayLike | None = None,
    reference: Mapping[str, ArrayLike] | None = None,
    ranges: Sequence[tuple[float, float]] = (),
    metrics: str | Path | None = None,
    title: str = "",
) -> Figure:
    """Draw repeats, their mean, the denoised spectrum, what was taken away, zooms, and the losses.

    The residual is (mean - denoised) / noise of the mean, in blocks of neighbouring channels: noise alone has
    an rms of 1 and no pattern. (Over blocks it is smaller where the result follows the mean, as it should.)
    The upper panel is logarithmic where the counts span decades.

    Args:
      data: the repeats of a spectrum, with their axis.
      denoised: expected counts of one unit of exposure, (n,); NaN where there is no answer. None draws the
        data alone.
      sigma: uncertainty of `denoised`, (n,), drawn as a band of two of them.
      noise: standard deviation of the mean of the repeats, (n,); None = photon noise.
      reference: name -> a better measurement or the truth, (n,), in the unit of `denoised`.
      ranges: (low, high) in the unit of the axis, a zoom each.
      metrics: `metrics.jsonl` of the training, whose losses are drawn; None = no panel.
      title: headline.

    Returns:
      The figure, not yet written; a notebook shows it.

    Raises:
      UserError: in one line, if a range holds no channel.
    """
    mean, light = mean_of_frames(data)
    exposure = data.full_exposure
    seen = exposure > 0
    rates = np.where(seen, data.counts / np.where(seen, exposure, 1), np.nan)
    answer = np.full(len(mean), np.nan) if denoised is None else np.asarray(denoised, np.float64)
    x = np.arange(len(mean)) if data.axis is None else np.asarray(data.axis.values, np.float64)
    band = None if sigma is None else np.asarray(sigma, np.float64)
    better = {name: np.asarray(one, np.float64) for name, one in (reference or {}).items()}
    curves = _Curves(x, rates, mean, answer, band, better)
    chosen = [_inside(x, low, high, data.axis_label) for low, high in ranges]
    below = len(ranges) + (metrics is not None)
    columns = 2 if below in (2, 4) else min(max(below, 1), 3)
    rows = -(-below // columns)
    height = 4.2 if denoised is None else 5.9
    figure = Figure(figsize=(11.5, height + 3.1 * rows), layout="constrained")
    parts = [figure]
    if rows:
        heights = [height - 0.3, 3.1 * rows]
        parts = list(figure.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0])
    top = _draw_whole(parts[0], curves, data.axis_label, residual=denoised is not None)
    if denoised is not None:
        photons = np.sqrt(np.maximum(answer, 0) / np.where(light > 0, light, 1))
        deviation = photons if noise is None else np.asarray(noise, np.float64)
        _draw_residual(parts[0].get_axes()[1], x, mean - answer, deviation)
    for letter, (low, high) in zip(_LETTERS, ranges, strict=False):
        top.axvspan(low, high, color=_ZOOM, zorder=0)
        place = (float(np.clip((low + high) / 2, *_limits(x))), 0.985)
        where: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "top"}
        top.annotate(letter, place, fontsize=11, fontweight="bold", color="#8a6d1f", **where)
    if rows:
        panels = parts[1].subplots(rows, columns, squeeze=False).ravel()
        for panel in panels[below:]:
            panel.set_visible(False)
        for letter, panel, part, limits in zip(_LETTERS, panels, chosen, ranges, strict=False):
            _draw_zoom(panel, curves, part, limits)
            panel.set_title(f"{letter}: {limits[0]:g} to {limits[1]:g}", fontsize=10.5)
            panel.set_xlabel(data.axis_label)
        panels[0].set_ylabel("counts per channel" if ranges else "")
        if metrics is not None:
            _draw_losses(panels[len(ranges)], metrics)
    default = "Spectrum" if denoised is None else "Spectrum before and after"
    figure.suptitle(title or default, fontsize=13, fontweight="bold")
    return figure


def _draw_whole(upper: Any, curves: _Curves, label: str, *, residual: bool) -> Axes:
    """Draw the whole spectrum, above a panel for the residual where there is one; return the upper panel."""
    x, mean, answer = curves.x, curves.mean, curves.answer
    ratios = [2.6, 1.0] if residual else [1.0]
    panels = upper.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)
    top = panels[0, 0]
    logarithmic = _scale(top, answer if residual else _smooth(mean), mean)
    _draw_curves(top, curves, dots=1.6, positive=logarithmic)
    panels[-1, 0].set_xlabel(label)
    top.set_ylabel("counts per channel")
    top.set_xlim(_limits(x))
    place: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 5}
    top.legend(fontsize=9.5, frameon=False, markerscale=4, **place)
    for panel in panels[:, 0]:
        _shade_missing(panel, x, np.isfinite(answer if residual else mean))
    return top


def _inside(x: np.ndarray, low: float, high: float, label: str) -> np.ndarray:
    """Return the channels within a range.

    Raises:
      UserError: if there are fewer than two.
    """
    part = np.flatnonzero((x >= low) & (x <= high))
    if len(part) < 2:
        raise UserError(
            f"--plot-range {low:g}:{high:g}: holds {len(part)} channels; the axis, {label}, goes from "
            f"{x.min():g} to {x.max():g}"
        )
    return part


def _smooth(mean: np.ndarray) -> np.ndarray:
    return gaussian_filter1d(np.nan_to_num(mean), 3.0)


def _limits(x: np.ndarray) -> tuple[float, float]:
    margin = 0.01 * (x.max() - x.min()) or 0.5
    return float(x.min() - margin), float(x.max() + margin)


def _draw_curves(axes: Axes, curves: _Curves, *, dots: float, positive: bool = False) -> None:
    x, rates, mean, answer, band, better = curves
    if positive:  # a logarithmic scale has no place for zeros; lines to them would hide the rest
        rates, mean = (np.where(curve > 0, curve, np.nan) for curve in (rates, mean))
        better = {name: np.where(one > 0, one, np.nan) for name, one in better.items()}
    shown = min(len(rates), _MOST_REPEATS)
    for index in range(shown):
        axes.plot(
            x,
            rates[index],
            ".",
            color=_REPEATS,
            markersize=dots,
            zorder=1,
            rasterized=True,
            label=_repeats_in_words(len(rates), shown) if index == 0 else None,
        )
    if len(rates) > 1:
        label = f"mean of {len(rates)} repeats"
        line: dict[str, Any] = (
            {"linestyle": "none", "marker": "."} if positive else {"linewidth": 0.8, "alpha": 0.9}
        )
        axes.plot(x, mean, color=_MEAN, markersize=2.2, zorder=2, label=label, **line)
    for name, one in better.items():
        axes.plot(x, one, color=_REFERENCE, linewidth=0.7, zorder=3, label=name)
    if band is not None:
        axes.fill_between(
            x,
            answer - 2 * band,
            answer + 2 * band,
            color=_DENOISED,
            alpha=0.25,
            linewidth=0,
            zorder=4,
            label="denoised, 2 sigma",
        )
    if np.isfinite(answer).any():
        axes.plot(x, answer, color=_DENOISED, linewidth=1.3, zorder=5, label="denoised")
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors="#444444")


def _repeats_in_words(count: int, shown: int) -> str:
    if count == 1:
        return "measured"
    return "repeats" if shown == count else f"repeats ({shown} of {count} drawn)"


def _scale(axes: Axes, answer: np.ndarray, mean: np.ndarray) -> bool:
    """Choose a logarithmic scale where the result spans decades and is not negative; say if so."""
    known = answer[np.isfinite(answer)]
    positive = known[known > 0]
    highest = max(float(np.nanmax(mean)), float(known.max(initial=0)))
    typical = float(np.percentile(positive, 20)) if positive.size else 1.0
    if (known < 0).mean() > 0.01 or not positive.size or highest < typical * 10**_DECADES:
        low = min(0.0, float(np.percentile(known, 0.1))) if known.size else 0.0
        axes.set_ylim(low - 0.03 * (highest - low), highest * 1.08)
        return False
    least = float(np.min(mean[mean > 0], initial=highest))  # one count in one channel
    low = max(float(np.percentile(positive, 2)) / 2, 0.02 * least)
    axes.set_yscale("log")
    axes.set_ylim(low, highest * 3)
    axes.yaxis.set_major_locator(LogLocator(numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    return True


def _draw_residual(axes: Axes, x: np.ndarray, residual: np.ndarray, deviation: np.ndarray) -> None:
    """Draw (mean - denoised) / noise, over blocks of so many channels that the line can be read."""
    width = max(1, len(x) // _BLOCKS)
    known = np.isfinite(residual) & (deviation > 0)
    blocks = -(-len(x) // width)
    pad = blocks * width - len(x)

    def sums(values: np.ndarray) -> np.ndarray:
        return np.pad(np.where(known, values, 0), (0, pad)).reshape(blocks, width).sum(axis=1)

    channels, variance = sums(np.ones(len(x))), sums(deviation**2)
    use = variance > 0
    place = sums(x) / np.maximum(channels, 1)
    pulls = np.where(use, sums(residual) / np.sqrt(np.where(use, variance, 1)), np.nan)
    rms = [_rms(residual[known] / deviation[known]), _rms(pulls[use])]
    axes.axhspan(-1, 1, color="#e8eef4", zorder=0)
    axes.axhline(0, color="#888888", linewidth=0.8)
    inside = np.clip(pulls, -_SIGMAS, _SIGMAS)
    axes.vlines(place[use], 0, inside[use], color=_MEAN, linewidth=1.2)
    axes.plot(place[use], inside[use], ".", color=_MEAN, markersize=3.5)
    axes.set_ylim(-_SIGMAS, _SIGMAS)
    axes.set_ylabel("residual / sigma")
    axes.grid(color="#eeeeee")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors="#444444")
    over = f", {rms[1]:.2f} over the {width} channels of each point" if width > 1 else ""
    axes.set_title(
        f"(mean - denoised) / noise of the mean; rms {rms[0]:.2f} per channel{over} (noise alone: 1)",
        loc="left",
        fontsize=9,
        color="#444444",
    )


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else float("nan")


def _draw_zoom(axes: Axes, curves: _Curves, part: np.ndarray, limits: tuple[float, float]) -> None:
    cut = curves.cut(part)
    x, rates, mean, answer, _, better = cut
    _draw_curves(axes, cut, dots=3.5)
    tops = [one for one in (mean, answer, *better.values()) if np.isfinite(one).any()]
    high = max((float(np.nanmax(curve)) for curve in tops), default=1.0)
    low = min((float(np.nanmin(curve)) for curve in tops), default=0.0)
    low = min(0.0, low)
    scatter = float(np.nanpercentile(rates, 99.5)) if np.isfinite(rates).any() else high
    high = max(high, min(scatter, 2 * high)) or 1.0
    axes.set_ylim(low - 0.03 * (high - low), high * 1.08)
    axes.set_xlim(*limits)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    _shade_missing(axes, x, np.isfinite(answer if np.isfinite(answer).any() else mean))


def _shade_missing(axes: Axes, x: np.ndarray, known: np.ndarray) -> None:
    """Shade channels without an answer."""
    if known.all() or len(x) < 2:
        return
    edges = np.diff(np.r_[0, ~known, 0].astype(int))
    half = np.abs(np.median(np.diff(x))) / 2
    for start, stop in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        ends = sorted((x[start], x[stop - 1]))
        axes.axvspan(
            ends[0] - half, ends[1] + half, facecolor=_MISSING, edgecolor="#c4c4c4", hatch="///"
        )


def _draw_losses(axes: Axes, metrics: str | Path) -> None:
    (steps, losses), (places, held_out) = (
        read_losses(metrics, name) for name in ("loss", "validation_loss")
    )
    panels = {axes: np.empty(0)}
    smooth = gaussian_filter1d(losses, max(1.0, len(losses) / 60), mode="nearest")
    if len(steps):
        axes.plot(steps, losses, color=_MEAN, linewidth=0.6, alpha=0.4)
        axes.plot(steps, smooth, color=_MEAN, linewidth=1.8, label="training")
        panels[axes] = smooth[len(smooth) // 10 :]
    if len(places):
        best = int(np.argmin(held_out))
        tail = np.r_[held_out[len(held_out) // 10 :], held_out[best]]
        apart = len(steps) > 0 and needs_own_scale(panels[axes], tail)
        panel = own_scale(axes, _DENOISED) if apart else axes
        panel.plot(places, held_out, color=_DENOISED, linewidth=1.4, label="held out")
        panel.plot(
            places[best],
            held_out[best],
            "*",
            color=_DENOISED,
            markersize=12,
            markeredgecolor="white",
            label=f"best: step {places[best]:.0f}",
        )
        panels[panel] = np.r_[panels.get(panel, np.empty(0)), tail]
    for panel, values in panels.items():
        if len(values):
            low, high = np.percentile(values, [0, 99])
            margin = 0.15 * (high - low) or 0.1 * abs(high) or 1.0
            panel.set_ylim(low - margin, high + 2 * margin)
        panel.tick_params(labelsize=9)
    handles = [handle for panel in panels for handle in panel.get_legend_handles_labels()[0]]
    list(panels)[-1].legend(handles=handles, frameon=False, fontsize=8.5)
    axes.set_title("losses", fontsize=10.5)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(color="#eeeeee")
    axes.spines["top"].set_visible(False)
    axes.spines["right"].set_visible(len(panels) > 1)
