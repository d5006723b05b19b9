"""`smae-jax plan`: errors against exposure, what suffices, and what is refused."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from smae_jax.config import PlanConfig, parse_tolerance
from smae_jax.errors import UserError
from smae_jax.report import extra
from smae_jax.report.planning import Plan, Rung, Thinned, rung_of, sufficient, twice

TRUTH, NOISE = 20.0, 0.4
"""A quantity, and its standard deviation at the pilot's exposure."""
LADDER = [0.5**k for k in range(1, 6)]


def thinned(exposure, *, bias=0.0, share=1.0, frames=200, thinnings=3, seed=0):
    """Values with a share of the noise of their photons, judged by the photons that are left."""
    rng = np.random.default_rng([seed, round(1 / exposure)])
    shape = (thinnings, frames, 1)

    def drawn(of, noise):
        return TRUTH + noise / np.sqrt(of) * rng.standard_normal(shape)

    left = (1 - exposure) / 2
    return Thinned(
        exposure, drawn(exposure, share * NOISE) + bias, drawn(left, NOISE), drawn(left, NOISE)
    )


def ladder(**how):
    half = thinned(0.5, **how)
    others = thinned(0.5, **{**how, "seed": 1}).values
    return (
        twice(half, others, unit=TRUTH),
        *(rung_of(thinned(s, **how), unit=TRUTH) for s in LADDER),
    )


def plan(raw, denoised, tolerance=0.03):
    asked = f"{100 * tolerance:g} %"
    return Plan("area, peak at 0.65 nm^-1", "", True, TRUTH, tolerance, asked, raw, denoised)


def exact(level, *, told=1.0, exposures=(1.0, *LADDER)):
    return tuple(Rung(s, level**2 / s, 0.0, told) for s in exposures)


def test_error_falls_with_the_root_of_the_exposure():
    rungs = ladder()
    assert [rung.exposure for rung in rungs] == [1.0, *LADDER]
    assert rungs[0].from_halves
    assert not rungs[1].from_halves
    for rung in rungs:
        expected = NOISE / TRUTH / np.sqrt(rung.exposure)
        assert abs(rung.square - expected**2) < 3.5 * rung.square_sigma
        np.testing.assert_allclose(rung.error, expected, rtol=0.2)
        assert rung.low < rung.error < rung.high < 1.4 * expected


def test_what_is_systematic_counts_as_error():
    """Scatter alone would say 0.1 % here; the bias is 3 %."""
    biased = ladder(bias=0.03 * TRUTH, share=0.05)
    for rung in biased:
        np.testing.assert_allclose(rung.error, 0.03, rtol=0.25)
    made = plan(ladder(), biased, tolerance=0.025)
    assert made.needed_denoised is None
    assert made.needed_raw.how == "within"
    assert "not certain to be reached by denoising" in made.sentence
    good = plan(ladder(), ladder(share=0.05), tolerance=0.025)
    assert good.needed_denoised.how == "at most"
    assert good.sentence.endswith("times shorter or more")


def test_an_error_that_the_pilot_cannot_see_is_not_declared_to_be_none():
    few = rung_of(thinned(0.5, share=0.0, frames=6, thinnings=1), unit=TRUTH)
    assert few.high > 0.3 * NOISE / TRUTH


def test_angles_are_compared_the_shorter_way_round():
    near = np.full((1, 40, 1), 179.0)
    scans = Thinned(0.5, near, np.full_like(near, 1.0), np.full_like(near, 0.0))
    np.testing.assert_allclose(rung_of(scans, period=180.0).square, 2.0)


def test_fits_that_fail_or_go_astray_are_frames_without_the_quantity():
    scans = thinned(0.25)
    values = scans.values.copy()
    values[:, :20] = np.nan
    values[:, 20:30] += 100 * TRUTH
    found = rung_of(dataclasses.replace(scans, values=values), unit=TRUTH)
    np.testing.assert_allclose(found.told, 0.85, atol=0.01)
    np.testing.assert_allclose(found.error, NOISE / TRUTH / 0.5, rtol=0.2)
    assert not found.suffices(1.0)


def test_sufficient_exposure_lies_where_the_error_meets_the_tolerance():
    level = 0.01
    found = sufficient(exact(level), 2 * level)
    np.testing.assert_allclose(found.exposure, 0.25)
    found = sufficient(exact(level), 3 * level)
    np.testing.assert_allclose(found.exposure, 1 / 9)
    assert found.how == "within"
    assert sufficient(exact(level), 100 * level).how == "at most"
    assert sufficient(exact(level), level / 2) is None
    longer = sufficient(exact(level), level / 2, extrapolate=True)
    np.testing.assert_allclose(longer.exposure, 4)
    assert longer.how == "extrapolated"
    assert sufficient(exact(level, told=0.5), 1.0, extrapolate=True) is None


