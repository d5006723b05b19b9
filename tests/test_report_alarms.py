"""Each alarm of a report rings where it should, and is quiet where it should not."""

import dataclasses

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from smae_jax.counting import scatter_of, unlike_photons, variance_over_mean
from smae_jax.evaluation.residuals import Whiteness
from smae_jax.geometry import Center
from smae_jax.likeness import Unlike, coarse, unlike
from smae_jax.measurements import Measurements
from smae_jax.report import alarms
from smae_jax.report.ghosts import dark_places
from smae_jax.report.observable import Observable
from smae_jax.report.profiles import Ring

CENTER = Center.given((19.5, 15.0))


def scan(frames=3, photons=4.0, *, seed=0, bright=lambda y, x: 1.0):
    """Poisson counts of a spot that is even about the centre, times a factor."""
    y, x = np.mgrid[:41, :32]
    y, x = y - CENTER.half_pixel[0], x - CENTER.half_pixel[1]
    rate = photons * (0.3 + np.exp(-((y / 12) ** 2) - (x / 7) ** 2)) * bright(y, x)
    counts = np.random.default_rng(seed).poisson(rate, (frames, 41, 32)).astype(np.int32)
    return Measurements(counts, np.ones((1, 41, 32), np.float32), center=CENTER), rate


def residual_of(answer, data):
    found = Whiteness()
    found.add(data.counts, np.broadcast_to(answer, data.counts.shape), data.full_exposure > 0)
    return found


def quantity(shift, *, frames=40, period=0.0):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=frames)
    raw = 10 + 0.1 * noise
    return Observable(
        *("position", "peak at 10 pixel", "pixel"),
        raw=raw,
        raw_sigma=np.full(frames, 0.1),
        denoised=np.full(frames, 10 + shift),
        period=period,
    )


def test_symmetry_rings_by_size_significance_and_use():
    assert alarms.symmetry_broken(0.2, 30.0, used=True).state == "rings"
    assert alarms.symmetry_broken(0.2, 30.0, used=False).state == "quiet"
    assert alarms.symmetry_broken(0.2, 2.0, used=True).state == "quiet"
    assert alarms.symmetry_broken(0.02, 30.0, used=True).state == "quiet"
    assert alarms.symmetry_broken(float("nan"), 0.0, used=True).state == "cannot tell"


def test_residual_rings_where_structure_or_noise_was_followed():
    data, rate = scan(12)
    assert alarms.residual_not_white(residual_of(rate, data)).state == "quiet"
    missed = alarms.residual_not_white(residual_of(np.full_like(rate, rate.mean()), data))
    assert missed.state == "rings"
    assert "structure was taken away" in missed.found
    followed = alarms.residual_not_white(residual_of((rate + data.counts) / 2, data))
    assert followed.state == "rings"
    assert "follows the noise" in followed.found
    assert alarms.residual_not_white(None).state == "cannot tell"


@pytest.mark.parametrize(("frames", "photons"), [(1, 0.05), (1, 0.5), (4, 0.05), (3, 20.0)])
def test_noise_alone_leaves_the_residual_of_true_rates_quiet(frames, photons):
    rang = []
    for seed in range(100):
        data, rate = scan(frames, photons, seed=seed)
        rang.append(alarms.residual_not_white(residual_of(rate, data)).state == "rings")
    assert sum(rang) <= 1


@pytest.mark.parametrize("photons", [0.05, 0.5, 20.0])
def test_scatter_of_the_residual_is_that_of_many_scans(photons):
    found = [
        residual_of(rate, data) for data, rate in (scan(2, photons, seed=s) for s in range(300))
    ]
    for told, each in (
        (found[0].variance_error, [one.variance for one in found]),
        (found[0].correlation_error, [one.correlation[0] for one in found]),
        (found[0].block_variance_error, [one.block_variance for one in found]),
    ):
        assert told == pytest.approx(np.std(each), rel=0.15)


def test_rings_that_moved_are_named():
    still = [Ring(0, 10, 0.2, 20.0), Ring(10, 20, -3.0, -2.0)]
    assert alarms.rings_moved(still, "pixel").state == "quiet"
    moved = alarms.rings_moved([*still, Ring(20, 30, -4.0, -8.0)], "pixel")
    assert moved.state == "rings"
    assert "20 to 30 pixel: -4 % (-8.0 sigma)" in moved.found
    assert "10 to 20" not in moved.found
    assert alarms.rings_moved([], "pixel").state == "cannot tell"


