"""The picture of a denoised spectrum: repeats, mean, result with its band, residual, zooms and losses.

Knows nothing of how the spectrum was denoised.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d

from smae_jax.data.atomic import atomic_path
from smae_jax.evaluation.loss_figure import needs_own_scale, own_scale, read_losses

_REPEATS, _MEAN, _DENOISED, _REFERENCE = "#b9bec4", "#3f7fb5", "#d1410c", "#1a1a1a"
_ZOOM, _MISSING = "#fff3d6", "#e6e6e6"
_MOST_REPEATS = 8
_DECADES = 1.5  # from here on a logarithmic scale shows more
_BLOCKS = 160  # along the residual
_SIGMAS = 5.0


class _Curves(NamedTuple):
    """What is drawn against the axis, each (channels,), NaN where unknown; rates (repeats, channels)."""

    x: np.ndarray
    rates: np.ndarray
    mean: np.ndarray
    answer: np.ndarray
    band: np.ndarray | None
    better: np.ndarray | None

    def cut(self, part: np.ndarray) -> _Curves:
        """Return the curves at some channels."""
        band = None if self.band is None else self.band[part]
        better = None if self.better is None else self.better[part]
        rates = self.rates[:, part]
        return _Curves(self.x[part], rates, self.mean[part], self.answer[part], band, better)


def draw_spectrum(
    path: str | Path, *spectrum: ArrayLike, overwrite: bool = False, **options
) -> None:
    """Draw a spectrum to a PNG; arguments as of `spectrum_figure`.

    Raises:
      OutputError: in one line, if the picture exists or cannot be written.
      ValueError: as of `spectrum_figure`.
    """
    figure = spectrum_figure(*spectrum, **options)
    with atomic_path(path, overwrite) as temporary:
        figure.savefig(temporary, dpi=120)


def spectrum_figure(
    counts: ArrayLike,
    denoised: ArrayLike | None = None,
    *,
    valid: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
    sigma: ArrayLike | None = None,
    noise: ArrayLike | None = None,
    reference: ArrayLike | None = None,
    reference_name: str = "reference",
    axis: ArrayLike | None = None,
    axis_label: str = "channel",
    ranges: Sequence[tuple[float, float]] = (),
    metrics: str | Path | None = None,
    title: str = "",
) -> Figure:
    """Draw repeats, their mean, the denoised spectrum, what was taken away, zooms, and the losses.

    The residual is (mean - denoised) / noise of the mean, in blocks of neighbouring channels: noise alone has
    an rms of 1 and no pattern. (Over blocks it is smaller where the result follows the mean, as it should.)
    The upper panel is logarithmic where the counts span decades.

    Args:
      counts: the repeats, (repeats, channels); anything where invalid.
      denoised: expected counts of one unit of exposure, (channels,); NaN where there is no answer. None draws
        the data alone.
      valid: True = use, bool, (1 or repeats, channels); None = all.
      exposure: of each repeat, (repeats,); None = ones.
      sigma: uncertainty of `denoised`, (channels,), drawn as a band of two of them.
      noise: standard deviation of the mean of the repeats, (channels,); None = photon noise.
      reference: a better measurement or the truth, (channels,), in the unit of `denoised`.
      reference_name: what to call it.
      axis: coordinates of the channels, (channels,); None = channel numbers.
      axis_label: such as `energy (keV)`.
      ranges: (low, high) in the unit of the axis, a zoom each.
      metrics: `metrics.jsonl` of the training, whose losses are drawn; None = no panel.
      title: headline.

    Returns:
      The figure, not yet written; a notebook shows it.

    Raises:
      ValueError: in one line, if a range holds no channel.
    """
    measured = np.atleast_2d(np.asarray(counts, np.float64))
    seen = np.broadcast_to(True if valid is None else np.asarray(valid, bool), measured.shape)
    behind = np.ones(len(measured)) if exposure is None else np.asarray(exposure, np.float64)
    weights = behind[:, None] * seen
    total = weights.sum(axis=0)
    safe = np.where(total > 0, total, 1.0)
    mean = np.where(total > 0, np.where(seen, measured, 0).sum(axis=0) / safe, np.nan)
    rates = np.where(seen, measured, np.nan) / behind[:, None]
    answer = np.full(len(mean), np.nan) if denoised is None else np.asarray(denoised, np.float64)
    x = np.arange(len(answer)) if axis is None else np.asarray(axis, np.float64)
    band = None if sigma is None else np.asarray(sigma, np.float64)
    better = None if reference is None else np.asarray(reference, np.float64)
    deviation = np.sqrt(np.maximum(answer, 0) / safe) if noise is None else np.asarray(noise, float)
    chosen = [_inside(x, low, high, axis_label) for low, high in ranges]

    below = len(ranges) + (metrics is not None)
    columns = 2 if below in (2, 4) else min(max(below, 1), 3)
    rows = -(-below // columns)
    height = 4.2 if denoised is None else 5.9
    figure = Figure(figsize=(11.5, height + 3.1 * rows), layout="constrained")
    parts = [figure]
    if rows:
        parts = list(
            figure.subfigures(2, 1, height_ratios=[height - 0.3, 3.1 * rows], squeeze=False)[:, 0]
        )
    upper, *lower = parts
    panels = [1.0] if denoised is None else [2.6, 1.0]
    top, *under = upper.subplots(
        len(panels), 1, sharex=True, height_ratios=panels, squeeze=False
    ).ravel()
    curves = _Curves(x, rates, mean, answer, band, better)
    logarithmic = _scale(top, _smooth(mean) if denoised is None else answer, mean)
    _draw_curves(top, curves, reference_name=reference_name, dots=1.6, positive=logarithmic)
    if under:
        _draw_residual(under[0], x, mean - answer, deviation)
    (under or [top])[-1].set_xlabel(axis_label)
    top.set_ylabel("counts per channel")
    top.set_xlim(_limits(x))
    top.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        fontsize=9.5,
        frameon=False,
        ncols=5,
        markerscale=4,
    )
    known = np.isfinite(mean if denoised is None else answer)
    for panel in (top, *under):
        _shade_missing(panel, x, known)
    for letter, (low, high) in zip("abcdefghijklmnop", ranges, strict=False):
        top.axvspan(low, high, color=_ZOOM, zorder=0)
        top.annotate(
            letter,
            (float(np.clip((low + high) / 2, *_limits(x))), 0.985),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="top",
            fontsize=11,
            fontweight="bold",
            color="#8a6d1f",
        )
    if lower:
        panels = lower[0].subplots(rows, columns, squeeze=False).ravel()
        for panel in panels[below:]:
            panel.set_visible(False)
        for letter, panel, part, limits in zip(
            "abcdefghijklmnop", panels, chosen, ranges, strict=False
        ):
            _draw_zoom(panel, curves, part, limits)
            panel.set_title(f"{letter}: {limits[0]:g} to {limits[1]:g}", fontsize=10.5)
            panel.set_xlabel(axis_label)
        panels[0].set_ylabel("counts per channel" if ranges else "")
        if metrics is not None:
            _draw_losses(panels[len(ranges)], metrics)
    figure.suptitle(
        title or ("Spectrum" if denoised is None else "Spectrum before and after"),
        fontsize=13,
        fontweight="bold",
    )
    return figure


def _inside(x: np.ndarray, low: float, high: float, label: str) -> np.ndarray:
    """Return the channels within a range.

    Raises:
      ValueError: if there are fewer than two.
    """
    part = np.flatnonzero((x >= low) & (x <= high))
    if len(part) < 2:
        raise ValueError(
            f"--plot-range {low:g}:{high:g}: holds {len(part)} channels; the axis, {label}, goes from "
            f"{x.min():g} to {x.max():g}"
        )
    return part


def _smooth(mean: np.ndarray) -> np.ndarray:
    return gaussian_filter1d(np.nan_to_num(mean), 3.0)


def _limits(x: np.ndarray) -> tuple[float, float]:
    margin = 0.01 * (x.max() - x.min()) or 0.5
    return float(x.min() - margin), float(x.max() + margin)


def _draw_curves(
    axes: Axes,
    curves: _Curves,
    *,
    reference_name: str,
    dots: float,
    positive: bool = False,
) -> None:
    x, rates, mean, answer, band, better = curves
    if positive:  # a logarithmic scale has no place for zeros; lines to them would hide the rest
        rates, mean = (np.where(curve > 0, curve, np.nan) for curve in (rates, mean))
        better = None if better is None else np.where(better > 0, better, np.nan)
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
    if better is not None:
        axes.plot(x, better, color=_REFERENCE, linewidth=0.7, zorder=3, label=reference_name)
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
    _draw_curves(axes, cut, reference_name="reference", dots=3.5)
    tops = [curve for curve in (mean, answer, better) if curve is not None]
    high = max(float(np.nanmax(curve)) for curve in tops if np.isfinite(curve).any())
    low = min(0.0, min(float(np.nanmin(curve)) for curve in tops if np.isfinite(curve).any()))
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
