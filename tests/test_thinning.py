"""Thinning: no photon is source and target, nothing is lost, and what the symmetry says comes back."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax import models, placing, training
from smae_jax.geometry import Center
from smae_jax.losses import poisson
from smae_jax.measurements import Measurements
from smae_jax.methods import Batch, Smae, Thinning
from smae_jax.methods.thinning import hide_bands, share_to_hide
from smae_jax.placing import whole_batch
from smae_jax.registration import displace

MIXTURE = ((0.8, 0.8), (1.0, 0.0), (0.5, 0.5))


def canvases(counts, valid=None, *, size, origins=None):
    frames, height, width = counts.shape
    valid = np.ones((1, height, width), bool) if valid is None else valid
    origins = [[0, 0], [2, 0], [1, width // 2]] if origins is None else origins
    return placing.Placed(
        counts=jnp.asarray(counts, jnp.float32)[:, None],
        exposure=jnp.asarray(valid, jnp.float32),
        scale=jnp.ones(frames),
        held_out=jnp.zeros((height, width), bool),
        frames=jnp.arange(frames),
        judges=jnp.arange(frames),
        origins=jnp.asarray(origins),
        patch=(size, size) if isinstance(size, int) else size,
        turned=True,
    )


def patches(counts, *, size, number, seed=0, valid=None):
    draw = jax.jit(placing.draw, static_argnames="batch_size")
    return draw(jax.random.key(seed), canvases(counts, valid, size=size), batch_size=number)


def whole(counts, valid, scale):
    return placing.whole_batch(counts, valid.astype(jnp.float32), scale, turned=True)


def paired(method, seed, batch):
    """The pair of a method; compiled at once, which is much faster than operation by operation."""
    return jax.jit(method.pair)(jax.random.key(seed), batch)


def counted(part, weight):
    """Counts behind rates."""
    return np.asarray(part * weight)


@pytest.mark.parametrize("partner", ["channel", "none"])
def test_every_photon_is_source_or_target_once(partner):
    counts = np.random.default_rng(0).poisson(5.0, (3, 10, 16))
    batch = patches(counts, size=8, number=6)
    method = Thinning(partner=partner, shares=MIXTURE, most=int(counts.max()))
    pair = paired(method, 1, batch)
    source = counted(pair.source[..., ::2], pair.source[..., 1::2]).sum(axis=(1, 2, 3))
    target = counted(pair.target, pair.weight).sum(axis=(1, 2, 3))
    both = batch.counts.sum(axis=(1, 2))
    if partner != "none":
        both += batch.partner_counts.sum(axis=(1, 2))
    np.testing.assert_allclose(source + target, both, rtol=1e-5)
    light = pair.source[..., 1::2].sum(axis=-1) + pair.weight.sum(axis=-1)
    np.testing.assert_allclose(light, 1.0 if partner == "none" else 2.0, rtol=1e-6)


def test_smae_is_a_corner():
    """All of one side, without a split, predicts all of the other."""
    counts = np.random.default_rng(1).poisson(2.0, (2, 10, 16))
    batch = patches(counts, size=8, number=4)
    pair = paired(Thinning(shares=((0.0, 1.0),), augment="none", most=20), 0, batch)
    np.testing.assert_array_equal(pair.source[..., 1], 0)
    np.testing.assert_array_equal(pair.source[..., 2], batch.partner_counts)
    np.testing.assert_array_equal(pair.target[..., 0], batch.counts)
    np.testing.assert_array_equal(pair.weight[..., 0], 1)
    np.testing.assert_array_equal(pair.weight[..., 1], 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shares", "origins"),
    [
        (((0.8, 0.8),), [[0, 0], [0, 12]]),
        (((1.0, 0.0),), [[0, 0], [0, 12]]),
        (MIXTURE, [[0, 0], [0, 12]]),
        (((0.8, 0.8), (0.4, 0.4)), [[0, 6], [0, 9]]),
    ],
)
def test_source_and_target_noise_are_uncorrelated_at_every_offset(shares, origins):
    """On the canvas, the turned positions and the patches at and across the centre line included."""
    height, width, size, mean = 12, 24, 12, 2.0
    counts = np.random.default_rng(2).poisson(mean, (600, height, width))
    data = canvases(counts, size=size, origins=origins)
    crosses = any(x < width // 2 < x + size for _, x in origins)
    method = Thinning(shares=shares, augment="none", most=int(counts.max()), across=crosses)
    assert method.region == ("across" if crosses else "half")
    frames = np.repeat(np.arange(600), 2)
    batch = placing.gather(data, jnp.asarray(frames), data.origins[np.tile([0, 1], 600)])
    pair = paired(method, 3, batch)

    def noise(counts, light):
        """Deviations on the canvas of each patch: own where it lies, partner at the turned place."""
        z = np.asarray(counts - mean * light)
        canvas = np.zeros((len(z), height, width))
        for which, (_, x) in enumerate(origins):
            canvas[which::2, :, x : x + size] += z[which::2, ..., 0]
            turned = width - size - x
            canvas[which::2, :, turned : turned + size] += z[which::2, ::-1, ::-1, 1]
        return np.pad(canvas, ((0, 0), (0, height), (0, width)))

    source = noise(pair.source[..., ::2] * pair.source[..., 1::2], pair.source[..., 1::2])
    target = noise(pair.target * pair.weight, pair.weight)
    for turned in (target, target[:, ::-1, ::-1]):
        transforms = np.fft.rfft2(source), np.fft.rfft2(turned).conj()
        each = np.fft.irfft2(transforms[0] * transforms[1], s=source.shape[1:])
        error = each.std(axis=0) / np.sqrt(len(each))
        sigmas = each.mean(axis=0) / np.where(error > 0, error, np.inf)
        assert np.abs(sigmas).max() < 5.5


def test_a_patch_across_the_centre_shows_no_photon_of_its_target():
    """Both appearances of a photon are dealt alike; where they are not, patches keep off the centre."""
    counts = np.random.default_rng(4).poisson(5.0, (3, 11, 15))
    data = canvases(counts, size=(11, 15))
    batch = placing.gather(data, jnp.arange(3), jnp.zeros((3, 2), jnp.int32))
    equal = {"shares": ((0.5, 0.5),), "augment": "none", "across": True}
    method = Thinning(most=int(counts.max()), **equal)
    pair = paired(method, 0, batch)
    seen = counted(pair.source[..., 0], pair.source[..., 1])
    rest = counted(pair.target[..., 0], pair.weight[..., 0])
    turned = counted(pair.source[..., 2], pair.source[..., 3])
    np.testing.assert_array_equal(turned, seen[:, ::-1, ::-1])
    np.testing.assert_array_equal(seen + rest, counts)
    assert method.region == "across"
    whole_scan = Measurements(
        counts.astype(np.int32), np.ones((1, 11, 15), np.float32), Center.given((5.0, 7.0))
    )
    for unlike in ({"shares": ((0.8, 0.7),)}, {"variants": 0}, {"gaussian": (2.0, 0.0)}):
        said = []
        settled = dataclasses.replace(method, partner="channel", **unlike).settled(
            whole_scan, say=said.append
        )
        assert settled.region == "half"
        assert "patches within half-planes" in "".join(said)


class Leaky(Thinning):
    """Two appearances of one photon split apart: what must be noticed."""

    def pair(self, key, batch):
        other = jax.random.fold_in(key, 1)
        seen, rest = super().pair(key, batch), super().pair(other, batch)
        return dataclasses.replace(seen, target=rest.target, weight=rest.weight)


@pytest.mark.slow
@pytest.mark.parametrize("method", [Thinning, Leaky])
def test_a_flat_field_gives_no_gain_over_the_known_rate(method):
    """No prediction beats the true rate on independent noise; a leak does."""
    rate = 1.0
    counts = np.random.default_rng(5).poisson(rate, (64, 16, 32))
    thinning = method(
        shares=((0.6, 0.6),),
        augment="none",
        most=int(counts.max()),
        variants=0 if method is Leaky else 1,
        across=method is not Leaky,
    )
    data = canvases(counts, size=16, origins=[[0, 0], [0, 8], [0, 16]])
    measurements = thinning.source_channels // 2
    module = models.build("unet", widths=(8,), blocks=0, measurements=measurements, outputs=2)
    apply = models.apply_of(module)
    optimizer = training.make_optimizer("adam", lambda step: 1e-2)
    step = training.make_step(module, thinning, poisson, optimizer, average_decay=0.9)
    one = jax.jit(step)

    @jax.jit
    def drawn(key):
        return placing.draw(key, data, batch_size=32)

    key = jax.random.key(0)
    state = step.begin(key, (16, 16))
    for number in range(80):
        draw_key, pair_key = training.step_keys(key, jnp.asarray(number))
        state, _ = one(state, pair_key, drawn(draw_key))

    @jax.jit
    def gain(key):
        draw_key, pair_key = jax.random.split(key)
        pair = thinning.pair(pair_key, drawn(draw_key))
        of_truth = poisson(jnp.full_like(pair.target, rate), pair.target, pair.weight)
        return of_truth - poisson(apply(state.average, pair.source), pair.target, pair.weight)

    gains = np.array([gain(jax.random.fold_in(key, 1000 + k)) for k in range(40)])
    sigmas = gains.mean() / (gains.std() / np.sqrt(len(gains)))
    # The field itself was seen in training: its mean may be known a little better than 1.
    assert (sigmas > 10) if method is Leaky else (gains.mean() < 2e-3)


def test_a_pixel_is_split_alike_wherever_it_is_met():
    """In two overlapping patches, and as its partner's partner in the patch of the other half."""
    counts = np.random.default_rng(10).poisson(20.0, (2, 12, 24))
    origins = jnp.asarray([[0, 0], [2, 3], [2, 14]])  # the third is the first, turned
    batch = jax.jit(placing.gather)(canvases(counts, size=10), jnp.ones(3, jnp.int32), origins)
    method = Thinning(shares=((0.5, 0.5),), augment="none", most=63, variants=1)
    own, _, partner, _ = np.moveaxis(np.asarray(paired(method, 0, batch).source), -1, 0)
    np.testing.assert_array_equal(own[0][2:, 3:], own[1][:-2, :-3])
    np.testing.assert_array_equal(own[0], partner[2][::-1, ::-1])
    assert 0.3 < own[0].sum() * 0.5 / counts[1, :10, :10].sum() < 0.7
    many = Thinning(shares=((0.5, 0.5),), augment="none", most=63, variants=50)
    other = np.asarray(paired(many, 1, batch).source)[..., 0]
    assert (other[0] != own[0]).mean() > 0.5


