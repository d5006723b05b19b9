"""Method `smae`: the published pairs, both directions, validity, and how views are put together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax import placing, symmetry
from smae_jax.canvas import centred_canvas
from smae_jax.measurements import Measurements
from smae_jax.methods.smae import Smae, assemble, join_halves, split_halves
from smae_jax.survey import frame_scales


def key():
    """A key of one's own for every use."""
    return jax.random.key(0)


def canvases(counts, valid=None, held_out=None, patch=0, scale=None, **options):
    counts = np.asarray(counts, np.float32)
    valid = np.ones((1, *counts.shape[1:]), bool) if valid is None else valid
    height, width = counts.shape[1:]
    shape = (min(patch, height, width // 2),) * 2 if patch else (height, width // 2)
    frames = np.arange(len(counts), dtype=np.int32)
    return placing.Placed(
        counts=np.where(valid, counts, 0).astype(np.float32)[:, None],
        exposure=valid.astype(np.float32),
        scale=np.ones(len(counts), np.float32) if scale is None else scale,
        held_out=np.zeros(counts.shape[1:], bool) if held_out is None else held_out,
        frames=frames,
        judges=frames,
        origins=placing.patch_origins(valid.mean(0), shape, region="half", **options),
        patch=shape,
        turned=True,
    )


def scaled(counts, rule):
    """Canvases whose scale is found by a rule."""
    ones = np.ones((1, *counts.shape[1:]), np.float32)
    return canvases(counts, scale=frame_scales(Measurements(counts, ones), rule=rule))


def whole_halves(data):
    """All left halves, then all right halves, as one batch."""
    frames = jnp.tile(jnp.arange(len(data.counts)), 2)
    left, right = 0, data.counts.shape[-1] - data.patch[1]
    origins = jnp.array([(0, left)] * len(data.counts) + [(0, right)] * len(data.counts))
    return placing.gather(jax.tree.map(jnp.asarray, data), frames, origins)


def whole(counts, valid):
    counts, exposure = jnp.asarray(counts), jnp.asarray(valid, jnp.float32)
    return placing.whole_batch(counts, exposure, jnp.ones(len(counts)), turned=True)


@pytest.fixture
def vectors(shared_data):
    with np.load(shared_data / "reference_vectors.npz", allow_pickle=False) as file:
        return {**file, "counts": file["counts"].astype(np.float32)}


@pytest.mark.parametrize("rule", ["frame_max", "stack_max"])
def test_reference_pairs_are_the_published_ones(vectors, rule):
    data = scaled(vectors["counts"], rule.replace("stack", "scan"))
    pair = jax.jit(Smae(augment="none", reference=True).pair)(key(), whole_halves(data))
    # The published left half is turned already; each half predicts the other. Ours come as the batch
    # does: first the pairs whose target lies on the left, in the frame's own orientation.
    turned_left, right = vectors[f"left_{rule}"], vectors[f"right_{rule}"]
    turned_right, left = (np.asarray(symmetry.rotate180(x)) for x in (right, turned_left))
    np.testing.assert_allclose(pair.source[..., 0], [*turned_right, *turned_left], atol=1e-7)
    np.testing.assert_allclose(pair.target[..., 0], [*left, *right], atol=1e-7)
    assert float(pair.weight.min()) == 1.0  # the published mean is over all pixels


def test_reference_flips_and_directions_are_the_published_ones(vectors):
    batch = whole_halves(scaled(vectors["counts"], "frame_max"))
    published = {
        (np.round(a, 5).tobytes(), np.round(b, 5).tobytes())
        for a, b in zip(vectors["augmented_source"], vectors["augmented_target"], strict=True)
    }
    drawn = set()
    draw = jax.jit(Smae(augment="flips", reference=True).pair)
    for i in range(40):
        pair = draw(jax.random.fold_in(key(), i), batch)
        source, target = (np.round(np.asarray(x[..., 0]), 5) for x in (pair.source, pair.target))
        drawn |= {(a.tobytes(), b.tobytes()) for a, b in zip(source, target, strict=True)}
    assert drawn == published


def test_a_zero_count_is_a_measurement():
    counts = np.ones((1, 8, 8))
    counts[0, 2, 6] = 0
    data = canvases(counts)
    pair = jax.jit(Smae(augment="none").pair)(key(), whole_halves(data))
    assert float(pair.weight.min()) == 1.0
    assert float(pair.source[..., 1].min()) == 1.0
    assert float(pair.target.min()) == 0.0


def test_weight_needs_source_and_target_and_eligibility():
    valid = np.ones((1, 8, 8), bool)
    valid[0, 1, 1] = False  # partner is (6, 6)
    held_out = np.zeros((8, 8), bool)
    held_out[3, 7] = held_out[4, 0] = True
    counts = np.arange(64.0).reshape(1, 8, 8)
    data = canvases(counts, valid, held_out)
    right = jax.jit(Smae(augment="none").pair)(key(), whole_halves(data))
    weight = np.asarray(right.weight[1, ..., 0])
    assert weight[6, 2] == 0  # its source (1, 1) is invalid
    assert weight[3, 3] == 0  # held out
    assert weight.sum() == 32 - 2
    left_weight = np.asarray(right.weight[0, ..., 0])
    assert left_weight[1, 1] == 0
    assert left_weight[4, 0] == 0


def test_invalid_pixels_reach_nothing():
    valid = np.ones((1, 8, 8), bool)
    valid[0, 2, 5] = False
    clean = np.arange(64.0).reshape(1, 8, 8)
    spoilt = clean.copy()
    spoilt[0, 2, 5] = np.nan
    made = []
    draw = jax.jit(Smae(augment="none").pair)
    for counts in (clean, spoilt):
        data = canvases(np.where(valid, counts, 0), valid)
        made.append(draw(key(), whole_halves(data)))
    for a, b in zip(jax.tree.leaves(made[0]), jax.tree.leaves(made[1]), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()


@pytest.mark.parametrize("width", [8, 9])
def test_halves_join_to_the_whole(width):
    x = jnp.arange(3 * 4 * width, dtype=jnp.float32).reshape(3, 4, width)
    np.testing.assert_array_equal(join_halves(*split_halves(x), width), x)


@pytest.mark.parametrize("width", [16, 17])
def test_source_and_target_of_a_patch_never_share_a_photon(width):
    """Every pixel carries its own number: source and target numbers must be disjoint."""
    counts = np.arange(1, 16 * width + 1, dtype=float).reshape(1, 16, width)
    data = canvases(counts, patch=6)
    data = jax.tree.map(jnp.asarray, data)
    draw, pair_of = jax.jit(placing.draw, static_argnames="batch_size"), jax.jit(Smae().pair)
    for i in range(20):
        pair = pair_of(key(), draw(jax.random.fold_in(key(), i), data, batch_size=8))
        for source, target in zip(pair.source[..., 0], pair.target[..., 0], strict=True):
            assert not np.intersect1d(source, target).size


def test_source_shows_the_partner_of_each_target():
    counts = np.arange(1, 257, dtype=float).reshape(1, 16, 16)
    data = canvases(counts, patch=6)
    data = jax.tree.map(jnp.asarray, data)
    draw = jax.jit(placing.draw, static_argnames="batch_size")
    pair = jax.jit(Smae().pair)(key(), draw(key(), data, batch_size=16))
    np.testing.assert_array_equal(pair.source[..., 0] + pair.target[..., 0], 257.0)


RULES = ["direct", "cross", "average"]


def brighten(source):
    """A stand-in for a network that keeps what it sees, and knows when it sees nothing."""
    return source[..., :1] * 2.0


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("reference", [False, True])
def test_a_bright_spot_stays_where_it_is(rule, reference):
    """One bright off-centre spot: the published program gave it back turned by 180 degrees."""
    counts = np.ones((1, 12, 16), np.float32)
    counts[0, 2, 3] = 50.0
    batch = whole(counts, np.ones((1, 12, 16), bool))
    result = np.asarray(Smae(rule=rule, reference=reference).denoise(brighten, batch).counts)[0]
    spots = {tuple(int(i) for i in p) for p in np.argwhere(result > 10)}
    expected = {"direct": {(2, 3)}, "cross": {(9, 12)}, "average": {(2, 3), (9, 12)}}[rule]
    assert spots == expected


@pytest.mark.parametrize("rule", RULES)
def test_masked_pixels_are_filled_from_their_partner(rule):
    valid = np.ones((1, 6, 6), bool)
    valid[0, 1, 1] = False  # partner (4, 4) is valid
    valid[0, 2, 3] = valid[0, 3, 2] = False  # a pair without any measurement
    counts = np.where(valid, np.arange(1.0, 37).reshape(1, 6, 6), 0).astype(np.float32)
    batch = whole(counts, valid)
    result = Smae(rule=rule).denoise(brighten, batch)
    assert result.filled[0, 1, 1]
    assert not result.filled[0, 4, 4]
    assert float(result.counts[0, 1, 1]) == 2 * counts[0, 4, 4]
    assert float(result.counts[0, 4, 4]) == 2 * counts[0, 4, 4]  # not averaged with a masked side
    assert np.isnan(result.counts[0, 2, 3])
    assert np.isnan(result.counts[0, 3, 2])
    assert int((~np.asarray(result.known)).sum()) == 2


def test_average_is_between_the_two_views():
    own = jnp.arange(16.0).reshape(1, 4, 4)
    seen = jnp.ones((1, 4, 4), bool)
    value, known = assemble(own, seen, seen, rule="average")
    np.testing.assert_allclose(value, 7.5)
    assert bool(known.all())


def test_canvas_puts_the_centre_in_the_middle_and_back():
    frame = np.arange(1.0, 43).reshape(6, 7)
    for center in [(2.5, 3.0), (1.0, 4.5), (5.0, 0.0)]:
        canvas = centred_canvas((6, 7), center)
        on = canvas.embed(frame)
        turned = on[::-1, ::-1]
        y, x = 2, 4
        partner = (int(2 * center[0] - y), int(2 * center[1] - x))
        row, column = y + canvas.origin[0], x + canvas.origin[1]
        inside = 0 <= partner[0] < 6 and 0 <= partner[1] < 7
        assert turned[row, column] == (frame[partner] if inside else 0)
        np.testing.assert_array_equal(canvas.off(jnp.asarray(on), 0), frame)


def test_common_canvas_holds_only_pixels_with_a_partner():
    canvas = centred_canvas((6, 7), (1.0, 4.5), extent="common")
    assert canvas.shape == (3, 4)
    assert canvas.embed(np.ones((6, 7))).all()


@pytest.mark.parametrize("center", [(2.3, 3.0), (-1.0, 2.0), (2.0, 9.0)])
def test_a_centre_off_the_frame_or_the_half_pixel_grid_is_refused(center):
    with pytest.raises(ValueError, match="center"):
        centred_canvas((6, 7), center)


def test_crop_limits_the_canvas_about_the_centre():
    canvas = centred_canvas((40, 50), (20.5, 24.0), crop=16)
    assert canvas.shape == (16, 15)
    frame = np.arange(2000.0).reshape(40, 50)
    np.testing.assert_array_equal(canvas.embed(frame), frame[13:29, 17:32])


def test_host_and_device_gather_alike():
    rng = np.random.default_rng(0)
    valid = rng.random((1, 20, 31)) < 0.9
    data = canvases(rng.poisson(3.0, (4, 20, 31)), valid, patch=8)
    on_device = jax.tree.map(jnp.asarray, data)
    places = placing.draw_places(key(), on_device, batch_size=6)
    a = placing.gather(on_device, *places)
    b = placing.gather(data, *map(np.asarray, places), cut=placing.cut_on_host)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_held_out_pixels_come_in_pairs():
    held = placing.held_out_pixels((31, 40), share=0.1, seed=3)
    assert (held == held[::-1, ::-1]).all()
    assert 0.06 < held.mean() < 0.14


def test_patches_avoid_what_has_no_partner():
    valid = np.ones((1, 20, 40), bool)
    valid[0, :, :10] = False  # so the right quarter has no partner either
    data = canvases(np.ones((1, 20, 40)), valid, patch=8, least=0.99)
    assert data.origins[:, 1].min() >= 10
    assert data.origins[:, 1].max() + data.patch[1] <= 30


def test_a_mask_without_pairs_is_refused():
    valid = np.zeros((1, 20, 40), bool)
    valid[0, :, :20] = True
    with pytest.raises(ValueError, match="partner"):
        canvases(np.ones((1, 20, 40)), valid, patch=8)
