"""Check that thinning keeps what is real and invents nothing, on simulated scans with the default settings.

Peaks keep their area and width, a lone spot survives in its frame and in no other, an asymmetry comes back,
nothing of a partner appears where there is no symmetry, a flat field stays flat, and error bars cover the
truth as often as they say.
"""

from __future__ import annotations

import numpy as np

import smae_jax
from benchmarks import markdown, runner
from benchmarks.cases import SEED
from benchmarks.runner import Bench, Options, Trained
from smae_jax.geometry import turn
from smae_jax.simulate import Simulation, simulate

SPOT = 20.0
"""Photons of the lone spot."""
WIDTH = 0.8
"""Its sigma in pixels."""
HALF = 4
"""Half side of the box about a peak."""
Found = dict[str, str]
"""What was found, by name."""


class Checks:
    """Trains on simulated scans and asks for answers."""

    def __init__(self, bench: Bench) -> None:
        """Remember where."""
        self.bench = bench
        self.size = (
            {"frames": 4, "size": 64} if bench.options.quick else {"frames": 64, "size": 128}
        )

    def scan(self, kind: str, photons: float = 1.0, asymmetry: float = 0.0) -> Simulation:
        """Simulate a scan."""
        return simulate(kind, photons=photons, asymmetry=asymmetry, seed=SEED, **self.size)  # type: ignore[arg-type]

    def answered(
        self,
        name: str,
        scan: Simulation,
        options: Options | None = None,
        *,
        counts: np.ndarray | None = None,
        **asked: Options,
    ) -> Trained:
        """Train on a scan and answer it, in one way or several."""
        counts = scan.counts if counts is None else counts
        data = smae_jax.from_arrays(counts, valid=scan.valid, center=scan.center)
        found = self.bench.train(name, data, options or {}, asked=asked or None)
        assert found is not None
        print(f"{name}: {found.seconds:.0f} s", flush=True)
        return found


def places_of_orders(scan: Simulation) -> np.ndarray:
    """Return where the meridional orders lie: (frames, orders, sides, 2) pixels (y, x)."""
    drifting = scan.parameters["frames"]
    radius = min(scan.valid.shape) / 2
    angle = np.asarray(drifting["orientation_rad"])[:, None]
    order = np.arange(1, 6) * np.asarray(drifting["d_order"])[:, None] * radius
    along = np.stack([np.cos(angle) * order, np.sin(angle) * order], axis=-1)
    return np.asarray(scan.center) + np.stack([along, -along], axis=2)


def peaks(scan: Simulation, answer: np.ndarray) -> Found:
    """Compare area and width of every order with the truth, summed over the scan."""
    found: Found = {}
    places = places_of_orders(scan)
    offset = np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1]
    border = np.maximum(*np.abs(offset)) == HALF
    images = {"truth": scan.truth, "raw": scan.counts, "denoised": answer}
    inside = np.pad(scan.valid, HALF)  # False off the frame
    for order in range(places.shape[1]):
        boxes = {name: np.zeros(border.shape) for name in images}
        for frame, sides in enumerate(places[:, order]):
            for place in np.round(sides).astype(int):
                y, x = place[:, None, None] + offset
                if (
                    (place >= 0).all()
                    and (place < scan.valid.shape).all()
                    and inside[y + HALF, x + HALF].all()
                ):
                    for name, image in images.items():
                        boxes[name] += image[frame][y, x]
        if boxes["truth"].sum() == 0:
            continue
        (area, width), *others = (area_and_width(box, border, offset) for box in boxes.values())
        photons, edge = boxes["truth"].sum(), boxes["truth"][border].sum()
        sigma = np.sqrt(photons + (border.size / border.sum()) ** 2 * edge)
        found[f"order {order + 1}: area, width"] = "; ".join(
            f"{name} {100 * (a / area - 1):+.1f} % ({(a - area) / sigma:+.1f} sigma), "
            f"{100 * (w / width - 1):+.1f} %"
            for name, (a, w) in zip(("raw", "denoised"), others, strict=True)
        )
    return found


def area_and_width(box: np.ndarray, border: np.ndarray, offset: np.ndarray) -> tuple[float, float]:
    """Return the counts above the border of a box, and their rms width in pixels."""
    above = box - box[border].mean()
    spread = (np.maximum(above, 0) * (offset**2).sum(axis=0)).sum()
    return float(above.sum()), float(np.sqrt(spread / np.maximum(above, 0).sum() / 2))


