"""`smae-jax evaluate`: a trained run beside raw counts and simple filters, with a reference or without.

out/metrics.csv  metrics.json  table.md  figures/frame_0003.png  denoised/step_200.h5
    curve.png (checkpoints)  agreement.png  rings.png (both without a reference)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from smae_jax.commands.build_repeats import of_repeats
from smae_jax.commands.evaluate_repeats import evaluate_repeats
from smae_jax.commands.evaluated_run import Opened, open_run, save_denoised
from smae_jax.commands.evaluation_folder import Table, check_folder, write_tables
from smae_jax.config import EvaluateConfig
from smae_jax.data.atomic import atomic_path
from smae_jax.data.masks import describe
from smae_jax.data.pairing import take_frames
from smae_jax.data.readers import read_scan
from smae_jax.data.scan import Scan
from smae_jax.evaluation import with_reference, without_reference
from smae_jax.evaluation.estimators import (
    Estimator,
    averaged,
    best_filters,
    crop_about,
    raw,
    subset,
    trials,
)
from smae_jax.evaluation.figures import draw_denoised
from smae_jax.evaluation.report_figures import draw_agreement, draw_curve, draw_rings
from smae_jax.evaluation.with_reference import Reference, make_reference, score_with_reference
from smae_jax.evaluation.without_reference import Curves, score_without_reference
from smae_jax.run_folder import RunFolder

TRIED_FRAMES, TRIED_SIDE = 4, 256
"""Frames and side of the crop about the beam that the filters' settings are chosen on."""

Say = Callable[[str], None]


def evaluate(config: EvaluateConfig, say: Say) -> None:
    """Score checkpoints of a run, and write table, numbers and figures into a folder.

    Args:
      config: the options.
      say: receives every line that a person should read.

    Raises:
      ValueError: in one line, for anything that a user can mend.
    """
    for name in ("run", "input", "output"):
        if not getattr(config, name):
            raise ValueError(f"--{name}: expected a path, got none; see --help")
    check_folder(Path(config.output), overwrite=config.overwrite)
    run = RunFolder(Path(config.run))
    trained = run.config()
    if of_repeats(trained):
        evaluate_repeats(config, trained, run, say)
        return
    opened = open_run(config, say)
    notes = [
        f"{len(opened.scan.counts)} frames, {describe(opened.scan)}",
        "checkpoints of step " + ", ".join(str(n.step) for n in opened.networks),
    ]
    reference = read_reference(config, opened.scan) if config.reference else None
    if reference is not None:
        notes += [
            *reference.said,
            f"data range {reference.data_range:.5g} counts (largest valid value)",
        ]
        if np.isfinite(reference.ceiling_db):
            notes.append(
                f"the true rates would have a PSNR of {reference.ceiling_db:.2f} dB to this reference"
            )
        for line in notes[2:]:
            say(line)
    with atomic_path(config.output, overwrite=config.overwrite) as folder:
        folder.mkdir()
        tables: list[Table] = []
        curves = None
        if config.scores != "none":
            estimators = estimators_of(config, opened, reference, notes, say)
            steps = {n.name: n.step for n in opened.networks}
            count = len(estimators) * len(opened.chunks)
            if reference is not None:
                with progress("with reference", count) as advance:
                    rows = score_with_reference(
                        opened.scan.counts,
                        opened.scan.valid,
                        reference,
                        estimators,
                        advance=advance,
                    )
                legend = with_reference.LEGEND + f"\nData range {reference.data_range:.5g} counts."
                tables.append(("With the reference", rows, with_reference.COLUMNS, legend))
            if reference is None or config.scores == "both":
                with progress("without reference", count) as advance:
                    rows, curves = score_without_reference(
                        opened.scan.counts,
                        opened.scan.valid,
                        opened.center,
                        estimators,
                        held_out=config.held_out,
                        seed=config.seed,
                        advance=advance,
                    )
                legend = without_reference.legend(config.held_out)
                tables.append(("Without a reference", rows, without_reference.COLUMNS, legend))
            for _, rows, _, _ in tables:
                for row in rows:
                    row["step"] = steps.get(row["name"])
        write_tables(folder, config, notes, tables, say)
        draw(folder, config, opened, reference, tables, curves)
        if config.save_denoised:
            save_denoised(folder / "denoised", opened)
    say(
        f"{config.output}: metrics.json, metrics.csv, table.md"
        + (", figures" * (config.figures > 0))
    )


