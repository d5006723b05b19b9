"""A method of a researcher's own: any object with `pair` and `denoise` becomes one with all facts."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from smae_jax.errors import UserError
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Method, Say, check_needs, silent

FACTS = (
    *("needs", "axes", "answers", "whole", "extent", "region", "outputs", "source_channels"),
    *("sees_exposure", "sees_measurement", "error_bars", "asks"),
)
"""Facts that an object's own word is taken for; one that has rules to choose from is a `Method` itself."""


def adapted(own: Any, *, name: str) -> Method:
    """Return a researcher's own method with the facts that it does not state.

    Args:
      own: an object with `pair(key, batch)` and `denoise(predict, batch)`, or a class or function of no
        arguments that makes one; any fact of `Method` that it has counts.
      name: what to call it in messages.

    Raises:
      UserError: if it has not both.
    """
    if isinstance(own, Method):
        return own
    makes = isinstance(own, type | FunctionType)
    made = own() if makes else own
    if isinstance(made, Method):
        return made
    if not _has_both(made):
        raise UserError(
            f"--method {name}: expected an object with pair(key, batch) and denoise(predict, batch), got "
            f"{type(made).__name__}"
        )
    return Own(made)


def _has_both(own: Any) -> bool:
    return callable(getattr(own, "pair", None)) and callable(getattr(own, "denoise", None))


class Own(Method):
    """An object's own pair and denoise, with its facts where it states some."""

    def __init__(self, own: Any) -> None:
        """Take over what the object has."""
        for fact in (*FACTS, "pair", "denoise"):
            if hasattr(own, fact):
                setattr(self, fact, getattr(own, fact))
        self._own = own

    def settled(self, data: Measurements, *, say: Say = silent) -> Own:
        """Return the method settled on the measurements as the object does it, or once its needs are met."""
        settle = getattr(self._own, "settled", None)
        if settle is not None:
            return Own(settle(data, say=say))
        check_needs(self, data)
        return self
