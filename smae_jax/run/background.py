"""What is measured without the sample, read as a run reads its own frames."""

from __future__ import annotations

import dataclasses

import numpy as np

from smae_jax.config import InferConfig, ReportConfig
from smae_jax.errors import UserError
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Say
from smae_jax.run.data import read_images
from smae_jax.run.restore import Opened, calibrated_as_run
from smae_jax.survey import masked


def read_background(
    config: InferConfig | ReportConfig, opened: Opened, say: Say
) -> Measurements | None:
    """Read the background as the run reads its own measurements; None where there is none.

    Raises:
      UserError: in one line, if it cannot be read, or has another shape than the data.
    """
    if not config.background:
        return None
    data = opened.data
    found = read_images(data, opened.config.data, config.background, "--background")
    if found.counts.shape[1:] != data.counts.shape[1:]:
        raise UserError(
            f"--background {config.background}: expected frames of {data.counts.shape[1:]} as {config.input} "
            f"has, got {found.counts.shape[1:]}; give frames of the same detector"
        )
    found = calibrated_as_run(config, opened.folder, opened.config, found)
    if len(data.spatial) == 2:
        found = masked(found, np.asarray(data.valid.any(axis=0)), path="--background")
    own, there = (
        None if one.origin.exposure_s is None else float(np.mean(one.origin.exposure_s))
        for one in (data, found)
    )
    if own and there and abs(own / there - 1) > 0.01:
        say(
            f"note: a frame of {config.background} was exposed {there:.4g} s, a frame of {config.input} "
            f"{own:.4g} s; --background-scale {own / there:.4g} makes up for that, and is "
            f"{config.background_scale:g}"
        )
    return dataclasses.replace(
        found,
        exposure=found.exposure / found.frame_exposure.mean(),
        integrated=data.integrated,
    )
