"""Marks are told from measurements by how they behave, in whatever type they were saved."""

import dataclasses

import numpy as np
import pytest

from smae_jax.errors import UserError
from smae_jax.io.marks import parse_marks
from smae_jax.io.reading import read
from smae_jax.io.source import open_source

GAP = np.zeros((24, 30), bool)
GAP[9:12], GAP[2, 5] = True, True


@pytest.fixture
def counts():
    """Photons of eight frames, asymmetric, up to about 60."""
    y, x = np.mgrid[:24, :30]
    rate = 40 * np.exp(-((y - 14) ** 2 + (x - 11) ** 2) / 30) + 0.4
    return np.random.default_rng(3).poisson(rate, (8, 24, 30)).astype(np.int64)


def with_gap(counts, value):
    return np.where(GAP, value, counts)


def of(tmp_path, values, **options):
    np.save(tmp_path / "a.npy", values)
    return read(str(tmp_path / "a.npy"), **options)


def said(data):
    return " | ".join(data.origin.notes)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *(("int32", value) for value in (255, 254, 1023, 4095, 16383, 65535, 65534, 2**20 - 1)),
        *(("float32", value) for value in (255, 65535, 2**24 - 1, 2**31 - 1, 2**32 - 1, 2**32 - 2)),
        *(("float64", value) for value in (65535, 2**31 - 1, 2**32 - 1, -1, -2)),
        *(("int64", value) for value in (65535, 2**31 - 1, 2**32 - 1, 2**63 - 1, -1)),
        *(("uint8", value) for value in (255, 254)),
        *(("uint16", value) for value in (255, 4095, 65535, 65534)),
        *(("uint64", value) for value in (65535, 2**32 - 1, 2**64 - 1)),
        *(("uint32", value) for value in (65535, 2**31 - 1, 2**32 - 1, 2**32 - 2)),
        *(("int32", value) for value in (-1, -2, -100, -(2**31))),
    ],
)
def test_a_value_constant_in_place_is_a_mark_in_any_type(tmp_path, counts, dtype, value):
    data = of(tmp_path, with_gap(counts, value).astype(dtype))
    np.testing.assert_array_equal(data.valid, ~GAP[None])
    np.testing.assert_array_equal(data.counts, np.where(GAP, 0, counts))
    assert data.origin.masked_by["detector"] == pytest.approx(GAP.mean())
    assert "gap: " in said(data)
    assert "--data.marks" in said(data)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_gaps_are_told_from_saturated_pixels_of_the_same_value(tmp_path, counts, dtype):
    values = with_gap(counts, 65535)
    values[::2, 14, 10:12] = 65535  # every second frame
    data = of(tmp_path, values.astype(dtype))
    np.testing.assert_array_equal(data.full_exposure == 0, values == 65535)
    assert data.origin.masked_by["detector"] == pytest.approx(GAP.mean())
    assert data.origin.masked_by["saturated"] == pytest.approx(1 / 24 / 30)


