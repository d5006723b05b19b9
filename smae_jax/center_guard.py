"""Whether a centre that was found by correlation is one, or a guess. numpy only.

The one rule of `inspect`, `train` and `infer`. Noise has a best centre too, and so has any pattern.
"""

import numpy as np

from smae_jax.geometry import turn

REACH = 4.0
"""Pixels from the best centre within which all others lie that do as well."""
SIGMAS = 3.0
"""Standard deviations within which a correlation is as good as the best."""
LEAST = 6.0
"""Standard deviations of its noise that a correlation has to have away from the centre."""
COMMON = 0.75
"""Least share of the structure, as neighbours show it, that opposite pixels have in common."""
BLOCK = 3
"""Side in pixels of the blocks that the correlation may come from."""
BLOCKS = 2.8
"""Least number by which the blocks' sum exceeds its own standard error: a few spots meet by chance."""
LARGEST_SHADOW = 0.3
"""Share of the pairs that may differ as shadows and hot spots do."""


def doubt(
    correlation: np.ndarray,
    peak: tuple[int, int],
    root: np.ndarray,
    used: np.ndarray,
    pairs_differ: tuple[np.ndarray, np.ndarray],
) -> str:
    """Say why a centre is a guess; "" where it is none.

    The correlation of n pairs, each met twice, has the noise sqrt(2 (1 - r^2) / n). A centre is a guess if

    - opposite pixels further than a few pixels from it correlate no better than chance (a lone bright spot is
      its own partner);
    - other places do as well within the noise, further than a few pixels off: noise, a flat frame, a lattice;
    - the best place lies at the edge of where enough pixels have a partner;
    - opposite pixels share less of the structure than neighbours do, whose noise is independent too, or a
      large part of them differs as in a shadow: the pattern is about no such point, or a gradient. This is
      the chi-square of partners above 1, against what the pattern itself would make it if they were
      unrelated; noise of any kind drops out;
    - a few spots make up all of the correlation.

    Args:
      correlation: about every half pixel, -1 where not searched, (2 height - 1, 2 width - 1).
      peak: place of its largest value.
      root: values that were correlated, (height, width).
      used: bool, True = went in, shadows left out.
      pairs_differ: bool (height, width) each: all valid pixels, and those that differ from their partner as
        a shadow does.
    """
    center = (peak[0] / 2, peak[1] / 2)
    valid, shadows = pairs_differ
    every = valid & turn(valid, center, False)
    both = used & turn(used, center, False)
    y, x = np.ogrid[: both.shape[0], : both.shape[1]]
    distance = np.hypot(y - center[0], x - center[1])
    both &= distance > np.clip(0.05 * min(both.shape), 1, 5)
    pairs = int(both.sum())
    if pairs < 2:
        return "no opposite pixels to judge it by; the centre is a guess"
    partner = turn(root, center, 0.0)
    shared, contrast, _ = _covariances(root, partner, both)
    noise = contrast * np.sqrt(2 / pairs)
    if not shared > LEAST * noise:
        here = shared / contrast if contrast > 0 else 0.0
        return f"opposite pixels correlate with {here:.3f}, no better than chance; the centre is a guess"
    best = correlation[peak]
    margin = SIGMAS * np.sqrt(2 * max(0.0, 1 - best**2) / pairs)
    rows, columns = np.nonzero(correlation >= best - margin)
    furthest = float(np.hypot(rows / 2 - center[0], columns / 2 - center[1]).max())
    if furthest > REACH:
        return (
            f"{len(rows)} places up to {furthest:.0f} pixels away do as well within the noise; the centre is "
            "a guess"
        )
    around = correlation[tuple(slice(max(0, k - 1), k + 2) for k in peak)]
    if around.size < 9 or around.min() <= -1.0:
        return "the best place lies at the edge of where one can be told; the centre is a guess"
    shared, contrast, near = _covariances(root, partner, every)
    if shared + contrast * np.sqrt(2 / every.sum()) < COMMON * near:
        return (
            f"opposite pixels have {100 * max(0.0, shared / near):.0f} % of the structure in common; the "
            "centre is a guess at a pattern without this symmetry"
        )
    if _standing(root, partner, every) < BLOCKS:
        return "a few spots alone find a likeness opposite; the centre is a guess"
    shadow = np.count_nonzero(every & shadows) / np.count_nonzero(every)
    if shadow > LARGEST_SHADOW:
        return (
            f"{100 * shadow:.0f} % of the opposite pixels differ as a shadow does; the centre is a guess at "
            "a pattern without this symmetry"
        )
    return ""


def _standing(root: np.ndarray, partner: np.ndarray, both: np.ndarray) -> float:
    """Return the covariance of partners over its error, from block to block; each pair is met twice."""
    middle = root[both].mean()
    product = np.where(both, (root - middle) * (partner - middle), 0.0)
    height, width = product.shape
    padded = np.pad(product, ((0, -height % BLOCK), (0, -width % BLOCK)))
    rows, columns = (n // BLOCK for n in padded.shape)
    blocks = padded.reshape(rows, BLOCK, columns, BLOCK).sum(axis=(1, 3))
    return float(blocks.sum() / np.sqrt(max(2 * np.sum(blocks**2), 1e-300)))


def _covariances(
    root: np.ndarray, partner: np.ndarray, both: np.ndarray
) -> tuple[float, float, float]:
    """Return covariance of partners, variance, and covariance of neighbours, over pairs."""
    off = np.where(both, root - root[both].mean(), 0.0)
    there = np.where(both, partner - root[both].mean(), 0.0)
    pairs = both.sum()
    total, number = 0.0, 0
    for first, second in ((np.s_[1:, :], np.s_[:-1, :]), (np.s_[:, 1:], np.s_[:, :-1])):
        total += float((off[first] * off[second]).sum())
        number += int((both[first] & both[second]).sum())
    return (
        float((off * there).sum() / pairs),
        float((off**2).sum() / pairs),
        total / max(1, number),
    )
