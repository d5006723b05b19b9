"""Error bars of denoised frames: a jackknife over folds of the photons, and what held-out ones miss."""

from __future__ import annotations

import numpy as np

from smae_jax.commands.split_answers import SplitAnswers
from smae_jax.data.scan import Scan, not_counted
from smae_jax.error_bars import error_bars, missed
from smae_jax.methods.protocol import Denoised

FOLDS = 5
"""Folds of the photons, each left out once: so many more predictions are made."""
CALIBRATED_PIXELS = 4_000_000
"""Frames are split for the calibration until they make up so many pixels."""


def check_countable(scan: Scan, *, option: str) -> None:
    """Refuse values that cannot be dealt to folds, as the option asks.

    Raises:
      ValueError: if they are no photon counts.
    """
    odd = not_counted(scan.counts)
    if odd is not None:
        raise ValueError(
            f"--{option}: expected whole photon counts in {scan.metadata.sources[0]}, got {odd:g}, of "
            "which the noise is not known; leave the option out"
        )


def largest(scan: Scan) -> int:
    """Return a bound of the counts, all bits set, so that one compilation serves many scans."""
    return 2 ** int(scan.counts.max(initial=1)).bit_length() - 1


def frames_to_split(scan: Scan, *, whole_scan: bool) -> np.ndarray:
    """Return which frames are split for the calibration, (frames,): all, or as many as are enough."""
    number = len(scan.counts)
    if not whole_scan:
        number = min(number, max(1, CALIBRATED_PIXELS // scan.counts[0].size))
    return np.linspace(0, len(scan.counts) - 1, number).round().astype(int)


def error_bars_of(answer: Denoised, split: SplitAnswers) -> tuple[np.ndarray, str]:
    """Return one standard deviation of every answer, and in words how it was found.

    The answer of each half of the photons, with the jackknife's variance, is compared with the other half.
    What the network is found to miss there is taken to be missed in whole frames too, where it is a little
    less.

    Args:
      answer: with the jackknife's variance, (frames, height, width).
      split: answers to both halves of the photons of some frames, with variance.
    """
    rate = np.stack([np.asarray(half.counts) for half in split.answers])
    variance = np.stack([np.asarray(half.variance) for half in split.answers])
    use = split.valid & np.isfinite(rate) & np.isfinite(variance)
    held_out = np.stack(split.held_out)
    unseen = missed(rate, variance, held_out, exposure=split.exposure, use=use)
    sigma = error_bars(np.asarray(answer.counts), np.asarray(answer.variance), unseen)
    rates_seen = np.asarray(answer.counts)[np.isfinite(sigma)]
    mean = max(float(rates_seen.mean(dtype=np.float64)), 1e-9)
    percent = 100 * np.sqrt(float(unseen.of(np.asarray(mean)))) / mean
    return sigma, (
        f"error bars: jackknife over {FOLDS} folds of the photons, and {percent:.3g} % of the mean rate, "
        f"which held-out photons of {len(split.frames)} frames find missing"
    )
