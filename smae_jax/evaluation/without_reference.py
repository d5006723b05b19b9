"""Numbers that need no reference: what the counts themselves say about an estimate.

Counts that are split binomially are independent Poisson counts, so that one part can judge what was
made of the other. All numbers look at the valid pixels; sums are taken over all frames and divided once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from smae_jax.asymmetry import symmetry_chi_square
from smae_jax.errors import UserError
from smae_jax.evaluation.estimators import Estimator, Progress, Row, half_pixel, in_chunks, raw
from smae_jax.evaluation.fourier_ring import THRESHOLD, RingSums
from smae_jax.evaluation.residuals import RingTotals, Whiteness
from smae_jax.evaluation.scores import inverse_rate
from smae_jax.measurements import Measurements
from smae_jax.metrics import pixel_deviance

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
      (first, rest), typed as `counts`; independent Poisson counts if they are.

    Raises:
      UserError: if the counts are no photon counts.

    Reference:
      Data thinning for Poisson counts (Neufeld et al. 2024, section 2).
    """
    if not np.all(counts == np.rint(counts)) or counts.min(initial=0) < 0:
        raise UserError(
            "--input: counts must be whole numbers >= 0 to be split; these frames were scaled or have "
            "readout noise: give --reference, or the frames as the detector wrote them"
        )
    first = rng.binomial(counts.astype(np.int64), share).astype(counts.dtype)
    return first, counts - first


@dataclasses.dataclass(frozen=True)
class Splits:
    """The photons of some frames, split so that one part can judge what was made of the other.

    Attributes:
      whole: all photons.
      seen: what estimators are shown, `1 - held_out` of the photons.
      held_out: share of the photons that judges.
      halves: of the photons, for the Fourier ring correlation.
      weights: one over the expected counts, from what judges nothing, (frames, height, width).
    """

    whole: Measurements
    seen: Measurements
    held_out: float
    halves: tuple[Measurements, Measurements]
    weights: np.ndarray

    @classmethod
    def of(cls, data: Measurements, *, held_out: float, seed: int) -> Splits:
        """Split the photons; a frame's splits depend on its place and the seed alone.

        Raises:
          UserError: if the counts are no photon counts, or no pixel is valid.
        """
        if not data.valid.any():
            raise UserError("--input: no valid pixel to look at; check --mask and its polarity")
        if data.integrated:
            raise UserError(
                f"--input: expected photon counts to split, and {data.origin.source} holds whole numbers of "
                "other noise: give --reference, or --noise photons if they are counts"
            )
        seen, _ = split(data, share=1 - held_out, seed=(seed, 0))
        weights = np.zeros(data.counts.shape, np.float32)
        for chunk in in_chunks(data):
            weights[chunk] = inverse_rate(raw(seen.take(chunk)), data.full_exposure[chunk] > 0)
        return cls(data, seen, held_out, split(data, share=0.5, seed=(seed, 1)), weights)

    def judging(self, chunk: slice) -> np.ndarray:
        """Return the photons that estimators are not shown."""
        return (self.whole.counts[chunk] - self.seen.counts[chunk]).astype(np.float64)


def split(
    data: Measurements, *, share: float, seed: tuple[int, ...]
) -> tuple[Measurements, Measurements]:
    """Split the photons of measurements, each frame in a way of its own; see `split_counts`."""
    first = np.empty_like(data.counts)
    for frame, counts in enumerate(data.counts):
        rng = np.random.default_rng([*seed, frame])
        first[frame], _ = split_counts(rng, counts, share=share)
    parts = ((first, share), (data.counts - first, 1 - share))
    one, other = (
        dataclasses.replace(data, counts=counts, exposure=data.exposure * np.float32(part))
        for counts, part in parts
    )
    return one, other


