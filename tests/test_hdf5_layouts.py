"""Where beamlines put frames, masks and geometry in HDF5, and what is no frame."""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportArgumentType=false
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportCallIssue=false
import h5py
import numpy as np
import pytest
from refusals import refused

from smae_jax.io.masks import read_mask
from smae_jax.io.reading import read

FRAME = (12, 9)


@pytest.fixture
def stack():
    return np.random.default_rng(1).poisson(3, (6, *FRAME)).astype(np.uint32)


def classed(file, name, kind, **attributes):
    group = file.require_group(name)
    group.attrs["NX_class"] = kind
    for key, value in attributes.items():
        group.attrs[key] = value
    return group


def lima(path, frames, *, mask=None):
    with h5py.File(path, "w") as file:
        classed(file, "entry_0000", "NXentry")
        classed(file, "entry_0000/ESRF-ID00", "NXinstrument")
        detector = classed(file, "entry_0000/ESRF-ID00/eiger", "NXdetector")
        detector.create_dataset("data", data=frames)
        detector.create_group("acquisition")["exposure_time"] = 0.2
        if mask is not None:
            detector["pixel_mask"] = mask
        file["entry_0000/instrument"] = h5py.SoftLink("/entry_0000/ESRF-ID00")
        measurement = classed(file, "entry_0000/measurement", "NXcollection")
        measurement["data"] = h5py.SoftLink("/entry_0000/ESRF-ID00/eiger/data")


@pytest.fixture
def bliss(tmp_path, stack):
    """Two scans of a Bliss file: a link to a Lima file, and a virtual dataset of two."""
    mask = np.zeros(FRAME, np.uint8)
    mask[2, 7] = 1
    for scan, frames in (("1", stack[:2]), ("2a", stack[2:4]), ("2b", stack[4:])):
        lima(tmp_path / f"lima{scan}.h5", frames, mask=mask)
    with h5py.File(tmp_path / "bliss.h5", "w") as file:
        for number in (1, 2):
            entry = classed(file, f"{number}.1", "NXentry")
            classed(file, f"{number}.1/instrument", "NXinstrument")
            detector = classed(file, f"{number}.1/instrument/eiger", "NXdetector")
            classed(file, f"{number}.1/instrument/mca", "NXdetector")["data"] = np.ones((2, 40))
            classed(file, f"{number}.1/instrument/positioners", "NXcollection")["sx"] = np.ones(2)
            measurement = classed(file, f"{number}.1/measurement", "NXcollection")
            for name in ("eiger", "mca"):
                target = f"/{number}.1/instrument/{name}/data"
                measurement[name] = h5py.SoftLink(target)
            measurement["elapsed_time"] = np.arange(2.0)
            entry["title"] = "ascan sx 0 1 2"
            if number == 1:
                detector["data"] = h5py.ExternalLink("lima1.h5", "/entry_0000/measurement/data")
                continue
            layout = h5py.VirtualLayout((4, *FRAME), np.uint32)
            for place, name in ((0, "lima2a.h5"), (2, "lima2b.h5")):
                inside = "/entry_0000/ESRF-ID00/eiger/data"
                layout[place : place + 2] = h5py.VirtualSource(name, inside, (2, *FRAME))
            detector.create_virtual_dataset("data", layout)
    return f"{tmp_path}/bliss.h5"


def test_lima(tmp_path, stack):
    lima(tmp_path / "a.h5", stack)
    scan = read(f"{tmp_path}/a.h5")
    np.testing.assert_array_equal(scan.counts, stack)
    assert scan.names[0] == "a.h5::/entry_0000/measurement/data[0]"
    assert scan.origin.exposure_s == (0.2,) * 6


