"""Deep image prior: a network draws one measurement out of fixed noise, and is stopped in time.

A convolutional network fits what is smooth and repeated sooner than noise. When to stop is told by counts
that were split off before the training and never shown to it.

Reference:
  Lempitsky et al. 2018, "Deep image prior". Deviations: a rate head and the trainer's own loss (Poisson), so
  nothing negative is drawn; the best step is found on held-out counts instead of by eye.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from smae_jax.errors import UserError
from smae_jax.measurements import Measurements, not_counted
from smae_jax.methods.protocol import Answers, Batch, Method, Pair, Predict, Say, silent
from smae_jax.methods.views import rate_of


@dataclass(frozen=True)
class DeepImagePrior(Method):
    """Fixed noise in, the one measurement out.

    Attributes:
      channels: of the noise, >= 1.
      jitter: rms of fresh noise added to it at every step.
      seed: of the noise.
    """

    channels: int = 8
    jitter: float = 0.03
    seed: int = 0

    needs = frozenset({"counts"})
    answers = "one"
    whole = True
    sees_measurement = False
    error_bars = None

    @property
    def source_channels(self) -> int:
        """Length of the channel axis of `Pair.source`."""
        return self.channels

    def noise(self, shape: tuple[int, ...]) -> Array:
        """Return the fixed noise of (batch, *spatial): the same at every step, and in prediction."""
        one = jax.random.normal(jax.random.key(self.seed), (*shape[1:], self.channels))
        return jnp.broadcast_to(one, (*shape, self.channels))

    def settled(self, data: Measurements, *, say: Say = silent) -> "DeepImagePrior":
        """Return the method; refuse channels, and values that cannot be split to judge when to stop."""
        if data.channels:
            raise UserError(
                "--method deep_image_prior: expected data without channels; use noise2noise, or train each "
                "alone"
            )
        odd = not_counted(data.counts)
        if odd is not None:
            raise UserError(
                f"{data.origin.source}: expected whole photon counts to split, got {odd:g}; use --method "
                "noise2noise or noise2void"
            )
        return self

    def pair(self, key: Array, batch: Batch) -> Pair:
        """Make the pair: the noise, slightly shaken, and the measurement.

        Args:
          key: typed random key.
          batch: one whole measurement, (1, *spatial).

        Returns:
          Source (1, *spatial, channels); target and weight (1, *spatial, 1).
        """
        source = self.noise(batch.counts.shape)
        source += self.jitter * jax.random.normal(key, source.shape)
        rate = rate_of(batch.counts, batch.exposure, batch.scale)
        weight = batch.exposure * batch.eligible
        return Pair(source=source, target=rate[..., None], weight=weight[..., None])

    def denoise(self, predict: Predict, batch: Batch) -> Answers:
        """Draw the measurement.

        Args:
          predict: (1, *spatial, channels) -> (1, *spatial, 1).
          batch: the measurement that the network was trained on; only its shape and exposure count.

        Returns:
          Expected counts per unit of exposure where there is a measurement.
        """
        known = jnp.sum(batch.exposure, axis=0, keepdims=True) > 0
        rate = predict(self.noise(known.shape))[..., 0]
        counts = jnp.where(known, rate * batch.scale[0], jnp.nan)
        return Answers(counts=counts, known=known, filled=jnp.zeros_like(known))