def test_masked_pixels_say_nothing():
    counts = np.random.default_rng(6).poisson(4.0, (2, 10, 16))
    valid = np.ones((1, 10, 16), bool)
    valid[:, :, 2:5] = False
    spoiled = np.where(valid, counts, 1000)
    for dirty in (counts, spoiled):
        batch = patches(np.where(valid, dirty, 0), size=8, number=5, valid=valid)
        pair = paired(Thinning(shares=MIXTURE, most=1023), 2, batch)
        weight, exposure = np.asarray(pair.weight), np.asarray(pair.source[..., 1::2])
        assert (np.asarray(pair.target)[weight == 0] == 0).all()
        assert (np.asarray(pair.source[..., ::2])[exposure == 0] == 0).all()


def see_rates(source):
    """A network that answers with what it saw."""
    return source[..., ::2]


def test_answers_keep_their_place_and_their_side():
    """One bright spot off the centre, on one side only: no rule may turn it or put it on both sides."""
    counts = np.zeros((1, 12, 16), np.float32)
    counts[0, 2, 3] = 40.0
    batch = whole(jnp.asarray(counts), jnp.ones((1, 12, 16), bool), jnp.full(1, 2.0))
    for rule in ("direct", "average"):
        answer = Thinning(rule=rule).denoise(see_rates, batch)
        np.testing.assert_allclose(answer.counts, counts, atol=1e-4)
    symmetric = Thinning(rule="symmetric").denoise(see_rates, batch)
    np.testing.assert_allclose(symmetric.counts, (counts + counts[:, ::-1, ::-1]) / 2, atol=1e-4)
    none = Thinning(partner="none").denoise(see_rates, batch)
    np.testing.assert_allclose(none.counts, counts, atol=1e-4)


