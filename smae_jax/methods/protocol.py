"""What every method promises: how pairs are made, and how predictions become a denoised scan.

Loss, network, trainer, checkpoints and inference know a method only through this file. Arrays are spatial
first, `(batch, *spatial)`; the network's own arrays end in a channel axis, `(batch, *spatial, channel)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import jax
from jax import Array

Predict = Callable[[Array], Array]
"""(batch, *spatial, channel) source -> (batch, *spatial, output) rate, both in units of the scale."""
Region = Literal["half", "across", "frame"]
"""Where patches lie: within one half-plane, as small but anywhere, or anywhere."""
Measurement = tuple[Array, Array]
"""Counts and the exposure behind them, (batch, *spatial) each."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch:
    """Frames, or patches of frames, with the same pixels' partners beside them.

    Attributes:
      counts: photons, (batch, *spatial), float32; 0 where invalid.
      exposure: full frames behind each pixel, (batch, *spatial), float32; 0 where invalid.
      partner_counts: counts of the pixel turned by 180 degrees about the beam centre, as `counts`.
      partner_exposure: exposure of that pixel; 0 where it is invalid or off the detector.
      scale: counts per full frame that one unit of rate stands for, (batch,), float32.
      eligible: 1 where a pixel may be a target in this call, else 0, (batch, *spatial), float32. It parts
        training pixels from held-out ones and is the same for a pixel and its partner.
      reference_counts: photons of a paired high-count measurement, as `counts`; None where there is none.
      reference_exposure: full frames behind them, in frames of `counts`; 0 where invalid.
      identity: a number of its own for every pixel of every frame, uint32, as `counts`; None where nothing
        is drawn for pixels.
      partner_identity: of the turned pixel.
    """

    counts: Array
    exposure: Array
    partner_counts: Array
    partner_exposure: Array
    scale: Array
    eligible: Array
    reference_counts: Array | None = None
    reference_exposure: Array | None = None
    identity: Array | None = None
    partner_identity: Array | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pair:
    """What one training step sees; rates in units of the scale.

    Attributes:
      source: the network's input, (batch, *spatial, channel): of each measurement its rate and its exposure.
      target: an independent measurement of the rate, (batch, *spatial, output); 0 where the weight is.
      weight: the target's exposure, (batch, *spatial, output); 0 keeps a pixel out of loss and gradient.
      shift: where the target's grid lies beside the source's, (batch, output, 2) pixels: the trainer
        displaces each predicted rate by it before the loss sees it. None = all grids are one.
    """

    source: Array
    target: Array
    weight: Array
    shift: Array | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Denoised:
    """A method's answer in counts per full frame, in the orientation of the batch.

    Attributes:
      counts: expected counts, (batch, *spatial), float32; NaN where `known` is False.
      known: whether there is an answer, bool, (batch, *spatial).
      filled: whether the answer stands on the partner alone, the pixel itself being invalid, bool.
      variance: the jackknife's estimate of what photon noise does to the answer, as `counts`; None where it
        was not asked for.
    """

    counts: Array
    known: Array
    filled: Array
    variance: Array | None = None


class Method(Protocol):
    """A frozen dataclass with two pure functions and three facts that the data side must know."""

    @property
    def extent(self) -> Literal["common", "all"]:
        """Train on pixels whose partner lies on the detector ("common") or on the whole frame."""
        ...

    @property
    def region(self) -> Region:
        """Where patches lie."""
        ...

    @property
    def source_channels(self) -> int:
        """Length of the channel axis of `Pair.source`: two for each measurement."""
        ...

    @property
    def sees_exposure(self) -> bool:
        """Whether training varies the exposure of the source, so that the network knows what it means."""
        ...

    @property
    def outputs(self) -> int:
        """Rates that the network answers with: those of the first measurements of the source."""
        ...

    def pair(self, key: Array, batch: Batch) -> Pair:
        """Make source, target and weight of one step; `key` is a typed random key."""
        ...

    def denoise(self, predict: Predict, batch: Batch) -> Denoised:
        """Turn predictions on a batch of whole canvases into expected counts."""
        ...
