"""A second network in polar coordinates: bins keep photons, and held-out photons choose its share."""

import dataclasses
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

import smae_jax
from smae_jax.finishing.polar import MIDDLE, OCTAVES, shares_of_octaves
from smae_jax.geometry import turn
from smae_jax.polar import BESIDE, FLOOR, Polar, polar_of
from smae_jax.run.folder import Survey
from smae_jax.simulate import simulate
from smae_jax.survey import given

OFF_CENTER = Polar((40, 50), (17.5, 26.0))


def scan(center=(17.5, 26.0), frames=3):
    rng = np.random.default_rng(0)
    valid = np.ones((40, 50), bool)
    valid[12:14] = False
    return smae_jax.from_arrays(rng.poisson(2.0, (frames, 40, 50)), valid=valid, center=center)


def once(bins):
    """Of frames of bins the part that is shown once, as a half turn on both sides."""
    return bins[..., BESIDE:-BESIDE, :]


def test_bins_hold_every_photon_once_and_the_pixels_behind_them():
    data = scan()
    bins = OFF_CENTER.frames_of(data)
    assert bins.counts.dtype == data.counts.dtype
    np.testing.assert_array_equal(once(bins.counts).sum((1, 2)), data.counts.sum((1, 2)))
    assert once(bins.exposure).sum() == data.exposure.sum()
    assert not bins.counts[:, bins.exposure[0] == 0].any()


def test_a_frame_that_is_turned_has_its_bins_turned():
    data = scan()
    turned = turn(data.counts, OFF_CENTER.center, 0)
    seen = turn(turned, OFF_CENTER.center, 0)  # without what has no partner on the frame
    frames = [
        OFF_CENTER.frames_of(smae_jax.from_arrays(counts, center=OFF_CENTER.center))
        for counts in (seen, turned)
    ]
    np.testing.assert_array_equal(frames[0].counts, frames[1].counts[:, ::-1, ::-1])
    middle = frames[0].center.half_pixel
    np.testing.assert_array_equal(turn(frames[0].counts, middle, 0), frames[1].counts)


def test_rows_beyond_the_half_turn_are_those_of_the_other_side():
    bins = OFF_CENTER.frames_of(scan()).counts
    radii = bins.shape[-1] // 2
    beyond, other_side = bins[:, -BESIDE, radii:], bins[:, -BESIDE - 1, :radii]
    np.testing.assert_array_equal(beyond, other_side[:, ::-1])


def test_rings_are_read_back_where_they_were():
    y, x = np.mgrid[:40, :50]
    radius = np.hypot(y - 17.5, x - 26.0)
    rate = (3 + np.sin(radius / 3))[None].astype(np.float32)
    data = smae_jax.from_arrays(np.zeros((1, 40, 50), int), center=OFF_CENTER.center)
    bins = OFF_CENTER.frames_of(dataclasses.replace(data, counts=rate))
    there = bins.exposure > 0
    columns = (bins.counts.sum(1) / np.maximum(bins.exposure.sum(1), 1))[:, None]
    filled = np.where(there, bins.counts / np.where(there, bins.exposure, 1), columns)
    found = np.asarray(OFF_CENTER.read(jnp.asarray(filled)))
    inside = OFF_CENTER.told & (radius < 20)
    np.testing.assert_allclose(found[0][inside], rate[0][inside], rtol=0.06)
    assert np.abs(found[0][inside] / rate[0][inside] - 1).mean() < 0.01


def test_bins_of_no_pixel_have_no_exposure_unless_they_are_to_be_answered():
    data = scan()
    assert (OFF_CENTER.frames_of(data).exposure == 0).any()
    assert OFF_CENTER.frames_of(data, floor=FLOOR).exposure.min() == np.float32(FLOOR)


