"""What happens to answers after the network: pure stages (answers, evidence) -> answers, in one order.

    STAGES = (combine, keep_spots, keep_sums, keep_shadows, conserve_totals, put_back, error_bars)

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
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax.finishing.background import subtract_background
from smae_jax.finishing.combine import FEWEST_FRAMES, combine
from smae_jax.finishing.error_bars import FOLDS, error_bars
from smae_jax.finishing.evidence import Evidence, Half
from smae_jax.finishing.outliers import put_back
from smae_jax.finishing.shadows import keep_shadows
from smae_jax.finishing.spots import keep_spots
from smae_jax.finishing.sums import keep_sums
from smae_jax.finishing.totals import conserve_totals
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers
from smae_jax.methods.thinning import largest_count
from smae_jax.outliers import take_out
from smae_jax.splitting import split_halves

Stage = Callable[[Answers, Evidence], Answers]
STAGES: tuple[Stage, ...] = (
    combine,
    keep_spots,
    keep_sums,
    keep_shadows,
    conserve_totals,
    put_back,
    error_bars,
)
COUNTED = (combine, keep_spots, keep_sums, keep_shadows)
"""Stages that know what the noise of photons is, and of nothing else."""
HALVES = 2**31 - 3
"""Part of the random stream that no fold's number reaches: photons of one half must not go to one fold."""

__all__ = [
    "COUNTED",
    "FOLDS",
    "STAGES",
    "Evidence",
    "Half",
    "Stage",
    "combine",
    "conserve_totals",
    "error_bars",
    "finish",
    "keep_shadows",
    "keep_spots",
    "keep_sums",
    "name_of",
    "put_back",
    "subtract_background",
]


def finish(
    answers: Answers,
    data: Measurements,
    *,
    stages: Sequence[Stage] = STAGES,
    key: Array | None = None,
) -> Answers:
    """Take answers through the stages.

    Args:
      answers: from `inference.predict`.
      data: what was answered.
      stages: in order; see `STAGES`. What is not made of photon counts goes through none of `COUNTED`.
      key: typed random key that splits the photons; None = key 0, so that the same counts have the same
        answers.

    Returns:
      The answers; `done` says which stages did what.

    Raises:
      UserError: if error bars are asked for where there are none.
    """
    if any(bare(stage) is put_back for stage in stages):
        data = take_out(data)
    if not data.are_counts:
        stages = [stage for stage in stages if bare(stage) not in COUNTED]
    wanted = _halves_wanted(answers, data, stages)
    has_bars = wanted == 2 or len(answers.counts) != data.frames
    folds = FOLDS if has_bars and any(bare(stage) is error_bars for stage in stages) else 0
    if folds and answers.variance is None and answers.again is not None:
        answers = dataclasses.replace(answers.again(data, folds=folds), again=answers.again)
    evidence = Evidence(data)
    if wanted and answers.again is not None:
        split = split_photons(jax.random.key(0) if key is None else key, data)
        # What stands out is in neither half.
        halves = [
            dataclasses.replace(data, counts=c, exposure=data.exposure / 2, taken_out=None)
            for c in split
        ]
        asked = [Half(half, answers.again(half, folds=folds)) for half in halves[:wanted]]
        evidence = Evidence(data, tuple(asked), split)
    for stage in stages:
        answers = stage(answers, evidence)
        if bare(stage) is not error_bars:  # they are found of the halves, which need none
            evidence = evidence.after(stage)
    return answers


def bare(stage: Any) -> Any:
    """Return the function behind a stage whose options were set by `functools.partial`."""
    return stage.func if isinstance(stage, functools.partial) else stage


def name_of(stage: Stage) -> str:
    """Return a stage's name, as outputs and options have it."""
    return bare(stage).__name__


def _halves_wanted(answers: Answers, data: Measurements, stages: Sequence[Stage]) -> int:
    """Return how many halves of the photons are to be answered: for error bars both, to combine one."""
    if data.center is None or len(answers.counts) != data.frames or not data.are_counts:
        return 0
    asked = {bare(stage) for stage in stages}
    if error_bars in asked:
        return 2
    return int(combine in asked and data.frames >= FEWEST_FRAMES)


def split_photons(key: Array, data: Measurements) -> tuple[np.ndarray, np.ndarray]:
    """Split the photons of every frame evenly, each frame in a way of its own: two arrays of int32."""
    split = jax.jit(split_halves, static_argnames="most")
    keys = jax.random.split(jax.random.fold_in(key, HALVES), data.frames)
    most = largest_count(data)
    first = np.empty(data.counts.shape, np.int32)
    for frame, (own, counts) in enumerate(zip(keys, data.counts, strict=True)):
        half, _ = split(own[None], jnp.asarray(counts[None], jnp.float32), most=most)
        first[frame] = np.asarray(half[0])
    return first, (data.counts - first).astype(np.int32)
