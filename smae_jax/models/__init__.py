"""Networks by name: all map a method's source (batch, *spatial, channel) to rates in units of the scale."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from smae_jax.models.rate import PlainRate, RootRate
from smae_jax.models.sedcnn import SEDCNN4
from smae_jax.models.unet import UNet

Network = nn.Module
Parameters = Any  # a pytree of float32 arrays
Apply = Callable[[Parameters, Array], Array]


def build(
    name: str,
    *,
    widths: Sequence[int] = (32, 64, 96),
    blocks: int = 1,
    precision: str = "float32",
) -> Network:
    """Make a network.

    Args:
      name: "unet", or "sedcnn4" for the published one.
      widths: channels of each level of the U-Net.
      blocks: residual blocks per level and side of the U-Net.
      precision: "float32" or "bfloat16" of the computation; parameters and output are float32.

    Returns:
      A module: source (batch, *spatial, 2 * views) -> rate (batch, *spatial, 1).

    Raises:
      ValueError: if the name is unknown.
    """
    dtype = jnp.dtype(precision)
    if name == "unet":
        sigmas = (1.0, 3.0)
        network = UNet(tuple(widths), blocks, outputs=2 + len(sigmas), dtype=dtype)
        return RootRate(network=network, sigmas=sigmas)
    if name == "sedcnn4":
        return PlainRate(network=SEDCNN4(dtype=dtype))
    raise ValueError(f"--model: expected 'unet' or 'sedcnn4', got '{name}'")


def initial_parameters(
    module: Network, key: Array, *, channels: int, spatial: Sequence[int]
) -> Parameters:
    """Draw the parameters of `module` for a source (1, *spatial, channels); float32 pytree."""
    shape = jax.ShapeDtypeStruct((1, *spatial, channels), jnp.float32)
    return module.lazy_init(key, shape)["params"]


def apply_of(module: Network) -> Apply:
    """Return the pure function (parameters, source) -> prediction of `module`."""
    return lambda parameters, source: cast(Array, module.apply({"params": parameters}, source))


def count_parameters(parameters: Parameters) -> int:
    """Return how many numbers are trained."""
    return sum(leaf.size for leaf in jax.tree.leaves(parameters))
