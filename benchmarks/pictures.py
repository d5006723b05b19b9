"""The two figures of the pages: images beside each other on one scale, and quality against exposure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

COLORS = {
    **{"raw": "#9a9a9a", "rotated average": "#9a9a9a", "best Gaussian": "#4c78a8"},
    **{"best non-local means": "#2f9e8f", "SMAE as published": "#b279a2", "SMAE, cross": "#f2a07b"},
    **{
        "SMAE, average": "#d62728",
        "SMAE": "#d62728",
        "thinning, direct": "#9ccc9c",
        "oracle": "#000000",
    },
    **{"thinning, average": "#2ca02c", "thinning": "#2ca02c", "thinning, symmetric": "#145214"},
    **{"thinning, half-planes": "#0b8f5a", "thinning, none": "#c9a227", "masked": "#c9a227"},
    **{"zero-shot": "#8c6d4f", "supervised": "#f28e2b"},
}
FILTERS = ("raw", "rotated average", "best Gaussian", "best non-local means", "oracle")


def images(
    path: Path, rows: Sequence[Mapping[str, np.ndarray]], labels: Sequence[str] = ()
) -> None:
    """Draw rows of images, each row on the logarithmic scale of its last one; NaN grey.

    Args:
      path: of the PNG.
      rows: title -> image, NaN where masked.
      labels: of the rows.
    """
    count = max(map(len, rows))
    figure = Figure(figsize=(2.7 * count, 2.9 * len(rows)), layout="constrained", dpi=110)
    colors = matplotlib.colormaps["inferno"].with_extremes(bad="#b0b0b0")
    for number, (line, panels) in enumerate(
        zip(figure.subplots(len(rows), count, squeeze=False), rows, strict=True)
    ):
        last = list(panels.values())[-1]
        low, high = np.percentile(last[np.isfinite(last) & (last > 0)], (2, 99.8))
        norm = LogNorm(max(low, high / 1000), high)
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        for axis, (name, image) in zip(line, panels.items(), strict=False):
            drawn = axis.imshow(
                np.maximum(image, norm.vmin), norm=norm, cmap=colors, interpolation="nearest"
            )
            axis.set_title(name, fontsize=9)
        figure.colorbar(drawn, ax=line, shrink=0.8, pad=0.01, label="counts per pixel")
        if labels:
            line[0].set_ylabel(labels[number], fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight")


def curves(path: Path, results: Sequence[Any]) -> None:
    """Draw PSNR against the exposure, a panel for each group: filters dashed, the network alone dotted."""
    groups = list(dict.fromkeys(result.group for result in results))
    figure = Figure(figsize=(4.4 * len(groups) + 2.6, 4.6), layout="constrained", dpi=110)
    ratios = [1.0] * len(groups) + [0.5]
    axes = figure.subplots(1, len(ratios), squeeze=False, gridspec_kw={"width_ratios": ratios})[0]
    handles: dict[str, Any] = {}
    for axis, group in zip(axes, groups, strict=False):
        own = [result for result in results if result.group == group]
        for name in dict.fromkeys(name for result in own for name in result.rows):
            points = [(r.photons, r.rows[name]["psnr_db"]) for r in own if name in r.rows]
            bare = name.partition(", network alone")[0]
            style = "--" if name in FILTERS else ":" if name.endswith("alone") else "-"
            wide = 2.4 if name in ("thinning, average", "SMAE") else 1.3
            color = COLORS.get(bare, "#555555")
            x, y = zip(*points, strict=True)
            handles[name] = axis.plot(x, y, style, color=color, marker="o", ms=4, lw=wide)[0]
        # What failed altogether must not press all the others together.
        axis.set_ylim(bottom=min(r.rows["raw"]["psnr_db"] for r in own) - 1)
        name, _, unit = group.partition(" (")
        unit = unit.rstrip(")")
        axis.set_xscale("log")
        axis.set_title(f"{name}, {unit}" if "asymmetry" in unit else name, fontsize=10)
        axis.set_xlabel("photons per pixel" if "share" not in unit else unit)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("PSNR / dB")
    axes[-1].axis("off")
    axes[-1].legend(handles.values(), handles.keys(), loc="center left", frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight")
