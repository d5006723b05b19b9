"""What once went wrong, through the command line: each test is a fault of a former version."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest

from smae_jax.arrays import from_arrays
from smae_jax.asymmetry import symmetry_chi_square
from smae_jax.evaluation.inspection import inspect_scan
from smae_jax.geometry import Center
from smae_jax.io.reading import read
from smae_jax.methods.partner import choose_partner
from smae_jax.run.checkpoint import Checkpoints
from smae_jax.run.folder import RunFolder
from smae_jax.run.restore import read_parameters

ROOT = Path(__file__).resolve().parents[1]
FORMER = ROOT / "tests" / "data" / "former"
QUICK = (
    *("--train.steps", 2, "--train.batch-size", 2, "--train.patch", 0, "--train.optimizer", "adam"),
    *("--train.validate-every", 2, "--train.validation-batches", 1, "--train.log-every", 1),
    *("--train.warmup-steps", 0, "--train.devices", 1, "--data.augment", "flips"),
    *("--model", "dncnn", "--dncnn.features", 4, "--dncnn.layers", 2),
)
N2N = ("--method", "noise2noise")


def bytes_of(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def assert_refused(answer, *said):
    assert answer.status == 2, answer
    assert answer.err.count("\n") == 1, answer.err
    assert all(word in answer.err for word in said), answer.err


def spectra_of(run):
    """The options that name the spectra of the former run, for training and for inference."""
    path = f"{FORMER / 'spectra' / 'input.npz'}::counts"
    return (
        ("--data.path", path, "--data.dimensions", 1, "--run", run),
        ("--input", path, "--run", run),
    )


# --- nothing that is read is written over ---------------------------------------------------------


@pytest.fixture
def raw(tmp_path):
    """`raw/scan.h5` with the frames of the former run, and links to it."""
    (tmp_path / "raw").mkdir()
    with np.load(FORMER / "scan" / "input.npz") as file, h5py.File("raw/scan.h5", "w") as made:
        made["entry/data/data"] = file["counts"]
    os.symlink("raw/scan.h5", "link.h5")
    os.link("raw/scan.h5", "hard.h5")
    return tmp_path / "raw" / "scan.h5"


@pytest.mark.parametrize("option", ["--output", "--figure"])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("raw/scan.h5::/entry/data/data", "raw/scan.h5"),
        ("raw/*.h5", "raw/scan.h5"),
        ("raw", "raw/scan.h5"),
        ("raw", "raw/"),
        ("raw/scan.h5", "raw"),
        ("link.h5", "raw/scan.h5"),
        ("raw/scan.h5", "link.h5"),
        ("raw/scan.h5", "hard.h5"),
        ("raw/scan.h5", "{here}/raw/../raw/scan.h5"),
        ("{here}/raw/scan.h5", "raw/scan.h5"),
    ],
)
def test_the_input_in_disguise_is_not_written_over(smae, raw, tmp_path, option, source, target):
    before = bytes_of(tmp_path)
    source, target = (text.format(here=tmp_path) for text in (source, target))
    places = ("--output", "out.npy", option, target, "--overwrite")
    answer = smae("infer", "--run", FORMER / "scan", "--input", source, *places)
    assert_refused(answer, option, target, "input", "would be lost")
    assert bytes_of(tmp_path) == before


@pytest.mark.parametrize("run", ["raw", "raw/", "{here}/raw", "raw/scan.h5"])
def test_a_run_folder_that_holds_the_frames_is_not_replaced(smae, raw, tmp_path, run):
    (raw.parent / "config.toml").write_text("")  # so that it looks like a run
    before = bytes_of(tmp_path)
    run = run.format(here=tmp_path)
    answer = smae("train", "--data.path", "raw/*.h5", "--run", run, "--overwrite")
    assert_refused(answer, "--run", "input")
    assert bytes_of(tmp_path) == before


# --- repeats of patterns, and their mask ----------------------------------------------------------


@pytest.mark.slow
def test_repeated_patterns_keep_their_mask_and_infer_has_a_polarity_of_its_own(smae, tmp_path):
    good = np.ones((18, 22), bool)
    good[4:7, 3:15] = False
    np.save("good.npy", good)
    np.save("bad.npy", ~good)
    np.save("counts.npy", np.random.default_rng(2).poisson(5, (3, 18, 22)).astype(np.uint16))
    data = ("--data.path", "counts.npy", "--data.dimensions", 2, "--run", "run")
    masked = ("--data.mask", "good.npy", "--data.mask-polarity", "good")
    assert smae("train", *data, *masked, *N2N, *QUICK, "--train.patch", 16).status == 0
    np.testing.assert_array_equal(RunFolder(tmp_path / "run").valid(), good)
    shutil.move("good.npy", "moved.npy")
    found = {}
    for name, mask in {
        "none": (),
        "bad": ("--mask", "bad.npy"),
        "good": ("--mask", "moved.npy", "--mask-polarity", "good"),
        "wrong": ("--mask", "moved.npy"),
    }.items():
        asked = ("--run", "run", "--input", "counts.npy", "--output", f"{name}_out.npy")
        answer = smae("infer", *asked, *mask)
        assert answer.status == 0, answer.err
        found[name] = np.load(f"{name}_out.npy")
    np.testing.assert_array_equal(found["bad"], found["none"])
    np.testing.assert_array_equal(found["good"], found["none"])
    assert not np.array_equal(found["wrong"], found["none"], equal_nan=True)


# --- names ----------------------------------------------------------------------------------------


def test_an_unknown_method_is_refused_by_its_name(smae, tmp_path):
    training, _ = spectra_of("run")
    assert_refused(smae("train", *training, "--method", "magic"), "--method magic", "thinning")
    run = shutil.copytree(FORMER / "scan", tmp_path / "old")
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace('method = "thinning"', 'method = "magic"'))
    frames = f"{run / 'input.npz'}::counts"
    answer = smae("infer", "--run", run, "--input", frames, "--output", "a.npy")
    assert_refused(answer, "--method magic", "thinning")


OWN_NETWORK = """
import flax.linen as nn

