"""Answers that are wrong in all frames alike are corrected by the counts added up; right ones are left."""

import h5py
import numpy as np
import pytest

from smae_jax.finishing.sums import FEWEST_FRAMES, correct_sums
from smae_jax.geometry import turn

CENTER = (31.5, 31.5)


def peaks(frames=32, rate=1.0, size=64):
    """Return a background with a peak on either side of the centre, (frames, size, size)."""
    y, x = np.mgrid[:size, :size]
    image = sum(8 * np.exp(-((y - 31.5) ** 2 + (x - c) ** 2) / 18) for c in (16, 47))
    return np.tile(rate * (1 + image), (frames, 1, 1))


def eaten(truth):
    """Return peaks that are 20 % too low, and their background as it is."""
    return truth * (1 - 0.2 * (1 - truth.min() / truth))


def corrected(truth, answer, *, valid=None, seed=0, center=CENTER):
    """Count photons of the truth and correct the answer by them: the answer and the factors."""
    counts = np.random.default_rng(seed).poisson(truth).astype(np.float32)
    valid = np.ones(truth.shape, bool) if valid is None else valid
    answer = answer.astype(np.float32)
    correction = correct_sums(answer, counts, valid.astype(np.float32), center=center)
    factors = correction.factor ** correction.shares[:, None, None]
    return answer * factors, factors


def error(answer, truth):
    return np.sqrt(np.mean((answer / truth - 1) ** 2))


@pytest.mark.parametrize("rate", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("make", [peaks, lambda **options: np.ones((32, 64, 64)) * options["rate"]])
def test_right_answers_are_left_alone_within_a_part_of_the_noise_of_the_sums(rate, make):
    truth = make(rate=rate)
    noise_of_sums = 1 / np.sqrt(len(truth) * rate)
    found = [error(corrected(truth, truth, seed=seed)[0], truth) for seed in range(4)]
    assert np.mean(found) < 0.05 * noise_of_sums


@pytest.mark.parametrize(("rate", "left"), [(0.1, 0.85), (1.0, 0.5), (10.0, 0.25)])
def test_peaks_that_were_eaten_in_every_frame_come_back(rate, left):
    truth = peaks(rate=rate)
    answer, _ = corrected(truth, eaten(truth))
    assert error(answer, truth) < left * error(eaten(truth), truth)
    at_peak = truth[0] > 3 * rate
    assert answer[:, at_peak].sum() == pytest.approx(truth[:, at_peak].sum(), rel=0.03)


def test_an_asymmetry_that_was_halved_comes_back():
    even = peaks(rate=3.0)
    sine = np.ones((64, 1)) * (np.arange(64) - 31.5) / 31.5
    truth, answer = even * (1 + 0.1 * sine), even * (1 + 0.05 * sine)
    found, _ = corrected(truth, answer)
    odd = found - np.stack([turn(f, CENTER, 0.0) for f in found])
    slope = (odd * sine * even).sum() / (2 * 0.1 * (even * sine) ** 2).sum()
    assert slope == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("power", [0, 1])
def test_an_asymmetry_of_the_whole_image_comes_back_also_where_nothing_was_measured(power):
    y, x = np.mgrid[:64, :64] - 31.5
    radius = np.hypot(y, x)
    one_sided = 0.05 * x / radius * (radius / radius.max()) ** power
    even = peaks(rate=10.0)
    valid = np.ones(even.shape, bool)
    valid[:, 40:56, 8:24] = False
    found, _ = corrected(even * (1 + one_sided), even, valid=valid)
    for part in (valid[0], ~valid[0]):
        change = (found / even - 1)[:, part].mean(axis=0)
        slope = (change * one_sided[part]).sum() / (one_sided[part] ** 2).sum()
        assert slope == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("rate", "most"), [(3.0, 0.5), (30.0, 0.2)])
def test_frames_that_need_no_correction_get_the_less_of_it_the_more_they_counted(rate, most):
    """What is wrong with the pattern of some frames must not be printed on frames without it."""
    truth = peaks(rate=rate)
    truth[16:] = rate
    found, factors = corrected(truth, eaten(truth))
    place = truth[0] > 3 * rate
    assert found[:16, place].sum() == pytest.approx(truth[:16, place].sum(), rel=0.05)
    assert abs(factors[16:, place] - 1).mean() < most * abs(factors[:16, place] - 1).mean()


