"""How fast is it here? Training, inference and start, beside PyTorch, on whatever device there is.

Every row is a process of its own, in which the things that are compared run in turns: after a warm-up, some
rounds, of which the median and the spread are given. PyTorch (extra `torch`) runs the published network in
its best setting: channels last, compiled, bfloat16 on a GPU. Large arrays lie in the heap, as `smae-jax` has
them, in PyTorch too.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import smae_jax
from benchmarks import markdown, runner
from benchmarks.cases import DATA
from benchmarks.speed_limits import Product, measured_rates, products
from smae_jax import losses, models, training
from smae_jax.config import TrainConfig, TrainOptions
from smae_jax.inference import Predictor
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Batch, Method, Pair
from smae_jax.one_heap import large_in_heap, use_one_heap
from smae_jax.placing import Placing, draw
from smae_jax.run.build import build_network, build_optimizer
from smae_jax.run.fit import Training, fit_in_folder
from smae_jax.run.folder import RunFolder
from smae_jax.simulate import simulate

ROUNDS = 5
SIMULATED = 8
"""Devices that a CPU is taken for."""
Works = dict[str, Callable[[], Any]]
Row = dict[str, str]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large the cases are: quick, on a CPU, or on an accelerator."""

    published: tuple[tuple[int, int, int], tuple[int, int, int]]
    scan: int
    patch: int
    batches: tuple[int, ...]
    steps: int
    frames: int
    side: int
    train_steps: int
    matrix: int
    copied: int


QUICK = Sizes(((2, 32, 32), (2, 48, 24)), 48, 16, (2,), 2, 4, 48, 4, 64, 2**16)
CPU = Sizes(((16, 64, 64), (8, 256, 128)), 128, 64, (16,), 20, 8, 256, 1500, 1024, 2**28)
ACCELERATOR = Sizes(
    ((16, 64, 64), (64, 256, 128)), 128, 64, (16, 256), 200, 64, 256, 1500, 8192, 2**32
)


def in_turns(works: Works, *, seconds: float) -> dict[str, list[float]]:
    """Time works in turns.

    Args:
      works: name -> a call that ends when its work has ended.
      seconds: least length of a measurement.

    Returns:
      Name -> seconds of a call, `ROUNDS` of them.
    """
    calls, times = {}, {name: list[float]() for name in works}
    for name, work in works.items():
        jax.block_until_ready(work())  # compiles
        start = time.perf_counter()
        jax.block_until_ready(work())
        calls[name] = max(1, round(seconds / max(time.perf_counter() - start, 1e-6)))
    for _ in range(ROUNDS):
        for name, work in works.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                out = work()
            jax.block_until_ready(out)
            times[name].append((time.perf_counter() - start) / calls[name])
    return times


def rates(times: dict[str, list[float]], each: float, unit: str) -> Row:
    """Write what was done in a second, with its spread, and how many times the second of two the first is."""
    found = {name: [each / t for t in some] for name, some in times.items()}
    row = {
        name: f"{statistics.median(r):.4g} {unit} ({min(r):.4g} to {max(r):.4g})"
        for name, r in found.items()
    }
    if len(found) > 1:
        first, second = (statistics.median(r) for r in list(found.values())[:2])
        row["ratio"] = f"{first / second:.2f}"
    return row


def scan_of(frames: int, side: int) -> Measurements:
    """Return a simulated scan of 1 photon per pixel."""
    scan = simulate("saxs", frames=frames, size=side, photons=1.0)
    return smae_jax.from_arrays(scan.counts, valid=scan.valid, center=scan.center)


def training_of(
    data: Measurements,
    options: TrainOptions,
    *,
    model: str,
    method: Method,
    loss: losses.Loss,
    patch: tuple[int, int],
) -> tuple[training.Step, Any]:
    """Return a step and what it is trained on."""
    config = TrainConfig(model=model, train=options)
    method = method.settled(data)
    how = Placing(patch=max(patch), square=patch[0] == patch[1])
    placed = smae_jax.place(data, method, patch=max(patch), how=how)
    _, optimizer = build_optimizer(options, peak=1e-4)
    return smae_jax.make_step(build_network(config, method), method, loss, optimizer), placed


