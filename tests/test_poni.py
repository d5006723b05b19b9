"""Calibrations of pyFAI: centre, distance and tilt, by fixed values and by pyFAI itself."""

import json

import numpy as np
import pytest

from smae_jax.errors import UserError
from smae_jax.geometry import Geometry
from smae_jax.io.poni import read_poni
from smae_jax.tilt import partner_displacement

SHAPE = (1043, 981)
TILTED = {"Distance": 0.2, "Poni1": 0.03, "Poni2": 0.05, "Rot1": 0.1, "Rot2": -0.2, "Rot3": 0.3}
SLIGHT = {"Distance": 0.2, "Poni1": 0.08, "Poni2": 0.085, "Rot1": 0.02, "Rot2": -0.03, "Rot3": 0.3}


def poni(tmp_path, values=(), *, version="2", detector="Pilatus1M", config="{}", **more):
    told = {"Distance": 0.2, "Poni1": 0.03, "Poni2": 0.05, "Rot1": 0, "Rot2": 0, "Rot3": 0}
    head = {"poni_version": version, "Detector": detector, "Detector_config": config}
    head = {} if version == "1" else head
    told = {**head, **told, "Wavelength": "1e-10", **dict(values), **more}
    path = tmp_path / "detector.poni"
    text = "# Calibration: of something\n" + "".join(f"{k}: {v}\n" for k, v in told.items())
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("values", "fit2d_x", "fit2d_y", "distance"),  # of pyFAI 2026.9, getFit2D, with Pilatus1M
    [
        ({}, 290.69767441860466, 174.41860465116278, 0.2),
        (TILTED, 174.02945106342963, -62.47421634408717, 0.20509237660449146),
        (
            {"Distance": 1.5, "Poni1": -0.01, "Rot1": -0.02, "Rot2": 0.01, "Rot3": 1.0},
            465.13953860525373,
            29.090119884318764,
            1.5003750681363872,
        ),
    ],
)
def test_centre_and_distance_are_those_of_fit2d(tmp_path, values, fit2d_x, fit2d_y, distance):
    found = read_poni(poni(tmp_path, values), SHAPE, Geometry())
    np.testing.assert_allclose(found.center, (fit2d_y - 0.5, fit2d_x - 0.5), rtol=1e-9)
    assert found.distance_m == pytest.approx(distance, rel=1e-9)
    assert found.pixel_size_m == (172e-6, 172e-6)
    assert found.wavelength_m == 1e-10
    assert found.rotations_rad == tuple(
        {"Rot1": 0, "Rot2": 0, "Rot3": 0, **values}[f"Rot{k}"] for k in (1, 2, 3)
    )
    assert all(
        found.source_of(field).endswith("detector.poni") for field in ("center", "distance_m")
    )


def test_centre_is_the_one_that_pyfai_computes(tmp_path):
    pyfai = pytest.importorskip("pyFAI")
    path = poni(tmp_path, TILTED)
    there = pyfai.load(path).getFit2D()
    found = read_poni(path, SHAPE, Geometry())
    np.testing.assert_allclose(found.center, (there["centerY"] - 0.5, there["centerX"] - 0.5))
    assert found.distance_m == pytest.approx(there["directDist"] / 1000)


SIZES = {
    "version 1": (
        {"version": "1", "values": {"PixelSize1": 5e-5, "PixelSize2": 1e-4}},
        (5e-5, 1e-4),
    ),
    "version 2": (
        {
            "detector": "Detector",
            "config": json.dumps({"pixel1": 5e-5, "pixel2": 1e-4, "max_shape": None}),
        },
        (5e-5, 1e-4),
    ),
    "version 2.1": (
        {
            "version": "2.1",
            "detector": "Pilatus1M",
            "config": json.dumps({"pixel1": 3.44e-4, "pixel2": 3.44e-4, "orientation": 3}),
        },
        (3.44e-4, 3.44e-4),
    ),
    "eiger": (
        {"version": "2.1", "detector": "Eiger2 4M", "config": '{"orientation": 3}'},
        (75e-6, 75e-6),
    ),
    "pilatus": ({"detector": "PilatusCdTe2M"}, (172e-6, 172e-6)),
    "of the frames": ({"detector": "Mystery"}, (2e-4, 3e-4)),
}


@pytest.mark.parametrize("name", SIZES)
def test_pixel_size_comes_from_where_it_is(tmp_path, name):
    arguments, expected = SIZES[name]
    header = Geometry(pixel_size_m=(2e-4, 3e-4), wavelength_m=9e-10)
    found = read_poni(poni(tmp_path, **arguments), SHAPE, header)
    assert found.pixel_size_m == expected
    assert found.wavelength_m == 1e-10
    np.testing.assert_allclose(found.center, np.divide((0.03, 0.05), expected) - 0.5)


