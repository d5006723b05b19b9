"""Examples in any number of dimensions: partners, identities, what is held out, and what is beside them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax import placing
from smae_jax.geometry import Center
from smae_jax.measurements import Measurements
from smae_jax.methods import (
    DeepImagePrior,
    Masked,
    Noise2Noise,
    Noise2Void,
    Smae,
    Supervised,
    Thinning,
)
from smae_jax.placing import Placing, place


def measured(shape, *, center=None, channels=False, seed=0):
    """Counts that tell every pixel of every frame apart, and a mask of each frame's own."""
    rng = np.random.default_rng(seed)
    counts = rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.int32) + 1
    spatial = shape[1:-1] if channels else shape[1:]
    exposure = (rng.random((shape[0], *spatial)) < 0.9) * rng.integers(1, 4, shape[0]).reshape(
        -1, *(1,) * len(spatial)
    )
    seen = exposure > 0
    kept = seen[..., None] if channels else seen
    return Measurements(
        np.where(kept, counts, 0).astype(np.int32),
        exposure.astype(np.float32),
        None if center is None else Center.given(center),
        channels=channels,
    )


# One program each, as training compiles them, instead of one for each operation.
draw = jax.jit(placing.draw, static_argnames=("batch_size", "judging"))
draw_places = jax.jit(placing.draw_places, static_argnames=("batch_size", "judging"))
gather = jax.jit(placing.gather, static_argnames="judging")

CENTRE = (9.5, 13.0)
VOID, PRIOR = Noise2Void(), DeepImagePrior()
THINNING = Thinning(partner="channel", shares=((0.5, 0.5),))
SHIFTED = dataclasses.replace(THINNING, across=False)
CASES = {
    "spectra": (measured((4, 50)), VOID, {}),
    "patterns": (measured((4, 20, 31)), VOID, {}),
    "volumes": (measured((3, 9, 10, 11)), VOID, {}),
    "centre": (measured((4, 20, 31), center=CENTRE), Masked(), {}),
    "halves": (measured((4, 20, 31), center=CENTRE), Smae(), {}),
    "across": (measured((4, 20, 31), center=CENTRE), THINNING, {}),
    "repeats": (measured((4, 50)), Noise2Noise(), {}),
    "others beside": (
        measured((4, 50, 3), channels=True),
        Noise2Noise(strategy="X:1", channels=True),
        {},
    ),
    "own beside": (
        measured((4, 12, 13, 3), channels=True),
        Noise2Noise(strategy="1:X", channels=True),
        {},
    ),
    "channels": (measured((4, 20, 31, 2), center=CENTRE, channels=True), Masked(), {}),
    "reference": (
        measured((4, 20, 31), center=CENTRE),
        Supervised(),
        {"reference": measured((4, 20, 31), seed=1)},
    ),
    "whole": (measured((4, 50)), PRIOR, {}),
    "one mask": (
        dataclasses.replace(measured((4, 50)), exposure=np.ones((1, 50), np.float32)),
        VOID,
        {},
    ),
}


def placed_of(name, **how):
    data, method, more = CASES[name]
    return place(data, method, how=Placing(**{"patch": 8, "share": 0.2, **how}), **more)


