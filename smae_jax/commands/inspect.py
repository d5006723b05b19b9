"""`smae-jax inspect`: say and draw what the program understands of a scan, before any training."""

from __future__ import annotations

from collections.abc import Callable

from smae_jax.commands.build import prepare
from smae_jax.config import InspectConfig
from smae_jax.data.atomic import atomic_path, refuse_existing
from smae_jax.evaluation.inspection import inspect_scan
from smae_jax.evaluation.inspection_figure import draw_inspection


def inspect(config: InspectConfig, say: Callable[[str], None]) -> None:
    """Read a scan as a training would, and report on it.

    Args:
      config: the options.
      say: receives every line that a person should read; warnings begin with WARNING.

    Raises:
      ValueError: in one line, if the scan cannot be read or the picture cannot be written.
    """
    options = config.data
    if not options.path:
        raise ValueError("--data.path: expected files of frames, got none; see --help")
    if config.output:
        if not config.output.lower().endswith(".png"):
            raise ValueError(f"--output: expected a name ending in .png, got '{config.output}'")
        refuse_existing(config.output, overwrite=config.overwrite)
    scan, center = prepare(options)
    inspection = inspect_scan(scan, center)
    for line in inspection.lines():
        say(line)
    if config.output:
        with atomic_path(config.output, config.overwrite) as temporary:
            draw_inspection(temporary, scan, inspection)
        say(f"drawn to {config.output}")
