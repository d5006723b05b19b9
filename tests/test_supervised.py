"""Method `supervised`: pairs with a reference, exposures, validity, and answers that are never turned."""

import dataclasses
import json
from typing import get_args, get_type_hints

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax import inference, training
from smae_jax.commands.build import build_method
from smae_jax.config import TrainConfig
from smae_jax.data import batches
from smae_jax.data.canvas import centred_canvas
from smae_jax.data.pairing import exposure_ratio, pair_scans
from smae_jax.data.scan import Geometry, Metadata, Scan
from smae_jax.methods.supervised import Supervised
from smae_jax.models.rate import rates_of, smoothed_scales

KEY = jax.random.key(0)
RULES = ["direct", "cross", "average"]
TWO_VIEWS = ("smae", "supervised")
CASES = [
    (method, rule)
    for method in get_args(get_type_hints(TrainConfig)["method"])
    for rule in (RULES if method in TWO_VIEWS else ["run"])
]


def scan_of(counts, *, valid=None, exposure_s=None, sources=None):
    counts = np.asarray(counts, np.float32)
    valid = np.ones((1, *counts.shape[1:]), bool) if valid is None else valid
    sources = sources or tuple(f"scan.npz[{i}]" for i in range(len(counts)))
    metadata = Metadata(sources=tuple(sources), dtype="int32", exposure_s=exposure_s)
    return Scan(np.where(valid, counts, 0).astype(np.float32), valid, Geometry(), metadata, {})


def paired_canvases(*, ratio=(4.0, 8.0, 2.0)):
    """Three frames of 20 x 31, each with its mask, and references with another mask and exposure."""
    rng = np.random.default_rng(0)
    valid = rng.random((1, 20, 31)) < 0.9
    reference_valid = rng.random((3, 20, 31)) < 0.8
    counts = np.where(valid, rng.poisson(3.0, (3, 20, 31)), 0).astype(np.float32)
    high = rng.poisson(3.0 * np.array(ratio)[:, None, None], (3, 20, 31))
    return batches.Canvases(
        counts=counts,
        valid=valid,
        scale=np.array([3.0, 2.0, 5.0], np.float32),
        held_out=batches.held_out_pixels((20, 31), share=0.2, seed=1),
        frames=np.arange(3, dtype=np.int32),
        origins=batches.patch_origins(valid.mean(axis=0), (8, 8), region="frame"),
        reference_counts=np.where(reference_valid, high, 0).astype(np.float32),
        reference_valid=reference_valid,
        reference_ratio=np.array(ratio, np.float32),
    )


@pytest.mark.parametrize("held_out", [False, True])
def test_host_and_device_gather_the_same_references(held_out):
    data = paired_canvases()
    on_device = jax.tree.map(jnp.asarray, data)
    frames, origins = batches.draw_places(KEY, on_device, batch_size=6)
    a = batches.gather(on_device, frames, origins, patch_shape=(8, 8), held_out=held_out)
    places = np.asarray(frames), np.asarray(origins)
    b = batches.gather_on_host(data, *places, patch_shape=(8, 8), held_out=held_out)
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert a.reference_exposure is not None
    for one, frame in zip(a.reference_exposure, frames, strict=True):
        assert set(np.unique(one)) == {0.0, data.reference_ratio[int(frame)]}


def test_target_is_the_reference_of_the_same_pixels_in_one_scale():
    data = jax.tree.map(jnp.asarray, paired_canvases())
    frames, origins = jnp.array([2, 0, 1]), jnp.array([[3, 5], [0, 20], [12, 0]])
    batch = batches.gather(data, frames, origins, patch_shape=(8, 8))
    pair = Supervised(augment="none").pair(KEY, batch)
    for i, (frame, (y, x)) in enumerate(zip(frames, origins, strict=True)):
        here = np.s_[y : y + 8, x : x + 8]
        ratio, scale = float(data.reference_ratio[frame]), float(data.scale[frame])
        expected = np.asarray(data.reference_counts[frame][here]) / (ratio * scale)
        np.testing.assert_allclose(pair.target[i, ..., 0], expected, rtol=1e-6)
        both = np.asarray(data.reference_valid[frame][here] & data.valid[0][here])
        trained_on = both & ~np.asarray(data.held_out[here])
        np.testing.assert_array_equal(pair.weight[i, ..., 0], ratio * trained_on)
        own = np.asarray(data.counts[frame][here]) / scale
        np.testing.assert_allclose(pair.source[i, ..., 0], own, rtol=1e-6)
        np.testing.assert_array_equal(pair.source[i, ..., 1], data.valid[0][here])


