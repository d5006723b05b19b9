"""The one runner: a method trained on a case and asked for answers, filters beside it, and their scores.

What was answered is kept in a folder with the options that it was made with, so that a second call goes on;
what was asked otherwise, or of other counts, is done again.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import smae_jax
from benchmarks import markdown
from benchmarks.cases import LEAST, SEED, Case
from benchmarks.markdown import Rows
from smae_jax.config import TrainConfig
from smae_jax.evaluation.filters import conserving_totals, gaussian, rotated_average
from smae_jax.evaluation.quality import SIGMAS
from smae_jax.geometry import turn
from smae_jax.measurements import Measurements
from smae_jax.metrics import match_totals, noise_corrected_score, psnr, rmse, ssim
from smae_jax.run.shipped import shipped_config

Options = dict[str, Any]
"""Options of a training by their dotted names, `{"train.steps": 300}`, or of `infer`, `{"rule": "cross"}`."""
NETWORK_ALONE: Options = {
    **{"combine": False, "keep_sums": False, "keep_significant": 0.0},
    "keep_shadows": False,
}
"""Options of `infer` that leave what the network answers as it is."""
QUICK: Options = {"train.validate_every": 2, "train.validation_batches": 1, "train.log_every": 1}
PUBLISHED: Options = {
    **{"seed": 1, "method": "smae", "model": "sedcnn4", "loss": "mse", "smae.rule": "cross"},
    **{"smae.reference": True, "data.scale": "frame_max", "data.augment": "flips"},
    **{"predict.conserve_totals": False, "train.optimizer": "adam", "train.learning_rate": 1e-3},
    **{"train.batch_size": 4, "train.patch": 0},
}
"""SMAE as published; with seed 0 the last ReLU of its network dies at once, and all output is 0."""
WIDTHS = (0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Of the Gaussians that the best is chosen from on real frames, in pixels; `SIGMAS` on simulated ones."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a training answered.

    Attributes:
      answers: way of asking -> expected counts, (frames or 1, *spatial), NaN where there is no answer.
      sigma: way of asking -> error bars, where they were asked for.
      seconds: of the training with everything; `steps_seconds` of its steps alone.
      run: its folder; there only where it was asked to be kept.
    """

    answers: dict[str, np.ndarray]
    sigma: dict[str, np.ndarray]
    seconds: float
    steps_seconds: float
    run: Path


@dataclasses.dataclass(frozen=True)
class Result:
    """The scores of all methods on a case."""

    name: str
    group: str
    photons: float
    rows: Rows


