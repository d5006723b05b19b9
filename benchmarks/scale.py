"""Any size, and how fast: memory against frames, what stages cost, file to file, kills and shards.

Every row is a command of its own, as a user would give it; its peak memory is that of its process. Where the
machine has no accelerator the network is replaced by one that costs nothing: reading, stages and writing then
show their own limits.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import h5py
import hdf5plugin
import jax
import jax.numpy as jnp
import numpy as np

import smae_jax
from benchmarks import markdown, runner
from smae_jax.simulate import simulate

FREE = "benchmarks.scale:Free"
ALONE = ("--no-combine", "--keep-significant", "0", "--no-keep-sums", "--no-keep-shadows")
"""Options of `infer` that leave the network and the totals."""
DRAWN = 64
"""Frames of a scan whose photons are drawn."""
ROWS = ("memory", "stages", "large", "start", "latency", "kills", "shards")


class Free(nn.Module):
    """A network that costs nothing: the rate of the pixel itself, times one parameter."""

    outputs: int = 1

    @nn.compact
    def __call__(self, source: jax.Array) -> jax.Array:
        """Map a source (batch, *spatial, channel) to rates (batch, *spatial, outputs)."""
        factor = self.param("factor", lambda key: jnp.ones((), jnp.float32))
        return source[..., : 2 * self.outputs : 2] * factor


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a command took: seconds of wall clock, and gibibytes at its peak."""

    seconds: float
    gib: float


def command(folder: Path, *arguments: Any, killed_after: float = 0.0) -> Ran:
    """Run `smae-jax` in a process of its own.

    Args:
      folder: where it runs.
      arguments: of the command.
      killed_after: seconds after which it is killed; 0 = it has to end well.

    Raises:
      RuntimeError: with its last line, if it fails.
    """
    root = str(Path(__file__).parents[1])
    own = os.environ | {"PYTHONPATH": os.pathsep.join([root, *sys.path])}
    own.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled"))
    began, log = time.perf_counter(), folder / "log.txt"
    with log.open("w") as out:
        line = [sys.executable, "-m", "smae_jax.cli", *map(str, arguments)]
        child = subprocess.Popen(line, cwd=folder, env=own, stdout=out, stderr=out)
        if killed_after:
            killing = threading.Timer(killed_after, child.kill)
            killing.start()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if killed_after:
        killing.cancel()
    elif child.returncode:
        raise RuntimeError(f"{line[3:]}: {log.read_text().strip().splitlines()[-1]}")
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    return Ran(time.perf_counter() - began, used.ru_maxrss / unit)


