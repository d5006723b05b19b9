"""Dark frames, flat fields and backgrounds: what a detector adds, and what stands there without a sample."""

import dataclasses

import numpy as np
import pytest
import tifffile
from conftest import SMALL

import smae_jax
from smae_jax import finishing
from smae_jax.asymmetry import opposite, relative_asymmetry, symmetry_chi_square
from smae_jax.calibration import with_response, without_dark
from smae_jax.errors import UserError
from smae_jax.evaluation.inspection import inspect_scan
from smae_jax.finishing.combine import components_of, shares_of_components
from smae_jax.finishing.evidence import Evidence
from smae_jax.geometry import Center
from smae_jax.measurements import Measurements
from smae_jax.methods.partner import choose_partner
from smae_jax.methods.protocol import Answers
from smae_jax.outliers import take_out, with_outliers
from smae_jax.survey import find_hot_pixels

SHAPE = (24, 20)
CENTER = (12.0, 9.5)
RNG = np.random.default_rng(5)
RESPONSE = np.tile(np.array([0.25, 1, 1, 4], np.float32), (24, 5))


def measured(rate=5.0, *, frames=10, light=1.0, response=None, seed=0, center=CENTER):
    """Photons of a uniform scan; counts are drawn at `light` times the response."""
    exposure = np.full((frames, *SHAPE), light, np.float32)
    mean = rate * exposure * (1 if response is None else response)
    counts = np.random.default_rng(seed).poisson(mean).astype(np.int32)
    middle = None if center is None else Center.given(center, "given")
    return Measurements(counts, np.ones((1, *SHAPE), np.float32), center=middle)


def answered(data, value):
    """The same answer everywhere, in counts per full exposure."""
    counts = np.full(data.counts.shape, value, np.float32)
    return Answers(counts, np.ones(counts.shape, bool), np.zeros(counts.shape, bool))


def test_a_flat_field_is_exposure_and_counts_stay_counts():
    data = measured(response=RESPONSE)
    flat = 3000 * RESPONSE
    flat[3, 4], flat[5, 6], flat[7, 8], flat[9, 10] = np.nan, 0, -1, 1e9
    corrected = with_response(data, flat)
    bad = np.zeros(SHAPE, bool)
    bad[[3, 5, 7, 9], [4, 6, 8, 10]] = True
    np.testing.assert_array_equal(corrected.valid[0], ~bad)
    np.testing.assert_allclose(corrected.exposure[0], np.where(bad, 0, RESPONSE), rtol=1e-6)
    np.testing.assert_array_equal(corrected.counts, np.where(bad, 0, data.counts))
    assert corrected.are_counts
    assert corrected.origin.masked_by["flat"] == pytest.approx(4 / bad.size)
    np.testing.assert_allclose(corrected.frame_exposure, 1, rtol=1e-6)


def test_a_flat_field_goes_with_exposures_of_the_frames():
    data = measured(frames=3)
    each = np.array([1, 2, 0.5], np.float32)
    data = dataclasses.replace(
        data, exposure=np.ones((3, *SHAPE), np.float32) * each[:, None, None]
    )
    corrected = with_response(data, RESPONSE)
    np.testing.assert_allclose(corrected.frame_exposure, each, rtol=1e-6)
    np.testing.assert_allclose(corrected.take([1]).frame_exposure, 2, rtol=1e-6)
    np.testing.assert_allclose(corrected.exposure[1], 2 * RESPONSE, rtol=1e-6)


def test_dark_counts_are_taken_off_and_what_is_left_is_no_photon_count():
    data = measured(frames=4)
    dark = RNG.uniform(10, 20, SHAPE)
    dark[2, 3] = np.nan
    left = without_dark(data, dark)
    assert left.counts.dtype == np.float32
    assert not left.are_counts
    assert not left.valid[0, 2, 3]
    assert (left.counts[:, 2, 3] == 0).all()
    keep = np.isfinite(dark)
    np.testing.assert_allclose(left.counts[:, keep], data.counts[:, keep] - dark[keep], atol=1e-5)


def test_dark_counts_of_nothing_leave_photons():
    data = measured(frames=2)
    assert without_dark(data, np.zeros(SHAPE)).are_counts


def test_an_image_of_another_shape_or_without_a_usable_pixel_is_refused():
    data = measured(frames=2)
    with pytest.raises(UserError, match="shape"):
        with_response(data, np.ones((3, 3)))
    with pytest.raises(UserError, match="flat field: expected values above 0, found none"):
        with_response(data, np.zeros(SHAPE))
    with pytest.raises(UserError, match="dark frames: expected counts of the pixels, found none"):
        without_dark(data, np.full(SHAPE, np.nan))


def test_strong_response_is_neither_hot_nor_an_outlier():
    data = with_response(measured(response=RESPONSE, rate=40), RESPONSE)
    assert find_hot_pixels(data, center=CENTER).all()
    assert take_out(data).outliers is None


