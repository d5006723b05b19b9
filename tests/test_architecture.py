"""The layers of the house, the homes of the libraries, and the size of functions, read from the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "smae_jax"
FILES = sorted(PACKAGE.rglob("*.py"))

# A layer may import from itself and from the layers below it, never from above.
LAYERS = (
    ("cli", "api"),
    ("commands",),
    ("evaluation", "figures", "report"),
    ("run",),
    ("io", "simulate", "config", "config_file"),
    (
        *("inference", "finishing", "training", "placing", "survey", "arrays", "outliers"),
        *("cautions", "calibration", "counting", "tiles", "filling", "promised", "step_memory"),
    ),
    ("methods", "models"),
    (
        *("symmetry", "splitting", "smoothing", "registration", "losses", "loss_spec", "metrics"),
        *("noise", "geometry", "measurements", "canvas", "center", "center_guard", "asymmetry"),
        *("patterns", "tilt", "neighbours", "errors", "named", "removed", "version", "progress"),
        *("stopping", "compilation", "one_heap", "blocks", "memory", "overlap", "piecewise"),
        *("likeness", "stacks", "form_factors", "glass", "truths", "encodable", "made_once"),
        *("muon", "standing_out", "plausible", "own_loss", "polar"),
    ),
)
LEVEL = {name: len(LAYERS) - depth for depth, names in enumerate(LAYERS) for name in names}
LONGEST, MOST_PARAMETERS = 80, 8
MANY_PARAMETERS = {
    "models/__init__.py:build": "the one ladder to networks: a name, and what each of them may be told",
    "io/writing.py:write": "what is written, and how; all but three have defaults",
    "simulate.py:simulate": "the options of the command, each with its default",
}
"""Functions of more than `MOST_PARAMETERS`, and why; see docs/decisions.md."""


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path) -> set[str]:
    """Every module that the file imports, anywhere in it, as an absolute dotted name."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found.update(f"{stem}.{alias.name}" for alias in node.names)
    return found


def imports(path: Path, library: str) -> bool:
    return any(name == library or name.startswith(f"{library}.") for name in imported_modules(path))


def layer_of(name: str) -> str:
    """`smae_jax.io.reading.read` -> `io`; the package itself -> ''."""
    return [*name.split("."), ""][1]


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield node


def test_scan_of_imports_sees_relative_and_nested_ones(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path / "smae_jax")
    path = tmp_path / "smae_jax" / "io" / "reading.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import numpy as np\ndef f():\n    from ..models import unet\n    from . import masks\n"
    )
    assert imported_modules(path) == {"numpy", "smae_jax.models.unet", "smae_jax.io.masks"}


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_point_down(path):
    own = layer_of(module_name(path))
    if not own:
        return  # the package's front page may show anything
    assert own in LEVEL, f"{relative(path)}: say in LAYERS where this module belongs"
    for name in imported_modules(path):
        other = layer_of(name)
        if name.startswith("smae_jax.") and other != "__doc__":
            assert other in LEVEL, f"{relative(path)} imports {name}: not in LAYERS"
            assert LEVEL[other] <= LEVEL[own], (
                f"{relative(path)} imports {name}, which lies above it"
            )


def test_no_command_imports_another():
    for path in FILES:
        if not relative(path).startswith("commands/") or path.name in ("demo.py", "__init__.py"):
            continue
        others = [n for n in imported_modules(path) if n.startswith("smae_jax.commands.")]
        assert others == [], f"{relative(path)} imports {others}"


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("flax.linen", ("models/",)),
        ("orbax", ("run/checkpoint.py",)),
        ("tyro", ("cli.py", "config.py")),
    ],
)
def test_only_its_home_imports(library, home):
    strangers = [
        relative(p) for p in FILES if imports(p, library) and not relative(p).startswith(home)
    ]
    assert strangers == []


@pytest.mark.parametrize("library", ["jax", "flax", "optax", "chex"])
def test_files_are_read_without_jax(library):
    """Neither io nor anything that it imports knows JAX."""
    seen: set[Path] = set()
    waiting = [p for p in FILES if relative(p).startswith("io/")]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        assert not imports(path, library), f"io reaches {relative(path)}, which imports {library}"
        for name in imported_modules(path):
            if name.startswith("smae_jax."):
                parts = name.split(".")[1:]
                for stop in range(1, len(parts) + 1):
                    stem = PACKAGE.joinpath(*parts[:stop])
                    waiting += [p for p in (stem.with_suffix(".py"),) if p.is_file()]


def test_print_stays_in_the_command_line():
    speakers = {
        relative(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    }
    assert speakers <= {"cli.py"}


def test_no_file_is_named_for_nothing():
    assert [relative(p) for p in FILES if p.stem in {"utils", "common", "helpers", "misc"}] == []


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_functions_are_short_and_take_few_parameters(path):
    for node in functions(path):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        assert lines <= LONGEST, f"{relative(path)}:{node.name} has {lines} lines"
        arguments = node.args
        names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        number = len([a for a in names if a.arg not in ("self", "cls")])
        allowed = f"{relative(path)}:{node.name}" in MANY_PARAMETERS
        assert number <= MOST_PARAMETERS or allowed, (
            f"{relative(path)}:{node.name} takes {number} parameters"
        )


def test_library_has_no_bare_asserts():
    """A user's mistake is a `UserError`; ours is a chex assertion, or one that says what is wrong."""
    bare = [
        f"{relative(path)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert) and node.msg is None
    ]
    assert bare == []
