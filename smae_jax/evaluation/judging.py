"""Networks beside raw counts and simple filters, each filter at its best: what is compared, by which scores.

Two families of scores: for frames that have an answer each, about a beam centre, and for repeats that have
one answer. Knows nothing of files, runs or options.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np

from smae_jax.errors import UserError
from smae_jax.evaluation import repeats_scores, with_reference, without_reference
from smae_jax.evaluation.estimators import (
    Estimator,
    Filter,
    Progress,
    Row,
    averaged,
    best_filters,
    crop_about,
    cut,
    half_pixel,
    raw,
    subset,
    trials,
)
from smae_jax.evaluation.folder import Table
from smae_jax.evaluation.with_reference import Reference, rmse_to, score_with_reference
from smae_jax.evaluation.without_reference import (
    Curves,
    held_out_deviance,
    score_without_reference,
)
from smae_jax.measurements import Measurements
from smae_jax.noise import Noise
from smae_jax.progress import Bar, each

TRIED_FRAMES, TRIED_SIDE = 4, 256
"""Frames and side of the crop about the beam that the filters' settings are chosen on."""

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Judged:
    """What an evaluation found.

    Attributes:
      tables: of the scores.
      how: the filters' settings were chosen, in words.
      curves: what does not fit in a table; None where photons were not split.
    """

    tables: tuple[Table, ...] = ()
    how: str = ""
    curves: Curves | None = None


def judge_frames(
    data: Measurements,
    networks: Mapping[str, Estimator],
    reference: Reference | None,
    *,
    alone: bool,
    held_out: float,
    seed: int,
    say: Say,
) -> Judged:
    """Judge networks on the frames of a scan, whose answers differ.

    Args:
      data: patterns with their centre.
      networks: name -> estimator.
      reference: on the scale of the counts; None = there is none.
      alone: judge by the counts alone, with a reference or not.
      held_out: share of the photons that then judges.
      seed: of the splitting of counts.
      say: receives the line that tells how filters were chosen.

    Raises:
      UserError: in one line, if these are no photon counts, or nothing is valid about the beam.
    """
    filters, how = chosen_filters(data, reference, held_out=held_out, seed=seed)
    say(how)
    estimators = {
        "raw": raw,
        "rotated average": averaged,
        **{one.label: one for one in filters},
        **networks,
    }
    tables, curves = [], None
    if reference is not None:
        rows = score_with_reference(
            data, reference, estimators, progress=_progress("with reference")
        )
        legend = with_reference.LEGEND + f"\nData range {reference.data_range:.5g} counts."
        tables.append(Table("With the reference", rows, with_reference.COLUMNS, legend))
    if alone:
        rows, curves = score_without_reference(
            data,
            estimators,
            held_out=held_out,
            seed=seed,
            progress=_progress("without reference"),
        )
        legend = without_reference.legend(held_out)
        tables.append(Table("Without a reference", rows, without_reference.COLUMNS, legend))
    return Judged(tuple(tables), how, curves)


def chosen_filters(
    data: Measurements,
    reference: Reference | None,
    *,
    held_out: float,
    seed: int,
    choose: Callable[..., list[Filter]] = best_filters,
) -> tuple[list[Filter], str]:
    """Choose the filters' settings on a few frames about the beam; return them, and how in words.

    `choose` is `best_filters` or `best_gaussians`: which filters, given the error to make small.
    """
    chosen = list(subset(data.frames, TRIED_FRAMES))
    window = crop_about(data.spatial, half_pixel(data), TRIED_SIDE)
    part = cut(data.take(chosen), window)
    if not part.valid.any():
        raise UserError("--input: no valid pixel about the beam; check --mask and its polarity")
    if reference is not None:
        judge, how = rmse_to(part, reference.part(chosen, window)), "the error to the reference"
    else:
        judge = held_out_deviance(part, held_out=held_out, seed=seed)
        how = "the held-out deviance"
    with Bar(trials(), unit="setting", desc="settings of filters") as bar:
        tried = iter(range(1, trials() + 1))
        filters = choose(judge, advance=lambda: bar.to(next(tried)))
    height, width = part.spatial
    return filters, (
        f"settings of filters: smallest value of {how} on {len(chosen)} frames, "
        f"{height} x {width} pixels about the beam"
    )


def judge_repeats(
    data: Measurements,
    networks: Mapping[str, Estimator],
    reference: Measurements | None,
    *,
    alone: bool,
    noise: Noise,
    say: Say,
) -> Judged:
    """Judge networks on repeats of one thing.

    Args:
      data: the repeats.
      networks: name -> estimator.
      reference: other repeats of the thing, with exposures in units of the data's; None = there are none.
      alone: judge each repeat by the others, with a reference or not.
      noise: of the repeats.
      say: receives the line that tells how filters were chosen.
    """
    photons = noise[:2] == Noise()[:2]
    variance = repeats_scores.typical_variance(data, noise)

    def left_out(estimator: Estimator) -> Row:
        return repeats_scores.by_left_out(estimator, data, variance, photons=photons)

    if reference is None:
        judge, how = (lambda one: left_out(one)["chi_square"]), "chi-square of the one left out"
        scores = []
    else:

        def to_reference(estimator: Estimator) -> Row:
            answer = repeats_scores.together(estimator(data), data)
            return repeats_scores.by_reference(answer, reference, photons=photons)

        judge, how = (lambda one: to_reference(one)["rmse"]), "error to the reference"
        columns, legend = repeats_scores.WITH, repeats_scores.WITH_LEGEND
        scores = [("With the reference", to_reference, columns, legend)]
    if alone:
        columns, legend = repeats_scores.WITHOUT, repeats_scores.WITHOUT_LEGEND
        scores.append(("Without a reference", left_out, columns, legend))
    how = f"settings of filters: smallest {how}"
    say(how)
    found = repeats_scores.best_of(repeats_scores.filters(data.spatial), judge)
    estimators: dict[str, Estimator] = {
        "mean of repeats": repeats_scores.mean_rate,
        **{f"best {name}": estimator for name, estimator in found.items()},
        **networks,
    }
    tables = []
    for title, score, columns, legend in scores:
        pairs = _progress(title.lower())(estimators.items())
        rows = [{"name": name, **score(one)} for name, one in pairs]
        tables.append(Table(title, rows, columns, legend))
    return Judged(tuple(tables), how)


def refuse_same(reference: Measurements, data: Measurements, *, path: str, kind: str) -> None:
    """Refuse a reference that holds what it is to judge.

    Args:
      reference: as read.
      data: what is judged.
      path: of the reference, for the message.
      kind: "frame" or "repeat".

    Raises:
      UserError: if a frame is equal in both, where all are valid.
    """
    if reference.counts.shape[1:] != data.counts.shape[1:]:
        return  # refused where it is used, in other words
    common = reference.valid.all(axis=0) & data.valid.all(axis=0)
    own = {np.asarray(frame[common], np.float64).tobytes() for frame in data.counts}
    others = (np.asarray(frame[common], np.float64) for frame in reference.counts)
    if any(frame.any() and frame.tobytes() in own for frame in others):
        raise UserError(
            f"--reference {path}: holds a {kind} of --input; a reference must be another measurement, "
            "otherwise the best score is that of doing nothing; choose others by --reference-repeats 4:"
        )


def _progress(what: str) -> Progress:
    return functools.partial(each, desc=what, unit="estimator")
