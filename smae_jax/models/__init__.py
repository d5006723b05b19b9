"""Networks by name: all map a method's source (batch, *spatial, channel) to rates in units of the scale."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from smae_jax.errors import UserError
from smae_jax.models import scales
from smae_jax.models.direct import DirectRate
from smae_jax.models.dncnn import DnCNN
from smae_jax.models.msd import MSD
from smae_jax.models.rate import PlainRate, RootRate, answers
from smae_jax.models.resnet import ResNet
from smae_jax.models.sedcnn import SEDCNN4
from smae_jax.models.unet import UNet
from smae_jax.named import in_words, made

Network = nn.Module
Parameters = Any  # a pytree of float32 arrays
Apply = Callable[[Parameters, Array], Array]
SMALL = {"dncnn": DnCNN, "resnet": ResNet, "msd": MSD}
"""Networks that mix smoothings: small, at full resolution, with edge padding, in 1, 2 and 3 dimensions."""
LARGE: tuple[tuple[int, ...], int] = (64, 128, 192, 256), 2
"""Widths and blocks of the U-Net "large": for accelerators and long trainings."""
UNETS = ("unet", "large")
SIGMAS = (1.0, 3.0)
"""Smoothings, in pixels, that the rates of a U-Net are mixed of beside the measured one."""


def build(
    name: str,
    *,
    widths: Sequence[int] = (16, 32, 64),
    blocks: int = 1,
    precision: str = "float32",
    measurements: int = 1,
    outputs: int = 1,
    sizes: Mapping[str, int] | None = None,
    axes: int = 2,
    head: str = "auto",
    counts_per_unit: float = 1.0,
    readout_variance: float = 0.0,
    common_variance: float = 0.0,
    correction: bool = False,
    edge: bool = False,
) -> Network:
    """Make a network.

    Args:
      name: "unet", "large" (a U-Net of `LARGE` size), "dncnn", "resnet", "msd", or "sedcnn4" for the
        published one.
      widths: channels of each level of "unet".
      blocks: residual blocks per level and side of "unet".
      precision: "float32" or "bfloat16" of the computation; parameters and output are float32.
      measurements: how many the source holds.
      outputs: rates answered, of the first ones of them.
      sizes: attributes of the small networks, such as `features` and `layers`; their own where not given.
      axes: spatial axes that the network will see.
      head: from answers to rates: "root" (`rate.RootRate`), "scales" (`scales.ScaleRate`), "direct" for
        sources that hold no measurement; "auto" = root for the U-Net, scales for the small networks.
      counts_per_unit: counts that one unit of rate stands for, see `scales.ScaleRate`.
      readout_variance: variance beside the photons', in counts^2.
      common_variance: variance that repeats share, in counts^2.
      correction: whether head "scales" may add what no smoothing holds.
      edge: whether the U-Net goes on beyond the edge with the edge's own values, as the small networks do.

    Returns:
      A module: source (batch, *spatial, 2 * measurements) -> rate (batch, *spatial, outputs).

    Raises:
      UserError: if the name is unknown, or the network has one input only.
    """
    dtype = jnp.dtype(precision)
    if name == "sedcnn4":
        return _published(measurements, dtype)
    if name not in UNETS and name not in SMALL:
        raise UserError(
            f"--model: expected 'unet', 'large', 'dncnn', 'resnet', 'msd' or 'sedcnn4', got '{name}'"
        )
    if head == "auto":
        head = "root" if name in UNETS else "scales"
    if head == "scales" and outputs > 1:
        raise UserError(
            f"--model {name}: mixes smoothings of one measurement, and the method asks for {outputs} "
            "rates; use --model unet, or --thinning.partner none"
        )
    asked = {
        "root": lambda: answers(measurements, outputs, SIGMAS),
        "scales": lambda: scales.answers(axes, correction=correction),
        "direct": lambda: outputs,
    }[head]()
    body: nn.Module
    if name in UNETS:
        widths, blocks = LARGE if name == "large" else (widths, blocks)
        body = UNet(tuple(widths), blocks, outputs=asked, dtype=dtype, edge=edge)
    else:
        body = SMALL[name](**(sizes or {}), outputs=asked, dtype=dtype)
    if head == "root":
        return RootRate(network=body, outputs=outputs, sigmas=SIGMAS)
    if head == "direct":
        return DirectRate(network=body)
    return scales.ScaleRate(
        network=body,
        counts_per_unit=counts_per_unit,
        readout_variance=readout_variance,
        common_variance=common_variance,
        correction=correction,
    )


def _published(measurements: int, dtype: Any) -> Network:
    """Return the published network, which has one input."""
    if measurements > 1:
        raise UserError(
            "--model sedcnn4: expected a method with one measurement in the source, got one with "
            f"{measurements}; use --model unet, --thinning.partner none, or --method smae"
        )
    return PlainRate(network=SEDCNN4(dtype=dtype))


def own(found: Any, outputs: int, name: str) -> Network:
    """Return a researcher's own network.

    Args:
      found: a Flax module, or what makes one: a class or function that may take `outputs`.
      outputs: rates that it has to answer with.
      name: what to call it in messages.

    Raises:
      UserError: if it is no Flax module.
    """
    module = found
    if not isinstance(found, nn.Module) and callable(found):
        module = made(found, what=f"--model {name}", outputs=outputs)
    if not isinstance(module, nn.Module):
        raise UserError(
            f"--model {name}: expected a Flax module (flax.linen.Module) or a function that returns one, "
            f"got {in_words(module)}"
        )
    return module


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
