"""Pictures: functions from arrays to matplotlib figures, which a notebook shows and `save` writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from smae_jax.io.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save(figure: Figure, path: str | Path, overwrite: bool = False, *, dpi: int = 120) -> None:
    """Write a figure, as PNG or what else the suffix says.

    Args:
      figure: what to write.
      path: where to.
      overwrite: replace an existing picture.
      dpi: pixels per inch.

    Raises:
      OutputError: in one line, if the picture exists or cannot be written.
    """
    with atomic_path(path, overwrite) as temporary:
        figure.savefig(temporary, dpi=dpi)
