"""`smae-jax evaluate`: a trained run beside raw counts and simple filters, with a reference or without.

out/metrics.csv  metrics.json  table.md  denoised/step_200.h5
    scans:   figures/frame_0003.png  curve.png (checkpoints)  agreement.png, rings.png (without a reference)
    spectra: spectrum.png

What is judged is what `infer` writes: the answers have gone through the same stages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from smae_jax.cautions import counted
from smae_jax.config import EvaluateConfig, check_given
from smae_jax.encodable import encodable
from smae_jax.errors import UserError
from smae_jax.evaluation.estimators import Estimator, subset
from smae_jax.evaluation.folder import check_folder, list_files, write_tables
from smae_jax.evaluation.judging import Judged, judge_frames, judge_repeats, refuse_same
from smae_jax.evaluation.opening import how_answered, open_judged, read_reference, reference_of
from smae_jax.evaluation.repeats_scores import together
from smae_jax.evaluation.with_reference import Reference
from smae_jax.figures import save
from smae_jax.figures.curves import agreement_figure, checkpoints_figure, rings_figure
from smae_jax.figures.frames import denoised_figure
from smae_jax.figures.spectrum import spectrum_figure
from smae_jax.inference import in_counts
from smae_jax.io.atomic import atomic_path, refuse_unwritable
from smae_jax.io.reading import describe_mask, masked
from smae_jax.io.writing import refuse_input, write
from smae_jax.measurements import Measurements, mean_of_frames
from smae_jax.methods.protocol import Answers, Say
from smae_jax.progress import each
from smae_jax.run.folder import RunFolder
from smae_jax.run.restore import (
    Opened,
    files_of,
    wanted_checkpoints,
)

PANELS_WITH_REFERENCE = {
    "psnr_db": ("PSNR / dB", "higher"),
    "score_weighted": ("weighted score", "lower"),
}
PANELS = {
    "deviance": ("held-out deviance", "lower"),
    "held_out_score_weighted": ("weighted held-out score", "lower"),
}
"""Numbers that are drawn over the checkpoints' steps, with and without a reference."""


class Networks:
    """The checkpoints that are judged, by step; the last answers to all measurements are kept."""

    def __init__(self, opened: list[Opened], *, best: bool) -> None:
        """Name the checkpoints; `best`: the one that was opened last is the best."""
        of_best = opened[-1].step if best else None
        self.by_name = {
            f"{one.config.method}, step {one.step}{' (best)' * (one.step == of_best)}": one
            for one in sorted(opened, key=lambda one: one.step)
        }
        self.first = opened[0]
        self.shown = next((n for n in self.by_name if "(best)" in n), list(self.by_name)[-1])
        self._kept: tuple[str, Answers] | None = None

    @property
    def data(self) -> Measurements:
        """What they are judged on."""
        return self.first.data

    @property
    def one_answer(self) -> bool:
        """Whether scores are those of repeats: of one answer, or of data without a centre."""
        return self.first.method.answers == "one" or self.data.center is None

    def answers(self, name: str) -> Answers:
        """Return what `infer` would write, but per unit of exposure."""
        if self._kept is None or self._kept[0] != name:
            self._kept = None  # no two at once
            self._kept = name, self.by_name[name].answers()
        return self._kept[1]

    def estimators(self) -> dict[str, Estimator]:
        """Return the checkpoints as scores see them."""

        def estimator(name: str) -> Estimator:
            def estimate(part: Measurements) -> np.ndarray:
                whole = part is self.data
                answers = self.answers(name) if whole else self.by_name[name].answers(part)
                return np.asarray(answers.counts)

            return estimate

        return {name: estimator(name) for name in self.by_name}


@dataclasses.dataclass(frozen=True)
class Judge:
    """What networks are judged by.

    Attributes:
      notes: what there is and how it was paired, a line each.
      of_frames: reference of a scan, on the scale of its counts; None = there is none.
      of_repeats: reference of repeats, with exposures in units of theirs; None = there is none.
    """

    notes: tuple[str, ...]
    of_frames: Reference | None = None
    of_repeats: Measurements | None = None


