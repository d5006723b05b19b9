"""Measures of artefacts: right answers have none, and each finds the one that it is named for."""

import numpy as np
import pytest

from benchmarks import artefacts

CENTER = (40.0, 34.0)


@pytest.fixture
def measured():
    valid = np.ones((80, 64), bool)
    valid[12:20] = False
    return valid


def test_sides_of_borders_lie_beside_them(measured):
    sides = artefacts.sides_of_borders(measured, CENTER)
    assert sides["partner masked"][61:69, 10:60].all()
    assert not sides["partner masked"][:61].any()
    assert sides["beside partner masked"][58, 30]
    assert sides["overlap, at its border"][40, 6]
    assert not sides["elsewhere"][58, 30]
    truth = np.full((4, 80, 64), 50.0)
    low = np.where(sides["partner masked"], 0.9, 1.0) * truth
    off, noise = artefacts.step(low, truth, truth, sides["partner masked"])
    assert off == pytest.approx(-0.1)
    assert noise == pytest.approx(truth[:, sides["partner masked"]].sum() ** -0.5)
    assert artefacts.step(low, truth, truth, sides["elsewhere"])[0] == 0


def test_ghosts_are_what_dark_frames_show():
    truth = np.full((5, 20, 20), 1.0)
    truth[2, :5] = 0.05
    answer = truth.copy()
    answer[2, :5] += 0.03
    answer[0] += 0.5  # no ghost: the frame is as bright as the others
    found = artefacts.ghosts(answer, truth, np.ones((20, 20), bool))
    assert found["truth"] == pytest.approx(0.05)
    assert found["excess"] == pytest.approx(0.03)
    assert found["rms"] == pytest.approx(0.03)


def test_influence_is_looked_for_far_away_at_the_partner_and_in_other_frames():
    without = np.ones((3, 30, 30))
    changed = without.copy()
    changed[1, 5, 6] += 100  # the pixel itself
    changed[1, 20, 6] += 0.3
    changed[1, 24, 23] -= 0.2  # its partner
    changed[2, 9, 9] += 0.1
    found = artefacts.influence(changed, without, (1, 5, 6), (14.5, 14.5))
    assert list(found.values()) == pytest.approx([0.3, 0.2, 0.1])


def test_slope_is_what_comes_back_of_weak_features():
    y, x = np.mgrid[:96, :96]
    stripes = np.sin(x / 1.5) * (y > 48)
    truth = 5 * (1 + 0.08 * stripes)[None]
    valid = np.ones((96, 96), bool)
    valid[10:14] = False
    half = 5 * (1 + 0.04 * stripes)[None]
    features = artefacts.Features.of(truth, valid, 0.03, 0.1)
    assert features.slope(half, features.where) == pytest.approx(0.5, abs=0.02)
    assert features.slope(truth, features.where) == pytest.approx(1)
    assert not features.where[:, :40].any()


def test_features_are_determined_where_their_photons_leave_a_tenth_of_noise():
    truth = np.tile(5 * (1 + 0.08 * np.sin(np.arange(128) / 1.5)), (1, 128, 1))
    valid = np.ones((128, 128), bool)
    each = 4 * np.pi * artefacts.FINE**2 * 5 * 0.08**2 / 2  # squared signal over noise of one frame
    enough, middle = int(np.ceil(100 / each)), np.s_[:, 40:90, 40:90]
    few, many = (
        artefacts.Features.of(np.tile(truth, (frames, 1, 1)), valid, 0.03, 0.2)
        for frames in (enough // 2, 2 * enough)
    )
    assert not few.determined()[middle].any()
    np.testing.assert_array_equal(many.determined()[middle], many.where[middle])


@pytest.mark.parametrize("side", [1, -1])
def test_a_ring_is_found_where_it_lies(side):
    y, x = np.mgrid[:120, :120]
    distance = np.hypot(y - 60, x - 60)
    image = 2 + 0.01 * x + 30 * np.exp(-((distance - 30.4) ** 2) / 2)
    place, width = artefacts.ring(image, (60.0, 60.0), 30.0, side)
    assert place == pytest.approx(0.4, abs=0.1)
    assert width == pytest.approx(1.0, rel=0.1)
