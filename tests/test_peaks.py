"""Fitted peaks: areas, widths and their errors, also of peaks that overlap."""

import numpy as np
import pytest

from benchmarks import peaks

AREAS, CENTERS, WIDTHS = np.array([4000.0, 2500.0, 3000.0]), (120, 165, 400), (11.0, 13.0, 15.0)


@pytest.fixture(scope="module")
def spectrum() -> np.ndarray:
    """Two peaks that overlap and one alone on a slope, (600,)."""
    x = np.arange(600.0)
    total = 2 + 0.002 * x
    for area, center, width in zip(AREAS, CENTERS, WIDTHS, strict=True):
        total += area / (np.sqrt(2 * np.pi) * width) * np.exp(-0.5 * ((x - center) / width) ** 2)
    return total


def test_overlapping_peaks_have_their_own_areas_and_widths(spectrum):
    places, top = peaks.strongest(spectrum, 3)
    assert places.tolist() == pytest.approx(CENTERS, abs=3)
    assert top.tolist() == [0, 1, 2]
    found = peaks.fit(spectrum, spectrum, places)
    np.testing.assert_allclose(found.areas, AREAS, rtol=0.01)
    np.testing.assert_allclose(found.widths, WIDTHS, rtol=0.01)


def test_errors_are_the_spread_over_repeats(spectrum):
    places, _ = peaks.find(spectrum)
    rng = np.random.default_rng(0)
    fits = [peaks.fit(rng.poisson(spectrum), spectrum, places) for _ in range(40)]
    expected = peaks.fit(spectrum, spectrum, places)
    areas = np.std([fit.areas for fit in fits], axis=0)
    widths = np.std([fit.widths for fit in fits], axis=0)
    np.testing.assert_allclose(areas, expected.area_errors, rtol=0.35)
    np.testing.assert_allclose(widths, expected.width_errors, rtol=0.35)


def test_blur_widens_the_peaks(spectrum):
    from scipy.ndimage import gaussian_filter1d

    places, _ = peaks.find(spectrum)
    found = peaks.fit(np.asarray(gaussian_filter1d(spectrum, 5.0)), spectrum, places)
    np.testing.assert_allclose(found.widths, np.sqrt(np.square(WIDTHS) + 25), rtol=0.02)
    np.testing.assert_allclose(found.areas, AREAS, rtol=0.02)
