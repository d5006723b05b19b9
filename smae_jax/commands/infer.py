"""`smae-jax infer`: from files and a run folder to denoised frames in counts."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from smae_jax import inference, models, training
from smae_jax.checkpoint import Checkpoints
from smae_jax.commands.build import build_method, build_model
from smae_jax.config import InferConfig, TrainConfig, check_ensemble
from smae_jax.config_file import dump
from smae_jax.data.masks import apply_mask, describe
from smae_jax.data.prepare import frame_scales
from smae_jax.data.readers import read_mask, read_scan
from smae_jax.data.scan import Geometry, Scan
from smae_jax.data.writers import check_output, write_frames
from smae_jax.evaluation.figures import draw_denoised
from smae_jax.run_folder import Prepared, RunFolder

Say = Callable[[str], None]


def infer(config: InferConfig, say: Say) -> None:
    """Denoise frames and write them in counts, in the detector's own geometry.

    Args:
      config: the options.
      say: receives every line that a person should read.

    Raises:
      ValueError: in one line, for anything that a user can mend.
    """
    for name in ("run", "input", "output"):
        if not getattr(config, name):
            raise ValueError(f"--{name}: expected a path, got none; see --help")
    if os.path.abspath(config.input) == os.path.abspath(config.output):
        raise ValueError(f"--output {config.output}: is the input; choose another name")
    check_output(config.output, overwrite=config.overwrite)
    if config.figure:
        check_output_figure(config)
    folder = RunFolder(Path(config.run))
    trained, prepared = folder.config(), folder.prepared()
    asked = trained.predict.ensemble if config.ensemble == "run" else config.ensemble
    group = check_ensemble(asked, trained=trained.data.augment)
    scan = read_input(config, trained, folder, prepared)
    say(f"{len(scan.counts)} frames; {describe(scan)}")
    apply, parameters, step = load_network(trained, folder, config.checkpoint)
    method = build_method(trained, rule=config.rule)
    scales, mean = scales_for(scan, trained, prepared, config.scale)
    if not 0.5 < mean / prepared.mean_counts < 2:
        say(
            f"note: {mean:.3g} counts per pixel here, {prepared.mean_counts:.3g} in training; "
            "a network trained at this exposure would do better"
            + ("; try --scale input" if config.scale == "run" else "")
        )
    mesh = training.make_mesh()
    denoise = inference.make_denoiser(
        apply, method, group=group, conserve_totals=trained.predict.conserve_totals, mesh=mesh
    )
    canvas = prepared.canvas()
    batch_size = inference.frames_per_batch(
        canvas,
        frames=len(scan.counts),
        devices=mesh.size,
        wanted=config.batch_size or trained.predict.batch_size,
    )
    pieces = inference.denoise_frames(
        denoise,
        parameters,
        scan.counts,
        scan.valid,
        scales,
        canvas=canvas,
        batch_size=batch_size,
        progress=functools.partial(_progress, total=len(scan.counts)),
    )
    counts, known, filled = (np.concatenate(part) for part in zip(*pieces, strict=True))
    write_frames(
        config.output,
        counts,
        valid=known & ~filled,
        filled=filled,
        sources=scan.metadata.sources,
        geometry=Geometry(
            center=prepared.center_subpixel,
            pixel_size_m=scan.geometry.pixel_size_m,
            wavelength_m=scan.geometry.wavelength_m,
            distance_m=scan.geometry.distance_m,
        ),
        process={
            "program": "smae_jax",
            "version": metadata.version("smae_jax"),
            "run": str(folder.path),
            "step": str(step),
            "ensemble": group,
            "config": dump(trained),
        },
        overwrite=config.overwrite,
    )
    if config.figure:
        draw_denoised(
            config.figure,
            scan.counts,
            counts,
            valid=np.broadcast_to(scan.valid, scan.counts.shape),
            filled=filled,
            center=prepared.center,
            title=scan.metadata.sources[0],
            overwrite=config.overwrite,
        )
    shares = 100 * known.mean(), 100 * filled.mean()
    say(
        f"{config.output}: {len(counts)} frames, in counts; {shares[0]:.1f} % of pixels have an answer, "
        f"{shares[1]:.1f} % are filled from their partner, the rest is NaN; step {step}, "
        f"ensemble {group}"
    )


def check_output_figure(config: InferConfig) -> None:
    """Refuse a figure that exists, or that is no PNG, before the work."""
    if not config.figure.endswith(".png"):
        raise ValueError(f"--figure {config.figure}: expected a name ending in .png")
    if os.path.exists(config.figure) and not config.overwrite:
        raise ValueError(
            f"--figure {config.figure}: exists already; choose another name or --overwrite"
        )


def read_input(
    config: InferConfig, trained: TrainConfig, folder: RunFolder, prepared: Prepared
) -> Scan:
    """Read the frames under the run's settings and mask, or under the mask that was given."""
    scan = read_scan(config.input, saturation=trained.data.saturation or None)
    if scan.counts.shape[1:] != prepared.frame_shape:
        raise ValueError(
            f"{config.input}: frames of {scan.counts.shape[1:]}, but the run was trained on frames of "
            f"{prepared.frame_shape}; train on this detector's frames"
        )
    if config.mask:
        valid, path = read_mask(config.mask, polarity=config.mask_polarity), config.mask
    else:
        valid, path = folder.valid(), str(folder.path / "mask.npz")
    return apply_mask(scan, valid, path=path)


def load_network(
    trained: TrainConfig, folder: RunFolder, wanted: str
) -> tuple[models.Apply, Any, int]:
    """Restore the averaged parameters of a checkpoint: "best", "last", or a step.

    Returns:
      (apply, parameters, step).

    Raises:
      ValueError: if there is no such checkpoint, or it is of another network.
    """
    checkpoints = Checkpoints(folder.best if wanted == "best" else folder.checkpoints)
    steps = checkpoints.steps()
    if not steps:
        raise ValueError(f"{checkpoints.folder}: no checkpoint there; train the run to its end")
    step = steps[-1] if wanted in ("best", "last") else int(wanted) if wanted.isdigit() else -1
    if step not in steps:
        raise ValueError(
            f"--checkpoint {wanted}: expected best, last or one of the kept steps "
            f"{', '.join(map(str, steps))}"
        )
    module = build_model(trained)
    channels = build_method(trained).source_channels
    like = jax.eval_shape(
        lambda key: models.initial_parameters(module, key, channels=channels, spatial=(64, 64)),
        jax.random.key(0),
    )
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), like
    )
    parameters = checkpoints.restore(step, "parameters", like)
    checkpoints.close()
    return models.apply_of(module), jax.tree.map(np.asarray, parameters), step


def scales_for(
    scan: Scan, trained: TrainConfig, prepared: Prepared, source: str
) -> tuple[np.ndarray, float]:
    """Return the scale of each frame, and the scan's mean counts per valid pixel."""
    pixels = np.broadcast_to(scan.valid, scan.counts.shape).sum(dtype=np.int64)
    mean = float(scan.counts.sum(dtype=np.float64) / pixels)
    if source == "run" and trained.data.scale.startswith("scan"):
        return np.full(len(scan.counts), prepared.scale, np.float32), mean
    return frame_scales(scan.counts, scan.valid, rule=trained.data.scale), mean


def _progress(starts: Iterable[int], *, total: int) -> Iterable[int]:
    return tqdm(starts, unit="batch", desc=f"{total} frames", dynamic_ncols=True)
