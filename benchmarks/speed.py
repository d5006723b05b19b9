"""How fast is it here? `python -m benchmarks.speed [--quick]`.

For both networks in float32 and bfloat16, on whatever device there is: training samples/s one step per call
and in a loop on the device, inference frames/s with the ensemble, start-up, compilation cold and from the
persistent cache, peak memory. Every measurement is a process of its own: so are its compilation and memory.

Results go to benchmarks/results/<device>.json and .md, and stay there.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
COLUMNS = {
    "model": "network",
    "precision": "numbers",
    "train_samples_per_s": "training samples/s",
    "looped_samples_per_s": "in a loop, samples/s",
    "infer_frames_per_s": "inference frames/s",
    "startup_s": "start-up s",
    "train_compile_cold_s": "training compile s",
    "train_compile_warm_s": "warm s",
    "infer_compile_cold_s": "inference compile s",
    "infer_compile_warm_s": "warm s",
    "peak_host_gib": "peak host GiB",
    "peak_device_gib": "peak device GiB",
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement; a child process receives it as JSON."""

    model: str
    precision: str
    looped: bool
    seconds: float
    frames: int
    size: int
    batch_size: int
    patch: int
    started: float = 0.0


def measure(case: Case) -> dict[str, Any]:
    """Measure one case in this process: training, and inference unless it is the looped one."""
    import jax
    import numpy as np

    from smae_jax import inference, models, training
    from smae_jax.commands.build import build_method, build_model
    from smae_jax.commands.train import place_data
    from smae_jax.config import DataOptions, TrainConfig, TrainOptions
    from smae_jax.data import batches
    from smae_jax.data.canvas import centred_canvas
    from smae_jax.data.center import Center
    from smae_jax.data.scan import Geometry, Metadata, Scan
    from smae_jax.loss_spec import parse_loss
    from smae_jax.simulate import simulate

    mesh = training.make_mesh()
    startup = time.time() - case.started
    rate = round(case.batch_size / mesh.size) or 1
    config = TrainConfig(
        method="smae",
        model=case.model,  # type: ignore[arg-type]
        data=DataOptions(augment="d4"),
        train=TrainOptions(
            precision=case.precision,  # type: ignore[arg-type]
            batch_size=rate * mesh.size,
            patch=case.patch,
        ),
    )
    made = simulate("saxs", frames=case.frames, size=case.size, photons=5.0)
    counts = np.where(made.valid, made.counts, 0).astype(np.float32)
    valid = np.broadcast_to(made.valid, (1, *counts.shape[1:]))
    sources = tuple(f"simulated[{i}]" for i in range(case.frames))
    scan = Scan(counts, valid, Geometry(), Metadata(sources, "uint16"), {})
    center = Center((made.center[0], made.center[1]), (made.center[0], made.center[1]), 1.0)

    method, module = build_method(config), build_model(config)
    data, _, patch_shape = place_data(config, method, scan, center)
    options, key = config.train, jax.random.key(0)
    schedule = training.make_schedule("constant", learning_rate=1e-4, steps=1)
    optimizer = training.make_optimizer(options.optimizer, schedule, clip_norm=options.clip_norm)
    apply = models.apply_of(module)
    step = training.make_step(
        apply=apply,
        pair=method.pair,
        loss=parse_loss(config.loss),
        optimizer=optimizer,
        average_decay=options.average_decay,
    )

    def draw(key: Any, data: batches.Canvases) -> Any:
        places = batches.draw_places(key, data, batch_size=options.batch_size)
        return batches.gather(data, *places, patch_shape=patch_shape)

    run = training.make_resident_run(step, draw, key=key, data=data, mesh=mesh, looped=case.looped)

    def begin(key: Any) -> training.TrainState:
        channels = method.source_channels
        parameters = models.initial_parameters(module, key, channels=channels, spatial=patch_shape)
        return training.initial_state(parameters, optimizer)

    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    state = jax.block_until_ready(jax.jit(begin, out_shardings=everywhere)(key))

    clock = time.perf_counter()
    state, _ = jax.block_until_ready(run(state, 1))
    first = time.perf_counter() - clock
    on_cpu = jax.devices()[0].platform == "cpu"
    per_call = (2 if on_cpu else 20) if case.looped else 1
    calls = (
        1 if on_cpu or case.looped else 20
    )  # an accelerator is kept busy, as a training keeps it
    times: list[float] = []
    while sum(times) < case.seconds:
        clock = time.perf_counter()
        for _ in range(calls):
            state, _ = run(state, per_call)
        jax.block_until_ready(state)
        times.append(time.perf_counter() - clock)
    each = statistics.median(times) / (calls * per_call)
    found = {
        "startup_s": startup,
        "parameters": models.count_parameters(state.parameters),
        "batch_size": options.batch_size,
        "train_samples_per_s": options.batch_size / each,
        "train_compile_s": max(first - each, 0.0),
    }
    if not case.looped:
        canvas = centred_canvas(counts.shape[1:], center.half_pixel)
        denoise = inference.make_denoiser(
            apply, method, group="flips", conserve_totals=True, mesh=mesh
        )
        size = inference.frames_per_batch(canvas, frames=case.frames, devices=mesh.size)
        scales = np.ones(case.frames, np.float32)

        def denoise_all() -> float:
            clock = time.perf_counter()
            for _ in inference.denoise_frames(
                denoise, state.average, counts, valid, scales, canvas=canvas, batch_size=size
            ):
                pass
            return time.perf_counter() - clock

        first = denoise_all()
        spent = [denoise_all()]
        while sum(spent) < case.seconds:
            spent.append(denoise_all())
        usual = statistics.median(spent)
        found["infer_frames_per_s"] = case.frames / usual
        found["infer_compile_s"] = max(first - usual, 0.0)
    found |= memory()
    return found


