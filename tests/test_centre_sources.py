"""Where a centre comes from, in which order, and what is made of one that is a guess or off the frame."""

import json

import h5py
import numpy as np
import pytest

from smae_jax.config import DataOptions
from smae_jax.errors import UserError
from smae_jax.geometry import Center, Geometry, turn
from smae_jax.io.pilatus import parse_pilatus_header
from smae_jax.measurements import Measurements
from smae_jax.methods.partner import choose_partner
from smae_jax.methods.smae import Smae
from smae_jax.methods.supervised import Supervised
from smae_jax.methods.thinning import Thinning
from smae_jax.placing import place
from smae_jax.run.data import read_data
from smae_jax.run.folder import Survey
from smae_jax.survey import center_of, settle

CENTER = (19.5, 14.0)
SHAPE = (44, 33)


def scan(kind="halo", told=None, source=None, frames=5, seed=1):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    halo = 60 * np.exp(-(((y - CENTER[0]) / 5) ** 2) - ((x - CENTER[1]) / 8) ** 2)
    rate = 2 + (halo if kind == "halo" else 0)
    counts = np.random.default_rng(seed).poisson(rate, (frames, *SHAPE)).astype(np.int32)
    sources = {} if source is None else {"center": source}
    geometry = Geometry(center=told, sources=sources)
    return Measurements(counts, np.ones((1, *SHAPE), np.float32), geometry=geometry)


def write_poni(path, center, *, rot1=0.0, size=1e-4, distance=0.1):
    config = json.dumps({"pixel1": size, "pixel2": size})
    beam = distance * np.tan(rot1)
    values = {
        "Detector": "Detector",
        "Detector_config": config,
        "Distance": distance,
        "Poni1": (center[0] + 0.5) * size,
        "Poni2": (center[1] + 0.5) * size + beam,
        "Rot1": rot1,
        "Wavelength": 1e-10,
    }
    path.write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
    return path


# --- order of precedence ---


def test_a_given_centre_goes_before_file_header_and_correlation():
    data = settle(scan(told=(3.0, 4.0), source="a.poni"), center=(18.2, 15.1))
    assert data.center == Center((18.0, 15.0), (18.2, 15.1))
    assert "centre y 18, x 15 (given, sub-pixel 18.20, 15.10)" in data.center.in_words()


@pytest.mark.parametrize(("told", "warned"), [((19.9, 14.2), False), ((25.0, 14.0), True)])
def test_a_geometry_file_goes_before_correlation(told, warned):
    center = center_of(scan(told=told, source="a.poni"))
    assert center.subpixel == told
    assert center.source == "from a.poni"
    assert center.trusted
    assert any("the file's is taken" in line for line in center.warnings()) == warned


@pytest.mark.parametrize("told", [(19.0, 15.0), (25.0, 14.0), (40.0, 30.0), (-30.0, 14.0)])
def test_correlation_goes_before_the_header(told):
    center = center_of(scan(told=told))
    assert center.half_pixel == CENTER
    assert center.source == "found by correlation"
    off = np.hypot(*np.subtract(told, CENTER))
    warned = [line for line in center.warnings() if "the one found is taken" in line]
    assert bool(warned) == (off > 3)
    assert all("the file's header" in line and "pixels from" in line for line in warned)


@pytest.mark.parametrize("told", [(22.0, 15.0), (-30.0, 14.0), (500.0, 700.0)])
def test_a_header_that_correlation_does_not_confirm_is_not_trusted(told):
    center = center_of(scan("noise", told=told))
    assert center.subpixel == told
    assert center.source == "from the file's header"
    assert not center.trusted
    assert "does not confirm" in center.reason


def test_a_header_helps_where_the_frame_is_full_of_likenesses():
    y, x = np.mgrid[:96, :110].astype(float)
    lattice = 20 * (1 + np.cos(2 * np.pi * y / 30)) * (1 + np.cos(2 * np.pi * x / 36))
    counts = np.random.default_rng(0).poisson(lattice, (4, 96, 110)).astype(np.int32)
    data = Measurements(counts, np.ones((1, 96, 110), np.float32), geometry=Geometry((46.0, 53.0)))
    assert not center_of(Measurements(counts, data.exposure)).trusted
    center = center_of(data)
    assert center.trusted, center.reason
    np.testing.assert_allclose(center.half_pixel, (45, 54), atol=0.5)


