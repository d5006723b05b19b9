"""Benchmarks: cases, the runner that keeps what it made, the scores, and the one writer of pages."""

import importlib
import re

import numpy as np
import pytest

import smae_jax
from benchmarks import cases, markdown, runner, scale
from benchmarks.runner import Result
from smae_jax.geometry import turn

NAMES = (
    *("quality", "p40", "real_scan", "spectra", "select_spectra", "finetune", "methods"),
    *("checks", "choices", "speed", "before_after", "scale", "real", "physics", "plan", "replicas"),
    *("ghosts", "gallery", "polar"),
)


@pytest.fixture(scope="module")
def case():
    """A small asymmetric scan with its truth."""
    return cases.simulated("saxs", 2.0, 0.3, frames=3, size=48)


@pytest.fixture
def bench(tmp_path):
    """A benchmark of tiny trainings in a folder of its own, and a function that opens it again."""

    def opened(*more):
        given = ["--quick", "--folder", str(tmp_path), "--output", str(tmp_path / "pages"), *more]
        parser = runner.arguments("", "test", kept=True)
        with runner.bench(parser, given) as made:
            return made

    return opened


SMALL = {"method": "smae", "train.patch": 16, "unet.widths": [8], "unet.blocks": 0}


def test_scores_are_perfect_for_the_truth_and_know_the_asymmetry(case):
    found = runner.score(case, case.truth)
    assert found["weighted"] == 0
    assert found["psnr_db"] > 100
    assert found["asymmetry"] == pytest.approx(1)
    even = (case.truth + turn(case.truth, case.center, 0.0)) / 2
    assert runner.score(case, even)["asymmetry"] == pytest.approx(0, abs=1e-9)


def test_raw_counts_have_no_score_where_only_the_partner_was_measured(case):
    rows = {name: runner.score(case, made) for name, (_, made) in runner.filtered(case).items()}
    assert "either_db" not in rows["raw"]
    assert "either_db" in rows["rotated average"]
    assert (
        rows["raw"]["psnr_db"]
        < rows["rotated average"]["psnr_db"]
        < rows["best Gaussian"]["psnr_db"]
    )


def test_reference_scores_subtract_its_noise(case):
    """Against an independent reference of the same rates raw counts score 1 and the truth 0."""
    rng = np.random.default_rng(0)
    flat = np.full((60, 48, 48), 4.0)
    data = smae_jax.from_arrays(rng.poisson(flat).astype(np.int32), center=(23.5, 23.5))
    reference, every = rng.poisson(flat).astype(float), np.ones((48, 48), bool)
    judged = cases.Case("flat", "flat", 4.0, data, reference, every, variance=flat, expected=flat)
    raw, true = runner.score(judged, data.counts), runner.score(judged, flat)
    assert raw["plain"] == pytest.approx(1, abs=0.02)
    assert raw["weighted"] == pytest.approx(1, abs=0.02)
    assert true["weighted"] == pytest.approx(0, abs=0.02)
    names = list(runner.filtered(judged))
    assert names[:2] == ["raw", "rotated average"]
    assert all(re.fullmatch(r"Gaussian [\d.]+ on (counts|average)", name) for name in names[2:])


@pytest.mark.slow
def test_training_is_kept_until_options_or_counts_change(case, bench, monkeypatch):
    done = []
    train = smae_jax.train
    monkeypatch.setattr(smae_jax.api, "train", lambda *a, **k: done.append(a) or train(*a, **k))
    first = bench().train("one", case.data, SMALL, asked={"a": {}, "b": {"rule": "cross"}})
    again = bench().train("one", case.data, SMALL, asked={"a": {}, "b": {"rule": "cross"}})
    assert len(done) == 1
    for way in ("a", "b"):
        np.testing.assert_array_equal(first.answers[way], again.answers[way])
        assert first.answers[way].shape == case.truth.shape
    assert again.seconds == first.seconds > again.steps_seconds > 0
    assert not first.run.exists()
    assert bench("--kept").train("one", case.data, SMALL | {"seed": 1}) is None
    bench().train("one", case.data.take([0, 2]), SMALL)
    assert len(done) == 2


