"""A run's second network, in polar coordinates: a run of its own in a folder of the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax.config import TrainConfig
from smae_jax.errors import UserError
from smae_jax.inference import Predictor
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Method
from smae_jax.polar import FLOOR, Polar, polar_of
from smae_jax.run.folder import RunFolder

NEEDS = (
    "frames of photon counts, a beam centre that may be trusted, a method that varies the exposure, as "
    "thinning does, and totals that are conserved"
)
"""What a second network asks for."""


@dataclasses.dataclass(frozen=True)
class Beside:
    """The second network, ready to answer frames.

    Attributes:
      layout: of the bins.
      predictor: network and method, settled on frames of bins.
      parameters: of the network.
      scale: counts per unit of rate; None = the mean of what is answered.
      progress: wraps the starts of batches.
    """

    layout: Polar
    predictor: Predictor
    parameters: Any
    scale: float | None
    progress: Callable[..., Any] = iter

    def __call__(self, data: Measurements) -> Array:
        """Answer frames, or a part of their photons, see `finishing.polar.Beside`."""
        bins = self.layout.frames_of(data, floor=FLOOR)
        found = self.predictor(self.parameters, bins, scale=self.scale, progress=self.progress)
        return jnp.where(jnp.asarray(self.layout.told), self.layout.read(found.counts), jnp.nan)


def folder_of(run: RunFolder) -> RunFolder:
    """Return the folder of a run's second network."""
    return RunFolder(run.path / "polar")


def config_of(config: TrainConfig, folder: RunFolder) -> TrainConfig:
    """Return the options that a run's second network is trained with; goes on where steps are kept."""
    begun = folder.has_steps()
    return dataclasses.replace(
        config,
        run=str(folder.path),
        resume=begun,
        overwrite=not begun,
        init_from="",
        data=dataclasses.replace(config.data, augment="flips", crop=0),
        train=dataclasses.replace(config.train, polar=False),
    )


def bins_of(config: TrainConfig, data: Measurements, method: Method) -> Measurements:
    """Return frames of bins to train on.

    Raises:
      UserError: if a second network cannot be had of these frames by this method.
    """
    layout = polar_of(data)
    able = method.sees_exposure and not method.whole and config.predict.conserve_totals
    if layout is None or not able:
        what = f"--method {config.method}" if layout is not None else data.origin.source
        raise UserError(f"--train.polar: expected {NEEDS}; {what} is none such: leave it out")
    return layout.frames_of(data)


def scale_of(config: TrainConfig, scale: float | None) -> float | None:
    """Return the unit of rate of a second network whose training had `scale`."""
    return (
        None
        if scale is None or not config.data.scale.startswith("scan")
        else float(np.float32(scale))
    )
