"""Masked pixels are filled from their partner, measured ones stay, in one piece and block by block."""

import io
import os
import sys

import h5py
import numpy as np
import pytest
import tifffile

import smae_jax
from smae_jax import cli
from smae_jax.filling import from_partner
from smae_jax.geometry import Center, turn
from smae_jax.measurements import Measurements

CENTER = (17.5, 14.0)
AT = ("--center", "17.5,14")


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """40 frames (34, 30) in HDF5 with a mark, and a mask: a gap, and a pixel with its partner."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:34, :30]
    rate = 1 + 30 * np.exp(-(((y - 17.5) / 4) ** 2) - ((x - 14) / 7) ** 2)
    counts = rng.poisson(rate, (40, 34, 30)).astype(np.uint16)
    counts[:, 25, 25] = 65535
    mask = np.zeros((34, 30), bool)
    mask[20:22] = mask[3, 4] = mask[32, 24] = True
    folder = tmp_path_factory.mktemp("fill")
    with h5py.File(folder / "scan.h5", "w") as file:
        file["data"] = counts
    tifffile.imwrite(folder / "mask.tif", mask.astype(np.uint8))
    return folder, counts, mask


def fill(smae, scan, output, *options):
    folder = scan[0]
    return smae(
        *("fill", "--input", f"{folder}/scan.h5::/data", "--mask", folder / "mask.tif"),
        *("--output", output, *options),
    )


def expected(scan):
    """Counts, by plain indexing: the partner of (y, x) is (35 - y, 28 - x)."""
    _, counts, mask = scan
    bad = mask | (counts[0] == 65535)
    found = np.where(bad, np.nan, counts)
    for y, x in zip(*np.nonzero(bad), strict=True):
        there = (35 - y, 28 - x)
        if 0 <= there[0] < 34 and 0 <= there[1] < 30 and not bad[there]:
            found[:, y, x] = counts[:, there[0], there[1]]
    return found


def test_a_scan_in_one_piece(smae, scan):
    answer = fill(smae, scan, "out.h5", *AT)
    assert answer.status == 0, answer.err
    assert "as they were counted" in answer.out
    with h5py.File("out.h5") as file:
        data = file["entry/data"]
        np.testing.assert_array_equal(data["data"][()], expected(scan))
        assert data["filled"][()][20].any()
        assert not data["filled"][()][10].any()
        assert "partner" in data["data"].attrs["long_name"]
        assert "as they were counted" in file["entry/process/fill"].asstr()[()]
    read = smae_jax.read("out.h5")
    np.testing.assert_array_equal(read.valid[0], np.isfinite(expected(scan)[0]))
    assert fill(smae, scan, "out.h5", *AT).status == 2  # nothing is overwritten


def test_a_filled_scan_whose_parts_were_left_is_done(smae, scan, monkeypatch):
    def killed(parts):
        raise KeyboardInterrupt

    tiny = ("--memory", "2.3MB")
    with monkeypatch.context() as patch:
        patch.setattr("smae_jax.io.parts.Parts.remove", killed)
        assert fill(smae, scan, "out.h5", *AT, *tiny).status == 130
    assert fill(smae, scan, "out.h5", "--center", "17,14", *tiny).status == 2
    answer = fill(smae, scan, "out.h5", *AT, *tiny)
    assert answer.status == 0, answer.err
    assert "is there, joined from these parts" in answer.out
    assert not os.path.exists("out.h5.parts")


def test_a_large_scan_is_filled_in_blocks_and_gone_on_with(smae, scan, tmp_path):
    tiny = ("--memory", "2.3MB")
    first = fill(smae, scan, "out.h5", *AT, *tiny, "--shard", "1/2")
    assert first.status == 0, first.err
    assert (tmp_path / "out.h5.parts").is_dir()
    other = fill(smae, scan, "out.h5", "--center", "17,14", *tiny)
    assert other.status == 2
    assert "another center" in other.err
    answer = fill(smae, scan, "out.h5", *AT, *tiny)
    assert "3 blocks" in answer.out
    assert "1 of which are there" in answer.out
    assert not (tmp_path / "out.h5.parts").exists()
    with h5py.File("out.h5") as file:
        np.testing.assert_array_equal(file["entry/data/data"][()], expected(scan))


def test_whole_numbers_stay_whole_numbers(smae, scan):
    answer = fill(smae, scan, "out.tif", *AT, "--output-dtype", "uint16", "--frames", "0:3")
    assert answer.status == 0, answer.err
    stored = tifffile.imread("out.tif")
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored, np.nan_to_num(expected(scan)[:3], nan=65535))


def test_a_centre_is_found(smae):
    simulated = ("--output", "scan.h5", "--frames", 8, "--size", 64, "--photons", 5)
    assert smae("simulate", *simulated).status == 0
    answer = smae("fill", "--input", "scan.h5", "--output", "out.npy")
    assert answer.status == 0, answer.err
    assert "found by correlation" in answer.out
    before, after = smae_jax.read("scan.h5").valid.mean(), np.isfinite(np.load("out.npy")).mean()
    assert before + 0.03 < after < 1


def test_without_a_trusted_centre_nothing_is_written(smae, scan, tmp_path):
    np.save("even.npy", np.random.default_rng(0).poisson(3, (3, 40, 30)).astype(np.int32))
    even = smae("fill", "--input", "even.npy", "--output", "out.npy")
    off = fill(smae, scan, "out.npy", "--center", "-300,14")
    for answer in (even, off):
        assert (answer.status, answer.err.count("\n")) == (2, 1)
        assert "no trusted centre" in answer.err
        assert "--center y,x" in answer.err
    assert not (tmp_path / "out.npy").exists()


def test_mistakes_are_one_line(smae, scan):
    for options, said in (
        (("--shard", "1/2", *AT), "is one block of 40 frames"),
        (("--mask-polarity", "good", "--center", "a"), "--center: expected 'auto' or 'y,x'"),
        (("--output-dtype", "uint64"), "--output-dtype uint64: expected one of"),
        (("--frames", "90"), "--frames"),
    ):
        answer = fill(smae, scan, "out.h5", *options)
        assert (answer.status, answer.err.count("\n")) == (2, 1)
        assert said in answer.err
        assert "--data." not in answer.err
    answer = smae("fill", "--input", "x.tif")
    assert "--output: expected a path" in answer.err
    table = "\n".join(f"{e} {c}" for e, c in enumerate(range(50)))
    with open("spectrum.txt", "w") as file:
        file.write(table)
    answer = smae("fill", "--input", "spectrum.txt", "--output", "o.h5")
    assert answer.status == 2
    assert "expected patterns" in answer.err


@pytest.mark.parametrize("output", ["\u00fc.h5", "\u00fc/"])
def test_names_that_are_no_text_are_written_and_printed_as_escapes(
    tmp_path, monkeypatch, scan, output
):
    """Names of files are bytes, and a terminal may show ASCII alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    folder = os.fsdecode(b"M\xfcller")
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system takes no such name")
    tifffile.imwrite(os.path.join(folder, os.fsdecode(b"\xfc1.tif")), scan[1][0])
    assert cli.main(["fill", "--input", folder, "--output", output, *AT]) == 0
    sys.stdout.seek(0)
    assert "\\xfc" in sys.stdout.read()
    if output.endswith("h5"):
        with h5py.File(output) as file:
            assert file["entry/data/source"].asstr()[0] == "\\xfc1.tif"
            assert file["entry/process/source"].asstr()[()] == "M\\xfcller"


