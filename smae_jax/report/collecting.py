"""All frames of a scan, block by block through the stages of `infer`, and what is kept of them.

What is judged is what is written: a block's answers come from `Opened.answers`, as those of `infer` do. Of a
block only sums and the frames of the gallery stay in memory.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from smae_jax import blocks
from smae_jax.evaluation.estimators import half_pixel, raw
from smae_jax.evaluation.residuals import RingTotals, Whiteness
from smae_jax.evaluation.with_reference import Reference
from smae_jax.finishing.replicas import in_memory
from smae_jax.likeness import Coarse, coarse
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers
from smae_jax.report.cake import Cake
from smae_jax.report.gallery import Shown
from smae_jax.report.ghosts import Dark, dark_places
from smae_jax.report.meridian import Along, Meridian
from smae_jax.report.profiles import Profiles, over_ring
from smae_jax.run.restore import Opened

References = Callable[[Measurements, np.ndarray], Reference]
"""(frames, their numbers in the input) -> their reference."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is kept of the frames.

    Attributes:
      numbers: of the frames in the input, ascending, (frames,).
      gallery: those of the frames whose pictures are kept.
      sigma: whether error bars are kept of these.
      cake: sums frames in bins; None = no profiles.
      rings: weights of the radial bins in the norm of each ring of I(chi), (bins,); 0 outside.
      meridian: how the sector about it is found; None = none is kept.
      reference: of frames; None = there is none.
      replicas: number of plausible answers that tell the errors of denoised quantities; 0 = none.
      room: makes the arrays of replicas.
    """

    numbers: np.ndarray
    gallery: frozenset[int]
    sigma: bool = False
    cake: Cake | None = None
    rings: Sequence[np.ndarray] = ()
    meridian: Meridian | None = None
    reference: References | None = None
    replicas: int = 0
    room: Callable[[tuple[int, ...]], np.ndarray] = in_memory


class PerFrame(NamedTuple):
    """Numbers of every frame, (frames,) each.

    Attributes:
      total: counts per valid pixel and unit of exposure.
      variance: of the residual, over that of photon noise.
      blocks: the same of 8 x 8 pixels added up.
      filled: share of the answered pixels that stand on the partner alone.
      filled_counts: share of the expected counts there.
    """

    total: np.ndarray
    variance: np.ndarray
    blocks: np.ndarray
    filled: np.ndarray
    filled_counts: np.ndarray


@dataclasses.dataclass(frozen=True)
class Collected:
    """What is kept of a scan.

    Attributes:
      names: of the frames.
      numbers: of the frames in the input.
      leading: shape of the raster, or (frames,).
      frames: numbers of every frame.
      residual: of all frames; None where there are no photon counts.
      totals: in rings about the beam.
      coarse: frames in rings and wedges.
      dark: photons where frames are dark and others bright; None where there are no photon counts.
      shown: frames of the gallery.
      profile: I(q) or I(radius); None without a cake.
      rings: I(chi) of every ring.
      meridian: what is along it; None where it was not asked for.
      done: stages that the answers went through, and what each did (in the first block).
    """

    names: tuple[str, ...]
    numbers: np.ndarray
    leading: tuple[int, ...]
    frames: PerFrame
    residual: Whiteness | None
    totals: RingTotals
    coarse: Coarse
    dark: Dark | None
    shown: tuple[Shown, ...]
    profile: Profiles | None
    rings: tuple[Profiles, ...]
    meridian: Along | None
    done: tuple[tuple[str, str], ...]


def collect(opened: Opened, wanted: Wanted, *, progress: Callable[..., Any] = iter) -> Collected:
    """Answer all frames, block by block, and keep what is wanted of them.

    Args:
      opened: a run with its scan.
      wanted: what is kept.
      progress: wraps the starts of batches that are answered.

    Returns:
      What is kept, in the order of the frames.
    """
    large = opened.large
    parts = [None] if large is None else blocks.borders(large.frames, opened.block)
    found = [_of_block(opened, part, wanted, progress) for part in parts]
    names = tuple(name for one in found for name in one.names)
    leading = opened.data.origin.leading
    if large is not None and large.whole:
        leading = large.source.leading
    in_raster = len(leading) > 1 and int(np.prod(leading)) == len(names)
    first = found[0]
    return Collected(
        names,
        np.concatenate([one.numbers for one in found]),
        leading if in_raster else (len(names),),
        PerFrame(*(np.concatenate(each) for each in zip(*(f.frames for f in found), strict=True))),
        _added([one.residual for one in found]),
        _totals([one.totals for one in found]),
        Coarse(*(np.concatenate(each) for each in zip(*(f.coarse for f in found), strict=True))),
        None if first.dark is None else _joined_dark([one.dark for one in found]),
        tuple(shown for one in found for shown in one.shown),
        None if first.profile is None else joined([one.profile for one in found]),
        tuple(joined(list(each)) for each in zip(*(one.rings for one in found), strict=True)),
        None if first.meridian is None else _joined_along([one.meridian for one in found]),
        first.done,
    )


def _of_block(
    opened: Opened, part: slice | None, wanted: Wanted, progress: Callable[..., Any]
) -> Collected:
    """Answer one block, and keep what is wanted of it."""
    here = opened if part is None else opened.of_block(part)
    data, numbers = here.data, wanted.numbers[slice(None) if part is None else part]
    wanted = dataclasses.replace(wanted, numbers=numbers)
    answers = here.answers(sigma=wanted.sigma, progress=progress)
    reference = None if wanted.reference is None else wanted.reference(data, numbers)
    expected = np.asarray(answers.counts) * data.full_exposure
    whites = _residuals(data, expected) if data.are_counts else []
    totals = RingTotals.about(half_pixel(data), (data.spatial[0], data.spatial[1]))
    for frame in range(data.frames):
        totals.add(data.counts[frame][None], expected[frame][None], data.full_exposure[frame] > 0)
    profile, rings, meridian = None, (), None
    if wanted.cake is not None:
        off = None
        if wanted.replicas:
            number, room = wanted.replicas, wanted.room
            off = here.with_replicas(answers, number=number, room=room, progress=progress).replicas
        profile, rings, meridian = profiles_of(data, expected, off, reference, wanted)
    return Collected(
        data.names,
        numbers,
        (data.frames,),
        _numbers(data, answers, whites),
        _added(whites),
        totals,
        coarse(data),
        dark_places(expected, data.counts, data.full_exposure, seed=here.seed)
        if data.are_counts
        else None,
        tuple(_shown(data, answers, reference, wanted)),
        profile,
        rings,
        meridian,
        answers.done,
    )


def _residuals(data: Measurements, expected: np.ndarray) -> list[Whiteness]:
    """Compare every frame with what is expected of it."""
    found = []
    for counts, mean, light in zip(data.counts, expected, data.full_exposure, strict=True):
        one = Whiteness()
        one.add(counts[None], mean[None].astype(np.float64), (light > 0)[None])
        found.append(one)
    return found


def _numbers(data: Measurements, answers: Answers, whites: list[Whiteness]) -> PerFrame:
    counts = np.asarray(answers.counts)
    known = np.broadcast_to(np.asarray(answers.known), counts.shape)
    filled = np.broadcast_to(np.asarray(answers.filled), counts.shape) & known
    axes = (1, 2)
    exposure = data.full_exposure.sum(axis=axes, dtype=np.float64)
    total = data.counts.sum(axis=axes, dtype=np.float64)
    everything = np.where(known, counts, 0).sum(axis=axes, dtype=np.float64)
    of_filled = np.where(filled, counts, 0).sum(axis=axes, dtype=np.float64)
    nothing = np.full(data.frames, np.nan)
    return PerFrame(
        np.where(exposure > 0, total / np.maximum(exposure, 1e-30), np.nan),
        np.array([one.variance for one in whites]) if whites else nothing,
        np.array([one.block_variance for one in whites]) if whites else nothing,
        filled.sum(axis=axes) / np.maximum(known.sum(axis=axes), 1),
        of_filled / np.maximum(everything, 1e-30),
    )


def profiles_of(
    data: Measurements,
    expected: np.ndarray,
    replicas: np.ndarray | None,
    reference: Reference | None,
    wanted: Wanted,
) -> tuple[Profiles, tuple[Profiles, ...], Along | None]:
    """Sum every frame in bins of the cake.

    Args:
      data: the frames.
      expected: counts of each, (frames, height, width); NaN where there is no answer.
      replicas: what plausible answers differ by, counts per full frame, (replicas, frames, height, width);
        None = the profiles have none.
      reference: of the frames; None = there is none.
      wanted: cake, rings and meridian, and the numbers of these frames.

    Returns:
      I(q) over all azimuths, I(chi) over the bins of each ring, and what is along the meridian.
    """
    cake = wanted.cake
    if cake is None:
        raise TypeError("profiles need a cake")
    ways: list[Callable[[str, np.ndarray], np.ndarray]] = [lambda _, sums: sums.sum(axis=-1)]
    ways += [functools.partial(over_ring, weights=weights) for weights in wanted.rings]
    found: list[list[dict[str, np.ndarray]]] = [[] for _ in ways]
    sectors, directions = [], []
    for frame in range(data.frames):
        others = None if replicas is None else replicas[:, frame]
        sums = _one_profile(data, frame, expected[frame], others, reference, cake)
        for of_way, way in zip(found, ways, strict=True):
            of_way.append({name: way(name, values) for name, values in sums.items()})
        if wanted.meridian is not None:
            number = int(wanted.numbers[frame])
            sector, direction = wanted.meridian.along(sums, cake.bins.azimuth, seed=number)
            sectors.append(sector)
            directions.append(direction)

    def stacked(each: list[dict[str, np.ndarray]], axis: int = -2) -> dict[str, Any]:
        return {name: np.stack([one[name] for one in each], axis=axis) for name in each[0]}

    around, *rings = (Profiles(**stacked(each)) for each in found)
    if not sectors:
        return around, tuple(rings), None
    return around, tuple(rings), Along(Profiles(**stacked(sectors)), stacked(directions, axis=-1))


def _one_profile(
    data: Measurements,
    frame: int,
    expected: np.ndarray,
    replicas: np.ndarray | None,
    reference: Reference | None,
    cake: Cake,
) -> dict[str, np.ndarray]:
    """Sum one frame in bins of radius and azimuth: fields of `Profiles`, (..., bins, azimuths)."""
    light = data.full_exposure[frame]
    light = np.where(np.isfinite(expected), light, 0)
    counts, norm = cake(data.counts[frame], light)
    sums = {"counts": counts, "norm": norm, "denoised": cake(expected, light)[0]}
    if replicas is not None:
        each = (np.nan_to_num(one.astype(np.float32)) * light for one in replicas)
        sums["replicas"] = np.stack([cake(one, light)[0] for one in each])
    if reference is not None:
        there = np.where(reference.valid[frame], light, 0)
        mean, of_reference = cake(reference.counts[frame] * there, there)
        variance, _ = cake(reference.variance[frame] * there**2, there)
        sums |= {"reference": np.stack([mean, variance]), "reference_norm": of_reference}
    return sums


def _shown(
    data: Measurements,
    answers: Answers,
    reference: Reference | None,
    wanted: Wanted,
) -> Iterator[Shown]:
    for frame, number in enumerate(wanted.numbers.tolist()):
        if number not in wanted.gallery:
            continue
        one = data.take([frame])
        use = one.full_exposure[0] > 0
        known, sigma = np.asarray(answers.known), answers.sigma
        answered = np.broadcast_to(known, answers.counts.shape)[frame]
        yield Shown(
            number,
            data.names[frame],
            np.where(use, raw(one)[0], np.nan),
            np.where(answered, np.asarray(answers.counts[frame]), np.nan),
            np.array(one.full_exposure[0]),
            None
            if reference is None
            else np.where(reference.valid[frame], reference.counts[frame], np.nan),
            None if sigma is None else np.where(answered, np.asarray(sigma[frame]), np.nan),
        )


def joined(parts: list[Profiles | None]) -> Profiles:
    """Join the profiles of blocks, in their order."""
    known = [part for part in parts if part is not None]
    each = [part.sums for part in known]
    sums = {name: np.concatenate([one[name] for one in each], axis=-2) for name in each[0]}
    return dataclasses.replace(known[0], **sums)


def _joined_along(parts: list[Along | None]) -> Along:
    known = [part for part in parts if part is not None]
    directions = {
        name: np.concatenate([one.directions[name] for one in known], axis=-1)
        for name in known[0].directions
    }
    return Along(joined([one.profile for one in known]), directions)


def _joined_dark(parts: list[Dark | None]) -> Dark:
    known = [part for part in parts if part is not None]
    return Dark(*(np.concatenate(each) for each in zip(*known, strict=True)))


def _added(parts: Sequence[Whiteness | None]) -> Whiteness | None:
    """Add up the sums of several residuals."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    fields = [field.name for field in dataclasses.fields(Whiteness)]
    sums: dict[str, Any] = {n: sum(getattr(part, n) for part in known) for n in fields}
    return Whiteness(**sums)


def _totals(parts: Sequence[RingTotals]) -> RingTotals:
    first = parts[0]
    return dataclasses.replace(
        first,
        measured=np.sum([part.measured for part in parts], axis=0),
        expected=np.sum([part.expected for part in parts], axis=0),
    )
