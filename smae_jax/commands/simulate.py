"""`smae-jax simulate`: write a scan with its truth, its mask and its centre."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from smae_jax import simulate as simulation
from smae_jax.config import SimulateConfig
from smae_jax.errors import UserError
from smae_jax.io.atomic import refuse_existing, refuse_unwritable


def simulate(config: SimulateConfig, say: Callable[[str], None]) -> None:
    """Simulate a scan as the options say and write it.

    Args:
      config: the options.
      say: receives every line that a person should read.

    Raises:
      UserError: in one line, if an option is out of range or the output cannot be written.
    """
    suffix = Path(config.output).suffix.lower()
    if suffix not in (".h5", ".hdf5", ".nxs", ".npz"):
        raise UserError(
            f"--output: expected a name ending in .h5, .hdf5, .nxs or .npz, got '{config.output}'"
        )
    refuse_existing(config.output, overwrite=config.overwrite)
    refuse_unwritable(config.output)
    settings = dataclasses.asdict(config)
    for name in ("output", "overwrite"):
        del settings[name]
    scan = simulation.simulate(**settings)
    simulation.write_simulation(config.output, scan, config.overwrite)
    for line in in_words(config.output, scan):
        say(line)


def in_words(path: str, scan: simulation.Simulation) -> list[str]:
    """Say what was simulated and how to use it, a line each."""
    frames, height, width = scan.counts.shape
    measured = scan.counts[:, scan.valid]
    data, mask = ("/entry/data/data", "/entry/mask")
    if Path(path).suffix.lower() == ".npz":
        data, mask = "counts", "mask"
    return [
        f"{scan.parameters['kind']}: {frames} frames of {height} x {width} pixels, "
        f"{scan.counts.dtype}, raster {scan.raster_shape[0]} x {scan.raster_shape[1]}; "
        f"{measured.mean(dtype=np.float64):.3g} counts per valid pixel, "
        f"{100 * np.mean(measured == 0):.1f} % zeros, {100 * np.mean(~scan.valid):.1f} % masked",
        "; ".join(
            [f"centre y {scan.center[0]:g}, x {scan.center[1]:g}", *scan.geometry.in_words()]
        ),
        f"wrote {path}; use it as --data.path {path}::{data} --data.mask {path}::{mask}",
    ]