class Bench:
    """Where a benchmark works, what it was asked, and where its page goes.

    Attributes:
      options: of the command line.
      folder: where everything is kept.
      pages: folder of the page.
      images: folder of its figures, as pages name it.
    """

    def __init__(
        self, options: argparse.Namespace, folder: Path, pages: Path, command: str
    ) -> None:
        """Begin."""
        self.options, self.folder, self.pages = options, folder, pages
        self.images, self.making = pages.parent / "images", markdown.Making(command)

    def train(
        self,
        place: str,
        data: Measurements,
        options: Options,
        *,
        asked: Mapping[str, Options] | None = None,
        answered: Measurements | None = None,
        reference: np.ndarray | None = None,
        config: str = "",
        keep: bool = False,
    ) -> Trained | None:
        """Train, and answer in one way or several; or take what was answered before.

        Args:
          place: name of the training in the folder.
          data: what it is trained on.
          options: beside the defaults, or beside `config`.
          asked: way of asking -> options of `infer`; None = one way, "".
          answered: what is answered; None = `data`.
          reference: paired expected counts that a supervised network learns from, shaped as the counts.
          config: shipped configuration to begin with; "" = the defaults.
          keep: keep the run folder.

        Returns:
          None where there is nothing, and `--kept` says to train nothing.
        """
        asked = {"": {}} if asked is None else asked
        run = self.folder / "runs" / _slug(place)
        kept = run.with_name(f"{run.name}.npz")
        options = {"seed": SEED, "train.steps": self.options.steps, **options}
        options |= {**QUICK, **options} if self.options.quick else {}
        wanted = json.dumps([config, options, asked, _print_of(data, answered, reference)])
        found = _kept(kept, wanted, run)
        if found is not None and not (keep and not run.is_dir()):
            return found
        if getattr(self.options, "kept", False):
            return None
        began = time.perf_counter()
        run.parent.mkdir(parents=True, exist_ok=True)
        if reference is not None:
            options["data.reference"] = f"{run}-reference.npy"
            np.save(options["data.reference"], np.where(data.valid, reference, np.nan))
        with quiet():
            denoiser = smae_jax.train(
                data,
                run=run,
                config=shipped_config(config) if config else "",
                options={"train.checkpoint_every": 0, **options},
                overwrite=True,
                verbose=False,
            )
        seconds, answers, sigma = time.perf_counter() - began, {}, {}
        for way, how in asked.items():
            with quiet():
                result = denoiser.denoise(data if answered is None else answered, **how)
            answers[way] = np.asarray(result.answers.counts)
            if result.answers.sigma is not None:
                sigma[way] = np.asarray(result.answers.sigma)
        steps = steps_seconds(run / "metrics.jsonl")
        arrays = {f"counts {k}": v for k, v in answers.items()}
        arrays |= {f"sigma {k}": v for k, v in sigma.items()}
        np.savez_compressed(kept, wanted=wanted, seconds=(seconds, steps), **arrays)  # type: ignore[arg-type]
        if not keep:
            shutil.rmtree(run)
        return Trained(answers, sigma, seconds, steps, run)

    def scored(
        self,
        case: Case,
        name: str,
        options: Options,
        *,
        asked: Mapping[str, Options] | None = None,
        **more: Any,
    ) -> Rows:
        """Train on a case and score it.

        Args:
          case: trained on and scored.
          name: of the method.
          options: see `train`.
          asked: see `train`.
          more: of `train`; `data` to train on instead of the case's, `answers` to put what was answered into.

        Returns:
          Way of asking (or `name`) -> scores, seconds and steps.
        """
        data, shown = more.pop("data", case.data), more.pop("answers", {})
        found = self.train(
            f"{case.name}-{name}", data, options, asked=asked, answered=case.asked, **more
        )
        rows: Rows = {}
        for way, counts in {} if found is None else found.answers.items():
            if not options.get("predict.conserve_totals", True):
                counts = better_with_totals(case, counts)
            shown[way or name] = counts
            steps = options.get("train.steps", self.options.steps)
            took = {"seconds": found.seconds, "steps_seconds": found.steps_seconds, "steps": steps}
            rows[way or name] = score(case, counts) | took
            self.say(case, way or name, rows[way or name])
        return rows

    def say(self, case: Case, name: str, row: dict[str, Any]) -> None:
        """Print what a method came to."""
        keys = ("psnr_db", "either_db", "plain", "weighted", "seconds")
        shown = {key: row[key] for key in keys if key in row}
        said = (f"{k} {v if isinstance(v, str) else format(v, '.4g')}" for k, v in shown.items())
        print(f"{case.name}: {name}: {', '.join(said)}", flush=True)

    def write(self, page: str, *, template: str = "", **parts: Any) -> None:
        """Fill the parts into the template of a page, and write it."""
        markdown.write(self.pages / f"{page}.md", template or page, parts, self.making)
        print(f"{self.pages / page}.md: written")


