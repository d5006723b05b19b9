"""Scans that do not fit into memory: read in parts, denoised in blocks, interrupted, shared out, joined."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
import types
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
import tifffile
from conftest import SMALL

import smae_jax
from smae_jax import blocks
from smae_jax.blocks import borders, frames_that_fit, spread
from smae_jax.config import DataOptions, InferConfig, parse_shard
from smae_jax.errors import UserError
from smae_jax.io import atomic
from smae_jax.io.parts import Parts
from smae_jax.io.readable import file_state
from smae_jax.memory import of_machine, parse_memory
from smae_jax.run import blockwise
from smae_jax.run.blockwise import share_of
from smae_jax.run.data import read_data
from smae_jax.run.large import open_large

FRAMES = 40
TINY = ("--memory", "2.3MB")  # blocks of up to 16 frames
BARE = ("--ensemble", "none", "--no-combine", "--no-keep-sums", "--no-keep-shadows")


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A stack of 5 x 8 frames in HDF5, with motors; some of them have a saturated pixel."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:34, :30]
    rate = 1 + 30 * np.exp(-(((y - 17.5) / 4) ** 2) - ((x - 14) / 7) ** 2)
    rate = rate * (1 + 0.5 * np.sin(np.arange(FRAMES) / 6))[:, None, None]
    counts = rng.poisson(rate).astype(np.uint16)
    counts[5, 9, 9] = 65535
    counts[:, 25, 25] = 65535  # a mark
    path = tmp_path_factory.mktemp("blocks") / "scan.h5"
    with h5py.File(path, "w") as file:
        file["data"] = counts.reshape(5, 8, 34, 30)
    return path


def infer(smae, run, scan, output, *options):
    answer = smae("infer", "--run", run, "--input", f"{scan}::/data", "--output", output, *options)
    assert answer.status == 0, answer.err
    return answer


def answers_in(path):
    with h5py.File(path) as file:
        data = file["entry/data"]
        return {name: data[name][()] for name in data}


def read_bytes(path):
    files = sorted(Path(path).iterdir()) if os.path.isdir(path) else [Path(path)]
    return [(file.name, file.read_bytes()) for file in files]


def assert_same(one, other):
    found, expected = answers_in(one), answers_in(other)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.fixture(scope="module")
def undisturbed(scan, trained_run, tmp_path_factory):
    """The output in blocks, made without an interruption."""
    path = tmp_path_factory.mktemp("undisturbed") / "out.h5"
    command = ("infer", "--run", trained_run, "--input", f"{scan}::/data", "--output", path)
    from smae_jax import cli

    assert cli.main([str(word) for word in (*command, "--sigma", *TINY)]) == 0
    return path


@pytest.fixture
def begun(scan, trained_run, smae):
    """The first of three parts of `out.h5`."""
    infer(smae, trained_run, scan, "out.h5", *TINY, *BARE, "--shard", "1/3")


@pytest.fixture
def frames(scan, smae):
    """The frames of the scan, and each of them as a file of the folder `frames`."""
    with h5py.File(scan) as file:
        counts = file["data"][()].reshape(FRAMES, 34, 30)
    os.mkdir("frames")
    for number, frame in enumerate(counts):
        tifffile.imwrite(f"frames/{number}.tif", frame)
    return counts


def test_memory_is_read_in_the_units_that_people_write():
    assert parse_memory("1.5 GiB") == 1.5 * 2**30
    assert parse_memory("2g") == 2 * 10**9
    assert parse_memory("") == of_machine() // 4 > 2**28
    for wrong in ("much", "-1GB", "0", "4 GiBB", "GiB", "1e9"):
        with pytest.raises(UserError, match="--memory: expected an amount of memory such as 4GiB"):
            parse_memory(wrong)


@pytest.mark.parametrize(
    ("frames", "size"), [(1, 512), (512, 512), (513, 512), (40, 16), (10**6, 512)]
)
def test_blocks_cover_all_frames_and_none_is_small(frames, size):
    found = borders(frames, size)
    assert [b.start for b in found[1:]] == [b.stop for b in found[:-1]]
    assert (found[0].start, found[-1].stop) == (0, frames)
    lengths = {b.stop - b.start for b in found}
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1


def test_a_block_has_room_in_the_budget_or_the_fewest_frames():
    assert frames_that_fit(10**6, 10**9, each=10) == 100
    assert frames_that_fit(10**9, 10**6, each=10) == blocks.FEWEST
    assert spread(1000, 3).tolist() == [0, 500, 999] or spread(1000, 3).tolist() == [0, 499, 999]


def test_shards_share_out_all_blocks_once():
    for count in (1, 3, 16, 100):
        for of in (1, 3, 16):
            dealt = [block for part in range(1, of + 1) for block in share_of(count, part, of)]
            assert dealt == [*range(count)]
    for wrong in ("0/3", "4/3", "3", "a/b", "1/0", "1/-2"):
        with pytest.raises(UserError, match="--shard: expected a part of all such as 3/16"):
            parse_shard(wrong)


def test_frames_of_a_large_scan_are_those_of_the_whole(scan, tmp_path):
    monitor = tmp_path / "monitor.txt"
    np.savetxt(monitor, 100.0 + np.arange(FRAMES))
    options = DataOptions(path=f"{scan}::/data")
    how = {"frames": "0:30", "monitor": str(monitor)}
    large = open_large(options, options.path, **how, most=lambda pixels: 10)
    assert large is not None
    assert large.frames == 30
    part, whole = large.read(slice(3, 9)), smae_jax.read(options.path)
    np.testing.assert_array_equal(part.counts, whole.counts[3:9])
    expected = (100.0 + np.arange(30)) / (100.0 + np.arange(30)).mean()
    np.testing.assert_allclose(part.frame_exposure, expected[3:9], rtol=1e-6)
    assert open_large(options, options.path, frames="0:10", most=lambda pixels: 10) is None
    with pytest.raises(UserError, match="ascending order"):
        open_large(options, options.path, frames="20,3", most=lambda pixels: 1)


def test_training_reads_as_many_frames_as_fit(scan):
    options = DataOptions(path=f"{scan}::/data", center="17.5,14", memory="1kB", hot_pixels=False)
    data = read_data(options)
    assert data.frames == blocks.FEWEST
    assert data.origin.numbers == tuple(spread(FRAMES, blocks.FEWEST))
    assert any("8 of 40 frames, evenly spread, are read" in note for note in data.origin.notes)
    whole = smae_jax.read(options.path)
    np.testing.assert_array_equal(data.counts, whole.counts[spread(FRAMES, blocks.FEWEST)])


@pytest.mark.slow
def test_a_run_trains_on_a_part_of_a_large_scan_and_goes_on_with_it(scan, smae):
    data = ("--data.path", f"{scan}::/data", "--data.center", "17.5,14", "--data.memory", "1kB")
    answer = smae("train", "--run", "r", *data, *SMALL)
    assert answer.status == 0, answer.err
    assert "8 of 40 frames, evenly spread" in answer.out
    more = smae("train", "--run", "r", "--resume", "--train.steps", 6)
    assert more.status == 0, more.err


def test_each_block_is_answered_as_if_it_stood_alone(scan, trained_run, undisturbed, smae):
    whole = answers_in(undisturbed)
    assert whole["data"].shape == (5, 8, 34, 30)
    for block in borders(FRAMES, 16):
        alone = ("--repeats", f"{block.start}:{block.stop}", "--sigma", "--overwrite")
        infer(smae, trained_run, scan, "alone.h5", *alone)
        own = answers_in("alone.h5")
        for name in ("data", "data_errors"):
            frames = whole[name].reshape(FRAMES, 34, 30)[block]
            np.testing.assert_array_equal(frames, own[name], err_msg=name)


@pytest.mark.slow
def test_replicas_of_a_block_are_those_of_its_frames_alone(scan, trained_run, smae):
    asked = ("--replicas", 4, "--no-combine", "--ensemble", "none")
    infer(smae, trained_run, scan, "whole.h5", "--repeats", "0:20", *asked, *TINY)
    infer(smae, trained_run, scan, "alone.h5", "--repeats", "10:20", *asked)
    with h5py.File("whole.h5") as whole, h5py.File("alone.h5") as alone:
        found, own = whole["entry/replicas/data"], alone["entry/replicas/data"]
        assert found.shape == (4, 20, 34, 30)
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found[:, 10:], own[()])
        assert own[()].std() > 0


def test_an_interrupted_output_goes_on_and_ends_with_the_same_bytes(
    scan, trained_run, undisturbed, smae, monkeypatch
):
    write, made = Parts.write, []

    def stopped(self, block, *args, **kwargs):
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(block)
        write(self, block, *args, **kwargs)

    monkeypatch.setattr(Parts, "write", stopped)
    command = ("infer", "--run", trained_run, "--input", f"{scan}::/data", "--output", "out.h5")
    with contextlib.suppress(KeyboardInterrupt):
        assert smae(*command, "--sigma", *TINY).status != 0
    assert not os.path.exists("out.h5")
    made.clear()
    monkeypatch.setattr(
        Parts,
        "write",
        lambda self, block, *a, **k: (made.append(block), write(self, block, *a, **k)),
    )
    with open("out.h5.parts/00000.h5", "r+b") as damaged:
        damaged.seek(os.path.getsize("out.h5.parts/00000.h5") // 2)
        damaged.write(bytes(4000))
    answer = infer(smae, trained_run, scan, "out.h5", "--sigma", *TINY)
    assert made == [0, 1, 2]  # the damaged one too
    assert "of which are there" not in answer.out
    assert_same("out.h5", undisturbed)
    assert sorted(os.listdir()) == ["out.h5"]


def test_what_is_finished_is_not_done_again(scan, trained_run, undisturbed, smae, monkeypatch):
    infer(smae, trained_run, scan, "out.h5", "--sigma", *TINY, "--shard", "1/2")
    assert os.listdir("out.h5.parts")
    made, write = [], Parts.write
    monkeypatch.setattr(
        Parts,
        "write",
        lambda self, block, *a, **k: (made.append(block), write(self, block, *a, **k)),
    )
    answer = infer(smae, trained_run, scan, "out.h5", "--sigma", *TINY)
    assert made == [1, 2]
    assert "this process does 3 of them, 1 of which are there" in answer.out
    assert_same("out.h5", undisturbed)


def test_shards_in_any_order_give_the_bytes_of_one_process(scan, trained_run, undisturbed, smae):
    said = infer(smae, trained_run, scan, "out.h5", "--sigma", *TINY, "--shard", "2/3").out
    assert "1 of 3 blocks are there" in said
    infer(smae, trained_run, scan, "out.h5", "--sigma", *TINY, "--shard", "3/3")
    assert not os.path.exists("out.h5")
    infer(smae, trained_run, scan, "out.h5", "--sigma", *TINY, "--shard", "1/3")
    assert_same("out.h5", undisturbed)
    assert sorted(os.listdir()) == ["out.h5"]


def test_parts_of_another_output_are_refused(scan, trained_run, smae):
    infer(smae, trained_run, scan, "out.h5", *TINY, "--shard", "1/3")
    command = ("infer", "--run", trained_run, "--input", f"{scan}::/data", "--output", "out.h5")
    for other in (("--no-combine",), ("--seed", 3), ("--repeats", "0:39"), ("--memory", "3MB")):
        answer = smae(*command, *TINY, *other)
        assert answer.status == 2, other
        assert "go on with the same options, or start anew with --overwrite" in answer.err
    infer(smae, trained_run, scan, "out.h5", *TINY, "--no-combine", "--overwrite")
    assert sorted(os.listdir()) == ["out.h5"]
    os.mkdir("other.h5.parts")
    answer = smae(*command[:-1], "other.h5", *TINY)
    assert answer.status == 2
    assert "is no folder of parts of an output" in answer.err


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (("--seed", 3), "another --seed (0; now 3); go on"),
        (("--repeats", "0:39"), "another number or size of frames; go on"),
        (("--memory", "3MB"), "another size of blocks, which follows from --memory ([(0, 13)"),
        (("--checkpoint", "last"), "another checkpoint or state of the run; go on"),
    ],
)
def test_what_is_other_about_parts_is_said_in_words(scan, trained_run, smae, begun, other, said):
    command = ("infer", "--run", trained_run, "--input", f"{scan}::/data", "--output", "out.h5")
    answer = smae(*command, *TINY, *BARE, *other)
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert said in answer.err


def test_a_file_that_was_written_anew_is_another_input(trained_run, smae, frames):
    options = ("--run", trained_run, "--input", "frames", "--output", "out.h5", *TINY, *BARE)
    assert smae("infer", *options, "--shard", "1/3").status == 0
    tifffile.imwrite("frames/7.tif", frames[8])
    os.utime("frames/7.tif", ns=(1, 1))
    answer = smae("infer", *options)
    assert answer.status == 2
    assert "whose files have another size or date by now" in answer.err


def test_an_input_that_changes_while_it_is_read_is_said_and_recorded(
    trained_run, smae, frames, monkeypatch
):
    write = Parts.write

    def meanwhile(self, block, *args, **options):
        os.utime("frames/3.tif", ns=(1, 1))
        write(self, block, *args, **options)

    monkeypatch.setattr(Parts, "write", meanwhile)
    options = ("--run", trained_run, "--input", "frames", "--output", "out.h5", *TINY, *BARE)
    answer = smae("infer", *options)
    assert answer.status == 0, answer.err
    assert "WARNING: frames/3.tif: changed size or date while the scan was read" in answer.out
    with h5py.File("out.h5") as file:
        assert "frames/3.tif: changed" in file["entry/process/input"].asstr()[()]


def test_parts_of_two_outputs_are_never_mixed(scan, trained_run, smae, monkeypatch):
    """One process is at work; another begins the same output anew with other options."""
    write, begun = Parts.write, []
    command = ("infer", "--run", trained_run, "--input", f"{scan}::/data", "--output", "out.h5")
    command = (*command, *TINY, *BARE)

    def meanwhile(self, block, *args, **options):
        if not begun:
            begun.append(True)
            assert smae(*command, "--seed", 3, "--overwrite", "--shard", "1/3").status == 0
        write(self, block, *args, **options)

    monkeypatch.setattr(Parts, "write", meanwhile)
    answer = smae(*command, "--shard", "2/2")
    assert answer.status == 2
    assert "another process has begun this output anew, with another --seed" in answer.err
    assert not os.path.exists("out.h5.parts/00001.h5")
    shutil.copy("out.h5.parts/00000.h5", "mine.h5")
    with h5py.File("mine.h5", "a") as file:
        file.attrs["made_of"] = "another"  # as if it had come in at that very moment
    shutil.copy("mine.h5", "out.h5.parts/00002.h5")
    said = infer(smae, trained_run, scan, "out.h5", *TINY, *BARE, "--seed", 3).out
    assert "1 of which are there" in said


def test_parts_that_go_while_they_are_made_are_said(scan, trained_run, smae, monkeypatch):
    write = Parts.write

    def meanwhile(self, block, *args, **options):
        if block == 1:
            shutil.rmtree(self.folder)
        write(self, block, *args, **options)

    monkeypatch.setattr(Parts, "write", meanwhile)
    command = ("infer", "--run", trained_run, "--input", f"{scan}::/data", "--output", "out.h5")
    answer = smae(*command, *TINY, *BARE)
    assert (answer.status, answer.err.count("has gone: another process")) == (2, 1)
    assert os.listdir() == []


def test_parts_that_go_while_one_is_written_are_said(scan, trained_run, smae, monkeypatch):
    """As where another process, of shards of another number, writes the output at that moment."""
    from smae_jax.io import parts

    create = parts.create_hdf5

    def meanwhile(path):
        if path.name == "00001.h5":
            shutil.rmtree("out.h5.parts")
        return create(path)

    monkeypatch.setattr(parts, "create_hdf5", meanwhile)
    command = ("infer", "--run", trained_run, "--input", f"{scan}::/data", "--output", "out.h5")
    answer = smae(*command, *TINY, *BARE)
    assert answer.status == 2
    assert "has gone: another process has written the output of these parts" in answer.err
    assert "cannot be written" not in answer.err
    assert os.listdir() == []


def test_a_part_that_is_damaged_before_it_is_joined_is_named(scan, trained_run, smae, monkeypatch):
    joined = blockwise.write_joined

    def damaged(output, parts, *args, **options):
        with open(parts.path(1), "r+b") as file:
            file.truncate(1000)
        return joined(output, parts, *args, **options)

    monkeypatch.setattr(blockwise, "write_joined", damaged)
    command = ("infer", "--run", trained_run, "--input", f"{scan}::/data", "--output", "out.h5")
    answer = smae(*command, *TINY, *BARE)
    assert answer.status == 2
    assert "00001.h5: this part has gone or is damaged; run the command again" in answer.err
    assert os.listdir() == ["out.h5.parts"]


def test_a_process_that_is_killed_while_it_joins_leaves_nothing_beside_the_output(
    scan, trained_run, smae, monkeypatch
):
    """What it has written lies among the parts, which the next one removes."""
    places = []

    def killed(path, *args):
        places.append(path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("smae_jax.io.writing.write_nexus", killed)
        command = ("infer", "--run", trained_run, "--input", f"{scan}::/data", "--output", "out.h5")
        assert smae(*command, *TINY, *BARE).status == 130
    assert places[0].relative_to(os.getcwd()).parts == ("out.h5.parts", ".joined", "out.h5")
    os.mkdir("out.h5.parts/.joined")
    open("out.h5.parts/.joined/out.h5", "w").close()
    assert "3 of which are there" in infer(smae, trained_run, scan, "out.h5", *TINY, *BARE).out
    assert os.listdir() == ["out.h5"]


@pytest.fixture
def killed(scan, trained_run, smae, monkeypatch):
    """Start a command and kill it when its output is in place, before the parts are removed."""

    def kill(output, *options):
        def killed(parts):
            raise KeyboardInterrupt

        command = ("infer", "--run", trained_run, "--input", f"{scan}::/data", "--output", output)
        with monkeypatch.context() as patch:
            patch.setattr(Parts, "remove", killed)
            assert smae(*command, *TINY, *BARE, *options).status == 130
        assert os.path.isdir(f"{output.rstrip('/')}.parts")
        return command

    return kill


@pytest.mark.parametrize(
    ("output", "files", "options"),
    [
        ("out.h5", ["f.png", "out.h5"], ("--figure", "f.png")),
        ("out.npy", ["out.npy", "out_sigma.npy"], ("--sigma",)),
        ("out/", ["out"], ("--shard", "1/1")),
    ],
)
def test_a_finished_output_whose_parts_were_left_is_no_longer_work(
    smae, killed, monkeypatch, output, files, options
):
    command = killed(output, *options)
    before = {name: os.stat(name).st_mtime_ns for name in files}
    monkeypatch.setattr(blockwise, "write_joined", None)
    monkeypatch.setattr(Parts, "write", None)
    answer = smae(*command, *TINY, *BARE, *options)
    assert answer.status == 0, answer.err
    assert f"{output}: is there, joined from these parts, which are removed" in answer.out
    assert f"{output}: 40 frames, in counts" in answer.out
    assert {name: os.stat(name).st_mtime_ns for name in sorted(os.listdir())} == before
    assert smae(*command, *TINY, *BARE, *options).status == 2  # an output as any other


@pytest.fixture
def killed_between(scan, trained_run, smae, monkeypatch):
    """Start a command and kill it when its output is in place, and no file beside it yet."""

    def kill(output, *options):
        def first_alone(scratch, path, *beside, **options):
            os.replace(scratch / path.name, path)
            if beside:
                patch.setattr(atomic, "shutil", types.SimpleNamespace(rmtree=lambda *a, **k: None))
                raise KeyboardInterrupt

        command = ("infer", "--run", trained_run, "--input", f"{scan}::/data", "--output", output)
        command = (*command, *BARE, "--sigma", *options)
        with monkeypatch.context() as patch:
            patch.setattr(atomic, "_move", first_alone)
            assert smae(*command).status == 130
        return command

    return kill


@pytest.mark.parametrize(
    ("output", "options"), [("out.npy", TINY), ("out/", TINY), ("out.npy", ()), ("out.tif", ())]
)
def test_a_kill_between_two_files_of_an_output_needs_no_overwrite(
    smae, killed_between, output, options
):
    command = killed_between(output, *options)
    name = output.rstrip("/")
    sigma = f"{Path(name).stem}_sigma{Path(name).suffix}"
    assert not os.path.exists(sigma)
    other = smae(*command, "--seed", 3)
    assert (other.status, other.err.count("\n")) == (2, 1)
    if options:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blockwise, "write_joined", None)
            answer = smae(*command)
    else:
        answer = smae(*command)
        assert "is there without its other files" in answer.out
    assert answer.status == 0, answer.err
    assert sorted(os.listdir()) == sorted([name, sigma])
    assert smae(*command).status == 2  # an output as any other
    before = {one: read_bytes(one) for one in (name, sigma)}
    assert smae(*command, "--overwrite").status == 0
    assert {one: read_bytes(one) for one in (name, sigma)} == before


def test_what_a_kill_left_and_somebody_changed_is_not_written_over(smae, killed_between):
    command = killed_between("out.npy")
    os.utime("out.npy", ns=(0, 0))  # as if it were another file
    answer = smae(*command)
    assert answer.status == 2
    assert "out.npy: exists already" in answer.err


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (("--seed", 3), "parts of an output that were made with another --seed"),
        (("--output-dtype", "uint16"), "out.h5: exists already"),
        (("--memory", "4GiB"), "out.h5: exists already"),
        (("--memory", "3MB"), "out.h5.parts: holds parts of an output that were made with"),
    ],
)
def test_a_finished_output_with_its_parts_is_not_written_over_by_another(smae, killed, other, said):
    command = killed("out.h5")
    whole = Path("out.h5").read_bytes()
    answer = smae(*command, *TINY, *BARE, *other)
    assert answer.status == 2
    assert said in answer.err
    assert Path("out.h5").read_bytes() == whole
    os.utime("out.h5", ns=(0, 0))  # as if it were another file
    answer = smae(*command, *TINY, *BARE)
    assert answer.status == 2
    assert "out.h5: exists already, and " in answer.err


def test_parts_beside_a_finished_output_are_joined_again_on_demand(scan, trained_run, smae, begun):
    open("out.h5", "w").close()  # as of a process that was killed before it removed the parts
    command = ("infer", "--run", trained_run, "--input", f"{scan}::/data", "--output", "out.h5")
    answer = smae(*command, *TINY, *BARE)
    assert answer.status == 2
    assert "--overwrite goes on with these parts and replaces it" in answer.err
    said = infer(smae, trained_run, scan, "out.h5", *TINY, *BARE, "--overwrite").out
    assert "1 of which are there" in said


def test_a_shard_of_a_scan_of_one_block_is_refused(scan, trained_run, smae):
    answer = smae(
        *("infer", "--run", trained_run, "--input", f"{scan}::/data", "--output", "o.h5"),
        *("--shard", "1/2"),
    )
    assert answer.status == 2
    assert "is one block of 40 frames; leave it out" in answer.err


@pytest.mark.parametrize("output", ["out.npy", "out.tif", "out/", "out.npz"])
def test_every_format_holds_the_same_answers(output, scan, trained_run, undisturbed, smae):
    infer(smae, trained_run, scan, output, "--sigma", *TINY)
    expected = answers_in(undisturbed)["data"].reshape(FRAMES, 34, 30)
    if output == "out/":
        files = sorted(os.listdir("out"))
        found = np.stack([tifffile.imread(f"out/{name}") for name in files])
    elif output.endswith("npz"):
        found = np.load(output)["counts"]
    else:
        found = np.load(output) if output.endswith("npy") else tifffile.imread(output)
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_flags_of_every_frame_are_kept(undisturbed):
    found = answers_in(undisturbed)
    mask = found["pixel_mask"].reshape(-1, 34, 30)
    filled = found["filled"].reshape(-1, 34, 30)
    unknown = np.isnan(found["data"].reshape(FRAMES, 34, 30))
    np.testing.assert_array_equal(np.broadcast_to(mask != 0, unknown.shape), unknown)
    assert len(filled) == FRAMES
    assert filled[5, 9, 9]
    assert not filled[6, 9, 9]


def test_blocks_without_photons_or_without_a_valid_pixel_do_not_stop_the_others(
    scan, trained_run, smae, tmp_path
):
    with h5py.File(scan) as file:
        counts = file["data"][()].reshape(FRAMES, 34, 30)
    counts[:14] = 0
    counts[27:] = 65535
    np.save(tmp_path / "gone.npy", counts)
    answer = smae(
        *("infer", "--run", trained_run, "--input", "gone.npy", "--output", "o.h5", *TINY),
        *("--marks", "65535"),
    )
    assert answer.status == 0, answer.err
    found = answers_in("o.h5")["data"]
    assert np.isfinite(found[20]).mean() > 0.9
    assert np.isnan(found[30]).all()
    assert np.nanmax(found[3]) == 0


@pytest.mark.slow
def test_a_large_scan_is_judged_by_frames_spread_over_it(scan, trained_run, smae):
    answer = smae(
        *("evaluate", "--run", trained_run, "--input", f"{scan}::/data", "--output", "e"), *TINY
    )
    assert answer.status == 0, answer.err
    assert "16 of 40 frames, evenly spread, are judged" in answer.out


@pytest.mark.slow
@pytest.mark.optimized
def test_killed_at_any_moment_the_output_ends_with_the_same_bytes(scan, trained_run, tmp_path):
    """A real process and a real kill, again and again until it gets through."""
    out, undisturbed = tmp_path / "out.h5", tmp_path / "undisturbed.h5"

    def writing(path):
        words = (
            *(sys.executable, "-m", "smae_jax.cli", "infer", "--run", trained_run),
            *("--input", f"{scan}::/data", "--output", path, "--sigma", *TINY),
        )
        return [str(word) for word in words]

    subprocess.run(writing(undisturbed), check=True)
    rng, kills, parts = np.random.default_rng(0), 0, tmp_path / "out.h5.parts"
    for wanted in (0, 1, 1, 2):  # blocks that are there before the kill
        process = subprocess.Popen(writing(out))
        while process.poll() is None and len([*parts.glob("0*.h5")]) < wanted:
            time.sleep(0.02)
        time.sleep(rng.random())
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
        if out.exists():
            break
    if not out.exists():
        subprocess.run(writing(out), check=True)
    assert kills
    assert_same(out, undisturbed)


def test_two_processes_do_not_do_the_same_part(scan, trained_run, smae):
    from smae_jax.run.lock import held

    with held("out.h5.parts-1-of-1", doing="denoising", option="--output"):
        command = ("infer", "--run", trained_run, "--input", f"{scan}::/data", "--output", "out.h5")
        answer = smae(*command, *TINY)
    assert answer.status == 2
    assert "is denoising there; wait for it or stop it" in answer.err


def test_an_amount_of_memory_that_is_none_is_refused():
    with pytest.raises(UserError, match="--memory: expected an amount of memory"):
        InferConfig(memory="lots")
    with pytest.raises(UserError, match=r"--data\.memory: expected an amount of memory"):
        DataOptions(memory="lots")


@pytest.mark.parametrize(("packing", "expected"), [("gzip", "gzip"), ("none", None)])
def test_packing_can_be_one_that_every_reader_has(packing, expected, scan, trained_run, smae):
    infer(smae, trained_run, scan, "out.h5", "--packing", packing, "--repeats", "0:2")
    with h5py.File("out.h5") as file:
        assert file["entry/data/data"].compression == expected


def test_frames_are_warned_of_by_their_numbers_in_the_scan(scan, trained_run, smae, tmp_path):
    with h5py.File(scan) as file:
        counts = file["data"][()].reshape(FRAMES, 34, 30)
    counts[10:14] = 0
    np.save("zeros.npy", counts)
    command = ("infer", "--run", trained_run, "--input", "zeros.npy", "--output", "o.npy")
    answer = smae(*command, *TINY)
    assert answer.status == 0, answer.err
    looked_at = [frame for frame in spread(FRAMES, 16).tolist() if 10 <= frame < 14]
    assert looked_at
    assert f"of 16 frames looked at (number {', '.join(map(str, looked_at))}, counted" in answer.out


def test_a_mistake_is_found_before_parts_are_made(scan, trained_run, smae):
    np.save("small.npy", np.ones((5, 5)))
    command = (
        "infer",
        "--run",
        trained_run,
        "--input",
        f"{scan}::/data",
        "--output",
        "o.h5",
        *TINY,
    )
    assert smae(*command, "--background", "small.npy").status == 2
    assert sorted(os.listdir()) == ["small.npy"]


def test_an_output_is_found_under_whatever_name(scan, trained_run, undisturbed, smae):
    infer(smae, trained_run, scan, "./q/../p/o.h5", "--sigma", *TINY)
    assert os.listdir("p") == ["o.h5"]
    assert_same("p/o.h5", undisturbed)


def test_another_background_of_the_same_name_makes_other_parts(scan, trained_run, smae):
    np.save("b.npy", np.ones((2, 34, 30)))
    infer(smae, trained_run, scan, "o.h5", *TINY, "--background", "b.npy", "--shard", "1/3")
    np.save("b.npy", 2 * np.ones((2, 34, 30)))
    command = ("infer", "--run", trained_run, "--input", f"{scan}::/data", "--output", "o.h5")
    answer = smae(*command, *TINY, "--background", "b.npy")
    assert answer.status == 2
    assert "made with another background" in answer.err


def test_a_damaged_part_of_another_shard_is_no_part(scan, trained_run, undisturbed, smae):
    infer(smae, trained_run, scan, "o.h5", "--sigma", *TINY, "--shard", "1/3")
    infer(smae, trained_run, scan, "o.h5", "--sigma", *TINY, "--shard", "2/3")
    with open("o.h5.parts/00001.h5", "r+b") as damaged:
        damaged.truncate(1000)
    said = infer(smae, trained_run, scan, "o.h5", "--sigma", *TINY, "--shard", "3/3").out
    assert "2 of 3 blocks are there" in said
    infer(smae, trained_run, scan, "o.h5", "--sigma", *TINY, "--shard", "2/3")
    assert_same("o.h5", undisturbed)


def test_who_comes_last_but_one_leaves_the_output_to_the_other(scan, trained_run, smae):
    from smae_jax.run.lock import held

    with held("o.h5.parts-joined", doing="writing", option="--output"):
        said = infer(smae, trained_run, scan, "o.h5", *TINY).out
    assert "o.h5: another process has finished last, and writes it" in said
    assert not os.path.exists("o.h5")
    said = infer(smae, trained_run, scan, "o.h5", *TINY).out
    assert "3 of which are there" in said
    with h5py.File("o.h5") as file:
        process = {name: text[()].decode() for name, text in file["entry/process"].items()}
    assert process["stages"].split()[0] == "combine"
    assert "--memory 2.3MB" in process["options"]


def test_who_comes_when_the_parts_are_gone_is_content(
    scan, trained_run, undisturbed, smae, monkeypatch
):
    """Another process joins the parts between this one's last block and its look at the folder."""
    infer(smae, trained_run, scan, "o.h5", "--sigma", *TINY, "--shard", "1/2")
    missing, asked = Parts.missing, []

    def joined_meanwhile(self, among=None):
        asked.append(among)
        if len(asked) == 2:
            found = missing(self, among)
            os.rename(self.folder, "gone")
            return found
        return missing(self, among)

    monkeypatch.setattr(Parts, "missing", joined_meanwhile)
    said = infer(smae, trained_run, scan, "o.h5", "--sigma", *TINY, "--shard", "2/2").out
    assert "another process has finished last, and writes it" in said


