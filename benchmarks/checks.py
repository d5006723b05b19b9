"""Check that thinning keeps what is real and invents nothing: `python -m benchmarks.checks [--quick]`.

Peaks keep their area and width, a lone spot survives in its frame and in no other, an asymmetry comes back,
nothing of a partner appears where there is no symmetry, a flat field stays flat, and error bars cover the
truth as often as they say. All on simulated scans, with the default settings.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.methods import keep_compiled, kept_json, quiet
from benchmarks.methods_report import Making, command_line, facts_list
from benchmarks.quality import asymmetry_slope
from smae_jax.commands.infer import infer
from smae_jax.commands.train import train
from smae_jax.config import (
    DataOptions,
    InferConfig,
    ThinningOptions,
    TrainConfig,
    TrainOptions,
)
from smae_jax.data.center import turn
from smae_jax.simulate import Simulation, simulate

SEED = 0
SPOT = 20.0
"""Photons of the lone spot."""
WIDTH = 0.8
"""Its sigma in pixels."""
Found = dict[str, str]
"""What was found, by name."""

TEXT = """\
# What thinning keeps, and what it does not invent

    {command}

Simulated scans of 64 frames, 128 x 128 pixels, with the default settings, {steps} steps.

{table}

- **Peaks**: in every frame each meridional order is a box about its known places; area = counts above the
  border of the box, summed over the scan; width = its second moment. Change against the truth, in % and in
  sigmas of the photons of box and border; the raw counts beside it, which are unbiased and noisy.
- **Lone spot**: {spot:g} photons of {width:g} pixel sigma in one frame, at the scan's darkest place. Kept =
  photons above the surroundings in that frame; in others = the most that any other frame shows there.
- **Asymmetry**: slope of the answer's odd part on the truth's, 5 % asymmetry.
- **No symmetry** (GISAXS-like): what the dark side shows over its truth; a copied partner would be seen.
- **Flat field**: rms of the answer over its mean, beside that of its error bars.
- **Coverage**: share of the pixels whose truth lies within one error bar; 68 % is honest.
- With `--folder` checks that are kept there are not done again; the minutes are those of the last call.

## Made with