def test_a_pixel_without_a_measurement_is_multiplied_as_its_partner_is(monkeypatch):
    monkeypatch.setattr(
        "smae_jax.finishing.sums.asymmetry_of_sums", lambda sums, *_: np.ones_like(sums)
    )
    truth = peaks(rate=10.0)
    valid = np.ones(truth.shape, bool)
    valid[:, 28:36, 40:50] = False
    answer = eaten(truth)
    answer[:, 0, 0] = np.nan
    found, factors = corrected(truth, answer, valid=valid)
    gap = ~valid[0]
    np.testing.assert_array_equal(factors[0][gap], turn(factors[0], CENTER, 1.0)[gap])
    assert error(found[:, gap], truth[:, gap]) < 0.6 * error(answer[:, gap], truth[:, gap])
    assert np.isnan(found[:, 0, 0]).all()
    assert np.isfinite(np.delete(found.reshape(len(found), -1), 0, axis=1)).all()


@pytest.mark.parametrize("center", [(0.0, 0.0), (500.0, -300.5)])
def test_a_centre_off_the_frame_leaves_no_partner_and_harms_nothing(center):
    truth = peaks(rate=10.0)
    answer, _ = corrected(truth, eaten(truth), center=center)
    assert error(answer, truth) < 0.5 * error(eaten(truth), truth)


def test_few_frames_or_no_light_stay_as_they_are():
    truth = peaks(frames=FEWEST_FRAMES - 1, rate=10.0)
    answer, factors = corrected(truth, 0.5 * truth)
    np.testing.assert_array_equal(answer, (0.5 * truth).astype(np.float32))
    assert (factors == 1).all()
    dark = np.zeros((4, 16, 16))
    answer, factors = corrected(dark, dark, center=(7.5, 7.5))
    assert (answer == 0).all()
    assert (factors == 1).all()


@pytest.mark.slow
def test_infer_keeps_the_sums_and_the_totals_and_says_so(smae, trained_run, small_scan, tmp_path):
    infer = ("infer", "--run", trained_run, "--input", f"{small_scan}::counts", "--output")
    plain = smae(*infer, "plain.h5", "--no-keep-sums")
    assert plain.status == 0, plain.err
    assert "add up to the counts" not in plain.out
    answer = smae(*infer, "kept.h5", "--sigma")
    assert answer.status == 0, answer.err
    assert "to add up to the counts of the scan" in answer.out
    with np.load(small_scan) as file:
        counts, valid = file["counts"].astype(np.int64), ~file["mask"].astype(bool)
    found, said = {}, []
    for name in ("plain", "kept"):
        with h5py.File(tmp_path / f"{name}.h5") as file:
            found[name] = file["entry/data/data"][()]
            file.visit(lambda n, s=said, o=name: s.append((o, n)) if "keep_sums" in n else None)
    assert [name for name, _ in said] == ["kept"]
    apart = {
        name: abs((answer - counts)[:, valid].sum(axis=0)).sum() for name, answer in found.items()
    }
    assert apart["kept"] < apart["plain"]
    for answer in found.values():
        np.testing.assert_allclose(
            answer[:, valid].sum(axis=1), counts[:, valid].sum(axis=1), rtol=1e-5
        )


def test_a_spot_in_one_frame_does_not_appear_in_the_others(smae, trained_run, small_scan, tmp_path):
    with np.load(small_scan) as file:
        counts, mask = file["counts"].astype(np.int64), file["mask"]
    np.save(tmp_path / "without.npy", counts)
    y, x = np.argwhere(mask == 0)[len(np.argwhere(mask == 0)) // 2]
    counts[1, y, x] += 200
    np.save(tmp_path / "with.npy", counts)
    found = {}
    for name in ("without", "with"):
        infer = ("infer", "--run", trained_run, "--input", f"{name}.npy", "--output")
        assert smae(*infer, f"{name}-answer.npy").status == 0
        found[name] = np.load(tmp_path / f"{name}-answer.npy")
    assert found["with"][1, y, x] == counts[1, y, x]
    others = np.delete(found["with"] - found["without"], 1, axis=0)[:, y, x]
    assert abs(others).max() < 0.05 * found["without"][:, y, x].max()
