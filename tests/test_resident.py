"""A run that stays open: frames one by one, as `infer` answers each alone, without compiling again."""

import numpy as np
import pytest

import smae_jax
from smae_jax.errors import UserError


@pytest.fixture(scope="module")
def frames(small_scan):
    return np.load(small_scan)["counts"].astype(np.uint16)


@pytest.fixture(scope="module")
def resident(trained_run):
    return smae_jax.Denoiser(trained_run).resident(batch_size=4)


def test_answers_are_those_of_infer_to_each_frame_alone(trained_run, resident, frames):
    frames = frames.copy()
    frames[1, 10, 11] = 900  # stands out: a cosmic ray
    frames[2, 5, 6] = 65535  # saturated
    found = resident(frames)
    assert found.dtype == np.float32
    for frame, answer in zip(frames, found, strict=True):
        counts = np.where(frame == 65535, np.nan, frame.astype(np.float32))
        data = smae_jax.from_arrays(counts[None], center=(17.5, 14))
        alone = smae_jax.open_run(trained_run).denoise(data)
        np.testing.assert_allclose(answer, alone.counts[0], rtol=1e-4, atol=1e-5)
    assert found[1, 10, 11] == 900
    assert np.isnan(found[:, 3, 4]).all()  # masked with its partner
    assert np.isfinite(found[:, 20, 10]).all()  # masked, and filled from its partner
    assert np.isfinite(found[2, 5, 6])


def test_an_answer_does_not_depend_on_the_frames_beside_it(resident, frames):
    frames = frames.copy()
    frames[:, 9, 9] = 400
    whole = resident(frames)
    for which in ([3], [5, 0], [2, 3, 4, 5, 0, 1]):
        np.testing.assert_array_equal(resident(frames[which]), whole[which])
    np.testing.assert_array_equal(resident(frames[2]), whole[2])


def test_nothing_is_compiled_after_the_first_frame(resident, frames, compiled):
    for count in (1, 3, 4, 5, 6):
        resident(frames[:count])
    damaged = frames.astype(np.float64)
    damaged[0, 7, 8], damaged[1, 12:14] = np.nan, -1
    resident(damaged)
    assert resident(frames[:0]).shape == (0, 34, 30)
    assert compiled == []


def test_parameters_are_on_the_device_once(resident, frames, monkeypatch):
    import jax

    sent = []
    whole = jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda x, *a, **k: sent.append(x) or whole(x, *a, **k))
    resident(frames[:2])
    for one in sent:
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(one))


def test_totals_are_conserved_or_not(trained_run, resident, frames):
    valid = np.isfinite(resident(frames[0]))
    valid[20:22] = False  # was not measured
    total = frames[0][valid].sum()
    assert resident(frames[0])[valid].sum() == pytest.approx(total, rel=1e-5)
    free = smae_jax.Denoiser(trained_run).resident(conserve_totals="no", keep_significant=0)
    assert free(frames[0])[valid].sum() != pytest.approx(total, rel=1e-5)


def test_a_denoiser_is_called_as_it_is(trained_run, resident, frames):
    np.testing.assert_allclose(
        smae_jax.Denoiser(trained_run)(frames[:2]), resident(frames[:2]), rtol=1e-4, atol=1e-5
    )


def test_what_does_not_fit_is_refused_in_one_line(trained_run, resident, frames, tmp_path):
    with pytest.raises(UserError, match=r"frames: expected \(frames, 34, 30\), got \(6, 30, 34\)"):
        resident(frames.transpose(0, 2, 1))
    with pytest.raises(UserError, match="expected real numbers of counts, got complex64"):
        resident(frames.astype(np.complex64))
    denoiser = smae_jax.Denoiser(trained_run)
    with pytest.raises(UserError, match="--center auto: a centre is found on a scan"):
        denoiser.resident(center="auto")
    with pytest.raises(UserError, match="combine"):
        denoiser.resident(combine=True)
    with pytest.raises(UserError, match="--batch-size: expected 1 or more, got 0"):
        denoiser.resident(batch_size=0)
    with pytest.raises(UserError, match="no run there"):
        smae_jax.Denoiser(tmp_path)  # before the first frame
    with pytest.raises(UserError, match=r"hold 4.*counts in a pixel, and more than 16,777,216"):
        resident(frames * 1e6)
    with pytest.raises(UserError, match=r"no counts but 0 beside numbers such as 1e\+30"):
        resident(frames * 1e30)
    assert np.isfinite(resident(np.zeros((34, 30), np.float32))[9, 9])  # a closed shutter


def test_a_masked_array_is_refused_and_one_with_nothing_masked_is_not(resident, frames):
    masked = np.ma.MaskedArray(frames, mask=frames > 1000)
    masked[0, 3, 3] = np.ma.masked
    with pytest.raises(UserError, match="got a masked one"):
        resident(masked)
    np.testing.assert_array_equal(resident(np.ma.MaskedArray(frames)), resident(frames))