def test_the_figure_is_drawn_and_nothing_is_left(scan, trained_run, smae):
    infer(smae, trained_run, scan, "o.tif", *TINY, "--figure", "f.png")
    assert sorted(os.listdir()) == ["f.png", "o.tif"]


def test_files_of_the_run_and_parts_that_are_read_are_not_written_over(
    scan, trained_run, smae, begun
):
    shutil.copytree(trained_run, "copy")
    asked = ("infer", "--run", "copy", "--input", f"{scan}::/data", *TINY, *BARE, "--overwrite")
    before = Path("copy/mask.npz").read_bytes()
    for name in ("mask.npz", "coarse.npz"):
        refused = smae(*asked, "--output", f"copy/{name}")
        assert refused.status == 2
        assert "is an input, which would be lost" in refused.err
    assert Path("copy/mask.npz").read_bytes() == before
    parts = sorted(os.listdir("out.h5.parts"))
    refused = smae(
        *("infer", "--run", trained_run, "--input", "out.h5.parts/0*.h5::/counts", "--overwrite"),
        *("--output", "out.h5"),
    )
    assert refused.status == 2
    assert "out.h5.parts: holds the input" in refused.err
    assert sorted(os.listdir("out.h5.parts")) == parts


def test_parts_of_an_input_that_was_touched_are_told_from_those_of_other_options(
    scan, trained_run, smae
):
    shutil.copy(scan, "touched.h5")
    infer(smae, trained_run, "touched.h5", "out.h5", *TINY, *BARE, "--shard", "1/3")
    os.utime("touched.h5", (1, 1))
    refused = smae(
        *("infer", "--run", trained_run, "--input", "touched.h5::/data", "--output", "out.h5"),
        *(*TINY, *BARE),
    )
    assert refused.status == 2
    assert "touched.h5::/data, whose files have another size or date by now" in refused.err


