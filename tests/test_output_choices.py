"""Types, packings and contents of an output: what is asked for is written, said, and read back."""

import h5py
import numpy as np
import pytest

import smae_jax
from smae_jax.config import InferConfig
from smae_jax.errors import UserError
from smae_jax.filling import beside_counts
from smae_jax.io.array_files import HDF5_SUFFIXES
from smae_jax.io.form import Form, form_of
from smae_jax.io.number_types import NumberType
from smae_jax.io.packings import packing_options
from smae_jax.io.reading import read
from smae_jax.io.writing import write
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers
from smae_jax.outliers import take_out

TYPES = ("float16", "uint16", "uint32", "int32")


def infer(smae, run, scan, output, *options):
    arguments = ("--input", f"{scan}::counts", "--output", output, "--no-combine", *options)
    return smae("infer", "--run", run, *arguments)


def written(path, name="data"):
    with h5py.File(path) as file:
        data = file["entry/data"]
        return data[name][()] if name in data else None


@pytest.fixture(scope="module")
def plain(small_scan, trained_run, tmp_path_factory):
    """The answers as they are written without any choice, and their error bars."""
    from smae_jax import cli

    path = tmp_path_factory.mktemp("plain") / "out.h5"
    command = ("infer", "--run", trained_run, "--input", f"{small_scan}::counts", "--no-combine")
    assert cli.main([str(word) for word in (*command, "--output", path, "--sigma")]) == 0
    return path


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("suffix", [".h5", ".npy", ".tif"])
def test_what_is_written_is_read_back(tmp_path, kind, suffix):
    rng = np.random.default_rng(0)
    counts = rng.gamma(2.0, 20, size=(3, 9, 7)).astype(np.float32)
    counts[0, 0, :4] = 0.5, 1.5, 2.5, 3.5
    known = rng.random(counts.shape) > 0.3
    known[0, 0, :4] = True
    data = Measurements(counts, known.astype(np.float32))
    path = str(tmp_path / f"out{suffix}")
    said = write(path, counts, data, known=known, sigma=counts / 9, form=Form(NumberType(kind)))
    found = smae_jax.read(path)
    assert found.origin.dtype == kind
    np.testing.assert_array_equal(found.valid, known)
    if kind == "float16":
        np.testing.assert_allclose(found.counts[known], counts[known], rtol=2**-11)
    else:
        assert said.startswith(f"{kind}: rounded half to even, ")
        np.testing.assert_array_equal(found.counts[known], np.rint(counts[known]))
        np.testing.assert_array_equal(found.counts[0, 0, :4], [0, 2, 2, 4])
    beside = {".npy": "out_sigma.npy", ".tif": "out_sigma.tif"}
    if suffix == ".h5":
        errors = written(path, "data_errors")
    else:
        errors = smae_jax.read(str(tmp_path / beside[suffix])).counts
    assert (errors[known] > 0).mean() > 0.99  # error bars below one count are not rounded away


@pytest.mark.parametrize("kind", TYPES)
def test_what_does_not_fit_is_clipped_and_told(tmp_path, kind):
    numbers = NumberType(kind)
    counts = np.full((2, 4, 5), 7, np.float32)
    counts[0, 0, 0], counts[1, 1, 1] = 1e11, -1e11
    data = Measurements(counts, np.ones_like(counts))
    path = str(tmp_path / "out.h5")
    said = write(path, counts, data, form=Form(numbers))
    assert "; 2 values clipped to " in said
    stored = written(path)
    low, high = numbers.limits
    assert (stored[0, 0, 0], stored[1, 1, 1]) == (high, low)
    assert (stored == 7).sum() == 38
    with h5py.File(path) as file:
        assert file["entry/process/output_dtype"].asstr()[()] == said
    back = smae_jax.read(path, center="2,2")
    assert back.valid[0, 0, 0]  # the largest that fits is a measurement, not the mark


@pytest.mark.parametrize("suffix", [".h5", ".tif"])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "int32"])
def test_clipped_answers_are_no_marks_when_they_are_read_back(tmp_path, suffix, kind):
    """The file says which number has no answer; one that counters end at is an answer."""
    counts = np.full((3, 24, 20), 7, np.float32)
    counts[:, 3, 4:9], counts[1, 8, 2:5], counts[:, 5] = 1e11, 254, np.nan
    data = Measurements(counts, np.ones_like(counts))
    path = str(tmp_path / f"out{suffix}")
    write(path, counts, data, form=Form(NumberType(kind)))
    back = read(path)
    np.testing.assert_array_equal(back.full_exposure > 0, ~np.isnan(counts))
    limit = NumberType(kind).limits[1]
    np.testing.assert_array_equal(back.counts[:, 3, 4:9], np.full((3, 5), limit))
    assert f"value {NumberType(kind).mark} is no answer" in " ".join(back.origin.notes)
    assert back.origin.marks == "auto"  # a run trained on it looks for the marks of others' files


def test_negative_answers_in_whole_numbers_are_answers(tmp_path):
    counts = np.full((2, 24, 20), 7, np.float32)
    counts[:, 3, 4] = -2
    path = str(tmp_path / "out.h5")
    write(path, counts, Measurements(counts, np.ones_like(counts)), form=Form(NumberType("int32")))
    assert read(path).valid.all()
    assert not read(path, marks="auto,7").valid[0, 0, 0]


def test_infer_rounds_and_says_so(smae, trained_run, small_scan, plain):
    answer = infer(smae, trained_run, small_scan, "out.h5", "--output-dtype", "uint16")
    assert answer.status == 0, answer.err
    assert "note: uint16: rounded half to even, 65535 where there is no answer\n" in answer.out
    assert "the rest is 65535; step" in answer.out
    expected, found = written(plain), written("out.h5")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, np.nan_to_num(np.rint(expected), nan=65535))
    read = smae_jax.read("out.h5")
    np.testing.assert_array_equal(read.full_exposure > 0, np.isfinite(expected))


