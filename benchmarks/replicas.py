"""How often replicas cover the truth: of pixels, sums of pixels, and profiles, which later programs make.

Simulated scans, trained on once. Answered are the scan itself and a second scan of the same truth that the
training did not see. Beside replicas stand error bars of pixels, added up as if they were independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from benchmarks import cases, runner
from benchmarks.cases import Case
from benchmarks.markdown import table
from benchmarks.physics import OWN, SECOND, Answered, answers_of, second_scan
from smae_jax.finishing.misses import Places
from smae_jax.simulate import simulate

PHOTONS = (0.1, 1.0, 10.0)
NUMBER = 16
FEWEST = 12
"""Pixels of a ring that is looked at."""


class Row(NamedTuple):
    """Shares of truths within one sigma, and root mean squared bar over that of the error."""

    scan: str
    quantity: str
    covered: float
    over_error: float
    independent: float


def quantities(case: Case, use: np.ndarray) -> Iterator[tuple[str, Callable[..., np.ndarray]]]:
    """Return sums that programs make, as functions (..., pixels in use) -> (..., values)."""
    shape = (case.valid.shape[0], case.valid.shape[1])
    y, x = np.indices(shape)[:, use]
    yield "pixels", lambda values: values
    for side in (4, 16):
        yield f"sums of {side} x {side} pixels", _sums(y // side * shape[1] + x // side)
    ring = Places(shape, case.center, symmetric=True).ring[use]
    yield "I(radius)", _sums(ring, fewest=FEWEST)


def _sums(labels: np.ndarray, *, fewest: int = 1) -> Callable[..., np.ndarray]:
    """Return what adds up the pixels of each label that so many pixels have."""
    names, number = np.unique(labels, return_counts=True)
    inside = (labels[:, None] == names[number >= fewest]).astype(np.float32)
    return lambda values: values @ inside


def rows_of(name: str, case: Case, answer: Answered) -> list[Row]:
    """Compare one standard deviation of replicas with errors, of frames and of the mean frame."""
    use = case.valid & np.isfinite(answer.counts).all(axis=0)
    error = answer.counts[:, use] - case.truth[:, use]
    off, variance = answer.replicas[..., use].astype(np.float32), answer.sigma[:, use] ** 2
    rows = []
    for what, sums in quantities(case, use):
        for where, of in (("", _of_frames), (", mean frame", _of_mean)):
            found, each = of(sums(error), 0), of(sums(off), 1)
            # Variances of independent values add up; those of a mean are over the square of their number.
            alone = np.sqrt(of(sums(variance), 0) / (len(error) if where else 1))
            told = np.sqrt((each**2).mean(axis=0))
            ratio = float(np.sqrt((told**2).mean() / (found**2).mean()))
            shares = [float((np.abs(found) < bar).mean()) for bar in (told, alone)]
            rows.append(Row(name, what + where, shares[0], ratio, shares[1]))
    return rows


def _of_frames(values: np.ndarray, axis: int) -> np.ndarray:
    del axis
    return values


def _of_mean(values: np.ndarray, axis: int) -> np.ndarray:
    return values.mean(axis=axis)


def written(rows: list[Row]) -> str:
    """Write one table."""
    head = ["scan", "quantity", "replicas cover / %", "their bar over the error"]
    head.append("independent bars of pixels cover / %")
    lines = [
        [
            *(row.scan, row.quantity, f"{100 * row.covered:.0f}", f"{row.over_error:.2f}"),
            f"{100 * row.independent:.0f}",
        ]
        for row in rows
    ]
    return table(head, lines)


def main(given: list[str] | None = None) -> int:
    """Train on all scans, measure, and write the page."""
    parser = runner.arguments(__doc__ or "", "replicas", steps=300)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--size", type=int, default=128)
    with runner.bench(parser, given) as bench:
        asked = bench.options
        if asked.quick:
            asked.frames, asked.size = 4, 48
        number = 4 if asked.quick else NUMBER
        found: dict[str, list[Row]] = {"saxs": [], "waxd": []}
        for kind, rows in found.items():
            for photons in PHOTONS[-1:] if asked.quick else PHOTONS:
                made = {"frames": asked.frames, "size": asked.size, "seed": cases.SEED}
                scan = simulate(kind, photons=photons, **made)  # pyright: ignore[reportArgumentType]
                name = f"{kind.upper()}, {photons:g}"
                own = cases.of_simulation(scan, name=name, group=kind, photons=photons)
                trained = bench.train(f"replicas-{name}", own.data, {}, keep=True)
                assert trained is not None
                for which, case in ((OWN, own), (SECOND, second_scan(own))):
                    answer = answers_of(trained.run, case.data, number)
                    rows += rows_of(f"{photons:g}, {which}", case, answer)
                print(f"{name}: done", flush=True)
        bench.write(
            "replicas",
            number=number,
            frames=asked.frames,
            size=asked.size,
            steps=asked.steps,
            tables="\n\n".join(f"## {k.upper()}\n\n{written(rows)}" for k, rows in found.items()),
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
