"""Prediction: the same answers however frames are batched and devices are many, compiled once."""

import dataclasses

import jax
import numpy as np
import pytest

import smae_jax
from smae_jax import inference, models
from smae_jax.finishing import Evidence, conserve_totals
from smae_jax.geometry import Center
from smae_jax.inference import Predictor, conserve, ensemble, predict
from smae_jax.measurements import Measurements
from smae_jax.methods.protocol import Answers
from smae_jax.training import make_mesh

FRAMES = 6
ONE, EIGHT = make_mesh(1), make_mesh(8)


def counted(shape, *, seed=0, mean=4.0):
    """Return photons of a rate that no motion leaves as it is."""
    axes = np.meshgrid(*(np.arange(n) for n in shape[1:]), indexing="ij")
    rate = mean * (1 + 0.7 * np.sin(sum((k + 1) * a / 5 for k, a in enumerate(axes))))
    return np.random.default_rng(seed).poisson(rate, shape)


@pytest.fixture(scope="module")
def scan():
    """Frames of (22, 19) about a centre off the middle, with a gap and a lone bad pixel."""
    valid = np.ones((22, 19), bool)
    valid[4:6] = valid[9, 3] = False
    return smae_jax.from_arrays(counted((FRAMES, 22, 19)), valid=valid, center=(11.5, 9.0))


def network(method, axes=2, **options):
    """Return a small network with parameters as if it were trained: its last layer begins with zeros."""
    net = smae_jax.unet(method, widths=(4,), blocks=0, **options)
    channels = method.source_channels
    drawn = jax.jit(
        lambda key: models.initial_parameters(net, key, channels=channels, spatial=(16,) * axes)
    )(jax.random.key(5))
    rng = np.random.default_rng(6)
    far = lambda leaf: np.asarray(leaf + 0.2 * rng.standard_normal(leaf.shape), np.float32)  # noqa: E731
    return net, jax.tree.map(far, drawn)


@pytest.fixture(scope="module")
def split(scan):
    """Thinning without a partner's shift, and its network: (method, net, parameters)."""
    method = smae_jax.Thinning(partner="channel").settled(scan)
    return method, *network(method)


def assert_same(found, expected):
    """Compare answers."""
    np.testing.assert_array_equal(found.known, expected.known)
    np.testing.assert_array_equal(found.filled, expected.filled)
    np.testing.assert_allclose(found.counts, expected.counts, rtol=2e-6)


@pytest.fixture(scope="module")
def whole(scan, split):
    """What one batch of all frames on one device answers."""
    method, net, parameters = split
    return Predictor(net, method, mesh=ONE)(parameters, scan)


@pytest.mark.parametrize("batch_size", [1, FRAMES - 1, FRAMES, FRAMES + 1])
def test_answers_do_not_depend_on_the_size_of_batches(scan, split, whole, batch_size):
    method, net, parameters = split
    batches = Predictor(net, method, batch_size=batch_size, mesh=ONE)
    assert_same(batches(parameters, scan), whole)


def test_eight_devices_answer_as_one(scan, split, whole):
    method, net, parameters = split
    assert FRAMES % 8  # the batch is filled up
    assert_same(Predictor(net, method, mesh=EIGHT)(parameters, scan), whole)


def test_a_frame_answers_for_itself(scan, split):
    method, net, parameters = split
    scale = np.full(FRAMES, 4.0, np.float32)
    whole = predict(net, parameters, method, scan, scale=scale)
    alone = predict(net, parameters, method, scan.take([3]), scale=scale[:1])
    np.testing.assert_allclose(alone.counts[0], whole.counts[3], rtol=1e-6)


def test_the_last_batch_does_not_compile_again(scan, split, compiled):
    method, net, parameters = split
    predictor = Predictor(net, method, batch_size=4, mesh=ONE)
    predictor(parameters, scan)  # batches of 4, and of 2 and two to fill up
    assert compiled.count("jit(_whole)") == 1
    predictor(parameters, scan.take(np.arange(5)))
    assert compiled.count("jit(_whole)") == 1


def test_equal_predictors_share_what_was_compiled(scan, split, compiled):
    method, net, parameters = split
    for batch_size in (3, 3):
        predictor = Predictor(net, method, batch_size=batch_size, mesh=ONE, group="none")
        predictor(parameters, scan.take(np.arange(3)))
    assert compiled.count("jit(_whole)") == 1


def test_batches_are_as_even_as_can_be(scan, split, whole, monkeypatch):
    method, net, parameters = split
    pixels = np.prod(inference.canvas_of(scan, extent="all").shape)
    monkeypatch.setitem(inference.PIXELS_PER_BATCH, "cpu", 4 * pixels)
    predictor, seen = Predictor(net, method, mesh=ONE), []
    inner = predictor._once

    def once(parameters, counts, *arguments, **options):
        seen.append(len(counts))
        return inner(parameters, counts, *arguments, **options)

    vars(predictor)["_once"] = once
    assert_same(predictor(parameters, scan), whole)
    assert seen == [3, 3]  # not four and two


