"""Error bars: how much an answer would change had other photons been counted, and what held-out ones miss.

The difference of the answers to two halves of the photons gives the jackknife's estimate of what photon
noise does to an answer, see `halves`. It knows nothing of what the network smooths away; that is measured on
photons that the prediction did not see, and added.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax.blocks import spread
from smae_jax.errors import UserError
from smae_jax.finishing.evidence import Evidence
from smae_jax.methods.protocol import Answers
from smae_jax.piecewise import piecewise
from smae_jax.smoothing import smooth_image, variance_of_smoothed

RESIDUALS = (1.0, 1.5, 2.0, 4.0)
"""Sigmas, in pixels, of the Gaussian under which answers are compared with held-out photons."""
RATES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.97)
"""Quantiles of the answers between which rates are looked at together."""
POWERS = np.arange(1.0, 2.6, 0.125)
"""Powers of the rate that are tried for what is missed: noise grows as the rate, what is smoothed away as its
square."""
USUAL_POWER, SPREAD = 1.75, 0.125
"""What the power is, and how far it strays, where held-out photons do not tell."""
COMMON = 3.0
"""Sigma, in pixels, of the Gaussian under which the frames added up are compared."""
MANY = 2**23
"""Pixels, of all frames together, that are compared with held-out photons at most: more tell the same."""
FALL = 0.2
"""From halves to full frames the squared errors that both halves have alike fell to 0.76 to 0.91 on eight
simulated scans of 0.1 to 10 photons per pixel; 0.87 is taken."""
SIGNIFICANT = 2.0
"""Sigmas by which held-out photons must show that something is missed, where no network is known."""
USUAL_SHARE, WITHIN = 0.7, 0.8
"""What a network misses, as a multiple of its jackknife's variance, and how far its logarithm strays: 0.3 to
2.3 on six simulated scans of 0.1 to 10 photons per pixel."""
TOLERANCE = 0.5
"""Errors that a power of the rate does not describe, as a share of the squared error."""
STRAY, ROUGH = 0.7, 0.3
"""How far the logarithm of what is missed strays from a power of the rate; its error, at least."""


def error_bars(answers: Answers, evidence: Evidence) -> Answers:
    """Find one standard deviation of every answer.

    It holds the jackknife's variance, and what held-out photons find missing: the answers to both halves of
    the photons are compared with the other half each. What is missed there is taken to be missed in whole
    frames too, where it is a little less. Where repeats were left out it is the jackknife's alone.

    Args:
      answers: with the jackknife's variance.
      evidence: with answers to both halves of the photons, with variance; or none.

    Raises:
      UserError: if there is no variance: the method, or the measurements, give none.
    """
    if answers.variance is None:
        raise UserError(
            f"--sigma: the method gives no error bars of {evidence.data.origin.source}; leave the option out"
        )
    if len(evidence.halves) < 2:
        sigma = np.sqrt(np.asarray(answers.variance)).astype(np.float32)
        return answers.after("error_bars", "jackknife over the repeats", sigma=sigma)
    frames = len(answers.counts)
    some = spread(frames, max(1, MANY // int(np.prod(answers.counts.shape[1:]))))
    halves = [half.answers for half in evidence.halves]
    rate, of_half = (
        np.stack([np.asarray(image)[some] for image in images])
        for images in ([half.counts for half in halves], [half.variance for half in halves])
    )
    use = evidence.valid[some] & np.isfinite(rate) & np.isfinite(of_half)
    for half in halves:
        if half.kept is not None:
            use = use & ~np.asarray(half.kept)[some]
    unseen = missed(
        rate,
        of_half,
        np.stack([photons[some] for photons in evidence.held_out]),
        exposure=evidence.held_out_exposure[some],
        use=use,
        of_network=np.stack([np.asarray(half.of_network)[some] for half in evidence.halves]),
    )
    sigma = sigma_of(answers.counts, answers.variance, unseen, kept=answers.kept)
    mean = max(float(np.nanmean(rate[:, use.all(axis=0)])) if use.any() else 0.0, 1e-9)
    percent = 100 * np.sqrt(float(unseen.of(np.asarray(mean)))) / mean
    what = (
        f"jackknife over two halves of the photons, and {percent:.3g} % of the mean rate, "
        f"which held-out photons of {len(some)} frames find missing"
    )
    return answers.after("error_bars", what, sigma=sigma)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Missed:
    """Squared error that the jackknife does not see, as a function of the rate.

    It is at least `common` times the rate's square, the error that all frames of the scan have alike.

    Attributes:
      rates: in counts, ascending, above 0, (n,).
      squares: error at each of them, counts squared, (n,); a power of the rate between two of them.
      power: of the rate, below the first and above the last.
      common: relative squared error.
    """

    rates: Any
    squares: Any
    power: float = USUAL_POWER
    common: float = 0.0

    def of(self, rate: Any) -> Any:
        """Return it for rates in counts, of NumPy or JAX; NaN stays NaN."""
        array: Any = np if isinstance(rate, np.ndarray) else jnp
        rate = array.maximum(rate, 0)
        logs, known = (array.log(array.maximum(x, 1e-30)) for x in (rate, self.rates))
        inside = array.interp(logs, known, array.log(array.maximum(self.squares, 1e-30)))
        below, above = array.minimum(logs - known[0], 0), array.maximum(logs - known[-1], 0)
        squares = array.exp(inside + self.power * (below + above))
        return array.maximum(squares, self.common * rate**2)


NOTHING = Missed(np.ones(1), np.zeros(1))
"""Nothing is missed."""


def missed(
    counts: np.ndarray,
    variance: np.ndarray,
    held_out: np.ndarray,
    *,
    exposure: np.ndarray | float,
    use: np.ndarray,
    of_network: np.ndarray | None = None,
) -> Missed:
    """Measure, on photons that the answer did not see, what its variance leaves out.

    With t held-out counts behind an exposure h, (t / h - answer)^2 - t / h^2 has the mean of the answer's
    squared error, whatever the rate. It is taken of residuals that were smoothed before, which have less
    photon noise: for pixels of similar rates by the narrowest Gaussian under which it is below the squared
    difference of the two answers. How much of an error smoothing leaves is seen on that difference, in these
    pixels and in all: the geometric mean of both is taken. Sharper errors are seen pixel by pixel, so far as
    they pass the noise there by two standard errors. What is more than the variance is taken for
    a power of the rate, from which pixels of similar rates stray so far as their photons show. From h to
    full frames it falls with exposure^FALL: little, as it is no photon noise. An error that all frames have
    alike, as of the network's parameters, is looked for in the residuals of the frames added up, which have
    less noise.

    Few photons tell little. What they tell is therefore weighed against what networks usually miss, which is
    about as much as the jackknife finds in the network alone. Combining frames lowers that, and not what is
    missed.

    Args:
      counts: answers made of either half of the photons, counts per full frame, (2, frames, height, width).
      variance: the jackknife's, as `counts`.
      held_out: photons of the other half, as `counts`.
      exposure: h, in full frames, (frames, height, width) or one for all, above 0.
      use: where all three are known, bool, as `counts`.
      of_network: the jackknife's variance of the network alone, as `counts`; None = nothing is known of it,
        and what held-out photons do not show by `SIGNIFICANT` sigmas is not there.

    Returns:
      What is missed in full frames.
    """
    exposure = np.broadcast_to(exposure, counts.shape[1:])
    places = _places(counts, use)
    sums = _sums_by_rate(counts, variance, held_out, places, exposure=exposure)
    if sums["rate"].sum() <= 0:
        return NOTHING
    seen = sums["pixels"] > 0
    alike = sums["alike"].sum()
    found, noise = np.zeros(len(seen)), np.full(len(seen), np.inf)
    for width in RESIDUALS:
        wider = noise > sums["alike"]
        if not wider.any():
            break
        smoothed = _smoothed_sums(counts, held_out, places, exposure=exposure, width=width)
        left = smoothed["left"]
        ratio = np.sqrt(_ratio(alike, left.sum()) * _ratio(sums["alike"], left))
        found = np.where(wider, smoothed["squares"] * ratio, found)
        noise = np.where(wider, np.sqrt(smoothed["noise"]) * ratio, noise)
    found = np.maximum(found, sums["squares"] - 2 * np.sqrt(sums["scatter"]))
    found, noise, own, rate = (
        a[seen] / sums["pixels"][seen] for a in (found, noise, sums["variance"], sums["rate"])
    )
    usual = None
    if of_network is not None:
        network = _sums_by_rate(counts, of_network, held_out, places, exposure=exposure)
        usual = network["variance"][seen] / sums["pixels"][seen]
    share, power = _power_law(found, noise, own, rate, usual)
    of_half = _strayed(found, noise, own, share * np.maximum(rate, 1e-9) ** power)
    common = _common(counts, held_out, exposure=exposure, use=use)
    fall = float(np.median(exposure[places >= 0])) ** FALL
    order = np.argsort(rate)
    return Missed(np.maximum(rate, 1e-9)[order], (of_half * fall)[order], power, common * fall)


def _ratio(whole: Any, part: Any) -> Any:
    """Divide; 1 where there is no part."""
    return np.where(part > 0, whole / np.where(part > 0, part, 1.0), 1.0)


def _common(
    counts: np.ndarray, held_out: np.ndarray, *, exposure: np.ndarray, use: np.ndarray
) -> float:
    """Return the mean square of the relative error of the frames added up, 0 or more."""
    both = use.all(axis=0)
    here = np.asarray(both.any(axis=0))
    light = _light(here, COMMON)
    square, rates = 0.0, 0.0
    for answer, photons in zip(counts, held_out, strict=True):
        each = (answer, photons / exposure, photons / exposure**2)
        rate, found, scatter = (np.where(both, a, 0).sum(axis=0, dtype=np.float64) for a in each)
        residual = smooth_image(found - rate, COMMON)
        noise = variance_of_smoothed(scatter, COMMON)
        square += float((((residual**2 - noise) / light**2)[here]).sum())
        rates += float(((smooth_image(rate, COMMON) / light)[here] ** 2).sum())
    return max(square / rates, 0.0) if rates > 0 else 0.0


def _places(counts: np.ndarray, use: np.ndarray) -> np.ndarray:
    """Return the group of similar rates that a pixel belongs to, -1 where it is not used; (frames, *spatial).

    By smoothed rates: an answer's own noise must not choose its place, nor photons that judge it.
    """
    both = np.asarray(use.all(axis=0))
    about = np.stack([_mean_about(*pair) for pair in zip(counts.mean(axis=0), both, strict=True)])
    edges = np.quantile(about[both], RATES) if both.any() else np.zeros(len(RATES))
    return np.where(both, np.searchsorted(edges, about), -1)


def _sums_by_rate(
    counts: np.ndarray,
    variance: np.ndarray,
    held_out: np.ndarray,
    places: np.ndarray,
    *,
    exposure: np.ndarray,
) -> dict[str, np.ndarray]:
    """Add up over pixels of similar rates what `missed`, with its arguments, looks at pixel by pixel."""
    frames = []
    for frame, place in enumerate(places):
        half, other, own = _in_use(place, counts[:, frame], held_out[:, frame], variance[:, frame])
        rate, light = np.maximum(half, 0.0), exposure[frame]
        images = {
            "pixels": np.full(place.shape, 2.0),
            "rate": rate.sum(axis=0),
            "variance": own.sum(axis=0),
            "alike": (half[0] - half[1]) ** 2,
            "squares": ((other / light - half) ** 2 - other / light**2).sum(axis=0),
            "scatter": (2 * (rate / light) ** 2).sum(axis=0),
        }
        frames.append(_by_place(images, place))
    return _added(frames)


def _smoothed_sums(
    counts: np.ndarray,
    held_out: np.ndarray,
    places: np.ndarray,
    *,
    exposure: np.ndarray,
    width: float,
) -> dict[str, np.ndarray]:
    """Add up over pixels of similar rates what `missed` looks at after a Gaussian of `width` pixels."""
    frames = []
    for frame, place in enumerate(places):
        half, other = _in_use(place, counts[:, frame], held_out[:, frame])
        share, light = _light(place >= 0, width), exposure[frame]
        residual = np.stack([smooth_image(r, width) for r in other / light - half]) / share
        noise = np.stack([variance_of_smoothed(n, width) for n in other / light**2]) / share**2
        images = {
            "squares": (residual**2 - noise).sum(axis=0),
            "noise": 8 * np.pi * width**2 * (noise**2).sum(axis=0),
            "left": (smooth_image(half[0] - half[1], width) / share) ** 2,
        }
        frames.append(_by_place(images, place))
    return _added(frames)


def _in_use(place: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    """Return arrays as float64, 0 where the pixel is not used."""
    return [np.where(place >= 0, a, 0.0).astype(np.float64) for a in arrays]


def _by_place(images: dict[str, np.ndarray], place: np.ndarray) -> dict[str, np.ndarray]:
    """Add up the pixels in use of each group of rates."""
    here = place >= 0
    return {
        name: np.bincount(place[here], weights=image[here], minlength=len(RATES) + 1)
        for name, image in images.items()
    }


def _added(frames: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Add up the sums of frames."""
    return {name: np.sum([one[name] for one in frames], axis=0) for name in frames[0]}


