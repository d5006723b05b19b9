"""Real muscle frames: three are trained on and denoised, three others that no training sees score.

In the score 1 is raw photon noise and 0 is perfect. The equatorial reflections' integrated intensity is
compared with that of the same frames before denoising.
"""

from __future__ import annotations

import numpy as np

from benchmarks import cases, markdown, runner
from benchmarks.cases import Case
from benchmarks.markdown import Rows
from benchmarks.runner import Bench, Options
from smae_jax.metrics import match_totals

FILES = ("muscle_p40_raw", "muscle_p40_mask.npz")
RULES = {"smae": ("direct", "cross", "average"), "thinning": ("direct", "average", "symmetric")}


def reflections(case: Case, frames: np.ndarray) -> dict[str, float]:
    """Return the change of the two inner equatorial reflections' intensity in per cent."""
    before, valid = case.data.counts.mean(axis=0, dtype=np.float64), case.valid
    frames = np.nan_to_num(frames)
    after = np.mean([match_totals(frame, before, valid) for frame in frames], axis=0)
    y, found = round(case.center[0]), {}
    for side, x in (("left", 373), ("right", 447)):
        box = slice(y - 6, y + 7), slice(x - 15, x + 16)
        use = valid[box]
        found[side] = 100 * float(after[box][use].sum() / before[box][use].sum() - 1)
    return found


def measured(
    bench: Bench,
    methods: tuple[str, ...] = tuple(RULES),
    *,
    case: Case | None = None,
    **options: str | bool,
) -> Rows:
    """Train both methods and score them beside the filters, with options of `infer` for all rules."""
    case = case or cases.p40()
    rows: Rows = {}
    for name, (_, frames) in runner.filtered(case).items():
        rows[name] = runner.score(case, frames) | reflections(case, frames)
    for method in methods:
        asked: dict[str, Options] = {}
        for rule in RULES[method][: 1 if bench.options.quick else None]:
            sums: Options = {"keep_sums": False} if rule == "cross" else {}
            asked[f"{method}, {rule}"] = {"rule": rule, "keep_significant": 0.0} | sums | options
        training = {"method": method}
        found = bench.train(f"{case.name}-{method}", case.data, training, asked=asked)
        for name, frames in {} if found is None else found.answers.items():
            row = runner.score(case, frames) | reflections(case, frames)
            rows[name] = row | {"seconds": found.seconds}
            bench.say(case, name, rows[name])
    return rows


def table(rows: Rows) -> str:
    """Write the table."""
    keys = {"plain": "plain", "weighted": "weighted", "left": "equator left", "right": "right"}
    change = {"left": "{:+.2f} %", "right": "{:+.2f} %"}
    return markdown.scores("", rows, keys | {"seconds": "training / s"}, change)


def main(given: list[str] | None = None) -> int:
    """Train, denoise, score and write the page."""
    parser = runner.arguments(__doc__, "p40", kept=True)
    parser.add_argument("--methods", nargs="+", default=tuple(RULES), choices=RULES)
    parser.add_argument("--checkpoint", default="best", help="which parameters: best or last")
    parser.add_argument("--no-keep-sums", action="store_true", help="of infer, for every rule")
    parser.add_argument(
        "--with-peaks", action="store_true", help="also use the reflections' brightest pixels"
    )
    with runner.bench(parser, given) as bench:
        if not cases.there(*FILES):
            return 0
        asked = bench.options
        case = cases.p40(with_peaks=asked.with_peaks)
        options = {"checkpoint": asked.checkpoint} | (
            {"keep_sums": False} if asked.no_keep_sums else {}
        )
        rows = measured(bench, tuple(asked.methods), case=case, **options)
        page = "p40_with_peaks" if asked.with_peaks else "p40"
        bench.write(page, template="p40", steps=asked.steps, table=table(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