def test_peaks_that_moved_are_named():
    assert alarms.peaks_moved([quantity(0.05)]).state == "quiet"  # within 1 %
    found = alarms.peaks_moved([quantity(0.0), quantity(0.5)])
    assert found.state == "rings"
    assert "position, peak at 10 pixel: +5" in found.found
    noisy = dataclasses.replace(quantity(0.5), raw_sigma=np.full(40, 2.0))
    assert alarms.peaks_moved([noisy]).state == "quiet"
    assert alarms.peaks_moved([quantity(0.5, period=180.0)]).state == "quiet"  # half a degree
    assert alarms.peaks_moved([quantity(1.5, period=180.0)]).state == "rings"
    assert alarms.peaks_moved([]).state == "cannot tell"
    scaled = alarms.peaks_moved([quantity(0.5).without_noise()])
    assert (scaled.state, scaled.found) == ("cannot tell", "no raw value has an error")
    assert quantity(0.5).without_noise().summary()["shift"] == pytest.approx(0.5, abs=0.05)


def test_quantities_that_hardly_any_frame_tells_are_named():
    told, nothing = quantity(0.0), np.full(40, np.nan)
    assert alarms.peaks_untold([told]).state == "quiet"
    lost = dataclasses.replace(told, where="peak at 12 pixel", raw=nothing, denoised=nothing)
    found = alarms.peaks_untold([told, lost])
    assert found.state == "rings"
    assert "peak at 12 pixel: position in 0 % of the frames" in found.found
    assert "peak at 10 pixel" not in found.found
    # Faint raw, but told when denoised; and a ring that is even or hardly covered has no direction.
    assert alarms.peaks_untold([dataclasses.replace(lost, denoised=told.denoised)]).state == "quiet"
    even = dataclasses.replace(lost, name="peak direction", where="ring 8 to 12 pixel")
    assert alarms.peaks_untold([told, even]).state == "quiet"
    assert alarms.peaks_untold([]).state == "cannot tell"


def test_a_centre_of_the_profiles_that_is_not_that_of_the_answers_rings():
    told = Center.given((19.5, 16.4), "from a.poni")
    found = alarms.centres_differ(CENTER, told)
    assert found.state == "rings"
    assert "1.4 pixels apart" in found.found
    assert "from a.poni" in found.found
    assert "--center" in found.advice
    assert alarms.centres_differ(CENTER, Center.given((19.9, 15.3), "from a.poni")).state == "quiet"
    guess = dataclasses.replace(CENTER, trusted=False)
    assert alarms.centres_differ(guess, told).state == "cannot tell"
    assert alarms.centres_differ(CENTER, CENTER).state == "quiet"
    assert alarms.centres_differ(CENTER, None).state == "cannot tell"


def directions(turned, *, astray=()):
    """Directions of 40 frames, raw errors of 1 to 5 degrees, all `turned` by denoising; some fits astray."""
    rng = np.random.default_rng(2)
    true, sigma = rng.uniform(60, 120, 40), np.linspace(1, 5, 40)
    raw = true + sigma * rng.normal(size=40)
    sigma[list(astray)] = 0.5
    raw[list(astray)] += 45
    name, bars = ("peak direction", "ring", "degrees"), np.full(40, 0.3)
    return Observable(*name, raw % 180, sigma, (true + turned) % 180, bars, period=180.0)


def test_a_raw_fit_astray_moves_no_peak_and_widens_no_error():
    one = directions(0.0, astray=[25])
    assert abs(one.shift[0]) < 3 * one.shift[1]
    assert alarms.peaks_moved([one]).state == "quiet"
    np.testing.assert_allclose(one.widened().denoised_sigma, 0.3, atol=0.3)
    without = directions(0.0)
    assert one.shift[0] == pytest.approx(without.shift[0], abs=without.shift[1])


@pytest.mark.parametrize("turned", [4.0, -20.0])
def test_a_motion_of_all_frames_is_found_beside_fits_astray(turned):
    one = directions(turned, astray=[4, 25])
    shift, error = one.shift
    assert error < 0.6
    assert shift == pytest.approx(turned, abs=3 * error)
    assert alarms.peaks_moved([one]).state == "rings"
    assert np.all(one.widened().denoised_sigma > 0.8 * abs(turned))


