"""Curves of an evaluation: quality against step, agreement against size, totals against radius."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smae_jax.evaluation.fourier_ring import THRESHOLD, RingSums
from smae_jax.evaluation.residuals import RingTotals
from smae_jax.figures.axes import plain

_COLORS = ("#8c8c8c", "#2a6fbb", "#d1772a", "#3f9a5f", "#8a5bb5", "#a0522d", "#4aa6b5")
_OURS = "#c1272d"


def checkpoints_figure(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, tuple[str, str]],
    *,
    title: str,
) -> Figure:
    """Draw numbers of the checkpoints against their step, the simple filters as horizontal lines.

    Args:
      rows: rows of a table; those with a `step` are checkpoints.
      columns: key of a row -> (label of its panel, "higher" or "lower" is better).
      title: headline.
    """
    networks = sorted((r for r in rows if r.get("step") is not None), key=lambda r: r["step"])
    others = [r for r in rows if r.get("step") is None]
    figure = Figure(figsize=(6.2 * len(columns), 5.6), layout="constrained")
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    for axes, (key, (label, better)) in zip(panels, columns.items(), strict=True):
        steps = [r["step"] for r in networks]
        values = [r[key] for r in networks]
        axes.plot(steps, values, "o-", color=_OURS, label="network", zorder=3)
        for color, row in zip(_COLORS, others, strict=False):
            axes.axhline(row[key], color=color, linewidth=1.2, linestyle="--", label=row["name"])
        _show_the_relevant(axes, values, [r[key] for r in others], better)
        axes.set_xlabel("training step")
        axes.set_ylabel(f"{label} ({better} is better)")
        plain(axes)
    handles, labels = panels[0].get_legend_handles_labels()
    for k, row in enumerate(others[: len(_COLORS)], start=1):
        inside = [
            a.get_ylim()[0] <= row[key] <= a.get_ylim()[1]
            for a, key in zip(panels, columns, strict=True)
        ]
        labels[k] += "" if any(inside) else " (off the scale: worse)"
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=13, fontweight="bold")
    return figure


def agreement_figure(halves: Mapping[str, RingSums], to_raw: Mapping[str, RingSums]) -> Figure:
    """Draw the Fourier ring correlations of two halves, and of a denoised half with a raw one.

    Args:
      halves: name -> correlation of two halves denoised separately; the last name is ours.
      to_raw: name -> correlation of a denoised half and the other raw half.
    """
    figure = Figure(figsize=(12, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, sums, threshold, what in (
        (left, halves, THRESHOLD, "two denoised halves (shared bias raises it)"),
        (right, to_raw, np.sqrt(THRESHOLD), "denoised half and the other raw half"),
    ):
        for color, width, (name, ring) in _styled(sums):
            axes.plot(
                ring.frequency[1:], ring.correlation[1:], color=color, linewidth=width, label=name
            )
        axes.axhline(threshold, color="black", linewidth=0.9, linestyle=":")
        axes.annotate(
            f"threshold {threshold:.2f}", (0.5, threshold), ha="right", va="bottom", fontsize=8
        )
        axes.set(xlabel="spatial frequency / cycles per pixel", xlim=(0, 0.5), ylim=(-0.15, 1.05))
        axes.set_title(what, fontsize=11)
        plain(axes)
    left.set_ylabel("Fourier ring correlation")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def rings_figure(rings: Mapping[str, RingTotals]) -> Figure:
    """Draw denoised over measured totals in rings about the beam, within the photons' error.

    Args:
      rings: name -> totals; the last name is ours.
    """
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    ratios = [100 * (one.ratio()[0] - 1) for one in rings.values()]
    first = next(iter(rings.values()))
    error = 100 * first.ratio()[1]
    axes.fill_between(first.radius, -error, error, color="#dddddd", label="photons, one sigma")
    for (color, width, (name, one)), ratio in zip(_styled(rings), ratios, strict=True):
        axes.plot(one.radius, ratio, ".-", color=color, linewidth=width, label=name)
    shown = np.concatenate([np.abs(ratios[-1]), 3 * error])
    limit = 1.5 * np.nanpercentile(shown, 85) if np.isfinite(shown).any() else 1.0
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="radius / pixel", ylabel="denoised / measured - 1, in %", ylim=(-limit, limit))
    axes.legend(fontsize=8, frameon=False)
    plain(axes)
    return figure


def _styled(curves: Mapping[str, Any]) -> list[tuple[str, float, tuple[str, Any]]]:
    """Give each curve a colour and a width; the last one is ours."""
    items = list(curves.items())
    colors = [_COLORS[k % len(_COLORS)] for k in range(len(items) - 1)] + [_OURS]
    widths = [1.3] * (len(items) - 1) + [2.2]
    return list(zip(colors, widths, items, strict=True))


def _show_the_relevant(
    axes: Axes, values: Sequence[float], others: Sequence[float], better: str
) -> None:
    """Cut off lines so far on the worse side that the curve would be flat."""
    good = np.array([v for v in [*values, *others] if v is not None and np.isfinite(v)])
    if good.size < 2:
        return
    worst, best = (good.min(), good.max()) if better == "higher" else (good.max(), good.min())
    near = np.abs(np.sort(np.abs(good - best)))[: max(2, int(0.75 * good.size))].max()
    reach = max(near, max((abs(v - best) for v in values if np.isfinite(v)), default=0)) or 1.0
    reach = min(reach, abs(worst - best) or reach)
    edge = best - reach if better == "higher" else best + reach
    low, high = sorted((best, edge))
    axes.set_ylim(low - 0.08 * reach, high + 0.08 * reach)
