"""MS-D: a mixed-scale dense network, in one, two or three dimensions.

Every layer sees all layers before it and looks at its own distance, so that a few hundred parameters reach
far: a network for little data.

Reference:
  Pelt & Sethian 2018, "A mixed-scale dense convolutional neural network for image analysis".
  Deviations: edge padding instead of reflection; a smooth activation; dilations are powers of two.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from smae_jax.models.convolution import EdgeConv, answered


class MSD(nn.Module):
    """Layers of few channels, each on everything before it, dilated by 1, 2, 4, ... and again.

    Attributes:
      width: channels of every layer.
      layers: layers before the last one, which is of size 1 on all of them, >= 1.
      reach: different dilations, >= 1: 1, 2, ..., 2**(reach - 1).
      outputs: length of the output's channel axis.
      dtype: dtype of the computation; parameters and output are float32.
    """

    width: int = 1
    layers: int = 8
    reach: int = 4
    outputs: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (batch, *spatial, channel) to (batch, *spatial, outputs), any spatial size."""
        for layer in range(self.layers):
            dilation = 2 ** (layer % self.reach)
            conv = EdgeConv(self.width, dilation=dilation, dtype=self.dtype, name=f"conv{layer}")
            x = jnp.concatenate([x.astype(self.dtype), nn.gelu(conv(x))], axis=-1)
        return answered(x, self.outputs, self.dtype)
