"""Replicas: plausible answers beside the answer, whose scatter in any later quantity is its error.

Errors of neighbouring pixels are alike, so bars that are added up as if they were independent are too small
for a sum, a peak or a direction. A replica is answered anew, to half of the photons: given all photons, which
half it is scatters the answer as photon noise scatters that to all of them. What both halves miss is added by
`misses`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import jax
import numpy as np
from jax import Array

from smae_jax.blocks import spread
from smae_jax.errors import UserError
from smae_jax.finishing.error_bars import FALL, MANY
from smae_jax.finishing.halves import half_of, split_photons
from smae_jax.finishing.misses import (
    Places,
    Spectra,
    draw_missed,
    rate_about,
    spectra_of_missed,
)
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers

FEWEST = 4
"""Replicas, at least: fewer tell nothing of an error."""
STREAM = 2**31 - 5
"""Part of the random stream that no other use of a key reaches."""


def in_memory(shape: tuple[int, ...]) -> np.ndarray:
    """Make the array of replicas of a shape."""
    return np.empty(shape, np.float16)


def replicas(
    key: Array,
    answers: Answers,
    data: Measurements,
    answer: Callable[[Measurements], Answers],
    *,
    number: int,
    room: Callable[[tuple[int, ...]], np.ndarray] = in_memory,
) -> np.ndarray:
    """Return what plausible answers differ by from the answers.

    Args:
      key: typed random key.
      answers: to all photons, after all stages, counts per full frame.
      data: what was answered.
      answer: answers measurements such as half of the photons, through the same stages.
      number: of replicas.
      room: makes the float16 array of a shape that the replicas are written to.

    Returns:
      Counts per full frame, (number, frames, height, width), float16; 0 where there is no answer. Their mean
      is near 0.

    Raises:
      UserError: as `check_replicas`.

    Reference:
      Given counts n, half of them answered for a full exposure by a linear method scatters with the
      covariance of the answer to n, as a binomial half has variance n / 4. Answers to halves miss a little
      more; their mean is taken off, with the factor R / (R - 1) of a variance about a mean.
    """
    check_replicas(data, number, each=len(answers.counts) == data.frames)
    whole = np.asarray(answers.counts)
    known = np.broadcast_to(np.asarray(answers.known), whole.shape)
    of_photons, of_missed = jax.random.split(jax.random.fold_in(key, STREAM))
    first, *others = jax.random.split(of_photons, number)
    halves = _halves(first, data)
    found = [answer(half) for half in halves]
    places = _places(data)
    spectra = _missed(answers, halves, found, places)
    differences = room((number, *whole.shape))
    mean = np.zeros(whole.shape, np.float32)
    scattered = itertools.chain(found[:1], (answer(_halves(one, data)[0]) for one in others))
    for which, one in enumerate(scattered):
        off = np.where(known, np.asarray(one.counts) - whole, 0)
        differences[which] = _float16(off)
        mean += np.nan_to_num(off) / np.float32(number)
    sure = known if answers.kept is None else known & ~np.asarray(answers.kept)
    rate = np.where(sure, rate_about(np.where(known, whole, 0), known), 0)
    light = np.where(sure, data.full_exposure, 0).astype(np.float32)
    share, about_mean = np.float32(0.5 ** (FALL / 2)), np.float32(np.sqrt(number / (number - 1)))
    for which, one in enumerate(jax.random.split(of_missed, number)):
        scatter = (np.nan_to_num(differences[which]) - mean) * about_mean
        drawn = np.asarray(draw_missed(one, spectra, rate, light, places))
        differences[which] = _float16(np.where(known, scatter + share * drawn, 0))
    return differences


def check_replicas(data: Measurements, number: int, *, each: bool) -> None:
    """Refuse what has no replicas.

    Args:
      data: what is answered.
      number: of replicas.
      each: whether every frame has an answer of its own, made of its photons.

    Raises:
      UserError: in one line, if there are no photons to split about a centre, or `number` is below `FEWEST`.
    """
    if number < FEWEST:
        raise UserError(f"--replicas {number}: expected 0 or at least {FEWEST}")
    if not data.are_counts or data.center is None or not each:
        raise UserError(
            f"--replicas {number}: expected whole photon counts about a beam centre, with an answer to every "
            f"frame, in {data.origin.source}; leave the option out"
        )


def with_replicas(
    key: Array,
    answers: Answers,
    data: Measurements,
    answer: Callable[[Measurements], Answers],
    *,
    number: int,
    room: Callable[[tuple[int, ...]], np.ndarray] = in_memory,
) -> Answers:
    """Return answers with replicas beside them; see `replicas`."""
    found = replicas(key, answers, data, answer, number=number, room=room)
    what = f"{number} plausible answers to halves of the photons, and what both miss"
    return answers.after("replicas", what, replicas=found)


def _halves(key: Array, data: Measurements) -> list[Measurements]:
    return [half_of(data, counts) for counts in split_photons(key, data)]


def _places(data: Measurements) -> Places:
    if data.center is None:
        raise TypeError("expected patterns with a centre")
    height, width = data.spatial
    return Places((height, width), data.center.half_pixel, data.symmetry is not None)


def _missed(
    answers: Answers, halves: list[Measurements], found: list[Answers], places: Places
) -> Spectra:
    """Measure what the answers to both halves miss, on some of the frames."""
    data = halves[0]
    some = spread(data.frames, max(1, MANY // int(np.prod(data.spatial))))
    images = np.stack([np.asarray(one.counts)[some] for one in found])
    use = np.broadcast_to(data.valid, data.counts.shape)[some] & np.isfinite(images).all(axis=0)
    for one in (answers, *found):
        if one.kept is not None:
            use = use & ~np.asarray(one.kept)[some]
    photons = np.stack([half.counts[some] for half in halves])
    exposure = data.full_exposure[some]
    return spectra_of_missed(np.where(use, images, 0), photons, exposure, use, places)


def _float16(values: np.ndarray) -> np.ndarray:
    largest = np.finfo(np.float16).max
    return np.clip(values, -largest, largest).astype(np.float16)
