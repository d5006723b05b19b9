"""The whole way through the command line: simulate, inspect, train, resume, infer, in every format."""

import io
import json
import logging
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import fabio
import h5py
import jax
import numpy as np
import pytest
import tifffile

from smae_jax import cli
from smae_jax.config import TrainConfig
from smae_jax.config_file import dump, flat, from_dict, load
from smae_jax.errors import UserError
from smae_jax.named import named
from smae_jax.progress import each, verbosity
from smae_jax.run.checkpoint import Checkpoints
from smae_jax.run.folder import RunFolder
from smae_jax.version import version

CENTER = (17.5, 14.0)  # of `small_scan`


def partner(frames, fill):
    """The partners' values about CENTER, `fill` where the partner is off the frame; by plain indexing."""
    height, width = frames.shape[-2:]
    y, x = np.mgrid[:height, :width]
    y, x = round(2 * CENTER[0]) - y, round(2 * CENTER[1]) - x
    on = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    found = frames[..., np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
    return np.where(on, found, fill)


def read(path):
    """Read denoised frames of any format, NaN where there is no answer."""
    if path.is_dir():
        return np.stack([tifffile.imread(file) for file in sorted(path.iterdir())])
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return file["entry/data/data"][()]
    return tifffile.imread(path) if path.suffix == ".tif" else np.load(path)


def assert_denoised(frames, counts, valid):
    """What must hold for every denoised scan, whatever the network has learned."""
    assert frames.dtype == np.float32
    assert frames.shape == counts.shape
    known = valid | partner(valid, False)
    assert not known.all()  # or the next line could not fail
    np.testing.assert_array_equal(np.isfinite(frames), np.broadcast_to(known, frames.shape))
    assert (frames[:, known] >= 0).all()
    total = counts[:, valid].sum(axis=1, dtype=np.float64)
    np.testing.assert_allclose(frames[:, valid].sum(axis=1, dtype=np.float64), total, rtol=0.005)


@pytest.fixture(scope="module")
def scan(small_scan):
    """Counts and valid of `small_scan`."""
    with np.load(small_scan) as file:
        return file["counts"], ~file["mask"]


@pytest.fixture(scope="module")
def denoised(small_scan, trained_run, tmp_path_factory):
    """`small_scan` through the trained run, from .npz to .npy."""
    path = tmp_path_factory.mktemp("denoised") / "a.npy"
    data = ("--input", f"{small_scan}::counts", "--output", path)
    assert cli.main([str(word) for word in ("infer", "--run", trained_run, *data)]) == 0
    return read(path)


# --- the whole way --------------------------------------------------------------------------------


@pytest.mark.slow
def test_from_nothing_to_denoised_frames(smae, tmp_path, small):
    answer = smae(
        "simulate", "--output", "scan.h5", "--frames", "5", "--size", "36", "--photons", "4"
    )
    assert answer.status == 0
    words = answer.out.split()
    data = ("--data.path", words[words.index("--data.path") + 1])
    mask = ("--data.mask", words[words.index("--data.mask") + 1])

    answer = smae("inspect", *data, *mask)
    assert answer.status == 0
    assert "5 frames of 36 x 36" in answer.out
    assert (tmp_path / "inspect.png").stat().st_size > 10_000

    run = ("train", "--run", "runs/a")
    answer = smae(*run, *data, *mask, *small, "--train.steps", "2", "--train.checkpoint-every", "2")
    assert answer.status == 0
    for said in ("5 frames of 36 x 36", "% of pixels masked", "user", "centre y 17.5, x 17.5"):
        assert said in answer.out
    assert "unet" in answer.out
    assert "training: 100 % (2 of 2 steps)" in answer.err
    answer = smae(*run, "--resume", "--train.steps", "4")
    assert answer.status == 0
    assert "going on after step 2 of 4" in answer.out

    folder = tmp_path / "runs" / "a"
    assert {path.name for path in folder.iterdir()} == {
        *("config.toml", "environment.json", "survey.json", "mask.npz", "coarse.npz"),
        "metrics.jsonl",
        *("checkpoints", "best", "figures"),
    }
    assert (folder / "figures" / "loss.png").stat().st_size > 5_000
    assert RunFolder(folder).config().train.steps == 4
    assert "jax" in json.loads((folder / "environment.json").read_text())
    steps = [
        json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [1, 2, 2, 3, 4, 4]  # each step once, and a validation at 2 and 4

    with h5py.File("scan.h5") as file:
        counts, valid = file["entry/data/data"][()], file["entry/mask"][()] == 0
    infer = ("infer", "--run", "runs/a", "--input", data[1], "--figure", "a.png", "--overwrite")
    for output in ("a.h5", "a.tif"):
        answer = smae(*infer, "--output", f"out/{output}")
        assert answer.status == 0, answer.err
        assert "in counts" in answer.out
        frames = read(tmp_path / "out" / output)
        total = counts[:, valid].sum(axis=1, dtype=np.float64)
        np.testing.assert_allclose(np.where(valid, frames, 0).sum(axis=(1, 2)), total, rtol=0.005)
        if output != "a.h5":
            np.testing.assert_array_equal(frames, read(tmp_path / "out" / "a.h5"))
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert sorted(os.listdir(tmp_path / "out")) == ["a.h5", "a.tif"]


# --- inference ------------------------------------------------------------------------------------


def test_denoised_frames_are_counts_on_the_detector_frame(denoised, scan):
    counts, valid = scan
    assert_denoised(denoised, counts, valid)
    # Nothing is turned or mirrored on the way: the answer looks like its own frame, not a moved one.
    known = valid & partner(valid, False)
    smooth = denoised.mean(axis=0)

    def likeness(frame):
        both = known & np.isfinite(frame)
        return np.corrcoef(frame[both], counts.mean(axis=0)[both])[0, 1]

    moved = [smooth[::-1], smooth[:, ::-1], smooth[::-1, ::-1]]
    assert likeness(smooth) > max(likeness(frame) for frame in moved) + 0.005


def test_filled_pixels_are_marked(smae, tmp_path, small_scan, trained_run, scan, denoised):
    _, valid = scan
    answer = smae(
        *("infer", "--run", trained_run, "--input", f"{small_scan}::counts", "--output", "a.h5")
    )
    assert answer.status == 0
    with h5py.File(tmp_path / "a.h5") as file:
        filled = file["entry/data/filled"][()] > 0
        np.testing.assert_array_equal(file["entry/data/data"][()], denoised)
        assert file["entry/data/data"].dtype == np.float32
    expected = ~valid & partner(valid, False)
    assert expected.sum() == 58  # the gap of 2 x 30 without the two pixels whose partner is off
    np.testing.assert_array_equal(np.broadcast_to(filled, denoised.shape)[0], expected)
    assert f"{100 * expected.mean():.1f} %" in answer.out


def write_npy(counts):
    np.save("a.npy", counts)
    return "a.npy"


def write_npy_per_frame(counts):
    for i, frame in enumerate(counts):
        np.save(f"frame{i}.npy", frame)
    return "frame*.npy"


def write_tiff_stack(counts):
    tifffile.imwrite("a.tif", counts, photometric="minisblack")
    return "a.tif"


def write_tiff_folder(counts):
    os.mkdir("scan")
    for i, frame in enumerate(counts):
        tifffile.imwrite(f"scan/p_{i + 7}.tif", frame)  # p_10 comes after p_9
    return "scan"


def write_hdf5(counts):
    with h5py.File("a.h5", "w") as file:
        file.create_dataset("entry/data/data", data=counts, chunks=(1, 9, 30), compression="gzip")
    return "a.h5::/entry/data/data"


def write_cbf(counts):
    for i, frame in enumerate(counts):
        fabio.cbfimage.CbfImage(data=frame.astype(np.int32)).write(f"p_{i}.cbf")
    return "p_*.cbf"


def write_edf(counts):
    image = fabio.edfimage.EdfImage(data=counts[0].astype(np.int32))
    for frame in counts[1:]:
        image.append_frame(data=frame.astype(np.int32))
    image.write("a.edf")
    return "a.edf"


@pytest.mark.parametrize(
    "write",
    [
        *(write_npy, write_npy_per_frame, write_tiff_stack, write_tiff_folder, write_hdf5),
        *(write_cbf, write_edf),
    ],
    ids=lambda write: write.__name__[6:],
)
def test_every_input_format_gives_the_same_frames(
    smae, tmp_path, trained_run, scan, denoised, write
):
    path = write(scan[0])
    answer = smae("infer", "--run", trained_run, "--input", path, "--output", "out.npy")
    assert answer.status == 0, answer.err
    np.testing.assert_array_equal(np.load("out.npy"), denoised)


def test_folder_of_frames_is_named_after_the_sources(smae, tmp_path, trained_run, scan, denoised):
    write_tiff_folder(scan[0])
    answer = smae("infer", "--run", trained_run, "--input", "scan", "--output", "out/")
    assert answer.status == 0, answer.err
    assert sorted(os.listdir("out")) == [f"p_{i}.tif" for i in ("10", "11", "12", "7", "8", "9")]
    np.testing.assert_array_equal(tifffile.imread("out/p_10.tif"), denoised[3])


def test_batches_of_any_size_give_the_same_frames(smae, trained_run, small_scan, denoised):
    data = ("--input", f"{small_scan}::counts", "--output", "a.npy", "--overwrite")
    for size in (1, 9):  # rounded up to the eight devices; six frames
        assert smae("infer", "--run", trained_run, *data, "--batch-size", size).status == 0
        np.testing.assert_allclose(np.load("a.npy"), denoised, rtol=1e-5)


def test_the_networks_answer_to_a_frame_does_not_depend_on_its_company(
    smae, trained_run, scan, small_scan
):
    np.save("one.npy", scan[0][4])
    infer = ("infer", "--run", trained_run, "--no-keep-sums", "--input")
    assert smae(*infer, "one.npy", "--output", "a.npy").status == 0
    assert smae(*infer, f"{small_scan}::counts", "--output", "all.npy").status == 0
    np.testing.assert_allclose(np.load("a.npy")[0], np.load("all.npy")[4], rtol=1e-5)


def test_mask_replaces_that_of_the_run_in_either_polarity(
    smae, trained_run, small_scan, scan, denoised
):
    counts, _ = scan
    valid = np.ones(counts.shape[1:], bool)
    valid[8:11, 3:20] = False
    valid[24:28, 20:26] = False  # the partner of a part of it
    np.savez("mask.npz", bad=~valid, good=valid)
    data = ("--input", f"{small_scan}::counts")
    for name, polarity in [("bad", ()), ("good", ("--mask-polarity", "good"))]:
        mask = ("--mask", f"mask.npz::{name}", *polarity)
        answer = smae("infer", "--run", trained_run, *data, *mask, "--output", f"{name}.npy")
        assert answer.status == 0, answer.err
    np.testing.assert_array_equal(np.load("bad.npy"), np.load("good.npy"))
    assert_denoised(np.load("bad.npy"), counts, valid)
    assert not np.array_equal(np.isnan(np.load("bad.npy")), np.isnan(denoised))


def test_choices_of_inference_are_made_and_said(smae, trained_run, small_scan, denoised):
    data = ("--input", f"{small_scan}::counts", "--output", "a.npy", "--overwrite")
    for choice, said in [
        (("--ensemble", "none"), "ensemble none"),
        (("--rule", "direct"), "ensemble"),
        (("--checkpoint", "4"), "step 4"),
    ]:
        answer = smae("infer", "--run", trained_run, *data, *choice)
        assert answer.status == 0, answer.err
        assert said in answer.out
        if choice[0] != "--checkpoint":
            assert not np.allclose(np.load("a.npy"), denoised, rtol=1e-4, equal_nan=True)


def test_run_moved_elsewhere_still_infers(smae, tmp_path, trained_run, small_scan, denoised):
    """A run folder holds all that inference needs: no path in it has to exist any more."""
    moved = tmp_path / "elsewhere"
    shutil.copytree(trained_run, moved)
    text = (moved / "config.toml").read_text().replace(str(small_scan), "/gone/scan.npz")
    (moved / "config.toml").write_text(text)
    answer = smae(
        *("infer", "--run", moved, "--input", f"{small_scan}::counts", "--output", "a.npy")
    )
    assert answer.status == 0, answer.err
    np.testing.assert_array_equal(np.load("a.npy"), denoised)


# --- training -------------------------------------------------------------------------------------


def train(smae, small_scan, small, run, *options):
    data = ("--data.path", f"{small_scan}::counts", "--data.mask", f"{small_scan}::mask")
    answer = smae("train", "--run", run, *data, "--data.center", "17.5,14", *small, *options)
    assert answer.status == 0, answer.err
    return answer


def losses_of(run):
    lines = (Path(run) / "metrics.jsonl").read_text().splitlines()
    return [values["loss"] for values in map(json.loads, lines) if "loss" in values]


@pytest.mark.slow
def test_mask_and_its_polarity_in_training(smae, tmp_path, small_scan, small, scan):
    np.savez("mask.npz", good=scan[1])
    train(smae, small_scan, small, "bad", "--train.steps", 1)
    data = ("--data.path", f"{small_scan}::counts", "--data.center", "17.5,14", *small)
    options = ("--data.mask", "mask.npz::good", "--data.mask-polarity", "good", "--train.steps", 1)
    answer = smae("train", "--run", "good", *data, *options)
    assert answer.status == 0, answer.err
    assert f"{100 * np.mean(~scan[1]):.2f} % user" in answer.out
    for run in ("bad", "good"):
        np.testing.assert_array_equal(RunFolder(tmp_path / run).valid(), scan[1])
    assert losses_of("bad") == losses_of("good")


@pytest.mark.slow
def test_scan_on_the_host_or_the_device_trains_alike(
    smae, tmp_path, small_scan, small, trained_run
):
    """Also in a loop on the device, where metrics come less often."""
    device = losses_of(trained_run)
    small = (*small, "--train.schedule", "cosine")
    train(smae, small_scan, small, "host", "--train.resident", "host")
    np.testing.assert_allclose(losses_of("host"), device, rtol=1e-4)
    looped = ("--train.steps-per-dispatch", 3, "--train.log-every", 4, "--train.validate-every", 4)
    train(smae, small_scan, small, "loop", *looped)
    np.testing.assert_allclose(losses_of("loop"), device[3:], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        (
            *(
                "--train.precision",
                "bfloat16",
                "--train.optimizer",
                "muon",
                "--data.scale",
                "frame",
            ),
            *("--train.validation", "frames", "--data.crop", 24),
        ),
        ("--train.patch", 0, "--data.augment", "flips", "--loss", "0.9*mse+0.1*ssim"),
    ],
    ids=["bfloat16", "halves"],
)
def test_variants_train_and_denoise(smae, tmp_path, small_scan, small, scan, options):
    train(smae, small_scan, small, "run", "--train.steps", 2, *options)
    answer = smae("infer", "--run", "run", "--input", f"{small_scan}::counts", "--output", "a.npy")
    assert answer.status == 0, answer.err
    assert_denoised(np.load("a.npy"), *scan)


@pytest.mark.slow
def test_published_network_and_rule(smae, tmp_path, small_scan, small):
    published = (
        *("--method", "smae", "--smae.reference", "--smae.rule", "cross"),
        *("--model", "sedcnn4", "--loss", "mse"),
        *("--data.scale", "frame_max", "--data.augment", "flips", "--train.validation", "none"),
    )
    answer = train(smae, small_scan, small, "run", *published, "--train.steps", 1)
    assert "2,275,593 parameters" in answer.out
    answer = smae("infer", "--run", "run", "--input", f"{small_scan}::counts", "--output", "a.npy")
    assert answer.status == 0, answer.err
    assert np.load("a.npy").shape == (6, 34, 30)


OWN_LOSS = """
import jax.numpy as jnp

def {name}(prediction, target, weight):
    return jnp.sum(weight * jnp.log(jnp.cosh(prediction - target))) / jnp.maximum(jnp.sum(weight), 1)
"""


@pytest.mark.slow
def test_own_loss_in_the_current_folder(smae, tmp_path, small_scan, small):
    (tmp_path / "my_losses.py").write_text(OWN_LOSS.format(name="log_cosh"))
    train(smae, small_scan, small, "run", "--loss", "my_losses:log_cosh", "--train.steps", 1)
    assert RunFolder(tmp_path / "run").config().loss == "my_losses:log_cosh"
    os.remove("my_losses.py")
    answer = smae("infer", "--run", "run", "--input", f"{small_scan}::counts", "--output", "a.npy")
    assert answer.status == 0, answer.err  # inference does not need the loss


# --- statuses and how much is said ----------------------------------------------------------------


@pytest.fixture
def command(monkeypatch):
    """Put a function in place of every command."""

    def replace(function):
        monkeypatch.setattr(cli, "command", lambda name: lambda config, say: function(say))

    return replace


def raiser(error):
    def run(say):
        raise error

    return run


def test_front_page_shows_commands_switches_and_statuses(smae):
    assert smae() == smae("--help") == smae("-h")
    answer = smae("--help")
    assert (answer.status, answer.err) == (0, "")
    for said in (*cli.COMMANDS, "--quiet", "--verbose", "--version", "130", "143"):
        assert said in answer.out


def test_versions_are_shown_without_importing_jax(smae, monkeypatch):
    answer = smae("--version")
    assert answer.status == 0
    assert answer.out == f"smae_jax {version()} (jax {jax.__version__})\n"


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("train", "--help")])
def test_help_imports_none_of_the_slow_libraries(arguments):
    program = (
        "import sys; from smae_jax.cli import main; status = main(sys.argv[1:]); "
        "slow = {'jax', 'flax', 'optax', 'numpy', 'scipy', 'matplotlib', 'h5py'} & set(sys.modules); "
        "sys.exit(f'imported {slow}' if slow else status)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60
    )
    assert (answer.returncode, answer.stderr) == (0, "")


