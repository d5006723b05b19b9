"""Compare every method on data with known truth: `python -m benchmarks.methods [--quick]`.

Simulated SAXS and WAXD at three exposures and Poisson samples of real muscle patterns; filters, the published
algorithm, ours, and the baselines of its paper. Writes a Markdown page and a figure. Nothing here is scaled,
clipped or registered before it is scored: expected counts against expected counts, inside the mask.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import methods_repeats
from benchmarks.methods_report import Making, write_report
from smae_jax.commands.infer import infer
from smae_jax.commands.train import train
from smae_jax.config import (
    DataOptions,
    InferConfig,
    PredictOptions,
    SmaeOptions,
    TrainConfig,
    TrainOptions,
)
from smae_jax.evaluation.filters import (
    conserving_totals,
    gaussian,
    nonlocal_means,
    rotated_average,
)
from smae_jax.evaluation.quality import SIGMAS
from smae_jax.metrics import noise_corrected_score, psnr, rmse, ssim
from smae_jax.simulate import simulate

DATA = Path(__file__).parents[2] / "shared" / "data"
SEED = 0
EXPOSURE = 10
"""Exposures behind a reference of the supervised training."""
STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.4, 2.0)
"""Of non-local means, in units of the noise, that the best is chosen from."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One scan with its truth.

    Attributes:
      group: scans that differ by their exposure only, a line in the figure.
      flux: photons per valid pixel, or the factor on a real pattern.
      truth: expected counts, (frames, height, width), float32.
      counts: of one exposure, int32, as `truth`.
      valid: True = use, bool, (height, width).
      center: (y, x) in pixels.
      scored: frames that every method is scored on; the supervised one is trained on the others.
    """

    group: str
    flux: float
    truth: np.ndarray
    counts: np.ndarray
    valid: np.ndarray
    center: tuple[float, float]
    scored: np.ndarray

    @property
    def name(self) -> str:
        """Group and flux, as in the table."""
        return f"{self.group}, {self.flux:g}"


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long each network is trained.

    Attributes:
      steps: of every method; those of the published network have a quarter of the patches, which takes
        about as many seconds.
      options: of the training, that all share.
    """

    steps: int
    options: dict[str, Any]


FULL = Budget(steps=120, options={})
QUICK = Budget(steps=4, options={"validate_every": 2, "validation_batches": 1, "log_every": 1})
NETWORK_ALONE: dict[str, Any] = {"combine": False, "keep_sums": False, "keep_significant": 0.0}
"""Options of `infer` that leave what the network answers as it is."""
PUBLISHED_SEED = 1
"""With seed 0 the last ReLU of the published network dies in its first steps, and all output is 0."""


def simulated(kind: str, photons: float, *, frames: int, size: int) -> Case:
    """Simulate a scan; every other frame is scored."""
    scan = simulate(kind, frames=frames, size=size, photons=photons, seed=SEED)  # type: ignore[arg-type]
    return Case(
        group=f"{kind.upper()} (photons/pixel)",
        flux=photons,
        truth=scan.truth,
        counts=scan.counts.astype(np.int32),
        valid=scan.valid,
        center=scan.center,
        scored=np.arange(1, frames, 2),
    )


def muscle(scale: float, *, repeats: int, size: int) -> Case:
    """Sample the three real muscle patterns; the frames of the last one are scored."""
    with np.load(DATA / "phantoms_muscle_512.npz", allow_pickle=False) as file:
        names = [name for name in file.files if not name.endswith("_mask")]
        patterns = np.stack([file[name] for name in names])
        valid = np.all([file[f"{name}_mask"] for name in names], axis=0)
    start = (patterns.shape[1] - size) // 2
    patterns = patterns[:, start : start + size, start : start + size]
    valid = valid[start : start + size, start : start + size]
    truth = (scale * np.repeat(patterns, repeats, axis=0)).astype(np.float32)
    return Case(
        group="muscle (share of an exposure)",
        flux=scale,
        truth=truth,
        counts=np.random.default_rng(SEED).poisson(truth).astype(np.int32),
        valid=valid,
        center=((size - 1) / 2, (size - 1) / 2),
        scored=np.arange(2 * repeats, 3 * repeats),
    )


