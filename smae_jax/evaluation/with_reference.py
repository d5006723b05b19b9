"""Numbers that need a reference: another measurement of the same frames, with more photons.

All of them look at the pixels that are valid in both. Sums are taken over all frames and divided
once. The reference's own noise is known where it was counted, and is subtracted in the scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from smae_jax.evaluation.estimators import Estimator, in_chunks
from smae_jax.evaluation.scores import inverse_rate
from smae_jax.metrics import ssim

Row = dict[str, Any]

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
    reference: np.ndarray,
    reference_valid: np.ndarray,
    counts: np.ndarray,
    valid: np.ndarray,
    *,
    pairing: str = "auto",
    noise: str = "auto",
) -> Reference:
    """Pair a high-count scan with the frames, and bring it to their scale.

    Args:
      reference: counts, (n, height, width), 0 where invalid.
      reference_valid: bool, (1 or n, height, width).
      counts: the frames that are denoised, (frames, height, width), 0 where invalid.
      valid: bool, (1 or frames, height, width).
      pairing: "order" (frame by frame), "mean" (the mean of all for every frame), or "auto": order
        where the numbers agree, the one frame for all where there is one.
      noise: "poisson", "none", or "auto": poisson where all values are whole numbers.

    Returns:
      The reference.

    Raises:
      ValueError: in one line, if it cannot be paired or has nothing in common with the frames.
    """
    if reference.shape[1:] != counts.shape[1:]:
        raise ValueError(
            f"--reference: frames of {reference.shape[1:]}, but --input has frames of "
            f"{counts.shape[1:]}; give frames of the same detector"
        )
    n, frames = len(reference), len(counts)
    if pairing == "auto":
        if n not in (1, frames):
            raise ValueError(
                f"--reference: {n} frames, but --input has {frames}; give as many, one for all, or "
                "--pairing mean if they are repeats of one measurement"
            )
        pairing = "order" if n == frames else "mean"
    if pairing == "order" and n != frames:
        raise ValueError(
            f"--pairing order: {n} reference frames for {frames} frames; give as many, or "
            "--pairing mean"
        )
    whole = bool(np.all(reference == np.rint(reference)))
    poisson = whole if noise == "auto" else noise == "poisson"
    seen = np.broadcast_to(reference_valid, reference.shape)
    if pairing == "order":
        value = reference.astype(np.float64)
        variance, use = value, seen & valid
        said = [f"{n} reference frames, paired by order"]
    else:
        exposures = seen.sum(axis=0)
        mean = np.where(seen, reference, 0).sum(axis=0, dtype=np.float64) / np.maximum(exposures, 1)
        value = np.broadcast_to(mean, counts.shape)
        variance = np.broadcast_to(mean / np.maximum(exposures, 1), counts.shape)
        use = (exposures > 0) & np.broadcast_to(valid, counts.shape)
        said = [f"the mean of {n} reference frames for all" if n > 1 else "one reference for all"]
    use = np.broadcast_to(use, counts.shape)
    totals = float(counts[use].sum(dtype=np.float64)), float(value[use].sum(dtype=np.float64))
    if not min(totals) > 0:
        raise ValueError(
            "--reference: no counts at the pixels that are valid there and in --input; check masks"
        )
    factor = totals[0] / totals[1]
    said.append(
        f"reference multiplied by {factor:.5g}, so that the totals over {use.sum():,} common pixels "
        f"agree: {1 / factor:.4g} x the exposure of a frame"
        + (f", {n} times" if pairing == "mean" and n > 1 else "")
    )
    said.append(
        "its noise is taken as that of photons (variance = counts) and subtracted in the scores"
        if poisson
        else "taken as free of noise" + (" (its values are not whole numbers)" if not whole else "")
    )
    return Reference(
        counts=np.where(use, factor * value, 0),
        variance=np.where(use, factor**2 * variance, 0) if poisson else np.zeros(counts.shape),
        valid=use,
        said=tuple(said),
    )


def score_with_reference(
    counts: np.ndarray,
    valid: np.ndarray,
    reference: Reference,
    estimators: Mapping[str, Estimator],
    *,
    advance: Callable[[str], object] = str,
) -> list[Row]:
    """Score estimators against a reference.

    Args:
      counts: (frames, height, width), 0 where invalid.
      valid: bool, (1 or frames, height, width).
      reference: on the scale of the counts.
      estimators: name -> estimator.
      advance: called with the name whenever an estimator has done a chunk of frames.

    Returns:
      A row for each estimator: `name` and the keys of `COLUMNS`. NaN where an estimator has no
      value at a pixel that is scored.
    """
    data_range = reference.data_range
    weights = np.zeros(counts.shape, np.float32)
    for chunk in in_chunks(len(counts), counts[0].size):
        weights[chunk] = inverse_rate(reference.counts[chunk], reference.valid[chunk])
    rows = []
    for name, estimator in estimators.items():
        sums = dict.fromkeys(
            ("pixels", "squared", "squared_scaled", "ssim", "ssim_scaled", "excess", "weighted"),
            0.0,
        )
        scales, total = [], 0.0
        for chunk in in_chunks(len(counts), counts[0].size):
            seen = np.broadcast_to(valid, counts.shape)[chunk]
            answer = np.asarray(estimator(counts[chunk], seen, 1.0), np.float64)
            r, variance, use = (
                a[chunk] for a in (reference.counts, reference.variance, reference.valid)
            )
            p = np.where(use, answer, 0)
            products, squares = (p * r).sum(axis=(1, 2)), (p * p).sum(axis=(1, 2))
            factor = np.divide(products, squares, out=np.ones_like(squares), where=squares > 0)
            scaled = p * factor[:, None, None]
            pixels = float(use.sum())
            if pixels == 0:
                continue
            excess = np.where(use, (p - r) ** 2 - variance, 0)
            sums["pixels"] += pixels
            sums["squared"] += float(((p - r) ** 2).sum())
            sums["squared_scaled"] += float(((scaled - r) ** 2).sum())
            sums["ssim"] += pixels * (
                ssim(p, r, use, data_range) if np.isfinite(p).all() else np.nan
            )
            sums["ssim_scaled"] += pixels * (
                ssim(scaled, r, use, data_range) if np.isfinite(p).all() else np.nan
            )
            sums["excess"] += float(excess.sum())
            sums["weighted"] += float((weights[chunk] * excess).sum())
            scales += factor[use.any(axis=(1, 2))].tolist()
            total += float(r.sum())
            advance(name)
        mean = {key: value / sums["pixels"] for key, value in sums.items()}
        error, error_scaled = np.sqrt(mean["squared"]), np.sqrt(mean["squared_scaled"])
        with np.errstate(divide="ignore"):
            rows.append(
                {
                    "name": name,
                    "psnr_db": float(20 * np.log10(data_range / error)),
                    "ssim": mean["ssim"],
                    "rmse": float(error),
                    "psnr_scaled_db": float(20 * np.log10(data_range / error_scaled)),
                    "ssim_scaled": mean["ssim_scaled"],
                    "rmse_scaled": float(error_scaled),
                    "scale": float(np.mean(scales)),
                    "score": sums["excess"] / total,
                    "score_weighted": mean["weighted"],
                }
            )
    return rows


def rmse_to(
    counts: np.ndarray, valid: np.ndarray, reference: Reference
) -> Callable[[Estimator], float]:
    """Return the root of the mean squared error to the reference as a function of an estimator."""
    seen = np.broadcast_to(valid, counts.shape)

    def error(estimator: Estimator) -> float:
        answer = np.asarray(estimator(counts, seen, 1.0))
        return float(np.sqrt(np.mean((answer - reference.counts)[reference.valid] ** 2)))

    return error
