"""Repeated spectra, X-ray fluorescence and Raman, beside simple filters; and many spectra trained at once.

Four of 32 spectra of 0.1 s are used; the mean of the other 28 only scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter

import smae_jax
from benchmarks import cases, markdown, peaks, runner
from benchmarks.markdown import Rows
from benchmarks.runner import Bench, Options
from smae_jax.config import TrainConfig
from smae_jax.config_file import load
from smae_jax.figures.spectrum import spectrum_figure
from smae_jax.inference import Predictor
from smae_jax.losses import poisson
from smae_jax.measurements import Measurements
from smae_jax.metrics import pixel_deviance, psnr
from smae_jax.noise import measure_noise
from smae_jax.placing import Placed, draw
from smae_jax.run.build import build_network, noise_in_words
from smae_jax.run.shipped import shipped_config
from smae_jax.training import make_optimizer, make_schedule, step_keys

LEAST = 1e-3
"""Counts below which no estimate is taken to be when its likelihood is computed."""
PEAKS = 10
"""Strongest peaks whose areas and widths are compared."""
TWO_SIGMA, ONE_PERCENT, WIDTH = 2.0, 0.01, 0.03
FILES = ("xrf_spectra.csv", "raman_repeats.npz")
RANGES = [(2.5, 7.5), (7.5, 10.5), (14.5, 18.5)]
Filters = Mapping[str, Callable[[np.ndarray], Any]]

GAUSSIANS: Filters = {
    f"Gaussian, sigma {s:.1f}": lambda mean, s=s: gaussian_filter1d(mean, s)
    for s in np.arange(0.3, 8, 0.1)
}
SAVITZKY_GOLAY: Filters = {
    f"Savitzky-Golay, {window} channels, order {order}": (
        lambda mean, window=window, order=order: savgol_filter(mean, window, order)
    )
    for order in (2, 3, 4, 5, 6)
    for window in range(5, 81, 2)
    if window > order
}


def decibels(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Return 20 log10(max of the truth / rms error)."""
    return psnr(estimate, truth, np.ones(truth.shape, bool), float(truth.max()))


def deviance(estimate: np.ndarray, spectra: np.ndarray) -> float:
    """Return the mean Poisson deviance per channel of spectra (repeats, channels) from an estimate."""
    return float(pixel_deviance(estimate, spectra, floor=LEAST).mean())


def best_of(
    filters: Filters, mean: np.ndarray, score: Callable[[np.ndarray], float]
) -> tuple[str, np.ndarray]:
    """Return the filter with the highest score; it is chosen with the answer at hand."""
    made = {name: np.asarray(smooth(mean)) for name, smooth in filters.items()}
    name = max(made, key=lambda name: score(made[name]))
    return name, made[name]


def fluorescence_row(estimate: np.ndarray, every: np.ndarray, *, used: int = 4) -> dict[str, Any]:
    """Score an estimate made of `used` of the first four of all spectra, (32, channels)."""
    others = every[4:]
    truth = others.mean(axis=0)
    places, top = peaks.strongest(truth, PEAKS)
    right, found = (peaks.fit(one, truth, places) for one in (truth, estimate))
    share = np.sqrt(1 / used + 1 / len(others))  # photons of both
    areas, widths = np.abs(found.areas - right.areas)[top], np.abs(found.widths - right.widths)[top]
    narrow = WIDTH * right.widths[top]
    area_errors = TWO_SIGMA * share * right.area_errors[top]
    width_errors = TWO_SIGMA * share * right.width_errors[top]
    in_errors = int((widths <= np.maximum(narrow, width_errors)).sum())
    good = int((areas <= np.maximum(ONE_PERCENT * right.areas[top], area_errors)).sum())
    return {
        "psnr_db": decibels(estimate, truth),
        "deviance": deviance(estimate, others),
        "total": float(100 * (estimate.sum() * 4 / every[:4].sum() - 1)),
        "negative": str(int((estimate < 0).sum())),
        "areas": f"{good}/{PEAKS}",
        "widths": f"{int((widths <= narrow).sum())}/{PEAKS} ({in_errors})",
    }


