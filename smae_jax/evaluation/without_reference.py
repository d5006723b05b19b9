"""Numbers that need no reference: what the counts themselves say about an estimate.

Counts that are split binomially are independent Poisson counts, so that one part can judge what was
made of the other. All numbers look at the valid pixels; sums are taken over all frames and divided once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from smae_jax.evaluation.asymmetry import symmetry_chi_square
from smae_jax.evaluation.estimators import Estimator, in_chunks
from smae_jax.evaluation.fourier_ring import THRESHOLD, RingSums
from smae_jax.evaluation.residuals import RingTotals, Whiteness
from smae_jax.evaluation.scores import inverse_rate
from smae_jax.metrics import pixel_deviance

Row = dict[str, Any]
TILES = 8
"""Tiles along each side of a frame, whose spread gives the error of a difference of deviances."""

COLUMNS = {
    "deviance": ("held-out deviance", "{:.5f}"),
    "deviance_above": ("above the lowest", "{:.5f}"),
    "deviance_above_error": ("+-", "{:.5f}"),
    "held_out_score": ("held-out score", "{:.4f}"),
    "held_out_score_weighted": ("weighted", "{:.4f}"),
    "frc_period": ("FRC period", "{:.2f}"),
    "frc_to_raw_period": ("to raw half", "{:.2f}"),
    "symmetry": ("symmetry", "{:.4f}"),
    "z_mean": ("z mean", "{:+.4f}"),
    "z_variance": ("z variance", "{:.4f}"),
    "z_neighbours": ("neighbours", "{:+.4f}"),
    "z_blocks": ("8 x 8 blocks", "{:.3f}"),
    "ring_percent": ("worst ring / %", "{:+.2f}"),
    "ring_sigmas": ("sigmas", "{:+.1f}"),
}
"""Key of a row -> heading and format."""


def legend(held_out: float) -> str:
    """Say what the columns mean."""
    return (
        f"Held-out deviance: {100 * held_out:g} % of the photons kept from the denoiser judge what it made "
        "of the others; lower is better, and the error is that of the difference to the lowest row.\n"
        "Held-out score: squared error estimated from the held-out counts, over the mean counts (weighted: "
        "at each pixel over the expected counts); 0 = perfect, 1 = one exposure as counted.\n"
        "FRC period (pixels per cycle): where two independently denoised halves agree by less than 1/7; "
        "too good where both share a bias. To raw half: where a denoised half and the other raw half "
        f"agree by less than {np.sqrt(THRESHOLD):.2f}, which a shared bias cannot improve.\n"
        "Symmetry: mean (a - b)^2 / (a + b) of opposite pixels, 1 = photon noise; 0 is easy: it proves "
        "nothing but symmetry.\n"
        "z = (counts - denoised) / sqrt(denoised): mean 0, variance 1, no correlation of neighbours and "
        "variance 1 of 8 x 8 blocks; variance below 1: the noise was followed; above 1, or correlated: "
        "structure was taken away.\n"
        "Worst ring: denoised over measured totals in rings about the beam, the one furthest from 1 in "
        "photon sigmas."
    )


def split_counts(
    rng: np.random.Generator, counts: np.ndarray, *, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Split photon counts into two independent measurements of the same rates.

    Args:
      rng: random numbers.
      counts: whole numbers >= 0, any shape.
      share: of the photons that goes to the first part, in (0, 1).

    Returns:
      (first, rest), float32, independent Poisson counts if `counts` are.

    Raises:
      ValueError: if the counts are no photon counts.

    Reference:
      Data thinning for Poisson counts (Neufeld et al. 2024, section 2).
    """
    if not np.all(counts == np.rint(counts)) or counts.min(initial=0) < 0:
        raise ValueError(
            "--input: counts must be whole numbers >= 0 to be split; these frames were scaled or have "
            "readout noise: give --reference, or the frames as the detector wrote them"
        )
    first = rng.binomial(counts.astype(np.int64), share).astype(np.float32)
    return first, counts.astype(np.float32) - first


@dataclasses.dataclass
class _Tally:
    """What is summed up for one estimator."""

    deviance: list[np.ndarray]
    pixels: list[np.ndarray]
    halves: RingSums
    to_raw: RingSums
    whiteness: Whiteness
    rings: RingTotals
    excess: float = 0.0
    weighted: float = 0.0
    chi_square: float = 0.0
    expected: float = 0.0


@dataclasses.dataclass(frozen=True)
class Curves:
    """What does not fit in a table: of each estimator by name.

    Attributes:
      halves: correlation of two denoised halves over spatial frequency.
      to_raw: correlation of a denoised half and the other raw half.
      rings: totals about the beam.
    """

    halves: dict[str, RingSums]
    to_raw: dict[str, RingSums]
    rings: dict[str, RingTotals]


