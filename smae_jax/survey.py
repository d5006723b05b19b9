"""What must be known of a scan before it is trained on or denoised: masks, hot pixels, centre, scale.

Arrays in, arrays out: knows nothing of files. A mask only ever takes pixels away. The choices made here are
saved with a run, and inference makes the same ones.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from smae_jax.asymmetry import opposite, relative_asymmetry
from smae_jax.center import find_center, find_shadows
from smae_jax.errors import UserError
from smae_jax.geometry import HEADER, Center
from smae_jax.measurements import Measurements, mean_of_frames
from smae_jax.neighbours import CROSS, RING, SQUARE, around, partner_of, upper_median
from smae_jax.tilt import partner_displacement

ScaleRule = Literal["scan", "frame", "scan_max", "frame_max"]

DIFFER = 3.0
"""Pixels from which a centre that was told is said to differ from the one found."""
BLURRED = 5.0
"""Standard deviations by which the neighbours of a reflection stand out."""
UNEVEN, SIGNIFICANT = 0.1, 3.0
"""Asymmetry from which a centre that was found is a guess, and the standard deviations that it needs."""
AGREE = 1.0
"""Pixels within which the header's centre and the one found confirm each other, whatever else is in doubt."""
_NEAR = 10.0  # pixels about the header's centre that are searched where the whole frame tells none


def settle(
    data: Measurements,
    *,
    center: tuple[float, float] | Literal["auto"] | None,
    hot_pixels: bool = False,
) -> Measurements:
    """Give patterns their centre of symmetry, and mask their hot pixels.

    Args:
      data: patterns; spectra and volumes have neither.
      center: (y, x) in pixels; "auto" = see `center_of`; None = no symmetry is assumed.
      hot_pixels: whether to find and mask hot pixels.

    Returns:
      The measurements with their `center`, and with `hot` among the causes of masking where asked for.

    Raises:
      UserError: in one line, if these are no patterns, or no centre can be told.
    """
    if len(data.spatial) != 2 and (center is not None or hot_pixels):
        raise UserError(
            f"{data.origin.source}: expected patterns (height, width) for a centre or hot pixels, got "
            f"{data.spatial}; leave both out"
        )
    found: Center | None = None
    if center is not None:
        found = center_of(data) if isinstance(center, str) else given(data, center)
    if hot_pixels:
        half_pixel = found.half_pixel if found is not None and found.trusted else None
        data = masked(data, find_hot_pixels(data, center=half_pixel), cause="hot")
    return dataclasses.replace(data, center=found)


def center_of(data: Measurements) -> Center:
    """Tell the centre of a scan by its geometry file, by correlation, or by its header, in this order.

    A geometry file is taken at its word. A header's centre is often left unset, or another experiment's: it
    is where correlation is tried a second time, and it stands for the centre, not trusted, where correlation
    tells none. Where a file and the correlation differ, that is remarked.

    Raises:
      UserError: if no centre can be told.
    """
    told, source = data.geometry.center, data.geometry.source_of("center")
    try:
        found = found_center(data)
    except UserError as error:
        if told is None:
            raise UserError(f"{data.origin.source}: {error}") from None
        found = None
    if told is None:
        if found is None:
            raise TypeError("a centre is told or found")
        return found
    here = Center.given(told, f"from {source}")
    off = np.inf if found is None else float(np.hypot(*np.subtract(found.subpixel, told)))
    if source != HEADER:
        center = given(data, told, here.source)
        if found is not None and found.trusted and off > DIFFER:
            center = center.remarked(_differing(here, found, off, "the file's is taken"))
        return center
    if found is not None and off < AGREE:  # two sources that know nothing of each other
        return dataclasses.replace(found, trusted=True, reason="")
    if found is not None and not found.trusted:
        found = _found_near(data, told) or found
    if found is not None and found.trusted:
        said = _differing(here, found, off, "the one found is taken")
        return found.remarked(said) if off > DIFFER else found
    why = "the frames are constant" if found is None else found.reason
    return here.doubted(f"correlation does not confirm the header's centre ({why})").judged(
        np.asarray(data.valid.any(axis=0))
    )


