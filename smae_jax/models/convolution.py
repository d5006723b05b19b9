"""A convolution with edge padding in any number of dimensions, quick also for few channels on a CPU.

XLA's own convolution takes many times longer on a CPU where channels are few, and longer again inside a
loop on the device. There a convolution is a matrix product of the shifted copies, side by side; on
accelerators it is XLA's. Both have the same parameters and the same results.
"""

import functools
import math
from collections.abc import Callable
from itertools import product
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from smae_jax.blocks import borders

PIXELS, STRIPS = 4096, 16
"""Pixels, of all images together, whose share of a kernel's gradient a CPU finds at once; most strips."""


def quick(x: Array, kernel: Array, strides: Any, padding: Any, **options: Any) -> Array:
    """Convolve as `jax.lax.conv_general_dilated` does, without dilation, with a quick gradient on a CPU.

    There XLA takes up to four times as long for a kernel's gradient of many pixels as for that of strips of
    rows, one after the other. For the gradient of an image before a stride of 2 it takes ten times as long as
    needed: it goes through the zeros between the pixels of the output. Pixels of even and odd rows and
    columns see other taps each; they are found apart.
    """
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:-1], kernel.shape[:-2], strides, padding)

    def convolve(x: Array, kernel: Array) -> Array:
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)

    def of_rows(x: Array, kernel: Array) -> Array:
        return jax.lax.conv_general_dilated(x, kernel, strides, "VALID", **options)

    def backward(saved: tuple[Array, Array], change: Array) -> tuple[Array, Array]:
        x, kernel = saved
        if tuple(strides) == (2, 2):
            of_x = _before_halving(change, kernel, x.shape, padding)
        else:
            of_x = jax.linear_transpose(lambda x: convolve(x, kernel), x)(change)[0]
        around = jnp.pad(x, [(0, 0), *padding, (0, 0)])
        of_kernel = jnp.zeros_like(kernel)
        for rows in _strips(change.shape):
            taps = slice(rows.start * strides[0], (rows.stop - 1) * strides[0] + len(kernel))
            with_rows = functools.partial(of_rows, around[:, taps])
            of_kernel += jax.linear_transpose(with_rows, kernel)(change[:, rows])[0]
        return of_x, of_kernel

    return _with_gradient(convolve, backward, x, kernel)


def _strips(shape: tuple[int, ...]) -> list[slice]:
    """Cut the rows of (batch, *spatial, features) into strips of about `PIXELS` pixels."""
    number = min(STRIPS, shape[1], max(1, round(math.prod(shape[:-1]) / PIXELS)))
    return borders(shape[1], -(-shape[1] // number))


def _with_gradient(
    convolve: Callable[[Array, Array], Array],
    backward: Callable[[tuple[Array, Array], Array], tuple[Array, Array]],
    x: Array,
    kernel: Array,
) -> Array:
    """Convolve, on a CPU with a gradient of its own: of x and kernel, given them and that of the output."""
    if jax.default_backend() != "cpu":
        return convolve(x, kernel)
    found = jax.custom_vjp(convolve)
    found.defvjp(lambda x, kernel: (convolve(x, kernel), (x, kernel)), backward)
    return found(x, kernel)


def _before_halving(
    change: Array, kernel: Array, shape: tuple[int, ...], padding: tuple[tuple[int, int], ...]
) -> Array:
    """Return the gradient of an input of `shape`, given that of its convolution with stride 2."""
    (above, below), (left, right) = padding
    whole = [shape[1] + above + below, shape[2] + left + right]
    halves = [-(-size // 2) for size in whole]

    def pixels(row: int, column: int) -> Array:
        taps = kernel[row::2, column::2]
        ends = [
            (n - 1, half - size)
            for n, half, size in zip(taps.shape[:2], halves, change.shape[1:3], strict=True)
        ]
        turned = taps[::-1, ::-1].swapaxes(2, 3)
        return jax.lax.conv_general_dilated(
            change, turned, (1, 1), ends, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    rows = [jnp.stack([pixels(row, column) for column in (0, 1)], axis=3) for row in (0, 1)]
    padded_input = jnp.stack(rows, axis=2).reshape(shape[0], 2 * halves[0], 2 * halves[1], -1)
    return padded_input[:, above : above + shape[1], left : left + shape[2]]


class EdgeConv(nn.Module):
    """Convolve all spatial axes; beyond the edge the edge's own values go on.

    Attributes:
      features: channels of the output.
      size: taps along every axis, odd.
      dilation: distance of the taps in pixels.
      kernel_init: initializer of the kernel, (size, ..., channels in, channels out).
      use_bias: whether to add a bias.
      dtype: dtype of the computation; parameters are float32.
    """

    features: int
    size: int = 3
    dilation: int = 1
    kernel_init: Initializer = nn.initializers.lecun_normal()
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (batch, *spatial, channel) to (batch, *spatial, features)."""
        axes = x.ndim - 2
        shape = (*(self.size,) * axes, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        if self.size == 1:
            y = x @ kernel.reshape(shape[-2:])
        elif jax.default_backend() == "cpu":
            y = convolve_shifted(x, kernel, dilation=self.dilation)
        else:
            y = convolve(x, kernel, dilation=self.dilation)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype)
            y = y + jnp.broadcast_to(bias, y.shape)
        return y


def answered(x: Array, outputs: int, dtype: DTypeLike) -> Array:
    """End a network: `outputs` numbers per pixel by a convolution of size 1, all 0 at the start, float32.

    Call it within `nn.compact`; its parameters are called `out`.
    """
    last = EdgeConv(outputs, size=1, kernel_init=nn.initializers.zeros, dtype=dtype, name="out")
    return last(x).astype(jnp.float32)


def padded(x: Array, radius: int) -> Array:
    """Repeat the edges of (batch, *spatial, channel) by `radius` pixels on every side."""
    return jnp.pad(x, [(0, 0), *[(radius, radius)] * (x.ndim - 2), (0, 0)], mode="edge")


def convolve_shifted(x: Array, kernel: Array, *, dilation: int = 1) -> Array:
    """Convolve (batch, *spatial, channel) with (*size, channel, features) as one matrix product."""
    spatial, sizes = x.shape[1:-1], kernel.shape[:-2]
    around = padded(x, sizes[0] // 2 * dilation)

    def shifted(place: tuple[int, ...]) -> Array:
        starts = [tap * dilation for tap in place]
        window = (slice(first, first + n) for first, n in zip(starts, spatial, strict=True))
        return around[(slice(None), *window)]

    copies = jnp.concatenate([shifted(place) for place in product(*map(range, sizes))], axis=-1)
    return copies @ kernel.reshape(-1, kernel.shape[-1])


def convolve(x: Array, kernel: Array, *, dilation: int = 1) -> Array:
    """Do what `convolve_shifted` does with XLA's convolution."""
    axes = x.ndim - 2
    letters = "DHW"[3 - axes :]
    numbers: Any = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    around = padded(x, kernel.shape[0] // 2 * dilation)
    return jax.lax.conv_general_dilated(
        around,
        kernel,
        (1,) * axes,
        "VALID",
        rhs_dilation=(dilation,) * axes,
        dimension_numbers=numbers,
    )
