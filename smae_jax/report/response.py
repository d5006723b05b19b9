"""How far the parameters of a fit move when its values change a little: one step of Gauss and Newton.

Replicas differ little from the answer, so fitting each of them anew would tell the same in much more time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

STEP = 0.1
"""Standard deviations of a parameter by which it is changed, to see what the model makes of it."""


def moved(fit: Any, changes: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the parameters of a fit would differ by, had its values been others.

    Args:
      fit: lmfit's result, of weighted least squares.
      changes: of the values that were fitted, (number, values).
      weights: that they were fitted with, (values,).

    Returns:
      Of every parameter that was fitted, (number,); NaN where its error is not known.

    Reference:
      Bevington and Robinson, Data Reduction and Error Analysis, 2003, section 8.6: parameters move by
      (J^T W J)^-1 J^T W dy, with the derivatives J of the model at its minimum and weights W.
    """
    names = [name for name, one in fit.params.items() if one.vary]
    steps = [STEP * (fit.params[name].stderr or 0.0) for name in names]
    if not all(np.isfinite(step) and step > 0 for step in steps):
        return {name: np.full(len(changes), np.nan) for name in names}
    slopes = [_slope(fit, name, step) for name, step in zip(names, steps, strict=True)]
    # Each parameter in its own steps: areas and slopes differ by orders of magnitude.
    found, *_ = np.linalg.lstsq(np.stack(slopes, axis=1) * weights[:, None], (changes * weights).T)
    return {n: step * one for n, step, one in zip(names, steps, found, strict=True)}


def _slope(fit: Any, name: str, step: float) -> np.ndarray:
    """Return the change of the model by one step of a parameter."""
    values = {n: float(one.value) for n, one in fit.params.items() if one.expr is None}
    x = fit.userkws["x"]
    above, below = (
        fit.model.eval(x=x, **values | {name: values[name] + sign * step}) for sign in (0.5, -0.5)
    )
    return np.asarray(above - below, np.float64)