def found_center(data: Measurements, **search: Any) -> Center:
    """Find the centre of a scan from its frames added up, each pixel over its valid frames.

    Args:
      data: patterns.
      search: see `find_center`.

    Raises:
      UserError: if no centre can be told.
    """
    mean, exposure = mean_of_frames(data)
    total, valid = np.where(exposure > 0, mean * exposure.max(), 0.0), exposure > 0
    found = find_center(total, valid, **search)
    if not found.trusted:
        return found
    lit = valid & ~find_shadows(total, valid, found.half_pixel)
    sides = relative_asymmetry(*opposite(total, lit, found.half_pixel))
    if sides.relative > UNEVEN and sides.sigmas > SIGNIFICANT:
        return found.doubted(
            f"opposite pixels differ by {100 * sides.relative:.0f} % about it, and the centre of an uneven "
            "pattern is found where they differ least; the centre is a guess"
        )
    return found


def given(data: Measurements, center: tuple[float, float], source: str = "given") -> Center:
    """Take a centre (y, x) that the user gave; not trusted where the beam is off the frame.

    A detector whose tilt takes opposite pixels off each other's places is remarked.
    """
    taken = Center.given(center, source).judged(np.asarray(data.valid.any(axis=0)))
    shape = (data.spatial[0], data.spatial[1])
    told = dataclasses.replace(data.geometry, center=taken.subpixel)
    tilt = partner_displacement(told, shape) if taken.trusted else None
    if tilt is None or tilt[0] <= 0.5:
        return taken
    return taken.remarked(
        f"the detector is tilted: at y {tilt[1][0]}, x {tilt[1][1]} the opposite pixel is {tilt[0]:.1f} "
        "pixels off the opposite scattering vector; --thinning.partner none leaves partners out"
    )


def _found_near(data: Measurements, told: tuple[float, float]) -> Center | None:
    """Search near a header's centre; None where that tells nothing either."""
    y, x = ((value - _NEAR, value + _NEAR) for value in told)
    try:
        near = found_center(data, search=(y, x))
    except UserError:
        return None
    return near if near.trusted else None


def _differing(told: Center, found: Center, off: float, taken: str) -> str:
    (y, x), (there_y, there_x) = told.subpixel, found.subpixel
    return (
        f"the centre {told.source} is y {y:.1f}, x {x:.1f}, {off:.1f} pixels from y {there_y:.1f}, x "
        f"{there_x:.1f}, which correlation finds; {taken}, or give another with --data.center y,x"
    )


def frame_scales(data: Measurements, *, rule: ScaleRule) -> np.ndarray:
    """Return how many counts one unit of rate stands for in each frame.

    Args:
      data: (frames, *spatial[, channel]).
      rule: "scan" is the mean of the scan, "frame" of each frame; "scan_max" and "frame_max" their maxima;
        all per unit of exposure.

    Returns:
      Scales, (frames,), float32, > 0; a frame without counts takes the scan's scale.
    """
    counts, axes = data.counts, tuple(range(1, data.counts.ndim))
    if rule.endswith("max"):
        each = counts.max(axis=axes, initial=0) / data.frame_exposure
        overall = float(each.max())
    else:
        totals = counts.sum(axis=axes, dtype=np.float64)
        exposure = data.exposure.sum(axis=tuple(range(1, data.exposure.ndim)), dtype=np.float64)
        exposure = np.broadcast_to(exposure, len(counts)) * (
            counts.shape[-1] if data.channels else 1
        )
        each = np.divide(totals, exposure, out=np.zeros(len(counts)), where=exposure > 0)
        overall = float(totals.sum() / exposure.sum()) if exposure.any() else 0.0
    overall = overall if overall > 0 else 1.0
    if rule.startswith("scan"):
        return np.full(len(counts), overall, np.float32)
    return np.where(each > 0, each, overall).astype(np.float32)


