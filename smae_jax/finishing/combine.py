"""What the frames of a scan have in common: the noise that a network left is averaged over all of them.

The frames of a scan differ in fewer ways than there are frames, the noise in their answers in as many. So the
answers are parted into their mean and their principal components, and of each component as much is kept as
photons that the network did not see confirm. A frame's answer becomes a weighted mean of all answers.

Where a frame is far darker or brighter than the scan, weak components are missed most: light of other frames
shows there as a ghost, or too little of it as a shadow. There a frame keeps as much of its own answer as the
same photons confirm.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import isotonic_regression

from smae_jax.finishing.evidence import Evidence
from smae_jax.methods.protocol import Answers

SLAB = 2**22
"""Values, of all frames together, that are multiplied at once."""
FEWEST_FRAMES = 8
"""What one frame alone shows would be found in fewer others too much."""
TOGETHER = 512
"""Most frames that are combined; more are taken in parts of about as many."""
OCTAVES = np.arange(-5, 6)
"""Binary logarithms of a frame's brightness over that of the scan at a place, between which what it keeps of
its own answer is interpolated."""


def combine(answers: Answers, evidence: Evidence) -> Answers:
    """Let the answers of a block's frames share what they have in common, as held-out photons confirm.

    A variance becomes that of the weighted sum of independent answers. Fewer than `FEWEST_FRAMES` frames stay
    as they are, and values that are no photon counts.

    Args:
      answers: (frames, height, width) each.
      evidence: with answers to one half of the photons, which the other half judges.
    """
    frames = len(answers.counts)
    if frames < FEWEST_FRAMES or not evidence.halves:
        return answers
    judged, held_out = evidence.halves[0].answers, evidence.held_out[0]
    ends = np.linspace(0, frames, -(-frames // TOGETHER) + 1).round().astype(int)
    counts, variance, kept = np.array(answers.counts), answers.variance, 0.0
    variance = None if variance is None else np.array(variance)
    for part in map(slice, ends[:-1], ends[1:]):
        told = np.asarray(judged.counts)[part]
        shares = shares_of_components(
            told,
            held_out[part],
            exposure=evidence.held_out_exposure[part],
            use=evidence.valid[part].all(axis=0) & _known(told),
        )
        kept += shares.sum()
        apart = shares_of_own(
            told,
            _together(told, shares)[0],
            held_out[part],
            exposure=evidence.held_out_exposure[part],
            use=np.asarray(evidence.valid[part].all(axis=0)),
        )
        own = counts[part]
        together, weights = _together(own, shares)
        share = share_at(together, apart)
        if variance is not None:
            of_all = combined(variance[part], weights**2, use=_known(own))
            both = (1 - share) * np.sqrt(of_all) + share * np.sqrt(variance[part])
            variance[part] = both**2  # as if their errors were the same
        counts[part] = together + share * (own - together)
    what = f"held-out photons confirm {kept:.1f} components of {frames} answers"
    return answers.after("combine", what, counts=counts, variance=variance)


def _together(own: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return combined answers, the answers themselves where one is not known, and the frames' weights."""
    use = _known(own)
    weights = weights_of_frames(own, shares, use=use)
    return np.where(use, np.maximum(combined(own, weights, use=use), 0), own), weights


def _known(counts: np.ndarray) -> np.ndarray:
    return np.asarray(np.isfinite(counts).all(axis=0))


def shares_of_components(
    answer: np.ndarray, held_out: np.ndarray, *, exposure: np.ndarray | float, use: np.ndarray
) -> np.ndarray:
    """Measure how much of each principal component of a scan's answers held-out photons confirm.

    Per component it is the slope of the photons' scores on the answers' (least squares). Shares may only fall
    from one component to the next weaker one (isotonic regression, weighted by what each slope can tell).

    Args:
      answer: expected counts per full frame, made without the held-out photons, (frames, height, width).
      held_out: photons, as `answer`.
      exposure: of the held-out photons, in full frames, as `answer` or one for all, above 0.
      use: where the answers of all frames are known and photons were counted, bool, (height, width).

    Returns:
      (frames,) float64 in 0..1, strongest component first.
    """
    mean, values, vectors = _components(answer, use)
    told = values > 0
    if not told.any():
        return np.ones(len(values))
    exposure = np.broadcast_to(exposure, answer.shape)
    products = np.zeros((len(answer), len(answer)))
    for slab in _slabs(answer, use & (mean > 0)):
        light = mean[slab]
        photons = held_out[:, *slab] / exposure[:, *slab] - light
        products += (photons / light) @ (answer[:, *slab] - light).T
    confirmed = np.einsum("fk,fg,gk->k", vectors, products, vectors)
    slopes, weights = confirmed[told] / values[told], values[told]
    shares = np.zeros(len(values))
    shares[told] = isotonic_regression(slopes, weights=weights, increasing=False).x
    return np.clip(shares, 0.0, 1.0)


