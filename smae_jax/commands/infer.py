"""`smae-jax infer`: from files and a run folder to denoised frames in counts."""

from __future__ import annotations

import functools
import os
import shutil

import numpy as np

from smae_jax import blocks, finishing
from smae_jax.cautions import cautions, counted
from smae_jax.config import InferConfig, check_given, parse_ranges
from smae_jax.config_file import changed
from smae_jax.encodable import encodable
from smae_jax.errors import UserError
from smae_jax.filling import beside_counts, error_bars_alone
from smae_jax.inference import in_counts
from smae_jax.io.atomic import refuse_unwritable
from smae_jax.io.finished import is_finished, left_without_rest
from smae_jax.io.outputs import parts_of
from smae_jax.io.parts import Parts
from smae_jax.io.reading import describe_mask
from smae_jax.io.writing import check_output, refuse_input, write
from smae_jax.measurements import Measurements, mean_of_frames, not_counted
from smae_jax.memory import parse_memory
from smae_jax.methods.protocol import Answers, Say
from smae_jax.progress import each
from smae_jax.run.background import read_background
from smae_jax.run.blockwise import form_asked, infer_large
from smae_jax.run.folder import files_of_run
from smae_jax.run.restore import Opened, bytes_of_pixel, files_of, open_run
from smae_jax.run.scratch import room_beside


def infer(config: InferConfig, say: Say, *, data: Measurements | None = None) -> None:
    """Denoise measurements and write them in counts, in the geometry and with the axis that they had.

    Args:
      config: the options.
      say: receives every line that a person should read.
      data: measurements at hand; None = they are read from `config.input`.

    Raises:
      UserError: in one line, for anything that a user can mend.
    """
    check_given(config, "run", "output", *(("input",) if data is None else ()))
    form = form_asked(config)
    finished = is_finished(config.output, form)  # but for its parts, see `in_blocks`
    left = left_without_rest(config.output, form, changed(config))
    _check_places(config, finished=finished)
    opened = open_run(config, say, data=data)
    _check_figure(config, opened.data)
    check_output(
        config.output,
        opened.data,
        inputs=_inputs(config),
        overwrite=config.overwrite or (finished if opened.large is not None else left is not None),
        sigma=config.sigma and config.only != "sigma",
    )
    if opened.large is not None:
        _infer_large(config, opened, say)
        return
    if config.shard:
        raise UserError(
            f"--shard {config.shard}: {config.input or 'the data'} is one block of "
            f"{opened.data.frames} frames; leave it out"
        )
    if left is not None:
        say(
            f"{config.output}: is there without its other files; the same command made it, and was killed"
        )
    answers = answer(config, opened, say)
    rounded = write(
        config.output,
        answers.counts,
        opened.data,
        known=answers.known,
        filled=answers.filled,
        sigma=answers.sigma,
        replicas=answers.replicas,
        process=opened.made_by(answers.done) | {"options": changed(config)},
        overwrite=config.overwrite or left is not None,
        form=form,
    )
    if left is not None:
        shutil.rmtree(left, ignore_errors=True)
    if rounded:
        say(f"note: {rounded}")
    if config.figure:
        draw(config, opened, answers)
    say(in_words(config, opened, answers))


def answer(config: InferConfig, opened: Opened, say: Say) -> Answers:
    """Answer the data of a run through all stages; say what each stage did.

    Returns:
      Counts of every frame's own exposure, or per unit of exposure where all repeats have one answer.

    Raises:
      UserError: if error bars are asked for where there are none.
    """
    answers = _answered(config, _looked_at(config, opened, say), opened)
    for stage, what in answers.done:
        say(f"{stage.replace('_', ' ')}: {what}")
    return answers