def score_without_reference(
    counts: np.ndarray,
    valid: np.ndarray,
    center: tuple[float, float],
    estimators: Mapping[str, Estimator],
    *,
    held_out: float = 0.1,
    seed: int = 0,
    advance: Callable[[str], object] = str,
) -> tuple[list[Row], Curves]:
    """Judge estimators by the counts alone.

    Every estimator sees the same splits: `1 - held_out` of the photons for the held-out numbers, two
    halves for the Fourier ring correlation, and the whole for residuals, symmetry and rings.

    Args:
      counts: photons, (frames, height, width), 0 where invalid.
      valid: bool, (1 or frames, height, width).
      center: (y, x) in pixels, multiples of 0.5.
      estimators: name -> estimator.
      held_out: share of the photons that judges, in (0, 1).
      seed: of the splits.
      advance: called with the name whenever an estimator has done a chunk of frames.

    Returns:
      A row for each estimator (`name` and the keys of `COLUMNS`), and the curves.

    Raises:
      ValueError: if the counts are no photon counts.
    """
    shape = counts.shape[1:]
    tallies = {
        name: _Tally(
            [],
            [],
            RingSums.zeros(shape),
            RingSums.zeros(shape),
            Whiteness(),
            RingTotals.about(center, shape),
        )
        for name in estimators
    }
    total = pixels = frames = judging = 0.0
    for chunk in in_chunks(len(counts), counts[0].size):
        n = counts[chunk]
        use = np.broadcast_to(valid, counts.shape)[chunk]
        if not use.any():
            continue
        rng = np.random.default_rng([seed, chunk.start])
        seen, kept = split_counts(rng, n, share=1 - held_out)
        halves = split_counts(rng, n, share=0.5)
        other, target = seen / (1 - held_out), kept / held_out
        weight = inverse_rate(other, use)  # independent of what judges
        total += float(n[use].sum(dtype=np.float64))
        judging += float(kept[use].sum(dtype=np.float64))
        pixels += float(use.sum())
        frames += len(n)
        for name, estimator in estimators.items():
            tally = tallies[name]
            answer = np.asarray(estimator(seen, use, 1 - held_out), np.float64)
            deviance = np.where(use, pixel_deviance(held_out * answer, kept), 0)
            tally.deviance.append(_in_tiles(deviance))
            tally.pixels.append(_in_tiles(use.astype(np.float64)))
            # Unbiased for (answer - rate)^2: both products are of independent parts.
            excess = np.where(use, answer**2 - 2 * answer * target + other * target, 0)
            tally.excess += float(excess.sum())
            tally.expected += float(held_out * answer[use].sum())
            tally.weighted += float((weight * excess).sum())

            parts = [np.asarray(estimator(half, use, 0.5), np.float64) for half in halves]
            tally.halves.add(parts[0], parts[1], use)
            tally.to_raw.add(parts[0], halves[1], use)
            tally.to_raw.add(parts[1], halves[0], use)

            whole = np.asarray(estimator(n, use, 1.0), np.float64)
            tally.whiteness.add(n, whole, use)
            tally.rings.add(n, whole, use)
            tally.chi_square += len(n) * symmetry_chi_square(whole, use, center)
            advance(name)
    if not pixels:
        raise ValueError("--input: no valid pixel to look at; check --mask and its polarity")
    rows = []
    means = {name: sum(t.sum() for t in tally.deviance) / pixels for name, tally in tallies.items()}
    lowest = tallies[min(means, key=lambda name: means[name])]
    for name, tally in tallies.items():
        difference = np.concatenate(tally.deviance) - np.concatenate(lowest.deviance)
        above, error = _mean_and_error(difference, np.concatenate(tally.pixels))
        percent, sigmas = tally.rings.worst()
        correlation = tally.whiteness.correlation
        rows.append(
            {
                "name": name,
                "deviance": means[name],
                "deviance_above": above,
                "deviance_above_error": error,
                "held_out_score": tally.excess / total,
                "held_out_score_weighted": tally.weighted / pixels,
                "held_out_total": tally.expected / judging if judging else float("nan"),
                "frc_period": tally.halves.period(),
                "frc_to_raw_period": tally.to_raw.period(float(np.sqrt(THRESHOLD))),
                "symmetry": tally.chi_square / frames,
                "z_mean": tally.whiteness.mean,
                "z_variance": tally.whiteness.variance,
                "z_neighbours": float(correlation[0]),
                "z_lag_2": float(correlation[1]),
                "z_lag_4": float(correlation[2]),
                "z_blocks": tally.whiteness.block_variance,
                "ring_percent": percent,
                "ring_sigmas": sigmas,
            }
        )
    return rows, Curves(
        {name: tally.halves for name, tally in tallies.items()},
        {name: tally.to_raw for name, tally in tallies.items()},
        {name: tally.rings for name, tally in tallies.items()},
    )


def held_out_deviance(
    counts: np.ndarray, valid: np.ndarray, *, held_out: float = 0.1, seed: int = 0
) -> Callable[[Estimator], float]:
    """Return the mean deviance of held-out counts as a function of an estimator, for one split."""
    use = np.broadcast_to(valid, counts.shape)
    seen, kept = split_counts(np.random.default_rng([seed, 1]), counts, share=1 - held_out)

    def error(estimator: Estimator) -> float:
        answer = np.asarray(estimator(seen, use, 1 - held_out), np.float64)
        return float(np.mean(pixel_deviance(held_out * answer[use], kept[use])))

    return error


def _in_tiles(images: np.ndarray) -> np.ndarray:
    """Add up (frames, height, width) in 8 x 8 tiles of a frame: (frames, 64)."""
    rows, columns = (
        np.linspace(0, n, min(TILES, n) + 1).round().astype(int)[:-1] for n in images.shape[1:]
    )
    tiles = np.add.reduceat(np.add.reduceat(images, rows, axis=1), columns, axis=2)
    return tiles.reshape(len(images), -1)


def _mean_and_error(sums: np.ndarray, pixels: np.ndarray) -> tuple[float, float]:
    """Return the mean per pixel and its standard error, from tiles taken as independent."""
    mean = sums.sum() / pixels.sum()
    residual = sums - mean * pixels
    number = max(2, int((pixels > 0).sum()))
    error = np.sqrt((residual**2).sum() * number / (number - 1)) / pixels.sum()
    return float(mean), float(error)