def read_reference(config: EvaluateConfig, scan: Scan) -> Reference:
    """Read the reference, pair it with the frames, and bring it to their scale."""
    other = read_scan(config.reference)
    if other.counts.shape[1:] == scan.counts.shape[1:]:
        common = scan.valid.all(axis=0) & other.valid.all(axis=0)
        own = {frame[common].tobytes() for frame in scan.counts}
        same = any(frame[common].any() and frame[common].tobytes() in own for frame in other.counts)
    else:
        same = False  # refused below
    if same:
        raise ValueError(
            f"--reference {config.reference}: holds a frame of --input; a reference must be another "
            "measurement, otherwise the best score is that of doing nothing"
        )
    if config.frames and config.pairing != "mean" and len(other.counts) > 1:
        whole = len(read_scan(config.input).counts)
        if len(other.counts) == whole:
            other = take_frames(other, np.array(subset(whole, config.frames)))
    return make_reference(
        other.counts,
        other.valid,
        scan.counts,
        scan.valid,
        pairing=config.pairing,
        noise=config.reference_noise,
    )


def estimators_of(
    config: EvaluateConfig,
    opened: Opened,
    reference: Reference | None,
    notes: list[str],
    say: Say,
) -> dict[str, Estimator]:
    """Return everything that is compared: raw, rotated average, filters at their best, networks."""
    center = opened.center
    scan = opened.scan
    chosen = list(subset(len(scan.counts), TRIED_FRAMES))
    window = crop_about(scan.counts.shape[1:], center, TRIED_SIDE)
    counts = scan.counts[chosen][:, *window]
    valid = np.broadcast_to(scan.valid, scan.counts.shape)[chosen][:, *window]
    if not valid.any():
        raise ValueError("--input: no valid pixel about the beam; check --mask and its polarity")
    if reference is not None:
        part = reference.part(chosen, window)
        judge, how = with_reference.rmse_to(counts, valid, part), "the error to the reference"
    else:
        judge = without_reference.held_out_deviance(
            counts, valid, held_out=config.held_out, seed=config.seed
        )
        how = "the held-out deviance"
    local = (center[0] - window[0].start, center[1] - window[1].start)
    with progress("settings of filters", trials()) as advance:
        filters = best_filters(lambda one: judge(one.estimator(local)), advance=lambda: advance(""))
    notes.append(
        f"settings of filters: smallest value of {how} on {len(chosen)} frames, "
        f"{counts.shape[1]} x {counts.shape[2]} pixels about the beam"
    )
    say(notes[-1])
    return {
        "raw": raw,
        "rotated average": averaged(center),
        **{one.label: one.estimator(center) for one in filters},
        **{one.name: opened.estimator(one) for one in opened.networks},
    }


def draw(
    folder: Path,
    config: EvaluateConfig,
    opened: Opened,
    reference: Reference | None,
    tables: list[Table],
    curves: Curves | None,
) -> None:
    """Draw some frames with the best checkpoint (the last, where best is not asked for), and the curves."""
    if not config.figures:
        return
    shown = next((n for n in opened.networks if "(best)" in n.name), opened.networks[-1])
    scan = opened.scan
    with progress("figures", min(config.figures, len(scan.counts))) as advance:
        for k in subset(len(scan.counts), config.figures):
            valid = np.broadcast_to(scan.valid, scan.counts.shape)[k : k + 1]
            counts, _, filled = opened.apply(shown, scan.counts[k : k + 1], valid, 1.0)
            known = None
            if reference is not None:
                known = np.where(reference.valid[k], reference.counts[k], np.nan)
            draw_denoised(
                folder / "figures" / f"frame_{k:04d}.png",
                scan.counts[k],
                counts[0],
                valid=valid[0],
                truth=known,
                truth_name="reference",
                filled=filled[0],
                center=opened.center,
                title=f"{Path(scan.metadata.sources[k]).name}, {shown.name}",
            )
            advance("")
    if curves is not None:
        kept = [name for name in curves.halves if "Gaussian" not in name and "step" not in name]
        kept.append(shown.name)
        draw_agreement(
            folder / "agreement.png",
            {name: curves.halves[name] for name in kept},
            {name: curves.to_raw[name] for name in kept},
        )
        draw_rings(
            folder / "rings.png",
            {name: curves.rings[name] for name in curves.rings if name in kept[1:]},
        )
    if config.checkpoints == "all" and tables:
        rows = tables[0][1]
        if reference is not None:
            panels = {
                "psnr_db": ("PSNR / dB", "higher"),
                "score_weighted": ("weighted score", "lower"),
            }
        else:
            panels = {
                "deviance": ("held-out deviance", "lower"),
                "held_out_score_weighted": ("weighted held-out score", "lower"),
            }
        draw_curve(
            folder / "curve.png", rows, panels, title=f"Checkpoints of {opened.folder.path.name}"
        )


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[str], object]]:
    """Show a progress bar; yield what to call after each part, with the name of the part."""
    with tqdm(total=total, desc=what, dynamic_ncols=True) as bar:

        def advance(name: str) -> None:
            bar.set_postfix_str(name, refresh=False)
            bar.update(1)

        yield advance