@pytest.mark.parametrize(("dtype", "full"), [("uint8", 255), ("uint16", 65535), ("int32", 4095)])
def test_what_only_comes_and_goes_is_saturated_and_no_gap(tmp_path, counts, dtype, full):
    bright = np.minimum(counts * (full // 30), full)  # a clipped pattern
    assert 3 < (bright == full).sum() < 0.1 * bright.size
    data = of(tmp_path, bright.astype(dtype))
    always = (bright == full).all(axis=0)
    np.testing.assert_array_equal(data.full_exposure == 0, bright == full)
    assert data.origin.masked_by["detector"] == pytest.approx(always.mean())
    assert "saturated" in said(data) or always.any()


@pytest.mark.parametrize("value", [255, 1023, 4095, 65535])
def test_a_count_that_happens_to_be_such_a_number_is_data(tmp_path, counts, value):
    for place in ((2, 14, 11), slice(None)):  # once, and above others that come near it
        values = counts * (value // 40)
        values[place if isinstance(place, tuple) else (3, 3, 3)] = value
        data = of(tmp_path, values.astype(np.int32))
        assert data.valid.all()
        np.testing.assert_array_equal(data.counts, values)


def test_one_frame_decides_by_isolation_alone(tmp_path, counts):
    frame = counts[:1]
    assert not of(tmp_path, with_gap(frame, 65535).astype(np.int32)).valid[0][GAP].any()
    near = np.where(GAP, 65535, frame * 600).astype(np.int32)  # up to more than a quarter
    near[0, 0, :9] = np.arange(65526, 65535)
    near[0, 2, 5], near[0, 9:12] = 3, 7
    near[0, 0, 0] = 65535
    assert of(tmp_path, near).valid.all()
    lone = frame.copy()
    lone[0, 5, 5] = 255  # a bright spot may count so many
    assert of(tmp_path, lone.astype(np.int32)).valid.all()
    same = np.repeat(lone, 5, axis=0)  # copies of one frame tell no more than one
    assert of(tmp_path, same.astype(np.int32)).valid.all()


def test_the_decision_is_that_of_the_scan_not_of_a_file_or_their_order(tmp_path, counts):
    values = with_gap(counts, 65535).astype(np.int32)
    values[3, 14, 11] = 65535
    for order, name in ((range(8), "a"), (range(7, -1, -1), "b")):
        for place, index in enumerate(order):
            np.save(tmp_path / f"{name}{place}.npy", values[index])
        data = read(f"{tmp_path}/{name}*.npy")
        np.testing.assert_array_equal(data.full_exposure == 0, values[list(order)] == 65535)
        assert data.origin.masked_by["detector"] == pytest.approx(GAP.mean())
    parts = open_source(f"{tmp_path}/a*.npy").read([3])  # of one frame as of all
    np.testing.assert_array_equal(parts.full_exposure[0] == 0, values[3] == 65535)


def test_frames_without_anything_in_them_do_not_hide_the_marks(tmp_path, counts):
    values = with_gap(counts, -1).astype(np.int32)
    values[2], values[5] = 0, -1  # a frame that was dropped, and one of marks alone
    data = of(tmp_path, values)
    np.testing.assert_array_equal(data.full_exposure == 0, values < 0)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32"])
def test_negative_values_that_come_and_go_are_measurements(tmp_path, counts, dtype):
    dark = counts - np.random.default_rng(1).poisson(0.8, counts.shape)
    data = of(tmp_path, dark.astype(dtype))
    assert data.valid.all()
    np.testing.assert_array_equal(data.counts, dark)
    assert not data.are_counts
    assert "no photon counts" in said(data)
    assert data.origin.marks == "auto,signed"


def test_marks_are_found_beside_what_a_subtraction_left(tmp_path, counts):
    dark = counts - np.random.default_rng(1).poisson(0.8, counts.shape)
    for value in (-1, 65535):
        data = of(tmp_path, with_gap(dark, value).astype(np.int32))
        np.testing.assert_array_equal(data.valid, ~GAP[None])
        np.testing.assert_array_equal(data.counts, np.where(GAP, 0, dark))


def test_a_frame_that_has_one_more_bad_pixel_is_no_subtraction(tmp_path, counts):
    values = with_gap(counts, -1)
    values[4, 20:22] = -2  # a module that dropped out
    data = of(tmp_path, values.astype(np.int32))
    np.testing.assert_array_equal(data.full_exposure == 0, values < 0)


def test_three_different_negative_values_of_one_frame_are_many(tmp_path, counts):
    frame = counts[:1].copy()
    frame[0, 0, :4] = -1, -1, -2, -2
    assert of(tmp_path, frame).valid.sum() == frame.size - 4
    frame[0, 0, 4] = -3
    assert of(tmp_path, frame).valid.all()


def test_of_floats_whole_negative_values_are_marks_and_decimals_measurements(tmp_path, counts):
    noisy = counts + np.random.default_rng(2).normal(0, 0.5, counts.shape)
    for frames in (slice(None), slice(1)):
        data = of(tmp_path, with_gap(noisy, -1)[frames].astype(np.float32))
        np.testing.assert_array_equal(data.valid, ~GAP[None])
        assert (data.counts < 0).any()
        assert "negative decimals are measurements" in said(data)


def test_the_option_overrides_what_was_decided(tmp_path, counts):
    values = with_gap(counts, 65535).astype(np.uint16)
    assert of(tmp_path, values, marks="none").valid.all()
    assert of(tmp_path, values, marks="7").valid.sum() < of(tmp_path, values).valid.sum() * 8
    values = with_gap(counts, -1).astype(np.int32)
    kept = of(tmp_path, values, marks="signed")
    np.testing.assert_array_equal(kept.valid, ~GAP[None])  # constant in place all the same
    assert of(tmp_path, values, marks="none").counts.min() == -1
    odd = with_gap(counts, 50_000).astype(np.int32)
    assert of(tmp_path, odd).valid.all()
    np.testing.assert_array_equal(of(tmp_path, odd, marks="auto,50000").valid, ~GAP[None])
    np.testing.assert_array_equal(of(tmp_path, odd, marks="50000").valid, ~GAP[None])


@pytest.mark.parametrize("text", ["", "some", "none,5", "auto,nan", "1e400", "none,auto"])
def test_marks_that_are_none_are_refused_in_one_line(tmp_path, counts, text):
    np.save(tmp_path / "a.npy", counts)
    with pytest.raises(UserError, match=r"--data\.marks: expected auto") as refused:
        read(str(tmp_path / "a.npy"), marks=text)
    assert "\n" not in str(refused.value)
    assert parse_marks("auto , -1,65535").values == (-1, 65535)


@pytest.mark.parametrize("value", [65535, 2**32 - 1, -1])
@pytest.mark.parametrize("signed", [False, True])
def test_what_a_run_keeps_reads_the_same_frames_alike(tmp_path, counts, value, signed):
    dark = counts - np.random.default_rng(1).poisson(0.8, counts.shape) * signed
    first = of(tmp_path, with_gap(dark, value))
    again = of(tmp_path, with_gap(dark, value), marks=first.origin.marks)
    np.testing.assert_array_equal(first.exposure, again.exposure)
    assert again.origin.marks == first.origin.marks
    alone = of(tmp_path, with_gap(dark, value)[2:3], marks=first.origin.marks)
    if value > 0:
        np.testing.assert_array_equal(alone.exposure > 0, ~GAP[None])


def test_volumes_and_repeats_of_patterns_have_marks_too(tmp_path, counts):
    values = with_gap(counts, 65535).astype(np.int32)
    for options in ({"dimensions": 2}, {"dimensions": 2, "repeats_axis": -3}):
        data = of(tmp_path, values, **options)
        np.testing.assert_array_equal(data.full_exposure[0] == 0, GAP)
        assert "65535" in said(data)
    volumes = np.stack([values[:4], values[4:]])
    data = of(tmp_path, volumes, dimensions=3)
    np.testing.assert_array_equal(data.full_exposure[0] == 0, np.broadcast_to(GAP, (4, 24, 30)))
    spectra = of(tmp_path, np.array([[5, -1, 65535]] * 3), dimensions=1)
    assert spectra.valid.all()


@pytest.mark.parametrize(
    ("units", "told"),
    [
        (np.full(8, 0.37), "counts = value / 0.37"),
        (np.full(8, 1 / 30), "counts = value / 0.033333"),
        (np.linspace(0.31, 0.4, 8), "another in each frame"),
        (np.full(8, 2.5), "counts = value / 2.5"),
    ],
)
def test_multiples_of_a_unit_are_noticed_and_are_no_counts(tmp_path, counts, units, told):
    for dtype in (np.float32, np.float64):
        data = of(tmp_path, (counts * units[:, None, None]).astype(dtype))
        assert told in said(data)
        assert not data.are_counts
        marked = of(tmp_path, with_gap(counts * units[:, None, None], -1).astype(dtype))
        assert told in said(marked)
        np.testing.assert_array_equal(marked.valid, ~GAP[None])


def test_no_unit_is_seen_where_there_is_none(tmp_path, counts):
    rng = np.random.default_rng(5)
    for values in (
        counts.astype(np.float32),
        counts * rng.uniform(0.8, 1.2, (1, 24, 30)),
        rng.normal(3, 1, counts.shape),
        2.0 * counts,
    ):
        assert "multiples" not in said(of(tmp_path, values))


def test_not_finite_values_do_not_decide(tmp_path, counts):
    values = with_gap(counts, 65535).astype(np.float32)
    values[:, 0, 0], values[1, 0, 1], values[2, 0, 2] = np.inf, np.nan, 1e38
    data = of(tmp_path, values)
    assert data.origin.masked_by["not finite"] == pytest.approx(10 / values.size)
    assert data.origin.masked_by["detector"] == pytest.approx(GAP.mean())


def test_pixels_that_the_file_masks_do_not_decide(tmp_path, counts):
    h5py = pytest.importorskip("h5py")
    values = np.where(GAP, 65535, counts)
    values[:, 0, 0] = 10**6  # dead, and masked by the file
    mask = np.zeros(GAP.shape, np.uint32)
    mask[0, 0] = 1
    with h5py.File(tmp_path / "a.h5", "w") as file:
        detector = file.create_group("entry/instrument/detector")
        detector.attrs["NX_class"] = "NXdetector"
        detector["data"], detector["pixel_mask"] = values.astype(np.int32), mask
    data = read(f"{tmp_path}/a.h5::/entry/instrument/detector/data")
    np.testing.assert_array_equal(data.valid[0], ~GAP & (mask == 0))


def test_what_the_file_masks_and_where_it_saturates_is_said(tmp_path, counts):
    h5py = pytest.importorskip("h5py")
    mask = np.zeros(GAP.shape, np.uint32)
    mask[:6] = 1
    with h5py.File(tmp_path / "a.h5", "w") as file:
        detector = file.create_group("entry/instrument/detector")
        detector.attrs["NX_class"] = "NXdetector"
        detector["data"], detector["pixel_mask"] = counts.astype(np.int32), mask
    data = read(f"{tmp_path}/a.h5::/entry/instrument/detector/data", saturation=30)
    assert "25.00 % masked by the file's own pixel mask" in data.origin.notes
    assert sum("counts of 30 and more are saturated" in note for note in data.origin.notes) == 1
    assert not [note for note in of(tmp_path, counts, saturation=np.inf).origin.notes if note]


def test_the_sample_is_bounded(tmp_path, counts, monkeypatch):
    from smae_jax.io import raw_frames, scans

    read_frames = []
    part = raw_frames.Frames.part
    monkeypatch.setattr(
        raw_frames.Frames,
        "part",
        lambda self, first, last: read_frames.append((first, last)) or part(self, first, last),
    )
    np.save(tmp_path / "a.npy", np.tile(with_gap(counts, 65535), (30, 1, 1)))
    found = scans.find_marks([str(tmp_path / "a.npy")], "", "auto")
    assert 8 <= len(read_frames) <= 16
    assert (read_frames[0][0], read_frames[-1][1]) == (0, 240)
    assert 65535 in found.places
    assert dataclasses.replace(found, places={}).kept == "auto,65535"
