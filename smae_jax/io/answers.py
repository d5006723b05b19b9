"""What is written: answers in counts, NaN where there is none, and what they are called."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator

import numpy as np

from smae_jax.encodable import encodable
from smae_jax.io.outputs import PROGRAM
from smae_jax.measurements import Measurements
from smae_jax.version import version


class Answered:
    """Answers to measurements, frame by frame.

    Attributes:
      counts: (k, *spatial[, channel]).
      like: what they were made of.
      known: where there is an answer, bool, (1 or k, *spatial).
      filled: answered but not measured, bool, (1 or k, *spatial); None = nothing is said of it.
      sigma: shaped as `counts`; None = none.
      names: one per frame.
      leading: (rows, columns) where the frames are a raster and each has an answer, else (k,).
      frame: shape of a frame, (*spatial[, channel]).
    """

    def __init__(
        self,
        counts: np.ndarray,
        like: Measurements,
        *,
        known: np.ndarray | None = None,
        filled: np.ndarray | None = None,
        sigma: np.ndarray | None = None,
        replicas: np.ndarray | None = None,
    ) -> None:
        """Hold the shapes together.

        Raises:
          TypeError: if they do not fit.
        """
        if counts.shape[1:] != like.counts.shape[1:] or len(counts) not in (1, like.frames):
            raise TypeError(f"counts: {counts.shape} does not fit {like.counts.shape}")
        if sigma is not None and np.shape(sigma) != counts.shape:
            raise TypeError(f"sigma: expected {counts.shape}, got {np.shape(sigma)}")
        self.counts, self.like, self.sigma, self._replicas = counts, like, sigma, replicas
        if known is None:
            finite = np.isfinite(counts)
            self.known = np.asarray(finite.all(axis=-1) if like.channels else finite)
        else:
            self.known = self._per_frame(known)
        self.filled = None if filled is None else self._per_frame(filled)
        if self.filled is not None:
            self.known = self.known | self.filled
        together = len(counts) == 1 and (like.frames > 1 or len(like.spatial) != 2)
        self.frame = counts.shape[1:]
        self.names = ("denoised",) if together else like.names
        raster = like.origin.leading
        self.leading = raster if math.prod(raster) == len(counts) and raster else (len(counts),)

    def _per_frame(self, flags: np.ndarray) -> np.ndarray:
        spatial, flags = self.like.spatial, np.asarray(flags, np.bool_)
        if self.like.channels and flags.shape == self.counts.shape:
            flags = np.asarray(flags.all(axis=-1))  # as the counts: all channels or none
        flags = flags[None] if flags.ndim == len(spatial) else flags
        if flags.shape[1:] != spatial or len(flags) not in (1, len(self.counts)):
            raise TypeError(
                f"known, filled: {flags.shape} does not fit ({len(self.counts)}, *{spatial})"
            )
        return flags

    def replicas(self) -> Iterator[Iterator[np.ndarray]]:
        """Yield of each replica what it differs by from each frame's counts, float16."""
        yield from map(iter, () if self._replicas is None else self._replicas)

    @property
    def has_sigma(self) -> bool:
        """Whether there are error bars."""
        return self.sigma is not None

    def flags(self, name: str) -> tuple[np.ndarray | None, Iterator[np.ndarray]]:
        """Return `known` or `filled` as one image where all frames agree, else None; and of every frame."""
        flags = self.known if name == "known" else self.filled
        if flags is None:
            flags = np.zeros((1, *self.like.spatial), np.bool_)
        one = flags[0] if (flags == flags[:1]).all() else None
        return one, (flags[index % len(flags)] for index in range(len(self.counts)))

    def frames(self) -> Iterator[np.ndarray]:
        """Yield each frame's counts, float32, NaN where there is no answer."""
        return self._answered(self.counts)

    def sigmas(self) -> Iterator[np.ndarray]:
        """Yield each frame's error bars, float32, NaN where there is no answer."""
        return self._answered(np.empty(0) if self.sigma is None else np.asarray(self.sigma))

    def _answered(self, values: np.ndarray) -> Iterator[np.ndarray]:
        for index, frame in enumerate(values):
            known = self.known[index % len(self.known)]
            known = known[..., None] if self.like.channels else known
            yield np.where(known, frame, np.nan).astype(np.float32)


def process_of(like: Measurements, told: dict[str, str]) -> dict[str, str]:
    """Say what made answers: program, version, date, source, and what the caller tells."""
    found = {
        "program": PROGRAM,
        "version": version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "source": like.origin.source,
    } | told
    return {name: encodable(str(text)) for name, text in found.items()}