def took(found: runner.Trained) -> dict[str, str]:
    """Return seconds as steps + the rest."""
    return {"seconds": f"{found.steps_seconds:.1f} + {found.seconds - found.steps_seconds:.1f}"}


def fluorescence(
    bench: Bench, strategies: tuple[str, ...] = ("X:1", "1:X")
) -> tuple[Rows, list[runner.Trained]]:
    """Score four fluorescence spectra: raw, filtered, denoised with several seeds."""
    case = cases.xrf()
    every = cases.xrf(None).data.counts.astype(np.float64)
    mean, truth = every[:4].mean(axis=0), every[4:].mean(axis=0)
    rows: Rows = {
        "one spectrum": fluorescence_row(every[0], every, used=1),
        "mean of four": fluorescence_row(mean, every),
    }
    for filters in (GAUSSIANS, SAVITZKY_GOLAY):
        name, made = best_of(filters, mean, lambda made: decibels(made, truth))
        rows[f"best {name}"] = fluorescence_row(made, every)
    trained = []
    for strategy in strategies:
        for seed in bench.options.seeds:
            options = {**length(bench, "spectra"), "noise2noise.strategy": strategy, "seed": seed}
            name = f"`noise2noise` {strategy}, seed {seed}"
            found = bench.train(f"xrf-{strategy}-{seed}", case.data, options, config="spectra")
            assert found is not None
            rows[name] = fluorescence_row(found.answers[""][0], every) | took(found)
            bench.say(case, name, rows[name])
            trained.append(found)
    return rows, trained


def length(bench: Bench, config: str) -> Options:
    """Return the steps of a shipped configuration, unless others were asked for."""
    steps = bench.options.steps if bench.options.steps != bench.options.default_steps else None
    return {"train.steps": steps or load(shipped_config(config), TrainConfig).train.steps}


def floors(every: np.ndarray) -> dict[str, float]:
    """Return the deviance of the 28 spectra about their own mean and about the truth behind them."""
    others = every[4:]
    truth = gaussian_filter1d(every.mean(axis=0), 1.0)
    drawn = np.random.default_rng(0).poisson(truth, (len(others), len(truth)))
    cost = deviance(truth, drawn) - deviance(drawn.mean(axis=0), drawn)
    own = deviance(others.mean(axis=0), others)
    return {"own": own, "floor": own + cost}


def peak_facts(answer: np.ndarray, every: np.ndarray) -> dict[str, Any]:
    """Say how much wider the peaks are than those of the mean, largest first, and how many are uncertain."""
    mean, truth = every[:4].mean(axis=0), every[4:].mean(axis=0)
    places, top = peaks.strongest(truth, PEAKS)
    right, own = (peaks.fit(one, truth, places) for one in (truth, mean))
    order = top[np.argsort(-right.areas[top])]
    _, smooth = best_of(GAUSSIANS, mean, lambda made: decibels(made, truth))
    lines = []
    for name, estimate in (("ours", answer), ("the Gaussian", smooth)):
        wider = 100 * (peaks.fit(estimate, truth, places).widths / own.widths - 1)[order]
        lines.append(f"- {name}: " + ", ".join(f"{value:+.0f}" for value in wider))
    errors = right.width_errors * np.sqrt(1 / 4 + 1 / len(every[4:]))
    uncertain = int((errors > WIDTH * right.widths)[top].sum())
    return {"wider": "\n".join(lines), "uncertain": uncertain}


