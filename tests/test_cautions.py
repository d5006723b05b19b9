"""What a person should be warned of, and what is refused before the work."""

import dataclasses
import errno
import os

import h5py
import numpy as np
import pytest

from smae_jax.cautions import cautions, counted, not_counts
from smae_jax.config import DataOptions
from smae_jax.errors import UserError
from smae_jax.io.atomic import refuse_unwritable
from smae_jax.io.monitor import with_monitor
from smae_jax.measurements import Measurements, Origin
from smae_jax.run.data import read_data
from smae_jax.survey import masked


@pytest.fixture
def data():
    counts = np.random.default_rng(4).poisson(2.0, (6, 20, 25)).astype(np.int32)
    return Measurements(counts, np.ones((1, 20, 25), np.float32), origin=Origin(masked_by={}))


def replaced(data, **changes):
    return dataclasses.replace(data, **changes)


def test_sound_measurements_are_warned_of_in_no_word(data):
    assert cautions(data, polarity="bad") == []
    assert not_counts(data, loss="poisson") == []


@pytest.mark.parametrize(("polarity", "other"), [("bad", "good"), ("good", "bad")])
@pytest.mark.parametrize("options", ["--data.", "--"])
def test_a_mask_of_the_other_polarity_is_told_with_what_mends_it(data, polarity, other, options):
    valid = np.zeros(data.spatial, bool)
    valid[:4] = True  # 20 %
    (line,) = cautions(masked(data, valid), polarity=polarity, options=options)
    assert line.startswith("WARNING: 80 % of the pixels are masked")
    assert line.endswith(f"{options}mask-polarity {other} would mask 20 %")
    assert "polarity" not in cautions(masked(data, valid))[0]  # a run's own mask has none
    assert cautions(masked(data, ~valid), polarity=polarity) == []


def test_a_mask_beside_detector_gaps_counts_what_the_other_polarity_would_leave(data):
    gap = np.ones(data.spatial, bool)
    gap[:5] = False  # 25 %
    valid = np.zeros(data.spatial, bool)
    valid[4:8] = True  # 5 % of the rows lie in the gap, 15 % do not
    found = masked(masked(data, gap, cause="detector"), valid)
    (line,) = cautions(found, polarity="bad")
    assert "85 % of the pixels are masked, 60 % by the mask" in line
    assert "good would mask 40 %" in line


def test_much_masked_by_the_detector_is_told_by_its_cause(data):
    valid = np.zeros(data.spatial, bool)
    valid[:4] = True
    (line,) = cautions(masked(data, valid, cause="detector"), polarity="bad")
    assert "80 % by cause detector" in line
    assert "polarity" not in line


def test_frames_that_are_all_zero_are_named(data):
    data.counts[[1, 4]] = 0
    (line,) = cautions(data)
    assert "2 of 6 frames (number 1, 4, counted from 0) are all zero" in line
    assert "--data.frames" in line
    data.counts[4, 0, 0] = 1
    assert "1 of 6 frames (number 1, counted from 0) is all zero" in cautions(data)[0]


def test_few_photons_leave_frames_empty_and_that_is_no_fault(data):
    few = np.zeros_like(data.counts)
    few[[0, 2], 3, 4] = 1
    assert cautions(replaced(data, counts=few)) == []


def test_frames_without_a_pixel_are_named(data):
    exposure = np.ones(data.counts.shape, np.float32)
    exposure[5] = 0
    lines = cautions(replaced(data, exposure=exposure))
    assert any("1 of 6 frames (number 5, counted from 0) is masked altogether" in x for x in lines)


@pytest.mark.parametrize(("last", "told"), [(9.0, False), (11.0, True), (200.0, True)])
def test_unlike_exposures_are_told(data, last, told):
    origin = dataclasses.replace(data.origin, exposure_s=(1.0,) * 5 + (last,))
    lines = cautions(replaced(data, origin=origin))
    assert bool(lines) == told
    assert not told or f"from 1 to {last:.3g} s" in lines[0]
    light = np.ones((6, 20, 25), np.float32)
    light[5] = last
    assert bool(cautions(replaced(data, exposure=light))) == told
    even = replaced(
        data, exposure=np.repeat([[[1.0]], [[2.0]]], 3, 0).astype(np.float32) * light[:1]
    )
    assert cautions(replaced(even, origin=origin)) == []  # a monitor told them apart


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan])
def test_exposures_that_are_none_are_passed_over(data, bad):
    origin = dataclasses.replace(data.origin, exposure_s=(1.0,) * 5 + (bad,))
    assert cautions(replaced(data, origin=origin)) == []


@pytest.mark.parametrize("shape", [(12, 12), (8, 256), (256, 8)])
def test_small_frames_are_called_small(shape):
    counts = np.random.default_rng(1).poisson(3.0, (4, *shape)).astype(np.int32)
    (line,) = cautions(Measurements(counts, np.ones((1, *shape), np.float32)))
    assert f"frames of {shape[0]} x {shape[1]} pixels are small" in line


