"""From counted views to a rate: what stands between a method's source and a plain network.

Photon noise grows with the root of the rate, so the network sees roots and answers with a correction to the
root of a smoothed rate: the square of the sum cannot be negative, is unbiased under the Poisson likelihood,
and bright and weak pixels bring gradient noise of one size (the Fisher information of the root is constant).
"""

import functools
from collections.abc import Sequence
from typing import Any

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
"""Counts and exposure of a measurement, (batch, *spatial) each, at one width of smoothing."""


def smoothed_scales(rate: Array, exposure: Array, *, sigmas: Sequence[float]) -> list[Scale]:
    """Return a measurement's counts and exposure as they are, and smoothed by each of `sigmas` (pixels).

    Args:
      rate: in units of the scale, (batch, *spatial); 0 where the exposure is 0.
      exposure: full frames behind each pixel, as `rate`.
      sigmas: widths in pixels, finest first.
    """
    counts = rate * exposure
    both = jnp.concatenate([counts, exposure])[..., None]
    wider = [jnp.split(smooth(both, sigma=sigma)[..., 0], 2) for sigma in sigmas]
    return [(counts, exposure), *((smoothed, light) for smoothed, light in wider)]


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
        # A CPU works on images in half of the time that it needs for channels beside each other.
        images = [source[..., channel] for channel in range(source.shape[-1])]
        measured = list(zip(images[::2], images[1::2], strict=True))
        scales = [smoothed_scales(*one, sigmas=self.sigmas) for one in measured]
        own = [rates_of(of_one) for of_one in scales]
        features = [jnp.where(exposure > 0, root(rate), 0.0) for rate, exposure in measured]
        features += [exposure for _, exposure in measured]
        features += [root(view) for views in zip(*own, strict=True) for view in views][len(own) :]
        together = list[Array]()
        for number in sums(len(measured), self.outputs):
            together += rates_of([_added(of_all[:number]) for of_all in zip(*scales, strict=True)])
        features += map(root, together)
        answers = self.network(jnp.moveaxis(jnp.stack(features), 0, -1))
        mixed = [
            _mix([*together, *own[k]], answer)
            for k, answer in enumerate(jnp.split(answers, self.outputs, axis=-1))
        ]
        return jnp.stack(mixed, axis=-1)


def sums(measurements: int, outputs: int) -> list[int]:
    """Return how many measurements `RootRate` adds up: those answered for, and all, where several."""
    return sorted({outputs, measurements} - {1})


def answers(measurements: int, outputs: int, sigmas: Sequence[float]) -> int:
    """Return how many numbers `RootRate` asks of its network at every pixel."""
    views = 1 + len(sigmas)
    return outputs * (1 + views * (1 + len(sums(measurements, outputs))))


def _added(scales: Sequence[Scale]) -> Scale:
    """Add up counts and exposures of measurements."""
    counts, exposure = zip(*scales, strict=True)
    return functools.reduce(jnp.add, counts), functools.reduce(jnp.add, exposure)


def _mix(views: Sequence[Array], answer: Array) -> Array:
    """Mix views, (batch, *spatial) each, and correct them as the network answers."""
    correction, *logits = (answer[..., k] for k in range(answer.shape[-1]))
    logits[1] = logits[1] + FIRST_LOGIT  # the finest smoothing
    return jnp.square(root(_mean(list(views), logits)) + correction) + LEAST_RATE


@jax.custom_vjp
def _mean(views: list[Array], logits: list[Array]) -> Array:
    """Return the mean of views whose weights are the softmax of logits, images all.

    The softmax is written out over the few views: on a CPU reductions of a short axis take ten times as
    long. The gradient is written out too, as exponentials are found again in less time than they are kept.
    """
    return _weighted(views, logits)[0]


def _weighted(views: list[Array], logits: list[Array]) -> tuple[Array, list[Array], Array]:
    """Return the mean, the weights and their sum."""
    largest = functools.reduce(jnp.maximum, logits)
    weights = [jnp.exp(logit - largest) for logit in logits]
    weighted = [weight * view for weight, view in zip(weights, views, strict=True)]
    total = functools.reduce(jnp.add, weights)
    return functools.reduce(jnp.add, weighted) / total, weights, total


def _mean_and_arguments(views: list[Array], logits: list[Array]) -> tuple[Array, Any]:
    return _mean(views, logits), (views, logits)


def _gradients(arguments: Any, change: Array) -> tuple[list[Array], list[Array]]:
    """Return the gradients of views and logits, given that of the mean."""
    views, logits = arguments
    mean, weights, total = _weighted(views, logits)
    of_views = [change / total * weight for weight in weights]
    of_logits = [of * (view - mean) for of, view in zip(of_views, views, strict=True)]
    found = (of_views, of_logits)
    return jax.tree.map(lambda gradient, of: gradient.astype(of.dtype), found, arguments)


_mean.defvjp(_mean_and_arguments, _gradients)


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
