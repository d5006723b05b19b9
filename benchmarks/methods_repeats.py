"""Methods for repeats of one simulated pattern with known truth: `python -m benchmarks.methods --repeats`.

Noise2Noise sees the repeats; Noise2Void and the deep image prior their sum; the supervised network has
learned from other patterns of the same exposure with ten times as many counts behind their references. One
network, as many steps for all. Puts its section into docs/methods.md and leaves the rest of the page alone.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from smae_jax import metrics
from smae_jax.commands.infer import infer
from smae_jax.commands.train import train
from smae_jax.config import InferConfig, TrainConfig
from smae_jax.config_file import from_dict
from smae_jax.simulate import simulate

TITLE = "Repeats of one pattern"
SEEDS = (0, 1)
REPEATS, EXPOSURE = 4, 10
SIGMAS = np.arange(0.3, 4.05, 0.1)


@dataclasses.dataclass(frozen=True)
class Size:
    """How large and how long.

    Attributes:
      side: of a pattern in pixels.
      photons: mean of a repeat.
      others: patterns that the supervised network learns from.
      steps: of every training.
      seeds: of the trainings; the noise of the pattern changes with them.
    """

    side: int = 128
    photons: float = 10.0
    others: int = 16
    steps: int = 300
    seeds: tuple[int, ...] = SEEDS


QUICK = Size(side=48, others=3, steps=4, seeds=(0,))


def trainings(folder: Path, size: Size) -> dict[str, tuple[dict[str, Any], Path]]:
    """Return the options of every method and what it is applied to."""
    shared = {
        "model": "unet",
        "loss": "auto",
        "unet": {"widths": [16, 32, 48]},
        "rate": {
            "head": "root"
        },  # may draw what no smoothing holds; a deep image prior has its own
        "train": {
            "steps": size.steps,
            "batch_size": 4,
            "patch": min(64, size.side),
            "optimizer": "muon",
            "learning_rate": 5e-3,
            "average_decay": 0.98,
            "validate_every": max(size.steps // 12, 2),
            "validation_batches": 4,
            "checkpoint_every": 0,
        },
    }
    repeats, total = folder / "repeats.npy", folder / "sum.npy"

    def options(method: str, path: Path, **data: Any) -> dict[str, Any]:
        data = {"path": str(path), "dimensions": 2, "augment": "d4", **data}
        return {**shared, "method": method, "data": data}

    paired = folder / "others.npy"
    return {
        "Noise2Noise": (options("noise2noise", repeats), repeats),
        "Noise2Void": ({**options("noise2void", total), "loss": "poisson"}, total),
        "deep image prior": ({**options("deep_image_prior", total), "loss": "poisson"}, total),
        f"supervised, {EXPOSURE}x reference": (
            {
                **options("supervised", paired, reference=str(folder / "references.npy")),
                "loss": "poisson",
            },
            total,
        ),
    }


def write_files(folder: Path, size: Size, seed: int) -> np.ndarray:
    """Write repeats of one pattern, their sum, other patterns and their references; return the truth."""
    scan = simulate("waxd", frames=1 + size.others, size=size.side, photons=size.photons, seed=seed)
    truth, others = scan.truth[0].astype(np.float64), scan.truth[1:].astype(np.float64)
    rng = np.random.default_rng(seed)
    repeats = rng.poisson(truth, (REPEATS, *truth.shape)).astype(np.int32)
    np.save(folder / "repeats.npy", repeats)
    np.save(folder / "sum.npy", repeats.sum(axis=0, dtype=np.int32)[None])
    np.save(folder / "others.npy", rng.poisson(REPEATS * others).astype(np.int32))
    np.save(folder / "references.npy", rng.poisson(EXPOSURE * REPEATS * others).astype(np.int32))
    return truth


def psnr(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Return 20 log10(max of the truth / rms error)."""
    return metrics.psnr(estimate, truth, np.ones(truth.shape, bool), float(truth.max()))