def evaluate(config: EvaluateConfig, say: Say) -> None:
    """Score checkpoints of a run, and write table, numbers and figures into a folder.

    Args:
      config: the options.
      say: receives every line that a person should read.

    Raises:
      UserError: in one line, for anything that a user can mend.
    """
    _check_places(config)
    networks, whole = open_networks(config, say)
    judge = (_judge_of_repeats if networks.one_answer else _judge_of_frames)(
        config, networks, whole
    )
    for note in judge.notes:
        say(note)
    with atomic_path(config.output, overwrite=config.overwrite) as folder:
        folder.mkdir()
        judged = score(config, networks, judge, say)
        write_tables(
            folder,
            judged.tables,
            title=f"Evaluation of {config.run} on {config.input}",
            notes=[*judge.notes, *filter(None, [judged.how])],
            options=dataclasses.asdict(config),
            say=say,
        )
        draw = spectrum_pictures if networks.one_answer else frame_pictures
        for name, figure in draw(config, networks, judge, judged):
            save(figure, folder / name)
        if config.save_denoised:
            save_denoised(folder / "denoised", networks)
        list_files(folder)
    pictures = ", figures" * (config.figures > 0)
    say(f"{config.output}: metrics.json, metrics.csv, table.md{pictures}")


def _check_places(config: EvaluateConfig) -> None:
    """Refuse an evaluation of nothing, and to write over what is read or was not made here."""
    check_given(config, "run", "input", "output")
    refuse_input(
        *(config.output, config.input, config.reference, *config.mask, config.monitor, config.run),
        *files_of(config.dark, config.flat),
    )
    read = (config.run, config.input)
    check_folder(Path(config.output), overwrite=config.overwrite, read=read)
    refuse_unwritable(config.output)


def open_networks(config: EvaluateConfig, say: Say) -> tuple[Networks, int]:
    """Open every checkpoint that is asked for, on the frames that are asked for.

    Returns:
      (the networks, number of frames before some were chosen).
    """
    folder = RunFolder(Path(config.run))
    folder.config()  # says what is wrong, if there is no run
    every = config.checkpoints == "all"
    wanted = wanted_checkpoints(folder, every=every, wanted=config.checkpoint)
    first = dataclasses.replace(config, checkpoints="one", checkpoint=wanted[-1])
    opened, whole = open_judged(first, say)
    others = [opened.with_checkpoint(name) for name in wanted[:-1]]
    return Networks([*others, opened], best=wanted[-1] == "best"), whole


def _judge_of_frames(config: EvaluateConfig, networks: Networks, whole: int) -> Judge:
    """Read the reference of a scan, pair it with the frames, and bring it to their scale."""
    data = networks.data
    steps = ", ".join(str(one.step) for one in networks.by_name.values())
    notes = [
        f"{counted(data.frames, 'frame')}, {describe_mask(data)}",
        f"checkpoints of step {steps}",
    ]
    if data.frames < whole:
        notes.append(how_answered(data.frames, whole))
    if not config.reference:
        return Judge(tuple(notes))
    found = read_reference(config, networks.first)
    reference = reference_of(config, found, data, np.array(subset(whole, config.frames)), whole)
    notes += [
        *reference.said,
        f"data range {reference.data_range:.5g} counts (largest valid value)",
    ]
    if np.isfinite(reference.ceiling_db):
        notes.append(
            f"the true rates would have a PSNR of {reference.ceiling_db:.2f} dB to this reference"
        )
    return Judge(tuple(notes), of_frames=reference)


def _judge_of_repeats(config: EvaluateConfig, networks: Networks, whole: int) -> Judge:
    """Read the reference of repeats, and bring its exposure to their unit."""
    del whole
    data, path = networks.data, config.reference
    if not path and networks.first.method.whole:
        raise UserError(
            f"--run {config.run}: its network has drawn all repeats, none of them can judge it; give "
            "--reference"
        )
    if not path and data.frames < 2:
        raise UserError(
            f"--input {config.input}: expected at least 2 repeats to judge one by the others, got "
            f"{data.frames}; give --reference"
        )
    notes = [f"{counted(data.frames, 'repeat')} of {' x '.join(map(str, data.spatial))}"]
    if common := networks.first.survey.noise.common_variance:
        notes.append(
            f"repeats share noise of variance {common:.3g}: without a reference it judges in favour of "
            "what keeps it"
        )
    if not path:
        return Judge(tuple(notes))
    found = read_reference(config, networks.first)
    if found.counts.shape[1:] != data.counts.shape[1:]:
        raise UserError(
            f"--reference {path}: expected {data.counts.shape[1:]} as --input has, got "
            f"{found.counts.shape[1:]}; give a measurement of the same thing"
        )
    refuse_same(found, data, path=path, kind="repeat")
    if len(data.spatial) == 2:
        found = masked(found, np.asarray(data.valid.any(axis=0)), path=f"--reference {path}")
    levels = [mean_of_frames(one)[0] for one in (found, data)]
    common_points = np.isfinite(levels[0]) & np.isfinite(levels[1])
    if not common_points.any():
        raise UserError(f"--reference {path}: has no valid point in common with --input")
    ratio = float(levels[0][common_points].mean() / (levels[1][common_points].mean() or 1.0))
    if config.reference_scale == "totals" and ratio > 0:
        found = dataclasses.replace(found, exposure=found.exposure * np.float32(ratio))
    return Judge(tuple(notes), of_repeats=found)