@pytest.mark.parametrize("name", CASES)
def test_host_and_device_cut_alike(name):
    placed = placed_of(name)
    on_device = jax.tree.map(jnp.asarray, placed)
    for judging in (False, True):
        places = draw_places(jax.random.key(1), on_device, batch_size=7, judging=judging)
        device = gather(on_device, *places, judging=judging)
        host = placing.gather(
            placed, *map(np.asarray, places), judging=judging, cut=placing.cut_on_host
        )
        assert jax.tree.structure(device) == jax.tree.structure(host)
        for one, other in zip(*map(jax.tree.leaves, (device, host)), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", CASES)
def test_examples_are_the_measured_pixels(name):
    """Against plain slices of the canvas."""
    placed = placed_of(name)
    chosen, origins = draw_places(jax.random.key(2), placed, batch_size=9)
    batch = gather(placed, chosen, origins)
    channels = placed.counts.shape[1]
    for k, (which, origin) in enumerate(zip(np.asarray(chosen), np.asarray(origins), strict=True)):
        frame, channel = divmod(int(which), channels)
        here = tuple(slice(o, o + p) for o, p in zip(origin, placed.patch, strict=True))
        light = placed.exposure[min(frame, len(placed.exposure) - 1)][here]
        np.testing.assert_array_equal(batch.counts[k], placed.counts[frame, channel][here])
        np.testing.assert_array_equal(batch.exposure[k], light)
        np.testing.assert_array_equal(batch.eligible[k], ~placed.held_out[here])
        assert batch.scale[k] == placed.scale[frame]
        assert batch.counts[k].shape == placed.patch


@pytest.mark.parametrize("name", ["centre", "halves", "across", "channels", "reference"])
def test_the_partner_is_the_turned_patch(name):
    placed = placed_of(name)
    chosen, origins = draw_places(jax.random.key(3), placed, batch_size=9)
    batch = gather(placed, chosen, origins)
    channels = placed.counts.shape[1]
    for k, (which, (y, x)) in enumerate(zip(np.asarray(chosen), np.asarray(origins), strict=True)):
        frame, channel = divmod(int(which), channels)
        here = np.s_[y : y + placed.patch[0], x : x + placed.patch[1]]
        turned = placed.counts[frame, channel][::-1, ::-1][here]
        np.testing.assert_array_equal(batch.partner_counts[k], turned)
        np.testing.assert_array_equal(
            batch.partner_exposure[k], placed.exposure[frame][::-1, ::-1][here]
        )
    assert (np.asarray(batch.partner_counts) != np.asarray(batch.counts)).any()


def test_without_a_centre_there_is_no_partner():
    for name in ("spectra", "patterns", "volumes", "repeats"):
        batch = draw(jax.random.key(0), placed_of(name), batch_size=3)
        assert batch.identity is None
        assert float(np.abs(batch.partner_counts).max()) == 0
        assert float(np.abs(batch.partner_exposure).max()) == 0


@pytest.mark.parametrize("name", ["centre", "halves", "across"])
def test_a_pixel_and_its_partner_are_known_by_one_number_wherever_they_are_met(name):
    placed = placed_of(name)
    chosen, origins = draw_places(jax.random.key(4), placed, batch_size=40)
    batch = gather(placed, chosen, origins)
    height, width = placed.held_out.shape
    y, x = (np.asarray(origins)[:, k, None, None] + np.indices(placed.patch)[k] for k in (0, 1))
    frame = np.asarray(chosen)[:, None, None]
    known = {}
    for who, row, column in (
        (batch.identity, y, x),
        (batch.partner_identity, height - 1 - y, width - 1 - x),
    ):
        place_of = (frame * height + row) * width + column
        for where, number in zip(place_of.ravel(), np.asarray(who).ravel(), strict=True):
            assert known.setdefault(int(where), int(number)) == int(number)
    assert len(set(known.values())) == len(known) > 500


@pytest.mark.parametrize("name", CASES)
def test_held_out_pixels_come_with_their_partners_and_judge(name):
    placed = placed_of(name)
    if placed.turned:
        np.testing.assert_array_equal(placed.held_out, np.flip(placed.held_out))
        assert 0.1 < placed.held_out.mean() < 0.3
    elif placed.judging is None:
        assert placed.held_out.sum() == round(0.2 * placed.held_out.size)
    places = draw_places(jax.random.key(5), placed, batch_size=6)
    train, judge = (gather(placed, *places, judging=j) for j in (False, True))
    if placed.judging is None:
        np.testing.assert_array_equal(train.eligible + judge.eligible, 1)
        assert 0 < judge.eligible.mean() < 0.5


def test_held_out_frames_judge_with_every_pixel():
    placed = placed_of("centre", held_out="frames", share=0.25)
    assert (len(placed.frames), len(placed.judges)) == (3, 1)
    assert not set(placed.frames) & set(placed.judges)
    for judging, frames in ((False, placed.frames), (True, placed.judges)):
        chosen, _ = draw_places(jax.random.key(6), placed, batch_size=12, judging=judging)
        assert set(np.asarray(chosen)) == set(frames)
        batch = draw(jax.random.key(6), placed, batch_size=12, judging=judging)
        np.testing.assert_array_equal(batch.eligible, 1)


@pytest.mark.parametrize("name", ["spectra", "channels", "others beside", "across"])
def test_all_frames_and_channels_come_equally_often(name):
    placed = placed_of(name)
    number = placed.counts.shape[0] * placed.counts.shape[1]
    chosen, _ = draw_places(jax.random.key(7), placed, batch_size=3 * number)
    np.testing.assert_array_equal(np.bincount(np.asarray(chosen), minlength=number), 3)
    few, _ = draw_places(jax.random.key(8), placed, batch_size=number - 1)
    assert len(set(np.asarray(few).tolist())) == number - 1  # none twice before all came


def test_counts_that_judge_a_whole_measurement_are_not_in_what_is_drawn():
    data, method, _ = CASES["whole"]
    placed = place(data, method, how=Placing(share=0.2))
    held, light = placed.judging
    total = data.counts.sum(axis=0)
    np.testing.assert_array_equal(placed.counts[0, 0] + held[0, 0], total)
    np.testing.assert_allclose(placed.exposure[0] + light[0], data.full_exposure.sum(0), rtol=1e-6)
    assert held.sum() / total.sum() == pytest.approx(0.2, rel=0.1)
    for judging, counts in ((False, placed.counts), (True, held)):
        batch = draw(jax.random.key(0), placed, batch_size=1, judging=judging)
        np.testing.assert_array_equal(batch.counts, counts[0])
        np.testing.assert_array_equal(batch.eligible, 1)


def test_the_others_are_all_repeats_but_ones_own():
    placed, data = placed_of("repeats"), CASES["repeats"][0]
    chosen, origins = draw_places(jax.random.key(9), placed, batch_size=8)
    batch = gather(placed, chosen, origins)
    for k, (frame, (x,)) in enumerate(zip(np.asarray(chosen), np.asarray(origins), strict=True)):
        rest = np.delete(np.arange(4), frame)
        here = slice(x, x + 8)
        np.testing.assert_array_equal(batch.reference_counts[k], data.counts[rest, here].sum(0))
        np.testing.assert_array_equal(
            batch.reference_exposure[k], data.full_exposure[rest, here].sum(0)
        )


@pytest.mark.parametrize("name", ["others beside", "own beside"])
def test_beside_each_channel_stands_the_mean_of_all(name):
    placed, data = placed_of(name), CASES[name][0]
    chosen, origins = draw_places(jax.random.key(10), placed, batch_size=12)
    batch = gather(placed, chosen, origins)
    mean = data.counts.mean(axis=-1)
    for k, (which, origin) in enumerate(zip(np.asarray(chosen), np.asarray(origins), strict=True)):
        frame = which // 3
        shown = np.delete(np.arange(4), frame) if name == "others beside" else [frame]
        here = tuple(slice(o, o + p) for o, p in zip(origin, placed.patch, strict=True))
        expected = mean[(shown, *here)].sum(0)
        np.testing.assert_allclose(batch.partner_counts[k], expected, rtol=1e-5, atol=0.1)
        light = data.full_exposure[(shown, *here)].sum(0)
        np.testing.assert_array_equal(batch.partner_exposure[k], light)


def test_a_reference_stands_at_the_same_pixels():
    placed = placed_of("reference")
    chosen, origins = draw_places(jax.random.key(11), placed, batch_size=5)
    batch = gather(placed, chosen, origins)
    for k, (frame, (y, x)) in enumerate(zip(np.asarray(chosen), np.asarray(origins), strict=True)):
        here = np.s_[y : y + 8, x : x + 8]
        np.testing.assert_array_equal(
            batch.reference_counts[k], placed.reference[0][frame, 0][here]
        )
        np.testing.assert_array_equal(batch.reference_exposure[k], placed.reference[1][frame][here])


def test_a_method_that_needs_a_reference_is_refused_without():
    with pytest.raises(ValueError, match=r"--data\.reference"):
        place(CASES["reference"][0], Supervised())


@pytest.mark.parametrize(("method", "most"), [(Smae(), 12), (SHIFTED, 15), (Masked(), 20)])
def test_patches_keep_to_their_region(method, most):
    """As large as the region allows where there is no limit: half of the width, or everything."""
    data = measured((3, 20, 31), center=CENTRE)
    placed = place(data, method, how=Placing(patch=0))
    assert placed.patch[0] == placed.patch[1] <= 20
    width = placed.held_out.shape[1]
    if method.region == "half":
        x = placed.origins[:, 1]
        assert ((x + placed.patch[1] <= width // 2) | (x >= width - width // 2)).all()
        assert most <= placed.patch[1] <= width // 2
    else:
        assert placed.patch[1] == most


@pytest.mark.parametrize("spatial", [(11,), (6, 9), (4, 5, 6)])
def test_patches_without_a_centre_lie_anywhere_inside(spatial):
    placed = place(measured((2, *spatial)), VOID, how=Placing(patch=min(spatial) - 2))
    _, origins = draw_places(jax.random.key(12), placed, batch_size=400)
    room = [n - p for n, p in zip(spatial, placed.patch, strict=True)]
    np.testing.assert_array_equal(np.asarray(origins).min(axis=0), 0)
    np.testing.assert_array_equal(np.asarray(origins).max(axis=0), room)
