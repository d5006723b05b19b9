"""Losses `(prediction, target, weight) -> scalar float32`.

Arrays are (batch, *spatial, channel) with one to three spatial axes; the elementwise losses take
any shape. `target` is a rate (counts / exposure) and `weight` its exposure, broadcastable to it and
0 where invalid. Every loss is `sum(weight * x) / sum(weight)`, 0 for an empty sum; whatever stands
under weight 0, NaN included, reaches neither value nor gradient. This module knows no method,
network or training step.
"""

import math
from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jax import Array, lax

Loss = Callable[[Array, Array, Array], Array]


def _prepare(prediction: Array, target: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Return the three as float32 of one shape, with zeros wherever the weight is 0."""
    arrays = jnp.broadcast_arrays(prediction, target, weight)
    prediction, target, weight = (a.astype(jnp.float32) for a in arrays)
    use = weight > 0
    return jnp.where(use, prediction, 0), jnp.where(use, target, 0), jnp.where(use, weight, 0)


def _divide(numerator: Array, denominator: Array) -> Array:
    """Divide, giving 0 (and no gradient) where the denominator is 0."""
    some = denominator > 0
    return jnp.where(some, numerator / jnp.where(some, denominator, 1), 0)


def _weighted_mean(values: Array, weight: Array) -> Array:
    return _divide(jnp.sum(weight * values), jnp.sum(weight))


def mse(prediction: Array, target: Array, weight: Array) -> Array:
    """Mean squared error."""
    prediction, target, weight = _prepare(prediction, target, weight)
    return _weighted_mean((prediction - target) ** 2, weight)


def mae(prediction: Array, target: Array, weight: Array) -> Array:
    """Mean absolute error: estimates the median, which for few photons lies below the mean."""
    prediction, target, weight = _prepare(prediction, target, weight)
    return _weighted_mean(jnp.abs(prediction - target), weight)


def huber(prediction: Array, target: Array, weight: Array, *, delta: float = 1.0) -> Array:
    """Quadratic (e^2 / 2) up to an error of `delta`, linear beyond (Huber 1964)."""
    prediction, target, weight = _prepare(prediction, target, weight)
    error = jnp.abs(prediction - target)
    near = jnp.minimum(error, delta)
    return _weighted_mean(near * (error - near / 2), weight)


def charbonnier(prediction: Array, target: Array, weight: Array, *, epsilon: float = 1e-3) -> Array:
    """Mean of sqrt(e^2 + epsilon^2), a smooth `mae` (Charbonnier et al. 1994)."""
    prediction, target, weight = _prepare(prediction, target, weight)
    return _weighted_mean(jnp.sqrt((prediction - target) ** 2 + epsilon**2), weight)


def poisson(prediction: Array, target: Array, weight: Array, *, epsilon: float = 1e-3) -> Array:
    """Poisson negative log-likelihood of the rates, `prediction - target * log(prediction)`.

    With weight = exposure t and target = counts n / t, `weight * loss` is `t r - n log r`: the
    exact likelihood of n counts at rate r, up to terms without r. Below `epsilon` the prediction is
    replaced by `epsilon * exp(prediction / epsilon - 1)`, which joins it smoothly, stays positive
    and keeps gradients within max(1, target / epsilon): a negative prediction finds its way back.
    """
    prediction, target, weight = _prepare(prediction, target, weight)
    log_tail = jnp.minimum(prediction / epsilon - 1, 0)
    above = jnp.maximum(prediction, epsilon)
    rate = jnp.where(prediction > epsilon, prediction, epsilon * jnp.exp(log_tail))
    return _weighted_mean(rate - target * (jnp.log(above) + log_tail), weight)


def anscombe(
    prediction: Array, target: Array, weight: Array, *, counts_per_unit: float = 1.0
) -> Array:
    """Mean squared error of `2 sqrt(x + 3/8)`, whose Poisson variance is about 1 (Anscombe 1948).

    `x` is the rate times `counts_per_unit`: give the scale if the rates were divided by one. Below
    0 the root goes on as its tangent. The root of a mean is not the mean of roots: weak signals
    come out low.
    """
    prediction, target, weight = _prepare(prediction, target, weight)

    def root(rate: Array) -> Array:
        counts = counts_per_unit * rate
        tangent = jnp.minimum(counts, 0) / math.sqrt(3 / 8)
        return 2 * jnp.sqrt(jnp.maximum(counts, 0) + 3 / 8) + tangent

    return _weighted_mean((root(prediction) - root(target)) ** 2, weight)


def ssim(
    prediction: Array,
    target: Array,
    weight: Array,
    *,
    data_range: float | None = None,
    sigma: float = 1.5,
) -> Array:
    """One minus the local structural similarity, averaged with the weights.

    Local means and variances are taken in a Gaussian window (radius 3.5 sigma) over all spatial
    axes, every pixel counted with its weight, so masked pixels and the outside do not exist.
    `data_range` defaults to the span of the valid targets.

    Reference:
      Wang et al. 2004, eq. 13, with K1 = 0.01 and K2 = 0.03.
    """
    prediction, target, weight = _prepare(prediction, target, weight)
    if prediction.ndim < 3:
        raise ValueError(
            f"loss 'ssim': expected (batch, *spatial, channel), got shape {prediction.shape}"
        )
    highest = jnp.max(target, where=weight > 0, initial=-jnp.inf)
    lowest = jnp.min(target, where=weight > 0, initial=jnp.inf)
    span = jnp.where(highest > lowest, highest - lowest, 1.0) if data_range is None else data_range
    radius = int(3.5 * sigma + 0.5)
    window = jnp.exp(-(jnp.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    smooth = partial(_smooth, window=window / jnp.sum(window))
    mass = smooth(weight)
    mean_p = _divide(smooth(weight * prediction), mass)
    mean_t = _divide(smooth(weight * target), mass)
    var_p = _divide(smooth(weight * prediction**2), mass) - mean_p**2
    var_t = _divide(smooth(weight * target**2), mass) - mean_t**2
    cov = _divide(smooth(weight * prediction * target), mass) - mean_p * mean_t
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    similarity = ((2 * mean_p * mean_t + c1) * (2 * cov + c2)) / (
        (mean_p**2 + mean_t**2 + c1) * (var_p + var_t + c2)
    )
    return _weighted_mean(1 - similarity, weight)


def _smooth(x: Array, *, window: Array) -> Array:
    """Convolve all axes but the first and the last with `window`, zeros outside."""
    for axis in range(1, x.ndim - 1):
        lines = jnp.moveaxis(x, axis, -1)
        flat = lines.reshape(-1, 1, lines.shape[-1])
        flat = lax.conv_general_dilated(flat, window[None, None], (1,), "SAME")
        x = jnp.moveaxis(flat.reshape(lines.shape), -1, axis)
    return x


def total_variation(prediction: Array, weight: Array | None = None) -> Array:
    """Mean absolute difference of neighbours, summed over the spatial axes (a regulariser).

    Only pairs of which both pixels have a weight > 0 count; without `weight` all do.
    """
    weight = jnp.ones_like(prediction) if weight is None else weight
    prediction, _, weight = _prepare(prediction, prediction, weight)
    total = jnp.float32(0)
    for axis in range(1, prediction.ndim - 1):
        ahead = partial(lax.slice_in_dim, start_index=1, limit_index=None, axis=axis)
        behind = partial(lax.slice_in_dim, start_index=0, limit_index=-1, axis=axis)
        pair = (ahead(weight) > 0) & (behind(weight) > 0)
        difference = jnp.abs(ahead(prediction) - behind(prediction))
        total += _weighted_mean(difference, pair.astype(jnp.float32))
    return total


LOSSES: dict[str, Callable[..., Array]] = {
    f.__name__: f for f in (mse, mae, huber, charbonnier, poisson, anscombe, ssim)
} | {"tv": lambda prediction, target, weight: total_variation(prediction, weight)}
