"""Method `masked`: hidden photons stay hidden, every pixel is predicted blind, and where it stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax.methods import Batch
from smae_jax.methods.masked import Masked, draw_hidden, hidden_views
from smae_jax.placing import whole_batch


def key():
    """A key of one's own for every use."""
    return jax.random.key(0)


def batch_of(counts, valid=None, scale=1.0):
    counts = jnp.asarray(counts, jnp.float32)
    exposure = jnp.ones(counts.shape) if valid is None else jnp.asarray(valid, jnp.float32)
    return whole_batch(counts, exposure, jnp.full(len(counts), scale), turned=True)


def numbered(frames=3, height=19, width=22):
    """Every pixel of every frame carries a number of its own."""
    return np.arange(1.0, frames * height * width + 1).reshape(frames, height, width)


def see_nothing_of_itself(source):
    """A stand-in for a network: the rate that it is given, as it is."""
    return source[..., :1]


@pytest.mark.parametrize("share", [0.2, 0.75])
def test_source_and_target_never_share_a_photon(share):
    batch = batch_of(numbered())
    draw = jax.jit(Masked(block=3, share=share, augment="flips").pair)
    for i in range(3):
        pair = draw(jax.random.fold_in(key(), i), batch)
        for k in range(3):
            source, target = (np.asarray(x[k, ..., 0]) for x in (pair.source, pair.target))
            assert not np.intersect1d(source[source > 0], target[target > 0]).size
            # what is not hidden is shown: together they are the frame
            np.testing.assert_array_equal(
                np.sort((source + target).ravel()), batch.counts[k].ravel()
            )
            np.testing.assert_array_equal(pair.source[k, ..., 1] > 0, source > 0)
            np.testing.assert_array_equal(pair.weight[k, ..., 0] > 0, target > 0)


def test_blocks_are_hidden_whole_and_anywhere():
    starts = set()
    for one in jax.random.split(key(), 20):
        hidden = np.asarray(draw_hidden(one, (16, 21), block=4, share=0.5))
        changes = 1 + np.flatnonzero((hidden[1:] != hidden[:-1]).any(axis=1))
        assert len({int(c) % 4 for c in changes}) == 1  # rows change at the steps of one grid
        starts.add(int(changes[0]) % 4)
    assert starts == {0, 1, 2, 3}


@pytest.mark.parametrize("share", [0.15, 0.5, 0.75])
def test_the_share_is_hidden(share):
    keys = jax.random.split(key(), 100)
    hidden = jax.vmap(lambda k: draw_hidden(k, (40, 33), block=4, share=share))(keys)
    assert float(hidden.mean()) == pytest.approx(share, abs=0.02)
    examples = np.asarray(hidden)
    assert (examples[0] != examples[1]).any()


@pytest.mark.parametrize(("share", "views"), [(0.25, 4), (0.5, 2), (0.75, 4), (0.34, 3)])
@pytest.mark.parametrize("shape", [(16, 16), (17, 23)])
def test_views_hide_every_pixel_equally_often(share, views, shape):
    hidden = hidden_views(shape, block=4, share=share)
    assert hidden.shape == (views, *shape)
    times = hidden.sum(axis=0)
    assert times.min() == times.max() == (1 if share <= 0.5 else views - 1)
    assert times.max() / views == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_no_pixel_is_predicted_from_its_own_photons(share):
    """A network that gives back what it sees knows nothing of a pixel that is hidden from it."""
    result = Masked(share=share).denoise(see_nothing_of_itself, batch_of(numbered()))
    assert float(jnp.abs(result.counts).max()) == 0


