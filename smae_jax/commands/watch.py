"""`smae-jax watch`: denoise the frames of a scan that is still being measured, as they come."""

from __future__ import annotations

import dataclasses
import fnmatch
import os
import time
from collections.abc import Callable, Mapping

from smae_jax.cautions import counted
from smae_jax.config import WatchConfig, check_given
from smae_jax.config_file import changed
from smae_jax.errors import UserError
from smae_jax.finishing import name_of
from smae_jax.io.array_files import HDF5_SUFFIXES
from smae_jax.io.arrivals import Folder
from smae_jax.io.arrived import Reading, State
from smae_jax.io.atomic import OutputError, refuse_unwritable
from smae_jax.io.growing import Growing
from smae_jax.io.growing_input import GrowingFile
from smae_jax.io.growing_layout import NAME_BYTES, Layout
from smae_jax.io.locations import opener_of, split_inside
from smae_jax.io.number_types import NumberType
from smae_jax.io.outputs import refuse_input, suffix_of
from smae_jax.io.packings import packing_options
from smae_jax.io.present import root_of
from smae_jax.methods.protocol import Say
from smae_jax.run.folder import files_of_run
from smae_jax.run.lock import held
from smae_jax.run.resident import Resident
from smae_jax.run.restore import files_of

PIXELS_AT_ONCE = 8_000_000
"""Of the frames that are read together where many are waiting: bounds the memory."""
_FRAMES_AT_ONCE = 32
_POLL = 0.2  # seconds between two looks at the input, or as long as a look takes


def watch(config: WatchConfig, say: Say, stopped: Callable[[], bool] = lambda: False) -> None:
    """Denoise frames as they come, and write them behind one another, until the scan is over.

    Args:
      config: the options.
      say: receives every line that a person should read.
      stopped: tells whether the end was asked for from outside.

    Raises:
      UserError: in one line, for anything that a user can mend; also where frames came and none could be
        answered.
    """
    check_given(config, "run", "input", "output")
    _check_output(config)
    with held(config.output, doing="writing", option="--output"):
        resident = Resident(config, say=say)
        with Growing(
            config.output, _layout(config, resident), overwrite=config.overwrite
        ) as output:
            before = len(output.answered)
            if before:
                say(f"{config.output}: goes on behind {counted(before, 'frame')}")
            arrivals = _arrivals(config, resident, output.answered)
            why = _follow(config, arrivals, resident, output, stopped, say)
            arrivals.left()
            for line in arrivals.said.rest():
                say(line)
            if not output.answered and (refusal := arrivals.refusal()):
                raise UserError(f"--input {config.input}: no frame was answered ({refusal})")
            say(_result(config, output, before, why))


def _result(config: WatchConfig, output: Growing, before: int, why: str) -> str:
    """Say what is in the output, and why that is all."""
    if not output.answered:
        return f"{config.output}: no frame was answered, and nothing written; {why}"
    rounded = output.numbers.in_words(output.clipped)
    now = f", {len(output.answered) - before} of them now" if before else ""
    rounded = f"; {rounded}" if rounded else ""
    return (
        f"{config.output}: {counted(len(output.answered), 'frame')}{now}, in counts{rounded}; {why}"
    )


