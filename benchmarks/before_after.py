"""Commit 0afbac6 against now: the figures that the rebuilt program must keep, measured again, in one table.

The figures of before were read from the pages of that commit; none is measured here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks import cases, markdown, p40, quality, real_scan, runner, spectra
from benchmarks.runner import Bench

COMMIT = "0afbac6"
SAXS, WAXD = "simulated SAXS, 1 photon/pixel", "simulated WAXD, 1 photon/pixel"
SCAN = "twelve frames of a real scan, 1.1 photons/pixel"
XRF, RAMAN = "XRF, four spectra, mean of five seeds", "Raman, five spectra, mean of five seeds"
BEFORE: dict[tuple[str, str, str], tuple[float, str]] = {
    (SAXS, "thinning, average", "PSNR / dB"): (47.77, "docs/quality.md"),
    (SAXS, "SMAE, average", "PSNR / dB"): (46.73, "docs/quality.md"),
    (WAXD, "thinning, average", "PSNR / dB"): (45.03, "docs/quality.md"),
    (WAXD, "SMAE, average", "PSNR / dB"): (44.11, "docs/quality.md"),
    ("P40", "thinning, average", "plain"): (0.044, "docs/quality.md"),
    ("P40", "thinning, average", "weighted"): (-0.0051, "docs/quality.md"),
    ("P40", "smae, average", "plain"): (0.052, "docs/quality.md"),
    ("P40", "smae, average", "weighted"): (-0.0046, "docs/quality.md"),
    (SCAN, "thinning, as infer answers", "plain"): (0.0009, "docs/real_scan.md"),
    (SCAN, "thinning, as infer answers", "weighted"): (0.00023, "docs/real_scan.md"),
    (SCAN, "smae, as infer answers", "plain"): (0.0010, "docs/real_scan.md"),
    (SCAN, "smae, as infer answers", "weighted"): (0.00023, "docs/real_scan.md"),
    (XRF, "noise2noise X:1", "PSNR / dB"): (50.544, "docs/repeats_quality.md"),
    (XRF, "noise2noise X:1", "deviance"): (0.80402, "docs/repeats_quality.md"),
    (RAMAN, "noise2noise X:1", "PSNR / dB"): (52.254, "docs/repeats_quality.md"),
    (RAMAN, "mean of these answers", "PSNR / dB"): (52.37, "docs/repeats_quality.md"),
}
"""(data, row, score) -> the figure of before and its page at that commit."""
KEYS = {"PSNR / dB": "psnr_db"}
"""Score as the table calls it -> its key in a row, where that differs."""


def measured(bench: Bench) -> Iterator[tuple[str, markdown.Rows]]:
    """Yield the rows of all data, as the other benchmarks measure them."""
    for name in ("saxs", "waxd"):
        size = {"frames": 8, "size": 64} if bench.options.quick else {}
        case = cases.simulated(name, 1.0, **size)
        rows = quality.measured(bench, case, ["SMAE", "thinning"])
        yield {"saxs": SAXS, "waxd": WAXD}[name], rows
    if cases.there(*spectra.FILES):
        yield XRF, averaged(spectra.fluorescence(bench, ("X:1",))[0])
        yield RAMAN, averaged(spectra.raman(bench)[0])
    if cases.there(*p40.FILES) and not bench.options.quick:
        yield "P40", p40.measured(bench)
    if cases.there(real_scan.FILE) and not bench.options.quick:
        yield SCAN, real_scan.measured(bench, cases.real_scan(0.02), ["thinning", "smae"])[0]


def averaged(rows: markdown.Rows) -> markdown.Rows:
    """Put the mean over seeds into the row `noise2noise X:1`."""
    own = [row for name, row in rows.items() if ", seed " in name]
    keys = {key for row in own for key, value in row.items() if isinstance(value, float)}
    return rows | {
        "noise2noise X:1": {key: float(np.mean([row[key] for row in own])) for key in keys}
    }


def table(found: dict[str, markdown.Rows]) -> str:
    """Write before and now of everything that was measured."""
    lines = []
    for (data, name, score), (before, page) in BEFORE.items():
        row = found.get(data, {}).get(name)
        if row is not None:
            digits = 2 if score in KEYS else 5 if data == SCAN else 4
            now = row[KEYS.get(score, score)]
            figures = (f"{before:.{digits}f}", f"{now:.{digits}f}", f"{now - before:+.{digits}f}")
            lines.append([data, name, score, *figures, page])
    head = ["data", "row", "score", f"commit {COMMIT}", "now", "difference", f"page of {COMMIT}"]
    return markdown.table(head, lines)


def main(given: list[str] | None = None) -> int:
    """Measure again what was measured before, print the table and write the page."""
    parser = runner.arguments(__doc__, "before_after")
    parser.add_argument("--seeds", nargs="+", type=int, default=tuple(range(5)))
    with runner.bench(parser, given) as bench:
        found: dict[str, markdown.Rows] = {}
        for name, rows in measured(bench):  # an hour: the page grows with every data set
            found[name] = rows
            made = table(found)
            bench.write("before_after", commit=COMMIT, table=made, steps=bench.options.steps)
        print(table(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
