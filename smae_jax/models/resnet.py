"""A residual network at full resolution, in one, two or three dimensions.

Reference:
  He et al. 2016, "Identity mappings in deep residual networks" (activation before convolution). Deviations:
  edge padding; no normalisation; the second convolution of a block starts small.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from smae_jax.models.convolution import EdgeConv, answered

SMALL = nn.initializers.variance_scaling(0.1, "fan_in", "truncated_normal")


class ResNet(nn.Module):
    """Residual blocks of two convolutions each between a first and a last one.

    Attributes:
      features: channels of every layer.
      blocks: residual blocks, >= 0; block k has dilation 2**(k % 3).
      outputs: length of the output's channel axis.
      dtype: dtype of the computation; parameters and output are float32.
    """

    features: int = 16
    blocks: int = 2
    outputs: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (batch, *spatial, channel) to (batch, *spatial, outputs), any spatial size."""
        x = EdgeConv(self.features, dtype=self.dtype, name="first")(x)
        for block in range(self.blocks):
            dilation = 2 ** (block % 3)
            y = EdgeConv(
                self.features, dilation=dilation, dtype=self.dtype, name=f"block{block}_0"
            )(nn.gelu(x))
            x = x + EdgeConv(
                self.features, kernel_init=SMALL, dtype=self.dtype, name=f"block{block}_1"
            )(nn.gelu(y))
        return answered(nn.gelu(x), self.outputs, self.dtype)
