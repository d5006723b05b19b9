"""`smae-jax report` from the command line: page, figures, tables, alarms, and what is refused."""

import csv
import hashlib
import json
import re
from base64 import b64encode
from pathlib import Path

import h5py
import numpy as np
import pytest
from browser import CHROMIUM, Browser

from smae_jax.cli import command, parse
from smae_jax.config import ReportConfig
from smae_jax.geometry import Center, Geometry
from smae_jax.report import alarms, extra
from smae_jax.report.cake import Cake
from smae_jax.run.folder import RunFolder

PHYSICS = not extra.missing()
NAME = "<img src=x onerror=alert(1)>.npz"
"""A file whose name would be a program if it were not escaped."""


def rows_of(path):
    return [*csv.DictReader(path.read_text().splitlines())]


def given(arguments):
    return [str(a) for a in arguments]


@pytest.fixture(scope="module")
def scan(ring_rate, tmp_path_factory):
    """Counts of `ring_rate`, over a raster of 2 x 4."""
    folder = tmp_path_factory.mktemp("scan")
    counts = np.random.default_rng(0).poisson(ring_rate, (8, 34, 30)).astype(np.uint16)
    np.savez(folder / NAME, counts=counts)
    np.save(folder / "truth.npy", ring_rate[None])
    with h5py.File(folder / "raster.h5", "w") as file:
        file["data"] = counts.reshape(2, 4, 34, 30)
    return folder


@pytest.fixture(scope="module")
def made(scan, trained_run, tmp_path_factory):
    """A report on that scan with everything, made once."""
    out = tmp_path_factory.mktemp("report") / "out"
    files = ("--input", f"{scan / NAME}::counts", "--reference", scan / "truth.npy")
    options = given(
        ("--run", trained_run, *files, "--output", out, "--gallery", 3, "--replicas", 4)
    )
    said = []
    command("report")(parse(ReportConfig, options, program="smae-jax report"), said.append)
    return out, said


def test_page_holds_all_sections_and_nothing_from_elsewhere(made):
    out, said = made
    text = (out / "report.html").read_text()
    for name in (
        "alarms",
        "measured",
        "trained",
        "gallery",
        "residual",
        "scores",
        "profiles",
        "made",
    ):
        assert f'<section id="{name}">' in text
    assert "smae-jax report --run" in text
    assert not re.search(r'(src|href)="(https?:)?//', text)
    assert set(re.findall(r'src="([^":]*):', text)) == {"data"}
    assert said[-1].endswith("alarms ring")
    assert (out / "report.html").stat().st_size < 3e6


def test_nothing_of_the_data_is_executed(made):
    text = (made[0] / "report.html").read_text()
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    (script,) = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text