@pytest.mark.slow
def test_small_frames_are_named_small_by_train_and_inspect(smae, tmp_path):
    y, x = np.mgrid[:12, :12]
    rate = 30 * np.exp(-((y - 5.5) ** 2 + (x - 5.5) ** 2) / 9) + 1
    np.save(tmp_path / "tiny.npy", np.random.default_rng(1).poisson(rate, (4, 12, 12)))
    answer = smae("inspect", "--data.path", "tiny.npy", "--output", "")
    assert answer.status == 0
    assert "12 x 12 pixels are small" in answer.out
    few = ("--train.steps", 1, "--unet.widths", 8, "--unet.blocks", 0, "--train.validation", "none")
    answer = smae(
        "train", "--data.path", "tiny.npy", "--run", "run", "--data.center", "5.5,5.5", *few
    )
    assert answer.status == 2
    assert "too small" in answer.err
    answer = smae(
        "train", "--data.path", "tiny.npy", "--run", "run", "--thinning.partner", "none", *few
    )
    assert answer.status in (0, 2)
    assert "small" in answer.out + answer.err


@pytest.mark.parametrize(
    ("number", "what", "words"),
    [
        (1, "frame", "1 frame"),
        (1, "frames", "1 frame"),
        (0, "frame", "0 frames"),
        (3, "spectra", "3 spectra"),
        (1, "spectra", "1 spectrum"),
        (2, "volumes", "2 volumes"),
    ],
)
def test_numbers_go_with_their_nouns(number, what, words):
    assert counted(number, what) == words


def test_values_that_are_no_counts_are_told_with_what_fits(data):
    below = replaced(data, counts=data.counts - 1)
    note, warning = not_counts(below, loss="poisson+0.1*tv")
    assert "no photon counts" in note
    assert "--loss" in note
    assert warning.startswith("WARNING: --loss poisson+0.1*tv")
    assert len(not_counts(below, loss="mse")) == 1
    assert len(not_counts(below, loss="auto")) == 2  # as of photons, where nothing is measured
    assert len(not_counts(below, loss="auto", noise_measured=True)) == 1
    decimal = replaced(data, counts=data.counts.astype(np.float32) * np.float32(0.37))
    assert "not all are whole" in not_counts(decimal, loss="poisson")[0]


@pytest.mark.slow
def test_a_run_of_spectra_refuses_frames_of_a_detector(smae, small, tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "spectra.npy", rng.poisson(5, (4, 64)))
    np.save(tmp_path / "frames.npy", rng.poisson(5, (3, 20, 25)))
    kind = ("--data.dimensions", 1, "--method", "noise2noise", "--model", "dncnn", "--loss", "auto")
    assert smae("train", "--data.path", "spectra.npy", "--run", "run", *kind, *small).status == 0
    answer = smae("infer", "--run", "run", "--input", "frames.npy", "--output", "out.npy")
    assert answer.status == 2
    assert "frames.npy: an array of shape (3, 20, 25) without an axis" in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "out.npy").exists()
    np.save(tmp_path / "map.npy", rng.poisson(5, (2, 3, 64)))  # a map of such spectra is fine
    assert smae("infer", "--run", "run", "--input", "map.npy", "--output", "o.npy").status == 0


def test_infer_says_what_it_was_given_and_reads_marks_as_the_run_did(
    smae, trained_run, small_scan, tmp_path
):
    counts = np.load(small_scan)["counts"][:1].astype(np.int32)
    counts[0, 5:7] = -1
    np.save(tmp_path / "one.npy", counts)
    given = (
        "infer",
        "--run",
        trained_run,
        "--input",
        "one.npy",
        "--overwrite",
        "--output",
        "o.npy",
    )
    answer = smae(*given)
    assert "1 frame;" in answer.out
    assert "1 frames" not in answer.out + answer.err
    assert "5.88 % gap: whole negative values (-1) (--marks signed keeps them)" in answer.out
    assert "gap" not in smae(*given, "--marks", "none").out
    assert smae(*given, "--marks", "nothing").status == 2


# --- places ---------------------------------------------------------------------------------------


def test_a_folder_without_permission_is_refused_before_the_work(tmp_path, monkeypatch):
    locked = tmp_path / "locked"
    locked.mkdir()
    mkdir = os.mkdir

    def refusing(path, *mode):  # whoever runs the tests may be allowed everything
        if os.path.dirname(path) == str(locked):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        mkdir(path, *mode)

    monkeypatch.setattr(os, "mkdir", refusing)
    for output in (locked / "a.h5", locked / "deep" / "er" / "a.h5", f"{locked}/frames/"):
        with pytest.raises(UserError, match="no permission to write there") as refused:
            refuse_unwritable(output)
        assert "\n" not in str(refused.value)
    refuse_unwritable(tmp_path / "new" / "a.h5")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file stands where a folder is needed"):
        refuse_unwritable(tmp_path / "file" / "a.h5")
    assert sorted(os.listdir(tmp_path)) == ["file", "locked"]
    with pytest.raises(UserError, match="File name too long"):
        refuse_unwritable(tmp_path / f"{'a' * 252}.h5")


