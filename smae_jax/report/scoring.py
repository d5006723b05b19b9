"""Scores of a run's answers beside raw counts and the best Gaussians, as `evaluate` has them."""

from __future__ import annotations

import functools

import numpy as np

from smae_jax.evaluation import with_reference, without_reference
from smae_jax.evaluation.estimators import Estimator, averaged, best_gaussians, raw
from smae_jax.evaluation.folder import Table
from smae_jax.evaluation.judging import Judged, chosen_filters
from smae_jax.evaluation.with_reference import Reference, score_with_reference
from smae_jax.evaluation.without_reference import score_without_reference
from smae_jax.measurements import Measurements
from smae_jax.progress import each
from smae_jax.run.restore import Opened

OURS = "denoised"


def scores_of(opened: Opened, reference: Reference | None, *, held_out: float, seed: int) -> Judged:
    """Score the answers to a scan of photon counts.

    Args:
      opened: a run with its scan, or frames spread over it.
      reference: of these frames; None = there is none.
      held_out: share of the photons that judges.
      seed: of the splits.

    Returns:
      Tables (with the reference, if there is one, and without) and curves.

    Raises:
      UserError: if these are no photon counts, or nothing is valid about the beam.
    """
    data = opened.data

    def answered(part: Measurements) -> np.ndarray:
        return np.asarray(opened.answers(None if part is data else part).counts)

    gaussians, how = chosen_filters(
        data, reference, held_out=held_out, seed=seed, choose=best_gaussians
    )
    simple: dict[str, Estimator] = {"raw": raw}
    if data.symmetry is not None:
        simple["rotated average"] = averaged
    else:
        gaussians = [one for one in gaussians if not one.turned]
    estimators = {**simple, **{one.label: one for one in gaussians}, OURS: answered}
    progress = functools.partial(each, desc="scores", unit="estimator")
    tables = []
    if reference is not None:
        rows = score_with_reference(data, reference, estimators, progress=progress)
        columns, legend = with_reference.COLUMNS, with_reference.LEGEND
        tables.append(Table("With the reference", rows, columns, legend))
    rows, curves = score_without_reference(
        data, estimators, held_out=held_out, seed=seed, progress=progress
    )
    columns, legend = without_reference.COLUMNS, without_reference.legend(held_out)
    tables.append(Table("Without a reference", rows, columns, legend))
    return Judged(tuple(tables), how, curves)
