"""SEDCNN4, the published network of SMAE: an encoder-decoder of 2,275,593 parameters.

Submodules carry the published names (`enc1.0` became `enc1_0`), so that published weights map one
to one. All convolutions have a bias and zero padding; strides are 2; ReLU.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jax import Array
from jax.nn.initializers import variance_scaling

from smae_jax.models.convolution import quick

# Kaiming-normal, fan-out. PyTorch counts the fan-out of a transposed convolution over its inputs.
KAIMING = variance_scaling(2.0, "fan_out", "normal")
KAIMING_TRANSPOSED = variance_scaling(2.0, "fan_in", "normal")
ENCODER = ((32, 1), (64, 1), (128, 3), (256, 3))  # channels, residual blocks
DECODER = (64, 32, 32, 16)
MULTIPLE = 2 ** len(ENCODER)


def _conv(features: int, size: int, name: str, dtype: Any, stride: int = 1) -> nn.Conv:
    """Convolve with padding size // 2 on every side, which for stride 2 is not flax's SAME."""
    return nn.Conv(
        features,
        (size, size),
        strides=stride,
        padding=size // 2,
        kernel_init=KAIMING,
        conv_general_dilated=quick,
        dtype=dtype,
        name=name,
    )


class Residual(nn.Module):
    """Two 3x3 convolutions around a narrower middle, added to the input, ReLU."""

    middle: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (batch, height, width, channel) to the same shape."""
        y = nn.relu(_conv(self.middle, 3, "conv0", self.dtype)(x))
        return nn.relu(x + _conv(x.shape[-1], 3, "conv1", self.dtype)(y))


class Down(nn.Module):
    """Halve height and width through two parallel branches, 3x3 and 5x5, concatenated."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (batch, height, width, channel) to (batch, height / 2, width / 2, features)."""
        branches = []
        for size in (3, 5):
            y = _conv(self.features // 4, size, f"conv{size}_1", self.dtype, stride=2)(x)
            branches.append(
                _conv(self.features // 2, size, f"conv{size}_2", self.dtype)(nn.relu(y))
            )
        return jnp.concatenate(branches, axis=-1)


class Upsample(nn.Module):
    """Double height and width by a transposed 2x2 convolution of stride 2.

    Its windows do not overlap, so it is one matrix product per pixel: fast on every device.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (batch, height, width, channel) to (batch, 2 height, 2 width, features)."""
        batch, height, width, channels = x.shape
        kernel = self.param("kernel", KAIMING_TRANSPOSED, (2, 2, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = jnp.einsum("bhwc,ijcf->bhiwjf", x, kernel)
        y = y.reshape(batch, 2 * height, 2 * width, self.features)
        return y + jnp.broadcast_to(bias, y.shape)


class Decoder(nn.Module):
    """Refine, double the size, and put a 3x3 convolution of the encoder's features beside it."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, skip: Array) -> Array:
        """Map (batch, height, width, channel) to (batch, 2 height, 2 width, features)."""
        x = Residual(x.shape[-1], dtype=self.dtype, name="residual_conv")(x)
        x = Upsample(self.features // 2, dtype=self.dtype, name="upsample")(x)
        skip = _conv(self.features // 2, 3, "proj_conv", self.dtype)(skip)
        return jnp.concatenate([x, skip], axis=-1)


class SEDCNN4(nn.Module):
    """The published network.

    Attributes:
      out_channels: channels of the prediction.
      dtype: type of the computation, float32 or bfloat16; parameters and output are float32.
    """

    out_channels: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Denoise images of any size.

        Height and width are filled up with zeros to multiples of 16, as the convolutions do at
        every edge, and cut back.

        Args:
          x: (batch, height, width, channel).

        Returns:
          (batch, height, width, out_channels), float32, >= 0.
        """
        height, width = x.shape[1:3]
        x = jnp.pad(x, ((0, 0), (0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0)))
        x = nn.relu(_conv(16, 3, "conv0", self.dtype)(x.astype(self.dtype)))
        skips = []
        for stage, (features, blocks) in enumerate(ENCODER, start=1):
            skips.append(x)
            x = Down(features, dtype=self.dtype, name=f"enc{stage}_0")(x)
            for block in range(1, blocks + 1):
                x = Residual(features // 4, dtype=self.dtype, name=f"enc{stage}_{block}")(x)
        x = nn.relu(_conv(64, 3, "encdec", self.dtype)(x))
        for stage, features in enumerate(DECODER, start=1):
            x = Decoder(features, dtype=self.dtype, name=f"dec{stage}")(x, skips.pop())
        x = Residual(16, dtype=self.dtype, name="out0")(x)
        x = nn.relu(_conv(self.out_channels, 3, "out1", self.dtype)(x))
        return x[:, :height, :width].astype(jnp.float32)


def published_parameters(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Map the published network's weights to the parameters of `SEDCNN4`.

    Args:
      state: arrays by published name, such as `enc1.0.conv3_1.weight`, with or without the
        `module.` of a data-parallel wrapper. Convolutions (out, in, height, width), `upsample`
        (in, out, height, width).

    Returns:
      The `params` collection, float32.

    Raises:
      ValueError: if a name or shape is not the published network's.
    """
    params: dict[str, Any] = {}
    for name, array in state.items():
        *path, kind = _flax_path(name.removeprefix("module."))
        array = np.asarray(array, dtype=np.float32)
        if kind == "kernel" and array.ndim == 4:
            array = array.transpose((2, 3, 0, 1) if path[-1] == "upsample" else (2, 3, 1, 0))
        node = params
        for key in path:
            node = node.setdefault(key, {})
        node[kind] = array
    _require_published(params)
    return params


def _flax_path(name: str) -> list[str]:
    """`enc1.0.conv3_1.weight` -> [`enc1_0`, `conv3_1`, `kernel`]."""
    path: list[str] = []
    for part in name.split("."):
        if part.isdigit() and path:
            path[-1] += f"_{part}"
        else:
            path.append("kernel" if part == "weight" else part)
    return path


def _require_published(params: dict[str, Any]) -> None:
    """Refuse parameters that do not fit `SEDCNN4`, naming the first that does not."""

    def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {jax.tree_util.keystr(p, simple=True, separator="."): x.shape for p, x in leaves}

    given = shapes(params)
    first, last = given.get("conv0.kernel", ()), given.get("out1.bias", ())
    channels, out = first[2] if len(first) == 4 else 1, last[0] if len(last) == 1 else 1
    network = SEDCNN4(out_channels=out)
    key = jax.random.key(0)
    wanted = shapes(jax.eval_shape(network.init, key, jnp.zeros((1, 16, 16, channels)))["params"])
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            expected, got = wanted.get(name, "none"), given.get(name, "none")
            raise ValueError(
                f"published weights: expected {name} of shape {expected}, got {got}; "
                "these are not the weights of SEDCNN4"
            )
