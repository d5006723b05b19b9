"""What the frames of a scan have in common: a few patterns that every frame is nearly a sum of. numpy only.

The frames of a scan differ in few ways: a specimen drifts, turns, gets thicker. Their main components hold
what many frames counted together, and a frame's own photons suffice to tell how much of each is in it. The
components that serve a frame are those of other frames, so none of its photons is in them.

Reference:
  Greenacre 1984, "Theory and applications of correspondence analysis" (counts in units of their expected
  noise); Marchenko and Pastur 1967 (the largest singular value of noise alone). Serving every group of frames
  with the components of the others is cross-fitting, Chernozhukov et al. 2018.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

GROUPS = 4
"""Groups of frames at most, each served by the components of all others."""
LEAST_FRAMES = 16
"""Frames of a group at least. Where few frames see the same components a network learns by heart where it is,
and what the photons that it does not see add up to: with 12 frames of real muscle patterns it lost 2 dB."""
FEWEST = 2 * LEAST_FRAMES
"""Frames of a scan that has components, at least."""
BLOCKS = 32
"""Blocks along the shorter side of a frame, in which it is told how much of each component a frame has."""
MOST = 12
"""Components at most, beside the mean."""
FRAMES_EACH = 4
"""Frames behind every component at least."""
MOST_FRAMES = 512
"""Frames that components are made of at most, taken evenly."""
ABOVE_NOISE = 1.02
"""A component stands out of the noise if its singular value is so many times the largest of noise alone."""
DARK = 0.1
"""Frames with less than this share of the mean frame's counts have its noise: single photons in nearly empty
frames would be components else."""
CHUNK_VALUES = 30_000_000
"""Values that are looked at together."""


@dataclasses.dataclass(frozen=True)
class Components:
    """Components for every group of frames.

    Attributes:
      group: of each frame, int32, (frames,).
      patterns: expected counts, float32, (groups, components, height, width): the mean frame, and what is
        added to it; 0 where unknown, and where a group has fewer components than another.
      known: whether any frame counted there, bool, (groups, height, width).
      blocks: the patterns added up in blocks, float64, (groups, components, blocks).
    """

    group: np.ndarray
    patterns: np.ndarray
    known: np.ndarray
    blocks: np.ndarray


def find_components(counts: np.ndarray, valid: np.ndarray) -> Components | None:
    """Find the components that serve each group of frames; None for too few frames.

    Args:
      counts: (frames, height, width), 0 where invalid.
      valid: bool, (1 or frames, height, width).
    """
    frames, *shape = counts.shape
    if frames < FEWEST:
        return None
    groups = min(GROUPS, frames // LEAST_FRAMES)
    group = np.arange(frames, dtype=np.int32) % groups
    found = [
        _components_of(counts, valid, _evenly(np.flatnonzero(group != k))) for k in range(groups)
    ]
    number = max(len(patterns) for patterns, _ in found)
    patterns = np.zeros((groups, number, *shape), np.float32)
    for k, (own, _) in enumerate(found):
        patterns[k, : len(own)] = own
    return Components(
        group, patterns, np.stack([known for _, known in found]), _in_blocks(patterns)
    )


def amounts(
    components: Components, counts: np.ndarray, valid: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """Find how much of each component frames have: least squares in units of the expected noise.

    Args:
      components: of the scan.
      counts: of the chosen frames, or of a part of their photons, (n, height, width), 0 where invalid.
      valid: bool, (1 or n, height, width).
      chosen: indices of these frames in the scan, int, (n,).

    Returns:
      Float32, (n, components); the sum of so much of each is the expected counts.
    """
    found = np.zeros((len(chosen), components.patterns.shape[1]), np.float32)
    for k, blocks in enumerate(components.blocks):
        here = np.flatnonzero(components.group[chosen] == k)
        used, expected = blocks.any(axis=1), blocks[0]
        if not used[0]:
            continue
        mean, there = components.patterns[k, 0], expected > 0
        basis = blocks[np.ix_(used, there)] / np.sqrt(expected[there])
        gram = basis @ basis.T
        for part, filled, _ in _filled(counts, valid & components.known[k], mean, here):
            seen = _in_blocks(filled)[:, there] / np.sqrt(expected[there])
            found[np.ix_(part, used)] = np.linalg.solve(gram, basis @ seen.T).T
    return found


def expected_counts(components: Components, amount: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the sum of so much of each component, float32 (n, height, width); see `amounts`."""
    found = np.empty((len(chosen), *components.patterns.shape[2:]), np.float32)
    for place, (frame, each) in enumerate(zip(chosen, amount, strict=True)):
        found[place] = np.tensordot(each, components.patterns[components.group[frame]], 1)
    return found


