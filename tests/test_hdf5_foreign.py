"""Files that other programs write are read, and other programs read what is written here."""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportArgumentType=false
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportCallIssue=false
import fabio
import h5py
import numpy as np
import pytest

from smae_jax.io.reading import read
from smae_jax.io.writing import write
from smae_jax.measurements import Axis, Measurements, Origin

FRAME = (12, 9)


@pytest.fixture
def stack():
    return np.random.default_rng(4).poisson(3, (6, *FRAME)).astype(np.uint32)


def test_eiger_files_of_fabio(tmp_path, stack):
    image = fabio.eigerimage.EigerImage(data=stack)
    image.write(str(tmp_path / "one.h5"))
    np.testing.assert_array_equal(read(f"{tmp_path}/one.h5").counts, stack)
    image.dataset = [stack[:4], stack[4:]]  # /entry/data/data_000001 is the signal, of two
    image.write(str(tmp_path / "two.h5"))
    scan = read(f"{tmp_path}/two.h5")
    np.testing.assert_array_equal(scan.counts, stack)
    assert scan.names[5] == "two.h5::/entry/data[5]"


def test_nexus_files_of_nexusformat(tmp_path, stack):
    nx = pytest.importorskip("nexusformat.nexus")
    data = nx.NXdata(
        nx.NXfield(stack, name="counts"),
        [
            nx.NXfield(np.linspace(0, 1, 6), name="sx", units="mm"),
            nx.NXfield(np.arange(12.0), name="y"),
            nx.NXfield(np.arange(9.0), name="x"),
        ],
    )
    mask = np.eye(*FRAME, dtype=np.int8)
    detector = nx.NXdetector(
        pixel_mask=mask, distance=nx.NXfield(1500.0, units="mm"), count_time=0.5
    )
    root = nx.NXroot(nx.NXentry(data, nx.NXinstrument(detector)))
    root["entry/data"].set_default()
    root.save(str(tmp_path / "a.nxs"), "w")
    scan = read(f"{tmp_path}/a.nxs")
    np.testing.assert_array_equal(scan.counts, np.where(mask == 0, stack, 0))
    assert scan.geometry.distance_m == 1.5
    assert scan.origin.exposure_s == (0.5,) * 6
    assert [(one.name, one.unit) for one in scan.origin.motors if one] == [("sx", "mm")]


def test_dictionaries_of_silx(tmp_path, stack):
    dictdump = pytest.importorskip("silx.io.dictdump")
    tree = {
        "@default": "scan",
        "scan": {
            "@NX_class": "NXentry",
            "@default": "plot",
            "plot": {"@NX_class": "NXdata", "@signal": "image", ">image": "../detector/data"},
            "detector": {"@NX_class": "NXdetector", "data": stack, "flat": np.ones(FRAME)},
        },
    }
    dictdump.dicttonx(tree, str(tmp_path / "a.h5"))
    np.testing.assert_array_equal(read(f"{tmp_path}/a.h5").counts, stack)


@pytest.fixture
def output(tmp_path):
    """Answers to a raster, with error bars, in a file of this program."""
    counts = np.random.default_rng(5).poisson(3, (6, *FRAME)).astype(np.int32)
    motors = (Axis(np.array([1.0, 2.0]), "sy", "mm"), Axis(np.array([3.0, 4.0, 6.0]), "sx", "mm"))
    data = Measurements(
        counts,
        np.ones((1, *FRAME), np.float32),
        origin=Origin(leading=(2, 3), motors=motors),
    )
    write(f"{tmp_path}/out.nxs", counts + 0.5, data, sigma=counts / 3)
    return f"{tmp_path}/out.nxs", counts + np.float32(0.5)


def test_silx_reads_the_output(output):
    nxdata = pytest.importorskip("silx.io.nxdata")
    path, counts = output
    with h5py.File(path) as file:
        plot = nxdata.get_default(file)
        assert plot is not None
        assert plot.is_valid
        assert plot.signal_dataset_name == "data"
        np.testing.assert_array_equal(plot.signal[()], counts.reshape(2, 3, *FRAME))
        assert plot.axes_dataset_names == ["sy", "sx", None, None]
        assert plot.errors.shape == (2, 3, *FRAME)


def test_nexusformat_reads_the_output(output):
    nx = pytest.importorskip("nexusformat.nexus")
    path, counts = output
    root = nx.nxload(path)
    plot = root.get_default() or root["entry/data"]
    np.testing.assert_array_equal(
        plot.nxsignal.nxdata.reshape(-1), counts.reshape(2, 3, *FRAME).reshape(-1)
    )
    assert plot.nxaxes[1].nxdata.tolist() == [3.0, 4.0, 6.0]
    assert plot.nxerrors is not None


def test_fabio_reads_the_output(tmp_path, stack):
    data = Measurements(stack.astype(np.int32), np.ones((1, *FRAME), np.float32))
    write(f"{tmp_path}/out.h5", stack / 2, data)
    with fabio.open(f"{tmp_path}/out.h5::/entry/data/data") as image:
        assert image.nframes == 6
        np.testing.assert_array_equal(image.getframe(4).data, stack[4] / np.float32(2))
