"""A centre is told from a guess: on patterns, on noise, and on what only looks like a pattern."""

import numpy as np
import pytest
import tifffile

from smae_jax.center import find_center
from smae_jax.simulate import simulate

Y, X = np.mgrid[:96, :110].astype(float)


def rings(center, *radii, width=3.0):
    r = np.hypot(Y - center[0], X - center[1])
    return 0.3 + sum(np.exp(-((r - radius) ** 2) / width**2) for radius in radii)


def halo(center, sigma):
    return 0.05 + np.exp(-((Y - center[0]) ** 2 + (X - center[1]) ** 2) / 2 / sigma**2)


def with_hot(rate, size=1, counts=100_000):
    rate = np.array(rate)
    rate[20 : 20 + size, 70 : 70 + size] = counts
    return rate


def spots(places):
    return 1 + sum(200 * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / 2 / 1.5**2) for y, x in places)


def found(rate, valid=None, seed=0):
    valid = np.ones(np.shape(rate), bool) if valid is None else valid
    return find_center(np.random.default_rng(seed).poisson(rate).astype(float), valid)


PLACES = np.random.default_rng(3).uniform(8, 88, (12, 2))
SYMMETRIC = np.concatenate([PLACES, np.subtract((95.0, 109.0), PLACES)])
CENTRES = {
    "halo": (300 * halo((44.5, 58), 20), (44.5, 58)),
    "broad halo": (300 * halo((44.5, 58), 50), (44.5, 58)),
    "two rings off centre": (100 * rings((35, 70.5), 18, 29), (35, 70.5)),
    "weak rings off centre": (2 * rings((35, 70.5), 18, 29), (35, 70.5)),
    "a hot pixel": (with_hot(5 * rings((35, 70.5), 18, 29)), (35, 70.5)),
    "2 x 2 hot pixels": (with_hot(5 * rings((35, 70.5), 18, 29), 2), (35, 70.5)),
    "3 x 3 hot pixels": (with_hot(5 * rings((35, 70.5), 18, 29), 3), (35, 70.5)),
    "reflections": (spots(SYMMETRIC), (47.5, 54.5)),
}


@pytest.mark.parametrize("name", CENTRES)
def test_centres_are_trusted_and_right(name):
    rate, center = CENTRES[name]
    guess = found(rate)
    assert guess.trusted, guess.reason
    assert guess.reason == ""
    np.testing.assert_allclose(guess.subpixel, center, atol=0.5)


GUESSES = {
    "noise of few counts": np.full(Y.shape, 0.1),
    "noise": np.full(Y.shape, 3.0),
    "a flat frame": np.full(Y.shape, 1000.0),
    "a gradient": 100 * (0.2 + Y / 96),
    "a curved gradient": 50 + 100 * (Y / 96) ** 2 + 30 * X / 110,
    "a steep gradient": 200 * np.exp(-Y / 30 - X / 50),
    "a hot pixel in noise": with_hot(np.full(Y.shape, 2.0)),
    "2 x 2 hot pixels in noise": with_hot(np.full(Y.shape, 2.0), 2),
    "3 x 3 hot pixels in noise": with_hot(np.full(Y.shape, 2.0), 3),
    "a halo off the frame": 300 * halo((-30, 60), 50),
    "rings about a centre off the frame": 100 * rings((-40, 60), 70, 110),
    "rings about a centre at the edge": 100 * rings((6, 55), 50, 80),
    "reflections without symmetry": spots(PLACES),
    "a lattice": 20 * (1 + np.cos(2 * np.pi * Y / 10)) * (1 + np.cos(2 * np.pi * X / 12)),
}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", GUESSES)
def test_guesses_are_not_trusted(name, seed):
    guess = found(GUESSES[name], seed=seed)
    assert not guess.trusted
    assert "guess" in guess.reason
    assert any("WARNING" in line and guess.reason in line for line in guess.warnings())


def test_a_few_reflections_that_meet_by_chance_are_no_centre():
    drawn = (np.random.default_rng(100 + seed).uniform(8, 88, (12, 2)) for seed in range(20))
    assert not any(found(spots(places)).trusted for places in drawn)


@pytest.mark.parametrize("kind", ["saxs", "waxd"])
@pytest.mark.parametrize("fault", [{}, {"asymmetry": 0.2}, {"readout_noise": 4.0}])
def test_asymmetry_and_noise_of_any_kind_are_no_wrong_centre(kind, fault):
    scan = simulate(kind, frames=8, photons=20, center_offset=(4.5, -7.0), seed=2, **fault)
    guess = find_center(scan.counts.sum(axis=0), scan.valid)
    assert guess.trusted, guess.reason
    # An asymmetry of a steep pattern looks like a shift of it.
    atol = 3 if kind == "saxs" and fault.get("asymmetry") else 0.5
    np.testing.assert_allclose(guess.subpixel, scan.center, atol=atol)


def test_an_arm_in_view_is_no_wrong_centre():
    scan = simulate("saxs", frames=16, photons=5, center_offset=(4.5, -7.0), seed=2)
    gaps = simulate("flat", frames=1, beamstop=False).valid
    guess = find_center(scan.counts.sum(axis=0), gaps)
    assert guess.trusted, guess.reason
    assert np.abs(np.subtract(guess.half_pixel, scan.center)).max() <= 0.5


@pytest.mark.parametrize("covered", ["masked", "dark"])
def test_half_a_detector_tells_no_centre(covered):
    scan = simulate("saxs", frames=16, photons=5, seed=2)
    counts, valid = scan.counts.sum(axis=0).astype(float), scan.valid.copy()
    if covered == "masked":
        valid[:70] = False
    else:
        counts[:62] = np.random.default_rng(0).poisson(0.05, counts[:62].shape)
    assert not find_center(counts, valid).trusted


@pytest.mark.parametrize("shape", [(12, 12), (8, 40), (5, 5), (3, 200)])
def test_small_frames_of_noise_are_judged_without_an_error(shape):
    assert not found(np.full(shape, 4.0)).trusted


@pytest.mark.parametrize("hot", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 1, 2))])
def test_hot_pixels_do_not_draw_the_centre_of_a_real_frame(shared_data, hot):
    frame = tifffile.imread(shared_data / "muscle_p40_raw" / "P40_1_3_00000.tif").astype(float)
    with np.load(shared_data / "muscle_p40_mask.npz") as file:
        center = file["center"]
    valid = frame >= 0
    frame[300 : 300 + hot, 700 : 700 + hot] = 1e6
    guess = find_center(np.where(valid, frame, 0), valid)
    assert guess.trusted, guess.reason
    np.testing.assert_allclose(guess.subpixel, center, atol=0.25)
