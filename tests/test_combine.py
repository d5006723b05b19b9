"""Frames of a scan share what held-out photons confirm: noise goes, what frames really differ in stays."""

import dataclasses
from importlib import import_module

import h5py
import numpy as np
import pytest

from smae_jax.finishing import Evidence, Half
from smae_jax.finishing.combine import (
    FEWEST_FRAMES,
    combine,
    combined,
    components_of,
    shares_of_components,
    weights_of_frames,
)
from smae_jax.finishing.own import OCTAVES, shares_of_own, with_own
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers

EVERYWHERE = np.ones((48, 48), bool)


def share_at(together, shares):
    """Return the share of its own answer that each place keeps."""
    return with_own(together, together + np.float32(1), None, shares)[0] - together


def drifting(frames=32, size=48, rate=2.0):
    """Return a scan that differs in two ways: a peak that grows, and a slope that turns over."""
    y, x = np.mgrid[:size, :size] / size
    steps = np.linspace(0, 1, frames)[:, None, None]
    peak = np.exp(-((y - 0.4) ** 2 + (x - 0.6) ** 2) / 0.01)
    return rate * (1 + 3 * steps**2 * peak + 0.5 * np.cos(3 * steps) * x)


def seen(truth, rng, *, noise=0.1):
    """Return answers with the noise that a network leaves, and photons that it did not see."""
    answer = truth * (1 + noise * rng.standard_normal(truth.shape))
    return answer.astype(np.float32), rng.poisson(0.5 * truth)


def shared(truth, seed=0, *, noise=0.1, use=EVERYWHERE):
    """Combine answers of a truth: the answers before, after, and the shares."""
    answer, held_out = seen(truth, np.random.default_rng(seed), noise=noise)
    components = components_of(answer, use)
    shares = shares_of_components(answer, held_out, components, exposure=0.5, use=use)
    weights = weights_of_frames(components, shares)
    return answer, combined(answer, weights, use=use), shares


def error(answer, truth):
    return np.sqrt(np.mean((answer / truth - 1) ** 2))


def test_noise_goes_and_what_the_frames_differ_in_stays():
    truth = drifting()
    answer, found, shares = shared(truth)
    assert shares[0] > 0.9
    assert shares[1] > 0.5
    assert shares[4:].mean() < 0.1
    assert error(found, truth) < 0.45 * error(answer, truth)
    np.testing.assert_allclose(found.mean(axis=0), answer.mean(axis=0), rtol=1e-4)


@pytest.mark.parametrize("rate", [3.0, 30.0])
def test_frames_that_have_nothing_in_common_are_left_alone(rate):
    truth = rate * np.random.default_rng(1).uniform(0.2, 2.0, (32, 48, 48))
    answer, found, shares = shared(truth, noise=0.05)
    assert shares[:-1].min() > 0.9
    assert error(found, truth) < 1.05 * error(answer, truth)


def test_repeats_of_one_frame_become_their_mean():
    truth = np.full((16, 48, 48), 4.0)
    answer, found, _ = shared(truth)
    assert error(found, truth) < 1.2 * error(answer.mean(axis=0), truth[0])


def test_a_feature_of_one_frame_stays_there():
    truth = drifting()
    truth[7, 10:16, 30:36] += 10
    _, found, _ = shared(truth)
    without = shared(drifting())[1]
    gain = (found - without)[:, 10:16, 30:36].mean(axis=(1, 2))
    assert gain[7] > 9
    assert abs(np.delete(gain, 7)).max() < 0.5


def test_weights_add_up_and_full_shares_change_nothing():
    answer, _ = seen(drifting(), np.random.default_rng(2))
    weights = weights_of_frames(components_of(answer, EVERYWHERE), np.ones(32))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-9)
    np.testing.assert_allclose(combined(answer, weights, use=EVERYWHERE), answer, rtol=1e-4)


