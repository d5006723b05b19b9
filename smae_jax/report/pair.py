"""S(Q), G(r) and its shells over a scan, before and after denoising: how they are made, and what is found.

Raw errors are those of Poisson counts; denoised ones come from answers to halves of the photons.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from smae_jax.config import ReportConfig, parse_ranges
from smae_jax.errors import UserError
from smae_jax.form_factors import composition_of, scattering_of
from smae_jax.geometry import Geometry
from smae_jax.measurements import Measurements, mean_of_frames
from smae_jax.report.cake import Cake
from smae_jax.report.observable import Observable, sigma_of_halves
from smae_jax.report.pdf import Transform, make_transform, polarization
from smae_jax.report.profiles import Profiles, scatter_and_product
from smae_jax.report.shells import (
    Shell,
    about_maximum,
    areas,
    centroids,
    core,
    maxima,
    parabola,
    shell_in,
    shells_of,
)

PER_NM = 10.0
"""Profiles are over 1/nm, S(Q) over 1/angstrom."""
LEAST_Q = 5.0
"""1/angstrom that a profile has to reach: neighbours 1.2 angstrom apart are told from each other there."""
FARTHEST = 12.0
"""Angstrom that G(r) is shown to, where the bins tell it so far."""
STEP = 0.02
"""Angstrom."""
COVERED = 0.5
"""Share of the fullest ring that a ring has to have, up to the end of the default range of Q."""
SEEN = 3.0
"""Standard deviations of its area from which a shell is seen in the raw counts of a frame."""


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


@dataclasses.dataclass(frozen=True)
class Pair:
    """What was found.

    Attributes:
      layout: how.
      structure: S(Q) of every frame.
      functions: G(r) of every frame.
      whole_structure: S(Q) of all frames added up, as one.
      whole_functions: G(r) of these.
      observables: position, centroid and area of every shell.
    """

    layout: PairLayout
    structure: Curves
    functions: Curves
    whole_structure: Curves
    whole_functions: Curves
    observables: tuple[Observable, ...]


def lay_out_pair(
    config: ReportConfig,
    data: Measurements,
    cake: Cake,
    geometry: Geometry,
    profile: Profiles,
    background: Measurements | None = None,
) -> PairLayout:
    """Prepare S(Q) and G(r), and find the shells in the raw counts of a scan, or take those of the options.

    Args:
      config: the options.
      data: the scan, or frames spread over it.
      cake: sums frames in bins.
      geometry: of beam and detector.
      profile: raw, of all frames added up.
      background: frames without the sample, one exposure long each.

    Raises:
      UserError: in one line, if there is no q, too little of it, or an option asks for what was not measured.
    """
    composition = composition_of(config.composition)
    if cake.bins.name != "q" or geometry.wavelength_m is None:
        raise UserError(
            f"--composition {config.composition}: S(Q) and G(r) need q, and profiles are {cake.bins.said}; "
            "give --geometry file.poni, or --pixel-size, --distance and --wavelength"
        )
    wavelength, axis = geometry.wavelength_m * 1e10, cake.bins.values / PER_NM
    light = data.full_exposure.min(axis=0)  # 0 where any frame was not measured
    norm = cake(np.zeros(light.shape), light)[1].sum(axis=1)
    empty = _empty(config, cake, background)
    measured = (norm > 0) & np.isfinite(empty[0])
    last = _last_bin(config, axis, norm, measured)
    axis, measured = axis[: last + 1], measured[: last + 1]
    density = composition.atoms_per_volume(config.density)
    transform = make_transform(
        axis,
        measured,
        _distances(config, float(axis[1] - axis[0])),
        scattering_of(composition, axis, wavelength),
        polarization(axis, wavelength),
        window=config.lorch,
        density=density,
    )
    said = _said(config, axis, transform, density)
    layout = PairLayout(transform, (), empty[:, transform.bins], tuple(said))
    shells = _shells(config, layout, profile)
    return dataclasses.replace(layout, shells=tuple(shells))


def _empty(config: ReportConfig, cake: Cake, background: Measurements | None) -> np.ndarray:
    """Return I(Q) without the sample and its variance, (2, bins); NaN where not measured."""
    if background is None:
        return np.zeros((2, len(cake.bins.values)))
    rate, light = mean_of_frames(background)
    counts, norm = (a.sum(axis=1) for a in cake(np.nan_to_num(rate) * light, light))
    safe = np.where(norm > 0, norm, np.nan)
    scale = config.background_scale
    return np.stack([scale * counts / safe, scale**2 * np.maximum(counts, 1) / safe**2])


def _last_bin(
    config: ReportConfig, axis: np.ndarray, norm: np.ndarray, measured: np.ndarray
) -> int:
    """Return the last bin that counts: of the option, else the last one of a ring that is half covered."""
    known = np.flatnonzero(measured)
    reached = float(axis[known[-1]]) if known.size else 0.0
    if config.q_max > reached + float(axis[1] - axis[0]):
        raise UserError(
            f"--q-max {config.q_max:g}: measured up to {reached:.4g} 1/angstrom; give less, or leave it out"
        )
    wanted = axis[known] <= config.q_max
    if not config.q_max:
        wanted = norm[known] >= COVERED * norm[known].max(initial=0)
    last = int(known[wanted][-1]) if wanted.any() else 0
    if axis[last] < LEAST_Q - float(axis[1] - axis[0]):
        asked = f" with --q-max {config.q_max:g}" if config.q_max else ""
        raise UserError(
            f"--composition {config.composition}: expected scattering up to {LEAST_Q:g} 1/angstrom, got a "
            f"profile up to {axis[last]:.3g} 1/angstrom{asked}; shells are not told apart there, leave the "
            "option out"
        )
    return last


def _distances(config: ReportConfig, step: float) -> np.ndarray:
    """Return where G(r) is wanted, angstrom."""
    told = np.pi / step
    if config.r_max > told:
        raise UserError(
            f"--r-max {config.r_max:g}: bins of {step:.3g} 1/angstrom tell G(r) up to {told:.3g} angstrom; "
            "give less, or leave it out"
        )
    return np.arange(0, (config.r_max or min(FARTHEST, told)) + STEP / 2, STEP)


def _said(
    config: ReportConfig, axis: np.ndarray, transform: Transform, density: float
) -> list[tuple[str, str]]:
    """Say how S(Q) and G(r) are made."""
    window = "Lorch's, sin(x) / x with x = pi Q / Qmax" if config.lorch else "none"
    empty = (
        f"{config.background_scale:g} times {config.background}"
        if config.background
        else "none was taken off"
    )
    known = (
        f"{density:.4g} atoms per cubic angstrom (--density)"
        if density
        else "not given: its small part of the normalisation is left out"
    )
    return [
        ("composition", config.composition),
        ("range of Q", f"{transform.q[0]:.3g} to {axis[-1]:.4g} 1/angstrom"),
        ("width of a bin", f"{axis[1] - axis[0]:.3g} 1/angstrom"),
        ("window", window),
        ("background", empty),
        ("density", known),
    ]


def _shells(config: ReportConfig, layout: PairLayout, scan: Profiles) -> list[Shell]:
    """Take the shells of the options, else find them in the raw counts of the scan."""
    transform = layout.transform
    found = _curves(layout, scan)[1]
    r, pairs, sigma = transform.r, found.raw[0], found.raw_sigma[0]
    given = parse_ranges(config.shells, option="--shells")
    for low, high in given:
        if ((r >= low) & (r <= high)).sum() < 5 or low < 0 or high > r[-1]:
            raise UserError(
                f"--shells {low:g}:{high:g}: expected a range of distances within 0 to {r[-1]:g} angstrom; "
                "give others, or a larger --r-max"
            )
    if given:
        return [shell_in(r, pairs, low, high) for low, high in given]
    return shells_of(r, pairs, sigma, apart=np.pi / transform.q[-1] * 2)


def pair_of(layout: PairLayout, profile: Profiles) -> Pair:
    """Make S(Q) and G(r) of every frame, and follow the shells.

    Args:
      layout: how.
      profile: I(q) of every frame.
    """
    structure, functions = _curves(layout, profile)
    whole_structure, whole_functions = _curves(layout, profile.of_scan())
    observables = [
        one for shell in layout.shells for one in _observed(layout, profile, functions, shell)
    ]
    return Pair(layout, structure, functions, whole_structure, whole_functions, tuple(observables))


def _curves(layout: PairLayout, profile: Profiles) -> tuple[Curves, Curves]:
    """Return S(Q) and G(r) of every frame."""
    transform = layout.transform
    raw, variance = _raw(layout, profile)

    def both(kind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        structure = transform.structure_factor(layout.intensity(kind))
        return structure, transform.pair_function(structure)

    def either(kind: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
        return (None, None) if kind is None else both(kind)

    sigmas = [
        transform.sigma(raw, variance, u) for u in (np.eye(len(transform.q)), transform.kernel)
    ]
    halves = zip(either(profile.half_answers), either(profile.half_raw), strict=True)
    columns = (
        *(both(profile.raw), sigmas, both(profile.answer)),
        *([_sigma_of_curves(*pair) for pair in halves], either(profile.known)),
    )
    structure, functions = (Curves(*side) for side in zip(*columns, strict=True))
    return structure, functions


def _raw(layout: PairLayout, profile: Profiles) -> tuple[np.ndarray, np.ndarray]:
    """Return raw intensities without background and their variance, (frames, used) each."""
    variance = profile.raw_sigma[:, layout.transform.bins] ** 2 + layout.empty[1]
    return layout.intensity(profile.raw), variance


def _sigma_of_curves(halves: np.ndarray | None, counted: np.ndarray | None) -> np.ndarray | None:
    """Return the error of every place of a curve, the same for all frames, (frames, places).

    What two halves show is averaged over the frames, see `scatter_and_product`; None where there are no
    halves, or a single frame.
    """
    if halves is None or counted is None or halves.shape[1] < 2:
        return None
    scatter, product = scatter_and_product(halves, counted)
    missed = product.mean(axis=0)
    error = product.std(axis=0) / np.sqrt(max(len(product) - 1, 1))
    square = scatter.mean(axis=0) + np.where(missed > error, missed, 0)
    return np.broadcast_to(np.sqrt(square), scatter.shape)


def _observed(
    layout: PairLayout, profile: Profiles, functions: Curves, shell: Shell
) -> list[Observable]:
    """Return position, centroid and area of a shell in every frame."""
    transform, r = layout.transform, layout.transform.r

    def pairs(kind: np.ndarray) -> np.ndarray:
        return transform.pair_function(transform.structure_factor(layout.intensity(kind)))

    halves, counted = profile.half_answers, profile.half_raw
    seen, sigmas = _errors(layout, profile, functions.raw, shell)
    found = []
    ways: tuple[tuple[str, str, Callable[..., np.ndarray]], ...] = (
        ("position", "angstrom", maxima),
        ("centroid", "angstrom", centroids),
        ("area", "1/angstrom", areas),
    )
    for (name, unit, way), error in zip(ways, sigmas, strict=True):
        sigma = None
        if halves is not None and counted is not None:
            sigma = sigma_of_halves(way(r, pairs(halves), shell), way(r, pairs(counted), shell))
        reference = functions.reference
        raw = np.where(seen | (way is areas), way(r, functions.raw, shell), np.nan)
        found.append(
            Observable(
                name,
                shell.where,
                unit,
                raw=raw,
                raw_sigma=np.where(np.isfinite(raw), error, np.nan),
                denoised=way(r, functions.denoised, shell),
                denoised_sigma=sigma,
                reference=None if reference is None else way(r, reference, shell),
            )
        )
    return found


def _errors(
    layout: PairLayout, profile: Profiles, pairs: np.ndarray, shell: Shell
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Return whether raw counts show the shell, and the errors of its position, centroid and area.

    The maximum moves by -G'/G'' where noise adds a slope G' to the parabola; the centroid by the sum of
    (r - centroid) times what noise adds, over the area.

    Returns:
      (bool (frames,), (position, centroid, area), (frames,) each).
    """
    transform, r = layout.transform, layout.transform.r
    raw, variance = _raw(layout, profile)
    around = about_maximum(r, pairs, shell).astype(np.float64)
    area = (around * pairs).sum(axis=1)
    of_area = transform.sigma(raw, variance, (around @ transform.kernel)[:, None])[:, 0]
    slope, bend = weights = parabola(r, shell)
    aside = maxima(r, pairs, shell)[:, None] - shell.position
    steep = transform.sigma(
        raw, variance, ((slope + 2 * aside * bend) @ transform.kernel)[:, None]
    )[:, 0]
    curved = 2 * (pairs @ weights.T)[:, 1]
    off = around * (r - centroids(r, pairs, shell)[:, None])
    moment = transform.sigma(raw, variance, (off @ transform.kernel)[:, None])[:, 0]
    whole = transform.sigma(raw, variance, (core(r, shell) @ transform.kernel)[None])[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return area > SEEN * of_area, (steep / np.abs(curved), moment / np.abs(area), whole)
