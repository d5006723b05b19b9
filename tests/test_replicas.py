"""Replicas scatter as answers err: of a linear filter exactly, and beyond what halves of the photons show."""

import dataclasses

import h5py
import jax
import numpy as np
import pytest

from smae_jax.commands.infer import infer
from smae_jax.config import InferConfig
from smae_jax.errors import UserError
from smae_jax.finishing.misses import Places, draw_missed, rate_about, spectra_of_missed
from smae_jax.finishing.replicas import replicas
from smae_jax.geometry import Center
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers
from smae_jax.smoothing import smooth_image

SHAPE, FRAMES = (40, 44), 6
CENTER = (19.0, 22.5)


def truth():
    """A halo with texture all over, another one in every frame."""
    y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    halo = 4 + 6 * np.exp(-((np.hypot(y - CENTER[0], x - CENTER[1]) / 12) ** 2))
    rng = np.random.default_rng(99)
    texture = [smooth_image(rng.standard_normal(SHAPE), 1.0) for _ in range(FRAMES)]
    return halo * np.clip(1 + np.stack(texture), 0.1, None)


def scan(seed):
    counts = np.random.default_rng(seed).poisson(truth()).astype(np.int32)
    return Measurements(
        counts=counts, exposure=np.ones((1, *SHAPE), np.float32), center=Center.given(CENTER)
    )


def filtered(data, *, sigma=1.5):
    """A linear filter, which scatters and smooths away."""
    light = np.broadcast_to(data.exposure, data.counts.shape)
    images = [smooth_image(c / e, sigma) for c, e in zip(data.counts, light, strict=True)]
    counts = np.stack(images).astype(np.float32)
    known = np.ones(counts.shape, bool)
    return Answers(counts, known, ~known)


def quantities(images):
    """Sums that later programs make: of windows, of rings, of frames."""
    y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    ring = np.floor(np.hypot(y - CENTER[0], x - CENTER[1])).astype(int)
    rings = [images[..., ring == k].sum(axis=-1) for k in range(6, 17)]
    windows = [
        images[..., i : i + 8, j : j + 8].sum(axis=(-1, -2)) for i in (8, 20) for j in (10, 24)
    ]
    return np.stack([*rings, *windows], axis=-1)


@pytest.mark.slow
def test_scatter_of_replicas_is_the_error_of_sums_while_independent_bars_are_too_small():
    errors, told, alone = [], [], []
    expected = quantities(truth())
    for seed in range(3):
        data = scan(seed)
        answers = filtered(data)
        found = replicas(jax.random.key(seed), answers, data, filtered, number=16)
        assert found.dtype == np.float16
        assert found.shape == (16, FRAMES, *SHAPE)
        middle = quantities(answers.counts)
        off = quantities(answers.counts + found.astype(np.float32)) - middle
        errors.append(middle - expected)
        told.append(np.sqrt((off**2).mean(axis=0)))
        bars = found.astype(np.float32).var(axis=0)
        alone.append(np.sqrt(quantities(bars)))
    errors, told, alone = np.stack(errors), np.stack(told), np.stack(alone)
    # Long octaves of so small a scan have few components: replicas are rather too wide.
    covered, independent = ((np.abs(errors) < one).mean() for one in (told, alone))
    assert 0.6 < covered < 0.95
    assert independent < covered - 0.2


def test_replicas_are_the_same_again_and_others_with_another_key():
    data = scan(0)
    answers = filtered(data)
    one, again, other = (
        replicas(jax.random.key(k), answers, data, filtered, number=4) for k in (0, 0, 1)
    )
    assert (one == again).all()
    assert (one != other).any()


