"""Lay measurements out for training, and draw examples from them.

In any number of dimensions, with the turned partner where there is a centre.

Where examples may lie is decided once on the host (`place`); drawing them is a pure function of a key, so
nothing random is ever stored, and the same draw serves data on the device and on the host.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from smae_jax.canvas import Canvas, centred_canvas
from smae_jax.errors import UserError
from smae_jax.measurements import Measurements, mean_rate
from smae_jax.methods.own import OwnMethod, adapted
from smae_jax.methods.protocol import Batch, Method, Region
from smae_jax.outliers import take_out
from smae_jax.splitting import pixel_identity
from smae_jax.survey import frame_scales

LEAST_SIDE = 16
"""Pixels a side that patterns about a centre must have in common with their turn."""
FEW = 4096
"""Most frames (times channels) that are dealt like cards, so that all come equally often."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Placed:
    """Measurements as training reads them; patterns with a centre lie on centred canvases.

    Attributes:
      counts: (frames, channels, *canvas); 0 where invalid.
      exposure: full frames behind each pixel, (1 or frames, *canvas), float32; 0 where invalid.
      scale: counts per unit of rate at exposure 1, (frames,), float32.
      held_out: pixels that are never a target, bool, (*canvas); equal for a pixel and its partner.
      frames: indices of the frames that are trained on, int32, (n,).
      judges: indices of the frames that judge, int32, (m,); all, where pixels are held out.
      origins: allowed corners of patches, int32, (k, axes); None = anywhere.
      reference: of a paired measurement: (counts as `counts`, exposure as `exposure`), or None.
      others: where the other repeats are a repeat's reference: (sum over repeats (channels, *canvas), sum of
        exposures (*canvas)), or None.
      judging: counts that were split off to judge, as `counts` with their exposure, or None.
      patch: shape of an example in pixels.
      turned: whether the pixel's partner is the one at the turned place.
      beside: whose mean over channels is shown beside each example: "own" or "others"; None = it is not.
      pixels_judge: whether the held-out pixels judge; elsewhere the frames of `judges` do with all they have.
    """

    counts: Any
    exposure: Any
    scale: Any
    held_out: Any
    frames: Any
    judges: Any
    origins: Any = None
    reference: tuple[Any, Any] | None = None
    others: tuple[Any, Any] | None = None
    judging: tuple[Any, Any] | None = None
    patch: tuple[int, ...] = dataclasses.field(default=(), metadata={"static": True})
    turned: bool = dataclasses.field(default=False, metadata={"static": True})
    beside: str | None = dataclasses.field(default=None, metadata={"static": True})
    pixels_judge: bool = dataclasses.field(default=True, metadata={"static": True})


@dataclasses.dataclass(frozen=True)
class Placing:
    """How measurements are laid out.

    Attributes:
      patch: largest side of an example in pixels; 0 = no limit.
      square: examples are square in the last two axes, as the motions of a square ask.
      crop: at most so many pixels a side about the centre; 0 = the whole frame.
      scale: unit of rate: mean of the "scan" or of each "frame", or their maxima: "scan_max", "frame_max".
      held_out: what is kept from the training to choose the best step: "pixels", "frames" or "none".
      share: of pixels or frames kept, in (0, 0.5]; of a whole example's counts, see `Method.whole`.
      seed: of what is held out.
      outliers: whether counts that stand out are trained on, see `outliers.take_out`.
    """

    patch: int = 64
    square: bool = True
    crop: int = 0
    scale: Literal["scan", "frame", "scan_max", "frame_max"] = "scan"
    held_out: Literal["pixels", "frames", "none"] = "pixels"
    share: float = 0.05
    seed: int = 0
    outliers: bool = False