def steps_of(
    step: training.Step, placed: Any, drawn: Any, *, count: int, devices: int = 1
) -> Callable[[], Any]:
    """Return the call that does some steps, on the device in one dispatch where that is not a CPU."""
    key, mesh, looped = jax.random.key(0), training.make_mesh(devices), not on_cpu()
    run = training.make_resident_run(step, drawn, key=key, data=placed, mesh=mesh, looped=looped)
    state = [training.compiled_begin(step, _patch_of(placed), mesh)(key)]

    def some() -> Any:
        for _ in range(1 if looped else count):
            state[0], metrics = run(state[0], count if looped else 1)
        return metrics

    return some


def _patch_of(placed: Any) -> tuple[int, ...]:
    return tuple(placed.patch if hasattr(placed, "patch") else placed.source.shape[1:-1])


def on_cpu() -> bool:
    """Whether there is no accelerator."""
    return jax.devices()[0].platform == "cpu"


@dataclasses.dataclass(frozen=True)
class Given(Method):
    """Pairs that are there already: what is left of a step without drawing and pairing."""

    source_channels: int = 4
    outputs: int = 2

    def pair(self, key: jax.Array, batch: Batch) -> Pair:
        """Take the batch for the pair."""
        return batch  # type: ignore[return-value]


def default_training(side: int, patch: int) -> tuple[training.Step, Any]:
    """Return the default step and its data, 64 frames of so many pixels a side."""
    return training_of(
        scan_of(64, side),
        TrainOptions(),
        model="unet",
        method=smae_jax.Thinning(),
        loss=losses.poisson,
        patch=(patch, patch),
    )


def pairs_of(step: training.Step, placed: Any, batch: int) -> Callable[[jax.Array], Pair]:
    """Return what draws the examples of a step and pairs them: key -> pair."""

    def pair(key: jax.Array) -> Pair:
        drawing, pairing = jax.random.split(key)
        return step.method.pair(pairing, draw(drawing, placed, batch_size=batch))

    return pair


def bare(step: training.Step) -> training.Step:
    """Return a step on pairs that are there: network, loss and optimizer alone."""
    return dataclasses.replace(step, method=Given())


def bare_steps(step: training.Step, placed: Any, batch: int, *, count: int) -> Callable[[], Any]:
    """Return the call that does bare steps, all on one pair."""
    pair = jax.jit(pairs_of(step, placed, batch))(jax.random.key(1))
    return steps_of(bare(step), pair, lambda key, given: given, count=count)