@pytest.mark.parametrize(
    ("orientation", "turned"), [(1, (1, 1)), (2, (1, 0)), (3, (0, 0)), (4, (0, 1))]
)
def test_orientation_turns_rows_and_columns(tmp_path, orientation, turned):
    config = json.dumps({"pixel1": 1e-4, "pixel2": 1e-4, "orientation": orientation})
    found = read_poni(poni(tmp_path, SLIGHT, version="2.1", config=config), SHAPE, Geometry())
    plain = json.dumps({"pixel1": 1e-4, "pixel2": 1e-4})
    native = read_poni(poni(tmp_path, SLIGHT, config=plain), SHAPE, Geometry())
    expected = [n - 1 - c if t else c for n, c, t in zip(SHAPE, native.center, turned, strict=True)]
    np.testing.assert_allclose(found.center, expected)
    here, there = (partner_displacement(one, SHAPE) for one in (found, native))
    assert here[0] == pytest.approx(there[0])
    place = [n - 1 - c if t else c for n, c, t in zip(SHAPE, there[1], turned, strict=True)]
    np.testing.assert_allclose(here[1], place, atol=1)


def test_a_detector_that_is_swung_far_out_is_no_mistake(tmp_path):
    """The beam meets its plane at x = -33,000, but the plane is square to the direction of its pixels."""
    found = read_poni(poni(tmp_path, {"Distance": 1.0, "Rot1": 1.4}), SHAPE, Geometry())
    assert found.center[1] < -33000


def test_of_several_calibrations_the_last_counts(tmp_path):
    path = poni(tmp_path)
    with open(path, "a") as file:
        file.write("# again\nDistance: 0.3\nPoni1: 0.04\nWavelength: None\n")
    found = read_poni(path, SHAPE, Geometry(wavelength_m=2e-10))
    assert found.distance_m == 0.3
    assert found.center[0] == pytest.approx(0.04 / 172e-6 - 0.5)
    assert (found.wavelength_m, found.source_of("wavelength_m")) == (2e-10, "the file's header")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"Distance": "nan"}, "Distance: expected metres above 0 and up to 100, got 'nan'"),
        ({"Distance": -1}, "Distance: expected metres above 0 and up to 100, got '-1'"),
        ({"Distance": 200}, "Distance: expected metres above 0 and up to 100, got '200'"),
        ({"Wavelength": 1.0}, "Wavelength: expected metres from 1e-13 to 1e-08, got '1.0'"),
        ({"Wavelength": -1e-10}, "Wavelength: expected metres from 1e-13 to 1e-08, got '-1e-10'"),
        ({"Wavelength": 0}, "Wavelength: expected metres from 1e-13 to 1e-08, got '0'"),
        ({"Poni1": 50}, "the beam is 289654 pixels off a frame of 1043 x 981"),
        ({"Poni1": "1e300"}, "Poni1: expected a number, got '1e300'"),
        ({"Poni2": "__import__('os')"}, "Poni2: expected a number"),
        ({"Rot1": "None of these"}, "Rot1: expected a number"),
        ({"Rot2": 1.6}, "less than 90 degrees"),
        ({"Detector": "Mystery"}, "expected PixelSize1 and PixelSize2"),
        ({"Detector_config": "{'pixel1': 1}"}, "Detector_config: expected JSON"),
        ({"Detector_config": '{"pixel1": -1, "pixel2": 1e-4}'}, "pixel1: expected a number above"),
        ({"Detector_config": '{"pixel1": [1], "pixel2": 1e-4}'}, "pixel1: expected a number above"),
        ({"Detector_config": "[" * 100_000}, "Detector_config: expected JSON"),
    ],
)
def test_absurd_values_are_refused_in_one_line(tmp_path, values, said):
    with pytest.raises(UserError) as error:
        read_poni(poni(tmp_path, values), SHAPE, Geometry())
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert "detector.poni" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"Distance: 1\n", b"\xff\xfe\x00\x01", b"hello"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.poni"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"--data.geometry .*other.poni"):
        read_poni(str(path), SHAPE, Geometry())
    with pytest.raises(UserError, match="no such file"):
        read_poni(str(tmp_path / "gone.poni"), SHAPE, Geometry())


def test_displacement_of_a_tilted_detector_is_the_real_one(tmp_path):
    """Solved with pyFAI 2026.9 for equal 2 theta and opposite azimuth: pixel (0, 0) has it at these."""
    geometry = read_poni(poni(tmp_path, SLIGHT), SHAPE, Geometry())
    (y, x), partner = geometry.center, (843.57149496, 923.49305357)
    # A frame that just holds that pixel and its partner about the centre has its largest one at a corner.
    pixels, place = partner_displacement(geometry, (round(2 * y) + 1, round(2 * x) + 1))
    known = np.hypot(partner[0] - 2 * y, partner[1] - 2 * x)
    assert known == pytest.approx(23.514, abs=1e-3)
    assert pixels >= known - 0.1
    assert place[0] in (0, round(2 * y))
    assert place[1] in (0, round(2 * x))


@pytest.mark.parametrize("rotations", [(0, 0, 0), (0, 0, 1.3)])
def test_detector_across_the_beam_displaces_nothing(rotations):
    geometry = Geometry((20.3, 31.7), (1e-4, 2e-4), None, 0.1, rotations)
    assert partner_displacement(geometry, (60, 50))[0] < 1e-9


def test_displacement_needs_a_geometry_and_partners():
    whole = Geometry((20.0, 30.0), (1e-4, 1e-4), None, 0.1, (0.1, 0, 0))
    assert partner_displacement(whole, (60, 50))[0] > 0
    assert partner_displacement(Geometry((20.0, 30.0)), (60, 50)) is None
    off = Geometry((-20.0, 30.0), (1e-4, 1e-4), None, 0.1, (0.1, 0, 0))
    assert partner_displacement(off, (60, 50)) is None
