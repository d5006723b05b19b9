"""From options to the objects they name: the one place where names become functions."""

from __future__ import annotations

from smae_jax import models
from smae_jax.config import TrainConfig
from smae_jax.methods.protocol import Method
from smae_jax.methods.smae import Smae


def build_method(config: TrainConfig, *, rule: str = "run") -> Method:
    """Return the method that the options name; `rule` other than "run" replaces the assembling rule."""
    chosen = config.smae.rule if rule == "run" else rule
    return Smae(augment=config.data.augment, rule=chosen, reference=config.smae.reference)  # type: ignore[arg-type]


def build_model(config: TrainConfig) -> models.Network:
    """Return the network that the options name."""
    return models.build(
        config.model,
        widths=config.unet.widths,
        blocks=config.unet.blocks,
        precision=config.train.precision,
    )
