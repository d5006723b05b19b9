"""What answers are held against: the block's own counts, and answers to halves of its photons."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers
from smae_jax.piecewise import resident


@dataclasses.dataclass(frozen=True)
class Half:
    """One half of the photons of a block, and what was answered to it.

    Attributes:
      data: its photons, at half of the exposure.
      answers: to it, in counts per full frame.
      variance: the jackknife's of the network alone, before any stage; None = that of `answers`.
    """

    data: Measurements
    answers: Answers
    variance: Any = None

    @property
    def of_network(self) -> Any:
        """The jackknife's variance of the network alone."""
        return self.answers.variance if self.variance is None else self.variance


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a stage may look at.

    Attributes:
      data: counts, exposure and centre of the frames that were answered.
      halves: answers to one half of their photons, or to both; () where no stage asks for them. They have
        gone through the stages before this one, as the answers themselves.
      split: both halves of the photons, as counts, where `halves` are there.
      memo: what a stage has found out that serves the answers and their halves alike.
    """

    data: Measurements
    halves: tuple[Half, ...] = ()
    split: tuple[np.ndarray, ...] = ()
    memo: dict[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def counts(self) -> Any:
        """Counts of `data`, on the device where there is room: all stages ask for them."""
        return resident(self.data.counts)

    @property
    def held_out(self) -> tuple[np.ndarray, ...]:
        """For each of `halves`, the photons that it did not see."""
        return self.split[::-1][: len(self.halves)]

    @property
    def held_out_exposure(self) -> np.ndarray:
        """Exposure behind the held-out photons, in full frames, (frames, *spatial); 1 where invalid."""
        return np.broadcast_to(self.held_out_exposure_once, self.valid.shape)

    @property
    def held_out_exposure_once(self) -> np.ndarray:
        """The same, (1 or frames, *spatial): once where all frames agree."""
        exposure = self.halves[0].data.exposure
        return np.where(exposure > 0, exposure, np.float32(1))

    @functools.cached_property
    def valid(self) -> np.ndarray:
        """Where photons were counted, bool, (frames, *spatial)."""
        return np.broadcast_to(self.data.valid, (self.data.frames, *self.data.spatial))

    def after(self, stage: Callable[[Answers, Evidence], Answers]) -> Evidence:
        """Return the evidence once the halves have gone through a stage, each held against its own counts."""
        through = [
            Half(
                half.data,
                stage(half.answers, dataclasses.replace(self, data=half.data)),
                half.of_network,
            )
            for half in self.halves
        ]
        return dataclasses.replace(self, halves=tuple(through), memo={})
