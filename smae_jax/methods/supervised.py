"""Supervised: a low-count pattern predicts a paired high-count measurement of the same place.

The reference is Poisson like the pattern, only better: it enters as counts with their exposure, so its own
noise and its own mask are respected, and no clean image is pretended.

Reference:
  The paired fine-tuning of the published SMAE program, and SEDCNN. Deviations: pattern and reference share
  one scale, by their exposures, instead of one maximum each; the reference's mask is its own; every pixel
  is weighted by the reference's exposure; answers come in the orientation of the frame.
"""

import dataclasses

import jax.numpy as jnp
from jax import Array

from smae_jax import symmetry
from smae_jax.errors import UserError
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers, Batch, Method, Pair, Predict, Say, silent
from smae_jax.methods.smae import RATE_OF_RATE, Assemble, assemble
from smae_jax.methods.views import like, moved_pair, rate_of, view_shift


@dataclasses.dataclass(frozen=True)
class Supervised(Method):
    """Low-count pattern against its high-count reference.

    Attributes:
      augment: group from which one element per example is drawn in `pair`.
      rule: "direct" asks nothing of the symmetry: each pixel has the prediction at its own place, and a
        masked one has no answer. "average" and "cross" put the views of a pixel and of its partner together
        as method `smae` does, and fill a masked pixel from its partner; they need a centro-symmetric pattern.
      registration: whether `settled` makes up for a centre between half pixels.
      shift: displacement (y, x) in pixels between these two views, see `smae.Smae`; pairs need none.
    """

    augment: symmetry.GroupName = "d4"
    rule: Assemble = "average"
    registration: bool = True
    shift: tuple[float, float] = (0.0, 0.0)

    needs = frozenset({"reference"})
    rules = ("direct", "cross", "average")
    asks = RATE_OF_RATE

    def settled(self, data: Measurements, *, say: Say = silent) -> "Supervised":
        """Return the method registered at the centre; without a centre there is one view of a pixel."""
        if data.symmetry is None:
            return dataclasses.replace(self, rule="direct")
        shift = view_shift(data.center) if self.registration else self.shift
        return dataclasses.replace(self, shift=shift)

    def pair(self, key: Array, batch: Batch) -> Pair:
        """Make the pair: the pattern is the source; the reference at the same pixels is the target.

        A pixel counts by the reference's exposure where both measured it; the source shows all that the
        pattern measured, also at held-out pixels, because the reference's noise is not in it.

        Args:
          key: typed random key.
          batch: patches anywhere on the frame, (batch, height, width), with their reference.

        Returns:
          Source (batch, height, width, 2) with rate and exposure, target and weight (..., 1).

        Raises:
          ValueError: if the batch has no reference.
        """
        if batch.reference_counts is None or batch.reference_exposure is None:
            raise UserError(
                "method 'supervised': expected a reference for every pattern, got none; give "
                "--data.reference"
            )
        source = rate_of(batch.counts, batch.exposure, batch.scale)
        target = rate_of(batch.reference_counts, batch.reference_exposure, batch.scale)
        weight = batch.reference_exposure * (batch.exposure > 0) * batch.eligible
        return moved_pair(key, [source, batch.exposure], [target], [weight], group=self.augment)

    def denoise(self, predict: Predict, batch: Batch) -> Answers:
        """Predict every pixel of whole canvases.

        Args:
          predict: (batch, height, width, 2) -> (batch, height, width, 1).
          batch: whole canvases; centred, unless the rule is "direct".

        Returns:
          Expected counts per full frame, shaped as the batch.
        """
        rate = rate_of(batch.counts, batch.exposure, batch.scale)
        own_seen = batch.exposure > 0
        own = predict(jnp.stack([rate, batch.exposure], axis=-1))[..., 0]
        if self.rule == "direct":
            value, known = jnp.where(own_seen, own, jnp.nan), own_seen
        else:
            value, known = assemble(
                own, own_seen, batch.partner_exposure > 0, rule=self.rule, shift=self.shift
            )
        counts = value * like(batch.scale, value)
        return Answers(counts=counts, known=known, filled=known & ~own_seen)