def free_place(scan: Simulation, half: int = 7) -> tuple[int, int]:
    """Return the darkest place (y, x) about which `half` pixels are valid."""
    mean = scan.truth.mean(axis=0, dtype=np.float64)
    boxes, use = (
        np.lib.stride_tricks.sliding_window_view(image, (2 * half + 1,) * 2)
        for image in (mean, scan.valid)
    )
    light = np.where(use.all(axis=(-2, -1)), boxes.sum(axis=(-2, -1)), np.inf)
    y, x = np.unravel_index(light.argmin(), light.shape)
    return int(y) + half, int(x) + half


def spot_in(answer: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """Return the photons above the surroundings at a place, for every frame."""
    y, x = place
    box = answer[:, y - 6 : y + 7, x - 6 : x + 7]
    inner = np.zeros(box.shape[1:], bool)
    inner[4:-4, 4:-4] = True
    return (box - box[:, ~inner].mean(axis=1)[:, None, None])[:, inner].sum(axis=1)


def patterns(checks: Checks) -> Found:
    """Look at peaks, and at the error bars of two kinds of pattern."""
    found: Found = {}
    for kind in ("saxs", "waxd"):
        scan = checks.scan(kind)
        made = checks.answered(kind, scan, bars={"sigma": True})
        answer = made.answers["bars"]
        found |= peaks(scan, answer) if kind == "saxs" else {}
        within = (np.abs(answer - scan.truth) < made.sigma["bars"])[:, scan.valid].mean()
        found[f"coverage of one sigma, {kind.upper()}, 1 photon/pixel"] = f"{100 * within:.1f} %"
    return found


def lone_spot(checks: Checks) -> Found:
    """Put a spot into one frame, and look for it there and in the others."""
    scan = checks.scan("saxs")
    place, frame = free_place(scan), len(scan.counts) // 2
    y, x = np.ogrid[: scan.valid.shape[0], : scan.valid.shape[1]]
    spot = np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / (2 * WIDTH**2))
    counts = scan.counts.astype(np.int32)
    counts[frame] += np.random.default_rng(SEED + 1).poisson(spot * SPOT / spot.sum())
    background = spot_in(scan.truth.astype(np.float64), place)
    counted = spot_in(counts.astype(np.float64), place)[frame] - background[frame]
    names = {"kept": "lone spot: kept of counted, most in others"}
    names["alone"] = "lone spot, --keep-significant 0"
    made = checks.answered(
        "lone spot", scan, counts=counts, kept={}, alone={"keep_significant": 0.0}
    )
    found = {}
    for way, name in names.items():
        photons = spot_in(made.answers[way], place) - background
        most = np.delete(photons, frame).max()
        found[name] = f"{photons[frame]:.1f} of {counted:.1f}, {most:.1f} photons"
    return found


def uneven_sides(checks: Checks) -> Found:
    """Look how much of a small asymmetry comes back."""
    scan = checks.scan("saxs", 3.0, 0.05)
    both = scan.valid & turn(scan.valid, scan.center, False)
    answer = checks.answered("uneven sides", scan).answers[""].astype(np.float64)
    slope = runner.asymmetry(answer, scan.truth.astype(np.float64), both, scan.center)
    return {"asymmetry of 5 % that comes back": f"{100 * (slope or 0):.0f} %"}


def no_symmetry(checks: Checks) -> Found:
    """Look for the bright side of a pattern without symmetry on its dark side."""
    scan, found = checks.scan("gisaxs"), {}
    dark = scan.valid & (scan.truth.mean(axis=0) < 0.3 * scan.truth.mean())
    for partner in ("auto", "channel"):
        made = checks.answered(f"no symmetry, {partner}", scan, {"thinning.partner": partner})
        excess = made.answers[""][:, dark].sum() / scan.truth[:, dark].sum() - 1
        found[f"no symmetry, partner {partner}: dark side over its truth"] = (
            f"{100 * excess:+.1f} %"
        )
    return found


def flat_field(checks: Checks) -> Found:
    """Look for structure where there is none."""
    scan = checks.scan("flat")
    made = checks.answered("flat field", scan, bars={"sigma": True})
    answer, sigma = made.answers["bars"][:, scan.valid], made.sigma["bars"][:, scan.valid]
    spread, bars = (
        100 * value / answer.mean() for value in (answer.std(), np.sqrt((sigma**2).mean()))
    )
    return {"flat field: rms of the answer, of its error bars": f"{spread:.2f} %, {bars:.2f} %"}


PARTS = (patterns, lone_spot, uneven_sides, no_symmetry, flat_field)


def main(given: list[str] | None = None) -> int:
    """Run the checks and write the page."""
    with runner.bench(runner.arguments(__doc__, "checks"), given) as bench:
        checks, found = Checks(bench), {}
        for part in PARTS:
            found |= part(checks)
        table = markdown.table(["check", "found"], [[name, value] for name, value in found.items()])
        bench.write("checks", steps=bench.options.steps, table=table, spot=SPOT, width=WIDTH)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
