"""Apply a trained network to whole frames: batches, ensemble over a group, and back to the detector.

Receives functions and arrays; knows nothing of files or of what a method does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from smae_jax import symmetry
from smae_jax.data.batches import whole
from smae_jax.data.canvas import Canvas
from smae_jax.error_bars import averaged, jackknife_variance, without_each_fold
from smae_jax.methods.protocol import Denoised, Method

Denoise = Callable[..., Denoised]
PIXELS_PER_BATCH = 4_000_000


def ensemble(
    predict: Callable[[Array], Array], *, group: symmetry.GroupName
) -> Callable[[Array], Array]:
    """Average a prediction (batch, height, width, channel) -> same over a group of motions."""

    def channels_first(source: Array) -> Array:
        return jnp.moveaxis(predict(jnp.moveaxis(source, 1, -1)), -1, 1)

    averaged = symmetry.group_average(channels_first, group=group)
    return lambda source: jnp.moveaxis(averaged(jnp.moveaxis(source, -1, 1)), 1, -1)


def make_denoiser(
    apply: Callable[[Any, Array], Array],
    method: Method,
    *,
    group: symmetry.GroupName,
    conserve_totals: bool,
    mesh: Mesh,
    folds: int = 0,
    most: int = 0,
) -> Denoise:
    """Return the jitted function that denoises a batch of whole canvases.

    Args:
      apply: (parameters, source) -> prediction.
      method: puts the predictions back.
      group: motions that predictions are averaged over.
      conserve_totals: scale each frame to the counts on its valid pixels.
      mesh: the batch is split over it.
      folds: of the photons, for the jackknife's variance of every answer; 0 = none.
      most: largest count that is given, where there are folds.

    Returns:
      (parameters, counts, valid, scale, share=1.0) -> Denoised; counts (batch, height, width), batch a
      multiple of the devices; valid (1 or batch, height, width); scale (batch,), counts per unit of rate of
      a full frame; share of a full frame's exposure that all counts are of.
    """
    split = NamedSharding(mesh, PartitionSpec("data"))

    def denoise(
        parameters: Any,
        counts: Array,
        valid: Array,
        scale: Array,
        share: Array | float = 1.0,
    ) -> Denoised:
        predict = ensemble(lambda source: apply(parameters, source), group=group)

        def answer(counts: Array, left: Array | float) -> Denoised:
            # A network that never saw a part of an exposure is shown a weaker frame instead.
            light, unit = (valid * left, 1.0) if method.sees_exposure else (valid, left)
            batch = whole(counts, light, scale * unit)
            batch = jax.lax.with_sharding_constraint(batch, split)
            result = method.denoise(predict, batch)
            if conserve_totals:
                result = conserve(result, batch.counts, batch.exposure)
            return dataclasses.replace(result, counts=result.counts / unit)

        if folds:
            counts = jnp.where(valid > 0, counts, 0.0)
        result = answer(counts, share)
        if not folds:
            return result
        parts = without_each_fold(jax.random.key(0), counts, folds=folds, most=most)
        left = share * (folds - 1) / folds
        variance = jackknife_variance([answer(part, left).counts for part in parts])
        return dataclasses.replace(result, variance=averaged(variance, result.known))

    return jax.jit(denoise)


def conserve(result: Denoised, counts: Array, exposure: Array) -> Denoised:
    """Scale every denoised frame to the counts that its valid pixels measured.

    Args:
      result: expected counts per full frame, (batch, height, width).
      counts: measured counts, 0 where invalid.
      exposure: full frames behind each pixel.

    Returns:
      The scaled result; a frame whose prediction is 0 everywhere stays as it is.
    """
    seen = exposure > 0
    axes = tuple(range(1, counts.ndim))
    measured = jnp.sum(jnp.where(seen, counts, 0.0), axis=axes, keepdims=True)
    predicted = jnp.sum(jnp.where(seen, result.counts * exposure, 0.0), axis=axes, keepdims=True)
    factor = jnp.where(predicted > 0, measured / jnp.where(predicted > 0, predicted, 1.0), 1.0)
    return dataclasses.replace(result, counts=result.counts * factor)


def frames_per_batch(canvas: Canvas, *, frames: int, devices: int, wanted: int = 0) -> int:
    """Choose the batch size: `wanted`, or about four million pixels; a multiple of the devices."""
    chosen = wanted or min(frames, PIXELS_PER_BATCH // (canvas.shape[0] * canvas.shape[1]))
    return max(1, -(-chosen // devices)) * devices


def denoise_frames(
    denoise: Denoise,
    parameters: Any,
    counts: np.ndarray,
    valid: np.ndarray,
    scales: np.ndarray,
    *,
    canvas: Canvas,
    batch_size: int,
    share: float = 1.0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Iterator[Denoised]:
    """Denoise frames batch by batch, and take the results off the canvas.

    Every batch has one size (the last is filled up with its last frame), so there is one compilation.

    Args:
      denoise: from `make_denoiser`.
      parameters: of the network.
      counts: (frames, height, width) of the detector, 0 where invalid.
      valid: bool, (1 or frames, height, width).
      scales: counts per unit of rate, (frames,).
      canvas: where the frame lies on the canvas.
      batch_size: frames per batch, a multiple of the devices.
      share: of a full frame's exposure that the counts are of.
      progress: wraps the batch starts, e.g. `tqdm`.

    Yields:
      The answers for the frames of a batch, numpy arrays (n, height, width).
    """
    outside = Denoised(counts=np.nan, known=False, filled=False, variance=np.nan)  # type: ignore[arg-type]
    total = len(counts)
    for start in progress(range(0, total, batch_size)):
        chosen = np.minimum(np.arange(start, start + batch_size), total - 1)
        masks = valid if len(valid) == 1 else valid[chosen]
        result = denoise(
            parameters,
            canvas.embed(counts[chosen].astype(np.float32)),
            canvas.embed(masks, False),
            scales[chosen],
            share,
        )
        kept = min(batch_size, total - start)
        fields = {
            field.name: canvas.extract(
                np.asarray(getattr(result, field.name))[:kept], getattr(outside, field.name)
            )
            for field in dataclasses.fields(result)
            if getattr(result, field.name) is not None
        }
        yield Denoised(**fields)  # type: ignore[arg-type]