def test_spectra_channels_guesses_and_other_values_have_no_bins():
    data = scan()
    assert polar_of(data) == OFF_CENTER
    charge = dataclasses.replace(data, counts=data.counts.astype(np.float32) + 0.5)
    guess = dataclasses.replace(data, center=data.center.doubted("a guess"))
    for other in (charge, guess, dataclasses.replace(data, center=None)):
        assert polar_of(other) is None


def test_a_beam_in_a_corner_has_bins_that_hold_every_photon():
    rng = np.random.default_rng(0)
    data = smae_jax.from_arrays(rng.poisson(2.0, (2, 40, 50)), center=(0.5, 1.5))
    corner = given(data, (0.5, 1.5))
    assert not corner.trusted  # no pixel has a partner
    assert Survey.from_record(Survey(center=corner).record()).center.known
    layout = polar_of(dataclasses.replace(data, center=corner))
    bins = layout.frames_of(data)
    np.testing.assert_array_equal(once(bins.counts).sum((1, 2)), data.counts.sum((1, 2)))
    assert not corner.doubted("another reason").known


def test_a_beam_far_off_the_frame_has_no_bins():
    data = smae_jax.from_arrays(np.ones((1, 40, 50), int), center=(3.0, 4.0))
    there = [
        polar_of(dataclasses.replace(data, center=given(data, at))) for at in ((-9, 0), (-300, 0))
    ]
    assert there[0] is not None
    assert there[1] is None


@pytest.mark.slow
def test_a_beam_in_a_corner_is_answered_by_two_networks(smae, small):
    rng = np.random.default_rng(0)
    np.save("scan.npy", rng.poisson(2.0, (4, 32, 40)).astype(np.uint16))
    asked = ("--data.path", "scan.npy", "--data.center", "0,0", *small, "--train.polar")
    done = smae("train", "--run", "r", *asked)
    assert done.status == 0, done.err
    done = smae("infer", "--run", "r", "--input", "scan.npy", "--output", "out.npy")
    assert done.status == 0, done.err
    assert "in polar coordinates" in done.out
    assert np.isfinite(np.load("out.npy")).all()


def answers_and_photons(*, error_of_second, seed=0):
    """First answers 30 % off in a random pattern, second by another; photons of half of an exposure."""
    rng = np.random.default_rng(seed)
    truth = np.broadcast_to(2.0 ** np.linspace(-4, 4, 64)[:, None], (20, 64, 64))
    first, second = (
        jnp.asarray(truth * (1 + error * rng.standard_normal(truth.shape)), jnp.float32)
        for error in (0.3, error_of_second)
    )
    exposure = np.full(truth.shape, 0.5, np.float32)
    photons = rng.poisson(truth * exposure)
    return shares_of_octaves(first, second, photons, exposure, mean=float(truth.mean()))


@pytest.mark.parametrize(("error", "share"), [(0.0, 1.0), (0.3, 0.5), (3.0, 0.01)])
def test_the_better_answer_is_taken_as_far_as_it_is_better(error, share):
    shares = answers_and_photons(error_of_second=error)
    assert shares[MIDDLE] == pytest.approx(share, abs=0.06)
    assert (np.diff(shares) <= 0).all()


def test_photons_that_tell_nothing_leave_the_first_answer():
    same = jnp.ones((2, 8, 8))
    nothing = np.zeros((2, 8, 8)), np.ones((2, 8, 8), np.float32)
    assert not shares_of_octaves(same, same, *nothing, mean=1.0).any()
    dark = np.ones((2, 8, 8)), np.zeros((2, 8, 8), np.float32)
    assert not shares_of_octaves(same, 2 * same, *dark, mean=1.0).any()
    assert len(shares_of_octaves(same, 2 * same, *nothing, mean=1.0)) == OCTAVES


@pytest.fixture(scope="module")
def run(tmp_path_factory, small_scan, small):
    """A run with a second network."""
    from smae_jax import cli

    folder = tmp_path_factory.mktemp("polar") / "run"
    data = ("--data.path", f"{small_scan}::counts", "--data.mask", f"{small_scan}::mask")
    asked = ("train", "--run", folder, *data, "--data.center", "17.5,14", *small, "--train.polar")
    assert cli.main([str(argument) for argument in asked]) == 0
    return folder


