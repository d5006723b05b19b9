"""The functions for notebooks: arrays in, arrays out, and the same answer as the command line."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import smae_jax
from smae_jax.figures.spectrum import spectrum_figure
from smae_jax.run.shipped import shipped_config

ROOT = Path(__file__).parents[1]

ENERGY = 1.0 + 0.05 * np.arange(160)
RATE = 2 + 60 * np.exp(-(((ENERGY - 3) / 0.3) ** 2)) + 25 * np.exp(-(((ENERGY - 6.5) / 0.4) ** 2))
KEV = smae_jax.Axis(ENERGY, "energy", "keV")
SPECTRA = np.random.default_rng(1).poisson(RATE, (4, 160))


@pytest.fixture(scope="module")
def pattern_options():
    return {
        **{"train.batch_size": 8, "train.patch": 16, "unet.widths": (8,), "unet.blocks": 0},
        **{"train.validation_batches": 1, "train.validate_every": 2, "train.warmup_steps": 0},
    }


@pytest.fixture(scope="module")
def patterns(small_scan):
    with np.load(small_scan) as file:
        counts, mask = file["counts"], file["mask"]
    return smae_jax.from_arrays(counts, valid=~mask, center=(17.5, 14))


@pytest.fixture(scope="module")
def denoiser(patterns, pattern_options):
    return smae_jax.train(patterns, method="smae", steps=4, options=pattern_options, verbose=False)


def in_a_process_of_its_own(program):
    """Run a program; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


HEAVY = {"jax", "numpy", "scipy", "flax", "optax", "orbax", "h5py", "matplotlib"}


def test_importing_the_package_imports_nothing_heavy():
    program = f"import sys, smae_jax; dir(smae_jax); print(*({HEAVY} & set(sys.modules)))"
    assert in_a_process_of_its_own(program) == ""
    assert {"read", "train", "from_arrays", "open_run", "finish"} <= set(dir(smae_jax))
    with pytest.raises(AttributeError, match="no attribute 'reed'"):
        _ = smae_jax.reed


def test_everything_that_is_named_is_there():
    assert set(smae_jax.__all__) == set(smae_jax.api.__all__)
    for name in smae_jax.__all__:
        assert getattr(smae_jax, name) is not None


QUIET = """
import logging, sys, warnings
import fabio, flax.linen, h5py, hdf5plugin, jax, matplotlib.figure, optax, orbax.checkpoint
import scipy.ndimage, scipy.optimize, scipy.stats, tifffile, tyro

def heard():
    loggers = {**logging.root.manager.loggerDict, "": logging.root}
    loggers = {n: log for n, log in loggers.items() if isinstance(log, logging.Logger)}
    return {n: (log.level, log.disabled, log.propagate, list(log.filters), list(log.handlers))
            for n, log in loggers.items() if not n.startswith("smae_jax")}

before, filters, hooks = heard(), list(warnings.filters), (sys.unraisablehook, sys.excepthook)
import smae_jax, smae_jax.cli
smae_jax.train, smae_jax.predict
after = heard()
print(*[n for n in before if after[n] != before[n]])
print(warnings.filters != filters, (sys.unraisablehook, sys.excepthook) != hooks)
"""


def test_importing_the_package_silences_nobody():
    assert in_a_process_of_its_own(QUIET) == "False False"


