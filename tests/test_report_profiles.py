"""Profiles by pyFAI: sums, errors, chi-square, and the geometry that `.poni` files tell."""

import numpy as np
import pytest

from smae_jax.geometry import Center, Geometry
from smae_jax.io.poni import read_poni
from smae_jax.report.profiles import Profiles, in_rings

pytest.importorskip("pyFAI")
from smae_jax.report.cake import Cake, integrator

SHAPE = (50, 44)
CENTER = Center.given((27.5, 18.0))


def test_every_valid_photon_is_in_one_bin_and_masked_ones_in_none():
    counts = np.random.default_rng(0).poisson(3.0, SHAPE)
    exposure = np.ones(SHAPE)
    exposure[:, 7:9], exposure[11] = 0, 0.5
    sums, norm = Cake(Geometry(), CENTER, SHAPE)(counts, exposure)
    assert sums.sum() == counts[exposure > 0].sum()
    np.testing.assert_allclose(norm.sum(), exposure.sum(), rtol=1e-4)


def test_radius_and_azimuth_are_where_a_pixel_lies():
    image = np.zeros(SHAPE)
    image[27 + 8, 18] = 1  # 7.5 pixels below the centre
    image[27, 18 + 20] = 2  # 20 pixels to the right
    cake = Cake(Geometry(), CENTER, SHAPE)
    sums, _ = cake(image, np.ones(SHAPE))
    assert cake.bins.label == "radius / pixel"
    (down, right) = np.unravel_index([np.argmax(sums == 1), np.argmax(sums == 2)], sums.shape)
    radius, chi = cake.bins.values, cake.bins.azimuth
    np.testing.assert_allclose([radius[down[0]], radius[down[1]]], [7.5, 20], atol=0.6)
    np.testing.assert_allclose([chi[right[0]], chi[right[1]]], [90, -1], atol=1.5)


def test_q_follows_from_wavelength_distance_and_pixel_size():
    size, distance, wavelength = 172e-6, 1.9, 1.03e-10
    geometry = Geometry(None, (size, size), wavelength, distance)
    cake = Cake(geometry, CENTER, SHAPE)
    image = np.zeros(SHAPE)
    image[27, 40] = 1
    sums, _ = cake(image, np.ones(SHAPE))
    angle = np.arctan(np.hypot(0.5, 22) * size / distance)
    expected = 4 * np.pi * np.sin(angle / 2) / wavelength * 1e-9
    step = cake.bins.values[1] - cake.bins.values[0]
    np.testing.assert_allclose(cake.bins.values[sums.sum(axis=1) > 0], expected, atol=step)
    assert cake.bins.label == "q / nm^-1"


def test_the_integrator_gives_a_poni_file_back(tmp_path):
    path = tmp_path / "a.poni"
    path.write_text(
        "poni_version: 2\nDetector: Detector\n"
        'Detector_config: {"pixel1": 0.000172, "pixel2": 0.0001}\n'
        "Distance: 0.31\nPoni1: 0.021\nPoni2: 0.013\nRot1: 0.11\nRot2: -0.07\nRot3: 0.2\nWavelength: 1e-10\n"
    )
    geometry = read_poni(str(path), SHAPE, Geometry())
    found = integrator(geometry, Center.given(geometry.center), SHAPE)
    values = [found.dist, found.poni1, found.poni2, found.rot1, found.rot2, found.rot3]
    np.testing.assert_allclose(values, [0.31, 0.021, 0.013, 0.11, -0.07, 0.2], rtol=1e-9)


def profiles(rng, truth, norm, frames, *, follow=0.0, bias=0.0):
    """Counts of a truth, and an answer that is off by a share and follows their noise by another."""
    counts = rng.poisson(truth * norm, (frames, len(truth))).astype(float)
    norm = np.broadcast_to(norm, counts.shape)
    mean = truth * norm
    off = follow * rng.normal(0, np.sqrt(mean), (16, *counts.shape))
    return Profiles(counts, norm, mean + bias * mean + follow * (counts - mean), off)


def test_chi_square_is_one_for_the_truth_and_falls_where_noise_is_followed():
    rng = np.random.default_rng(0)
    truth, norm = np.linspace(2, 9, 80), np.full(80, 40.0)
    np.testing.assert_allclose(profiles(rng, truth, norm, 60).chi_square.mean(), 1, atol=0.05)
    followed = profiles(rng, truth, norm, 60, follow=0.5).chi_square.mean()
    np.testing.assert_allclose(followed, 0.25, atol=0.03)


def test_errors_cover_raw_exactly_and_denoised_as_replicas_tell():
    rng = np.random.default_rng(1)
    truth, norm = np.linspace(2, 9, 80), np.full(80, 40.0)
    found = profiles(rng, truth, norm, 60, follow=0.4)
    np.testing.assert_allclose(np.std((found.raw - truth) / found.raw_sigma), 1, atol=0.04)
    np.testing.assert_allclose(np.std((found.answer - truth) / found.answer_sigma), 1, atol=0.08)
    scan = found.of_scan()
    assert scan.frames == 1
    np.testing.assert_allclose(np.std((scan.answer - truth) / scan.answer_sigma), 1, atol=0.3)
    np.testing.assert_allclose(scan.raw_sigma[0], np.sqrt(truth / norm / 60), rtol=0.1)


def test_bins_without_pixels_have_no_value():
    found = Profiles(np.zeros((1, 3)), np.array([[0.0, 1, 2]]), np.zeros((1, 3)))
    assert np.isnan(found.raw[0, 0])
    assert found.raw_sigma[0, 1] == 1  # nothing counted still has the error of one photon
    assert np.isnan(found.chi_square[0])


def test_rings_tell_where_the_answer_moved():
    rng = np.random.default_rng(2)
    truth, norm = np.full(96, 5.0), np.full(96, 200.0)
    found = profiles(rng, truth, norm, 10)
    moved = found.denoised.copy()
    moved[:, 40:44] *= 1.05
    rings = in_rings(np.arange(96.0), Profiles(found.counts, found.norm, moved))
    far = [ring for ring in rings if abs(ring.sigmas) > 5]
    assert [(ring.low, ring.high) for ring in far] == [(39.5, 43.5)]
    np.testing.assert_allclose(far[0].percent, 5, atol=2)
