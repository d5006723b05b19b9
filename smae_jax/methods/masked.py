"""Masked autoencoder: patches of a frame are hidden, and their counts predicted from what is left.

The photons of hidden pixels are the target and are not in the source, so the pair is independent; the
symmetry is not used. A baseline: it knows of a pixel only what its surroundings say.

Reference:
  He et al. 2022, "Masked autoencoders are scalable vision learners": random patches hidden, loss on them
  only. Deviations: the trainer's own network sees the whole frame with zeros and exposure 0 where it is
  hidden, not a transformer that sees visible patches only; patches lie on a grid with a random offset and are
  small, since the features are; nothing is fine-tuned afterwards. The prediction of a pixel is the mean over
  the views in which it was hidden, as in blind-spot denoising (Krull et al. 2019), with the training's loss
  (counts, weighted by exposure).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax import symmetry
from smae_jax.methods.protocol import Answers, Batch, Method, Pair, Predict
from smae_jax.methods.views import like, moved_pair, rate_of


def draw_hidden(key: Array, shape: tuple[int, int], *, block: int, share: float) -> Array:
    """Draw which pixels are hidden: a share of the blocks of a grid that lies at random.

    Args:
      key: typed random key.
      shape: (height, width) in pixels.
      block: side of a block in pixels, >= 1.
      share: of the blocks, in (0, 1); at least one block is hidden and at least one is not.

    Returns:
      True = hidden, bool, (height, width).
    """
    offset_key, order_key = jax.random.split(key)
    rows, columns = (size // block + 2 for size in shape)  # one more than fits, for the offset
    order = jax.random.permutation(order_key, rows * columns)
    hidden = order < np.clip(round(share * rows * columns), 1, rows * columns - 1)
    pixels = jnp.repeat(jnp.repeat(hidden.reshape(rows, columns), block, 0), block, 1)
    offset = jax.random.randint(offset_key, (2,), 0, block)
    return jax.lax.dynamic_slice(pixels, offset, shape)


def hidden_views(shape: tuple[int, int], *, block: int, share: float) -> np.ndarray:
    """Split the blocks of a frame into sets and hide them so that every pixel is hidden equally often.

    Up to a share of one half each of about 1 / share sets is hidden in turn; above it each of about
    1 / (1 - share) sets is shown in turn. Sets are of one size and drawn once and for all.

    Args:
      shape: (height, width) in pixels.
      block: side of a block in pixels, >= 1.
      share: of the pixels hidden in a view, in (0, 1); the nearest that such sets allow is taken.

    Returns:
      True = hidden, bool, (views, height, width), views >= 2.
    """
    sets = max(2, round(1 / min(share, 1 - share)))
    rows, columns = (-(-size // block) for size in shape)
    member = np.random.default_rng(0).permutation(rows * columns) % sets
    member = member.reshape(rows, columns).repeat(block, 0).repeat(block, 1)
    own = member[: shape[0], : shape[1]] == np.arange(sets)[:, None, None]
    return own if share <= 0.5 else ~own


@dataclass(frozen=True)
class Masked(Method):
    """What is hidden from what is left.

    Attributes:
      block: side of the hidden blocks in pixels, >= 1.
      share: of the pixels that are hidden at a time, in (0, 1).
      augment: group from which one element per example is drawn in `pair`.
    """

    block: int = 2
    share: float = 0.5
    augment: symmetry.GroupName = "flips"

    axes = (2,)

    def pair(self, key: Array, batch: Batch) -> Pair:
        """Hide random blocks of every example; their counts are the target.

        Args:
          key: typed random key.
          batch: patches, (batch, height, width); partners are not looked at.

        Returns:
          Source (batch, height, width, 2) with rate and exposure, both 0 where hidden; target and weight
          (..., 1), both 0 where not hidden.
        """
        hide_key, move_key = jax.random.split(key)
        frames, height, width = batch.counts.shape
        keys = jax.random.split(hide_key, frames)
        hidden = jax.vmap(
            lambda k: draw_hidden(k, (height, width), block=self.block, share=self.share)
        )(keys)
        rate = rate_of(batch.counts, batch.exposure, batch.scale)
        source, source_exposure = _without(hidden, rate, batch.exposure)
        target, weight = _without(~hidden, rate, batch.exposure * batch.eligible)
        return moved_pair(
            move_key, [source, source_exposure], [target], [weight], group=self.augment
        )

    def denoise(self, predict: Predict, batch: Batch) -> Answers:
        """Predict every pixel from the views in which it is hidden, and take their mean.

        Args:
          predict: (batch, height, width, 2) -> (batch, height, width, 1).
          batch: whole canvases.

        Returns:
          Expected counts per full frame where there is a measurement; invalid pixels have no answer.
        """
        rate = rate_of(batch.counts, batch.exposure, batch.scale)
        _, height, width = batch.counts.shape
        views = hidden_views((height, width), block=self.block, share=self.share)
        total = jnp.zeros_like(rate)
        for hidden in views:
            source = jnp.stack(_without(hidden, rate, batch.exposure), axis=-1)
            total += jnp.where(hidden, predict(source)[..., 0], 0.0)
        known = batch.exposure > 0
        counts = total / views.sum(axis=0)[None] * like(batch.scale, total)
        return Answers(
            counts=jnp.where(known, counts, jnp.nan), known=known, filled=jnp.zeros_like(known)
        )


def _without(hidden: Array | np.ndarray, *arrays: Array) -> tuple[Array, ...]:
    """Put 0 where hidden."""
    return tuple(jnp.where(hidden, 0.0, array) for array in arrays)