def test_scans_of_bliss_are_chosen_by_name(bliss, stack):
    refused(
        bliss, "/1.1/measurement/eiger (2, 12, 9)", "/2.1/measurement/eiger (4, 12, 9)", "name one"
    )
    first = read(f"{bliss}::/1.1")
    np.testing.assert_array_equal(first.counts, np.where(first.valid, stack[:2], 0))
    assert not first.valid[0, 2, 7]  # the mask of the Lima file
    assert first.origin.exposure_s == (0.2, 0.2)
    second = read(f"{bliss}::/2.1/measurement/eiger")
    assert second.frames == 4
    assert not second.valid[0, 2, 7]
    refused(f"{bliss}::/3.1", "has no dataset '/3.1'", "/1.1/measurement/eiger")


def test_missing_lima_file_is_named(tmp_path, bliss):
    (tmp_path / "lima1.h5").unlink()
    refused(f"{bliss}::/1.1", "lima1.h5 is missing")
    refused(f"{bliss}::/1.1/measurement/eiger", "lima1.h5 is missing")
    refused(bliss, "/1.1/measurement/eiger (lima1.h5 is missing)", "/2.1/measurement/eiger (4")
    (tmp_path / "lima2b.h5").unlink()
    refused(f"{bliss}::/2.1", "lima2b.h5 is missing")
    assert read(f"{bliss}::/2.1", missing="skip").frames == 2


@pytest.mark.parametrize("kind", ["str", "bytes", "array", "list", "object"])
def test_attributes_of_every_kind(tmp_path, stack, kind):
    def said(text):
        return {
            "str": text,
            "bytes": np.bytes_(text),
            "array": np.array([text.encode()]),
            "list": [text, "other"],
            "object": np.array([text], h5py.string_dtype()),
        }[kind]

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["default"] = said("entry")
        classed(file, "entry", said("NXentry"), default=said("data"))
        data = classed(file, "entry/data", said("NXdata"), signal=said("counts"))
        data.attrs["axes"] = [np.bytes_(b"sx"), b".", b"."] if kind != "str" else ["sx", ".", "."]
        data["counts"] = stack
        data["other"] = stack[::-1].copy()
        data["sx"] = np.linspace(0, 1, 6)
    scan = read(f"{tmp_path}/a.h5")
    np.testing.assert_array_equal(scan.counts, stack)
    assert [motor.name for motor in scan.origin.motors if motor] == ["sx"]


@pytest.mark.parametrize("one", [1, "1", b"1", np.int64(1), np.array([1])])
def test_signal_before_2014(tmp_path, stack, one):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = classed(file, "entry/data", "NXdata")
        data["counts"], data["other"] = stack, stack[::-1].copy()
        data["counts"].attrs["signal"] = one
        data["counts"].attrs["axes"] = "sx:y:x"
        data["sx"] = np.linspace(0, 1, 6)
    scan = read(f"{tmp_path}/a.h5")
    np.testing.assert_array_equal(scan.counts, stack)
    assert [motor and motor.name for motor in scan.origin.motors] == ["sx"]
    np.testing.assert_array_equal(read(f"{tmp_path}/a.h5::/entry").counts, stack)


@pytest.mark.parametrize(
    ("root", "entry", "signal"),
    [("gone", "data", "x"), ("entry", "gone", "data"), ("entry", "data", "gone"), (".", "..", "")],
)
def test_default_that_points_nowhere_does_not_hinder(tmp_path, stack, root, entry, signal):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["default"] = root
        classed(file, "entry", "NXentry", default=entry)
        classed(file, "entry/data", "NXdata", signal=signal)["data"] = stack
    np.testing.assert_array_equal(read(f"{tmp_path}/a.h5").counts, stack)


def test_default_plot_of_a_counter_is_not_taken_for_frames(tmp_path, stack):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["default"] = "entry/plot"
        classed(file, "entry/plot", "NXdata", signal="diode")["diode"] = np.ones((20, 30))
        classed(file, "entry/instrument/detector", "NXdetector")["data"] = stack
    np.testing.assert_array_equal(read(f"{tmp_path}/a.h5").counts, stack)


