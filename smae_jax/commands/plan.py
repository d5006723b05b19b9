"""`smae-jax plan`: how short one may expose for a quantity to be told as precisely as is asked.

out/plan.json  plan.csv  plan.png
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smae_jax.cautions import cautions, counted
from smae_jax.config import PlanConfig, check_given, parse_tolerance
from smae_jax.config_file import changed
from smae_jax.encodable import encodable
from smae_jax.errors import UserError
from smae_jax.evaluation.folder import check_folder, list_files
from smae_jax.evaluation.opening import open_judged, refuse_repeats
from smae_jax.evaluation.tables import as_csv, finite_or_none, without_infinities
from smae_jax.figures.planning import plan_figure
from smae_jax.io.atomic import atomic_path, refuse_unwritable
from smae_jax.io.writing import refuse_input
from smae_jax.methods.protocol import Say
from smae_jax.progress import each
from smae_jax.report import alarms, extra
from smae_jax.report.ladder import Ladder, Place, Quantity, with_counts
from smae_jax.report.physics import Layout, lay_out
from smae_jax.report.planning import Plan, Rung
from smae_jax.run.restore import Opened, files_of
from smae_jax.version import version

MADE_BY = "smae-jax plan"
RECORD = "plan.json"
FEWEST_FRAMES = 3
"""Frames whose scatter tells how sure an error is."""


def plan(config: PlanConfig, say: Say) -> tuple[Plan, ...]:
    """Thin a pilot scan to lower exposures, and tell the error of a quantity at each, raw and denoised.

    Args:
      config: the options.
      say: receives every line that a person should read.

    Returns:
      What suffices, for every peak or ring.

    Raises:
      UserError: in one line, for anything that a user can mend.
    """
    _check_places(config)
    extra.require("plan")
    opened, whole = open_judged(config, say)
    opened = dataclasses.replace(opened, large=None)
    _check_scan(config, opened)
    for line in cautions(opened.data, options="--"):
        say(line)
    layout = lay_out(config, opened.data)
    if opened.data.center is not None:
        alarm = alarms.centres_differ(opened.data.center, layout.cake.center)
        if alarm.state == "rings":
            say(f"ALARM: {alarm.name}: {alarm.found}")
    quantity = _quantity(config)
    _check_layout(config, quantity, layout, opened.data.frames)
    number = config.halvings * config.draws
    least = f" ... 1/{2**config.halvings}" if config.halvings > 1 else ""
    say(
        f"{opened.data.frames} of {whole} frames are thinned to 1/2{least} of their exposure, "
        f"{counted(config.draws, 'time')} each, and answered as by infer --scale {config.scale}"
    )
    ladder = Ladder(opened, layout, (quantity,), scale=config.scale, seed=config.seed)
    places = ladder.climb(
        halvings=config.halvings,
        thinnings=config.draws,
        progress=functools.partial(each, total=number, desc="thinned scans", unit="scan"),
    )
    plans = tuple(_plan(config, place) for place in places)
    with atomic_path(config.output, overwrite=config.overwrite) as folder:
        folder.mkdir()
        _write(folder, config, plans)
        list_files(folder, RECORD)
    for one in plans:
        say(one.sentence)
    say(f"{config.output}/plan.png: the errors against exposure")
    return plans


def _check_places(config: PlanConfig) -> None:
    """Refuse a plan of nothing, and to write over what is read or was not made here."""
    check_given(config, "run", "input", "output")
    refuse_input(
        *(config.output, config.input, *config.mask, config.monitor, config.run, config.geometry),
        *files_of(config.dark, config.flat),
    )
    check_folder(
        Path(config.output),
        overwrite=config.overwrite,
        read=(config.run, config.input),
        record=RECORD,
        made_by=MADE_BY,
    )
    refuse_unwritable(config.output)


def _check_scan(config: PlanConfig, opened: Opened) -> None:
    """Refuse what cannot be thinned, or has too few frames."""
    refuse_repeats(config, opened)
    if not opened.data.are_counts:
        raise UserError(
            f"--input {config.input}: expected photon counts, whole and not negative, which can be thinned; "
            "got other values; give the frames as the detector wrote them"
        )
    if opened.data.frames < FEWEST_FRAMES:
        raise UserError(
            f"--input {config.input}: expected {FEWEST_FRAMES} frames or more, whose scatter tells how sure "
            f"an error is, got {opened.data.frames}; give more of them"
        )


def _quantity(config: PlanConfig) -> Quantity:
    """Tell which quantity is meant: of orientation the direction, where the tolerance is an angle."""
    if config.observable != "orientation":
        return config.observable
    return "direction" if parse_tolerance(config.tolerance)[1] == "deg" else "degree"


def _check_layout(config: PlanConfig, quantity: Quantity, layout: Layout, frames: int) -> None:
    """Refuse a scan in which the quantity is not there."""
    if quantity in ("d_spacing", "area") and not layout.peaks:
        raise UserError(
            f"--observable {config.observable}: no peak stands out of the profile of {config.input}; say "
            f"where it is with --peaks low:high in {layout.bins.unit}"
        )
    if quantity == "profile" and not with_counts(layout, frames).any():
        raise UserError(
            f"--observable profile: no bin of {config.input} has counts enough in a frame; give a pilot of "
            "a longer exposure"
        )


def _plan(config: PlanConfig, place: Place) -> Plan:
    """Tell the errors of one quantity, and what suffices."""
    tolerance, unit = parse_tolerance(config.tolerance)
    relative = unit == "%"
    # A profile is relative to its mean already.
    share = relative and config.observable != "profile"
    raw, denoised = place.rungs(unit=abs(place.typical) if share else 1.0)
    return Plan(
        place.title,
        "" if relative else place.unit,
        relative,
        place.typical,
        tolerance,
        config.tolerance.replace("%", " %").replace("deg", " degrees"),
        raw,
        denoised,
    )


def _write(folder: Path, config: PlanConfig, plans: Sequence[Plan]) -> None:
    """Write record, table and figure."""
    record = {
        "made_by": MADE_BY,
        "version": version(),
        "command": f"smae-jax plan {changed(config)}",
        "options": dataclasses.asdict(config),
        "plans": [_record(one) for one in plans],
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (folder / "plan.csv").write_text(as_csv(_rows(plans)), encoding="utf-8")
    title = f"How short may I expose? {config.run}"
    plan_figure(plans, title=encodable(title)).savefig(folder / "plan.png", dpi=150)


def _record(one: Plan) -> dict[str, Any]:
    needed = {"raw": one.needed_raw, "denoised": one.needed_denoised}
    return {
        "quantity": one.title,
        "sentence": one.sentence,
        "tolerance": one.tolerance,
        "unit": one.unit,
        "relative": one.relative,
        "typical": finite_or_none(one.typical),
        "needed": {k: None if v is None else dataclasses.asdict(v) for k, v in needed.items()},
        "times_shorter": one.factor,
        "errors": without_infinities(_rows([one])),
    }


def _rows(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """Return a row for each quantity, kind and exposure."""
    return [
        {
            "quantity": one.title,
            "kind": kind,
            **_row(rung),
            "unit": "share" if one.relative else one.unit,
        }
        for one in plans
        for kind, rungs in (("raw", one.raw), ("denoised", one.denoised))
        for rung in rungs
    ]


def _row(rung: Rung) -> dict[str, Any]:
    known = math.isfinite(rung.square)
    return {
        "exposure": rung.exposure,
        "error": rung.error if known else None,
        "low": rung.low if known else None,
        "high": rung.high if known else None,
        "found_in": rung.told,
        "judged_by": "halves" if rung.from_halves else "the photons left",
    }
