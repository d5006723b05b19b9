"""Answers of a scan held against the counts that they were made of, before they are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from smae_jax.commands.split_answers import SHARE, SplitAnswers
from smae_jax.config import InferConfig
from smae_jax.data.scan import Scan, not_counted
from smae_jax.scan_sums import FEWEST_FRAMES, correct_sums
from smae_jax.significant import keep_significant


@dataclasses.dataclass(frozen=True)
class Held:
    """Answers, and how they were held against the counts."""

    counts: np.ndarray
    """Expected counts, (frames, height, width), float32; NaN where there is none."""
    sigma: np.ndarray | None
    """One standard deviation of each, if asked for."""
    how: dict[str, str]
    """What was done, for the output to remember."""


def hold(
    answer: np.ndarray,
    sigma: np.ndarray | None,
    scan: Scan,
    config: InferConfig,
    *,
    center: tuple[float, float],
    conserve_totals: bool,
    combined: bool,
    say: Callable[[str], None],
) -> Held:
    """Keep counts that cannot be noise, and the sums of the scan, as `--keep-...` say.

    Args:
      answer: expected counts, (frames, height, width), float32; NaN where there is none.
      sigma: error bars of the answer, or None.
      scan: the counts.
      config: the options of `infer`.
      center: (y, x) in pixels, multiples of 0.5.
      conserve_totals: frames have the totals that they counted, and only then the scan has its sums.
      combined: frames have lost these totals, by what they took from each other.
      say: receives every line that a person should read.
    """
    sigmas = config.keep_significant
    sums = keeps_sums(config, len(answer), conserve_totals=conserve_totals)
    if (sigmas or sums) and not_counted(scan.counts) is not None:
        say(
            "note: no whole photon counts, so answers are not held against them "
            "(--keep-significant 0 --no-keep-sums)"
        )
        return Held(answer, sigma, {})
    valid = np.broadcast_to(scan.valid, answer.shape)
    kept, how = np.zeros(answer.shape, bool), {}
    found, sigma = answer.copy(), None if sigma is None else sigma.copy()
    if sigmas:
        for frame, counts in enumerate(scan.counts):
            found[frame], kept[frame] = keep_significant(
                answer[frame], counts, valid[frame], sigmas=sigmas
            )
        if sigma is not None:  # no counts are not known without error either
            sigma = np.where(kept, np.sqrt(np.maximum(scan.counts, 1)), sigma)
        how["keep_significant"] = f"{sigmas:g} sigma"
        say(
            f"{kept.sum()} pixels in {kept.any(axis=(1, 2)).sum()} frames keep their counts, which are more "
            f"than {sigmas:g} sigma from the answer"
        )
    if sums:
        correction = correct_sums(found, scan.counts, valid & ~kept, center)
        for frame, own in enumerate(kept):
            factors = np.where(own, np.float32(1), correction.of_frame(frame))
            found[frame] *= factors
            if sigma is not None:
                sigma[frame] *= factors
        how["keep_sums"] = "yes"
        seen = valid.any(axis=0)
        change = np.sqrt(np.mean((correction.factor[seen] - 1) ** 2, dtype=np.float64))
        say(f"answers changed by {100 * change:.2g} % rms, to add up to the counts of the scan")
    if conserve_totals:
        changed = np.flatnonzero(kept.any(axis=(1, 2)) | sums | combined)
        found = _with_totals(found, scan.counts, valid, kept, frames=changed)
    if conserve_totals and combined and sigma is not None:
        # Combined answers share their noise, but each has the noise of its own total again.
        totals = scan.counts.sum(axis=(1, 2), dtype=np.float64)
        of_total = np.where(kept, 0, found / np.sqrt(np.maximum(totals, 1))[:, None, None])
        sigma = np.hypot(sigma, of_total).astype(np.float32)
    return Held(found, sigma, how)


def keeps_sums(config: InferConfig, frames: int, *, conserve_totals: bool) -> bool:
    """Tell whether the answers of so many frames are corrected by the sums of their counts."""
    return config.keep_sums and conserve_totals and frames >= FEWEST_FRAMES


def hold_halves(split: SplitAnswers, *, center: tuple[float, float]) -> SplitAnswers:
    """Let answers to either half of the photons add up to what that half counted, as whole answers will.

    Args:
      split: answers to both halves of whole photon counts, with variance.
      center: (y, x) in pixels, multiples of 0.5.
    """
    held = []
    for answer, seen in zip(split.answers, split.held_out[::-1], strict=True):
        counts = np.asarray(answer.counts)
        valid = np.broadcast_to(split.valid, counts.shape)
        correction = correct_sums(SHARE * counts, seen, valid, center)
        factors = np.stack([correction.of_frame(frame) for frame in range(len(counts))])
        held.append(
            dataclasses.replace(
                answer, counts=counts * factors, variance=np.asarray(answer.variance) * factors**2
            )
        )
    return dataclasses.replace(split, answers=tuple(held))


def _with_totals(
    answer: np.ndarray, counts: np.ndarray, valid: np.ndarray, kept: np.ndarray, frames: np.ndarray
) -> np.ndarray:
    """Scale the pixels of some frames that do not keep their counts to the counts that are left to them."""
    for frame in frames:
        own = ~kept[frame]
        others = valid[frame] & own & np.isfinite(answer[frame])
        if (left := answer[frame][others].sum(dtype=float)) > 0:
            answer[frame][own] *= counts[frame][others].sum(dtype=float) / left
    return answer
