"""Apply a trained network to whole frames: batches, ensemble over a group, and back to the detector.

Receives a network, parameters, a method and arrays; knows nothing of files or of what a method does.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from smae_jax import models, symmetry
from smae_jax.canvas import Canvas
from smae_jax.made_once import made_once
from smae_jax.measurements import Measurements
from smae_jax.methods.own import OwnMethod, adapted
from smae_jax.methods.protocol import Answers, Method
from smae_jax.one_heap import large_in_heap
from smae_jax.outliers import take_out
from smae_jax.placing import canvas_of, whole_batch
from smae_jax.promised import answers_of
from smae_jax.stacks import factor_of_totals
from smae_jax.survey import frame_scales
from smae_jax.tiles import reach_of, tiled
from smae_jax.training import make_mesh

Progress = Callable[[Iterable[int]], Iterable[int]]
PIXELS_PER_BATCH = {"cpu": 500_000}
"""Of the frames of a batch together, by platform: a CPU is no faster with more, and takes memory for them."""
MANY_PIXELS = 4_000_000
"""The same on other platforms."""
LARGEST_WHOLE = 1_500_000
"""Pixels of a frame above which a network answers it tile by tile."""


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A network ready to answer; it compiles once for each shape of a batch.

    Attributes:
      net: network.
      method: settled on what is answered; puts the predictions back.
      group: motions that predictions are averaged over; along a single axis that is the mirror image.
      conserve_totals: scale every answer to the counts that it was made of.
      batch_size: frames per batch; 0 = as even batches as make up `PIXELS_PER_BATCH` at most.
      mesh: batches are split over it; None = all devices.
    """

    net: models.Network
    method: Method
    group: symmetry.GroupName = "flips"
    conserve_totals: bool = True
    batch_size: int = 0
    mesh: Mesh | None = None

    def __call__(
        self,
        parameters: Any,
        data: Measurements,
        *,
        scale: float | np.ndarray | None = None,
        leave_out: bool = False,
        progress: Progress = iter,
    ) -> Answers:
        """Answer measurements.

        Args:
          parameters: of the network; put on the devices once.
          data: measurements.
          scale: counts per unit of rate at exposure 1, of all frames or of each (frames,); None = their mean.
          leave_out: whether each repeat is left out once, for the jackknife's variance of one answer to all
            repeats, of which there have to be three or more; each frame's own answer has none here.
          progress: wraps the starts of the batches, e.g. `tqdm`.

        Returns:
          Arrays on the device, (frames or 1, *spatial[, channel]), per unit of exposure.
        """
        everywhere = NamedSharding(self._devices, PartitionSpec())
        canvas = canvas_of(data, extent="all")
        tiles = in_tiles(canvas.shape) and self.method.answers != "one"
        parameters = jax.device_put(parameters, jax.devices()[0] if tiles else everywhere)
        scales = frame_scales(data, rule="scan") if scale is None else np.asarray(scale, np.float32)
        scales = np.broadcast_to(scales, (data.frames,))
        if self.method.answers == "one":
            return self._all_repeats(parameters, data, scales, leave_out)
        beside = data.counts.mean(axis=-1) if data.channels else None
        work = _Work(
            counts=data.channels_first,
            exposure=data.exposure,
            scales=scales,
            beside=beside,
            size=self._frames_per_batch(canvas, frames=data.frames, devices=self._devices.size),
            unit=_common_exposure(data),
        )
        how = {"canvas": canvas, "turned": data.symmetry is not None}
        found = []
        for channel in range(work.counts.shape[1]):
            with large_in_heap(not tiles):
                batches = [*self._batches(parameters, work, channel, progress, how)]
            found.append(jax.tree.map(lambda *parts: jnp.concatenate(parts), *batches))
        return _with_channels(found, data)

    def _batches(
        self,
        parameters: Any,
        work: _Work,
        channel: int,
        progress: Progress,
        how: dict[str, Any],
    ) -> Iterator[Answers]:
        """Answer batch by batch; every batch has one size, and the next is laid out while one computes."""
        once = self._tiled if in_tiles(how["canvas"].shape) else self._once
        total, waiting = len(work.counts), list[Answers]()
        same = jnp.asarray(work.exposure) if len(work.exposure) == 1 else None
        for start in progress(range(0, total, work.size)):
            counts, exposure, scales, beside = work.batch(start, channel, same)
            result = once(parameters, counts, exposure, scales, work.unit, beside, **how)
            left = total - start
            if self._devices.size > 1:  # what comes after works on one
                result = jax.device_put(result, jax.devices()[0])
            kept = result if left >= work.size else jax.tree.map(lambda x: x[:left], result)  # noqa: B023
            for one in waiting:  # at most two batches are under way
                jax.block_until_ready(one.counts)
            waiting = [kept]
            yield kept

    @functools.cached_property
    def _devices(self) -> Mesh:
        return make_mesh() if self.mesh is None else self.mesh

    @functools.cached_property
    def _once(self) -> Callable[..., Answers]:
        """The jitted function that answers a batch of whole canvases."""
        return _compiled(self)

    @functools.cached_property
    def _tiled(self) -> Callable[..., Answers]:
        """The same for one frame, its network called tile by tile: only that is jitted."""
        reach: list[int] = []

        def once(parameters: Any, *frames: Any, canvas: Canvas, turned: bool) -> Answers:
            plain = functools.partial(self._apply, parameters)
            if not reach:
                reach.append(reach_of(plain, channels=self.method.source_channels))
            predict = cast(Any, tiled(ensemble(plain, group=self._group), reach=reach[0]))
            arrays = _onto(canvas, *frames)
            return _off(canvas, self._of_batch(predict, *arrays, turned=turned))

        return once

    def _whole(self, parameters: Any, *frames: Any, canvas: Canvas, turned: bool) -> Answers:
        """Answer a batch of whole canvases; pure."""
        split = NamedSharding(self._devices, PartitionSpec("data"))
        predict, arrays = self._predict(parameters), _onto(canvas, *frames)
        return _off(canvas, self._of_batch(predict, *arrays, turned=turned, split=split))

    def _of_batch(
        self,
        predict: Callable[[Array], Array],
        counts: Array,
        exposure: Array,
        scales: Array,
        unit: Array,
        beside: Any,
        *,
        turned: bool,
        split: NamedSharding | None = None,
    ) -> Answers:
        """Answer a batch with a prediction; pure."""
        # A network that never saw a part of an exposure is shown a weaker frame instead.
        unit = jnp.float32(1.0) if self.method.sees_exposure else jnp.float32(unit)
        batch = whole_batch(counts, exposure / unit, scales * unit, turned=turned, beside=beside)
        if split is not None:
            batch = jax.lax.with_sharding_constraint(batch, split)
        result = answers_of(self.method, self.method.denoise(predict, batch), batch)
        if self.conserve_totals:
            result = conserve(result, batch.counts, batch.exposure)
        return dataclasses.replace(result, counts=result.counts / unit)

    @property
    def _group(self) -> symmetry.GroupName:
        return self.group if self.method.sees_measurement else "none"

    def _predict(self, parameters: Any) -> Callable[[Array], Array]:
        """Return the ensemble: source -> prediction."""
        return ensemble(functools.partial(self._apply, parameters), group=self._group)

    @functools.cached_property
    def _apply(self) -> models.Apply:
        """The network, jitted: an ensemble traces it once."""
        return _compiled_network(self.net)

    def _all_repeats(
        self, parameters: Any, data: Measurements, scales: np.ndarray, leave_out: bool
    ) -> Answers:
        """Give one answer to all repeats, channel by channel."""
        counts = data.channels_first.astype(np.float32)
        exposure = np.ascontiguousarray(data.full_exposure)
        beside = counts.mean(axis=1) if data.channels else None
        asked = leave_out and self.method.error_bars == "repeats" and data.frames > 2
        repeats = data.frames if asked else 0

        def answered(counts: np.ndarray, exposure: np.ndarray, beside: Any) -> list[Answers]:
            channels = range(counts.shape[1])
            return [self._one(parameters, counts[:, c], exposure, scales, beside) for c in channels]

        found = answered(counts, exposure, beside)
        without: list[list[Answers]] = []
        for left_out in range(repeats):  # without exposure a repeat does not exist
            kept = np.arange(data.frames) != left_out
            without.append(
                answered(
                    _masked(counts, kept),
                    _masked(exposure, kept),
                    None if beside is None else _masked(beside, kept),
                )
            )
        for channel, result in enumerate(found):
            if without:
                answers = np.stack([np.asarray(one[channel].counts) for one in without])
                variance = np.var(answers, axis=0) * (len(without) - 1)
                found[channel] = dataclasses.replace(result, variance=variance)
        return _with_channels([jax.tree.map(np.asarray, one) for one in found], data)

    @functools.cached_property
    def _one(self) -> Callable[..., Answers]:
        """The jitted function that gives one answer to all repeats of a channel."""
        return _compiled_together(self)

    def _together(
        self, parameters: Any, counts: Array, exposure: Array, scales: Array, beside: Any
    ) -> Answers:
        """Give one answer to all repeats of a channel; pure."""
        batch = whole_batch(counts, exposure, scales, turned=False, beside=beside)
        found = self.method.denoise(self._predict(parameters), batch)
        result = answers_of(self.method, found, batch)
        if self.conserve_totals:
            total, light = (jnp.sum(x, 0, keepdims=True) for x in (batch.counts, batch.exposure))
            result = conserve(result, total, light)
        return result

    def _frames_per_batch(self, canvas: Canvas, *, frames: int, devices: int) -> int:
        pixels = int(np.prod(canvas.shape))
        if in_tiles(canvas.shape):
            return 1
        many = PIXELS_PER_BATCH.get(jax.devices()[0].platform, MANY_PIXELS)
        chosen = self.batch_size or _evenly(frames, max(1, many // pixels))
        return max(1, -(-chosen // devices)) * devices


def _evenly(frames: int, most: int) -> int:
    """Share out frames over as few batches as `most` allows: the last is filled up as little as can be."""
    return -(-frames // max(1, -(-frames // most)))


@made_once
def _compiled(predictor: Predictor) -> Callable[..., Answers]:
    return jax.jit(predictor._whole, static_argnames=("canvas", "turned"))


@made_once
def _compiled_together(predictor: Predictor) -> Callable[..., Answers]:
    return jax.jit(predictor._together)


@made_once
def _compiled_network(net: models.Network) -> models.Apply:
    return jax.jit(models.apply_of(net))


@dataclasses.dataclass(frozen=True)
class _Work:
    """What is answered, batch by batch: counts (frames, channels, *spatial), as the files have them."""

    counts: np.ndarray
    exposure: np.ndarray
    scales: np.ndarray
    beside: np.ndarray | None
    size: int
    unit: float

    def batch(self, start: int, channel: int, same: Any) -> tuple[Any, ...]:
        """Return counts, exposure, scales and mean over channels of a batch; the last is filled up.

        Args:
          start: its first frame.
          channel: of the counts.
          same: exposure of all frames, where it is the same.
        """
        stop = start + self.size
        which: Any = slice(start, stop)
        if stop > len(self.counts):
            which = np.minimum(np.arange(start, stop), len(self.counts) - 1)
        return (
            self.counts[which, channel],
            self.exposure[which] if same is None else same,
            self.scales[which],
            None if self.beside is None else self.beside[which].astype(np.float32),
        )


def predict(
    net: models.Network,
    parameters: Any,
    method: Method | OwnMethod,
    data: Measurements,
    *,
    scale: float | np.ndarray | None = None,
    outliers: bool = False,
    **options: Any,
) -> Answers:
    """Answer measurements with a trained network.

    Args:
      net: network.
      parameters: of it.
      method: settled on data like these; or an object of one's own.
      data: measurements.
      scale: counts per unit of rate at exposure 1; None = their mean.
      outliers: whether the network sees counts that stand out, see `outliers.take_out`.
      options: of `Predictor`: group, conserve_totals, batch_size, mesh.

    Returns:
      The answers, which can be asked `again` for a part of the photons.
    """
    predictor = Predictor(net, adapted(method), **options)
    return answered(predictor, parameters, data if outliers else take_out(data), scale=scale)


def answered(
    predictor: Predictor, parameters: Any, data: Measurements, *, scale: Any = None, **options: Any
) -> Answers:
    """Answer measurements, and remember how, so that `finish` can ask for parts of their photons.

    Args:
      predictor: network and method.
      parameters: of the network.
      data: measurements.
      scale: see `Predictor`; that of the whole serves its parts.
      options: of the call of `Predictor`: leave_out, progress.
    """
    scale = frame_scales(data, rule="scan") if scale is None else np.asarray(scale)
    progress = options.get("progress", iter)

    def again(part: Measurements, *, frames: Any = None, **how: Any) -> Answers:
        own = scale if frames is None or scale.size == 1 else scale[frames]
        return predictor(parameters, part, scale=own, **{"progress": progress, **how})

    return dataclasses.replace(again(data, **options), again=again)


def in_counts(answers: Answers, data: Measurements) -> Answers:
    """Return answers to full frames as counts of every frame's own exposure.

    Replicas, the largest array by far, are changed in place.
    """
    light = data.frame_exposure.reshape(-1, *(1,) * (np.ndim(answers.counts) - 1))
    if (light == 1).all():
        return answers
    sigma = None if answers.sigma is None else answers.sigma * light
    for one in () if answers.replicas is None else answers.replicas:
        one[...] = one * light.astype(np.float32)
    return dataclasses.replace(answers, counts=answers.counts * light, sigma=sigma)


def ensemble(
    predict: Callable[[Array], Array], *, group: symmetry.GroupName
) -> Callable[[Array], Array]:
    """Average a prediction (batch, *spatial, channel) -> same over motions of the last two axes."""
    if group == "none":
        return predict

    def over_group(source: Array) -> Array:
        if source.ndim == 3:
            return (predict(source) + jnp.flip(predict(jnp.flip(source, 1)), 1)) / 2
        return symmetry.group_average(predict, group=group, channels_last=True)(source)

    return over_group


def conserve(result: Answers, counts: Array, exposure: Array) -> Answers:
    """Scale every answer to the counts that its valid pixels measured.

    Args:
      result: expected counts per full frame, (batch, *spatial).
      counts: measured counts, 0 where invalid.
      exposure: full frames behind each pixel.

    Returns:
      The scaled result; a frame whose prediction is 0 everywhere, or whose values add up to less than 0,
      stays as it is.
    """
    seen = exposure > 0
    axes = tuple(range(1, counts.ndim))
    measured = jnp.sum(jnp.where(seen, counts, 0.0), axis=axes, keepdims=True)
    predicted = jnp.sum(jnp.where(seen, result.counts * exposure, 0.0), axis=axes, keepdims=True)
    counts = result.counts * factor_of_totals(measured, predicted)
    return dataclasses.replace(result, counts=counts)


def _onto(
    canvas: Canvas, counts: Any, exposure: Any, scales: Any, unit: Any, beside: Any
) -> tuple[Any, ...]:
    """Put frames, as the files have them, on the canvas: the arguments of `Predictor._of_batch`."""

    def onto(frames: Any) -> Array:
        return canvas.onto(jnp.asarray(frames).astype(jnp.float32))

    return onto(counts), onto(exposure), scales, unit, None if beside is None else onto(beside)


def _off(canvas: Canvas, result: Answers) -> Answers:
    """Take answers off the canvas."""
    return Answers(
        counts=canvas.off(result.counts, np.nan),
        known=canvas.off(result.known, False),
        filled=canvas.off(result.filled, False),
    )


def in_tiles(canvas: tuple[int, ...]) -> bool:
    """Whether frames of a canvas are too large for a network to answer in one piece."""
    return len(canvas) == 2 and int(np.prod(canvas)) > LARGEST_WHOLE


def _masked(array: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return an array with 0 in the repeats that are not kept."""
    return array * kept.reshape(-1, *(1,) * (array.ndim - 1)).astype(array.dtype)


def _common_exposure(data: Measurements) -> float:
    """Return the exposure that all frames have alike; 1 where they differ."""
    each = data.frame_exposure
    return float(each[0]) if np.allclose(each, each[0], rtol=1e-6) else 1.0


def _with_channels(found: list[Answers], data: Measurements) -> Answers:
    """Put the answers of all channels together, as the data have them."""
    if not data.channels:
        return found[0]
    return jax.tree.map(lambda *parts: jnp.stack(parts, axis=-1), *found)
