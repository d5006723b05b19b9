"""Which value a pixel gets: what was counted, its partner's counts, an answer, or the answer's error bar.

Arrays in, arrays out: knows nothing of files.
"""

from __future__ import annotations

import numpy as np

from smae_jax.geometry import turn
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers
from smae_jax.outliers import with_outliers


def from_partner(data: Measurements) -> Answers:
    """Fill pixels without a measurement by the counts of their partner, frame by frame.

    A pixel and its partner have the same rate, so the partner's counts times the ratio of the two exposures
    are an unbiased estimate of what the pixel would have counted. Its noise is that of the partner's counts,
    and not independent of them: for display and for integration, not for statistics over pixels.

    Args:
      data: patterns with a trusted centre. The exposure of a pixel that is masked is that of its frame, times
        its response where a flat field tells it.

    Returns:
      Counts of every frame's own exposure, float32, (frames, height, width): as counted where measured; NaN
      where neither pixel was measured.

    Raises:
      ValueError: if there is no trusted centre.
    """
    if data.symmetry is None:
        raise ValueError("expected patterns with a trusted centre")
    center, data = data.symmetry.half_pixel, with_outliers(data)
    measured = np.broadcast_to(data.valid, data.counts.shape)
    own = data.frame_exposure[:, None, None] * _response(data)
    exposure = turn(data.exposure, center, 0)
    filled = ~measured & np.broadcast_to(exposure > 0, measured.shape)
    ratio = own / np.where(exposure > 0, exposure, np.float32(1))
    partner = turn(data.counts, center, 0).astype(np.float32) * ratio
    counts = np.where(measured, data.counts, np.where(filled, partner, np.nan)).astype(np.float32)
    return Answers(counts, measured | filled, filled).after("fill", _shares(measured, filled))


def beside_counts(answers: Answers, data: Measurements) -> Answers:
    """Keep what was counted; answer only the pixels without a measurement, as they would have counted.

    Args:
      answers: in counts of every frame's own exposure.
      data: what they answer, as `answers`.

    Returns:
      The same without error bars, which are of answers.
    """
    data = with_outliers(data)
    measured = np.broadcast_to(
        data.valid[..., None] if data.channels else data.valid, data.counts.shape
    )
    filled = ~measured & np.asarray(answers.known)
    response = _response(data)[..., None] if data.channels else _response(data)
    answered = np.asarray(answers.counts) * response
    counts = np.where(measured, data.counts, answered).astype(np.float32)
    return answers.after(
        "only",
        f"filled: {_shares(measured, filled, 'the answer')}",
        counts=counts,
        known=measured | filled,
        filled=filled,
        sigma=None,
    )


def error_bars_alone(answers: Answers) -> Answers:
    """Return one standard deviation of every answer in place of the answer."""
    sigma = np.asarray(answers.sigma)
    known = np.asarray(answers.known) & np.isfinite(sigma)
    return answers.after("only", "sigma", counts=sigma, known=known, sigma=None)


def _response(data: Measurements) -> np.ndarray:
    """Return the response of every pixel, (*spatial), float32; 1 where it is not known."""
    if data.response is None:
        return np.ones(data.spatial, np.float32)
    return np.where(data.response > 0, data.response, np.float32(1))


def _shares(measured: np.ndarray, filled: np.ndarray, by: str = "their partner's counts") -> str:
    kept, new = 100 * measured.mean(), 100 * filled.mean()
    return (
        f"{kept:.1f} % of the pixels as they were counted, {new:.1f} % have {by}, "
        f"{abs(100 - kept - new):.1f} % have neither"
    )