def raman(bench: Bench) -> tuple[Rows, str]:
    """Score five Raman spectra against the mean at the highest power, up to a factor; the noise in words."""
    case = cases.raman()
    low, reference = case.data.counts.astype(np.float64), case.truth[0][case.mask]
    mean = low.mean(axis=0)

    def score(estimate: np.ndarray) -> float:
        kept = estimate[case.mask]
        return decibels((kept * reference).sum() / (kept**2).sum() * kept, reference)

    made = {"one spectrum": low[0], "mean of five": mean}
    for filters in (GAUSSIANS, SAVITZKY_GOLAY):
        name, smooth = best_of(filters, mean, score)
        made[f"best {name}"] = smooth
    rows: Rows = {name: {"psnr_db": score(estimate)} for name, estimate in made.items()}
    best, answers = max(row["psnr_db"] for row in rows.values()), []
    for seed in bench.options.seeds:
        options = {**length(bench, "raman"), "seed": seed}
        found = bench.train(f"raman-{seed}", case.data, options, config="raman")
        assert found is not None
        answers.append(found.answers[""][0])
        name = f"`noise2noise` X:1, seed {seed}"
        rows[name] = {"psnr_db": score(answers[-1])} | took(found)
        bench.say(case, name, rows[name])
    rows["mean of these answers"] = {"psnr_db": score(np.mean(answers, axis=0))}
    rows = {name: row | {"beside": row["psnr_db"] - best} for name, row in rows.items()}
    noise = measure_noise(case.data.counts, np.ones_like(case.data.counts))
    return rows, noise_in_words(noise, measured=True).capitalize()


def each_alone(data: Measurements, *, steps: int) -> tuple[float, np.ndarray]:
    """Train a network of its own on each of some single spectra, all in one `jax.vmap`, by the nine calls.

    Returns:
      (seconds of the training, compilation apart; answers (spectra, channels)).
    """
    config = load(shipped_config("spectra"), TrainConfig)
    method = smae_jax.Thinning(augment=config.data.augment).settled(data)
    how = smae_jax.Placing(patch=0, held_out="none")
    placed = [smae_jax.place(data.take([k]), method, how=how) for k in range(data.frames)]
    scale = float(np.mean([one.scale for one in placed]))
    net = build_network(config, method, axes=1, centred=False, scale=scale)
    schedule = make_schedule("cosine", learning_rate=config.peak_rate, steps=steps)
    optimizer = make_optimizer("adam", schedule)
    step = smae_jax.make_step(
        net, method, poisson, optimizer, average_decay=config.train.average_decay
    )

    def whole(placed: Placed, key: jax.Array) -> Any:
        def body(_: Any, state: Any) -> Any:
            draw_key, pair_key = step_keys(key, state.step)
            return step(state, pair_key, draw(draw_key, placed, batch_size=2))[0]

        return jax.lax.fori_loop(0, steps, body, step.begin(key, data.spatial)).average

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *placed)
    keys = jax.random.split(jax.random.key(0), data.frames)
    compiled = jax.jit(jax.vmap(whole)).lower(stacked, keys).compile()
    start = time.perf_counter()
    parameters = jax.block_until_ready(compiled(stacked, keys))
    seconds = time.perf_counter() - start
    predictor, answers = Predictor(net, method), []
    for k in range(data.frames):
        own = jax.tree.map(lambda leaf, k=k: leaf[k], parameters)
        answers.append(predictor(own, data.take([k]), scale=placed[k].scale).counts[0])
    return seconds, np.stack(answers)


def spread(
    estimates: np.ndarray,
    truths: np.ndarray,
    seconds: float | None = None,
    whole: float | None = None,
) -> dict[str, Any]:
    """Score many spectra, each against its truth: mean and worst, and what they took."""
    each = [decibels(one, truth) for one, truth in zip(estimates, truths, strict=True)]
    row: dict[str, Any] = {"score": f"{np.mean(each):.2f} ({np.min(each):.2f})"}
    if seconds is not None:
        rest = "" if whole is None else f" ({whole:.1f})"
        share = (whole or seconds) / len(each)
        row |= {"seconds": f"{seconds:.2f}{rest}", "each": f"{share:.3f}"}
    return row