def test_a_side_that_training_never_showed_is_not_shown_at_prediction():
    """With shares 0.8,0 a network predicts the partner from the pixel: it must not meet both at once."""
    counts = np.random.default_rng(17).poisson(5.0, (1, 12, 16)).astype(np.float32)
    batch = whole(jnp.asarray(counts), jnp.ones((1, 12, 16), bool), jnp.ones(1))
    seen = []
    Thinning(shares=((0.8, 0.0),)).denoise(lambda x: seen.append(x) or see_rates(x), batch)
    np.testing.assert_allclose(seen[0][..., 0], counts, rtol=1e-5)
    np.testing.assert_allclose(seen[0][..., 1], 0.8)
    assert (np.asarray(seen[0][..., 2:]) == 0).all()


@pytest.mark.parametrize("rule", ["direct", "average"])
def test_smaes_corner_answers_as_smae_does(rule):
    """The pixel's own output has no target there and must not be used, whatever it says."""
    valid = np.ones((1, 12, 16), bool)
    valid[0, 2:5, 3:7] = False
    counts = np.where(valid, np.random.default_rng(19).poisson(5.0, (1, 12, 16)), 0)
    batch = whole(jnp.asarray(counts, jnp.float32), jnp.asarray(valid), jnp.ones(1))

    def network(source):
        return 1.0 + source[..., :1] ** 2

    def of_thinning(source):
        assert source.shape[-1] == 4
        return jnp.concatenate([jnp.full_like(source[..., :1], jnp.nan), network(source)], axis=-1)

    shift = (0.2, -0.1)
    corner = Thinning(shares=((1.0, 0.0),), rule=rule, shift=shift)
    found, expected = (
        corner.denoise(of_thinning, batch),
        Smae(rule=rule, shift=shift).denoise(network, batch),
    )
    np.testing.assert_array_equal(found.known, expected.known)
    np.testing.assert_array_equal(found.filled, expected.filled)
    np.testing.assert_array_equal(found.counts, expected.counts)


