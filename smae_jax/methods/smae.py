"""SMAE: one half of a centro-symmetric pattern, turned by 180 degrees, predicts the other half.

Two opposite pixels measure one rate with independent photon noise, so either half is a Noise2Noise
target for the other. Steps 2-5 of the published algorithm are here: cut, turn, pair in both directions under
a random group element, and put the predictions together again.

Reference:
  The published SMAE program (Symmetric Masked AutoEncoder); Noise2Noise, Lehtinen et al. 2018, eq. 6.
  Deviations outside `reference=True`: a zero count is a measurement, not a masked pixel; rates share one
  scale; every pixel is weighted by the exposures behind it; group elements are drawn inside the step.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jax import Array

from smae_jax import symmetry
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
from smae_jax.methods.views import like, rate_of, registered_pair, view_shift
from smae_jax.registration import displace

Assemble = Literal["direct", "cross", "average"]
RATE_OF_RATE = "the rate of a rate and its exposure"
"""What SMAE and supervised training ask of a network alike: either goes on from the other's parameters."""


def split_halves(x: Array) -> tuple[Array, Array]:
    """Cut (..., height, width) into left and right halves; both hold the middle column of an odd width."""
    half = (x.shape[-1] + 1) // 2
    return x[..., :half], x[..., x.shape[-1] - half :]


def join_halves(left: Array, right: Array, width: int) -> Array:
    """Put two halves side by side again: the inverse of `split_halves` (a middle column is the left's)."""
    return jnp.concatenate([left, right[..., 2 * left.shape[-1] - width :]], axis=-1)


def assemble(
    own: Array,
    own_seen: Array,
    partner_seen: Array,
    *,
    rule: Assemble,
    shift: tuple[float, float] = (0.0, 0.0),
) -> tuple[Array, Array]:
    """Put the two predictions of every pixel together.

    Args:
      own: the prediction at every pixel of a centred canvas, (batch, height, width); the prediction at the
        partner's place, turned, is the second one.
      own_seen: whether the pixel was measured, bool, as `own`.
      partner_seen: whether its partner was, bool, as `own`.
      rule: "direct" takes the pixel's own side, "cross" its partner's (as published), "average" the mean of
        the two where both were measured. Where only one was measured, that one is taken under every rule.
      shift: displacement (y, x) in pixels that brings the turned prediction onto the pixel grid.

    Returns:
      (value, known): the assembled prediction, NaN where neither side was measured, and where it is known.
    """
    partner = symmetry.rotate180(own)
    if any(shift):
        partner = displace(partner, jnp.broadcast_to(jnp.asarray(shift), (len(own), 2)))
    share = {"direct": 1.0, "cross": 0.0, "average": 0.5}[rule]
    weight = jnp.where(own_seen & partner_seen, share, own_seen.astype(own.dtype))
    known = own_seen | partner_seen
    # `where` on both sides of the product: a NaN on the side that does not count must not come through.
    value = jnp.where(weight > 0, weight * own, 0.0) + jnp.where(
        weight < 1, (1 - weight) * partner, 0.0
    )
    return jnp.where(known, value, jnp.nan), known


@dataclass(frozen=True)
class Smae(Method):
    """Half against turned half, in both directions.

    Attributes:
      augment: group from which one element per example is drawn in `pair`.
      rule: how the two predictions of a pixel are put together, see `assemble`.
      reference: reproduce the published rule: zero counts masked on both sides, mean over all pixels, and
        each half through the network by itself.
      registration: whether `settled` makes up for a centre between half pixels.
      shift: twice the beam centre's distance (y, x) from the half pixel that partners are counted from:
        the turned view shows at p what the pixel's own shows at p + shift. Predictions are displaced by it,
        in the loss and when views are put together; counts never are.
    """

    augment: symmetry.GroupName = "flips"
    rule: Assemble = "average"
    reference: bool = False
    registration: bool = True
    shift: tuple[float, float] = (0.0, 0.0)

    needs = frozenset({"symmetry"})
    axes = (2,)
    extent = "common"
    region = "half"
    rules = ("direct", "cross", "average")
    asks = RATE_OF_RATE

    def settled(self, data: Measurements, *, say: Say = silent) -> "Smae":
        """Return the method registered at the centre of the data."""
        check_needs(self, data)
        shift = view_shift(data.center) if self.registration else self.shift
        return dataclasses.replace(self, shift=shift)

    def pair(self, key: Array, batch: Batch) -> Pair:
        """Make the pair: the partner's side, turned, is the source; the pixel's own side is the target.

        The data side draws patches from either half, so both directions occur equally often.

        Args:
          key: typed random key.
          batch: patches within one half-plane, (batch, height, width).

        Returns:
          Source (batch, height, width, 2) with rate and exposure, target and weight (..., 1).
        """
        source = rate_of(batch.partner_counts, batch.partner_exposure, batch.scale)
        target = rate_of(batch.counts, batch.exposure, batch.scale)
        source_exposure = batch.partner_exposure
        weight = batch.exposure * (batch.partner_exposure > 0)
        if self.reference:
            common = (source > 0) & (target > 0)
            source, target = jnp.where(common, source, 0.0), jnp.where(common, target, 0.0)
            source_exposure, weight = common.astype(source.dtype), jnp.ones_like(weight)
        pair, shift = registered_pair(
            key,
            [source, source_exposure],
            [target],
            [weight * batch.eligible],
            group=self.augment,
            shift=self.shift,
        )
        return pair if shift is None else dataclasses.replace(pair, shift=shift[:, None])

    def denoise(self, predict: Predict, batch: Batch) -> Answers:
        """Predict every pixel of centred canvases and assemble the two views.

        The whole canvas goes through the network at once, which is both halves with their surroundings
        instead of a cut through the beam centre. Under an ensemble that holds the half turn, predicting the
        turned half is the same as turning the prediction, so one pass serves both views.

        Args:
          predict: (batch, height, width, 2) -> (batch, height, width, 1).
          batch: whole canvases, centred.

        Returns:
          Expected counts per full frame, shaped as the batch.
        """
        rate = rate_of(batch.counts, batch.exposure, batch.scale)
        own_seen, partner_seen = batch.exposure > 0, batch.partner_exposure > 0
        if self.reference:
            common = (rate > 0) & symmetry.rotate180(rate > 0)
            rate = jnp.where(common, rate, 0.0)
            sides = split_halves(jnp.stack([rate, common.astype(rate.dtype)]))
            left, right = (predict(jnp.moveaxis(side, 0, -1))[..., 0] for side in sides)
            own = join_halves(left, right, rate.shape[-1])
        else:
            own = predict(jnp.stack([rate, batch.exposure], axis=-1))[..., 0]
        value, known = assemble(own, own_seen, partner_seen, rule=self.rule, shift=self.shift)
        counts = value * like(batch.scale, value)
        return Answers(counts=counts, known=known, filled=known & ~own_seen)