def place(
    data: Measurements,
    method: Method | OwnMethod,
    *,
    patch: int = 64,
    reference: Measurements | None = None,
    how: Placing | None = None,
) -> Placed:
    """Lay measurements out as a method needs them, and decide what is held out.

    Args:
      data: with the centre, where there is one.
      method: settled on the data; or an object of one's own.
      patch: largest side of an example in pixels; 0 = no limit.
      reference: paired measurements, frame by frame as `data`, with exposures in frames of `data`.
      how: everything else, and `patch` too; None = the defaults.

    Returns:
      Numpy arrays until they are put on devices.

    Raises:
      UserError: if nothing is left to train on, or the method asks for a reference and there is none.
    """
    how, method = how or Placing(patch=patch), adapted(method)
    _check(data, method, reference, how)
    data = data if how.outliers else take_out(data)
    canvas = canvas_of(data, extent=method.extent, crop=how.crop)
    counts, exposure = canvas.embed(data.channels_first), canvas.embed(data.exposure)
    if counts.dtype == np.int64:  # devices hold no such numbers
        counts = counts.astype(np.float32)
    scale = frame_scales(data, rule=how.scale)
    if method.whole:
        return _whole(counts, exposure, scale, how)
    shape = _patch_shape(canvas.shape, method=method, how=how, turned=data.symmetry is not None)
    frames, kept = np.arange(data.frames, dtype=np.int32), 0
    if how.held_out == "frames":
        kept = _frames_kept(data.frames, how)
        frames = np.random.default_rng(how.seed).permutation(frames)
    paired = None
    if reference is not None:
        paired = canvas.embed(reference.channels_first), canvas.embed(reference.exposure)
    others = None
    if "repeats" in method.needs:
        light = np.broadcast_to(exposure, (data.frames, *canvas.shape)).sum(axis=0)
        others = counts.sum(axis=0).astype(np.float32), light.astype(np.float32)
    strategy = getattr(method, "strategy", "1:X")
    return Placed(
        counts=counts,
        exposure=exposure,
        scale=scale,
        held_out=held_out_pixels(
            canvas.shape,
            share=how.share if how.held_out == "pixels" else 0.0,
            seed=how.seed,
            turned=data.symmetry is not None,
        ),
        frames=frames[kept:],
        judges=frames[:kept] if kept else frames,
        origins=None
        if data.center is None
        else _origins(counts, exposure, paired, shape, method=method),
        reference=paired,
        others=others,
        patch=shape,
        turned=data.symmetry is not None,
        beside=("others" if strategy == "X:1" else "own") if data.channels else None,
        pixels_judge=how.held_out == "pixels",
    )


def _check(
    data: Measurements, method: Method, reference: Measurements | None, how: Placing
) -> None:
    """Refuse what cannot be trained on."""
    if "reference" in method.needs and reference is None:
        raise UserError(
            "the method learns from a paired measurement: expected a reference, got none; give "
            "--data.reference"
        )
    if how.held_out == "frames" and "repeats" in method.needs:
        raise UserError(
            "--train.validation frames: expected frames of a scan, got repeats, which are each other's "
            "reference; use pixels or none"
        )
    if (mean := mean_rate(data.channels_first, data.exposure)) <= 0:
        raise UserError(
            f"{data.origin.source}: the mean is {mean:.4g}; expected values with a mean above 0: add "
            "an offset"
        )


def canvas_of(data: Measurements, *, extent: Literal["common", "all"], crop: int = 0) -> Canvas:
    """Return where the frames lie: about the centre of the canvas, or as they are where there is none.

    Raises:
      UserError: if hardly any pixel has a partner on the frame.
    """
    if data.symmetry is None:
        return Canvas(data.spatial, (0,) * len(data.spatial), data.spatial)
    canvas = centred_canvas(data.spatial, data.symmetry.half_pixel, extent=extent, crop=crop)
    if min(canvas.shape) < LEAST_SIDE:
        what = "give the right --data.center"
        if min(data.spatial) < LEAST_SIDE:
            what = f"the frame is too small, expected {LEAST_SIDE} pixels a side or more"
        raise UserError(
            f"beam centre {data.symmetry.half_pixel}: only {canvas.shape} pixels have a partner on the frame "
            f"{data.spatial}; {what}"
        )
    return canvas


def held_out_pixels(
    shape: Sequence[int], *, share: float, seed: int, turned: bool = True
) -> np.ndarray:
    """Choose pixels that never become targets: bool, `shape`; with `turned` together with their partners."""
    rng = np.random.default_rng(seed)
    if turned:
        chosen = rng.random(tuple(shape)) < share / 2
        return chosen | np.flip(chosen)
    size = int(np.prod(shape))
    return (rng.permutation(size) < round(share * size)).reshape(shape)


