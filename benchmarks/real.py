"""What answers must not do on real frames, one row each: seams, shadows, ghosts, halos, lost features.

Each row trains on a scan in which one thing is as it is on a detector, and measures that thing alone. Small
crops and few steps, so that all of it runs on two cores; `--only seams shadows` runs some, `--polar` with a
second network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

import smae_jax
from benchmarks import artefacts, cases, markdown, pictures, runner
from benchmarks.cases import SEED, Case
from benchmarks.runner import Bench, Options
from smae_jax.cautions import cautions, not_counts
from smae_jax.simulate import simulate

FILES = ("scan_mn23_12x1s.npz", "phantoms_muscle_512.npz", "muscle_p1f1_2x8ms.npz")
BLUR = 0.6
"""Sigma, in pixels, of a photon's light in a detector that integrates."""
HOT = 2759
"""Counts of the hot pixel."""
CONTRASTS = ((0.03, 0.1), (0.1, 0.3))
"""Of weak features: their fine part over the smooth one."""
TWO = " Each has a second network in polar coordinates (`--train.polar`)."
"""Said where it is so."""
Line = tuple[str, str, str]
"""What was measured, what was found, and what it should be."""


class Real:
    """Trains on small scans, and keeps the pictures."""

    def __init__(self, bench: Bench) -> None:
        """Remember where."""
        self.bench, self.panels = bench, dict[str, dict[str, np.ndarray]]()
        self.quick = bench.options.quick
        self.options: Options = {"train.polar": True} if bench.options.polar else {}

    def size(self, usual: int, quick: int = 64) -> int:
        """Return a side in pixels, or a number."""
        return quick if self.quick else usual

    def answer(
        self, name: str, case: Case, options: Options | None = None, **asked: Options
    ) -> dict[str, np.ndarray]:
        """Train on a case and answer it, in one way or several."""
        return self.train(name, case, options, **(asked or {"": {}})).answers

    def train(
        self, name: str, case: Case, options: Options | None = None, **asked: Options
    ) -> runner.Trained:
        """Train on a case and answer it in the ways that are asked for."""
        found = self.bench.train(name, case.data, self.options | (options or {}), asked=asked)
        assert found is not None
        print(f"{name}: {found.seconds:.0f} s", flush=True)
        return found

    def show(self, name: str, case: Case, answer: np.ndarray, frame: int = 0) -> None:
        """Keep one frame for the picture."""
        shown = {
            "counts": case.data.counts[frame],
            "answer": answer[frame],
            "truth": case.truth[frame],
        }
        self.panels[name] = {
            title: np.where(case.valid, image, np.nan) for title, image in shown.items()
        }


