"""How fast is it here? Training and inference, in float32 and bfloat16, on whatever device there is.

Every measurement is a process of its own: so are its compilation and memory. Where PyTorch is installed
(extra `torch`), the published network's training step is also measured there, on as many patches.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

import smae_jax
from benchmarks import markdown, runner
from smae_jax import models, training
from smae_jax.config import TrainConfig, TrainOptions
from smae_jax.inference import Predictor
from smae_jax.placing import draw
from smae_jax.run.build import build_network, build_optimizer
from smae_jax.simulate import simulate

COLUMNS = {
    "train": "training samples/s",
    "looped": "in a loop",
    "infer": "inference frames/s",
    "startup": "start-up s",
    "train_cold": "training compile s",
    "train_warm": "warm s",
    "infer_cold": "inference compile s",
    "infer_warm": "warm s",
    "host_gib": "peak host GiB",
    "device_gib": "peak device GiB",
    "torch": "PyTorch training samples/s",
    "ratio": "JAX / PyTorch",
}
Setting = dict[str, Any]
"""model, precision, seconds, frames, size, batch, patch, and `how`: "steps", "loop" or "torch"."""


def usual(work: Callable[[], Any], seconds: float) -> tuple[float, float]:
    """Return the seconds of a call, and how many more the first one took, which compiles."""
    times: list[float] = []
    while len(times) < 3 or sum(times[1:]) < seconds:
        start = time.perf_counter()
        jax.block_until_ready(work())
        times.append(time.perf_counter() - start)
    each = statistics.median(times[1:])
    return each, max(times[0] - each, 0.0)


def measure(setting: Setting) -> dict[str, float]:
    """Measure one network in this process: its training, and inference unless in a loop."""
    mesh, looped = training.make_mesh(), setting["how"] == "loop"
    found = {"startup": time.time() - setting["started"]}
    if setting["how"] == "torch":
        from benchmarks.speed_torch import seconds_of_a_step

        each = seconds_of_a_step(setting["batch"], setting["patch"], setting["seconds"])
        return found | {"train": setting["batch"] / each}
    batch = max(1, round(setting["batch"] / mesh.size)) * mesh.size
    options = TrainOptions(precision=setting["precision"])
    config = TrainConfig(method="smae", model=setting["model"], train=options)
    scan = simulate("saxs", frames=setting["frames"], size=setting["size"], photons=5.0)
    data = smae_jax.from_arrays(scan.counts, valid=scan.valid, center=scan.center)
    method = smae_jax.Smae().settled(data)
    placed = smae_jax.place(data, method, patch=setting["patch"])
    net = build_network(config, method)
    _, optimizer = build_optimizer(config.train, peak=1e-4)
    step = smae_jax.make_step(net, method, smae_jax.losses.poisson, optimizer)
    key = jax.random.key(0)
    drawn = functools.partial(draw, batch_size=batch)
    run = training.make_resident_run(step, drawn, key=key, data=placed, mesh=mesh, looped=looped)
    everywhere = NamedSharding(mesh, PartitionSpec())
    begin = jax.jit(lambda key: step.begin(key, placed.patch), out_shardings=everywhere)
    state = [begin(key)]
    on_cpu = jax.devices()[0].platform == "cpu"
    # An accelerator is kept busy, as a training keeps it.
    count, calls = (2 if on_cpu else 20) if looped else 1, 1 if on_cpu or looped else 20

    def some_steps() -> Any:
        for _ in range(calls):
            state[0], _ = run(state[0], count)
        return state[0]

    each, more = usual(some_steps, setting["seconds"])
    found |= {"train": batch * calls * count / each, "train_compile": more}
    found["parameters"] = models.count_parameters(state[0].parameters)
    if not looped:
        predictor = Predictor(net, method, mesh=mesh)
        each, more = usual(lambda: predictor(state[0].average, data).counts, setting["seconds"])
        found |= {"infer": setting["frames"] / each, "infer_compile": more}
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    found["host_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    device = jax.devices()[0].memory_stats() or {}
    return found | {
        k: v / 2**30 for k, v in (("device_gib", device.get("peak_bytes_in_use")),) if v
    }


def child(setting: Setting, cache: str) -> dict[str, Any]:
    """Measure in a process of its own, with its compilation cache in `cache`."""
    setting = setting | {"started": time.time()}
    given = {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, "-m", "benchmarks.speed", "--case", json.dumps(setting)]
    root, own = Path(__file__).parents[1], os.environ | given
    done = subprocess.run(command, env=own, capture_output=True, text=True, cwd=root, check=False)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def compared(setting: Setting, *, with_loop: bool, with_torch: bool) -> dict[str, Any]:
    """Measure one network in one precision: cold, warm, in a loop, and beside PyTorch."""
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = child(setting, cache), child(setting, cache)
        loop = child(setting | {"how": "loop"}, cache) if with_loop else {}
        torch = child(setting | {"how": "torch"}, cache) if with_torch else {}
    if "failed" in cold | warm:
        return {"failed": (cold | warm)["failed"]}
    row = {**warm, "looped": loop.get("train"), "torch": torch.get("train")}
    for what in ("train", "infer"):
        row |= {f"{what}_cold": cold[f"{what}_compile"], f"{what}_warm": warm[f"{what}_compile"]}
    row["ratio"] = row["train"] / row["torch"] if row["torch"] else None
    return {key: value for key, value in row.items() if value is not None}


def main(given: list[str] | None = None) -> int:
    """Measure all networks and write the page."""
    parser = runner.arguments(__doc__, "speed")
    parser.add_argument("--models", nargs="+", default=["unet", "sedcnn4"], help="networks")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each measurement")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    with runner.bench(parser, given) as bench:
        asked = bench.options
        if asked.case:
            print(json.dumps(measure(json.loads(asked.case))))
            return 0
        size = (8, 48, 8, 16) if asked.quick else (64, 128, 16, 64)
        setting: Setting = dict(zip(("frames", "size", "batch", "patch"), size, strict=True))
        setting |= {"seconds": 0.5 if asked.quick else asked.seconds, "how": "steps"}
        on_cpu, torch = jax.devices()[0].platform == "cpu", find_spec("torch") is not None
        rows: markdown.Rows = {}
        for model, precision in itertools.product(asked.models, asked.precisions):
            plain = precision == "float32"
            # On a CPU a loop is so slow (see `make_resident_run`) that one case says it all.
            loop = not on_cpu or (model == "unet" and plain)
            with_torch = torch and plain and model == "sedcnn4"
            case = setting | {"model": model, "precision": precision}
            row = compared(case, with_loop=loop, with_torch=with_torch)
            rows[f"{model}, {precision}"] = row
            print(f"{model}, {precision}: {json.dumps(row)}", flush=True)
        keys = {
            key: head for key, head in COLUMNS.items() if any(key in row for row in rows.values())
        }
        table = markdown.scores("network", rows, keys, dict.fromkeys(keys, "{:.3g}"))
        failed = [
            f"{name} failed: {row['failed']}." for name, row in rows.items() if "failed" in row
        ]
        note = (
            ""
            if torch
            else "PyTorch is not installed here (`pip install smae_jax[torch]`): no ratio."
        )
        bench.write("speed", table=table, notes="\n\n".join([*failed, note]), **setting)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