def published(
    sizes: Sizes, seconds: float, *, shape: tuple[int, int, int] | None = None
) -> dict[str, Row]:
    """Compare training of the published network: samples a second, with drawing and pairing."""
    batch, height, width = shape or sizes.published[0]
    precision: Any = "float32" if on_cpu() else "bfloat16"
    step, placed = training_of(
        scan_of(16, max(height, 2 * width)),
        TrainOptions(precision=precision, optimizer="adam"),
        model="sedcnn4",
        method=smae_jax.Smae(augment="flips"),
        loss=losses.mse,
        patch=(height, width),
    )
    drawn, count = functools.partial(draw, batch_size=batch), max(1, sizes.steps // 10)
    works: Works = {"ours": steps_of(step, placed, drawn, count=count)}
    if find_spec("torch"):
        from benchmarks.speed_torch import training_steps

        works["PyTorch"] = training_steps(batch, (height, width), count=count)
    name = f"training, published network, {batch} x {height} x {width}, {precision}"
    return {name: rates(in_turns(works, seconds=seconds), batch * count, "samples/s")}


def large(sizes: Sizes, seconds: float) -> dict[str, Row]:
    """Compare training of the published network on large patches."""
    return published(sizes, seconds, shape=sizes.published[1])


def inference(sizes: Sizes, seconds: float) -> dict[str, Row]:
    """Compare the mean over four flips: frames a second, from arrays to answers on the device."""
    frames, side, rows = sizes.frames, sizes.side, {}
    data, key = scan_of(frames, side), jax.random.key(0)
    precision: Any = "float32" if on_cpu() else "bfloat16"
    for model, method in (("sedcnn4", smae_jax.Smae()), ("unet", smae_jax.Thinning())):
        settled = method.settled(data)
        config = TrainConfig(model=model, train=TrainOptions(precision=precision))
        net = build_network(config, settled)
        parameters = models.initial_parameters(
            net, jax.random.clone(key), channels=settled.source_channels, spatial=(side, side)
        )
        predictor = Predictor(net, settled, conserve_totals=False)
        works: Works = {
            "ours": lambda p=predictor, q=parameters: p(q, data).counts  # type: ignore[misc]
        }
        if find_spec("torch"):
            from benchmarks.speed_torch import flips

            works["PyTorch"] = flips(frames, (side, side))
        name = f"four flips, {frames} x {side} x {side}, {model}; PyTorch: published network"
        rows[name] = rates(in_turns(works, seconds=seconds), frames, "frames/s")
    return rows


def fit(sizes: Sizes, seconds: float) -> dict[str, Row]:
    """Compare the default training in full, with looks, log and checkpoints, with its bare steps."""
    rows, (step, placed) = {}, default_training(sizes.scan, sizes.patch)
    for batch in sizes.batches:
        works: Works = {
            "ours": functools.partial(whole_training, step, placed, batch, sizes.steps),
            "bare step": bare_steps(step, placed, batch, count=sizes.steps),
        }
        name = f"default training in full, {batch} x {sizes.patch} x {sizes.patch}, beside its bare step"
        rows[name] = rates(in_turns(works, seconds=seconds), batch * sizes.steps, "samples/s")
    return rows


def whole_training(step: training.Step, placed: Any, batch: int, steps: int) -> None:
    """Train as `smae-jax train` does, with all that goes into its folder."""
    with tempfile.TemporaryDirectory() as name:
        options = TrainOptions(steps=steps, batch_size=batch, devices=1)
        work = Training(step.method, step.net, step.loss, placed)
        fit_in_folder(
            TrainConfig(run=name, train=options), RunFolder(Path(name)), work, lambda line: None
        )


def limit(sizes: Sizes, seconds: float) -> dict[str, Row]:
    """Compare the bare step with what its products take at the machine's measured rates."""
    rows, (step, placed) = {}, default_training(sizes.scan, sizes.patch)
    best = measured_rates(jnp.float32, side=sizes.matrix, copied=sizes.copied)
    for batch in sizes.batches:
        some = products_of(step, placed, batch)
        works: Works = {"ours": bare_steps(step, placed, batch, count=sizes.steps)}
        found = in_turns(works, seconds=seconds)["ours"]
        least, took = best.seconds(some), statistics.median(found) / sizes.steps
        total = sum(p.operations for p in some)
        rows[
            f"bare default step, {batch} x {sizes.patch} x {sizes.patch}, of the machine's limit"
        ] = {
            "ours": f"{1e6 * took:.0f} us a step, {total / 1e9:.3g} GFLOP",
            "at the limit": f"{1e6 * least:.0f} us, at {best.operations / 1e12:.3g} TFLOP/s and "
            f"{best.bytes / 1e9:.3g} GB/s",
            "ratio": f"{least / took:.2f}",
        }
    return rows


def products_of(step: training.Step, placed: Any, batch: int) -> list[Product]:
    """List the convolutions and matrix products of a bare step; nothing is computed."""
    alone, key = bare(step), jax.random.key(0)
    pair = jax.eval_shape(pairs_of(step, placed, batch), key)
    state = jax.eval_shape(lambda key: alone.begin(key, placed.patch), key)
    return products(alone, state, key, pair)


def wall(sizes: Sizes, seconds: float) -> dict[str, Row]:
    """Time `smae-jax train` by the clock: compiled programs to be made, and at hand."""
    del seconds
    side, steps = sizes.scan, sizes.train_steps
    with tempfile.TemporaryDirectory() as name:
        scan = simulate("saxs", frames=64, size=side, photons=1.0)
        np.save(Path(name) / "scan.npy", scan.counts.astype(np.uint16))
        asked = ("--data.path", "scan.npy", "--train.steps", str(steps))
        return commands(Path(name), f"`train`, {steps} steps, 64 frames of {side} x {side}", asked)


def spectra(sizes: Sizes, seconds: float) -> dict[str, Row]:
    """Time the training on four X-ray fluorescence spectra by the clock, with its shipped options."""
    del seconds
    config = Path(__file__).parents[1] / "configs" / "spectra.toml"
    asked = ("--config", str(config), "--data.path", str(DATA / "xrf_spectra.csv"))
    asked += ("--train.steps", str(sizes.train_steps)) if sizes is QUICK else ()
    with tempfile.TemporaryDirectory() as name:
        return commands(Path(name), "`train` on four spectra, `configs/spectra.toml`", asked)


def commands(folder: Path, what: str, asked: tuple[str, ...]) -> dict[str, Row]:
    """Time a training of the command line, first with nothing compiled."""
    own = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parents[1], *sys.path))),
    }
    command = [sys.executable, "-m", "smae_jax.cli", "train", "--run", "r", "--overwrite", *asked]
    took = []
    for _ in range(4):
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, env=own, check=True, capture_output=True)
        took.append(time.perf_counter() - start)
    usual = f"{statistics.median(took[1:]):.1f} s ({min(took[1:]):.1f} to {max(took[1:]):.1f})"
    return {
        f"{what}, nothing compiled": {"ours": f"{took[0]:.1f} s"},
        f"{what}, compiled before": {"ours": usual},
    }