def test_pixels_out_of_use_and_scans_without_light_stay_as_they_are():
    use = EVERYWHERE.copy()
    use[3:6] = False
    answer, found, _ = shared(drifting(), use=use)
    np.testing.assert_array_equal(found[:, ~use], answer[:, ~use])
    assert (found[:, use] != answer[:, use]).mean() > 0.9
    dark = np.zeros((16, 48, 48), np.float32)
    components = components_of(dark, EVERYWHERE)
    shares = shares_of_components(dark, dark, components, exposure=0.5, use=EVERYWHERE)
    weights = weights_of_frames(components, shares)
    assert (combined(dark, weights, use=EVERYWHERE) == 0).all()


def evidence(answers, held_out):
    """Return the evidence of a scan whose answers saw one half of the photons and not the other."""
    light = np.ones((1, *held_out.shape[1:]), np.float32)
    data = Measurements(2 * held_out.astype(np.int32), light)
    half = Measurements(held_out.astype(np.int32), light / 2)
    return Evidence(data, (Half(half, answers),), (np.zeros_like(held_out), held_out))


def test_a_frame_without_an_answer_keeps_no_other_from_being_combined():
    answer, held_out = seen(drifting(), np.random.default_rng(3))
    there = np.delete(np.arange(32), 5)
    few = Answers(answer[there], np.ones((31, 48, 48), bool), np.zeros((31, 48, 48), bool))
    expected = combine(few, evidence(few, held_out[there])).counts
    answer[5] = np.nan
    whole = Answers(answer, np.isfinite(answer), np.zeros(answer.shape, bool))
    judged = evidence(whole, held_out)
    light = np.ones(answer.shape, np.float32)
    light[5] = 0
    data = dataclasses.replace(judged.data, exposure=light)
    half = dataclasses.replace(judged.halves[0].data, exposure=light / 2)
    found = combine(whole, Evidence(data, (Half(half, whole),), judged.split))
    assert "of 31 answers" in found.done[0][1]
    assert np.isnan(found.counts[5]).all()
    np.testing.assert_allclose(np.asarray(found.counts)[there], expected, rtol=1e-4)


def test_long_scans_are_combined_in_parts_and_variances_with_them(monkeypatch):
    # The package's own `combine` is the stage, and hides the module.
    monkeypatch.setattr(import_module("smae_jax.finishing.combine"), "TOGETHER", 20)
    truth = drifting()
    answer, held_out = seen(truth, np.random.default_rng(3))
    answer[5, 20, 20] = np.nan
    known = np.isfinite(answer)
    variance = np.where(known, (0.1 * truth) ** 2, np.nan).astype(np.float32)
    whole = Answers(answer, known, ~known, variance)
    found = combine(whole, evidence(whole, held_out))
    [(stage, what)] = found.done
    assert stage == "combine"
    assert "components of 32 answers" in what
    np.testing.assert_array_equal(whole.counts, answer)  # stages are pure
    kept = np.delete(np.arange(16), 5)
    np.testing.assert_array_equal(found.counts[kept, 20, 20], answer[kept, 20, 20])
    assert np.isnan(found.counts[5, 20, 20])
    errors = (np.asarray(found.counts) - truth)[known]
    expected = np.asarray(found.variance)[known]
    assert expected.mean() < 0.4 * variance[known].mean()
    assert (errors**2).mean() == pytest.approx(expected.mean(), rel=0.25)


