"""Error bars: the jackknife finds photon noise, and held-out photons find what it misses."""

import dataclasses

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax.finishing import Evidence, Half, conserve_totals, keep_sums
from smae_jax.finishing.error_bars import (
    FALL,
    NOTHING,
    missed,
    sigma_of,
)
from smae_jax.finishing.halves import variance_of_halves
from smae_jax.geometry import Center
from smae_jax.io.reading import read
from smae_jax.io.writing import write
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers
from smae_jax.smoothing import smooth
from tests.conftest import SMALL

SIGMA = 1.5


@jax.jit
def blurred(counts):
    return smooth(counts[..., None], sigma=SIGMA)[..., 0]


def test_the_halves_find_the_variance_of_a_linear_filter():
    """A blur of Poisson counts has a variance that can be written down."""
    rate = 4.0
    seen = np.random.default_rng(1).poisson(rate / 2, (2, 4, 96, 96)).astype(np.float32)
    estimates = [2 * blurred(jnp.asarray(half)) for half in seen]
    found = np.asarray(variance_of_halves(*estimates, jnp.ones(seen.shape[1:], bool)))
    found = found[:, 10:-10, 10:-10]
    one = np.zeros((1, 41, 41), np.float32)
    one[0, 20, 20] = 1
    expected = rate * float((np.asarray(blurred(jnp.asarray(one))) ** 2).sum())
    assert abs(found.mean() / expected - 1) < 0.05
    assert found.std() / found.mean() < 0.8


def halves_blurred(truth, rng):
    """Answer by a blur of either half of the photons: answers, variances, the other half's photons."""
    seen = rng.poisson(truth / 2, (2, *truth.shape))
    answers = [2 * blurred(jnp.asarray(half, jnp.float32)) for half in seen]
    variance = 2 * np.asarray(variance_of_halves(*answers, jnp.ones(truth.shape, bool)))
    return np.stack(answers), np.stack([variance] * 2), seen[::-1]


def test_calibration_adds_what_the_filter_loses():
    """A blur misses a sharp line: its error there is bias, which no jackknife sees."""
    truth = np.full((16, 64, 64), 2.0)
    truth[:, :, ::16] = 30.0
    answer, variance, held_out = halves_blurred(truth, np.random.default_rng(2))
    use = np.ones(answer.shape, bool)
    unseen = missed(answer, variance, held_out, exposure=0.5, use=use)
    of_halves = dataclasses.replace(unseen, squares=unseen.squares / 0.5**FALL, common=0.0)
    square = sigma_of(answer, variance, of_halves).astype(np.float64) ** 2
    error = (answer - truth) ** 2
    assert 0.7 < square.mean() / error.mean() < 1.4
    assert variance.mean() < 0.5 * error.mean()


def test_rates_whose_errors_are_no_power_of_the_rate_have_their_own():
    """Dark pixels are answered a third too bright, the others right: held-out photons tell them apart."""
    truth = np.full((16, 96, 96), 20.0)
    truth[:, :30], truth[:, 30:60] = 0.5, 3.0
    answer, variance, held_out = halves_blurred(truth, np.random.default_rng(4))
    answer = answer * np.where(truth < 1, 1.3, 1.0)
    use = np.zeros(answer.shape, bool)
    inside = [slice(6, 24), slice(36, 54), slice(66, 90)]  # a blur errs at the steps
    for rows in inside:
        use[:, :, rows, 6:90] = True
    unseen = missed(answer, variance, held_out, exposure=0.5, use=use, of_network=variance)
    bars = sigma_of(answer, variance, unseen)
    squares = bars**2, (answer - truth) ** 2
    of_bars, of_errors = ([np.mean(a[:, :, rows, 6:90]) for rows in inside] for a in squares)
    assert of_bars[0] > 0.55 * of_errors[0]  # 0.46 by a power of the rate alone
    assert max(np.divide(of_bars, of_errors)) < 1.6


