"""What is there without the sample, taken off the answers at the very end: till then counts are photons."""

from __future__ import annotations

import numpy as np

from smae_jax.geometry import turn
from smae_jax.measurements import Measurements, mean_of_frames
from smae_jax.methods.protocol import Answers


def subtract_background(
    answers: Answers,
    data: Measurements,
    background: Measurements,
    *,
    scale: float = 1.0,
    name: str = "the background",
) -> Answers:
    """Take `scale` times the mean of background frames off the answers, for each frame by its exposure.

    Where no background was measured, that of the partner is taken; where there is none either, there is no
    answer. Answers may fall below 0, as differences of measurements do.

    Args:
      answers: in counts of every frame's own exposure, or one answer per unit of exposure.
      data: what was answered.
      background: frames without the sample, (*spatial) as the data's, each as long as a frame of the data.
      scale: transmission of the sample, ratio of exposures, > 0.
      name: of the background in `done`.

    Returns:
      The answers; `sigma` holds the photon noise of the background too, which all frames share.
    """
    rate, light = mean_of_frames(background)
    light = np.broadcast_to(light, rate.shape)
    counted = background.are_counts
    variance = np.where(light > 0, rate / np.where(light > 0, light, 1), np.nan) * counted
    if data.symmetry is not None:
        center = data.symmetry.half_pixel
        unknown = ~np.isfinite(rate)
        rate = np.where(unknown, turn(rate, center, np.nan), rate)
        variance = np.where(unknown, turn(variance, center, np.nan), variance)
    each = np.ones(1) if len(answers.counts) != data.frames else data.frame_exposure
    times = scale * each.reshape(-1, *(1,) * rate.ndim)
    found = (np.asarray(answers.counts) - times * rate).astype(np.float32)
    sigma = answers.sigma
    if sigma is not None:
        sigma = np.sqrt(np.asarray(sigma) ** 2 + times**2 * variance).astype(np.float32)
    seen = np.isfinite(rate).all(axis=-1) if data.channels else np.isfinite(rate)
    lost = float(np.mean(np.asarray(answers.known) & ~seen))
    what = f"{scale:g} times the mean of {background.frames} frames of {name}" + (
        f"; {100 * lost:.2g} % of pixels have none, and no answer" if lost else ""
    )
    return answers.after(
        "subtract_background",
        what,
        counts=found,
        known=np.asarray(answers.known) & seen,
        filled=np.asarray(answers.filled) & seen,
        sigma=sigma,
    )