def test_infer_combines_a_scan_keeps_its_totals_and_says_so(
    smae, trained_run, small_scan, tmp_path
):
    with np.load(small_scan) as file:
        frames = np.concatenate([file["counts"]] * 4).astype(np.int64)
        valid = ~file["mask"].astype(bool)
    frames = np.random.default_rng(4).poisson(frames)
    np.save(tmp_path / "many.npy", frames)
    few = FEWEST_FRAMES - 1
    np.save(tmp_path / "few.npy", frames[:few])
    alone = ("--keep-significant", 0, "--no-keep-sums")
    for name, options in (("many", ()), ("apart", ("--no-combine",)), ("few", ())):
        given = "few.npy" if name == "few" else "many.npy"
        infer = ("infer", "--run", trained_run, "--input", given, "--output", f"{name}.h5")
        answer = smae(*infer, *alone, *options)
        assert answer.status == 0, answer.err
        assert ("combine: held-out photons confirm" in answer.out) == (name == "many")
    found, said = {}, []
    for name in ("many", "apart", "few"):
        with h5py.File(tmp_path / f"{name}.h5") as file:
            found[name] = file["entry/data/data"][()]
            file.visit(lambda n, s=said, o=name: s.append(o) if n.endswith("combine") else None)
    assert said == ["many"]
    np.testing.assert_allclose(found["few"], found["apart"][:few], rtol=1e-5)
    assert found["many"].std(axis=0)[valid].mean() < 0.9 * found["apart"].std(axis=0)[valid].mean()
    np.testing.assert_allclose(
        found["many"][:, valid].sum(axis=1), frames[:, valid].sum(axis=1), rtol=1e-5
    )


def moving_spot(frames=32, size=48):
    """Return a scan in which a bright spot runs along a line and leaves darkness behind it."""
    y, x = np.mgrid[:size, :size]
    at = np.linspace(6, size - 7, frames)[:, None, None]
    return 0.02 + 6 * np.exp(-((y - 24) ** 2 + (x - at) ** 2) / 18)


def through_combine(truth, seed=4):
    """Combine answers whose own noise is a tenth of the truth, and a little beside it."""
    rng = np.random.default_rng(seed)
    noise = 0.1 * truth + 0.003
    answer = np.abs(truth + noise * rng.standard_normal(truth.shape)).astype(np.float32)
    known = np.ones(answer.shape, bool)
    held_out = rng.poisson(0.5 * truth)
    return np.asarray(
        combine(
            Answers(answer, known, ~known), evidence(Answers(answer, known, ~known), held_out)
        ).counts
    )


def test_a_frame_shows_no_ghost_of_what_moves_where_it_is_dark(monkeypatch):
    truth = moving_spot()
    ghost = truth < 0.1 * truth.max(axis=0)
    found = through_combine(truth)
    monkeypatch.setattr(
        import_module("smae_jax.finishing.combine"),
        "shares_of_own",
        lambda *_, **__: np.zeros(len(OCTAVES)),
    )
    before = through_combine(truth)
    excess, excess_before = (abs((one - truth)[ghost]).mean() for one in (found, before))
    assert excess < 0.6 * excess_before
    assert error(found[~ghost], truth[~ghost]) < 1.02 * error(before[~ghost], truth[~ghost])


def test_frames_keep_nothing_of_their_own_where_held_out_photons_do_not_ask_for_it():
    truth = np.full((16, 48, 48), 2.0)
    answer, held_out = seen(truth, np.random.default_rng(5))
    together = np.broadcast_to(answer.mean(axis=0), answer.shape)
    shares = shares_of_own(
        answer, together, held_out, exposure=np.full(answer.shape, 0.5), use=EVERYWHERE
    )
    assert shares.max() < 0.1
    assert share_at(together, shares).max() < 0.1


def test_shares_are_interpolated_between_octaves_and_go_on_outside():
    shares = np.linspace(0, 1, len(OCTAVES))
    together = np.array([1e-9, 1.0, 2.0**0.5, 1e9], np.float32)[:, None, None]
    together = np.concatenate([together, np.full((4, 1, 1), 1e-9, np.float32)])
    mean = together.mean(axis=0)
    found = share_at(together / mean, shares)[:, 0, 0]
    place = np.clip(np.log2(together / mean)[:, 0, 0], OCTAVES[0], OCTAVES[-1])
    np.testing.assert_allclose(found, np.interp(place, OCTAVES, shares), atol=1e-5)