def test_help_of_a_command_names_the_switches_that_every_command_has(smae):
    answer = smae("simulate", "--help")
    assert answer.status == 0
    assert "--photons" in answer.out
    assert "--quiet" in answer.out


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("--loss: a\n  mistake"), 2, "--loss: a mistake"),
        (OSError(28, "No space left on device", "/a/b"), 2, "/a/b: No space left on device; free"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_the_user_can_mend_is_one_line(smae, command, error, status, said):
    command(raiser(error))
    answer = smae("inspect")
    assert (answer.status, answer.out) == (status, "")
    assert answer.err.startswith(f"smae-jax inspect: {said}")
    assert answer.err.count("\n") == 1


def test_an_operating_systems_error_of_own_code_keeps_its_traceback(smae, command, tmp_path):
    (tmp_path / "own_code_of_this_test.py").write_text("def opens():\n    open('/no/such/table')\n")

    def run(*_):
        named("own_code_of_this_test:opens", option="--loss")()  # type: ignore[operator]

    command(run)
    with pytest.raises(FileNotFoundError, match="/no/such/table"):
        smae("inspect")


@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help"), ("--version",)])
def test_output_that_nobody_reads_ends_without_a_word(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "smae_jax.cli", *arguments]
    answer = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert (answer.returncode, answer.stderr) == (141, "")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "UTF-8"])
