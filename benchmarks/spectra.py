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
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter1d
from scipy.signal import savgol_filter

from benchmarks import peaks, spectra_map
from benchmarks.spectra_report import LEAST, PEAKS, Row, page
from smae_jax import metrics, models, training
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
from smae_jax.metrics import pixel_deviance
from smae_jax.noise import measure_noise

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
SEEDS = range(5)
TWO_SIGMA, ONE_PERCENT, WIDTH = 2.0, 0.01, 0.03


def silent(line: str) -> None:
    """Say nothing."""
    del line


def deviance(estimate: np.ndarray, spectra: np.ndarray) -> float:
    """Return the mean Poisson deviance per channel of spectra (repeats, channels) from an estimate."""
    return float(pixel_deviance(estimate, spectra, floor=LEAST).mean())


def psnr(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Return 20 log10(max of the truth / rms error)."""
    return metrics.psnr(estimate, truth, np.ones(truth.shape, bool), float(truth.max()))


def peaks_kept(
    estimate: np.ndarray, truth: np.ndarray, used: int, others: int
) -> tuple[int, int, int]:
    """Count the strongest peaks whose fitted areas and widths are right.

    Returns:
      (areas within 1 % or 2 sigma, widths within 3 %, widths within 3 % or 2 sigma); sigma from the photons
      of both.
    """
    places, top = peaks.strongest(truth, PEAKS)
    right, found = (peaks.fit(one, truth, places) for one in (truth, estimate))
    share = np.sqrt(1 / used + 1 / others)
    areas = np.abs(found.areas - right.areas)[top]
    widths = np.abs(found.widths - right.widths)[top]
    narrow = WIDTH * right.widths[top]
    return (
        int(
            (
                areas
                <= np.maximum(
                    ONE_PERCENT * right.areas[top], TWO_SIGMA * share * right.area_errors[top]
                )
            ).sum()
        ),
        int((widths <= narrow).sum()),
        int((widths <= np.maximum(narrow, TWO_SIGMA * share * right.width_errors[top])).sum()),
    )


def widened(estimate: np.ndarray, mean: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return how much wider the strongest peaks are than those of the mean, percent; largest area first."""
    places, top = peaks.strongest(truth, PEAKS)
    right, own, found = (peaks.fit(one, truth, places) for one in (truth, mean, estimate))
    order = top[np.argsort(-right.areas[top])]
    return 100 * (found.widths / own.widths - 1)[order]


def uncertain_widths(truth: np.ndarray, used: int, others: int) -> int:
    """Count the strongest peaks whose widths photons leave uncertain by more than 3 %."""
    places, top = peaks.strongest(truth, PEAKS)
    right = peaks.fit(truth, truth, places)
    errors = right.width_errors * np.sqrt(1 / used + 1 / others)
    return int((errors > WIDTH * right.widths)[top].sum())


def row_of(
    name: str, estimate: np.ndarray, spectra: np.ndarray, seconds: str = "", *, used: int = 4
) -> Row:
    """Score an estimate made of `used` of the first four of all spectra."""
    others = spectra[4:]
    truth = others.mean(axis=0)
    areas, widths, in_errors = peaks_kept(estimate, truth, used, len(others))
    return Row(
        name=name,
        psnr=psnr(estimate, truth),
        deviance=deviance(estimate, others),
        total=float(100 * (estimate.sum() * 4 / spectra[:4].sum() - 1)),
        negative=int((estimate < 0).sum()),
        areas=areas,
        widths=widths,
        widths_in_errors=in_errors,
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
    """Return Gaussian filters of all useful widths, along the last axis."""
    return {
        f"Gaussian, sigma {s:.1f}": lambda s=s: gaussian_filter1d(mean, s)
        for s in np.arange(0.3, 8, 0.1)
    }


def savitzky_golay(mean: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Return Savitzky-Golay filters of all useful windows and orders, along the last axis."""
    return {
        f"Savitzky-Golay, {window} channels, order {order}": (
            lambda window=window, order=order: np.asarray(savgol_filter(mean, window, order))
        )
        for order in (2, 3, 4, 5, 6)
        for window in range(5, 81, 2)
        if window > order
    }


def options(path: Path, run: Path, *, file: str = "spectra", **changes: Any) -> TrainConfig:
    """Return the shipped options with changes such as `data={"repeats": "0:4"}`."""
    config = load(ROOT / "configs" / f"{file}.toml", TrainConfig)
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
    rows = [
        row_of("one spectrum", spectra[0], spectra, used=1),
        row_of("mean of four", mean, spectra),
    ]
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


def raman(scratch: Path) -> tuple[list[tuple[str, float, str]], str]:
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

    rows = [("one spectrum", score(low[0]), ""), ("mean of five", score(mean), "")]
    for filters in (gaussians(mean), savitzky_golay(mean)):
        name, made = best_of(filters, score)
        rows.append((f"best {name}", score(made), ""))
    path = scratch / "raman.npy"
    np.save(path, low.astype(np.float32))
    noise = measure_noise(low, np.ones_like(low))
    answers = []
    for seed in SEEDS:
        config = options(path, scratch / f"raman{seed}", file="raman", seed=seed)
        answer, _, seconds, steps = denoised_by(config)
        answers.append(answer[0])
        took = f"{steps:.1f} + {seconds - steps:.1f}"
        rows.append((f"`noise2noise` X:1, seed {seed}", score(answer[0]), took))
    rows.append(("mean of these five answers", score(np.mean(answers, axis=0)), ""))
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
        single = options(path, Path(scratch) / "map", method="thinning")
        map_rows = spectra_map.measure(single, Path(scratch), denoised_by)
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
    load = "" if os.getloadavg()[2] < 1.5 * (os.cpu_count() or 1) else ", other programs beside it"
    mean, truth = spectra[:4].mean(axis=0), spectra[4:].mean(axis=0)
    _, smooth = best_of(gaussians(mean), lambda made: psnr(made, truth))
    wider = {"ours": widened(answer, mean, truth), "the Gaussian": widened(smooth, mean, truth)}
    text = page(
        rows,
        floors(spectra),
        raman_rows,
        noise,
        at_once,
        map_rows,
        wider=wider,
        uncertain=uncertain_widths(spectra[4:].mean(axis=0), 4, len(spectra) - 4),
        channels=spectra.shape[1],
        load=load,
    )
    (output / "repeats_quality.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