def at_once(bench: Bench) -> Rows:
    """Train on single spectra: a network each, one alone and all in one `vmap`, or one for all."""
    case, rows = cases.xrf(None), {}
    options = {**length(bench, "spectra"), "method": "thinning"}
    for count in (1, 2 if bench.options.quick else case.data.frames):
        part = case.data.take(slice(count))
        seconds, answers = each_alone(part, steps=options["train.steps"])
        rows[f"{count}, a network each"] = spread(answers, case.truth[:count], seconds)
    found = bench.train("xrf-all", case.data, options, config="spectra")
    assert found is not None
    rows[f"{case.data.frames}, one network for all"] = spread(
        found.answers[""], case.truth, found.steps_seconds, found.seconds
    )
    return rows


def of_map(bench: Bench, *, own: int = 6) -> Rows:
    """Denoise a simulated map: filtered, by one network for all spectra, and by a network each for some."""
    case = cases.spectra_map(cases.xrf(None).data.counts.mean(axis=0, dtype=np.float64))
    counts, truth = case.data.counts.astype(np.float64), case.truth
    rows: Rows = {"as counted": spread(counts, truth)}

    def mean_of(made: np.ndarray) -> float:
        return float(np.mean([decibels(*pair) for pair in zip(made, truth, strict=True)]))

    widths = {f"{s:g}": lambda c, s=s: gaussian_filter1d(c, s) for s in np.arange(1, 10, 0.5)}
    name, made = best_of(widths, counts, mean_of)
    rows[f"best Gaussian along energy, sigma {name}"] = spread(made, truth)
    options = {**length(bench, "spectra"), "method": "thinning"}
    found = bench.train("map", case.data, options, config="spectra")
    assert found is not None
    answers = found.answers[""]
    rows["one network for all"] = spread(answers, truth, found.steps_seconds, found.seconds)
    seconds, alone = each_alone(case.data.take(slice(own)), steps=options["train.steps"])
    rows[f"a network each, {own} of them"] = spread(alone, truth[:own], seconds)
    rows[f"one network for all, the same {own}"] = spread(answers[:own], truth[:own])
    return rows


def main(given: list[str] | None = None) -> int:
    """Run everything and write page and picture."""
    parser = runner.arguments(__doc__, "spectra")
    parser.add_argument("--seeds", nargs="+", type=int, default=tuple(range(5)))
    with runner.bench(parser, given) as bench:
        if not cases.there(*FILES):
            return 0
        bench.options.seeds = bench.options.seeds[: 1 if bench.options.quick else None]
        rows, trained = fluorescence(bench)
        raman_rows, noise = raman(bench)
        every = cases.xrf(None).data
        spectra, first = every.counts.astype(np.float64), trained[0]
        figure = spectrum_figure(
            every.take(slice(4)),
            first.answers[""][0],
            first.sigma[""][0] if first.sigma else None,
            reference={"mean of 28 others": spectra[4:].mean(axis=0)},
            ranges=RANGES,
            title="Four fluorescence spectra of 0.1 s, and what Noise2Noise makes of them",
        )
        bench.images.mkdir(parents=True, exist_ok=True)
        figure.savefig(bench.images / "spectra.png", dpi=110)
        keys = {"psnr_db": "PSNR", "deviance": "deviance", "total": "total", "negative": "negative"}
        keys |= {"areas": "areas", "widths": "widths", "seconds": "seconds"}
        forms = {"deviance": "{:.4f}", "total": "{:+.2f} %", "beside": "{:+.2f}"}
        many = {
            "seconds": "seconds (everything)",
            "each": "a spectrum",
            "score": "PSNR, mean (worst)",
        }
        ramans = {"psnr_db": "PSNR", "beside": "beside the best filter", "seconds": "seconds"}
        bench.write(
            "spectra",
            rows=markdown.scores("", rows, keys, forms),
            at_once=markdown.scores("spectra", at_once(bench), many),
            map=markdown.scores("", of_map(bench), many),
            raman=markdown.scores("", raman_rows, ramans, forms),
            noise=noise,
            least=LEAST,
            peaks=PEAKS,
            side=cases.SIDE,
            channels=spectra.shape[1],
            **peak_facts(first.answers[""][0], spectra),
            **floors(spectra),
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