@pytest.mark.parametrize(
    ("line", "center"),
    [
        ("# Beam_xy (494.50, 515.25) pixels", (515.25, 494.5)),
        ("# Beam_xy (-120.5, 40) pixels", (40.0, -120.5)),
        ("# Beam_xy (0.00, 0.00) pixels", None),
        ("# Beam_xy (1e300, 3) pixels", None),
        ("# Beam_xy (1e999, 3) pixels", None),
        ("# Beam_xy (nan, nan) pixels", None),
        ("# Beam_xy (1.2.3, 4) pixels", None),
        ("# Beam_xy", None),
    ],
)
def test_beam_of_a_pilatus_header(line, center):
    header = parse_pilatus_header(f"# Pixel_size 172e-6 m x 100e-6 m\r\n{line}\r\n")
    assert header.geometry.center == center
    assert header.geometry.pixel_size_m == (100e-6, 172e-6)


@pytest.mark.parametrize("size", ["0 m x 0 m", "1e999 m x 1 m", ".. m x 1 m", "-1 m x 1 m"])
def test_absurd_pixel_sizes_are_not_told(size):
    assert parse_pilatus_header(f"# Pixel_size {size}").geometry.pixel_size_m is None


# --- guesses and beams off the frame ---


@pytest.mark.parametrize(
    "center", [(-30.0, 14.0), (19.0, 500.5), (-1.0, -1.0), (1e300, -1e200), (0.0, 0.0)]
)
def test_a_beam_off_the_frame_leaves_partners_out(center):
    data = settle(scan(), center=center)
    assert data.center.half_pixel == center
    assert not data.center.trusted
    assert "no pixel has a partner" in data.center.reason
    assert data.symmetry is None
    assert choose_partner(data) == ("none", data.center.reason)
    method = Thinning().settled(data)
    assert method.partner == "none"
    placed = place(data, method, patch=16)
    assert placed.held_out.shape == SHAPE  # the frame as it is, not a canvas about the beam


def test_a_mask_that_leaves_no_partner_leaves_partners_out():
    data = scan()
    valid = np.zeros((1, *SHAPE), np.float32)
    valid[:, :19] = 1
    assert not settle(Measurements(data.counts, valid), center=CENTER).center.trusted


@pytest.mark.parametrize(
    "data", [settle(scan("noise"), center="auto"), settle(scan(), center=(-9.0, 3.0))]
)
def test_methods_that_need_a_partner_refuse_in_one_line(data):
    for method, option in (
        (Smae(), "--method smae"),
        (Thinning(partner="channel"), "--thinning.partner channel"),
    ):
        with pytest.raises(UserError) as error:
            method.settled(data)
        assert option in str(error.value)
        assert "--data.center" in str(error.value)
        assert data.center.reason in str(error.value)
    assert Supervised(rule="average").settled(data).rule == "direct"


@pytest.mark.parametrize(
    "center", [(-5, 2.0), (-0.5, 2.0), (3.0, 99.5), (-1e300, 1e300), (12.0, 3.0)]
)
def test_turn_about_a_centre_off_the_frame_brings_nothing(center):
    frame = np.arange(1.0, 71.0).reshape(7, 10)
    assert (turn(frame, center, 0.0) == 0).all()


def test_runs_keep_whether_a_centre_is_trusted():
    guess = Center((3.0, 4.5), (3.1, 4.4), source="found by correlation").doubted("a guess")
    geometry = Geometry((3.1, 4.4), (1e-4, 2e-4), None, 0.5, (0.1, 0.2, 0.3), {"center": "a.poni"})
    record = json.loads(
        json.dumps(Survey(center=guess, frame_shape=(9, 9), geometry=geometry).record())
    )
    again = Survey.from_record(record)
    assert again.center == guess
    assert again.geometry == geometry
    for name in ("center_trusted", "center_source", "center_reason", "geometry"):
        del record[name]
    former = Survey.from_record(record)
    assert former.center.trusted
    assert former.geometry is None


# --- the commands ---


def said(smae, *arguments):
    answer = smae(*arguments)
    assert answer.status == 0, answer.err
    return answer.out + answer.err


