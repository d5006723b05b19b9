"""Choose the default settings for spectra by repeats that were left out: no reference is ever read.

    python -m benchmarks.select_spectra [--folder runs/selection]

Each setting is trained on all used repeats but one, with every one left out in turn and with several seeds,
and its answer is judged by the repeat that it has not seen. Of the 32 fluorescence spectra four are read, of
the Raman spectra the five at the lowest laser power. Writes docs/repeats_selection.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.spectra import gaussians, savitzky_golay
from benchmarks.spectra_report import LEAST
from benchmarks.trained_in_memory import denoised_in_memory
from smae_jax.config import TrainConfig
from smae_jax.config_file import from_dict, load
from smae_jax.data.repeats import Repeats, take_repeats
from smae_jax.data.repeats_readers import read_repeats
from smae_jax.metrics import pixel_deviance
from smae_jax.noise import shared_variance

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
SHARE = 0.5
"""How much of the common noise is added again to what is trained on; twice of it is taken off the judge."""
ELASTIC = 25.0
"""Half width of the laser's own line in 1/cm: it moves from repeat to repeat by more than its noise."""


@dataclasses.dataclass(frozen=True)
class Folds:
    """Repeats, each left out once.

    Attributes:
      whole: all of them: unit and noise come from here.
      parts: what is trained on, one for each fold.
      judges: what judges, (folds, channels), float64.
      poisson: whether the judge counts photons: Poisson deviance; else the mean square.
      judged: channels that count, bool, (channels,).
    """

    whole: Repeats
    parts: list[Repeats]
    judges: np.ndarray
    poisson: bool
    judged: np.ndarray

    def scores(self, answers: np.ndarray) -> np.ndarray:
        """Score answers (folds, seeds, channels): deviance or mean square, (folds, seeds), less is better."""
        judges, answers = self.judges[:, None, self.judged], answers[..., self.judged]
        if self.poisson:
            return pixel_deviance(answers, judges, floor=LEAST).mean(axis=-1)
        return ((answers - judges) ** 2).mean(axis=-1)


def without_each(count: int) -> list[list[int]]:
    """Return the indices that are left when each of `count` is left out.

    >>> without_each(3)
    [[1, 2], [0, 2], [0, 1]]
    """
    return [[k for k in range(count) if k != out] for out in range(count)]


def folds_of_counts(repeats: Repeats) -> Folds:
    """Leave each of some photon-counted repeats out in turn."""
    parts = [take_repeats(repeats, kept) for kept in without_each(len(repeats.counts))]
    every = np.ones(repeats.spatial, bool)
    return Folds(repeats, parts, repeats.counts.astype(np.float64), poisson=True, judged=every)


def folds_with_common_noise(repeats: Repeats, judged: np.ndarray, *, seed: int = 0) -> Folds:
    """Leave each repeat out in turn where all share some noise, which would judge in its own favour.

    Fresh noise e as large as the common one makes both sides independent: SHARE * e is added to all that is
    trained on, e / SHARE is taken off the judge.

    Reference:
      Pang et al. 2021, "Recorrupted-to-Recorrupted", eq. 6.
    """
    size = np.sqrt(shared_variance(repeats.counts))
    rng = np.random.default_rng(seed)
    fresh = size * rng.standard_normal((len(repeats.counts), *repeats.spatial))

    def noisier(index: int) -> Repeats:
        counts = (repeats.counts + SHARE * fresh[index]).astype(np.float32)
        return dataclasses.replace(repeats, counts=counts)

    parts = [take_repeats(noisier(out), kept) for out, kept in enumerate(without_each(len(fresh)))]
    return Folds(noisier(0), parts, repeats.counts - fresh / SHARE, poisson=False, judged=judged)


def fluorescence_folds() -> Folds:
    """Return the folds of the first four fluorescence spectra."""
    return folds_of_counts(read_repeats(str(DATA / "xrf_spectra.csv"), repeats="0:4"))