def _components_of(
    counts: np.ndarray, valid: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return patterns (components, height, width) and where they are known, of the chosen frames."""
    total, exposure = np.zeros(counts.shape[1:]), np.zeros(counts.shape[1:])
    for frame in chosen:
        total += counts[frame]
        exposure += valid[min(frame, len(valid) - 1)]
    known = exposure > 0
    mean = np.where(known, total / np.maximum(exposure, 1), 0.0).astype(np.float32)
    expected = _in_blocks(mean)
    there = expected > 0
    parts = [(_in_blocks(filled), much) for _, filled, much in _filled(counts, valid, mean, chosen)]
    blocks, much = (np.concatenate(part) for part in zip(*parts, strict=True))
    spread = (blocks - much[:, None] * expected)[:, there]
    sure = np.maximum(much, DARK)
    spread /= np.sqrt(sure[:, None] * expected[there])
    left, values, _ = np.linalg.svd(spread, full_matrices=False)
    noise = np.sqrt(spread.shape[0]) + np.sqrt(spread.shape[1])
    number = min(int((values > ABOVE_NOISE * noise).sum()), MOST, len(chosen) // FRAMES_EACH)
    # `left` is orthogonal to the root of `much`, so each pattern is a weighted sum by itself.
    weights = left[:, :number] / np.sqrt(sure)[:, None]
    patterns = np.zeros((1 + number, *counts.shape[1:]))
    done = 0
    for part, filled, here in _filled(counts, valid, mean, chosen):
        rows = slice(done, done + len(part))
        patterns[0] += filled.sum(axis=0) / much.sum()
        here, weight = here.astype(np.float32), weights[rows].T.astype(np.float32)
        # The mean's share is taken off frame by frame: sums of large numbers would not be 0 in float32.
        patterns[1:] += np.tensordot(weight, filled - here[:, None, None] * mean, 1)
        done += len(part)
    return patterns, known


def _filled(
    counts: np.ndarray, valid: np.ndarray, mean: np.ndarray, chosen: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield frames in chunks: indices, the frames with gaps filled, and how many mean frames each is."""
    step = max(1, CHUNK_VALUES // mean.size)
    for first in range(0, len(chosen), step):
        part = chosen[first : first + step]
        seen, frames = valid if len(valid) == 1 else valid[part], counts[part].astype(np.float32)
        if len(valid) > 1:  # one mask for all leaves gaps in the mean as well: nothing to fill
            frames *= seen
        light = np.where(seen, mean, 0).sum(axis=(1, 2))
        much = frames.sum(axis=(1, 2), dtype=np.float64) / np.maximum(light, 1e-9)
        if len(valid) > 1:
            frames = np.where(seen, frames, much[:, None, None].astype(np.float32) * mean)
        yield part, frames, much


def _in_blocks(images: np.ndarray) -> np.ndarray:
    """Add up (..., height, width) in square blocks: (..., blocks)."""
    *first, height, width = images.shape
    side = max(1, round(min(height, width) / BLOCKS))
    pad = [(0, 0)] * len(first) + [(0, -height % side), (0, -width % side)]
    images = np.pad(images, pad)
    height, width = (size // side for size in images.shape[-2:])
    blocks = images.reshape(*first, height, side, width, side).sum(axis=(-3, -1), dtype=np.float64)
    return blocks.reshape(*first, -1)


def _evenly(frames: np.ndarray) -> np.ndarray:
    """Take `MOST_FRAMES` at most."""
    if len(frames) <= MOST_FRAMES:
        return frames
    return frames[np.linspace(0, len(frames) - 1, MOST_FRAMES).round().astype(int)]