def test_calibration_leaves_a_right_variance_alone():
    """A blur of a flat field errs by its photons alone, which the jackknife sees."""
    truth = np.full((40, 50, 50), 5.0)
    answer, variance, held_out = halves_blurred(truth, np.random.default_rng(3))
    use = np.ones(answer.shape, bool)
    use = use & np.pad(np.ones((38, 38), bool), 6)  # the blur's own edges are wrong
    unseen = missed(answer, variance, held_out, exposure=0.5, use=use)
    z = ((answer - truth) / sigma_of(answer, variance, unseen))[use]
    assert 0.63 < (np.abs(z) < 1).mean() < 0.73


def test_calibration_leaves_a_right_variance_of_uneven_pixels_alone():
    rng = np.random.default_rng(3)
    truth = rng.uniform(2, 20, (40, 50, 50))
    variance = np.stack([truth * 0.05] * 2)
    answer = truth + np.sqrt(variance) * rng.standard_normal(variance.shape)
    held_out = rng.poisson(0.5 * truth, answer.shape)
    unseen = missed(answer, variance, held_out, exposure=0.5, use=np.ones(answer.shape, bool))
    z = (answer - truth) / sigma_of(answer, variance, unseen)
    assert 0.63 < (np.abs(z) < 1).mean() < 0.73


def test_an_error_that_all_frames_have_alike_is_seen():
    """Too small to be seen in any frame, and no photon noise of a half: the network's own."""
    rng = np.random.default_rng(5)
    alike = np.asarray(smooth(jnp.asarray(rng.standard_normal((1, 50, 50, 1))), sigma=5.0))
    alike = 0.02 * alike[0, ..., 0] / alike.std()
    answer = np.broadcast_to(4 * (1 + alike), (2, 64, 50, 50))
    held_out = rng.poisson(2.0, answer.shape)
    use = np.ones(answer.shape, bool)
    unseen = missed(answer, np.full(answer.shape, 1e-5), held_out, exposure=0.5, use=use)
    assert 0.5 * 0.02**2 < unseen.common < 1.5 * 0.02**2
    assert float(unseen.of(np.asarray(4.0))) >= 16 * unseen.common


def test_halves_add_up_to_their_own_photons_and_to_no_others():
    """An answer 5 % too bright at one place, in all frames: their own counts tell, held-out ones must not."""
    rng = np.random.default_rng(6)
    truth = np.full((60, 48, 48), 6.0, np.float32)
    wrong = truth.copy()
    wrong[:, 10:30, 10:30] *= 1.05
    seen = rng.poisson(truth / 2, (2, *truth.shape)).astype(np.int32)
    known = np.ones(truth.shape, bool)
    answers = Answers(counts=wrong, known=known, filled=~known, variance=0.01 * wrong)
    light = np.ones((1, 48, 48), np.float32)
    center = Center.given((23.5, 23.5))

    def held(split):
        halves = tuple(Half(Measurements(own, light / 2, center), answers) for own in split)
        evidence = Evidence(Measurements(split[0] + split[1], light, center), halves, tuple(split))
        return [half.answers for half in evidence.after(keep_sums).halves]

    found = held(seen)
    for half in found:
        inside = np.asarray(half.counts)[:, 14:26, 14:26].mean()
        assert abs(inside - 6.0) < 0.1  # 0.3 before
        assert np.asarray(half.variance)[0, 20, 20] < 0.01 * 6.3
    again = held((seen[0], 3 * seen[1]))
    np.testing.assert_array_equal(again[0].counts, found[0].counts)
    assert not np.array_equal(again[1].counts, found[1].counts)


def test_a_combined_answer_has_the_noise_of_its_own_total():
    """Its frame's counts scale it: 1 / sqrt(400) here. Alone, the jackknife has seen that already."""
    counts = np.full((4, 10, 10), 4, np.int32)
    data = Measurements(counts, np.ones((1, 10, 10), np.float32), Center.given((4.5, 4.5)))
    known = np.ones(counts.shape, bool)
    answer = np.full(counts.shape, 2.0, np.float32)
    for done, total in (((("combine", ""),), 1 / 20), ((), 0.0)):
        given = Answers(answer, known, ~known, np.full(counts.shape, 0.2**2), done=done)
        found = conserve_totals(given, Evidence(data))
        np.testing.assert_allclose(found.counts, 4.0, rtol=1e-6)
        expected = np.hypot(0.2, total * found.counts)
        np.testing.assert_allclose(np.sqrt(found.variance), expected, rtol=1e-5)