def test_arrays_keep_what_is_measured_and_what_is_not():
    counts = SPECTRA.astype(float)
    counts[2, 5] = np.nan
    valid = np.ones(160, bool)
    valid[7] = False
    data = smae_jax.from_arrays(counts, valid=valid, axis=KEV, exposure=[1, 1, 1, 5])
    assert data.spatial == (160,)
    assert data.axis_label == "energy (keV)"
    assert data.valid.shape == (4, 160)
    assert not data.valid[:, 7].any()
    assert not data.valid[2, 5]
    assert data.valid[3, 5]
    assert data.counts[2, 5] == 0
    np.testing.assert_allclose(data.frame_exposure, [0.5, 0.5, 0.5, 2.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"counts": np.ones(5)}, "add the axis of the frames, or say dimensions"),
        ({"counts": SPECTRA, "dimensions": 2, "valid": np.ones(3, bool)}, "valid has shape"),
        ({"counts": SPECTRA, "axis": ENERGY[:5]}, "axis has shape"),
        ({"counts": SPECTRA, "exposure": [1, 2]}, "exposure: expected 4 values"),
        ({"counts": np.array(["a"])}, "expected numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(arguments, message):
    with pytest.raises(smae_jax.UserError, match=message) as error:
        smae_jax.from_arrays(**arguments)
    assert "\n" not in str(error.value)


def test_read_takes_spectra_and_scans_by_the_options_of_the_command_line(tmp_path, small_scan):
    np.savetxt(tmp_path / "s.txt", np.column_stack([ENERGY, SPECTRA.T]))
    spectra = smae_jax.read(tmp_path / "s.txt", repeats="1:3", axis_label="energy (keV)")
    np.testing.assert_array_equal(spectra.counts, SPECTRA[1:3])
    assert spectra.axis_label == "energy (keV)"
    assert spectrum_figure(spectra, ranges=[(2, 4)]).get_axes()
    frames = smae_jax.read(f"{small_scan}::counts", mask=f"{small_scan}::mask", center="17.5,14")
    assert frames.spatial == (34, 30)
    assert not frames.valid[0, 20].any()
    with pytest.raises(ValueError, match="did you mean 'repeats'"):
        smae_jax.read(tmp_path / "s.txt", repeat="1:3")
    with pytest.raises(ValueError, match=r'crop: says .* options=\{"data.crop"'):
        smae_jax.read(f"{small_scan}::counts", crop=16)


def test_patterns_are_trained_and_denoised(patterns, denoiser, tmp_path):
    result = denoiser.denoise()
    assert result.counts.shape == patterns.counts.shape
    assert result.filled is not None
    assert result.filled[:, 20:22].any()
    assert np.isnan(result.counts[:, 3, 4]).all()
    measured = np.broadcast_to(patterns.valid, patterns.counts.shape)
    totals = np.where(measured, result.counts, 0).sum(axis=(1, 2))
    np.testing.assert_allclose(totals, patterns.counts.sum(axis=(1, 2)), rtol=1e-4)
    steps, losses = denoiser.losses()["loss"]
    assert steps[-1] == 4
    assert np.isfinite(losses).all()
    assert result.plot(frame=2).get_axes()
    assert denoiser.plot_losses().get_axes()
    result.save(tmp_path / "out.h5")
    np.testing.assert_array_equal(
        smae_jax.read(tmp_path / "out.h5").valid, ~np.isnan(result.counts[:1])
    )
    with pytest.raises(ValueError, match="exists already"):
        result.save(tmp_path / "out.h5")


def test_notebook_and_command_line_give_one_answer(trained_run, small_scan, smae, tmp_path):
    path = f"{small_scan}::counts"
    assert smae("infer", "--run", trained_run, "--input", path, "--output", "out.npy").status == 0
    result = smae_jax.open_run(trained_run).denoise(smae_jax.read(path))
    np.testing.assert_array_equal(result.counts, np.load(tmp_path / "out.npy"))


def test_arrays_and_files_give_one_training(
    small_scan, patterns, denoiser, pattern_options, tmp_path
):
    loaded = smae_jax.read(f"{small_scan}::counts", mask=f"{small_scan}::mask", center="17.5,14")
    kept = tmp_path / "run"
    again = smae_jax.train(
        loaded, method="smae", steps=4, options=pattern_options, run=kept, verbose=False
    )
    np.testing.assert_array_equal(again.losses()["loss"][1], denoiser.losses()["loss"][1])
    assert smae_jax.open_run(kept).config == again.config
    with pytest.raises(ValueError, match="exists already"):
        smae_jax.train(loaded, method="smae", steps=4, run=kept, verbose=False)


SMALL = {
    **{"train.batch_size": 2, "train.devices": 1, "train.patch": 32, "train.validation_batches": 1},
    **{"train.validate_every": 2, "train.log_every": 1, "train.steps_per_dispatch": 1},
    **{"dncnn.layers": 2, "dncnn.features": 4},
}


def test_spectra_are_trained_and_denoised(tmp_path):
    data = smae_jax.from_arrays(
        SPECTRA,
        axis=KEV,
        exposure=[1, 1, 1, 1],
        valid=ENERGY[9] != ENERGY,
    )
    denoiser = smae_jax.train(data, steps=4, options=SMALL, verbose=False)
    result = denoiser.denoise()
    assert result.counts.shape == (160,)
    assert np.isnan(result.counts[9])
    known = np.arange(160) != 9
    assert (result.counts[known] >= 0).all()
    assert result.counts[known].sum() == pytest.approx(SPECTRA.mean(axis=0)[known].sum(), rel=1e-3)
    assert result.sigma is not None
    assert (result.sigma[known] > 0).all()
    assert result.plot(ranges=[(2, 4)]).get_axes()[0].get_yscale()
    result.save(tmp_path / "out.csv")
    saved = smae_jax.read(tmp_path / "out.csv")
    np.testing.assert_allclose(saved.counts[0][known], result.counts[known], rtol=1e-6)
    np.testing.assert_allclose(saved.axis.values, ENERGY)
    assert saved.axis_label == "energy (keV)"


@pytest.mark.slow
@pytest.mark.optimized
def test_spectra_of_a_file_give_the_answer_of_the_command_line(smae, tmp_path):
    np.savetxt(
        tmp_path / "s.txt", np.column_stack([ENERGY, SPECTRA.T]), header="energy(keV) a b c d"
    )
    small = [("--" + k.replace("_", "-"), v) for k, v in SMALL.items()]
    data = ("--data.path", "s.txt", "--data.repeats", "0:2", "--train.steps", 4)
    answer = smae(
        "train", "--config", shipped_config("spectra"), "--run", "run", *data, *sum(small, ())
    )
    assert answer.status == 0, answer.err
    out = ("--output", "out.npz", "--figure", "out.png", "--plot-range", "2:4")
    assert smae("infer", "--run", "run", "--input", "s.txt", *out).status == 0
    spectra = smae_jax.read("s.txt", repeats="0:2")
    trained = smae_jax.train(spectra, steps=4, options=SMALL, verbose=False)
    with np.load("out.npz") as file:
        np.testing.assert_array_equal(trained.denoise().counts, file["counts"].reshape(-1))
        np.testing.assert_array_equal(file["energy"], spectra.axis.values)
    everything = smae_jax.open_run("run").denoise(smae_jax.read("s.txt"))
    assert everything.counts.shape == (160,)
    assert everything.counts.sum() == pytest.approx(SPECTRA.mean(axis=0).sum(), rel=1e-3)


@pytest.mark.parametrize(("repeats_axis", "channel_axis"), [(0, -1), (0, 2), (2, 0), (1, 0)])
def test_files_with_their_axes_anywhere_are_read_as_arrays_are_taken(
    tmp_path, repeats_axis, channel_axis
):
    values = np.random.default_rng(0).poisson(9, (3, 17, 2)).astype(float)  # repeat, place, channel
    values[1, 4] = np.nan
    data = smae_jax.from_arrays(values, dimensions=1, channels=True, exposure=[1, 2, 3])
    laid = np.moveaxis(values, (0, 2), (repeats_axis, channel_axis))
    np.savez(tmp_path / "laid.npz", counts=laid, exposure=[1, 2, 3])
    axes = {"repeats_axis": repeats_axis, "channel_axis": channel_axis, "dimensions": 1}
    read = smae_jax.read(f"{tmp_path / 'laid.npz'}::counts", **axes)
    np.testing.assert_array_equal(read.counts, data.counts)
    np.testing.assert_array_equal(read.valid, data.valid)
    np.testing.assert_allclose(read.frame_exposure, data.frame_exposure)


def test_other_counts_have_another_answer(patterns, denoiser):
    """Not that of what was trained on, nor of what the record was made of."""
    other = dataclasses.replace(patterns, counts=patterns.counts[::-1] + patterns.counts)
    result, own = denoiser.denoise(other), denoiser.denoise(patterns)
    measured = np.broadcast_to(patterns.valid, other.counts.shape)
    for found, data in ((result, other), (own, patterns)):
        totals = np.where(measured, found.counts, 0).sum(axis=(1, 2))
        np.testing.assert_allclose(totals, data.counts.sum(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_array_equal(result.data.counts, other.counts)
    np.testing.assert_array_equal(own.counts, denoiser.denoise().counts)


def test_arrays_are_denoised_as_measurements_are(patterns, denoiser):
    """The run knows mask and centre."""
    result = denoiser.denoise(np.asarray(patterns.counts))
    np.testing.assert_array_equal(result.counts, denoiser.denoise().counts)


@pytest.mark.slow
def test_a_seed_among_the_options_counts(patterns, pattern_options, denoiser):
    def losses(**options):
        wanted = pattern_options | options
        trained = smae_jax.train(patterns, method="smae", steps=2, options=wanted, verbose=False)
        assert trained.config.seed == options.get("seed", 0)
        return trained.losses()["loss"][1]

    assert not np.array_equal(losses(seed=7), losses())


def test_options_that_would_do_nothing_are_refused(patterns):
    with pytest.raises(smae_jax.UserError, match=r"data\.center: says how files are read") as error:
        smae_jax.train(patterns, options={"data.center": "3,4"})
    assert "\n" not in str(error.value)


def test_error_bars_of_patterns_are_given_when_asked_for(patterns, denoiser):
    assert denoiser.denoise().sigma is None
    result = denoiser.denoise(sigma=True)
    known = np.isfinite(result.counts)
    assert (result.sigma[known] > 0).all()
    assert np.isnan(result.sigma[~known]).all()


@pytest.mark.slow
def test_one_spectrum_is_denoised_by_thinning():
    one = smae_jax.from_arrays(SPECTRA[0], dimensions=1)
    result = smae_jax.train(one, method="thinning", steps=2, options=SMALL, verbose=False).denoise()
    assert result.counts.shape == (160,)
    assert result.counts.sum() == pytest.approx(SPECTRA[0].sum(), rel=1e-3)
    assert result.plot().get_axes()


@pytest.mark.slow
def test_patterns_as_repeats_keep_their_mask_and_exposures():
    rate = 20 + 10 * np.sin(np.arange(24)[:, None] / 4) * np.cos(np.arange(20) / 3)
    exposure = np.array([0.5, 1.5])
    counts = np.random.default_rng(0).poisson(exposure[:, None, None] * rate)
    valid = np.ones((24, 20), bool)
    valid[5:7, 3] = False
    data = smae_jax.from_arrays(counts, dimensions=2, valid=valid, exposure=exposure)
    options = SMALL | {"train.patch": 16}
    result = smae_jax.train(data, steps=2, options=options, verbose=False).denoise()
    assert result.counts.shape == (24, 20)
    assert (np.isnan(result.counts) == ~valid).all()
    per_exposure = counts.sum(axis=0) / exposure.sum()
    assert result.counts[valid].sum() == pytest.approx(per_exposure[valid].sum(), rel=1e-3)
    assert result.plot().get_axes()


def test_wrong_names_are_refused_before_anything_is_done(patterns, tmp_path):
    for options in ({"train.stepz": 4}, {"nothing.at_all": 1}):
        with pytest.raises(ValueError, match="train: unknown key"):
            smae_jax.train(patterns, options=options)
    with pytest.raises(ValueError, match="--method smea: expected one of thinning, smae"):
        smae_jax.train(patterns, method="smea")
    with pytest.raises(ValueError, match="no run there"):
        smae_jax.open_run(tmp_path)
