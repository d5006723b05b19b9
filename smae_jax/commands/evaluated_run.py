"""A run's checkpoints on the frames that they are evaluated on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from smae_jax.checkpoint import Checkpoints
from smae_jax.commands.build import build_method
from smae_jax.commands.infer import (
    DenoiseScan,
    load_network,
    read_input,
    scales_for,
    scan_denoiser,
    settle,
)
from smae_jax.config import EvaluateConfig, InferConfig, TrainConfig, check_ensemble
from smae_jax.config_file import dump
from smae_jax.data.masks import describe
from smae_jax.data.pairing import take_frames
from smae_jax.data.prepare import frame_scales
from smae_jax.data.scan import Geometry, Scan
from smae_jax.data.writers import write_frames
from smae_jax.evaluation.estimators import Estimator, in_chunks, subset
from smae_jax.run_folder import Prepared, RunFolder
from smae_jax.symmetry import GroupName

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Network:
    """One checkpoint, ready to denoise the scan."""

    name: str
    step: int
    parameters: Any


@dataclasses.dataclass(frozen=True)
class Opened:
    """A run with the scan that it is evaluated on.

    Attributes:
      folder: of the run.
      trained: its options.
      prepared: what its training found out, settled on the scan.
      group: motions that predictions are averaged over.
      scan: the frames that are evaluated.
      networks: checkpoints, by step.
      denoise: denoises frames with the parameters of a checkpoint.
      scale: counts per unit of rate of a full exposure; None: each frame has its own.
    """

    folder: RunFolder
    trained: TrainConfig
    prepared: Prepared
    group: GroupName
    scan: Scan
    networks: list[Network]
    denoise: DenoiseScan
    scale: float | None

    @property
    def center(self) -> tuple[float, float]:
        """Beam centre (y, x) in pixels, a multiple of 0.5."""
        assert self.prepared.center is not None, "settled on the scan"
        return self.prepared.center

    @property
    def chunks(self) -> list[slice]:
        """Runs of frames that are looked at together."""
        return list(in_chunks(len(self.scan.counts), self.scan.counts[0].size))

    def apply(
        self, network: Network, counts: np.ndarray, valid: np.ndarray, share: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Denoise counts of a share of the exposure; return (counts of that share, known, filled)."""
        if self.scale is not None:
            scales = np.full(len(counts), self.scale, np.float32)
        else:
            scales = frame_scales(counts, valid, rule=self.trained.data.scale) / np.float32(share)
        masks = valid[:1] if len(self.scan.valid) == 1 else valid
        found = self.denoise(
            network.parameters,
            counts.astype(np.float32),
            masks,
            scales,
            share=share,
        )
        return share * np.asarray(found.counts), np.asarray(found.known), np.asarray(found.filled)

    def estimator(self, network: Network) -> Estimator:
        """Return a checkpoint as the evaluation sees it."""

        def estimate(counts: np.ndarray, valid: np.ndarray, share: float) -> np.ndarray:
            return self.apply(network, counts, valid, share)[0] / share

        return estimate


def open_run(config: EvaluateConfig, say: Say) -> Opened:
    """Read the run, the frames, and the parameters of the checkpoints that are asked for."""
    settings = InferConfig(
        run=config.run,
        input=config.input,
        mask=config.mask,
        mask_polarity=config.mask_polarity,
        center=config.center,
    )
    folder = RunFolder(Path(config.run))
    trained, prepared = folder.config(), folder.prepared()
    asked = trained.predict.ensemble if config.ensemble == "run" else config.ensemble
    group = cast(GroupName, check_ensemble(asked, trained=trained.data.augment))
    scan = read_input(settings, trained, folder, prepared)
    if config.frames:
        scan = take_frames(scan, np.array(subset(len(scan.counts), config.frames)))
    say(f"{len(scan.counts)} frames; {describe(scan)}")
    prepared = settle(settings, prepared, scan, say)
    scales, _ = scales_for(scan, trained, prepared, config.scale)
    networks, apply = [], None
    for wanted in wanted_checkpoints(config, folder):
        apply, parameters, step = load_network(trained, folder, wanted)
        best = " (best)" if wanted == "best" else ""
        networks.append(Network(f"{trained.method}, step {step}{best}", step, parameters))
    assert apply is not None
    method = build_method(
        trained, rule=config.rule, center=prepared.center_subpixel, half_pixel=prepared.center
    )
    denoise = scan_denoiser(
        trained,
        prepared,
        apply,
        method,
        group=group,
        frames=next(in_chunks(len(scan.counts), scan.counts[0].size)).stop,
        batch_size=config.batch_size,
    )
    return Opened(
        folder=folder,
        trained=trained,
        prepared=prepared,
        group=group,
        scan=scan,
        networks=sorted(networks, key=lambda n: n.step),
        denoise=denoise,
        scale=float(scales[0]) if trained.data.scale.startswith("scan") else None,
    )


def wanted_checkpoints(config: EvaluateConfig, folder: RunFolder) -> list[str]:
    """Return what `load_network` is asked for: one, or all that were kept, each step once."""
    if config.checkpoints == "one":
        return [config.checkpoint]
    kept, best = Checkpoints(folder.checkpoints), Checkpoints(folder.best)
    chosen = best.steps()[-1:]
    wanted = [str(step) for step in kept.steps() if step not in chosen]
    kept.close()
    best.close()
    return [*wanted, *(["best"] if chosen else [])] or ["last"]


def save_denoised(folder: Path, opened: Opened) -> None:
    """Write what every checkpoint made of the frames, `step_200.h5`."""
    folder.mkdir()
    scan = opened.scan
    with tqdm(opened.networks, desc="denoised files", dynamic_ncols=True) as networks:
        for network in networks:
            counts, known, filled = opened.apply(
                network, scan.counts, np.broadcast_to(scan.valid, scan.counts.shape), 1.0
            )
            write_frames(
                str(folder / f"step_{network.step}.h5"),
                counts,
                valid=known & ~filled,
                filled=filled,
                sources=scan.metadata.sources,
                geometry=Geometry(center=opened.prepared.center_subpixel),
                process={
                    "run": str(opened.folder.path),
                    "step": str(network.step),
                    "ensemble": opened.group,
                    "config": dump(opened.trained),
                },
            )