{facts}
"""


class Bench:
    """Trains and denoises simulated scans in one folder."""

    def __init__(self, folder: Path, train_options: TrainOptions) -> None:
        """Remember where and how."""
        self.folder, self.options = folder, train_options

    def denoise(
        self, scan: Simulation, *, sigma: bool = False, **thinning: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Train on a scan and denoise it; return counts and error bars (zeros if not asked for)."""
        files = {"counts": scan.counts.astype(np.int32), "mask": (~scan.valid).astype(np.uint8)}
        for name, array in files.items():
            np.save(self.folder / f"{name}.npy", array)
        counts, mask = (str(self.folder / f"{name}.npy") for name in files)
        y, x = scan.center
        config = TrainConfig(
            run=str(self.folder / "run"),
            overwrite=True,
            seed=SEED,
            method="thinning",
            data=DataOptions(path=counts, mask=mask, center=f"{y:g},{x:g}"),
            thinning=ThinningOptions(**thinning),
            train=self.options,
        )
        with quiet():
            train(config, lambda line: None)
        return self.answer(sigma=sigma)

    def answer(self, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        """Denoise the scan of the last training, with options of `infer`."""
        counts, output = (str(self.folder / name) for name in ("counts.npy", "answer.h5"))
        with quiet():
            infer(
                InferConfig(
                    run=str(self.folder / "run"),
                    input=counts,
                    output=output,
                    overwrite=True,
                    **options,
                ),
                lambda line: None,
            )
        with h5py.File(output) as file:
            answer = np.asarray(file["entry/data/data"], np.float64)
            errors = file["entry/data"].get("data_errors")  # type: ignore[union-attr]
            return answer, np.zeros_like(answer) if errors is None else np.asarray(errors)


def places_of_orders(scan: Simulation) -> np.ndarray:
    """Return where the meridional orders lie: (frames, orders, sides, 2) pixels (y, x)."""
    drifting = scan.parameters["frames"]
    radius = min(scan.valid.shape) / 2
    angle = np.asarray(drifting["orientation_rad"])[:, None]
    order = np.arange(1, 6) * np.asarray(drifting["d_order"])[:, None] * radius
    along = np.stack([np.cos(angle) * order, np.sin(angle) * order], axis=-1)
    return np.asarray(scan.center) + np.stack([along, -along], axis=2)


def peaks(scan: Simulation, answer: np.ndarray, half: int = 4) -> dict[str, str]:
    """Compare area and width of every order with the truth, summed over the scan."""
    found: dict[str, str] = {}
    places = places_of_orders(scan)
    offset = np.mgrid[-half : half + 1, -half : half + 1]
    border = np.maximum(*np.abs(offset)) == half
    for order in range(places.shape[1]):
        images = {"truth": scan.truth, "raw": scan.counts, "answer": answer}
        boxes = {name: np.zeros(border.shape) for name in images}
        for frame in range(len(places)):
            for place in places[frame, order]:
                y, x = (np.round(place).astype(int)[:, None, None] + offset).astype(int)
                if min(y.min(), x.min()) < 0 or y.max() >= scan.valid.shape[0]:
                    continue
                if x.max() >= scan.valid.shape[1] or not scan.valid[y, x].all():
                    continue
                for name, image in images.items():
                    boxes[name] += image[frame][y, x]
        if boxes["truth"].sum() == 0:
            continue
        (area, width), *others = (area_and_width(box, border, offset) for box in boxes.values())
        photons, edge = boxes["truth"].sum(), boxes["truth"][border].sum()
        sigma = np.sqrt(photons + (border.size / border.sum()) ** 2 * edge)
        said = [
            f"{name} {100 * (a / area - 1):+.1f} % ({(a - area) / sigma:+.1f} sigma), "
            f"{100 * (w / width - 1):+.1f} %"
            for name, (a, w) in zip(("raw", "denoised"), others, strict=True)
        ]
        found[f"order {order + 1}: area, width"] = "; ".join(said)
    return found


def coverage(scan: Simulation, answer: np.ndarray, sigma: np.ndarray) -> str:
    """Say how often the truth lies within one error bar of the answer."""
    within = (np.abs(answer - scan.truth) < sigma)[:, scan.valid]
    return f"{100 * within.mean():.1f} %"


def area_and_width(box: np.ndarray, border: np.ndarray, offset: np.ndarray) -> tuple[float, float]:
    """Return the counts above the border of a box, and their rms width in pixels."""
    above = box - box[border].mean()
    spread = (np.maximum(above, 0) * (offset**2).sum(axis=0)).sum()
    return float(above.sum()), float(np.sqrt(spread / np.maximum(above, 0).sum() / 2))


def with_spot(scan: Simulation, frame: int, place: tuple[int, int]) -> Simulation:
    """Add a lone Bragg-like spot to one frame."""
    y, x = np.ogrid[: scan.valid.shape[0], : scan.valid.shape[1]]
    spot = np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / (2 * WIDTH**2))
    spot *= SPOT / spot.sum()
    truth, counts = scan.truth.copy(), scan.counts.astype(np.int64)
    truth[frame] += spot
    counts[frame] += np.random.default_rng(SEED + 1).poisson(spot)
    return dataclasses.replace(scan, truth=truth, counts=counts)


def free_place(scan: Simulation, half: int = 7) -> tuple[int, int]:
    """Return the darkest place (y, x) about which `half` pixels are valid."""
    height, width = scan.valid.shape
    mean = scan.truth.mean(axis=0, dtype=np.float64)
    light = {
        (y, x): mean[y - half : y + half + 1, x - half : x + half + 1].sum()
        for y in range(half, height - half)
        for x in range(half, width - half)
        if scan.valid[y - half : y + half + 1, x - half : x + half + 1].all()
    }
    return min(light, key=lambda place: light[place])


