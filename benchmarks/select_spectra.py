"""Choose the default settings for spectra by repeats that were left out: no reference is ever read.

Each setting is trained on all used repeats but one, with every one left out in turn and with several seeds,
and its answer is judged by the repeat that it has not seen. Of the 32 fluorescence spectra four are read,
of the Raman spectra the five at the lowest laser power.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from benchmarks import cases, markdown, runner
from benchmarks.runner import Bench, Options
from benchmarks.spectra import FILES, GAUSSIANS, LEAST, SAVITZKY_GOLAY, Filters, length
from smae_jax.measurements import Measurements
from smae_jax.metrics import pixel_deviance
from smae_jax.noise import shared_variance

SHARE = 0.5
"""How much of the common noise is added again to what is trained on; twice of it is taken off the judge."""
ELASTIC = 25.0
"""Half width of the laser's own line in 1/cm: it moves from repeat to repeat by more than its noise."""
FLUORESCENCE: dict[str, Options] = {
    "defaults": {},
    "75 steps": {"train.steps": 75},
    "300 steps": {"train.steps": 300},
    "600 steps": {"train.steps": 600},
    "learning rate 3e-3": {"train.learning_rate": 3e-3},
    "learning rate 3e-2": {"train.learning_rate": 3e-2},
    "2 examples a step": {"train.batch_size": 2},
    "8 examples a step": {"train.batch_size": 8},
    "a tenth held out": {"train.validation_share": 0.1},
    "two fifths held out": {"train.validation_share": 0.4},
    "average over 10 steps": {"train.average_decay": 0.9},
    "average over 50 steps": {"train.average_decay": 0.98},
    "strategy 1:X": {"noise2noise.strategy": "1:X"},
    "mean of the answers": {"noise2noise.prediction": "average"},
    "no mirror images": {"data.augment": "none", "predict.ensemble": "none"},
    "4 features": {"dncnn.features": 4},
    "16 features": {"dncnn.features": 16},
    "2 layers": {"dncnn.layers": 2},
    "5 layers": {"dncnn.layers": 5},
    "resnet": {"model": "resnet"},
    "msd": {"model": "msd"},
    "head root": {"rate.head": "root"},
    "with correction": {"rate.correction": True},
    "mean squared error": {"loss": "mse"},
}
"""Settings beside configs/spectra.toml, by name."""
AS_SPECTRA = {"steps": 150, "batch_size": 4, "learning_rate": 1e-2, "average_decay": 0.95}
RAMAN: dict[str, Options] = {
    "defaults": {},
    "as spectra.toml": {f"train.{name}": value for name, value in AS_SPECTRA.items()},
    "400 steps": {"train.steps": 400},
    "800 steps": {"train.steps": 800},
    "learning rate 1e-2": {"train.learning_rate": 1e-2},
    "strategy 1:X": {"noise2noise.strategy": "1:X"},
    "mean squared error": {"loss": "mse"},
}
"""Settings beside configs/raman.toml, by name."""


@dataclasses.dataclass(frozen=True)
class Folds:
    """Repeats, each left out once.

    Attributes:
      parts: what is trained on, one for each fold.
      judges: what judges, (folds, channels), float64.
      poisson: whether the judge counts photons: Poisson deviance; else the mean square.
      judged: channels that count, bool, (channels,).
    """

    parts: list[Measurements]
    judges: np.ndarray
    poisson: bool
    judged: np.ndarray

    def scores(self, answers: np.ndarray) -> np.ndarray:
        """Score answers (folds, seeds, channels): deviance or mean square, (folds, seeds), less is better."""
        judges, answers = self.judges[:, None, self.judged], answers[..., self.judged]
        if self.poisson:
            return pixel_deviance(answers, judges, floor=LEAST).mean(axis=-1)
        return ((answers - judges) ** 2).mean(axis=-1)


def folds_of_counts(data: Measurements) -> Folds:
    """Leave each of some photon-counted repeats out in turn."""
    parts = [data.take(np.delete(np.arange(data.frames), out)) for out in range(data.frames)]
    every = np.ones(data.spatial, bool)
    return Folds(parts, data.counts.astype(np.float64), poisson=True, judged=every)