def test_every_motion_moves_source_and_target_alike():
    counts = jnp.arange(1.0, 65).reshape(1, 8, 8).repeat(16, axis=0)
    batch = batches.whole(counts, jnp.ones((1, 8, 8), bool), jnp.ones(16))
    batch = dataclasses.replace(
        batch, reference_counts=10 * counts, reference_exposure=jnp.full(counts.shape, 10.0)
    )
    pair = Supervised(augment="d4").pair(KEY, batch)
    np.testing.assert_allclose(pair.source[..., :1], pair.target)
    assert len({np.asarray(one).tobytes() for one in pair.target}) > 4


def test_a_batch_without_reference_is_refused():
    batch = batches.whole(jnp.ones((1, 8, 8)), jnp.ones((1, 8, 8), bool), jnp.ones(1))
    with pytest.raises(ValueError, match=r"--data\.reference"):
        Supervised().pair(KEY, batch)


def blur(parameters, source):
    """A stand-in for a network: it smooths what it sees, and knows nothing of directions."""
    scales = smoothed_scales(source[..., :1], source[..., 1:2], sigmas=(1.5,))
    return parameters * rates_of(scales)[1]


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
    canvas = centred_canvas((22, 30), (9.5, 13.0))
    method = build_method(TrainConfig(method=name), rule=rule)
    denoise = inference.make_denoiser(
        blur, method, group=group, conserve_totals=False, mesh=training.make_mesh(1)
    )
    canvases = canvas.embed(np.where(valid, counts, 0)), canvas.embed(valid, False)
    result = denoise(1.0, *canvases, np.ones(1, np.float32))
    answer = canvas.extract(np.asarray(result.counts), np.nan)[0]
    own = ~canvas.extract(np.asarray(result.filled), False)[0] & np.isfinite(answer)
    assert answer[own & (spot < 3)].max() > 5
    assert answer[own & (spot > 9)].max() < 2


@pytest.mark.parametrize("rule", RULES)
def test_masked_pixels_are_filled_only_by_the_rules_that_use_the_symmetry(rule):
    valid = np.ones((1, 6, 6), bool)
    valid[0, 1, 1] = False
    counts = np.where(valid, np.arange(1.0, 37).reshape(1, 6, 6), 0).astype(np.float32)
    batch = batches.whole(jnp.asarray(counts), jnp.asarray(valid), jnp.ones(1))
    result = Supervised(rule=rule).denoise(lambda source: 2 * source[..., :1], batch)
    if rule == "direct":
        assert np.isnan(result.counts[0, 1, 1])
        assert not result.filled.any()
        np.testing.assert_array_equal(result.counts[0][valid[0]], 2 * counts[0][valid[0]])
    else:
        assert float(result.counts[0, 1, 1]) == 2 * counts[0, 4, 4]
        assert np.argwhere(result.filled[0]).tolist() == [[1, 1]]


LOW = np.arange(1, 4)[:, None, None] * np.ones((3, 4, 5))


def test_exposures_are_compared_by_time_where_both_tell_it():
    low = scan_of(LOW, exposure_s=(1.0, 1.0, 2.0))
    high = scan_of(7 * LOW, exposure_s=(10.0, 5.0, 10.0))
    ratio, how = exposure_ratio(low, high, "high")
    np.testing.assert_allclose(ratio, [10, 5, 5])
    assert "exposure times" in how
    assert "x 7" in how


