"""Options that were removed, and what replaces them: said by name instead of "unknown".

`REMOVED` is the one table: an option by its dotted name, or one of its values as `name value`. A run folder
that a former version wrote still holds such options: values that changed nothing are passed over there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smae_jax.errors import UserError

COMBINED = "frames are combined after the network instead (infer does it by itself)"
LEAVE_OUT = "leave it out"
REMOVED = {
    "thinning.neighbours": (COMBINED, LEAVE_OUT),
    "thinning.raster": (COMBINED, LEAVE_OUT),
    "thinning.partner sum": (
        "pixel and partner stay apart instead, which keeps an asymmetry",
        "use auto, channel or none",
    ),
    "thinnings": ("answers are to all photons at once instead", LEAVE_OUT),
    "init_from simulated": (
        "no parameters come with the program any more",
        "leave it out, or give a run folder of your own",
    ),
}
"""Name, or name and value -> what there is instead, and what to do."""
HARMLESS = {"thinning.neighbours": ("auto", "none"), "thinning.raster": ("",)}
"""Values in a run folder that left the network as it would be now."""
OF_THE_PAST = ("init_from simulated",)
"""What a run folder may hold, because it says only where its parameters came from."""


def passed_over(name: str, value: Any, *, of_run: bool) -> bool:
    """Tell whether an option that a file names is one to pass over.

    Args:
      name: dotted, with underscores.
      value: as the file gives it.
      of_run: whether the file is a run folder's own record, not a user's choice.

    Raises:
      UserError: in one line, if it was removed and is not harmless.
    """
    found = _entry(name, value)
    if found is None or (of_run and found in OF_THE_PAST):
        return False
    if of_run and value in HARMLESS.get(name, ()):
        return True
    said = name if found == name and not of_run else f"{name} = {value!r}"
    raise UserError(_said(said, found, advice="train it again" if of_run else None))


def refuse_arguments(arguments: Sequence[str]) -> None:
    """Refuse a command line that asks for what was removed.

    Raises:
      UserError: in one line.
    """
    for argument, following in zip(arguments, [*arguments, ""][1:], strict=True):
        if not argument.startswith("--"):
            continue
        option, equals, value = argument.partition("=")
        found = _entry(option[2:].replace("-", "_"), value if equals else following)
        if found is not None:
            shown = option if " " not in found else f"{option} {found.partition(' ')[2]}"
            raise UserError(_said(shown, found))


def _entry(name: str, value: Any) -> str | None:
    """Return the key of `REMOVED` that stands for this option with this value."""
    if name in REMOVED:
        return name
    key = f"{name} {value}"
    if key not in REMOVED:
        return None
    is_run = name == "init_from" and (Path(str(value)) / "config.toml").is_file()
    return None if is_run else key


def _said(what: str, key: str, *, advice: str | None = None) -> str:
    instead, usual = REMOVED[key]
    return f"{what}: was removed: {instead}; {advice or usual}"
