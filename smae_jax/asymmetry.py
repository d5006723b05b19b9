"""How far opposite pixels differ, against what photon noise explains.

Two questions, two numbers. The chi-square asks whether the differences are as large as photon noise
makes them; noise of another kind and uneven pixels raise it too. The relative asymmetry asks how
much of the differences is a pattern: neighbouring pixels share a pattern, but not their noise, of
whatever kind that is. numpy only.
"""

from dataclasses import dataclass

import numpy as np

from smae_jax.geometry import turn


def symmetry_chi_square(
    counts: np.ndarray,
    valid: np.ndarray,
    center_half_pixel: tuple[float, float],
    response: np.ndarray | None = None,
) -> float:
    """Compute the mean of (a - b)^2 / (a + b) over pairs of opposite pixels.

    Its expectation is exactly 1 for Poisson counts of equal rates, at any rate: given the sum n > 0
    of a pair, a is binomial, so (a - b)^2 has the mean n. Pairs that saw no photon say nothing.

    Args:
      counts: (height, width) or (frames, height, width).
      valid: bool, broadcastable to `counts`, True = use.
      center_half_pixel: (y, x) in pixels, multiples of 0.5.
      response: of the pixels, see `opposite`.

    Returns:
      The mean over all pairs of all frames whose pixels are both valid; NaN without such a pair.
    """
    frames = counts.reshape(-1, *counts.shape[-2:])
    masks = np.broadcast_to(valid, counts.shape).reshape(frames.shape)
    total, pairs = 0.0, 0
    for frame, mask in zip(frames, masks, strict=True):
        own, partner, both = opposite(frame, mask, center_half_pixel, response)
        both &= own + partner > 0
        total += float(np.sum((own - partner)[both] ** 2 / (own + partner)[both]))
        pairs += int(both.sum())
    return total / pairs if pairs else float("nan")


def opposite(
    frame: np.ndarray,
    valid: np.ndarray,
    center: tuple[float, float],
    response: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Set each pixel beside its partner.

    Pixels that respond unlike are made comparable: of n counts of both, those of one that responds with a
    share p are binomial, so that (own - n p) / sqrt(n p (1 - p)) has the variance 1. Returned are the counts
    of two equal pixels that tell as much: their difference over the root of their sum is that number.

    Args:
      frame: (height, width) counts.
      valid: (height, width) bool, True = use.
      center: (y, x) in pixels, multiples of 0.5.
      response: of each pixel, (height, width), above 0 where valid; None = of all alike.

    Returns:
      (own, partner, both): counts as float64 and where both are valid; (height, width) each. The
      one pixel that can be its own partner is left out.
    """
    own = np.where(valid, frame, 0).astype(np.float64)
    both = valid & turn(valid, center, False)
    row, column = (int(c) if c == int(c) else -1 for c in center)
    if 0 <= row < both.shape[0] and 0 <= column < both.shape[1]:
        both[row, column] = False
    partner = turn(own, center, 0.0)
    if response is None:
        return own, partner, both
    here = np.where(both, response, 1).astype(np.float64)
    share = here / (here + turn(here, center, 1.0))
    number = own + partner
    sums, excess = 4 * number * share * (1 - share), own - number * share
    return sums / 2 + excess, sums / 2 - excess, both


@dataclass(frozen=True)
class Asymmetry:
    """The part of the differences of partners that is no noise.

    Attributes:
      relative: rms of (a - b) / (a + b) without its noise, weighted by counts; 0 = symmetric.
      uncertainty: of `relative` where it is 0: what could hide in the noise, one sigma.
      sigmas: standard deviations by which neighbouring differences agree.
    """

    relative: float
    uncertainty: float
    sigmas: float


def relative_asymmetry(own: np.ndarray, partner: np.ndarray, both: np.ndarray) -> Asymmetry:
    """Estimate the relative asymmetry from the covariance of neighbouring differences.

    With rates s (1 + e) and s (1 - e), u = (a - b) / sqrt(a + b) has the mean e sqrt(a + b), and
    the noise of two neighbours' u is independent: the mean of u u' over neighbours estimates
    e^2 sqrt((a + b) (a' + b')). Flat-field errors and readout noise drop out with the photons'.

    Args:
      own: (height, width) counts summed over a scan.
      partner: their partners' counts, as given by `opposite`.
      both: (height, width) bool, True = both valid.

    Returns:
      The estimate, all NaN where there are no neighbouring pairs.
    """
    number = own + partner
    use = both & (number > 0)
    root = np.sqrt(np.where(use, number, 1.0))
    pull = np.where(use, own - partner, 0.0) / root
    products, weights, squares = 0.0, 0.0, 0.0
    for first, second in (
        (np.s_[1:, :], np.s_[:-1, :]),
        (np.s_[:, 1:], np.s_[:, :-1]),
    ):
        neighbours = use[first] & use[second]
        product = (pull[first] * pull[second])[neighbours]
        products += product.sum()
        squares += 2 * (product**2).sum()  # twice: each pair is met from both its ends
        weights += (root[first] * root[second])[neighbours].sum()
    if weights == 0:
        return Asymmetry(float("nan"), float("nan"), float("nan"))
    sigma = np.sqrt(squares)
    return Asymmetry(
        relative=float(np.sqrt(max(0.0, products / weights))),
        uncertainty=float(np.sqrt(sigma / weights)),
        sigmas=float(products / sigma) if sigma > 0 else 0.0,
    )
