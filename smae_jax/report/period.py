"""The D-period: one straight line through the places of several orders along the meridian, frame by frame.

Order n of a period D lies at q = 2 pi n / D, so the place of the first order is sum(n q_n / s_n^2) /
sum(n^2 / s_n^2), with the errors s_n of the places. Over a radius it is a place alone, in the radius' unit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from smae_jax.report.cake import Bins
from smae_jax.report.observable import Observable, observable_of
from smae_jax.report.peaks import Fits, Peak, fits_of, peaks_of, windows_of
from smae_jax.report.profiles import Profiles

MOST = 10
"""Peaks along the meridian that are looked at."""
HIGHEST = 8
"""Order that is taken for one where none is told."""
NEAR = 0.03
"""Share of the first order's place by which an order may be off its own."""
CLEAR = 5.0
"""Standard deviations of its area from which an order of the whole scan counts."""
FEWEST = 2
"""Orders that a frame must show."""

Progress = Callable[[Iterable[int]], Iterable[int]]


@dataclasses.dataclass(frozen=True)
class Order:
    """A peak along the meridian, and which order it is."""

    number: int
    peak: Peak


def orders_of(bins: Bins, meridian: Profiles, asked: Sequence[int] = ()) -> tuple[Order, ...]:
    """Find the orders of a period in the meridional profile of a scan.

    Args:
      bins: of the profile.
      meridian: of the scan; its frames are added up.
      asked: orders that are looked for; none = 1 to `HIGHEST`.

    Returns:
      Those found, ascending; none where fewer than three are found, or two of those asked for, or more peaks
      lie elsewhere.
    """
    windows = windows_of(bins, meridian, most=MOST)
    peaks = peaks_of(bins, meridian, windows, shape="gaussian")
    peaks = [peak for peak in peaks if peak.area_sigmas > CLEAR]
    centers = np.array([peak.center for peak in peaks])
    chosen = numbers_of(centers, asked)
    return tuple(
        Order(int(number), peak) for number, peak in zip(chosen, peaks, strict=True) if number
    )


def numbers_of(places: np.ndarray, asked: Sequence[int] = ()) -> np.ndarray:
    """Tell which orders of one period places are; 0 = none.

    The first order is where most places are orders, and of several such places the farthest out.

    Args:
      places: ascending, (peaks,).
      asked: see `orders_of`.

    >>> numbers_of(np.array([0.101, 0.30, 0.36, 0.499]))
    array([1, 3, 0, 5])
    >>> numbers_of(np.array([0.33, 0.55, 0.63, 0.80, 0.93]))
    array([0, 0, 0, 0, 0])
    """
    allowed = np.array(sorted(asked) or range(1, HIGHEST + 1))
    best, best_first = np.zeros(len(places), int), 0.0
    for first in sorted({float(p / n) for p in places for n in allowed}, reverse=True):
        ratio = places / first
        nearest = allowed[np.abs(ratio[:, None] - allowed).argmin(axis=1)]
        number = np.where(np.abs(ratio - nearest) < NEAR, nearest, 0)
        if (number > 0).sum() > (best > 0).sum():
            best, best_first = number, first
    found = best[best > 0]
    enough = 2 if asked else 3
    twice = len(set(found.tolist())) < len(found)
    elsewhere = (best == 0).sum() >= len(found) and not asked
    if len(found) < enough or twice or elsewhere or not best_first:
        return np.zeros(len(places), int)
    return best


def fitted_period(
    bins: Bins, meridian: Profiles, orders: Sequence[Order], *, progress: Progress = iter
) -> list[Observable]:
    """Fit the orders of every frame, and the period through them.

    Args:
      bins: of the profiles.
      meridian: of every frame.
      orders: that were found.
      progress: wraps the numbers of the frames of each order.

    Returns:
      The place of the first order, the D-period too where the axis is q, and the area of each order. Fewer
      than `FEWEST` orders in a frame tell no period.
    """
    if not orders:
        return []
    found = [fits_of(bins, meridian, order.peak, progress=progress) for order in orders]
    numbers = np.array([order.number for order in orders], float)
    stacks = {name: np.stack([one.told[name] for one in found]) for name in found[0].told}
    places = {name: first_order(numbers, each[:, :, 0]) for name, each in stacks.items()}
    moved = _moved(numbers, found)
    said = ", ".join(str(order.number) for order in orders)
    where = f"orders {said} along the meridian"
    observables = [observable_of("place of the first order", where, bins.unit, places, moved)]
    if bins.name == "q":
        periods = {name: _period(*one.T).T for name, one in places.items()}
        if moved is not None:
            moved = 2 * np.pi * moved / places["denoised"][:, 0] ** 2
        observables.insert(0, observable_of("D-period", where, "nm", periods, moved))
    for order, one in zip(orders, found, strict=True):
        place = f"order {order.number} along the meridian, at {order.peak.center:.4g} {bins.unit}"
        observables.append(observable_of("area", place, f"counts {bins.unit}", *one.of(2)))
    return observables


def _moved(numbers: np.ndarray, fits: Sequence[Fits]) -> np.ndarray | None:
    """Return what the first order of replicas differs by, (replicas, frames), with the answer's weights."""
    some = [one.moved for one in fits if one.moved is not None]
    if len(some) < len(fits):
        return None
    answer = np.stack([one.told["denoised"][:, 0] for one in fits])
    others = np.moveaxis(np.stack(some)[..., 0], 1, 0) + answer[..., 0]
    first = first_order(numbers, answer)[:, 0]
    errors = np.broadcast_to(answer[..., 1], others.shape)
    each = [
        first_order(numbers, np.stack([*pair], axis=-1))
        for pair in zip(others, errors, strict=True)
    ]
    return np.stack([one[:, 0] for one in each]) - first


def first_order(numbers: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the place of the first order and its error, weighted over orders.

    Args:
      numbers: of the orders, (orders,).
      places: of the orders, and their errors, (orders, frames, 2); NaN where an order is not seen.

    Returns:
      (frames, 2), NaN where fewer than `FEWEST` orders are seen.
    """
    value, error = places[..., 0], places[..., 1]
    seen = np.isfinite(value) & (error > 0)
    weight = np.where(seen, 1 / np.where(seen, error, 1) ** 2, 0)
    n = numbers[:, None]
    power = (weight * n**2).sum(axis=0)
    power = np.where(seen.sum(axis=0) >= FEWEST, power, np.nan)
    place = (weight * n * np.where(seen, value, 0)).sum(axis=0) / power
    return np.stack([place, 1 / np.sqrt(power)], axis=1)


def _period(place: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the period and its error, (2, frames)."""
    return np.stack([2 * np.pi / place, 2 * np.pi * error / place**2])
