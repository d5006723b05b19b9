"""Whether answers show what only other frames have, and keep what no other frame has.

Simulated scans in which an arc moves from frame to frame, one frame alone has a spot and one an arc, and two
frames have each another. Answered are all frames, combined as by `infer` and apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import smae_jax
from benchmarks import cases, markdown, runner
from benchmarks.artefacts import ghosts
from benchmarks.cases import Case
from smae_jax import finishing
from smae_jax.config import InferConfig
from smae_jax.finishing import Stage
from smae_jax.measurements import Measurements
from smae_jax.report.ghosts import contradicted, dark_places
from smae_jax.run.restore import open_run
from smae_jax.simulate import Kind, simulate

PHOTONS = (0.1, 1.0, 10.0)
SPOT, ARC = 20.0, 5.0
"""Counts of a feature's brightest pixel, over the mean counts of a pixel."""
WITHOUT: dict[str, tuple[Stage, ...]] = {
    "as infer": (),
    "without keep_dark": (finishing.keep_dark,),
    "frames apart": (finishing.combine,),
    "frames apart, without keep_dark": (finishing.combine, finishing.keep_dark),
}
"""Ways of answering, by the stages that are left out."""


class Feature(NamedTuple):
    """What some frames of a scan have, with its partner opposite: where it is, and in which frames."""

    name: str
    frames: tuple[int, ...]
    image: np.ndarray


class Row(NamedTuple):
    """What an answer shows of features; NaN where it has no error bars.

    Attributes:
      psnr: to the truth, in dB.
      truth, excess, sigmas, rms: in dark places, in counts, the excess also in the answer's own sigmas.
      named: frames that the report's alarm of ghosts names.
      kept: of each feature where it is, in per cent.
      ghost: of each feature, in frames that have none: in per cent of it, mean and worst frame.
    """

    psnr: float
    truth: float
    excess: float
    sigmas: float
    rms: float
    named: int
    kept: Mapping[str, float]
    ghost: Mapping[str, tuple[float, float]]


def arc(
    shape: tuple[int, int], center: tuple[float, float], *, radius: float, azimuth: float
) -> np.ndarray:
    """Draw an arc and its partner, 1 at the brightest; radius in those of the frame, azimuth in radians."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    half = min(shape) / 2
    y, x = (y - center[0]) / half, (x - center[1]) / half
    angle = np.arctan2(y, x) - azimuth
    across = (np.hypot(y, x) - radius) * half / 2.0
    return np.exp(-(across**2) / 2 - (np.sin(angle) / 0.18) ** 2 / 2)


def spot(
    shape: tuple[int, int], center: tuple[float, float], *, place: tuple[float, float]
) -> np.ndarray:
    """Draw a spot and its partner, 1 at the brightest; place (y, x) as shares of the frame's radius."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    half = min(shape) / 2
    found = np.zeros(shape)
    for side in (1, -1):
        down, right = (c + side * p * half for c, p in zip(center, place, strict=True))
        found += np.exp(-((y - down) ** 2 + (x - right) ** 2) / (2 * 1.5**2))
    return found