def arguments(
    about: str, name: str, *, steps: int = 0, kept: bool = False, pages: str = "docs/results"
) -> argparse.ArgumentParser:
    """Return the options that all benchmarks have."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
    add = parser.add_argument
    add("--quick", action="store_true", help="tiny data and trainings, a test; pages go to runs/")
    add("--folder", default="", help="keep all there, and go on with what is there")
    add("--output", default="", help=f"folder of {name}.md; default {pages}")
    default = steps or TrainConfig().train.steps
    add("--steps", type=int, default=0, help=f"of every training; 0 = {default}")
    parser.set_defaults(default_steps=default, default_pages=Path(pages))
    if kept:
        add("--kept", action="store_true", help="report the trainings that are there, run none")
    return parser


@contextlib.contextmanager
def bench(parser: argparse.ArgumentParser, given: list[str] | None) -> Iterator[Bench]:
    """Open a benchmark: its options read, its folder made, what is compiled kept in one place."""
    options, name = parser.parse_args(given), parser.prog.rpartition(".")[2]
    options.steps = options.steps or (4 if options.quick else options.default_steps)
    if options.quick:  # tiny trainings take longer to compile than to run
        jax.config.update("jax_disable_most_optimizations", True)
    usual: Path = options.default_pages
    pages = Path(options.output or ("runs/quick" / Path(usual.name) if options.quick else usual))
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "smae_jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        yield Bench(options, folder, pages, markdown.command_line(name, given))


def score(case: Case, estimate: np.ndarray) -> dict[str, float]:
    """Score expected counts of the answered frames of a pattern.

    Returns:
      Against a truth: `psnr_db` and `ssim` at the scored pixels, `either_db` where a pixel or its partner
      is valid (absent where there is no answer), and `asymmetry`, see there (absent where the truth has
      none). Against a reference: `plain`, the squared error over the mean counts, its noise taken off.
      Always `weighted`, over the expected counts of each pixel.
    """
    frames, mask = case.frames, case.mask
    truth, estimate = case.truth[frames], np.asarray(estimate, np.float64)
    if case.matched:
        pairs = zip(np.nan_to_num(estimate), truth, strict=True)
        estimate = np.stack([match_totals(one, reference, mask) for one, reference in pairs])
    expected = truth if case.expected is None else case.expected[frames]
    variance = 0.0 if case.variance is None else case.variance[frames]
    judged = (estimate if case.variance is None else np.nan_to_num(estimate)), truth, variance, mask
    found = {"weighted": noise_corrected_score(*judged, 1 / np.maximum(expected, LEAST))}
    if case.variance is not None:
        return {"plain": noise_corrected_score(*judged)} | found
    largest = float(truth[:, case.valid].max())
    either = case.valid | case.turned
    if np.isfinite(estimate[:, either]).all():
        found["either_db"] = psnr(estimate, truth, either, largest)
    inside = np.where(mask, estimate, 0.0)
    found |= {
        "psnr_db": psnr(estimate, truth, mask, largest),
        "ssim": ssim(inside, truth, mask, largest),
    }
    slope = asymmetry(estimate, truth, case.valid & case.turned, case.center)
    return found if slope is None else found | {"asymmetry": slope}


def asymmetry(
    estimate: np.ndarray, truth: np.ndarray, both: np.ndarray, center: tuple[float, float]
) -> float | None:
    """Return the slope of the estimate's odd part on the truth's, where a pixel and its partner are valid."""
    odd, odd_truth = ((a - turn(a, center, 0.0))[:, both] for a in (estimate, truth))
    power = (odd_truth**2).sum()
    if power <= 1e-9 * (truth[:, both] ** 2).sum():
        return None
    return float((odd * odd_truth).sum() / power)


def filtered(case: Case) -> dict[str, tuple[str, np.ndarray]]:
    """Return what needs no training: name -> (setting, expected counts); NaN where there is no answer.

    The best Gaussians, on the counts or on their average with the turned frame, are chosen by each score.
    """
    data = case.asked
    counts = data.counts.astype(np.float64)
    valid = np.broadcast_to(data.valid, counts.shape)
    average, known = rotated_average(counts, valid, case.center)
    found = {
        "raw": ("", np.where(valid, counts, np.nan)),
        "rotated average": ("", np.where(known, average, np.nan)),
    }
    tried = {}
    for on, frames, seen in (("counts", counts, valid), ("average", average, known)):
        for width in SIGMAS if case.variance is None else WIDTHS:
            smooth = gaussian(frames, seen, width)
            tried[f"{width:g} on {on}"] = np.where(
                known if case.variance is None else seen, smooth, np.nan
            )
    rows = {name: score(case, made) for name, made in tried.items()}
    if case.variance is None:
        best = max(rows, key=lambda name: rows[name]["psnr_db"])
        return found | {"best Gaussian": (best, tried[best])}
    for on in ("counts", "average"):
        own = [name for name in rows if name.endswith(on)]
        for key in ("plain", "weighted"):
            best = min(own, key=lambda name: rows[name][key])
            found[f"Gaussian {best}"] = ("", tried[best])
    return found


def filter_rows(bench: Bench, case: Case) -> Rows:
    """Score what needs no training."""
    rows: Rows = {}
    for name, (setting, estimate) in filtered(case).items():
        rows[name] = score(case, estimate) | ({"setting": setting} if setting else {})
        bench.say(case, f"{name} {setting}".strip(), rows[name])
    return rows


def better_with_totals(case: Case, answer: np.ndarray) -> np.ndarray:
    """Return an answer, or the same with each frame's counts restored, whichever is closer to the truth."""
    data = case.asked
    answer = np.nan_to_num(answer)
    restored = conserving_totals(answer, data.counts, np.broadcast_to(data.valid, answer.shape))
    return min((answer, restored), key=lambda a: rmse(a, case.truth[case.frames], case.valid))


def steps_seconds(log: Path) -> float:
    """Add up the seconds that the steps of a training took: compilation and validation apart."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    speeds = [(line["step"], line["steps_per_s"]) for line in lines if "steps_per_s" in line]
    first = [0, *(step for step, _ in speeds)]
    return sum((step - last) / speed for (step, speed), last in zip(speeds, first, strict=False))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send progress bars nowhere."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def _kept(path: Path, wanted: str, run: Path) -> Trained | None:
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as file:
        if str(file["wanted"]) != wanted:
            return None
        parts = {
            kind: {
                k.removeprefix(f"{kind} "): file[k] for k in file.files if k.startswith(f"{kind} ")
            }
            for kind in ("counts", "sigma")
        }
        return Trained(parts["counts"], parts["sigma"], *map(float, file["seconds"]), run)


def _print_of(*shown: Any) -> list[int]:
    arrays = (
        one.counts if isinstance(one, Measurements) else one for one in shown if one is not None
    )
    return [zlib.crc32(np.ascontiguousarray(array)) for array in arrays]


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in name)
