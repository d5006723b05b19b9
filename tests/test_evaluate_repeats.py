"""`smae-jax evaluate` on runs of repeats: numbers, figure, and what is refused."""

import csv
import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from smae_jax import cli
from smae_jax.io.results import read_result

QUICK = (
    *("--train.patch", 0, "--train.optimizer", "adam", "--train.warmup-steps", 0),
    *("--train.steps", 4, "--train.batch-size", 2, "--train.log-every", 2, "--model", "dncnn"),
    *("--train.validate-every", 2, "--train.validation-batches", 1, "--data.augment", "flips"),
    *("--dncnn.features", 4, "--dncnn.layers", 2, "--train.devices", 1),
    *("--train.checkpoint-every", 2),
)


@pytest.fixture(scope="module")
def spectra(tmp_path_factory) -> Path:
    """Energies, and twelve repeats of a line on a slope."""
    x = np.arange(60)
    rate = 2 + 0.1 * x + 40 * np.exp(-(((x - 20) / 3) ** 2))
    counts = np.random.default_rng(3).poisson(rate, (12, len(rate)))
    path = tmp_path_factory.mktemp("spectra") / "spectra.csv"
    np.savetxt(path, [np.linspace(1, 7, len(rate)), *counts], delimiter=",", fmt="%.6g")
    return path


@pytest.fixture(scope="module")
def trained(spectra) -> Path:
    """A run of Noise2Noise on the first four."""
    run = spectra.parent / "run"
    arguments = (
        *("train", "--data.path", spectra, "--run", run, "--method", "noise2noise"),
        *("--data.repeats", "0:4", "--data.dimensions", 1, *QUICK),
    )
    assert cli.main([str(argument) for argument in arguments]) == 0
    return run


def rows_of(folder):
    return {row["name"]: row for row in json.loads((folder / "metrics.json").read_text())["rows"]}


def test_evaluation_with_reference_and_without(smae, trained, spectra, tmp_path):
    arguments = ("evaluate", "--run", trained, "--input", spectra, "--output", tmp_path / "out")
    answer = smae(
        *(*arguments, "--reference", spectra, "--reference-repeats", "4:", "--scores", "both"),
        *("--checkpoints", "all"),
    )
    assert answer.status == 0, answer.err
    rows = rows_of(tmp_path / "out")
    names = list(rows)
    assert names[0] == "mean of repeats"
    assert [name.split(",")[0] for name in names[1:3]] == ["best Gaussian", "best Savitzky-Golay"]
    assert [rows[name]["step"] for name in names[3:]] == [2, 4]
    counts = np.loadtxt(spectra, delimiter=",")[1:]
    mean, truth = counts[:4].mean(axis=0), counts[4:].mean(axis=0)
    rmse = np.sqrt(((mean - truth) ** 2).mean())
    assert rows["mean of repeats"]["rmse"] == pytest.approx(rmse)
    assert rows[names[1]]["rmse"] <= rmse
    for row in rows.values():
        assert 0.5 < row["chi_square"] < 3
        assert row["deviance"] > 0
        assert row["negative"] == 0 or "Golay" in row["name"]
    with (tmp_path / "out" / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == names
    assert "chi-square" in (tmp_path / "out" / "table.md").read_text()
    assert matplotlib.image.imread(tmp_path / "out" / "spectrum.png")[..., :3].std() > 0.02


def test_network_row_is_that_of_what_infer_writes(smae, trained, spectra, tmp_path):
    output = tmp_path / "denoised.npz"
    run = ("--run", trained, "--input", spectra)
    assert smae("infer", *run, "--output", output).status == 0
    answer = smae(
        *("evaluate", *run, "--output", tmp_path / "out", "--figures", 0, "--save-denoised"),
        *("--reference", spectra, "--reference-repeats", "4:"),
    )
    assert answer.status == 0, answer.err
    rows = rows_of(tmp_path / "out")
    (name,) = (name for name in rows if name.startswith("noise2noise"))
    with np.load(output) as file:
        denoised = file["counts"][0]
    truth = np.loadtxt(spectra, delimiter=",")[5:].mean(axis=0)
    assert rows[name]["rmse"] == pytest.approx(np.sqrt(((denoised - truth) ** 2).mean()), rel=1e-5)
    assert not (tmp_path / "out" / "spectrum.png").exists()
    (saved,) = (tmp_path / "out" / "denoised").iterdir()
    np.testing.assert_allclose(read_result(str(saved))[0][0], denoised, rtol=1e-6)


def test_reference_of_another_power_is_scaled_where_asked(smae, trained, spectra, tmp_path):
    counts = np.loadtxt(spectra, delimiter=",")
    high = tmp_path / "high.csv"
    np.savetxt(high, [counts[0], *(7.0 * counts[5:])], delimiter=",", fmt="%.6g")
    rmse = []
    for number, (path, options) in enumerate(
        (
            (spectra, ("--reference-repeats", "4:", "--reference-scale", "totals")),
            (high, ("--reference-scale", "totals")),
        )
    ):
        out = tmp_path / f"out{number}"
        answer = smae(
            *("evaluate", "--run", trained, "--input", spectra, "--output", out, "--figures", 0),
            *("--reference", path, *options),
        )
        assert answer.status == 0, answer.err
        rmse.append(rows_of(out)["mean of repeats"]["rmse"])
    assert rmse[0] == pytest.approx(rmse[1], rel=1e-5)


@pytest.mark.slow
def test_single_answers_and_patterns_are_evaluated_too(smae, spectra, tmp_path):
    patterns = tmp_path / "patterns.npy"
    np.save(patterns, np.random.default_rng(0).poisson(20, (3, 18, 22)).astype(np.uint16))
    for name, path, options in (
        ("thinning", spectra, ("--method", "thinning", "--data.repeats", "0:4")),
        (
            "noise2noise",
            patterns,
            ("--method", "noise2noise", "--data.dimensions", 2, "--train.patch", 16),
        ),
    ):
        run, out = tmp_path / name, tmp_path / f"{name}-out"
        answer = smae("train", "--data.path", path, "--run", run, *QUICK, *options)
        assert answer.status == 0, answer.err
        answer = smae("evaluate", "--run", run, "--input", path, "--output", out)
        assert answer.status == 0, answer.err
        rows = rows_of(out)
        assert any(row.startswith(name) for row in rows)
        assert any("Golay" in row for row in rows) == (path == spectra)
        assert all(np.isfinite(row["chi_square"]) for row in rows.values())
        assert (out / "spectrum.png").exists() == (path == spectra)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--reference", "{spectra}"), "holds a repeat of --input"),
        (("--frames", "2"), "--repeats"),
        (("--repeats", "0"), "at least 2 repeats"),
        (("--rule", "average"), "one view of a pixel"),
    ],
)
def test_mistakes_are_told_in_one_line_and_leave_nothing(
    smae, trained, spectra, tmp_path, options, says
):
    given = [option.format(spectra=spectra) for option in options]
    out = tmp_path / "out"
    answer = smae("evaluate", "--run", trained, "--input", spectra, "--output", out, *given)
    assert answer.status == 2
    assert says in answer.err
    assert answer.err.strip().splitlines()[-1].startswith("smae-jax evaluate:")
    assert not out.exists()
