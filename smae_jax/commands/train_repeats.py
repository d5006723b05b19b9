"""`smae-jax train` for repeats: spectra, patterns and volumes without a beam centre."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
from jax import Array

from smae_jax import models, training
from smae_jax.commands.build_repeats import (
    build_loss,
    build_repeats_method,
    build_repeats_model,
    check_method,
    check_options,
    noise_in_words,
    noise_of,
    settled,
)
from smae_jax.commands.fit import EnoughTrainedError, MakeRun, fit
from smae_jax.commands.hooks import Saver
from smae_jax.commands.place_repeats import place_repeats, read_data
from smae_jax.commands.warm_start import read_base
from smae_jax.config import TrainConfig
from smae_jax.data.repeat_batches import Stack, draw, patch_shape_of
from smae_jax.data.repeats import Repeats
from smae_jax.evaluation.loss_figure import draw_losses
from smae_jax.methods.protocol import Batch, Method
from smae_jax.run_folder import Prepared, RunFolder

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a training on repeats consists of.

    Attributes:
      method: makes the pairs.
      module: network.
      loss: (prediction, target, weight) -> scalar.
      stack: what is trained on, numpy arrays.
      held_out: what judges.
      patch_shape: of an example.
      prepared: what inference will need.
    """

    method: Method
    module: models.Network
    loss: training.Loss
    stack: Stack
    held_out: Stack
    patch_shape: tuple[int, ...]
    prepared: Prepared


def train_repeats(config: TrainConfig, folder: RunFolder, say: Say) -> Path:
    """Train on repeats as the options say, or go on with a training.

    Args:
      config: the options, with --resume already settled by the run's own.
      folder: of the run; may be written to.
      say: receives every line that a person should read.

    Returns:
      The run folder.

    Raises:
      ValueError: in one line, for anything that a user can mend.
    """
    check_method(config)
    check_options(config)
    mesh = training.make_mesh(config.train.devices or devices_for(examples(config)))
    if examples(config) % mesh.size:
        raise ValueError(
            f"--train.devices {mesh.size}: expected a divisor of the {examples(config)} examples a step; "
            "change it, or --train.batch-size"
        )
    base = None if config.resume else read_base(config, say)
    repeats = read_data(
        config.data, config.data.path, repeats=config.data.repeats, mask=config.data.mask
    )
    config = settled(config, repeats)
    for note in repeats.notes:
        say(note)
    setup = set_up(config, repeats, say, init_step=None if base is None else base.step)
    for line in in_words(config, repeats, setup, mesh.size):
        say(line)
    if config.resume:
        folder.go_on(config, setup.prepared)
    else:
        folder.create(config, setup.prepared, None)
    patience = config.deep_image_prior.patience if config.method == "deep_image_prior" else 0

    def stopping(saver: Saver) -> list[tuple[int, training.Hook]]:
        hook = early_stopping(saver, patience, config.train.steps)
        return [(config.train.validate_every, hook)] if patience else []

    fit(
        config,
        folder,
        setup.method,
        setup.module,
        setup.loss,
        mesh,
        say,
        spatial=setup.patch_shape,
        make_run=runs_of(config, setup, mesh),
        held_out=lambda keys: held_out_batches(config, setup, keys),
        start=None if base is None else base.parameters,
        more_hooks=stopping,
    )
    draw_losses(folder.figures / "loss.png", folder.metrics, overwrite=True)
    say(
        f"{folder.path}: trained; denoise with 'smae-jax infer --run {folder.path} --input ... --output ...'"
    )
    return folder.path