def test_without_the_flat_field_they_are_hot():
    """So that the test above can fail."""
    response = np.ones(SHAPE, np.float32)
    response[6, 5] = 8
    data = measured(response=response, rate=40)
    assert not find_hot_pixels(data, center=CENTER)[6, 5]
    assert find_hot_pixels(with_response(data, response), center=CENTER).all()


def test_what_stands_out_comes_back_at_its_own_exposure():
    data = measured(response=RESPONSE, rate=4)
    data.counts[3, 8, 3] = 4000  # its response is 4
    calm = take_out(with_response(data, RESPONSE))
    assert calm.outliers is not None
    np.testing.assert_array_equal(calm.outliers.places, [[3, 8, 3]])
    assert calm.counts[3, 8, 3] < 60  # about rate times response
    np.testing.assert_array_equal(with_outliers(calm).counts, data.counts)
    found = finishing.put_back(answered(calm, 4.0), Evidence(calm))
    assert found.counts[3, 8, 3] == pytest.approx(1000, rel=1e-5)


def test_longer_frames_have_no_outliers_for_being_longer():
    """A frame of twenty times the monitor counts shows a spot that others show too faintly to see."""
    rng = np.random.default_rng(1)
    rate = np.full(SHAPE, 1.0)
    rate[4, 15] = 10
    light = np.ones((8, 1, 1), np.float32)
    light[2] = 20
    counts = rng.poisson(rate * light).astype(np.int32)
    exposure = np.broadcast_to(light, counts.shape).astype(np.float32)
    assert take_out(Measurements(counts, exposure)).outliers is None


def test_right_answers_are_left_alone_by_sums_and_spots_under_a_flat_field():
    data = with_response(measured(response=RESPONSE, rate=30, frames=16), RESPONSE)
    right = answered(data, 30.0)
    kept = finishing.keep_spots(right, Evidence(data))
    assert not kept.kept.any()
    summed = finishing.keep_sums(right, Evidence(data))
    np.testing.assert_allclose(summed.counts, 30, rtol=0.03)  # short borders scatter


def test_a_spot_under_a_flat_field_keeps_its_counts_per_exposure():
    data = measured(response=RESPONSE, rate=4)
    data.counts[2, 10:13, 3] = 400
    data = with_response(data, RESPONSE)
    found = finishing.keep_spots(answered(data, 4.0), Evidence(data))
    np.testing.assert_allclose(found.counts[2, 10:13, 3], 100, rtol=1e-5)


def test_components_are_confirmed_alike_whatever_the_frames_exposures():
    """Held-out photons are rates: frames that were exposed longer confirm no component of their own."""
    rng = np.random.default_rng(2)
    light = np.where(np.arange(16) % 2, 3.0, 1.0).astype(np.float32)[:, None, None]
    differ = np.linspace(-1, 1, 16)[:, None, None] * np.cos(np.arange(20) / 3)
    rate = 5 + np.sin(np.arange(20) / 3) + differ + np.zeros(SHAPE)
    photons = rng.poisson(rate * light / 2)
    use = np.ones(SHAPE, bool)
    own = np.broadcast_to(light / 2, rate.shape)
    answer = rate.astype(np.float32)
    components = components_of(answer, use)
    shares = shares_of_components(answer, photons, components, exposure=own, use=use)
    assert shares[0] == pytest.approx(1, abs=0.1)


def test_a_background_is_taken_off_by_exposure_and_counts_in_the_error():
    data = measured(frames=2)
    light = np.array([1, 2], np.float32)[:, None, None]
    data = dataclasses.replace(data, exposure=np.ones((2, *SHAPE), np.float32) * light)
    answers = dataclasses.replace(
        answered(data, 0), counts=10 * light * np.ones((2, *SHAPE), np.float32)
    )
    answers = dataclasses.replace(answers, sigma=np.full((2, *SHAPE), 0.5, np.float32))
    background = measured(rate=4, frames=4, seed=3)
    mean = background.counts.mean(axis=0)
    found = finishing.subtract_background(answers, data, background, scale=0.5)
    np.testing.assert_allclose(found.counts, light * (10 - 0.5 * mean), rtol=1e-5)
    np.testing.assert_allclose(found.sigma**2, 0.25 + (light * 0.5) ** 2 * mean / 4, rtol=1e-5)
    assert found.done[-1][0] == "subtract_background"


def test_a_background_that_was_not_measured_is_that_of_the_partner_or_there_is_no_answer():
    data, background = measured(frames=1), measured(rate=4, frames=2, seed=3)
    valid = np.ones(SHAPE, bool)
    valid[4, 5] = valid[8, 2] = valid[16, 17] = False  # the last two are partners
    background = dataclasses.replace(
        background,
        counts=np.where(valid, background.counts, 0),
        exposure=background.exposure * valid,
    )
    found = finishing.subtract_background(answered(data, 10), data, background)
    partner = background.counts[:, 20, 14].mean()
    assert found.counts[0, 4, 5] == pytest.approx(10 - partner)
    assert not found.known[0, 8, 2]
    assert np.isnan(found.counts[0, 16, 17])
    assert found.known.sum() == valid.size - 2


