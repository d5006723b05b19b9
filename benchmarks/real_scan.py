"""Twelve frames of a real scan at a share of their photons, scored on the photons held back.

Photons are dealt to a weak exposure, which is all that a training and `infer` see, and to a reference.
Splitting counts at random makes independent Poisson counts of both, so a squared error to the reference,
less the reference's own noise, is the error to the truth.
"""

from __future__ import annotations

import numpy as np

from benchmarks import cases, markdown, pictures, runner
from benchmarks.cases import Case
from benchmarks.markdown import Rows
from benchmarks.runner import NETWORK_ALONE, Bench, Options

FILE = "scan_mn23_12x1s.npz"
ANSWERS: dict[str, Options] = {
    "network alone": NETWORK_ALONE,
    "with the sums of the scan": {"combine": False},
    "combined": {"keep_sums": False, "keep_significant": 0.0},
    "as infer answers": {},
}


def measured(bench: Bench, case: Case, methods: list[str]) -> tuple[Rows, dict[str, np.ndarray]]:
    """Train methods on what is shown, and answer it in every way: (rows, one frame of each)."""
    rows: Rows = {}
    shown = {f"shown, {case.photons:.2g} photons/pixel": case.data.counts[0]}
    for name, (_, estimate) in runner.filtered(case).items():
        rows[name] = runner.score(case, estimate)
        if "on average" in name:
            shown["filtered"] = estimate[0]
    for method in methods:
        asked = {f"{method}, {name}": options for name, options in ANSWERS.items()}
        if method == "smae":
            asked["smae, cross, network alone"] = NETWORK_ALONE | {"rule": "cross"}
        found = bench.train(f"{case.name}-{method}", case.data, {"method": method}, asked=asked)
        for name, counts in {} if found is None else found.answers.items():
            rows[name] = runner.score(case, counts) | {"seconds": found.seconds}
            bench.say(case, name, rows[name])
            if name.endswith(("network alone", "as infer answers")) and "cross" not in name:
                shown[name] = counts[0]
    shown["held back"] = case.truth[0]
    return rows, {name: np.where(case.mask, one, np.nan) for name, one in shown.items()}


def main(given: list[str] | None = None) -> int:
    """Train, denoise, score, and write the page."""
    parser = runner.arguments(__doc__, "real_scan", kept=True)
    parser.add_argument("--shares", nargs="+", type=float, default=(0.02, 0.1))
    parser.add_argument("--methods", nargs="+", default=("smae", "thinning"))
    with runner.bench(parser, given) as bench:
        if not cases.there(FILE):
            return 0
        tables, panels, error = [], [], 0.0
        keys = {"plain": "plain", "weighted": "weighted", "seconds": "training / s"}
        for share in bench.options.shares:
            case = cases.real_scan(share)
            rows, shown = measured(bench, case, bench.options.methods)
            head = f"{case.photons:.2g} photons/pixel"
            tables.append(
                markdown.scores(head, rows, keys, {"plain": "{:.4f}", "weighted": "{:.5f}"})
            )
            panels.append(shown)
            noise = (case.variance / case.expected)[:, case.mask]
            error = max(error, float(np.sqrt(2 * (noise**2).sum()) / noise.size))
        pictures.images(bench.images / "real_scan.png", panels)
        steps, joined = bench.options.steps, "\n\n".join(tables)
        bench.write("real_scan", file=FILE, tables=joined, steps=steps, error=error)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
