"""`smae-jax report`: one page that says what was measured, what was made of it, and what speaks against it.

out/report.html  report.json  frames.csv  figures/*.png
    with extra `physics`: profile.csv  rings.csv  observables.csv  report.h5
        with --composition: structure_factor.csv  pdf.csv  shells.csv

What is judged is what `infer` writes: the answers have gone through the same stages, block by block. A part
of the frames (--frames) is answered apart from the others, and the page says so.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
from pathlib import Path

import numpy as np

from smae_jax import likeness
from smae_jax.blocks import spread
from smae_jax.cautions import cautions, counted
from smae_jax.config import ReportConfig, check_given
from smae_jax.config_file import changed
from smae_jax.counting import scatter_of
from smae_jax.encodable import encodable
from smae_jax.evaluation.estimators import subset
from smae_jax.evaluation.folder import check_folder, list_files
from smae_jax.evaluation.inspection import Inspection, inspect_scan
from smae_jax.evaluation.judging import Judged
from smae_jax.evaluation.opening import (
    how_answered,
    open_judged,
    read_reference,
    reference_of,
    refuse_repeats,
)
from smae_jax.evaluation.with_reference import Reference
from smae_jax.io.atomic import atomic_path, refuse_unwritable
from smae_jax.io.writing import refuse_input
from smae_jax.measurements import Measurements, mean_rate, not_counted
from smae_jax.methods.protocol import Say
from smae_jax.progress import each
from smae_jax.report import alarms, extra, files, page, pair_section, sections
from smae_jax.report.collecting import Collected, Wanted, collect
from smae_jax.report.gallery import make_gallery
from smae_jax.report.physics import Layout, Physics, lay_out, physics_of
from smae_jax.report.profiles import Ring, in_rings
from smae_jax.report.scoring import scores_of
from smae_jax.report.uneven import unevenness
from smae_jax.run.background import read_background
from smae_jax.run.restore import Opened, files_of
from smae_jax.run.scratch import room_beside
from smae_jax.version import version


def report(config: ReportConfig, say: Say) -> None:
    """Denoise a scan as `infer` does, judge the answers, and write a page with its figures and tables.

    Args:
      config: the options.
      say: receives every line that a person should read.

    Raises:
      UserError: in one line, for anything that a user can mend.
    """
    _check_places(config)
    physical = extra.wanted(config.physics, config.asks_for_physics)
    opened, whole = open_judged(config, say)
    refuse_repeats(config, opened)
    layout = None
    if physical:
        layout = lay_out(config, opened.data, read_background(config, opened, say))
    found, reference = _collected(config, opened, layout, whole, say)
    physics = None
    if layout is not None and found.profile is not None:
        progress = functools.partial(each, desc="fits", unit="frame")
        profiles = found.profile, found.rings, found.meridian
        physics = physics_of(layout, *profiles, progress=progress)
        if not opened.data.are_counts:
            physics = physics.without_noise()
        if config.orders and len(physics.orders) < len(config.orders):
            shown = ", ".join(str(order.number) for order in physics.orders) or "none"
            say(
                f"note: --orders: found along the meridian: {shown}; --sector or --meridian may help"
            )
    judged = _scores(config, opened, reference, say)
    inspection = inspect_scan(opened.data)
    if layout is not None:
        inspection = dataclasses.replace(inspection, geometry=layout.cake.geometry)
    rung = _alarms(opened, found, physics, inspection)
    with atomic_path(config.output, overwrite=config.overwrite) as folder:
        folder.mkdir()
        in_all = _in_all(opened, whole)
        _write(folder, config, _Found(opened, in_all, found, physics, judged, inspection, rung))
        list_files(folder, files.RECORD)
    for alarm in rung:
        if alarm.state == "rings":
            say(f"ALARM: {alarm.name}: {alarm.found}")
    ringing = sum(alarm.state == "rings" for alarm in rung)
    say(f"{config.output}/report.html: {ringing} of {len(rung)} alarms ring")


@dataclasses.dataclass(frozen=True)
class _Found:
    """All that goes into the page; `in_all` = frames of the scan, of which some may be left out."""

    opened: Opened
    in_all: int
    collected: Collected
    physics: Physics | None
    judged: Judged
    inspection: Inspection
    alarms: list[alarms.Alarm]


def _check_places(config: ReportConfig) -> None:
    """Refuse a report of nothing, and to write over what is read or was not made here."""
    check_given(config, "run", "input", "output")
    refuse_input(
        *(config.output, config.input, config.reference, *config.mask, config.monitor, config.run),
        *(config.geometry, config.background, *files_of(config.dark, config.flat)),
    )
    check_folder(
        Path(config.output),
        overwrite=config.overwrite,
        read=(config.run, config.input),
        record=files.RECORD,
        made_by=files.MADE_BY,
    )
    refuse_unwritable(config.output)


def _collected(
    config: ReportConfig, opened: Opened, layout: Layout | None, whole: int, say: Say
) -> tuple[Collected, Reference | None]:
    """Answer all frames and keep what is wanted; return also the reference of those in memory."""
    for line in cautions(opened.data, options="--"):
        say(line)
    some = opened if opened.large is None or not config.frames else _in_memory(opened)
    of_data = np.array(opened.data.origin.numbers or subset(whole, config.frames))
    numbers = of_data if some.large is None else np.arange(some.large.frames)
    in_all = _in_all(opened, whole)
    read = read_reference(config, opened) if config.reference else None

    def paired(data: Measurements, which: np.ndarray) -> Reference:
        if read is None:
            raise TypeError("there is no reference")
        return reference_of(config, read, data, which, in_all)

    reference = None if read is None else paired(opened.data, of_data)
    for line in () if reference is None else reference.said:
        say(line)
    sigma = config.sigma and opened.data.are_counts and opened.method.error_bars == "photons"
    if config.sigma and not sigma:
        say("note: the noise of these values is not known, so there are no error bars")
    wanted = Wanted(
        numbers,
        frozenset(numbers[spread(len(numbers), config.gallery)].tolist()),
        sigma=sigma,
        cake=None if layout is None else layout.cake,
        rings=() if layout is None else layout.weights,
        meridian=None if layout is None else layout.meridian,
        reference=None if read is None else paired,
        replicas=_number_of_replicas(config, opened, layout, say),
        room=room_beside(config.output),
    )
    say(how_answered(len(numbers), in_all))
    progress = functools.partial(each, desc=counted(len(numbers), "frame"), unit="batch")
    return collect(some, wanted, progress=progress), reference


def _number_of_replicas(
    config: ReportConfig, opened: Opened, layout: Layout | None, say: Say
) -> int:
    """Return how many plausible answers are made for each frame: none where nothing needs or allows them."""
    if layout is None or not config.replicas:
        return 0
    if not opened.data.are_counts:
        say(
            "note: these values are no photon counts, so denoised profiles and peaks have no errors"
        )
        return 0
    return config.replicas


def _in_all(opened: Opened, whole: int) -> int:
    """Return the number of frames of the scan, in memory or not."""
    return whole if opened.large is None else opened.large.frames


def _in_memory(opened: Opened) -> Opened:
    """Return the same as if the frames that are in memory were all."""
    return dataclasses.replace(opened, large=None)


def _scores(config: ReportConfig, opened: Opened, reference: Reference | None, say: Say) -> Judged:
    """Score the answers, where that is asked for and the photons can be split."""
    if not config.scores:
        return Judged(how="scores were not asked for (--scores)")
    if not opened.data.are_counts:
        return Judged(how="the values are no photon counts, which cannot be split to judge")
    judged = scores_of(opened, reference, held_out=config.held_out, seed=config.seed)
    say(judged.how)
    return judged


def _alarms(
    opened: Opened, found: Collected, physics: Physics | None, inspection: Inspection
) -> list[alarms.Alarm]:
    """Look at everything that could speak against the result."""
    data, center = opened.data, opened.data.center
    if center is None:
        raise TypeError("expected patterns with a centre")
    kept = opened.folder.coarse()
    frames = training = None
    if kept is not None and kept.counts.shape[1:] == found.coarse.counts.shape[1:]:
        frames = likeness.unlike(found.coarse, kept)
        training = likeness.unlike(kept, kept, but_itself=True)
    rings, unit = _rings(found, physics) if data.are_counts else ([], "")
    partner = getattr(opened.method, "partner", "channel")
    each_frame = found.frames
    of_pair = []
    if physics is not None and physics.pair is not None:
        of_pair = [alarms.pair_doubtful(physics.pair.below)]
    return [
        alarms.guessed_centre(center),
        alarms.centres_differ(center, physics.layout.cake.center if physics else None),
        alarms.symmetry_broken(
            inspection.asymmetry.relative,
            inspection.asymmetry.sigmas,
            used=data.symmetry is not None and partner != "none",
        ),
        alarms.does_not_count(scatter_of(data), not_counted(data.counts) is None),
        alarms.outside_training(
            mean_rate(data.channels_first, data.exposure), opened.survey.mean_counts
        ),
        alarms.unlike_training(frames, training, found.names),
        alarms.totals_drift(each_frame.total),
        alarms.residual_not_white(found.residual),
        alarms.rings_moved(rings, unit),
        alarms.unevenly_masked({} if physics is None else _unevenness(physics)),
        alarms.peaks_untold(() if physics is None else physics.all_observables),
        alarms.peaks_moved(() if physics is None else physics.all_observables),
        alarms.motion_damped(() if physics is None else physics.all_observables),
        alarms.ghosts(found.dark, found.names),
        alarms.filled_dominates(
            float(each_frame.filled.mean()), float(each_frame.filled_counts.mean())
        ),
        *of_pair,
    ]


def _unevenness(physics: Physics) -> dict[str, np.ndarray]:
    layout = physics.layout
    names = (layout.name_of(ring) for ring in layout.rings)
    return {name: unevenness(ring) for name, ring in zip(names, physics.rings, strict=True)}


def _rings(found: Collected, physics: Physics | None) -> tuple[list[Ring], str]:
    """Return rings about the beam with what denoising changed: of the profile, else of the pixels' radii."""
    if physics is not None:
        bins = physics.layout.bins
        return in_rings(bins.values, physics.profile), bins.unit
    totals = found.totals
    ratio, error = totals.ratio()
    width = float(totals.radius[0])
    return [
        Ring(
            radius - width,
            radius + width,
            float(100 * (ratio[k] - 1)),
            float((ratio[k] - 1) / error[k]),
        )
        for k, radius in enumerate(totals.radius.tolist())
        if np.isfinite(ratio[k])
    ], "pixel"


