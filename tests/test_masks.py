"""Masks only take away; hot pixels go, reflections stay."""

import dataclasses

import numpy as np
import pytest

from smae_jax.io.reading import describe_mask, masked, read, read_mask
from smae_jax.measurements import Measurements, Origin
from smae_jax.survey import find_hot_pixels

CENTER = (20.5, 14.0)


def scan_of(counts, valid=None):
    counts = np.asarray(counts, np.float32)
    valid = np.ones((1, *counts.shape[1:]), bool) if valid is None else valid
    names = tuple(f"f{i}.tif" for i in range(len(counts)))
    masked_by = {"detector": float(1 - valid.mean()), "not finite": 0.0, "saturated": 0.0}
    origin = Origin(dtype="int32", masked_by=masked_by)
    counts = np.where(valid, counts, 0)
    return Measurements(counts, valid.astype(np.float32), names=names, origin=origin)


def pattern(frames=6, rate=3.0, seed=0):
    """Poisson background with two partner reflections of 1.2 pixels sigma, off every axis."""
    y, x = np.mgrid[:45, :32].astype(float)
    image = np.full(y.shape, rate)
    for sign in (1, -1):
        dy, dx = y - CENTER[0] - sign * 9, x - CENTER[1] - sign * 5.5
        image += 400 * np.exp(-(dy**2 + dx**2) / (2 * 1.2**2))
    rng = np.random.default_rng(seed)
    return rng.poisson(image, (frames, *image.shape)).astype(np.float32)


# Applying and describing


def test_mask_takes_away_and_counts_each_pixel_once():
    valid = np.ones((1, 4, 5), bool)
    valid[0, 0] = False
    scan = scan_of(np.arange(1, 61).reshape(3, 4, 5), valid)
    user = np.ones((4, 5), bool)
    user[:, 0] = False
    kept = masked(scan, user)
    np.testing.assert_array_equal(kept.valid, valid & user)
    there = np.broadcast_to(kept.valid, kept.counts.shape)
    assert not kept.counts[~there].any()
    np.testing.assert_array_equal(kept.counts[there], scan.counts[there])
    shares = kept.origin.masked_by
    assert shares["detector"] == pytest.approx(5 / 20)
    assert shares["user"] == pytest.approx(3 / 20)  # the corner was masked before
    assert sum(shares.values()) == pytest.approx(1 - kept.valid.mean())
    again = masked(kept, user)
    np.testing.assert_array_equal(again.counts, kept.counts)
    assert again.origin.masked_by == shares
    assert scan.counts[0, 1, 0] == 6  # the first scan is as it was


def test_mask_per_frame():
    scan = scan_of(np.ones((2, 4, 5)))
    valid = np.ones((2, 4, 5), bool)
    valid[1, 3, 4] = False
    kept = masked(scan, valid, cause="hot")
    np.testing.assert_array_equal(kept.valid, valid)
    assert kept.origin.masked_by["hot"] == pytest.approx(1 / 40)


def test_wrong_masks_are_refused():
    scan = scan_of(np.ones((3, 4, 5)))
    with pytest.raises(ValueError, match=r"m\.npz: the mask has shape \(4, 6\).*f0\.tif.*\(4, 5\)"):
        masked(scan, np.ones((4, 6), bool), path="m.npz")
    with pytest.raises(ValueError, match="looks transposed"):
        masked(scan, np.ones((5, 4), bool))
    with pytest.raises(ValueError, match=r"shape \(2, 4, 5\)"):
        masked(scan, np.ones((2, 4, 5), bool))
    with pytest.raises(ValueError, match=r"no usable pixel is left.*polarity"):
        masked(scan, np.zeros((4, 5), bool))


def test_describe_names_every_cause():
    valid = np.ones((1, 100, 100), bool)
    valid[0, :7] = False
    scan = scan_of(np.ones((2, 100, 100)), valid)
    assert describe_mask(scan) == "7.0 % of pixels masked: 7.00 % detector"
    user = np.ones((100, 100), bool)
    assert describe_mask(masked(scan, user)) == (
        "7.0 % of pixels masked: 7.00 % detector, 0.00 % user"
    )
    user[50, :24] = False
    scan = masked(dataclasses.replace(scan), user)
    assert describe_mask(scan) == "7.2 % of pixels masked: 7.00 % detector, 0.24 % user"


# Hot pixels


@pytest.mark.parametrize("center", [None, CENTER])
def test_hot_pixels_are_found_and_nothing_else(center):
    counts = pattern()
    hot = {(3, 4), (0, 0), (44, 17), (40, 25), (12, 31), (30, 20)}
    for number, (y, x) in enumerate(sorted(hot)):
        counts[:, y, x] = np.random.default_rng(number).poisson(40 + 500 * number, 6)
    valid = find_hot_pixels(scan_of(counts), center=center)
    assert {tuple(map(int, p)) for p in np.argwhere(~valid)} == hot


