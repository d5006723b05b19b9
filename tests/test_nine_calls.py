"""The nine calls of the README: the package's own docstring has the same, and they run on a user's files."""

import ast
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
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


def halves():
    """Return the class of the guide's example of a method of one's own."""
    text = (README.parent / "docs" / "guide" / "your_own.md").read_text(encoding="utf-8")
    names = {}
    exec(
        next(b.split("```")[0] for b in text.split("```python\n")[1:] if "class Halves" in b), names
    )
    return names["Halves"]


def test_a_method_of_ones_own_goes_through_the_calls_on_arrays_without_a_centre():
    counts = np.random.default_rng(0).poisson(2.0, (4, 16, 16)).astype(np.uint16)
    data = smae_jax.Measurements(counts, np.ones((1, 16, 16), np.float32))
    method = halves()()
    placed = smae_jax.place(data, method, patch=8)
    net = smae_jax.unet(method, widths=(4,), blocks=0)
    step = smae_jax.make_step(net, method, smae_jax.losses.poisson, optax.adam(2e-3))
    loop = smae_jax.Loop(batch_size=2, devices=1, validation_batches=1)
    state = smae_jax.fit(step, placed, jax.random.key(0), steps=2, loop=loop)
    answers = smae_jax.predict(net, state.average, method, data)
    answers = smae_jax.finish(answers, data, stages=smae_jax.STAGES)
    assert answers.counts.shape == counts.shape
    np.testing.assert_allclose(answers.counts.sum(axis=(1, 2)), counts.sum(axis=(1, 2)), rtol=1e-4)
    assert answers.sigma is None
    assert dict(answers.done)["error_bars"].startswith("none: ")


@pytest.mark.parametrize("validate_every", [0, 1])
def test_a_loss_that_is_nan_ends_fit(validate_every):
    data = smae_jax.Measurements(np.ones((2, 8, 8), np.int32), np.ones((1, 8, 8), np.float32))
    method = halves()
    net = smae_jax.unet(method, widths=(4,), blocks=0)
    step = smae_jax.make_step(net, method, lambda p, t, w: jnp.nan * jnp.sum(p), optax.sgd(0.1))
    loop = smae_jax.Loop(2, devices=1, validate_every=validate_every, validation_batches=1)
    placed = smae_jax.place(data, method, patch=8)
    with pytest.raises(smae_jax.UserError, match="the loss became nan by step 1;"):
        smae_jax.fit(step, placed, jax.random.key(0), steps=1, loop=loop)


def test_what_is_no_centre_fails_at_once():
    assert smae_jax.Center.given((7.5, 7)).half_pixel == (7.5, 7.0)
    with pytest.raises(TypeError, match=r"half_pixel: expected \(y, x\), got 7.5"):
        smae_jax.Center(7.5, 7.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="center: expected a Center, got"):
        smae_jax.Measurements(
            np.ones((2, 8, 8), np.int32),
            np.ones((1, 8, 8), np.float32),
            center=(3.5, 3.5),  # type: ignore[arg-type]
        )


@pytest.mark.parametrize(
    ("given", "highest", "kept"),
    [
        *((kind, 100, np.int32) for kind in (np.uint8, np.int8, np.uint16, np.int16, np.uint32)),
        (np.uint32, 2**32 - 1, np.int64),
        (np.uint64, 2**40, np.int64),
        (np.int64, 100, np.int64),
    ],
)
def test_measurements_take_whole_numbers_of_any_type(given, highest, kept):
    counts = np.full((2, 3, 4), highest, given)
    data = smae_jax.Measurements(counts, np.ones((1, 3, 4), np.float32))
    assert data.counts.dtype == kept
    assert (data.counts == highest).all()


def test_measurements_refuse_numbers_that_no_type_holds():
    with pytest.raises(TypeError, match="counts: expected at most"):
        smae_jax.Measurements(np.full((1, 2, 2), 2**63, np.uint64), np.ones((1, 2, 2), np.float32))


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
