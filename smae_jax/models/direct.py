"""A rate from a network alone, for sources that hold no measurement (deep image prior)."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from smae_jax.models.rate import LEAST_RATE


class DirectRate(nn.Module):
    """The square of one plus the network's answer: 1, the mean, at the start, and never negative.

    Attributes:
      network: (batch, *spatial, channel) -> (batch, *spatial, outputs).
    """

    network: nn.Module

    @nn.compact
    def __call__(self, source: Array) -> Array:
        """Map any source (batch, *spatial, channel) to rates (batch, *spatial, outputs)."""
        return jnp.square(1.0 + self.network(source)) + LEAST_RATE