def patch_origins(
    valid: np.ndarray,
    patch: tuple[int, int],
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
      patch: (height, width) in pixels.
      region: "half" keeps a patch within one half-plane of the canvas; a middle column belongs to neither.
        Elsewhere patches lie anywhere.
      mean_counts: mean frame, (height, width), 0 where invalid; None = every place alike.
      partners: in region "half" only pixels count whose partner is valid too.
      least: patches count whose number of usable pixel pairs reaches this share of the best patch's.

    Returns:
      Corners (y, x), int32, (m, 2), m >= 1.

    Raises:
      UserError: if no valid pixel has a valid partner (or, where none is asked for, if no pixel is valid).
    """
    width = valid.shape[1]
    usable = valid * valid[::-1, ::-1] if region == "half" and partners else valid
    pixels = _patch_sums(usable, patch)
    if region == "half":
        start = np.arange(pixels.shape[1])
        inside = (start + patch[1] <= width // 2) | (start >= width - width // 2)
        pixels = np.where(inside, pixels, 0.0)
    if pixels.max() < 0.5:
        raise UserError(
            "no pixel has a valid partner at the turned position; check the mask and --data.center"
        )
    allowed = pixels >= max(least * pixels.max(), 0.5)
    origins = np.argwhere(allowed).astype(np.int32)
    if mean_counts is None:
        return origins
    share = _patch_sums(mean_counts * usable, patch)[allowed].cumsum()
    if share[-1] <= 0:
        return origins
    evenly = (np.arange(len(origins)) + 0.5) / len(origins) * share[-1]
    return np.concatenate([origins, origins[np.searchsorted(share, evenly)]])


def draw(key: Array, placed: Placed, *, batch_size: int, judging: bool = False) -> Batch:
    """Draw examples on the device; frames and channels come equally often.

    Args:
      key: typed random key.
      placed: on the device.
      batch_size: examples.
      judging: draw what judges instead of what is trained on.

    Returns:
      The batch, (batch, *patch).
    """
    return gather(
        placed, *draw_places(key, placed, batch_size=batch_size, judging=judging), judging=judging
    )


def draw_places(
    key: Array, placed: Placed, *, batch_size: int, judging: bool = False
) -> tuple[Array, Array]:
    """Draw frame * channels + channel of each example, int32, (batch,), and its corner, (batch, axes)."""
    order_key, origin_key = jax.random.split(key)
    channels = placed.counts.shape[1]
    frames = jnp.asarray(placed.judges if judging else placed.frames)
    there = len(frames) * channels
    if there <= FEW:
        chosen = jax.random.permutation(order_key, there)[jnp.arange(batch_size) % there]
    else:
        chosen = jax.random.randint(order_key, (batch_size,), 0, there)
    chosen = frames[chosen // channels] * channels + chosen % channels
    if placed.origins is not None:
        index = jax.random.randint(origin_key, (batch_size,), 0, len(placed.origins))
        return chosen, jnp.asarray(placed.origins)[index]
    free = [n - p + 1 for n, p in zip(placed.held_out.shape, placed.patch, strict=True)]
    origins = jax.random.randint(origin_key, (batch_size, len(free)), 0, jnp.asarray(free)[None])
    return chosen, origins


Cut = Callable[[Any, tuple[Any, ...], Any, tuple[int, ...]], Any]
"""(array (*leading, *canvas), leading indices (batch,) each, corners (batch, axes), patch) -> patches."""


def cut_on_device(
    array: Any, leading: tuple[Any, ...], origins: Any, patch: tuple[int, ...]
) -> Array:
    """Cut patches out of an array on the device; an array of one frame serves all frames."""

    def one(index: tuple[Array, ...], origin: Array) -> Array:
        index = tuple(jnp.minimum(i, n - 1) for i, n in zip(index, array.shape, strict=False))
        sizes = (1,) * len(index) + patch
        return jax.lax.dynamic_slice(array, (*index, *origin), sizes).reshape(patch)

    return jax.vmap(one)(leading, origins)


def cut_on_host(
    array: np.ndarray, leading: tuple[Any, ...], origins: np.ndarray, patch: tuple[int, ...]
) -> np.ndarray:
    """Do what `cut_on_device` does with numpy arrays, for data that do not fit on a device."""
    out = np.empty((len(origins), *patch), array.dtype)
    for place, origin in enumerate(np.asarray(origins)):
        index = tuple(min(int(i[place]), n - 1) for i, n in zip(leading, array.shape, strict=False))
        window = tuple(slice(o, o + p) for o, p in zip(origin, patch, strict=True))
        out[place] = array[(*index, *window)]
    return out


def gather(
    placed: Placed,
    chosen: ArrayLike,
    origins: ArrayLike,
    *,
    judging: bool = False,
    cut: Cut = cut_on_device,
) -> Batch:
    """Cut examples out, with their turned partners where there is a centre.

    Args:
      placed: on the device, or numpy arrays with `cut_on_host`.
      chosen: frame * channels + channel of each example, int32, (batch,).
      origins: corner of each example, int32, (batch, axes).
      judging: make the held-out pixels the eligible ones instead of all others, where pixels are held out,
        and take counts that were split off to judge where there are any.
      cut: cuts patches out of an array.

    Returns:
      The batch, (batch, *patch).
    """
    canvas, patch, channels = placed.held_out.shape, placed.patch, placed.counts.shape[1]
    xp: Any = np if cut is cut_on_host else jnp
    origins, chosen = xp.asarray(origins), xp.asarray(chosen)
    frame, channel = chosen // channels, chosen % channels
    split_off = judging and placed.judging is not None
    stack, light = placed.judging if split_off else (placed.counts, placed.exposure)  # type: ignore[misc]

    def both(corners: Any) -> tuple[Any, Any]:
        counts = cut(stack, (frame, channel), corners, patch)
        return counts.astype(np.float32), cut(light, (frame,), corners, patch)

    own, partner, identities = both(origins), (None, None), (None, None)
    reference: tuple[Any, Any] = (None, None)
    if placed.others is not None:
        total = cut(placed.others[0], (channel,), origins, patch)
        reference = total - own[0], cut(placed.others[1], (), origins, patch) - own[1]
    elif placed.reference is not None:
        counts = cut(placed.reference[0], (frame, channel), origins, patch)
        reference = counts.astype(np.float32), cut(placed.reference[1], (frame,), origins, patch)
    axes = tuple(range(1, 1 + len(patch)))
    if placed.turned:
        partner = both(np.subtract(canvas, patch)[None] - origins)
        partner = tuple(xp.flip(x, axes) for x in partner)
    if placed.turned or placed.origins is not None:
        identities = _identities(frame, origins, canvas, patch)
    elif placed.beside is not None:
        partner = _beside(placed, frame, origins, own, cut)
    held = cut(placed.held_out, (), origins, patch)
    eligible = (held == (judging and placed.pixels_judge)).astype(np.float32)
    return Batch(
        counts=own[0],
        exposure=own[1],
        partner_counts=xp.zeros_like(own[0]) if partner[0] is None else partner[0],
        partner_exposure=xp.zeros_like(own[1]) if partner[1] is None else partner[1],
        scale=xp.asarray(placed.scale)[frame],
        eligible=eligible,
        reference_counts=reference[0],
        reference_exposure=reference[1],
        identity=identities[0],
        partner_identity=identities[1],
    )


def whole_batch(
    counts: Array, exposure: Array, scale: Array, *, turned: bool, beside: Array | None = None
) -> Batch:
    """Make a batch of whole canvases for prediction; all pixels are eligible.

    Args:
      counts: (batch, *canvas).
      exposure: (1 or batch, *canvas).
      scale: counts per unit of rate at exposure 1, (batch,).
      turned: whether the pixel's partner is the one at the turned place.
      beside: without one: the mean over channels of every frame, as `counts`; None = not shown.
    """
    chex.assert_shape(scale, (len(counts),))
    exposure = jnp.broadcast_to(exposure, counts.shape).astype(jnp.float32)
    counts = jnp.where(exposure > 0, counts, 0.0).astype(jnp.float32)
    if turned:
        axes = tuple(range(1, counts.ndim))
        partner, partner_exposure = jnp.flip(counts, axes), jnp.flip(exposure, axes)
    else:
        partner = jnp.zeros_like(counts) if beside is None else beside
        partner_exposure = jnp.zeros_like(exposure) if beside is None else exposure
    return Batch(
        counts=counts,
        exposure=exposure,
        partner_counts=partner,
        partner_exposure=partner_exposure,
        scale=scale,
        eligible=jnp.ones_like(exposure),
    )


def _patch_shape(
    canvas: tuple[int, ...], *, method: Method, how: Placing, turned: bool
) -> tuple[int, ...]:
    """Return the largest example not above `how.patch` that suits the method's region.

    One that crosses the centre is no wider than a half-plane: where patches have one place only, a network
    learns the photons of few frames by heart.
    """
    shape = list(canvas)
    if turned and method.region != "frame":
        shape[-1] //= 2
    shape = [min(size, how.patch) if how.patch else size for size in shape]
    if how.square and len(shape) > 1:
        shape[-2:] = [min(shape[-2:])] * 2
    return tuple(shape)


def _frames_kept(frames: int, how: Placing) -> int:
    kept = max(1, round(how.share * frames))
    if kept >= frames:
        raise UserError(
            f"--train.validation frames: expected at least 2 frames, got {frames}; use pixels or none"
        )
    return kept


def _origins(
    counts: np.ndarray,
    exposure: np.ndarray,
    reference: tuple[np.ndarray, np.ndarray] | None,
    patch: tuple[int, ...],
    *,
    method: Method,
) -> np.ndarray:
    """List where patches of patterns may lie, half of them by their counts."""
    valid = exposure > 0
    usable = valid.mean(axis=0)
    if reference is not None:
        usable = usable * (reference[1] > 0).mean(axis=0)
    seen = np.maximum(valid.sum(axis=0) * (len(counts) // len(valid)), 1)
    return patch_origins(
        usable,
        (patch[0], patch[1]),
        region=method.region,
        partners=method.extent == "common",
        mean_counts=counts.sum(axis=(0, 1), dtype=np.float64) / seen / counts.shape[1],
    )


def _whole(counts: np.ndarray, exposure: np.ndarray, scale: np.ndarray, how: Placing) -> Placed:
    """Add all repeats up, and split their counts binomially into a part to draw and a part that judges."""
    light = np.broadcast_to(exposure, (len(counts), *exposure.shape[1:])).sum(axis=0)[None]
    total = counts.sum(axis=0, dtype=np.int64)[None]
    held = np.random.default_rng(how.seed).binomial(total, how.share)

    def part(own: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
        return own.astype(np.float32), (light * share).astype(np.float32)

    kept = part(total - held, 1 - how.share)
    return Placed(
        counts=kept[0],
        exposure=kept[1],
        scale=scale[:1],
        held_out=np.zeros(exposure.shape[1:], bool),
        frames=np.zeros(1, np.int32),
        judges=np.zeros(1, np.int32),
        judging=part(held, how.share),
        patch=exposure.shape[1:],
        pixels_judge=False,
    )


def _identities(
    frame: Any, origins: Any, canvas: tuple[int, ...], patch: tuple[int, ...]
) -> tuple[Any, Any]:
    """Return the identity of every pixel of patches, and of its partner: (batch, *patch) each."""
    strides = np.cumprod([1, *canvas[:0:-1]])[::-1]
    inside = np.tensordot(strides, np.indices(patch), 1).astype(np.int32)
    corner = (origins * strides.astype(np.int32)[None]).sum(axis=1)
    like = (-1,) + (1,) * len(patch)
    pixel = corner.reshape(like) + inside[None]
    of_frame = frame.reshape(like)
    turned = int(np.prod(canvas)) - 1 - pixel
    return pixel_identity(of_frame, pixel), pixel_identity(of_frame, turned)


def _beside(
    placed: Placed, frame: Any, origins: Any, own: tuple[Any, Any], cut: Cut
) -> tuple[Any, Any]:
    """Return the mean over channels of the same repeat, or of all others, at the same place."""
    channels = placed.counts.shape[1]

    def summed(stack: Any, leading: tuple[Any, ...]) -> Any:
        parts = (
            cut(stack, (*leading, frame * 0 + c), origins, placed.patch) for c in range(channels)
        )
        return sum(part.astype(np.float32) for part in parts)

    mean, share = summed(placed.counts, (frame,)), np.float32(1 / channels)
    if placed.beside == "own" or placed.others is None:
        return mean * share, own[1]
    total = summed(placed.others[0], ())
    return (total - mean) * share, cut(placed.others[1], (), origins, placed.patch) - own[1]


def _patch_sums(image: np.ndarray, patch: tuple[int, ...]) -> np.ndarray:
    """Sum every patch of an image, by its corner: (height - rows + 1, width - columns + 1)."""
    integral = np.pad(image.astype(np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    rows, columns = patch
    return (
        integral[rows:, columns:]
        - integral[:-rows, columns:]
        - integral[rows:, :-columns]
        + integral[:-rows, :-columns]
    )
