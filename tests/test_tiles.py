"""Networks applied tile by tile answer as they do in one piece."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax import inference
from smae_jax.api import unet
from smae_jax.geometry import Center
from smae_jax.inference import Predictor
from smae_jax.measurements import Measurements
from smae_jax.methods.thinning import Thinning
from smae_jax.models import initial_parameters
from smae_jax.tiles import UNIT, _windows, reach_of, tiled


def blur(width):
    """A network that looks `width` pixels far to each side."""

    @jax.jit
    def predict(source):
        height, width_ = source.shape[1:3]
        wide = jnp.pad(source[..., :1], [(0, 0), (width, width), (width, width), (0, 0)])
        corners = [(y, x) for y in (0, 2 * width) for x in (0, 2 * width)]
        return sum(wide[:, y : y + height, x : x + width_] for y, x in corners) + source[..., :1]

    return predict


@pytest.mark.parametrize(("width", "expected"), [(1, 32), (16, 32), (32, 32), (33, 64), (100, 128)])
def test_reach_is_measured(width, expected):
    assert reach_of(blur(width), channels=2) == expected


@pytest.mark.parametrize("size", [20, 32, 64, 96, 97, 160, 224, 230, 255, 1024, 3108, 3136, 3262])
def test_windows_keep_every_pixel_once_and_what_edges_change_nowhere(size):
    windows = _windows(size, 64, 96)
    kept = [pixel for _, _, slice_ in windows for pixel in range(slice_.start, slice_.stop)]
    assert kept == [*range(size)]
    assert len({end - start for start, end, _ in windows}) == 1
    for start, end, slice_ in windows:
        assert start % UNIT == 0
        assert (size - end) % UNIT == 0  # the same blocks of pixels in a mirrored image
        assert start == 0 or slice_.start - start >= 64
        assert end == size or end - slice_.stop >= 64


@pytest.mark.parametrize("shape", [(200, 333), (64, 500), (96, 96)])
def test_tiles_of_any_image_answer_as_the_whole(shape):
    source = jnp.asarray(np.random.default_rng(0).normal(size=(1, *shape, 2)), jnp.float32)
    predict = blur(20)
    found = tiled(predict, reach=32, core=64)(source)
    np.testing.assert_allclose(found, predict(source), atol=1e-6)


def test_too_short_a_reach_would_show():
    source = jnp.asarray(np.random.default_rng(0).normal(size=(1, 256, 256, 2)), jnp.float32)
    found = tiled(blur(60), reach=32, core=64)(source)
    assert np.abs(found - blur(60)(source)).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("group", ["none", "flips", "d4"])
def test_large_frames_are_answered_as_small_ones_are(monkeypatch, group):
    """The default network and method about a centre off the middle, in tiles and in one piece."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (1, 230, 180)).astype(np.int32)
    exposure = np.ones((1, 230, 180), np.float32)
    exposure[:, 100:110] = 0
    counts[:, 100:110] = 0
    center = Center.given((120.0, 80.5), "given")
    data = Measurements(counts, exposure, center=center)
    method = Thinning().settled(data)
    net = unet(method, widths=(4, 8))
    parameters = initial_parameters(
        net, jax.random.key(0), channels=method.source_channels, spatial=(64, 64)
    )
    noisy = jax.tree.map(  # the last layer begins with zeros, and would hide the others
        lambda p: p + 0.02 * rng.normal(size=p.shape).astype(np.float32), parameters
    )
    whole = Predictor(net, method, group=group)(noisy, data)
    monkeypatch.setattr(inference, "LARGEST_WHOLE", 10_000)
    monkeypatch.setattr(inference, "tiled", lambda net, *, reach: tiled(net, reach=reach, core=64))
    parts = Predictor(net, method, group=group)(noisy, data)
    np.testing.assert_array_equal(parts.known, whole.known)
    np.testing.assert_array_equal(parts.filled, whole.filled)
    signal = np.nanmax(whole.counts)
    np.testing.assert_allclose(parts.counts, whole.counts, atol=1e-5 * signal)
