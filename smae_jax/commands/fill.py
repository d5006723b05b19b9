"""`smae-jax fill`: masked pixels from their symmetric partner, without training."""

from __future__ import annotations

from smae_jax import blocks
from smae_jax.cautions import counted, of_mask
from smae_jax.config import DataOptions, FillConfig, check_given
from smae_jax.config_file import changed
from smae_jax.errors import UserError
from smae_jax.filling import from_partner
from smae_jax.io.atomic import refuse_unwritable
from smae_jax.io.finished import is_finished
from smae_jax.io.form import Form, form_of
from smae_jax.io.parts import Parts
from smae_jax.io.reading import describe_mask
from smae_jax.io.writing import check_output, refuse_input, write
from smae_jax.measurements import Measurements
from smae_jax.memory import parse_memory
from smae_jax.methods.protocol import Say
from smae_jax.run.blockwise import Work, in_blocks, whole
from smae_jax.run.data import as_settled, how_settled, read_data, settled_scan
from smae_jax.run.large import TELLING, Large, open_large
from smae_jax.version import version

HOLDS = "counts, of masked pixels those of their partner"


def fill(config: FillConfig, say: Say) -> None:
    """Fill masked pixels and write the scan in counts; measured pixels stay as they were counted.

    Args:
      config: the options.
      say: receives every line that a person should read.

    Raises:
      UserError: in one line, for anything that a user can mend.
    """
    try:
        _fill(config, lambda line: say(_of_fill(line)))
    except UserError as error:
        raise UserError(_of_fill(str(error))) from error


def _of_fill(text: str) -> str:
    """Call options by the names that they have here: `--center`, not `--data.center`."""
    text = text.replace("; --thinning.partner none leaves partners out", "")
    return text.replace("--data.path", "--input").replace("--data.", "--")


def _fill(config: FillConfig, say: Say) -> None:
    check_given(config, "input", "output")
    options, inputs = config.as_data(), (config.input, *config.mask, config.flat, config.geometry)
    form = form_of(
        config.output, output_dtype=config.output_dtype, packing=config.packing, holds=HOLDS
    )
    refuse_input(config.output, *inputs)
    refuse_unwritable(config.output)
    large = _large(config, options)
    data = read_data(options) if large is None else _some(large, options, config)
    _tell(data, options, say)
    finished = large is not None and is_finished(config.output, form)  # but for its parts
    check_output(config.output, data, inputs=inputs, overwrite=config.overwrite or finished)
    if large is not None:
        in_blocks(_work(config, large, data, form, say), say)
        return
    if config.shard:
        raise UserError(
            f"--shard {config.shard}: {config.input} is one block of {data.frames} frames; leave it out"
        )
    answers = from_partner(data)
    rounded = write(
        config.output,
        answers.counts,
        data,
        known=answers.known,
        filled=answers.filled,
        process=dict(answers.done) | {"options": changed(config)},
        overwrite=config.overwrite,
        form=form,
    )
    if rounded:
        say(f"note: {rounded}")
    say(f"{config.output}: {counted(data.frames, 'frame')}, in counts; {answers.done[0][1]}")


def _most(config: FillConfig, pixels: int) -> int:
    """Return how many frames are filled together, given the pixels of one."""
    memory = parse_memory(config.memory)
    return min(blocks.FRAMES, blocks.frames_that_fit(pixels, memory, each=blocks.TO_DENOISE))


def _large(config: FillConfig, options: DataOptions) -> Large | None:
    """Open the input without reading it, where it is a scan of more frames than one block; else None."""
    return open_large(
        options,
        config.input,
        frames=config.frames,
        left_out=(config.flat,),
        most=lambda pixels: _most(config, pixels),
    )


def _some(large: Large, options: DataOptions, config: FillConfig) -> Measurements:
    """Read the frames that tell mask and centre of a large scan, and settle them."""
    count = min(_most(config, large.pixels), TELLING)
    return settled_scan(large.some(count, "tell mask and centre of all"), options)


def _tell(data: Measurements, options: DataOptions, say: Say) -> None:
    """Say what was understood of the files; refuse what has no partners.

    Raises:
      UserError: if there is no trusted centre.
    """
    center = data.center
    if center is None or data.channels:
        raise UserError(
            f"{options.path}: expected patterns of a scan, whose pixels have a partner across the beam, got "
            f"measurements of {data.counts.shape[1:]}"
        )
    if not center.trusted:
        raise UserError(
            f"{options.path}: no trusted centre, so no pixel has a partner to be filled from: "
            f"{center.reason}; give it with --center y,x if you know it"
        )
    for line in (
        *data.origin.notes,
        center.in_words(),
        *center.warnings(),
        *of_mask(data, polarity=options.mask_polarity if options.mask else "", options="--data."),
        describe_mask(data),
    ):
        say(line)


def _work(config: FillConfig, large: Large, data: Measurements, form: Form, say: Say) -> Work:
    """Describe what is done to a large scan, given some of its frames, settled."""

    def process(parts: Parts) -> dict[str, str]:
        stages = {f"{stage}, in the first block": what for stage, what in parts.done()}
        return stages | {"options": changed(config), "blocks": str(len(parts.blocks))}

    def finish(parts: Parts) -> None:
        for _, what in parts.done():
            say(
                f"{config.output}: {counted(large.frames, 'frame')}, in counts; {what} (first block)"
            )

    return Work(
        output=config.output,
        like=whole(large, data),
        blocks=tuple(blocks.borders(large.frames, _most(config, large.pixels))),
        made_of={
            "version": version(),
            "command": "fill",
            **how_settled(data),
            "--saturation": str(config.saturation),
            "marks": data.origin.marks,
            **large.record(),
        },
        read=lambda frames: as_settled(large.read(frames), data),
        answer=from_partner,
        changed=large.changed,
        process=process,
        finish=finish,
        form=form,
        shard=config.shard,
        overwrite=config.overwrite,
        doing="filling",
    )
