"""Method `zero_shot`: photons on two diagonals, masks and exposures respected, nothing moved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax.methods import Batch
from smae_jax.methods.zero_shot import ZeroShot, diagonals
from smae_jax.placing import whole_batch


def key():
    """A key of one's own for every use."""
    return jax.random.key(0)


def batch_of(counts, valid=None, scale=1.0):
    counts = jnp.asarray(counts, jnp.float32)
    exposure = jnp.ones(counts.shape) if valid is None else jnp.asarray(valid, jnp.float32)
    return whole_batch(counts, exposure, jnp.full(len(counts), scale), turned=True)


def with_eligible(batch, eligible):
    return Batch(**{**vars(batch), "eligible": jnp.asarray(eligible, jnp.float32)})


def own_digit(height, width):
    """Powers of two: a sum tells which pixels are in it."""
    return 2.0 ** np.arange(height * width).reshape(1, height, width)


def pixels_in(total):
    """The pixels whose powers of two add up to each of the totals."""
    return {bit for value in np.ravel(total) for bit in range(40) if round(value) >> bit & 1}


@pytest.mark.parametrize("shape", [(4, 5), (3, 6), (2, 2), (5, 3)])
def test_source_and_target_never_share_a_photon(shape):
    """Bits are exact in float32 sums of two, whatever the size: 2 ** 19 + 1 still is."""
    batch = batch_of(own_digit(*shape))
    seen = set()
    draw = jax.jit(ZeroShot(augment="none").pair)
    for i in range(10):
        pair = draw(jax.random.fold_in(key(), i), batch)
        source = pixels_in(pair.source[..., 0] * 2 * pair.source[..., 1])
        target = pixels_in(pair.target * 2 * pair.weight)
        assert not source & target
        assert source | target == set(range(shape[0] * shape[1]))
        seen.add(tuple(sorted(source)))
    assert len(seen) == 2  # both directions occur


def test_pairs_are_the_diagonals_of_blocks():
    x = jnp.arange(1.0, 9).reshape(2, 4)  # 1 2 3 4 / 5 6 7 8
    main, other = diagonals(x)
    np.testing.assert_array_equal(main, [[1 + 6, 3 + 8]])
    np.testing.assert_array_equal(other, [[2 + 5, 4 + 7]])


def test_the_two_diagonals_of_a_plane_agree():
    """Their middles coincide, so a gradient makes no difference between source and target."""
    y, x = np.mgrid[:12, :15]
    plane = (100 + 3.0 * y + 2.0 * x)[None, :, :14]
    pair = jax.jit(ZeroShot(augment="d4").pair)(key(), batch_of(plane[..., :12]))
    np.testing.assert_allclose(pair.source[..., 0], pair.target[..., 0], rtol=1e-6)


def test_counts_are_divided_by_exposures():
    """A diagonal of which one pixel is masked has that pixel's rate and half the weight."""
    counts = np.array([[[8.0, 6.0], [4.0, 2.0]]])
    valid = np.array([[[True, True], [False, True]]])
    draw = jax.jit(ZeroShot(augment="none").pair)
    for i in range(10):
        pair = draw(jax.random.fold_in(key(), i), batch_of(counts, valid, 2.0))
        sides = {
            (float(pair.source[0, 0, 0, 0]), float(pair.source[0, 0, 0, 1])),
            (float(pair.target[0, 0, 0, 0]), float(pair.weight[0, 0, 0, 0])),
        }
        assert sides == {((8 + 2) / 2 / 2.0, 1.0), (6 / 2.0, 0.5)}


def test_source_is_unbiased_and_half_as_noisy():
    rng = np.random.default_rng(0)
    pair = jax.jit(ZeroShot().pair)(key(), batch_of(rng.poisson(5.0, (4, 64, 64))))
    for values in (pair.source[..., 0], pair.target[..., 0]):
        assert float(values.mean()) == pytest.approx(5.0, abs=0.1)
        assert float(values.var()) == pytest.approx(2.5, abs=0.15)
    errors = np.asarray(pair.source[..., 0] - 5.0) * np.asarray(pair.target[..., 0] - 5.0)
    assert abs(errors.mean()) < 4 * 2.5 / np.sqrt(errors.size)