@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--shard", "0/3"), "--shard: expected a part of all such as 3/16, got '0/3'; see --help"),
        (("--shart", "1/3"), "Unrecognized options: --shart, 1/3; did you mean --shard?"),
        (("--combin",), "Unrecognized options: --combin; did you mean --combine?"),
        (("--replicas", "many"), "--replicas: invalid literal for int() with base 10: 'many'"),
    ],
)
def test_a_mistake_is_said_whatever_the_terminal_can_show(
    monkeypatch, capfd, encoding, option, said
):
    """Where UTF-8 is not promised, tyro draws its boxes with dashes."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    assert cli.main(["infer", "--run", "r", *option]) == 2
    assert capfd.readouterr().err.startswith(f"smae-jax infer: {said}")


@pytest.mark.parametrize("error", [ValueError("mine"), TypeError("mine"), KeyError("mine")])
def test_every_other_error_keeps_its_traceback(smae, command, error):
    command(raiser(error))
    with pytest.raises(type(error), match="mine") as caught:
        smae("inspect")
    assert caught.value is error
    assert verbosity() == 0


@pytest.mark.parametrize("arguments", [("-q", "simulate"), ("simulate", "--quiet")])
def test_quiet_says_nothing(smae, command, arguments):
    def talk(say):
        say("understood")
        list(each(range(3)))
        warnings.warn("look out", stacklevel=1)
        logging.getLogger("some.library").warning("look out")

    command(talk)
    assert smae(*arguments) == (0, "", "")
    command(raiser(UserError("a mistake")))
    assert smae(*arguments) == (2, "", "smae-jax simulate: a mistake\n")


def test_quiet_keeps_what_a_command_is_there_to_print(smae, command):
    command(lambda say: say("5 frames"))
    assert smae("inspect", "-q").out == "5 frames\n"


@pytest.mark.parametrize("arguments", [("-v", "simulate"), ("simulate", "--verbose")])
def test_verbose_shows_logs_and_timings_and_leaves_the_logs_as_they_were(smae, command, arguments):
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    levels = []

    def talk(say):
        levels.append(verbosity())
        logging.getLogger("some.library").info("so many bytes")

    command(talk)
    answer = smae(*arguments)
    assert answer.status == 0
    assert "some.library: so many bytes" in answer.err
    assert answer.err.splitlines()[-1].startswith("smae-jax simulate: ")
    assert levels == [1]
    assert (root.level, list(root.handlers)) == before
    assert verbosity() == 0


def test_quiet_and_verbose_contradict_each_other(smae):
    answer = smae("simulate", "-q", "--verbose")
    assert answer.status == 2
    assert "--quiet and --verbose: expected one of them" in answer.err


def test_a_command_without_options_is_a_command(smae):
    answer = smae("simulate")
    assert answer.status == 2
    assert answer.err.startswith("smae-jax simulate: --output: expected a name ending in .h5")


def test_importing_the_program_changes_nothing_for_others():
    program = textwrap.dedent(
        """
        import logging, signal, sys
        import orbax.checkpoint  # it makes its loggers itself
        names = (None, "absl", "asyncio", "jax")
        def state():
            loggers = [logging.getLogger(name) for name in names]
            kept = [(one.level, one.disabled, list(one.handlers)) for one in loggers]
            return kept, sys.unraisablehook, sys.excepthook, signal.getsignal(signal.SIGTERM)
        before = state()
        import smae_jax.cli
        import smae_jax.run.checkpoint
        assert state() == before
        """
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr


# --- options --------------------------------------------------------------------------------------


def test_command_line_goes_before_the_config_before_the_defaults(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("seed = 4\n[train]\nsteps = 7\nbatch-size = 32\n[unet]\nwidths = [4, 6]\n")
    arguments = ["--config", str(path), "--train.steps", "9", "--data.mask-polarity", "good"]
    config = cli.parse(TrainConfig, arguments, program="smae-jax train")
    assert (config.seed, config.train.steps, config.train.batch_size) == (4, 9, 32)
    assert (config.unet.widths, config.data.mask_polarity) == ((4, 6), "good")
    assert config.train.keep == TrainConfig().train.keep
    assert config.config == str(path)


def test_dumped_options_are_loaded_equal(tmp_path):
    config = from_dict(
        {
            "run": 'a "quoted" \\ name',
            "train": {"learning_rate": 1e-7, "steps": 12},
            "unet": {"widths": [1, 2]},
        },
        TrainConfig,
        where="here",
    )
    (tmp_path / "a.toml").write_text(dump(config), encoding="utf-8")
    assert load(tmp_path / "a.toml", TrainConfig) == config
    assert flat(config)["train.learning_rate"] == 1e-7


def test_best_step_is_what_inference_takes(trained_run, smae, small_scan):
    best = Checkpoints(trained_run / "best").steps()
    answer = smae(
        *("infer", "--run", trained_run, "--input", f"{small_scan}::counts", "--output", "a.npy")
    )
    assert f"step {best[-1]}," in answer.out


@pytest.mark.slow
def test_restarts_and_accumulation_reach_a_scan(smae, small, small_scan):
    """The rate climbs to its peak again, and two steps together change the parameters once."""
    data = ("--data.path", f"{small_scan}::counts", "--data.center", "17.5,14")
    changed = ("--train.schedule", "cosine", "--train.restarts", 1, "--train.accumulate", 2)
    changed = (*changed, "--train.validation", "none")
    assert smae("train", "--run", "run", *data, *small, *changed).status == 0
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    rates = [line["learning_rate"] for line in lines if "learning_rate" in line]
    assert rates[2] == rates[0] > rates[1]
    state = RunFolder(Path("run")).checkpoints / "4"
    assert any(
        "mini_step" in path.read_bytes().decode(errors="ignore")
        for path in state.rglob("_METADATA")
    )
