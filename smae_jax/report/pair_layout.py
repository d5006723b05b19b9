"""How S(Q) and G(r) are made of a scan, and where its shells lie: found on raw counts."""

from __future__ import annotations

import dataclasses

import numpy as np

from smae_jax.config import ReportConfig, parse_ranges
from smae_jax.errors import UserError
from smae_jax.form_factors import composition_of, scattering_of
from smae_jax.geometry import Geometry
from smae_jax.measurements import Measurements, mean_of_frames
from smae_jax.report.cake import Cake
from smae_jax.report.pair_curves import PairLayout, curves_of, raw_of
from smae_jax.report.pdf import Transform, make_transform, polarization
from smae_jax.report.profiles import Profiles
from smae_jax.report.shells import NEAREST, Shell, shell_in, shells_of

PER_NM = 10.0
"""Profiles are over 1/nm, S(Q) over 1/angstrom."""
LEAST_Q = 5.0
"""1/angstrom that a profile has to reach: neighbours 1.2 angstrom apart are told from each other there."""
FARTHEST = 12.0
"""Angstrom that G(r) is shown to, where the bins tell it so far."""
STEP = 0.02
"""Angstrom."""
MOST_HIDDEN = 0.5
"""Share of the bins of Q in which a background may leave nothing beyond noise."""
COVERED = 0.5
"""Share of the fullest ring that a ring has to have, up to the end of the default range of Q."""


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
    if background is not None:
        _refuse_high_background(config, layout, profile)
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


def _refuse_high_background(config: ReportConfig, layout: PairLayout, scan: Profiles) -> None:
    """Refuse a background that leaves nothing of the scan's scattering in most bins of Q."""
    raw, variance = raw_of(layout, scan)
    share = float(np.mean(raw[0] <= np.sqrt(variance[0])))
    if share <= MOST_HIDDEN and np.isfinite(layout.transform.scale(raw)).all():
        return
    raise UserError(
        f"--background-scale {config.background_scale:g}: the background is as high as the scattering or "
        f"higher in {100 * share:.0f} % of the bins of Q; expected frames without the sample; give a smaller "
        "scale or another --background"
    )


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
    if 0 < config.r_max <= NEAREST:
        raise UserError(
            f"--r-max {config.r_max:g}: expected more than {NEAREST:g} angstrom, as no shell is nearer; give "
            "more, or leave it out"
        )
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
    found = curves_of(layout, scan)[1]
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
