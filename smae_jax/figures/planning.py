"""Picture of a plan: the error of a quantity against exposure, raw and denoised, and what suffices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from smae_jax.figures.axes import plain
from smae_jax.figures.profiles import DENOISED, RAW
from smae_jax.report.planning import Plan, Rung, Sufficient

_DECADES = 2.5
"""Factor below the smallest error that is seen, at which the picture ends."""


def plan_figure(plans: Sequence[Plan], *, title: str) -> Figure:
    """Draw the error of each quantity against exposure, a panel each.

    Bands are one standard deviation. An open point was derived from scans of half its exposure; the dotted
    line falls with the root of the exposure. Vertical lines are the exposures that suffice.

    Args:
      plans: at least one.
      title: headline.
    """
    figure = Figure(figsize=(7.6, 4.4 * len(plans) + 0.6), layout="constrained")
    panels = figure.subplots(len(plans), 1, squeeze=False)[:, 0]
    for axes, plan in zip(panels, plans, strict=True):
        _panel(axes, plan)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=12, fontweight="bold")
    return figure


def _panel(axes: Axes, plan: Plan) -> None:
    rungs = [*plan.raw, *plan.denoised]
    shares = 100 if plan.relative else 1
    seen = [shares * r.error for r in rungs if np.isfinite(r.square) and r.square > r.square_sigma]
    floor = min([*seen, shares * plan.tolerance]) / _DECADES
    top = max([*(shares * r.high for r in rungs if np.isfinite(r.high)), shares * plan.tolerance])
    curves = (
        ("raw", RAW, plan.raw, plan.needed_raw),
        ("denoised", DENOISED, plan.denoised, plan.needed_denoised),
    )
    longest = max(r.exposure for r in rungs)
    for name, color, curve, needed in curves:
        _curve(axes, name, color, curve, (floor, shares))
        if needed is not None:
            _mark(axes, color, needed)
            longest = max(longest, needed.exposure)
    _law(axes, plan.raw, longest, shares)
    axes.axhline(
        shares * plan.tolerance, color="black", linewidth=1, linestyle="--", label="tolerance"
    )
    axes.set(xscale="log", yscale="log", ylim=(floor, 1.4 * top))
    axes.set_xlim(min(r.exposure for r in rungs) / 1.25, 1.25 * longest)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _fraction(x)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("exposure / pilot's exposure")
    unit = "%" if plan.relative else plan.unit
    axes.set_ylabel(f"error of a frame / {unit}" if unit else "error of a frame")
    axes.set_title(plan.title, fontsize=10, loc="left")
    plain(axes)


def _curve(
    axes: Axes, name: str, color: str, curve: Sequence[Rung], scale: tuple[float, int]
) -> None:
    """Draw one curve with its band; what is not seen above its own error ends at the floor."""
    floor, shares = scale
    known = sorted((r for r in curve if np.isfinite(r.square)), key=lambda r: r.exposure)
    if not known:
        return
    exposure = [r.exposure for r in known]
    low, error, high = (
        np.maximum([shares * getattr(r, end) for r in known], floor)
        for end in ("low", "error", "high")
    )
    axes.fill_between(exposure, low, high, color=color, alpha=0.25, linewidth=0)
    axes.plot(exposure, error, color=color, linewidth=1.4, label=name)
    for x, y, rung in zip(exposure, error, known, strict=True):
        face = "white" if rung.from_halves else color
        axes.plot(x, y, "o", color=color, markerfacecolor=face, markersize=5)


def _law(axes: Axes, raw: Sequence[Rung], longest: float, shares: int) -> None:
    """Draw the errors of raw counts above the pilot's exposure, where they are needed there."""
    first = max(raw, key=lambda r: r.exposure)
    if not np.isfinite(first.square) or longest <= first.exposure:
        return
    x = np.array([first.exposure, longest])
    for end, label in (("error", "raw, extrapolated"), ("high", None)):
        y = shares * getattr(first, end) * np.sqrt(first.exposure / x)
        axes.plot(x, y, ":", color=RAW, linewidth=1.2 if label else 0.8, label=label)


def _mark(axes: Axes, color: str, needed: Sufficient) -> None:
    """Mark an exposure that suffices; at the right end of the picture to its left."""
    beyond = needed.exposure > 0.5
    axes.axvline(needed.exposure, color=color, linewidth=1, linestyle="-.")
    axes.annotate(
        needed.in_words,
        (needed.exposure, 0.985),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if beyond else 4, 0),
        textcoords="offset points",
        ha="right" if beyond else "left",
        va="top",
        fontsize=8,
        color=color,
    )


def _fraction(x: float) -> str:
    """Write powers of two as 1/8, 1, 4."""
    return f"{x:g}" if x >= 1 else f"1/{round(1 / x)}"
