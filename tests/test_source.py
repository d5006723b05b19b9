"""A lazy reader gives the same frames as reading all, and opens nothing that is not asked for."""

import h5py
import numpy as np
import pytest
import tifffile

from smae_jax.errors import UserError
from smae_jax.io import raw_frames, source
from smae_jax.io.form import Form
from smae_jax.io.number_types import NumberType
from smae_jax.io.reading import read
from smae_jax.io.source import open_source
from smae_jax.io.writing import write


@pytest.fixture
def stack():
    """Seven unlike frames with a gap, and a pixel that is bad in one of them."""
    counts = np.random.default_rng(0).poisson(3, (7, 9, 5)).astype(np.int32)
    counts[:, 4, :] = -1
    counts[3, 1, 2] = -2
    return counts


@pytest.fixture(params=["files", "h5", "raster", "stacks"])
def path(request, tmp_path, stack):
    """The frames as single files, as one dataset, as a raster, and as stacks of unlike length."""
    if request.param == "files":
        for index, frame in enumerate(stack):
            tifffile.imwrite(tmp_path / f"f{index}.tif", frame)
        return f"{tmp_path}/f*.tif"
    if request.param == "stacks":
        np.save(tmp_path / "a1.npy", stack[:2])
        np.save(tmp_path / "a2.npy", stack[2:])
        return f"{tmp_path}/a*.npy"
    frames = stack if request.param == "h5" else np.concatenate([stack, stack[:1]])
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["data"] = frames if request.param == "h5" else frames.reshape(2, 4, 9, 5)
        file["count_time"] = np.arange(1.0, 1 + len(frames))
    return f"{tmp_path}/s.h5"


@pytest.mark.parametrize(
    "frames", [slice(None), slice(2, 6), slice(None, None, -1), [3], [6, 0, 5, 4], [1, 1, 2]]
)
def test_frames_are_those_of_the_whole(path, frames):
    opened, whole = open_source(path), read(path)
    assert (opened.shape, opened.names) == (whole.counts.shape, whole.names)
    assert opened.exposure_s == whole.origin.exposure_s
    assert opened.leading == whole.origin.leading
    assert opened.dtype == whole.origin.dtype
    part, expected = opened.read(frames), whole.take(frames)
    np.testing.assert_array_equal(part.counts, expected.counts)
    np.testing.assert_array_equal(part.full_exposure, expected.full_exposure)
    assert part.names == expected.names
    assert part.origin.exposure_s == expected.origin.exposure_s


def test_whole_scan_keeps_its_raster(tmp_path):
    np.save(tmp_path / "r.npy", np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5))
    opened = open_source(f"{tmp_path}/r.npy")
    assert opened.leading == (2, 3)
    assert opened.read().origin.leading == (2, 3)
    assert opened.read([0, 1]).origin.leading == ()


def test_only_the_files_asked_for_are_opened(tmp_path, stack, monkeypatch):
    for index, frame in enumerate(stack):
        np.save(tmp_path / f"f{index}.npy", frame)
    opened, seen = open_source(f"{tmp_path}/f*.npy"), []
    whole = source.open_frames
    monkeypatch.setattr(
        source,
        "open_frames",
        lambda file, *rest, **named: seen.append(file) or whole(file, *rest, **named),
    )
    opened.read([5, 2])
    assert seen == [f"{tmp_path}/f2.npy", f"{tmp_path}/f5.npy"]


def test_memory_is_bounded_by_runs(monkeypatch):
    monkeypatch.setattr(raw_frames, "CHUNK_BYTES", 3 * 8)
    frames = raw_frames.Frames(np.arange(10 * 2 * 4, dtype=np.int8).reshape(10, 2, 4))
    assert [*frames.runs([0, 1, 2, 3, 7, 9])] == [(0, 3), (3, 4), (7, 8), (9, 10)]
    raster = raw_frames.Frames(np.arange(2 * 5 * 2 * 4, dtype=np.int8).reshape(2, 5, 2, 4))
    runs = [*raster.runs(range(10))]
    assert runs == [(0, 3), (3, 5), (5, 8), (8, 10)]
    parts = np.concatenate([raster.part(*run) for run in runs])
    np.testing.assert_array_equal(parts, raster.values.reshape(10, 2, 4))


def test_saturation_and_empty_frames(tmp_path, stack):
    stack[2] = 0
    np.save(tmp_path / "a.npy", stack)
    opened = open_source(f"{tmp_path}/a.npy", saturation=4)
    assert not opened.read([2]).counts.any()  # one empty frame is data
    np.testing.assert_array_equal(opened.read([0]).valid[0], (stack[0] >= 0) & (stack[0] < 4))


def test_files_of_unlike_shape_or_length_are_refused(tmp_path, stack):
    np.save(tmp_path / "a.npy", stack)
    np.save(tmp_path / "b.npy", stack.transpose(0, 2, 1))
    with pytest.raises(
        UserError, match=r"differ in shape: .*a\.npy is \(9, 5\), .*b\.npy is \(5, 9\)"
    ):
        open_source(f"{tmp_path}/*.npy")
    opened = open_source(f"{tmp_path}/a.npy")
    np.save(tmp_path / "a.npy", stack[:4])
    with pytest.raises(UserError, match=r"has 4 frames now, and had 7"):
        opened.read()


@pytest.mark.parametrize("lazy", [False, True])
def test_output_of_this_program_among_the_frames_is_named(tmp_path, stack, lazy):
    """An output in the folder of the frames would be taken for a frame by the next call."""
    for index, frame in enumerate(stack):
        tifffile.imwrite(tmp_path / f"f{index}.tif", frame)
    tifffile.imwrite(tmp_path / "f3_mask.tif", stack[0])
    clean = read(str(tmp_path))
    write(
        str(tmp_path / "f3x.tif"), clean.counts[:1], clean.take([0]), form=Form(NumberType("int32"))
    )

    def notes():
        path = str(tmp_path)
        return open_source(path).notes if lazy else read(path).origin.notes

    (told,) = (note for note in notes() if note.startswith("WARNING"))
    assert "output of smae_jax among the frames: f3x.tif; name the frames by a pattern" in told
    assert any("left out of the frames: f3_mask.tif" in note for note in notes())
    for index in range(len(stack)):
        (tmp_path / f"f{index}.tif").unlink()
    assert not any(note.startswith("WARNING") for note in notes())  # nothing but output is an input
