"""The D-period: orders told apart from other peaks, and a line through their places with its error."""

import numpy as np
import pytest

from smae_jax.report.cake import Bins
from smae_jax.report.meridian import Along, Meridian, directed
from smae_jax.report.period import first_order, fitted_period, numbers_of, orders_of
from smae_jax.report.profiles import Profiles

AXIS = np.linspace(0.02, 1.0, 197)
FIRST = 0.094
CHI = np.arange(-179.0, 180, 2)


def bins(name="q"):
    return Bins(AXIS, name, "nm^-1" if name == "q" else "pixel", CHI, "")


def scan(frames, *, light=20.0, orders=(1, 3, 5), seed=0):
    """Counts along the meridian of a fibre, the same in every frame but for noise."""
    rate = 0.3 / (AXIS + 0.05)
    for n in orders:
        rate = rate + 4 / n * np.exp(-0.5 * ((AXIS - n * FIRST) / 0.011) ** 2)
    mean = np.broadcast_to(rate * light, (frames, len(AXIS)))
    counts = np.random.default_rng(seed).poisson(mean).astype(float)
    return Profiles(counts, np.full(mean.shape, light), mean)


def test_the_period_is_unbiased_and_its_error_covers():
    pytest.importorskip("lmfit")
    found = scan(30)
    orders = orders_of(bins(), found)
    assert [one.number for one in orders] == [1, 3, 5]
    period, place, *areas = fitted_period(bins(), found, orders)
    assert (period.name, period.unit) == ("D-period", "nm")
    assert [one.name for one in areas] == ["area"] * 3
    for one, truth in ((place, FIRST), (period, 2 * np.pi / FIRST)):
        pulls = (one.raw - truth) / one.raw_sigma
        assert abs(pulls.mean()) < 4 / np.sqrt(30), one.name
        assert 0.7 < pulls.std() < 1.4, one.name
        np.testing.assert_allclose(one.denoised, truth, rtol=1e-3)


def test_over_a_radius_the_place_of_the_first_order_stands_alone():
    pytest.importorskip("lmfit")
    found = scan(20)
    names = [one.name for one in fitted_period(bins("radius"), found, orders_of(bins(), found))]
    assert names == ["place of the first order", "area", "area", "area"]


def test_orders_asked_for_need_two_and_found_ones_three():
    pytest.importorskip("lmfit")
    two = scan(20, orders=(3, 5))
    assert orders_of(bins(), two) == ()
    assert [one.number for one in orders_of(bins(), two, (1, 3, 5))] == [3, 5]
    assert orders_of(bins(), scan(20, orders=())) == ()


def test_an_order_with_a_gap_of_the_detector_tells_the_period_too():
    pytest.importorskip("lmfit")
    found = scan(20)
    gap = np.abs(AXIS - 3 * FIRST - 0.012) < 0.006
    counts, norm, answer = (np.where(gap, 0, a) for a in (found.counts, found.norm, found.denoised))
    cut = Profiles(counts, norm, answer)
    orders = orders_of(bins(), cut)
    assert [one.number for one in orders] == [1, 3, 5]
    period, _, *areas = fitted_period(bins(), cut, orders)
    np.testing.assert_allclose(period.denoised, 2 * np.pi / FIRST, rtol=1e-3)
    assert all(np.isfinite(area.raw).all() for area in areas)


@pytest.mark.parametrize(
    ("places", "asked", "numbers"),
    [
        ([1.0, 2.01, 2.99], (), [1, 2, 3]),
        (
            [2.0, 4.0, 6.02],
            (),
            [1, 2, 3],
        ),  # not 2, 4, 6: the farthest first order that holds them all
        ([2.0, 3.0, 5.02], (), [2, 3, 5]),
        ([1.0, 2.0], (), [0, 0]),
        ([1.0, 2.0], (1, 2), [1, 2]),
        ([1.0, 1.37, 2.0, 3.0], (), [1, 0, 2, 3]),
        ([1.0, 2.0, 3.0, 4.35, 5.6, 6.45], (), [0] * 6),  # as many peaks lie elsewhere
        ([], (), []),
    ],
)
def test_numbers_of_orders(places, asked, numbers):
    assert numbers_of(np.array(places), asked).tolist() == numbers


def test_orders_weigh_by_their_errors_and_one_alone_tells_nothing():
    places = np.array([[[1.0, 0.1], [1.0, 0.1]], [[2.2, 0.2], [np.nan, np.nan]]])
    value, error = first_order(np.array([1.0, 2.0]), places)[0]
    # Both tell the first order to 0.1: 1.0 and 1.1.
    assert value == pytest.approx(1.05)
    assert error == pytest.approx(0.1 / np.sqrt(2))
    assert np.isnan(first_order(np.array([1.0, 2.0]), places)[1]).all()


def test_the_meridian_is_where_the_profile_ripples_not_where_it_is_brightest():
    """A streak on the equator ten times as bright as the orders; a gap across the meridian."""
    axis, chi = AXIS[:, None], np.deg2rad(CHI[None] - 31)
    orders = sum(np.exp(-0.5 * ((axis - n * FIRST) / 0.011) ** 2) for n in (1, 3, 5))
    rate = 0.3 / (axis + 0.05) * (1 + 10 * np.sin(chi) ** 8) + orders * np.cos(chi) ** 8
    norm = np.full(rate.shape, 5.0)
    norm[40:50, 100:120] = 0
    meridian = Meridian()
    found = meridian.direction(rate * norm, norm, CHI)
    assert found == pytest.approx(31, abs=1)
    use = meridian.within(found, CHI)
    assert 38 <= use.sum() <= 42
    assert use[np.abs(CHI - 31).argmin()]
    assert use[np.abs(CHI + 149).argmin()]
    turned = Meridian(turned=90).direction(rate * norm, norm, CHI)
    assert turned == pytest.approx(121, abs=1)


def test_the_direction_of_the_meridian_has_the_error_that_replicas_show():
    rng = np.random.default_rng(2)
    axis, chi = AXIS[:, None], np.deg2rad(CHI[None] - 179)
    orders = sum(np.exp(-0.5 * ((axis - n * FIRST) / 0.011) ** 2) for n in (1, 3, 5))
    mean = 2 * (0.3 / (axis + 0.05) + 20 * orders * np.cos(chi) ** 8)
    norm, frames = np.full(mean.shape, 2.0), []
    for number in range(40):
        counts = rng.poisson(mean)
        known = {"reference": np.stack([mean, 0 * mean]), "reference_norm": norm}
        sums = {"counts": counts.astype(float), "denoised": counts.astype(float), "norm": norm}
        off = {"replicas": rng.poisson(mean, (6, *mean.shape)) - mean}
        frames.append(Meridian().along({**sums, **off, **known}, CHI, seed=number))
    assert frames[0][0]["counts"].shape == AXIS.shape
    directions = {
        name: np.stack([one[name] for _, one in frames], axis=-1) for name in frames[0][1]
    }
    found = directed(Along(scan(40), directions))
    np.testing.assert_allclose(found.reference, 179, atol=0.5)
    errors = found.difference(found.raw, found.reference)
    assert found.raw_sigma[0] == pytest.approx(errors.std(), rel=0.4)
    rms = np.sqrt(np.mean(found.denoised_sigma**2))
    assert rms == pytest.approx(errors.std(), rel=0.4)