def test_a_mixture_with_smaes_corner_is_asked_where_all_of_it_was_trained():
    """Under 1,0 the own rate has no target; the light of 0.5,0.5 is as much, and both rates have."""
    batch = whole(jnp.full((1, 4, 6), 3.0), jnp.ones((1, 4, 6), bool), jnp.ones(1))
    seen = []
    mixed = Thinning(shares=((1.0, 0.0), (0.5, 0.5)))
    answer = mixed.denoise(lambda x: seen.append(x) or see_rates(x), batch)
    np.testing.assert_allclose(seen[0][..., 1::2], 0.5)
    np.testing.assert_allclose(answer.counts, 3.0, rtol=1e-6)


def test_an_unmeasured_pixel_has_its_partners_rate_and_says_so():
    counts = np.random.default_rng(7).poisson(5.0, (1, 12, 16)).astype(np.float32)
    valid = np.ones((1, 12, 16), bool)
    valid[0, 2, 3] = valid[0, 5, 8] = valid[0, 6, 7] = False  # the last two are partners
    batch = whole(jnp.asarray(counts), jnp.asarray(valid), jnp.ones(1))
    answer = Thinning().denoise(see_rates, batch)
    assert answer.filled[0, 2, 3]
    assert answer.filled.sum() == 1
    np.testing.assert_allclose(answer.counts[0, 2, 3], counts[0, 9, 12], rtol=1e-5)
    assert np.isnan(answer.counts[0, 5, 8])
    assert not answer.known[0, 5, 8]
    alone = Thinning(partner="none").denoise(see_rates, batch)
    assert np.isnan(alone.counts[0, 2, 3])
    assert not alone.filled.any()


@pytest.mark.slow
def test_a_centre_between_half_pixels_is_registered():
    """A smooth pattern about an odd centre: predictions meet the partner's counts only if displaced."""
    y, x = np.mgrid[:32, :32].astype(np.float64)
    shift = (0.4, -0.3)

    def pattern(y, x):
        return (
            20
            * np.exp(-((y**2) / 60 + (x**2) / 90 + x * y / 200))
            * (2 + np.cos(0.5 * x - 0.3 * y))
        )

    def symmetric(y, x):
        return pattern(y, x) + pattern(-y, -x)

    # The beam is half the shift away from the middle that partners are counted from.
    frame = symmetric(y - 15.5 - shift[0] / 2, x - 15.5 - shift[1] / 2).astype(np.float32)
    batch = whole(jnp.asarray(frame[None]), jnp.ones((1, 32, 32), bool), jnp.ones(1))
    errors = []
    for used in ((0.0, 0.0), shift, (-0.4, 0.3)):
        method = Thinning(rule="symmetric", shift=used)
        errors.append(
            np.abs(method.denoise(see_rates, batch).counts - frame[None])[0, 6:-6, 6:-6].max()
        )
    assert errors[1] < 0.3 * errors[0]
    assert errors[1] < 0.3 * errors[2]
    several = jax.tree.map(lambda a: jnp.repeat(jnp.round(a), 12, axis=0), batch)
    pair = paired(Thinning(shares=((1.0, 0.0),), augment="d4", most=200, shift=shift), 0, several)
    met = jax.vmap(displace, in_axes=(-1, 1), out_axes=-1)(
        jnp.repeat(pair.source[..., :1], 2, axis=-1), pair.shift
    )
    apart = jnp.abs(pair.source[..., :1] - pair.target) * pair.weight
    together = jnp.abs(met - pair.target) * pair.weight
    assert float(together[:, 6:-6, 6:-6].mean()) < 0.5 * float(apart[:, 6:-6, 6:-6].mean())


