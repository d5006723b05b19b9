"""Measure what the defaults were chosen by: `python -m benchmarks.choices [--quick] [--only losses]`.

Every row is one training on a simulated scan in which one option differs from the defaults. All rows of a
table have the same steps or the same data; seconds are those of the training alone, read from its log.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.methods import QUICK, SEED, Case, denoised, keep_compiled, kept_json, quiet
from benchmarks.methods_report import Making, command_line, facts_list
from benchmarks.quality import filters, score, simulated, write_files
from smae_jax.commands.train import train
from smae_jax.config import (
    DataOptions,
    InferConfig,
    PredictOptions,
    SmaeOptions,
    ThinningOptions,
    TrainConfig,
    TrainOptions,
    UnetOptions,
)

Change = dict[str, Any]
Rows = dict[str, Change]
STEPS, FRAMES = 300, 64

TEXT = """\
# What the defaults were chosen by

    {command}

Simulated scans of {frames} frames, {size} x {size} pixels; method `thinning` with its defaults but for what
the row names, {steps} steps unless it says otherwise, one seed: differences below some 0.2 dB mean nothing.
Answers are combined and add up to the counts of the scan as `infer` makes them, but for the published rule
`cross`, which is the network's alone.
dB = PSNR where pixel and partner are valid / where either is; weighted = mean squared error over the expected
variance, 1 for raw counts; seconds of the steps alone.

{tables}

## Made with

{facts}
"""


def with_train(**options: Any) -> Change:
    """Change how the training goes."""
    return {"train": options}


def with_thinning(**options: Any) -> Change:
    """Change the pairs."""
    return {"thinning": ThinningOptions(**options)}


def smae(**options: Any) -> Change:
    """Train by the older method."""
    return {"method": "smae", "smae": SmaeOptions(**options)}


NETWORKS: Rows = {
    "unet 16, 32, 64 (default)": {},
    "unet 16, 32, 64, twice the steps": {"times": 2},
    "unet 16, 32, 64, four times the steps": {"times": 4},
    "unet 8, 16, 32": {"unet": UnetOptions((8, 16, 32))},
    "unet 32, 64, 96": {"unet": UnetOptions((32, 64, 96))},
    "unet 24, 48, 96, 128": {"unet": UnetOptions((24, 48, 96, 128))},
    "large": {"model": "large"},
    "resnet, 16 channels": {"model": "resnet"},
}
LOSSES: Rows = {
    name: {"loss": name} for name in ("poisson", "mse", "anscombe", "0.5*poisson+0.5*mse")
}
TRAININGS: Rows = {
    "muon 5e-3 (default)": {},
    "muon 1e-2": with_train(learning_rate=1e-2),
    "muon 2.5e-3": with_train(learning_rate=2.5e-3),
    "adam 2e-3": with_train(optimizer="adam", learning_rate=2e-3),
    "no moving average": with_train(average_decay=0.0),
    "batch 8, twice the steps": with_train(batch_size=8) | {"times": 2},
}
PAIRS: Rows = {
    "SMAE": smae(),
    "0.8": with_thinning(shares=("0.8,0.8",)),
    "0.5": with_thinning(shares=("0.5,0.5",)),
    "0.4 + 0.6 + 0.8 (default)": {},
    "1,0, all of one side predicts the other": with_thinning(shares=("1,0",)),
    "1,0 + 0.8": with_thinning(shares=("1,0", "0.8,0.8")),
    "1,0 + 0.4 + 0.6 + 0.8": with_thinning(shares=("1,0", *ThinningOptions().shares)),
    "0.4 + 0.6 + 0.8, half-planes": with_thinning(across=False),
    "0.8,0": with_thinning(shares=("0.8,0",)),
    "0.2 + 0.5 + 0.8": with_thinning(shares=("0.2,0.2", "0.5,0.5", "0.8,0.8")),
    "partner none": with_thinning(partner="none"),
    "another split at every step": with_thinning(variants=0),
}
TABLES: dict[str, tuple[str, Rows, tuple[tuple[str, float], ...]]] = {
    "networks": ("Networks", NETWORKS, (("saxs", 1.0),)),
    "losses": ("Losses", LOSSES, (("saxs", 0.1), ("saxs", 1.0), ("saxs", 10.0))),
    "trainings": ("Optimizers", TRAININGS, (("saxs", 1.0),)),
    "pairs": ("Pairs", PAIRS, (("saxs", 1.0),)),
}


def one(
    case: Case, change: Change, folder: Path, *, steps: int, quick: bool
) -> dict[str, dict[str, float]]:
    """Train with one change to the defaults; return the scores of every way to predict."""
    options = dict(QUICK.options) if quick else {}
    steps = max(1, round(steps * change.get("times", 1)))
    options |= {"steps": steps, "checkpoint_every": 0} | change.get("train", {})
    y, x = case.center
    config = TrainConfig(
        run=str(folder / "run"),
        overwrite=True,
        seed=SEED,
        method=change.get("method", "thinning"),
        model=change.get("model", "unet"),
        loss=change.get("loss", "poisson"),
        data=DataOptions(
            path=str(folder / "counts.npy"), mask=str(folder / "mask.npy"), center=f"{y:g},{x:g}"
        ),
        thinning=change.get("thinning", ThinningOptions(partner="channel")),
        smae=change.get("smae", SmaeOptions()),
        unet=change.get("unet", UnetOptions()),
        predict=PredictOptions(ensemble="flips"),
        train=TrainOptions(**options),
    )
    with quiet():
        train(config, lambda line: None)
    seconds = steps_seconds(folder / "run" / "metrics.jsonl")
    found = {}
    for rule in ("cross", "average") if config.method == "smae" else ("run",):
        output = str(folder / "answer.npy")
        asked = InferConfig(
            run=config.run,
            input=config.data.path,
            output=output,
            rule=rule,  # type: ignore[arg-type]
            overwrite=True,
            combine=rule != "cross",  # the published rule, as it was published
            keep_sums=rule != "cross",
        )
        found[rule] = score(case, denoised(asked)) | {"seconds": seconds}
    return found


def steps_seconds(log: Path) -> float:
    """Add up the seconds that the steps of a training took: compilation and validation apart."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    speeds = [(line["step"], line["steps_per_s"]) for line in lines if "steps_per_s" in line]
    first = [0, *(step for step, _ in speeds)]
    return sum(
        (step - before) / speed for (step, speed), before in zip(speeds, first, strict=False)
    )


