"""A run's second network, in polar coordinates: a run of its own in a folder of the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from smae_jax.config import TrainConfig
from smae_jax.errors import UserError
from smae_jax.inference import Predictor
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Method
from smae_jax.polar import FLOOR, Polar, polar_of
from smae_jax.run.folder import RunFolder
from smae_jax.splitting import LARGEST
from smae_jax.survey import ScaleRule, frame_scales


@dataclasses.dataclass(frozen=True)
class SecondNetwork:
    """The second network, ready to answer frames.

    Attributes:
      layout: of the bins.
      predictor: network and method, settled on frames of bins.
      parameters: of the network.
      scale: counts per unit of rate; None = as `rule` finds it on what is answered.
      rule: of the training.
      folder: of the network.
      progress: wraps the starts of batches.
    """

    layout: Polar
    predictor: Predictor
    parameters: Any
    scale: float | None
    rule: ScaleRule
    folder: RunFolder
    progress: Callable[..., Any] = iter

    def __call__(self, data: Measurements) -> Array:
        """Answer frames, or a part of their photons, see `finishing.polar.Beside`."""
        bins = self.layout.frames_of(data, floor=FLOOR)
        scale = frame_scales(bins, rule=self.rule) if self.scale is None else self.scale
        found = self.predictor(self.parameters, bins, scale=scale, progress=self.progress)
        return jnp.where(jnp.asarray(self.layout.told), self.layout.read(found.counts), jnp.nan)


def folder_of(run: RunFolder) -> RunFolder:
    """Return the folder of a run's second network."""
    return RunFolder(run.path / "polar")


def config_of(config: TrainConfig, folder: RunFolder) -> TrainConfig:
    """Return the options that a run's second network is trained with; goes on where steps are kept.

    It takes half of the steps: all of them gain 0.02 to 0.12 dB more (simulated, 1 photon per pixel).

    Args:
      config: of the run, whose name it keeps: that is what a user goes on with.
      folder: of the second network.
    """
    begun = config.resume and folder.has_steps()
    steps = max(-(-config.train.steps // 2), folder.config().train.steps if begun else 0)
    return dataclasses.replace(
        config,
        resume=begun,
        overwrite=not begun,
        init_from="",
        data=dataclasses.replace(config.data, augment="flips", crop=0),
        train=dataclasses.replace(config.train, polar=False, steps=steps),
    )


def bins_of(config: TrainConfig, data: Measurements, method: Method) -> Measurements:
    """Return frames of bins to train on.

    Raises:
      UserError: if a second network cannot be had of these frames, or by this method.
    """
    if not method.sees_exposure or method.whole:
        raise UserError(
            "--train.polar: expected a method that varies the exposure, as thinning does, got "
            f"{config.method}; leave the option out"
        )
    source, layout = data.origin.source, polar_of(data)
    if layout is None:
        why = f"{source} holds other measurements"
        if data.center is not None and not data.center.known:
            why = f"of {source} {data.center.reason}"
        elif data.center is not None and not data.are_counts:
            why = f"{source} holds other values"
        elif data.center is not None and len(data.spatial) == 2:
            why = f"the beam of {source} is far off the frame, and most bins would hold no pixel"
        raise UserError(
            "--train.polar: expected frames of photon counts about a beam centre that is known; "
            f"{why}: leave the option out"
        )
    if not config.predict.conserve_totals:
        raise UserError(
            "--train.polar: expected answers that keep totals; leave --predict.no-conserve-totals out"
        )
    bins = layout.frames_of(data)
    if (most := int(bins.counts.max(initial=0))) > LARGEST:
        raise UserError(
            f"--train.polar: a bin of {source} holds {most:,} counts, and more than {LARGEST:,} cannot be "
            "split; leave the option out"
        )
    return bins
