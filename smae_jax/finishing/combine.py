"""What the frames of a scan have in common: the noise that a network left is averaged over all of them.

The frames of a scan differ in fewer ways than there are frames, the noise in their answers in as many. So the
answers are parted into their mean and their principal components, and of each component as much is kept as
photons that the network did not see confirm. A frame's answer becomes a weighted mean of all answers.

Where a frame is far darker or brighter than the scan, weak components are missed most: light of other frames
shows there as a ghost, or too little of it as a shadow. There a frame keeps as much of its own answer as the
same photons confirm.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.optimize import isotonic_regression

from smae_jax.finishing.evidence import Evidence
from smae_jax.finishing.own import shares_of_own, with_own
from smae_jax.methods.protocol import Answers
from smae_jax.piecewise import part_of, piecewise
from smae_jax.stacks import mean_over_frames

SLAB = 2**22
"""Values, of all frames together, that are multiplied at once."""
FEWEST_FRAMES = 8
"""What one frame alone shows would be found in fewer others too much."""
TOGETHER = 512
"""Most frames that are combined; more are taken in parts of about as many."""


@dataclasses.dataclass(frozen=True)
class Components:
    """The principal components of answers over the root of their mean, strongest first.

    Attributes:
      mean: of the answers, (1, height, width).
      powers: of the components, (frames,) float64, 0 or more.
      vectors: scores of every frame, (frames, component) float64.
    """

    mean: Array
    powers: np.ndarray
    vectors: np.ndarray


def combine(answers: Answers, evidence: Evidence) -> Answers:
    """Let the answers of a block's frames share what they have in common, as held-out photons confirm.

    A variance becomes that of the weighted sum of independent answers. Fewer than `FEWEST_FRAMES` frames stay
    as they are, frames without any answer (all of their pixels are masked), and values that are no photon
    counts.

    Args:
      answers: (frames, height, width) each.
      evidence: with answers to one half of the photons, which the other half judges.
    """
    if not evidence.halves:
        return answers
    answered = np.flatnonzero(_any_finite(answers.counts))
    frames = len(answered)
    if frames < FEWEST_FRAMES:
        return answers
    ends = np.linspace(0, frames, -(-frames // TOGETHER) + 1).round().astype(int)
    parts = [_as_slice(answered[a:b]) for a, b in itertools.pairwise(ends)]
    if "shares" not in evidence.memo:  # the halves are combined by the shares of the whole
        evidence.memo["shares"] = [_shares(evidence, part) for part in parts]
    counts, variance = list[Array](), list[Array]()
    for part, (shares, apart) in zip(parts, evidence.memo["shares"], strict=True):
        own = _frames_of(answers.counts, part)
        use = _known(own)
        together, weights = _together(own, shares, components_of(own, use), use)
        variances = None
        if answers.variance is not None:
            of_own = _frames_of(answers.variance, part)
            variances = combined(of_own, weights**2, use=use), of_own
        found, spread = with_own(together, own, variances, apart)
        counts.append(found)
        variance += [] if spread is None else [spread]
    kept = sum(shares.sum() for shares, _ in evidence.memo["shares"])
    what = f"held-out photons confirm {kept:.1f} components of {frames} answers"
    return answers.after(
        "combine",
        what,
        counts=_joined(counts, answers.counts, answered),
        variance=_joined(variance, answers.variance, answered) if variance else None,
    )


Part = slice | np.ndarray
"""Some frames: a range or indices."""


def _as_slice(frames: np.ndarray) -> Part:
    """Return consecutive indices as a range, of which no copy is made."""
    first, last = int(frames[0]), int(frames[-1])
    return slice(first, last + 1) if last - first == len(frames) - 1 else frames


def _frames_of(array: Any, part: Part) -> Array:
    whole = isinstance(part, slice) and part == slice(0, len(array))
    return jnp.asarray(array if whole else array[part])


def _joined(parts: list[Array], before: Any, frames: np.ndarray) -> Array:
    """Put parts together; frames that are in none stay as they were."""
    joined = parts[0] if len(parts) == 1 else jnp.concatenate(parts)
    return joined if len(joined) == len(before) else jnp.asarray(before).at[frames].set(joined)


@jax.jit
def _any_finite(counts: Array) -> Array:
    return jnp.isfinite(counts).any(axis=tuple(range(1, counts.ndim)))


def _shares(evidence: Evidence, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Return how much of each component, and of own answers, held-out photons confirm in some frames."""
    told = _frames_of(evidence.halves[0].answers.counts, part)
    held_out, exposure = evidence.held_out[0][part], evidence.held_out_exposure_once
    exposure = exposure if len(exposure) == 1 else exposure[part]
    valid = evidence.valid[part].all(axis=0)
    known = _known(told)
    use = valid & np.asarray(known)
    components = components_of(told, use)
    shares = shares_of_components(told, held_out, components, exposure=exposure, use=use)
    together = _together(told, shares, components, known)[0]
    return shares, shares_of_own(told, together, held_out, exposure=exposure, use=valid)


def _together(
    own: Array, shares: np.ndarray, components: Components, known: Array
) -> tuple[Array, np.ndarray]:
    """Return combined answers, the answers themselves where one is not known, and the frames' weights."""
    weights = weights_of_frames(components, shares)
    return combined(own, weights, use=known), weights


