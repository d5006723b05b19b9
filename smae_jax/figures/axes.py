"""How axes look in pictures of curves."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator


def plain(axes: Axes) -> None:
    """Draw a light grid, and no frame above and to the right."""
    axes.grid(color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def count_frames(axes: Axes, numbers: np.ndarray) -> None:
    """Let x be the number of a frame: whole numbers, and half a frame before the first and after the last.

    Args:
      axes: where frames are drawn.
      numbers: of the frames, (frames,).
    """
    axes.set_xlabel("frame")
    margin = max(0.5, 0.03 * float(np.ptp(numbers)))
    axes.set_xlim(float(numbers.min()) - margin, float(numbers.max()) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