def test_two_detectors_are_asked_for(tmp_path, stack):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, frames in (("saxs", stack), ("waxs", stack[:, :, :8])):
            detector = classed(file, f"entry/instrument/{name}", "NXdetector")
            detector["data"] = frames
            detector["pixel_mask"] = frames[0] == frames[0].max()
            classed(file, f"entry/{name}", "NXdata", signal="data")["data"] = h5py.SoftLink(
                f"/entry/instrument/{name}/data"
            )
    refused(
        tmp_path / "a.h5", "several datasets", "/entry/saxs/data (6, 12, 9)", "/entry/waxs/data (6"
    )
    scan = read(f"{tmp_path}/a.h5::/entry/waxs/data")
    assert not scan.valid[0][stack[0, :, :8] == stack[0, :, :8].max()].any()  # its own mask
    assert scan.origin.masked_by["detector"] < 0.1


def test_the_data_are_where_a_link_of_another_name_leads(tmp_path, stack):
    """One dataset under several names counts once, with what stands beside its usual place."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = stack
        classed(file, "entry/data", "NXdata", signal="data")["data"] = h5py.SoftLink("/raw")
        file["entry/data/again"] = file["raw"]
        file["up"] = h5py.SoftLink("/entry")
        detector = classed(file, "entry/instrument/detector", "NXdetector")
        detector["pixel_mask"] = np.eye(*FRAME, dtype=np.uint8)
    for name in ("", "::/entry/data/data", "::/entry", "::/up/data/data"):
        scan = read(f"{tmp_path}/a.h5{name}")
        assert scan.frames == 6
        assert scan.origin.masked_by["detector"] == pytest.approx(9 / 108)


TABLES = {
    "correction": ("entry/instrument/detector/detectorSpecific/table", np.ones((2, 200))),
    "flatfield": ("entry/instrument/detector/flatfield", np.ones(FRAME)),
    "stack_of_darks": ("entry/instrument/detector/dark_frames", np.ones((4, *FRAME))),
    "trim": ("entry/instrument/detector/trimbits", np.ones((3, *FRAME), np.uint8)),
    "motors": ("entry/scan/values", np.ones((6, 14))),
    "lut": ("entry/processing/something", np.ones((*FRAME, 2))),
    "corners": ("entry/instrument/detector/pixel_corners", np.ones((*FRAME, 4, 3))),
    "spectra": ("entry/measurement/mca", np.ones((6, 1024), np.uint32)),
    "positioners": ("entry/instrument/positioners/grid", np.ones((20, 30))),
    "sample": ("entry/sample/orientation", np.ones((10, 10))),
    "module": ("entry/instrument/detector/module_1/other", np.ones((16, 16, 16))),
    "text": ("entry/notes", np.array([[[b"ab"] * 9] * 9] * 9)),
    "errors": ("entry/data/data_errors", np.ones((6, *FRAME))),
}


@pytest.mark.parametrize("what", TABLES)
def test_tables_are_no_frames(tmp_path, stack, what):
    name, values = TABLES[what]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        classed(file, "entry/instrument/detector", "NXdetector")
        classed(file, "entry/sample", "NXsample")
        if what == "module":
            classed(file, "entry/instrument/detector/module_1", "NXdetector_module")
        file["entry/data/data"] = stack
        file[name] = values
    np.testing.assert_array_equal(read(f"{tmp_path}/a.h5").counts, stack)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["entry/data/data"]
        file["entry/data/data"] = h5py.ExternalLink("gone.h5", "/data")
    refused(tmp_path / "a.h5", "gone.h5 is missing")


def test_all_tables_at_once_and_named(tmp_path, stack):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        classed(file, "entry/instrument/detector", "NXdetector")
        file["entry/data/data"] = stack
        for name, values in TABLES.values():
            if "module_1" not in name and "sample" not in name:
                file[name] = values
    np.testing.assert_array_equal(read(f"{tmp_path}/a.h5").counts, stack)
    flat = "entry/instrument/detector/flatfield"
    assert read(f"{tmp_path}/a.h5::/{flat}").counts.shape == (1, *FRAME)


def test_an_image_of_the_size_of_the_frames_is_asked_for(tmp_path, stack):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"], file["b"] = stack, stack[0]
    refused(tmp_path / "a.h5", "several datasets", "/a (6, 12, 9)", "/b (12, 9)")


def test_stacks_that_a_dataset_joins_already_count_once(tmp_path, stack):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = classed(file, "entry/data", "NXdata")
        data["data_000001"], data["data_000002"] = stack[:4], stack[4:]
        layout = h5py.VirtualLayout(stack.shape, np.uint32)
        layout[:4] = h5py.VirtualSource(".", "entry/data/data_000001", (4, *FRAME))
        layout[4:] = h5py.VirtualSource(".", "entry/data/data_000002", (2, *FRAME))
        data.create_virtual_dataset("data", layout)
    scan = read(f"{tmp_path}/a.h5")
    np.testing.assert_array_equal(scan.counts, stack)
    assert scan.names[0] == "a.h5::/entry/data/data[0]"


@pytest.mark.parametrize("where", ["", "detectorSpecific/", "detector_module/", "a/module/"])
@pytest.mark.parametrize("shape", ["frame", "one", "each"])
def test_pixel_masks_of_every_shape(tmp_path, stack, where, shape):
    each = np.zeros(stack.shape, np.uint32)
    each[:, 3, 1] = 2**30
    if shape == "each":
        each[4, 5, 6] = 1
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data/data"] = stack
        classed(file, "entry/instrument/detector", "NXdetector")
        mask = {"frame": each[0], "one": each[:1], "each": each}[shape]
        file[f"entry/instrument/detector/{where}pixel_mask"] = mask
    scan = read(f"{tmp_path}/a.h5")
    np.testing.assert_array_equal(scan.full_exposure == 0, each != 0)


def test_a_pixel_mask_that_does_not_fit_is_told(tmp_path, stack):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data/data"] = stack
        detector = classed(file, "entry/instrument/detector", "NXdetector")
        detector["pixel_mask"] = np.ones((5, *FRAME))
        detector["count_time"] = np.ones(4)
    notes = read(f"{tmp_path}/a.h5").origin.notes
    assert any("pixel_mask of shape (5, 12, 9) does not fit" in note for note in notes)
    assert any("4 exposures 'count_time' for 6 frames" in note for note in notes)


def test_mask_and_geometry_of_the_entry_come_before_those_of_the_linked_file(tmp_path, stack):
    bad = np.zeros((2, *FRAME), np.uint8)
    bad[0, 1, 2], bad[1, 3, 4] = 1, 1
    for index, name in enumerate(("top", "linked")):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            detector = classed(file, "entry/instrument/detector", "NXdetector")
            detector["pixel_mask"] = bad[index]
            detector["distance" if index else "detector_distance"] = 2.0 + index
            if index:
                file["entry/data/data"] = stack
                detector["count_time"] = 0.5
            else:
                file["entry/data/data"] = h5py.ExternalLink("linked.h5", "/entry/data/data")
    scan = read(f"{tmp_path}/top.h5")
    np.testing.assert_array_equal(scan.valid[0], bad[0] == 0)
    assert scan.origin.exposure_s == (0.5,) * 6  # what only the other file tells
    with h5py.File(tmp_path / "top.h5", "a") as file:
        del file["entry/instrument"]
    scan = read(f"{tmp_path}/top.h5")
    np.testing.assert_array_equal(scan.valid[0], bad[1] == 0)
    assert scan.geometry.distance_m == 3.0


def test_geometry_in_units_and_places_of_nxmx(tmp_path, stack):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        classed(file, "entry", "NXentry")
        classed(file, "entry/data", "NXdata", signal="data")["data"] = stack
        classed(file, "entry/instrument", "NXinstrument")
        detector = classed(file, "entry/instrument/ELE_D0", "NXdetector")
        detector["distance"] = np.full(6, 250.0)
        detector["distance"].attrs["units"] = np.bytes_("mm")
        for axis, size, center in (("x", 75.0, 0.3), ("y", 150.0, 0.75)):
            detector[f"{axis}_pixel_size"] = size
            detector[f"{axis}_pixel_size"].attrs["units"] = "um"
            detector[f"beam_center_{axis}"] = center
            detector[f"beam_center_{axis}"].attrs["units"] = "mm"
        detector["frame_time"] = 20.0
        detector["frame_time"].attrs["units"] = "ms"
        detector["saturation_value"] = 7
        detector["detectorSpecific/countrate_correction_count_cutoff"] = 6
        beam = classed(file, "entry/sample/beam", "NXbeam")
        beam["incident_wavelength"] = 1.25
        beam["incident_wavelength"].attrs["units"] = "angstrom"
    scan = read(f"{tmp_path}/a.h5")
    geometry = scan.geometry
    assert geometry.distance_m == pytest.approx(0.25)
    assert geometry.pixel_size_m == pytest.approx((150e-6, 75e-6))
    assert geometry.center == pytest.approx((5.0, 4.0))
    assert geometry.wavelength_m == pytest.approx(1.25e-10)
    assert scan.origin.exposure_s == pytest.approx((0.02,) * 6)
    assert any("frame_time" in note for note in scan.origin.notes)
    np.testing.assert_array_equal(scan.full_exposure > 0, stack < 6)


@pytest.mark.parametrize("value", [np.nan, -1.0, 0.0, 1e300, np.inf, [[1.0, 2.0]], "text", []])
def test_absurd_headers_do_not_hinder(tmp_path, stack, value):
    names = (
        *("beam_center_x", "beam_center_y", "x_pixel_size", "y_pixel_size", "distance"),
        *("count_time", "frame_time", "saturation_value", "bit_depth_image", "nimages"),
        *("ntrigger", "incident_wavelength", "countrate_correction_count_cutoff"),
    )
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data/data"] = stack
        detector = classed(file, "entry/instrument/detector", "NXdetector")
        for name in names:
            detector[name] = value
        detector["pixel_mask"] = "none"
        detector["detectorSpecific"] = h5py.SoftLink("/entry/instrument")  # a circle
    scan = read(f"{tmp_path}/a.h5")
    np.testing.assert_array_equal(scan.counts, stack)
    assert scan.geometry.center is None
    assert scan.origin.exposure_s is None


@pytest.mark.parametrize(("bits", "kind"), [(16, np.uint32), (8, np.uint8), (32, np.uint32)])
def test_marks_of_the_bit_depth_that_the_file_tells(tmp_path, stack, bits, kind):
    frames = stack.astype(kind)
    frames[:, 0, 1], frames[:, 2, 3] = 2**bits - 1, 2**bits - 2
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data/data"] = frames
        detector = classed(file, "entry/instrument/detector", "NXdetector")
        detector["detectorSpecific/bit_depth_image"] = np.uint8(bits)
    scan = read(f"{tmp_path}/a.h5")
    np.testing.assert_array_equal(np.argwhere(~scan.valid[0]), [[0, 1], [2, 3]])


def test_mask_of_a_master_is_its_pixel_mask(tmp_path, stack):
    mask = np.eye(*FRAME, dtype=np.uint32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data/data"] = stack
        file["entry/instrument/detector/detectorSpecific/pixel_mask"] = mask
        file["entry/instrument/detector/detectorSpecific/flatfield"] = np.ones(FRAME)
    np.testing.assert_array_equal(read_mask(f"{tmp_path}/a.h5"), mask == 0)


def test_damaged_tree_and_odd_types_are_passed_over(tmp_path, stack):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = stack
        file["compound"] = np.zeros((9, 9, 9), [("a", "i4"), ("b", "f4")])
        file["empty"] = h5py.Empty("f4")
        file["none"] = np.zeros((0, *FRAME))
        file["reference"] = file.ref
        file["kind"] = np.dtype("f8")
        file["hidden"] = h5py.SoftLink("/nowhere/at/all")
        file["away"] = h5py.ExternalLink("gone.h5", "/mask")
        file["enum"] = np.array([[1, 2]], h5py.enum_dtype({"A": 1, "B": 2}))
    np.testing.assert_array_equal(read(f"{tmp_path}/a.h5").counts, stack)
