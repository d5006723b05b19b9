"""From counted views to a rate: what stands between a method's source and a plain network.

Photon noise grows with the root of the rate, so the network sees roots and answers with a correction to the
root of a smoothed rate: the square of the sum cannot be negative, is unbiased under the Poisson likelihood,
and bright and weak pixels bring gradient noise of one size (the Fisher information of the root is constant).
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from smae_jax.smoothing import smooth

FLOOR = 0.05
"""Added to a rate, in units of the scale, before its root is taken: keeps the slope finite at zero."""
LEAST_RATE = 1e-4
"""No rate is predicted below this, in units of the scale, so that its logarithm is finite."""
FIRST_LOGIT = 2.0
"""Head start of the finest smoothing among the mixing weights."""


Scale = tuple[Array, Array]
"""Counts and exposure, (batch, *spatial, measurement) each, at one width of smoothing."""


def smoothed_scales(rate: Array, exposure: Array, *, sigmas: Sequence[float]) -> list[Scale]:
    """Return counts and exposure as measured, and smoothed by each of `sigmas` (pixels).

    Args:
      rate: in units of the scale, (batch, *spatial, measurement); 0 where the exposure is 0.
      exposure: full frames behind each pixel, as `rate`.
      sigmas: widths in pixels, finest first.
    """
    counts = rate * exposure
    wider = [(smooth(counts, sigma=sigma), smooth(exposure, sigma=sigma)) for sigma in sigmas]
    return [(counts, exposure), *wider]


def rates_of(scales: Sequence[Scale]) -> list[Array]:
    """Divide counts by exposure at every scale.

    Where nothing was measured the first scale takes the second's rate, and the others the scan's mean, 1.
    """
    known = [light > 1e-3 for _, light in scales]
    rates = [
        jnp.where(seen, counts / jnp.where(seen, light, 1.0), 1.0)
        for seen, (counts, light) in zip(known, scales, strict=True)
    ]
    return [jnp.where(known[0], rates[0], rates[1]), *rates[1:]]


class RootRate(nn.Module):
    """A network that works on roots of rates, and mixes the counted rates with smoothed ones.

    The views r_k of a measurement are its rate and the same smoothed by each of `sigmas`. Of several
    measurements (a pixel and its partner, say) sums have views too: all counts over all exposures, of those
    answered for and of all. For each output the network answers with mixing weights w_k >= 0 of sum 1, over
    the views of the sums and those of its own measurement, and with a correction d, at every pixel:

        rate = (sqrt(sum_k w_k r_k + FLOOR) + d)^2 + LEAST_RATE

    Where photons abound the measured rate passes through, so that sharp reflections are not blurred; where
    they are few, a smoothed one is the start. At the start of training w prefers the finest smoothing (of
    the sum, where there is one) and d is 0.

    Attributes:
      network: (batch, *spatial, channel) -> (batch, *spatial, answers(measurements, outputs, sigmas)).
      outputs: rates answered, those of the first `outputs` measurements of the source.
      sigmas: widths in pixels of the smoothed views, finest first.
    """

    network: nn.Module
    outputs: int = 1
    sigmas: Sequence[float] = (1.0, 3.0)

    @nn.compact
    def __call__(self, source: Array) -> Array:
        """Map rates and exposures (batch, *spatial, 2 * measurements) to rates (batch, *spatial, outputs)."""
        rate, exposure = source[..., ::2], source[..., 1::2]
        scales = smoothed_scales(rate, exposure, sigmas=self.sigmas)
        own, together = rates_of(scales), list[Array]()
        features = [jnp.where(exposure > 0, root(rate), 0.0), exposure, *map(root, own[1:])]
        for number in sums(rate.shape[-1], self.outputs):
            total = [
                (_sum(counts[..., :number]), _sum(light[..., :number])) for counts, light in scales
            ]
            together += rates_of(total)
        features += map(root, together)
        answers = jnp.split(self.network(jnp.concatenate(features, axis=-1)), self.outputs, axis=-1)
        mixed = [
            _mix([*together, *(view[..., k, None] for view in own)], answer)
            for k, answer in enumerate(answers)
        ]
        return jnp.concatenate(mixed, axis=-1)


def sums(measurements: int, outputs: int) -> list[int]:
    """Return how many measurements `RootRate` adds up: those answered for, and all, where several."""
    return sorted({outputs, measurements} - {1})


def answers(measurements: int, outputs: int, sigmas: Sequence[float]) -> int:
    """Return how many numbers `RootRate` asks of its network at every pixel."""
    views = 1 + len(sigmas)
    return outputs * (1 + views * (1 + len(sums(measurements, outputs))))


def _sum(x: Array) -> Array:
    return jnp.sum(x, axis=-1, keepdims=True)


def _mix(views: Sequence[Array], answer: Array) -> Array:
    """Mix views (each (batch, *spatial, 1)) and correct them as the network answers."""
    finest = jnp.eye(len(views))[1] * FIRST_LOGIT
    logits = answer[..., 1:]
    mixing = jax.nn.softmax(logits + jnp.broadcast_to(finest, logits.shape))
    mixed = _sum(mixing * jnp.concatenate(views, axis=-1))
    return jnp.square(root(mixed) + answer[..., :1]) + LEAST_RATE


def root(rate: Array) -> Array:
    """Return sqrt(rate + FLOOR), with negative rates (readout noise) taken as 0."""
    return jnp.sqrt(jnp.maximum(rate, 0.0) + FLOOR)


class PlainRate(nn.Module):
    """A network that maps the first view's rate straight to a rate, as the published program does.

    Attributes:
      network: (batch, *spatial, 1) -> (batch, *spatial, outputs).
    """

    network: nn.Module

    @nn.compact
    def __call__(self, source: Array) -> Array:
        """Map (batch, *spatial, 2 * views) to rates (batch, *spatial, outputs); exposures are not seen."""
        return self.network(source[..., :1])
