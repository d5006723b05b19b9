"""Options from TOML and back: `load` reads strictly, `dump` writes what `load` reads to an equal value."""

from __future__ import annotations

import dataclasses
import difflib
import json
import shlex
import tomllib
import types
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from smae_jax.errors import UserError
from smae_jax.removed import passed_over

Options = TypeVar("Options")


def load(
    path: str | Path, into: type[Options], *, default: Options | None = None, of_run: bool = False
) -> Options:
    """Read options from a TOML file; what it does not name keeps its default.

    Args:
      path: TOML file.
      into: dataclass of options, possibly nested.
      default: options to start from, instead of the dataclass's own.
      of_run: whether it is a run folder's own record, in which removed options may stand.

    Returns:
      The options.

    Raises:
      UserError: if the file is missing or no TOML, a key is unknown or was removed, or a value has another
        type.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot read this config ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a TOML file ({' '.join(str(error).split())})") from None
    return from_dict(values, into, where=str(path), default=default, of_run=of_run)


def from_dict(
    values: dict[str, Any],
    into: type[Options],
    *,
    where: str,
    prefix: str = "",
    default: Any = None,
    of_run: bool = False,
) -> Options:
    """Build options from nested dicts, strictly; `where` is their origin, `of_run` as of `load`."""
    hints: dict[str, Any] = get_type_hints(into)
    chosen: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        try:
            if passed_over(f"{prefix}{key}".replace("-", "_"), value, of_run=of_run):
                continue
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        if name not in hints:
            close = difflib.get_close_matches(name, hints, 1)
            advice = (
                f"did you mean '{prefix}{close[0]}'?" if close else f"known: {', '.join(hints)}"
            )
            raise UserError(f"{where}: unknown key '{prefix}{key}'; {advice}")
        hint: Any = hints[name]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, dict):
                raise UserError(
                    f"{where}: '{prefix}{key}' expected a table [{prefix}{key}], got {value!r}"
                )
            inner = None if default is None else getattr(default, name)
            chosen[name] = from_dict(
                value,
                hints[name],
                where=where,
                prefix=f"{prefix}{key}.",
                default=inner,
                of_run=of_run,
            )
        else:
            chosen[name] = _typed(value, hint, f"{where}: '{prefix}{key}'")
    try:
        return into(**chosen) if default is None else dataclasses.replace(default, **chosen)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _typed(value: Any, hint: Any, what: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value in arguments and isinstance(value, str):
            return value
        raise UserError(f"{what} expected one of {', '.join(arguments)}, got {value!r}")
    if origin in (Union, types.UnionType):
        return None if value is None else _typed(value, arguments[0], what)
    if origin is tuple:
        if arguments[0] is str and isinstance(value, str):  # one alone needs no list
            return (value,) if value else ()
        if isinstance(value, list | tuple):
            return tuple(_typed(item, arguments[0], what) for item in value)
        raise UserError(f"{what} expected a list such as [32, 64], got {value!r}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UserError(f"{what} expected {hint.__name__}, got {value!r}")
    return value


def flat(options: Any, prefix: str = "") -> dict[str, Any]:
    """Return all options by their dotted names, e.g. `train.steps`."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        name, value = f"{prefix}{field.name}", getattr(options, field.name)
        found |= flat(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
    return found


def command_line(options: Any) -> list[str]:
    """Return the words of a command line that gives the options that are not the default ones.

    >>> from smae_jax.config import InferConfig
    >>> command_line(InferConfig(run="runs/a", mask=("m.tif", "n.tif"), combine=False))
    ['--run', 'runs/a', '--mask', 'm.tif', 'n.tif', '--no-combine']
    """
    usual, words = flat(type(options)()), list[str]()
    for name, value in flat(options).items():
        if value == usual[name]:
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            several = value if isinstance(value, tuple) else (value,)
            words += [f"--{option}", *(str(one) for one in several)]
    return words


def changed(options: Any) -> str:
    """Write the options that are not the default ones, as on the command line."""
    return shlex.join(command_line(options))


def dump(options: Any) -> str:
    """Write options as TOML that `load` reads back to an equal value."""
    tables = [("", dataclasses.asdict(options))]
    lines = []
    while tables:
        name, values = tables.pop(0)
        if name:
            lines += ["", f"[{name}]"]
        for key, value in values.items():
            if isinstance(value, dict):
                tables.append((f"{name}.{key}" if name else key, value))
            elif value is not None:
                lines.append(f"{key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)
