"""Method `supervised`: pairs with a reference, exposures, validity, and answers that are never turned."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax import inference, placing, training
from smae_jax.config import TrainConfig
from smae_jax.geometry import Center
from smae_jax.measurements import Measurements
from smae_jax.methods import Supervised
from smae_jax.models.rate import rates_of, smoothed_scales
from smae_jax.run.build import METHODS, build_method

RULES = ["direct", "cross", "average"]


def method_of(name):
    """A method as options name it; thinning with the partner that it would settle on."""
    method = build_method(TrainConfig(method=name))
    return dataclasses.replace(method, partner="channel") if hasattr(method, "partner") else method


CASES = [
    (name, rule)
    for name in METHODS
    if method_of(name).answers == "each"
    for rule in method_of(name).rules or ("run",)
]


def key():
    """A key of one's own for every use."""
    return jax.random.key(0)


def whole(counts, valid=None):
    counts = jnp.asarray(counts)
    exposure = jnp.ones(counts.shape[1:])[None] if valid is None else jnp.asarray(valid, float)
    return placing.whole_batch(counts, exposure, jnp.ones(len(counts)), turned=True)


def paired_canvases(*, ratio=(4.0, 8.0, 2.0)):
    """Three frames of 20 x 31 with one mask, and references with another mask and exposure each."""
    rng = np.random.default_rng(0)
    valid = rng.random((1, 20, 31)) < 0.9
    reference_valid = rng.random((3, 20, 31)) < 0.8
    counts = np.where(valid, rng.poisson(3.0, (3, 20, 31)), 0).astype(np.float32)
    light = (reference_valid * np.array(ratio)[:, None, None]).astype(np.float32)
    high = np.where(reference_valid, rng.poisson(3.0 * light), 0).astype(np.float32)
    frames = np.arange(3, dtype=np.int32)
    return placing.Placed(
        counts=counts[:, None],
        exposure=valid.astype(np.float32),
        scale=np.array([3.0, 2.0, 5.0], np.float32),
        held_out=placing.held_out_pixels((20, 31), share=0.2, seed=1),
        frames=frames,
        judges=frames,
        origins=placing.patch_origins(valid.mean(axis=0), (8, 8), region="frame"),
        reference=(high[:, None], light),
        patch=(8, 8),
        turned=True,
    )


@pytest.mark.parametrize("judging", [False, True])
def test_host_and_device_gather_the_same_references(judging):
    data, ratio = paired_canvases(), [4.0, 8.0, 2.0]
    on_device = jax.tree.map(jnp.asarray, data)
    frames, origins = placing.draw_places(key(), on_device, batch_size=6)
    a = placing.gather(on_device, frames, origins, judging=judging)
    places = np.asarray(frames), np.asarray(origins)
    b = placing.gather(data, *places, judging=judging, cut=placing.cut_on_host)
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert a.reference_exposure is not None
    for one, frame in zip(a.reference_exposure, frames, strict=True):
        assert set(np.unique(one)) == {0.0, ratio[int(frame)]}


def test_target_is_the_reference_of_the_same_pixels_in_one_scale():
    data = paired_canvases()
    frames, origins = [2, 0, 1], [[3, 5], [0, 20], [12, 0]]
    batch = jax.jit(placing.gather)(data, jnp.array(frames), jnp.array(origins))
    pair = jax.jit(Supervised(augment="none").pair)(key(), batch)
    for i, (frame, (y, x)) in enumerate(zip(frames, origins, strict=True)):
        here = np.s_[y : y + 8, x : x + 8]
        ratio, scale = (4.0, 8.0, 2.0)[frame], float(data.scale[frame])
        expected = data.reference[0][frame, 0][here] / (ratio * scale)
        np.testing.assert_allclose(pair.target[i, ..., 0], expected, rtol=1e-6)
        both = (data.reference[1][frame][here] > 0) & (data.exposure[0][here] > 0)
        trained_on = both & ~data.held_out[here]
        np.testing.assert_array_equal(pair.weight[i, ..., 0], ratio * trained_on)
        own = data.counts[frame, 0][here] / scale
        np.testing.assert_allclose(pair.source[i, ..., 0], own, rtol=1e-6)
        np.testing.assert_array_equal(pair.source[i, ..., 1], data.exposure[0][here])


def test_every_motion_moves_source_and_target_alike():
    counts = jnp.arange(1.0, 65).reshape(1, 8, 8).repeat(16, axis=0)
    batch = whole(counts)
    batch = dataclasses.replace(
        batch, reference_counts=10 * counts, reference_exposure=jnp.full(counts.shape, 10.0)
    )
    pair = jax.jit(Supervised(augment="d4").pair)(key(), batch)
    np.testing.assert_allclose(pair.source[..., :1], pair.target)
    assert len({np.asarray(one).tobytes() for one in pair.target}) > 4


