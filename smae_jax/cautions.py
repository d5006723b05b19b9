"""What a person should be warned of before measurements are trained on or denoised, one line each.

Arrays in, words out: knows nothing of files.
"""

from __future__ import annotations

import numpy as np

from smae_jax.counting import USUAL, unlike_photons
from smae_jax.measurements import Measurements, not_counted

_MOSTLY = 0.5  # share of the pixels
_SURELY_SEEN = 20.0  # counts that a frame would have; by chance none is one in 10^8
_UNLIKE = 10.0  # ratio of exposures
_SMALL = 16  # pixels: the shortest side of a training patch
_LISTED = 8


def cautions(data: Measurements, *, polarity: str = "", options: str = "--data.") -> list[str]:
    """List what makes measurements other than they should be; empty if nothing does.

    Args:
      data: masked.
      polarity: that the user's mask was read with, `bad` or `good`; "" = it is a run's own.
      options: what options are called before their own name: `--data.` of a training, `--` of `infer`.
    """
    lines = [*of_mask(data, polarity=polarity, options=options), *_exposures(data)]
    if len(data.spatial) == 2 and min(data.spatial) < _SMALL:
        lines.append(
            f"WARNING: frames of {data.spatial[0]} x {data.spatial[1]} pixels are small: a training needs "
            f"{_SMALL} pixels a side or more, and a centre is hardly found in fewer"
        )
    return [*lines, *_scatter(data, options)]


def of_mask(data: Measurements, *, polarity: str = "", options: str = "--data.") -> list[str]:
    """List what is odd about mask and empty frames alone; arguments as of `cautions`."""
    return [*_mask(data, polarity, options), *_empty(data, options)]


def not_counts(data: Measurements, *, loss: str = "", noise_measured: bool = False) -> list[str]:
    """Say so where values are no photon counts, and which options fit then.

    Args:
      data: any.
      loss: that is trained with; "" = none.
      noise_measured: whether loss `auto` knows the noise; it takes it as of photons otherwise.
    """
    odd = not_counted(data.counts)
    if odd is None:
        return []
    below = int((data.counts < 0).sum())
    what = f"{100 * below / data.counts.size:.2g} % are negative" if below else "not all are whole"
    lines = [
        f"note: the values are no photon counts ({what}, such as {odd:g}); methods smae and noise2void with "
        "--loss mse fit, noise2noise with --loss auto on repeats, and thinning with --thinning.gain and "
        "--thinning.readout-noise"
    ]
    if below and ("poisson" in loss or ("auto" in loss and not noise_measured)):
        lines.append(
            f"WARNING: --loss {loss} is the likelihood of photon counts, and {what}; --loss mse fits, or "
            "auto on repeats"
        )
    return lines


def counted(number: int, what: str) -> str:
    """Write a number with its noun.

    >>> counted(1, "frame"), counted(8, "spectra"), counted(1, "spectra")
    ('1 frame', '8 spectra', '1 spectrum')
    """
    one, many = ("spectrum", "spectra") if what.startswith("spectr") else (what.rstrip("s"),) * 2
    many = many if many == "spectra" else f"{many}s"
    return f"{number} {one if number == 1 else many}"


def _scatter(data: Measurements, options: str) -> list[str]:
    """Say so where whole numbers do not scatter as photons do, and what is done about it."""
    found = unlike_photons(data)
    if found is None:
        return []
    low, high, _ = found
    less = high < USUAL[0]
    cause = (
        "they were interpolated or smoothed, or neighbours share their light"
        if less
        else "the detector integrates, or they were multiplied"
    )
    if not less and data.frames == 1 and data.response is None:
        cause += ", or pixels are uneven, which --data.flat mends"
    what = (
        f"the values are whole numbers, but scatter {'less' if less else 'more'} than photons do (variance "
        f"over mean {high if less else low:.2g}, and 1 of photons): {cause}"
    )
    give = "raw counts, or --thinning.gain and --thinning.readout-noise of the detector"
    if not data.integrated:
        known = f", or {options}noise integrated" if data.symmetry is not None else ""
        return [f"WARNING: {what}; answers may be worse than the values. Give {give}{known}"]
    if data.symmetry is None:
        return [
            f"WARNING: {what}; without partners about a beam centre nothing tells how good answers are, and "
            f"they may be worse than the values. Give the centre, {give}"
        ]
    return [
        f"note: {what}. They are not taken for photon counts, and opposite pixels tell how much of an answer "
        f"is taken; {options}noise photons takes them for counts, and better are {give}"
    ]


def _mask(data: Measurements, polarity: str, options: str) -> list[str]:
    share = 1 - float(data.valid.mean())
    by = data.origin.masked_by
    if share <= _MOSTLY:
        return []
    user = by.get("user", 0.0)
    line = f"WARNING: {100 * share:.0f} % of the pixels are masked"
    if polarity and user > share / 2:
        other = "good" if polarity == "bad" else "bad"
        return [
            f"{line}, {100 * user:.0f} % by the mask that was given, read with nonzero = {polarity}; "
            f"{options}mask-polarity {other} would mask {100 * (1 - user):.0f} %"
        ]
    most = max(by, key=lambda cause: by[cause], default="")
    return [f"{line}{f', {100 * by[most]:.0f} % by cause {most}' if most else ''}; see inspect"]


def _empty(data: Measurements, options: str) -> list[str]:
    """Name frames without a count, where chance does not leave them so, and those without a pixel."""
    totals = np.abs(data.counts).sum(axis=tuple(range(1, data.counts.ndim)), dtype=np.float64)
    seen = np.broadcast_to(data.valid.reshape(len(data.valid), -1).any(axis=1), totals.shape)
    empty = np.flatnonzero((totals == 0) & seen)
    lines, choice = [], f"{options}frames" if options == "--data." else f"{options}repeats"
    some = totals[totals > 0]
    if empty.size and some.size and some.mean() > _SURELY_SEEN:
        lines.append(
            f"WARNING: {_these(empty, data)} all zero (shutter closed?); leave them out with {choice}"
        )
    if not seen.all():
        unseen = np.flatnonzero(~seen)
        lines.append(f"WARNING: {_these(unseen, data)} masked altogether")
    return lines


def _these(frames: np.ndarray, data: Measurements) -> str:
    """Say which frames, by their numbers in the scan, and of how many that were looked at."""
    numbers = np.array(data.origin.numbers)[frames] if data.origin.numbers else frames
    listed = ", ".join(map(str, numbers[:_LISTED])) + ", ..." * (len(frames) > _LISTED)
    looked = " looked at" if data.origin.numbers else ""
    verb = "is" if len(frames) == 1 else "are"
    of = f"{counted(data.frames, 'frame')}{looked}"
    return f"{len(frames)} of {of} (number {listed}, counted from 0) {verb}"


def _exposures(data: Measurements) -> list[str]:
    """Warn of frames of very unlike exposure; those of a scan count as one unless a monitor tells."""
    light = data.frame_exposure.astype(np.float64)
    known = bool((light != light[0]).any())
    times = light if known else np.array(data.origin.exposure_s or light, np.float64)
    times = times[np.isfinite(times) & (times > 0)]
    if not times.size or times.max() <= _UNLIKE * times.min():
        return []
    unit, taken = (
        ("", "one network for all does worse than one for each")
        if known
        else (" s", "all count as one exposure, unless --data.monitor tells them apart")
    )
    return [
        f"WARNING: exposures of the frames differ {times.max() / times.min():.3g} times, from "
        f"{times.min():.3g} to {times.max():.3g}{unit}; {taken}"
    ]