def spot_in(answer: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """Return the photons above the surroundings at a place, for every frame."""
    y, x = place
    box = answer[:, y - 6 : y + 7, x - 6 : x + 7]
    inner = np.zeros(box.shape[1:], bool)
    inner[4:-4, 4:-4] = True
    return (box - box[:, ~inner].mean(axis=1)[:, None, None])[:, inner].sum(axis=1)


def patterns(bench: Bench, make: dict[str, Any]) -> Found:
    """Look at peaks, and at the error bars of two kinds of pattern."""
    scan = simulate("saxs", photons=1.0, **make)
    answer, sigma = bench.denoise(scan, sigma=True)
    rings = simulate("waxd", photons=1.0, **make)
    return peaks(scan, answer) | {
        "coverage of one sigma, SAXS, 1 photon/pixel": coverage(scan, answer, sigma),
        "coverage of one sigma, WAXD, 1 photon/pixel": coverage(
            rings, *bench.denoise(rings, sigma=True)
        ),
    }


def lone_spot(bench: Bench, make: dict[str, Any]) -> Found:
    """Put a spot into one frame, and look for it there and in the others."""
    scan = simulate("saxs", photons=1.0, **make)
    place, frame = free_place(scan), len(scan.counts) // 2
    spotted = with_spot(scan, frame, place)
    background = spot_in(scan.truth.astype(np.float64), place)
    counted = spot_in(spotted.counts.astype(np.float64), place)[frame] - background[frame]

    def said(answer: np.ndarray) -> str:
        photons = spot_in(answer, place) - background
        others = np.delete(photons, frame)
        return f"{photons[frame]:.1f} of {counted:.1f}, {others.max():.1f} photons"

    answer, _ = bench.denoise(spotted)
    alone, _ = bench.answer(keep_significant=0.0)
    return {
        "lone spot: kept of counted, most in others": said(answer),
        "lone spot, --keep-significant 0": said(alone),
    }


def uneven_sides(bench: Bench, make: dict[str, Any]) -> Found:
    """Look how much of a small asymmetry comes back."""
    uneven = simulate("saxs", photons=3.0, asymmetry=0.05, **make)
    both = uneven.valid & turn(uneven.valid, uneven.center, False)
    answer, _ = bench.denoise(uneven)
    slope = asymmetry_slope(answer, uneven.truth, both, uneven.center)
    return {"asymmetry of 5 % that comes back": f"{100 * slope:.0f} %"}


def no_symmetry(bench: Bench, make: dict[str, Any]) -> Found:
    """Look for the bright side of a pattern without symmetry on its dark side."""
    grazing = simulate("gisaxs", photons=1.0, **make)
    dark = grazing.valid & (grazing.truth.mean(axis=0) < 0.3 * grazing.truth.mean())
    found = {}
    for partner in ("auto", "channel"):
        answer, _ = bench.denoise(grazing, partner=partner)
        excess = answer[:, dark].sum() / grazing.truth[:, dark].sum() - 1
        found[f"no symmetry, partner {partner}: dark side over its truth"] = (
            f"{100 * excess:+.1f} %"
        )
    return found


def flat_field(bench: Bench, make: dict[str, Any]) -> Found:
    """Look for structure where there is none."""
    flat = simulate("flat", photons=1.0, **make)
    answer, sigma = bench.denoise(flat, sigma=True)
    mean = answer[:, flat.valid].mean()
    spread = answer[:, flat.valid].std() / mean
    bars = np.sqrt(np.mean(sigma[:, flat.valid] ** 2)) / mean
    return {
        "flat field: rms of the answer, of its error bars": (
            f"{100 * spread:.2f} %, {100 * bars:.2f} %"
        )
    }


PARTS = (patterns, lone_spot, uneven_sides, no_symmetry, flat_field)


def run(bench: Bench, **make: Any) -> Found:
    """Run all checks; what is kept already is not done again."""
    found: Found = {}
    for part in PARTS:
        check = functools.partial(part, bench, make | {"seed": SEED})
        found |= kept_json(bench.folder / f"{part.__name__}.json", check)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the checks and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny scans and trainings, a test")
    parser.add_argument("--steps", type=int, default=0, help="of every training; 0 = the default")
    parser.add_argument("--folder", default="", help="keep all there, and go on with what is there")
    parser.add_argument("--output", default="", help="folder of checks.md; default docs")
    options = parser.parse_args(arguments)
    output = Path(options.output or ("runs/checks-quick" if options.quick else "docs"))
    making = Making(SEED)
    steps = options.steps or (4 if options.quick else TrainOptions().steps)
    chosen = TrainOptions(steps=steps)
    if options.quick:
        chosen = dataclasses.replace(chosen, validate_every=2, validation_batches=1)
    frames, size = (4, 64) if options.quick else (64, 128)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        keep_compiled(folder)
        found = run(Bench(folder, chosen), frames=frames, size=size)
    lines = ["| check | found |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in found.items()]
    output.mkdir(parents=True, exist_ok=True)
    text = TEXT.format(
        command=command_line("checks", arguments),
        steps=steps,
        table="\n".join(lines),
        spot=SPOT,
        width=WIDTH,
        facts=facts_list(making.facts()),
    )
    (output / "checks.md").write_text(text, encoding="utf-8")
    print("\n".join(lines))
    print(f"{output / 'checks.md'}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