def test_record_and_tables_say_the_same_as_the_page(made):
    out, _ = made
    record = json.loads((out / "report.json").read_text())
    text = (out / "report.html").read_text()
    assert len(record["alarms"]) == 15
    assert {alarm["state"] for alarm in record["alarms"]} <= {"rings", "quiet", "cannot tell"}
    assert f"{sum(a['state'] == 'rings' for a in record['alarms'])} of 15 alarms" in text or (
        "None of 15 alarms" in text
    )
    kinds = {row["table"] for row in record["scores"]}
    assert kinds == {"With the reference", "Without a reference"}
    frames = rows_of(out / "frames.csv")
    assert [row["frame"] for row in frames] == [str(k) for k in range(8)]
    assert (out / "figures" / "frames.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_judged_is_what_infer_writes(made, scan, trained_run, smae, tmp_path):
    out, _ = made
    answer = smae(
        *("infer", "--run", trained_run, "--input", f"{scan / NAME}::counts"),
        *("--output", tmp_path / "d.h5"),
    )
    assert answer.status == 0, answer.err
    with h5py.File(tmp_path / "d.h5") as file:
        denoised, filled = file["entry/data/data"][()], file["entry/data/filled"][()]
    share = np.nansum(np.where(filled, denoised, 0)) / np.nansum(denoised)
    rows = rows_of(out / "frames.csv")
    np.testing.assert_allclose(
        np.mean([float(row["filled_counts"]) for row in rows]), share, rtol=0.02
    )


@pytest.mark.skipif(not PHYSICS, reason="needs pyFAI and lmfit (extra physics)")
def test_words_of_the_chi_square_hold_the_limit_of_the_alarm(made):
    text = (made[0] / "report.html").read_text()
    assert "above 1: it moved" not in text
    assert f"{alarms.SIGNIFICANT:g} sigma and {alarms.LARGEST_MOVE:g} % of a ring" in text


@pytest.mark.skipif(not PHYSICS, reason="needs pyFAI and lmfit (extra physics)")
def test_physics_is_written_as_tables_and_nexus(made):
    out, _ = made
    rows = rows_of(out / "observables.csv")
    direction = [float(r["denoised"]) for r in rows if r["quantity"] == "direction"]
    np.testing.assert_allclose(direction, np.rad2deg(0.6), atol=12)
    fitted = [float(r["raw"]) for r in rows if r["quantity"] == "peak direction" and r["raw"]]
    assert len(fitted) >= 6
    np.testing.assert_allclose(np.median(fitted), np.rad2deg(0.6), atol=5)
    position = [float(r["raw"]) for r in rows if r["quantity"] == "position" and r["raw"]]
    np.testing.assert_allclose(np.median(position), 9, atol=0.7)
    profile = rows_of(out / "profile.csv")
    off = [float(r["difference_sigmas"]) for r in profile if r["difference_sigmas"]]
    assert len(off) > 10
    with h5py.File(out / "report.h5") as file:
        raw = file["entry/raw"]
        assert raw["definition"][()] == b"NXazint1d"
        assert raw["data/I"].shape == (8, len(profile))
        assert raw["data/I_errors"].shape == raw["data/I"].shape
        assert file["entry/chi_1"].attrs["signal"] == "denoised"


def test_a_raster_gives_maps(scan, trained_run, smae):
    options = ("--no-sigma", "--no-scores", "--gallery", 1, "--replicas", 4)
    answer = smae(
        "report", "--run", trained_run, "--input", scan / "raster.h5", "--output", "out", *options
    )
    assert answer.status == 0, answer.err
    assert Path("out/figures/map_1.png").is_file() == PHYSICS
    assert Path("out/report.html").is_file()
    again = ("report", "--run", trained_run, "--input", scan / "raster.h5", "--output", "out")
    refused = smae(*again, *options)
    assert refused.status == 2
    assert "--overwrite" in refused.err
    Path("out/figures/mine.png").write_text("mine")
    refused = smae(*again, *options, "--overwrite")
    assert refused.status == 2
    assert "holds figures/mine.png, which 'smae-jax report' did not write" in refused.err
    Path("out/figures/mine.png").unlink()
    short = (*options, "--physics", "off", "--overwrite")
    assert smae(*again, *short).status == 0
    assert not Path("out/figures/map_1.png").exists()
    Path("out/report.json").unlink()
    refused = smae(*again, *options, "--overwrite")
    assert "was not made by 'smae-jax report'" in refused.err


@pytest.mark.slow
@pytest.mark.skipif(not PHYSICS, reason="needs pyFAI and lmfit (extra physics)")
def test_a_large_scan_is_reported_block_by_block_as_infer_writes_it(trained_run, smae, tmp_path):
    y, x = np.mgrid[:34, :30]
    rate = 2 + 30 * np.exp(-(((y - 17.5) / 4) ** 2) - ((x - 14) / 7) ** 2)
    counts = np.random.default_rng(5).poisson(rate * np.linspace(1, 1.4, 40)[:, None, None])
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["data"] = counts.reshape(5, 8, 34, 30).astype(np.uint16)
    base = ("--run", trained_run, "--input", "scan.h5::/data", "--memory", "2.3MB")
    short = ("--no-sigma", "--no-scores")
    for words in (
        ("infer", *base, "--output", "d.h5"),
        ("report", *base, "--output", "out", *short, "--replicas", 4, "--gallery", 2),
        ("report", *base, "--output", "few", *short, "--replicas", 0, "--frames", 4),
    ):
        answer = smae(*words)
        assert answer.status == 0, answer.err
    assert "4 frames of 40 are answered apart from the others (--frames)" in answer.out
    apart = "4 frames of 40 are answered apart"
    assert apart in (tmp_path / "few" / "report.html").read_text()
    assert apart not in (tmp_path / "out" / "report.html").read_text()
    numbers = [int(row["frame"]) for row in rows_of(tmp_path / "out" / "frames.csv")]
    assert numbers == [*range(40)]
    assert [int(row["frame"]) for row in rows_of(tmp_path / "few" / "frames.csv")] == [
        0,
        13,
        26,
        39,
    ]
    with h5py.File(tmp_path / "d.h5") as file:
        written = file["entry/data/data"][2, 7]
    valid = np.isfinite(written) & RunFolder(trained_run).valid()
    sums, norm = Cake(Geometry(), Center.given((17.5, 14)), (34, 30))(written, valid * 1.0)
    with h5py.File(tmp_path / "out" / "report.h5") as file:
        found = file["entry/denoised/data/I"][23]
        (direction, *_) = [group for name, group in file["entry"].items() if "direction" in name]
        assert direction["denoised"].shape == (5, 8)
    expected = sums.sum(axis=1) / norm.sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_the_extra_there_is_a_report_and_a_way_to_more(
    scan, trained_run, smae, monkeypatch, tmp_path
):
    monkeypatch.setattr(extra, "missing", lambda: ("pyFAI", "lmfit"))
    base = ("report", "--run", trained_run, "--input", f"{scan / NAME}::counts", "--output", "out")
    for options in (("--physics", "on"), ("--rings", "7:11"), ("--distance", "1.2")):
        refused = smae(*base, *options)
        assert refused.status == 2
        assert options[0] in refused.err
        assert "pip install 'smae_jax[physics]'" in refused.err
    answer = smae(*base, "--no-sigma", "--no-scores", "--gallery", 1)
    assert answer.status == 0, answer.err
    assert "smae_jax[physics]" in (tmp_path / "out" / "report.html").read_text()
    assert not (tmp_path / "out" / "report.h5").exists()


def test_values_that_are_no_counts_get_a_page_without_what_needs_photons(
    scan, trained_run, smae, tmp_path
):
    counts = np.load(scan / NAME)["counts"]
    np.save(tmp_path / "scaled.npy", 0.7 * counts[:3])
    answer = smae(
        *("report", "--run", trained_run, "--input", "scaled.npy", "--output", "out"),
        *("--gallery", 1, "--center", "5,29"),
    )
    assert answer.status == 0, answer.err
    assert "ALARM: detector does not count" in answer.out
    states = {
        one["name"]: one["state"]
        for one in json.loads((tmp_path / "out" / "report.json").read_text())["alarms"]
    }
    assert states["residual is not photon noise"] == "cannot tell"
    text = (tmp_path / "out" / "report.html").read_text()
    assert "no photon counts, which cannot be split" in text
    assert not re.search(r"[0-9] sigma\b", "".join(answer.out))
    assert states["rings moved"] == states["peaks moved"] == "cannot tell"
    if PHYSICS:
        assert "errors of raw profiles and fits are not known" in text
        rows = rows_of(tmp_path / "out" / "observables.csv")
        assert any(row["raw"] for row in rows)
        assert not any(row["raw_sigma"] for row in rows)
        rows = rows_of(tmp_path / "out" / "profile.csv")
        assert not any(row["raw_sigma"] or row["difference_sigmas"] for row in rows)


@pytest.mark.skipif(not PHYSICS, reason="needs pyFAI and lmfit")
def test_a_geometry_of_another_centre_is_an_alarm_and_what_it_tells_is_shown(
    scan, trained_run, smae, tmp_path
):
    told = {"Detector": "Detector", "Distance": 0.2, "Poni1": 18e-4, "Poni2": 24.5e-4}
    told |= {"PixelSize1": 1e-4, "PixelSize2": 1e-4, "Wavelength": 1e-10}
    (tmp_path / "off.poni").write_text("".join(f"{k}: {v}\n" for k, v in told.items()))
    files = ("--run", trained_run, "--input", f"{scan / NAME}::counts", "--geometry", "off.poni")
    short = ("--no-sigma", "--no-scores", "--gallery", 1, "--replicas", 0)
    answer = smae("report", *files, "--output", "out", *short)
    assert answer.status == 0, answer.err
    assert "ALARM: profiles about another centre: " in answer.out
    assert "10 pixels apart" in answer.out
    text = (tmp_path / "out" / "report.html").read_text()
    assert "geometry</dt><dd>distance 0.2 m (from off.poni)" in text
    assert "wavelength 1 angstrom (from off.poni)" in text
    assert "<dt>made about</dt><dd>centre y 17.5, x 24 (from off.poni" in text
    planned = smae("plan", *files, "--output", "plan", "--halvings", 1, "--draws", 1)
    assert "ALARM: profiles about another centre: " in planned.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--gallery", 0), "--gallery"),
        (("--wavelength", 1e10), "--wavelength: expected angstroms from 0.001 to 100, got 1e+10"),
        (("--distance", 200), "--distance: expected metres above 0 and up to 100, got 200"),
        (("--rings", "9:7"), "--rings"),
        (("--physics", "off", "--rings", "7:9"), "--rings"),
        (("--wavelength", -1), "--wavelength"),
        (("--orders", 0, 1), "--orders"),
        (("--orders", 1, 1), "--orders"),
        (("--orders", 3), "two orders at least"),
        (("--sector", 0), "--sector"),
        (("--meridian", 270), "--meridian"),
        (("--physics", "off", "--azimuthal-shape", "gaussian"), "--azimuthal-shape"),
        (("--output", ""), "--output"),
        (("--pairing", "mean"), "--pairing mean: does nothing without --reference; give both"),
        (("--reference-noise", "none"), "--reference-noise none: does nothing without --reference"),
        (("--reference-repeats", "0:2"), "--reference-repeats 0:2: does nothing without"),
        (("--center", "300,3"), "give the right one with --center, or leave the option out"),
        pytest.param(
            ("--rings", "700:900"),
            "the axis is radius / pixel",
            marks=pytest.mark.skipif(not PHYSICS, reason="needs pyFAI and lmfit"),
        ),
    ],
)
def test_mistakes_are_one_line(scan, trained_run, smae, options, words, tmp_path):
    base = ("report", "--run", trained_run, "--input", f"{scan / NAME}::counts", "--output", "out")
    answer = smae(*base, *options)
    assert answer.status == 2
    assert words in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "out").exists()


