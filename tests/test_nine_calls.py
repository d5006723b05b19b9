"""The nine calls of the README: the package's own docstring has the same, and they run on a user's files."""

import ast
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tifffile

import smae_jax
from smae_jax.finishing import UNCOUNTED, name_of
from smae_jax.simulate import simulate

README = Path(__file__).parents[1] / "README.md"
FIRST, LAST = "smae_jax.read(", "smae_jax.finish("
SMALLER = {
    "patch=64": "patch=16",
    "steps=1500": "steps=4, loop=smae_jax.Loop(batch_size=8, validation_batches=1)",
    "smae_jax.unet(method)": "smae_jax.unet(method, widths=(4,), blocks=0)",
}


def calls_in(text):
    """Return the statements from the one that reads to the one that finishes, as Python writes them."""
    lines = text.splitlines()
    first = next(k for k, line in enumerate(lines) if FIRST in line)
    last = next(k for k, line in enumerate(lines) if LAST in line)
    tree = ast.parse(textwrap.dedent("\n".join(lines[first : last + 1])))
    return [ast.unparse(statement) for statement in tree.body]


def test_the_docstring_of_the_package_has_the_calls_of_the_readme():
    calls = calls_in(README.read_text(encoding="utf-8"))
    assert calls_in(smae_jax.__doc__) == calls
    tree = ast.parse("\n".join(calls))
    named = [node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert sorted(named) == sorted(
        [
            "read",
            "settled",
            "Thinning",
            "place",
            "unet",
            "make_step",
            "fit",
            "key",
            "predict",
            "finish",
        ]
    )  # nine of this package, and the random key


@pytest.fixture
def simulated(tmp_path, monkeypatch):
    """A scan in files as the README names them, in a folder of the test's own."""
    made = simulate("saxs", frames=9, size=48, photons=3.0, seed=2)
    (tmp_path / "scan").mkdir()
    for number, frame in enumerate(made.counts):
        tifffile.imwrite(tmp_path / "scan" / f"frame{number}.tif", frame.astype(np.int32))
    tifffile.imwrite(tmp_path / "mask.tif", (~made.valid).astype(np.uint8))
    monkeypatch.chdir(tmp_path)
    return made


@pytest.mark.slow
def test_the_nine_calls_run(simulated):
    text = README.read_text(encoding="utf-8")
    block = next(b.split("```")[0] for b in text.split("```python\n")[1:] if FIRST in b)
    for line, smaller in SMALLER.items():
        assert block.count(line) == 1
        block = block.replace(line, smaller)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    data, answers = names["data"], names["answers"]
    np.testing.assert_array_equal(
        data.counts[:, simulated.valid], simulated.counts[:, simulated.valid]
    )
    assert answers.counts.shape == simulated.counts.shape
    stages = [name_of(stage) for stage in smae_jax.STAGES if stage not in UNCOUNTED]
    assert [stage for stage, _ in answers.done] == stages
    measured = np.broadcast_to(data.valid, answers.counts.shape)
    np.testing.assert_allclose(
        np.where(measured, answers.counts, 0).sum(axis=(1, 2)),
        data.counts.sum(axis=(1, 2)),
        rtol=1e-4,
    )
    assert (answers.sigma[answers.known] > 0).all()
    assert 0 <= names["state"].step <= 4
