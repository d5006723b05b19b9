"""Every command of the README is run, in its order, on small data and with few steps."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from smae_jax.cli import main
from smae_jax.simulate import simulate

ROOT = Path(__file__).parents[1]
QUICK = [
    "--train.steps",
    "2",
    "--unet.widths",
    "8",
    "--unet.blocks",
    "0",
    "--train.batch-size",
    "8",
]


def commands():
    """Return the commands of the README's indented blocks, without comments."""
    lines = (ROOT / "README.md").read_text().splitlines()
    blocks = [line[4:].partition("  #")[0].strip() for line in lines if line.startswith("    ")]
    known = re.compile(r"(smae-jax|python train\.py|python infer\.py|python -m|make) ")
    return [line for line in blocks if known.match(line) and "..." not in line]


def run(command):
    """Run one command in process; a training is shortened."""
    words = shlex.split(command)
    words = words[1:] if words[0] == "smae-jax" else [Path(words[1]).stem, *words[2:]]
    return main([*words, *QUICK] if words[0] == "train" else words)


def test_readme_has_the_commands_that_users_need():
    text = "\n".join(commands())
    for needed in (
        "make demo",
        "make test",
        "smae-jax inspect",
        "python train.py",
        "python infer.py",
    ):
        assert needed in text


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("make ")])
def test_make_targets_exist(command):
    subprocess.run(
        ["make", "-n", *shlex.split(command)[1:]], cwd=ROOT, check=True, capture_output=True
    )


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("python -m ")])
def test_benchmarks_explain_themselves(command, monkeypatch, capsys):
    module = shlex.split(command)[2]
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    monkeypatch.delitem(sys.modules, module, raising=False)  # read anew, as `python -m` does
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    assert "usage" in capsys.readouterr().out


@pytest.mark.slow
def test_commands_run_on_a_users_own_frames(tmp_path, monkeypatch):
    simulation = simulate("saxs", frames=4, size=64, photons=5.0)
    high = simulate("saxs", frames=4, size=64, photons=50.0)
    folders = {"scan": simulation, "scan2": simulation, "scan3": simulation, "low": simulation}
    for name, source in (folders | {"high": high}).items():
        (tmp_path / name).mkdir()
        for number, frame in enumerate(source.counts):
            tifffile.imwrite(tmp_path / name / f"frame{number}.tif", frame.astype(np.int32))
    tifffile.imwrite(tmp_path / "mask.tif", (~simulation.valid).astype(np.uint8))
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    chosen = [c for c in commands() if c.startswith("smae-jax") and "shared/data" not in c]
    assert len(chosen) >= 7
    for command in chosen:
        assert run(command) == 0, command


@pytest.mark.slow
def test_commands_run_on_the_real_frames(shared_data, tmp_path, monkeypatch):
    (tmp_path / "checkout").mkdir()
    (tmp_path / "shared").symlink_to(shared_data.parent)
    shutil.copytree(ROOT / "configs", tmp_path / "checkout" / "configs")
    monkeypatch.chdir(tmp_path / "checkout")
    chosen = [c for c in commands() if "shared/data" in c]
    assert len(chosen) >= 2
    for command in chosen:
        assert run(command) == 0, command
