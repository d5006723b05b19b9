"""`smae-jax report --composition` from the command line: section, tables, NeXus, and what is refused."""

import csv
import json

import h5py
import numpy as np
import pytest

from smae_jax import form_factors
from smae_jax.report import extra

pytestmark = pytest.mark.skipif(
    bool(extra.missing()) or form_factors.missing(), reason="needs pyFAI, lmfit and xraylib"
)
QUICK = ("--no-sigma", "--no-scores", "--gallery", 1, "--replicas", 4)
GEOMETRY = ("--pixel-size", 1000, "--distance", 0.08, "--wavelength", 0.2)


def rows_of(path):
    return [*csv.DictReader(path.read_text().splitlines())]


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """Frames of a liquid's rings about the centre of `trained_run`, and frames of air."""
    folder = tmp_path_factory.mktemp("liquid")
    y, x = np.mgrid[:34, :30]
    radius = np.hypot(y - 17.5, x - 14)
    rate = 30 * np.exp(-radius / 9) * (1 + 0.5 * np.exp(-(((radius - 5) / 1.5) ** 2))) + 4
    rng = np.random.default_rng(0)
    np.save(folder / "scan.npy", rng.poisson(rate + 3, (6, 34, 30)).astype(np.uint16))
    np.save(folder / "air.npy", rng.poisson(6.0, (4, 34, 30)).astype(np.uint16))
    np.save(folder / "truth.npy", rate[None] + 3)
    return folder


@pytest.mark.slow
def test_page_tables_and_nexus_hold_the_pair_distribution(scan, trained_run, smae, tmp_path):
    words = ("report", "--run", trained_run, "--input", scan / "scan.npy", "--output", "out")
    options = ("--composition", "Zr50Cu45Al5", "--shells", "2:3.6", "3.6:5", "--r-max", 6)
    options += ("--background", scan / "air.npy", "--background-scale", 0.5)
    answer = smae(*words, *options, *QUICK, *GEOMETRY, "--reference", scan / "truth.npy")
    assert answer.status == 0, answer.err
    out = tmp_path / "out"
    text = (out / "report.html").read_text()
    assert '<section id="pair">' in text
    assert "Pair distribution" in text
    assert f"0.5 times {scan / 'air.npy'}" in text
    assert (out / "figures" / "pair.png").read_bytes().startswith(b"\x89PNG")
    pairs, structure = rows_of(out / "pdf.csv"), rows_of(out / "structure_factor.csv")
    kinds = ("raw", "raw_sigma", "denoised", "denoised_sigma", "reference")
    assert list(pairs[0]) == ["r_angstrom", *kinds]
    assert float(pairs[-1]["r_angstrom"]) == pytest.approx(6)
    shells = rows_of(out / "shells.csv")
    assert len(shells) == 6 * 2
    assert {"position_raw", "centroid_denoised_sigma", "area_reference"} <= set(shells[0])
    where = {row["where"] for row in rows_of(out / "observables.csv")}
    assert sum("angstrom" in one for one in where) == 2
    with h5py.File(out / "report.h5") as file:
        found = file["entry/pair_distribution"]
        assert found.attrs["NX_class"] == "NXdata"
        assert list(found.attrs["axes"]) == [".", "r"]
        assert found["denoised"].shape == found["raw_errors"].shape == (6, len(pairs))
        assert file["entry/structure_factor/Q"].shape == (len(structure),)
        assert file["entry/structure_factor/Q"].attrs["units"] == "1/angstrom"
    record = json.loads((out / "report.json").read_text())
    assert record["options"]["composition"] == "Zr50Cu45Al5"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--composition", "Zr50Cu45Al5"), "need q, and profiles are over the radius in pixels"),
        (("--composition", "Zq", *GEOMETRY), "--composition: expected symbols"),
        (("--composition", "Cu", *GEOMETRY, "--wavelength", 8), "up to 5 1/angstrom"),
        (("--q-max", 12, *GEOMETRY), "--composition makes"),
        (("--composition", "Cu", "--background", "nothing.npy", *GEOMETRY), "nothing.npy"),
    ],
)
def test_mistakes_are_one_line(scan, trained_run, smae, options, words, tmp_path):
    base = ("report", "--run", trained_run, "--input", scan / "scan.npy", "--output", "out")
    answer = smae(*base, *options)
    assert answer.status == 2
    assert words in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "out").exists()


def test_without_xraylib_a_composition_is_refused_before_any_work(
    scan, trained_run, smae, monkeypatch
):
    monkeypatch.setattr(form_factors, "missing", lambda: True)
    base = ("report", "--run", trained_run, "--input", scan / "scan.npy", "--output", "out")
    refused = smae(*base, "--composition", "Cu", *GEOMETRY)
    assert refused.status == 2
    assert "needs xraylib" in refused.err
    assert "smae_jax[physics]" in refused.err
