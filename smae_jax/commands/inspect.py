"""`smae-jax inspect`: say and draw what the program understands of a scan, before any training."""

from __future__ import annotations

from smae_jax.cautions import cautions, not_counts
from smae_jax.config import InspectConfig
from smae_jax.errors import UserError
from smae_jax.evaluation.inspection import inspect_scan
from smae_jax.figures import save
from smae_jax.figures.inspection import inspection_figure
from smae_jax.io.atomic import refuse_existing, refuse_unwritable
from smae_jax.io.writing import refuse_input
from smae_jax.methods.protocol import KINDS, Say
from smae_jax.run.data import read_data


def inspect(config: InspectConfig, say: Say) -> None:
    """Read a scan as a training would, and report on it.

    Args:
      config: the options.
      say: receives every line that a person should read; warnings begin with WARNING.

    Raises:
      UserError: in one line, if the scan cannot be read or the picture cannot be written.
    """
    options = config.data
    if not options.path:
        raise UserError("--data.path: expected files of frames, got none; see --help")
    if config.output:
        if not config.output.lower().endswith(".png"):
            raise UserError(f"--output: expected a name ending in .png, got '{config.output}'")
        inputs = (
            *(options.path, *options.mask, options.monitor, options.geometry),
            *(options.dark, options.flat),
        )
        refuse_input(config.output, *inputs)
        refuse_existing(config.output, overwrite=config.overwrite)
        refuse_unwritable(config.output)
    data = read_data(options)
    for note in data.origin.notes:
        say(note)
    if data.center is None:
        raise UserError(
            f"--data.path {options.path}: expected patterns of a scan to inspect, got "
            f"{KINDS[len(data.spatial)]} that are repeats; "
            + ("leave --data.dimensions out" if options.dimensions else "give it frames")
        )
    inspection = inspect_scan(data)
    warned = [*not_counts(data), *cautions(data, polarity=options.mask_polarity)]
    for line in (*inspection.lines(), *warned):
        say(line)
    if config.output:
        save(inspection_figure(data, inspection), config.output, config.overwrite, dpi=110)
        say(f"drawn to {config.output}")
