"""Every mistake a user can make ends in one line that names it, status 2, and nothing half-written."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
import tifffile

from smae_jax import cli
from smae_jax.io import atomic, writing
from smae_jax.run import hooks

ROOT = Path(__file__).resolve().parents[1]
SHAPE = (34, 30)  # of `small_scan`


def assert_one_line(answer, *said):
    """Status 2, one line on standard error that says all of `said`, and no trace of Python."""
    assert answer.status == 2, answer
    lines = [line for line in answer.err.splitlines() if line.strip()]
    assert len(lines) == 1, answer.err
    for word in said:
        assert word in lines[0], (word, lines[0])
    assert "Traceback" not in answer.err
    assert lines[0].startswith("smae-jax ")


def last_line(answer):
    """The answer without the progress bar of a training that had begun."""
    lines = [line for line in re.split(r"[\r\n]", answer.err) if line.strip()]
    assert not any("Traceback" in line for line in lines)
    return answer._replace(err=lines[-1])


@pytest.fixture
def frames():
    return np.random.default_rng(0).poisson(5, (3, *SHAPE)).astype(np.int32)


# --- frames and masks -----------------------------------------------------------------------------


def no_file(tmp_path, frames):
    return "nowhere.tif", ["nowhere.tif", "no such file"]


def empty_glob(tmp_path, frames):
    return "scan/*.tif", ["scan/*.tif", "no file matches"]


def empty_folder(tmp_path, frames):
    (tmp_path / "scan").mkdir()
    return "scan", ["scan", "no supported frames"]


def wrong_dataset(tmp_path, frames):
    with h5py.File("scan.h5", "w") as file:
        file["entry/data/data"] = frames
    return "scan.h5::/entry/dta", ["scan.h5", "/entry/dta", "/entry/data/data"]


def wrong_array(tmp_path, frames):
    np.savez("scan.npz", counts=frames)
    return "scan.npz::count", ["scan.npz", "count"]


def unlike_frames(tmp_path, frames):
    tifffile.imwrite("a0.tif", frames[0])
    tifffile.imwrite("a1.tif", frames[0, :-2])
    return "a*.tif", ["a0.tif", "a1.tif", "(34, 30)", "(32, 30)"]


def text_named_tif(tmp_path, frames):
    (tmp_path / "a.tif").write_text("not a picture at all")
    return "a.tif", ["a.tif"]


def truncated_tif(tmp_path, frames):
    tifffile.imwrite("a.tif", frames, photometric="minisblack")
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: len(data) // 2])
    return "a.tif", ["a.tif"]


def truncated_hdf5(tmp_path, frames):
    with h5py.File("a.h5", "w") as file:
        file["entry/data/data"] = frames
    data = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(data[: len(data) // 2])
    return "a.h5::/entry/data/data", ["a.h5"]


def complex_numbers(tmp_path, frames):
    np.save("a.npy", frames + 1j)
    return "a.npy", ["a.npy", "complex"]


def strings(tmp_path, frames):
    np.save("a.npy", frames.astype("U4"))
    return "a.npy", ["a.npy", "text"]


def python_objects(tmp_path, frames):
    np.save("a.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    return "a.npy", ["a.npy"]


def all_zero(tmp_path, frames):
    np.save("a.npy", 0 * frames)
    return "a.npy", ["a.npy", "shutter"]


def all_nan(tmp_path, frames):
    np.save("a.npy", np.full(frames.shape, np.nan, np.float32))
    return "a.npy", ["a.npy", "no usable pixel"]


def constant(tmp_path, frames):
    np.save("a.npy", 0 * frames + 3)
    return "a.npy", ["centre"]


def one_axis(tmp_path, frames):
    np.save("a.npy", frames.ravel())
    return "a.npy", ["a.npy", "height, width"]


def unknown_suffix(tmp_path, frames):
    (tmp_path / "a.docx").write_text("x")
    return "a.docx", ["a.docx", ".docx"]


def nothing(tmp_path, frames):
    return "", ["--data.path"]


FRAMES = [
    *(no_file, empty_glob, empty_folder, wrong_dataset, wrong_array, unlike_frames),
    *(text_named_tif, truncated_tif, truncated_hdf5, complex_numbers, strings, python_objects),
    *(all_zero, all_nan, constant, one_axis, unknown_suffix, nothing),
]


@pytest.mark.parametrize("make", FRAMES, ids=lambda make: make.__name__)
def test_frames_that_cannot_be_trained_on(smae, tmp_path, frames, make):
    path, said = make(tmp_path, frames)
    before = sorted(tmp_path.rglob("*"))
    assert_one_line(smae("train", "--run", "runs/new", "--data.path", path), *said)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("make", FRAMES, ids=lambda make: make.__name__)
def test_frames_that_cannot_be_denoised(smae, tmp_path, frames, make, trained_run):
    if make is constant:
        pytest.skip("a constant frame has no centre to be found, but the run knows its own")
    path, said = make(tmp_path, frames)
    before = sorted(tmp_path.rglob("*"))
    said = ["--input" if word == "--data.path" else word for word in said]
    answer = smae("infer", "--run", trained_run, "--input", path, "--output", "out/a.h5")
    assert_one_line(answer, *said)
    assert sorted(tmp_path.rglob("*")) == before


def mask_of_another_shape(valid):
    return valid[:, :-1], ["(34, 29)", "(34, 30)"]


def transposed_mask(valid):
    return valid.T, ["transposed"]


def everything_bad(valid):
    return np.ones_like(valid), ["every pixel is bad"]


def stack_of_masks(valid):
    return np.stack([valid, valid]), ["one mask"]


@pytest.mark.parametrize(
    "make",
    [mask_of_another_shape, transposed_mask, everything_bad, stack_of_masks],
    ids=lambda make: make.__name__,
)
def test_masks_that_do_not_fit(smae, tmp_path, small_scan, trained_run, make):
    mask, said = make(np.load(small_scan)["mask"])
    np.save("mask.npy", mask)
    answer = smae(
        *("train", "--run", "new", "--data.path", f"{small_scan}::counts"),
        *("--data.mask", "mask.npy"),
    )
    assert_one_line(answer, "mask.npy", *said)
    answer = smae(
        *("infer", "--run", trained_run, "--input", f"{small_scan}::counts"),
        *("--output", "a.npy", "--mask", "mask.npy"),
    )
    assert_one_line(answer, "mask.npy", *said)
    assert os.listdir(tmp_path) == ["mask.npy"]


def test_missing_mask(smae, tmp_path, small_scan):
    answer = smae(
        "train", "--run", "new", "--data.path", f"{small_scan}::counts", "--data.mask", "m.tif"
    )
    assert_one_line(answer, "m.tif", "no such file")
    assert os.listdir(tmp_path) == []


# --- options --------------------------------------------------------------------------------------

OPTIONS = [
    ("--data.center", "inf,3", ["--data.center", "y,x"]),
    ("--data.geometry", "none.poni", ["--data.geometry none.poni", "no such file"]),
    ("--data.center", "17", ["--data.center", "y,x"]),
    ("--data.crop", "7", ["--data.crop"]),
    ("--train.steps", "many", ["--train.steps", "many"]),
    ("--train.steps", "0", ["--train.steps", "1 or more"]),
    ("--train.devices", "9", ["--train.devices 9", "8"]),
    ("--train.learning-rate", "-1", ["--train.learning-rate"]),
    ("--train.patch", "5", ["--train.patch"]),
    ("--train.stepz", "5", ["--train.stepz", "--train.steps"]),
    ("--model", "alexnet", ["--model", "alexnet", "unet"]),
    ("--method", "magic", ["--method", "magic", "smae"]),
    ("--loss", "msee", ["msee", "mse"]),
    ("--loss", "mse+", ["mse+"]),
    ("--loss", "tv", ["tv"]),
    ("--loss", "no_such_module:mine", ["no_such_module"]),
    ("--loss", "smae_jax.losses:nothing", ["smae_jax.losses", "nothing"]),
    ("--data.mask-polarity", "odd", ["--data.mask-polarity", "bad", "good"]),
    ("--unet.widths", "0", ["--unet.widths"]),
    ("--seed", "1.5", ["--seed", "1.5"]),
    ("--config", "none.toml", ["none.toml"]),
]


@pytest.mark.parametrize(("option", "value", "said"), OPTIONS)
def test_options_that_make_no_sense(smae, tmp_path, small_scan, option, value, said):
    answer = smae("train", "--run", "new", "--data.path", f"{small_scan}::counts", option, value)
    assert_one_line(answer, *said)
    assert os.listdir(tmp_path) == []


def test_a_batch_that_the_devices_asked_for_cannot_share(smae, tmp_path, small_scan):
    asked = ("--train.batch-size", "3", "--train.devices", "8")
    answer = smae("train", "--run", "new", "--data.path", f"{small_scan}::counts", *asked)
    assert_one_line(answer, "--train.batch-size 3", "8", "--train.devices")
    assert os.listdir(tmp_path) == []


def test_a_centre_that_leaves_no_partner(smae, tmp_path, small_scan):
    data = ("--data.path", f"{small_scan}::counts", "--data.center", "0,0")
    assert_one_line(smae("train", "--run", "new", "--method", "smae", *data), "partner")
    assert os.listdir(tmp_path) == []


def test_the_published_rule_belongs_to_its_method(smae, tmp_path, small_scan):
    data = ("--data.path", f"{small_scan}::counts", "--smae.reference")
    answer = smae("train", "--run", "new", *data)
    assert_one_line(answer, "--smae.reference", "thinning", "--method smae")
    assert os.listdir(tmp_path) == []


def test_ensemble_larger_than_trained(smae, tmp_path, small_scan):
    data = ("--data.path", f"{small_scan}::counts")
    answer = smae(
        "train", "--run", "new", *data, "--data.augment", "none", "--predict.ensemble", "flips"
    )
    assert_one_line(answer, "--predict.ensemble", "--data.augment")


def test_one_frame_cannot_be_held_out(smae, tmp_path, frames):
    np.save("one.npy", frames[0])
    arguments = ("--data.path", "one.npy", "--data.center", "17,14")
    answer = smae("train", "--run", "new", *arguments, "--train.validation", "frames")
    assert_one_line(answer, "--train.validation", "2 frames")
    assert os.listdir(tmp_path) == ["one.npy"]


def test_unquoted_pattern_is_recognised(smae, tmp_path):
    answer = smae("train", "--run", "new", "--data.path", *(f"scan_{i:05}.tif" for i in range(200)))
    assert_one_line(answer, "quote")
    assert len(answer.err) < 300


def test_no_run_folder_given(smae, small_scan):
    assert_one_line(smae("train", "--data.path", f"{small_scan}::counts"), "--run")


def test_unknown_command(smae):
    assert_one_line(smae("trian"), "trian", "train")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train]\nstep = 3\n", ["mine.toml", "train.step", "train.steps"]),
        ("[trian]\nsteps = 3\n", ["mine.toml", "trian", "train"]),
        ("train = 3\n", ["mine.toml", "train", "[train]"]),
        ('[train]\nsteps = "many"\n', ["mine.toml", "train.steps", "int", "many"]),
        ("[train]\nsteps = 3.5\n", ["mine.toml", "train.steps", "3.5"]),
        ("[train]\nsteps = true\n", ["mine.toml", "train.steps", "True"]),
        ('model = "alexnet"\n', ["mine.toml", "model", "unet"]),
        ("[unet]\nwidths = 3\n", ["mine.toml", "unet.widths", "list"]),
        ("[train]\nlearning_rate = -1.0\n", ["mine.toml", "--train.learning-rate"]),
        ("steps: 3", ["mine.toml", "TOML"]),
    ],
)
def test_configs_that_cannot_be_read(smae, tmp_path, small_scan, text, said):
    (tmp_path / "mine.toml").write_text(text)
    arguments = ("--data.path", f"{small_scan}::counts", "--config", "mine.toml")
    assert_one_line(smae("train", "--run", "new", *arguments), *said)
    assert os.listdir(tmp_path) == ["mine.toml"]


def test_config_of_bytes_that_are_no_text(smae, tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    assert_one_line(smae("train", "--run", "new", "--config", "mine.toml"), "mine.toml", "TOML")
    assert_one_line(smae("train", "--run", "new", "--config", tmp_path), str(tmp_path))


# --- run folders and checkpoints ------------------------------------------------------------------


def test_run_folder_that_exists(smae, trained_run, small_scan):
    before = sorted(trained_run.rglob("*"))
    answer = smae("train", "--run", trained_run, "--data.path", f"{small_scan}::counts")
    assert_one_line(answer, str(trained_run), "exists", "--resume", "--overwrite")
    assert sorted(trained_run.rglob("*")) == before


def test_overwrite_replaces_a_run_and_nothing_else(smae, tmp_path, small, small_scan, trained_run):
    data = ("--data.path", f"{small_scan}::counts", "--data.center", "17.5,14")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("ten years")
    (tmp_path / "file").write_text("mine")
    for mine in ("thesis", "file"):
        answer = smae("train", "--run", mine, "--overwrite", *data)
        assert_one_line(answer, mine, "not a run")
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "ten years"
    assert (tmp_path / "file").read_text() == "mine"

    shutil.copytree(trained_run, tmp_path / "run")
    (tmp_path / "run" / "old").write_text("x")
    answer = smae("train", "--run", "run", "--overwrite", *data, "--data.crop", "3")
    assert answer.status == 2
    assert (tmp_path / "run" / "old").exists()  # a mistake leaves the old run as it is
    assert smae("train", "--run", "run", "--overwrite", *data, *small).status == 0
    assert not (tmp_path / "run" / "old").exists()


@pytest.mark.parametrize("make", ["missing", "empty", "file"])
def test_what_is_no_run_cannot_infer(smae, tmp_path, small_scan, make):
    if make == "empty":
        (tmp_path / "run").mkdir()
    elif make == "file":
        (tmp_path / "run").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    answer = smae("infer", "--run", "run", "--input", f"{small_scan}::counts", "--output", "a.npy")
    assert_one_line(answer, "--run run", "smae-jax train")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def run(trained_run, tmp_path):
    """A copy of the trained run, to be damaged."""
    shutil.copytree(trained_run, tmp_path / "run")
    return tmp_path / "run"


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_checkpoint_of_another_architecture(smae, run, small_scan):
    edit(run / "config.toml", "widths = [8]", "widths = [12]")
    answer = smae("infer", "--run", run, "--input", f"{small_scan}::counts", "--output", "a.npy")
    assert_one_line(answer, "best/", "parameter 'network/", "(8,)", "(12,)", "--model")
    answer = last_line(smae("train", "--run", run, "--resume", "--train.steps", "6"))
    assert_one_line(answer, "checkpoints/4", "network/", "(8,)", "(12,)")
    edit(run / "config.toml", 'model = "unet"', 'model = "sedcnn4"')
    edit(run / "config.toml", 'method = "thinning"', 'method = "smae"')
    answer = smae("infer", "--run", run, "--input", f"{small_scan}::counts", "--output", "a.npy")
    assert_one_line(answer, "best/", "parameter", "absent")
    assert not Path("a.npy").exists()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run / "survey.json").unlink(), "survey.json"),
        (lambda run: (run / "survey.json").write_text("{}"), "survey.json"),
        (lambda run: (run / "mask.npz").write_bytes(b"PK"), "mask.npz"),
        (lambda run: shutil.rmtree(run / "best"), "best"),
        (lambda run: shutil.rmtree(next((run / "best").iterdir()) / "parameters"), "best"),
        (lambda run: shutil.rmtree(next((run / "best").glob("*/parameters/d"))), "best"),
    ],
)
def test_damaged_run(smae, run, small_scan, damage, said):
    damage(run)
    answer = smae("infer", "--run", run, "--input", f"{small_scan}::counts", "--output", "a.npy")
    assert_one_line(answer, said)
    assert not Path("a.npy").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--checkpoint", "3"), ["--checkpoint 3", "best, last"]),
        (("--checkpoint", "newest"), ["--checkpoint newest"]),
        (("--ensemble", "d5"), ["--ensemble", "d5"]),
        (("--figure", "a.jpg"), ["--figure a.jpg", ".png"]),
        (("--rule", "best"), ["--rule", "direct"]),
    ],
)
def test_inference_options_that_make_no_sense(smae, tmp_path, trained_run, small_scan, given, said):
    data = ("--input", f"{small_scan}::counts", "--output", "a.npy")
    assert_one_line(smae("infer", "--run", trained_run, *data, *given), *said)
    assert os.listdir(tmp_path) == []


def test_ensemble_larger_than_the_run_was_trained_with(smae, run, small_scan):
    edit(run / "config.toml", 'augment = "d4"', 'augment = "flips"')
    data = ("--input", f"{small_scan}::counts", "--output", "a.npy")
    answer = smae("infer", "--run", run, *data, "--ensemble", "d4")
    assert_one_line(answer, "ensemble 'd4'", "flips")
    assert not Path("a.npy").exists()


def test_frames_of_another_detector(smae, tmp_path, trained_run, frames):
    np.save("other.npy", frames[:, :-1])
    answer = smae("infer", "--run", trained_run, "--input", "other.npy", "--output", "a.npy")
    assert_one_line(answer, "other.npy", "(33, 30)", "(34, 30)")


@pytest.mark.parametrize("output", ["a.h5", "a.tif", "a.npy", "folder"])
def test_output_that_exists(smae, tmp_path, trained_run, small_scan, output):
    if output == "folder":
        (tmp_path / output).mkdir()
        (tmp_path / output / "notes.txt").write_text("mine")
    else:
        (tmp_path / output).write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    data = ("--input", f"{small_scan}::counts", "--output", output)
    assert_one_line(smae("infer", "--run", trained_run, *data), output, "exists", "--overwrite")
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(tmp_path.iterdir())) == 1


def test_output_of_unknown_kind_or_over_the_input(smae, tmp_path, trained_run, frames):
    np.save("a.npy", frames)
    data = ("infer", "--run", trained_run, "--input", "a.npy")
    assert_one_line(smae(*data, "--output", "b.jpg"), "b.jpg", ".h5")
    assert_one_line(smae(*data, "--output", "./a.npy", "--overwrite"), "is an input")
    np.testing.assert_array_equal(np.load("a.npy"), frames)


# --- full disks and forbidden places --------------------------------------------------------------


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_before_the_training(smae, tmp_path, small_scan, monkeypatch):
    monkeypatch.setattr(Path, "write_text", full)
    answer = smae("train", "--run", "runs/new", "--data.path", f"{small_scan}::counts")
    assert_one_line(answer, "runs/new", "disk is full")
    assert not (tmp_path / "runs").exists()


def test_full_disk_under_the_log(smae, tmp_path, small, small_scan, monkeypatch):
    class Log:
        def write(self, line):
            full()

        def close(self):
            pass

    made = hooks.Logger.__init__

    def make(self, *arguments, **options):
        made(self, *arguments, **options)
        self._file.close()
        self._file = Log()

    monkeypatch.setattr(hooks.Logger, "__init__", make)
    data = ("--data.path", f"{small_scan}::counts", "--data.center", "17.5,14")
    answer = last_line(smae("train", "--run", "new", *data, *small))
    assert_one_line(answer, "metrics.jsonl", "No space left", "free some space")


@pytest.mark.slow
def test_full_disk_under_a_checkpoint_and_going_on_when_there_is_room(
    smae, tmp_path, small, small_scan, monkeypatch
):
    """Nothing is played here: the operating system refuses, by a limit instead of a full disk."""
    resource = pytest.importorskip("resource")

    data = ("--data.path", f"{small_scan}::counts", "--data.center", "17.5,14")
    saves = []
    write = hooks.Saver._write

    def write_on_a_small_disk(self, best, step=0, state=None):
        saves.append(int(step))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            write(self, best, step, state)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with monkeypatch.context() as patch:
        patch.setattr(hooks.Saver, "_write", write_on_a_small_disk)
        answer = last_line(
            smae("train", "--run", "new", *data, *small, "--train.checkpoint-every", "2")
        )
    assert saves == [2, 4]
    assert_one_line(answer, "checkpoints/4", "--resume")
    assert os.listdir(tmp_path / "new" / "checkpoints") == ["2"]
    assert smae("train", "--run", "new", "--resume").status == 0
    assert sorted(os.listdir(tmp_path / "new" / "checkpoints")) == ["2", "4"]


@pytest.mark.parametrize("output", ["out/a.h5", "out/a.tif", "out/a.npy", "out/folder"])
def test_full_disk_under_the_output(smae, tmp_path, trained_run, small_scan, monkeypatch, output):
    def begin_and_fail(path, *_, **__):
        path.write_bytes(b"half")
        full()

    for name in ("write_nexus", "_write_tiff", "_write_npy"):
        monkeypatch.setattr(writing, name, begin_and_fail)
    data = ("--input", f"{small_scan}::counts", "--output", output)
    answer = last_line(smae("infer", "--run", trained_run, *data))
    assert_one_line(answer, output, "disk is full")
    assert os.listdir(tmp_path / "out") == []


def test_a_file_where_a_folder_is_needed(smae, tmp_path, trained_run, small_scan):
    """The one forbidden place that root has no permission for either."""
    (tmp_path / "file").write_text("mine")
    answer = smae("train", "--run", "file/run", "--data.path", f"{small_scan}::counts")
    assert_one_line(answer, "file/run")
    data = ("--input", f"{small_scan}::counts", "--output", "file/a.npy")
    answer = last_line(smae("infer", "--run", trained_run, *data))
    assert_one_line(answer, "file/a.npy")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("command", ["train", "infer"])
def test_no_permission(smae, tmp_path, trained_run, small_scan, monkeypatch, command):
    """Root may write anywhere, so the operating system's refusal is played."""

    def forbidden(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(atomic.tempfile, "mkdtemp", forbidden)
    if command == "train":
        answer = smae("train", "--run", "new", "--data.path", f"{small_scan}::counts")
    else:
        data = ("--input", f"{small_scan}::counts", "--output", "new.npy")
        answer = last_line(smae("infer", "--run", trained_run, *data))
    assert_one_line(answer, "new", "no permission")
    assert os.listdir(tmp_path) == []


def test_operating_system_errors_are_said_and_our_own_are_shown(smae, monkeypatch):
    def fail_with(error):
        def command(name):
            def run(config, say):
                raise error

            return run

        monkeypatch.setattr(cli, "command", command)

    fail_with(OSError(errno.ENOSPC, "No space left on device", "/data/a"))
    assert_one_line(smae("train", "--run", "new"), "/data/a", "No space left", "free some space")
    fail_with(OSError("something\nodd"))
    assert_one_line(smae("train", "--run", "new"), "something odd")
    fail_with(AssertionError("ours"))
    with pytest.raises(AssertionError, match="ours"):
        smae("train", "--run", "new")
    fail_with(KeyboardInterrupt())
    assert smae("train", "--run", "new").status == 130


# --- help, and real processes ---------------------------------------------------------------------


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_help_explains_every_option_with_its_default(smae, command):
    answer = smae(command, "--help")
    assert (answer.status, answer.err) == (0, "")
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", answer.out).split())
    assert "default:" in text
    if command == "train":
        for option in (
            *("--config", "--run", "--seed", "--data.path", "--data.mask", "--data.mask-polarity"),
            *("--method", "--model", "--loss", "--train.steps", "--train.batch-size"),
            *("--train.learning-rate", "--resume", "--overwrite"),
        ):
            assert re.search(rf"{option}[ ,]", text), option
        assert "Optimizer steps" in text
    if command == "infer":
        for option in ("--run", "--input", "--mask", "--output", "--overwrite"):
            assert re.search(rf"{option}[ ,]", text), option


def test_help_without_a_command(smae):
    for arguments in ((), ("--help",)):
        answer = smae(*arguments)
        assert answer.status == 0
        assert all(name in answer.out for name in cli.COMMANDS)


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("train.py", ("--run", "new", "--data.path", "scan/*.tif"), "no file matches"),
        ("train.py", ("--run", "new", "--train.steps", "many"), "--train.steps"),
        ("infer.py", ("--run", "new", "--input", "a.npy", "--output", "b.npy"), "no run there"),
    ],
)
def test_real_process_says_one_line(tmp_path, script, arguments, said):
    command = [sys.executable, str(ROOT / script), *arguments]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert os.listdir(tmp_path) == []


def test_eight_devices_are_there():
    """The messages about devices above count on them."""
    assert len(jax.devices()) == 8