def all_cases(*, quick: bool) -> Iterator[Case]:
    """Yield the cases, one at a time, so that only one is in memory."""
    frames, size, repeats, side = (8, 64, 1, 96) if quick else (64, 128, 4, 512)
    for kind in ("saxs", "waxd"):
        for photons in (1.0,) if quick else (0.1, 1.0, 10.0):
            yield simulated(kind, photons, frames=frames, size=size)
    if DATA.is_dir():
        for scale in (1.0,) if quick else (0.1, 1.0):
            yield muscle(scale, repeats=repeats, size=side)


def scored(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return counts (0 where invalid), truth and valid of the scored frames."""
    counts = case.counts[case.scored].astype(np.float64)
    valid = np.broadcast_to(case.valid, counts.shape)
    return np.where(valid, counts, 0), case.truth[case.scored].astype(np.float64), valid


def filters(case: Case) -> dict[str, tuple[str, np.ndarray]]:
    """Return what needs no training: name -> (setting, expected counts).

    Filters work on the average with the turned frame, with the setting of the smallest error to the truth.
    """
    counts, truth, valid = scored(case)
    average, known = rotated_average(counts, valid, case.center)

    def best(smooth: Callable[[float], np.ndarray], settings: Sequence[float]):
        tried = {setting: smooth(setting) for setting in settings}
        chosen = min(tried, key=lambda setting: rmse(tried[setting], truth, valid))
        return f"{chosen:g}", tried[chosen]

    def similar(strength: float) -> np.ndarray:
        answer = nonlocal_means(average, known, strength, exposures=2.0)
        return conserving_totals(answer, counts, valid)

    return {
        "raw": ("", counts),
        "rotated average": ("", average),
        "best Gaussian": best(lambda sigma: gaussian(average, known, sigma), SIGMAS),
        "best non-local means": best(similar, STRENGTHS),
    }


def trainings(case: Case, files: dict[str, str], budget: Budget) -> dict[str, TrainConfig]:
    """Return the options of every training: name -> options, without the run folder.

    Args:
      case: for the centre and the size.
      files: paths of `counts`, `mask`, `paired` and `reference`.
      budget: how long.
    """
    y, x = case.center
    data = DataOptions(path=files["counts"], mask=files["mask"], center=f"{y:g},{x:g}")
    short = TrainOptions(steps=budget.steps, **budget.options)
    ours = TrainConfig(seed=SEED, method="smae", data=data, train=short)
    height = case.counts.shape[1]
    published = TrainConfig(
        seed=PUBLISHED_SEED,
        method="smae",
        model="sedcnn4",
        loss="mse",
        data=dataclasses.replace(data, scale="frame_max", augment="flips"),
        smae=SmaeOptions(rule="cross", reference=True),
        predict=PredictOptions(conserve_totals=False),
        train=dataclasses.replace(
            short,
            batch_size=4,
            patch=0 if height <= 128 else 128,  # whole halves of a large frame take minutes a step
            optimizer="adam",
            learning_rate=1e-3,
        ),
    )
    paired = dataclasses.replace(data, path=files["paired"], reference=files["reference"])
    return {
        "SMAE as published (sedcnn4)": published,
        "masked autoencoder": dataclasses.replace(ours, method="masked"),
        "zero-shot Noise2Noise": dataclasses.replace(
            ours,
            method="zero_shot",
            train=dataclasses.replace(short, patch=128),  # pairs of half the size
        ),
        "supervised, 10x reference": dataclasses.replace(ours, method="supervised", data=paired),
        "SMAE (ours)": ours,
    }


def write_files(case: Case, folder: Path) -> dict[str, str]:
    """Write what the library reads; the truth is not among it."""
    folder.mkdir(parents=True, exist_ok=True)
    others = np.setdiff1d(np.arange(len(case.truth)), case.scored)
    high = np.random.default_rng(SEED + 1).poisson(EXPOSURE * case.truth[others]).astype(np.int32)
    arrays = {
        "counts": case.counts,
        "mask": (~case.valid).astype(np.uint8),
        "scored": case.counts[case.scored],
        "paired": case.counts[others],
        "reference": np.where(case.valid, high, 0),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return {name: str(folder / f"{name}.npy") for name in arrays}


def score(case: Case, estimate: np.ndarray) -> dict[str, float]:
    """Score the expected counts of the scored frames against the truth, inside the mask."""
    _, truth, valid = scored(case)
    largest = float(truth[valid].max())
    estimate = np.asarray(estimate, np.float64)
    assert np.isfinite(estimate[valid]).all(), "every method answers at every valid pixel"
    return {
        "psnr_db": psnr(estimate, truth, valid, largest),
        "ssim": ssim(estimate, truth, valid, largest),
        "weighted": noise_corrected_score(
            estimate, truth, 0.0, valid, 1 / np.where(valid, truth, 1)
        ),
    }


def run_case(
    case: Case, folder: Path, budget: Budget, say: Callable[[str], None]
) -> dict[str, Any]:
    """Run every method on a case.

    Returns:
      name, group, flux, and `rows`: method -> scores, setting, seconds, steps. The middle scored frame of
      every method is left in `pictures.npz` for the figure.
    """
    files = write_files(case, folder)
    middle = len(case.scored) // 2
    counts, truth, valid = scored(case)
    rows: dict[str, dict[str, Any]] = {}
    pictures = {"truth": truth[middle], "valid": case.valid}
    for name, (setting, estimate) in filters(case).items():
        rows[name] = {"setting": setting} | score(case, estimate)
        pictures[name] = estimate[middle]
        say(f"{case.name}: {name} {setting}: {rows[name]['psnr_db']:.2f} dB")
    for number, (name, config) in enumerate(trainings(case, files, budget).items()):
        run, output = folder / f"run{number}", folder / f"denoised{number}.npy"
        began = time.perf_counter()
        with quiet():
            train(dataclasses.replace(config, run=str(run)), lambda line: None)
        trained = time.perf_counter()
        estimate = denoised(InferConfig(run=str(run), input=files["scored"], output=str(output)))
        finished = time.perf_counter()
        if not config.predict.conserve_totals:
            restored = conserving_totals(np.nan_to_num(estimate), counts, valid)
            estimate = min((estimate, restored), key=lambda one: rmse(one, truth, valid))
        rows[name] = score(case, estimate) | {
            "steps": config.train.steps,
            "seconds": trained - began,
            "seconds_applied": finished - trained,
        }
        pictures[name] = estimate[middle]
        say(
            f"{case.name}: {name}: {rows[name]['psnr_db']:.2f} dB, {config.train.steps} steps in "
            f"{trained - began:.0f} s"
        )
    np.savez_compressed(folder / "pictures.npz", **pictures)
    return {"name": case.name, "group": case.group, "flux": case.flux, "rows": rows}


def kept_json(path: Path, make: Callable[[], Any]) -> Any:
    """Return what the file holds, or make it and keep it there."""
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    made = make()
    path.write_text(json.dumps(made, indent=1), encoding="utf-8")
    return made


def keep_compiled(folder: Path) -> None:
    """Keep compiled steps there: every training builds its own, and would compile it again."""
    jax.config.update("jax_compilation_cache_dir", str((folder / "cache").resolve()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send progress bars nowhere."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def denoised(config: InferConfig) -> np.ndarray:
    """Denoise to a .npy file, and return what it holds."""
    with quiet():
        infer(config, lambda line: None)
    return np.load(config.output, allow_pickle=False)


def main(arguments: list[str] | None = None) -> int:
    """Run all cases and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny scans and trainings, a test")
    parser.add_argument("--folder", default="", help="keep all there, and go on with what is there")
    parser.add_argument("--output", default="", help="folder of methods.md; default docs")
    parser.add_argument("--repeats", action="store_true", help="only the section on repeats")
    options = parser.parse_args(arguments)
    output = Path(options.output or ("runs/methods-quick" if options.quick else "docs"))
    if options.repeats:
        with quiet():
            methods_repeats.write(
                output / "methods.md", quick=options.quick, say=lambda line: print(line, flush=True)
            )
        print(f"{output / 'methods.md'}: section '{methods_repeats.TITLE}' written")
        return 0
    making = Making(SEED)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        keep_compiled(folder)
        results = []
        for number, case in enumerate(all_cases(quick=options.quick)):
            place = folder / f"case{number}"
            place.mkdir(exist_ok=True)
            budget = QUICK if options.quick else FULL
            make = functools.partial(run_case, case, place, budget, print)
            result = kept_json(place / "result.json", make)
            results.append(result | {"pictures": str(place / "pictures.npz")})
        command = "python -m benchmarks.methods" + (" --quick" if options.quick else "")
        write_report(output, results, making.facts() | {"command": command})
    print(f"{output / 'methods.md'}: written, with images/methods.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