def _looked_at(config: InferConfig, opened: Opened, say: Say) -> Measurements | None:
    """Say what a person should know before the work, and refuse what cannot be; return the background."""
    data = opened.data
    for line in cautions(data, polarity=config.mask_polarity if config.mask else "", options="--"):
        say(line)
    frames = data.frames if opened.large is None else opened.large.frames
    patterns = len(data.spatial) == 2
    say(
        counted(frames, "frames")
        + (f"; {describe_mask(data)}" if patterns else f" of {data.spatial}")
    )
    check_sigma(config, opened)
    _check_replicas(config, opened)
    if config.only == "filled" and opened.method.answers == "one":
        raise UserError(
            f"--only filled: all {counted(frames, 'repeat')} have one answer, which belongs beside the "
            "counts of none of them; leave it out"
        )
    background = read_background(config, opened, say)
    stages = (finishing.bare(stage) for stage in opened.stages)
    centred = data.center is not None
    if centred and not data.are_counts and any(stage in finishing.COUNTED for stage in stages):
        say(
            "note: no whole photon counts, so answers are neither combined nor held against them "
            "(--no-combine --keep-significant 0 --no-keep-sums --no-keep-shadows)"
        )
    return background


def _answered(config: InferConfig, background: Measurements | None, opened: Opened) -> Answers:
    """Answer the data, or those of one block, in counts and without the background."""
    data, method = opened.data, opened.method
    progress = functools.partial(each, desc=counted(data.frames, "frame"), unit="batch")
    always = method.error_bars == "repeats" and data.frames > 2
    answers = opened.answers(sigma=config.sigma or always, progress=progress)
    if config.replicas:
        room = room_beside(config.output)
        answers = opened.with_replicas(answers, number=config.replicas, room=room)
    if method.answers != "one":
        answers = in_counts(answers, data)
    if background is not None:
        scale, name = config.background_scale, config.background
        answers = finishing.subtract_background(answers, data, background, scale=scale, name=name)
    if config.only == "filled":
        return beside_counts(answers, data)
    if config.only == "sigma":
        return error_bars_alone(answers)
    return answers


def _infer_large(config: InferConfig, opened: Opened, say: Say) -> None:
    """Denoise a scan block by block, and draw its first frame."""
    background = _looked_at(config, opened, say)
    _warn_of_memory(config, opened, say)
    of_block = functools.partial(_answered_block, config, background, opened, say)

    def finish(parts: Parts) -> None:
        for stage, what in parts.done():
            say(f"{stage.replace('_', ' ')}, in the first block: {what}")
        if config.figure and os.path.exists(config.figure) and not config.overwrite:
            say(f"{config.figure}: is there, and left as it is")
        elif config.figure:
            found = parts.first()
            first = Answers(found["counts"], found["known"], found["filled"])
            draw(config, opened.of_block(slice(0, 1)), first)
        frames = sum(block.stop - block.start for block in parts.blocks)
        say(f"{config.output}: {frames} frames, in counts")

    infer_large(config, opened, background, of_block, finish, say)


def _warn_of_memory(config: InferConfig, opened: Opened, say: Say) -> None:
    """Say so where the smallest block takes more than was allowed."""
    if opened.large is None:
        return
    each = bytes_of_pixel(config, opened.config, opened.survey)
    least = blocks.FEWEST * each * opened.large.pixels
    if least > parse_memory(config.memory):
        say(
            f"WARNING: {blocks.FEWEST} frames are the fewest that are denoised together, and take about "
            f"{least / 2**30:.2g} GiB, more than --memory allows"
        )


def _answered_block(
    config: InferConfig, background: Measurements | None, opened: Opened, say: Say, block: Opened
) -> Answers:
    """Answer one block; say so where it holds values unlike those that told what the scan is."""
    data = block.data
    if opened.data.are_counts and not data.are_counts:
        value = not_counted(data.counts)
        frame = data.names[int(np.argmax([not_counted(one) is not None for one in data.counts]))]
        what = f"{frame}: holds {value:g}, where other frames hold whole photon counts"
        if config.sigma or config.replicas:
            raise UserError(
                f"{what}, and error bars are those of counts; leave the frame out (--repeats)"
            )
        say(
            f"WARNING: {what}; the {data.frames} frames of its block are neither combined nor held against "
            "their counts"
        )
    return _answered(config, background, block)


def check_sigma(config: InferConfig, opened: Opened) -> None:
    """Refuse error bars where the method, or the data, give none."""
    if not config.sigma:
        return
    data, kind = opened.data, opened.method.error_bars
    if kind == "repeats" and data.frames > 2:
        return
    if kind == "photons" and data.center is not None:
        if not data.are_counts:
            counts = ", or give --noise photons if these are" if data.integrated else ""
            raise UserError(
                f"--sigma: expected whole photon counts in {data.origin.source}, whose noise is known; "
                f"leave the option out{counts}"
            )
        return
    name, count = opened.config.method, counted(data.frames, "frame")
    raise UserError(
        f"--sigma: a run of method {name} has no error bars of {data.origin.source} ({count}). There are "
        "some of photon counts about a beam centre, and where noise2noise gives three repeats or more one "
        "answer (--noise2noise.prediction sum); leave the option out"
    )


