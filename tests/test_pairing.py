"""Every frame finds its reference, and exposures are compared in one way."""

import h5py
import numpy as np
import pytest

from smae_jax.errors import UserError
from smae_jax.io.pairing import exposure_ratio, pair_frames
from smae_jax.measurements import Measurements, Origin

LOW = np.arange(1, 4)[:, None, None] * np.ones((3, 4, 5))


def scan_of(counts, *, valid=None, exposure_s=None, names=None):
    counts = np.asarray(counts, np.float32)
    valid = np.ones((1, *counts.shape[1:]), bool) if valid is None else valid
    names = names or tuple(f"scan.npz[{i}]" for i in range(len(counts)))
    origin = Origin(dtype="int32", exposure_s=exposure_s)
    counts = np.where(valid, counts, 0).astype(np.float32)
    return Measurements(counts, valid.astype(np.float32), names=tuple(names), origin=origin)


def test_exposures_are_compared_by_time_where_both_tell_it():
    low = scan_of(LOW, exposure_s=(1.0, 1.0, 2.0))
    high = scan_of(7 * LOW, exposure_s=(10.0, 5.0, 10.0))
    ratio, how = exposure_ratio(low, high, "high")
    np.testing.assert_allclose(ratio, [10, 5, 5])
    assert "exposure times" in how
    assert "x 7" in how


@pytest.mark.parametrize(
    "times", [(None, (1.0,) * 3), ((1.0,) * 3, None), ((0.0,) * 3, (1.0,) * 3)]
)
def test_exposures_are_compared_by_totals_of_common_pixels_else(times):
    valid = np.ones((1, 4, 5), bool)
    valid[0, 0, 0] = False
    spoilt = 7 * LOW.copy()
    spoilt[:, 0, 0] = 1e6  # a pixel that the low-count scan has masked
    ratio, how = exposure_ratio(
        scan_of(LOW, valid=valid, exposure_s=times[0]), scan_of(spoilt, exposure_s=times[1]), "high"
    )
    np.testing.assert_allclose(ratio, 7)
    assert "matched totals" in how


def test_frames_are_paired_by_name():
    low = scan_of(LOW, names=("low/f3.tif", "low/f1.tif", "low/f9.tif"))
    high = scan_of(10 * LOW, names=("high/f1.cbf", "high/f2.cbf", "high/f3.cbf"))
    paired = pair_frames(low, high, path="low", reference_path="high", by="name")
    assert paired.frames.names == ("low/f3.tif", "low/f1.tif")
    assert paired.reference.names == ("high/f3.cbf", "high/f1.cbf")
    assert paired.frames.counts[:, 0, 0].tolist() == [1, 2]
    assert paired.reference.counts[:, 0, 0].tolist() == [30, 10]
    assert "1 frames and 1 references without a partner" in paired.said


def test_frames_are_paired_by_an_hdf5_key(tmp_path):
    paths = []
    for name, ids in (("low", [5, 7, 8]), ("high", [8, 5, 6])):
        paths.append(f"{tmp_path}/{name}.h5::/entry/data")
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["entry/data"], file["entry/point"] = LOW, np.array(ids)
    key = {"path": paths[0], "reference_path": paths[1], "by": "/entry/point"}
    paired = pair_frames(scan_of(LOW), scan_of(10 * LOW), **key)
    assert paired.frames.counts[:, 0, 0].tolist() == [1, 3]
    assert paired.reference.counts[:, 0, 0].tolist() == [20, 10]
    for by, message in (("/entry/pint", "no such dataset"), ("/entry/data", "60 ids")):
        with pytest.raises(UserError, match=message):
            pair_frames(scan_of(LOW), scan_of(LOW), **{**key, "by": by})


@pytest.mark.parametrize(
    ("high", "by", "message"),
    [
        (scan_of(np.ones((2, 4, 5))), "order", "2 frames for the 3"),
        (scan_of(np.ones((3, 5, 4))), "order", r"\(5, 4\)"),
        (scan_of(np.ones((3, 4, 5)), names=("a", "b", "c")), "name", "no frame has the name"),
        (scan_of(np.ones((3, 4, 5)), names=("a", "x/a.tif", "c")), "name", "'a' names 2 frames"),
        (scan_of(np.zeros((3, 4, 5))), "order", "no counts"),
    ],
)
def test_references_that_do_not_fit_are_refused(high, by, message):
    with pytest.raises(UserError, match=message) as caught:
        pair_frames(scan_of(LOW), high, path="low", reference_path="high", by=by)
    assert "\n" not in str(caught.value)


def spectra_of(counts, times, valid=None):
    counts, times = np.asarray(counts, np.int32), np.asarray(times, np.float32)
    valid = np.ones(counts.shape, bool) if valid is None else valid
    return Measurements(np.where(valid, counts, np.int32(0)), times[:, None] * valid)


def paired_repeats(low, high):
    return pair_frames(low, high, path="low", reference_path="high", repeats=True)


def test_each_repeat_has_its_reference_in_order():
    counts = np.array([[1, 2, 3], [4, 5, 7]])
    low, high = spectra_of(counts, [0.5, 1.5]), spectra_of(6 * counts, [0.5, 1.5])
    paired = paired_repeats(low, high)
    assert paired.frames is low
    assert paired.reference is high
    np.testing.assert_allclose(paired.ratio, [6, 6])
    assert "one for each, in order" in paired.said


def test_sum_of_the_references_serves_all_repeats():
    valid = np.ones((4, 3), bool)
    valid[0, 2] = False
    high = spectra_of(np.full((4, 3), 10), [1, 1, 1, 1], valid)
    paired = paired_repeats(spectra_of(np.full((2, 3), 5), [1, 1]), high)
    np.testing.assert_array_equal(paired.reference.counts, [[40, 40, 30]] * 2)
    np.testing.assert_array_equal(paired.reference.full_exposure, [[4, 4, 3]] * 2)
    np.testing.assert_allclose(paired.ratio, 2)  # 10 counts in an exposure, where the data have 5
    assert "the sum of 4 for all 2" in paired.said


def test_repeats_without_counts_or_of_another_shape_are_refused():
    low = spectra_of(np.full((2, 3), 5), [1, 1])
    with pytest.raises(UserError, match="mean counts are 0 for 5"):
        paired_repeats(low, spectra_of(np.zeros((2, 3)), [1, 1]))
    with pytest.raises(UserError, match=r"\(4,\).*\(3,\)"):
        paired_repeats(low, spectra_of(np.ones((2, 4)), [1, 1]))