@jax.jit
def _known(counts: Array) -> Array:
    return jnp.isfinite(counts).all(axis=0)


def components_of(answer: Any, use: Any) -> Components:
    """Find the principal components of answers, (frames, height, width), of the pixels of `use`."""
    mean = mean_over_frames(answer)
    values, vectors = np.linalg.eigh(_added(_products, answer, mean, use))
    return Components(mean, np.maximum(values[::-1], 0.0), vectors[:, ::-1])


def shares_of_components(
    answer: Any,
    held_out: np.ndarray,
    components: Components,
    *,
    exposure: np.ndarray | float,
    use: np.ndarray,
) -> np.ndarray:
    """Measure how much of each principal component of a scan's answers held-out photons confirm.

    Per component it is the slope of the photons' scores on the answers' (least squares). Shares may only fall
    from one component to the next weaker one (isotonic regression, weighted by what each slope can tell).

    Args:
      answer: expected counts per full frame, made without the held-out photons, (frames, height, width).
      held_out: photons, as `answer`.
      components: of the answer.
      exposure: of the held-out photons, in full frames, (1 or frames, height, width) or one for all, above 0.
      use: where the answers of all frames are known and photons were counted, bool, (height, width).

    Returns:
      (frames,) float64 in 0..1, strongest component first.
    """
    values, vectors = components.powers, components.vectors
    told = values > 0
    if not told.any():
        return np.ones(len(values))
    light = _as_frames(exposure, answer.shape)
    products = _added(_confirmed, answer, components.mean, use, held_out, light)
    confirmed = np.einsum("fk,fg,gk->k", vectors, products, vectors)
    slopes, weights = confirmed[told] / values[told], values[told]
    shares = np.zeros(len(values))
    shares[told] = isotonic_regression(slopes, weights=weights, increasing=False).x
    return np.clip(shares, 0.0, 1.0)


def weights_of_frames(components: Components, shares: np.ndarray) -> np.ndarray:
    """Return the weight of every answer in every frame: mean and components, each by its share.

    Args:
      components: of the answers.
      shares: of the components, (frames,).

    Returns:
      (frames, frames) float64, rows add up to 1.
    """
    # The mean is no component: what is left of it in weak ones is taken out.
    vectors = components.vectors - components.vectors.mean(axis=0)
    return 1 / len(vectors) + (vectors * shares) @ vectors.T


def combined(answer: Any, weights: np.ndarray, *, use: Any) -> Array:
    """Return weighted sums, 0 or more, of images where `use` is True, the images themselves elsewhere."""
    apply = functools.partial(_weighted, jnp.asarray(weights, jnp.float32))
    return piecewise(apply, jnp.asarray(answer), jnp.asarray(use)[None], axis=1, values=SLAB)


def _added(
    products: Callable[..., Array], answer: Any, mean: Array, use: Any, *others: Any
) -> np.ndarray:
    """Add up products of frames over rows of pixels, so many at a time, in float64."""
    total = np.zeros((len(answer), len(answer)))
    rows = max(1, SLAB * answer.shape[1] // answer.size)
    for start in range(0, answer.shape[1], rows):
        number = min(rows, answer.shape[1] - start)
        part = (part_of(array, start, number, 1) for array in (mean, use[None], answer, *others))
        total += np.asarray(products(*part))
    return total


def _as_frames(exposure: np.ndarray | float, shape: tuple[int, ...]) -> np.ndarray:
    """Return an exposure as (1 or frames, height, width)."""
    frames = len(exposure) if isinstance(exposure, np.ndarray) and exposure.ndim == 3 else 1
    return np.broadcast_to(exposure, (frames, *shape[1:]))


@jax.jit
def _products(mean: Array, use: Array, answer: Array) -> Array:
    """Return the products of each two answers over the root of their mean, (frames, frames)."""
    use = use & (mean > 0)
    light = jnp.sqrt(jnp.where(use, mean, 1.0))
    apart = jnp.where(use, answer / light - light, 0.0).reshape(len(answer), -1)
    return jnp.matmul(apart, apart.T, precision="highest")


@jax.jit
def _confirmed(mean: Array, use: Array, answer: Array, photons: Array, exposure: Array) -> Array:
    """Return the products of each frame's held-out photons with each answer, (frames, frames)."""
    use = use & (mean > 0)
    light = jnp.where(use, mean, 1.0)
    rate = photons.astype(jnp.float32) / exposure
    found = jnp.where(use, rate / light - 1, 0.0).reshape(len(answer), -1)
    told = jnp.where(use, answer - light, 0.0).reshape(len(answer), -1)
    return jnp.matmul(found, told.T, precision="highest")


@jax.jit
def _weighted(weights: Array, answer: Array, use: Array) -> Array:
    """Return weighted sums of some rows of all frames, where `use` is True."""
    flat = jnp.where(use, answer, 0.0).reshape(len(answer), -1)
    summed = jnp.matmul(weights, flat, precision="highest").reshape(answer.shape)
    return jnp.where(use, jnp.maximum(summed, 0.0), answer)