class Small(nn.Module):
    outputs: int = 1

    @nn.compact
    def __call__(self, source):
        return nn.softplus(nn.Conv(self.outputs, (3,) * (source.ndim - 2), name="only")(source))
"""
OWN_METHOD = """
import jax, jax.numpy as jnp
from smae_jax import Answers, Pair

class Mine:
    '''Neighbours are another measurement.'''

    def pair(self, key, batch):
        rate = batch.counts / batch.scale[:, None]
        source = jnp.stack([jnp.roll(rate, 1, axis=1), batch.exposure], axis=-1)
        return Pair(source, rate[..., None], (batch.exposure * batch.eligible)[..., None])

    def denoise(self, predict, batch):
        rate = batch.counts / batch.scale[:, None]
        value = predict(jnp.stack([rate, batch.exposure], axis=-1))[..., 0] * batch.scale[:, None]
        return Answers(value, batch.exposure > 0, jnp.zeros(value.shape, bool))
"""


def test_own_network_and_method_train_and_infer(smae, tmp_path):
    (tmp_path / "fault_net.py").write_text(OWN_NETWORK)
    (tmp_path / "fault_method.py").write_text(OWN_METHOD)
    training, applying = spectra_of("run")
    own = ("--model", "fault_net:Small", "--method", "fault_method:Mine")
    answer = smae("train", *training, *QUICK, *own)
    assert answer.status == 0, answer.err
    answer = smae("infer", *applying, "--output", "a.npy")
    assert answer.status == 0, answer.err
    with np.load(FORMER / "spectra" / "input.npz") as file:
        counts = file["counts"]
    denoised = np.load("a.npy")
    assert denoised.shape == counts.shape
    np.testing.assert_allclose(denoised.sum(axis=1), counts.sum(axis=1), rtol=1e-4)


@pytest.mark.parametrize("option", ["--model", "--method", "--loss"])
@pytest.mark.parametrize("name", ["no_such_module:Mine", "json:Mine", "json:"])
def test_what_is_not_there_is_one_line(smae, option, name):
    training, _ = spectra_of("run")
    missing = name.split(":")[1 if name == "json:Mine" else 0]
    assert_refused(smae("train", *training, *QUICK, option, name), option[2:], missing)
    assert not Path("run").exists()


def test_something_else_is_no_network_and_no_method(smae):
    training, _ = spectra_of("run")
    for option, expected in (("--model", "Flax"), ("--method", "pair")):
        assert_refused(smae("train", *training, *QUICK, option, "math:pi"), option, expected)


# --- a tree that is not installed -----------------------------------------------------------------


def test_a_tree_that_is_not_installed_trains_and_infers(smae, monkeypatch):
    known = metadata.version

    def version(name):
        if name.replace("-", "_") == "smae_jax":
            raise metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(metadata, "version", version)
    training, applying = spectra_of("run")
    assert smae("train", *training, *N2N, *QUICK).status == 0
    assert json.loads(Path("run/environment.json").read_text())["smae_jax"]
    assert smae("infer", *applying, "--output", "a.h5").status == 0


# --- options that would do nothing ----------------------------------------------------------------


@pytest.mark.parametrize(
    "option", [("--center", "3,4"), ("--batch-size", 4), ("--keep-significant", 3), ("--mask", "m")]
)
def test_options_that_do_nothing_for_repeats_are_refused(smae, option):
    _, applying = spectra_of(FORMER / "spectra")
    answer = smae("infer", *applying, "--output", "a.npy", *option)
    assert_refused(answer, " ".join(map(str, option)), "leave")
    assert not Path("a.npy").exists()


def test_turning_off_what_is_off_is_fine(smae):
    _, applying = spectra_of(FORMER / "spectra")
    off = ("--no-combine", "--no-keep-sums", "--no-keep-shadows", "--keep-significant", 0)
    assert smae("infer", *applying, "--output", "off.npy", *off).status == 0
    assert smae("infer", *applying, "--output", "usual.npy").status == 0
    np.testing.assert_array_equal(np.load("off.npy"), np.load("usual.npy"))


@pytest.mark.slow
def test_single_spectra_are_answered_in_batches_of_any_size(smae):
    training, applying = spectra_of("run")
    assert smae("train", *training, *QUICK, "--method", "thinning").status == 0
    for size in (0, 1):
        asked = ("--output", f"{size}.npy", "--batch-size", size)
        assert smae("infer", *applying, *asked).status == 0
    np.testing.assert_allclose(np.load("0.npy"), np.load("1.npy"), rtol=1e-5)


def test_the_likelihood_of_the_noise_may_stand_in_a_sum(smae):
    training, _ = spectra_of("run")
    answer = smae("train", *training, *N2N, *QUICK, "--loss", "auto+0.1*tv")
    assert answer.status == 0, answer.err
    assert RunFolder(Path("run")).config().loss == "auto+0.1*tv"


# --- errors of one's own code, and runs that are replaced -----------------------------------------

FAULTY_LOSSES = """
from smae_jax import UserError