@pytest.mark.parametrize("shape", [(8, 8), (9, 9), (7, 12)])
def test_invalid_pixels_reach_nothing(shape):
    valid = np.ones((1, *shape), bool)
    valid[0, 2, 5] = False
    clean = np.arange(1.0, valid.size + 1).reshape(valid.shape)
    spoilt = np.where(valid, clean, np.nan)
    group = "d4" if shape[0] == shape[1] else "flips"
    batch = batch_of(clean, valid)
    dirty = Batch(**{**vars(batch), "counts": jnp.asarray(spoilt, jnp.float32)})
    draw = jax.jit(ZeroShot(augment=group).pair)
    pairs = [draw(key(), b) for b in (batch, dirty)]
    for a, b in zip(*map(jax.tree.leaves, pairs), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()
    total = (
        pairs[0].source[..., 0] * pairs[0].source[..., 1]
        + pairs[0].target[..., 0] * pairs[0].weight[..., 0]
    )
    assert float(2 * total.sum()) == pytest.approx(clean[valid].sum())


def test_a_block_without_measurement_has_no_weight():
    valid = np.ones((1, 4, 4), bool)
    valid[0, :2, :2] = False
    pair = jax.jit(ZeroShot(augment="none").pair)(key(), batch_of(np.ones((1, 4, 4)), valid))
    assert float(pair.weight[0, 0, 0, 0]) == 0
    assert float(pair.source[0, 0, 0, 1]) == 0
    assert float(pair.weight.sum()) == 3


def test_held_out_pixels_are_no_targets():
    counts = own_digit(4, 5)
    eligible = np.ones((1, 4, 5))
    eligible[0, 1, 2] = eligible[0, 2, 2] = 0
    held_out = {7, 12}
    draw = jax.jit(ZeroShot(augment="none").pair)
    for keep, forbidden in ((eligible, held_out), (1 - eligible, set(range(20)) - held_out)):
        used = set()
        for i in range(10):
            batch = with_eligible(batch_of(counts), keep)
            pair = draw(jax.random.fold_in(key(), i), batch)
            used |= pixels_in(pair.target * 2 * pair.weight)
        assert used
        assert not used & forbidden


@pytest.mark.parametrize("shape", [(12, 16), (11, 17)])
def test_a_bright_spot_stays_where_it_is(shape):
    counts = np.ones((1, *shape), np.float32)
    counts[0, 2, 3] = 50.0
    batch = batch_of(counts, scale=3.0)
    result = ZeroShot().denoise(lambda source: source[..., :1] * 2.0, batch)
    assert np.argwhere(np.asarray(result.counts[0]) > 10).tolist() == [[2, 3]]
    assert float(result.counts[0, 2, 3]) == pytest.approx(100.0)


def test_a_masked_pixel_has_no_answer():
    valid = np.ones((1, 7, 9), bool)
    valid[0, 1, 1] = False
    batch = batch_of(np.where(valid, 4.0, np.nan), valid)
    result = ZeroShot().denoise(lambda source: source[..., :1], batch)
    assert np.isnan(result.counts[0, 1, 1])
    assert int((~result.known).sum()) == 1
    assert not bool(result.filled.any())


@pytest.mark.slow
def test_a_single_frame_trains_and_is_denoised_from_the_command_line(smae, small, small_scan):
    with np.load(small_scan) as file:
        frame, bad = file["counts"][2:3], file["mask"]
    np.savez("one.npz", counts=frame, mask=bad)
    data = ("--data.path", "one.npz::counts", "--data.mask", "one.npz::mask")
    train = ("train", "--run", "run", *data, "--data.center", "17.5,14", *small)
    assert smae(*train, "--method", "zero_shot", "--train.patch", 25).status == 0
    assert (
        smae("infer", "--run", "run", "--input", "one.npz::counts", "--output", "out.npy").status
        == 0
    )
    denoised = np.load("out.npy")
    assert (np.isnan(denoised[0]) == bad).all()
    assert denoised[0][~bad].sum() == pytest.approx(frame[0][~bad].sum(), rel=1e-4)