def test_areas_whose_errors_grow_with_them_have_not_moved():
    area = 20 + np.sqrt(20) * np.random.default_rng(0).normal(size=400)
    name, bars = ("area", "peak", "counts"), np.full(400, 0.1)
    one = Observable(*name, area, np.sqrt(area), np.full(400, 20.0), bars)
    assert abs(one.shift[0]) < 3 * one.shift[1]
    assert alarms.peaks_moved([one]).state == "quiet"


def test_motion_that_denoising_takes_away_rings():
    rng = np.random.default_rng(5)
    true = 10 + np.linspace(-2, 2, 60)
    raw, sigma = true + rng.normal(0, 0.5, 60), np.full(60, 0.5)

    def followed(share):
        denoised = 10 + share * (true - 10)
        return Observable("position", "peak", "pixel", raw, sigma, denoised, np.full(60, 0.1))

    assert alarms.motion_damped([followed(0.9)]).state == "quiet"
    found = alarms.motion_damped([followed(0.9), followed(0.3)])
    assert found.state == "rings"
    assert "position, peak: 29 %" in found.found
    still = dataclasses.replace(followed(0.0), raw=10 + raw - true)
    assert alarms.motion_damped([still]).state == "cannot tell"
    # What only raw values show is in the errors of denoised ones.
    for share, most in ((0.3, 0.15), (0.9, 0.3)):
        one = followed(share).widened()
        missed = (1 - share) * true.std()
        assert one.denoised_sigma[0] == pytest.approx(np.hypot(0.1, missed), rel=most)
    off = dataclasses.replace(followed(1.0), denoised=true + 0.6).widened()
    assert off.denoised_sigma[0] == pytest.approx(np.hypot(0.1, 0.6), rel=0.25)


def test_exposures_other_than_the_trainings_ring():
    assert alarms.outside_training(1.0, 1.4).state == "quiet"
    assert alarms.outside_training(0.1, 1.4).state == "rings"
    assert alarms.outside_training(9.0, 1.4).state == "rings"
    assert alarms.outside_training(9.0, None).state == "cannot tell"


def test_frames_unlike_the_training_scan_are_named_with_their_distance():
    training, _ = scan(6, seed=1)
    alike, _ = scan(3, seed=2, photons=1.0)  # another exposure is no other pattern
    other, _ = scan(2, seed=3, bright=lambda y, x: 1 + 0.6 * np.cos(2 * np.arctan2(y, x)))
    known, rest = coarse(training), ("a", "b", "c")
    among = unlike(known, known, but_itself=True)
    assert alarms.unlike_training(unlike(coarse(alike), known), among, rest).state == "quiet"
    mixed = dataclasses.replace(
        alike,
        counts=np.concatenate([alike.counts, other.counts]),
        names=("a", "b", "c", "d", "e"),
    )
    distance = unlike(coarse(mixed), known)
    found = alarms.unlike_training(distance, among, mixed.names)
    assert found.state == "rings"
    assert "d (" in found.found
    assert "a (" not in found.found
    # The relative modulation is 0.6 cos(2 chi), whose rms is 0.42.
    np.testing.assert_allclose(distance.distance[3:], 0.42, atol=0.08)
    assert alarms.unlike_training(None, None, rest).state == "cannot tell"
    assert isinstance(distance, Unlike)


def moving_arc(frames=12, photons=1.0):
    """Return rates of an arc that runs about a corner of 70 x 66 pixels, over a faint background."""
    y, x = np.mgrid[:70, :66] + 1.0
    apart = np.arctan2(y, x) - np.linspace(0.1, 1.4, frames)[:, None, None]
    return photons * (0.2 + 4 * np.exp(-(((np.hypot(y, x) - 50) / 4) ** 2) - (apart / 0.1) ** 2))


@pytest.mark.parametrize("photons", [1.0, 20.0])
def test_frames_with_ghosts_of_others_are_named(photons):
    rate = moving_arc(photons=photons)
    exposure = np.broadcast_to(np.linspace(0.5, 1, 12)[:, None, None], rate.shape).copy()
    exposure[:, 20:22] = 0
    counts = np.random.default_rng(0).poisson(rate * exposure)
    names = tuple("abcdefghijkl")

    def of(answer):
        expected = np.where(exposure > 0, answer * exposure, np.nan)
        return alarms.ghosts(dark_places(expected, counts, exposure), names)

    right = of(rate)
    assert right.state == "quiet"
    assert "none of 12 frames" in right.found
    haunted = rate.copy()
    haunted[[1, 2]] += 0.4 * rate[8]  # what frame "i" has, in "b" and "c"
    found = of(haunted)
    assert found.state == "rings"
    assert "in 2 frames of 12" in found.found
    assert " b (" in found.found
    assert " c (" in found.found
    assert " d (" not in found.found


