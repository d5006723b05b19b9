"""Scores of a denoised scan against held-out repeats of the same measurement, noise subtracted."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smae_jax.evaluation.filters import gaussian
from smae_jax.metrics import match_totals, noise_corrected_score


def inverse_rate(
    reference: ArrayLike, valid: ArrayLike, *, sigma: float = 2.0, floor: float = 0.3
) -> NDArray[np.float64]:
    """Weigh each pixel by one over its expected counts, so that weak features count as strong ones.

    The expectation is the reference smoothed by a Gaussian of `sigma` pixels over its valid pixels,
    and at least `floor` counts.
    """
    return 1 / np.maximum(gaussian(reference, valid, sigma), floor)


def score(prediction: ArrayLike, reference_frames: ArrayLike, valid: ArrayLike) -> dict[str, float]:
    """Score denoised frames against the mean of held-out repeats, after matching total counts.

    Each predicted frame is scaled to the reference's total over the valid pixels; with the mean r
    of n reference frames and the prediction p,

        plain    = mean((p - r)^2 - r / n) / mean(r)
        weighted = mean(((p - r)^2 - r / n) / max(gaussian(r, sigma=2), 0.3))

    averaged over the predicted frames. Both are 1 for a raw exposure and 0 for the true rates.

    Args:
      prediction: (height, width) or (frames, height, width), counts per exposure.
      reference_frames: (n, height, width), counts of repeats that the prediction has not seen.
      valid: (height, width), True = use the pixel.

    Returns:
      `plain` and `weighted`.

    Raises:
      ValueError: if the shapes disagree or no pixel is valid.
    """
    frames = np.asarray(reference_frames, dtype=np.float64)
    reference = frames.mean(axis=0)
    variance = reference / len(frames)
    weight = inverse_rate(reference, valid)
    predicted = np.asarray(prediction, dtype=np.float64).reshape(-1, *np.shape(prediction)[-2:])
    matched = [match_totals(frame, reference, valid) for frame in predicted]

    def mean_score(weight: ArrayLike | None) -> float:
        each = [noise_corrected_score(p, reference, variance, valid, weight) for p in matched]
        return float(np.mean(each))

    return {"plain": mean_score(None), "weighted": mean_score(weight)}
