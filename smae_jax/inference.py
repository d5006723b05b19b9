"""Apply a trained network to whole frames: batches, ensemble over a group, and back to the detector.

Receives functions and arrays; knows nothing of files or of what a method does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from smae_jax import symmetry
from smae_jax.data.batches import whole
from smae_jax.data.canvas import Canvas
from smae_jax.methods.protocol import Denoised, Method

Denoise = Callable[[Any, ArrayLike, ArrayLike, ArrayLike], Denoised]
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
) -> Denoise:
    """Return the jitted function that denoises a batch of whole canvases.

    Args:
      apply: (parameters, source) -> prediction.
      method: puts the predictions back.
      group: motions that predictions are averaged over.
      conserve_totals: scale each frame to the counts on its valid pixels.
      mesh: the batch is split over it.

    Returns:
      (parameters, counts, valid, scale) -> Denoised; counts (batch, height, width), batch a multiple of the
      devices; valid (1 or batch, height, width); scale (batch,).
    """
    split = NamedSharding(mesh, PartitionSpec("data"))

    def denoise(parameters: Any, counts: Array, valid: Array, scale: Array) -> Denoised:
        batch = jax.lax.with_sharding_constraint(whole(counts, valid, scale), split)
        predict = ensemble(lambda source: apply(parameters, source), group=group)
        result = method.denoise(predict, batch)
        if conserve_totals:
            result = conserve(result, batch.counts, batch.exposure)
        return result

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
    return Denoised(result.counts * factor, result.known, result.filled)


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
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
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
      progress: wraps the batch starts, e.g. `tqdm`.

    Yields:
      (counts, known, filled) of the frames of a batch, (n, height, width): expected counts as float32, NaN
      where not known; whether there is an answer; whether it stands on the partner alone.
    """
    total = len(counts)
    for start in progress(range(0, total, batch_size)):
        chosen = np.minimum(np.arange(start, start + batch_size), total - 1)
        masks = valid if len(valid) == 1 else valid[chosen]
        result = denoise(
            parameters,
            canvas.embed(counts[chosen].astype(np.float32)),
            canvas.embed(masks, False),
            scales[chosen],
        )
        kept = min(batch_size, total - start)
        yield (
            canvas.extract(np.asarray(result.counts)[:kept], np.nan),
            canvas.extract(np.asarray(result.known)[:kept], False),
            canvas.extract(np.asarray(result.filled)[:kept], False),
        )
