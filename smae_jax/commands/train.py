"""`smae-jax train`: from files to a run folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from smae_jax import training
from smae_jax.checkpoint import Checkpoints
from smae_jax.commands.build import build_method, build_model, prepare
from smae_jax.commands.build_repeats import of_repeats
from smae_jax.commands.fit import MakeRun, fit
from smae_jax.commands.reference import check_reference, read_reference
from smae_jax.commands.thinning import settle_thinning
from smae_jax.commands.train_repeats import train_repeats
from smae_jax.commands.warm_start import exposure_note, read_base, refuse_differences
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
FOUND_OUT = (
    ("thinning.partner", "auto"),
    ("data.dimensions", 0),
)
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
    if config.smae.reference and config.method != "smae":
        raise ValueError(
            f"--smae.reference: expected --method smae, whose published rule it is, got {config.method}; "
            "add --method smae, or leave the option out"
        )
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
    if base is not None:  # the symmetry may just have chosen another partner
        refuse_differences(base.config, config)
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
    draw = on_host(
        validation,
        config.train.batch_size,
        patch_shape,
        held_out=config.train.validation == "pixels",
    )
    fit(
        config,
        folder,
        method,
        module,
        loss,
        mesh,
        say,
        spatial=patch_shape,
        make_run=runs_of(config, mesh, data, patch_shape),
        held_out=lambda keys: [draw(key) for key in keys],
        start=None if base is None else base.parameters,
    )
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
        **reference,
    )
    data = batches.Canvases(**placed)
    return data, dataclasses.replace(data, frames=frames[:kept] if kept else frames), patch_shape


def runs_of(
    config: TrainConfig,
    mesh: jax.sharding.Mesh,
    data: batches.Canvases,
    patch_shape: tuple[int, int],
) -> MakeRun:
    """Return the function that makes the run of a step, on data kept on the device or on the host."""
    options = config.train

    def on_device(key: Array, data: batches.Canvases) -> Batch:
        places = batches.draw_places(key, data, batch_size=options.batch_size)
        return batches.gather(data, *places, patch_shape=patch_shape)

    def make_run(step: training.Step, key: Array) -> tuple[training.Run, int]:
        if not is_resident(options.resident, data):
            draw = on_host(data, options.batch_size, patch_shape, held_out=False)
            return training.make_streamed_run(step, draw, key=key, mesh=mesh), 1
        on_cpu = jax.devices()[0].platform == "cpu"
        per_dispatch = options.steps_per_dispatch or (1 if on_cpu else 20)
        run = training.make_resident_run(
            step, on_device, key=key, data=data, mesh=mesh, looped=per_dispatch > 1
        )
        return run, per_dispatch

    return make_run


def on_host(
    data: batches.Canvases, batch_size: int, patch_shape: tuple[int, int], *, held_out: bool
) -> Callable[[Array], Batch]:
    """Return the function that draws a batch of numpy arrays: key -> batch."""
    places = jax.jit(lambda key: batches.draw_places(key, data, batch_size=batch_size))
    return lambda key: batches.gather_on_host(
        data, *map(np.asarray, places(key)), patch_shape=patch_shape, held_out=held_out
    )


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
