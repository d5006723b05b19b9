"""Every frame has the total that it counted."""

from __future__ import annotations

import numpy as np

from smae_jax.finishing.evidence import Evidence
from smae_jax.methods.protocol import Answers


def conserve_totals(answers: Answers, evidence: Evidence) -> Answers:
    """Scale every frame to what its valid pixels counted; pixels that keep their counts stay.

    Frames that were combined share their noise; each has the noise of its own total again, which is added.

    Args:
      answers: (frames, *spatial) each; one answer to all repeats stays as it is.
      evidence: the counts.
    """
    data, found = evidence.data, np.array(answers.counts)
    if len(found) != data.frames or data.channels:
        return answers
    kept = np.zeros(found.shape, bool) if answers.kept is None else answers.kept
    for frame, counts in enumerate(data.counts):
        own = ~kept[frame]
        others = evidence.valid[frame] & own & np.isfinite(found[frame])
        light = data.full_exposure[frame][others]
        left = (found[frame][others] * light).sum(dtype=float)
        if left > 0:
            found[frame][own] *= counts[others].sum(dtype=float) / left
    variance = answers.variance
    if variance is not None and any(stage == "combine" for stage, _ in answers.done):
        axes = tuple(range(1, found.ndim))
        totals = np.maximum(data.counts.sum(axis=axes, dtype=np.float64), 1)
        of_total = found**2 / totals.reshape(-1, *(1,) * len(axes))
        variance = (variance + np.where(kept, 0, of_total)).astype(np.float32)
    what = "every frame has the total that it counted"
    return answers.after("conserve_totals", what, counts=found, variance=variance)
