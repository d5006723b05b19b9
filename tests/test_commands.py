"""`simulate`, `inspect` and `demo` as functions: what they say, write and refuse."""

import json

import h5py
import matplotlib.image
import numpy as np
import pytest

from smae_jax.commands import demo as demo_module
from smae_jax.commands.demo import demo
from smae_jax.commands.inspect import inspect
from smae_jax.commands.simulate import simulate
from smae_jax.config import DataOptions, DemoConfig, InspectConfig, SimulateConfig, TrainConfig
from smae_jax.config_file import load
from smae_jax.io.results import read_result
from smae_jax.run import shipped
from smae_jax.run.data import read_data
from smae_jax.run.shipped import shipped_config


def refuse_to_speak(line):
    raise AssertionError(line)


def simulated(path, **settings):
    said = []
    simulate(SimulateConfig(output=str(path), size=48, **settings), said.append)
    return said


@pytest.mark.parametrize("suffix", ["h5", "npz"])
def test_simulated_scan_is_read_as_the_last_line_says(tmp_path, suffix):
    said = simulated(tmp_path / f"scan.{suffix}", frames=3, center_offset=(1.5, -2.0))
    words = said[-1].split()
    data, mask = words[words.index("--data.path") + 1], words[words.index("--data.mask") + 1]
    scan = read_data(DataOptions(path=data, mask=mask, center="25,21.5"))
    assert scan.counts.shape == (3, 48, 48)
    assert 0 < 1 - scan.valid.mean() < 0.3
    assert f"{100 * (1 - scan.valid.mean()):.1f} % masked" in said[0]
    assert said[1] == "centre y 25, x 21.5"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output": ""}, "--output"),
        ({"output": "scan.tif"}, "scan.tif"),
        ({"output": "taken.h5"}, "exists already"),
        ({"output": "new.h5", "photons": -1.0}, "photons"),
    ],
)
def test_simulation_that_cannot_be_is_refused(tmp_path, monkeypatch, settings, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.h5").write_text("mine")
    with pytest.raises(ValueError, match=message) as caught:
        simulate(SimulateConfig(**settings), refuse_to_speak)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["taken.h5"]


def test_inspection_says_what_was_found_and_draws_it(tmp_path):
    simulated(tmp_path / "scan.npz", frames=12, kind="waxd", photons=3.0)
    picture = tmp_path / "drawn" / "inspect.png"
    path, mask = f"{tmp_path}/scan.npz::counts", f"{tmp_path}/scan.npz::mask"
    said = []
    options = DataOptions(path=path, mask=mask)
    inspect(InspectConfig(data=options, output=str(picture)), said.append)
    assert said[0].startswith("scan: 12 frames of 48 x 48")
    assert any("% of pixels masked" in line and "user" in line for line in said)
    assert any("centre: y 23.5, x 23.5" in line for line in said)
    assert not any("WARNING" in line for line in said)
    assert min(matplotlib.image.imread(picture).shape[:2]) > 800

    wrong = DataOptions(path=path, mask=mask, center="27,23.5")
    said = []
    inspect(InspectConfig(data=wrong, output=""), said.append)
    assert any(line.startswith("WARNING") and "does not hold" in line for line in said)
    assert not any("drawn" in line for line in said)


@pytest.mark.parametrize(
    ("output", "message"), [("a.gif", "ending in .png"), ("taken.png", "exists already")]
)
def test_inspection_refuses_its_picture_before_reading(tmp_path, monkeypatch, output, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.png").write_text("mine")
    config = InspectConfig(data=DataOptions(path="nothing.tif"), output=output)
    with pytest.raises(ValueError, match=message):
        inspect(config, refuse_to_speak)


def test_inspection_needs_a_path():
    with pytest.raises(ValueError, match=r"--data\.path"):
        inspect(InspectConfig(), refuse_to_speak)


def test_shipped_config_is_found_in_a_wheel_and_in_a_checkout(tmp_path, monkeypatch):
    module = tmp_path / "smae_jax" / "run" / "shipped.py"
    monkeypatch.setattr(shipped, "__file__", str(module))
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "demo.toml").write_text("")
    assert shipped_config("demo") == tmp_path / "configs" / "demo.toml"
    (tmp_path / "smae_jax" / "configs").mkdir(parents=True)
    inside = tmp_path / "smae_jax" / "configs" / "demo.toml"
    inside.write_text("")
    assert shipped_config("demo") == inside
    with pytest.raises(ValueError, match=r"'other'.*known: demo"):
        shipped_config("other")


def test_demo_config_loads():
    config = load(shipped_config("demo"), TrainConfig)
    assert (config.run, config.data.path) == ("", "")


@pytest.fixture
def small_demo(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_module, "FRAMES", 4)
    monkeypatch.setattr(demo_module, "SIZE", 40)
    config = tmp_path / "small.toml"
    config.write_text(
        "[train]\nsteps = 2\nbatch_size = 8\npatch = 16\nvalidate_every = 1\n"
        "validation_batches = 1\nlog_every = 1\n[unet]\nwidths = [4]\nblocks = 0\n"
    )
    return DemoConfig(run=str(tmp_path / "demo"), config=str(config), photons=5.0)


def test_demo_writes_data_table_and_pictures(tmp_path, small_demo):
    folder, said = tmp_path / "demo", []
    demo(small_demo, said.append)
    with h5py.File(folder / "denoised.h5") as file, h5py.File(folder / "scan.h5") as scan:
        denoised, counts = file["entry/data/data"][()], scan["entry/data/data"][()]
        valid = scan["entry/mask"][()] == 0
    assert denoised.shape == (4, 40, 40)
    assert denoised[:, valid].sum() == pytest.approx(counts[:, valid].sum(), rel=5e-3)
    rows = json.loads((folder / "table.json").read_text())
    assert len(rows) == 4
    assert rows[3]["psnr_db"] is not None
    table = (folder / "table.md").read_text()
    assert all(row["name"] in table for row in rows)
    assert any("thinning" in line and f"{rows[3]['psnr_db']:.2f}" in line for line in said)
    for name in ("before_denoised_truth.png", "loss.png"):
        assert matplotlib.image.imread(folder / "figures" / name)[..., :3].std() > 0.02
    seconds = json.loads((folder / "demo.json").read_text())["seconds"]
    assert seconds["all"] >= seconds["trained"] > 0

    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="--overwrite"):
        demo(small_demo, refuse_to_speak)
    demo_module.clear(folder)
    assert [p.name for p in folder.iterdir()] == ["notes.txt"]