def _check_replicas(config: InferConfig, opened: Opened) -> None:
    """Refuse replicas where there are none."""
    if not config.replicas:
        return
    each_own = opened.method.error_bars == "photons"
    finishing.check_replicas(opened.data, config.replicas, each=each_own)


def in_words(config: InferConfig, opened: Opened, answers: Answers) -> str:
    """Say what was written."""
    method, count = opened.method, opened.data.frames
    one = method.answers == "one"
    what = f"one answer to {counted(count, 'repeat')}" if one else counted(count, "frame")
    known, filled = 100 * np.mean(answers.known), 100 * np.mean(answers.filled)
    rest = f", {filled:.1f} % are filled from their partner" if opened.data.symmetry else ""
    value = "an answer"
    if config.only == "filled":
        what, value, rest = f"{what} as counted", "a value", f", {filled:.1f} % by the answer"
    elif config.only == "sigma":
        what = f"error bars alone of {what}"
    return (
        f"{config.output}: {what}, in counts; {known:.1f} % of pixels have {value}{rest}, the rest is "
        f"{form_asked(config).numbers.none}; step {opened.step}, ensemble {opened.predictor.group}"
    )


def _check_places(config: InferConfig, *, finished: bool) -> None:
    """Refuse to write over anything that is read, and a figure that exists or is no PNG.

    Beside an output that is finished but for its parts a figure may stand: it is left as it is.
    """
    inputs = _inputs(config)
    refuse_input(config.output, *inputs)
    refuse_input(parts_of(config.output), *inputs)
    refuse_unwritable(config.output)
    if not config.figure:
        return
    refuse_input(config.figure, *inputs, option="--figure")
    refuse_unwritable(config.figure)
    if not config.figure.endswith(".png"):
        raise UserError(f"--figure {config.figure}: expected a name ending in .png")
    if os.path.exists(config.figure) and not (config.overwrite or finished):
        raise UserError(
            f"--figure {config.figure}: exists already; choose another name or --overwrite"
        )


def _inputs(config: InferConfig) -> tuple[str, ...]:
    """Return every location that is read; "" where an option is not given."""
    return (
        *(config.input, *config.mask, config.monitor, config.background),
        *files_of(config.dark, config.flat),
        *files_of_run(config.run),
    )


def _check_figure(config: InferConfig, data: Measurements) -> None:
    """Refuse a figure that cannot be drawn, before the work."""
    if config.figure and (len(data.spatial) == 3 or data.channels):
        raise UserError(
            f"--figure {config.figure}: expected spectra or patterns, got measurements of "
            f"{data.counts.shape[1:]}; leave the option out"
        )


def draw(config: InferConfig, opened: Opened, answers: Answers) -> None:
    """Draw the first answer, before and after, per unit of exposure."""
    # Matplotlib takes as long to start as all the rest: only who draws waits for it.
    from smae_jax.figures import save
    from smae_jax.figures.frames import denoised_figure
    from smae_jax.figures.spectrum import spectrum_figure

    together = opened.method.answers == "one"
    data = opened.data if together else opened.data.take([0])
    unit = np.float32(1) if together else data.frame_exposure[0]
    answer = answers.counts[0] / unit
    title = encodable(os.path.basename(data.origin.source))
    if len(data.spatial) == 2:
        figure = denoised_figure(
            data,
            answer[None],
            filled=answers.filled[:1],
            title=title if together else data.names[0],
        )
    else:
        light = mean_of_frames(data)[1]
        metrics = opened.folder.metrics
        figure = spectrum_figure(
            data,
            answer,
            None if answers.sigma is None else answers.sigma[0] / unit,
            noise=opened.survey.noise.beside_photons(answer, np.where(light > 0, light, np.nan)),
            ranges=parse_ranges(config.plot_range),
            metrics=metrics if metrics.is_file() else None,
            title=title,
        )
    save(figure, config.figure, overwrite=config.overwrite)
