"""`smae-jax evaluate` for repeats: a run beside their mean and simple filters, with reference or without."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from smae_jax.commands.evaluated_run import wanted_checkpoints
from smae_jax.commands.evaluation_folder import Table, write_tables
from smae_jax.commands.infer_repeats import Ready, noise_beside_photons, open_repeats
from smae_jax.commands.place_repeats import channels_first, exposures, one_answer, read_data
from smae_jax.config import EvaluateConfig, InferConfig, TrainConfig
from smae_jax.data.atomic import atomic_path
from smae_jax.data.repeats import Repeats, mean_of_repeats
from smae_jax.evaluation import repeats_scores
from smae_jax.evaluation.repeats_scores import Estimator, by_left_out, by_reference, mean_rate
from smae_jax.evaluation.spectrum_figure import draw_spectrum
from smae_jax.run_folder import Prepared, RunFolder

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Measured:
    """Numbers of some repeats: counts (repeats, channels, *spatial), exposure (repeats, *spatial)."""

    counts: np.ndarray
    exposure: np.ndarray


def evaluate_repeats(
    config: EvaluateConfig, trained: TrainConfig, folder: RunFolder, say: Say
) -> None:
    """Score checkpoints of a run on repeats, and write table, numbers and a figure into a folder.

    Args:
      config: the options.
      trained: options of the run.
      folder: the run.
      say: receives every line that a person should read.

    Raises:
      ValueError: in one line, for anything that a user can mend.
    """
    check_options(config, trained)
    prepared = folder.prepared()
    networks = {}
    for wanted in wanted_checkpoints(config, folder):
        ready = open_repeats(as_infer(config, wanted), trained, prepared, folder, say)
        best = " (best)" if wanted == "best" else ""
        networks[f"{trained.method}, step {ready.step}{best}"] = ready
    ready = next(iter(networks.values()))
    own = measured(ready.repeats)
    if len(own.counts) < 2 and not config.reference:
        raise ValueError(
            f"--input {config.input}: expected at least 2 repeats to judge one by the others, got "
            f"{len(own.counts)}; give --reference"
        )
    notes = [f"{len(own.counts)} repeats of {' x '.join(map(str, ready.repeats.spatial))}"]
    if prepared.common_variance:
        notes.append(
            f"repeats share noise of variance {prepared.common_variance:.3g}: without a reference it judges "
            "in favour of what keeps it"
        )
    reference = read_reference(config, trained, own) if config.reference else None
    noise = {
        "gain": prepared.gain or 1.0,
        "readout_variance": prepared.readout_variance or 0.0,
    }
    photons = noise == {"gain": 1.0, "readout_variance": 0.0}

    variance = repeats_scores.typical_variance(own.counts, own.exposure, **noise)

    def left_out(estimate: Estimator) -> dict[str, Any]:
        return by_left_out(estimate, own.counts, own.exposure, variance, photons=photons)

    def to_reference(estimate: Estimator) -> dict[str, Any]:
        assert reference is not None
        answer = estimate(own.counts, own.exposure)
        return by_reference(answer, reference.counts, reference.exposure, photons=photons)

    if reference is None:
        judge, how = (lambda one: left_out(one)["chi_square"]), "chi-square of the one left out"
    else:
        judge, how = (lambda one: to_reference(one)["rmse"]), "error to the reference"
    notes.append(f"settings of filters: smallest {how}")
    for note in notes:
        say(note)
    found = repeats_scores.best_of(repeats_scores.filters(ready.repeats.spatial), judge)
    estimators: dict[str, Estimator] = {
        "mean of repeats": mean_rate,
        **{f"best {name}": estimate for name, estimate in found.items()},
        **{name: network_estimator(one, trained) for name, one in networks.items()},
    }
    steps = {name: one.step for name, one in networks.items()}
    tables: list[Table] = []
    for asked, title, score, columns, legend in (
        (
            reference is not None,
            "With the reference",
            to_reference,
            repeats_scores.WITH,
            repeats_scores.WITH_LEGEND,
        ),
        (
            reference is None or config.scores == "both",
            "Without a reference",
            left_out,
            repeats_scores.WITHOUT,
            repeats_scores.WITHOUT_LEGEND,
        ),
    ):
        if asked:
            rows = [
                {"name": name, "step": steps.get(name), **score(one)}
                for name, one in estimators.items()
            ]
            tables.append((title, rows, columns, legend))
    with atomic_path(config.output, overwrite=config.overwrite) as output:
        output.mkdir()
        write_tables(output, config, notes, tables, say)
        if config.figures and len(ready.repeats.spatial) == 1 and not ready.repeats.channels:
            shown = next((n for n in networks if "(best)" in n), list(networks)[-1])
            answer = estimators[shown](own.counts, own.exposure)[0]
            draw(output / "spectrum.png", ready.repeats, answer, reference, prepared, shown)
    say(f"{config.output}: metrics.json, metrics.csv, table.md")


def check_options(config: EvaluateConfig, trained: TrainConfig) -> None:
    """Refuse what an evaluation of repeats does not have.

    Raises:
      ValueError: in one line, with what to do.
    """
    if config.save_denoised or config.scores == "none":
        raise ValueError(
            "--save-denoised: is for scans; write denoised repeats with 'smae-jax infer --run "
            f"{config.run} --input {config.input} --output ...'"
        )
    if config.frames or config.center != "run":
        raise ValueError(
            "--frames and --center: are for scans; choose repeats with --repeats 0:4 instead"
        )
    if trained.method == "deep_image_prior" and not config.reference:
        raise ValueError(
            "--run: a deep image prior has drawn all repeats, none of them can judge it; give --reference"
        )


def as_infer(config: EvaluateConfig, checkpoint: str) -> InferConfig:
    """Return the options under which a checkpoint is applied."""
    return InferConfig(
        run=config.run,
        input=config.input,
        repeats=config.repeats,
        mask=config.mask,
        mask_polarity=config.mask_polarity,
        checkpoint=checkpoint,
        ensemble=config.ensemble,
        rule=config.rule,
        scale=config.scale,
    )


def measured(repeats: Repeats) -> Measured:
    """Return the numbers of repeats, float64."""
    return Measured(
        channels_first(repeats).astype(np.float64), exposures(repeats).astype(np.float64)
    )


def network_estimator(ready: Ready, trained: TrainConfig) -> Estimator:
    """Return a checkpoint as the scores see it; answers to each repeat are averaged."""

    def estimate(counts: np.ndarray, exposure: np.ndarray) -> np.ndarray:
        stack = dataclasses.replace(
            ready.stack,
            counts=counts.astype(np.float32),
            exposure=exposure.astype(np.float32),
            scale=ready.stack.scale[: len(counts)],
        )
        answers = ready.denoise(stack).astype(np.float64)
        if one_answer(trained):
            return answers[0]
        return mean_rate(np.where(exposure[:, None] > 0, answers, 0), exposure)

    return estimate


def read_reference(config: EvaluateConfig, trained: TrainConfig, own: Measured) -> Measured:
    """Read the reference and bring its exposure to the unit of the repeats.

    Raises:
      ValueError: in one line, if it does not fit, or holds what it is to judge.
    """
    path = config.reference
    found = measured(
        read_data(
            trained.data,
            path,
            repeats=config.reference_repeats,
            mask=config.mask or trained.data.mask,
        )
    )
    if found.counts.shape[1:] != own.counts.shape[1:]:
        raise ValueError(
            f"--reference {path}: expected {own.counts.shape[1:]} (channels, *spatial) as --input has, got "
            f"{found.counts.shape[1:]}; give a measurement of the same thing"
        )
    known = {one.tobytes() for one in own.counts}
    if any(one.tobytes() in known for one in found.counts):
        raise ValueError(
            f"--reference {path}: holds a repeat of --input; choose others by --reference-repeats, such as 4:"
        )
    common = (found.exposure > 0).any(axis=0) & (own.exposure > 0).any(axis=0)
    if not common.any():
        raise ValueError(f"--reference {path}: has no valid point in common with --input")
    levels = [mean_rate(one.counts, one.exposure)[:, common].mean() for one in (found, own)]
    if config.reference_scale == "totals" and levels[1] > 0:
        return Measured(found.counts, found.exposure * levels[0] / levels[1])
    return found


def draw(
    path: Path,
    repeats: Repeats,
    answer: np.ndarray,
    reference: Measured | None,
    prepared: Prepared,
    name: str,
) -> None:
    """Draw the spectrum before and after, with the reference where there is one."""
    draw_spectrum(
        path,
        repeats.counts,
        answer,
        valid=repeats.valid,
        exposure=repeats.exposure,
        noise=noise_beside_photons(prepared, answer, mean_of_repeats(repeats)[1]),
        reference=None if reference is None else mean_rate(reference.counts, reference.exposure)[0],
        axis=repeats.axis,
        axis_label=repeats.axis_label,
        title=f"{Path(repeats.source).name}, {name}",
    )