def test_nothing_seen_misses_nothing():
    nothing = np.zeros((2, 3, 8, 8))
    for use in (np.zeros(nothing.shape, bool), np.ones(nothing.shape, bool)):
        assert missed(nothing, nothing, nothing, exposure=0.5, use=use).of(np.ones(1)) < 1e-20


def test_unknown_pixels_have_no_error_bar():
    known = np.ones((1, 8, 9), bool)
    known[0, 2:4, 3] = False
    first = jnp.where(jnp.asarray(known), 5.0 + 2**0.5, jnp.nan)
    found = np.asarray(variance_of_halves(first, first - 2 * 2**0.5, jnp.asarray(known)))
    assert np.isnan(found[~known]).all()
    np.testing.assert_allclose(found[known], 2.0, rtol=1e-5)
    bars = sigma_of(np.where(known, 5.0, np.nan), found, NOTHING)
    np.testing.assert_allclose(bars[known], np.sqrt(2.0), rtol=1e-5)
    assert np.isnan(bars[~known]).all()


@pytest.mark.slow
def test_error_bars_are_written_beside_the_counts(smae):
    simulated = ("simulate", "--kind", "saxs", "--frames", 3, "--size", 32, "--output", "s.h5")
    assert smae(*simulated).status == 0
    scan = ("--data.path", "s.h5::/entry/data/data", "--data.mask", "s.h5::/entry/mask")
    assert smae("train", "--method", "thinning", "--run", "r", *scan, *SMALL).status == 0
    infer = ("infer", "--run", "r", "--input", "s.h5::/entry/data/data", "--output", "out.h5")
    answer = smae(*infer, "--sigma")
    assert answer.status == 0, answer.err
    assert "error bars: jackknife over two halves" in answer.out
    with h5py.File("out.h5") as file:
        counts, sigma = file["entry/data/data"][()], file["entry/data/data_errors"][()]
    assert counts.shape == sigma.shape == (3, 32, 32)
    assert np.nanmin(sigma) >= 0
    assert np.nanmax(sigma) > 0


@pytest.mark.slow
@pytest.mark.optimized
@pytest.mark.parametrize(("kind", "photons"), [("saxs", 1.0), ("waxd", 1.0)])
def test_error_bars_cover_the_truth(smae, kind, photons):
    """68 % of the truths lie within one error bar, give or take 8 %; a smaller scan and fewer steps."""
    simulated = ("simulate", "--kind", kind, "--frames", 32, "--size", 96, "--output", "s.h5")
    assert smae(*simulated, "--photons", photons).status == 0
    scan = ("--data.path", "s.h5::/entry/data/data", "--data.mask", "s.h5::/entry/mask")
    assert smae("train", "--run", "r", *scan, "--train.steps", 400).status == 0
    infer = ("infer", "--run", "r", "--input", "s.h5::/entry/data/data", "--output", "out.h5")
    assert smae(*infer, "--sigma").status == 0
    with h5py.File("out.h5") as file, h5py.File("s.h5") as made:
        counts, sigma = file["entry/data/data"][()], file["entry/data/data_errors"][()]
        truth, valid = made["entry/truth"][()], made["entry/mask"][()] == 0
    within = np.abs(counts - truth)[:, valid] < sigma[:, valid]
    assert 0.60 < within.mean() < 0.76


@pytest.mark.parametrize(
    ("path", "beside"),
    [("out.npy", "out_sigma.npy"), ("out.tif", "out_sigma.tif"), ("out/", "out_sigma/")],
)
def test_formats_without_a_place_for_error_bars_get_a_second_output(
    tmp_path, monkeypatch, path, beside
):
    monkeypatch.chdir(tmp_path)
    counts = np.random.default_rng(4).uniform(1, 2, (2, 5, 6)).astype(np.float32)
    data = Measurements(counts, np.ones((1, 5, 6), np.float32), names=("a.tif", "b.tif"))
    options = {"known": np.ones(counts.shape, bool), "sigma": counts / 10}
    write(path, counts, data, **options)
    np.testing.assert_array_equal(read(path).counts, counts)
    np.testing.assert_array_equal(read(beside).counts, counts / 10)
    with pytest.raises(ValueError, match="exists"):
        write(path, counts, data, **options)