def test_nothing_is_advised_that_only_a_training_can_do(smae, scan):
    """Values that do not scatter as photons do are no matter here: a pixel has its partner's."""
    np.save("seven.npy", scan[1][:4].astype(np.int32) * 7)
    answer = smae("fill", "--input", "seven.npy", "--output", "o.npy", *AT)
    assert answer.status == 0, answer.err
    assert "WARNING" not in answer.out
    assert "thinning" not in answer.out
    dark = np.where(np.arange(4)[:, None, None] == 2, 0, scan[1][:4])
    np.save("dark.npy", dark)
    answer = smae(
        "fill", "--input", "dark.npy", "--output", "d.npy", "--mask", scan[0] / "mask.tif", *AT
    )
    assert "is all zero (shutter closed?); leave them out with --frames" in answer.out


def test_exposures_of_pixel_and_partner_are_taken_into_account():
    rng = np.random.default_rng(1)
    response = rng.uniform(0.5, 2, (7, 6)).astype(np.float32)
    light = np.array([1, 3], np.float32)[:, None, None]
    valid = np.ones((7, 6), bool)
    valid[1, 2] = False
    valid[6, :] = False  # without a partner about this centre, as row 0 would be off the frame
    counts = np.where(valid, rng.poisson(40, (2, 7, 6)), 0).astype(np.int32)
    exposure = np.where(valid, light * response, 0).astype(np.float32)
    data = Measurements(counts, exposure, Center.given((2.5, 2.5)), response=response)
    answers = from_partner(data)
    np.testing.assert_array_equal(answers.counts[:, valid], counts[:, valid])
    ratio = response[1, 2] / response[4, 3]
    np.testing.assert_allclose(answers.counts[:, 1, 2], counts[:, 4, 3] * ratio, rtol=1e-6)
    assert np.isnan(answers.counts[:, 6]).all()
    assert not answers.known[:, 6].any()
    np.testing.assert_array_equal(answers.filled[0], ~valid & turn(valid, (2.5, 2.5), False))
    with pytest.raises(ValueError, match="trusted centre"):
        from_partner(Measurements(counts, exposure))
