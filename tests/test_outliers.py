"""Counts that stand out reach no answer but their own pixel's."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import pdtrc

import smae_jax
from smae_jax.finishing import STAGES, finish, put_back
from smae_jax.outliers import mask_outliers, take_out, with_outliers
from smae_jax.placing import Placing
from smae_jax.simulate import simulate

PLACE = (2, 20, 9)
PARTNER = (2, 45 - 20, 39 - 9)
SMALL = ("--train.steps", 2, "--train.batch-size", 2, "--train.patch", 16, "--unet.widths", 8)


def scan_of(rate=1.4, *, frames=9, size=(46, 40), seed=0, valid=None):
    """A bright centre on a flat ground, turned onto itself about (22.5, 19.5)."""
    y, x = np.mgrid[: size[0], : size[1]]
    shape = rate * (1 + 9 * np.exp(-(((y - 22.5) / 6) ** 2) - ((x - 19.5) / 4) ** 2))
    counts = np.random.default_rng(seed).poisson(shape, (frames, *size))
    valid = np.ones(size, bool) if valid is None else valid
    return smae_jax.from_arrays(np.where(valid, counts, 0), valid=valid, center=(22.5, 19.5))


def with_count(data, place, count):
    counts = data.counts.copy()
    counts[place] = count
    return dataclasses.replace(data, counts=counts)


# --- what stands out ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [40, 2759, 2_000_000])
@pytest.mark.parametrize("frames", [1, 2, 9])
@pytest.mark.parametrize("place", [(0, 20, 9), (0, 0, 0), (0, 45, 20), (0, 11, 13)])
def test_a_lone_bright_pixel_is_taken_out(place, frames, count):
    valid = np.ones((46, 40), bool)
    valid[12:15] = False  # a gap beside the last of the places
    data = scan_of(frames=frames, valid=valid)
    calm = take_out(with_count(data, place, count))
    np.testing.assert_array_equal(calm.outliers.places, [place])
    np.testing.assert_array_equal(calm.outliers.counts, [count])
    assert calm.counts[place] <= 6
    calm.counts[place] = data.counts[place]
    np.testing.assert_array_equal(calm.counts, data.counts)
    assert calm.counts.dtype == data.counts.dtype


def test_what_was_given_is_left_as_it_is_and_comes_back():
    data = with_count(scan_of(), PLACE, 2759)
    before = data.counts.copy()
    calm = take_out(data)
    np.testing.assert_array_equal(data.counts, before)
    np.testing.assert_array_equal(with_outliers(calm).counts, before)
    assert take_out(calm) is calm


def test_two_bright_pixels_side_by_side_are_taken_out():
    data = with_count(with_count(scan_of(), PLACE, 2759), (2, 20, 10), 900)
    calm = take_out(data)
    assert calm.outliers.counts.tolist() == [2759, 900]
    assert calm.counts[2, 20, 9:11].max() <= 6


def test_what_stands_in_has_the_mean_of_the_neighbourhood():
    rng = np.random.default_rng(1)
    counts = rng.poisson(0.4, (1, 400, 400))
    places = np.mgrid[5:395:10, 5:395:10].reshape(2, -1)
    counts[0, places[0], places[1]] = 300
    calm = take_out(smae_jax.from_arrays(counts, valid=np.ones((400, 400), bool), center=(3.5, 3)))
    assert len(calm.outliers.counts) == places.shape[1]
    stand_in = calm.counts[0, places[0], places[1]]
    assert stand_in.mean() == pytest.approx(0.4, abs=0.06)
    assert stand_in.dtype == calm.counts.dtype


@pytest.mark.parametrize("kind", ["saxs", "waxd"])
@pytest.mark.parametrize("photons", [0.1, 3.0, 100.0])
def test_nothing_stands_out_of_a_pattern(kind, photons):
    made = simulate(kind, frames=6, size=64, photons=photons, seed=4)
    data = smae_jax.from_arrays(made.counts, valid=made.valid, center=made.center)
    assert take_out(data).outliers is None
    assert take_out(dataclasses.replace(data, center=None)).outliers is None
    assert take_out(data.take([3])).outliers is None


def plainly_out(data, frame, y, x):
    """The rule of `take_out`, asked of one pixel in loops."""
    light = np.broadcast_to(data.exposure, data.counts.shape)
    rate = np.where(light > 0, data.counts / np.where(light > 0, light, 1), np.nan)
    height, width = data.spatial

    def about(frame, y, x, offsets):
        there = [(y + dy, x + dx) for dy, dx in offsets]
        near = [rate[frame, v, u] for v, u in there if 0 <= v < height and 0 <= u < width]
        return sorted(value for value in near if np.isfinite(value))

    def upper(values):
        return values[len(values) // 2] if values else np.nan

    square = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    told = []
    if data.symmetry is not None:
        v, u = (round(2 * c) - p for c, p in zip(data.symmetry.half_pixel, (y, x), strict=True))
        told += about(frame, v, u, square)
    if data.frames > 2:
        for dy, dx in square:
            if 0 <= y + dy < height and 0 <= x + dx < width:
                others = np.delete(rate[:, y + dy, x + dx], frame)
                told.append(upper(sorted(others[np.isfinite(others)])))
    told = [value for value in told if np.isfinite(value)]
    reach = range(-4, 5)
    ring = [(dy, dx) for dy in reach for dx in reach if max(abs(dy), abs(dx)) > 2]
    near = [(dy, dx) for dy in reach for dx in reach if 0 < max(abs(dy), abs(dx)) < 3]
    beside = [0, 0, *about(frame, y, x, square)][-3]
    usual = np.fmax(upper(about(frame, y, x, ring)), max(told)) if told else None
    usual = np.fmax(upper(about(frame, y, x, near)), beside) if usual is None else usual
    expected, own = usual * light[frame, y, x], data.counts[frame, y, x]
    return own > 4 * expected and pdtrc(own - 1, expected + 1) < 1e-12


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("frames", [1, 2, 6])
def test_what_stands_out_is_told_as_by_the_rule_pixel_by_pixel(frames, centred):
    """Zingers, hot pixels, streaks and gaps, frames of unlike exposure."""
    rng = np.random.default_rng(frames)
    data = scan_of(frames=frames, rate=3.0)
    counts, shape = data.counts.copy(), data.counts.shape
    counts[tuple(rng.integers(0, n, 60) for n in shape)] += rng.integers(10, 300, 60)
    counts[:, 9:40:10, 7] += rng.poisson(90, (frames, 4))
    counts[0, 31, 5:12] += 60
    light = rng.uniform(0.4, 1.6, (frames, 1, 1)) * (rng.random(shape) > 0.1)
    light[:, 12:15] = 0
    counts[light == 0] = 0
    data = dataclasses.replace(data, counts=counts, exposure=light.astype(np.float32))
    data = data if centred else dataclasses.replace(data, center=None)
    asked = np.argwhere(counts > 14)
    wanted = [place for place in asked.tolist() if plainly_out(data, *place)]
    assert 20 < len(wanted) < len(asked) - 20
    assert take_out(data).outliers.places.tolist() == wanted


def spot_at(y, x, *, peak=3000, width=0.8, seed=3):
    spot = np.zeros((46, 40))
    spot[y, x] = peak
    return np.random.default_rng(seed).poisson(gaussian_filter(spot, width))


@pytest.mark.parametrize("width", [0.6, 0.8, 1.2])
def test_a_spot_with_its_partner_is_no_outlier(width):
    data = scan_of()
    counts = data.counts.copy()
    counts[2] += spot_at(*PLACE[1:], width=width) + spot_at(*PARTNER[1:], width=width, seed=4)
    assert take_out(dataclasses.replace(data, counts=counts)).outliers is None


def test_a_spot_that_nothing_can_judge_is_no_outlier():
    """Of one frame whose partner lies in a gap only the neighbours tell, and a spot has them."""
    valid = np.ones((46, 40), bool)
    valid[22:28] = False
    data = scan_of(frames=1, valid=valid)
    counts = data.counts + spot_at(*PLACE[1:]) * valid
    assert take_out(dataclasses.replace(data, counts=counts)).outliers is None


def test_a_spot_in_one_frame_alone_comes_back_as_it_was_counted(network):
    data = scan_of()
    counts = data.counts.copy()
    counts[2] += spot_at(*PLACE[1:])
    spotted = dataclasses.replace(data, counts=counts)
    found = answers_to(spotted, network)
    core = np.s_[2, 19:22, 8:11]
    np.testing.assert_array_equal(found.counts[core], counts[core])
    assert found.counts[2].sum() == pytest.approx(counts[2].sum(), rel=0.02)


STREAKS = {
    "three": [(20, 9), (20, 10), (20, 11)],
    "ten": [(20, x) for x in range(6, 16)],
    "diagonal": [(17 + k, 6 + k) for k in range(6)],
    "block": [(20, 9), (20, 10), (21, 9), (21, 10)],
}


@pytest.mark.parametrize("streak", STREAKS.values(), ids=STREAKS)
@pytest.mark.parametrize("count", [40, 1000])
def test_a_streak_leaves_no_ghost_in_a_gap(network, streak, count):
    """A cosmic ray of several pixels, whose partners lie in a module gap that is filled from them."""
    valid = np.ones((46, 40), bool)
    valid[23:29] = False
    data = scan_of(valid=valid)
    counts = data.counts.copy()
    for y, x in streak:
        counts[2, y, x] += count
    struck = dataclasses.replace(data, counts=counts)
    calm = take_out(struck)
    assert len(calm.outliers.counts) == len(streak)
    usual, found = (answers_to(one, network).counts for one in (data, struck))
    ghost = np.abs(found - usual)[2, 23:29]
    assert np.nanmax(ghost) < 5
    assert np.nanmax(found[2, 23:29]) < 20


def test_a_sharp_reflection_with_its_partner_is_no_outlier():
    data = with_count(with_count(scan_of(), PLACE, 500), PARTNER, 460)
    assert take_out(data).outliers is None


def test_what_stands_in_most_frames_is_no_outlier_of_one():
    data = scan_of()
    counts = data.counts.copy()
    counts[:, 20, 9] = 300
    assert take_out(dataclasses.replace(data, counts=counts)).outliers is None


def test_masked_pixels_and_values_that_are_no_counts_are_left_alone():
    valid = np.ones((46, 40), bool)
    valid[20, 9] = False
    data = scan_of(valid=valid)
    assert take_out(data).outliers is None
    halves = dataclasses.replace(scan_of(), counts=(scan_of().counts / 2).astype(np.float32))
    bright = with_count(halves, PLACE, 900.5)
    assert take_out(bright) is bright
    spectra = smae_jax.from_arrays(np.array([[1, 2, 900, 1, 2]] * 3), dimensions=1)
    assert take_out(spectra) is spectra


def test_frames_are_chosen_with_their_outliers():
    data = take_out(with_count(with_count(scan_of(), PLACE, 2759), (5, 3, 3), 800))
    some = data.take([5, 7, 2, 5])
    assert some.outliers.places.tolist() == [[0, 3, 3], [2, 20, 9], [3, 3, 3]]
    assert some.outliers.counts.tolist() == [800, 2759, 800]
    assert data.take([0, 1]).outliers is None


def test_masked_outliers_are_not_measured():
    data = mask_outliers(take_out(with_count(scan_of(), PLACE, 2759)))
    assert not data.valid[PLACE]
    assert data.valid.sum() == data.counts.size - 1
    assert data.counts[PLACE] == 0
    assert data.origin.masked_by["outlier"] == pytest.approx(1 / data.counts.size)


# --- what becomes of it ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    """A network with the default method, its parameters as drawn: it answers something everywhere."""
    method = smae_jax.Thinning(partner="channel").settled(scan_of())
    net = smae_jax.unet(method, widths=(8, 8))
    parameters = smae_jax.models.initial_parameters(
        net, jax.random.key(1), channels=method.source_channels, spatial=(32, 32)
    )
    return net, parameters, method


def answers_to(data, network, stages=STAGES):
    net, parameters, method = network
    found = smae_jax.predict(net, parameters, method, data, scale=1.4, group="none")
    return finish(found, data, stages=stages)


@pytest.mark.parametrize("gap", [False, True])
def test_a_bright_pixel_changes_no_other_answer(network, gap):
    valid = np.ones((46, 40), bool)
    valid[24:27] = not gap  # with it the partner of the bright pixel lies in a module gap
    data = scan_of(valid=valid)
    bright = with_count(data, PLACE, 2759)
    usual = with_count(data, PLACE, take_out(bright).counts[PLACE])
    without, found = (answers_to(one, network) for one in (usual, bright))
    assert found.counts[PLACE] == 2759
    assert found.sigma[PLACE] == pytest.approx(np.sqrt(2759), rel=1e-6)
    assert found.kept[PLACE]
    found.counts[PLACE], found.sigma[PLACE] = without.counts[PLACE], without.sigma[PLACE]
    np.testing.assert_array_equal(found.counts, without.counts)
    np.testing.assert_array_equal(found.sigma, without.sigma)
    np.testing.assert_array_equal(found.filled, without.filled)


def test_without_the_stage_and_seen_by_the_network_it_does(network):
    """The test above can fail: this is what it measures where nothing is taken out."""
    data = scan_of()
    bright = with_count(data, PLACE, 2759)
    net, parameters, method = network
    stages = [stage for stage in STAGES if stage is not put_back]
    found = []
    for one in (data, bright):
        seen = smae_jax.predict(
            net, parameters, method, one, scale=1.4, group="none", outliers=True
        )
        found.append(finish(seen, one, stages=stages).counts)
    change = np.abs(found[1] - found[0])
    change[2, 17:24, 6:13] = 0
    assert change.max() > 0.1


def test_outliers_are_not_trained_on_unless_asked():
    bright = with_count(scan_of(), PLACE, 2759)
    method = smae_jax.Thinning(partner="channel").settled(bright)
    assert smae_jax.place(bright, method, patch=16).counts.max() < 100
    kept = smae_jax.place(bright, method, how=Placing(patch=16, outliers=True))
    assert kept.counts.max() == 2759


@pytest.mark.parametrize(
    "choice", ["put_back", *(pytest.param(c, marks=pytest.mark.slow) for c in ("mask", "keep"))]
)
def test_the_commands_do_as_the_option_says(smae, tmp_path, choice):
    data = with_count(scan_of(valid=None), PLACE, 2759)
    np.savez("scan.npz", counts=data.counts.astype(np.uint16))
    options = ("--data.outliers", choice, "--data.center", "22.5,19.5", "--unet.blocks", 0)
    given = ("--data.path", "scan.npz::counts", "--run", "run", "--thinning.partner", "channel")
    trained = smae("train", *given, *options, *SMALL, "--train.validation-batches", 1)
    assert trained.status == 0, trained.err
    said = "1 counts in 1 frames stand out, up to 2759: not trained on" in trained.out
    assert said == (choice == "put_back")
    denoised = smae("infer", "--run", "run", "--input", "scan.npz::counts", "--output", "out.npy")
    assert denoised.status == 0, denoised.err
    answer = np.load("out.npy")
    if choice == "put_back":
        assert answer[PLACE] == 2759
    elif choice == "mask":
        assert answer[PLACE] < 100
        assert np.isfinite(answer[PLACE])  # from its partner
    assert ("put back: 1 counts" in denoised.out) == (choice == "put_back")


@pytest.mark.parametrize(
    ("count", "kind"),
    [
        (4 * 10**9, np.uint32),
        *(
            pytest.param(*c, marks=pytest.mark.slow)
            for c in ((10**9, np.uint32), (2**32 + 5, float))
        ),
    ],
)
def test_a_count_that_cannot_be_split_is_put_back_like_any_other(smae, tmp_path, count, kind):
    data = scan_of(valid=None)
    counts = data.counts.astype(kind)
    counts[PLACE] = count
    np.savez("scan.npz", counts=counts)
    options = ("--data.center", "22.5,19.5", "--unet.blocks", 0, "--train.validation-batches", 1)
    trained = smae("train", "--data.path", "scan.npz::counts", "--run", "run", *options, *SMALL)
    assert trained.status == 0, trained.err
    assert "1 counts in 1 frames stand out" in trained.out
    denoised = smae("infer", "--run", "run", "--input", "scan.npz::counts", "--output", "out.npy")
    assert denoised.status == 0, denoised.err
    assert "in training" not in denoised.out  # but for that count the exposure is the training's
    answer = np.load("out.npy")
    assert answer[PLACE] == np.float32(count)
    resident = smae_jax.Denoiser("run")(counts)
    np.testing.assert_array_less(np.delete(answer.ravel(), np.argmax(answer)), 1000)
    np.testing.assert_array_less(np.sort(resident.ravel())[:-1], 1000)
    judged = smae("evaluate", "--run", "run", "--input", "scan.npz::counts", "--output", "scores")
    assert judged.status == 0, judged.err
    assert "not judged: 1 count " in judged.out


def trained_without(smae, count, *options):
    """Train run `r` shortly on `scan.npy`, and write the same scan with one count that stands out."""
    data = scan_of(valid=None)
    np.save("scan.npy", data.counts)
    np.save("bright.npy", with_count(data, PLACE, count).counts)
    options = ("--data.center", "22.5,19.5", "--unet.blocks", 0, *options, *SMALL)
    assert smae("train", "--data.path", "scan.npy", "--run", "r", *options).status == 0
    return options


def test_runs_that_keep_what_stands_out_refuse_what_cannot_be_split(smae, tmp_path):
    options = trained_without(smae, 10**8, "--data.outliers", "keep")
    asked = ("train", "--data.path", "bright.npy", "--run", "s", "--method", "smae")
    for refused in (
        smae("infer", "--run", "r", "--input", "bright.npy", "--output", "out.npy"),
        smae(*asked, *options),
    ):
        assert refused.status == 2
        assert "cannot be split exactly" in refused.err


def test_the_unit_of_rate_of_a_frame_is_that_without_what_stands_out_in_blocks_too(smae, tmp_path):
    from smae_jax.config import InferConfig
    from smae_jax.run.restore import open_run

    trained_without(smae, 10**6, "--data.scale", "frame")
    plain, bright = (
        open_run(InferConfig(run="r", input=f"{name}.npy"), lambda line: None)
        for name in ("scan", "bright")
    )
    np.testing.assert_allclose(bright.scale, plain.scale, rtol=0.02)
    for alone in (False, True):
        np.testing.assert_array_equal(
            bright.of_frames(bright.data, alone=alone).scale, bright.scale
        )
