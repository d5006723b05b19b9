"""A rate as a mixture of smoothings, chosen at every pixel by a network: for spectra and other small data.

A handful of repeats holds too few photons to teach a network what a spectrum looks like, but enough to teach
it where to smooth how much: it only says with which weights a bank of smoothings is mixed. Noise that every
smoothing removes cannot come back, so there is little to overfit.
"""

from functools import cache
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

LEVELS = {1: 10, 2: 6, 3: 4}
"""Smoothings by number of spatial axes; each is sqrt(2) wider than the one before, from 0.7 pixels."""
LEAST_COUNTS = 1e-3
"""No rate is predicted below so many counts per unit of exposure: its logarithm stays bounded."""
ROOT_OFFSET = 0.4
"""Added to counts before their root is taken (3/8 makes the variance of the root constant, Anscombe 1948)."""


class Bank(NamedTuple):
    """What is known of a bank of smoothings of one axis.

    Attributes:
      pixels: independent pixels behind a smoothed one, (levels,).
      sharpened: combinations of levels without the lowest orders of bias: (sharpened, levels); rows sum to 1.
    """

    pixels: np.ndarray
    sharpened: np.ndarray


@cache
def bank(levels: int) -> Bank:
    """Work out pixels and sharpened combinations of `levels` smoothings of one axis.

    Level k is level k - 1 smoothed by (1, 2, 1) / 4 at distance 2**(k // 2). Smoothing by s makes the error
    s^2/2 f'' + m4/24 f'''' + ...: two levels combine to a kernel without the first term, three without both.
    """
    kernel, second, fourth, pixels = np.ones(1), [], [], []
    for level in range(levels):
        step = 2 ** (level // 2)
        taps = np.zeros(2 * step + 1)
        taps[::step] = 0.25, 0.5, 0.25
        kernel = np.convolve(kernel, taps)
        place = np.arange(len(kernel)) - len(kernel) // 2
        second.append((kernel * place**2).sum())
        fourth.append((kernel * place**4).sum())
        pixels.append(1 / (kernel**2).sum())
    rows = []
    for used, conditions in ((2, (second,)), (3, (second, fourth))):
        for first in range(1, levels - 2 * (used - 1)):
            chosen = first + 2 * np.arange(used)
            system = np.array([np.ones(used), *(np.array(m)[chosen] for m in conditions)])
            row = np.zeros(levels)
            row[chosen] = np.linalg.solve(system, np.eye(used)[0])
            rows.append(row)
    return Bank(np.array(pixels), np.array(rows).reshape(-1, levels))


def smoothings(x: Array, *, levels: int) -> Array:
    """Smooth (batch, *spatial, channel) to every level, zero outside.

    Returns:
      (1 + levels, batch, *spatial, channel): the array itself, then the levels, finest first.
    """
    largest = 2 ** ((levels - 1) // 2)

    def next_level(x: Array, step: Array) -> tuple[Array, Array]:
        for axis in range(1, x.ndim - 1):
            size = x.shape[axis]
            wide = jnp.pad(x, [(largest,) * 2 if a == axis else (0, 0) for a in range(x.ndim)])

            def moved(by: Array, wide: Array = wide, axis: int = axis, size: int = size) -> Array:
                return jax.lax.dynamic_slice_in_dim(wide, largest + by, size, axis)

            x = 0.5 * x + 0.25 * (moved(step) + moved(-step))
        return x, x

    # A loop over the levels: written out, the program would be long, and long to compile.
    steps = jnp.asarray(2 ** (np.arange(levels) // 2), jnp.int32)
    _, found = jax.lax.scan(next_level, x, steps)
    return jnp.concatenate([x[None], found])


def rates_at_levels(rate: Array, exposure: Array, *, levels: int) -> tuple[Array, Array]:
    """Return rates and exposures at every level, (1 + levels, ...); `rate` and `exposure` alike in shape.

    Where a narrow window holds nothing that was measured, the next wider one that does stands in, at last 1.
    """
    pair = jnp.concatenate([rate * exposure, exposure], axis=-1)
    sums, lights = jnp.split(smoothings(pair, levels=levels), 2, axis=-1)

    def next_finer(stand_in: Array, level: tuple[Array, Array]) -> tuple[Array, Array]:
        total, light = level
        known = light > 1e-3
        found = jnp.where(known, total / jnp.where(known, light, 1.0), stand_in)
        return found, found

    _, rates = jax.lax.scan(next_finer, jnp.ones_like(rate), (sums, lights), reverse=True)
    return rates, lights


class ScaleRate(nn.Module):
    """A network that mixes smoothings of the counted rate.

    The views r_k are the first measurement's rate as counted, smoothed, and smoothed with sharpened kernels.
    The network sees how many counts stand behind each smoothing and by how many sigmas neighbouring ones
    differ, and answers at every pixel with mixing weights w_k >= 0 of sum 1 (all alike at the start):

        rate = max(sum_k w_k r_k, 0) + least

    with `correction` also with a correction d: (sqrt(sum_k w_k r_k + least) + d / 4)^2 + least. That can draw
    what no smoothing holds, noise included.

    Attributes:
      network: (batch, *spatial, channel) -> (batch, *spatial, answers(spatial axes, correction=...)).
      counts_per_unit: counts that one unit of rate stands for at exposure 1: how sure a difference is.
      readout_variance: variance beside the photons', in counts^2 at exposure 1; it grows with the exposure.
      common_variance: variance that repeats share, in counts^2 at exposure 1; it grows with its square.
      correction: whether the network also answers with a correction.
    """

    network: nn.Module
    counts_per_unit: float = 1.0
    readout_variance: float = 0.0
    common_variance: float = 0.0
    correction: bool = False

    @nn.compact
    def __call__(self, source: Array) -> Array:
        """Map rates and exposures (batch, *spatial, 2 * measurements) to rates (batch, *spatial, 1)."""
        levels = LEVELS[source.ndim - 2]
        pixels, sharpened = bank(levels)
        rates, lights = rates_at_levels(source[..., ::2], source[..., 1::2], levels=levels)
        seen = source[..., 1::2] > 0
        answer = self.network(self._features(rates, lights, seen, pixels ** (source.ndim - 2)))
        own = jnp.moveaxis(rates[..., 0], 0, -1)  # of the first measurement, levels last
        to_views = np.zeros((1 + levels, 1 + levels + len(sharpened)), np.float32)
        to_views[:, : 1 + levels] = np.eye(1 + levels)
        to_views[1:, 1 + levels :] = sharpened.T
        views = own @ to_views
        weights = jax.nn.softmax(answer[..., : views.shape[-1]])
        mixed = jnp.maximum(jnp.sum(weights * views, axis=-1, keepdims=True), 0.0)
        least = LEAST_COUNTS / self.counts_per_unit
        if not self.correction:
            return mixed + least
        return jnp.square(jnp.sqrt(mixed + least) + answer[..., views.shape[-1] :] / 4) + least

    def _features(self, rates: Array, lights: Array, seen: Array, pixels: np.ndarray) -> Array:
        """Return what the network sees: (batch, *spatial, channel)."""
        like = (-1,) + (1,) * (rates.ndim - 1)
        behind = np.concatenate([np.ones(1), pixels]).astype(np.float32).reshape(like)
        counts = jnp.maximum(rates, 0.0) * lights * self.counts_per_unit
        # At the root of counts noise is 1/2 everywhere: differences of roots are in sigmas.
        more = self.readout_variance * lights + self.common_variance * lights**2
        roots = jnp.sqrt(counts + ROOT_OFFSET / behind + more)
        amounts = 0.3 * jnp.log1p((counts * behind)[2::2]) - 0.5
        sigmas = 2 * jnp.sqrt(behind[:-2:2]) * (roots[:-2:2] - roots[2::2])
        steps = 0.5 * jnp.arcsinh(jnp.where(seen, sigmas, 0.0))
        least = 0.2 + jnp.sqrt(more)
        ratios = 2 * jnp.log((counts + least)[2:-2:2] / (counts + least)[4::2])
        features = jnp.concatenate([amounts, steps, ratios])
        features = jnp.moveaxis(features, 0, -1)  # (batch, *spatial, measurement, feature)
        return features.reshape(*features.shape[:-2], -1)


def answers(axes: int, *, correction: bool = False) -> int:
    """Return how many numbers per pixel `ScaleRate` asks of its network, for so many spatial axes."""
    levels = LEVELS[axes]
    return 1 + levels + len(bank(levels).sharpened) + correction