def test_spectra_are_split_too():
    counts = jnp.asarray(np.random.default_rng(8).poisson(30.0, (4, 50)), jnp.float32)
    ones = jnp.ones_like(counts)
    batch = Batch(counts, ones, counts, ones, jnp.full(4, 30.0), ones)
    method = Thinning(partner="none", shares=((0.5, 0.5),), augment="flips", most=127)
    pair = paired(method, 0, batch)
    assert pair.source.shape == (4, 50, 2)
    assert pair.target.shape == (4, 50, 1)
    total = pair.source[..., 0] * 0.5 + pair.target[..., 0] * pair.weight[..., 0]
    np.testing.assert_allclose(total.sum(), counts.sum() / 30, rtol=1e-5)
    answer = method.denoise(lambda source: source[..., :1], batch)
    np.testing.assert_allclose(answer.counts, counts, rtol=1e-5)


def test_bands_hide_one_side_of_a_share_of_the_examples_and_end_at_borders():
    shown = np.asarray(hide_bands(jax.random.key(3), (400, 24, 16), share=0.5))
    hidden = (shown == 0).any(axis=(2, 3))
    assert hidden.sum(axis=0).max() == 1
    assert hidden.any(axis=0).mean() == pytest.approx(0.45, abs=0.1)  # some lie outside
    assert abs(hidden[0].mean() - hidden[1].mean()) < 0.1
    rows = (shown == shown[..., :1]).all(axis=(2, 3))
    columns = (shown == shown[..., :1, :]).all(axis=(2, 3))
    assert (rows | columns).all()
    assert not rows.all()
    assert not columns.all()
    width = np.where(rows, (shown[..., 0] == 0).sum(-1), (shown[..., 0, :] == 0).sum(-1))
    assert 8 < width.max() <= 13


def test_hidden_bands_leave_targets_and_weights_as_they_are():
    counts = jnp.asarray(np.random.default_rng(0).poisson(3.0, (6, 16, 16)), jnp.float32)
    batch = whole_batch(counts, jnp.ones((1, 16, 16)), jnp.ones(6), turned=True)
    whole, banded = (
        jax.jit(
            Thinning(partner="channel", hidden=share, variants=0, augment="none", most=20).pair
        )(jax.random.key(1), batch)
        for share in (0.0, 1.0)
    )
    np.testing.assert_array_equal(whole.target, banded.target)
    np.testing.assert_array_equal(whole.weight, banded.weight)
    gone = banded.source[..., 1::2] == 0
    assert gone.any()
    assert (banded.source[..., ::2][gone] == 0).all()
    np.testing.assert_array_equal(banded.source[..., ::2][~gone], whole.source[..., ::2][~gone])


def test_as_many_bands_are_hidden_as_pixels_stand_alone():
    exposure = np.ones((1, 40, 30), np.float32)
    exposure[:, :4] = 0
    data = Measurements(np.ones((2, 40, 30), np.int32), exposure, center=Center.given((19.5, 14.5)))
    assert share_to_hide(data) == pytest.approx(2 * 4 / 36)
    assert Thinning(partner="channel").settled(data).hidden == pytest.approx(2 * 4 / 36)
    assert Thinning(partner="channel", hidden=0.0).settled(data).hidden == 0
    off = dataclasses.replace(data, center=Center.given((5.0, 14.5)))
    assert share_to_hide(off) == 0.5
    assert share_to_hide(dataclasses.replace(data, center=None)) == 0