def test_drawn_misses_have_the_power_that_was_measured_and_keep_totals():
    places = Places(SHAPE, CENTER, symmetric=False)
    rate = truth().astype(np.float32)
    use = np.ones(rate.shape, bool)
    light = np.full(rate.shape, 0.5, np.float32)
    rng = np.random.default_rng(0)
    # Answers to both halves that miss the same: rings, and a pattern of 8 pixels in every frame alike.
    wave = 0.2 * np.sin(2 * np.pi * np.arange(SHAPE[1]) / 6)[None, None] * rate
    photons = rng.poisson(np.stack([rate, rate]) * 0.5)
    found = spectra_of_missed(np.stack([rate + wave] * 2), photons, light, use, places)
    assert np.argmax(found.shared) == 1
    assert found.own[:3].sum() < 0.1 * found.shared[1]
    drawn = np.asarray(
        draw_missed(jax.random.key(0), found, rate_about(rate, use), np.ones_like(rate), places)
    )
    assert np.abs(drawn.sum(axis=(1, 2))).max() < 1e-3 * rate[0].sum()
    assert drawn.std() == pytest.approx(wave.std(), rel=0.5)
    # Longer octaves have few components, and so much noise.
    nothing = spectra_of_missed(np.stack([rate] * 2), photons, light, use, places)
    assert nothing.shared[:3].sum() < 0.1 * found.shared[:3].sum()


def test_an_orientation_that_is_missed_on_all_rings_is_drawn():
    places = Places(SHAPE, CENTER, symmetric=True)
    rate = np.broadcast_to(60 * np.exp(-places.ring / 20.0), (24, *SHAPE)).astype(np.float32)
    light, use = np.full(rate.shape, 0.5, np.float32), np.ones(rate.shape, bool)
    rng = np.random.default_rng(0)
    turned = rng.uniform(0, 2 * np.pi, (24, 1, 1))
    missed = 0.1 * np.cos(2 * places.angle - turned) * rate
    photons = rng.poisson(np.stack([rate, rate]) * light)
    found = spectra_of_missed(np.stack([rate + missed] * 2), photons, light, use, places)
    drawn = np.asarray(
        draw_missed(jax.random.key(0), found, rate_about(rate, use), np.ones_like(rate), places)
    )

    def moment(images):
        inside = (places.ring > 4) & (places.ring < 18)
        return np.abs((images * np.exp(2j * places.angle))[:, inside].sum(axis=1))

    sizes = [np.sqrt(np.mean(moment(images) ** 2)) for images in (missed, drawn)]
    np.testing.assert_allclose(sizes[1], sizes[0], rtol=0.3)


@pytest.mark.parametrize("fault", ["few", "no counts", "no centre"])
def test_what_has_no_replicas_is_refused(fault):
    data = scan(0)
    if fault == "no counts":
        data = dataclasses.replace(data, counts=data.counts.astype(np.float32) + 0.5)
    if fault == "no centre":
        data = dataclasses.replace(data, center=None)
    number = 3 if fault == "few" else 4
    with pytest.raises(UserError, match=f"--replicas {number}: expected"):
        replicas(jax.random.key(0), filtered(data), data, filtered, number=number)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"replicas": 2}, "4 and more"),
        ({"replicas": 8, "output": "out.tif"}, "HDF5"),
        ({"replicas": 8, "only": "sigma"}, "leave one out"),
    ],
)
def test_options_in_contradiction_are_refused(options, said):
    with pytest.raises(UserError, match=said):
        InferConfig(run="r", input="i", **options)


def test_infer_writes_them_beside_the_answers(tmp_path, trained_run, small_scan):
    plain, output = tmp_path / "plain.h5", tmp_path / "out.h5"
    for path, number in ((plain, 0), (output, 4)):
        options = {"input": f"{small_scan}::counts", "output": str(path), "replicas": number}
        infer(InferConfig(run=str(trained_run), **options), lambda _: None)
    with h5py.File(plain) as one, h5py.File(output) as other:
        answers, beside = one["entry/data/data"][()], other["entry/data/data"][()]
        np.testing.assert_array_equal(answers, beside)
        found = other["entry/replicas/data"]
        assert found.shape == (4, *answers.shape)
        assert found.chunks == (1, 1, *answers.shape[-2:])
        assert np.isfinite(found[()]).all()
        assert found[()].std() > 0
        assert "replicas" in other["entry/process/stages"][()].decode()
