"""A method of a researcher's own: any object with `pair` and `denoise` becomes one with all facts."""

from __future__ import annotations

from types import FunctionType
from typing import Any, Protocol

from smae_jax.errors import UserError
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers, Batch, Method, Pair, Say, check_needs, silent
from smae_jax.named import in_words, made

FACTS = (
    *("needs", "axes", "answers", "whole", "extent", "region", "outputs", "source_channels"),
    *("sees_exposure", "sees_measurement", "error_bars", "asks"),
)
"""Facts that an object's own word is taken for; one that has rules to choose from is a `Method` itself."""


class OwnMethod(Protocol):
    """What a method of a researcher's own has to have."""

    def pair(self, key: Any, batch: Batch) -> Pair:
        """Make source, target and weight of one step."""
        ...

    def denoise(self, predict: Any, batch: Batch) -> Answers:
        """Turn predictions on a batch of whole frames into expected counts."""
        ...


def adapted(own: Any, *, name: str = "") -> Method:
    """Return a researcher's own method with the facts that it does not state; a `Method` as it is.

    Args:
      own: an object with `pair(key, batch)` and `denoise(predict, batch)`, or a class or function of no
        arguments that makes one; any fact of `Method` that it has counts.
      name: what the user called it on the command line; "" = it was handed over in a script.

    Raises:
      UserError: if it has not both.
    """
    if isinstance(own, Method):
        return own
    makes, what = isinstance(own, type | FunctionType), f"--method {name}" if name else "method"
    found = made(own, what=what) if makes else own
    if isinstance(found, Method):
        return found
    if not _has_both(found):
        raise UserError(
            f"{what}: expected an object with pair(key, batch) and denoise(predict, batch), got "
            f"{in_words(found)}"
        )
    return Own(found, name or type(found).__name__)


def _has_both(own: Any) -> bool:
    return callable(getattr(own, "pair", None)) and callable(getattr(own, "denoise", None))


class Own(Method):
    """An object's own pair and denoise, with its facts where it states some.

    Attributes:
      called: what to call it in messages.
    """

    def __init__(self, own: Any, called: str) -> None:
        """Take over what the object has."""
        self.called = called
        for fact in (*FACTS, "pair", "denoise"):
            if hasattr(own, fact):
                setattr(self, fact, getattr(own, fact))
        self._own = own

    def settled(self, data: Measurements, *, say: Say = silent) -> Own:
        """Return the method settled on the measurements as the object does it, or once its needs are met."""
        settle = getattr(self._own, "settled", None)
        if settle is not None:
            return Own(settle(data, say=say), self.called)
        check_needs(self, data)
        return self