def raman_folds() -> Folds:
    """Return the folds of the five Raman spectra at the lowest laser power."""
    with np.load(DATA / "raman_repeats.npz") as file:
        power = file["power_percent"]
        low, shift = file["sub"][power == power.min()].astype(np.float32), file["shift"]
    repeats = Repeats(
        counts=low,
        valid=np.ones((1, low.shape[1]), bool),
        exposure=np.ones(len(low), np.float32),
        axis=shift.astype(np.float64),
        axis_name="shift",
        axis_unit="1/cm",
        names=tuple(map(str, range(len(low)))),
        source="raman",
        dtype="float32",
        notes=(),
    )
    return folds_with_common_noise(repeats, np.abs(shift) > ELASTIC)


def settings(config: Path, changes: dict[str, Any]) -> TrainConfig:
    """Return the options of a file with changes such as `{"train.steps": 300}`."""
    nested: dict[str, Any] = {}
    for name, value in changes.items():
        *groups, last = name.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return from_dict(nested, TrainConfig, where="select", default=load(config, TrainConfig))


SEEDS = (0, 1)
FLUORESCENCE: dict[str, dict[str, Any]] = {
    "defaults": {},
    "75 steps": {"train.steps": 75},
    "300 steps": {"train.steps": 300},
    "600 steps": {"train.steps": 600},
    "learning rate 3e-3": {"train.learning_rate": 3e-3},
    "learning rate 3e-2": {"train.learning_rate": 3e-2},
    "2 examples a step": {"train.batch_size": 2},
    "8 examples a step": {"train.batch_size": 8},
    "a tenth held out": {"train.validation_share": 0.1},
    "two fifths held out": {"train.validation_share": 0.4},
    "average over 10 steps": {"train.average_decay": 0.9},
    "average over 50 steps": {"train.average_decay": 0.98},
    "strategy 1:X": {"noise2noise.strategy": "1:X"},
    "mean of the answers": {"noise2noise.prediction": "average"},
    "no mirror images": {"data.augment": "none", "predict.ensemble": "none"},
    "4 features": {"dncnn.features": 4},
    "16 features": {"dncnn.features": 16},
    "2 layers": {"dncnn.layers": 2},
    "5 layers": {"dncnn.layers": 5},
    "resnet": {"model": "resnet"},
    "msd": {"model": "msd"},
    "head root": {"rate.head": "root"},
    "with correction": {"rate.correction": True},
    "mean squared error": {"loss": "mse"},
}
"""Settings beside configs/spectra.toml, by name."""
RAMAN: dict[str, dict[str, Any]] = {
    "defaults": {},
    "as spectra.toml": {
        "train.steps": 150,
        "train.batch_size": 4,
        "train.learning_rate": 1e-2,
        "train.average_decay": 0.95,
    },
    "400 steps": {"train.steps": 400},
    "800 steps": {"train.steps": 800},
    "learning rate 1e-2": {"train.learning_rate": 1e-2},
    "strategy 1:X": {"noise2noise.strategy": "1:X"},
    "mean squared error": {"loss": "mse"},
}
"""Settings beside configs/raman.toml, by name."""


def filters(folds: Folds) -> dict[str, np.ndarray]:
    """Return the scores (folds, 1) of the mean and of the filters at their best for these judges."""
    means = np.stack([part.counts.mean(axis=0, dtype=np.float64) for part in folds.parts])[:, None]

    def best(made: dict[str, Callable[[], np.ndarray]]) -> np.ndarray:
        return min((folds.scores(make()) for make in made.values()), key=np.mean)

    return {
        "mean of the others": folds.scores(means),
        "best Gaussian": best(gaussians(means)),
        "best Savitzky-Golay": best(savitzky_golay(means)),
    }


def compared(
    folds: Folds,
    config: Path,
    changes: dict[str, dict[str, Any]],
    kept: Path,
    say: Callable[[str], None],
) -> dict[str, tuple[np.ndarray, float]]:
    """Score every setting, but for what `kept` holds: name -> (scores (folds, seeds), seconds a training)."""
    rows: dict[str, tuple[np.ndarray, float]] = {}
    for name, change in changes.items():
        known = json.loads(kept.read_text()) if kept.is_file() else {}
        wanted = settings(config, change)
        text = json.dumps(dataclasses.asdict(wanted), sort_keys=True)
        if known.get(name, {}).get("settings") != text:
            start = time.perf_counter()
            answers, _ = denoised_in_memory(wanted, folds.whole, folds.parts, SEEDS)
            scores = folds.scores(answers[:, :, 0].astype(np.float64))
            seconds = (time.perf_counter() - start) / scores.size
            known[name] = {"settings": text, "scores": scores.tolist(), "seconds": seconds}
            kept.write_text(json.dumps(known))
            jax.clear_caches()
        rows[name] = np.array(known[name]["scores"]), known[name]["seconds"]
        say(f"{config.stem}: {name}: {rows[name][0].mean():.5g}, {rows[name][1]:.1f} s")
    return rows


