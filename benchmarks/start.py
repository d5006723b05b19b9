"""Train the first parameters that `--init-from simulated` takes: `python -m benchmarks.start`.

Clean simulated patterns only, no file of anybody's: every step draws an exposure and fresh photons for each
patch, and the network learns the clean rates of a pixel and of its partner. Writes `configs/simulated.npz`,
which is under this project's licence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.methods_report import Making
from smae_jax import models, training
from smae_jax.commands.build import build_method, build_model
from smae_jax.commands.fit import build_optimizer
from smae_jax.commands.shipped import shipped_config
from smae_jax.commands.warm_start import write_start
from smae_jax.config import TrainConfig, TrainOptions
from smae_jax.config_file import load
from smae_jax.data import batches
from smae_jax.losses import poisson
from smae_jax.methods.protocol import Batch, Pair
from smae_jax.methods.views import moved, rate_of
from smae_jax.simulate import simulate

SEED = 2000
"""First of the seeds of the scans, which no other benchmark uses."""
PHOTONS = (0.1, 30.0)
"""Exposures are drawn between these, evenly in their logarithm, in photons per pixel."""
ASYMMETRIES = (0.0, 0.0, 0.05, 0.2)
KINDS = ("saxs", "waxd") * 4 + ("gisaxs",)


class Lit(NamedTuple):
    """Patches in the light of one exposure each.

    Attributes:
      clean: rates of one photon per pixel in the mean, in the place of counts.
      flux: photons per pixel of a full frame, (batch,).
      photons: counted at the pixel and at its partner, (batch, height, width) float32 each.
    """

    clean: Batch
    flux: Array
    photons: tuple[Array, Array]


def lit(clean: Batch, number: int) -> Lit:
    """Draw exposures and photons for the patches of one step; on the host, where it is fast."""
    rng = np.random.default_rng((SEED, number))
    flux = np.exp(rng.uniform(*np.log(PHOTONS), len(clean.scale))).astype(np.float32)
    rates = np.stack([clean.counts, clean.partner_counts]) * flux[:, None, None]
    photons = rng.poisson(rates).astype(np.float32)
    return Lit(clean, *jax.device_put((flux, tuple(photons))))


def teach(light: tuple[float, float]) -> Callable[[Array, Lit], Pair]:
    """Return what makes pairs of clean rates and counted ones, as method `thinning` shows them.

    Args:
      light: (own, partner) exposure that the network is told, as in a prediction.
    """

    def pair(key: Array, lit: Lit) -> Pair:
        batch, scale = lit.clean, lit.clean.scale
        measured = ((batch.counts, batch.exposure), (batch.partner_counts, batch.partner_exposure))
        source, target, weight = [], [], []
        for (clean, exposure), told, photons in zip(measured, light, lit.photons, strict=True):
            source += [rate_of(photons, exposure, scale * lit.flux), exposure * told]
            target.append(rate_of(clean, exposure, scale))
            weight.append(exposure)
        keys = jax.random.split(key, len(scale))
        parts = moved(keys, (source, target, weight), group="d4")
        return Pair(*(jnp.stack(part, axis=-1) for part in parts))

    return pair


def canvases(
    *, scans: int, frames: int, size: int, seed: int, patch_shape: tuple[int, int]
) -> batches.Canvases:
    """Simulate clean patterns of many scans on one detector, as training reads them."""
    made = [
        simulate(
            KINDS[number % len(KINDS)],  # type: ignore[arg-type]
            frames=frames,
            size=size,
            photons=1.0,
            seed=seed + number,
            asymmetry=ASYMMETRIES[number % len(ASYMMETRIES)],
        )
        for number in range(scans)
    ]
    valid = made[0].valid
    clean = np.concatenate([scan.truth for scan in made]) * valid
    return batches.Canvases(  # numpy arrays, on their way to the device
        counts=clean,
        valid=valid[None],
        scale=np.full(len(clean), clean[:, valid].mean(), np.float32),  # type: ignore[arg-type]
        held_out=np.zeros_like(valid),
        frames=np.arange(len(clean), dtype=np.int32),
        origins=batches.patch_origins(
            valid.astype(np.float64), patch_shape, region="half", mean_counts=clean.mean(axis=0)
        ),
    )


def drawers(scans: int, sizes: tuple[int, ...]) -> Iterator[Callable[[Array], Batch]]:
    """Yield a function key -> batch for detectors of every size: features are wide on large ones."""
    for number, size in enumerate(sizes):
        frames = max(2, 8 * 128**2 // size**2)
        shape = batches.patch_shape_for((size, size), patch=64, region="half", square=True)
        data = canvases(
            scans=scans, frames=frames, size=size, seed=SEED + 1000 * number, patch_shape=shape
        )

        def draw(key: Array, data: batches.Canvases, shape: tuple[int, int] = shape) -> Batch:
            places = batches.draw_places(key, data, batch_size=TrainOptions().batch_size)
            return batches.gather(data, *places, patch_shape=shape)

        compiled, data = jax.jit(draw), jax.device_put(data)
        yield lambda key, compiled=compiled, data=data: compiled(key, data)


def main(arguments: list[str] | None = None) -> int:
    """Simulate, train and write the parameters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--scans", type=int, default=100, help="simulated, of every size")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128], help="of a frame")
    parser.add_argument("--output", type=Path, default=Path("configs/simulated.npz"))
    options = parser.parse_args(arguments)
    config = TrainConfig(
        seed=SEED,
        method="thinning",
        train=TrainOptions(steps=options.steps),
        unet=load(shipped_config("warm"), TrainConfig).unet,
    )
    method = build_method(config)
    module = build_model(config)
    parameters = models.initial_parameters(
        module, jax.random.key(SEED), channels=method.source_channels, spatial=(64, 64)
    )
    _, optimizer = build_optimizer(config.train, peak=config.peak_rate)
    step = training.make_step(
        apply=models.apply_of(module),
        pair=teach(max(method.shares, key=sum)),
        loss=poisson,
        optimizer=optimizer,
        average_decay=config.train.average_decay,
    )
    compiled = jax.jit(step, donate_argnums=0)
    state = training.initial_state(parameters, optimizer)
    draws = list(drawers(options.scans, tuple(options.sizes)))
    making, key = Making(SEED), jax.random.key(SEED)
    for number in range(options.steps):
        draw_key, pair_key = training.step_keys(key, jnp.asarray(number, jnp.int32))
        batch = draws[number % len(draws)](draw_key)
        state, metrics = compiled(state, pair_key, lit(batch, number))
        if (number + 1) % 100 == 0:
            print(f"step {number + 1}: loss {float(metrics['loss']):.4f}", flush=True)
    write_start(options.output, config, state.average, options.steps)
    print(f"{options.output}: written, {options.output.stat().st_size / 1e6:.1f} MB")
    print(making.facts())
    return 0


if __name__ == "__main__":
    sys.exit(main())
