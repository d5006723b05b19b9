"""Photons are told from values that do not scatter as they do, on uneven detectors and sharp patterns too."""

import dataclasses

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from smae_jax.cautions import cautions
from smae_jax.counting import USUAL, judged, variance_over_mean
from smae_jax.geometry import Center
from smae_jax.measurements import Measurements
from smae_jax.simulate import simulate


def measured(counts, valid):
    exposure = valid.astype(np.float32)[None]
    return Measurements(np.where(valid, counts, 0).astype(np.int32), exposure)


def scan(photons, frames=4, kind="waxd", **options):
    found = simulate(kind, frames=frames, size=96, photons=photons, **options)
    return measured(found.counts, found.valid)


def said(data):
    return [line for line in cautions(data) if "scatter" in line]


@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize("photons", [0.5, 10.0, 30.0])
def test_photons_are_photons(photons, frames):
    data = scan(photons, frames)
    low, high, _ = variance_over_mean(data)
    assert 0.85 < low < 1.3
    assert high > 0.9  # sharp rings in few pixels add to it
    assert not said(data)


def test_uneven_pixels_are_no_integration_where_frames_tell():
    data = scan(100.0, kind="saxs", flat_field_error=0.03)
    assert not said(data)
    assert variance_over_mean(data)[0] < variance_over_mean(data.take([0]))[0]


@pytest.mark.parametrize(
    ("values_per_photon", "blur", "word"),
    [(3.0, 0.0, "more"), (3.0, 0.6, "less"), (1.0, 0.6, "less")],
)
def test_detectors_that_integrate_or_blur_are_noticed(values_per_photon, blur, word):
    data = scan(10.0)
    values = values_per_photon * data.counts.astype(float)
    values = np.stack([gaussian_filter(one, blur) for one in values]) if blur else values
    [line] = said(measured(np.rint(values), data.valid[0]))
    assert f"scatter {word} than photons" in line
    assert "--thinning.gain" in line


def test_real_detectors_count(shared_data):
    with np.load(shared_data / "scan_mn23_12x1s.npz") as file:
        data = measured(np.maximum(file["crop"][:4], 0), file["crop_mask"])
    low, high, _ = variance_over_mean(data)
    assert USUAL[0] < low <= high < 1.1
    assert not said(data)


def test_nothing_is_said_where_too_little_was_counted_or_values_are_no_counts():
    dark = scan(0.5).take([0])
    dark = dataclasses.replace(dark, counts=np.zeros_like(dark.counts))
    assert variance_over_mean(dark) is None
    assert not said(dark)
    spectra = Measurements(np.full((2, 400), 9, np.int32), np.ones((1, 400), np.float32))
    assert not said(spectra)


def test_uneven_pixels_are_no_integration_where_exposures_differ():
    rng = np.random.default_rng(3)
    rate = 1000 * (1 + 0.03 * rng.standard_normal((96, 96)))
    frames = rng.poisson(rate * np.array([1, 10] * 3)[:, None, None])
    data = measured(frames, np.ones((96, 96), bool))
    assert 0.9 < variance_over_mean(data).low < variance_over_mean(data).high < 1.1
    [line] = said(data.take([1]))
    assert "pixels are uneven, which --data.flat mends" in line


@pytest.mark.parametrize("factor", [3, 10])
def test_a_few_small_frames_that_were_multiplied_are_noticed(factor):
    found = simulate("saxs", frames=3, size=32, photons=30.0)
    data = measured(factor * found.counts, found.valid)
    assert judged(dataclasses.replace(data, center=Center.given((15.5, 15.5))), "auto").integrated


def test_a_few_small_frames_do_not_tell():
    # Variance over mean of 3 frames of 32 x 32 pixels scatters by a tenth: some seeds passed for integrated.
    for seed in range(40):
        found = simulate("saxs", frames=3, size=32, photons=1.0, seed=seed)
        data = measured(found.counts, found.valid)
        centred = dataclasses.replace(data, center=Center.given((15.5, 15.5)))
        assert not judged(centred, "auto").integrated
