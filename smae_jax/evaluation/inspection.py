"""What the program understood of a scan before any training, in numbers and in plain words."""

from dataclasses import dataclass, replace

import numpy as np

from smae_jax.asymmetry import (
    Asymmetry,
    opposite,
    relative_asymmetry,
    symmetry_chi_square,
)
from smae_jax.center import find_shadows
from smae_jax.geometry import Center, Geometry
from smae_jax.measurements import Measurements
from smae_jax.survey import describe_mask

__all__ = ["Inspection", "inspect_scan", "symmetry_chi_square"]

# Beyond 6 %, partners are no longer one signal: a real muscle pattern whose centre lies a third of
# a pixel off the half pixel has 3 %, a centre wrong by one pixel 8 %, a one-sided pattern 40 %.
_LARGEST_ASYMMETRY = 0.06
_SIGMAS = 5.0
_LARGEST_SHADOW = 0.1  # share of the pairs; more than this is the pattern itself
_SHADOW_RATIO = 2.0  # no asymmetry that a person would train on makes partners differ so much


@dataclass(frozen=True)
class Inspection:
    """What was found in a scan.

    Attributes:
      frames: number of frames.
      shape: (height, width) of a frame in pixels.
      dtype: of the numbers on disk.
      mean: mean counts of a valid pixel in a frame.
      median: median counts of a valid pixel in a frame.
      maximum: largest count of a valid pixel.
      zeros: share of the valid pixels that counted 0, in [0, 1].
      masked: what is masked, in words.
      masked_by: cause -> share of all pixels, in [0, 1].
      center: about which partners are opposite, (y, x) in pixels, and whether it is trusted.
      geometry: what else is known of beam and detector, and from where.
      pairs: number of pairs of valid opposite pixels.
      partners: share of the valid pixels that have a valid partner, in [0, 1].
      chi_square: mean (a - b)^2 / (a + b) of partners within frames; 1 = photon noise only.
      chi_square_sum: the same for the sum over the scan, which shows a weaker asymmetry.
      asymmetry: systematic difference of partners in the sum, without unmasked shadows.
      shadows: share of the pairs that differ as a shadow or hot spot does, in [0, 1].
      symmetric: whether the 180-degree symmetry holds well enough to train on.
    """

    frames: int
    shape: tuple[int, int]
    dtype: str
    mean: float
    median: float
    maximum: float
    zeros: float
    masked: str
    masked_by: dict[str, float]
    center: Center
    geometry: Geometry
    pairs: int
    partners: float
    chi_square: float
    chi_square_sum: float
    asymmetry: Asymmetry
    shadows: float
    symmetric: bool

    def lines(self) -> list[str]:
        """Say it in plain words, one fact a line; warnings last, each beginning with WARNING."""
        height, width = self.shape
        y, x = self.center.half_pixel
        sub_y, sub_x = self.center.subpixel
        partners = f"partners correlate with {self.center.correlation:.3f}, " if self.pairs else ""
        told = "; ".join(self.geometry.in_words())
        seen = "frame" if self.frames == 1 else "frames"
        lines = [
            f"scan: {self.frames} {seen} of {height} x {width} pixels (height x width), "
            f"{self.dtype} on disk",
            f"counts: mean {_number(self.mean)}, median {_number(self.median)}, largest "
            f"{self.maximum:g} per pixel and frame; {100 * self.zeros:.1f} % zeros, which are data",
            f"mask: {self.masked}",
            f"centre: y {y:.1f}, x {x:.1f} pixels (estimated between half pixels: {sub_y:.2f}, "
            f"{sub_x:.2f}), {self.center.source}; {partners}"
            f"{100 * self.partners:.0f} % of the valid pixels have a partner",
            f"geometry: {told or 'distance, pixel size and wavelength are not told'}",
            f"symmetry: chi-square of opposite pixels {self.chi_square:.2f} per frame, "
            f"{self.chi_square_sum:.2f} for the sum of all frames (1 = symmetric within "
            "photon noise)",
            f"systematic difference of opposite pixels: {self.systematic()}",
        ]
        return lines + self._remarks() + self.warnings()

    def warnings(self) -> list[str]:
        """List what makes the scan unfit as it stands; empty if nothing does."""
        found = self.center.warnings()
        if not self.partners > 0 and self.center.trusted:
            found.append(
                "WARNING: no valid pixel has a valid partner about this centre; check centre and "
                "mask"
            )
        if not self.symmetric and self.partners > 0:
            found.append(
                f"WARNING: the 180-degree symmetry does not hold: opposite pixels differ by "
                f"{100 * self.asymmetry.relative:.0f} % beyond noise (limit "
                f"{100 * _LARGEST_ASYMMETRY:.0f} %); check the centre and the mask, and do not "
                "train `smae` on patterns that have no such symmetry (grazing incidence, tilted "
                "detector)"
            )
        elif 0 < self.shadows <= _LARGEST_SHADOW:
            found.append(
                f"WARNING: {100 * self.shadows:.2g} % of the pairs differ as shadows or hot pixels "
                "do (beamstop, arm, module edge); mask them"
            )
        return found

    def verdict(self) -> str:
        """Say in a few words whether the scan can be used as it stands."""
        if not self.partners > 0:
            return "no opposite pixels"
        if self._guessed():
            return "centre not found"
        if not self.symmetric:
            return f"no 180-degree symmetry ({100 * self.asymmetry.relative:.0f} % beyond noise)"
        if self.warnings():
            return f"symmetric but for {100 * self.shadows:.2g} % in shadow or hot: mask them"
        return "no asymmetry seen, but too noisy to tell" if self._noisy() else "symmetric"

    def systematic(self) -> str:
        """Say how large the difference of opposite pixels beyond noise is."""
        found = self.asymmetry
        if not np.isfinite(found.relative):
            return "no opposite pixels"
        if found.sigmas < _SIGMAS:
            noisy = ", too noisy to tell" if self._noisy() else ""
            return f"none seen; up to {100 * self._hidden():.2g} % could hide in the noise{noisy}"
        return f"{100 * found.relative:.2g} % of the counts, limit {100 * _LARGEST_ASYMMETRY:.0f} %"

    def _hidden(self) -> float:
        return float(np.hypot(self.asymmetry.relative, 2 * self.asymmetry.uncertainty))

    def _noisy(self) -> bool:
        return self.asymmetry.sigmas < _SIGMAS and self._hidden() > _LARGEST_ASYMMETRY

    def _guessed(self) -> bool:
        return not self.center.trusted

    def _remarks(self) -> list[str]:
        """Explain a chi-square that is off though the pattern is symmetric."""
        explained = self.asymmetry.sigmas > _SIGMAS or 0 < self.shadows <= _LARGEST_SHADOW
        if self.chi_square < 0.8:
            return [
                "note: opposite pixels differ less than photon noise makes them; these are no raw "
                "counts (averaged, smoothed or scaled?)"
            ]
        if not explained and self.chi_square > 1.2:
            return [
                "note: more noise than photons make, and without a pattern; readout noise, or "
                "counts that were scaled"
            ]
        if not explained and self.chi_square_sum > 1.2:
            return ["note: some pixels count steadily more than their partners; uneven flat field?"]
        return []