@dataclasses.dataclass
class _Tally:
    """What is summed up for one estimator."""

    halves: RingSums
    to_raw: RingSums
    rings: RingTotals
    whiteness: Whiteness = dataclasses.field(default_factory=Whiteness)
    deviance: list[np.ndarray] = dataclasses.field(default_factory=list)
    pixels: list[np.ndarray] = dataclasses.field(default_factory=list)
    excess: float = 0.0
    weighted: float = 0.0
    expected: float = 0.0
    chi_square: float = 0.0

    @classmethod
    def of(cls, estimator: Estimator, splits: Splits) -> _Tally:
        """Judge an estimator; it sees all frames at once, their numbers are added up in chunks."""
        data = splits.whole
        shape = data.counts.shape[1:]
        center = half_pixel(data)
        tally = cls(RingSums.zeros(shape), RingSums.zeros(shape), RingTotals.about(center, shape))
        tally._add_held_out(estimator(splits.seen), splits)
        tally._add_halves([estimator(half) for half in splits.halves], splits)
        tally._add_whole(estimator(data), data)
        return tally

    def _add_held_out(self, answers: np.ndarray, splits: Splits) -> None:
        part, share = splits.whole, splits.held_out
        for chunk in in_chunks(part):
            light = part.full_exposure[chunk]
            use, kept = light > 0, splits.judging(chunk)
            each = np.where(use, light, 1)
            answer = np.where(use, answers[chunk], 0).astype(np.float64)
            other, target = splits.seen.counts[chunk] / each / (1 - share), kept / each / share
            expected = share * answer * light
            self.deviance.append(_in_tiles(np.where(use, pixel_deviance(expected, kept), 0)))
            self.pixels.append(_in_tiles(use.astype(np.float64)))
            # Unbiased for (answer - rate)^2: both products are of independent parts.
            excess = np.where(use, answer**2 - 2 * answer * target + other * target, 0)
            self.excess += float(excess.sum())
            self.expected += float(expected.sum())
            self.weighted += float((splits.weights[chunk] * excess).sum())

    def _add_halves(self, answers: list[np.ndarray], splits: Splits) -> None:
        for chunk in in_chunks(splits.whole):
            use = splits.whole.full_exposure[chunk] > 0
            if not use.any():
                continue
            first, second = (answer[chunk].astype(np.float64) for answer in answers)
            counts = [half.counts[chunk] for half in splits.halves]
            self.halves.add(first, second, use)
            self.to_raw.add(first, counts[1], use)
            self.to_raw.add(second, counts[0], use)

    def _add_whole(self, answers: np.ndarray, data: Measurements) -> None:
        center = half_pixel(data)
        for chunk in in_chunks(data):
            light, counts = data.full_exposure[chunk], data.counts[chunk]
            use, expected = light > 0, answers[chunk].astype(np.float64) * light
            if use.any():
                self.whiteness.add(counts, expected, use)
                self.rings.add(counts, expected, use)
                self.chi_square += len(counts) * symmetry_chi_square(
                    expected, use, center, data.response
                )

    def row(self, splits: Splits, lowest: _Tally) -> Row:
        """Return the numbers of `COLUMNS`; differences of deviances are those to the lowest."""
        data = splits.whole
        judging = float(data.counts.sum(dtype=np.float64))
        judging -= float(splits.seen.counts.sum(dtype=np.float64))
        pixels = float(np.concatenate(self.pixels).sum())
        rate = float(raw(data).sum(dtype=np.float64))
        difference = np.concatenate(self.deviance) - np.concatenate(lowest.deviance)
        above, error = _mean_and_error(difference, np.concatenate(self.pixels))
        percent, sigmas = self.rings.worst()
        correlation = self.whiteness.correlation
        frames = sum(
            len(light) for chunk in in_chunks(data) if (light := data.full_exposure[chunk]).any()
        )
        return {
            "deviance": self.mean_deviance,
            "deviance_above": above,
            "deviance_above_error": error,
            "held_out_score": self.excess / rate,
            "held_out_score_weighted": self.weighted / pixels,
            "held_out_total": self.expected / judging if judging else float("nan"),
            "frc_period": self.halves.period(),
            "frc_to_raw_period": self.to_raw.period(float(np.sqrt(THRESHOLD))),
            "symmetry": self.chi_square / frames,
            "z_mean": self.whiteness.mean,
            "z_variance": self.whiteness.variance,
            "z_neighbours": float(correlation[0]),
            "z_lag_2": float(correlation[1]),
            "z_lag_4": float(correlation[2]),
            "z_blocks": self.whiteness.block_variance,
            "ring_percent": percent,
            "ring_sigmas": sigmas,
        }

    @property
    def mean_deviance(self) -> float:
        """Mean over the valid pixels."""
        total = sum(float(tiles.sum()) for tiles in self.deviance)
        return total / sum(float(tiles.sum()) for tiles in self.pixels)


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
    data: Measurements,
    estimators: Mapping[str, Estimator],
    *,
    held_out: float = 0.1,
    seed: int = 0,
    progress: Progress = iter,
) -> tuple[list[Row], Curves]:
    """Judge estimators by the counts alone.

    Every estimator sees the same splits: `1 - held_out` of the photons for the held-out numbers, two
    halves for the Fourier ring correlation, and the whole for residuals, symmetry and rings.

    Args:
      data: patterns with their centre.
      estimators: name -> estimator.
      held_out: share of the photons that judges, in (0, 1).
      seed: of the splits.
      progress: wraps the pairs of name and estimator.

    Returns:
      A row for each estimator (`name` and the keys of `COLUMNS`), and the curves.

    Raises:
      UserError: if the counts are no photon counts, or no pixel is valid.
    """
    splits = Splits.of(data, held_out=held_out, seed=seed)
    tallies = {name: _Tally.of(one, splits) for name, one in progress(estimators.items())}
    lowest = min(tallies.values(), key=lambda tally: tally.mean_deviance)
    rows = [{"name": name, **tally.row(splits, lowest)} for name, tally in tallies.items()]
    return rows, Curves(
        {name: tally.halves for name, tally in tallies.items()},
        {name: tally.to_raw for name, tally in tallies.items()},
        {name: tally.rings for name, tally in tallies.items()},
    )


def held_out_deviance(
    data: Measurements, *, held_out: float = 0.1, seed: int = 0
) -> Callable[[Estimator], float]:
    """Return the mean deviance of held-out counts as a function of an estimator, for one split."""
    seen, kept = split(data, share=1 - held_out, seed=(seed, 2))
    use = kept.full_exposure > 0

    def error(estimator: Estimator) -> float:
        expected = (estimator(seen) * kept.exposure)[use]
        return float(np.mean(pixel_deviance(expected, kept.counts[use])))

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