PLACES = [
    ("infer", "--run", "run", "--input", "gone.npy", "--output", "{}/a.h5"),
    ("infer", "--run", "r", "--input", "g.npy", "--output", "a.h5", "--figure", "{}/a.png"),
    ("evaluate", "--run", "run", "--input", "gone.npy", "--output", "{}/e"),
    ("inspect", "--data.path", "gone.npy", "--output", "{}/a.png"),
    ("fill", "--input", "gone.npy", "--output", "{}/new/a.h5"),
    ("simulate", "--output", "{}/a.h5"),
    ("train", "--data.path", "gone.npy", "--run", "{}/run"),
]
"""Commands that write to a place, and read what is not there."""


def refused_at(smae, place, arguments):
    """Give a command a place that takes no files, and look that it is refused for that, in one line."""
    answer = smae(*(word.format(place) for word in arguments))
    assert answer.status == 2
    assert place in answer.err
    assert "gone" not in answer.err
    assert len(answer.err.splitlines()) == 1


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc")
@pytest.mark.parametrize("arguments", PLACES)
def test_a_place_that_takes_no_files_is_refused_before_the_work(smae, monkeypatch, arguments):
    """Root has all permissions in /proc, and makes no file there."""
    monkeypatch.setattr("smae_jax.simulate.simulate", None)  # the work of one of them
    refused_at(smae, "/proc", arguments)


@pytest.mark.parametrize("arguments", PLACES)
def test_every_command_looks_at_its_output_before_its_input(smae, monkeypatch, tmp_path, arguments):
    monkeypatch.setattr("smae_jax.simulate.simulate", None)
    (tmp_path / "file").write_text("")
    refused_at(smae, "file", arguments)


# --- frames and monitors --------------------------------------------------------------------------


@pytest.fixture
def scan(tmp_path, data):
    path = str(tmp_path / "scan.npy")
    np.save(path, data.counts)
    return path


def test_frames_of_a_scan_are_chosen_by_their_own_word(scan, data):
    chosen = read_data(DataOptions(path=scan, center="9,12", frames="0:6:2"))
    np.testing.assert_array_equal(chosen.counts, data.counts[::2])
    with pytest.raises(UserError, match=r"--data\.frames: there is no frame 6, there are 6"):
        read_data(DataOptions(path=scan, center="9,12", frames="6"))
    with pytest.raises(UserError, match=r"--data\.frames and --data\.repeats"):
        DataOptions(path=scan, frames="0", repeats="1")


@pytest.mark.parametrize("kind", ["h5", "npy", "txt"])
def test_monitor_counts_are_exposures_and_counts_stay_counts(tmp_path, scan, data, kind):
    light = np.array([100.0, 50, 100, 200, 100, 50])
    path = str(tmp_path / f"monitor.{kind}")
    if kind == "h5":
        with h5py.File(path, "w") as file:
            file["entry/monitor"] = light.reshape(2, 3)  # a raster
        path += "::/entry/monitor"
    elif kind == "npy":
        np.save(path, light)
    else:
        np.savetxt(path, light, header="monitor")
    found = read_data(DataOptions(path=scan, center="9,12", monitor=path))
    np.testing.assert_allclose(found.frame_exposure, 6 * light / light.sum(), rtol=1e-6)
    np.testing.assert_array_equal(found.counts, data.counts)
    assert found.are_counts
    assert any("exposure of each frame by the monitor" in note for note in found.origin.notes)
    some = read_data(DataOptions(path=scan, center="9,12", monitor=path, frames="1,3"))
    np.testing.assert_allclose(some.frame_exposure, [0.4, 1.6], rtol=1e-6)
    np.testing.assert_array_equal(some.counts, data.counts[[1, 3]])


def test_a_frame_without_monitor_counts_is_left_out_and_said(tmp_path, data):
    np.save(tmp_path / "m.npy", [1.0, 0, np.nan, 1, 1, -1])
    found = with_monitor(data, str(tmp_path / "m.npy"))
    assert not found.full_exposure[[1, 2, 5]].any()
    assert not found.counts[[1, 2, 5]].any()
    assert (found.full_exposure[[0, 3, 4]] == 1).all()
    assert "3 of 6 have none" in found.origin.notes[-1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.ones(5), "one number for each of 6 frames, got shape \\(5,\\)"),
        (np.zeros(6), "above 0, got none"),
        (np.array(["a"] * 6), "cannot be read as numbers"),
        (None, "there is no file"),
    ],
)
def test_a_monitor_that_is_none_is_refused_in_one_line(tmp_path, data, content, said):
    if content is not None:
        np.save(tmp_path / "m.npy", content)
    with pytest.raises(UserError, match=f"--data.monitor .*{said}") as refused:
        with_monitor(data, str(tmp_path / "m.npy"))
    assert "\n" not in str(refused.value)


def test_a_monitor_that_the_file_does_not_hold_is_refused(tmp_path, data):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_group("entry")
    for inside in ("", "::/entry", "::/gone"):
        with pytest.raises(UserError, match="holds no dataset"):
            with_monitor(data, f"{tmp_path}/m.h5{inside}")
