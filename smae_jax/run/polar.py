"""A run's second network, in polar coordinates: a run of its own in a folder of the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from smae_jax.config import TrainConfig
from smae_jax.errors import UserError
from smae_jax.geometry import with_partner
from smae_jax.inference import Predictor
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Method
from smae_jax.polar import FLOOR, Polar, polar_of
from smae_jax.run.checkpoint import Checkpoints
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
        told = jnp.asarray(self.layout.told)
        counts = jnp.where(told, self.layout.read(found.counts), jnp.nan)
        if getattr(self.predictor.method, "rule", "") == "symmetric" and data.center is not None:
            counts = _evened(counts, data.center.half_pixel)  # bins lie about the sub-pixel centre
        return counts


def _evened(counts: Array, center: tuple[float, float]) -> Array:
    """Give pixel and partner the mean of both, where both have an answer, (frames, height, width)."""
    rows, columns = with_partner(counts.shape, center)
    own = counts[:, rows, columns]
    partner = own[:, ::-1, ::-1]
    mean = jnp.where(jnp.isfinite(partner), (own + partner) / 2, own)
    return counts.at[:, rows, columns].set(mean)


def folder_of(run: RunFolder) -> RunFolder:
    """Return the folder of a run's second network."""
    return RunFolder(run.path / "polar")


def config_of(config: TrainConfig, folder: RunFolder) -> TrainConfig:
    """Return the options that a run's second network is trained with; goes on where steps are kept.

    It takes half of the steps: all of them gain 0.02 to 0.12 dB more (simulated, 1 photon per pixel).

    Args:
      config: of the run, whose name it keeps: that is what a user goes on with.
      folder: of the second network.

    Raises:
      UserError: if steps are kept there, and what they were trained with cannot be read.
    """
    begun = config.resume and bool(Checkpoints(folder.checkpoints).steps())
    steps = max(-(-config.train.steps // 2), _begun_with(folder) if begun else 0)
    return dataclasses.replace(
        config,
        resume=begun,
        overwrite=not begun,
        init_from="",
        data=dataclasses.replace(config.data, augment="flips", crop=0),
        train=dataclasses.replace(config.train, polar=False, steps=steps),
    )


def _begun_with(folder: RunFolder) -> int:
    """Return how many steps a second network was to take, whose files can all be read."""
    try:
        folder.survey()
        steps = folder.config().train.steps
    except UserError as error:
        raise UserError(
            f"{folder.path}: the second network cannot go on: {error}; remove this folder, and --resume "
            "trains the second network anew"
        ) from error
    return steps


def bins_of(config: TrainConfig, data: Measurements, method: Method) -> tuple[Polar, Measurements]:
    """Return bins, and frames of them to train on.

    Raises:
      UserError: if a second network cannot be had of these frames, or by this method.
    """
    if not method.sees_exposure or method.whole:
        shares = " ".join(f"{a:g},{b:g}" for a, b in getattr(method, "shares", ()))
        raise UserError(
            "--train.polar: expected a method that varies the exposure, as thinning does by its usual "
            f"shares, got {config.method}{f' with shares {shares}' * bool(shares)}; leave the option out"
        )
    layout = polar_of(data)
    if layout is None:
        raise UserError(
            "--train.polar: expected frames of photon counts about a beam centre that is known, but "
            f"{why_no_bins(data)}; leave the option out"
        )
    if not config.predict.conserve_totals:
        raise UserError(
            "--train.polar: expected answers that keep totals; leave --predict.no-conserve-totals out"
        )
    bins = layout.frames_of(data)
    if (most := int(bins.counts.max(initial=0))) > LARGEST:
        raise UserError(
            f"--train.polar: a bin of {data.origin.source} holds {most:,} counts, and more than {LARGEST:,} "
            "cannot be split; leave the option out"
        )
    return layout, bins


def why_no_bins(data: Measurements) -> str:
    """Say why frames have no bins, see `polar_of`."""
    source = data.origin.source
    if data.center is None or len(data.spatial) != 2 or data.channels:
        return f"{source} holds other measurements"
    if not data.center.known:
        return f"of {source} {data.center.reason}"
    if not data.are_counts:
        return f"{source} holds other values"
    return f"most bins of radius and azimuth about the beam of {source} would hold no pixel"
