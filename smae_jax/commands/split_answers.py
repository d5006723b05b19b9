"""Answers that saw half of the photons, beside the other half: what error bars and combining judge by."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np

from smae_jax.combine import combined, shares_of_components, weights_of_frames
from smae_jax.config import InferConfig
from smae_jax.data.scan import Scan, not_counted
from smae_jax.methods.protocol import Denoised

SHARE = 0.5
"""Of the photons that an answer sees."""
SEED = 0
FEWEST_FRAMES = 8
"""What one frame alone shows would be found in fewer others too much."""
TOGETHER = 512
"""Most frames that are combined; more are taken in parts of about as many."""


@dataclasses.dataclass(frozen=True)
class SplitAnswers:
    """Answers to parts of the photons of some frames.

    Attributes:
      frames: which, (frames,), int.
      answers: one for each part, counts per full frame, (frames, height, width) each.
      held_out: for each, the photons that it did not see.
      valid: where photons were counted, bool, (1 or frames, height, width).
    """

    frames: np.ndarray
    answers: tuple[Denoised, ...]
    held_out: tuple[np.ndarray, ...]
    valid: np.ndarray

    @property
    def exposure(self) -> float:
        """Exposure of the held-out photons, in full frames."""
        return 1 - SHARE


def combines(config: InferConfig, scan: Scan, say: Callable[[str], None]) -> bool:
    """Tell whether the answers of this scan are combined; say why not where a person may expect it."""
    if not config.combine or len(scan.counts) < FEWEST_FRAMES:
        return False
    if not_counted(scan.counts) is not None:
        say("note: no whole photon counts, so answers are not combined (--no-combine)")
        return False
    return True


def split_answers(
    scan: Scan,
    denoise: Callable[..., Denoised],
    scales: np.ndarray,
    *,
    frames: np.ndarray,
    halves: int,
) -> SplitAnswers:
    """Split the photons of frames in halves and denoise one of them or both.

    Args:
      scan: the frames.
      denoise: (counts, valid, scales, share=) -> answers.
      scales: counts per unit of rate, (all frames,).
      frames: which to split, (frames,), int.
      halves: 1 or 2.
    """
    valid = scan.valid if len(scan.valid) == 1 else scan.valid[frames]
    first = np.empty((len(frames), *scan.counts.shape[1:]), np.float32)
    rng = np.random.default_rng(SEED)
    for place, frame in enumerate(frames):
        first[place] = rng.binomial(scan.counts[frame].astype(np.int64), SHARE)
    parts = (first, scan.counts[frames] - first)
    answers = tuple(denoise(half, valid, scales[frames], share=SHARE) for half in parts[:halves])
    return SplitAnswers(frames, answers, parts[::-1][:halves], valid)


def combine(answer: Denoised, split: SplitAnswers) -> tuple[Denoised, SplitAnswers, str]:
    """Let the answers of a scan's frames share what they have in common, as held-out photons confirm.

    Args:
      answer: of all frames, (frames, height, width).
      split: of all frames too; its first half decides.

    Returns:
      (answers, the halves, in words what was done). Where there is a variance it becomes that of the weighted
      sum of independent answers, and the halves, which then serve error bars, are combined too.
    """
    frames = len(split.frames)
    ends = np.linspace(0, frames, -(-frames // TOGETHER) + 1).round().astype(int)
    asked = (answer, *split.answers) if answer.variance is not None else (answer,)
    done, kept = [], 0.0
    for part in map(slice, ends[:-1], ends[1:]):
        judged = np.asarray(split.answers[0].counts)[part]
        counted = split.valid[0] if len(split.valid) == 1 else split.valid[part].all(axis=0)
        shares = shares_of_components(
            judged,
            split.held_out[0][part],
            exposure=split.exposure,
            use=counted & _known(judged),
        )
        kept += shares.sum()
        own = (jax.tree.map(lambda a, p=part: a[p], one) for one in asked)
        done.append([_combined(one, shares) for one in own])
    join = functools.partial(jax.tree.map, lambda *pieces: np.concatenate(pieces))
    whole, *halves = (join(*pieces) for pieces in zip(*done, strict=True))
    said = f"frames combined: held-out photons confirm {kept:.1f} components of {frames} answers"
    return whole, dataclasses.replace(split, answers=tuple(halves) or split.answers), said


def _combined(answer: Denoised, shares: np.ndarray) -> Denoised:
    counts = np.asarray(answer.counts)
    use = _known(counts)
    weights = weights_of_frames(counts, shares, use=use)
    variance = answer.variance
    if variance is not None:
        variance = combined(np.asarray(variance), weights**2, use=use)
    counts = np.where(use, np.maximum(combined(counts, weights, use=use), 0), counts)
    return dataclasses.replace(answer, counts=counts, variance=variance)


def _known(counts: np.ndarray) -> np.ndarray:
    return np.asarray(np.isfinite(counts).all(axis=0))
