"""What the defaults were chosen by: every row is a training with one option of its own.

All rows of a table have the same steps or the same data; seconds are those of the steps alone.
"""

from __future__ import annotations

from benchmarks import cases, markdown, runner
from benchmarks.markdown import Rows
from benchmarks.runner import NETWORK_ALONE, Bench, Options

SHARES = ["0.4,0.4", "0.6,0.6", "0.8,0.8"]
STEPS = 300
Changes = dict[str, Options]


def shares(*each: str) -> Options:
    """Show the network these shares of the photons."""
    return {"thinning.shares": list(each)}


NETWORKS: Changes = {
    "unet 16, 32, 64 (default)": {},
    "unet 16, 32, 64, twice the steps": {"times": 2},
    "unet 16, 32, 64, four times the steps": {"times": 4},
    "unet 8, 16, 32": {"unet.widths": [8, 16, 32]},
    "unet 32, 64, 96": {"unet.widths": [32, 64, 96]},
    "unet 24, 48, 96, 128": {"unet.widths": [24, 48, 96, 128]},
    "large": {"model": "large"},
    "resnet, 16 channels": {"model": "resnet"},
}
LOSSES: Changes = {
    name: {"loss": name} for name in ("poisson", "mse", "anscombe", "0.5*poisson+0.5*mse")
}
TRAININGS: Changes = {
    "muon 5e-3 (default)": {},
    "muon 1e-2": {"train.learning_rate": 1e-2},
    "muon 2.5e-3": {"train.learning_rate": 2.5e-3},
    "adam 2e-3": {"train.optimizer": "adam", "train.learning_rate": 2e-3},
    "no moving average": {"train.average_decay": 0.0},
    "batch 8, twice the steps": {"train.batch_size": 8, "times": 2},
}
PAIRS: Changes = {
    "SMAE": {"method": "smae"},
    "0.8": shares("0.8,0.8"),
    "0.5": shares("0.5,0.5"),
    "0.4 + 0.6 + 0.8 (default)": {},
    "1,0, all of one side predicts the other": shares("1,0"),
    "1,0 + 0.8": shares("1,0", "0.8,0.8"),
    "1,0 + 0.4 + 0.6 + 0.8": shares("1,0", *SHARES),
    "0.4 + 0.6 + 0.8, half-planes": {"thinning.across": False},
    "0.8,0": shares("0.8,0"),
    "0.2 + 0.5 + 0.8": shares("0.2,0.2", "0.5,0.5", "0.8,0.8"),
    "partner none": {"thinning.partner": "none"},
    "another split at every step": {"thinning.variants": 0},
}
TABLES: dict[str, tuple[Changes, tuple[float, ...]]] = {
    "networks": (NETWORKS, (1.0,)),
    "losses": (LOSSES, (0.1, 1.0, 10.0)),
    "trainings": (TRAININGS, (1.0,)),
    "pairs": (PAIRS, (1.0,)),
}
KEYS = {"psnr_db": "both / dB", "either_db": "either / dB", "weighted": "weighted"}


def measured(bench: Bench, changes: Changes, photons: float) -> Rows:
    """Train once for each change on a simulated SAXS scan."""
    size = {"frames": 4, "size": 64} if bench.options.quick else {}
    case = cases.simulated("saxs", photons, **size)
    rows = runner.filter_rows(bench, case)
    for name, change in changes.items():
        own = {key: value for key, value in change.items() if key != "times"}
        steps = bench.options.steps * change.get("times", 1)
        asked: Changes = {name: {}}
        if change.get("method") == "smae":  # the published rule, as it was published
            asked = {f"{name}, cross": NETWORK_ALONE | {"rule": "cross"}, f"{name}, average": {}}
        options = {"thinning.partner": "channel", **own, "train.steps": steps}
        rows |= bench.scored(case, name, options, asked=asked)
    return rows


def main(given: list[str] | None = None) -> int:
    """Measure the tables and write the page."""
    parser = runner.arguments(__doc__, "choices", steps=STEPS)
    parser.add_argument("--only", nargs="+", default=list(TABLES), choices=list(TABLES))
    with runner.bench(parser, given) as bench:
        parts = []
        for name in bench.options.only:
            changes, exposures = TABLES[name]
            parts.append(f"## {name.capitalize()}")
            for photons in exposures[: 1 if bench.options.quick else None]:
                rows = measured(bench, changes, photons)
                head, keys = f"SAXS, {photons:g}", KEYS | {"steps_seconds": "steps / s"}
                parts.append(markdown.scores(head, rows, keys))
        bench.write("choices", steps=bench.options.steps, tables="\n\n".join(parts))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