def test_a_batch_without_reference_is_refused():
    batch = whole(jnp.ones((1, 8, 8)))
    with pytest.raises(ValueError, match=r"--data\.reference"):
        Supervised().pair(key(), batch)


class Blur(nn.Module):
    """A stand-in for a network: it smooths each measurement, and knows nothing of directions."""

    @nn.compact
    def __call__(self, source):
        rates = [
            rates_of(smoothed_scales(source[..., k], source[..., k + 1], sigmas=(1.5,)))[1]
            for k in range(0, source.shape[-1], 2)
        ]
        return jnp.stack(rates, axis=-1)


@pytest.mark.parametrize("group", ["none", "flips", "d4"])
@pytest.mark.parametrize(("name", "rule"), CASES)
def test_no_method_turns_a_bright_spot(name, rule, group):
    """The published program gave fine-tuned answers back turned by 180 degrees.

    One bright spot off the centre, whose partner is masked: every rule has to take the spot's own side.
    """
    y, x = np.mgrid[:22, :30]
    spot = np.hypot(y - 4, x - 6)
    counts = (1 + 50 * np.exp(-(spot**2) / 4)).astype(np.float32)[None]
    valid = np.hypot(y - 15, x - 20)[None] > 7  # the partner of (4, 6) is (15, 20)
    data = Measurements(
        np.where(valid, counts, 0), valid.astype(np.float32), Center.given((9.5, 13.0))
    )
    predictor = inference.Predictor(
        Blur(),
        method_of(name).with_rule(rule),
        group=group,
        conserve_totals=False,
        mesh=training.make_mesh(1),
    )
    result = predictor({}, data, scale=1.0)
    answer = np.asarray(result.counts)[0]
    own = ~np.asarray(result.filled)[0] & np.isfinite(answer)
    assert answer[own & (spot < 3)].max() > 5
    assert answer[own & (spot > 9)].max() < 2


@pytest.mark.parametrize("rule", RULES)
def test_masked_pixels_are_filled_only_by_the_rules_that_use_the_symmetry(rule):
    valid = np.ones((1, 6, 6), bool)
    valid[0, 1, 1] = False
    counts = np.where(valid, np.arange(1.0, 37).reshape(1, 6, 6), 0).astype(np.float32)
    batch = whole(counts, valid)
    result = Supervised(rule=rule).denoise(lambda source: 2 * source[..., :1], batch)
    if rule == "direct":
        assert np.isnan(result.counts[0, 1, 1])
        assert not result.filled.any()
        np.testing.assert_array_equal(result.counts[0][valid[0]], 2 * counts[0][valid[0]])
    else:
        assert float(result.counts[0, 1, 1]) == 2 * counts[0, 4, 4]
        assert np.argwhere(result.filled[0]).tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "supervised"), "--data.reference"),
        (("--data.reference", "high.npz"), "--method supervised"),
        (("--method", "supervised", "--data.reference", "no.npz"), "no such file"),
    ],
)
def test_method_and_reference_belong_together(smae, small_scan, options, message):
    answer = smae("train", "--run", "run", "--data.path", f"{small_scan}::counts", *options)
    assert answer.status == 2
    assert message in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.slow
def test_training_from_references_and_denoising_without(smae, small_scan, small, tmp_path):
    with np.load(small_scan) as file:
        rng = np.random.default_rng(1)
        np.savez(tmp_path / "high.npz", counts=rng.poisson(10.0 * (1 + file["counts"])))
    data = ("--data.path", f"{small_scan}::counts", "--data.mask", f"{small_scan}::mask")
    reference = ("--method", "supervised", "--data.reference", "high.npz::counts")
    answer = smae("train", "--run", "run", *data, "--data.center", "17.5,14", *reference, *small)
    assert answer.status == 0, answer.err
    assert "6 frames paired by order; exposure x 1" in answer.out
    prepared = json.loads((tmp_path / "run" / "survey.json").read_text())
    assert prepared["reference_exposure"] > 9
    answer = smae(
        *("infer", "--run", "run", "--input", f"{small_scan}::counts", "--output", "out.npy")
    )
    assert answer.status == 0, answer.err
    assert "filled from their partner" in answer.out
    with np.load(small_scan) as file:
        assert np.isfinite(np.load("out.npy")[:, ~file["mask"]]).all()