def test_only_error_bars(smae, trained_run, small_scan, plain):
    answer = infer(smae, trained_run, small_scan, "out.h5", "--only", "sigma")
    assert answer.status == 0, answer.err
    np.testing.assert_array_equal(written("out.h5"), written(plain, "data_errors"))
    assert written("out.h5", "data_errors") is None
    with h5py.File("out.h5") as file:
        assert "standard deviation" in file["entry/data/data"].attrs["long_name"]


def test_only_what_was_not_measured_is_answered(smae, trained_run, small_scan, plain):
    answer = infer(smae, trained_run, small_scan, "out.h5", "--only", "filled")
    assert answer.status == 0, answer.err
    scan = np.load(small_scan)
    bad = np.broadcast_to(scan["mask"], scan["counts"].shape)
    found = written("out.h5")
    np.testing.assert_array_equal(found[~bad], scan["counts"][~bad])
    np.testing.assert_array_equal(found[bad], written(plain)[bad])
    assert np.isfinite(found[bad]).any()
    np.testing.assert_array_equal(written("out.h5", "filled"), (np.isfinite(found) & bad)[0])


def test_blocks_are_written_as_one_piece_is(smae, trained_run, tmp_path, plain, small_scan):
    """Frames of a large scan go through the form one by one."""
    counts = np.tile(np.load(small_scan)["counts"], (4, 1, 1))
    np.savez("many.npz", counts=counts)
    for name, memory in (("one", "4GiB"), ("blocks", "2.3MB")):
        options = ("--memory", memory, "--output-dtype", "int32", "--packing", "zstd:5")
        options += ("--only", "filled", "--ensemble", "none", "--no-keep-sums", "--no-keep-shadows")
        answer = infer(smae, trained_run, "many.npz", f"{name}.h5", *options)
        assert answer.status == 0, answer.err
        assert "note: int32: rounded half to even" in answer.out
    assert "24 frames in 2 blocks" in answer.out
    np.testing.assert_array_equal(written("blocks.h5"), written("one.h5"))
    with h5py.File("blocks.h5") as file:
        assert file["entry/data/data"].dtype == np.int32
        assert file["entry/data/data"]._filters["32008"][-1] == 5  # the level of zstd


def test_an_outlier_stays_as_it_was_counted():
    rng = np.random.default_rng(0)
    counts = rng.poisson(2, (4, 20, 20)).astype(np.int32)
    counts[1, 5, 5] = 900
    data = take_out(Measurements(counts, np.ones((1, 20, 20), np.float32)))
    assert data.counts[1, 5, 5] < 900
    whole = np.ones(counts.shape, bool)
    answers = Answers(np.zeros(counts.shape, np.float32), whole, ~whole)
    np.testing.assert_array_equal(beside_counts(answers, data).counts, counts)


def test_a_filled_pixel_is_answered_as_it_would_have_counted():
    exposure = np.array([[[2, 0, 3, 0]]], np.float32)
    response = np.array([[2, 4, 3, 0]], np.float32)
    data = Measurements(np.array([[[20, 0, 30, 0]]], np.int32), exposure, response=response)
    answers = Answers(np.full((1, 1, 4), 9, np.float32), np.ones((1, 1, 4), bool), exposure == 0)
    np.testing.assert_array_equal(beside_counts(answers, data).counts, [[[20, 36, 30, 9]]])


@pytest.mark.parametrize(
    ("text", "level"), [("gzip", 4), ("gzip:9", 9), ("zstd:1", 1), ("zstd", 3), ("zstd:22", 22)]
)
def test_packings_have_their_levels(text, level):
    options = packing_options(text)
    found = options["compression_opts"]
    assert (found if isinstance(found, int) else found[-1]) == level


@pytest.mark.parametrize(
    ("output", "options", "said"),
    [
        ("o.h5", {"packing": "gzip:10"}, "expected a level from 1 to 9"),
        ("o.h5", {"packing": "zstd:0"}, "expected a level from 1 to 22"),
        ("o.h5", {"packing": "bitshuffle:3"}, "bitshuffle has no level"),
        ("o.h5", {"packing": "lzma"}, "expected one of bitshuffle, zstd, gzip, none"),
        ("o.tif", {"packing": "gzip"}, "is for HDF5 and does nothing for o.tif"),
        ("o.csv", {"output_dtype": "uint16"}, "text has no types"),
        ("o.h5", {"output_dtype": "int16"}, "expected one of float32, float16"),
    ],
)
def test_forms_that_are_none_are_refused(output, options, said):
    with pytest.raises(UserError, match=said):
        form_of(output, **({"output_dtype": "float32", "packing": "bitshuffle"} | options))


@pytest.mark.parametrize("suffix", HDF5_SUFFIXES)
def test_replicas_go_to_every_kind_of_hdf5(suffix):
    assert InferConfig(replicas=4, output=f"o{suffix}").replicas == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--replicas", 4, "--output", "o.tif"),
            "--replicas 4: are written to HDF5, and o.tif is none",
        ),
        (("--only", "filled", "--sigma"), "measured counts are no answers"),
        (("--only", "filled", "--background", "b.tif"), "keep their background"),
        (("--only", "sigma", "--figure", "f.png"), "draws answers"),
        (("--only", "sigma", "--output-dtype", "uint16"), "error bars are no whole numbers"),
        (("--packing", "gzip:0"), "expected a level from 1 to 9"),
    ],
)
def test_choices_that_contradict_each_other_are_one_line(smae, options, said):
    answer = smae("infer", "--run", "r", "--input", "i.tif", "--output", "o.h5", *options)
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert said in answer.err
