"""What a user names as `package.module:name`: a loss, a network or a method of their own."""

from __future__ import annotations

import importlib

from smae_jax.errors import UserError


def named(spec: str, *, option: str) -> object:
    """Import what `package.module:name` names.

    Args:
      spec: the dotted name of a module on the Python path, a colon, and a name within it.
      option: what the user gave it to, e.g. "--model"; every message begins with it.

    Returns:
      Whatever has that name.

    Raises:
      UserError: if the text has another form, or there is no such module or name. An error that the module
        itself raises, an import of its own that fails included, goes through as it is.

    >>> named("math:pi", option="--loss")
    3.141592653589793
    """
    module, colon, name = spec.partition(":")
    if not (colon and name.isidentifier() and all(p.isidentifier() for p in module.split("."))):
        raise UserError(
            f"{option}: expected package.module:name such as my_module:mine, got '{spec}'"
        )
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there; what it imports is not
        raise UserError(
            f"{option}: could not import '{module}' ({error}); is it installed, in the current folder or "
            "on PYTHONPATH?"
        ) from None
    try:
        return getattr(found, name)
    except AttributeError:
        raise UserError(
            f"{option}: module '{module}' ({getattr(found, '__file__', None) or 'built in'}) has no '{name}'"
        ) from None