def test_a_run_with_two_networks_mixes_their_answers_and_says_so(smae, run, small_scan):
    asked = ("infer", "--run", run, "--input", f"{small_scan}::counts")
    for name, more in (("two", ()), ("one", ("--no-polar",)), ("bars", ("--sigma",))):
        done = smae(*asked, "--output", f"{name}.npy", *more)
        assert done.status == 0, done.err
        assert ("second network" in done.out) == (name != "one")
    two, one, bars = (np.load(f"{name}.npy") for name in ("two", "one", "bars"))
    np.testing.assert_array_equal(two, bars)
    np.testing.assert_array_equal(np.isfinite(two), np.isfinite(one))
    assert (two[np.isfinite(two)] >= 0).all()
    assert np.nanmax(np.abs(two - one)) > 1e-3
    assert np.isfinite(np.load("bars_sigma.npy")).any()


def test_frames_that_come_one_by_one_are_answered_by_the_first_network_and_that_is_said(run):
    from smae_jax.config import FramesAlone
    from smae_jax.run.resident import Resident

    said = []
    resident = Resident(FramesAlone(run=str(run)), say=said.append)
    assert [line for line in said if "first network alone" in line]
    assert resident.opened.polar is None


def test_mixed_answers_do_not_depend_on_batches(smae, run, small_scan):
    for size in (1, 4):
        asked = ("infer", "--run", run, "--input", f"{small_scan}::counts", "--batch-size", size)
        assert smae(*asked, "--output", f"{size}.npy").status == 0
    np.testing.assert_allclose(np.load("1.npy"), np.load("4.npy"), rtol=1e-4)


def test_answering_again_compiles_nothing(run, small_scan, compiled):
    from smae_jax.config import InferConfig
    from smae_jax.run.restore import open_run

    options = InferConfig(run=str(run), input=f"{small_scan}::counts")
    opened = open_run(options, lambda line: None)
    counts = opened.answers().counts
    compiled.clear()
    np.testing.assert_array_equal(opened.answers().counts, counts)
    assert not compiled


def test_a_frame_of_nothing_is_answered_with_nothing(smae, run, small_scan):
    counts = np.load(small_scan)["counts"]
    counts[2] = 0
    np.save("dark.npy", counts)
    done = smae("infer", "--run", run, "--input", "dark.npy", "--output", "out.npy")
    assert done.status == 0, done.err
    found = np.nan_to_num(np.load("out.npy"))
    assert not found[2].any()
    assert found[1].any()


def test_one_frame_is_answered_by_both(smae, run, small_scan):
    np.save("one.npy", np.load(small_scan)["counts"][:1])
    done = smae("infer", "--run", run, "--input", "one.npy", "--output", "out.npy")
    assert done.status == 0, done.err
    assert "second network" in done.out


def test_a_finished_run_goes_on_with_both_networks(smae, run, tmp_path, small):
    shutil.copytree(run, tmp_path / "r")
    assert smae("train", "--run", "r", "--resume", "--train.steps", 6).status == 0
    whole = smae("train", "--run", "w", *_options(run), *small, "--train.steps", 6, "--train.polar")
    assert whole.status == 0, whole.err
    for name in (".", "polar"):
        found, wanted = (_parameters(tmp_path / folder / name) for folder in ("r", "w"))
        np.testing.assert_array_equal(found, wanted)


def _options(run):
    """Return how a run's data were given."""
    from smae_jax.run.folder import RunFolder

    data = RunFolder(run).config().data
    return ("--data.path", data.path, "--data.mask", *data.mask, "--data.center", data.center)


def _parameters(folder):
    import jax

    from smae_jax.run.folder import RunFolder
    from smae_jax.run.restore import read_parameters

    found, _ = read_parameters(RunFolder(folder), "last")
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found)])