def table(
    folds: Folds, rows: dict[str, tuple[np.ndarray, float]], form: str, unit: str
) -> list[str]:
    """Write the table: difference from the defaults with its error, standard deviation between seeds."""
    base = rows["defaults"][0]
    lines = [
        f"| | {unit} | beside defaults | between seeds | seconds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, scores in filters(folds).items():
        lines.append(f"| {name} | {scores.mean():{form}} | | | |")
    for name, (scores, seconds) in rows.items():
        off = scores - base
        error = off.std(ddof=1) / np.sqrt(off.size)
        beside = "" if name == "defaults" else f"{off.mean():+{form}} +- {error:{form}}"
        spread = scores.std(axis=1, ddof=1).mean()
        lines.append(
            f"| {name} | {scores.mean():{form}} | {beside} | {spread:{form}} | {seconds:.1f} |"
        )
    return lines


TEXT = """\
# How the settings for spectra were chosen

    python -m benchmarks.select_spectra

took {minutes:.0f} minutes on {cores} CPU cores ({machine}), other programs running beside it. Each
setting is trained on all repeats but one and judged by the one left out, each in turn, with seeds
{seeds}. The spectra that score the result in [repeats_quality.md](repeats_quality.md) are not read.
What differs from the defaults is named; the difference is that of the same fold and seed, with its
standard error. Filters stand at their best for these judges. Seconds are those of a training and
its answer, with a share of the compilation. The defaults are the simplest of those that are best
within these errors; where two are equal, the one that differs less between seeds.

## X-ray fluorescence: four spectra (`configs/spectra.toml`)

{fluorescence}

## Raman: five spectra at the lowest laser power (`configs/raman.toml`)

These repeats share the noise of one dark frame, which would judge in favour of what keeps it: fresh
noise e of that size makes both sides independent ({share:g} e is added to what is trained on, e /
{share:g} taken off the judge; Pang et al. 2021). The laser's own line (within {elastic:g} 1/cm)
moves from repeat to repeat by more than its noise and is not judged.

{raman}
"""


def page(fluorescence: list[str], raman: list[str], minutes: float) -> str:
    """Write docs/repeats_selection.md."""
    return TEXT.format(
        minutes=minutes,
        cores=os.cpu_count(),
        machine=platform.machine(),
        seeds=" and ".join(map(str, SEEDS)),
        share=SHARE,
        elastic=ELASTIC,
        fluorescence="\n".join(fluorescence),
        raman="\n".join(raman),
    )


def main() -> None:
    """Compare all settings and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", default="", help="keep all scores there, go on with what is there"
    )
    parser.add_argument("--output", default=str(ROOT / "docs"), help="folder of the page")
    options = parser.parse_args()
    if not (DATA / "xrf_spectra.csv").is_file():
        raise SystemExit(f"{DATA}: not there; the real spectra belong beside the checkout")
    tables = []
    with tempfile.TemporaryDirectory() as temporary:
        kept = Path(options.folder or temporary)
        kept.mkdir(parents=True, exist_ok=True)
        seconds = 0.0
        for folds, file, changes, form, unit in (
            (fluorescence_folds(), "spectra", FLUORESCENCE, ".4f", "Poisson deviance"),
            (raman_folds(), "raman", RAMAN, ".0f", "mean square"),
        ):
            config = ROOT / "configs" / f"{file}.toml"
            rows = compared(folds, config, changes, kept / f"{file}.json", print)
            seconds += sum(scores.size * each for scores, each in rows.values())
            tables.append(table(folds, rows, form, unit))
    text = page(tables[0], tables[1], seconds / 60)
    Path(options.output, "repeats_selection.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
