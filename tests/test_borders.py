"""Strips along borders of mask, partner's mask and overlap add up to what they counted."""

import numpy as np
import pytest

from smae_jax.finishing.borders import factor_of_borders, kinds_of_pixels, strips

CENTER = (40.0, 34.0)


@pytest.fixture
def measured():
    """A frame with a gap on one side, the beam off its middle: (80, 64)."""
    valid = np.ones((80, 64), bool)
    valid[12:20] = False
    return valid


def summed(rate=200.0):
    return np.full((80, 64), rate)


def test_kinds_tell_where_the_partner_is(measured):
    kinds = kinds_of_pixels(measured, CENTER)
    assert (kinds[64, 30], kinds[40, 30], kinds[15, 30]) == (1, 0, 3)
    assert kinds[40, 1] == 2  # its partner lies at x = 67, off the frame
    assert kinds[15, 1] == 4


def test_strips_tell_which_border_is_near_and_how_far(measured):
    number = strips(kinds_of_pixels(measured, CENTER))
    beside, further, far = number[59, 30], number[57, 30], number[40, 34]
    assert len({beside, further, far, number[20, 30]}) == 4
    assert number[59, 40] == beside


def test_a_step_at_the_border_goes(measured):
    strip = np.zeros(measured.shape, bool)
    strip[61:69] = True  # opposite to the gap
    truth = summed() * measured
    expected = truth * np.where(strip, 0.9, 1.02)
    found = np.random.default_rng(0).poisson(truth).astype(float)
    right = expected * factor_of_borders(expected, found, measured, CENTER)
    alone = strip & (kinds_of_pixels(measured, CENTER) == 1)
    for part in (alone, measured & ~strip):
        noise = truth[part].sum() ** -0.5
        assert right[part].sum() / truth[part].sum() == pytest.approx(1, abs=2 * noise + 0.002)


def test_right_answers_are_left_alone_within_a_part_of_the_noise(measured):
    truth, changed, noise = summed(2.0) * measured, [], []
    number = strips(kinds_of_pixels(measured, CENTER))
    for seed in range(20):
        found = np.random.default_rng(seed).poisson(truth).astype(float)
        factor = factor_of_borders(truth, found, measured, CENTER)
        for strip in np.unique(number[measured]):
            part = (number == strip) & measured
            changed.append((factor[part][0] - 1) ** 2)
            noise.append(1 / truth[part].sum())
        assert (factor[~measured] == 1).all()
    assert np.mean(changed) < 0.4 * np.mean(noise)


def test_without_a_centre_or_light_nothing_goes_wrong(measured):
    nowhere = (-80.0, -64.0)
    dark = np.zeros(measured.shape)
    assert (factor_of_borders(dark, dark, measured, CENTER) == 1).all()
    truth = summed() * measured
    assert (factor_of_borders(truth, truth, measured, nowhere) == 1).all()