@pytest.mark.parametrize(
    ("raw", "denoised", "said"),
    [
        (
            0.02,
            0.01,
            "3 % needs 0.11 of the pilot's exposure when denoised, 0.44 raw: 4 times shorter",
        ),
        (0.06, 0.01, "when denoised, 4 times the pilot's raw (extrapolated): 36 times shorter"),
        (0.01, 0.02, "0.11 raw: denoising saves nothing"),
        (0.001, 0.001, "look at shorter ones with --halvings 7"),
        (0.02, 0.04, "(error there 4 %, up to 4 %); it needs 0.44 raw"),
    ],
)
def test_one_sentence_says_what_suffices(raw, denoised, said):
    made = plan(exact(raw), exact(denoised))
    assert made.sentence.startswith("area, peak at 0.65 nm^-1: 3 % ")
    assert said in made.sentence


@pytest.mark.parametrize("text", ["", "x%", "0%", "-1", "nan", "inf%", "deg", "5 degrees"])
def test_a_tolerance_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="--tolerance: expected an error above 0"):
        parse_tolerance(text)


def test_an_angle_is_refused_where_the_quantity_is_none():
    with pytest.raises(UserError, match="is an angle"):
        PlanConfig(observable="area", tolerance="0.5deg")
    PlanConfig(observable="orientation", tolerance="0.5deg")


@pytest.fixture
def scan(ring_rate, tmp_path):
    """Counts of `ring_rate`, as they are, halved, and too few."""
    counts = np.random.default_rng(0).poisson(ring_rate, (8, 34, 30)).astype(np.uint16)
    np.save(tmp_path / "counts.npy", counts)
    np.save(tmp_path / "halved.npy", counts.astype(np.float32) / 2)
    np.save(tmp_path / "two.npy", counts[:2])
    return tmp_path


def test_without_its_libraries_it_says_what_to_install(smae, monkeypatch):
    monkeypatch.setattr(extra, "missing", lambda: ("pyFAI",))
    answer = smae("plan", "--run", "r", "--input", "i.npy", "--output", "o")
    assert answer.status == 2
    assert "plan: needs pyFAI, not installed here; pip install 'smae_jax[physics]'" in answer.err


@pytest.mark.skipif(bool(extra.missing()), reason="needs pyFAI and lmfit (extra physics)")
@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("halved.npy", (), "expected photon counts"),
        ("two.npy", (), "expected 3 frames or more"),
        ("counts.npy", ("--halvings", "0"), "--halvings: expected 1 or more"),
        ("counts.npy", ("--peaks", "90:99"), "nothing was measured there"),
    ],
)
def test_what_cannot_be_planned_is_refused(scan, trained_run, smae, name, options, said):
    files = ("--run", trained_run, "--input", scan / name, "--output", scan / "out")
    answer = smae("plan", *files, *options)
    assert answer.status == 2
    assert said in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert not (scan / "out").exists()


@pytest.mark.skipif(bool(extra.missing()), reason="needs pyFAI and lmfit (extra physics)")
def test_frames_without_a_photon_are_warned_of(scan, trained_run, smae):
    counts = np.load(scan / "counts.npy")
    counts[3] = 0
    np.save(scan / "shut.npy", counts)
    files = ("--run", trained_run, "--input", scan / "shut.npy", "--output", scan / "out")
    answer = smae("plan", *files, "--peaks", "90:99")  # refused before the work, after the warnings
    assert "WARNING: 1 of 8 frames (number 3, counted from 0) is all zero" in answer.out


@pytest.mark.slow
@pytest.mark.skipif(bool(extra.missing()), reason="needs pyFAI and lmfit (extra physics)")
@pytest.mark.parametrize(
    ("observable", "tolerance", "title"),
    [("profile", "5%", "I(radius)"), ("area", "20%", "area, peak"), ("orientation", "5deg", "dir")],
)
def test_a_plan_is_a_folder_and_a_sentence(scan, trained_run, smae, observable, tolerance, title):
    out = scan / "out"
    files = ("--run", trained_run, "--input", scan / "counts.npy", "--output", out)
    what = ("--observable", observable, "--tolerance", tolerance)
    answer = smae("plan", *files, *what, "--halvings", 2, "--draws", 2)
    assert answer.status == 0, answer.err
    record = json.loads((out / "plan.json").read_text())
    assert record["plans"][0]["quantity"].startswith(title)
    assert record["plans"][0]["sentence"] in answer.out
    rows = [*csv.DictReader((out / "plan.csv").read_text().splitlines())]
    shares = [float(row["exposure"]) for row in rows if row["kind"] == "raw"][:3]
    assert shares == [1, 0.5, 0.25]
    assert (out / "plan.png").read_bytes().startswith(b"\x89PNG")
    assert smae("plan", *files, *what).status == 2
