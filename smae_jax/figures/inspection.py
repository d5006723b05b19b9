"""One picture of what was understood of a scan: pattern, counts, halves and their differences."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from scipy.ndimage import gaussian_filter

from smae_jax.evaluation.inspection import Inspection, sum_of_pairs
from smae_jax.measurements import Measurements, mean_of_frames

_MASKED = "#d9d9d9"
_FIRST, _SECOND = "#1f77b4", "#d95f02"
_DECADES = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)


@FuncFormatter
def _plain(value: float, _: int | None = None) -> str:
    return f"{value:g}"


def inspection_figure(data: Measurements, inspection: Inspection) -> Figure:
    """Draw a scan as it was understood.

    Args:
      data: patterns, as inspected.
      inspection: what `inspect_scan` found.
    """
    figure = Figure(figsize=(12.5, 11.0), layout="constrained")
    pattern, counts, halves, differences = figure.subplots(2, 2).flat
    own, partner, both = sum_of_pairs(data, inspection.center.half_pixel)
    _draw_pattern(pattern, data, inspection)
    _draw_counts(counts, data, inspection)
    _draw_halves(halves, own, both, inspection)
    _draw_differences(differences, own, partner, both, inspection)
    figure.suptitle(
        f"{_name(data)}: {inspection.verdict()}",
        color="#b2182b" if inspection.warnings() else "black",
        fontsize=13,
        fontweight="bold",
    )
    return figure


def _draw_pattern(axes: Axes, data: Measurements, inspection: Inspection) -> None:
    mean, exposure = mean_of_frames(data)
    positive = mean[mean > 0]
    low, high = np.percentile(positive, [1, 99.9]) if positive.size else (0.1, 1.0)
    low = max(low, high / 1e4)
    image = axes.imshow(
        np.where(np.isnan(mean), np.nan, np.maximum(mean, low)),
        norm=LogNorm(low, max(high, 1.01 * low)),
        cmap="inferno",
        interpolation="nearest",
    )
    _shade_masked(axes, exposure == 0)
    y, x = inspection.center.half_pixel
    axes.plot(x, y, "+", color="white", markersize=22, markeredgewidth=3.5)
    axes.plot(x, y, "+", color="#1a9850", markersize=20, markeredgewidth=1.6)
    axes.set_title("Mean of all frames, log scale; masked in grey")
    axes.set_xlabel(f"x / pixel; centre y {y:.1f}, x {x:.1f}")
    axes.set_ylabel("y / pixel")
    bar = axes.figure.colorbar(image, ax=axes, label="counts per pixel and frame", shrink=0.85)
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    bar.ax.yaxis.set_major_formatter(_plain)
    bar.ax.yaxis.set_minor_locator(NullLocator())


def _draw_counts(axes: Axes, data: Measurements, inspection: Inspection) -> None:
    values = data.counts[data.full_exposure > 0]
    edges = _count_edges(values)
    numbers, _ = np.histogram(values, edges)
    share = 100 * numbers / max(1, values.size) / np.diff(edges)
    axes.stairs(share, edges, fill=True, color="#74a9cf")
    axes.axvline(inspection.mean, color="black", linewidth=1.2)
    axes.annotate(
        f" mean {inspection.mean:.3g}",
        (inspection.mean, 0.97),
        xycoords=("data", "axes fraction"),
        va="top",
    )
    if edges[0] == -0.5 and edges[-1] > 40:
        axes.set_xscale("symlog", linthresh=5, linscale=0.8)
        axes.xaxis.set_major_locator(FixedLocator([0, 2, 5, 10, 30, 100, 300, *_DECADES]))
        axes.xaxis.set_major_formatter(_plain)
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_title(
        f"Counts: {100 * inspection.zeros:.1f} % zeros, median {inspection.median:.3g}, "
        f"largest {inspection.maximum:.5g}"
    )
    axes.set_xlabel("counts per pixel and frame")
    axes.set_ylabel("share of the valid pixels / % per count")
    axes.spines[["top", "right"]].set_visible(False)


def _count_edges(values: np.ndarray) -> np.ndarray:
    """Choose bins of whole counts, each number by itself as long as numbers are small."""
    top = float(values.max()) if values.size else 1.0
    if values.size and values.min() < 0:
        return np.linspace(float(values.min()), max(top, 0.0) + 1e-6, 80)
    grown = np.geomspace(1, max(top, 1.0) + 1, 60)
    return np.unique(np.r_[0, np.round(grown), np.ceil(top) + 1]) - 0.5


def _draw_halves(axes: Axes, own: np.ndarray, both: np.ndarray, inspection: Inspection) -> None:
    """Draw the radial profiles of the two halves that differ most, of two ways to cut."""
    y, x = np.ogrid[: own.shape[0], : own.shape[1]]
    center = inspection.center.half_pixel
    step = max(1.0, min(own.shape) / 300)
    ring = (np.hypot(y - center[0], x - center[1]) / step).astype(int)

    def profile(side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        use = both & side
        number = np.bincount(ring[use], minlength=int(ring.max()) + 1)
        total = np.bincount(ring[use], own[use], minlength=len(number))
        scale = np.where(number >= 3, 1.0 / np.maximum(number, 1) / inspection.frames, np.nan)
        return total * scale, np.sqrt(np.maximum(total, 1.0)) * scale

    def difference(halves: dict[str, tuple[np.ndarray, np.ndarray]]) -> float:
        (first, error), (second, other) = halves.values()
        pull = (first - second) / np.hypot(error, other)
        return float(np.nansum(pull**2))

    cuts = [
        {"left half": profile(x < center[1]), "right half": profile(x > center[1])},
        {"upper half": profile(y < center[0]), "lower half": profile(y > center[0])},
    ]
    halves = max(cuts, key=difference)
    at = (np.arange(int(ring.max()) + 1) + 0.5) * step
    for (label, (mean, error)), color, style in zip(
        halves.items(), (_FIRST, _SECOND), ("-", "--"), strict=True
    ):
        axes.fill_between(at, mean - error, mean + error, color=color, alpha=0.25, linewidth=0)
        axes.plot(at, mean, style, color=color, label=label, linewidth=1.6)
    shown = np.concatenate([mean for mean, _ in halves.values()])
    if (shown > 0).any():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_plain)
        low, high = np.nanmin(shown[shown > 0]), np.nanmax(shown)
        axes.set_ylim(max(low, high / 1e5) / 1.5, high * 1.5)
    axes.set_title("Radial profile of pixels with a partner; band: photon noise")
    axes.set_xlabel("distance from the centre / pixel")
    axes.set_ylabel("counts per pixel and frame")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_differences(
    axes: Axes, own: np.ndarray, partner: np.ndarray, both: np.ndarray, inspection: Inspection
) -> None:
    sigma = max(1.5, min(own.shape) / 150)
    difference = gaussian_filter(np.where(both, own - partner, 0.0), sigma)
    # The variance of a sum with Gaussian weights: the squared weights are a narrower Gaussian.
    spread = gaussian_filter(
        np.where(both, np.maximum(own + partner, 0.0), 0.0), sigma / np.sqrt(2)
    )
    known = both & (spread > 1e-9)
    deviation = np.sqrt(np.where(known, spread, 1.0) / (4 * np.pi * sigma**2))
    pull = np.where(known, difference / deviation, np.where(both, 0.0, np.nan))
    image = axes.imshow(pull, cmap="RdBu_r", vmin=-6, vmax=6, interpolation="nearest")
    _shade_masked(axes, ~both)
    axes.plot(*inspection.center.half_pixel[::-1], "+", color="black", markersize=14)
    axes.set_title("Pixel minus partner; grey: no partner")
    axes.set_xlabel(
        f"chi-square of partners {inspection.chi_square:.2f} per frame, "
        f"{inspection.chi_square_sum:.2f} in the sum\n"
        f"systematic difference: {inspection.systematic()}"
    )
    axes.set_ylabel("y / pixel")
    axes.figure.colorbar(
        image,
        ax=axes,
        label=f"standard deviations (smoothed over {sigma:.1f} pixels)",
        extend="both",
        shrink=0.85,
    )


def _shade_masked(axes: Axes, masked: np.ndarray) -> None:
    axes.imshow(
        np.ma.masked_where(~masked, np.ones(masked.shape)),
        cmap=ListedColormap([_MASKED]),
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )


def _name(data: Measurements) -> str:
    first = Path(data.names[0].split("::")[0]).name
    return f"{first}, {data.frames} frame{'s' if data.frames > 1 else ''}"
