"""What the counts say too clearly to be noise: such pixels keep their counts.

A network answers with what it has learnt to expect. A spot that looks like nothing else in the scan is then
taken for noise, however bright it is. Here the answer is held against the counts that it was made of: where
they cannot be noise about the answer, the counts are the better answer.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter, uniform_filter

from smae_jax.finishing.evidence import Evidence
from smae_jax.methods.protocol import Answers
from smae_jax.metrics import pixel_deviance

SIGMAS = 5.0
"""Standard deviations from the answer from which counts are no noise about it."""

WINDOW = 3
"""Side of the square, in pixels, whose counts are compared: the size of a sharp spot."""


def keep_spots(answers: Answers, evidence: Evidence, *, sigmas: float = SIGMAS) -> Answers:
    """Answer with the counts where they cannot be noise about the answer; see `keep_significant`.

    The variance there is that of the counts.

    Args:
      answers: (frames, height, width) each.
      evidence: the counts.
      sigmas: standard deviations, > 0.
    """
    data, counts = evidence.data, np.array(answers.counts)
    if data.center is None or len(counts) != data.frames:
        return answers
    kept = np.zeros(counts.shape, bool)
    light = np.where(evidence.valid, data.full_exposure, np.float32(1))
    for frame, own in enumerate(data.counts):
        found, kept[frame] = keep_significant(
            counts[frame] * light[frame], own, evidence.valid[frame], sigmas=sigmas
        )
        counts[frame] = np.where(kept[frame], found / light[frame], counts[frame])
    variance = answers.variance
    if variance is not None:  # no counts are not known without error either
        of_counts = np.maximum(data.counts, 1) / light**2
        variance = np.where(kept, of_counts, variance).astype(np.float32)
    what = (
        f"{kept.sum()} pixels in {kept.any(axis=(1, 2)).sum()} frames keep their counts, which are more "
        f"than {sigmas:g} sigma from the answer"
    )
    return answers.after("keep_spots", what, counts=counts, variance=variance, kept=kept)


def keep_significant(
    answer: np.ndarray, counts: np.ndarray, valid: np.ndarray, *, sigmas: float
) -> tuple[np.ndarray, np.ndarray]:
    """Answer with the counts wherever they lie too far from the answer to be noise about it.

    Counts of every window of `WINDOW` x `WINDOW` pixels are compared with what the answer expects of them, by
    the root of the Poisson deviance, which is nearly a normal deviate also for few counts (McCullagh and
    Nelder 1989, section 2.4). All pixels of a window that deviates by more than `sigmas` answer with their
    own counts. Of right answers, one window in 1.7 million deviates by 5 standard deviations.

    Args:
      answer: expected counts of a full frame, (height, width), float32; NaN where there is none.
      counts: photons, as `answer`.
      valid: bool, as `answer`; where False the answer stays.
      sigmas: standard deviations, > 0.

    Returns:
      (answer, kept): as `answer`, and bool where it is the counts.
    """
    seen = valid & np.isfinite(answer)
    expected, found = (_window_sums(np.where(seen, x, 0.0)) for x in (answer, counts))
    far = pixel_deviance(expected, found) > sigmas**2
    kept = np.asarray(maximum_filter(far, WINDOW, mode="constant"), bool) & seen
    return np.where(kept, counts, answer).astype(answer.dtype), kept


def _window_sums(image: np.ndarray) -> np.ndarray:
    """Add up the window about every pixel, nothing outside; never below 0."""
    mean = uniform_filter(image.astype(np.float64), WINDOW, mode="constant")
    return np.maximum(mean * WINDOW**2, 0.0)
