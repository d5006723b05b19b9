"""Draw random patches, with their partners, from centred canvases.

Where patches may lie is decided once on the host (`patch_origins`); drawing them is a pure function of a key,
so nothing random is ever stored, and the same draw serves data on the device (`gather`) and on the host.
The only file of `data` that uses JAX.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax import symmetry
from smae_jax.methods.protocol import Batch, Region
from smae_jax.splitting import pixel_identity


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Canvases:
    """A scan on centred canvases, as training reads it.

    Attributes:
      counts: photons, (frames, height, width), float32; 0 where invalid.
      valid: bool, (1 or frames, height, width); False off the detector.
      scale: counts per unit of rate, (frames,), float32.
      held_out: pixels kept from training, bool, (height, width), equal for a pixel and its partner.
      frames: indices of the frames that patches are drawn from, int32, (n,).
      origins: allowed corners (y, x) of patches, int32, (m, 2).
      reference_counts: of a paired high-count scan, as `counts`, or None.
      reference_valid: where they are to be used, bool, (1 or frames, height, width), or None.
      reference_ratio: exposure of each reference frame in frames of `counts`, (frames,), float32, or None.
    """

    counts: Array
    valid: Array
    scale: Array
    held_out: Array
    frames: Array
    origins: Array
    reference_counts: Array | None = None
    reference_valid: Array | None = None
    reference_ratio: Array | None = None


def patch_shape_for(
    canvas_shape: tuple[int, int], *, patch: int, region: Region, square: bool
) -> tuple[int, int]:
    """Return the largest patch (height, width) not above `patch` (0 = no limit) that suits the region.

    One that crosses the centre is no wider than a half-plane: where patches have one place only, a network
    learns the photons of few frames by heart.
    """
    height, width = canvas_shape
    if region != "frame":
        width //= 2
    if patch:
        height, width = min(height, patch), min(width, patch)
    if square:
        height = width = min(height, width)
    return height, width


def patch_origins(
    valid: np.ndarray,
    patch_shape: tuple[int, int],
    *,
    region: Region,
    mean_counts: np.ndarray | None = None,
    partners: bool = True,
    least: float = 0.5,
) -> np.ndarray:
    """List the corners of the patches to train on; drawing them evenly is drawing the patches.

    With `mean_counts` the list has a second half in which corners repeat in proportion to their patch's
    counts: large frames are dark but for a few bright features, which would hardly ever be seen.

    Args:
      valid: share of the frames in which a canvas pixel is valid, (height, width), in [0, 1].
      patch_shape: (height, width) in pixels.
      region: "half" keeps a patch within one half-plane of the canvas; a middle column belongs to neither.
        Elsewhere patches lie anywhere.
      mean_counts: mean frame, (height, width), 0 where invalid; None = every place alike.
      partners: in region "half" only pixels count whose partner is valid too.
      least: patches count whose number of usable pixel pairs reaches this share of the best patch's.

    Returns:
      Corners (y, x), int32, (m, 2), m >= 1.

    Raises:
      ValueError: if no valid pixel has a valid partner (or, where none is asked for, if no pixel is valid).
    """
    width = valid.shape[1]
    usable = valid * valid[::-1, ::-1] if region == "half" and partners else valid
    pixels = _patch_sums(usable, patch_shape)
    if region == "half":
        start = np.arange(pixels.shape[1])
        inside = (start + patch_shape[1] <= width // 2) | (start >= width - width // 2)
        pixels = np.where(inside, pixels, 0.0)
    if pixels.max() < 0.5:
        raise ValueError(
            "no pixel has a valid partner at the turned position; check the mask and --data.center"
        )
    allowed = pixels >= max(least * pixels.max(), 0.5)
    origins = np.argwhere(allowed).astype(np.int32)
    if mean_counts is None:
        return origins
    share = _patch_sums(mean_counts * usable, patch_shape)[allowed].cumsum()
    if share[-1] <= 0:
        return origins
    evenly = (np.arange(len(origins)) + 0.5) / len(origins) * share[-1]
    return np.concatenate([origins, origins[np.searchsorted(share, evenly)]])


def _patch_sums(image: np.ndarray, patch_shape: tuple[int, int]) -> np.ndarray:
    """Sum every patch of an image, by its corner: (height - rows + 1, width - columns + 1)."""
    integral = np.pad(image.astype(np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    rows, columns = patch_shape
    return (
        integral[rows:, columns:]
        - integral[:-rows, columns:]
        - integral[rows:, :-columns]
        + integral[:-rows, :-columns]
    )


def held_out_pixels(shape: tuple[int, int], *, share: float, seed: int) -> np.ndarray:
    """Choose pixels that never become targets, together with their partners: bool, `shape`."""
    chosen = np.random.default_rng(seed).random(shape) < share / 2
    return chosen | chosen[::-1, ::-1]


def draw_places(key: Array, data: Canvases, *, batch_size: int) -> tuple[Array, Array]:
    """Draw which frame and which corner each patch comes from: int32, (batch,) and (batch, 2)."""
    frame_key, origin_key = jax.random.split(key)
    frame = jax.random.randint(frame_key, (batch_size,), 0, data.frames.shape[0])
    origin = jax.random.randint(origin_key, (batch_size,), 0, data.origins.shape[0])
    return jnp.asarray(data.frames)[frame], jnp.asarray(data.origins)[origin]


def gather(
    data: Canvases,
    frames: Array,
    origins: Array,
    *,
    patch_shape: tuple[int, int],
    held_out: bool = False,
) -> Batch:
    """Cut patches and their turned partners out of the canvases.

    Args:
      data: canvases on the device.
      frames: frame of each patch, int32, (batch,).
      origins: corner (y, x) of each patch, int32, (batch, 2).
      patch_shape: (height, width) in pixels.
      held_out: make the held-out pixels the eligible ones instead of all others.

    Returns:
      The batch, (batch, *patch_shape).
    """
    height, width = data.counts.shape[-2:]
    rows, columns = patch_shape

    def cut(stack: Array, frame: Array, y: Array, x: Array) -> Array:
        frame = jnp.minimum(frame, stack.shape[0] - 1)  # one mask may serve all frames
        return jax.lax.dynamic_slice(stack, (frame, y, x), (1, rows, columns))[0]

    def one(frame: Array, origin: Array) -> tuple[Array, ...]:
        y, x = origin
        turned_y, turned_x = height - rows - y, width - columns - x
        own = [cut(stack, frame, y, x) for stack in (data.counts, data.valid)]
        partner = [
            symmetry.rotate180(cut(stack, frame, turned_y, turned_x))
            for stack in (data.counts, data.valid)
        ]
        eligible = cut(data.held_out[None], frame, y, x) == held_out
        return (*own, *partner, eligible)

    def one_reference(frame: Array, origin: Array) -> tuple[Array, Array]:
        stacks, (y, x) = (data.reference_counts, data.reference_valid), origin
        counts, valid = (cut(stack, frame, y, x) for stack in stacks)  # type: ignore[arg-type]
        return counts.astype(as_float), valid * data.reference_ratio[frame]  # type: ignore[index]

    def identities(frame: Array, origin: Array) -> tuple[Array, Array]:
        y, x = jnp.mgrid[:rows, :columns]
        pixel = (origin[0] + y) * width + origin[1] + x
        turned = height * width - 1 - pixel
        return pixel_identity(frame, pixel), pixel_identity(frame, turned)

    as_float = jnp.float32
    counts, valid, partner_counts, partner_valid, eligible = jax.vmap(one)(frames, origins)
    reference: tuple[Array | None, Array | None] = (None, None)
    if data.reference_counts is not None:
        reference = jax.vmap(one_reference)(frames, origins)
    identity, partner_identity = jax.vmap(identities)(frames, origins)
    return Batch(
        counts=counts.astype(as_float),
        exposure=valid.astype(as_float),
        partner_counts=partner_counts.astype(as_float),
        partner_exposure=partner_valid.astype(as_float),
        scale=data.scale[frames],
        eligible=eligible.astype(as_float),
        reference_counts=reference[0],
        reference_exposure=reference[1],
        identity=identity,
        partner_identity=partner_identity,
    )


def gather_on_host(
    data: Canvases,
    frames: np.ndarray,
    origins: np.ndarray,
    *,
    patch_shape: tuple[int, int],
    held_out: bool = False,
) -> Batch:
    """Do what `gather` does with numpy arrays, for scans that do not fit on a device."""
    height, width = data.counts.shape[-2:]
    rows, columns = patch_shape

    def cut(stack: Any, *, turned: bool) -> Any:
        patches = np.zeros((len(frames), rows, columns), np.float32)
        for patch, frame, (y, x) in zip(patches, frames, origins, strict=True):
            if turned:
                y, x = height - rows - y, width - columns - x
            found = stack[min(frame, len(stack) - 1), y : y + rows, x : x + columns]
            patch[...] = found[::-1, ::-1] if turned else found
        return patches

    reference: tuple[Any, Any] = (None, None)
    if data.reference_counts is not None:
        seen = cut(data.reference_valid, turned=False)
        ratio = data.reference_ratio[frames]  # type: ignore[index]
        reference = cut(data.reference_counts, turned=False), seen * ratio[:, None, None]
    y, x = np.mgrid[:rows, :columns]
    corner = np.asarray(origins)[:, 0] * width + np.asarray(origins)[:, 1]
    pixel = corner[:, None, None] + y * width + x
    of_frame = np.asarray(frames)[:, None, None]
    return Batch(  # numpy arrays, on their way to the device
        counts=cut(data.counts, turned=False),
        exposure=cut(data.valid, turned=False),
        partner_counts=cut(data.counts, turned=True),
        partner_exposure=cut(data.valid, turned=True),
        scale=data.scale[frames],
        eligible=(cut(data.held_out[None], turned=False) == held_out).astype(np.float32),
        reference_counts=reference[0],
        reference_exposure=reference[1],
        identity=pixel_identity(of_frame, pixel),  # type: ignore[arg-type]
        partner_identity=pixel_identity(of_frame, height * width - 1 - pixel),  # type: ignore[arg-type]
    )


def whole(counts: Array, valid: Array, scale: Array) -> Batch:
    """Make a batch of whole canvases (batch, height, width) for prediction; all pixels eligible."""
    exposure = jnp.broadcast_to(valid, counts.shape).astype(jnp.float32)
    counts = jnp.where(exposure > 0, counts, 0.0).astype(jnp.float32)
    return Batch(
        counts=counts,
        exposure=exposure,
        partner_counts=symmetry.rotate180(counts),
        partner_exposure=symmetry.rotate180(exposure),
        scale=scale,
        eligible=jnp.ones_like(exposure),
    )