@pytest.mark.slow
def test_inspect_train_and_infer_say_a_guess_and_fill_no_pixel(smae, tmp_path, small):
    data = scan("noise")
    mask = np.zeros(SHAPE, np.uint8)
    mask[10:13] = 1
    np.save("noise.npy", data.counts)
    np.save("mask.npy", mask)
    files = ("--data.path", "noise.npy", "--data.mask", "mask.npy")
    for answer in (
        said(smae, "inspect", *files, "--output", "i.png"),
        said(smae, "train", "--run", "run", *files, *small),
        said(smae, "infer", "--run", "run", "--input", "noise.npy", "--output", "o.h5"),
        said(
            smae,
            "infer",
            "--run",
            "run",
            "--input",
            "noise.npy",
            "--output",
            "p.h5",
            "--center",
            "auto",
        ),
    ):
        assert "WARNING: partners are not used and fill no pixel" in answer
        assert "guess" in answer
    for name in ("o.h5", "p.h5"):
        with h5py.File(tmp_path / name) as file:
            assert not file["entry/data/filled"][()].any()
            assert np.isnan(file["entry/data/data"][0, 10:13]).all()
    assert 'partner = "none"' in (tmp_path / "run" / "config.toml").read_text()
    given = said(smae, "train", "--run", "given", *files, "--data.center", "19.5,14", *small)
    assert "partner channel" in given
    refused = smae(
        "infer", "--run", "given", "--input", "noise.npy", "--output", "q.h5", "--center", "auto"
    )
    assert refused.status == 2
    assert "--center" in refused.err.splitlines()[-1]


def test_a_beam_off_the_frame_is_trained_on_and_written_through(smae, tmp_path, small):
    np.save("scan.npy", scan().counts)
    write_poni(tmp_path / "a.poni", (-30.2, 14.1))
    files = ("--data.path", "scan.npy", "--data.geometry", "a.poni")
    text = said(smae, "inspect", *files, "--output", "i.png")
    assert "from a.poni" in text
    assert "distance 0.1 m (from a.poni)" in text
    assert "the beam is off the frame" in text
    assert "partner none" in said(smae, "train", "--run", "run", *files, *small)
    (tmp_path / "a.poni").unlink()  # the run knows it
    said(smae, "infer", "--run", "run", "--input", "scan.npy", "--output", "o.h5")
    with h5py.File(tmp_path / "o.h5") as file:
        detector = file["entry/instrument/detector"]
        assert detector["beam_center_y"][()] == pytest.approx(-30.2)
        assert detector["beam_center_x"][()] == pytest.approx(14.1)
        assert detector["distance"][()] == pytest.approx(0.1)
        assert detector["x_pixel_size"][()] == pytest.approx(1e-4)
        assert detector["rotations"].shape == (3,)
        beam = file["entry/instrument/beam/incident_wavelength"]
        assert beam[()] == pytest.approx(1.0)
    refused = smae(
        "train", "--run", "other", "--method", "smae", *files[:2], "--data.center", "-30,14", *small
    )
    assert refused.status == 2
    assert "--data.center" in refused.err.splitlines()[-1]


@pytest.mark.parametrize(("rot1", "warned"), [(0.0, False), (0.001, False), (0.3, True)])
def test_a_tilt_that_displaces_partners_is_warned_of(tmp_path, rot1, warned):
    path = tmp_path / "scan.npy"
    np.save(path, scan().counts)
    poni = write_poni(tmp_path / "a.poni", CENTER, rot1=rot1, distance=0.02)
    data = read_data(DataOptions(path=str(path), geometry=str(poni)))
    np.testing.assert_allclose(data.center.subpixel, CENTER)
    tilted = [line for line in data.center.warnings() if "tilted" in line]
    assert bool(tilted) == warned
    assert all("at y" in line and "pixels off" in line for line in tilted)


def test_a_poni_that_lies_beside_is_not_taken(tmp_path):
    path = tmp_path / "scan.npy"
    np.save(path, scan().counts)
    write_poni(tmp_path / "scan.poni", (3.0, 3.0))
    data = read_data(DataOptions(path=str(path)))
    assert data.center.half_pixel == CENTER
    assert data.geometry == Geometry()


@pytest.mark.parametrize("suffix", ["h5", "nxs"])
def test_a_simulated_scan_has_its_mask_and_centre_by_its_bare_name(smae, tmp_path, suffix):
    name = f"scan.{suffix}"
    said(
        smae,
        "simulate",
        "--output",
        name,
        "--frames",
        6,
        "--size",
        48,
        "--center-offset",
        "1.5",
        "-2",
    )
    data = read_data(DataOptions(path=name))
    with h5py.File(tmp_path / name) as file:
        np.testing.assert_array_equal(data.valid[0], file["entry/mask"][()] == 0)
        np.testing.assert_array_equal(data.geometry.center, file["entry/center"][()])
    assert np.abs(np.subtract(data.center.half_pixel, data.geometry.center)).max() <= 0.5
