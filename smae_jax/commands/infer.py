"""`smae-jax infer`: from files and a run folder to denoised frames in counts."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, cast

import jax
import numpy as np
from tqdm import tqdm

from smae_jax import inference, models, symmetry, training
from smae_jax.commands.against_counts import hold, hold_halves, keeps_sums
from smae_jax.commands.build import build_method, build_model
from smae_jax.commands.build_repeats import of_repeats
from smae_jax.commands.error_bars import (
    FOLDS,
    check_countable,
    error_bars_of,
    frames_to_split,
    largest,
)
from smae_jax.commands.infer_repeats import infer_repeats, load_repeats_network
from smae_jax.commands.restore import check_output_figure, made_by, restore_network
from smae_jax.commands.split_answers import combine, combines, split_answers
from smae_jax.config import InferConfig, TrainConfig, check_ensemble, parse_center
from smae_jax.data.masks import apply_mask, describe
from smae_jax.data.prepare import center_of, frame_scales, given_center
from smae_jax.data.readers import read_mask, read_scan
from smae_jax.data.scan import Geometry, Scan
from smae_jax.data.writers import check_output, sigma_path, write_frames
from smae_jax.evaluation.figures import draw_denoised
from smae_jax.methods.protocol import Denoised, Method
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
    folder = RunFolder(Path(config.run))
    trained, prepared = folder.config(), folder.prepared()
    if of_repeats(trained):
        infer_repeats(config, trained, prepared, folder, say)
        return
    check_output(config.output, overwrite=config.overwrite)
    if config.sigma and not config.output.endswith((".h5", ".hdf5", ".nxs")):
        check_output(sigma_path(config.output), overwrite=config.overwrite)
    if config.figure:
        check_output_figure(config)
    asked = trained.predict.ensemble if config.ensemble == "run" else config.ensemble
    group = check_ensemble(asked, trained=trained.data.augment)
    scan = read_input(config, trained, folder, prepared)
    say(f"{len(scan.counts)} frames; {describe(scan)}")
    if config.sigma:
        check_countable(scan, option="sigma")
    prepared = settle(config, prepared, scan, say)
    assert prepared.center is not None, "settle finds one"
    apply, parameters, step = load_network(trained, folder, config.checkpoint)
    method = build_method(
        trained,
        rule=config.rule,
        center=prepared.center_subpixel,
        half_pixel=prepared.center,
    )
    scales, mean = scales_for(scan, trained, prepared, config.scale)
    if prepared.mean_counts is not None and not 0.5 < mean / prepared.mean_counts < 2:
        say(
            f"note: {mean:.3g} counts per pixel here, {prepared.mean_counts:.3g} in training; "
            "a network trained at this exposure would do better"
            + ("; try --scale input" if config.scale == "run" else "")
        )
    denoise = scan_denoiser(
        trained,
        prepared,
        apply,
        method,
        group=cast(symmetry.GroupName, group),
        frames=len(scan.counts),
        batch_size=config.batch_size,
        folds=FOLDS if config.sigma else 0,
        most=largest(scan) if config.sigma else 0,
    )
    progress = functools.partial(_progress, total=len(scan.counts))
    answer = denoise(parameters, scan.counts, scan.valid, scales, progress=progress)
    sigma, how = None, dict[str, str]()
    together = combines(config, scan, say)
    if together or config.sigma:
        split = split_answers(
            scan,
            functools.partial(denoise, parameters, progress=progress),
            scales,
            frames=frames_to_split(scan, whole_scan=together),
            halves=2 if config.sigma else 1,
        )
        if together:
            answer, split, said = combine(answer, split)
            how["combine"] = "yes"
            say(said)
        if config.sigma:
            conserved = trained.predict.conserve_totals
            if keeps_sums(config, len(split.frames), conserve_totals=conserved):
                split = hold_halves(split, center=prepared.center)
            sigma, said = error_bars_of(answer, split)
            say(said)
    counts, known, filled = (np.asarray(a) for a in (answer.counts, answer.known, answer.filled))
    held = hold(
        counts,
        sigma,
        scan,
        config,
        center=prepared.center,
        conserve_totals=trained.predict.conserve_totals,
        combined=together,
        say=say,
    )
    counts, sigma = held.counts, held.sigma
    write_frames(
        config.output,
        counts,
        valid=known & ~filled,
        filled=filled,
        sigma=sigma,
        sources=scan.metadata.sources,
        geometry=Geometry(
            center=prepared.center_subpixel,
            pixel_size_m=scan.geometry.pixel_size_m,
            wavelength_m=scan.geometry.wavelength_m,
            distance_m=scan.geometry.distance_m,
        ),
        process=made_by(folder, trained, step=step, group=group) | how | held.how,
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


class DenoiseScan(Protocol):
    """Denoises a stack of frames with given parameters."""

    def __call__(
        self,
        parameters: Any,
        counts: np.ndarray,
        valid: np.ndarray,
        scales: np.ndarray,
        *,
        share: float = 1.0,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    ) -> Denoised:
        """Return the answers of `inference.denoise_frames` for all frames, numpy arrays."""
        ...


def scan_denoiser(
    trained: TrainConfig,
    prepared: Prepared,
    apply: models.Apply,
    method: Method,
    *,
    group: symmetry.GroupName,
    frames: int,
    batch_size: int = 0,
    folds: int = 0,
    most: int = 0,
) -> DenoiseScan:
    """Return the function that denoises stacks of frames as the run says; it compiles once.

    Args:
      trained: the run's options.
      prepared: what its training found out.
      apply: (parameters, source) -> prediction.
      method: puts the predictions back.
      group: motions that predictions are averaged over.
      frames: most frames that are given at once.
      batch_size: frames per batch; 0 = as the run says.
      folds: of the photons, for error bars; 0 = none.
      most: largest count that is given, where there are folds.
    """
    mesh, canvas = training.make_mesh(), prepared.canvas()
    denoise = inference.make_denoiser(
        apply,
        method,
        group=group,
        conserve_totals=trained.predict.conserve_totals,
        mesh=mesh,
        folds=folds,
        most=most,
    )
    size = inference.frames_per_batch(
        canvas,
        frames=frames,
        devices=mesh.size,
        wanted=batch_size or trained.predict.batch_size,
    )

    def denoise_scan(
        parameters: Any,
        counts: np.ndarray,
        valid: np.ndarray,
        scales: np.ndarray,
        *,
        share: float = 1.0,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    ) -> Denoised:
        pieces = inference.denoise_frames(
            denoise,
            parameters,
            counts,
            valid,
            scales,
            canvas=canvas,
            batch_size=size,
            share=share,
            progress=progress,
        )
        return jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)

    return denoise_scan


def read_input(
    config: InferConfig, trained: TrainConfig, folder: RunFolder, prepared: Prepared
) -> Scan:
    """Read the frames under the run's settings and mask, or under the mask that was given."""
    scan = read_scan(config.input, saturation=trained.data.saturation or None)
    fits = scan.counts.shape[1:] == prepared.frame_shape
    if not fits and prepared.frame_shape is not None and config.center == "run":
        raise ValueError(
            f"{config.input}: frames of {scan.counts.shape[1:]}, but the run was trained on frames of "
            f"{prepared.frame_shape}; train on this detector's frames, or apply the run to them with "
            "--center auto"
        )
    if config.mask:
        valid, path = read_mask(config.mask, polarity=config.mask_polarity), config.mask
    elif not fits:
        return scan  # the run's mask is of another detector, or there is none
    else:
        valid, path = folder.valid(), str(folder.path / "mask.npz")
    return apply_mask(scan, valid, path=path)