def table(name: str, options: argparse.Namespace, folder: Path, say: Callable[[str], None]) -> str:
    """Measure one table and return it as Markdown."""
    title, rows, cases = TABLES[name]
    lines = [f"## {title}", "", "| scan | | dB | weighted | seconds |", "|---|---|---|---|---|"]
    for kind, photons in cases[:1] if options.quick else cases:
        case = simulated(kind, photons, 0.0, frames=FRAMES, size=options.size)
        write_files(case, {}, folder)
        scan = f"{kind.upper()}, {photons:g}"
        for label, (setting, estimate) in filters(case).items():
            lines.append(row(scan, f"{label} {setting}".strip(), score(case, estimate)))
        for label, change in rows.items():
            kept = folder / f"{name}-{kind}-{photons:g}-{label.replace(' ', '_')}.json"
            make = functools.partial(
                one, case, change, folder, steps=options.steps, quick=options.quick
            )
            for way, scores in kept_json(kept, make).items():
                lines.append(row(scan, label if way == "run" else f"{label}, {way}", scores))
                say(lines[-1])
    return "\n".join(lines)


def row(scan: str, label: str, scores: dict[str, float]) -> str:
    """Write one line of a table."""
    either = f"{scores['either_db']:.2f}" if "either_db" in scores else "-"
    seconds = f"{scores['seconds']:.0f}" if "seconds" in scores else ""
    return (
        f"| {scan} | {label} | {scores['psnr_db']:.2f} / {either} | {scores['weighted']:.4f} | "
        f"{seconds} |"
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure the tables and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny scans and trainings, a test")
    parser.add_argument("--only", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--folder", default="", help="keep all there, and go on with what is there")
    parser.add_argument("--output", default="", help="folder of choices.md; default docs")
    parser.add_argument("--steps", type=int, default=0, help=f"of every training; 0 = {STEPS}")
    options = parser.parse_args(arguments)
    options.steps = options.steps or (2 if options.quick else STEPS)
    options.size = 64 if options.quick else 128
    output = Path(options.output or ("runs/choices-quick" if options.quick else "docs"))
    making = Making(SEED)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        keep_compiled(folder)
        tables = [table(name, options, folder, print) for name in options.only]
    text = TEXT.format(
        command=command_line("choices", arguments),
        frames=FRAMES,
        size=options.size,
        steps=options.steps,
        tables="\n\n".join(tables),
        facts=facts_list(making.facts()),
    )
    output.mkdir(parents=True, exist_ok=True)
    (output / "choices.md").write_text(text, encoding="utf-8")
    print(f"{output / 'choices.md'}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