def test_parameters_are_put_on_the_devices_once(scan, split):
    method, net, parameters = split
    predictor, seen = Predictor(net, method, batch_size=2, mesh=ONE), []
    inner = predictor._once

    def once(parameters, *arguments, **options):
        seen.append(jax.tree.leaves(parameters))
        return inner(parameters, *arguments, **options)

    vars(predictor)["_once"] = once
    predictor(jax.tree.map(np.asarray, parameters), scan)
    assert len(seen) == 3
    assert all(isinstance(leaf, jax.Array) for leaf in seen[0])
    for later in seen[1:]:
        assert all(one is other for one, other in zip(later, seen[0], strict=True))


def test_every_answer_adds_up_to_its_own_counts(scan, split):
    method, net, parameters = split
    answers = Predictor(net, method)(parameters, scan)
    measured = np.broadcast_to(scan.valid, scan.counts.shape)
    totals = np.where(measured, answers.counts, 0).sum(axis=(1, 2))
    np.testing.assert_allclose(totals, scan.counts.sum(axis=(1, 2)), rtol=1e-5)
    free = Predictor(net, method, conserve_totals=False)(parameters, scan)
    assert abs(np.where(measured, free.counts, 0).sum() / scan.counts.sum() - 1) > 1e-4


def test_pixels_are_answered_where_they_or_their_partners_were_measured(scan, split):
    method, net, parameters = split
    answers = Predictor(net, method)(parameters, scan)
    valid = scan.valid[0]
    np.testing.assert_array_equal(np.isfinite(answers.counts), answers.known)
    assert answers.known[:, valid].all()
    assert not answers.filled[:, valid].any()
    assert answers.filled[:, 4:6].all()  # the turned rows 17 and 18 were measured
    assert answers.filled[:, 9, 3].all()


@pytest.mark.parametrize("shape", [(5, 50), (5, 20, 17), (3, 12, 9, 10)])
def test_any_number_of_axes(shape):
    data = smae_jax.from_arrays(counted(shape), dimensions=len(shape) - 1)
    method = smae_jax.Noise2Void().settled(data)
    net, parameters = network(method, axes=len(shape) - 1)
    answers = Predictor(net, method, batch_size=2, mesh=ONE)(parameters, data)
    assert answers.counts.shape == shape
    axes = tuple(range(1, len(shape)))
    np.testing.assert_allclose(answers.counts.sum(axes), data.counts.sum(axes), rtol=1e-5)
    whole = Predictor(net, method)(parameters, data)
    np.testing.assert_allclose(answers.counts, whole.counts, rtol=1e-5)


def test_channels_are_answered_as_they_stand_alone():
    counts = np.stack([counted((4, 40)), counted((4, 40), seed=1, mean=9.0)], axis=-1)
    data = smae_jax.from_arrays(counts, dimensions=1, channels=True)
    method = smae_jax.Thinning().settled(data)
    net, parameters = network(method, axes=1)
    scale = np.full(4, 5.0, np.float32)
    answers = Predictor(net, method, batch_size=3, mesh=ONE)(parameters, data, scale=scale)
    assert answers.counts.shape == (4, 40, 2)
    for channel in range(2):
        one = smae_jax.from_arrays(counts[..., channel], dimensions=1)
        alone = Predictor(net, method)(parameters, one, scale=scale)
        np.testing.assert_allclose(answers.counts[..., channel], alone.counts, rtol=1e-5)


def test_repeats_with_channels_have_one_answer_with_channels():
    counts = np.stack([counted((4, 40)), counted((4, 40), seed=1, mean=9.0)], axis=-1)
    data = smae_jax.from_arrays(counts, dimensions=1, channels=True)
    method = smae_jax.Noise2Noise().settled(data)
    net, parameters = network(method, axes=1)
    answers = Predictor(net, method)(parameters, data, leave_out=True)
    assert answers.counts.shape == answers.variance.shape == (1, 40, 2)
    np.testing.assert_allclose(
        answers.counts[0].sum(axis=0), data.counts.sum(axis=(0, 1)) / 4, rtol=1e-5
    )


