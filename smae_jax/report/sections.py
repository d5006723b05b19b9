"""The sections of the page, from what was found to HTML."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from smae_jax.cautions import counted
from smae_jax.config_file import changed
from smae_jax.errors import UserError
from smae_jax.evaluation.inspection import Inspection
from smae_jax.evaluation.judging import Judged
from smae_jax.figures.axes import count_frames, plain
from smae_jax.figures.curves import agreement_figure, rings_figure
from smae_jax.figures.losses import loss_figure, read_losses
from smae_jax.figures.observables import Series, map_figure, series_figure
from smae_jax.figures.profiles import Curve, profile_figure
from smae_jax.report import page
from smae_jax.report.alarms import LARGEST_MOVE, SIGNIFICANT, Alarm
from smae_jax.report.collecting import Collected, PerFrame
from smae_jax.report.gallery import SIGMA, Gallery
from smae_jax.report.observable import Observable
from smae_jax.report.orientation import COVERED
from smae_jax.report.physics import Physics
from smae_jax.report.profiles import Profiles
from smae_jax.report.scoring import OURS
from smae_jax.run.restore import Opened

Keep = Callable[[str, Figure], bytes]
"""(name, figure) -> PNG, which is also written beside the page."""

OBSERVED = {
    "unit": ("unit", "{}"),
    "raw": ("raw", "{:.5g}"),
    "raw_sigma": ("+- of a frame", "{:.2g}"),
    "denoised": ("denoised", "{:.5g}"),
    "denoised_sigma": ("+- of a frame", "{:.2g}"),
    "reference": ("reference", "{:.5g}"),
    "raw_error": ("rms error of raw", "{:.2g}"),
    "denoised_error": ("rms error of denoised", "{:.2g}"),
    "shift": ("denoised less raw", "{:+.2g}"),
    "shift_error": ("+-", "{:.2g}"),
    "shift_sigmas": ("in sigmas", "{:+.1f}"),
    "told": ("frames that raw tells / %", "{:.0f}"),
}
_STATES = {"rings": "rings", "quiet": "quiet", "cannot tell": "tell"}
_ELSEWHERE = ("z_mean", "z_blocks", "frc_period", "ring_percent")
"""Scores that report.json alone holds: the residual has its own table, rings their figure."""
_MAPPED = 12
"""Quantities that are drawn, at most; all are in the tables."""


def alarms(found: Sequence[Alarm]) -> str:
    """Say what speaks against the result; what rings comes first."""
    order = {"rings": 0, "cannot tell": 1, "quiet": 2}
    items = "".join(
        f'<li class="{_STATES[one.state]}"><div class="what"><span>{page.text(_capital(one.name))}</span>'
        f'<span class="state">{page.text(one.state)}</span></div><p>{page.text(_capital(one.found))}.</p>'
        + (f"<p><strong>{page.text(one.advice)}</strong></p>" if one.advice else "")
        + "</li>"
        for one in sorted(found, key=lambda one: order[one.state])
    )
    return f'<ul class="alarms">{items}</ul>'


def measured(inspection: Inspection, found: Collected, said: Sequence[str], keep: Keep) -> str:
    """Say what was measured."""
    lines = [line.split(": ", 1) for line in inspection.lines() if not line.startswith("WARNING")]
    pairs = [(line[0], line[1]) for line in lines if len(line) == 2]
    if len(found.names) != inspection.frames:
        every = counted(len(found.names), "frame")
        told = f"{every}; {inspection.frames} of them, evenly spread, tell the rest"
        pairs.insert(0, ("frames", told))
    causes = [
        {"name": cause, "share": 100 * share} for cause, share in inspection.masked_by.items()
    ]
    body = page.facts(pairs)
    if causes:
        columns = {"share": ("% of all pixels", "{:.2f}")}
        body += page.table(causes, columns, first="masked by")
    body += "".join(page.paragraph(line, "soft") for line in said)
    return body + page.figure(
        keep("frames", frames_figure(found.numbers, found.frames)),
        "Counts of every frame, and what is left of them in the residual: 1 is photon noise.",
    )


def frames_figure(numbers: np.ndarray, each: PerFrame) -> Figure:
    """Draw the counts of every frame, and the variance of its residual, against its number."""
    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    style = {"linewidth": 0, "marker": ".", "markersize": 4}
    upper.plot(numbers, each.total, color="#2a6fbb", **style)
    upper.set_ylabel("counts per pixel")
    lower.axhline(1, color="black", linewidth=0.8)
    lower.plot(numbers, each.variance, color="#8a8a8a", label="residual of pixels", **style)
    lower.plot(numbers, each.blocks, color="#c1272d", label="of 8 x 8 pixels", **style)
    lower.set_ylabel("variance / photons'")
    lower.legend(frameon=False, fontsize=8)
    for axes in (upper, lower):
        plain(axes)
        axes.ticklabel_format(axis="y", useOffset=False)
    count_frames(lower, numbers)
    return figure


def trained(opened: Opened, keep: Keep) -> str:
    """Say how the run was trained."""
    config, survey = opened.config, opened.survey
    level = "not known" if survey.mean_counts is None else f"{survey.mean_counts:.4g}"
    pairs = [
        ("run", str(opened.folder.path)),
        ("frames", f"{survey.frames} of {config.data.path or 'an imported network'}"),
        ("counts per pixel", level),
        ("method, network", f"{config.method}, {config.model}; loss {config.loss}"),
        ("steps", f"{config.train.steps}; the checkpoint of step {opened.step} was used"),
        ("ensemble", f"predictions averaged over group {opened.predictor.group}"),
    ]
    body = page.facts(pairs)
    body += page.folded(
        "Options that differ from the defaults",
        f"<pre>{page.text(changed(config) or 'none')}</pre>",
    )
    try:
        if not len(read_losses(opened.folder.metrics, "loss")[0]):
            raise UserError("no loss")
        curve = keep("training", loss_figure(opened.folder.metrics))
    except UserError:
        return body + page.paragraph("The run keeps no record of its training.", "soft")
    return body + page.figure(curve, "Loss over the steps of the training.")


def pictures(shown: Gallery, done: Sequence[tuple[str, str]]) -> str:
    """Show frames before and after."""
    words = (
        f"{counted(len(shown.shown), 'frame')}, spread evenly over the scan. Move the slider below the "
        "picture to wipe from left to right, or blink between both."
    )
    filled = "Where before is hatched and denoised is not, the answer was filled from the opposite pixel."
    dots = max(view.block for view in shown.views)
    means = f"A dot is the mean of {dots} x {dots} pixels; a sigma is that of one pixel. " * (
        dots > 1
    )
    bars = (
        "A sigma that is drawn times 10, 100, ... is read off the scale of the counts and divided by it. "
        if any(layer.startswith(SIGMA) for layer in shown.layers)
        else "Error bars were not asked for (--sigma). "
    )
    stages = [(stage.replace("_", " "), what) for stage, what in done]
    return (
        page.paragraph(words)
        + page.gallery(shown)
        + page.paragraph(means + bars + filled, "soft")
        + "<h3>Stages after the network</h3>"
        + page.facts(stages)
    )


def residual(found: Collected) -> str:
    """Say what was taken away, in units of photon noise."""
    white = found.residual
    if white is None or not white.expected > 0:
        return page.paragraph("The values are no photon counts: their noise is not known.")
    correlation = white.correlation
    rows = [
        {"name": "mean", "found": white.mean, "right": 0.0},
        {"name": "variance", "found": white.variance, "right": 1.0},
        {"name": "correlation of neighbours", "found": float(correlation[0]), "right": 0.0},
        {"name": "correlation over 2 pixels", "found": float(correlation[1]), "right": 0.0},
        {"name": "correlation over 4 pixels", "found": float(correlation[2]), "right": 0.0},
        {"name": "variance of 8 x 8 pixels", "found": white.block_variance, "right": 1.0},
    ]
    columns = {"found": ("found", "{:+.4f}"), "right": ("photon noise", "{:g}")}
    return page.paragraph(
        "The residual is (before - denoised) / sqrt(denoised) at the measured pixels of all frames. A "
        "variance below 1 says that the noise was followed; above 1, or with a correlation, structure was "
        "taken away."
    ) + page.table(rows, columns, first="of the residual")


def scores(judged: Judged, keep: Keep, *, frames: int) -> str:
    """Show scores beside the simple filters."""
    body = page.paragraph(
        f"{counted(frames, 'frame')}; {judged.how}. More filters: smae-jax evaluate.", "soft"
    )
    for one in judged.tables:
        body += f"<h3>{page.text(one.title)}</h3>"
        columns = {key: what for key, what in one.columns.items() if key not in _ELSEWHERE}
        body += page.table(list(one.rows), columns, ours=OURS)
        legend = f'<p class="soft legend">{page.text(one.legend)}</p>'
        body += page.folded("What the columns mean", legend)
    curves = judged.curves
    if curves is not None:
        body += page.figure(
            keep("agreement", agreement_figure(curves.halves, curves.to_raw)),
            "Down to which size denoised halves of the photons agree.",
        )
        rings = {name: one for name, one in curves.rings.items() if name != "raw"}
        body += page.figure(
            keep("rings", rings_figure(rings)), "Denoised totals over measured ones, in rings."
        )
    return body


def profiles(found: Physics, keep: Keep) -> str:
    """Show I(q) of the scan, and I(chi) of every ring."""
    bins, whole = found.layout.bins, found.profile.of_scan()
    chi = whole.chi_square[0]
    each = found.profile.chi_square
    body = page.paragraph(
        f"Profiles are {bins.said}. {_of_raw(found.profile)} Denoised ones take the same pixels. Their band "
        "is the scatter of replicas: plausible answers to parts of the photons, with what such answers miss. "
        "So it holds the correlation of denoised pixels. Solid angles are corrected, polarisation is not."
    )
    body += page.facts(
        [
            ("made about", found.layout.cake.center.in_words()),
            ("chi-square of denoised against raw, of the scan added up", _number(chi)),
            ("the same, mean over the frames", _number(_mean(each))),
            (
                "what it says",
                "1: true rates; below 1: the noise was followed; above 1: bins moved by more than photon "
                f"noise. The alarm of moved rings asks for {SIGNIFICANT:g} sigma and {LARGEST_MOVE:g} % of a "
                "ring's total besides",
            ),
        ]
    )
    image = keep("profile", _profile_figure(found, whole))
    body += page.figure(image, f"{bins.name.capitalize()} profile of the scan; peaks shaded.")
    for number, (ring, profile) in enumerate(zip(found.layout.rings, found.rings, strict=True), 1):
        name, added = found.layout.name_of(ring), profile.of_scan()
        drawn = profile_figure(
            bins.azimuth,
            _curves(added),
            added.sigmas[0],
            label="chi / degrees (0 right, 90 down)",
            title=f"I(chi), {name}",
            logarithmic=False,
        )
        caption = (
            f"Azimuthal profile of the scan, {name}; chi-square {_number(added.chi_square[0])}."
        )
        body += page.figure(keep(f"chi_{number}", drawn), caption)
    return body


def _of_raw(profile: Profiles) -> str:
    """Say what raw profiles are."""
    if not profile.photons:
        return "These values are no photon counts: errors of raw profiles and fits are not known."
    return (
        "Raw profiles are sums of photons over sums of exposures: unbiased for the pixels that were "
        "measured, with exact Poisson errors. Where a ring is uneven and partly masked, these are not the "
        "whole ring."
    )


def _profile_figure(found: Physics, whole: Profiles) -> Figure:
    bins = found.layout.bins
    return profile_figure(
        bins.values,
        _curves(whole),
        whole.sigmas[0],
        label=bins.label,
        title=f"I({bins.name}) of the scan",
        marked=[(peak.low, peak.high) for peak in found.layout.peaks],
    )


def _curves(whole: Profiles) -> list[Curve]:
    sigma = None if whole.answer_sigma is None else whole.answer_sigma[0]
    curves = [
        Curve("raw", whole.raw[0], whole.raw_sigma[0]),
        Curve("denoised", whole.answer[0], sigma),
    ]
    if whole.known is not None and whole.known_sigma is not None:
        curves.append(Curve("reference", whole.known[0], whole.known_sigma[0]))
    return curves


def observables(found: Physics, collected: Collected, keep: Keep) -> str:
    """Show positions, widths, areas and orientation over the scan: series, or maps of a raster."""
    layout = found.layout
    peaks = ", ".join(
        f"{p.center:.4g} {layout.bins.unit} ({p.shape.replace('_', '-')})" for p in layout.peaks
    )
    said = f"Peaks: {peaks}." if peaks else "No peak stands out of the profile of the scan."
    orders = ", ".join(
        f"{o.number} at {o.peak.center:.4g} {layout.bins.unit}" for o in found.orders
    )
    said += f" Orders along the meridian: {orders}." if orders else ""
    body = page.paragraph(
        f"{said} Every frame is fitted by itself: a straight line and the peak, whose width is the full one "
        "at half height. Values are medians over the frames. Raw errors are those of photons, denoised ones "
        "are the scatter of replicas. Denoised less raw is the median over the frames: raw "
        "fits scatter about the truth, so it tells what denoising changes in all frames alike."
    )
    body += observed_table(found.observables)
    bare = [
        one.where
        for one in found.observables
        if one.where.startswith("ring ")
        and one.name == "direction"
        and not np.isfinite(one.raw).any()
    ]
    if bare:
        body += page.paragraph(
            f"Orientation needs {100 * COVERED:.0f} % of half a turn, which no frame has in "
            f"{', '.join(bare)}."
        )
    body += page.paragraph(
        "Directions are azimuths of the maximum, from right to down in the pictures. The degree goes from 0 "
        "(a ring) to 1 (two spots); Hermans' factor is 1 for two spots and 0 for a random orientation. Both "
        "count the background of the ring; the peak of a ring is fitted above its lowest azimuth. "
        "The meridian is where I(q) ripples most. The place of the first order is that of a straight line "
        "through those of all orders that a frame shows, two at least.",
        "soft",
    )
    return body + drawn(found.observables, collected, keep)


def observed_table(observables: Sequence[Observable]) -> str:
    """Return a table of quantities: medians over the frames, errors, and what denoising changed."""
    rows = [one.summary() for one in observables]
    shown = {key: what for key, what in OBSERVED.items() if any(key in row for row in rows)}
    return page.table(rows, shown, first="quantity")


def drawn(
    observables: Sequence[Observable], collected: Collected, keep: Keep, *, name: str = ""
) -> str:
    """Draw quantities over the scan: as series, or as maps of a raster.

    Args:
      observables: which; the first ones, where they are many.
      collected: of the scan.
      keep: takes the figures.
      name: that their names begin with.
    """
    body, before = "", f"{name}_" if name else ""
    chosen = observables[:_MAPPED]
    if len(chosen) < len(observables):
        more = f"Drawn: {_MAPPED} of {len(observables)} quantities; observables.csv has all."
        body += page.paragraph(more, "soft")
    if len(collected.leading) == 2:
        raster = (collected.leading[0], collected.leading[1])
        for number, one in enumerate(chosen, 1):
            image = keep(f"{before}map_{number}", map_figure(_series(one), raster))
            body += page.figure(image, f"{one.title}, over the raster.", "picture")
        return body
    for places in dict.fromkeys(one.where for one in chosen):
        panels = [_series(one) for one in chosen if one.where == places]
        image = keep(
            f"{before}series_{_slug(places)}", series_figure(panels, numbers=collected.numbers)
        )
        body += page.figure(image, f"Over the scan: {places}.")
    return body


def _series(one: Observable) -> Series:
    return Series(
        one.title,
        one.label,
        one.raw,
        one.raw_sigma,
        one.denoised,
        one.denoised_sigma,
        one.reference,
        cyclic=one.period > 0,
    )


def made(command: str, files: Sequence[str]) -> str:
    """Tell the command, and what lies beside the page."""
    links = "".join(f'<li><a href="{page.text(f)}">{page.text(f)}</a></li>' for f in files)
    return f"<pre>{page.text(command)}</pre><p>Beside this page:</p><ul>{links}</ul>"


def png_of(figure: Figure, *, dpi: int = 110) -> bytes:
    """Return a figure as PNG."""
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=dpi)
    return target.getvalue()


def keeping(folder: Path) -> Keep:
    """Return what writes figures into a folder, and gives them to the page."""
    folder.mkdir(parents=True, exist_ok=True)

    def keep(name: str, figure: Figure) -> bytes:
        image = png_of(figure)
        (folder / f"{name}.png").write_bytes(image)
        return image

    return keep


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not known"


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _slug(words: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in words)
