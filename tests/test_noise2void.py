"""Blind spots: what is hidden, by what, and in how many dimensions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax.methods.noise2void import Noise2Void, neighbours, widened
from smae_jax.methods.protocol import Batch


def key():
    """A key of one's own for every use."""
    return jax.random.key(4)


def batch_of(counts, exposure=None, eligible=None):
    counts = jnp.asarray(counts, jnp.float32)
    ones = jnp.ones_like(counts)
    return Batch(
        counts=counts,
        exposure=ones if exposure is None else jnp.asarray(exposure, jnp.float32),
        partner_counts=0 * ones,
        partner_exposure=0 * ones,
        scale=jnp.full(len(counts), 2.0),
        eligible=ones if eligible is None else jnp.asarray(eligible, jnp.float32),
    )


@pytest.mark.parametrize("shape", [(2, 400), (2, 20, 21), (1, 8, 9, 7)])
def test_targets_are_hidden_and_nothing_else(shape):
    counts = 1 + np.arange(np.prod(shape), dtype=np.float32).reshape(shape)  # no two alike
    pair = jax.jit(Noise2Void(share=0.1, augment="none").pair)(key(), batch_of(counts))
    changed = np.asarray(pair.source[..., 0] * 2 != counts)
    target = np.asarray(pair.weight[..., 0] > 0)
    np.testing.assert_array_equal(changed, target)
    assert 0.03 < target.mean() < 0.2
    np.testing.assert_allclose(np.asarray(pair.target[..., 0])[target] * 2, counts[target])


@pytest.mark.parametrize("spatial", [(30,), (12, 9)])
def test_neighbours_are_near_and_never_the_point_itself(spatial):
    places = neighbours(key(), (5, *spatial), radius=2)
    here = np.indices(spatial)[:, None]
    distance = np.stack([np.abs(p - h) for p, h in zip(places, here, strict=True)])
    assert distance.max() == 2
    assert (distance.max(axis=0) > 0).all()
    for place, size in zip(places, spatial, strict=True):
        assert int(place.min()) >= 0
        assert int(place.max()) < size


def test_a_structured_mask_hides_the_row_but_only_its_middle_is_a_target():
    counts = 1 + np.arange(3 * 15 * 31, dtype=np.float32).reshape(3, 15, 31)
    method = Noise2Void(share=0.01, radius=3, structure=(0, 4), augment="none")
    pair = jax.jit(method.pair)(key(), batch_of(counts))
    target = np.asarray(pair.weight[..., 0] > 0)
    assert target.any()
    hidden = np.asarray(pair.source[..., 0] * 2 != counts)
    for frame, y, x in np.argwhere(target):
        assert hidden[frame, y, max(0, x - 4) : x + 5].all()
    assert hidden.sum() > 4 * target.sum()
    # What stands in for a target comes from beyond the correlated stretch.
    source = np.asarray(pair.source[..., 0] * 2)
    for frame, y, x in np.argwhere(target):
        if 7 < x < 23:
            at = np.argwhere(counts[frame] == source[frame, y, x])[0]
            assert abs(at[1] - x) > 4


def test_widening_reaches_so_far_and_no_further():
    points = jnp.zeros((1, 5, 12), bool).at[0, 2, 4].set(True)
    wide = np.asarray(widened(points, (1, 3)))[0]
    expected = np.zeros((5, 12), bool)
    expected[1:4, 1:8] = True
    np.testing.assert_array_equal(wide, expected)


def test_gaps_and_held_out_points_are_no_targets_and_gaps_stay_gaps():
    counts = np.full((1, 200), 5.0)
    exposure, eligible = np.ones((1, 200)), np.ones((1, 200))
    exposure[0, :50] = counts[0, :50] = 0
    eligible[0, 100:] = 0
    method = Noise2Void(share=0.5, augment="none")
    pair = jax.jit(method.pair)(key(), batch_of(counts, exposure, eligible))
    weight = np.asarray(pair.weight[0, :, 0])
    assert weight[:50].sum() == weight[100:].sum() == 0
    assert weight[50:100].sum() > 5
    seen = np.asarray(pair.source[0, :, 1]) > 0
    np.testing.assert_allclose(np.asarray(pair.source[0, :, 0])[seen], 2.5)


def test_answers_are_counts_where_there_is_a_measurement():
    counts = np.arange(12, dtype=np.float32).reshape(1, 12)
    exposure = np.ones((1, 12))
    exposure[0, 3] = 0
    answer = Noise2Void().denoise(lambda source: source[..., :1], batch_of(counts, exposure))
    expected = np.where(np.arange(12) == 3, np.nan, counts[0])
    np.testing.assert_allclose(answer.counts[0], expected)


@pytest.mark.slow
def test_scans_about_a_beam_centre_train_as_with_any_method(smae, small_scan, small, tmp_path):
    data = ("--data.path", f"{small_scan}::counts", "--data.mask", f"{small_scan}::mask")
    arguments = (*data, "--data.center", "17.5,14", *small, "--train.steps", 2)
    answer = smae("train", "--run", tmp_path / "run", "--method", "noise2void", *arguments)
    assert answer.status == 0, answer.err
    output = tmp_path / "out.npy"
    answer = smae(
        "infer", "--run", tmp_path / "run", "--input", f"{small_scan}::counts", "--output", output
    )
    assert answer.status == 0, answer.err
    assert np.load(output).shape == (6, 34, 30)
