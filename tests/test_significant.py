"""Counts that cannot be noise about the answer stay; all others are left to the network."""

import h5py
import numpy as np
import pytest

from smae_jax.finishing.spots import keep_significant


def kept_in(rate, counts, valid=None):
    """Apply it with 5 sigma to every frame: the answer and what was kept."""
    valid = np.ones(counts.shape, bool) if valid is None else valid
    answer = np.asarray(rate, np.float32)
    return tuple(map(np.asarray, keep_significant(answer, counts, valid, sigmas=5.0)))


@pytest.mark.parametrize(("sigmas", "share"), [(1.0, 0.317), (2.0, 0.0455), (3.0, 0.0027)])
def test_significance_is_that_of_a_normal_deviate(sigmas, share):
    counts = np.zeros((1, 1200, 1200), np.float32)
    counts[0, 1::3, 1::3] = np.random.default_rng(0).poisson(9.0, (400, 400))  # one to a window
    rate = np.zeros_like(counts)
    rate[:, 1::3, 1::3] = 9.0
    _, kept = keep_significant(rate, counts, rate > 0, sigmas=sigmas)
    assert kept[0, 1::3, 1::3].mean() == pytest.approx(share, rel=0.35)


@pytest.mark.parametrize("rate", [0.05, 1.0, 30.0])
def test_a_right_answer_is_left_alone(rate):
    counts = np.random.default_rng(1).poisson(rate, (8, 128, 128)).astype(np.float32)
    _, kept = kept_in(np.full(counts.shape, rate), counts)
    assert kept.sum() <= 18  # two windows by chance


def test_a_spot_that_the_network_took_away_comes_back_and_nothing_else():
    counts = np.random.default_rng(2).poisson(0.2, (2, 32, 40)).astype(np.float32)
    counts[1, 20, 10] += 15
    answer, kept = kept_in(np.full(counts.shape, 0.2), counts)
    assert answer[1, 20, 10] == counts[1, 20, 10]
    assert (answer[~kept] == np.float32(0.2)).all()
    places = np.argwhere(kept)
    assert (places[:, 0] == 1).all()
    assert (np.abs(places[:, 1:] - (20, 10)) <= 2).all()


def test_a_spot_that_the_network_made_up_goes():
    counts = np.zeros((1, 16, 16), np.float32)
    rate = np.full(counts.shape, 0.1)
    rate[0, 4, 5] = 20.0
    answer, _ = kept_in(rate, counts)
    assert answer[0, 4, 5] == 0.0


def test_pixels_without_a_measurement_keep_their_answer():
    counts = np.zeros((1, 16, 16), np.float32)
    counts[0, 8, 8], counts[0, 8, 9] = 50, 1e9
    valid = np.ones(counts.shape, bool)
    valid[0, 8, 9] = False
    rate = np.full(counts.shape, 0.1, np.float32)
    rate[0, 7, 8] = np.nan
    answer, kept = kept_in(rate, counts, valid)
    assert answer[0, 8, 8] == 50
    assert answer[0, 8, 9] == np.float32(0.1)
    assert np.isnan(answer[0, 7, 8])
    assert not kept[0, 8, 9]
    assert not kept[0, 7, 8]


def test_infer_keeps_a_lone_spot_and_the_total_and_says_so(smae, trained_run, small_scan, tmp_path):
    with np.load(small_scan) as file:
        counts, mask = file["counts"].astype(np.int64), file["mask"]
    y, x = 9, 23
    counts[1, y - 1 : y + 2, x - 1 : x + 2] += 15  # too faint and too wide to be taken out before
    np.save(tmp_path / "spotted.npy", counts)
    infer = ("infer", "--run", trained_run, "--input", "spotted.npy", "--output")
    assert smae(*infer, "plain.npy", "--keep-significant", "0").status == 0
    answer = smae(*infer, "kept.h5")
    assert answer.status == 0, answer.err
    assert "keep their counts" in answer.out
    plain = np.load(tmp_path / "plain.npy")
    with h5py.File(tmp_path / "kept.h5") as file:
        kept, said = file["entry/data/data"][()], []
        file.visit(lambda name: said.append(name) if name.endswith("keep_spots") else None)
        assert "more than 5 sigma from the answer" in file[said[0]][()].decode()
    assert kept[1, y, x] == counts[1, y, x]
    assert plain[1, y, x] < 0.9 * counts[1, y, x]
    totals = (counts * ~mask).sum(axis=(1, 2))
    np.testing.assert_allclose(kept[:, ~mask].sum(axis=1), totals, rtol=1e-5)


def test_values_that_are_no_counts_are_left_alone(smae, trained_run, small_scan, tmp_path):
    with np.load(small_scan) as file:
        np.save(tmp_path / "odd.npy", file["counts"] + np.float32(0.5))
    infer = ("infer", "--run", trained_run, "--input", "odd.npy", "--output")
    answer = smae(*infer, "default.npy")
    assert answer.status == 0, answer.err
    assert "note: no whole photon counts" in answer.out
    assert smae(*infer, "never.npy", "--keep-significant", "0").status == 0
    np.testing.assert_array_equal(
        np.load(tmp_path / "default.npy"), np.load(tmp_path / "never.npy")
    )


def test_a_negative_number_of_sigmas_is_refused(smae, trained_run, small_scan, tmp_path):
    infer = ("infer", "--run", trained_run, "--input", f"{small_scan}::counts", "--output", "o.npy")
    answer = smae(*infer, "--keep-significant", "-1")
    assert answer.status == 2
    assert "--keep-significant: expected 0 or more" in answer.err
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "o.npy").exists()
