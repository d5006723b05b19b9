"""Numbers that need a reference: another measurement of the same frames, with more photons.

All of them look at the pixels that are valid in both. Sums are taken over all frames and divided
once. The reference's own noise is known where it was counted, and is subtracted in the scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from smae_jax.errors import UserError
from smae_jax.evaluation.estimators import Estimator, Progress, Row, in_chunks, raw
from smae_jax.evaluation.scores import inverse_rate
from smae_jax.measurements import Measurements, mean_of_frames
from smae_jax.metrics import ssim

COLUMNS = {
    "psnr_db": ("PSNR / dB", "{:.2f}"),
    "ssim": ("SSIM", "{:.4f}"),
    "rmse": ("RMSE", "{:.4g}"),
    "psnr_scaled_db": ("PSNR scaled / dB", "{:.2f}"),
    "ssim_scaled": ("SSIM scaled", "{:.4f}"),
    "rmse_scaled": ("RMSE scaled", "{:.4g}"),
    "scale": ("scale", "{:.4f}"),
    "score": ("score", "{:.4f}"),
    "score_weighted": ("score weighted", "{:.4f}"),
}
"""Key of a row -> heading and format."""

LEGEND = (
    "PSNR, SSIM and RMSE (counts): to the reference as it is, at true scale, and 'scaled': each "
    "frame first multiplied by the factor of least squared error ('scale': their mean).\n"
    "Score: squared error less the reference's own variance, over the mean counts; weighted: at "
    "each pixel over the counts expected there. 1 = as noisy as one exposure, 0 = perfect."
)


@dataclasses.dataclass(frozen=True)
class Reference:
    """A reference on the scale of the counts it is compared with.

    Attributes:
      counts: expected counts of a full exposure, (frames, height, width), 0 where invalid.
      variance: of `counts`, their noise; shaped as `counts`, all 0 for a reference without noise.
      valid: True = use the pixel, bool, shaped as `counts`.
      said: how it was made, a line each.
    """

    counts: np.ndarray
    variance: np.ndarray
    valid: np.ndarray
    said: tuple[str, ...] = ()

    @property
    def data_range(self) -> float:
        """Largest valid value, in counts; of both PSNR and SSIM."""
        return float(self.counts[self.valid].max())

    @property
    def ceiling_db(self) -> float:
        """PSNR of the true rates to this noisy reference; infinite without noise."""
        noise = float(self.variance[self.valid].mean())
        return float(20 * np.log10(self.data_range / np.sqrt(noise))) if noise > 0 else np.inf

    def part(self, frames: Sequence[int], window: tuple[slice, slice]) -> Reference:
        """Return some frames, cut to a window (rows, columns)."""
        counts, variance, valid = (
            a[list(frames)][:, *window] for a in (self.counts, self.variance, self.valid)
        )
        return Reference(counts, variance, valid)


def make_reference(
    reference: Measurements, data: Measurements, *, pairing: str = "auto", noise: str = "auto"
) -> Reference:
    """Pair a high-count scan with the frames, and bring it to their scale.

    Args:
      reference: frames with more counts, or the truth.
      data: the frames that are denoised.
      pairing: "order" (frame by frame), "mean" (the mean of all for every frame), or "auto": order
        where the numbers agree, the one frame for all where there is one.
      noise: "poisson", "none", or "auto": poisson where all values are counts.

    Returns:
      The reference.

    Raises:
      UserError: in one line, if it cannot be paired or has nothing in common with the frames.
    """
    n, shape = reference.frames, data.counts.shape
    pairing = _pairing(pairing, reference, data)
    if pairing == "order":
        value, light = raw(reference).astype(np.float64), reference.full_exposure
        said = [f"{n} reference frames, paired by order"]
    else:
        value, light = mean_of_frames(reference)
        value = np.nan_to_num(value)
        said = [f"the mean of {n} reference frames for all" if n > 1 else "one reference for all"]
    value, light = np.broadcast_to(value, shape), np.broadcast_to(light, shape)
    use = (light > 0) & data.valid
    totals = [float(a.sum(where=use, dtype=np.float64)) for a in (raw(data), value)]
    if not min(totals) > 0:
        raise UserError(
            "--reference: no counts at the pixels that are valid there and in --input; check masks"
        )
    factor = totals[0] / totals[1]
    said.append(
        f"reference multiplied by {factor:.5g}, so that the totals over {use.sum():,} common pixels "
        f"agree: {1 / factor:.4g} x the exposure of a frame"
        + (f", {n} times" if pairing == "mean" and n > 1 else "")
    )
    whole = reference.are_counts
    poisson = whole if noise == "auto" else noise == "poisson"
    said.append(
        "its noise is taken as that of photons (variance = counts) and subtracted in the scores"
        if poisson
        else "taken as free of noise" + (" (its values are not whole numbers)" if not whole else "")
    )
    counts = np.where(use, factor * value, 0)
    variance = np.where(use, factor * counts / np.where(use, light, 1), 0) if poisson else 0.0
    return Reference(counts, np.broadcast_to(variance, shape), use, tuple(said))


def _pairing(pairing: str, reference: Measurements, data: Measurements) -> str:
    """Return "order" or "mean"; refuse frames that do not fit."""
    n, frames = reference.frames, data.frames
    if reference.counts.shape[1:] != data.counts.shape[1:]:
        raise UserError(
            f"--reference: frames of {reference.counts.shape[1:]}, but --input has frames of "
            f"{data.counts.shape[1:]}; give frames of the same detector"
        )
    if pairing == "auto":
        if n not in (1, frames):
            raise UserError(
                f"--reference: {n} frames, but --input has {frames}; give as many, one for all, or "
                "--pairing mean if they are repeats of one measurement"
            )
        pairing = "order" if n == frames else "mean"
    if pairing == "order" and n != frames:
        raise UserError(
            f"--pairing order: {n} reference frames for {frames} frames; give as many, or "
            "--pairing mean"
        )
    return pairing


def score_with_reference(
    data: Measurements,
    reference: Reference,
    estimators: Mapping[str, Estimator],
    *,
    progress: Progress = iter,
) -> list[Row]:
    """Score estimators against a reference.

    Args:
      data: what they are shown.
      reference: on the scale of the counts.
      estimators: name -> estimator.
      progress: wraps the pairs of name and estimator.

    Returns:
      A row for each estimator: `name` and the keys of `COLUMNS`. NaN where an estimator has no
      value at a pixel that is scored.
    """
    weights = np.zeros(data.counts.shape, np.float32)
    for chunk in in_chunks(data):
        weights[chunk] = inverse_rate(reference.counts[chunk], reference.valid[chunk])
    return [
        {"name": name, **_score(estimator(data), data, reference, weights)}
        for name, estimator in progress(estimators.items())
    ]


def _score(
    answers: np.ndarray, data: Measurements, reference: Reference, weights: np.ndarray
) -> Row:
    """Score answers; sums are taken over all frames and divided once."""
    names = ("pixels", "squared", "squared_scaled", "ssim", "ssim_scaled", "excess", "weighted")
    sums, scales, total = dict.fromkeys(names, 0.0), [], 0.0
    peak = reference.data_range
    for chunk in in_chunks(data):
        r, variance, use = (
            a[chunk] for a in (reference.counts, reference.variance, reference.valid)
        )
        if not (pixels := float(use.sum())):
            continue
        p = np.where(use, answers[chunk], 0).astype(np.float64)
        products, squares = (p * r).sum(axis=(1, 2)), (p * p).sum(axis=(1, 2))
        factor = np.divide(products, squares, out=np.ones_like(squares), where=squares > 0)
        scaled = p * factor[:, None, None]
        known = bool(np.isfinite(p).all())
        excess = np.where(use, (p - r) ** 2 - variance, 0)
        sums["pixels"] += pixels
        sums["squared"] += float(((p - r) ** 2).sum())
        sums["squared_scaled"] += float(((scaled - r) ** 2).sum())
        sums["ssim"] += pixels * ssim(p, r, use, peak) if known else np.nan
        sums["ssim_scaled"] += pixels * ssim(scaled, r, use, peak) if known else np.nan
        sums["excess"] += float(excess.sum())
        sums["weighted"] += float((weights[chunk] * excess).sum())
        scales += factor[use.any(axis=(1, 2))].tolist()
        total += float(r.sum())
    mean = {key: value / sums["pixels"] for key, value in sums.items()}
    error, error_scaled = np.sqrt(mean["squared"]), np.sqrt(mean["squared_scaled"])
    with np.errstate(divide="ignore"):
        return {
            "psnr_db": float(20 * np.log10(peak / error)),
            "ssim": mean["ssim"],
            "rmse": float(error),
            "psnr_scaled_db": float(20 * np.log10(peak / error_scaled)),
            "ssim_scaled": mean["ssim_scaled"],
            "rmse_scaled": float(error_scaled),
            "scale": float(np.mean(scales)),
            "score": sums["excess"] / total,
            "score_weighted": mean["weighted"],
        }


def rmse_to(data: Measurements, reference: Reference) -> Callable[[Estimator], float]:
    """Return the root of the mean squared error to the reference as a function of an estimator."""

    def error(estimator: Estimator) -> float:
        off = (estimator(data) - reference.counts)[reference.valid]
        return float(np.sqrt(np.mean(off**2)))

    return error
