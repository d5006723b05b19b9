"""What is found out about a scan: its centre, its hot pixels, its scale."""

import dataclasses

import numpy as np
import pytest

from smae_jax.errors import UserError
from smae_jax.geometry import Center, Geometry
from smae_jax.io.reading import read
from smae_jax.measurements import Measurements
from smae_jax.survey import center_of, frame_scales, masked, settle

CENTER = (19.5, 14.0)


def pattern(frames=5):
    """Counts about a centre off the middle, with one hot pixel."""
    y, x = np.mgrid[:45, :32]
    rate = 2 + 60 * np.exp(-(((y - CENTER[0]) / 5) ** 2) - ((x - CENTER[1]) / 8) ** 2)
    counts = np.random.default_rng(1).poisson(rate, (frames, 45, 32)).astype(np.int32)
    counts[:, 30, 5] = 400
    return Measurements(counts, np.ones((1, 45, 32), np.float32))


@pytest.mark.parametrize(("center", "found"), [("auto", CENTER), ((3.2, 4.1), (3.0, 4.0))])
def test_settled_patterns_have_their_centre(center, found):
    data = settle(pattern(), center=center)
    assert data.center is not None
    assert data.center.half_pixel == found
    assert data.valid.all()


@pytest.mark.parametrize("center", [None, "auto", CENTER])
def test_hot_pixels_are_masked_with_and_without_symmetry(center):
    data = settle(pattern(), center=center, hot_pixels=True)
    assert (data.center is None) == (center is None)
    assert np.argwhere(~data.valid[0]).tolist() == [[30, 5]]
    assert not data.counts[:, 30, 5].any()
    assert data.counts.dtype == np.int32
    assert data.origin.masked_by["hot"] == pytest.approx(1 / 45 / 32)


def test_a_blurred_spot_without_a_partner_is_not_hot():
    """A reflection off the symmetry, in all frames: masked as hot it would be lost."""
    y, x = np.mgrid[:45, :32]
    spot = 300 * np.exp(-(((y - 36) / 1.0) ** 2) - ((x - 25) / 1.3) ** 2)
    data = pattern()
    extra = np.random.default_rng(2).poisson(spot, data.counts.shape).astype(np.int32)
    data = Measurements(data.counts + extra, data.exposure)
    settled = settle(data, center=CENTER, hot_pixels=True)
    assert np.argwhere(~settled.valid[0]).tolist() == [[30, 5]]


@pytest.mark.parametrize(("peak", "width"), [(30, 0.55), (300, 0.5), (300, 0.6), (300, 0.9)])
def test_a_sharp_spot_in_all_frames_is_not_hot(peak, width):
    y, x = np.mgrid[:45, :32]
    spot = peak * np.exp(-(((y - 36) / width) ** 2 + ((x - 25) / width) ** 2) / 2)
    data = pattern()
    extra = np.random.default_rng(2).poisson(spot, data.counts.shape).astype(np.int32)
    data = Measurements(data.counts + extra, data.exposure)
    settled = settle(data, center=CENTER, hot_pixels=True)
    assert np.argwhere(~settled.valid[0]).tolist() == [[30, 5]]


@pytest.mark.parametrize("uneven", [0.0, 0.05, 0.3, 0.8])
def test_a_centre_that_an_uneven_pattern_moves_is_a_guess(uneven):
    y, x = np.mgrid[:96, :96] - 47.5
    radius, azimuth = np.hypot(y, x), np.arctan2(y, x)
    rings = sum(np.exp(-(((radius - r) / 3) ** 2)) for r in (12, 22, 34))
    rate = 2 * (0.3 + 3 * rings) * (1 + uneven * np.cos(azimuth))
    counts = np.random.default_rng(0).poisson(rate, (8, 96, 96)).astype(np.int32)
    found = center_of(Measurements(counts, np.ones((1, 96, 96), np.float32)))
    right = np.hypot(*np.subtract(found.subpixel, (47.5, 47.5))) < 1
    assert right or not found.trusted
    assert found.trusted or uneven > 0.05


@pytest.mark.parametrize(("off", "trusted"), [(0.5, True), (6.0, False)])
def test_a_header_that_agrees_confirms_a_doubtful_centre(off, trusted):
    y, x = np.mgrid[:96, :96] - 47.5
    radius, azimuth = np.hypot(y, x), np.arctan2(y, x)
    rings = sum(np.exp(-(((radius - r) / 3) ** 2)) for r in (12, 22, 34))
    rate = 2 * (0.3 + 3 * rings) * (1 + 0.3 * np.cos(azimuth))
    counts = np.random.default_rng(0).poisson(rate, (8, 96, 96)).astype(np.int32)
    data = Measurements(counts, np.ones((1, 96, 96), np.float32))
    alone = center_of(data)
    assert not alone.trusted
    told = Geometry(center=(alone.subpixel[0] + off, alone.subpixel[1]))
    assert center_of(dataclasses.replace(data, geometry=told)).trusted == trusted


def test_centre_is_found_where_frames_are_masked_unlike():
    data = pattern()
    valid = np.random.default_rng(0).random(data.counts.shape) > 0.3
    assert center_of(masked(data, valid)).half_pixel == CENTER


def test_spectra_have_no_centre():
    spectra = Measurements(np.ones((2, 9), np.float32), np.ones((1, 9), np.float32))
    assert settle(spectra, center=None).center is None
    for options in ({"center": "auto"}, {"center": None, "hot_pixels": True}):
        with pytest.raises(UserError, match=r"expected patterns .*\(9,\)"):
            settle(spectra, **options)


def test_constant_frames_have_no_centre():
    flat = Measurements(np.ones((2, 9, 8), np.float32), np.ones((1, 9, 8), np.float32))
    with pytest.raises(UserError, match="no centre can be found"):
        settle(flat, center="auto")
    assert settle(flat, center=(4, 3)).center == Center.given((4, 3))


def test_mask_of_spectra_and_channels_takes_away_all_channels():
    counts = np.arange(1, 25, dtype=np.int32).reshape(2, 4, 3)
    data = Measurements(counts, np.full((1, 4), 0.5, np.float32), channels=True)
    kept = masked(data, np.array([True, False, True, True]))
    assert kept.exposure.tolist() == [[0.5, 0, 0.5, 0.5]]
    np.testing.assert_array_equal(kept.counts != 0, kept.valid[..., None] & (counts > 0))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("scan", [2.5, 2.5, 2.5]),
        ("frame", [2, 4, 2.5]),
        ("scan_max", [6, 6, 6]),
        ("frame_max", [3, 6, 6]),
    ],
)
def test_scales_are_per_exposure_and_valid_pixel(rule, expected):
    counts = np.array([[[1, 3, 0, 2]], [[6, 12, 0, 6]], [[0, 0, 0, 0]]], np.int32)
    exposure = np.array([1, 2, 1], np.float32)[:, None, None] * np.array([1, 1, 0, 1], np.float32)
    scales = frame_scales(Measurements(counts, exposure), rule=rule)
    np.testing.assert_allclose(scales, expected, rtol=1e-6)


@pytest.mark.slow
def test_muscle_frames_are_settled(shared_data):
    data = read(f"{shared_data}/muscle_p40_raw/*.tif")
    settled = settle(data, center="auto", hot_pixels=True)
    assert settled.center is not None
    assert np.hypot(*np.subtract(settled.center.subpixel, (490.5, 410.0))) < 3
    assert settled.origin.masked_by["hot"] < 5e-4