def set_up(
    config: TrainConfig, repeats: Repeats, say: Say, *, init_step: int | None = None
) -> Setup:
    """Lay the repeats out and build method, network and loss."""
    stack, held_out, scale = place_repeats(config, repeats, say)
    noise = noise_of(config, repeats)
    measured = config.method == "noise2noise" and len(repeats.counts) > 2
    say(noise_in_words(noise, measured))
    method = build_repeats_method(
        config,
        channels=repeats.channels,
        most=max(1, int(repeats.counts.max())),
        common_variance=noise.common_variance,
    )
    axes = len(repeats.spatial)
    whole = config.method == "deep_image_prior"
    return Setup(
        method=method,
        module=build_repeats_model(config, method, axes=axes, scale=scale, noise=noise),
        loss=build_loss(config, noise, scale),
        stack=stack,
        held_out=held_out,
        patch_shape=patch_shape_of(
            repeats.spatial,
            patch=0 if whole else config.train.patch,
            square=config.data.augment == "d4" and axes > 1 and not whole,
        ),
        prepared=Prepared(
            center=None,
            center_subpixel=None,
            frame_shape=repeats.spatial,  # type: ignore[arg-type]
            scale=scale,
            mean_counts=scale,
            frames=len(repeats.counts),
            init_step=init_step,
            gain=noise.gain,
            readout_variance=noise.readout_variance,
            common_variance=noise.common_variance,
        ),
    )


def runs_of(config: TrainConfig, setup: Setup, mesh: jax.sharding.Mesh) -> MakeRun:
    """Return the function that makes the run of a step."""

    def drawn(key: Array, stack: Stack) -> Batch:
        return draw(key, stack, batch_size=examples(config), patch_shape=setup.patch_shape)

    def make_run(step: training.Step, key: Array) -> tuple[training.Run, int]:
        per_dispatch = config.train.steps_per_dispatch or steps_per_dispatch(config)
        run = training.make_resident_run(
            step, drawn, key=key, data=setup.stack, mesh=mesh, looped=per_dispatch > 1
        )
        return run, per_dispatch

    return make_run


def held_out_batches(config: TrainConfig, setup: Setup, keys: Array) -> list[Batch]:
    """Draw what validation looks at, the same at every validation."""
    # A deep image prior holds out counts, of all points; the other methods hold out points.
    split = config.method != "deep_image_prior"
    place = jax.jit(
        lambda key, stack: draw(
            key,
            stack,
            batch_size=examples(config),
            patch_shape=setup.patch_shape,
            held_out=split,
        )
    )
    return [place(key, setup.held_out) for key in keys]


def examples(config: TrainConfig) -> int:
    """Return how many examples a step takes: a deep image prior has but one."""
    return 1 if config.method == "deep_image_prior" else config.train.batch_size


def devices_for(batch_size: int) -> int:
    """Return as many devices as divide a batch: few examples need no more."""
    return max(n for n in range(1, jax.device_count() + 1) if batch_size % n == 0)


def steps_per_dispatch(config: TrainConfig) -> int:
    """Return how many steps one dispatch does: one where XLA's slow convolutions would stand in a loop."""
    on_cpu = jax.devices()[0].platform == "cpu"
    return 1 if on_cpu and config.model in models.UNETS else 50


def early_stopping(saver: Saver, patience: int, steps: int) -> training.Hook:
    """Return the hook that ends a training whose best step lies `patience` steps back."""

    def hook(step: int, state: training.TrainState, metrics: training.Metrics) -> None:
        best = saver.notes["best_step"]
        if best and step < steps and step - best >= patience:
            if step not in saver.checkpoints.steps():
                saver(step, state, metrics)
            raise EnoughTrainedError(
                f"stopped after step {step}: the held-out counts were predicted best at step {best}"
            )

    return hook


def in_words(config: TrainConfig, repeats: Repeats, setup: Setup, devices: int) -> list[str]:
    """Say what was understood and chosen, a line each."""
    shape = " x ".join(map(str, repeats.spatial))
    kind = {1: "spectra", 2: "patterns", 3: "volumes"}[len(repeats.spatial)]
    channels = f" of {repeats.counts.shape[-1]} channels" if repeats.channels else ""
    invalid = 1 - float(repeats.valid.mean())
    method = config.method
    if method == "noise2noise":
        method += f" {config.noise2noise.strategy}"
    return [
        f"{len(repeats.counts)} {kind} of {shape}{channels}, {repeats.dtype}, from {repeats.source}"
        + (f"; {100 * invalid:.2f} % not measured" if invalid else ""),
        f"method {method}, {setup.prepared.scale:.4g} counts per value, moved by: {config.data.augment}, "
        f"examples of {' x '.join(map(str, setup.patch_shape))}, {config.train.batch_size} a step on "
        f"{devices} device(s)",
    ]