@pytest.mark.parametrize(
    "times", [(None, (1.0,) * 3), ((1.0,) * 3, None), ((0.0,) * 3, (1.0,) * 3)]
)
def test_exposures_are_compared_by_totals_of_common_pixels_else(times):
    valid = np.ones((1, 4, 5), bool)
    valid[0, 0, 0] = False
    spoilt = 7 * LOW.copy()
    spoilt[:, 0, 0] = 1e6  # a pixel that the low-count scan has masked
    ratio, how = exposure_ratio(
        scan_of(LOW, valid=valid, exposure_s=times[0]), scan_of(spoilt, exposure_s=times[1]), "high"
    )
    np.testing.assert_allclose(ratio, 7)
    assert "matched totals" in how


def test_frames_are_paired_by_name():
    low = scan_of(LOW, sources=("low/f3.tif", "low/f1.tif", "low/f9.tif"))
    high = scan_of(10 * LOW, sources=("high/f1.cbf", "high/f2.cbf", "high/f3.cbf"))
    paired = pair_scans(low, high, path="low", reference_path="high", by="name")
    assert paired.scan.metadata.sources == ("low/f3.tif", "low/f1.tif")
    assert paired.reference.metadata.sources == ("high/f3.cbf", "high/f1.cbf")
    assert paired.scan.counts[:, 0, 0].tolist() == [1, 2]
    assert paired.reference.counts[:, 0, 0].tolist() == [30, 10]
    assert "1 frames and 1 references without a partner" in paired.said


def test_frames_are_paired_by_an_hdf5_key(tmp_path):
    paths = []
    for name, ids in (("low", [5, 7, 8]), ("high", [8, 5, 6])):
        paths.append(f"{tmp_path}/{name}.h5::/entry/data")
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["entry/data"], file["entry/point"] = LOW, np.array(ids)
    key = {"path": paths[0], "reference_path": paths[1], "by": "/entry/point"}
    paired = pair_scans(scan_of(LOW), scan_of(10 * LOW), **key)
    assert paired.scan.counts[:, 0, 0].tolist() == [1, 3]
    assert paired.reference.counts[:, 0, 0].tolist() == [20, 10]
    for by, message in (("/entry/pint", "no such dataset"), ("/entry/data", "60 ids")):
        with pytest.raises(ValueError, match=message):
            pair_scans(scan_of(LOW), scan_of(LOW), **{**key, "by": by})


@pytest.mark.parametrize(
    ("high", "by", "message"),
    [
        (scan_of(np.ones((2, 4, 5))), "order", "2 frames for the 3"),
        (scan_of(np.ones((3, 5, 4))), "order", r"\(5, 4\)"),
        (scan_of(np.ones((3, 4, 5)), sources=("a", "b", "c")), "name", "no frame has the name"),
        (scan_of(np.ones((3, 4, 5)), sources=("a", "x/a.tif", "c")), "name", "'a' names 2 frames"),
        (scan_of(np.zeros((3, 4, 5))), "order", "no counts"),
    ],
)
def test_references_that_do_not_fit_are_refused(high, by, message):
    with pytest.raises(ValueError, match=message) as caught:
        pair_scans(scan_of(LOW), high, path="low", reference_path="high", by=by)
    assert "\n" not in str(caught.value)


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


def test_training_from_references_and_denoising_without(smae, small_scan, small, tmp_path):
    with np.load(small_scan) as file:
        rng = np.random.default_rng(1)
        np.savez(tmp_path / "high.npz", counts=rng.poisson(10.0 * (1 + file["counts"])))
    data = ("--data.path", f"{small_scan}::counts", "--data.mask", f"{small_scan}::mask")
    reference = ("--method", "supervised", "--data.reference", "high.npz::counts")
    answer = smae("train", "--run", "run", *data, "--data.center", "17.5,14", *reference, *small)
    assert answer.status == 0, answer.err
    assert "6 frames paired by order; exposure x 1" in answer.out
    prepared = json.loads((tmp_path / "run" / "prepare.json").read_text())
    assert prepared["reference_exposure"] > 9
    answer = smae(
        *("infer", "--run", "run", "--input", f"{small_scan}::counts", "--output", "out.npy")
    )
    assert answer.status == 0, answer.err
    assert "filled from their partner" in answer.out
    with np.load(small_scan) as file:
        assert np.isfinite(np.load("out.npy")[:, ~file["mask"]]).all()