@pytest.mark.slow
def test_supervised_training_takes_its_reference(case, bench):
    options = SMALL | {"method": "supervised"}
    rows = bench().scored(case, "oracle", options, reference=case.truth.astype(np.float32))
    assert rows["oracle"].keys() >= {"psnr_db", "weighted", "seconds", "steps"}


def test_tables_are_one_of_each_group_with_a_dash_for_a_gap():
    rows = {"raw": {"psnr_db": 20.0}, "thinning": {"psnr_db": 40.0, "setting": "1.5"}}
    results = [
        Result("SAXS, 0.1", "SAXS", 0.1, rows),
        Result("SAXS, 1", "SAXS", 1.0, {"raw": {"psnr_db": 24.0}}),
        Result("WAXD, 1", "WAXD", 1.0, {"raw": {"psnr_db": 21.0}}),
    ]
    text = markdown.compared(results, "psnr_db", best=max)
    assert "| SAXS | 0.1 | 1 |\n| --- | ---: | ---: |\n| raw | 20.00 | **24.00** |" in text
    assert "| thinning | **40.00 (1.5)** | - |\n\n| WAXD | 1 |" in text
    assert markdown.compared(results, "asymmetry") == "Not measured."


def test_pages_tell_command_date_commit_hardware_and_versions(tmp_path):
    making = markdown.Making("python -m benchmarks.choices --quick")
    markdown.write(tmp_path / "a.md", "choices", {"steps": 7, "tables": "| a |"}, making)
    page = (tmp_path / "a.md").read_text()
    title, made, command, *_ = page.split("\n\n")
    assert title == "# What the defaults were chosen by"
    assert re.fullmatch(r"Made on \d{4}-\d\d-\d\d by one command:", made)
    assert command == "    python -m benchmarks.choices --quick"
    assert "7 steps" in " ".join(page.split())
    for fact in ("commit ", " cores", "jax 0.", "flax ", "Python "):
        assert fact in page.partition("## Made with")[2]
    assert max(map(len, page.splitlines())) <= 120 or "cores" in max(page.splitlines(), key=len)


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_has_a_main_and_the_common_options(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(f"benchmarks.{name}").main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--quick", "--steps", "--folder", "--output"))


def test_absent_data_are_skipped_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cases, "DATA", tmp_path)
    for name in ("p40", "real_scan", "spectra", "select_spectra"):
        module = importlib.import_module(f"benchmarks.{name}")
        assert module.main(["--quick", "--output", str(tmp_path / "pages")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("skipped: ") for line in lines)


@pytest.fixture
def untrained(monkeypatch):
    """Nothing is trained: the answer is the mean of what was asked, or what was counted, plus a half."""

    def train(self, place, data, options, *, asked=None, answered=None, config="", **more):
        data = data if answered is None else answered
        one = options.get("method") in ("noise2noise", "deep_image_prior")
        one = one or (config and "method" not in options)
        counts = data.counts.mean(axis=0)[None] if one else data.counts
        answers = {way: counts + np.float32(0.5) for way in asked or {"": {}}}
        sigma = {way: np.ones_like(one) for way, one in answers.items()}
        return runner.Trained(answers, sigma, 2.0, 1.0, self.folder / place)

    monkeypatch.setattr(runner.Bench, "train", train)
    monkeypatch.setattr(runner, "steps_seconds", lambda log: 1.0)
    monkeypatch.setattr(runner, "WIDTHS", (1.0, 2.0))
    monkeypatch.setattr(runner, "SIGMAS", (1.0, 2.0))
    finetune = importlib.import_module("benchmarks.finetune")
    monkeypatch.setattr(finetune.Tuning, "applied", lambda self, base, case: case.data.counts)
    # All are imported before one is changed: they hand functions to each other.
    names = ("physics", "replicas", "ghosts")
    physics, replicas, ghosts = (importlib.import_module(f"benchmarks.{name}") for name in names)

    def answers_of(run, data):
        off = np.ones((4, *data.counts.shape), np.float16)
        return physics.Answered(data.counts + 0.5, np.ones(data.counts.shape), off)

    monkeypatch.setattr(physics, "answers_of", answers_of)

    def with_replicas(run, data, number):
        off = np.ones((number, *data.counts.shape), np.float16)
        return replicas.Answered(data.counts + 0.5, np.ones(data.counts.shape), off)

    monkeypatch.setattr(replicas, "answers_of", with_replicas)

    def without_stages(run, data, without):
        return data.counts + 0.5, np.ones(data.counts.shape)

    monkeypatch.setattr(ghosts, "answers_of", without_stages)


def page_of(name, folder):
    assert importlib.import_module(f"benchmarks.{name}").main(["--quick"]) == 0
    pages = (folder / "runs" / "quick" / "results").glob("*.md")
    return "\n".join(page.read_text() for page in pages)


LONG = ("spectra", "real_scan", "p40", "physics", "real", "before_after")  # real data, or many fits


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in LONG else [])
        for name in NAMES
        if name not in ("speed", "scale", "plan", "gallery")
    ],
)
def test_pages_hold_tables_of_what_was_answered(
    name, shared_data, tmp_path, monkeypatch, untrained
):
    monkeypatch.chdir(tmp_path)
    text = page_of(name, tmp_path)
    assert "| --- |" in text
    assert "{" not in text
    for image in re.findall(r"\(\.\./(images/\w+\.png)\)", text):
        assert (tmp_path / "runs" / "quick" / image).stat().st_size > 0