def score(config: EvaluateConfig, networks: Networks, judge: Judge, say: Say) -> Judged:
    """Score the networks and all that they are compared with; every row says its step, if it has one."""
    if config.scores == "none":
        return Judged()
    data, estimators, both = networks.data, networks.estimators(), config.scores == "both"
    if networks.one_answer:
        judged = judge_repeats(
            data,
            estimators,
            judge.of_repeats,
            alone=both or judge.of_repeats is None,
            noise=networks.first.survey.noise,
            say=say,
        )
    else:
        judged = judge_frames(
            data,
            estimators,
            judge.of_frames,
            alone=both or judge.of_frames is None,
            held_out=config.held_out,
            seed=config.seed,
            say=say,
        )
    steps = {name: one.step for name, one in networks.by_name.items()}
    tables = [
        dataclasses.replace(
            table,
            rows=[{"name": r["name"], "step": steps.get(r["name"]), **r} for r in table.rows],
        )
        for table in judged.tables
    ]
    return dataclasses.replace(judged, tables=tuple(tables))


def frame_pictures(
    config: EvaluateConfig, networks: Networks, judge: Judge, judged: Judged
) -> Iterator[tuple[str, Figure]]:
    """Yield the pictures of a scan with their names: some frames, and the curves."""
    if not config.figures:
        return
    data, shown, reference = networks.data, networks.shown, judge.of_frames
    answers = networks.answers(shown)
    for k in each(subset(data.frames, config.figures), desc="figures", unit="figure"):
        known = {}
        if reference is not None:
            known["reference"] = np.where(reference.valid[k], reference.counts[k], np.nan)
        title = f"{Path(data.names[k]).name}, {shown}"
        yield (
            f"figures/frame_{k:04d}.png",
            denoised_figure(
                data, answers.counts, reference=known, filled=answers.filled, frame=k, title=title
            ),
        )
    if judged.curves is not None:
        curves = judged.curves
        names = [n for n in curves.halves if "Gaussian" not in n and "step" not in n] + [shown]
        halves, to_raw = ({n: c[n] for n in names} for c in (curves.halves, curves.to_raw))
        yield "agreement.png", agreement_figure(halves, to_raw)
        yield "rings.png", rings_figure({n: curves.rings[n] for n in names[1:]})
    if config.checkpoints == "all" and judged.tables:
        panels = PANELS if reference is None else PANELS_WITH_REFERENCE
        title = f"Checkpoints of {networks.first.folder.path.name}"
        yield "curve.png", checkpoints_figure(judged.tables[0].rows, panels, title=title)


def spectrum_pictures(
    config: EvaluateConfig, networks: Networks, judge: Judge, judged: Judged
) -> Iterator[tuple[str, Figure]]:
    """Yield the picture of a spectrum with its name; there is none of patterns and volumes."""
    del judged
    data, shown = networks.data, networks.shown
    if not config.figures or len(data.spatial) != 1 or data.channels:
        return
    answer = together(networks.answers(shown).counts, data)
    light = mean_of_frames(data)[1]
    noise = networks.first.survey.noise.beside_photons(answer, np.where(light > 0, light, 1))
    known = {}
    if judge.of_repeats is not None:
        known["reference"] = mean_of_frames(judge.of_repeats)[0]
    title = encodable(f"{Path(data.origin.source).name}, {shown}")
    yield "spectrum.png", spectrum_figure(data, answer, noise=noise, reference=known, title=title)


def save_denoised(folder: Path, networks: Networks) -> None:
    """Write what every checkpoint made of the measurements, `step_200.h5`, as `infer` writes it."""
    folder.mkdir()
    data = networks.data
    for name, opened in each(networks.by_name.items(), desc="denoised files", unit="file"):
        answers = networks.answers(name)
        if opened.method.answers == "each":
            answers = in_counts(answers, data)
        write(
            str(folder / f"step_{opened.step}.h5"),
            answers.counts,
            data,
            known=answers.known,
            filled=answers.filled,
            process=opened.made_by(answers.done),
        )
