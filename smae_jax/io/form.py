"""In which form answers are put down: type of the numbers, packing, and what they are said to be."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io import text_files
from smae_jax.io.answers import Answered
from smae_jax.io.array_files import HDF5_SUFFIXES
from smae_jax.io.hdf5_chunks import packed
from smae_jax.io.number_types import NumberType
from smae_jax.io.outputs import suffix_of
from smae_jax.io.packings import packing_options
from smae_jax.io.parts import PACKING, Joined
from smae_jax.overlap import in_threads, threads_of


@dataclasses.dataclass(frozen=True)
class Form:
    """How a file holds answers.

    Attributes:
      numbers: type of the answers.
      packing: of patterns in HDF5, see `packings.packing_options`.
      holds: what the values are.
    """

    numbers: NumberType = dataclasses.field(default_factory=NumberType)
    packing: str = "bitshuffle"
    holds: str = "denoised counts"

    @property
    def of_errors(self) -> NumberType:
        """Type of error bars, which are never rounded to whole numbers: most are below one count."""
        return NumberType() if self.numbers.whole else self.numbers


def form_of(
    output: str, *, output_dtype: str, packing: str, holds: str = "denoised counts"
) -> Form:
    """Return the form that is asked for.

    Args:
      output: where answers go.
      output_dtype: one of `number_types.TYPES`.
      packing: see `packings.packing_options`.
      holds: what the values are.

    Raises:
      UserError: in one line, if there is no such type or packing, or the output has no place for it.
    """
    form, suffix = Form(NumberType(output_dtype), packing, holds), suffix_of(output)
    packing_options(packing)
    if output_dtype != "float32" and suffix in text_files.SUFFIXES:
        raise UserError(
            f"--output-dtype {output_dtype}: text has no types, and {output} is text; leave it out, or write "
            ".h5, .npz or .npy"
        )
    if packing != Form.packing and suffix not in HDF5_SUFFIXES:
        raise UserError(
            f"--packing {packing}: is for HDF5 and does nothing for {output}; leave it out, or write .h5"
        )
    return form


class Stored:
    """Answers as a file holds them, frame by frame.

    Attributes:
      like: what was answered.
      leading: (rows, columns) of a raster, else (frames,).
      frame: shape of a frame.
      names: one per frame.
      form: of the file.
      clipped: values that did not fit, of what was yielded so far.
    """

    def __init__(self, answers: Answered | Joined, form: Form) -> None:
        self._answers, self.form, self.clipped = answers, form, 0
        self.like, self.names = answers.like, answers.names
        self.leading, self.frame = answers.leading, answers.frame
        self.has_sigma = answers.has_sigma

    def frames(self) -> Iterator[np.ndarray]:
        """Yield each frame's answers in the type of the form, its mark where there is none."""
        return self._converted(self._answers.frames(), self.form.numbers)

    def sigmas(self) -> Iterator[np.ndarray]:
        """Yield each frame's error bars, floating point, NaN where there is no answer."""
        return self._converted(self._answers.sigmas(), self.form.of_errors)

    def flags(self, name: str) -> tuple[np.ndarray | None, Iterator[np.ndarray]]:
        """Return `known` or `filled` as one image where all frames agree, else None; and of every frame."""
        return self._answers.flags(name)

    def packed(self, name: str) -> Iterator[tuple[int, bytes]] | None:
        """Yield (filters skipped, bytes) of each frame, packed in threads, or as the parts have it.

        Args:
          name: `counts` or `sigma`.

        Returns:
          None where HDF5 has to pack them.
        """
        numbers = self.form.numbers if name == "counts" else self.form.of_errors
        if self.form.packing != PACKING or len(self.like.spatial) != 2:
            return None
        if isinstance(self._answers, Joined) and numbers.name == "float32":
            return self._answers.packed(name)
        frames = self.frames() if name == "counts" else self.sigmas()
        works = (functools.partial(packed, frame) for frame in frames)
        size = numbers.dtype.itemsize * math.prod(self.frame)
        return ((0, found) for found in in_threads(works, threads_of(3 * size)))

    def replicas(self) -> Iterator[Iterator[np.ndarray]]:
        """Yield of each replica what it differs by from each frame's answer, float16."""
        return self._answers.replicas()

    def in_words(self) -> str:
        """Say how numbers were rounded and how many were clipped; "" = neither."""
        return self.form.numbers.in_words(self.clipped)

    def _converted(self, frames: Iterator[np.ndarray], numbers: NumberType) -> Iterator[np.ndarray]:
        for frame in frames:
            stored, clipped = numbers.stored(frame)
            self.clipped += clipped
            yield stored
