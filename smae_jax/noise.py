"""What the noise of repeats is, measured from the repeats, and the loss that follows from it.

Noise of photons has the variance gain * mean; readout adds a constant. A loss that knows both is the one that
a user should not have to choose.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax import losses

LEAST_COMMON = 0.1
"""Share of the noise from repeat to repeat below which what repeats share is not told from the signal."""


class Noise(NamedTuple):
    """Variance of a value from repeat to repeat, `gain * mean + readout_variance`, and what repeats share.

    Attributes:
      gain: values per photon; 1 for photon counts.
      readout_variance: variance beside the photons', in values^2.
      common_variance: variance from point to point that is the same in all repeats, in values^2: the noise
        of a dark frame that was taken off all of them, or a detector's fixed pattern.
    """

    gain: float = 1.0
    readout_variance: float = 0.0
    common_variance: float = 0.0

    @property
    def offset(self) -> float:
        """What to add to values so that their variance is proportional to them."""
        return self.readout_variance / self.gain

    def beside_photons(self, rate: np.ndarray, exposure: np.ndarray) -> np.ndarray | None:
        """Return the rms noise of rates behind an exposure; None where it is that of photons alone."""
        if (self.gain, self.readout_variance) == (1.0, 0.0):
            return None
        return np.sqrt(np.maximum(self.gain * rate + self.readout_variance, 0) / exposure)


def measure_noise(counts: np.ndarray, exposure: np.ndarray) -> Noise:
    """Fit variance = gain * mean + readout variance to repeats.

    Values are sorted into classes of equal size by their mean over the repeats; within a class mean and
    variance are averaged, and a line is fitted through the classes, each weighted by the inverse square of
    its variance.

    Args:
      counts: (repeats, *spatial), repeats >= 3.
      exposure: behind every value, as `counts`; 0 where invalid. Values are compared per unit of exposure.

    Returns:
      The noise; plain photon noise where the line does not differ from it by more than a tenth, and where
      there are fewer than three repeats.
    """
    if len(counts) < 3:
        return Noise()
    seen = (exposure > 0).all(axis=0).ravel()
    light = exposure.reshape(len(exposure), -1)[:, seen].astype(np.float64)
    rates = counts.reshape(len(counts), -1)[:, seen] / light
    if rates.shape[1] < 100:
        return Noise()
    common = shared_variance(counts / np.where(exposure > 0, exposure, 1))
    order = np.argsort(rates.mean(axis=0), kind="stable")
    # Repeats that drift as a whole (lamp, laser) are brought to one level first: that is no noise.
    level = rates.sum(axis=1, keepdims=True)
    rates = rates * np.where(level > 0, level.mean() / np.where(level > 0, level, 1), 1)
    variances = rates.var(axis=0, ddof=1) * light.mean(axis=0)
    classes = np.array_split(order, min(30, rates.shape[1] // 30))
    mean = np.array([rates[:, chosen].mean() for chosen in classes])
    variance = np.array([variances[chosen].mean() for chosen in classes])
    found = fitted(mean, variance)
    typical = found.gain * max(float(np.median(mean)), 0.0) + found.readout_variance
    return found._replace(common_variance=common if common > LEAST_COMMON * typical else 0.0)


def shared_variance(rates: np.ndarray) -> float:
    """Measure the variance from point to point that all repeats share.

    Third differences along the last axis leave little of a signal, and all of what is independent from point
    to point. Their products between different repeats know only what these share; the median over blocks
    leaves out the blocks with sharp lines.

    Args:
      rates: (repeats, *spatial), repeats >= 2.

    Returns:
      The variance, >= 0.
    """
    flat = rates.reshape(len(rates), -1, rates.shape[-1]).astype(np.float64)
    rough = np.diff(flat, n=3, axis=-1) / np.sqrt(20.0)
    count = len(rates)
    products = (rough.sum(axis=0) ** 2 - (rough**2).sum(axis=0)) / (count * (count - 1))
    blocks = np.array_split(products.ravel(), max(1, products.size // 64))
    return max(float(np.median([block.mean() for block in blocks])), 0.0)


def fitted(mean: np.ndarray, variance: np.ndarray) -> Noise:
    """Fit variance = gain * mean + readout variance through points, neither negative."""
    weight = 1 / np.maximum(variance, 1e-3 * variance.max() + 1e-12)
    for _ in range(
        10
    ):  # the weights follow the line, so that a low variance by chance does not pull
        columns = np.stack([mean, np.ones_like(mean)], axis=1) * weight[:, None]
        gain, readout = np.linalg.lstsq(columns, variance * weight, rcond=None)[0]
        readout = max(float(readout), 0.0)
        if readout == 0.0:
            gain = (variance * mean * weight**2).sum() / max((mean**2 * weight**2).sum(), 1e-30)
        gain = max(float(gain), 1e-3)
        line = gain * np.maximum(mean, 0) + readout
        weight = 1 / np.maximum(line, 1e-3 * line.max() + 1e-12)
    typical = float(np.median(np.maximum(mean, 0)))
    if abs(gain - 1) < 0.1 and readout <= 0.1 * max(typical, 0.1):
        return Noise()
    return Noise(gain, readout)


def likelihood(noise: Noise, scale: float) -> losses.Loss:
    """Return the loss for values of this noise: Poisson likelihood of values shifted by `noise.offset`.

    For photons it is `losses.poisson`; where readout noise prevails it becomes the mean squared error.

    Args:
      noise: of values.
      scale: values per unit of rate.
    """
    offset = noise.offset / scale
    if not offset:
        return losses.poisson

    def shifted_poisson(prediction: Array, target: Array, weight: Array) -> Array:
        # In units of the offset, so that the value stays of order 1 however large the offset is.
        use = weight > 0
        rate = jnp.where(use, prediction, 0.0)
        seen = jnp.where(use, target, 0.0)
        total = jnp.sum(jnp.where(use, weight, 0.0))
        rise = jnp.log1p(rate / offset)
        value = rate - (seen + offset) * rise
        mean = jnp.sum(jnp.where(use, weight * value, 0.0)) / jnp.where(total > 0, total, 1.0)
        return mean * (1 + offset)

    return shifted_poisson
