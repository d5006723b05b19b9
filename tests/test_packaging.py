"""What the wheel contains, read from pyproject.toml and, in the slow run, from a wheel."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_subpackage_is_listed():
    folders = {p.parent for p in (ROOT / "smae_jax").rglob("*.py")}
    names = {".".join(f.relative_to(ROOT).parts) for f in folders} | {"smae_jax.configs"}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == names


def test_every_dependency_is_pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if line and not line.startswith("#")}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["test"], *extras["dev"]]
    wanted += extras["notebooks"]
    names = {w.replace("[", ">").split(">")[0].split("<")[0].lower() for w in wanted}
    assert names <= pinned


@pytest.mark.slow
def test_wheel_holds_code_and_configs_and_imports_without_the_checkout(tmp_path):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    code = {p.relative_to(ROOT).as_posix() for p in (ROOT / "smae_jax").rglob("*.py")}
    configs = {f"smae_jax/configs/{p.name}" for p in (ROOT / "configs").glob("*.toml")}
    assert configs
    page = {f"smae_jax/report/page.{kind}" for kind in ("html", "css", "js")}
    assert code | configs | page <= held
    assert {name.split("/")[0] for name in held} == {"smae_jax", "smae_jax-0.1.0.dist-info"}

    target = tmp_path / "installed"
    install = [*pip, "install", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True)
    program = (
        "import importlib.resources, smae_jax; print(smae_jax.__file__);"
        "print(*(p.name for p in importlib.resources.files('smae_jax.configs').iterdir()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(target)}
    run = [sys.executable, "-c", program]
    answer = subprocess.run(
        run, check=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    where, *names = answer.stdout.split()
    assert Path(where).is_relative_to(target)
    assert {Path(name).name for name in configs} <= set(names)