def _follow(
    config: WatchConfig,
    arrivals: Folder | GrowingFile,
    resident: Resident,
    output: Growing,
    stopped: Callable[[], bool],
    say: Say,
) -> str:
    """Answer frames as they come; return why that is over."""
    pixels = resident.shape[0] * resident.shape[1]
    most = max(resident.batch_size, min(_FRAMES_AT_ONCE, PIXELS_AT_ONCE // pixels))
    lag, written, reported = 0.0, 0, time.monotonic()
    while not stopped():
        start, there = time.monotonic(), len(output.answered)
        found = arrivals.take(most, config.frames - there if config.frames else most)
        for line in arrivals.said.new():
            say(line)
        if found is not None:
            answers, names = resident.answers(found.data), found.data.names
            for name in names:
                if name in output.answered:
                    arrivals.said.add("answered anew", name, "written again since it was answered")
            output.write(answers.counts, answers.filled, names, found.states)
            lag, written = time.monotonic() - found.came, written + len(names)
        now = time.monotonic()
        if now - reported >= config.report:
            for line in arrivals.said.rest():
                say(line)
            if written:
                say(
                    f"{counted(len(output.answered), 'frame')} written, {arrivals.waiting} waiting, "
                    f"{lag:.1f} s behind"
                )
            written, reported = 0, now
        if found is not None:
            continue
        if config.frames and there >= config.frames and not arrivals.changed:
            return f"all {config.frames} frames of the scan are there"
        if arrivals.ended:
            return "the file tells that the scan has ended"
        news = arrivals.news if arrivals.news is not None else (start if there else None)
        arrivals.news = news
        if config.idle and news is not None and now - news >= config.idle:
            return f"nothing new for {config.idle:g} s"
        time.sleep(max(_POLL, now - start))
    return "stopped"


def _arrivals(
    config: WatchConfig, resident: Resident, done: Mapping[str, State]
) -> Folder | GrowingFile:
    """Return what looks out for frames: in an HDF5 file that is named, else in files that come."""
    reading = Reading(
        shape=resident.shape,
        marks=resident.marks,
        saturation=resident.saturation,
        settle=config.settle,
        patience=config.patience,
        left_out=(*config.mask, *files_of(config.dark, config.flat)),
        longest=NAME_BYTES,
    )
    kind = GrowingFile if _is_hdf5(config.input) else Folder
    return kind(config.input, reading, done)


def _is_hdf5(location: str) -> bool:
    """Whether a location names one HDF5 file, there or not."""
    path = split_inside(location)[0]
    several = os.path.isdir(path) or (not os.path.exists(path) and any(c in path for c in "*?["))
    return not several and os.path.splitext(path)[1].lower() in HDF5_SUFFIXES


def _layout(config: WatchConfig, resident: Resident) -> Layout:
    """Tell what the output is to hold, and what its answers depend on."""
    opened = resident.opened
    data = opened.data
    stages = tuple((name_of(stage), "of each frame") for stage in opened.stages)
    told = opened.made_by(stages)
    asked = ("ensemble", "rule", "marks", "keep_significant", "conserve_totals")
    asked = (*asked, "output_dtype", "packing")
    made_of = {
        "run": f"{os.path.abspath(config.run)}, step {opened.step}",
        "input": os.path.abspath(config.input),
        **opened.depends_on(),
        **{f"--{name.replace('_', '-')}": str(getattr(config, name)) for name in asked},
    }
    origin = dataclasses.replace(data.origin, source=config.input)
    return Layout(
        like=dataclasses.replace(data, origin=origin),
        known=resident.nothing.known[0],
        process=told | {"options": changed(config)},
        made_of=made_of,
        packing=config.packing,
        numbers=NumberType(config.output_dtype),
    )


def _check_output(config: WatchConfig) -> None:
    """Refuse an output that cannot grow, that is an input, or that would be taken for one."""
    output, path = config.output, split_inside(config.input)[0]
    NumberType(config.output_dtype)
    packing_options(config.packing)
    if suffix_of(output) not in HDF5_SUFFIXES:
        raise OutputError(
            f"--output {output}: expected a name ending in {', '.join(HDF5_SUFFIXES)}; other formats cannot "
            "grow"
        )
    if os.path.isdir(output):
        raise OutputError(f"--output {output}: is a folder; name a file")
    calibration, own = files_of(config.dark, config.flat), files_of_run(config.run)
    refuse_input(output, config.input, *config.mask, *calibration, *own)
    refuse_unwritable(output)
    real = os.path.realpath(output)
    folder = os.path.isdir(path)
    inside = folder and os.path.dirname(real) == os.path.realpath(path) and opener_of(output)
    root = os.path.realpath(root_of(path))
    pattern = os.path.join(root, os.path.relpath(path, root_of(path)))
    if inside or (not folder and fnmatch.fnmatch(real, pattern)):
        raise OutputError(
            f"--output {output}: is where --input {config.input} looks for frames, and would be taken for "
            "one; choose another folder"
        )
