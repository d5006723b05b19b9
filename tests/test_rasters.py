"""A scan over rows and columns keeps its shape and its motors in the output, and is read back."""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportArgumentType=false
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportCallIssue=false
import h5py
import numpy as np
import pytest

from smae_jax.io.reading import read
from smae_jax.io.results import read_result
from smae_jax.io.source import open_source
from smae_jax.io.writing import write

LEADING, FRAME = (2, 3), (12, 9)


@pytest.fixture
def raster(tmp_path):
    """A raster of frames with motors along both axes, one pixel bad in one frame."""
    counts = np.random.default_rng(2).poisson(3, (*LEADING, *FRAME)).astype(np.int32)
    counts[1, 2, 4, 5] = -1
    with h5py.File(tmp_path / "in.h5", "w") as file:
        data = file.create_group("entry/data")
        data.attrs["NX_class"] = "NXdata"
        data.attrs["signal"] = "data"
        data.attrs["axes"] = ["sy", "sx", ".", "."]
        data["data"] = counts
        data["sy"], data["sx"] = [0.5, 1.0], [10.0, 20.0, 40.0]
        data["sy"].attrs["units"] = "mm"
    return f"{tmp_path}/in.h5"


def motors(data):
    return [
        (one.name, one.unit, one.values.tolist()) if one else None for one in data.origin.motors
    ]


BOTH = [("sy", "mm", [0.5, 1.0]), ("sx", "", [10.0, 20.0, 40.0])]


def test_motors_are_read(raster):
    data = read(raster)
    assert motors(data) == BOTH
    assert open_source(raster).motors[1].values.tolist() == [10.0, 20.0, 40.0]
    assert data.take([0, 1]).origin.motors == ()


def test_hdf5_output_is_a_raster_with_its_motors(tmp_path, raster):
    data = read(raster)
    known = np.broadcast_to(data.valid, data.counts.shape)
    filled = np.zeros(data.counts.shape, bool)
    filled[3, 1, 1] = True
    out = f"{tmp_path}/out.h5"
    write(out, data.counts / 2, data, known=known, filled=filled, sigma=data.counts / 3)
    with h5py.File(out) as file:
        group = file["entry/data"]
        assert list(group.attrs["axes"]) == ["sy", "sx", ".", "."]
        assert (group.attrs["sy_indices"], group.attrs["sx_indices"]) == (0, 1)
        assert group["sy"].attrs["units"] == "mm"
        for name in ("data", "data_errors", "pixel_mask", "filled"):
            assert group[name].shape == (*LEADING, *FRAME), name
        assert np.argwhere(group["pixel_mask"][()]).tolist() == [[1, 2, 4, 5]]
        assert np.argwhere(group["filled"][()]).tolist() == [[1, 0, 1, 1]]
        np.testing.assert_array_equal(group["data"][1, 0], data.counts[3] / np.float32(2))
        assert group["data"].chunks == (1, 1, *FRAME)
    again = read(out)
    assert again.origin.leading == LEADING
    assert motors(again) == BOTH
    np.testing.assert_array_equal(again.valid, data.valid)
    assert again.counts.shape == data.counts.shape
    counts, sigma, marked = read_result(out)
    assert counts.shape == sigma.shape == marked.shape == (*LEADING, *FRAME)


@pytest.mark.parametrize("name", ["out.npy", "out.npz"])
def test_arrays_are_rasters(tmp_path, raster, name):
    data = read(raster)
    write(f"{tmp_path}/{name}", data.counts / 2, data, sigma=data.counts / 3)
    stored = np.load(tmp_path / name)
    counts = stored["counts"] if name.endswith("z") else stored
    assert counts.shape == (*LEADING, *FRAME)
    inside = "::counts" if name.endswith("z") else ""
    assert read(f"{tmp_path}/{name}{inside}").origin.leading == LEADING
    sigma = stored["sigma"] if name.endswith("z") else np.load(tmp_path / "out_sigma.npy")
    assert sigma.shape == (*LEADING, *FRAME)


def test_a_choice_of_frames_is_a_plain_stack(tmp_path, raster):
    data = read(raster, repeats="1:5")
    write(f"{tmp_path}/out.h5", data.counts / 2, data)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["entry/data/data"].shape == (4, *FRAME)
        assert "axes" not in file["entry/data"].attrs


def test_one_answer_to_all_is_no_raster(tmp_path, raster):
    data = read(raster)
    write(f"{tmp_path}/out.h5", data.counts[:1] / 2, data)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["entry/data/data"].shape == (1, *FRAME)


def test_a_line_scan_keeps_its_motor_for_the_frames_that_are_chosen(tmp_path, raster):
    with h5py.File(raster, "a") as file:
        data = file["entry/data"]
        line = data["data"][0]
        del data["data"], data["sy"]
        data["data"] = line
        data.attrs["axes"] = np.array([b"sx", b".", b"."])
    data = read(raster, repeats="0,2")
    write(f"{tmp_path}/out.h5", data.counts / 2, data)
    with h5py.File(tmp_path / "out.h5") as file:
        assert list(file["entry/data"].attrs["axes"]) == ["sx", ".", "."]
        assert file["entry/data/sx"][()].tolist() == [10.0, 40.0]


def test_a_motor_with_the_name_of_something_else(tmp_path, raster):
    with h5py.File(raster, "a") as file:
        data = file["entry/data"]
        data.move("sx", "filled")
        data.attrs["axes"] = ["gone", "filled", ".", "."]
    data = read(raster)
    write(f"{tmp_path}/out.h5", data.counts / 2, data)
    with h5py.File(tmp_path / "out.h5") as file:
        assert list(file["entry/data"].attrs["axes"]) == [".", "filled_axis", ".", "."]
        assert file["entry/data/filled"].shape == FRAME


@pytest.fixture
def spectra(tmp_path):
    """A map of spectra."""
    counts = np.random.default_rng(3).poisson(3, (*LEADING, 20)).astype(np.int32)
    with h5py.File(tmp_path / "map.h5", "w") as file:
        data = file.create_group("entry/data")
        data.attrs["NX_class"] = "NXdata"
        data.attrs["signal"] = "data"
        data.attrs["axes"] = ["sy", "sx", "energy"]
        data["data"] = counts
        data["sy"], data["sx"] = [0.5, 1.0], [10.0, 20.0, 40.0]
        data["sy"].attrs["units"] = "mm"
        data["energy"] = np.linspace(1, 2, 20)
        data["energy"].attrs["units"] = "keV"
    return f"{tmp_path}/map.h5"


@pytest.mark.parametrize("name", ["out.h5", "out.nxs", "out.npy", "out.npz"])
def test_map_of_spectra_is_written_as_a_map_and_read_back_as_spectra(tmp_path, spectra, name):
    data = read(spectra, dimensions=1)
    assert data.origin.leading == LEADING
    assert motors(data) == BOTH
    write(f"{tmp_path}/{name}", data.counts / 2, data, sigma=data.counts / 3)
    again = read(f"{tmp_path}/{name}")
    assert again.origin.leading == LEADING
    np.testing.assert_array_equal(again.counts, data.counts / np.float32(2))
    np.testing.assert_array_equal(again.axis.values, data.axis.values)
    if name.endswith(("h5", "nxs")):
        assert motors(again) == BOTH
        with h5py.File(tmp_path / name) as file:
            group = file["entry/data"]
            assert group["data"].shape == group["data_errors"].shape == (*LEADING, 20)
            assert list(group.attrs["axes"]) == ["sy", "sx", "energy"]
            assert group.attrs["energy_indices"] == 2
