"""Profiles, peaks and orientation of a scan: where they are looked for, and what is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from smae_jax.config import ProfileOptions, ReportConfig, parse_ranges
from smae_jax.errors import UserError
from smae_jax.geometry import Center, Geometry
from smae_jax.io.poni import read_poni
from smae_jax.measurements import Measurements
from smae_jax.report.azimuthal import Shape, fitted_around
from smae_jax.report.cake import Bins, Cake
from smae_jax.report.meridian import Along, Meridian, directed
from smae_jax.report.observable import Observable
from smae_jax.report.orientation import observed
from smae_jax.report.pair import Pair, pair_of
from smae_jax.report.pair_curves import PairLayout
from smae_jax.report.pair_layout import lay_out_pair
from smae_jax.report.peaks import Peak, fitted, peaks_of, windows_of
from smae_jax.report.period import Order, fitted_period, orders_of
from smae_jax.report.profiles import Profiles

CLEAR = 5.0
"""Standard deviations of its area from which a peak that was looked for is reported."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where profiles are looked at; found on raw counts, before anything is denoised.

    Attributes:
      cake: sums frames in bins.
      peaks: that are fitted.
      rings: (low, high) in units of the axis, of I(chi).
      profile: raw, of all frames added up.
      pair: how G(r) is made; None = it was not asked for.
      shape: of the peak of I(chi) in each ring.
      meridian: how the sector about it is found.
      orders: that are looked for along it; none = those found.
    """

    cake: Cake
    peaks: tuple[Peak, ...]
    rings: tuple[tuple[float, float], ...]
    profile: Profiles
    pair: PairLayout | None = None
    shape: Shape = "von_mises"
    meridian: Meridian = dataclasses.field(default_factory=Meridian)
    orders: tuple[int, ...] = ()

    @property
    def bins(self) -> Bins:
        """The axes."""
        return self.cake.bins

    @property
    def weights(self) -> list[np.ndarray]:
        """Weights of the radial bins of each ring, (bins,); 0 outside.

        They are the mean profile over its mean in the ring. Counts are divided by exposures weighted so:
        where a gap leaves the flank of a ring alone, its azimuth is not taken for a dark one.
        """
        rate = np.nan_to_num(self.profile.raw[0])
        found = []
        for ring in self.rings:
            inside = self.bins.inside(*ring) & (rate > 0)
            found.append(np.where(inside, rate / rate[inside].mean(), 0))
        return found

    def name_of(self, ring: tuple[float, float]) -> str:
        """Say which ring."""
        return f"ring {ring[0]:.4g} to {ring[1]:.4g} {self.bins.unit}"


@dataclasses.dataclass(frozen=True)
class Physics:
    """What was found.

    Attributes:
      layout: where.
      profile: I(q) or I(radius) of every frame.
      rings: I(chi) of every ring.
      observables: of every peak and ring, and of the meridian.
      orders: found along the meridian.
      pair: S(Q), G(r) and shells; None = they were not asked for.
    """

    layout: Layout
    profile: Profiles
    rings: tuple[Profiles, ...]
    observables: tuple[Observable, ...]
    orders: tuple[Order, ...] = ()
    pair: Pair | None = None

    def without_noise(self) -> Physics:
        """Return the same of values that are no photon counts: raw ones have no errors then."""
        return dataclasses.replace(
            self,
            profile=dataclasses.replace(self.profile, photons=False),
            rings=tuple(dataclasses.replace(ring, photons=False) for ring in self.rings),
            observables=tuple(one.without_noise() for one in self.observables),
            pair=None if self.pair is None else self.pair.without_noise(),
        )

    @property
    def all_observables(self) -> tuple[Observable, ...]:
        """Those of peaks and rings, then those of shells."""
        return self.observables + (() if self.pair is None else self.pair.observables)


def geometry_of(config: ProfileOptions, data: Measurements) -> tuple[Geometry, Center]:
    """Tell the geometry: of the options, else of the files and the run.

    Raises:
      UserError: in one line, if the geometry file cannot be read, or the frames have no centre.
    """
    center, told = data.center, data.geometry
    if center is None:
        raise UserError(f"--input {config.input}: has no beam centre; give it with --center y,x")
    if config.geometry:
        shape = (data.spatial[0], data.spatial[1])
        try:
            told = read_poni(config.geometry, shape, told)
        except UserError as error:
            raise UserError(str(error).replace("--data.geometry", "--geometry")) from None
        if told.center is not None:
            center = Center.given(told.center, f"from {config.geometry}")
    given: dict[str, Any] = {}
    if config.pixel_size:
        given["pixel_size_m"] = (config.pixel_size * 1e-6, config.pixel_size * 1e-6)
    if config.distance:
        given["distance_m"] = config.distance
    if config.wavelength:
        given["wavelength_m"] = config.wavelength * 1e-10
    sources = {**told.sources, **dict.fromkeys(given, "the options")}
    return dataclasses.replace(told, **given, sources=sources), center


def lay_out(
    config: ProfileOptions, data: Measurements, background: Measurements | None = None
) -> Layout:
    """Find peaks and rings on the raw counts of a scan, or take those of the options.

    Args:
      config: the options.
      data: the scan, or frames spread over it.
      background: frames without the sample, for G(r).

    Raises:
      UserError: in one line, if a range of the options lies off the profile or holds no peak, or G(r) is
        asked for and cannot be had.
    """
    geometry, center = geometry_of(config, data)
    cake = Cake(geometry, center, (data.spatial[0], data.spatial[1]))
    bins, profile = cake.bins, _raw_of_scan(cake, data)
    windows = parse_ranges(config.peaks, option="--peaks")
    for window in windows:
        _check(window, bins, profile, "--peaks")
    peaks = peaks_of(bins, profile, windows or windows_of(bins, profile), shape=config.shape)
    if windows and len(peaks) < len(windows):
        raise UserError(
            f"--peaks {' '.join(config.peaks)}: no peak could be fitted in "
            f"{len(windows) - len(peaks)} of these windows of {bins.label}; make them wider"
        )
    if not windows:
        peaks = [peak for peak in peaks if peak.area_sigmas > CLEAR]
    rings = parse_ranges(config.rings, option="--rings")
    for ring in rings:
        _check(ring, bins, profile, "--rings")
    rings = rings or _default_rings(bins, profile, peaks)
    layout = Layout(cake, tuple(peaks), tuple(rings), profile)
    if not isinstance(config, ReportConfig):
        return layout
    pair = None
    if config.composition:
        pair = lay_out_pair(config, data, cake, geometry, profile, background)
    meridian = Meridian(turned=config.meridian, sector=config.sector)
    return dataclasses.replace(
        layout, pair=pair, shape=config.azimuthal_shape, meridian=meridian, orders=config.orders
    )


def _raw_of_scan(cake: Cake, data: Measurements) -> Profiles:
    """Return the raw profile of all frames added up."""
    counts = data.counts.sum(axis=0, dtype=np.float64)
    exposure = data.full_exposure.sum(axis=0, dtype=np.float64)
    sums = [array.sum(axis=1)[None] for array in cake(counts, exposure)]
    return Profiles(sums[0], sums[1], sums[0])


def _check(given: tuple[float, float], bins: Bins, profile: Profiles, option: str) -> None:
    """Refuse a range that holds no bin with counts."""
    known = bins.values[profile.norm[0] > 0]
    if not (bins.inside(*given) & (profile.norm[0] > 0)).any():
        raise UserError(
            f"{option} {given[0]:g}:{given[1]:g}: nothing was measured there; the axis is {bins.label}, from "
            f"{known.min():.4g} to {known.max():.4g}"
        )


def _default_rings(
    bins: Bins, profile: Profiles, peaks: Sequence[Peak]
) -> list[tuple[float, float]]:
    """Return the rings of the peaks, each as wide as its peak; without peaks the middle of the counts."""
    rings = []
    for peak in peaks:
        width = peak.values["fwhm"]
        rings.append((max(peak.low, peak.center - width), min(peak.high, peak.center + width)))
    if rings:
        return rings
    total = np.cumsum(profile.counts[0])
    low, high = np.searchsorted(total, [0.25 * total[-1], 0.75 * total[-1]])
    return [(float(bins.values[low]), float(bins.values[min(high, len(total) - 1)]))]


def physics_of(
    layout: Layout,
    profile: Profiles,
    rings: Sequence[Profiles],
    meridian: Along | None = None,
    *,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Physics:
    """Fit peaks, orientation and period of every frame, and make G(r) where it was laid out.

    Args:
      layout: where.
      profile: of every frame.
      rings: I(chi) of every frame, for each ring of the layout.
      meridian: what is along it in every frame; None where there is none.
      progress: wraps the numbers of the frames of each peak.
    """
    found: list[Observable] = []
    for peak in layout.peaks:
        found += fitted(layout.bins, profile, peak, progress=progress)
    for ring, azimuthal in zip(layout.rings, rings, strict=True):
        axis, where = layout.bins.azimuth, layout.name_of(ring)
        found += observed(azimuthal, axis, where)
        found += fitted_around(azimuthal, axis, where, shape=layout.shape, progress=progress)
    orders = () if meridian is None else orders_of(layout.bins, meridian.profile, layout.orders)
    if meridian is not None and orders:
        found.append(directed(meridian))
        found += fitted_period(layout.bins, meridian.profile, orders, progress=progress)
    pair = None if layout.pair is None else pair_of(layout.pair, profile)
    return Physics(layout, profile, tuple(rings), tuple(found), orders, pair)
