"""From options to method, network, noise and loss for repeats: what `build` is for scans."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jax import Array

from smae_jax import losses, models, symmetry
from smae_jax.commands.build import build_network
from smae_jax.config import DataOptions, TrainConfig, parse_shares
from smae_jax.data.repeats import Repeats, exposure_of_values
from smae_jax.data.repeats_readers import is_spectra
from smae_jax.loss_spec import parse_loss
from smae_jax.methods.deep_image_prior import DeepImagePrior
from smae_jax.methods.noise2noise import Noise2Noise
from smae_jax.methods.noise2void import Noise2Void
from smae_jax.methods.protocol import Method
from smae_jax.methods.supervised import Supervised
from smae_jax.methods.thinning import Thinning
from smae_jax.noise import Noise, likelihood, measure_noise

ONLY_REPEATS = ("noise2noise", "deep_image_prior")
"""Methods that take repeats, never a scan about a beam centre."""
ON_REPEATS = (*ONLY_REPEATS, "thinning", "noise2void", "supervised")
ONE_ANSWER = ONLY_REPEATS
"""Methods that give one answer to all repeats; the others give each its own."""


def of_repeats(config: TrainConfig) -> bool:
    """Whether the options mean repeats of spectra, patterns or volumes, not a scan about a beam centre."""
    spectra = bool(config.data.path) and is_spectra(
        config.data.path, dimensions=config.data.dimensions
    )
    return config.method in ONLY_REPEATS or spectra


def check_method(config: TrainConfig) -> None:
    """Refuse a method that needs a beam centre, and a network that takes patterns only.

    Raises:
      ValueError: in one line, with what to do.
    """
    if config.method not in ON_REPEATS:
        raise ValueError(
            f"--method {config.method}: expected one of {', '.join(ON_REPEATS)} for spectra and repeats "
            f"({config.data.path}); for centro-symmetric patterns leave --data.dimensions out"
        )
    if config.model == "sedcnn4":
        raise ValueError(
            "--model sedcnn4: takes patterns of a scan only; use dncnn, resnet, msd or unet for repeats"
        )


def check_options(config: TrainConfig) -> None:
    """Refuse options that have a meaning for scans only, instead of passing over them.

    Raises:
      ValueError: in one line, with what to do.
    """
    thinned, data, default = config.method == "thinning", config.data, DataOptions()
    ignored = {
        "--train.resident host": config.train.resident == "host",
        f"--thinning.partner {config.thinning.partner}": thinned
        and config.thinning.partner not in ("auto", "none"),
        "--data.hot-pixels": data.hot_pixels,
        f"--data.crop {data.crop}": data.crop != default.crop,
        f"--data.center {data.center}": data.center != default.center,
    }
    for option, asked in ignored.items():
        if asked:
            raise ValueError(
                f"{option}: is for scans of centro-symmetric patterns and does nothing for spectra and "
                f"repeats ({config.data.path}); leave it out"
            )


def build_repeats_method(
    config: TrainConfig,
    *,
    channels: bool = False,
    most: int = 2**20 - 1,
    common_variance: float = 0.0,
) -> Method:
    """Return the method that the options name.

    Args:
      config: the options of the run.
      channels: whether the data have channels.
      most: largest count of the data.
      common_variance: of the noise that all repeats share, see `noise.Noise`.
    """
    augment: symmetry.GroupName = config.data.augment
    if config.method == "noise2noise":
        options = config.noise2noise
        return Noise2Noise(  # type: ignore[return-value]
            options.strategy,
            options.prediction,
            augment,
            channels,
            common_noise=common_variance**0.5,
        )
    if config.method == "noise2void":
        void = config.noise2void
        return Noise2Void(void.share, void.radius, void.structure, augment)  # type: ignore[return-value]
    if config.method == "deep_image_prior":
        prior = config.deep_image_prior
        return DeepImagePrior(prior.channels, prior.jitter, config.seed)  # type: ignore[return-value]
    if config.method == "supervised":
        return Supervised(augment=augment, rule="direct")  # type: ignore[return-value]
    options = dataclasses.replace(config.thinning, partner="none")
    return Thinning(  # type: ignore[return-value]
        partner="none",
        shares=tuple((own, own) for own, _ in parse_shares(options.shares)),
        augment=augment,
        most=most,
        gaussian=options.gaussian,
    )


def build_repeats_model(
    config: TrainConfig, method: Method, *, axes: int, scale: float, noise: Noise
) -> models.Network:
    """Return the network that the options name, for so many spatial axes.

    Args:
      config: the options of the run.
      method: from `build_repeats_method`.
      axes: spatial axes of a repeat.
      scale: values per unit of rate.
      noise: of the values.
    """
    head = "direct" if config.method == "deep_image_prior" else config.rate.head
    if config.model in models.UNETS and head == "auto":
        head = "scales"
    return build_network(
        config,
        method,
        head=head,
        axes=axes,
        edge=True,
        counts_per_unit=scale / noise.gain,
        readout_variance=noise.readout_variance / noise.gain**2,
        common_variance=noise.common_variance / noise.gain**2,
    )


def noise_of(config: TrainConfig, repeats: Repeats) -> Noise:
    """Return the noise: as the options say, or for method noise2noise as its repeats show."""
    options = config.thinning
    if config.method == "thinning" and options.gaussian:
        return Noise(options.gain, options.readout_noise**2)
    if config.method != "noise2noise":
        return Noise()
    counts = repeats.counts
    return measure_noise(counts, np.broadcast_to(exposure_of_values(repeats), counts.shape))


def noise_in_words(noise: Noise, measured: bool) -> str:
    """Say what the noise is taken to be."""
    shared = ""
    if noise.common_variance:
        shared = f"; {noise.common_variance:.3g} is common to all repeats (a dark frame, a fixed pattern?)"
    if noise[:2] == Noise()[:2]:
        return f"noise: {'as of' if measured else 'taken as of'} photons (variance = mean){shared}"
    line = f"variance = {noise.gain:.3g} x mean + {noise.readout_variance:.3g}"
    return f"noise: {line}, {'measured from the repeats' if measured else 'as given'}{shared}"


def build_loss(
    config: TrainConfig, noise: Noise, scale: float
) -> Callable[[Array, Array, Array], Array]:
    """Return the loss: `auto`, alone or as the first term of a sum, is the likelihood of the measured noise.

    Raises:
      ValueError: as of `parse_loss`.
    """
    first, _, rest = config.loss.partition("+")
    if first.strip() != "auto":
        return parse_loss(config.loss)
    main: losses.Loss = likelihood(noise, scale)
    if not rest:
        return main
    other = parse_loss(f"mse+{rest}")  # a regulariser may not stand alone
    mse = losses.mse
    return lambda p, t, w: main(p, t, w) + other(p, t, w) - mse(p, t, w)


def settled(config: TrainConfig, repeats: Repeats) -> TrainConfig:
    """Return the options with the number of dimensions that the file turned out to have."""
    data = dataclasses.replace(config.data, dimensions=len(repeats.spatial))
    return dataclasses.replace(config, data=data)
