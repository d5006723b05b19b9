"""What frames have in common: found from other frames only, with the photons of the source only."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax.commands.thinning import shared_by_frames
from smae_jax.data import batches
from smae_jax.data.components import amounts, expected_counts, find_components
from smae_jax.data.neighbours import Neighbours
from smae_jax.methods.thinning import Thinning
from smae_jax.splitting import pixel_identity

RNG = np.random.default_rng(0)
ALL = np.ones((1, 40, 64), bool)
SHOWN = ("--thinning.neighbours", "scan")


def two_patterns(frames=64, photons=4.0, seed=0):
    """A scan whose frames are mixtures of two patterns: expected counts and counts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :64]
    patterns = np.stack([1 + np.sin(x / 5), 1 + np.cos(y / 4)])
    truth = photons * np.tensordot(rng.uniform(0.3, 1.0, (frames, 2)), patterns, 1)
    return truth, rng.poisson(truth)


def expected_of(counts, valid=ALL):
    return Neighbours("scan").looking_at(counts, valid)(np.arange(len(counts)))[0]


def test_a_scan_of_two_patterns_comes_back_at_a_fraction_of_the_noise():
    truth, counts = two_patterns()
    components = find_components(counts, ALL)
    assert components.patterns.shape[:2] == (4, 2)  # the mean, and one way to differ from it
    error = ((expected_of(counts) - truth) ** 2).mean() / truth.mean()
    # Two components of 48 frames leave 2 / 48 of a frame's variance.
    assert error == pytest.approx(2 / 48, rel=0.3)


def test_noise_alone_has_no_components_but_the_mean():
    counts = RNG.poisson(2.0, (64, 40, 64))
    components = find_components(counts, ALL)
    assert components.patterns.shape[1] == 1
    assert components.patterns.mean() == pytest.approx(2.0, rel=0.01)


def test_nearly_empty_frames_have_none_either():
    light = np.where(np.arange(64) % 3, 3e-4, 2.0)
    counts = RNG.poisson(light[:, None, None] * np.linspace(0.01, 2.0, 64), (64, 40, 64))
    assert find_components(counts, ALL).patterns.shape[1] == 1


