"""The text form of a loss: "mse", "0.8*mse+0.2*ssim", "huber(delta=0.5)", "my_losses:mine".

This module reads text; the losses themselves stand in `losses`.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

import jax.numpy as jnp
from jax import Array

from smae_jax.errors import UserError
from smae_jax.losses import LOSSES, Loss
from smae_jax.named import named, with_article
from smae_jax.own_loss import value_of

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_OPTION = rf"\s*\w+\s*=\s*{_NUMBER}\s*"
_TERM = re.compile(
    rf"\s*(?:(?P<factor>{_NUMBER})\s*\*\s*)?"
    r"(?P<name>[A-Za-z_][\w.]*(?::[A-Za-z_]\w*)?)\s*"
    rf"(?:\((?P<options>{_OPTION}(?:,{_OPTION})*)?\)\s*)?"
    r"(?P<more>\+)?"
)


def parse_loss(spec: str, *, named_losses: Mapping[str, Loss] | None = None) -> Loss:
    """Turn text such as `"0.8*mse+0.2*ssim"` into one loss.

    Args:
      spec: terms joined by `+`, each `[factor *] name [(option=number, ...)]`; a name is one of
        `LOSSES`, of `named_losses`, or `package.module:function`, a researcher's own.
      named_losses: more losses by name, that only the caller can make, e.g. `{"auto": likelihood}`; they
        go before `LOSSES`.

    Returns:
      A function `(prediction, target, weight) -> scalar`.

    Raises:
      UserError: if the text is not of this form, or a name, option or module does not exist.
    """
    known = {**LOSSES, **(named_losses or {})}
    terms, position, more = [], 0, True
    while more:
        match = _TERM.match(spec, position)
        if match is None or not (match["more"] or match.end() == len(spec)):
            raise UserError(
                f"loss {spec!r}: could not read {spec[position:]!r}; expected terms such as "
                f"'0.8*mse + 0.2*ssim' or 'huber(delta=0.5)' of {', '.join(known)}"
            )
        terms.append(_parse_term(spec, match, known))
        position, more = match.end(), match["more"]
    if all(name == "tv" for _, name, _ in terms):
        raise UserError(
            f"loss {spec!r}: 'tv' knows no target; add it to another loss: 'mse+0.01*tv'"
        )

    def loss(prediction: Array, target: Array, weight: Array) -> Array:
        values = [factor * function(prediction, target, weight) for factor, _, function in terms]
        return jnp.asarray(sum(values), jnp.float32)

    return loss


def _parse_term(
    spec: str, match: re.Match[str], known: Mapping[str, Callable[..., Array]]
) -> tuple[float, str, Loss]:
    name, options = match["name"], {}
    for item in filter(None, (match["options"] or "").split(",")):
        option, value = item.split("=")
        options[option.strip()] = float(value)
    factor = float(match["factor"] or 1)
    if factor <= 0:
        raise UserError(f"loss {spec!r}: expected a factor above 0 before {name!r}, got {factor:g}")
    function = _own_loss(spec, name) if ":" in name else known.get(name)
    if function is None:
        reason = (
            "there are no repeats here whose noise 'auto' could be measured from"
            if name == "auto"
            else f"there is no {name!r}"
        )
        raise UserError(
            f"loss {spec!r}: {reason}; choose from {', '.join(known)}, "
            "or name your own as package.module:function"
        )
    try:
        inspect.signature(function).bind(0, 0, 0, **options)
    except TypeError as error:
        raise UserError(
            f"loss {spec!r}: {name!r} does not take (prediction, target, weight) with the options "
            f"{sorted(options)}: {error}"
        ) from None
    except ValueError:
        pass  # compiled functions may not tell their arguments
    term = partial(function, **options)
    return factor, name, _checked(term, f"loss {name!r}") if ":" in name else term


def _checked(loss: Loss, what: str) -> Loss:
    """Return a loss whose value is looked at."""

    def checked(prediction: Array, target: Array, weight: Array) -> Array:
        return value_of(loss, prediction, target, weight, what=what)

    return checked


def _own_loss(spec: str, name: str) -> Callable[..., Array]:
    found = named(name, option=f"loss {spec!r}")
    if not callable(found):
        raise UserError(
            f"loss {spec!r}: {name!r} is {with_article(type(found).__name__)}, not a function"
        )
    return cast(Callable[..., Array], found)