def inspect_scan(data: Measurements) -> Inspection:
    """Look at counts, mask, centre and symmetry of a scan.

    Args:
      data: patterns as read, masked, with their centre.

    Returns:
      What was found.
    """
    center = data.center
    if center is None:
        raise TypeError("expected patterns with a centre; see survey.settle")
    values = data.counts[data.full_exposure > 0]
    own, partner, both = sum_of_pairs(data, center.half_pixel)
    shadows = both & find_shadows(own, both, center.half_pixel, ratio=_SHADOW_RATIO)
    shadow_share = float(shadows.sum() / max(1, both.sum()))
    trusted = both & ~shadows if shadow_share <= _LARGEST_SHADOW else both
    asymmetry = relative_asymmetry(own, partner, trusted)
    broken = asymmetry.sigmas > _SIGMAS and asymmetry.relative > _LARGEST_ASYMMETRY
    if np.isnan(center.correlation) and both.sum() > 2:
        roots = np.sqrt(np.maximum(np.stack([own[both], partner[both]]), 0))
        flat = min(roots.std(axis=1)) == 0
        correlation = 0.0 if flat else float(np.corrcoef(roots)[0, 1])
        center = replace(center, correlation=correlation)
    number = own + partner
    counted = both & (number > 0)
    nothing = float("nan")
    return Inspection(
        frames=data.frames,
        shape=(data.spatial[0], data.spatial[1]),
        dtype=data.origin.dtype,
        mean=float(values.mean(dtype=np.float64)) if values.size else nothing,
        median=float(np.median(values)) if values.size else nothing,
        maximum=float(values.max()) if values.size else nothing,
        zeros=float(np.mean(values == 0)) if values.size else nothing,
        masked=describe_mask(data),
        masked_by=dict(data.origin.masked_by),
        center=center,
        geometry=data.geometry,
        pairs=int(both.sum() // 2),
        partners=float(both.sum() / max(1, data.valid.any(axis=0).sum())),
        chi_square=symmetry_chi_square(data.counts, data.valid, center.half_pixel, data.response),
        chi_square_sum=float(np.mean((own - partner)[counted] ** 2 / number[counted]))
        if counted.any()
        else nothing,
        asymmetry=asymmetry,
        shadows=shadow_share,
        symmetric=bool(counted.any() and not broken),
    )


def sum_of_pairs(
    data: Measurements, center: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum a scan over its frames, each pair over the frames in which both its pixels are valid.

    Args:
      data: patterns, with one mask or one per frame.
      center: (y, x) in pixels, multiples of 0.5.

    Returns:
      (own, partner, both), (height, width) each: summed counts as float64, and where there is a
      pair in any frame.
    """
    if len(data.exposure) == 1:
        total = data.counts.sum(axis=0, dtype=np.float64)
        return opposite(total, data.valid[0], center, data.response)
    own, partner = np.zeros(data.spatial), np.zeros(data.spatial)
    any_pair = np.zeros(data.spatial, bool)
    for frame, mask in zip(data.counts, data.valid, strict=True):
        here, there, both = opposite(frame, mask, center, data.response)
        own += np.where(both, here, 0)
        partner += np.where(both, there, 0)
        any_pair |= both
    return own, partner, any_pair


def _number(value: float) -> str:
    """Write 3 digits, no exponent."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
