"""A large scan denoised block by block: what is finished is kept, and others may do a part of it."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from smae_jax.blocks import borders
from smae_jax.config import InferConfig, parse_shard
from smae_jax.config_file import dump, flat
from smae_jax.io.parts import Parts, parts_of
from smae_jax.io.writing import write_joined
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers, Say
from smae_jax.progress import Bar
from smae_jax.run.lock import held
from smae_jax.run.restore import Opened
from smae_jax.version import version

_NOT_ASKED = {
    *("run", "input", "output", "overwrite", "memory", "shard", "figure", "plot_range"),
    *("batch_size", "config", "packing"),
}
"""Options that answers do not depend on, or that are told otherwise."""


def infer_large(
    config: InferConfig, opened: Opened, answer: Callable[[Opened], Answers], say: Say
) -> Parts | None:
    """Answer this process's blocks of a large scan, and write the output when all blocks are there.

    Args:
      config: the options.
      opened: a run with a large scan.
      answer: answers the data of one block, in counts.
      say: receives every line that a person should read.

    Returns:
      The parts of the output that was written, still there; None where others have not done theirs.

    Raises:
      UserError: in one line, if another process does the same part, or parts of another output are there.
    """
    if opened.large is None:
        raise TypeError("the scan is not large")
    all_blocks = tuple(borders(opened.large.frames, opened.block))
    part, of = parse_shard(config.shard)
    own = share_of(len(all_blocks), part, of)
    parts = Parts(parts_of(config.output), all_blocks, made_of(config, opened), config.output)
    # Two processes must not do the same part, nor both make the folder anew.
    beside = functools.partial(held, doing="denoising", option="--output")
    with beside(parts.folder.with_name(f"{parts.folder.name}-{part}-of-{of}")):
        parts.open(overwrite=config.overwrite)
        missing = parts.missing(own)
        longest = max(b.stop - b.start for b in all_blocks)
        kept = f", {len(own) - len(missing)} of which are there" if len(missing) < len(own) else ""
        say(
            f"{opened.large.frames} frames in {len(all_blocks)} blocks of up to {longest}; this process does "
            f"{len(own)} of them{kept}: {parts.folder}"
        )
        for block in _counted(missing):
            answers = answer(opened.of_block(all_blocks[block]))
            parts.write(
                block,
                np.asarray(answers.counts),
                known=np.asarray(answers.known),
                filled=np.asarray(answers.filled),
                sigma=None if answers.sigma is None else np.asarray(answers.sigma),
                done=answers.done,
            )
    others = [block for block in range(len(all_blocks)) if not parts.path(block).is_file()]
    if others:
        say(
            f"{parts.folder}: {len(all_blocks) - len(others)} of {len(all_blocks)} blocks are there; the "
            f"process that finishes the last one writes {config.output}"
        )
        return None
    with beside(parts.folder.with_name(f"{parts.folder.name}-joined")):
        process = opened.made_by(_nothing_done()) | {"blocks": str(len(all_blocks))}
        process.pop("stages")
        write_joined(
            config.output,
            parts,
            whole(opened),
            process=process,
            overwrite=config.overwrite,
            packing=config.packing,
        )
    return parts


def share_of(blocks: int, part: int, of: int) -> list[int]:
    """Return the blocks of one part of all, consecutive ones.

    >>> share_of(5, 1, 2), share_of(5, 2, 2)
    ([0, 1], [2, 3, 4])
    """
    return [*range(blocks * (part - 1) // of, blocks * part // of)]


def made_of(config: InferConfig, opened: Opened) -> dict[str, str]:
    """Tell what the answers of blocks depend on: the run's parameters and options, the input, the options."""
    if opened.large is None:
        raise TypeError("the scan is not large")
    asked = {k: str(v) for k, v in flat(config).items() if k not in _NOT_ASKED}
    valid = np.asarray(opened.data.valid.any(axis=0))
    return {
        "version": version(),
        "parameters": f"{checksum(jax.tree.leaves(opened.parameters)):08x}",
        "training": f"{zlib.crc32(dump(opened.config).encode()):08x}",
        "mask": f"{checksum([valid]):08x}",
        "center": str(opened.data.center and opened.data.center.half_pixel),
        "scale": repr(float(opened.scale[0])),
        **opened.large.record(),
        **{f"--{name.replace('_', '-')}": value for name, value in asked.items()},
    }


def whole(opened: Opened) -> Measurements:
    """Describe the whole scan: names, raster and geometry; without counts."""
    large, data = opened.large, opened.data
    if large is None:
        return data
    source, spatial = large.source, data.spatial
    origin = dataclasses.replace(
        data.origin,
        leading=source.leading if large.whole else (),
        motors=source.motors if large.whole else (),
        exposure_s=None,
        among=0,
    )
    return dataclasses.replace(
        data,
        counts=np.broadcast_to(np.int32(0), (large.frames, *spatial)),
        exposure=np.ones((1, *spatial), np.float32),
        names=tuple(source.names[index] for index in large.wanted),
        origin=origin,
        taken_out=None,
    )


def checksum(arrays: Sequence[np.ndarray]) -> int:
    """Return one checksum of several arrays."""
    found = 0
    for array in arrays:
        found = zlib.crc32(np.ascontiguousarray(array).tobytes(), found)
    return found


def _nothing_done() -> Answers:
    return Answers(None, None, None)


def _counted(missing: Sequence[int]) -> Iterator[int]:
    with Bar(len(missing), unit="block", desc=f"{len(missing)} blocks") as bar:
        for number, block in enumerate(missing):
            yield block
            bar.to(number + 1)