def thinned_scan(
    share: float,
    *,
    frames: int = 12,
    size: int = 256,
    lit: np.ndarray | None = None,
    folder: Path | None = None,
) -> Case:
    """Show a share of the photons of the middle of a real scan, less in its shadow; the rest judges.

    Args:
      share: of the photons.
      frames: of the scan.
      size: side in pixels.
      lit: share of the light that reaches a pixel, (size, size); None = all.
      folder: of the real data; None = beside the checkout.
    """
    with np.load((folder or cases.DATA) / FILES[0], allow_pickle=False) as stored:
        counts, valid = stored["crop"][:frames].astype(np.int64), stored["crop_mask"]
        center = [round(2 * c) / 2 for c in stored["center"] - stored["crop_origin"]]
    top, left = (int(c) - size // 2 for c in center)
    window = slice(top, top + size), slice(left, left + size)
    counts, valid = np.maximum(counts[:, *window], 0), valid[window]
    rng, lit = np.random.default_rng(SEED), np.ones((size, size)) if lit is None else lit
    counts = rng.binomial(np.where(valid, counts, 0), lit)
    shown = rng.binomial(counts, share)
    rate = share / (1 - share)
    return Case(
        name="frame of a real scan",
        group="real scan",
        photons=float(shown[:, valid].mean()),
        data=smae_jax.from_arrays(
            shown.astype(np.int32), valid=valid, center=(center[0] - top, center[1] - left)
        ),
        truth=(counts - shown) * rate,
        mask=valid,
        variance=(counts - shown) * rate**2,
    )


def changed(case: Case, truth: np.ndarray, *, valid: np.ndarray | None = None) -> Case:
    """Measure another truth, or through another mask, instead of a simulated scan's."""
    valid = case.valid if valid is None else valid
    counts = np.where(valid, np.random.default_rng(SEED + 5).poisson(truth), 0).astype(np.int32)
    data = smae_jax.from_arrays(counts, valid=valid, center=case.center)
    return Case(case.name, case.group, case.photons, data, truth, valid)


def unlit_corner(size: int, *, through: float = 0.003) -> np.ndarray:
    """Return what passes an aperture that shadows the upper left corner, (size, size)."""
    y, x = np.mgrid[:size, :size]
    inside = (0.3 * size - 0.8 * y - x) / np.hypot(0.8, 1)
    return through + (1 - through) / (1 + np.exp(np.clip(1.3 * inside, -50, 50)))


def seams(real: Real) -> Iterator[Line]:
    """Compare both sides of every border of mask, partner's mask and overlap."""
    size, few = real.size(160), real.size(16, 3)
    scan = simulate("waxd", frames=few, size=size, photons=0.3, gaps=False, center_offset=(3, -4))
    wide = scan.valid.copy()
    wide[size // 5 : size // 5 + size // 10] = False  # as wide as the gaps of large detectors
    wide[:, 5 * size // 8 : 5 * size // 8 + size // 10] = False
    truth = scan.truth.astype(np.float64)
    data = smae_jax.from_arrays(np.where(wide, scan.counts, 0), valid=wide, center=scan.center)
    made = {"simulated WAXD, 0.3 photons, wide gaps": Case("", "", 0.3, data, truth, wide)}
    if cases.there(FILES[0]):
        made["real scan, 0.28 photons"] = thinned_scan(
            0.0077, size=real.size(256), frames=real.size(12, 3)
        )
    for name, case in made.items():
        answer = real.answer(f"seams {name}", case)[""]
        real.show(f"seams: {name}", case, answer)
        worst, where, noise = 0.0, "", 0.0
        for side, mask in artefacts.sides_of_borders(case.valid, case.center).items():
            off, sigma = artefacts.step(answer, case.truth, case.data.counts, mask)
            yield f"{name}: {side}", f"{100 * off:+.1f} +- {100 * sigma:.1f} %", "1 % or 2 sigma"
            if abs(off) / max(sigma, 0.005) > abs(worst) / max(noise, 0.005):
                worst, where, noise = off, side, sigma
        yield (
            f"{name}: worst",
            f"{100 * worst:+.1f} +- {100 * noise:.1f} % ({where})",
            "1 % or 2 sigma",
        )


def shadows(real: Real) -> Iterator[Line]:
    """Look at rows that count nothing, and at an unlit corner of a scan and of one real frame."""
    size = real.size(128)
    lit = unlit_corner(size)
    rows = slice(35 * size // 100, 35 * size // 100 + 3)
    lit[rows] = 0
    plain = cases.simulated("saxs", 1.0, frames=real.size(64, 8), size=size)
    case = changed(plain, plain.truth * lit)
    answer = real.answer("shadows", case)[""]
    real.show("shadows", case, answer)
    dead = case.valid & (lit == 0)
    yield (
        "rows that count nothing",
        f"{artefacts.mean_of(answer, dead):.4f} counts a pixel",
        "<= 0.001",
    )
    dark = case.valid & (lit > 0) & (lit < 0.01)
    found, true = (artefacts.mean_of(image, dark) for image in (answer, case.truth))
    yield "unlit corner of a scan", f"{found:.4f} where {true:.4f} are expected", "within 0.001"
    if cases.there(FILES[0]):
        size = real.size(256)
        lit = unlit_corner(size)
        case = thinned_scan(0.08, frames=1, size=size, lit=lit)
        answer = real.answer("unlit corner", case)[""]
        real.show("unlit corner of one real frame", case, answer)
        dark = case.valid & (lit < 0.01)
        found, shown, rest = (
            artefacts.mean_of(image, dark) for image in (answer, case.data.counts, case.truth)
        )
        yield (
            "unlit corner of one real frame",
            f"{found:.4f} where {shown:.4f} were counted, and {rest:.4f} of the held-out photons",
            "<= 1.1 times the held-out",
        )


def ghosts(real: Real) -> Iterator[Line]:
    """Look for the other frames where a frame is below a tenth of the scan's brightest."""
    case = cases.simulated("saxs", 1.0, frames=real.size(64, 8), size=real.size(128))
    ways = {"combined": {}, "frames apart": {"combine": False}}
    answers = real.answer("ghosts", case, **ways)
    darkest = int(np.argmin(case.truth.mean(axis=(1, 2))))
    real.show("ghosts", case, answers["combined"], darkest)
    for way, answer in answers.items():
        found = artefacts.ghosts(answer, case.truth, case.valid, 0.3 if real.quick else 0.1)
        quality = runner.score(case, answer)["psnr_db"]
        yield (
            f"ghosts, {way}",
            f"excess {found['excess']:+.4f}, rms {found['rms']:.4f} where {found['truth']:.3f} are expected; "
            f"{quality:.2f} dB",
            "excess below the rms",
        )


def hot(real: Real) -> Iterator[Line]:
    """Put a hot pixel into one frame, and look what changes elsewhere."""
    case = cases.simulated("saxs", 1.4, frames=real.size(16, 8), size=real.size(96))
    size = case.valid.shape[0]
    place = (3, size // 4, size // 3)
    with_hot = case.data.counts.copy()
    with_hot[place] = HOT
    data = smae_jax.from_arrays(with_hot, valid=case.valid, center=case.center)
    asked = {"hot pixel": data, "hot pixel, without": case.data}  # one training twice, two answers
    answers = [
        real.bench.train(name, data, real.options, answered=what) for name, what in asked.items()
    ]
    changed, without = (found.answers[""] for found in answers if found is not None)
    sigma = float(np.sqrt(np.nanmedian(without)))
    for where, change in artefacts.influence(changed, without, place, case.center).items():
        yield f"one hot pixel, {where}", f"{change / sigma:.4f} of the photons' sigma", "<= 0.1"


def features(real: Real) -> Iterator[Line]:
    """Measure how much of the weak features of real muscle patterns comes back."""
    if not cases.there(FILES[1]):
        return
    for share in (0.3,) if real.quick else (0.1, 0.3, 3.0):
        case = cases.muscle(share, repeats=real.size(8, 2), size=real.size(256, 96))
        found = real.train(f"features {share:g}", case, with_bars={"sigma": True})
        answer, sigma = (
            images["with_bars"][case.frames] for images in (found.answers, found.sigma)
        )
        truth, counts = case.truth[case.frames], case.asked.counts.astype(float)
        if not real.panels.get("weak features"):
            shown = {"counts": counts[0], "answer": answer[0], "truth": truth[0]}
            real.panels["weak features"] = {
                title: np.where(case.mask, image, np.nan) for title, image in shown.items()
            }
        blurred = np.stack([gaussian_filter(one, 1.5) for one in counts])
        photons = f"{truth[:, case.mask].mean():.2f} photons"
        for low, high in CONTRASTS:
            features = artefacts.Features.of(truth, case.mask, low, high)
            told, rest = features.determined(), features.where
            name = f"weak features of {100 * low:.0f}-{100 * high:.0f} %, {photons}"
            yield f"{name}: all", _slopes(features, rest, answer, blurred), ""
            if told[0].sum() >= 100:
                share_told = 100 * told.sum() / rest.sum()
                yield (
                    f"{name}: the {share_told:.0f} % that eight frames determine",
                    _slopes(features, told, answer, blurred),
                    ">= 0.9",
                )
            covered = np.mean((np.abs(answer - truth) <= sigma)[rest & ~told])
            yield f"{name}: elsewhere", f"one sigma covers {100 * covered:.0f} %", "68 %"


def simulated_features(real: Real) -> Iterator[Line]:
    """Measure how much of the weak features of dark simulated frames comes back."""
    for kind in ("waxd", "saxs"):
        case = cases.simulated(kind, 0.1, frames=real.size(64, 8), size=real.size(128))
        answer = real.answer(f"features {kind}", case)[""]
        blurred = np.stack([gaussian_filter(one, 1.5) for one in case.data.counts.astype(float)])
        for (low, high), target in zip(CONTRASTS, (0.7, 0.9), strict=True):
            features = artefacts.Features.of(case.truth, case.valid, low, high)
            name = f"weak features of {100 * low:.0f}-{100 * high:.0f} %, simulated {kind.upper()}"
            yield (
                f"{name}, 0.1 photons",
                _slopes(features, features.where, answer, blurred),
                f">= {target}",
            )


def _slopes(
    features: artefacts.Features, where: np.ndarray, answer: np.ndarray, blurred: np.ndarray
) -> str:
    own, filtered = (features.slope(image, where) for image in (answer, blurred))
    return f"slope {own:.2f} (Gaussian of 1.5 pixels {filtered:.2f})"


def rings(real: Real) -> Iterator[Line]:
    """Follow sharp rings whose centre lies beside that of the halo."""
    size = real.size(160, 96)
    middle = (size - 1) / 2
    of_rings, radii = (middle, middle + 0.75), (0.2 * size, 0.35 * size)
    y, x = np.mgrid[:size, :size] - middle
    halo = 3 + 20 * np.exp(-(y**2 + x**2) / (0.2 * size) ** 2)
    distance = np.hypot(y, x - 0.75)
    truth = halo + sum(25 * np.exp(-((distance - radius) ** 2) / 2) for radius in radii)
    truth = np.asarray(truth)[None]
    counts = np.random.default_rng(SEED).poisson(truth).astype(np.int32)
    data = smae_jax.from_arrays(counts, center=(middle, middle))
    case = Case("", "", float(truth.mean()), data, truth, np.ones((size, size), bool))
    for rule in ("average", "direct"):
        answer = real.answer(
            f"rings {rule}", case, {"thinning.partner": "channel", "thinning.rule": rule}
        )[""]
        shifts, widths = [], []
        for radius in radii:
            for side in (1, -1):
                (place, width), (true, true_width) = (
                    artefacts.ring(image[0], of_rings, radius, side) for image in (answer, truth)
                )
                shifts.append(abs(place - true))
                widths.append(width / true_width - 1)
        yield (
            f"rings beside the halo's centre, {rule}",
            f"moved by up to {max(shifts):.2f} pixel, {100 * max(widths, key=abs):+.1f} % wide",
            "0.1 pixel, 3 %",
        )


def single(real: Real) -> Iterator[Line]:
    """Hold single real frames against the best Gaussian of them and of their average with the turned one."""
    made = []
    if cases.there(FILES[0]):
        shares = (0.08,) if real.quick else (0.02, 0.08, 0.3)
        made += [thinned_scan(share, frames=1, size=real.size(256)) for share in shares]
    if cases.there(FILES[2]):
        made.append(one_of_two())
    for case in made:
        smooth = gaussian_filter(case.truth[0], 2.0) / np.maximum(
            gaussian_filter(case.mask.astype(float), 2), 0.1
        )
        case = dataclasses.replace(case, expected=np.maximum(smooth, 0.01)[None])
        name = f"one {case.name} of {case.photons:.1f} photons"
        answer = real.answer(name, case)[""]
        real.show(name, case, answer)
        own, rows = runner.score(case, answer), runner.filtered(case)
        scores = {
            way: runner.score(case, image) for way, (_, image) in rows.items() if "Gaussian" in way
        }
        for key in ("plain", "weighted"):
            best = min(scores, key=lambda way: scores[way][key])
            yield (
                f"{name}, {key} score",
                f"{own[key]:.5f} ({best}: {scores[best][key]:.5f})",
                "at most 5 % above",
            )


def one_of_two(folder: Path | None = None) -> Case:
    """Show the first of two real muscle frames; the second judges."""
    with np.load((folder or cases.DATA) / FILES[2], allow_pickle=False) as stored:
        counts, valid = stored["crop"].astype(np.int32), stored["crop_mask"]
        center = [round(2 * c) / 2 for c in stored["center"] - stored["crop_origin"]]
    counts = np.where(valid, counts, 0)
    return Case(
        name="muscle frame (P1F1)",
        group="muscle frame (P1F1)",
        photons=float(counts[0, valid].mean()),
        data=smae_jax.from_arrays(counts[:1], valid=valid, center=tuple(center)),
        truth=counts[1:].astype(np.float64),
        mask=valid,
        variance=counts[1:].astype(np.float64),
        matched=True,
    )


def integrating(real: Real) -> Iterator[Line]:
    """See whether a detector that integrates is noticed: three values a photon, blurred over neighbours.

    Its answers are held against what it would show without noise, beside its values.
    """
    for kind in ("saxs", "waxd"):
        case = cases.simulated(kind, 10.0, frames=real.size(8, 4), size=real.size(96))
        photons, truth = case.data.counts.astype(float), case.truth
        values = np.stack([gaussian_filter(3 * one, BLUR) for one in photons])
        values = np.where(case.valid, np.rint(values), 0).astype(np.int32)
        truth = np.stack([gaussian_filter(one, BLUR) for one in truth])
        data = smae_jax.from_arrays(values, valid=case.valid, center=case.center)
        said = [line for line in (*cautions(data), *not_counts(data)) if "than photons do" in line]
        name = f"{kind.upper()}, a detector that integrates"
        yield f"{name}, is noticed", "yes" if said else "no", "yes"
        shown = Case(case.name, case.group, case.photons, data, truth, case.valid)
        asked: dict[str, Options] = {"": {}, "network alone": {"keep_measured": False}}
        found = real.answer(name, shown, {"train.polar": False}, **asked)  # photons only
        bright = truth > np.quantile(truth[:, case.valid], 0.9)
        for place, where in (("below", ~bright), ("above", bright)):
            use = where & case.valid
            raw, *errors = (
                float(np.mean((one[use] / 3 - truth[use]) ** 2))
                for one in (data.counts, found[""], found["network alone"])
            )
            yield (
                f"{name}, {place} its brightest tenth: squared error",
                f"{errors[0] / raw:.3f} of the values' {raw:.3g} photons^2 (network alone "
                f"{errors[1] / raw:.3f})",
                "at most 1",
            )


ROWS: dict[str, Callable[[Real], Iterator[Line]]] = {
    row.__name__: row
    for row in (
        seams,
        shadows,
        ghosts,
        hot,
        features,
        simulated_features,
        rings,
        single,
        integrating,
    )
}


def main(given: list[str] | None = None) -> int:
    """Measure the rows and write the page."""
    parser = runner.arguments(__doc__ or "", "real", steps=300)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), help="these rows")
    parser.add_argument("--polar", action="store_true", help="with a second network")
    with runner.bench(parser, given) as bench:
        real, lines = Real(bench), list[Line]()
        page = "real_frames_polar" if bench.options.polar else "real_frames"
        for name in bench.options.only:  # half an hour: the page grows with every row
            for line in ROWS[name](real):
                print(" | ".join(line), flush=True)
                lines.append(line)
            if real.panels:
                pictures.images(
                    bench.images / f"{page}.png", list(real.panels.values()), list(real.panels)
                )
            table = markdown.table(["", "measured", "target"], [list(line) for line in lines])
            image = f"![Counts, answers and truth](../images/{page}.png)"
            bench.write(
                page,
                template="real_frames",
                networks=TWO if bench.options.polar else "",
                table=table,
                image=image if real.panels else "",
                steps=bench.options.steps,
                hot=HOT,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
