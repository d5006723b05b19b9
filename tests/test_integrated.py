"""Detectors that integrate: told from those that count, trained on by `smae`, no answer worse than raw."""

import dataclasses

import h5py
import numpy as np
import pytest
from conftest import SMALL
from scipy.ndimage import gaussian_filter

import smae_jax
from smae_jax.cautions import cautions
from smae_jax.config import DataOptions as Data
from smae_jax.config import ThinningOptions, TrainConfig
from smae_jax.counting import judged, unlike_photons
from smae_jax.finishing import STAGES, Evidence, conserve_totals, finish, keep_measured, measured
from smae_jax.finishing.measured import FEWEST, LEVELS, shares_of, sides
from smae_jax.geometry import turn
from smae_jax.methods.protocol import Answers
from smae_jax.run.data import as_settled, read_data
from smae_jax.run.folder import RunFolder

SIZE, CENTER, BLUR = (72, 68), (34.5, 36.0), 0.6
MIXED = (keep_measured, conserve_totals)


def rings(photons):
    """Return the rates of sharp rings, brighter on two opposite sides, about a centre off the middle."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    y, x = y - CENTER[0], x - CENTER[1]
    radius, azimuth = np.hypot(y, x), np.arctan2(y, x)
    sharp = sum(a * np.exp(-((radius - r) ** 2) / 2) for a, r in ((30, 11), (10, 19), (4, 27)))
    rate = 0.3 + 2 * np.exp(-radius / 15) + sharp * (1 + 0.5 * np.cos(2 * azimuth))
    return photons * rate / rate.mean()


def integrated(rate):
    """Return what a detector shows that has three values a photon, whose light reaches neighbours."""
    return np.rint(gaussian_filter(3 * rate, (0, BLUR, BLUR)))


def scan(photons=10.0, frames=4, *, integrates=True, **options):
    """Return values of a scan with a gap, and what they would be without noise."""
    rate = rings(photons)
    counts = np.random.default_rng(4).poisson(rate, (frames, *SIZE)).astype(float)
    valid = np.ones(SIZE, bool)
    valid[50:53] = False
    options = {"valid": valid, "center": CENTER, "integrated": integrates, **options}
    if not integrates:
        return smae_jax.from_arrays(counts, **options), rate
    return smae_jax.from_arrays(integrated(counts), **options), gaussian_filter(3 * rate, BLUR)


def answering(function):
    """Make answers that can be asked again: function of rates and exposure -> rates; and what was asked."""
    asked = []

    def again(data, frames=None):
        asked.append(data)
        light = data.full_exposure
        rates = np.where(light > 0, data.counts / np.where(light > 0, light, 1), 0.0)
        known = light > 0
        found = np.where(known, function(rates, known), np.nan).astype(np.float32)
        return Answers(found, known, np.zeros_like(known), again=again)

    return again, asked


def smeared(sigma):
    """Return a Gaussian of what is known."""

    def blurred(rates, known):
        each = (0, sigma, sigma)
        light = gaussian_filter(known.astype(float), each)
        return gaussian_filter(rates, each) / np.maximum(light, 1e-6)

    return blurred


def errors(images, data, truth):
    """Return squared errors by brightness of the truth: the darkest half, ..., the brightest 3 %."""
    valid = data.valid[0]
    edges = np.quantile(truth[valid], (0, 0.5, 0.8, 0.9, 0.97, 1))
    places = np.clip(np.searchsorted(edges, truth) - 1, 0, 4)
    square = (np.asarray(images) - truth) ** 2
    return np.array([square[:, valid & (places == place)].mean() for place in range(5)])


@pytest.mark.parametrize("photons", [1.0, 10.0, 50.0])
@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_a_smeared_answer_becomes_no_worse_than_what_was_measured(photons, sigma):
    data, truth = scan(photons)
    again, _ = answering(smeared(sigma))
    before = again(data)
    found = finish(before, data, stages=MIXED)
    raw = errors(data.counts, data, truth)
    assert (errors(before.counts, data, truth) > 1.2 * raw).any()  # the answer is bad somewhere
    assert (errors(found.counts, data, truth) <= 1.05 * raw).all()
    [(stage, what), _] = found.done
    assert stage == "keep_measured"
    assert "% of the answers" in what


def test_a_good_answer_stays_good():
    data, truth = scan(10.0)

    def good(rates, known):
        return truth + 0.3 * (smeared(1.5)(rates - truth, known))

    again, _ = answering(good)
    before = again(data)
    found = finish(before, data, stages=MIXED)
    raw, gain = errors(data.counts, data, truth), errors(before.counts, data, truth)
    assert (gain < 0.15 * raw).all()
    assert (raw - errors(found.counts, data, truth) >= 0.9 * (raw - gain)).all()


def test_photon_counts_and_what_has_no_partner_stay():
    counts, _ = scan(integrates=False)
    again, asked = answering(smeared(3.0))
    before = again(counts)
    found = finish(before, counts, stages=(keep_measured,))
    assert found is before
    assert len(asked) == 1
    data, _ = scan()
    doubted = dataclasses.replace(data, center=data.center.doubted("a guess"))
    for one in (doubted, dataclasses.replace(data, center=None)):
        assert keep_measured(before, Evidence(one)) is before
    assert keep_measured(dataclasses.replace(before, again=None), Evidence(data)).done == ()
    assert keep_measured in STAGES


def test_halves_hold_one_of_a_pixel_and_its_partner():
    for center in ((3.0, 4.0), (3.5, 4.0), (3.0, 2.5), (-1.0, 4.0)):
        left, right = sides((7, 9), center)
        assert not (left & right).any()
        assert not (left & turn(left, center, False)).any()
        partner = turn(np.ones((7, 9), bool), center, False)
        np.testing.assert_array_equal(right & partner, turn(left, center, False))
    left, right = sides((7, 9), (3.0, 4.0))
    assert np.argwhere(~left & ~right).tolist() == [[3, 4]]


def test_an_answer_has_not_seen_the_partners_that_judge_it():
    data, _ = scan(10.0, frames=2)
    again, asked = answering(smeared(2.0))
    finish(again(data), data, stages=(keep_measured,))
    _, one, other = asked
    for half in (one, other):
        there = half.valid[0]
        assert 0.4 < there.mean() < 0.6
        assert not (there & turn(there, CENTER, False)).any()
        assert not half.counts[:, ~there].any()
    assert not (one.valid & other.valid).any()


def test_few_frames_of_many_are_asked_again(monkeypatch):
    monkeypatch.setattr(measured, "MANY", 2 * SIZE[0] * SIZE[1])
    data, truth = scan(10.0, frames=6)
    again, asked = answering(smeared(3.0))
    found = finish(again(data), data, stages=MIXED)
    assert [one.frames for one in asked] == [6, 2, 2]
    raw = errors(data.counts, data, truth)
    assert (errors(found.counts, data, truth) <= 1.06 * raw).all()


def test_frames_alone_do_not_depend_on_the_frames_beside_them():
    data, _ = scan(10.0, frames=3)
    data = dataclasses.replace(data, counts=data.counts * np.array([1, 2, 3])[:, None, None])
    again, _ = answering(smeared(2.0))
    whole = keep_measured(again(data), Evidence(data), alone=True)
    one = data.take([1])
    alone = keep_measured(again(one), Evidence(one), alone=True)
    np.testing.assert_allclose(whole.counts[1:2], alone.counts, rtol=1e-5)
    together = keep_measured(again(data), Evidence(data))
    assert np.nanmax(np.abs(together.counts - whole.counts)) > 0.1


def test_unlike_exposures_are_compared_by_their_rates():
    data, truth = scan(10.0)
    light = np.array([0.5, 1, 1, 1.5], np.float32)[:, None, None]
    values = np.rint(data.counts * light).astype(np.int32)
    uneven = dataclasses.replace(data, counts=values, exposure=data.exposure * light)
    again, _ = answering(smeared(3.0))
    found = finish(again(uneven), uneven, stages=(keep_measured,))
    assert (errors(found.counts, data, truth) <= 1.04 * errors(data.counts, data, truth)).all()


def test_levels_without_pixels_take_those_of_their_neighbours():
    sums = np.zeros((4, len(LEVELS)))
    assert (shares_of(sums) == 1).all()
    sums[:, 4] = FEWEST, 30.0, 1.0, 100.0
    sums[:, 9] = 2 * FEWEST, 200.0, 1.0, 100.0
    found = shares_of(sums)
    assert found[:6] == pytest.approx(0.3 * (1 - 1 / 900))
    assert found[9] == pytest.approx(1.0, abs=1e-4)
    sums[:, 9] = 2 * FEWEST, -20.0, 1.0, 100.0
    assert shares_of(sums)[9] == 0


# --- what tells ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("photons", [1.0, 30.0, 1000.0])
def test_sharp_rings_of_photons_are_photons(photons):
    data, _ = scan(photons, integrates=False)
    for some in (data, data.take([0])):
        assert unlike_photons(some) is None
        assert judged(dataclasses.replace(some, integrated=None), "auto").are_counts


def test_values_are_judged_once_and_the_user_has_the_last_word():
    data, _ = scan(integrated=None)
    assert data.are_counts
    found = judged(data, "auto")
    assert found.integrated
    assert not found.are_counts
    assert judged(found, "photons").are_counts
    told = judged(data, "photons")
    assert judged(told, "auto").are_counts
    assert not judged(scan(integrates=False)[0], "integrated").are_counts
    guess = dataclasses.replace(data, center=data.center.doubted("a guess"))
    assert judged(guess, "auto").are_counts  # as sharp features could be noise


def test_a_count_that_stands_out_is_no_integration():
    data, _ = scan(1.0, integrates=False, integrated=None)
    counts = data.counts.copy()
    counts[1, 12, 14] = 100_000
    assert judged(dataclasses.replace(data, counts=counts), "auto").are_counts


def test_what_is_done_is_said():
    data, _ = scan(integrated=None)
    [warned] = cautions(data)
    assert "WARNING" in warned
    assert "may be worse" in warned
    [noted] = cautions(judged(data, "auto"))
    assert "opposite pixels tell" in noted
    assert "--data.noise photons" in noted
    assert "--noise photons" in cautions(judged(data, "auto"), options="--")[0]
    [lost] = cautions(dataclasses.replace(judged(data, "auto"), center=None))
    assert "they may be worse" in lost


def test_blocks_are_what_the_scan_is():
    data, _ = scan(integrated=None)
    dark = dataclasses.replace(data, counts=np.zeros_like(data.counts))  # tells nothing by itself
    assert not judged(dark, "auto").integrated
    assert as_settled(dark, judged(data, "auto")).integrated
    assert as_settled(data, judged(data, "photons")).are_counts


def test_a_gain_says_that_values_are_no_counts():
    config = TrainConfig(thinning=ThinningOptions(gain=3.0))
    assert config.noise == "integrated"
    assert TrainConfig().noise == "auto"
    with pytest.raises(smae_jax.UserError, match=r"--data\.noise photons and --thinning\.gain"):
        TrainConfig(thinning=ThinningOptions(readout_noise=2.0), data=Data(noise="photons"))


# --- the commands ----------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    """An HDF5 file of 20 frames."""
    data, _ = scan(10.0, frames=20, valid=None)
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["data"] = data.counts.astype(np.uint16)
    return f"{path}::/data"


def trained(smae, stored, *options):
    answer = smae(
        *("train", "--run", "run", "--data.path", stored, "--data.center", "34.5,36"),
        *(*SMALL, "--overwrite", *options),
    )
    assert answer.status == 0, answer.err
    return answer.out


def test_reading_judges_and_obeys(stored):
    assert read_data(Data(path=stored, center="34.5,36")).integrated
    assert read_data(Data(path=stored, center="34.5,36", noise="photons")).are_counts
    assert read_data(Data(path=stored, dimensions=2)).are_counts  # repeats have no partners


@pytest.mark.slow
def test_another_method_is_trained_and_no_answer_is_worse(smae, stored, tmp_path):
    said = trained(smae, stored)
    assert "method smae instead of thinning" in said
    config = RunFolder(tmp_path / "run").config()
    assert (config.method, config.data.noise) == ("smae", "integrated")
    command = ("infer", "--run", "run", "--input", stored)
    answer = smae(*command, "--output", "out.npy")
    assert answer.status == 0, answer.err
    assert "keep measured: opposite pixels tell to take" in answer.out
    assert "combine:" not in answer.out
    truth = scan(10.0, frames=1)[1]
    values = read_data(Data(path=stored, center="34.5,36"))
    raw = errors(values.counts, values, truth)
    assert (errors(np.load("out.npy"), values, truth) <= 1.02 * raw).all()
    plain = smae(*command, "--output", "plain.npy", "--no-keep-measured")
    assert "keep measured" not in plain.out
    assert (errors(np.load("plain.npy"), values, truth) > 1.2 * raw).any()
    refused = smae(*command, "--output", "sigma.h5", "--sigma")
    assert refused.status == 2
    assert refused.err.count("\n") == 1
    counted = smae(*command, "--output", "photons.npy", "--noise", "photons")
    assert "keep measured" not in counted.out
    assert "combine:" in counted.out
    wrong = smae(*command, "--output", "wrong.npy", "--noise", "charge")
    assert wrong.status == 2
    assert wrong.err.count("\n") == 1


def test_a_training_goes_on_as_it_was_begun(smae, stored, tmp_path):
    assert "method smae instead of thinning" in trained(smae, stored)
    again = smae(
        *("train", "--run", "run", "--data.path", stored, "--data.center", "34.5,36", *SMALL),
        *("--method", "thinning", "--data.noise", "auto", "--resume", "--train.steps", 6),
    )
    assert again.status == 0, again.err
    assert RunFolder(tmp_path / "run").config().method == "smae"


@pytest.mark.slow
def test_thinning_is_kept_where_the_user_says_so(smae, stored, tmp_path):
    said = trained(smae, stored, "--data.noise", "photons")
    assert "instead of thinning" not in said
    config = RunFolder(tmp_path / "run").config()
    assert (config.method, config.data.noise) == ("thinning", "photons")
    said = trained(smae, stored, "--thinning.gain", 3, "--data.outliers", "mask")
    assert "instead of thinning" not in said
    config = RunFolder(tmp_path / "run").config()
    assert (config.method, config.data.noise) == ("thinning", "integrated")
    refused = smae("train", "--run", "new", "--data.path", stored, "--data.noise", "charge")
    assert refused.status == 2
    assert refused.err.count("\n") == 1


@pytest.mark.slow
def test_parts_of_a_large_scan_give_the_answers_of_one_process(smae, stored):
    trained(smae, stored)
    command = ("infer", "--run", "run", "--input", stored, "--memory", "6MB")
    whole = smae(*command, "--output", "whole.h5")
    assert whole.status == 0, whole.err
    assert "keep measured, in the first block: opposite pixels" in whole.out
    for part in ("2/2", "1/2"):
        answer = smae(*command, "--output", "parts.h5", "--shard", part)
        assert answer.status == 0, answer.err
    with h5py.File("whole.h5") as one, h5py.File("parts.h5") as other:
        found, expected = other["entry/data"], one["entry/data"]
        for name in expected:
            np.testing.assert_array_equal(found[name][()], expected[name][()])
