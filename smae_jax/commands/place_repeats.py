"""Lay repeats out for training: what is trained on, what is held out, and in which unit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from smae_jax.commands.build_repeats import ONE_ANSWER
from smae_jax.config import DataOptions, TrainConfig
from smae_jax.data.readers import read_mask
from smae_jax.data.repeat_batches import Stack, held_out_points
from smae_jax.data.repeats import Repeats
from smae_jax.data.repeats_readers import read_repeats

Say = Callable[[str], None]


def read_data(options: DataOptions, path: str, *, repeats: str, mask: str = "") -> Repeats:
    """Read repeats as the options say, and mask patterns.

    Raises:
      ValueError: in one line, if they cannot be read, or a mask does not fit.
    """
    found = read_repeats(
        path,
        dimensions=options.dimensions,
        repeats=repeats,
        repeats_axis=options.repeats_axis,
        channel_axis=options.channel_axis,
        axis_label=options.axis_label,
        saturation=options.saturation or None,
    )
    if not mask:
        return found
    if len(found.spatial) != 2:
        raise ValueError(
            f"--data.mask {mask}: masks are for patterns; mark what is bad in spectra and volumes as NaN"
        )
    good = read_mask(mask, polarity=options.mask_polarity)
    if good.shape != found.spatial:
        raise ValueError(
            f"{mask}: is a mask of {good.shape}, the patterns are {found.spatial}; give their mask"
        )
    valid = found.valid & good
    if not valid.any():
        raise ValueError(f"{mask}: leaves no usable pixel of {path}; check --data.mask-polarity")
    kept = valid[..., None] if found.channels else valid
    return dataclasses.replace(found, valid=valid, counts=np.where(kept, found.counts, 0))


def channels_first(repeats: Repeats) -> np.ndarray:
    """Return counts as (repeats, channels, *spatial), one channel where there is no channel axis."""
    if repeats.channels:
        return np.ascontiguousarray(np.moveaxis(repeats.counts, -1, 1))
    return repeats.counts[:, None]


def exposures(repeats: Repeats) -> np.ndarray:
    """Return the exposure behind every point, (repeats, *spatial), float32; 0 where invalid."""
    each = repeats.exposure.reshape(-1, *(1,) * len(repeats.spatial))
    valid = np.broadcast_to(repeats.valid, (len(repeats.counts), *repeats.spatial))
    return (each * valid).astype(np.float32)


def mean_rate(counts: np.ndarray, exposure: np.ndarray) -> float:
    """Return mean counts per unit of exposure of (repeats, channels, *spatial)."""
    light = exposure.sum(dtype=np.float64) * counts.shape[1]
    return float(counts.sum(dtype=np.float64) / light)


def place_repeats(
    config: TrainConfig, repeats: Repeats, say: Say, *, scale: float | None = None
) -> tuple[Stack, Stack, float]:
    """Lay repeats out as the method needs them.

    Args:
      config: options of the run.
      repeats: as read.
      say: receives every line that a person should read.
      scale: counts per unit of rate; None = the mean of these repeats.

    Returns:
      (what is trained on, what is held out, scale), numpy arrays; both are one where points are held out.

    Raises:
      ValueError: in one line, if the repeats are not what the method needs.
    """
    counts, exposure = channels_first(repeats), exposures(repeats)
    unit = mean_rate(counts, exposure) if scale is None else scale
    if not unit > 0:
        raise ValueError(
            f"{repeats.source}: the mean is {unit:.4g}; expected values with a mean above 0: add an offset"
        )
    if config.train.validation == "frames":
        raise ValueError(
            "--train.validation frames: is for scans; use pixels or none for spectra and repeats"
        )
    share = config.train.validation_share if config.train.validation == "pixels" else 0.0
    if config.method == "deep_image_prior":
        return *_split_counts(config, repeats, counts, exposure, unit), unit
    if config.method == "noise2noise" and len(counts) < 2:
        raise ValueError(
            f"--method noise2noise: expected at least 2 repeats, got {len(counts)} in {repeats.source}; use "
            "method thinning or noise2void for a single one"
        )
    if (
        config.method == "thinning"
        and config.thinning.gain == 1
        and not config.thinning.readout_noise
    ):
        _check_counts(
            repeats, counts, "use --method noise2noise or noise2void, or give --thinning.gain"
        )
    others = None
    if config.method == "noise2noise":
        others = counts.sum(axis=0), exposure.sum(axis=0)
    reference = None
    if config.method == "supervised":
        reference = _reference(config, repeats, counts, exposure, say)
    beside = None
    if config.method == "noise2noise" and repeats.channels:
        beside = np.float32(config.noise2noise.strategy == "X:1")
    stack = Stack(  # numpy arrays until they are on the devices
        counts=counts,  # type: ignore[arg-type]
        exposure=exposure,  # type: ignore[arg-type]
        scale=np.full(len(counts), unit, np.float32),  # type: ignore[arg-type]
        held_out=held_out_points(repeats.spatial, share=share, seed=config.seed),  # type: ignore[arg-type]
        others=others,  # type: ignore[arg-type]
        reference=reference,  # type: ignore[arg-type]
        beside=beside,  # type: ignore[arg-type]
    )
    return stack, stack, unit


def _split_counts(
    config: TrainConfig,
    repeats: Repeats,
    counts: np.ndarray,
    exposure: np.ndarray,
    unit: float,
) -> tuple[Stack, Stack]:
    """Add all repeats up and split their counts binomially into a part to draw and a part that judges."""
    if repeats.channels:
        raise ValueError(
            "--method deep_image_prior: expected data without channels; use noise2noise, or train each alone"
        )
    _check_counts(repeats, counts, "use --method noise2noise or noise2void")
    total, light = counts.sum(axis=0)[None], exposure.sum(axis=0)[None]
    share = config.deep_image_prior.held_out
    rng = np.random.default_rng(config.seed)
    held = rng.binomial(total.astype(np.int64), share).astype(np.float32)

    def part(counts: np.ndarray, exposure: np.ndarray) -> Stack:
        return Stack(
            counts=counts,  # type: ignore[arg-type]
            exposure=exposure.astype(np.float32),  # type: ignore[arg-type]
            scale=np.full(1, unit, np.float32),  # type: ignore[arg-type]
            held_out=np.zeros(repeats.spatial, bool),  # type: ignore[arg-type]
        )

    return part(total - held, light * (1 - share)), part(held, light * share)


def _check_counts(repeats: Repeats, counts: np.ndarray, advice: str) -> None:
    """Refuse values that cannot be split as photons."""
    odd = counts[(counts < 0) | (counts != np.floor(counts))]
    if odd.size:
        raise ValueError(
            f"{repeats.source}: expected whole photon counts to split, got {odd[0]:g}; {advice}"
        )


def _reference(
    config: TrainConfig, repeats: Repeats, counts: np.ndarray, exposure: np.ndarray, say: Say
) -> tuple[np.ndarray, np.ndarray]:
    """Read the high-count reference: one for each measurement, or their sum for all.

    Returns:
      (counts as `counts`, exposure as `exposure`, in exposures of `repeats`).
    """
    path = config.data.reference
    better = read_data(config.data, path, repeats="", mask=config.data.mask)
    high, light = channels_first(better), exposures(better)
    if high.shape[1:] != counts.shape[1:]:
        raise ValueError(
            f"--data.reference {path}: has shape {high.shape[1:]}, {repeats.source} has {counts.shape[1:]} "
            "(channels, *spatial); give a reference of the same measurement"
        )
    if len(high) != len(counts):
        how = f"the sum of {len(high)} for all {len(counts)}"
        high, light = high.sum(axis=0)[None], light.sum(axis=0)[None]
        high = np.repeat(high, len(counts), axis=0)
        light = np.repeat(light, len(counts), axis=0)
    else:
        how = "one for each, in order"
    ratio = mean_rate(high, light) / mean_rate(counts, exposure)
    say(f"reference {path}: {how}; counts per exposure are {ratio:.3g} times as many")
    return high, (light * ratio).astype(np.float32)


def one_answer(config: TrainConfig) -> bool:
    """Whether the method gives one answer to all repeats."""
    return config.method in ONE_ANSWER