def mine(prediction, target, weight):
    raise ValueError("a mistake in my own code")

def refusing(prediction, target, weight):
    raise UserError("give it something else")
"""


@pytest.mark.parametrize("loss", ["mine", "refusing"])
def test_a_training_that_fails_before_its_first_step_leaves_the_old_run(smae, tmp_path, loss):
    (tmp_path / "fault_losses.py").write_text(FAULTY_LOSSES)
    run = shutil.copytree(FORMER / "spectra", tmp_path / "run")
    before = bytes_of(run)
    training, _ = spectra_of("run")
    asked = ("train", *training, *N2N, *QUICK, "--overwrite")
    failing = (*asked, "--loss", f"fault_losses:{loss}")
    if loss == "mine":
        with pytest.raises(ValueError, match="a mistake in my own code"):
            smae(*failing)
    else:
        answer = smae(*failing)
        assert (answer.status, answer.out.count("Traceback")) == (2, 0)
        assert answer.err.splitlines()[-1] == "smae-jax train: give it something else"
    assert bytes_of(run) == before
    assert not [path for path in tmp_path.iterdir() if "replaced" in path.name]

    assert smae(*asked).status == 0
    assert (run / "survey.json").exists()
    assert not (run / "prepare.json").exists()
    assert not [path for path in tmp_path.iterdir() if "replaced" in path.name]


def test_a_run_that_a_killed_training_was_to_replace_comes_back(smae, tmp_path):
    """Killed before its first step, it leaves the old run beside half of a new one."""
    run, aside = tmp_path / "run", tmp_path / ".run.replaced"
    shutil.copytree(FORMER / "spectra", aside)
    before = bytes_of(aside)
    run.mkdir()
    (run / "config.toml").write_bytes((aside / "config.toml").read_bytes())
    training, _ = spectra_of("run")
    asked = ("train", *training, *N2N, *QUICK)
    (tmp_path / "fault_losses.py").write_text(FAULTY_LOSSES)

    answer = smae("infer", "--run", "run", "--input", training[1], "--output", "o.csv")
    assert answer.status == 2
    assert f"made no step; the run before it is kept in {aside}" in answer.err
    assert smae(*asked, "--overwrite", "--loss", "fault_losses:refusing").status == 2
    assert bytes_of(run) == before
    assert not aside.exists()

    os.replace(run, aside)
    answer = smae(*asked)
    assert answer.status == 2
    assert "exists already, put back after a training that was killed" in answer.err
    assert bytes_of(run) == before

    os.replace(run, aside)
    shutil.copytree(aside, run)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    shutil.rmtree(run / "best")
    answer = smae("train", "--resume", "--run", "run")
    assert "no step" not in answer.err
    assert bytes_of(run) == before


def test_a_killed_training_that_has_kept_a_step_has_replaced_the_old_run(smae, tmp_path):
    """It may have saved one before it logged its first loss."""
    run, aside = tmp_path / "run", tmp_path / ".run.replaced"
    shutil.copytree(FORMER / "spectra", run)
    before = bytes_of(run)
    shutil.copytree(FORMER / "spectra", aside)
    (aside / "of_the_old_one").touch()
    training, asked = spectra_of("run")
    assert smae("infer", *asked, "--output", "o.csv").status == 0
    answer = smae("train", *training, *N2N, *QUICK)
    assert (answer.status, "put back" in answer.err) == (2, False)
    assert bytes_of(run) == before
    assert not aside.exists()


def test_a_run_that_is_a_link_is_written_where_it_points_to(smae, tmp_path):
    run = shutil.copytree(FORMER / "spectra", tmp_path / "disk" / "run")
    (tmp_path / "link").symlink_to(run)
    training, _ = spectra_of("link")
    for _ in range(2):
        assert smae("train", *training, *N2N, *QUICK, "--overwrite").status == 0
        assert (tmp_path / "link").is_symlink()
        assert (run / "survey.json").is_file()
    assert sorted(path.name for path in run.parent.iterdir()) == ["run"]


def environment():
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "8",
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache" / "tests"),
    }


def test_an_error_of_ones_own_code_shows_where_it_came_from(tmp_path):
    (tmp_path / "fault_losses.py").write_text(FAULTY_LOSSES)
    training, _ = spectra_of("run")
    words = (*training, *N2N, *QUICK, "--loss", "fault_losses:mine")
    command = [sys.executable, str(ROOT / "train.py"), *map(str, words)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "fault_losses.py" in done.stderr
    assert "ValueError: a mistake in my own code" in done.stderr


@pytest.mark.slow
@pytest.mark.optimized
def test_sigterm_saves_and_resume_ends_with_the_same_bits(tmp_path):
    """All three are processes of their own: what is compared is the signal, not two kinds of process."""

    def command(*words):
        return [sys.executable, str(ROOT / "train.py"), *map(str, words)]

    def finished(*words):
        done = subprocess.run(
            command(*words), cwd=tmp_path, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    own = ("--train.steps", 1500, "--train.checkpoint-every", 0, "--train.steps-per-dispatch", 1)
    own = (*N2N, *QUICK, *own, "--train.validate-every", 500)
    words = {name: (*spectra_of(tmp_path / name)[0], *own) for name in ("cut", "whole")}
    log = tmp_path / "cut" / "metrics.jsonl"
    process = subprocess.Popen(
        command(*words["cut"]), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    try:
        while process.poll() is None and not (log.exists() and log.read_text().count("\n") > 20):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 143, said
    assert said.splitlines()[-1].startswith("smae-jax train: stopped at step ")
    assert f"--resume --run {tmp_path / 'cut'}" in said
    (stopped,) = Checkpoints(tmp_path / "cut" / "checkpoints").steps()
    assert 20 < stopped < 1500
    going_on = finished("--run", tmp_path / "cut", "--resume")
    assert f"going on after step {stopped} of 1500" in going_on
    finished(*words["whole"])
    for checkpoint in ("last", "best"):
        ours, theirs = (
            read_parameters(RunFolder(tmp_path / run), checkpoint)[0] for run in ("cut", "whole")
        )
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


# --- reading --------------------------------------------------------------------------------------


def test_exposures_whose_number_does_not_fit_are_noted(tmp_path):
    counts = np.random.default_rng(0).poisson(5, (4, 60))
    np.savez(tmp_path / "a.npz", counts=counts, exposure=np.array([1.0, 2.0, 3.0]))
    data = read(f"{tmp_path / 'a.npz'}::counts", dimensions=1)
    assert any("3 exposures" in note and "left out" in note for note in data.origin.notes)
    np.testing.assert_array_equal(data.frame_exposure, np.ones(4))


@pytest.mark.parametrize("kind", ["npy", "npz", "h5", "csv"])
def test_integers_beyond_single_precision_are_read_exactly(tmp_path, kind):
    counts = np.full((2, 40), 2**24 + 1, np.int64)
    counts[1, 3] = 2**40 + 1
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, counts)
    elif kind == "npz":
        np.savez(path, counts=counts)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["entry/data/data"] = counts
    else:
        np.savetxt(path, counts, delimiter=",", fmt="%d")
    data = read(str(path), dimensions=1)
    assert data.counts.dtype == np.int64
    np.testing.assert_array_equal(data.counts, counts)


def test_frames_beyond_single_precision_are_read_exactly(tmp_path):
    counts = np.full((2, 20, 18), 2**24 + 1, np.uint32)
    np.save(tmp_path / "a.npy", counts)
    data = read(str(tmp_path / "a.npy"))
    assert data.counts.dtype == np.int32
    np.testing.assert_array_equal(data.counts, counts)


# --- the symmetry of a scan with a useless frame --------------------------------------------------


def test_a_frame_without_a_valid_pair_says_nothing_of_the_symmetry():
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:41, :41] - 20
    counts = rng.poisson(1 + 30 * np.exp(-(y**2) / 30 - x**2 / 90), (5, 41, 41)).astype(np.int32)
    valid = np.ones(counts.shape, bool)
    valid[2, :, 18:] = False  # the left half alone
    center = Center.given((20.0, 20.0))
    whole = from_arrays(counts[[0, 1, 3, 4]], center="20,20")
    data = from_arrays(counts, valid=valid, center="20,20")
    found = symmetry_chi_square(data.counts, data.valid, center.half_pixel)
    assert found == symmetry_chi_square(whole.counts, whole.valid, center.half_pixel)
    assert choose_partner(data) == choose_partner(whole)
    assert choose_partner(data)[0] == "channel"
    inspection = inspect_scan(data)
    assert np.isfinite(inspection.chi_square + inspection.chi_square_sum)
    assert inspection.symmetric


# --- runs of the former version -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["scan", "spectra"])
def test_a_run_of_the_former_version_answers_as_it_did(smae, kind):
    """Made by commit 0afbac6 with `train` of 4 steps and `infer --no-combine --no-keep-sums ...`."""
    run = FORMER / kind
    off = ("--no-combine", "--no-keep-sums", "--no-keep-shadows", "--keep-significant", 0)
    asked = ("--run", run, "--input", f"{run / 'input.npz'}::counts", "--output", "a.npz")
    answer = smae("infer", *asked, *off)
    assert answer.status == 0, answer.err
    with np.load("a.npz") as new, np.load(run / "answer.npz") as former:
        for name in former.files:
            np.testing.assert_allclose(new[name], former[name], rtol=1e-4)
