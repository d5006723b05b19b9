"""Images smoothed in strips by threads, sums row by row, and work in threads: as the plain way has it."""

import importlib

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from smae_jax import overlap, smoothing
from smae_jax.geometry import turn
from smae_jax.smoothing import as_long, blur, boxes, gaussian, smooth_image, three_boxes
from smae_jax.stacks import mean_over_frames, turned_about

own = importlib.import_module("smae_jax.finishing.own")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(37, 61), (5, 90)])
def test_strips_are_smoothed_as_the_whole(monkeypatch, shape, dtype):
    image = np.random.default_rng(0).poisson(3.0, shape).astype(dtype)
    monkeypatch.setattr(smoothing, "STRIP", 50)
    monkeypatch.setattr(smoothing, "threads_of", lambda size: 3)
    wide, wanted = smooth_image(image, 4.0), gaussian_filter(image, 4.0, mode="constant")
    np.testing.assert_array_equal(wide, wanted)
    assert wide.dtype == wanted.dtype
    np.testing.assert_array_equal(
        boxes(image, (3, 17)), uniform_filter(image, (3, 17), mode="constant")
    )


@pytest.mark.parametrize("band", [7, 128])
@pytest.mark.parametrize("sigma", [0.7, 6.0])
def test_products_of_bands_blur_as_a_filter_does(monkeypatch, band, sigma):
    monkeypatch.setattr(smoothing, "BAND", band)
    images = np.random.default_rng(3).poisson(3.0, (2, 37, 61)).astype(np.float32)
    for image, one in zip(images, blur(images, as_long(gaussian(sigma), 61)), strict=True):
        np.testing.assert_allclose(one, smooth_image(image, sigma), atol=1e-5)


def test_three_boxes_are_three_means_one_after_the_other():
    image = np.zeros((41, 41), np.float32)
    image[20, 20], wanted = 1, None
    for _ in range(3):
        wanted = uniform_filter(image if wanted is None else wanted, 9)
    np.testing.assert_allclose(blur(image[None], as_long(three_boxes(4), 25))[0], wanted, atol=1e-8)
    kernel, place = three_boxes(4), np.arange(-12, 13)
    assert kernel.sum() == pytest.approx(1)
    assert np.sqrt((kernel * place**2).sum()) == pytest.approx(4.5, rel=0.01)


@pytest.mark.parametrize("center", [(3.0, 2.5), (0.0, 6.0), (50.0, -3.5)])
def test_the_device_turns_as_the_host_does(center):
    images = np.random.default_rng(4).random((2, 7, 9)).astype(np.float32)
    np.testing.assert_array_equal(turned_about(images, center, 0.5), turn(images, center, 0.5))


def test_sums_by_octave_are_those_of_a_plain_loop():
    rng = np.random.default_rng(1)
    shape = (3, 7, 5)
    alone, together = (rng.uniform(0.1, 40, shape).astype(np.float32) for _ in range(2))
    together[0, 0, 0], alone[1, 2, 3] = 0, np.nan
    photons = rng.poisson(9, shape).astype(np.int32)
    exposure = rng.uniform(0.4, 0.6, (1, 7, 5)).astype(np.float32)
    use = rng.random((1, 7, 5)) > 0.2
    mean = together.mean(axis=0, keepdims=True)
    found = np.asarray(
        own._sums(*map(jnp.asarray, (alone, together, photons, exposure, use, mean)))
    )
    wanted = np.zeros((3, 3, len(own.OCTAVES)))
    for place in np.ndindex(shape):
        here = (0, *place[1:])
        if not (use[here] and together[place] > 0 and np.isfinite(alone[place])):
            continue
        octave = np.clip(np.log2(together[place] / mean[here]), -5, 5)
        change, expected = float(alone[place] - together[place]), float(together[place])
        rest = photons[place] / exposure[here] - expected
        values = (change**2 / expected, change * rest / expected)
        values = np.array([*values, values[0] / exposure[here]])
        wanted[place[0]] += values[:, None] * np.maximum(1 - np.abs(octave - own.OCTAVES), 0)
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=1e-3)


def test_a_mean_over_frames_is_the_mean():
    images = np.random.default_rng(2).random((9, 11, 6)).astype(np.float32)
    np.testing.assert_allclose(mean_over_frames(images)[0], images.mean(axis=0), rtol=1e-6)


def test_work_in_threads_keeps_its_order_and_raises_where_it_is_due():
    begun = []

    def works():
        for number in range(20):
            begun.append(number)
            yield lambda number=number: 1 / (number - 9)

    found = overlap.in_threads(works(), 3)
    assert next(found) == 1 / -9
    assert len(begun) < 8  # no more is taken up than is worked on
    assert [next(found) for _ in range(8)] == [1 / (number - 9) for number in range(1, 9)]
    with pytest.raises(ZeroDivisionError):
        next(found)
