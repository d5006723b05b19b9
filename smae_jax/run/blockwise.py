"""A large scan denoised block by block: what is finished is kept, and others may do a part of it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np

from smae_jax.blocks import borders
from smae_jax.cautions import counted
from smae_jax.config import InferConfig, parse_shard
from smae_jax.config_file import changed, flat
from smae_jax.io.atomic import OutputError
from smae_jax.io.finished import is_finished, move_rest
from smae_jax.io.form import Form, form_of
from smae_jax.io.outputs import parts_of
from smae_jax.io.parts import Parts, checksum
from smae_jax.io.writing import write_joined
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers, Say
from smae_jax.one_heap import hand_back
from smae_jax.overlap import Behind, ahead
from smae_jax.progress import Bar
from smae_jax.run.large import Large
from smae_jax.run.lock import HeldError, claimed, held
from smae_jax.run.restore import Opened

_NOT_ASKED = {
    *("run", "input", "output", "overwrite", "memory", "shard", "figure", "plot_range"),
    *("batch_size", "config", "packing", "output_dtype"),
}
"""Options that answers do not depend on, or that are told otherwise."""
PAUSE_S = 0.5
"""Seconds between two looks at blocks that another process has in hand."""
Read = TypeVar("Read")


@dataclasses.dataclass(frozen=True)
class Work(Generic[Read]):
    """What is done to a large scan, block by block.

    Attributes:
      output: where the answers go.
      like: the whole scan, see `whole`.
      blocks: frames of each.
      made_of: what the answers depend on.
      read: reads the frames of a block; called in a thread while the block before is answered.
      answer: answers what was read of a block, in counts.
      changed: says so where the input has changed since it was opened; "" = it has not.
      process: tells what made the output, once all parts are there.
      finish: is called by the process that has written the output, before the parts are removed.
      form: of the output.
      shard: part of the blocks that this process does, as `parse_shard` reads it.
      overwrite: whether output and parts of another one are replaced.
      doing: what is done, for messages.
    """

    output: str
    like: Measurements
    blocks: tuple[slice, ...]
    made_of: Mapping[str, str]
    read: Callable[[slice], Read]
    answer: Callable[[Read], Answers]
    changed: Callable[[], str]
    process: Callable[[Parts], dict[str, str]]
    finish: Callable[[Parts], None]
    form: Form = dataclasses.field(default_factory=Form)
    shard: str = ""
    overwrite: bool = False
    doing: str = "denoising"


def infer_large(
    config: InferConfig,
    opened: Opened,
    background: Measurements | None,
    answer: Callable[[Opened], Answers],
    finish: Callable[[Parts], None],
    say: Say,
) -> None:
    """Answer this process's blocks of a large scan, and write the output when all blocks are there.

    Args:
      config: the options.
      opened: a run with a large scan.
      background: that is taken off the answers.
      answer: answers the data of one block, in counts.
      finish: see `Work`.
      say: receives every line that a person should read.

    Raises:
      UserError: as `in_blocks`.
    """
    if opened.large is None:
        raise TypeError("the scan is not large")

    def process(parts: Parts) -> dict[str, str]:
        told = opened.made_by(parts.done())
        return told | {"options": changed(config), "blocks": str(len(parts.blocks))}

    work = Work(
        output=config.output,
        like=whole(opened.large, opened.data),
        blocks=tuple(borders(opened.large.frames, opened.block)),
        made_of=made_of(config, opened, background),
        read=opened.of_block,
        answer=answer,
        changed=opened.large.changed,
        process=process,
        finish=finish,
        form=form_asked(config),
        shard=config.shard,
        overwrite=config.overwrite,
    )
    in_blocks(work, say)


def form_asked(config: InferConfig) -> Form:
    """Return the form of the output that the options ask for.

    Raises:
      UserError: in one line, if there is none such, or the output has no place for it.
    """
    bars = "one standard deviation of the denoised counts"
    return form_of(
        config.output,
        output_dtype=config.output_dtype,
        packing=config.packing,
        holds=bars if config.only == "sigma" else Form.holds,
    )


def in_blocks(work: Work[Read], say: Say) -> None:
    """Do this process's blocks, and write the output when all blocks are there.

    Args:
      work: what is done.
      say: receives every line that a person should read.

    Raises:
      UserError: in one line, if another process does the same part, or parts of another output are there or
        come to be there.
    """
    part, of = parse_shard(work.shard)
    own = share_of(len(work.blocks), part, of)
    parts = Parts(parts_of(work.output), work.blocks, work.made_of)
    written = f"{work.output}: another process has finished last, and writes it"
    # Two processes must not do the same part, nor both make the folder anew.
    beside = functools.partial(held, doing=work.doing, option="--output")
    with beside(parts.folder.with_name(f"{parts.folder.name}-{part}-of-{of}")):
        parts.open(overwrite=work.overwrite)
        finished = is_finished(work.output, work.form)
        changed = "" if finished else _do_share(work, parts, own, say)
    rest = [block for block in range(len(work.blocks)) if block not in own]
    others = [] if finished else parts.missing(rest)
    if not parts.folder.exists():
        say(written)
        return
    parts.refuse_replaced()
    if others:
        say(
            f"{parts.folder}: {len(work.blocks) - len(others)} of {len(work.blocks)} blocks are there; the "
            f"process that finishes the last one writes {work.output}"
        )
        return
    try:
        with beside(parts.folder.with_name(f"{parts.folder.name}-joined")):
            if not parts.folder.exists():
                say(written)
                return
            parts.refuse_replaced()
            if is_finished(work.output, work.form):
                move_rest(work.output)
                say(f"{work.output}: is there, joined from these parts, which are removed")
            else:
                _join(work, parts, changed, say)
            work.finish(parts)
            parts.remove()
    except HeldError:
        say(written)


def _do_share(work: Work[Read], parts: Parts, own: Sequence[int], say: Say) -> str:
    """Do those of this process's blocks that are not there; return what is said of a changed input."""
    missing = parts.missing(own)
    longest = max(b.stop - b.start for b in work.blocks)
    kept = f", {len(own) - len(missing)} of which are there" if len(missing) < len(own) else ""
    say(
        f"{work.like.frames} frames in {len(work.blocks)} blocks of up to {longest}; this process does "
        f"{len(own)} of them{kept}: {parts.folder}"
    )
    with _kept(parts):
        _answer_blocks(work, parts, missing, say)
    changed = work.changed()
    if changed:
        say(f"WARNING: {changed}")
    return changed


