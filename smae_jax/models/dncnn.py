"""DnCNN: a plain chain of convolutions, in one, two or three dimensions.

Reference:
  Zhang et al. 2017, "Beyond a Gaussian denoiser". Deviations: edge padding; a smooth activation; no batch
  normalisation, whose statistics mean little where a batch is a handful of spectra; the residual is the rate
  head's business.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from smae_jax.models.convolution import EdgeConv, answered


class DnCNN(nn.Module):
    """Convolutions of one width, dilated more and more, and a last one of size 1.

    Attributes:
      features: channels of every layer.
      layers: convolutions, the last one included, >= 1; layer k has dilation 2**(k % 3).
      outputs: length of the output's channel axis.
      dtype: dtype of the computation; parameters and output are float32.
    """

    features: int = 8
    layers: int = 3
    outputs: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (batch, *spatial, channel) to (batch, *spatial, outputs), any spatial size."""
        for layer in range(self.layers - 1):
            conv = EdgeConv(
                self.features, dilation=2 ** (layer % 3), dtype=self.dtype, name=f"conv{layer}"
            )
            x = nn.gelu(conv(x))
        return answered(x, self.outputs, self.dtype)
