"""The parameters that come with the program: taken when asked for, refused where they do not fit."""

import numpy as np
import pytest

from benchmarks import start
from smae_jax.commands.shipped import shipped_start
from smae_jax.commands.warm_start import SIMULATED, read_shipped
from smae_jax.config import DataOptions, ThinningOptions, TrainConfig, UnetOptions
from smae_jax.evaluation.filters import gaussian, rotated_average
from smae_jax.metrics import psnr
from smae_jax.simulate import simulate, write_simulation

STILL = ("--train.learning-rate", "1e-30", "--train.steps", "1", "--train.validation", "none")
"""A learning rate that no float32 notices: what predicts is the start."""
WIDTHS = ("32", "64", "96")
"""The start's, as in configs/warm.toml."""


def scan_file(folder, **options):
    scan = simulate(frames=4, size=128, seed=5, **options)
    write_simulation(folder / "scan.npz", scan)
    y, x = scan.center
    return scan, (
        *("--data.path", "scan.npz::counts", "--data.mask", "scan.npz::mask"),
        *("--data.center", f"{y:g},{x:g}"),
    )


def fitting():
    """Return options that the start fits."""
    return TrainConfig(
        method="thinning",
        data=DataOptions(path="x"),
        thinning=ThinningOptions(partner="channel"),
        unet=UnetOptions((32, 64, 96)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["saxs", "waxd"])
def test_the_start_alone_beats_the_best_gaussian_on_a_scan_that_it_never_saw(smae, tmp_path, kind):
    scan, data = scan_file(tmp_path, kind=kind, photons=1.0)
    start = ("--method", "thinning", "--init-from", "simulated", "--unet.widths", *WIDTHS)
    answer = smae("train", "--run", "run", *data, *start, *STILL, "--train.batch-size", "8")
    assert answer.status == 0, answer.err
    assert "starting from parameters trained on simulated scans" in answer.out
    assert "none starts at random" in answer.out
    answer = smae("infer", "--run", "run", "--input", "scan.npz::counts", "--output", "out.npy")
    assert answer.status == 0, answer.err
    denoised = np.load(tmp_path / "out.npy").astype(np.float64)

    common = scan.valid & scan.valid[::-1, ::-1]
    largest = float(scan.truth[:, scan.valid].max())
    valid = np.broadcast_to(scan.valid, scan.counts.shape)
    average, known = rotated_average(scan.counts.astype(np.float64), valid, scan.center)
    best = max(
        psnr(gaussian(average, known, sigma), scan.truth, common, largest)
        for sigma in (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
    )
    assert psnr(denoised, scan.truth, common, largest) > best + 3.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "smae"), "method thinning there, smae here"),
        (("--thinning.partner", "none"), "channels of the source 4 there, 2 here"),
        (("--data.scale", "frame"), "data.scale scan there, frame here"),
        (("--init-checkpoint", "100"), "--init-checkpoint 100: expected a run folder"),
        (("--unet.widths", "8", "16"), "unet.widths (32, 64, 96) there, (8, 16) here"),
    ],
)
def test_a_training_that_the_start_does_not_fit_is_refused(smae, tmp_path, options, message):
    _, data = scan_file(tmp_path, kind="saxs")
    given = {"--method": ["thinning"], "--unet.widths": WIDTHS} | {options[0]: options[1:]}
    words = [word for name, values in given.items() for word in (name, *values)]
    answer = smae("train", "--run", "run", *data, "--init-from", "simulated", *words)
    assert answer.status == 2
    assert message in answer.err
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_spectra_do_not_start_from_frames(smae, tmp_path):
    counts = np.random.default_rng(0).poisson(9.0, (4, 64))
    np.savetxt(tmp_path / "spectra.csv", counts, delimiter=",")
    asked = ("--method", "thinning", "--init-from", "simulated", "--unet.widths", *WIDTHS)
    answer = smae("train", "--run", "run", "--data.path", "spectra.csv", *asked)
    assert answer.status == 2
    assert "data frames of a scan there, repeats here" in answer.err
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_benchmark_makes_a_start_that_is_read(tmp_path, monkeypatch):
    made = tmp_path / "start.npz"
    start.main(["--steps", "2", "--scans", "2", "--sizes", "64", "--output", str(made)])
    monkeypatch.setattr("smae_jax.commands.warm_start.shipped_start", lambda name: made)
    base = read_shipped(fitting(), lambda line: None)
    assert base.step == 2
    assert all(np.isfinite(a).all() for a in base.parameters.values())


def test_a_partner_left_out_by_the_symmetry_is_no_half_start(smae, tmp_path):
    _, data = scan_file(tmp_path, kind="gisaxs", photons=10.0)
    start = ("--method", "thinning", "--init-from", "simulated", "--unet.widths", *WIDTHS)
    answer = smae("train", "--run", "run", *data, *start)
    assert answer.status == 2
    assert "partner none: " in answer.out
    assert "channels of the source 4 there, 2 here" in answer.err
    assert not (tmp_path / "run").exists()


def test_the_file_holds_numbers_only():
    with np.load(shipped_start(SIMULATED), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    assert all(a.dtype in (np.float16, np.int64, np.uint8) for a in arrays.values())
    base = read_shipped(fitting(), lambda line: None)
    assert all(np.isfinite(a).all() for a in base.parameters.values())
    assert base.step > 0