@pytest.fixture(scope="module")
def flat_scan(tmp_path_factory):
    """A folder with a scan whose pixels respond unlike, its flat field, and frames without the sample."""
    folder = tmp_path_factory.mktemp("flat")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:34, :30]
    rate = 2 + 30 * np.exp(-(((y - 17.5) / 4) ** 2) - ((x - 14) / 7) ** 2)
    response = np.where(x < 15, 0.5, 1.0) * 1.0
    tifffile.imwrite(
        folder / "scan.tif", rng.poisson(rate * response, (6, 34, 30)).astype(np.uint16)
    )
    tifffile.imwrite(folder / "flat.tif", (1000 * response).astype(np.float32))
    tifffile.imwrite(folder / "empty.tif", rng.poisson(2 * response, (9, 34, 30)).astype(np.uint16))
    return folder


def test_a_run_keeps_its_flat_field_and_infer_takes_a_background_off(flat_scan, smae, tmp_path):
    scan, flat = flat_scan / "scan.tif", tmp_path / "flat.tif"
    flat.write_bytes((flat_scan / "flat.tif").read_bytes())
    train = ("train", "--run", "run", "--data.path", scan, "--data.center", "17.5,14", *SMALL)
    said = smae(*train, "--data.flat", flat)
    assert said.status == 0, said.err
    assert "flat field: response of most pixels from" in said.err + said.out
    flat.unlink()
    infer = ("infer", "--run", "run", "--input", scan)
    assert smae(*infer, "--output", "a.npy").status == 0
    answer = np.load("a.npy")
    # Flat-corrected: both halves, whose responses differ twice, have the same total.
    left, right = answer[:, 17, 0:14].mean(), answer[:, 18, 15:29].mean()
    assert left == pytest.approx(right, rel=0.15)
    empty = ("--background", flat_scan / "empty.tif", "--background-scale", 1)
    said = smae(*infer, "--output", "b.h5", *empty)
    assert said.status == 0, said.err
    assert "subtract background: 1 times the mean of 9 frames" in said.err + said.out
    counts = smae_jax.read("b.h5").counts
    difference = np.nanmean(np.load("a.npy") - counts)
    assert difference == pytest.approx(2 * np.median([0.5, 1.0]), rel=0.1)
    assert smae(*infer, "--output", "c.npy", "--flat", "none").status == 0
    refused_other(smae, infer, tmp_path)


def refused_other(smae, infer, folder):
    """Images that do not fit, and outputs that would replace one, are refused in one line."""
    np.save(folder / "small.npy", np.ones((5, 5)))
    for option in ("--flat", "--dark", "--background"):
        said = smae(*infer, "--output", "d.npy", option, "small.npy")
        assert said.status == 2
        assert f"{option} small.npy" in said.err.replace("\n", " ")
        assert "(5, 5)" in said.err
        said = smae(*infer, "--output", "small.npy", option, "small.npy", "--overwrite")
        assert said.status == 2
        assert np.load(folder / "small.npy").shape == (5, 5)


def test_a_scale_without_a_background_is_refused(smae):
    said = smae("infer", "--run", "r", "--input", "i", "--output", "o.h5", "--background-scale", 2)
    assert said.status == 2
    assert "--background-scale 2: does nothing without --background" in said.err


def test_dark_frames_make_values_that_are_no_counts(flat_scan, smae):
    scan, dark = flat_scan / "scan.tif", flat_scan / "empty.tif"
    said = smae("inspect", "--data.path", scan, "--data.dark", dark, "--data.center", "17.5,14")
    assert said.status == 0, said.err
    assert "dark counts taken off" in said.out + said.err
    assert "no photon counts" in said.out + said.err


def test_symmetry_is_judged_at_equal_response():
    response = np.where(np.arange(20) < 10, 0.3, 1.0) * np.ones(SHAPE)
    data = with_response(measured(response=response, rate=6, frames=30), response)
    chi_square = symmetry_chi_square(data.counts, data.valid, CENTER, data.response)
    assert chi_square == pytest.approx(1, abs=0.05)
    assert symmetry_chi_square(data.counts, data.valid, CENTER) > 2
    strategy, reason = choose_partner(data)
    assert strategy == "channel", reason
    assert "asymmetry 0" in reason or "asymmetry 1" in reason
    assert inspect_scan(data).symmetric


def test_an_asymmetry_is_found_whatever_the_response():
    response = np.where(np.arange(20) < 10, 0.3, 1.0) * np.ones(SHAPE)
    rate = 6 * (1 + 0.2 * np.sign(np.arange(20) - 9.5)) * np.ones(SHAPE)
    counts = np.random.default_rng(3).poisson(rate * response, (200, *SHAPE)).astype(np.int32)
    own, partner, both = opposite(counts.sum(axis=0), np.ones(SHAPE, bool), CENTER, response)
    assert relative_asymmetry(own, partner, both).relative == pytest.approx(0.2, abs=0.03)
