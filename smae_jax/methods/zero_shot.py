"""Zero-shot Noise2Noise: two halves of one frame, each at half the resolution, predict each other.

Every block of 2 x 2 pixels has two diagonals with a common middle. Their counts are independent
measurements of nearly the same rate, so one is the source and the other the target, and a single frame can
train (a scan may train one network as well: its frames are then a larger sample of the same kind). The
symmetry is not used. What is learnt at half the resolution is applied at the full one.

Reference:
  Mansour & Heckel 2023, "Zero-shot Noise2Noise: efficient image denoising without any data", section 3: the
  down-samplers and both directions. Deviations: sums of counts over sums of exposures instead of plain
  means, so that masked pixels stay out and each pixel weighs by its exposure; one direction per example, at
  random; the trainer's own network, loss and motions; no consistency term between the denoised whole and
  the denoised halves, since it needs a second prediction within the loss, and losses know no method here.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from smae_jax import symmetry
from smae_jax.methods.protocol import Answers, Batch, Method, Pair, Predict
from smae_jax.methods.views import like, moved_pair, rate_of


def diagonals(x: Array) -> tuple[Array, Array]:
    """Sum the two diagonals of every 2 x 2 block.

    Args:
      x: (..., height, width); odd sizes are filled up with zeros, which as counts and exposures mean nothing
        was measured there.

    Returns:
      (main, other), each (..., ceil(height / 2), ceil(width / 2)): top left + bottom right, and top right +
      bottom left.
    """
    *lead, height, width = x.shape
    x = jnp.pad(x, [(0, 0)] * len(lead) + [(0, height % 2), (0, width % 2)])
    top, bottom = x[..., ::2, :], x[..., 1::2, :]
    return (
        top[..., ::2] + bottom[..., 1::2],
        top[..., 1::2] + bottom[..., ::2],
    )


@dataclass(frozen=True)
class ZeroShot(Method):
    """One diagonal of every 2 x 2 block from the other.

    Attributes:
      augment: group from which one element per example is drawn in `pair`.
    """

    augment: symmetry.GroupName = "flips"

    axes = (2,)

    def pair(self, key: Array, batch: Batch) -> Pair:
        """Down-sample every example to its two diagonals; a coin decides which one is the source.

        The exposure of a diagonal is the mean of its pixels', so that a whole one looks to the network as a
        whole pixel does in `denoise`. Of pixels that may not be targets only the other one is.

        Args:
          key: typed random key.
          batch: patches, (batch, height, width); partners are not looked at.

        Returns:
          Source (batch, ceil(height / 2), ceil(width / 2), 2) with rate and exposure; target and weight
          (..., 1).
        """
        coin_key, move_key = jax.random.split(key)
        first = jax.random.bernoulli(coin_key, shape=(batch.counts.shape[0], 1, 1))

        def choose(x: Array, chosen: Array) -> Array:
            main, other = diagonals(x)
            return jnp.where(chosen, main, other) / 2

        counts = jnp.where(batch.exposure > 0, batch.counts, 0.0)
        source_exposure = choose(batch.exposure, first)
        weight = choose(batch.exposure * batch.eligible, ~first)
        source = rate_of(choose(counts, first), source_exposure, batch.scale)
        target = rate_of(choose(counts * batch.eligible, ~first), weight, batch.scale)
        return moved_pair(
            move_key, [source, source_exposure], [target], [weight], group=self.augment
        )

    def denoise(self, predict: Predict, batch: Batch) -> Answers:
        """Predict at full resolution.

        Args:
          predict: (batch, height, width, 2) -> (batch, height, width, 1).
          batch: whole canvases.

        Returns:
          Expected counts per full frame where there is a measurement; invalid pixels have no answer.
        """
        rate = rate_of(batch.counts, batch.exposure, batch.scale)
        prediction = predict(jnp.stack([rate, batch.exposure], axis=-1))[..., 0]
        known = batch.exposure > 0
        counts = jnp.where(known, prediction * like(batch.scale, prediction), jnp.nan)
        return Answers(counts=counts, known=known, filled=jnp.zeros_like(known))