@pytest.mark.parametrize("photons", [0.1, 1.0])
@pytest.mark.parametrize("frames", [2, 6])
@pytest.mark.parametrize(
    "width", [0, 1, 2]
)  # pixels over which the answer follows the counts; 0 = truth
def test_chance_in_a_small_scan_is_no_ghost(photons, frames, width):
    rate = photons * (0.3 + moving_arc(6)[[2] * frames])  # nothing moves
    exposure, names = np.ones(rate.shape), "abcdef"[:frames]
    exposure[:, 20:22] = 0
    for seed in range(10):
        counts = np.random.default_rng(seed).poisson(rate * exposure)
        followed = [gaussian_filter(1.0 * c, width, axes=(1, 2)) for c in (counts, exposure)]
        answer = followed[0] / np.maximum(followed[1], 1e-9) if width else rate
        expected = np.where(exposure > 0, answer, np.nan)
        dark = dark_places(expected, counts, exposure, seed=seed)
        found = alarms.ghosts(dark, names)
        assert found.state != "rings", found.found


def test_one_frame_has_no_ghosts_of_others():
    counts = np.random.default_rng(0).poisson(moving_arc(1))
    dark = dark_places(moving_arc(1), counts, np.ones(counts.shape))
    assert alarms.ghosts(dark, ("a",)).state == "cannot tell"


def test_ghosts_cannot_be_told_without_photons():
    rate = moving_arc(photons=1e-4)
    counts, exposure = np.zeros(rate.shape, int), np.ones(rate.shape)
    assert alarms.ghosts(dark_places(rate, counts, exposure), "a" * 12).state == "cannot tell"
    assert alarms.ghosts(None, ()).state == "cannot tell"


def test_filled_pixels_ring_by_number_or_by_counts():
    assert alarms.filled_dominates(0.1, 0.1).state == "quiet"
    assert alarms.filled_dominates(0.3, 0.1).state == "rings"
    assert alarms.filled_dominates(0.1, 0.3).state == "rings"


def test_totals_that_drift_ring_and_those_that_scatter_do_not():
    rng = np.random.default_rng(0)
    scatter = 10 + rng.normal(size=60)
    assert alarms.totals_drift(scatter).state == "quiet"
    assert alarms.totals_drift(scatter + np.linspace(0, 4, 60)).state == "rings"
    assert alarms.totals_drift(scatter[:4]).state == "cannot tell"


def test_a_guessed_centre_rings():
    assert alarms.guessed_centre(CENTER).state == "quiet"
    found = alarms.guessed_centre(CENTER.doubted("partners differ"))
    assert found.state == "rings"
    assert "partners differ" in found.found


@pytest.mark.parametrize("photons", [0.3, 20.0])
def test_a_detector_that_does_not_count_rings(photons):
    uneven = scan(6, photons, bright=lambda y, x: 1 + 0.1 * np.sin(np.arctan2(y, x)))[0]
    assert alarms.does_not_count(variance_over_mean(uneven), True).state == "quiet"
    doubled = dataclasses.replace(uneven, counts=2 * uneven.counts)
    np.testing.assert_allclose(variance_over_mean(doubled)[:2], 2.0, rtol=0.2)
    assert alarms.does_not_count(variance_over_mean(doubled), True).state == "rings"
    assert alarms.does_not_count((1.0, 1.0), False).state == "rings"
    assert alarms.does_not_count(None, True).state == "cannot tell"


def test_a_count_that_stands_out_rings_no_more_than_the_training_judges():
    data, _ = scan(3)
    data.counts[1, 12, 14] = 100_000
    assert alarms.does_not_count(variance_over_mean(data), True).state == "rings"
    assert alarms.does_not_count(scatter_of(data), True).state == "quiet"
    assert unlike_photons(data) is None
    doubled = dataclasses.replace(data, counts=2 * data.counts)
    assert alarms.does_not_count(scatter_of(doubled), True).state == "rings"
    assert unlike_photons(doubled) == scatter_of(doubled)


def test_a_frame_of_the_training_is_like_itself_and_masked_frames_say_nothing():
    training, _ = scan(4, seed=1)
    known = coarse(training)
    assert (unlike(known, known).distance == 0).all()
    nothing = known._replace(exposure=np.zeros_like(known.exposure))
    assert (unlike(nothing, known).distance == 0).all()