def shares_of_own(
    own: np.ndarray,
    together: np.ndarray,
    held_out: np.ndarray,
    *,
    exposure: np.ndarray,
    use: np.ndarray,
) -> np.ndarray:
    """Measure how much of its own answer a frame should keep, by how its brightness differs from the scan's.

    It is the slope of held-out photons less the combined answer on own less combined answer (least squares,
    weighted by 1 / combined), of all frames and places of about one ratio. Of a slope as much is taken as
    exceeds its noise: s (1 - variance / s^2), at least 0 and at most 1. The more a frame differs from the
    scan the more it keeps: where no photons tell, as much as at a smaller difference.

    Args:
      own: answers of each frame alone, made without the held-out photons, (frames, height, width).
      together: the same combined.
      held_out: photons, as `own`.
      exposure: of the held-out photons, as `own`, above 0.
      use: where photons were counted, bool, (height, width).

    Returns:
      For each of `OCTAVES` a share in [0, 1].
    """
    mean = together.mean(axis=0)
    use = use & (mean > 0) & _known(own)
    information, needed, noise = np.zeros((3, len(OCTAVES)))
    for frame, light in enumerate(exposure):
        some = use & (together[frame] > 0)
        expected = together[frame][some].astype(np.float64)
        change = own[frame][some] - expected
        rest = held_out[frame][some] / light[some] - expected
        for sums, values in (
            (information, change**2 / expected),
            (needed, change * rest / expected),
            (noise, change**2 / expected / light[some]),
        ):
            for node, weight in _near(expected / mean[some]):
                sums += np.bincount(node, weight * values, len(OCTAVES))
    told = (information > 0) & (needed > 0)
    slope = np.where(told, needed / np.where(told, information, 1), 0)
    relative = np.where(told, noise / np.where(told, needed, 1) ** 2, 1)
    found = np.clip(slope * np.maximum(1 - relative, 0), 0, 1)
    middle = len(OCTAVES) // 2
    darker, brighter = found[middle::-1], found[middle:]
    return np.concatenate([np.maximum.accumulate(darker)[:0:-1], np.maximum.accumulate(brighter)])


def share_at(together: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the share of its own answer that each place of each frame keeps, float32, as `together`."""
    mean = together.mean(axis=0)
    found = np.zeros(together.shape, np.float32)
    for own, frame in zip(found, together, strict=True):
        ratio = np.divide(frame, mean, out=np.ones_like(frame), where=mean > 0)
        own[...] = sum(weight * shares[node] for node, weight in _near(ratio))
    return found


def _near(ratio: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the index of the octave below each ratio and that above, with what each counts for."""
    place = np.log2(np.maximum(np.nan_to_num(ratio, nan=1.0), 2.0 ** OCTAVES[0])) - OCTAVES[0]
    place = np.minimum(place, len(OCTAVES) - 1)
    below = np.minimum(place.astype(int), len(OCTAVES) - 2)
    yield below, 1 - (place - below)
    yield below + 1, place - below


def weights_of_frames(answer: np.ndarray, shares: np.ndarray, *, use: np.ndarray) -> np.ndarray:
    """Return the weight of every answer in every frame: mean and components, each by its share.

    Args:
      answer: expected counts, (frames, height, width).
      shares: of the components, strongest first, (frames,).
      use: where the answers of all frames are known, bool, (height, width).

    Returns:
      (frames, frames) float64, rows add up to 1.
    """
    _, _, vectors = _components(answer, use)
    # The mean is no component: what is left of it in weak ones is taken out.
    vectors = vectors - vectors.mean(axis=0)
    return 1 / len(answer) + (vectors * shares) @ vectors.T


def combined(answer: np.ndarray, weights: np.ndarray, *, use: np.ndarray) -> np.ndarray:
    """Return weighted sums of a scan's images where `use` is True, the images themselves elsewhere."""
    found = answer.copy()
    for slab in _slabs(answer, use):
        found[:, *slab] = weights.astype(answer.dtype) @ answer[:, *slab]
    return found


def _components(answer: np.ndarray, use: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean of answers, and powers and scores of the components over its root, strongest first."""
    mean = answer.mean(axis=0, dtype=np.float64).astype(answer.dtype)
    products = np.zeros((len(answer), len(answer)))
    for slab in _slabs(answer, use & (mean > 0)):
        light = np.sqrt(mean[slab])
        apart = answer[:, *slab] / light - light
        products += apart @ apart.T
    values, vectors = np.linalg.eigh(products)
    return mean, np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def _slabs(frames: np.ndarray, use: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield indices (y, x) of the pixels in use, so many at a time."""
    y, x = np.nonzero(use)
    step = max(1, SLAB // len(frames))
    for start in range(0, len(y), step):
        yield y[start : start + step], x[start : start + step]
