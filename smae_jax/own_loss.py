"""What a loss of a user's own promises, looked at where it is called: one number to learn from.

What is not as promised is refused in one line that names the loss. So is a loss that cannot be traced, as one
of functions of numpy. Any other error that it raises goes through.
"""

from __future__ import annotations

import functools
import inspect
import traceback
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jax.errors import ConcretizationTypeError, TracerArrayConversionError
from jax.extend.core import ClosedJaxpr, Literal

from smae_jax.errors import UserError
from smae_jax.losses import Loss
from smae_jax.named import in_words


def value_of(loss: Loss, prediction: Array, target: Array, weight: Array, *, what: str) -> Array:
    """Call a loss, and return its value if something can be learned from it.

    Args:
      loss: a user's own, or one of this package, which is trusted to depend on the prediction.
      prediction: rates; where it is traced, the loss is asked for its gradient as well.
      target: shaped as `prediction`.
      weight: shaped as `prediction`.
      what: what to call the loss in messages.

    Raises:
      UserError: if it cannot be traced, or its value is no floating-point scalar, a constant, or a number
        whose gradient is zero whatever the prediction.
    """
    own = not str(getattr(loss, "__module__", "")).startswith("smae_jax.")
    try:
        value = loss(prediction, target, weight)
    except (TracerArrayConversionError, ConcretizationTypeError) as error:
        if not own:
            raise
        raise UserError(
            f"{what}: expected a function of (prediction, target, weight) made of functions of jax.numpy, "
            "got one that asks for the numbers of traced arrays, as functions of numpy, float() and 'if' do"
            f"{_line_of(loss, error)}"
        ) from error
    value = _one_number(value, prediction, what=what)
    traced = own and isinstance(prediction, Tracer)
    if traced and _is_zero(jax.make_jaxpr(jax.grad(loss))(prediction, target, weight)):
        raise UserError(
            f"{what}: expected a number that depends on the prediction, got one whose gradient is zero "
            "whatever the prediction"
        )
    return value


def _one_number(value: Any, prediction: Array, *, what: str) -> Array:
    """Return the value of a loss, if it is one floating-point number, and no constant where it is traced."""
    floating = isinstance(value, float) or jnp.issubdtype(
        getattr(value, "dtype", int), jnp.floating
    )
    if not floating or jnp.shape(value) != ():
        raise UserError(f"{what}: expected one floating-point number, got {in_words(value)}")
    if isinstance(prediction, Tracer) and not isinstance(value, Tracer):
        raise UserError(
            f"{what}: expected a number that depends on the prediction, got always {float(value):g}"
        )
    return cast(Array, value)


def _is_zero(gradient: ClosedJaxpr) -> bool:
    """Whether a gradient is the zeros that JAX writes where no path leads from the argument to the value."""
    [found] = gradient.jaxpr.outvars
    made = [one for one in gradient.jaxpr.eqns if found in one.outvars]
    if not made or made[0].primitive.name != "broadcast_in_dim":
        return False
    [filling] = made[0].invars
    return isinstance(filling, Literal) and filling.val == 0


def _line_of(loss: Loss, error: BaseException) -> str:
    """Name the line of a loss at which an error came; "" where its source is not known."""
    function = loss.func if isinstance(loss, functools.partial) else loss
    code = getattr(inspect.unwrap(function), "__code__", None)
    lines = traceback.extract_tb(error.__traceback__)
    found = [line for line in lines if code is not None and line.filename == code.co_filename]
    return f" ({found[-1].filename}, line {found[-1].lineno})" if found else ""
