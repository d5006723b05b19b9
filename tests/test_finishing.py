"""After the network: stages in one order, for whole answers and for halves of the photons alike."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import smae_jax
from smae_jax import models
from smae_jax.finishing import (
    COUNTED,
    STAGES,
    UNCOUNTED,
    Evidence,
    combine,
    conserve_totals,
    error_bars,
    finish,
    keep_dark,
    keep_shadows,
    keep_spots,
    keep_sums,
    name_of,
    split_photons,
)
from smae_jax.methods.protocol import Answers
from smae_jax.training import make_mesh

NAMES = [  # that photon counts go through
    *("combine", "keep_spots", "keep_dark", "keep_sums", "keep_shadows"),
    *("conserve_totals", "put_back", "error_bars"),
]


def drifting(frames=10, *, size=(24, 21), seed=0):
    """Return a scan about a centre off the middle, whose peak grows, with a gap."""
    y, x = np.mgrid[: size[0], : size[1]]
    steps = 1 + np.arange(frames)[:, None, None] / frames
    rate = 2 + 6 * steps * np.exp(-(((y - 12.5) / 4) ** 2) - ((x - 10) / 6) ** 2)
    valid = np.ones(size, bool)
    valid[3:5] = False
    counts = np.random.default_rng(seed).poisson(rate)
    return smae_jax.from_arrays(counts, valid=valid, center=(12.5, 10.0))


def blurred(data):
    """Answer as a blur would, in counts per full frame."""
    light = data.full_exposure
    smooth = [gaussian_filter(np.asarray(image, float), 1.0) for image in (*data.counts, *light)]
    counts = np.stack(smooth[: data.frames]) / np.maximum(np.stack(smooth[data.frames :]), 1e-6)
    known = np.broadcast_to(data.valid, counts.shape)
    counts = np.where(known, counts, np.nan).astype(np.float32)
    return Answers(counts, known, np.zeros_like(known))


class Blur:
    """Answers that can be asked again, and what they were asked."""

    def __init__(self, data):
        self.asked = []
        self.answers = dataclasses.replace(blurred(data), again=self.again)

    def again(self, data, frames=None):
        self.asked.append(data)
        return blurred(data)


def spy(seen):
    """Return a stage that notes what it is given and changes nothing."""

    def looked_at(answers, evidence):
        seen.append((answers, evidence))
        return answers

    return looked_at


def test_the_stages_and_their_order():
    names = [name_of(stage) for stage in STAGES]
    assert names == [*NAMES[:5], "keep_measured", *NAMES[5:]]
    assert (STAGES[5],) == UNCOUNTED
    assert smae_jax.STAGES is STAGES
    assert set(COUNTED) == set(STAGES[:5])
    assert name_of(functools.partial(keep_spots, sigmas=3.0)) == "keep_spots"


def test_stages_run_in_their_order_and_say_what_they_did():
    data = drifting()
    found = finish(Blur(data).answers, data)
    assert [stage for stage, _ in found.done] == NAMES
    assert all(what for _, what in found.done)
    assert found.sigma.shape == found.counts.shape
    measured = np.broadcast_to(data.valid, found.counts.shape)
    assert (found.sigma[measured] > 0).all()
    np.testing.assert_allclose(
        np.where(measured, found.counts, 0).sum(axis=(1, 2)),
        data.counts.sum(axis=(1, 2)),
        rtol=1e-5,
    )


def test_what_was_given_is_not_changed():
    data = drifting()
    answers = Blur(data).answers
    before, counts = answers.counts.copy(), data.counts.copy()
    finish(answers, data)
    np.testing.assert_array_equal(answers.counts, before)
    np.testing.assert_array_equal(data.counts, counts)
    assert answers.done == ()


@pytest.mark.parametrize("left_out", STAGES, ids=name_of)
def test_any_stage_can_be_left_out(left_out):
    data = drifting()
    stages = [stage for stage in STAGES if stage is not left_out]
    found = finish(Blur(data).answers, data, stages=stages)
    assert [stage for stage, _ in found.done] == [n for n in NAMES if n != name_of(left_out)]


def test_without_stages_nothing_is_done_or_asked():
    data = drifting()
    blur = Blur(data)
    assert finish(blur.answers, data, stages=()) is blur.answers
    assert not blur.asked


def test_a_function_of_ones_own_stands_between_stages():
    data = drifting()

    def doubled(answers, evidence):
        assert evidence.data.spatial == data.spatial
        return answers.after("doubled", "times two", counts=2 * answers.counts)

    stages = (combine, doubled, keep_sums)
    found = finish(Blur(data).answers, data, stages=stages)
    assert [stage for stage, _ in found.done] == ["combine", "doubled", "keep_sums"]
    plain = finish(Blur(data).answers, data, stages=(combine,))
    last = finish(Blur(data).answers, data, stages=(combine, doubled))
    np.testing.assert_array_equal(last.counts, 2 * plain.counts)


@pytest.mark.parametrize(
    ("stages", "halves"),
    [((), 0), ((keep_spots, keep_sums), 0), ((combine,), 1), ((error_bars,), 2)],
)
def test_no_more_is_asked_for_than_the_stages_need(stages, halves):
    data, seen = drifting(), []
    blur = Blur(data)
    found = finish(blur.answers, data, stages=(spy(seen), *stages))
    assert len(blur.asked) == len(seen[0][1].halves) == halves
    assert (found.variance is not None) == (error_bars in stages)


def test_halves_follow_only_where_something_looks_at_them(monkeypatch):
    data, through = drifting(), []
    after = Evidence.after
    monkeypatch.setattr(Evidence, "after", lambda *a: (through.append(name_of(a[1])), after(*a))[1])
    finish(Blur(data).answers, data, stages=STAGES[:-1])
    assert not through
    finish(Blur(data).answers, data)
    assert through == NAMES[:-1]


def test_halves_of_the_photons_go_through_the_stages_of_the_whole():
    data, before, between, after = drifting(), [], [], []
    stages = (
        spy(before),
        combine,
        keep_spots,
        spy(between),
        keep_dark,
        keep_sums,
        keep_shadows,
        conserve_totals,
        spy(after),
    )
    found = finish(Blur(data).answers, data, stages=(*stages, error_bars))
    for seen in (before, between, after):
        assert len(seen) == 3
        (whole, evidence), *halves = seen
        assert evidence.data is data
        for (half, own), kept in zip(halves, evidence.halves, strict=True):
            assert [stage for stage, _ in half.done] == [stage for stage, _ in whole.done]
            np.testing.assert_array_equal(half.counts, kept.answers.counts)
            np.testing.assert_array_equal(own.data.counts, kept.data.counts)
            np.testing.assert_array_equal(own.data.exposure, data.exposure / 2)
    names = [[stage for stage, _ in seen[0][0].done] for seen in (before, between, after)]
    assert names == [[], NAMES[:2], NAMES[:6]]
    assert [stage for stage, _ in found.done] == [n for n in NAMES if n != "put_back"]
    halves = after[0][1].halves
    for half in halves:  # each has its own total, in counts per full frame
        measured = np.where(data.valid, half.answers.counts, 0).sum(axis=(1, 2))
        np.testing.assert_allclose(measured, 2 * half.data.counts.sum(axis=(1, 2)), rtol=1e-5)


def test_halves_are_each_others_held_out_photons():
    data, seen = drifting(), []
    finish(Blur(data).answers, data, stages=(spy(seen), error_bars))
    evidence = seen[0][1]
    for half, held_out in zip(evidence.halves, evidence.held_out, strict=True):
        np.testing.assert_array_equal(half.data.counts + held_out, data.counts)
    assert (evidence.held_out_exposure[evidence.valid] == 0.5).all()


def test_photons_are_split_evenly_and_each_frame_in_a_way_of_its_own():
    data = drifting(40)
    first, second = split_photons(jax.random.key(0), data)
    np.testing.assert_array_equal(first + second, data.counts)
    assert min(first.min(), second.min()) == 0
    assert first.sum() / data.counts.sum() == pytest.approx(0.5, abs=0.01)
    # Independent Poisson counts: the variance of the difference is the number of photons.
    difference = (first - second).astype(float)
    assert (difference**2).sum() / data.counts.sum() == pytest.approx(1.0, abs=0.05)
    of_mean = difference.mean(axis=0) ** 2
    assert of_mean.sum() / data.counts.mean(axis=0).sum() == pytest.approx(1 / 40, rel=0.2)
    some = split_photons(jax.random.key(0), data.take([0, 1, 2]))[0]
    np.testing.assert_array_equal(some, first[:3])
    assert (split_photons(jax.random.key(1), data)[0] != first).any()


def test_what_is_no_photon_count_goes_through_no_stage_that_knows_their_noise():
    data = drifting()
    values = dataclasses.replace(data, counts=data.counts.astype(np.float32) + 0.5)
    blur, seen = Blur(values), []
    stages = (*COUNTED, spy(seen), conserve_totals)
    found = finish(
        blur.answers, values, stages=(functools.partial(keep_spots, sigmas=3.0), *stages)
    )
    assert [stage for stage, _ in found.done] == ["conserve_totals"]
    assert len(seen) == 1
    assert not blur.asked
    assert finish(blur.answers, values).sigma is None


def test_one_answer_to_all_repeats_passes_untouched():
    counts = np.random.default_rng(0).poisson(5.0, (4, 30))
    data = smae_jax.from_arrays(counts)
    answer = counts.mean(axis=0, keepdims=True).astype(np.float32)
    known = np.ones_like(answer, bool)
    answers = Answers(answer, known, ~known, variance=answer / 4)
    stages = STAGES[:-1]
    found = finish(answers, data, stages=stages)
    np.testing.assert_array_equal(found.counts, answer)
    assert found.done == ()
    with_bars = finish(answers, data)
    np.testing.assert_array_equal(with_bars.counts, answer)
    np.testing.assert_allclose(with_bars.sigma, np.sqrt(answer / 4))


def test_a_single_frame_is_finished_alone():
    data = drifting(1)
    found = finish(Blur(data).answers, data)
    assert [stage for stage, _ in found.done] == [
        "keep_spots",
        "keep_shadows",
        "conserve_totals",
        "put_back",
        "error_bars",
    ]
    assert found.counts.shape == found.sigma.shape == (1, 24, 21)


@pytest.mark.parametrize(("frames", "combined"), [(7, False), (8, True)])
def test_fewer_than_eight_frames_do_not_combine(frames, combined):
    data = drifting(frames)
    blur = Blur(data)
    found = finish(blur.answers, data, stages=(combine,))
    assert [stage for stage, _ in found.done] == ["combine"] * combined
    assert np.array_equal(found.counts, blur.answers.counts, equal_nan=True) != combined
    assert len(blur.asked) == combined


def test_patterns_without_a_centre_are_neither_combined_nor_corrected():
    data = dataclasses.replace(drifting(), center=None)
    found = finish(Blur(data).answers, data, stages=STAGES[:-1])
    assert [stage for stage, _ in found.done] == ["conserve_totals", "put_back"]


def test_error_bars_are_left_out_where_there_are_none_and_the_stage_alone_refuses():
    spectra = smae_jax.from_arrays(np.random.default_rng(0).poisson(5.0, (4, 30)))
    one = dataclasses.replace(Blur(spectra).answers, counts=np.ones((1, 30)), again=None)
    for answers in (Blur(spectra).answers, one):
        found = finish(answers, spectra)
        assert found.sigma is None
        assert dict(found.done)["error_bars"].startswith("none: ")
        assert dict(finish(answers, spectra, stages=STAGES[:-1]).done).get("error_bars") is None
    scan = drifting()
    cannot = dataclasses.replace(Blur(scan).answers, again=None)
    with pytest.raises(smae_jax.UserError, match="no error bars"):
        error_bars(cannot, Evidence(scan))


def test_the_key_decides_how_photons_are_split_and_nothing_else_does():
    data = drifting()
    first, again = (finish(Blur(data).answers, data) for _ in range(2))
    zero = finish(Blur(data).answers, data, key=jax.random.key(0))
    for other in (again, zero):
        np.testing.assert_array_equal(other.counts, first.counts)
        np.testing.assert_array_equal(other.sigma, first.sigma)
    one = finish(Blur(data).answers, data, key=jax.random.key(1))
    assert not np.array_equal(one.counts, first.counts, equal_nan=True)


@pytest.fixture(scope="module")
def network():
    """A network that is asked through all stages: (data, method, net, parameters)."""
    data = drifting()
    method = smae_jax.Thinning(partner="channel").settled(data)
    net = smae_jax.unet(method, widths=(4,), blocks=0)
    drawn = models.initial_parameters(
        net, jax.random.key(5), channels=method.source_channels, spatial=(16, 16)
    )
    rng = np.random.default_rng(6)
    far = jax.tree.map(lambda leaf: leaf + 0.1 * rng.standard_normal(leaf.shape), drawn)
    return data, method, net, jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), far)


def finished(network, **options):
    data, method, net, parameters = network
    answers = smae_jax.predict(net, parameters, method, data, **options)
    return smae_jax.finish(answers, data)


@pytest.fixture(scope="module")
def expected(network):
    """What eight devices answer in one batch."""
    return finished(network)


@pytest.mark.parametrize(
    "options", [{}, {"batch_size": 3, "mesh": make_mesh(1)}], ids=["again", "three on one device"]
)
def test_the_same_counts_have_the_same_answers_however_they_are_batched(network, expected, options):
    found = finished(network, **options)
    rounding = 1.0 if options else 0.0  # none where the batches are the same
    np.testing.assert_allclose(found.counts, expected.counts, rtol=2e-5 * rounding)
    np.testing.assert_allclose(found.sigma, expected.sigma, rtol=2e-3 * rounding)
    np.testing.assert_array_equal(found.kept, expected.kept)
    assert [stage for stage, _ in found.done] == NAMES


def test_the_network_is_asked_for_the_whole_and_for_both_halves(network, expected):
    data = network[0]
    known = expected.known
    assert np.isfinite(expected.counts[known]).all()
    assert (expected.sigma[known] > 0).all()
    assert np.isnan(expected.sigma[~known]).all()
    assert "halves of the photons" in dict(expected.done)["error_bars"]
    assert data.frames == len(expected.counts)
