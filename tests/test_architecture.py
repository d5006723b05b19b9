"""The direction of the imports and the homes of the libraries, read from the source."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "smae_jax"
FILES = sorted(PACKAGE.rglob("*.py"))

# A layer may import from itself and from the layers below it, never from above.
LAYERS = (
    (
        *("cli", "api", "denoised", "measurements", "commands", "config", "config_file"),
        *("run_folder", "removed", "__main__"),
    ),
    ("training", "inference", "evaluation", "checkpoint"),
    (
        *("methods", "models", "data", "losses", "loss_spec", "metrics", "simulate", "patterns"),
        *("noise", "significant", "scan_sums", "combine"),
    ),
    ("symmetry", "registration", "smoothing", "splitting", "error_bars"),
)
LEVEL = {name: len(LAYERS) - depth for depth, names in enumerate(LAYERS) for name in names}


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
    """`smae_jax.data.scan.Scan` -> `data`; the package itself -> ''."""
    return [*name.split("."), ""][1]


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_scan_of_imports_sees_relative_and_nested_ones(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path / "smae_jax")
    path = tmp_path / "smae_jax" / "data" / "scan.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import numpy as np\ndef f():\n    from ..models import unet\n    from . import masks\n"
    )
    assert imported_modules(path) == {"numpy", "smae_jax.models.unet", "smae_jax.data.masks"}


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_point_down(path):
    own = layer_of(module_name(path))
    if not own:
        return  # the package's front page may show anything
    assert own in LEVEL, f"{relative(path)}: say in LAYERS where this module belongs"
    for name in imported_modules(path):
        if name.startswith("smae_jax."):
            other = layer_of(name)
            assert other in LEVEL, f"{relative(path)} imports {name}: not in LAYERS"
            assert LEVEL[other] <= LEVEL[own], (
                f"{relative(path)} imports {name}, which lies above it"
            )


@pytest.mark.parametrize(
    ("library", "home"),
    [("flax.linen", "models/"), ("orbax", "checkpoint.py"), ("tyro", ("cli.py", "config.py"))],
)
def test_only_its_home_imports(library, home):
    strangers = [
        relative(p) for p in FILES if imports(p, library) and not relative(p).startswith(home)
    ]
    assert strangers == []


@pytest.mark.parametrize("library", ["jax", "flax", "optax", "chex"])
def test_data_imports_numpy_only(library):
    # Drawing patches is a part of the jitted step, and the one place where data meets JAX.
    readers = [
        p for p in FILES if relative(p).startswith("data/") and not p.name.endswith("batches.py")
    ]
    assert [relative(p) for p in readers if imports(p, library)] == []


def test_print_stays_in_the_command_line():
    speakers = {
        relative(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    }
    assert speakers <= {"cli.py", "demo.py"}


def test_no_file_is_named_for_nothing():
    assert [relative(p) for p in FILES if p.stem in {"utils", "common", "helpers", "misc"}] == []
