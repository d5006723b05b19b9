"""Pictures of profiles: raw, denoised and reference with their errors, and the difference in sigmas."""

from __future__ import annotations

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from smae_jax.figures.axes import plain

RAW, DENOISED, REFERENCE = "#8a8a8a", "#c1272d", "#2a6fbb"
WINDOW = "#e9c46a"


@dataclasses.dataclass(frozen=True)
class Curve:
    """A profile, (bins,); NaN where there is none.

    Attributes:
      name: for the legend.
      values: of the profile.
      sigma: one standard deviation; None = not known.
    """

    name: str
    values: np.ndarray
    sigma: np.ndarray | None = None


def profile_figure(
    axis: np.ndarray,
    curves: list[Curve],
    sigmas: np.ndarray,
    *,
    label: str,
    title: str,
    marked: list[tuple[float, float]] | None = None,
    logarithmic: bool = True,
) -> Figure:
    """Draw a profile before and after, and their difference below.

    Args:
      axis: middles of the bins, (bins,).
      curves: raw first, denoised second, then others.
      sigmas: denoised less raw, in standard deviations of the raw, (bins,).
      label: of the axis.
      title: headline.
      marked: ranges of the axis that are shaded.
      logarithmic: whether intensities are.
    """
    figure = Figure(figsize=(8.4, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.6, 1])
    colors = [RAW, DENOISED, REFERENCE]
    for order, (curve, color) in enumerate(zip(curves, colors, strict=False)):
        _draw(upper, axis, curve, color, order)
    if logarithmic and any((curve.values > 0).any() for curve in curves):
        upper.set_yscale("log")
        upper.set_ylim(*_decades(curves))
        upper.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        upper.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        upper.yaxis.set_minor_locator(NullLocator())
    upper.set_ylabel("counts per pixel and exposure")
    named = dict(zip(*reversed(upper.get_legend_handles_labels()), strict=True))
    upper.legend([named[curve.name] for curve in curves], [c.name for c in curves], frameon=False)
    lower.axhspan(-1, 1, color="#dddddd", linewidth=0)
    lower.plot(axis, sigmas, ".", color=DENOISED, markersize=3)
    known = np.abs(sigmas[np.isfinite(sigmas)])
    if not known.size:
        place = {"transform": lower.transAxes, "ha": "center", "va": "center"}
        lower.text(0.5, 0.5, "too few photons, or no photon counts", **place)
    reach = max(4.0, 1.15 * float(known.max(initial=0)))
    lower.set(ylim=(-reach, reach), xlabel=label, ylabel="difference\n/ sigma of raw")
    for axes in (upper, lower):
        for low, high in marked or []:
            axes.axvspan(low, high, color=WINDOW, alpha=0.25, linewidth=0)
        plain(axes)
    figure.suptitle(title, fontsize=12, fontweight="bold")
    return figure


def _draw(axes: Axes, axis: np.ndarray, curve: Curve, color: str, order: int) -> None:
    """Draw raw values as points with bars, others as a line with a band."""
    if order == 0:
        bars = curve.sigma
        axes.errorbar(
            *(axis, curve.values),
            yerr=bars,
            fmt=".",
            color=color,
            markersize=3.5,
            elinewidth=0.8,
            label=curve.name,
            zorder=1,
        )
        return
    axes.plot(axis, curve.values, color=color, linewidth=1.5, label=curve.name, zorder=4 - order)
    if curve.sigma is not None:
        low, high = curve.values - curve.sigma, curve.values + curve.sigma
        axes.fill_between(axis, low, high, color=color, alpha=0.25, linewidth=0, zorder=1)


def _decades(curves: list[Curve]) -> tuple[float, float]:
    """Span what is seen, leaving out what is lost in noise."""
    chosen = curves[1].values if len(curves) > 1 else curves[0].values
    seen = chosen[np.isfinite(chosen) & (chosen > 0)]
    if not seen.size:
        return 0.1, 1.0
    return float(np.percentile(seen, 1) / 2), float(seen.max() * 2)