def settle(config: InferConfig, prepared: Prepared, scan: Scan, say: Say) -> Prepared:
    """Return what was prepared with the frame and the centre of the input, where they are not the run's."""
    if config.center == "run" and prepared.center is not None:
        return prepared
    given = config.center not in ("run", "auto")
    found = (
        given_center(parse_center(config.center, option="--center")) if given else center_of(scan)
    )
    (y, x), (sub_y, sub_x) = found.half_pixel, found.subpixel
    how = "given" if given else f"found on the input, sub-pixel {sub_y:.2f}, {sub_x:.2f}"
    say(f"centre y {y:g}, x {x:g} ({how})")
    if not config.mask and scan.counts.shape[1:] != prepared.frame_shape:
        say("no mask but the file's own: the run has none for these frames; give --mask")
    height, width = scan.counts.shape[1:]
    return dataclasses.replace(
        prepared,
        center=found.half_pixel,
        center_subpixel=found.subpixel,
        frame_shape=(height, width),
    )


def load_network(
    trained: TrainConfig, folder: RunFolder, wanted: str
) -> tuple[models.Apply, Any, int]:
    """Restore the averaged parameters of a checkpoint: "best", "last", or a step.

    Returns:
      (apply, parameters, step).

    Raises:
      ValueError: if there is no such checkpoint, or it is of another network.
    """
    if of_repeats(trained):
        return load_repeats_network(
            trained,
            folder.prepared(),
            folder,
            wanted,
            axes=trained.data.dimensions,
            channels=trained.data.channel_axis is not None,
        )[:3]
    return restore_network(
        folder,
        wanted,
        build_model(trained),
        channels=build_method(trained).source_channels,
        spatial=(64, 64),
    )


def scales_for(
    scan: Scan, trained: TrainConfig, prepared: Prepared, source: str
) -> tuple[np.ndarray, float]:
    """Return the scale of each frame, and the scan's mean counts per valid pixel."""
    pixels = np.broadcast_to(scan.valid, scan.counts.shape).sum(dtype=np.int64)
    mean = float(scan.counts.sum(dtype=np.float64) / pixels)
    if source == "run" and trained.data.scale.startswith("scan") and prepared.scale is not None:
        return np.full(len(scan.counts), prepared.scale, np.float32), mean
    return frame_scales(scan.counts, scan.valid, rule=trained.data.scale), mean


def _progress(starts: Iterable[int], *, total: int) -> Iterable[int]:
    return tqdm(starts, unit="batch", desc=f"{total} frames", dynamic_ncols=True)
