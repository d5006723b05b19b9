"""What was taken out of the frames because it stands out, and comes back into the answers."""

from __future__ import annotations

import numpy as np

from smae_jax.finishing.evidence import Evidence
from smae_jax.methods.protocol import Answers


def put_back(answers: Answers, evidence: Evidence) -> Answers:
    """Answer with the counts where they stand out; see `smae_jax.outliers.take_out`.

    Neither the network nor a stage before this one has seen them. The variance there is that of the counts.

    Args:
      answers: (frames, height, width) each.
      evidence: the counts.
    """
    outliers = evidence.data.outliers
    if len(answers.counts) != evidence.data.frames:
        return answers
    if outliers is None:
        return answers.after("put_back", "no counts stand out")
    valid = evidence.valid[tuple(outliers.places.T)]
    places, found = tuple(outliers.places[valid].T), outliers.counts[valid].astype(np.float32)
    light = evidence.data.full_exposure[places]
    counts, known, filled = (
        np.array(array) for array in (answers.counts, answers.known, answers.filled)
    )
    kept = np.zeros(counts.shape, bool) if answers.kept is None else np.array(answers.kept)
    counts[places], known[places], filled[places], kept[places] = found / light, True, False, True
    variance = answers.variance
    if variance is not None:
        variance = np.array(variance)
        variance[places] = np.maximum(found, 1) / light**2
    what = (
        f"{len(found)} counts in {len(np.unique(places[0]))} frames stand out and are answered as they "
        "were counted"
    )
    return answers.after(
        "put_back",
        what,
        counts=counts,
        known=known,
        filled=filled,
        kept=kept,
        variance=variance,
    )
