"""Pictures of S(Q) and G(r): raw, denoised and reference, of one frame and of a whole scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smae_jax.figures.axes import plain
from smae_jax.figures.profiles import DENOISED, RAW, REFERENCE, WINDOW, Curve


@dataclass(frozen=True)
class PairCurves:
    """What one row of the picture shows: raw first, denoised second, then a reference.

    Attributes:
      title: what the row is of.
      structure: S(Q).
      functions: G(r).
    """

    title: str
    structure: Sequence[Curve]
    functions: Sequence[Curve]


def pair_figure(
    q: np.ndarray,
    r: np.ndarray,
    rows: Sequence[PairCurves],
    *,
    shells: Sequence[tuple[float, float]] = (),
) -> Figure:
    """Draw S(Q) to the left and G(r) to the right.

    Args:
      q: 1/angstrom, (q,).
      r: angstrom, (r,).
      rows: one below the other.
      shells: ranges of r that are shaded.
    """
    figure = Figure(figsize=(10.4, 3.3 * len(rows) + 0.5), layout="constrained")
    grid = figure.subplots(len(rows), 2, squeeze=False, sharex="col")
    for (left, right), row in zip(grid, rows, strict=True):
        left.axhline(1, color="black", linewidth=0.6)
        right.axhline(0, color="black", linewidth=0.6)
        for axes, axis, curves in ((left, q, row.structure), (right, r, row.functions)):
            _draw(axes, axis, curves)
        for low, high in shells:
            right.axvspan(low, high, color=WINDOW, alpha=0.25, linewidth=0)
        left.set(ylabel="S(Q)", title=row.title)
        right.set_ylabel("G(r) / angstrom$^{-2}$")
    grid[-1][0].set_xlabel("Q / angstrom$^{-1}$")
    grid[-1][1].set_xlabel("r / angstrom")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, fontsize=9, frameon=False)
    return figure


def _draw(axes: Axes, axis: np.ndarray, curves: Sequence[Curve]) -> None:
    for order, (curve, color) in enumerate(zip(curves, (RAW, DENOISED, REFERENCE), strict=False)):
        width, style = (0.9, "-") if order == 0 else (1.5, "--" if order == 2 else "-")
        axes.plot(axis, curve.values, style, color=color, linewidth=width, label=curve.name)
        if curve.sigma is not None:
            low, high = curve.values - curve.sigma, curve.values + curve.sigma
            axes.fill_between(axis, low, high, color=color, alpha=0.22, linewidth=0)
    axes.set_ylim(*_limits([curve.values for curve in curves]))
    axes.title.set_fontsize(10)
    plain(axes)


def _limits(curves: Sequence[np.ndarray]) -> tuple[float, float]:
    """Span what is denoised and known, and most of the raw values."""
    parts = [curve[np.isfinite(curve)] for curve in curves]
    ends = [
        np.percentile(part, [2, 98] if k == 0 else [0, 100])
        for k, part in enumerate(parts)
        if part.size
    ]
    if not ends:
        return 0.0, 1.0
    low, high = min(float(e[0]) for e in ends), max(float(e[1]) for e in ends)
    margin = 0.12 * (high - low) or 0.1
    return low - margin, high + margin