def test_a_choice_of_reference_frames_that_is_none_is_named_by_its_option(
    scan, trained_run, smae, tmp_path
):
    np.save(tmp_path / "r.npy", np.ones((3, 34, 30), np.float32) / 2)
    files = ("--input", f"{scan / NAME}::counts", "--reference", tmp_path / "r.npy")
    options = ("--physics", "off", "--reference-repeats", "7:9")
    answer = smae("report", "--run", trained_run, *files, "--output", "out", *options)
    assert answer.status == 2
    assert "--reference-repeats: '7:9' chooses none of the 3 repeats" in answer.err


@pytest.mark.parametrize("command", ["report", "evaluate", "plan"])
@pytest.mark.parametrize("place", ["run", "input"])
def test_no_folder_is_written_into_what_is_read(scan, trained_run, smae, command, place, tmp_path):
    (tmp_path / "frames").mkdir()
    np.save(tmp_path / "frames" / "a.npy", np.load(scan / NAME)["counts"])
    within = {"run": trained_run, "input": "frames"}[place]
    base = (command, "--run", trained_run, "--input", "frames", "--output", f"{within}/sub")
    more = ("--observable", "profile") if command == "plan" else ()
    answer = smae(*base, *more)
    assert answer.status == 2
    assert f"/sub: lies in {within}, which is read; choose a folder outside" in answer.err
    assert not (Path(within) / "sub").exists()


