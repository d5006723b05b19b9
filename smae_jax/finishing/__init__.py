"""What happens to answers after the network: pure stages (answers, evidence) -> answers, in one order.

    STAGES = (
        combine, keep_spots, keep_dark, keep_sums, keep_shadows, keep_measured, conserve_totals, put_back,
        error_bars
    )

`infer`, `evaluate` and `finish` run the same ones, and the halves of the photons that judge error bars go
through them as the whole answers do: what is judged is what is written. Any stage can be left out, and a
function of your own put between them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from smae_jax.finishing.background import subtract_background
from smae_jax.finishing.combine import FEWEST_FRAMES, combine
from smae_jax.finishing.dark import keep_dark
from smae_jax.finishing.error_bars import error_bars
from smae_jax.finishing.evidence import Evidence, Half
from smae_jax.finishing.halves import split_photons, with_halves
from smae_jax.finishing.measured import keep_measured
from smae_jax.finishing.outliers import put_back
from smae_jax.finishing.polar import Beside
from smae_jax.finishing.replicas import check_replicas, replicas, with_replicas
from smae_jax.finishing.shadows import keep_shadows
from smae_jax.finishing.spots import keep_spots
from smae_jax.finishing.sums import keep_sums
from smae_jax.finishing.totals import conserve_totals
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers
from smae_jax.outliers import take_out

Stage = Callable[[Answers, Evidence], Answers]
STAGES: tuple[Stage, ...] = (
    combine,
    keep_spots,
    keep_dark,
    keep_sums,
    keep_shadows,
    keep_measured,
    conserve_totals,
    put_back,
    error_bars,
)
COUNTED = (combine, keep_spots, keep_dark, keep_sums, keep_shadows)
"""Stages that know what the noise of photons is, and of nothing else."""
UNCOUNTED = (keep_measured,)
"""Stages for values that are no photon counts alone."""
NO_BARS = (
    "none: photon counts about a beam centre have some, and three repeats or more with one answer"
)
"""What `error_bars` did where it was left out."""
_LOOK_AT_NO_HALVES = (keep_spots, keep_dark, keep_sums, keep_shadows, conserve_totals, put_back)

__all__ = [
    "COUNTED",
    "STAGES",
    "UNCOUNTED",
    "Evidence",
    "Half",
    "Stage",
    "check_replicas",
    "combine",
    "conserve_totals",
    "error_bars",
    "finish",
    "keep_dark",
    "keep_measured",
    "keep_shadows",
    "keep_spots",
    "keep_sums",
    "name_of",
    "put_back",
    "replicas",
    "split_photons",
    "subtract_background",
    "with_replicas",
]


def finish(
    answers: Answers,
    data: Measurements,
    *,
    stages: Sequence[Stage] = STAGES,
    key: Array | None = None,
    polar: Beside | None = None,
) -> Answers:
    """Take answers through the stages.

    Args:
      answers: from `inference.predict`.
      data: what was answered.
      stages: in order; see `STAGES`. What is not made of photon counts goes through none of `COUNTED`, and
        photon counts through none of `UNCOUNTED`. `error_bars` is left out where there are none: `sigma`
        stays None, and `done` says so.
      key: typed random key that splits the photons; None = key 0, so that the same counts have the same
        answers.
      polar: a second network, whose answers to photon counts about a centre are mixed in before the stages.

    Returns:
      The answers; `done` says which stages did what.
    """
    if any(bare(stage) is put_back for stage in stages):
        data = take_out(data)
    passed_over = UNCOUNTED if data.are_counts else COUNTED
    stages = [stage for stage in stages if bare(stage) not in passed_over]
    wanted = _halves_wanted(answers, data, stages, at_least=int(polar is not None))
    bars, sums = (any(bare(one) is asked for one in stages) for asked in (error_bars, keep_sums))
    evidence = Evidence(data)
    if wanted and answers.again is not None:
        key = jax.random.key(0) if key is None else key
        answers, evidence = with_halves(
            key, answers, data, wanted=wanted, variance=bars, polar=polar, sums=sums
        )
    elif bars and answers.again is not None and len(answers.counts) != data.frames:
        again = answers.again
        answers = dataclasses.replace(again(data, leave_out=True), again=again)
    none = bars and answers.variance is None
    stages = [stage for stage in stages if not (none and bare(stage) is error_bars)]
    for number, stage in enumerate(stages, start=1):
        answers = stage(answers, evidence)
        # The halves follow so far as a later stage may look at them; error bars are found of them.
        if any(bare(later) not in _LOOK_AT_NO_HALVES for later in stages[number:]):
            evidence = evidence.after(stage)
    if none:
        answers = answers.after("error_bars", NO_BARS)
    return _on_the_host(answers)


def bare(stage: Any) -> Any:
    """Return the function behind a stage whose options were set by `functools.partial`."""
    return stage.func if isinstance(stage, functools.partial) else stage


def name_of(stage: Stage) -> str:
    """Return a stage's name, as outputs and options have it."""
    return bare(stage).__name__


def _halves_wanted(
    answers: Answers, data: Measurements, stages: Sequence[Stage], *, at_least: int
) -> int:
    """Return how many halves of the photons are to be answered: for error bars both, to combine one."""
    if data.center is None or len(answers.counts) != data.frames or not data.are_counts:
        return 0
    asked = {bare(stage) for stage in stages}
    if error_bars in asked:
        return 2
    return max(at_least, int(combine in asked and data.frames >= FEWEST_FRAMES))


def _on_the_host(answers: Answers) -> Answers:
    """Return answers as NumPy arrays that can be written to."""
    fields = ("counts", "known", "filled", "variance", "kept", "sigma")
    there = {name: getattr(answers, name) for name in fields}
    moved = {n: np.array(a) for n, a in there.items() if isinstance(a, jax.Array)}
    return dataclasses.replace(answers, **moved) if moved else answers
