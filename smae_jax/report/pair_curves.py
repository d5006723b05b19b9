"""S(Q) and G(r) of every frame, before and after denoising, with their errors.

Raw errors are those of Poisson counts; denoised ones are the scatter of replicas.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from smae_jax.report.pdf import Transform
from smae_jax.report.profiles import Profiles, rms
from smae_jax.report.shells import Shell


@dataclasses.dataclass(frozen=True)
class PairLayout:
    """How G(r) is made, and where its shells are looked for; found on raw counts.

    Attributes:
      transform: from I(Q) to S(Q) and G(r).
      shells: that are followed.
      empty: I(Q) without the sample as it is taken off, and its variance, (2, used).
      said: what was done, (name, words) each.
    """

    transform: Transform
    shells: tuple[Shell, ...]
    empty: np.ndarray
    said: tuple[tuple[str, str], ...]

    def intensity(self, profile: np.ndarray) -> np.ndarray:
        """Take what is there without the sample off profiles, (..., bins) -> (..., used)."""
        return profile[..., self.transform.bins] - self.empty[0]


@dataclasses.dataclass(frozen=True)
class Curves:
    """S(Q) or G(r) of every frame, (frames, places) each.

    Attributes:
      raw, raw_sigma: of the counts, and one standard deviation.
      denoised: of the answers.
      denoised_sigma: None = not known.
      reference: None = there is none.
    """

    raw: np.ndarray
    raw_sigma: np.ndarray
    denoised: np.ndarray
    denoised_sigma: np.ndarray | None = None
    reference: np.ndarray | None = None

    def without_noise(self) -> Curves:
        """Return the same without errors of raw."""
        return dataclasses.replace(self, raw_sigma=np.full_like(self.raw, np.nan))


def curves_of(layout: PairLayout, profile: Profiles) -> tuple[Curves, Curves]:
    """Return S(Q) and G(r) of every frame."""
    transform = layout.transform
    raw, variance = raw_of(layout, profile)

    def both(kind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        structure = transform.structure_factor(layout.intensity(kind))
        return structure, transform.pair_function(structure)

    def either(kind: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
        return (None, None) if kind is None else both(kind)

    sigmas = [
        transform.sigma(raw, variance, u) for u in (np.eye(len(transform.q)), transform.kernel)
    ]
    denoised = both(profile.answer)
    others = zip(either(profile.replica_answers), denoised, strict=True)
    scatter = [None if some is None else rms(some - one) for some, one in others]
    columns = both(profile.raw), sigmas, denoised, scatter, either(profile.known)
    structure, functions = (Curves(*side) for side in zip(*columns, strict=True))
    return structure, functions


def raw_of(layout: PairLayout, profile: Profiles) -> tuple[np.ndarray, np.ndarray]:
    """Return raw intensities without background and their variance, (frames, used) each."""
    variance = profile.raw_sigma[:, layout.transform.bins] ** 2 + layout.empty[1]
    return layout.intensity(profile.raw), variance