def _join(work: Work[Read], parts: Parts, changed: str, say: Say) -> None:
    """Write the output from parts that are all there; `changed` tells of an input that has changed."""
    with _kept(parts):
        rounded = write_joined(
            work.output,
            parts,
            work.like,
            process=work.process(parts) | ({"input": changed} if changed else {}),
            overwrite=work.overwrite,
            form=work.form,
        )
    if rounded:
        say(f"note: {rounded}")


@contextlib.contextmanager
def _kept(parts: Parts) -> Iterator[None]:
    """Say of an output that cannot be written that the blocks which are done are not lost, if so it is.

    Raises:
      UserError: instead, if the parts have gone or are those of another output by now.
    """
    try:
        yield
    except OutputError as error:
        parts.refuse_replaced()
        raise OutputError(
            f"{str(error).removesuffix('; nothing was written')}; blocks that are done are kept in "
            f"{parts.folder}, and the same command goes on with them"
        ) from error


def _answer_blocks(work: Work[Read], parts: Parts, blocks: Sequence[int], say: Say) -> None:
    """Answer blocks and write their parts; the next is read and the last one written meanwhile.

    A block that another process has in hand is left for later: then it is there, or free again.
    """

    def write(block: int, claim: contextlib.ExitStack, answers: Answers) -> None:
        with claim:
            parts.write(
                block,
                np.asarray(answers.counts),
                known=np.asarray(answers.known),
                filled=np.asarray(answers.filled),
                sigma=None if answers.sigma is None else np.asarray(answers.sigma),
                replicas=answers.replicas,
                done=answers.done,
            )

    def read(taken: tuple[int, contextlib.ExitStack]) -> Read:
        return work.read(parts.blocks[taken[0]])

    left, waits = [*blocks], False
    with (
        contextlib.ExitStack() as claims,
        Behind() as behind,
        Bar(len(blocks), unit="block", desc=f"{len(blocks)} blocks") as bar,
    ):
        while left and parts.folder.exists():
            before = len(left)
            for (block, claim), frames in ahead(read, _taken(parts, left, claims)):
                behind(write, block, claim, work.answer(frames))
                hand_back()
                left.remove(block)
                bar.to(len(blocks) - len(left))
            behind.wait()  # a claim that is kept while waiting would be waited for
            bar.to(len(blocks) - len(left))
            if len(left) == before and parts.folder.exists():
                if not waits:
                    count = counted(len(left), "block")
                    say(f"{parts.folder}: another process has {count} in hand; waiting")
                waits = True
                time.sleep(PAUSE_S)


def _taken(
    parts: Parts, left: list[int], claims: contextlib.ExitStack
) -> Iterator[tuple[int, contextlib.ExitStack]]:
    """Yield those of the blocks left that no other process has in hand, each with its claim.

    What another has done meanwhile is left no more. Where the parts are gone, nothing is yielded.
    """
    for block in [*left]:
        try:
            claim = claimed(parts.path(block))
        except HeldError:
            continue
        except FileNotFoundError:
            return
        claims.push(claim)
        if parts.path(block).exists() and not parts.missing([block]):
            claim.close()
            left.remove(block)
        else:
            yield block, claim


def share_of(blocks: int, part: int, of: int) -> list[int]:
    """Return the blocks of one part of all, consecutive ones.

    >>> share_of(5, 1, 2), share_of(5, 2, 2)
    ([0, 1], [2, 3, 4])
    """
    return [*range(blocks * (part - 1) // of, blocks * part // of)]


def made_of(config: InferConfig, opened: Opened, background: Measurements | None) -> dict[str, str]:
    """Tell what the answers of blocks depend on: the run's parameters and options, the input, the options."""
    if opened.large is None:
        raise TypeError("the scan is not large")
    asked = {k: str(v) for k, v in flat(config).items() if k not in _NOT_ASKED}
    empty = [] if background is None else [background.counts, background.exposure]
    return {
        **opened.depends_on(),
        "background": f"{checksum(*empty):08x}",
        "scale": repr(float(opened.scale[0])),
        **opened.large.record(),
        **{f"--{name.replace('_', '-')}": value for name, value in asked.items()},
    }


def whole(large: Large, data: Measurements) -> Measurements:
    """Describe a whole large scan: names, raster and geometry; without counts.

    Args:
      large: the scan.
      data: some of its frames, with what is known of them all.
    """
    source, spatial = large.source, data.spatial
    origin = dataclasses.replace(
        data.origin,
        leading=source.leading if large.whole else (),
        motors=source.motors if large.whole else (),
        exposure_s=None,
        numbers=(),
    )
    return dataclasses.replace(
        data,
        counts=np.broadcast_to(np.int32(0), (large.frames, *spatial)),
        exposure=np.ones((1, *spatial), np.float32),
        names=tuple(source.names[index] for index in large.wanted),
        origin=origin,
        taken_out=None,
    )