def _write(folder: Path, config: ReportConfig, found: _Found) -> None:
    """Write tables, figures and the page."""
    command = encodable(f"smae-jax report {changed(config)}")
    keep = sections.keeping(folder / "figures")
    collected, physics, judged = found.collected, found.physics, found.judged
    scores = [dict(row, table=table.title) for table in judged.tables for row in table.rows]
    files.write_record(
        folder,
        command=command,
        options=dataclasses.asdict(config),
        alarms=found.alarms,
        scores=scores,
    )
    names = [files.RECORD, *files.write_tables(folder, collected, physics)]
    if physics is not None:
        files.write_nexus(folder / "report.h5", collected, physics, command=command)
        names.append("report.h5")
    center = found.opened.data.center
    shown = make_gallery(list(collected.shown), center.half_pixel if center else (0.0, 0.0))
    notes = found.opened.data.origin.notes
    frames = found.opened.data.frames
    parts = [
        ("alarms", "Alarms", sections.alarms(found.alarms)),
        (
            "measured",
            "What was measured",
            sections.measured(found.inspection, collected, notes, keep),
        ),
        ("trained", "How it was trained", sections.trained(found.opened, keep)),
        ("gallery", "Before and after", sections.pictures(shown, collected.done)),
        ("residual", "What was taken away", sections.residual(collected)),
        ("scores", "Scores", sections.scores(judged, keep, frames=frames)),
        *_physical(physics, collected, keep),
        ("made", "How this page was made", sections.made(command, names)),
    ]
    ringing = [alarm.name for alarm in found.alarms if alarm.state == "rings"]
    verdict = (
        f"{len(ringing)} of {len(found.alarms)} alarms ring: {', '.join(ringing)}."
        if ringing
        else f"None of {len(found.alarms)} alarms rings."
    )
    looked_at = len(collected.names)
    if looked_at < found.in_all:
        verdict += f" {how_answered(looked_at, found.in_all)}."
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    text = page.page(
        f"Report on {config.input}",
        f"{counted(looked_at, 'frame')} denoised with {config.run}. {verdict}",
        parts,
        f"smae_jax {version()}, {now}",
    )
    (folder / "report.html").write_text(encodable(text), encoding="utf-8")


def _physical(
    physics: Physics | None, collected: Collected, keep: sections.Keep
) -> list[tuple[str, str, str]]:
    """Return the sections of profiles and peaks, or say why there are none."""
    if physics is None:
        lacking = " and ".join(extra.missing())
        why = (
            f"Profiles and peaks need {lacking}: pip install 'smae_jax[physics]'."
            if lacking
            else "Profiles and peaks were not asked for (--physics off)."
        )
        return [("profiles", "Profiles and peaks", page.paragraph(why))]
    found = [
        ("profiles", "Profiles", sections.profiles(physics, keep)),
        ("peaks", "Peaks and orientation", sections.observables(physics, collected, keep)),
    ]
    if physics.pair is not None:
        shown = pair_section.section(physics.pair, collected, keep)
        found.append(("pair", "Pair distribution", shown))
    return found