def masked(
    data: Measurements, valid: np.ndarray, *, cause: str = "user", path: str = "mask"
) -> Measurements:
    """Take pixels out.

    Args:
      data: left as it is.
      valid: True = use, bool, (*spatial) or (1 or frames, *spatial).
      cause: under which name `origin.masked_by` counts the pixels that no earlier cause had masked.
      path: what to call the mask in a message.

    Returns:
      The measurements with exposure and counts 0 there.

    Raises:
      UserError: if the mask has another shape than the frames, or leaves no pixel.
    """
    spatial, shape = data.spatial, valid.shape
    valid = valid[None] if valid.ndim == len(spatial) else valid
    if valid.shape[1:] != spatial or len(valid) not in (1, data.frames):
        turned = len(spatial) == 2 and shape[-2:] == spatial[::-1]
        raise UserError(
            f"{path}: the mask has shape {shape}, the frames of {data.names[0]} have {spatial}"
            f"{'; it looks transposed' if turned else ''}; give a mask of the whole detector frame"
        )
    both = data.valid & valid
    if not both.any():
        raise UserError(
            f"{path}: no usable pixel is left after this mask; check its polarity (nonzero = bad, unless set "
            "to good)"
        )
    before = data.origin.masked_by
    share = float(data.valid.mean() - both.mean())
    kept = both[..., None] if data.channels else both
    return dataclasses.replace(
        data,
        counts=np.where(kept, data.counts, np.zeros((), data.counts.dtype)),
        exposure=np.where(both, data.exposure, np.float32(0)),
        origin=dataclasses.replace(
            data.origin, masked_by={**before, cause: before.get(cause, 0.0) + share}
        ),
    )


def describe_mask(data: Measurements) -> str:
    """Say what is masked, as in `7.2 % of pixels masked: 7.19 % detector, 0.00 % user`."""
    asked = ("detector", "user", "hot")  # said even where they found nothing
    causes = data.origin.masked_by.items()
    parts = [
        f"{100 * share:.2f} % {cause}"
        for cause, share in causes
        if share or cause.split(" ")[0] in asked
    ]
    share = 100 * (1 - data.valid.mean())
    return f"{share:.1f} % of pixels masked: {', '.join(parts) or 'nothing'}"