def scan_of(path: Path, frames: int, shape: tuple[int, int], *, kinds: int = 1) -> Path:
    """Write frames of so many patterns as detectors do: uint16, one chunk each, Bitshuffle-LZ4.

    Their photons are drawn for `DRAWN` frames, which come again and again.
    """
    rng = np.random.default_rng(0)
    truth = simulate("saxs", frames=kinds, size=256, photons=1.0).truth
    turns = [np.arange(n) * 256 // n for n in shape]
    with h5py.File(path, "w") as file:
        packed = hdf5plugin.Bitshuffle(cname="lz4")
        data = file.create_dataset(
            "entry/data/data", (frames, *shape), np.uint16, chunks=(1, *shape), **packed
        )
        for frame in range(min(frames, DRAWN)):
            data[frame] = rng.poisson(truth[frame % kinds][np.ix_(*turns)])
        drawn = [data.id.read_direct_chunk((frame, 0, 0)) for frame in range(min(frames, DRAWN))]
        for frame in range(DRAWN, frames):
            mask, packed_frame = drawn[frame % DRAWN]
            data.id.write_direct_chunk((frame, 0, 0), packed_frame, mask)
    return path


class Busy:
    """How much of the time an NVIDIA GPU computes while this is open; `share` is 0 where there is none."""

    share = 0.0

    def __enter__(self) -> None:
        """Start to look."""
        command = "nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits -lms 100"
        self._asking = None
        if shutil.which("nvidia-smi"):
            self._asking = subprocess.Popen(command.split(), stdout=subprocess.PIPE, text=True)

    def __exit__(self, *_: object) -> None:
        """Take the mean."""
        if self._asking is not None:
            self._asking.terminate()
            told = [int(line) for line in self._asking.communicate()[0].split() if line.isdigit()]
            self.share = sum(told) / max(len(told), 1) / 100


class Scale:
    """The rows of the table, one method each."""

    def __init__(self, bench: runner.Bench) -> None:
        """Begin in the benchmark's folder."""
        self.bench, self.quick = bench, bench.options.quick
        self.folder = bench.folder.resolve()
        self.real = jax.devices()[0].platform != "cpu"

    def run_of(self, scan: Path, name: str, *, model: str, steps: int, memory: str = "") -> Ran:
        """Train on a scan."""
        quick = ("--train.patch", 16, "--train.batch-size", 4) if self.quick else ()
        return command(
            self.folder,
            *("train", "--run", name, "--data.path", f"{scan.name}::/entry/data/data"),
            *("--data.center", self._center(scan), "--model", model, "--train.steps", steps),
            *("--overwrite", *quick, *(("--data.memory", memory) if memory else ())),
        )

    def infer(self, scan: Path, run: str, *options: Any, **more: Any) -> Ran:
        """Denoise a scan."""
        path = f"{scan.name}::/entry/data/data"
        return command(self.folder, "infer", "--run", run, "--input", path, *options, **more)

    def _center(self, scan: Path) -> str:
        with h5py.File(scan) as file:
            height, width = file["entry/data/data"].shape[1:]
        return f"{(height - 1) / 2},{(width - 1) / 2}"

    def memory(self) -> markdown.Rows:
        """Peak memory of training and inference against the number of frames."""
        side, few = (48, 96) if self.quick else (512, self.bench.options.frames)
        many = 3 * few if self.quick else self.bench.options.most
        rows, peaks = {}, list[float]()
        for frames in (few, many):
            scan = scan_of(self.folder / f"scan{frames}.h5", frames, (side, side))
            memory = "16MiB" if self.quick else "1GiB"
            steps = 2 if self.quick else 200
            trained = self.run_of(scan, "r", model=FREE, steps=steps, memory=memory)
            done = self.infer(scan, "r", "--output", "o.h5", "--overwrite", "--memory", memory)
            peaks.append(max(trained.gib, done.gib))
            rows[f"{frames} frames of {side} x {side}, {steps} steps and all stages, {memory}"] = {
                "value": f"{trained.gib:.2f} and {done.gib:.2f} GiB, {frames / done.seconds:.0f} frames/s",
                "target": "<= 4 GiB",
            }
            (self.folder / "o.h5").unlink()
            if frames > few:
                scan.unlink()
        slope = (peaks[1] / peaks[0] - 1) / (many / few - 1)  # for as many frames again
        rows["the same: more memory for as many frames again"] = {
            "value": f"{100 * slope:.1f} %",
            "target": "< 1 %",
        }
        return rows

    def stages(self) -> markdown.Rows:
        """Time of a frame from file to file, by the stages that it goes through.

        On a CPU the network is the free one.
        """
        side, frames = (48, 32) if self.quick else (512, 4 * self.bench.options.frames // 5)
        model = "unet" if self.real else FREE
        frames *= 3 if self.real else 1
        scan = scan_of(self.folder / "stages.h5", frames, (side, side))
        self.run_of(scan, "f", model=model, steps=200 if self.real else 1)
        rows, few = markdown.Rows(), min(16, frames // 2)
        pixels = (frames - few) * side * side / 1e6
        ways = {
            "network and totals": (ALONE, ">= 1,000 frames/s" if self.real else ""),
            "all stages": ((), ">= 500 frames/s" if self.real else "30 ms"),
            "all stages and error bars": (("--sigma",), ""),
        }
        for name, (options, target) in ways.items():
            how = ("f", "--output", "w.h5", "--overwrite", *options)
            self.infer(scan, *how)  # compiles
            start = min(self.infer(scan, *how, "--repeats", f"0:{few}").seconds for _ in range(2))
            busy = Busy()
            with busy:
                whole = self.infer(scan, *how).seconds
            took = max(whole - start, 1e-3)
            share = f", GPU busy {100 * busy.share:.0f} % of the time" if busy.share else ""
            network = "default network" if self.real else "free network"
            rows[f"file to file, {frames} frames of {side} x {side}, {network}, {name}"] = {
                "value": f"{1000 * took / pixels:.1f} ms a megapixel, "
                f"{(frames - few) / took:.0f} frames/s beyond a start of {start:.1f} s{share}",
                "target": target,
            }
        return rows

    def large(self) -> markdown.Rows:
        """Two frames of ten megapixels with the default network."""
        shape = (96, 80) if self.quick else (3262, 3108)
        scan = scan_of(self.folder / "large.h5", 2, shape)
        steps = 2 if self.quick else 20
        self.run_of(scan, "u", model="unet", steps=steps)
        _, _, one, two = (  # the first two compile
            self.infer(scan, "u", "--output", "l.h5", "--overwrite", "--repeats", which)
            for which in ("0:1", "0:2", "0:1", "0:2")
        )
        return {
            f"{shape[0]} x {shape[1]}, default network": {
                "value": f"{two.gib:.2f} GiB; {two.seconds:.0f} s for two frames, {one.seconds:.0f} for one",
                "target": "<= 2 GiB beyond the frame, <= 20 s a frame",
            }
        }

    def start(self) -> markdown.Rows:
        """Time to the first frame, compiled programs at hand, and to the help."""
        scan = scan_of(self.folder / "start.h5", 1, (64, 64))
        self.run_of(scan, "s", model="unet", steps=2)
        took = [self.infer(scan, "s", "--output", "s.h5", "--overwrite").seconds for _ in range(4)]
        helped = [command(self.folder, "infer", "--help").seconds for _ in range(4)]
        return {
            "start of `infer` to the end of one frame, compiled before": {
                "value": f"{min(took[1:]):.1f} s",
                "target": "<= 3 s",
            },
            "`infer --help`": {"value": f"{min(helped[1:]):.2f} s", "target": "<= 0.5 s"},
        }

    def latency(self) -> markdown.Rows:
        """Time from a frame to its answer, for a control system that keeps the run open."""
        side = 48 if self.quick else 512
        scan = scan_of(self.folder / "latency.h5", 8, (side, side))
        self.run_of(scan, "l", model="unet", steps=2)
        with h5py.File(scan) as file:
            frames = file["entry/data/data"][()]
        resident, took = smae_jax.Denoiser(self.folder / "l").resident(), []
        for frame in frames:
            began = time.perf_counter()
            resident(frame)
            took.append(1000 * (time.perf_counter() - began))
        return {
            f"`Denoiser`, one frame of {side} x {side}, default network, four flips": {
                "value": f"{np.median(took):.0f} ms ({min(took):.0f} to {max(took):.0f})",
                "target": "",
            }
        }

    @functools.cached_property
    def _blocks(self) -> tuple[Path, tuple[str, ...], np.ndarray, float]:
        """Return a scan in blocks, how to denoise it, its answers, and the seconds that they took."""
        scan = scan_of(self.folder / "blocks.h5", 320, (64, 64))
        self.run_of(scan, "b", model=FREE, steps=1)
        how = ("b", "--memory", "5MiB", "--sigma", "--output")
        took = self.infer(scan, *how, "once.h5", "--overwrite").seconds
        return scan, how, self._answers("once.h5"), took

    def _answers(self, name: str) -> np.ndarray:
        with h5py.File(self.folder / name) as file:
            return np.stack([file["entry/data/data"][()], file["entry/data/data_errors"][()]])

    def kills(self) -> markdown.Rows:
        """Kill `infer` at random moments; the answers are those of an undisturbed run."""
        scan, how, once, took = self._blocks
        rng, kills = random.Random(0), 2 if self.quick else self.bench.options.kills
        for _ in range(kills):
            self.infer(scan, *how, "killed.h5", killed_after=rng.uniform(0.3, 1.0) * took)
            (self.folder / "killed.h5").exists() and (self.folder / "killed.h5").unlink()
        if not (self.folder / "killed.h5").exists():
            self.infer(scan, *how, "killed.h5")
        same = np.array_equal(self._answers("killed.h5"), once, equal_nan=True)
        return {
            f"killed at {kills} random moments, then to the end": {
                "value": "same bytes of data" if same else "OTHER DATA",
                "target": "same bytes of data",
            }
        }

    def shards(self) -> markdown.Rows:
        """Denoise by shares; the answers are those of one process."""
        scan, how, once, _ = self._blocks
        shards = 3 if self.quick else 16
        for number in range(1, shards + 1):
            self.infer(scan, *how, "shards.h5", "--shard", f"{number}/{shards}")
        same = np.array_equal(self._answers("shards.h5"), once, equal_nan=True)
        return {
            f"{shards} shards": {
                "value": "same bytes of data" if same else "OTHER DATA",
                "target": "same bytes of data",
            }
        }


def main(given: list[str] | None = None) -> int:
    """Measure the rows that are asked for and write the page."""
    parser = runner.arguments(__doc__, "scale")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), help="rows")
    parser.add_argument("--frames", type=int, default=640, help="of the smaller of the scans")
    parser.add_argument("--most", type=int, default=10_000, help="frames of the larger one")
    parser.add_argument("--kills", type=int, default=20, help="random moments")
    with runner.bench(parser, given) as bench:
        scale, rows = Scale(bench), markdown.Rows()
        for name in bench.options.only:
            measure: Callable[[], markdown.Rows] = getattr(scale, name)
            found = measure()
            for row, cells in found.items():
                print(f"{row}: {cells['value']}", flush=True)
            rows |= found
            keys = {"value": "measured", "target": "target"}
            table = markdown.scores("work", rows, keys, dict.fromkeys(keys, "{}"))
            bench.write("scale", table=table)  # what is done so far
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