def weighted(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean of (estimate - truth)^2 / truth: 1 for a single repeat."""
    return float(((estimate - truth) ** 2 / truth).mean())


def run(size: Size, say: Callable[[str], None]) -> dict[str, list[tuple[float, float, float]]]:
    """Train and score all methods: name -> (PSNR, weighted error, seconds) for each seed."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for seed in size.seeds:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            truth = write_files(folder, size, seed)
            repeats = np.load(folder / "repeats.npy").astype(np.float64)
            mean = repeats.mean(axis=0)
            smoothed = [np.asarray(gaussian_filter(mean, sigma)) for sigma in SIGMAS]
            answers = {
                "one repeat": repeats[0],
                "mean of four": mean,
                "best Gaussian": max(smoothed, key=lambda one: psnr(one, truth)),
            }
            seconds = dict.fromkeys(answers, 0.0)
            for name, (options, source) in trainings(folder, size).items():
                start, place = time.perf_counter(), folder / name.replace(" ", "_")
                config = from_dict(
                    {**options, "run": str(place), "seed": seed}, TrainConfig, where="methods"
                )
                train(config, _silent)
                seconds[name] = time.perf_counter() - start
                output = folder / f"{place.name}.npy"
                infer(InferConfig(run=str(place), input=str(source), output=str(output)), _silent)
                exposures = 1 if source.name == "repeats.npy" else REPEATS
                answers[name] = np.load(output)[0].astype(np.float64) / exposures
            for name, answer in answers.items():
                row = psnr(answer, truth), weighted(answer, truth), seconds[name]
                rows.setdefault(name, []).append(row)
                say(f"seed {seed}: {name}: {row[0]:.2f} dB, {row[1]:.4f}, {row[2]:.0f} s")
    return rows


def section(rows: dict[str, list[tuple[float, float, float]]], size: Size) -> str:
    """Write the section."""
    lines = [
        f"## {TITLE}",
        "",
        f"One simulated WAXD pattern of {size.side} x {size.side} pixels, {REPEATS} repeats of "
        f"{size.photons:g} photons a pixel. Noise2Noise sees",
        "the repeats; Noise2Void and the deep image prior see their sum; the supervised network learns from",
        f"{size.others} other patterns of the exposure of the {REPEATS}, with references of {EXPOSURE} times "
        "as many counts.",
        f"One network (U-Net, widths 16, 32, 48), {size.steps} steps each, best step by held-out data; the",
        "filter's width is chosen by the truth. Mean and smallest over seeds "
        f"{', '.join(map(str, size.seeds))} (each with",
        "noise of its own); error: mean of (estimate - truth)^2 / truth.",
        "",
        "    python -m benchmarks.methods --repeats",
        "",
        f"{os.cpu_count()} CPU cores ({platform.machine()}), other programs running beside it.",
        "",
        "Known from the literature (Lehtinen et al. 2018, Krull et al. 2019): Noise2Noise near",
        "supervised, Noise2Void and the deep image prior below. Here Noise2Noise learns from one",
        "pattern, the supervised network from many, and with references; Noise2Void does not see what a",
        "pixel's own counts tell. At one photon a pixel, and with the head that mixes smoothings (the",
        "default on repeats), the three lie within 0.8 dB of each other and of the best Gaussian (tried",
        "before, not by this command).",
        "",
        "| | PSNR / dB | smallest | error | seconds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, scores in sorted(rows.items(), key=lambda row: np.mean([s[0] for s in row[1]])):
        psnrs, errors, seconds = np.array(scores).T
        took = f"{seconds.mean():.0f}" if seconds.any() else ""
        lines.append(
            f"| {name} | {psnrs.mean():.2f} | {psnrs.min():.2f} | {errors.mean():.4f} | {took} |"
        )
    return "\n".join(lines) + "\n"


def put_section(page: str, title: str, text: str) -> str:
    r"""Replace the section of that title in a Markdown page, or add it at the end.

    >>> put_section("# A\n\n## B\n\nold\n\n## C\n", "B", "## B\n\nnew\n")
    '# A\n\n## B\n\nnew\n\n## C\n'
    """
    before, after = split_at(page, title)
    return f"{before.rstrip()}\n\n{text.rstrip()}\n" + (f"\n{after}" if after else "")


def section_of(page: str, title: str) -> str:
    """Return the section of that title, "" where there is none."""
    before, after = split_at(page, title)
    return page[len(before) : len(page) - len(after)]


def split_at(page: str, title: str) -> tuple[str, str]:
    """Return what stands before and after the section of that title."""
    start = f"\n{page}".find(f"\n## {title}\n")
    if start < 0:
        return page, ""
    end = page.find("\n## ", start + 1)
    return page[:start], page[end + 1 :] if end >= 0 else ""


def write(page: Path, *, quick: bool, say: Callable[[str], None]) -> None:
    """Run everything and put the section into the page."""
    size = QUICK if quick else Size()
    text = section(run(size, say), size)
    page.parent.mkdir(parents=True, exist_ok=True)
    old = page.read_text(encoding="utf-8") if page.is_file() else "# Methods compared\n"
    page.write_text(put_section(old, TITLE, text), encoding="utf-8")


def _silent(line: str) -> None:
    del line
