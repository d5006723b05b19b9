"""Displacing predictions: exact on what the kernel promises, and in the right direction for real views."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax import registration, symmetry
from smae_jax.canvas import centred_canvas
from smae_jax.geometry import Center
from smae_jax.methods.smae import Smae
from smae_jax.methods.views import ramp_of, slope_of, view_shift
from smae_jax.placing import whole_batch

displace = jax.jit(registration.displace)  # one program, not one for each operation
Y, X = jnp.mgrid[:12, :15]


def whole(frames):
    frames = jnp.asarray(frames)
    return whole_batch(frames, jnp.ones_like(frames), jnp.ones(len(frames)), turned=True)


@pytest.mark.parametrize("shift", [(0.3, -0.7), (-0.9, 0.1), (0.0, 0.0)])
def test_quadratic_images_move_exactly(shift):
    def image(y, x):
        return 1.0 + 0.5 * y + 0.2 * x + 0.03 * y**2 - 0.02 * x**2 + 0.01 * x * y

    moved = displace(image(Y, X)[None], jnp.asarray([shift]))[0]
    expected = image(Y - shift[0], X - shift[1])
    np.testing.assert_allclose(moved[3:-3, 3:-3], expected[3:-3, 3:-3], rtol=1e-4, atol=1e-4)


def test_each_example_moves_by_its_own_shift_and_sums_are_kept():
    image = jnp.zeros((2, 12, 15, 1)).at[:, 6, 7].set(1.0)
    moved = displace(image, jnp.asarray([[0.0, 0.0], [0.5, 0.0]]))
    np.testing.assert_array_equal(moved[0], image[0])
    assert float(moved[1, 6, 7, 0]) == pytest.approx(float(moved[1, 7, 7, 0]))
    np.testing.assert_allclose(jnp.sum(moved, axis=(1, 2, 3)), 1.0, rtol=1e-6)


@pytest.mark.parametrize("element", symmetry.D4)
def test_a_ramp_carries_the_shift_through_every_motion(element):
    """Moving an image and then displacing it is displacing and then moving it."""
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.random((1, 9, 9)), jnp.float32)
    shift = (0.4, -0.25)
    moved_shift = slope_of(element(ramp_of(shift)))[None]
    a = element(displace(image, jnp.asarray([shift])))
    b = displace(element(image), moved_shift)
    np.testing.assert_allclose(a[:, 3:-3, 3:-3], b[:, 3:-3, 3:-3], atol=1e-5)


def pattern(center, size=24):
    """A sharp centro-symmetric spot pair about a centre between the pixels."""
    y, x = np.mgrid[:size, :size]
    spots = 0.0
    for sign in (1, -1):
        dy, dx = y - center[0] - sign * 4.3, x - center[1] - sign * 2.2
        spots = spots + 50 * np.exp(-(dy**2 + dx**2) / (2 * 1.3**2))
    return (1.0 + spots).astype(np.float32)


def test_views_of_a_pattern_about_a_sub_pixel_centre_agree_once_registered():
    center, half = (11.7, 11.35), (11.5, 11.5)
    canvas = centred_canvas((24, 24), half)
    frame = canvas.embed(pattern(center)[None])
    exposure = canvas.embed(np.ones((1, 24, 24), np.float32))
    batch = whole_batch(jnp.asarray(frame), jnp.asarray(exposure), jnp.ones(1), turned=True)

    def see(source):
        return source[..., :1]

    shift = view_shift(Center(half, center))
    errors = []
    for used in ((0.0, 0.0), shift, tuple(-s for s in shift)):
        method = Smae(rule="cross", shift=used)
        cross = jax.jit(lambda b, m=method: m.denoise(see, b).counts)(batch)[0]
        errors.append(float(jnp.abs(cross - frame[0])[4:-4, 4:-4].max()))
    assert errors[1] < 0.25 * errors[0]
    assert errors[2] > errors[0]


def test_pair_says_where_the_target_lies():
    """The prediction displaced by the pair's shift meets the target, whatever motion was drawn."""
    center, half = (11.7, 11.35), (11.5, 11.5)
    frame = pattern(center)
    batch = whole(frame[None])
    batch = jax.tree.map(lambda a: jnp.repeat(a, 16, axis=0), batch)
    method = Smae(augment="d4", shift=view_shift(Center(half, center)))
    pair = jax.jit(method.pair)(jax.random.key(0), batch)
    plain = jnp.abs(pair.source[..., :1] - pair.target) * pair.weight
    met = jnp.abs(displace(pair.source[..., :1], pair.shift[:, 0]) - pair.target) * pair.weight
    assert float(met[:, 4:-4, 4:-4].max()) < 0.25 * float(plain[:, 4:-4, 4:-4].max())
    assert float(pair.weight[:, 0].max()) == 0.0


def test_small_and_large_shifts_are_not_registered():
    assert view_shift(None) == (0.0, 0.0)
    assert view_shift(Center((10.0, 11.5), (10.02, 11.48))) == (0.0, 0.0)
    assert view_shift(Center((10.0, 11.5), (10.6, 11.5))) == (0.0, 0.0)
    assert view_shift(Center((10.0, 11.5), (10.2, 11.4))) == pytest.approx((0.4, -0.2))
