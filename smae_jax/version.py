"""Which version of the program this is, also where it runs from a folder and was never installed."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

UNKNOWN = "unknown"


def version() -> str:
    """Return the installed version, else that of the source tree, else "unknown"; never raises."""
    try:
        return metadata.version("smae_jax")
    except metadata.PackageNotFoundError:
        return _of_source_tree(Path(__file__).resolve().parents[1] / "pyproject.toml")


def _of_source_tree(path: Path) -> str:
    """Return the version that a pyproject.toml declares, if it is this program's."""
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        return str(project["version"]) if project["name"] == "smae_jax" else UNKNOWN
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError):
        return UNKNOWN