def with_features(
    kind: Kind, photons: float, *, frames: int, size: int
) -> tuple[Case, list[Feature]]:
    """Simulate a scan and put features into its frames; an arc that moves is in all of them."""
    scan = simulate(kind, frames=frames, size=size, photons=photons, seed=cases.SEED)
    truth, shape, center = scan.truth.astype(np.float64), (size, size), scan.center

    def at(*places: int) -> tuple[int, ...]:
        return tuple(place * frames // 32 for place in places)

    features = [
        Feature("spot of one frame", at(5), SPOT * spot(shape, center, place=(0.80, 0.84))),
        Feature("spot of two", at(4, 20), SPOT * spot(shape, center, place=(0.80, -0.84))),
        Feature("arc of one frame", at(12), ARC * arc(shape, center, radius=0.71, azimuth=0.4)),
        Feature("arc of two", at(8, 28), ARC * arc(shape, center, radius=0.71, azimuth=1.9)),
    ]
    features = [one._replace(image=photons * one.image) for one in features]
    for one in features:
        truth[list(one.frames)] += one.image
    for frame in range(frames):
        azimuth = np.pi * frame / frames
        truth[frame] += ARC * photons * arc(shape, center, radius=0.88, azimuth=azimuth)
    counts = np.random.default_rng(cases.SEED + 7).poisson(np.where(scan.valid, truth, 0))
    data = smae_jax.from_arrays(counts.astype(np.int32), valid=scan.valid, center=center)
    name = f"{kind.upper()}, {photons:g}"
    return Case(name, kind.upper(), photons, data, truth, scan.valid), features


def row_of(
    case: Case, features: list[Feature], answer: np.ndarray, sigma: np.ndarray | None
) -> Row:
    """Measure what an answer shows in dark places, of features where they are, and where they are not.

    Dark places are those where a frame is below a tenth of the scan's brightest frame. Of a feature are
    looked at the pixels that have a tenth of its brightest one or more.
    """
    valid = case.valid & np.isfinite(answer).all(axis=0)
    error = np.where(valid, answer - case.truth, 0)
    dark = ghosts(answer, case.truth, valid)
    where = valid & (case.truth < 0.1 * case.truth.max(axis=0))
    sigmas = np.nan if sigma is None else float((error / sigma)[where].mean())
    kept, ghost = {}, {}
    for one in features:
        use = valid & (one.image >= 0.1 * one.image.max())
        share = 100 * error[:, use].sum(axis=1) / one.image[use].sum()
        kept[one.name] = float(100 + share[list(one.frames)].mean())
        others = np.delete(share, one.frames)
        ghost[one.name] = float(others.mean()), float(others[np.abs(others).argmax()])
    psnr = runner.score(case, answer)["psnr_db"]
    light = case.data.full_exposure
    expected = np.where(light > 0, answer * light, np.nan)
    named = int(contradicted(dark_places(expected, case.data.counts, light)).rings.sum())
    return Row(psnr, dark["truth"], dark["excess"], sigmas, dark["rms"], named, kept, ghost)


def rows_of(case: Case, features: list[Feature], run: Path) -> dict[str, Row]:
    """Measure filters and the answers of a run to one scan."""
    rows = {
        f"{name} {setting}".strip(): row_of(case, features, made, None)
        for name, (setting, made) in runner.filtered(case).items()
    }
    for way, without in WITHOUT.items():
        rows[way] = row_of(case, features, *answers_of(run, case.data, without))
    return rows


def answers_of(
    run: Path, data: Measurements, without: tuple[Stage, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Ask a trained run for answers and their error bars, without some stages."""
    opened = open_run(InferConfig(run=str(run)), lambda _: None, data=data)
    stages = tuple(stage for stage in opened.stages if stage not in without)
    with runner.quiet():
        found = dataclasses.replace(opened, stages=stages).answers(sigma=True)
    return np.asarray(found.counts), np.asarray(found.sigma)


def dark_table(found: Mapping[str, Mapping[str, Row]]) -> str:
    """Write what stands in dark places, a line for each scan and answer."""
    head = [
        "scan",
        "answer",
        "PSNR / dB",
        "truth",
        "excess",
        "excess / %",
        "in own sigmas",
        "rms",
        "named",
    ]
    lines = [
        [
            *(scan, name, f"{row.psnr:.2f}", f"{row.truth:.4g}", f"{row.excess:+.2g}"),
            f"{100 * row.excess / row.truth:+.1f}",
            "" if np.isnan(row.sigmas) else f"{row.sigmas:+.2f}",
            f"{row.rms:.2g}",
            str(row.named),
        ]
        for scan, rows in found.items()
        for name, row in rows.items()
    ]
    return markdown.table(head, lines)


def feature_table(found: Mapping[str, Mapping[str, Row]]) -> str:
    """Write what is kept of every feature, and what stands of it in other frames."""
    names = list(next(iter(next(iter(found.values())).values())).kept)
    head = ["scan", "answer", *names]
    lines = [
        [
            scan,
            name,
            *(
                f"{row.kept[one]:.0f}; {row.ghost[one][0]:+.1f} ({row.ghost[one][1]:+.1f})"
                for one in names
            ),
        ]
        for scan, rows in found.items()
        for name, row in rows.items()
    ]
    return markdown.table(head, lines)


def main(given: list[str] | None = None) -> int:
    """Train on all scans, measure, and write the page."""
    parser = runner.arguments(__doc__ or "", "ghosts", steps=300)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--size", type=int, default=128)
    with runner.bench(parser, given) as bench:
        asked = bench.options
        if asked.quick:
            asked.frames, asked.size = 8, 48
        found: dict[str, dict[str, Row]] = {}
        kinds: tuple[Kind, ...] = ("saxs", "waxd")
        for kind in kinds:
            for photons in PHOTONS[-1:] if asked.quick else PHOTONS:
                made: dict[str, Any] = {"frames": asked.frames, "size": asked.size}
                case, features = with_features(kind, photons, **made)
                trained = bench.train(f"ghosts-{case.name}", case.data, {}, keep=True)
                assert trained is not None
                found[case.name] = rows_of(case, features, trained.run)
                print(f"{case.name}: done", flush=True)
        bench.write(
            "ghosts",
            frames=asked.frames,
            size=asked.size,
            steps=asked.steps,
            spot=f"{SPOT:g}",
            arc=f"{ARC:g}",
            dark=dark_table(found),
            features=feature_table(found),
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
