"""One network or two: what the second, in polar coordinates, adds on rings, on muscle and on real frames.

Every training has both; `infer` answers with the first alone (`--no-polar`), and with both.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks import artefacts, cases, markdown, runner
from benchmarks.cases import Case
from benchmarks.markdown import Rows
from benchmarks.real import CONTRASTS
from benchmarks.runner import Bench, Result

PHOTONS = (0.1, 1.0)
WAYS: dict[str, runner.Options] = {
    "one network": {"polar": False, "sigma": True},
    "two networks": {"sigma": True},
}


def all_cases(bench: Bench) -> Iterator[Case]:
    """Yield the cases: simulated, muscle patterns sampled, and a real scan."""
    quick = bench.options.quick
    size = {"frames": 8, "size": 64} if quick else {}
    for kind in ("saxs", "waxd"):
        for photons in PHOTONS[1:2] if quick else PHOTONS:
            yield cases.simulated(kind, photons, **size)
    if quick:
        return
    if cases.there("phantoms_muscle_512.npz"):
        yield cases.muscle(0.1, repeats=8, size=256)
    if cases.there("scan_mn23_12x1s.npz"):
        yield cases.real_scan(0.02)
    if cases.there("muscle_p40_mask.npz"):
        yield cases.p40()


def of_case(bench: Bench, case: Case) -> tuple[Rows, list[str], list[str]]:
    """Score both ways on a case; and tell of weak features and of error bars, where the truth is known.

    Returns:
      Scores, slopes and coverage of both ways, and the seconds that the steps of both networks took.
    """
    found = bench.train(case.name, case.data, {"train.polar": True}, asked=WAYS, keep=True)
    assert found is not None
    second = runner.steps_seconds(found.run / "polar" / "metrics.jsonl")
    rows, cells = dict[str, dict](), []
    for way, answer in found.answers.items():
        own = answer[case.frames]
        rows[way] = runner.score(case, own)
        bench.say(case, way, rows[way])
        if "psnr_db" not in rows[way]:
            continue
        truth = case.truth[case.frames]
        some = [artefacts.Features.of(truth, case.mask, *contrast) for contrast in CONTRASTS]
        slopes = [one.slope(own, one.where) if one.where.any() else np.nan for one in some]
        inside = np.abs(own - truth) <= found.sigma[way][case.frames]
        cells += [*(f"{slope:.2f}" for slope in slopes), f"{100 * inside[:, case.mask].mean():.0f}"]
    return rows, cells, [case.name, f"{found.steps_seconds:.0f}", f"{second:.0f}"]


def main(given: list[str] | None = None) -> int:
    """Train on all cases, score, and write the page."""
    with runner.bench(runner.arguments(__doc__ or "", "polar"), given) as bench:
        results, features, seconds = [], [], []
        for case in all_cases(bench):
            rows, cells, took = of_case(bench, case)
            seconds.append(took)
            scored = runner.filter_rows(bench, case) | rows
            results.append(Result(case.name, case.group, case.photons, scored))
            features += [[case.name, *cells]] if cells else []
        parts = [f"{low * 100:.0f}-{high * 100:.0f} %" for low, high in CONTRASTS]
        head = [f"{way}: {what}" for way in ("one", "two") for what in (*parts, "covered / %")]
        bench.write(
            "polar",
            psnr=markdown.compared(results, "psnr_db"),
            weighted=markdown.compared(results, "weighted"),
            plain=markdown.compared(results, "plain"),
            features=markdown.table(["scan", *head], features),
            seconds=markdown.table(["scan", "first", "second"], seconds),
            steps=bench.options.steps,
            half=-(-bench.options.steps // 2),
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
