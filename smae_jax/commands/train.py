"""`smae-jax train`: from files to a run folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax import models, training
from smae_jax.checkpoint import Checkpoints
from smae_jax.commands.build import build_method, build_model, prepare
from smae_jax.commands.build_repeats import of_repeats
from smae_jax.commands.hooks import Logger, Saver, Validator
from smae_jax.commands.reference import check_reference, read_reference
from smae_jax.commands.thinning import neighbours_for, settle_thinning
from smae_jax.commands.train_repeats import train_repeats
from smae_jax.commands.warm_start import exposure_note, read_base, take_over, taken_in_words
from smae_jax.config import TrainConfig
from smae_jax.config_file import flat
from smae_jax.data import batches
from smae_jax.data.canvas import centred_canvas
from smae_jax.data.center import Center
from smae_jax.data.masks import describe
from smae_jax.data.pairing import PairedScans
from smae_jax.data.prepare import frame_scales
from smae_jax.data.scan import Scan
from smae_jax.evaluation.loss_figure import draw_losses
from smae_jax.loss_spec import parse_loss
from smae_jax.methods.protocol import Batch, Method
from smae_jax.run_folder import Prepared, RunFolder

Say = Callable[[str], None]
# Parts of the random stream that no step number reaches.
INITIAL, VALIDATION = 2**31 - 1, 2**31 - 2
FOUND_OUT = (("thinning.partner", "auto"), ("data.dimensions", 0))
"""Options that leave to the data what a run then keeps."""


def train(config: TrainConfig, say: Say) -> Path:
    """Train a denoiser as the options say, or go on with a training.

    Args:
      config: the options.
      say: receives every line that a person should read.

    Returns:
      The run folder.

    Raises:
      ValueError: in one line, for anything that a user can mend.
    """
    if not config.run:
        raise ValueError("--run: expected a folder for the results, got none; try --run runs/first")
    folder = RunFolder(Path(config.run))
    if config.resume:
        config = resumed(config, folder)
    else:
        folder.refuse(overwrite=config.overwrite)
    check_reference(config)
    if not config.data.path:
        raise ValueError("--data.path: expected files of frames, got none; see --help")
    if of_repeats(config):
        return train_repeats(config, folder, say)
    loss, mesh = parse_loss(config.loss), training.make_mesh(config.train.devices)
    if config.train.batch_size % mesh.size:
        raise ValueError(
            f"--train.batch-size {config.train.batch_size}: expected a multiple of the {mesh.size} "
            "devices; change it, or set --train.devices"
        )

    base = None if config.resume else read_base(config, say)
    scan, center = prepare(config.data)
    paired = read_reference(config, scan, say)
    scan = scan if paired is None else paired.scan
    config = settle_thinning(config, scan, center, say)
    module = build_model(config)
    method = build_method(
        config,
        center=center.subpixel,
        half_pixel=center.half_pixel,
        most=int(scan.counts.max(initial=1)),
    )
    data, validation, patch_shape = place_data(config, method, scan, center, paired)
    for line in in_words(config, scan, center, patch_shape, mesh.size):
        say(line)
    prepared = record_of(scan, center, data, init_step=None if base is None else base.step)
    if base is not None and (note := exposure_note(base, prepared.mean_counts or 0.0)):
        say(note)
    if config.resume:
        folder.go_on(config, prepared)
    else:
        folder.create(config, prepared, scan)
    start = None if base is None else base.parameters
    fit(config, folder, method, module, loss, mesh, data, validation, patch_shape, say, start)
    draw_losses(folder.figures / "loss.png", folder.metrics, overwrite=True)
    say(
        f"{folder.path}: trained; denoise with 'smae-jax infer --run {folder.path} --input ... --output ...'"
    )
    return folder.path


def resumed(config: TrainConfig, folder: RunFolder) -> TrainConfig:
    """Return the options to go on with: the run's own; only the number of steps may be raised.

    Raises:
      ValueError: if there is nothing to go on with, or another option is asked for.
    """
    own, steps = folder.config(), Checkpoints(folder.checkpoints).steps()
    if not steps:
        raise ValueError(
            f"--resume: {folder.path} has no checkpoint yet; start it again with --overwrite"
        )
    asked, kept = flat(config), flat(own)
    for name in sorted(asked.keys() - {"run", "config", "resume", "overwrite", "train.steps"}):
        if asked[name] != kept[name] and (name, asked[name]) not in FOUND_OUT:
            raise ValueError(
                f"--{name.replace('_', '-')}: {folder.path} was started with {kept[name]!r} and goes on "
                f"with it, not with {asked[name]!r}; leave the option out, or start a new run"
            )
    if config.train.steps < max(own.train.steps, steps[-1]):
        raise ValueError(
            f"--train.steps {config.train.steps}: expected {max(own.train.steps, steps[-1])} or more with "
            f"--resume; {folder.path} has done {steps[-1]} steps"
        )
    return dataclasses.replace(config, overwrite=False, thinning=own.thinning, data=own.data)


def place_data(
    config: TrainConfig,
    method: Method,
    scan: Scan,
    center: Center,
    paired: PairedScans | None = None,
) -> tuple[batches.Canvases, batches.Canvases, tuple[int, int]]:
    """Lay the scan on canvases and decide what is trained on and what is held out.

    Returns:
      (training data, validation data, patch shape); both share their arrays and are on the host.

    Raises:
      ValueError: if too few frames are left, or no pixel has a valid partner.
    """
    options = config.train
    canvas = centred_canvas(
        scan.counts.shape[1:], center.half_pixel, extent=method.extent, crop=config.data.crop
    )
    if min(canvas.shape) < 16:
        raise ValueError(
            f"beam centre {center.half_pixel}: only {canvas.shape} pixels have a partner on the frame "
            f"{scan.counts.shape[1:]}; give the right --data.center"
        )
    patch_shape = batches.patch_shape_for(
        canvas.shape, patch=options.patch, region=method.region, square=config.data.augment == "d4"
    )
    valid = canvas.embed(scan.valid, False)
    usable, reference = valid.mean(axis=0), dict[str, Any]()
    if paired is not None:
        reference = {
            "reference_counts": canvas.embed(paired.reference.counts),
            "reference_valid": canvas.embed(paired.reference.valid, False),
            "reference_ratio": paired.ratio,
        }
        usable = usable * reference["reference_valid"].mean(axis=0)
    frames, kept = np.arange(len(scan.counts), dtype=np.int32), 0
    if options.validation == "frames":
        kept = max(1, round(options.validation_share * len(frames)))
        if kept >= len(frames):
            raise ValueError(
                f"--train.validation frames: expected at least 2 frames, got {len(frames)}; "
                "use pixels or none"
            )
        frames = np.random.default_rng(config.seed).permutation(frames)
    share = options.validation_share if options.validation == "pixels" else 0.0
    counts = canvas.embed(scan.counts)
    seen = np.maximum(valid.sum(axis=0) * (len(counts) // len(valid)), 1)
    placed: dict[str, Any] = dict(  # numpy arrays until they are on the devices
        counts=counts,
        valid=valid,
        scale=frame_scales(scan.counts, scan.valid, rule=config.data.scale),
        held_out=batches.held_out_pixels(canvas.shape, share=share, seed=config.seed),
        frames=frames[kept:],
        origins=batches.patch_origins(
            usable,
            patch_shape,
            region=method.region,
            partners=method.extent == "common",
            mean_counts=counts.sum(axis=0, dtype=np.float64) / seen,
        ),
        neighbours=neighbours_for(config, scan),
        **reference,
    )
    data = batches.Canvases(**placed)
    return data, dataclasses.replace(data, frames=frames[:kept] if kept else frames), patch_shape


def fit(
    config: TrainConfig,
    folder: RunFolder,
    method: Method,
    module: models.Network,
    loss: training.Loss,
    mesh: jax.sharding.Mesh,
    data: batches.Canvases,
    validation: batches.Canvases,
    patch_shape: tuple[int, int],
    say: Say,
    start: models.Parameters | None = None,
) -> training.TrainState:
    """Build the step, restore what there is, and train with logging, validation and checkpoints.

    With `start`, training begins at these parameters; they are validated before the first step, so that the
    best ones are never worse on the held-out data than those it began with.
    """
    options, key = config.train, jax.random.key(config.seed)
    apply = models.apply_of(module)
    schedule = training.make_schedule(
        options.schedule,
        learning_rate=options.learning_rate,
        steps=options.steps,
        warmup_steps=options.warmup_steps,
        halve_every=options.halve_every,
    )
    optimizer = training.make_optimizer(
        options.optimizer, schedule, weight_decay=options.weight_decay, clip_norm=options.clip_norm
    )
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def begin(key: Array) -> training.TrainState:
        parameters = models.initial_parameters(
            module, key, channels=method.source_channels, spatial=patch_shape
        )
        return training.initial_state(parameters, optimizer)

    state = jax.jit(begin, out_shardings=everywhere)(jax.random.fold_in(key, INITIAL))
    say(
        f"{config.model}: {models.count_parameters(state.parameters):,} parameters; loss {config.loss}"
    )

    if start is not None:
        merged, taken, kept = take_over(state.parameters, start)
        say(taken_in_words(state.parameters, taken, kept))
        begin_with = jax.jit(
            lambda merged: training.initial_state(merged, optimizer), out_shardings=everywhere
        )
        state = begin_with(jax.tree.map(jnp.asarray, merged))

    def on_host(data: batches.Canvases, held_out: bool) -> Callable[[Array], Batch]:
        places = jax.jit(lambda key: batches.draw_places(key, data, batch_size=options.batch_size))
        return lambda key: batches.gather_on_host(
            data, *map(np.asarray, places(key)), patch_shape=patch_shape, held_out=held_out
        )

    def on_device(key: Array, data: batches.Canvases) -> Batch:
        places = batches.draw_places(key, data, batch_size=options.batch_size)
        return batches.gather(data, *places, patch_shape=patch_shape)

    step = training.make_step(
        apply=apply,
        pair=method.pair,
        loss=loss,
        optimizer=optimizer,
        average_decay=options.average_decay,
    )
    resident = is_resident(options.resident, data)
    on_cpu = jax.devices()[0].platform == "cpu"
    per_dispatch = options.steps_per_dispatch or (1 if on_cpu or not resident else 20)
    if resident:
        run = training.make_resident_run(
            step, on_device, key=key, data=data, mesh=mesh, looped=per_dispatch > 1
        )
    else:
        run, per_dispatch = (
            training.make_streamed_run(step, on_host(data, False), key=key, mesh=mesh),
            1,
        )

    checkpoints = Checkpoints(folder.checkpoints, keep=options.keep or None)
    best, notes = Checkpoints(folder.best), None
    if config.resume:
        last = checkpoints.steps()[-1]
        state, notes = checkpoints.restore(last, "state", state), checkpoints.notes(last)
        for kept in (checkpoints, best):
            kept.remove_unfinished()
        best.keep_only([step for step in best.steps() if step <= last])  # later ones come again
        say(f"going on after step {last} of {options.steps}")
    saver = Saver(checkpoints, notes)
    hooks: list[tuple[int, training.Hook]] = []
    with Logger(folder.metrics, schedule, steps=options.steps, start=int(state.step)) as logger:
        hooks.append((options.log_every, logger))
        if options.validation != "none":
            held_out = options.validation == "pixels"
            draw = on_host(validation, held_out)
            keys = jax.random.split(jax.random.fold_in(key, VALIDATION), options.validation_batches)
            validate = training.make_validation(
                apply=apply,
                pair=method.pair,
                loss=loss,
                batches=[draw(k) for k in keys],
                key=jax.random.fold_in(key, VALIDATION),
                mesh=mesh,
            )
            validator = Validator(validate, best, saver, logger)
            if start is not None:
                validator(0, state, {})
            hooks.append((options.validate_every, validator))
        hooks.append((options.checkpoint_every or options.steps, saver))
        state = training.fit(
            state, run, steps=options.steps, steps_per_dispatch=per_dispatch, every=hooks
        )
        if options.validation == "none" and options.steps not in best.steps():
            best.save(options.steps, parameters=state.average, notes={})
    best.keep_only(best.steps()[-1:])
    say(f"best step {best.steps()[-1]} of {options.steps}")
    if start is not None and best.steps()[-1] == 0:
        say("note: no step bettered the parameters that it began with; try another learning rate")
    checkpoints.close()
    best.close()
    return state


def is_resident(wanted: str, data: Any) -> bool:
    """Decide whether the scan stays on the device: as asked, or if it takes less than 40 % of memory."""
    if wanted != "auto":
        return wanted == "device"
    statistics = jax.devices()[0].memory_stats() or {}
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(data))
    return size < 0.4 * statistics.get("bytes_limit", total)


def record_of(
    scan: Scan, center: Center, data: batches.Canvases, *, init_step: int | None = None
) -> Prepared:
    """Write down what inference will need."""
    pixels = np.broadcast_to(scan.valid, scan.counts.shape).sum(dtype=np.int64)
    return Prepared(
        center=center.half_pixel,
        center_subpixel=center.subpixel,
        frame_shape=scan.counts.shape[1:],
        scale=float(np.mean(data.scale)),
        mean_counts=float(scan.counts.sum(dtype=np.float64) / pixels),
        frames=len(scan.counts),
        init_step=init_step,
        reference_exposure=None
        if data.reference_ratio is None
        else float(np.mean(data.reference_ratio)),
    )


def in_words(
    config: TrainConfig, scan: Scan, center: Center, patch: tuple[int, int], devices: int
) -> list[str]:
    """Say what was understood and chosen, a line each."""
    frames, height, width = scan.counts.shape
    (y, x), (sub_y, sub_x) = center.half_pixel, center.subpixel
    how = "given" if config.data.center != "auto" else f"found, sub-pixel {sub_y:.2f}, {sub_x:.2f}"
    return [
        f"{frames} frames of {height} x {width}, {scan.metadata.dtype}, "
        f"from {scan.metadata.sources[0]}" + (" and following" if frames > 1 else ""),
        describe(scan),
        f"centre y {y:g}, x {x:g} ({how})",
        f"method {config.method}, scale: {config.data.scale}, moved by: {config.data.augment}, "
        f"patches {patch[0]} x {patch[1]}, {config.train.batch_size} a step on {devices} device(s)",
    ]