def find_hot_pixels(
    data: Measurements,
    *,
    center: tuple[float, float] | None = None,
    threshold: float = 8.0,
    margin: float = 3.0,
) -> np.ndarray:
    """Find pixels that count too much, frame after frame, without touching sharp reflections.

    A pixel is hot if its counts, summed over the frames in which it is valid, exceed what is
    expected of its exposure by more than `threshold` Poisson standard deviations and by more than
    `margin` times. Expected is the largest of

    - the median of its valid neighbours in 5 x 5 pixels, itself left out;
    - the second brightest of its eight neighbours: a reflection is blurred over several pixels. So a
      cluster of three hot pixels or more is kept. Where three of the four nearest pixels lie 2.5
      times above the median about them, by five Poisson standard deviations and by 2 % of the pixel's
      own excess, it is a reflection;
    - with a centre, the brightest of the 3 x 3 pixels about its partner: a sharp reflection has one
      there, a hot pixel has not.

    It must stand out in this way also after the brightest quarter of its frames, at least one, is
    left out: a Bragg spot that flashes up in few frames is not hot. A single frame cannot tell:
    there the neighbours and the partner decide alone, and without a centre a one-pixel Bragg spot
    is taken for a hot pixel.

    Args:
      data: patterns.
      center: (y, x) in pixels, to the nearest half pixel.
      threshold: in standard deviations, above 0.
      margin: 3 = at least four times what is expected; above or equal to 0.

    Returns:
      valid, True = not hot, bool (height, width); to be given to `masked` with `cause="hot"`.

    Raises:
      UserError: if `threshold` or `margin` is out of range.
    """
    if not threshold > 0:
        raise UserError(
            f"hot-pixel threshold: expected standard deviations above 0, got {threshold}"
        )
    if not margin >= 0:
        raise UserError(f"hot-pixel margin: expected 0 or more, got {margin}")
    counts = data.counts
    light = data.exposure.sum(axis=0, dtype=np.float64) * (len(counts) // len(data.exposure))
    with np.errstate(invalid="ignore"):
        rate = np.where(light > 0, counts.sum(axis=0, dtype=np.float64) / light, np.nan)

    y, x = _above_mean_of_neighbours(rate, 1 + min(margin, 0.5))
    ground = upper_median(around(rate, y, x, RING))
    adjacent = np.sort(np.nan_to_num(around(rate, y, x, SQUARE)), axis=0)
    second = adjacent[-3]  # of the 3 x 3 pixels the brightest is the pixel itself, or it is not hot
    expected = np.fmax(ground, second)
    if center is not None:
        partner = around(rate, *partner_of(center, y, x), SQUARE)
        expected = np.fmax(expected, np.nan_to_num(partner).max(axis=0))

    # A reflection lights its four nearest pixels; beside a hot one there is one more at most.
    nearest = np.sort(np.nan_to_num(around(rate, y, x, CROSS)), axis=0)[1]
    ground, number = np.nan_to_num(ground), light[y, x]
    blurred = (nearest - ground) * number > BLURRED * np.sqrt(np.maximum(ground * number, 1))
    # More than a slope makes, and a part of the peak that a pixel's own light can have beside it.
    blurred &= (nearest > 2.5 * ground) & (nearest - ground > 0.02 * (rate[y, x] - ground))
    hot = np.isfinite(expected) & ~blurred
    for total, exposure in ((rate[y, x] * number, number), _steadily(data, y, x)):
        mean = np.nan_to_num(expected) * exposure
        hot &= total > mean + np.maximum(threshold * np.sqrt(np.maximum(mean, 1)), margin * mean)
    good = np.ones(counts.shape[1:], np.bool_)
    good[y[hot], x[hot]] = False
    return good


def _steadily(data: Measurements, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add up counts and exposures of some pixels over all but their brightest frames, a quarter, or one."""
    counts = data.counts[:, y, x]
    each = data.full_exposure[:, y, x].astype(np.float64)  # (frames, candidates)
    seen = (each > 0).sum(axis=0)
    steady = np.where(seen > 1, np.minimum(seen - 1, np.ceil(0.75 * seen)), seen).astype(int)
    rate = np.where(each > 0, counts / np.where(each > 0, each, 1), np.inf)
    order = np.argsort(rate, axis=0)
    kept = np.arange(len(each))[:, None] < steady
    own, light = (
        np.where(kept, np.take_along_axis(array, order, axis=0), 0).sum(axis=0)
        for array in (counts, each)
    )
    return own, light


def _above_mean_of_neighbours(rate: np.ndarray, sieve: float) -> tuple[np.ndarray, np.ndarray]:
    """Find quickly what may be hot: above `sieve` times the mean of the 5 x 5 pixels about it."""
    known = np.isfinite(rate)
    total, number = (_box_sum(np.where(known, what, 0.0)) for what in (rate, 1.0))
    y, x = np.nonzero(known & (np.nan_to_num(rate) * number > sieve * total))
    return y, x


def _box_sum(image: np.ndarray) -> np.ndarray:
    """Sum over 5 x 5 pixels, zero outside."""
    for axis in (0, 1):
        padded = np.pad(image, [(2, 2) if a == axis else (0, 0) for a in (0, 1)])
        length = image.shape[axis]
        image = np.sum([np.take(padded, range(k, k + length), axis) for k in range(5)], axis=0)
    return image