@pytest.mark.parametrize("command", ["report", "evaluate"])
def test_a_closed_shutter_before_a_hot_pixel_is_no_scan_to_judge(
    trained_run, smae, tmp_path, command
):
    counts = np.zeros((4, 34, 30), np.uint16)
    counts[:, 10, 10] = 5
    np.save(tmp_path / "shut.npy", counts)
    answer = smae(command, "--run", trained_run, "--input", "shut.npy", "--output", "out")
    assert answer.status == 2
    assert "1 pixel is hot here: masked" in answer.out
    assert "nothing was counted in the 4 frames to look at, outside mask and hot" in answer.err


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_slider_and_blink_work_without_a_word_on_the_console(made, tmp_path):
    browser = Browser(tmp_path)
    try:
        browser.look(width=400)
        browser.open(made[0] / "report.html")
        assert browser.run("document.documentElement.scrollWidth") == 400
        page = (
            "const q = (name) => document.querySelector('.viewer .' + name);"
            "const set = (name, value, event) => { q(name).value = value;"
            " q(name).dispatchEvent(new Event(event)); };"
            "const source = (layer, frame) => document.querySelectorAll('.sheet .row')[frame]"
            '.querySelector(`img[data-layer="${layer}"]`).src;'
        )
        seen = browser.run(
            page + "set('split', 20, 'input'); set('choose-right', 'reference', 'change');"
            "set('frame', 2, 'input');"
            "[q('over').style.clipPath, q('edge').style.left, q('number').textContent,"
            " q('over').src === source('before', 2), q('under').src === source('reference', 2),"
            " q('under').naturalWidth > 0]"
        )
        assert seen == ["inset(0px 80% 0px 0px)", "20%", "7", True, True, True]
        blinked = browser.run(
            "(async () => { const v = document.querySelector('.viewer');"
            "const u = v.querySelector('.under'); v.querySelector('.blink').click();"
            "const seen = new Set(); const end = Date.now() + 2000;"
            "while (Date.now() < end && seen.size < 2) { seen.add(u.src);"
            " await new Promise((r) => setTimeout(r, 50)); }"
            "v.querySelector('.blink').click();"
            "return [seen.size, v.querySelector('.blink').getAttribute('aria-pressed')]; })()"
        )
        assert blinked == [2, "false"]
        colours = []
        for dark in (False, True):
            browser.look(width=1400, dark=dark)
            colours.append(browser.run("getComputedStyle(document.body).backgroundColor"))
        assert colours == ["rgb(255, 255, 255)", "rgb(22, 22, 21)"]
        assert len(browser.printed()) > 10_000
        assert browser.said == []
        assert [a for a in browser.asked if not a.startswith(("file:", "data:"))] == []
    finally:
        browser.close()
