"""How axes look in pictures of curves."""

from __future__ import annotations

from matplotlib.axes import Axes


def plain(axes: Axes) -> None:
    """Draw a light grid, and no frame above and to the right."""
    axes.grid(color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
