"""From options to the objects they name: the one place where names become functions."""

from __future__ import annotations

import dataclasses

from smae_jax import models
from smae_jax.config import DataOptions, TrainConfig, parse_center, parse_shares
from smae_jax.data.center import Center
from smae_jax.data.prepare import prepare_scan
from smae_jax.data.scan import Scan
from smae_jax.methods.masked import Masked
from smae_jax.methods.noise2void import Noise2Void
from smae_jax.methods.protocol import Method
from smae_jax.methods.smae import Smae
from smae_jax.methods.supervised import Supervised
from smae_jax.methods.thinning import Thinning, deals_alike
from smae_jax.methods.zero_shot import ZeroShot

LEAST_SHIFT = 0.2
"""Pixels between two views below which they are not registered: centres are found to about 0.1 pixel."""


def build_method(
    config: TrainConfig,
    *,
    rule: str = "run",
    center: tuple[float, float] | None = None,
    half_pixel: tuple[float, float] | None = None,
    most: int = 2**20 - 1,
) -> Method:
    """Return the method that the options name.

    Args:
      config: the options of the run.
      rule: other than "run" replaces the assembling rule.
      center: sub-pixel beam centre (y, x), where it is known.
      half_pixel: the half pixel that partners are counted from.
      most: largest count of the scan.

    Returns:
      The method.

    Raises:
      ValueError: if the method does not know the rule that is asked for.
    """
    if rule != "run" and config.method in ("masked", "zero_shot", "noise2void"):
        raise ValueError(
            f"--rule {rule}: expected a run of a method with two views of a pixel, got one of method "
            f"{config.method}; leave the option out"
        )
    if config.method == "masked":
        return Masked(config.masked.block_size, config.masked.share, augment=config.data.augment)  # type: ignore[return-value]
    if config.method == "noise2void":
        void = config.noise2void
        return Noise2Void(void.share, void.radius, void.structure, config.data.augment)  # type: ignore[return-value]
    if config.method == "zero_shot":
        return ZeroShot(augment=config.data.augment)  # type: ignore[return-value]
    shift = (0.0, 0.0)
    if config.smae.registration and center and half_pixel:
        shift = view_shift(center, half_pixel)
    if config.method == "thinning":
        return _thinning(config, rule, shift, most)  # type: ignore[return-value]
    if rule == "symmetric":
        raise ValueError(
            f"--rule symmetric: expected direct, cross or average for method {config.method}; symmetric "
            "belongs to method thinning"
        )
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


def _thinning(config: TrainConfig, rule: str, shift: tuple[float, float], most: int) -> Thinning:
    options = config.thinning
    if rule == "cross" or (rule != "run" and options.partner == "none"):
        raise ValueError(
            f"--rule {rule}: expected direct, average or symmetric with --thinning.partner channel, got a "
            f"run with partner {options.partner}; leave the option out"
        )
    shares = parse_shares(options.shares)
    return Thinning(
        partner="channel" if options.partner == "auto" else options.partner,
        shares=shares,
        rule=options.rule if rule == "run" else rule,  # type: ignore[arg-type]
        augment=config.data.augment,
        most=most,
        variants=options.variants,
        gaussian=options.gaussian,
        across=options.across and deals_alike(shares, options.variants, options.gaussian),
        shift=(0.0, 0.0) if options.partner == "none" else shift,
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
    """Return the network that the options name, as wide as their method asks."""
    head = "root" if config.rate.head == "auto" else config.rate.head
    return build_network(config, build_method(config), head=head)


def build_network(
    config: TrainConfig,
    method: Method,
    *,
    head: str,
    axes: int = 2,
    edge: bool = False,
    **noise: float,
) -> models.Network:
    """Return the network that the options name.

    Args:
      config: the options of the run.
      method: tells how wide its source and its answer are.
      head: from answers to rates, see `models.build`.
      axes: spatial axes that the network will see.
      edge: whether a U-Net goes on beyond the edge with the edge's own values.
      noise: of the values, as keywords of `models.build`.
    """
    return models.build(
        config.model,
        widths=config.unet.widths,
        blocks=config.unet.blocks,
        precision=config.train.precision,
        measurements=method.source_channels // 2,
        outputs=method.outputs,
        sizes=network_sizes(config),
        axes=axes,
        head=head,
        correction=config.rate.correction,
        edge=edge,
        **noise,
    )


def network_sizes(config: TrainConfig) -> dict[str, int]:
    """Return the attributes of the small network that the options name; none for the others."""
    sizes = {"dncnn": config.dncnn, "resnet": config.resnet, "msd": config.msd}.get(config.model)
    return {} if sizes is None else dataclasses.asdict(sizes)