def test_a_bright_spot_stays_where_it_is():
    counts = np.ones((1, 21, 26), np.float32)
    counts[0, 3, 5] = 400.0

    def surroundings(source):
        """Sum over 9 x 9 pixels: wider than a block, so that the spot is seen beside it."""
        ones = jnp.ones((9, 9, 1, 1))
        return jax.lax.conv_general_dilated(
            source[..., :1], ones, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    result = np.asarray(Masked(block=1, share=0.25).denoise(surroundings, batch_of(counts)).counts)
    y, x = np.argwhere(result[0] > 100).mean(axis=0)
    assert (y, x) == pytest.approx((3.3, 5.0), abs=0.6)  # the upper border cuts a row off
    assert result[0, 3, 5] < 100  # not from itself


def test_prediction_is_put_back_in_counts():
    batch = batch_of(numbered(frames=2), scale=7.0)
    result = Masked().denoise(lambda source: jnp.full_like(source[..., :1], 3.0), batch)
    np.testing.assert_allclose(result.counts, 21.0, rtol=1e-6)
    assert bool(result.known.all())
    assert not bool(result.filled.any())


def test_invalid_pixels_reach_nothing():
    valid = np.ones((2, 17, 19), bool)
    valid[:, 4, 7] = False
    clean = numbered(2, 17, 19)
    spoilt = np.where(valid, clean, np.nan)
    method = Masked(augment="none")
    draw = jax.jit(method.pair)
    pairs = [draw(key(), batch_of(counts, valid)) for counts in (clean, spoilt)]
    for a, b in zip(*map(jax.tree.leaves, pairs), strict=True):
        np.testing.assert_array_equal(a, b)
    assert float(jnp.abs(pairs[0].weight[:, 4, 7]).max()) == 0
    assert float(jnp.abs(pairs[0].source[:, 4, 7]).max()) == 0
    result = method.denoise(see_nothing_of_itself, batch_of(clean, valid))
    assert not bool(result.known[:, 4, 7].any())
    assert bool(jnp.isnan(result.counts[:, 4, 7]).all())
    assert int((~result.known).sum()) == 2


def test_held_out_pixels_are_no_targets():
    batch = batch_of(numbered())
    eligible = (np.random.default_rng(0).random(batch.counts.shape) < 0.7).astype(np.float32)
    batch = Batch(**{**vars(batch), "eligible": jnp.asarray(eligible)})
    pair = jax.jit(Masked(augment="d4").pair)(key(), Batch(**{**vars(batch), **_square(batch)}))
    held_out = np.asarray(_square(batch)["counts"])[np.asarray(_square(batch)["eligible"]) == 0]
    used = np.asarray(pair.target)[np.asarray(pair.weight) > 0]
    assert used.size > 100
    assert not np.intersect1d(used, held_out).size


def _square(batch):
    return {
        name: value[:, :19, :19]
        for name, value in vars(batch).items()
        if getattr(value, "ndim", 0) == 3
    }


@pytest.mark.slow
def test_trains_and_denoises_from_the_command_line(smae, small, small_scan):
    data = ("--data.path", f"{small_scan}::counts", "--data.mask", f"{small_scan}::mask")
    train = ("train", "--run", "run", *data, "--data.center", "17.5,14", *small)
    assert smae(*train, "--method", "masked", "--masked.share", 0.75).status == 0
    infer = ("infer", "--run", "run", "--input", f"{small_scan}::counts", "--output", "out.npy")
    assert smae(*infer).status == 0
    with np.load(small_scan) as file:
        counts, bad = file["counts"], file["mask"]
    denoised = np.load("out.npy")
    assert (np.isnan(denoised) == bad).all()
    np.testing.assert_allclose(denoised[:, ~bad].sum(1), counts[:, ~bad].sum(1), rtol=1e-4)
    answer = smae(*infer, "--overwrite", "--rule", "cross")
    assert answer.status == 2
    assert "--rule" in answer.err


@pytest.mark.parametrize("share", [0, 1])
def test_a_share_that_hides_nothing_or_all_is_refused(share, smae):
    answer = smae("train", "--method", "masked", "--masked.share", share)
    assert answer.status == 2
    assert "--masked.share" in answer.err