def test_a_second_network_is_refused_where_there_can_be_none(smae, small):
    np.save("charge.npy", np.random.default_rng(0).normal(20, 2, (3, 32, 32)).astype(np.float32))
    asked = ("--data.path", "charge.npy", "--data.center", "15.5,15.5", "--thinning.gain", 2.5)
    refused = smae("train", "--run", "r", *asked, *small, "--train.polar")
    assert refused.status == 2
    assert "--train.polar: expected frames of photon counts" in refused.err
    assert len(refused.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("counts", "center", "more", "why"),
    [
        (2, "auto", (), "a guess"),
        (2, "-300,0", (), "would hold no pixel"),
        (2, "15.5,15.5", ("--method", "smae"), "got smae"),
        (2, "auto", ("--method", "noise2noise"), "got noise2noise"),
        (2, "15.5,15.5", ("--thinning.shares", "1,0"), "thinning with shares 1,0;"),
        (2, "15.5,15.5", ("--predict.no-conserve-totals",), "keep totals"),
        (2**23 + 1, "15.5,15.5", ("--data.noise", "photons"), "a bin of"),
    ],
)
def test_what_speaks_against_a_second_network_is_said_before_the_first(
    smae, small, tmp_path, counts, center, more, why
):
    rng = np.random.default_rng(0)
    np.save("scan.npy", rng.poisson(float(counts), (4, 32, 32)).astype(np.int32))
    asked = ("--data.path", "scan.npy", "--data.center", center, *small, *more)
    refused = smae("train", "--run", "r", *asked, "--train.polar")
    assert refused.status == 2
    assert why in refused.err
    assert not (tmp_path / "r").exists()


def test_a_second_network_that_is_lost_is_missed_and_trained_again(smae, run, small_scan, tmp_path):
    shutil.copytree(run, tmp_path / "r")
    shutil.rmtree(tmp_path / "r" / "polar")
    asked = ("infer", "--run", "r", "--input", f"{small_scan}::counts")
    done = smae(*asked, "--output", "out.npy")
    assert done.status == 0, done.err
    assert "the second network is not there" in done.out
    assert smae("train", "--run", "r", "--resume").status == 0
    np.testing.assert_array_equal(_parameters(tmp_path / "r" / "polar"), _parameters(run / "polar"))


def test_a_second_network_that_was_killed_at_its_first_checkpoint_begins_anew(smae, run, tmp_path):
    shutil.copytree(run, tmp_path / "r")
    for step in (tmp_path / "r" / "polar" / "checkpoints").iterdir():
        shutil.rmtree(step)
    assert any((tmp_path / "r" / "polar" / "best").iterdir())
    assert smae("train", "--run", "r", "--resume").status == 0
    np.testing.assert_array_equal(_parameters(tmp_path / "r" / "polar"), _parameters(run / "polar"))


@pytest.mark.parametrize("name", ["config.toml", "survey.json"])
def test_a_second_network_that_is_damaged_is_said_with_what_to_do(smae, run, tmp_path, name):
    shutil.copytree(run, tmp_path / "r")
    (tmp_path / "r" / "polar" / name).write_text("{")
    done = smae("train", "--run", "r", "--resume", "--train.steps", 6)
    assert done.status == 2
    assert "remove this folder" in done.err
    shutil.rmtree(tmp_path / "r" / "polar")
    assert smae("train", "--run", "r", "--resume", "--train.steps", 6).status == 0


def test_a_second_network_that_was_stopped_is_told(smae, run, small_scan, tmp_path):
    shutil.copytree(run, tmp_path / "r")
    config = tmp_path / "r" / "polar" / "config.toml"
    config.write_text(config.read_text().replace("steps = 2\n", "steps = 9\n", 1))
    asked = ("infer", "--run", "r", "--input", f"{small_scan}::counts", "--output", "out.npy")
    assert "was stopped at step 2 of 9" in smae(*asked).out


