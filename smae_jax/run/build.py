"""From options to the objects they name: one ladder to methods, networks, losses, optimizers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import optax

from smae_jax import losses, models, training
from smae_jax.config import TrainConfig, TrainOptions, parse_shares
from smae_jax.errors import UserError
from smae_jax.loss_spec import parse_loss
from smae_jax.made_once import made_once
from smae_jax.measurements import Measurements
from smae_jax.methods import (
    DeepImagePrior,
    Masked,
    Method,
    Noise2Noise,
    Noise2Void,
    Smae,
    Supervised,
    Thinning,
    ZeroShot,
)
from smae_jax.methods.own import adapted
from smae_jax.methods.protocol import Say
from smae_jax.named import named
from smae_jax.noise import Noise, likelihood, measure_noise


def _thinning(config: TrainConfig) -> Method:
    options = config.thinning
    return Thinning(
        partner=options.partner,
        shares=parse_shares(options.shares),
        rule=options.rule,
        augment=config.data.augment,
        variants=options.variants,
        gaussian=options.gaussian,
        across=options.across,
        hidden=None if options.hidden else 0.0,
        registration=config.smae.registration,
    )


def _smae(config: TrainConfig) -> Method:
    options = config.smae
    return Smae(config.data.augment, options.rule, options.reference, options.registration)


def _supervised(config: TrainConfig) -> Method:
    return Supervised(config.data.augment, config.supervised.rule, config.smae.registration)


def _noise2noise(config: TrainConfig) -> Method:
    options = config.noise2noise
    return Noise2Noise(options.strategy, options.prediction, config.data.augment)


def _noise2void(config: TrainConfig) -> Method:
    options = config.noise2void
    return Noise2Void(options.share, options.radius, options.structure, config.data.augment)


def _deep_image_prior(config: TrainConfig) -> Method:
    options = config.deep_image_prior
    return DeepImagePrior(options.channels, options.jitter, config.seed)


def _masked(config: TrainConfig) -> Method:
    return Masked(config.masked.block_size, config.masked.share, config.data.augment)


def _zero_shot(config: TrainConfig) -> Method:
    return ZeroShot(config.data.augment)


METHODS: dict[str, Callable[[TrainConfig], Method]] = {
    "thinning": _thinning,
    "smae": _smae,
    "noise2noise": _noise2noise,
    "supervised": _supervised,
    "noise2void": _noise2void,
    "deep_image_prior": _deep_image_prior,
    "masked": _masked,
    "zero_shot": _zero_shot,
}


def build_method(config: TrainConfig) -> Method:
    """Return the method that the options name, not yet settled on any measurements.

    Raises:
      UserError: if there is no such method.
    """
    if ":" in config.method:
        return adapted(named(config.method, option="--method"), name=config.method)
    if config.method not in METHODS:
        raise UserError(
            f"--method {config.method}: expected one of {', '.join(METHODS)}, or your own as "
            "package.module:name"
        )
    return METHODS[config.method](config)


def fitting(config: TrainConfig, method: Method, data: Measurements, say: Say) -> TrainConfig:
    """Return the options with another method where photons were to be split, and the values are none.

    Across a beam centre a pixel and its partner have independent noise of any kind.
    """
    splits = isinstance(method, Thinning) and method.gaussian is None
    if not (splits and data.integrated and data.symmetry is not None):
        return config
    say(
        "method smae instead of thinning, which splits photons: noise of any kind is independent in opposite "
        "pixels. --data.noise photons keeps thinning, and so do --thinning.gain and --thinning.readout-noise"
    )
    return dataclasses.replace(config, method="smae")


def may_be_fitted(config: TrainConfig) -> bool:
    """Whether a run's method may have been chosen by `fitting`."""
    return config.method == "smae" and config.data.noise == "integrated"


def keep_settled(config: TrainConfig, method: Method) -> TrainConfig:
    """Return the options with what the method settled on, so that the run is applied alike."""
    if not isinstance(method, Thinning):
        return config
    options = dataclasses.replace(config.thinning, partner=method.partner, across=method.crosses)
    return dataclasses.replace(config, thinning=options)