def devices(sizes: Sizes, seconds: float) -> dict[str, Row]:
    """Compare steps on eight simulated devices of a CPU with the same steps on one."""
    step, placed = default_training(128, 64)
    drawn, count = functools.partial(draw, batch_size=16), max(1, sizes.steps // 4)
    works = {
        name: steps_of(step, placed, drawn, count=count, devices=number)
        for name, number in (("ours", SIMULATED), ("one device", 1))
    }
    found = rates(in_turns(works, seconds=seconds), 16 * count, "samples/s")
    return {f"training, 16 x 64 x 64, on {SIMULATED} simulated devices of a CPU": found}


MEASURES: dict[str, Callable[[Sizes, float], dict[str, Row]]] = {
    "published": published,
    "inference": inference,
    "fit": fit,
    "limit": limit,
    "wall": wall,
    "spectra": spectra,
    "large": large,
    "devices": devices,
}


def child(name: str, compiled: str, *, quick: bool, seconds: float) -> dict[str, Row]:
    """Measure in a process of its own; compiled programs are kept in a folder."""
    command = [sys.executable, "-m", "benchmarks.speed", "--row", name, "--seconds", str(seconds)]
    command += ["--quick"] if quick else []
    root, own = Path(__file__).parents[1], os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    own |= {"JAX_COMPILATION_CACHE_DIR": compiled}
    if name == "devices":
        own |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(SIMULATED)}
    done = subprocess.run(command, env=own, capture_output=True, text=True, cwd=root, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {name: {"ours": f"failed: {last}"}}
    return json.loads(done.stdout.splitlines()[-1])


def main(given: list[str] | None = None) -> int:
    """Measure all rows and write the page."""
    parser = runner.arguments(__doc__, "speed")
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES))
    parser.add_argument("--seconds", type=float, default=2.0, help="least length of a measurement")
    parser.add_argument("--row", choices=list(MEASURES), help=argparse.SUPPRESS)
    with runner.bench(parser, given) as bench:
        asked = bench.options
        if asked.row:
            use_one_heap()
            sizes = QUICK if asked.quick else CPU if on_cpu() else ACCELERATOR
            with large_in_heap():
                print(json.dumps(MEASURES[asked.row](sizes, asked.seconds)))
            return 0
        rows, seconds = dict[str, Row](), 0.05 if asked.quick else asked.seconds
        note = "PyTorch is not installed here (`pip install smae_jax[torch]`)."
        if find_spec("torch"):
            note = f"PyTorch {version('torch')}."
        heads = ("ours", "PyTorch", "bare step", "one device", "at the limit", "ratio")
        with tempfile.TemporaryDirectory() as compiled:
            for name in asked.only:
                found = child(name, compiled, quick=asked.quick, seconds=seconds)
                print("\n".join(f"{row}: {cells}" for row, cells in found.items()), flush=True)
                rows |= found
                keys = {head: head for head in heads if any(head in row for row in rows.values())}
                table = markdown.scores("work", rows, keys, dict.fromkeys(keys, "{}"))
                bench.write("speed", table=table, notes=note)  # what is done so far
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