def test_frames_without_bins_are_answered_by_the_first_network_and_that_is_said(
    smae, run, small_scan
):
    asked = ("infer", "--run", run, "--input", f"{small_scan}::counts", "--noise", "integrated")
    done = smae(*asked, "--output", "out.npy")
    assert done.status == 0, done.err
    assert "the first network answers alone, because" in done.out


def test_symmetric_answers_of_two_networks_are_symmetric(smae, run, small_scan):
    asked = ("infer", "--run", run, "--input", f"{small_scan}::counts", "--rule", "symmetric")
    stages = ("--no-combine", "--no-keep-sums", "--no-keep-shadows", "--keep-significant", 0)
    assert smae(*asked, *stages, "--output", "out.npy").status == 0
    answer = np.load("out.npy")
    turned = turn(answer, (17.5, 14.0), np.nan)
    both = np.isfinite(answer) & np.isfinite(turned)
    np.testing.assert_allclose(answer[both], turned[both], rtol=1e-4)


def test_a_count_that_cannot_be_split_is_put_back_with_two_networks(smae, run, small_scan):
    counts = np.load(small_scan)["counts"].astype(np.uint32)
    counts[0, 8, 20] = 2**25
    np.save("bright.npy", counts)
    done = smae("infer", "--run", run, "--input", "bright.npy", "--output", "out.npy")
    assert done.status == 0, done.err
    assert np.load("out.npy")[0, 8, 20] == 2**25


def test_a_rule_is_that_of_both_networks(run, small_scan):
    from smae_jax.config import InferConfig
    from smae_jax.run.restore import open_run

    options = InferConfig(run=str(run), input=f"{small_scan}::counts", rule="direct")
    opened = open_run(options, lambda line: None)
    assert opened.method.rule == opened.polar.predictor.method.rule == "direct"


def test_a_run_is_replaced_with_both_networks(smae, run, small, tmp_path):
    shutil.copytree(run, tmp_path / "r")
    more = ("--seed", 1, "--train.polar", "--overwrite")
    assert smae("train", "--run", "r", *_options(run), *small, *more).status == 0
    for name in (".", "polar"):
        assert (_parameters(tmp_path / "r" / name) != _parameters(run / name)).any()


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["frame", "scan"])
def test_a_second_networks_unit_of_rate_is_that_of_its_training(smae, small, rule):
    from smae_jax.config import InferConfig
    from smae_jax.run.restore import open_run

    rng = np.random.default_rng(0)
    np.save("scan.npy", rng.poisson(5.0, (4, 32, 32)).astype(np.int32))
    asked = ("--data.path", "scan.npy", "--data.center", "15.5,15.5", "--data.scale", rule)
    assert smae("train", "--run", "r", *asked, *small, "--train.polar").status == 0
    data = open_run(InferConfig(run="r", input="scan.npy"), lambda line: None).data
    dark = dataclasses.replace(data, counts=data.counts // np.array([5, 1, 1, 1])[:, None, None])
    opened = open_run(InferConfig(run="r", input="scan.npy"), lambda line: None, data=dark)
    alone = opened.polar(dark.take([0]))
    together = opened.polar(dark)[:1]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


@pytest.mark.slow
def test_rings_of_a_dark_scan_are_answered_better_by_two(tmp_path):
    made = simulate("waxd", frames=32, size=96, photons=0.1, seed=1)
    data = smae_jax.from_arrays(made.counts, valid=made.valid, center=made.center)
    options = {"train.steps": 150, "train.polar": True, "train.checkpoint_every": 0}
    denoiser = smae_jax.train(data, run=str(tmp_path / "r"), options=options, verbose=False)
    two, one = (
        np.asarray(denoiser.denoise(data, **asked).counts) for asked in ({}, {"polar": False})
    )
    errors = [np.mean((found - made.truth)[:, made.valid] ** 2) for found in (two, one)]
    assert errors[0] < 0.8 * errors[1]