def build_network(
    config: TrainConfig,
    method: Method,
    *,
    axes: int = 2,
    centred: bool = True,
    scale: float = 1.0,
    noise: Noise = Noise(),
) -> models.Network:
    """Return the network that the options name, as wide as the method asks.

    Args:
      config: the options of the run.
      method: settled; tells how wide source and answer are.
      axes: spatial axes that the network will see.
      centred: whether these are patterns about a beam centre; others go on beyond the edge.
      scale: values per unit of rate.
      noise: of the values.

    Raises:
      UserError: if there is no such network, or it does not take such measurements.
    """
    if ":" in config.model:
        return models.own(named(config.model, option="--model"), method.outputs, config.model)
    if config.model == "sedcnn4" and not centred:
        raise UserError(
            "--model sedcnn4: takes patterns of a scan only; use dncnn, resnet, msd or unet for repeats"
        )
    head = config.rate.head
    if not method.sees_measurement:
        head = "direct"
    elif head == "auto" and config.model in models.UNETS:
        head = "root" if centred else "scales"
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
        edge=not centred,
        counts_per_unit=1.0 if centred else scale / noise.gain,
        readout_variance=0.0 if centred else noise.readout_variance / noise.gain**2,
        common_variance=0.0 if centred else noise.common_variance / noise.gain**2,
    )


def network_sizes(config: TrainConfig) -> dict[str, int]:
    """Return the attributes of the small network that the options name; none for the others."""
    sizes = {"dncnn": config.dncnn, "resnet": config.resnet, "msd": config.msd}.get(config.model)
    return {} if sizes is None else dataclasses.asdict(sizes)


def noise_of(config: TrainConfig, method: Method, data: Measurements) -> Noise:
    """Return the noise: as the options say, or as the repeats show it."""
    options = config.thinning
    if isinstance(method, Thinning) and options.gaussian:
        return Noise(options.gain, options.readout_noise**2)
    if "repeats" not in method.needs:
        return Noise()
    counts = data.channels_first  # neighbours along the last axis are neighbours in space
    return measure_noise(counts, np.broadcast_to(data.full_exposure[:, None], counts.shape))


def with_noise(method: Method, noise: Noise) -> Method:
    """Return a method that knows the noise which all repeats share."""
    if isinstance(method, Noise2Noise):
        return dataclasses.replace(method, common_noise=noise.common_variance**0.5)
    return method


def noise_in_words(noise: Noise, *, measured: bool) -> str:
    """Say what the noise is taken to be."""
    shared = ""
    if noise.common_variance:
        shared = f"; {noise.common_variance:.3g} is common to all repeats (a dark frame, a fixed pattern?)"
    if noise[:2] == Noise()[:2]:
        return f"noise: {'as of' if measured else 'taken as of'} photons (variance = mean){shared}"
    line = f"variance = {noise.gain:.3g} x mean + {noise.readout_variance:.3g}"
    return f"noise: {line}, {'measured from the repeats' if measured else 'as given'}{shared}"


def build_loss(config: TrainConfig, noise: Noise = Noise(), scale: float = 1.0) -> losses.Loss:
    """Return the loss; `auto` in it is the likelihood of the noise.

    Raises:
      UserError: as of `parse_loss`.
    """
    if ":" in config.loss:  # a user's own, which may be another one by now
        return parse_loss(config.loss, named_losses={"auto": likelihood(noise, scale)})
    return _known_loss(config.loss, noise, scale)


@made_once
def _known_loss(spec: str, noise: Noise, scale: float) -> losses.Loss:
    return parse_loss(spec, named_losses={"auto": likelihood(noise, scale)})


def build_optimizer(
    options: TrainOptions, *, peak: float
) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """Return the learning rate over the steps, and the optimizer that follows it."""
    schedule = training.make_schedule(
        options.schedule,
        learning_rate=peak,
        steps=options.steps,
        warmup_steps=options.warmup_steps,
        halve_every=options.halve_every,
        restarts=options.restarts,
    )
    optimizer = training.make_optimizer(
        options.optimizer,
        schedule,
        weight_decay=options.weight_decay,
        clip_norm=options.clip_norm,
        accumulate=options.accumulate,
    )
    return schedule, optimizer


def loop_of(config: TrainConfig, method: Method, **more: Any) -> training.Loop:
    """Return how the training runs; small networks of few points do many steps in one dispatch."""
    options = config.train
    small = config.model in models.SMALL and config.train.steps_per_dispatch == 0
    return training.Loop(
        batch_size=options.batch_size,
        devices=options.devices,
        validate_every=0 if options.validation == "none" else options.validate_every,
        validation_batches=options.validation_batches,
        per_dispatch=50 if small else options.steps_per_dispatch,
        resident=options.resident,
        patience=config.deep_image_prior.patience if method.whole else 0,
        **more,
    )
