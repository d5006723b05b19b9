"""What a user names as `package.module:name`: a loss, a network or a method of their own."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from smae_jax.errors import UserError

OWN: set[str] = set()
"""Top-level modules that a user named something of: their errors are the user's own."""


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
    _note(module)
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
        thing = getattr(found, name)
    except AttributeError:
        raise UserError(
            f"{option}: module '{module}' ({getattr(found, '__file__', None) or 'built in'}) has no '{name}'"
        ) from None
    _note(str(getattr(thing, "__module__", module)))  # it may come from another module
    return thing


def _note(module: str) -> None:
    top = module.partition(".")[0]
    if top not in sys.stdlib_module_names and top != __name__.partition(".")[0]:
        OWN.add(top)


def is_of_own_code(error: BaseException) -> bool:
    """Whether an error was raised in, or beneath, a module that a user named something of."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] in OWN:
            return True
        trace = trace.tb_next
    return False


def made(found: Callable[..., Any], *, what: str, **offered: Any) -> Any:
    """Call a class or function of a user's own with those of the arguments offered that it names.

    Args:
      found: the class or function.
      what: what to call it in messages.
      offered: arguments by name.

    Raises:
      UserError: if it asks for others too. What it raises itself goes through.

    >>> made(lambda outputs: outputs + 1, what="--model mine:it", outputs=1, axes=2)
    2
    """
    try:
        signature = inspect.signature(found)
    except ValueError:  # compiled functions may not tell their arguments
        return found()
    given = {name: value for name, value in offered.items() if name in signature.parameters}
    try:
        signature.bind(**given)
    except TypeError as error:
        expected = f"no argument but {' and '.join(offered)}" if offered else "no argument"
        raise UserError(
            f"{what}: expected a class or function that needs {expected}, got {signature} ({error}); "
            "give the others defaults"
        ) from None
    return found(**given)


def with_article(noun: str) -> str:
    """Put the indefinite article before a noun.

    >>> with_article("int"), with_article("tuple")
    ('an int', 'a tuple')
    """
    return f"{'an' if noun[:1].lower() in tuple('aeiou') else 'a'} {noun}"


def qualified_name(thing: object) -> str:
    """Return what a user would name an object's class, or a function, by; without the module of a script.

    >>> qualified_name(inspect.signature)
    'inspect:signature'
    """
    named_one: Any = thing if hasattr(thing, "__name__") else type(thing)
    module = getattr(named_one, "__module__", "__main__")
    return named_one.__name__ if module == "__main__" else f"{module}:{named_one.__name__}"


def in_words(value: object) -> str:
    """Say what a user's own code gave.

    >>> in_words(3), in_words((1, 2)), in_words(None)
    ('3, an int', 'a tuple', 'None')
    """
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"an array of shape {tuple(shape)}, {getattr(value, 'dtype', 'of no dtype')}"
    if value is None:
        return "None"
    kind = with_article(type(value).__name__)
    return f"{value!r}, {kind}" if isinstance(value, bool | int | float) else kind