@pytest.mark.parametrize("repeats", [2, 3, 5])
def test_one_answer_to_all_repeats_has_a_variance_from_three_on(repeats):
    data = smae_jax.from_arrays(counted((repeats, 60)), exposure=1 + np.arange(repeats))
    method = smae_jax.Noise2Noise().settled(data)
    net, parameters = network(method, axes=1)
    assert Predictor(net, method)(parameters, data).variance is None
    answers = Predictor(net, method)(parameters, data, leave_out=True)
    assert answers.counts.shape == (1, 60)
    per_exposure = data.counts.sum() / data.frame_exposure.sum()
    assert answers.counts.sum() == pytest.approx(per_exposure, rel=1e-5)
    assert (answers.variance is None) == (repeats < 3)
    if repeats > 2:
        assert (answers.variance > 0).all()
        assert np.isfinite(answers.variance).all()


@pytest.mark.parametrize("method", [smae_jax.Thinning(partner="channel"), smae_jax.Smae()])
def test_a_part_of_the_exposure_is_answered_in_counts_of_full_frames(scan, method):
    method = method.settled(scan)
    net, parameters = network(method)
    full = Predictor(net, method)(parameters, scan, scale=4.0)
    doubled = dataclasses.replace(scan, counts=2 * scan.counts, exposure=2 * scan.exposure)
    half = dataclasses.replace(scan, exposure=scan.exposure / 2)
    for data, factor in ((half, 2.0), (doubled, 1.0)):
        answers = Predictor(net, method)(parameters, data, scale=4.0 * factor)
        total = np.where(scan.valid, answers.counts * data.exposure.max(), 0).sum()
        assert total == pytest.approx(data.counts.sum(), rel=1e-5)
        if not method.sees_exposure:  # it is shown a weaker frame, or a brighter one
            np.testing.assert_allclose(answers.counts, factor * full.counts, rtol=1e-5)


def test_frames_of_unlike_exposures_are_answered_per_full_frame(scan, split):
    method, net, parameters = split
    light = np.array([0.5, 1, 1, 1, 2, 3], np.float32)[:, None, None]
    data = dataclasses.replace(scan, exposure=(scan.exposure * light).astype(np.float32))
    answers = Predictor(net, method)(parameters, data)
    totals = np.where(data.valid, answers.counts * data.exposure, 0).sum(axis=(1, 2))
    np.testing.assert_allclose(totals, scan.counts.sum(axis=(1, 2)), rtol=1e-5)


def test_a_mirrored_frame_has_the_mirrored_answer(scan):
    """The ensemble over a group makes every network follow its motions."""
    data = dataclasses.replace(scan, center=None)
    method = smae_jax.Noise2Void().settled(data)
    net, parameters = network(method)
    flipped = dataclasses.replace(
        data, counts=data.counts[..., ::-1].copy(), exposure=data.exposure[..., ::-1].copy()
    )
    found, mirrored = (
        Predictor(net, method, conserve_totals=False)(parameters, one, scale=4.0).counts
        for one in (data, flipped)
    )
    np.testing.assert_allclose(mirrored[..., ::-1], found, rtol=1e-4)
    alone = Predictor(net, method, group="none", conserve_totals=False)
    a, b = (alone(parameters, one, scale=4.0).counts for one in (data, flipped))
    assert not np.allclose(a, b[..., ::-1], rtol=1e-4, equal_nan=True)


def test_the_ensemble_of_a_spectrum_is_itself_and_its_mirror_image():
    source = np.arange(12.0, dtype=np.float32).reshape(2, 3, 2)
    found = ensemble(lambda x: x.at[:, 0].multiply(0.0), group="flips")(jax.numpy.asarray(source))
    expected = source * np.array([0.5, 1.0, 0.5], np.float32)[:, None]
    np.testing.assert_allclose(found, expected)


def test_a_frame_whose_values_add_up_to_less_than_nothing_stays_as_it_is():
    counts, light = jax.numpy.ones((2, 3, 4)), jax.numpy.ones((2, 3, 4))
    known = light > 0
    given = Answers(2 * light, known, ~known)
    below = counts.at[0].set(-1.0)
    np.testing.assert_allclose(
        conserve(given, below, light).counts, [[[2.0] * 4] * 3, [[1.0] * 4] * 3]
    )
    data = Measurements(np.asarray(below), np.ones((1, 3, 4), np.float32), Center.given((1.0, 1.5)))
    found = conserve_totals(given, Evidence(data))
    np.testing.assert_allclose(found.counts, [[[2.0] * 4] * 3, [[1.0] * 4] * 3])
    assert "but 1, whose values add up to less than nothing" in found.done[-1][1]


def test_a_frame_whose_prediction_is_nothing_stays_as_it_is():
    counts, light = jax.numpy.ones((2, 3, 4)), jax.numpy.ones((2, 3, 4))
    rate = light.at[0].set(0.0)
    known = light > 0
    found = conserve(Answers(rate, known, ~known), 5 * counts, light).counts
    np.testing.assert_allclose(found[0], 0.0)
    np.testing.assert_allclose(found[1], 5.0)
