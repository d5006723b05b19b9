"""A light U-Net in any number of dimensions, with a space-to-depth stem.

The stem folds 2 x 2 pixels into channels, so that no convolution runs at full resolution: on a CPU that is
most of the time of a U-Net, and neighbouring pixels of a scattering pattern share their information anyway.
"""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from smae_jax.models.convolution import padded, quick


def space_to_depth(x: Array, factor: int = 2) -> Array:
    """Fold blocks of `factor` pixels along every spatial axis into channels: (batch, *spatial, channel)."""
    batch, *spatial, channel = x.shape
    ndim = len(spatial)
    shape = [batch]
    for size in spatial:
        shape += [size // factor, factor]
    x = jnp.reshape(x, (*shape, channel))
    outer, inner = range(1, 2 * ndim + 1, 2), range(2, 2 * ndim + 1, 2)
    x = jnp.transpose(x, (0, *outer, *inner, 2 * ndim + 1))
    return jnp.reshape(x, (batch, *(s // factor for s in spatial), factor**ndim * channel))


def depth_to_space(x: Array, factor: int = 2) -> Array:
    """Undo `space_to_depth`."""
    batch, *spatial, channel = x.shape
    ndim = len(spatial)
    x = jnp.reshape(x, (batch, *spatial, *(factor,) * ndim, channel // factor**ndim))
    order = [0]
    for axis in range(ndim):
        order += [1 + axis, 1 + ndim + axis]
    x = jnp.transpose(x, (*order, 2 * ndim + 1))
    return jnp.reshape(x, (batch, *(s * factor for s in spatial), channel // factor**ndim))


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity: x + conv(act(conv(act(x))))."""

    features: int
    dtype: DTypeLike = jnp.float32
    edge: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (batch, *spatial, features) to the same shape."""
        conv = _conv3(x.ndim - 2, self.dtype, self.edge)
        y = conv(self.features, name="conv0")(_around(nn.gelu(x), self.edge))
        small = nn.initializers.variance_scaling(0.1, "fan_in", "truncated_normal")
        y = conv(self.features, kernel_init=small, name="conv1")(_around(nn.gelu(y), self.edge))
        return x + y


def _conv3(axes: int, dtype: DTypeLike, edge: bool) -> Callable[..., nn.Conv]:
    """Return convolutions of size 3 that want their input `_around`."""
    padding = "VALID" if edge else "SAME"
    return functools.partial(nn.Conv, kernel_size=(3,) * axes, padding=padding, dtype=dtype)


def _around(x: Array, edge: bool) -> Array:
    """Go on beyond the edge with the edge's own values, or leave it to the convolution's zeros."""
    return padded(x, 1) if edge else x


class UNet(nn.Module):
    """Encoder and decoder with skips; shrinks and grows by space-to-depth.

    Attributes:
      widths: channels of each level, finest first; level k works at 1 / 2**(k + 1) of the resolution.
      blocks: residual blocks per level and side.
      outputs: length of the output's channel axis.
      dtype: dtype of the computation; parameters stay float32.
      edge: beyond the edge the edge's own values go on, instead of zeros.
    """

    widths: Sequence[int] = (16, 32, 64)
    blocks: int = 1
    outputs: int = 1
    dtype: DTypeLike = jnp.float32
    edge: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (batch, *spatial, channel) to (batch, *spatial, outputs), any spatial size."""
        spatial = x.shape[1:-1]
        unit = 2 ** len(self.widths)
        pad = [(0, -size % unit) for size in spatial]
        x = jnp.pad(x, [(0, 0), *pad, (0, 0)], mode="edge").astype(self.dtype)
        conv = _conv3(len(spatial), self.dtype, self.edge)
        skips = []
        for level, width in enumerate(self.widths):
            x = conv(width, name=f"down{level}")(_around(space_to_depth(x), self.edge))
            for block in range(self.blocks):
                x = ResidualBlock(width, self.dtype, self.edge, name=f"enc{level}_{block}")(x)
            skips.append(x)
        for level in reversed(range(len(self.widths) - 1)):
            width, factor = self.widths[level], 2 ** len(spatial)
            up = nn.Conv(width * factor, (1,) * len(spatial), dtype=self.dtype, name=f"up{level}")(
                x
            )
            x = depth_to_space(up) + nn.Conv(
                width, (1,) * len(spatial), dtype=self.dtype, name=f"skip{level}"
            )(skips[level])
            for block in range(self.blocks):
                x = ResidualBlock(width, self.dtype, self.edge, name=f"dec{level}_{block}")(x)
        last = conv(
            self.outputs * 2 ** len(spatial),
            kernel_init=nn.initializers.zeros,
            conv_general_dilated=quick,
            name="out",
        )
        x = last(_around(nn.gelu(x), self.edge))
        x = depth_to_space(x).astype(jnp.float32)
        return x[(slice(None), *(slice(0, size) for size in spatial), slice(None))]