@pytest.mark.parametrize("frames", [32, 47, 70])
def test_no_photon_of_a_frame_is_in_the_patterns_that_serve_it(frames):
    truth, counts = two_patterns(frames)
    before = find_components(counts, ALL)
    for frame in (0, 1, frames // 2, frames - 1):
        changed = counts.copy()
        changed[frame] = RNG.poisson(50.0, truth[0].shape)
        after = find_components(changed, ALL)
        group = before.group[frame]
        number = min(before.patterns.shape[1], after.patterns.shape[1])
        np.testing.assert_array_equal(
            before.patterns[group, :number], after.patterns[group, :number]
        )


def test_few_frames_have_nothing_in_common():
    counts = RNG.poisson(2.0, (31, 40, 64))
    assert find_components(counts, ALL) is None
    told, exposure = Neighbours("scan").looking_at(counts, ALL)(np.arange(31))
    assert not told.any()
    assert not exposure.any()


def test_a_part_of_a_scan_is_told_the_same_as_in_the_whole():
    _, counts = two_patterns()
    whole = expected_of(counts)
    neighbours = Neighbours("scan", components=find_components(counts, ALL))
    part = neighbours.of_part(10, 3).looking_at(counts[10:13], ALL)(np.arange(3))[0]
    np.testing.assert_allclose(part, whole[10:13], rtol=1e-5, atol=1e-5)


def test_what_is_masked_in_some_frames_is_told_by_the_others():
    truth, counts = two_patterns()
    valid = np.random.default_rng(3).random(counts.shape) > 0.2
    valid[:, 5, 6] = False
    told, exposure = Neighbours("scan").looking_at(counts * valid, valid)(np.arange(64))
    assert not exposure[:, 5, 6].any()
    assert not told[:, 5, 6].any()
    assert exposure.mean() == pytest.approx(1.0, abs=1e-3)
    seen = exposure > 0
    error = ((told - truth)[seen] ** 2).mean() / truth.mean()
    assert error < 0.08


def test_amounts_are_those_of_the_photons_that_are_given():
    truth, counts = two_patterns()
    components = find_components(counts, ALL)
    chosen = np.array([3, 10, 11])
    half = RNG.binomial(counts[chosen], 0.5)
    amount = amounts(components, half, ALL, chosen)
    expected = 2 * expected_counts(components, amount, chosen)
    assert ((expected - truth[chosen]) ** 2).mean() / truth.mean() < 0.08


def placed(counts, method):
    """Canvases with what the frames share, and patches of them."""
    frames, height, width = counts.shape
    valid = np.ones((1, height, width), bool)
    shared = shared_by_frames(method, counts.astype(np.float32), valid)
    data = batches.Canvases(
        counts=counts.astype(np.float32),
        valid=valid,
        scale=np.full(frames, counts.mean(), np.float32),
        held_out=np.zeros((height, width), bool),
        frames=np.arange(frames, dtype=np.int32),
        origins=np.array([[0, 0], [3, width // 2]], np.int32),
        shared=shared,
    )
    key = jax.random.key(1)
    frame, origin = batches.draw_places(key, data, batch_size=200)
    on_device = batches.gather(jax.device_put(data), frame, origin, patch_shape=(16, 16))
    on_host = batches.gather_on_host(
        data, np.asarray(frame), np.asarray(origin), patch_shape=(16, 16)
    )
    return shared, np.asarray(frame), np.asarray(origin), on_device, on_host


def test_patches_hold_what_the_frames_share_and_the_host_agrees():
    method = Thinning(shares=((0.4, 0.4), (0.8, 0.8)), variants=2, neighbours=True, most=63)
    _, counts = two_patterns(32)
    shared, frame, origin, batch, on_host = placed(counts, method)
    for ours, theirs in zip(
        jax.tree.leaves(batch.neighbours), jax.tree.leaves(on_host.neighbours), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    (own, light), (partner, _) = batch.neighbours
    assert own.shape == (200, 4, 16, 16)
    np.testing.assert_array_equal(light, 1)
    whole = np.tensordot(shared.amounts[frame[0], 2], shared.patterns[shared.group[frame[0]]], 1)
    y, x = origin[0]
    np.testing.assert_allclose(own[0, 2], whole[y : y + 16, x : x + 16], rtol=1e-4, atol=1e-4)
    turned = whole[::-1, ::-1][y : y + 16, x : x + 16]
    np.testing.assert_allclose(partner[0, 2], turned, rtol=1e-4, atol=1e-4)


def test_the_source_of_a_frame_is_told_as_the_pair_deals_it():
    """Amounts stand on the photons of the source: those that `pair` shows, in every split."""
    shares, most = ((0.4, 0.4), (0.8, 0.8)), 63
    method = Thinning(shares=shares, variants=2, most=most, augment="none", neighbours=True)
    _, counts = two_patterns(32)
    _, frame, origin, batch, _ = placed(counts, method)
    pair = jax.jit(method.pair)(jax.random.key(2), batch)
    light = np.asarray(pair.source[..., 1])
    shown = np.asarray(pair.source[..., 0]) * light * counts.mean()
    pixel = np.arange(counts[0].size).reshape(counts[0].shape)
    identity = pixel_identity(jnp.arange(32)[:, None, None], jnp.asarray(pixel))
    dealt = [
        method.seen_counts(jnp.asarray(counts, jnp.float32), identity, split)
        for split in range(method.splits)
    ]
    for place in range(200):
        y, x = origin[place]
        candidates = [
            np.asarray(part)[frame[place], y : y + 16, x : x + 16]
            for part, share in dealt
            if share == pytest.approx(light[place, 0, 0])
        ]
        assert any(np.allclose(shown[place], one, atol=1e-2) for one in candidates)


def test_noise_of_what_is_shown_and_of_the_target_is_uncorrelated():
    frames, mean = 400, 3.0
    counts = np.random.default_rng(5).poisson(mean, (frames, 40, 64))
    method = Thinning(shares=((0.6, 0.6),), most=31, augment="none", neighbours=True)
    *_, batch, _ = placed(counts, method)
    pair = jax.jit(method.pair)(jax.random.key(2), batch)
    shown = np.asarray(pair.source[..., 4]) - mean / counts.mean()
    for side in (0, 1):
        target = np.asarray(pair.target[..., side]) - mean / counts.mean()
        correlation = (shown * target).mean() / (shown.std() * target.std())
        assert abs(correlation) < 4 / np.sqrt(shown.size)


@pytest.fixture
def long_scan(small_scan, tmp_path):
    """Options of a scan of 36 frames."""
    with np.load(small_scan) as file:
        np.savez(
            tmp_path / "long.npz", counts=np.tile(file["counts"], (6, 1, 1)), mask=file["mask"]
        )
    data = ("--data.path", "long.npz::counts", "--data.mask", "long.npz::mask")
    return ("--method", "thinning", *data, "--data.center", "17.5,14")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--thinning.variants", "0"), "expected --thinning.variants 1 or more, got 0"),
        (("--thinning.shares", "0.8,0.2"), "alike for own and partner, got 0.8,0.2"),
        (("--thinning.readout-noise", "2.0"), "expected whole photon counts"),
        (("--data.path", "long.npz::few"), "expected 32 frames or more, got 6"),
    ],
)
def test_components_are_refused_where_they_do_not_serve(smae, small, long_scan, options, message):
    with np.load("long.npz") as file:
        np.savez("long.npz", few=file["counts"][:6], counts=file["counts"], mask=file["mask"])
    asked = ("train", "--run", "r", *long_scan, *small)
    answer = smae(*asked, *SHOWN, *options)
    assert answer.status == 2
    assert message in answer.err
    assert answer.err.count("\n") == 1


def test_no_other_frame_is_shown_unless_asked_for(smae, small, long_scan):
    answer = smae("train", "--run", "r", *long_scan, *small)
    assert answer.status == 0, answer.err
    assert 'neighbours = "none"' in Path("r/config.toml").read_text()


@pytest.mark.slow
def test_a_long_scan_is_denoised_with_what_its_frames_have_in_common(smae, small, long_scan):
    asked = ("train", "--run", "r", *long_scan, *SHOWN, *small)
    answer = smae(*asked)
    assert answer.status == 0, answer.err
    assert 'neighbours = "scan"' in Path("r/config.toml").read_text()
    counts = np.load("long.npz")["counts"]
    np.save("all.npy", counts)
    np.save("few.npy", counts[:5])
    for name in ("all", "few"):
        answer = smae("infer", "--run", "r", "--input", f"{name}.npy", "--output", f"{name}_d.npy")
        assert answer.status == 0, answer.err
        assert ("the 5 here are denoised each by itself" in answer.out) == (name == "few")
    few, whole = np.load("few_d.npy"), np.load("all_d.npy")[:5]
    assert np.isfinite(few).any()
    assert not np.allclose(few, whole, equal_nan=True)


@pytest.mark.slow
def test_a_long_scan_has_error_bars_and_is_judged(smae, small, long_scan):
    assert smae("train", "--run", "r", *long_scan, *SHOWN, *small).status == 0
    np.save("all.npy", np.load("long.npz")["counts"])
    bars = smae("infer", "--run", "r", "--input", "all.npy", "--output", "s.h5", "--sigma")
    assert bars.status == 0, bars.err
    evaluated = smae("evaluate", "--run", "r", "--input", "all.npy", "--output", "report")
    assert evaluated.status == 0, evaluated.err


def test_a_fine_tuning_follows_its_base(smae, small, long_scan, small_scan):
    assert smae("train", "--run", "base", *long_scan, *SHOWN, *small).status == 0
    tuned = smae("train", "--run", "tuned", "--init-from", "base", *long_scan, *small)
    assert tuned.status == 0, tuned.err
    assert 'neighbours = "scan"' in Path("tuned/config.toml").read_text()
    assert "none starts at random" in tuned.out
    few = ("--data.path", f"{small_scan}::counts")
    refused = smae("train", "--run", "short", "--init-from", "base", *long_scan, *small, *few)
    assert refused.status == 2
    assert "expected 32 frames or more, got 6" in refused.err
    alone = ("--thinning.neighbours", "none")
    refused = smae("train", "--run", "alone", "--init-from", "base", *long_scan, *small, *alone)
    assert refused.status == 2
    assert "thinning.neighbours scan there, none here" in refused.err


@pytest.mark.slow
def test_a_killed_run_goes_on(smae, small, long_scan):
    steps = (*SHOWN, "--train.checkpoint-every", "2")
    assert smae("train", "--run", "r", *long_scan, *small, *steps, "--train.steps", "2").status == 0
    answer = smae("train", "--run", "r", *long_scan, *small, *steps, "--resume")
    assert answer.status == 0, answer.err