def _mean_about(image: np.ndarray, here: np.ndarray) -> np.ndarray:
    """Return the mean of an image about each pixel, of those in use."""
    return smooth_image(np.where(here, np.maximum(image, 0.0), 0.0), COMMON) / _light(here, COMMON)


def _light(here: np.ndarray, sigma: float) -> np.ndarray:
    """Return the share of a Gaussian about each pixel that falls on pixels in use, above 0."""
    return np.clip(smooth_image(here.astype(np.float64), sigma), 1e-9, None)


def _power_law(
    found: np.ndarray,
    noise: np.ndarray,
    variance: np.ndarray,
    rate: np.ndarray,
    usual: np.ndarray | None,
) -> tuple[float, float]:
    """Fit variance + share * rate^power to the squared errors found, by their likelihood: (share, power).

    The share is weighed against that of `usual`, the variance of the network alone. Where that is None, a
    share that is not SIGNIFICANT is none.
    """
    best, chosen = np.inf, (0.0, USUAL_POWER)
    for power in POWERS:
        shape = np.maximum(rate, 1e-9) ** power
        tried = np.geomspace(1e-3, 1e3, 200)
        if usual is None:
            shares = np.concatenate([[0.0], np.median(np.maximum(found, variance) / shape) * tried])
            prior = np.where(shares > 0, SIGNIFICANT**2, 0.0)
        else:
            unit = USUAL_SHARE * np.exp(np.mean(np.log(np.maximum(usual, 1e-30) / shape)))
            shares, prior = unit * tried, (np.log(tried) / WITHIN) ** 2
        model = variance + shares[:, None] * shape
        spread = np.maximum(noise**2 + (TOLERANCE * model) ** 2, 1e-30)
        costs = ((found - model) ** 2 / spread + np.log(spread)).sum(axis=1)
        costs += ((power - USUAL_POWER) / SPREAD) ** 2
        costs += prior
        least = int(np.argmin(costs))
        if costs[least] < best:
            best, chosen = costs[least], (float(shares[least]), float(power))
    return chosen


