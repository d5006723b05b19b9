"""What a denoiser took away: is it photon noise and nothing else? numpy only."""

from __future__ import annotations

import dataclasses

import numpy as np

LAGS = (1, 2, 4)
BLOCK = 8
_SOFTENING = 0.05


@dataclasses.dataclass
class Whiteness:
    """Sums over frames of the residual z = (y - mu) / sqrt(mu + 0.05), and of its products.

    The 0.05 counts keep a photon where almost none was expected from deciding alone. What photon
    noise makes of z^2 is then mu / (mu + 0.05), and variances are divided by the mean of that: they
    are 1 for the true rates, at any rate. What photon noise lets them scatter by follows from the fourth
    cumulant of Poisson counts, which is mu.
    """

    pixels: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    expected: float = 0.0
    products: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(len(LAGS)))
    pairs: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(len(LAGS)))
    block_squares: float = 0.0
    block_expected: float = 0.0
    scatter: float = 0.0
    product_scatter: float = 0.0
    block_scatter: float = 0.0

    def add(self, counts: np.ndarray, expected: np.ndarray, valid: np.ndarray) -> None:
        """Add frames (frames, height, width); expected counts NaN count as not valid."""
        use = valid & np.isfinite(expected)
        mu = np.maximum(np.where(use, expected, 1.0), 0.0)
        z = np.where(use, counts - mu, 0.0) / np.sqrt(mu + _SOFTENING)
        noise = np.where(use, mu / (mu + _SOFTENING), 0.0)
        self.pixels += float(use.sum())
        self.total += float(z.sum())
        self.squares += float((z * z).sum())
        self.expected += float(noise.sum())
        fourth = np.where(use, noise / (mu + _SOFTENING), 0.0)
        self.scatter += float((fourth + 2 * noise**2).sum())
        for k, lag in enumerate(LAGS):
            for axis in (-2, -1):
                size = z.shape[axis]
                if size <= lag:
                    continue
                near, far = np.arange(size - lag), np.arange(lag, size)
                self.products[k] += float((z.take(near, axis) * z.take(far, axis)).sum())
                self.pairs[k] += float((use.take(near, axis) & use.take(far, axis)).sum())
                if lag == 1:
                    both = noise.take(near, axis) * noise.take(far, axis)
                    self.product_scatter += float(both.sum())
        height, width = (BLOCK * (n // BLOCK) for n in z.shape[-2:])
        cut = (len(z), height // BLOCK, BLOCK, width // BLOCK, BLOCK)
        sums, noises, fourths = (
            a[:, :height, :width].reshape(cut).sum(axis=(2, 4)) for a in (z, noise, fourth)
        )
        self.block_squares += float((sums**2).sum())
        self.block_expected += float(noises.sum())
        self.block_scatter += float((fourths + 2 * noises**2).sum())

    @property
    def mean(self) -> float:
        """Mean of z; 0 for the true rates."""
        return self.total / self.pixels

    @property
    def variance(self) -> float:
        """Mean of z^2 over that of photon noise; below 1 where the estimate follows the noise."""
        return self.squares / self.expected if self.expected > 0 else float("nan")

    @property
    def variance_error(self) -> float:
        """Standard deviation of `variance` for the true rates."""
        return self.scatter**0.5 / self.expected if self.expected > 0 else float("nan")

    @property
    def correlation(self) -> np.ndarray:
        """Correlation of z with z at `LAGS` pixels along rows and columns; 0 for the true rates."""
        if not self.squares > 0:
            return np.zeros(len(LAGS))
        mean = np.divide(self.products, self.pairs, out=np.zeros(len(LAGS)), where=self.pairs > 0)
        return mean / (self.squares / self.pixels)

    @property
    def correlation_error(self) -> float:
        """Standard deviation of the correlation of neighbours for the true rates."""
        pairs, square = float(self.pairs[0]), self.expected / max(self.pixels, 1.0)
        return self.product_scatter**0.5 / (pairs * square) if pairs * square > 0 else float("nan")

    @property
    def block_variance(self) -> float:
        """Variance of the sum of z over 8 x 8 pixels over that of photon noise; 1 for the true rates."""
        return self.block_squares / self.block_expected if self.block_expected > 0 else float("nan")

    @property
    def block_variance_error(self) -> float:
        """Standard deviation of `block_variance` for the true rates."""
        known = self.block_expected > 0
        return self.block_scatter**0.5 / self.block_expected if known else float("nan")


@dataclasses.dataclass
class RingTotals:
    """Measured and expected counts in rings about the beam, summed over frames.

    Attributes:
      radius: middle of each ring in pixels, (rings,).
      measured: counts, (rings,).
      expected: of the estimate, (rings,).
    """

    radius: np.ndarray
    number: np.ndarray
    measured: np.ndarray
    expected: np.ndarray

    @classmethod
    def about(
        cls, center: tuple[float, float], shape: tuple[int, int], *, rings: int = 24
    ) -> RingTotals:
        """Lay out rings of one width about `center` (y, x), at least two pixels wide."""
        y, x = np.ogrid[: shape[0], : shape[1]]
        distance = np.hypot(y - center[0], x - center[1])
        width = max(2.0, float(distance.max()) / rings)
        number = (distance / width).astype(int)
        middle = (np.arange(number.max() + 1) + 0.5) * width
        return cls(middle, number, np.zeros(len(middle)), np.zeros(len(middle)))

    def add(self, counts: np.ndarray, expected: np.ndarray, valid: np.ndarray) -> None:
        """Add frames (frames, height, width); expected counts NaN count as not valid."""
        use = valid & np.isfinite(expected)
        for sums, image in ((self.measured, counts), (self.expected, expected)):
            total = np.where(use, image, 0).sum(axis=0, dtype=np.float64)
            sums += np.bincount(self.number.ravel(), total.ravel(), minlength=len(sums))

    def ratio(self) -> tuple[np.ndarray, np.ndarray]:
        """Return expected / measured and its Poisson error; NaN in rings of fewer than 25 counts."""
        enough = self.measured >= 25
        counts = np.where(enough, self.measured, np.nan)
        return self.expected / counts, 1 / np.sqrt(counts)

    def worst(self) -> tuple[float, float]:
        """Return the ring furthest from 1 in sigmas: (ratio - 1 in per cent, sigmas)."""
        ratio, error = self.ratio()
        sigmas = (ratio - 1) / error
        if not np.isfinite(sigmas).any():
            return float("nan"), float("nan")
        k = int(np.nanargmax(np.abs(sigmas)))
        return float(100 * (ratio[k] - 1)), float(sigmas[k])