@pytest.mark.parametrize("center", [None, CENTER])
@pytest.mark.parametrize("frames", [1, 2, 6, 40])
@pytest.mark.parametrize("rate", [0.02, 3.0, 300.0])
def test_nothing_is_hot_in_a_clean_pattern(center, frames, rate):
    assert find_hot_pixels(scan_of(pattern(frames, rate)), center=center).all()


def test_one_pixel_reflection_with_a_partner_stays():
    """As sharp as a hot pixel: only the partner tells."""
    counts = pattern()
    counts[:, 38, 25] = 200
    counts[:, 4, 3] = 180  # the partner is at (3, 3): this one is a pixel off
    assert not find_hot_pixels(scan_of(counts))[38, 25]
    assert find_hot_pixels(scan_of(counts), center=CENTER).all()


def test_hot_pair_is_found_with_and_without_center():
    counts = pattern()
    counts[:, 38, 25] = 90
    counts[:, 38, 26] = 80
    for center in (None, CENTER):
        assert (~find_hot_pixels(scan_of(counts), center=center)).sum() == 2


@pytest.mark.parametrize("frames", [2, 3, 6, 9])
def test_bragg_spot_in_few_frames_is_not_hot(frames):
    counts = pattern(frames)
    flashes = max(1, frames // 4)
    counts[:flashes, 38, 25] = 5000
    assert find_hot_pixels(scan_of(counts), center=CENTER).all()
    counts[:, 38, 25] = 5000
    assert not find_hot_pixels(scan_of(counts), center=CENTER)[38, 25]


def test_masked_neighbours_and_partners_do_not_count():
    counts = pattern()
    valid = np.ones((1, *counts.shape[1:]), bool)
    valid[0, 36:40, 22:30] = False
    valid[0, 38, 25] = True  # alone in a gap: nothing to compare it with but two rows away
    valid[0, 1:8, 20:28] = False
    counts[:, 38, 25] = 3
    counts[:, 37, 9] = 60  # its partner (4, 19) has masked neighbours
    counts[:, 36, 4] = 70  # its partner (5, 24) is masked altogether
    found = np.argwhere(~find_hot_pixels(scan_of(counts, valid), center=CENTER))
    np.testing.assert_array_equal(found, [[36, 4], [37, 9]])


def test_pixel_valid_in_some_frames_is_judged_by_those():
    counts = pattern(8)
    valid = np.ones(counts.shape, bool)
    counts[:, 38, 25] = 60
    valid[:5, 38, 25] = False
    valid[:7, 3, 3] = False
    found = np.argwhere(~find_hot_pixels(scan_of(counts, valid), center=CENTER))
    np.testing.assert_array_equal(found, [[38, 25]])


def test_thresholds_are_checked():
    scan = scan_of(pattern(2))
    with pytest.raises(ValueError, match=r"threshold: expected .* above 0, got 0"):
        find_hot_pixels(scan, threshold=0)
    with pytest.raises(ValueError, match="margin: expected 0 or more, got -1"):
        find_hot_pixels(scan, margin=-1)
    with pytest.raises(ValueError, match="threshold"):
        find_hot_pixels(scan, threshold=float("nan"))


def test_real_equatorial_reflections_stay(shared_data):
    scan = read(f"{shared_data}/muscle_p40_raw/*.tif")
    mean = scan.counts.mean(axis=0)
    equator = mean > 100  # the sharp equatorial reflections
    assert 100 < equator.sum() < 5000
    for center in (None, (490.5, 410.0)):
        hot = ~find_hot_pixels(scan, center=center)
        assert hot.mean() < 5e-4
        assert not (hot & equator).any()
        hot = ~find_hot_pixels(scan.take([0]), center=center)
        assert hot.mean() < 5e-4
        assert not (hot & equator).any()


def test_hot_pixels_put_into_real_frames_are_found(shared_data):
    scan = read(f"{shared_data}/muscle_p40_raw/*.tif")
    good = read_mask(f"{shared_data}/muscle_p40_mask.npz::mask", polarity="good")
    rng = np.random.default_rng(5)
    y, x = np.array([p for p in rng.integers(60, 900, (60, 2)) if good[tuple(p)]]).T
    counts = scan.counts.copy()
    counts[:, y, x] = 8 * counts[:, y, x] + rng.poisson(60, (6, len(y)))
    hot = ~find_hot_pixels(dataclasses.replace(scan, counts=counts), center=(490.5, 410.0))
    assert hot[y, x].mean() > 0.95
    assert hot.sum() == hot[y, x].sum()