def test_demo_does_not_replace_what_no_demo_made(tmp_path, small_demo):
    folder = tmp_path / "demo"
    (folder / "train").mkdir(parents=True)
    (folder / "scan.h5").write_text("mine")
    demo_module.check_folder(tmp_path / "new", overwrite=False)
    for overwrite, message in ((False, "--overwrite"), (True, "not made by a demo")):
        config = DemoConfig(run=small_demo.run, config=small_demo.config, overwrite=overwrite)
        with pytest.raises(ValueError, match=message):
            demo(config, refuse_to_speak)
    assert (folder / "scan.h5").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="not made by a demo"):
        demo_module.check_folder(tmp_path / "file", overwrite=True)


def test_demo_with_wrong_options_touches_nothing(tmp_path, small_demo):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "demo.json").write_text("{}")
    for changes, message in (
        ({"config": str(tmp_path / "no.toml")}, "no.toml"),
        ({"config": small_demo.config, "photons": -3.0}, "photons"),
    ):
        config = DemoConfig(run=str(folder), overwrite=True, **changes)
        with pytest.raises(ValueError, match=message):
            demo(config, refuse_to_speak)
    assert (folder / "demo.json").read_text() == "{}"


def test_array_of_denoised_counts_keeps_its_gaps(tmp_path):
    path = tmp_path / "denoised.h5"
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = np.array([[[1.5, np.nan]]], np.float32)
        file["entry/data/filled"] = np.array([[1, 0]], np.uint8)
    counts, _, filled = read_result(str(path))
    assert np.isnan(counts[0, 0, 1])
    assert filled.tolist() == [[[True, False]]]