def memory() -> dict[str, float]:
    """Return the peak memory of this process, and of the device where it tells."""
    import resource

    import jax

    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    found = {"peak_host_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
    device = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in device:
        found["peak_device_gib"] = device["peak_bytes_in_use"] / 2**30
    return found


def in_child(case: Case, cache: str) -> dict[str, Any]:
    """Measure a case in a process of its own, with its compilation cache in `cache`."""
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    case = dataclasses.replace(case, started=time.time())
    command = [
        sys.executable,
        "-m",
        "benchmarks.speed",
        "--case",
        json.dumps(dataclasses.asdict(case)),
    ]
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        cwd=RESULTS.parents[1],
        check=False,
    )
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def compare(case: Case, *, with_loop: bool) -> dict[str, Any]:
    """Measure one network in one precision: cold, warm, and in a loop."""
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = in_child(case, cache), in_child(case, cache)
        loop = {}
        if with_loop:
            loop = in_child(dataclasses.replace(case, looped=True), cache)
    if "failed" in cold or "failed" in warm:
        return {"model": case.model, "precision": case.precision, **cold, **warm}
    row: dict[str, Any] = {"model": case.model, "precision": case.precision}
    for name, value in warm.items():
        if name.endswith("_compile_s"):
            row[name.replace("_s", "_cold_s")] = cold[name]
            row[name.replace("_s", "_warm_s")] = value
        else:
            row[name] = value
    row["looped_samples_per_s"] = loop.get("train_samples_per_s")
    return row


def hardware() -> dict[str, Any]:
    """Return versions and device, and how busy the machine is."""
    import jax

    from smae_jax.run_folder import environment

    found = environment()
    found["command"] = " ".join(["python -m benchmarks.speed", *sys.argv[1:]])
    found["platform_of_jax"] = jax.devices()[0].platform
    found["cores"] = os.cpu_count()
    found["processor"] = processor()
    found["load_before"] = round(os.getloadavg()[0], 1)
    return found


def processor() -> str:
    """Return the name of the CPU."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    match = re.search(r"model name\s*: (.*)", text)
    return match[1].strip() if match else "unknown CPU"


def as_markdown(record: dict[str, Any]) -> str:
    """Write one run of the benchmark as a heading, a sentence and a table."""
    about, setting = record["environment"], record["setting"]
    device = about["device"] if about["platform_of_jax"] != "cpu" else about["processor"]
    rows = [row for row in record["rows"] if "failed" not in row]
    shown = [name for name in COLUMNS if any(row.get(name) is not None for row in rows)]
    lines = [
        f"## {record['date']}",
        "",
        f"{about['devices']} x {device}, {about['cores']} CPU cores "
        f"(load before and after: {about['load_before']}, {about['load_after']}); "
        f"jax {about['jax']}, flax {about.get('flax', '?')}, optax {about['optax']}, "
        f"Python {about['python']}; `{about['command']}`.",
        f"Scan of {setting['frames']} frames of {setting['size']} x {setting['size']}; patches of "
        f"{setting['patch']}, {setting['batch_size']} a step; ensemble over the four flips.",
        "",
        "| " + " | ".join(COLUMNS[name] for name in shown) + " |",
        "|" + "---|" * len(shown),
    ]
    for row in rows:
        cells = [row.get(name) for name in shown]
        lines.append(
            "| "
            + " | ".join(f"{c:.3g}" if isinstance(c, float) else str(c or "-") for c in cells)
            + " |"
        )
    for row in record["rows"]:
        if "failed" in row:
            lines.append(f"\n{row['model']}, {row['precision']} failed: {row['failed']}")
    return "\n".join(lines) + "\n"


def keep(record: dict[str, Any], folder: Path) -> list[Path]:
    """Append the record to the files of its device; return them."""
    about = record["environment"]
    device = about["device"] if about["platform_of_jax"] != "cpu" else f"cpu {about['processor']}"
    name = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    data, table = folder / f"{name}.json", folder / f"{name}.md"
    records = [*(json.loads(data.read_text()) if data.exists() else []), record]
    data.write_text(json.dumps(records, indent=1) + "\n")
    tables = "\n".join(as_markdown(one) for one in reversed(records))
    table.write_text(f"# Speed on {device}\n\n{tables}")
    return [data, table]


def main() -> None:
    """Measure all cases and keep the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__.split("\n\n")[1]
    )
    parser.add_argument("--quick", action="store_true", help="smaller and shorter; not kept")
    parser.add_argument("--models", nargs="+", default=["unet", "sedcnn4"], help="networks")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each measurement")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to keep results in")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.case:
        print(json.dumps(measure(Case(**json.loads(chosen.case)))))
        return
    frames, size, batch_size, patch = (8, 48, 8, 16) if chosen.quick else (64, 128, 16, 64)
    seconds = 0.5 if chosen.quick else chosen.seconds
    setting = {"frames": frames, "size": size, "batch_size": batch_size, "patch": patch}
    about, rows = hardware(), []
    for model in chosen.models:
        for precision in chosen.precisions:
            case = Case(model, precision, False, seconds, **setting)
            # On a CPU a loop is so slow (see `make_resident_run`) that one case says it all.
            with_loop = about["platform_of_jax"] != "cpu" or (model, precision) == (
                "unet",
                "float32",
            )
            rows.append(compare(case, with_loop=with_loop))
            print(json.dumps(rows[-1]), flush=True)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    about["load_after"] = round(os.getloadavg()[0], 1)
    record = {"date": now, "environment": about, "setting": setting, "rows": rows}
    print(as_markdown(record))
    if not chosen.quick:
        print("kept in", *keep(record, chosen.results))


if __name__ == "__main__":
    main()