def _strayed(
    found: np.ndarray, noise: np.ndarray, variance: np.ndarray, law: np.ndarray
) -> np.ndarray:
    """Return what is missed at each rate: `law` times the factor that is most likely, by what was found."""
    logs = np.linspace(-3.0, 3.0, 241)
    model = variance[:, None] + law[:, None] * np.exp(logs)
    spread = np.maximum(noise[:, None] ** 2 + (ROUGH * model) ** 2, 1e-30)
    costs = (found[:, None] - model) ** 2 / spread + np.log(spread) + (logs / STRAY) ** 2
    return law * np.exp(logs[costs.argmin(axis=1)])


def sigma_of(counts: Any, variance: Any, unseen: Missed, *, kept: Any = None) -> np.ndarray:
    """Return one standard deviation of each answer, float32, in its units; NaN where there is none.

    Args:
      counts: answers.
      variance: the jackknife's, as `counts`.
      unseen: from `missed`.
      kept: where the answer is what was counted, and nothing is missed, bool, as `counts`; None = nowhere.
    """
    return np.array(piecewise(functools.partial(_sigma, unseen), counts, variance, kept))


@jax.jit
def _sigma(unseen: Missed, counts: Array, variance: Array, kept: Array | None) -> Array:
    missed = unseen.of(counts)
    return jnp.sqrt(variance + (missed if kept is None else jnp.where(kept, 0.0, missed)))
