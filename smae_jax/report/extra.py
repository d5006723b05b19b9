"""Whether the libraries that profiles and peaks need are installed: extra `physics`, pyFAI and lmfit."""

from __future__ import annotations

import importlib.util

from smae_jax.errors import UserError

LIBRARIES = ("pyFAI", "lmfit")


def missing() -> tuple[str, ...]:
    """Return those of the libraries that are not installed."""
    return tuple(name for name in LIBRARIES if importlib.util.find_spec(name) is None)


def require(what: str) -> None:
    """Refuse what cannot be done without the libraries.

    Args:
      what: needs them, as in a message.

    Raises:
      UserError: if a library is missing.
    """
    if lacking := missing():
        raise UserError(
            f"{what}: needs {' and '.join(lacking)}, not installed here; pip install 'smae_jax[physics]'"
        )


def wanted(asked: str, option: str) -> bool:
    """Say whether profiles and peaks are to be made.

    Args:
      asked: "auto", "on" or "off".
      option: that only profiles and peaks read and that was given; "" = none.

    Raises:
      UserError: if they are asked for, by `on` or by an option, and a library is missing.
    """
    lacking = missing()
    if lacking and asked != "off" and (asked == "on" or option):
        name = f"--{option.replace('_', '-')}" if option else "--physics on"
        raise UserError(
            f"{name}: needs {' and '.join(lacking)}, not installed here; pip install 'smae_jax[physics]', or "
            "leave the option out"
        )
    return asked != "off" and not lacking