@pytest.mark.slow
def test_the_gallery_draws_small_pictures_and_says_what_they_show(
    shared_data, tmp_path, monkeypatch, untrained
):
    monkeypatch.chdir(tmp_path)
    gallery = importlib.import_module("benchmarks.gallery")
    monkeypatch.setattr(gallery, "raster_map", lambda bench: {"raw": 9.0, "denoised": 1.5})
    assert gallery.main(["--quick", "--data", str(shared_data)]) == 0
    folder = tmp_path / "runs" / "quick" / "docs"
    text = (folder / "gallery.md").read_text()
    assert "Raw directions are off by 9 degrees" in " ".join(text.split())
    assert "{" not in text
    names = re.findall(r"\((images/gallery-\w+\.png)\)", text)
    assert len(names) == 6
    for name in names[:-1]:
        assert 0 < (folder / name).stat().st_size < 200_000


def test_the_gallery_reads_a_direction_from_the_table_of_a_report(tmp_path):
    head = "where,quantity,unit,frame,raw,raw_sigma,denoised,reference"
    lines = ["peak,area,,0,1,1,1,1", "ring 1,direction,degrees,0,10,2,11,12"]
    lines += ["ring 1,direction,degrees,1,20,2,,22", "ring 2,direction,degrees,0,30,2,31,32"]
    (tmp_path / "table.csv").write_text("\n".join([head, *lines]))
    found = importlib.import_module("benchmarks.gallery").series_of(tmp_path / "table.csv")
    np.testing.assert_array_equal(found.raw, [10, 20])
    np.testing.assert_array_equal(found.denoised, [11, np.nan])
    assert found.title == "direction, ring 1"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["p40", "spectra", "plan", "replicas"]
)  # the others take minutes each
def test_quick_runs_train_and_write_their_pages(name, shared_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "| --- |" in page_of(name, tmp_path)


def test_the_scan_of_any_size_is_one_photon_per_pixel_as_detectors_write_it(tmp_path):
    path = scale.scan_of(tmp_path / "scan.h5", 3, (40, 52))
    data = smae_jax.read(f"{path}::/entry/data/data")
    assert data.counts.shape == (3, 40, 52)
    assert data.counts.mean() == pytest.approx(1.0, abs=0.5)
    source = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    found = scale.Free(outputs=2).apply({"params": {"factor": np.float32(2)}}, source)
    np.testing.assert_array_equal(found, 2 * source[..., ::2])


@pytest.mark.slow
def test_quick_scale_measures_memory_and_shares_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert scale.main(["--quick", "--only", "memory", "shards"]) == 0
    assert "3 shards: same bytes of data" in capsys.readouterr().out