def folds_with_common_noise(data: Measurements, judged: np.ndarray, *, seed: int = 0) -> Folds:
    """Leave each repeat out in turn where all share some noise, which would judge in its own favour.

    Fresh noise e as large as the common one makes both sides independent: SHARE * e is added to all that is
    trained on, e / SHARE is taken off the judge.

    Reference:
      Pang et al. 2021, "Recorrupted-to-Recorrupted", eq. 6.
    """
    size = np.sqrt(shared_variance(data.counts))
    fresh = size * np.random.default_rng(seed).standard_normal(data.counts.shape)
    parts = []
    for out in range(data.frames):
        counts = (data.counts + SHARE * fresh[out]).astype(np.float32)
        noisier = dataclasses.replace(data, counts=counts)
        parts.append(noisier.take(np.delete(np.arange(data.frames), out)))
    return Folds(parts, data.counts - fresh / SHARE, poisson=False, judged=judged)


def filters(folds: Folds) -> dict[str, np.ndarray]:
    """Return the scores (folds, 1) of the mean and of the filters at their best for these judges."""
    means = np.stack([part.counts.mean(axis=0, dtype=np.float64) for part in folds.parts])[:, None]

    def best(filters: Filters) -> np.ndarray:
        made = (folds.scores(np.asarray(smooth(means))) for smooth in filters.values())
        return min(made, key=np.mean)

    return {
        "mean of the others": folds.scores(means),
        "best Gaussian": best(GAUSSIANS),
        "best Savitzky-Golay": best(SAVITZKY_GOLAY),
    }


def compared(
    bench: Bench, folds: Folds, config: str, changes: dict[str, Options], form: str
) -> str:
    """Score every setting: difference from the defaults with its error, standard deviation between seeds."""
    head = ["", "deviance" if folds.poisson else "mean square"]
    head += ["beside defaults", "between seeds", "seconds"]
    lines = [[name, f"{s.mean():{form}}", "", "", ""] for name, s in filters(folds).items()]
    base: np.ndarray | None = None
    for name, change in changes.items():
        answers, seconds = [], 0.0
        for fold, part in enumerate(folds.parts):
            for seed in bench.options.seeds:
                options = {**length(bench, config), **change, "seed": seed}
                place = f"{config}-{name}-{fold}-{seed}"
                found = bench.train(place, part, options, config=config)
                assert found is not None
                answers.append(found.answers[""][0].astype(np.float64))
                seconds += found.seconds
        shape = len(folds.parts), len(bench.options.seeds), -1
        scores = folds.scores(np.stack(answers).reshape(shape))
        base = scores if base is None else base
        off = scores - base
        beside = f"{off.mean():+{form}} +- {off.std(ddof=1) / np.sqrt(off.size):{form}}"
        spread = f"{scores.std(axis=1, ddof=1).mean():{form}}" if scores.shape[1] > 1 else ""
        beside = "" if name == "defaults" else beside
        cells = [f"{scores.mean():{form}}", beside, spread, f"{seconds / scores.size:.1f}"]
        lines.append([name, *cells])
        print(f"{config}: {', '.join(lines[-1])}", flush=True)
    return markdown.table(head, lines)


def main(given: list[str] | None = None) -> int:
    """Compare all settings and write the page."""
    parser = runner.arguments(__doc__, "select_spectra")
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1))
    with runner.bench(parser, given) as bench:
        if not cases.there(*FILES):
            return 0
        some = 2 if bench.options.quick else None
        data = cases.raman().data
        assert data.axis is not None
        raman = folds_with_common_noise(data, np.abs(data.axis.values) > ELASTIC)
        tables = {}
        for name, folds, changes, form in (
            ("spectra", folds_of_counts(cases.xrf().data), FLUORESCENCE, ".4f"),
            ("raman", raman, RAMAN, ".0f"),
        ):
            chosen = dict(list(changes.items())[:some])
            tables[name] = compared(bench, folds, name, chosen, form)
        seeds = " and ".join(map(str, bench.options.seeds))
        bench.write("spectra_selection", seeds=seeds, share=SHARE, elastic=ELASTIC, **tables)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
