"""Error bars of denoised frames: a jackknife over folds of the photons, and what held-out ones miss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from smae_jax.data.scan import Scan, not_counted
from smae_jax.error_bars import GROWTH, error_bars, missed
from smae_jax.methods.protocol import Denoised

FOLDS = 5
"""Folds of the photons, each left out once: so many more predictions are made."""
CALIBRATED_PIXELS = 4_000_000
"""Frames are split for the calibration until they make up so many pixels."""
SEED = 0


def check_countable(scan: Scan) -> None:
    """Refuse values that cannot be dealt to folds.

    Raises:
      ValueError: if they are no photon counts.
    """
    odd = not_counted(scan.counts)
    if odd is not None:
        raise ValueError(
            f"--sigma: expected whole photon counts in {scan.metadata.sources[0]}, got {odd:g}, of "
            "which the noise is not known; leave the option out"
        )


def largest(scan: Scan) -> int:
    """Return a bound of the counts, all bits set, so that one compilation serves many scans."""
    return 2 ** int(scan.counts.max(initial=1)).bit_length() - 1


def error_bars_of(
    answer: Denoised,
    scan: Scan,
    denoise: Callable[..., Denoised],
    scales: np.ndarray,
    *,
    whole_scan: bool = False,
) -> tuple[np.ndarray, str]:
    """Return one standard deviation of every answer, and in words how it was found.

    The photons of some frames are split in halves; each half's answer, with the jackknife's variance, is
    compared with the other half. What the network is found to miss there is taken to be missed in whole
    frames too, where it is a little less.

    Args:
      answer: with the jackknife's variance, (frames, height, width).
      scan: the frames.
      denoise: (counts, valid, scales, share=) -> answers with variance.
      scales: counts per unit of rate, (frames,).
      whole_scan: split all frames, as frames are denoised with their neighbours.
    """
    pixels = scan.counts[0].size
    number = min(len(scan.counts), max(1, CALIBRATED_PIXELS // pixels))
    number = len(scan.counts) if whole_scan else number
    chosen = np.linspace(0, len(scan.counts) - 1, number).round().astype(int)
    masks = scan.valid if len(scan.valid) == 1 else scan.valid[chosen]
    counts = scan.counts[chosen].astype(np.int64)
    first = np.random.default_rng(SEED).binomial(counts, 0.5)
    rates, variances, others = [], [], []
    for half in (first, counts - first):
        found = denoise(half.astype(np.float32), masks, scales[chosen], share=0.5)
        rates.append(np.asarray(found.counts))
        variances.append(np.asarray(found.variance))
        others.append(counts - half)
    rate, variance, other = (np.stack(part) for part in (rates, variances, others))
    use = np.broadcast_to(masks, rate.shape[1:]) & np.isfinite(rate) & np.isfinite(variance)
    share = missed(rate, variance, other, exposure=0.5, use=use)
    sigma = error_bars(np.asarray(answer.counts), np.asarray(answer.variance), share)
    rates_seen = np.asarray(answer.counts)[np.isfinite(sigma)]
    mean = max(float(rates_seen.mean(dtype=np.float64)), 1e-9)
    percent = 100 * np.sqrt(share * mean ** (GROWTH - 2))
    return sigma, (
        f"error bars: jackknife over {FOLDS} folds of the photons, and {percent:.3g} % of the mean rate, "
        f"which held-out photons of {number} frames find missing"
    )
