"""Noise2Noise: repeats of one measurement predict each other.

Two measurements of one rate with independent noise are a source and a target as they are; neither has to be
clean. Any number of spatial axes; unequal exposures count by what they are worth.

Reference:
  Lehtinen et al. 2018, "Noise2Noise: learning image restoration without clean data"; strategies `1:X` and
  `X:1` as in autoden. Deviations: repeats are added, counts and exposures, instead of averaged, so that a
  repeat of twice the exposure counts twice; the network knows the exposure of what it sees, and predicts from
  all repeats at once. Noise that repeats share is recorrupted as in Pang et al. 2021,
  "Recorrupted-to-Recorrupted".
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from smae_jax import symmetry
from smae_jax.errors import UserError
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import (
    Answers,
    Batch,
    Method,
    Pair,
    Predict,
    Say,
    check_needs,
    silent,
)
from smae_jax.methods.views import like, moved_pair, rate_of

Strategy = Literal["1:X", "X:1"]


@dataclass(frozen=True)
class Noise2Noise(Method):
    """Repeats against repeats.

    Attributes:
      strategy: "1:X", one repeat predicts the sum of all others; "X:1", all others predict one.
      prediction: "sum", the answer comes from the sum of all repeats; "average", it is the mean of the
        answers to the sources of training.
      augment: group from which one element per example is drawn in `pair`.
      channels: whether the data have channels: the network then also sees the mean over all of them, which
        the batch holds in its partner fields.
      common_noise: rms of the noise that all repeats share, in counts at exposure 1. Source and target
        have it in common, so it would be learned as signal: fresh noise of this size is added to the one and
        taken off the other, which makes them independent.
    """

    strategy: Strategy = "X:1"
    prediction: Literal["sum", "average"] = "sum"
    augment: symmetry.GroupName = "flips"
    channels: bool = False
    common_noise: float = 0.0

    needs = frozenset({"repeats"})
    answers = "one"

    @property
    def error_bars(self) -> Literal["repeats"] | None:
        """The jackknife over the repeats, where the answer comes from their sum."""
        return "repeats" if self.prediction == "sum" else None

    @property
    def source_channels(self) -> int:
        """Length of the channel axis of `Pair.source`."""
        return 4 if self.channels else 2

    def settled(self, data: Measurements, *, say: Say = silent) -> "Noise2Noise":
        """Return the method for data with or without channels."""
        check_needs(self, data)
        return dataclasses.replace(self, channels=data.channels)

    def pair(self, key: Array, batch: Batch) -> Pair:
        """Make the pair: a repeat, in `counts`, and the sum of the others, in `reference_counts`.

        Args:
          key: typed random key.
          batch: (batch, *spatial), with references; with channels, `partner_counts` hold the mean over all
            channels of what the strategy makes the source.

        Returns:
          Source (batch, *spatial, 2 or 4) with rates and exposures, target and weight (..., 1).

        Raises:
          ValueError: if the batch has no reference.
        """
        if batch.reference_counts is None or batch.reference_exposure is None:
            raise UserError(
                "method 'noise2noise': expected repeats of one measurement, got single ones; use method "
                "thinning or noise2void"
            )
        one = batch.counts, batch.exposure
        others = batch.reference_counts, batch.reference_exposure
        source, target = (one, others) if self.strategy == "1:X" else (others, one)
        views = [source]
        if self.channels:
            views.append((batch.partner_counts, batch.partner_exposure))
        flat = [
            array
            for counts, exposure in views
            for array in (rate_of(counts, exposure, batch.scale), exposure)
        ]
        rate = rate_of(*target, batch.scale)
        if self.common_noise:
            key, noise_key = jax.random.split(key)
            size = self.common_noise / like(batch.scale, rate)
            fresh = size * jax.random.normal(noise_key, rate.shape)
            flat[0] = jnp.where(flat[1] > 0, flat[0] + fresh, 0.0)
            rate = jnp.where(target[1] > 0, rate - fresh, 0.0)
        return moved_pair(key, flat, [rate], [target[1] * batch.eligible], group=self.augment)

    def denoise(self, predict: Predict, batch: Batch) -> Answers:
        """Give one answer to all repeats.

        Args:
          predict: (batch, *spatial, 2 or 4) -> (batch, *spatial, 1).
          batch: all repeats of one measurement, (repeats, *spatial); with channels, `partner_counts` hold
            each repeat's mean over all channels.

        Returns:
          Expected counts per unit of exposure, (1, *spatial); NaN where no repeat measured.
        """
        measured = [(batch.counts, batch.exposure)]
        if self.channels:
            measured.append((batch.partner_counts, batch.partner_exposure))
        shown = []
        for counts, exposure in measured:
            for array in self._sources(counts, exposure, batch.scale):
                shown.append(array)
        known = jnp.sum(batch.exposure, axis=0, keepdims=True) > 0
        rate = predict(jnp.stack(shown, axis=-1))[..., 0]
        counts = jnp.mean(rate, axis=0, keepdims=True) * batch.scale[0]
        return Answers(
            counts=jnp.where(known, counts, jnp.nan), known=known, filled=jnp.zeros_like(known)
        )

    def _sources(self, counts: Array, exposure: Array, scale: Array) -> tuple[Array, Array]:
        """Return rate and exposure of what is predicted from: (1 or repeats, *spatial) each."""
        total, light = (jnp.sum(x, axis=0, keepdims=True) for x in (counts, exposure))
        if self.prediction == "sum":
            counts, exposure, scale = total, light, scale[:1]
        elif self.strategy == "X:1":
            counts, exposure = total - counts, light - exposure
        return rate_of(counts, exposure, scale), exposure
