"""From options to the objects they name: the one place where names become functions."""

from __future__ import annotations

from smae_jax import models
from smae_jax.config import DataOptions, TrainConfig, parse_center
from smae_jax.data.center import Center
from smae_jax.data.prepare import prepare_scan
from smae_jax.data.scan import Scan
from smae_jax.methods.masked import Masked
from smae_jax.methods.protocol import Method
from smae_jax.methods.smae import Smae
from smae_jax.methods.supervised import Supervised
from smae_jax.methods.zero_shot import ZeroShot

LEAST_SHIFT = 0.2
"""Pixels between two views below which they are not registered: centres are found to about 0.1 pixel."""


def build_method(
    config: TrainConfig,
    *,
    rule: str = "run",
    center: tuple[float, float] | None = None,
    half_pixel: tuple[float, float] | None = None,
) -> Method:
    """Return the method that the options name.

    Args:
      config: the options of the run.
      rule: other than "run" replaces the assembling rule.
      center: sub-pixel beam centre (y, x), where it is known.
      half_pixel: the half pixel that partners are counted from.

    Returns:
      The method.

    Raises:
      ValueError: if a rule is asked for and the method does not put two views together.
    """
    if rule != "run" and config.method in ("masked", "zero_shot"):
        raise ValueError(
            f"--rule {rule}: expected a run of a method with two views of a pixel, got one of method "
            f"{config.method}; leave the option out"
        )
    if config.method == "masked":
        return Masked(config.masked.block_size, config.masked.share, augment=config.data.augment)  # type: ignore[return-value]
    if config.method == "zero_shot":
        return ZeroShot(augment=config.data.augment)  # type: ignore[return-value]
    shift = (0.0, 0.0)
    if config.smae.registration and center and half_pixel:
        shift = view_shift(center, half_pixel)
    if config.method == "supervised":
        chosen = config.supervised.rule if rule == "run" else rule
        return Supervised(augment=config.data.augment, rule=chosen, shift=shift)  # type: ignore[arg-type]
    chosen = config.smae.rule if rule == "run" else rule
    return Smae(
        augment=config.data.augment,
        rule=chosen,  # type: ignore[arg-type]
        reference=config.smae.reference,
        shift=shift,
    )


def view_shift(center: tuple[float, float], half_pixel: tuple[float, float]) -> tuple[float, float]:
    """Return how far apart (y, x) two views lie that are turned about the half pixel, in pixels."""
    y, x = (2 * (c - h) for c, h in zip(center, half_pixel, strict=True))
    return (y, x) if LEAST_SHIFT <= max(abs(y), abs(x)) < 1 else (0.0, 0.0)


def prepare(options: DataOptions) -> tuple[Scan, Center]:
    """Read, mask and centre the scan that the options name; see `data.prepare.prepare_scan`."""
    return prepare_scan(
        options.path,
        mask=options.mask,
        mask_polarity=options.mask_polarity,
        saturation=options.saturation,
        hot_pixels=options.hot_pixels,
        center=None if options.center == "auto" else parse_center(options.center),
    )


def build_model(config: TrainConfig) -> models.Network:
    """Return the network that the options name."""
    return models.build(
        config.model,
        widths=config.unet.widths,
        blocks=config.unet.blocks,
        precision=config.train.precision,
    )