def test_an_array_of_many_files_has_the_state_of_all_of_them(tmp_path):
    folder = tmp_path / "scan.zarr" / "c"
    folder.mkdir(parents=True)
    (folder / "0").write_bytes(b"12")
    before = file_state(str(tmp_path / "scan.zarr"))
    os.utime(folder / "0", (9e9, 9e9))
    after = file_state(str(tmp_path / "scan.zarr"))
    assert before is not None
    assert after == (before[0], 9 * 10**18)


@pytest.mark.parametrize("packed", [{"compression": "gzip"}, hdf5plugin.Bitshuffle(cname="lz4")])
def test_a_damaged_frame_is_named_and_can_be_left_out(packed, trained_run, smae, tmp_path):
    path = tmp_path / "damaged.h5"
    counts = np.random.default_rng(0).poisson(5, (FRAMES, 34, 30)).astype(np.uint16)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=counts, chunks=(1, 34, 30), **packed)
        place = file["data"].id.get_chunk_info_by_coord((23, 0, 0))
    with open(path, "r+b") as file:
        file.seek(place.byte_offset)
        file.write(b"\xff" * 40)
    asked = ("infer", "--run", trained_run, "--input", f"{path}::/data", "--output", "out.h5")
    refused = smae(*asked, *TINY, *BARE)
    assert refused.status == 2
    assert "damaged.h5: frame 23 of /data cannot be read" in refused.err
    assert smae(*asked, *TINY, *BARE, "--repeats", "0:23,24:", "--overwrite").status == 0
    assert answers_in("out.h5")["data"].shape == (FRAMES - 1, 34, 30)


def test_a_block_with_values_that_are_no_counts_is_named(trained_run, smae, tmp_path):
    counts = np.random.default_rng(0).poisson(5, (FRAMES, 34, 30)).astype(np.float32)
    frame = next(n for n in range(FRAMES) if n not in spread(FRAMES, 16))
    counts[frame, 3, 3] += 0.5
    path = tmp_path / "odd.h5"
    with h5py.File(path, "w") as file:
        file["data"] = counts
    asked = ("infer", "--run", trained_run, "--input", f"{path}::/data", "--output", "out.h5")
    told = smae(*asked, *TINY)
    assert told.status == 0, told.err
    assert ".5, where other frames hold whole photon counts" in told.out + told.err
    refused = smae(*asked, *TINY, "--sigma", "--overwrite")
    assert refused.status == 2
    assert "error bars are those of counts" in refused.err


def test_less_memory_than_the_smallest_block_takes_is_said(scan, trained_run, smae):
    told = infer(smae, trained_run, scan, "out.h5", "--memory", "1kB", *BARE)
    assert "WARNING: 8 frames are the fewest that are denoised together" in told.out + told.err
