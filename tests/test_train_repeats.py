"""Training and inference on repeats from the command line: spectra, patterns, volumes."""

import json
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from smae_jax import training
from smae_jax.arrays import from_arrays
from smae_jax.inference import Predictor
from smae_jax.io.reading import read
from smae_jax.methods import Answers, Method
from smae_jax.run.checkpoint import Checkpoints

BASE = ("--train.patch", 0, "--train.optimizer", "adam", "--train.warmup-steps", 0)
QUICK = (
    *BASE,
    *("--train.steps", 4, "--train.batch-size", 2, "--train.log-every", 2, "--model", "dncnn"),
    *("--train.validate-every", 2, "--train.validation-batches", 1, "--data.augment", "flips"),
    *("--train.checkpoint-every", 2, "--dncnn.features", 4, "--dncnn.layers", 2),
    *("--train.devices", 1),
)
N2N = ("--method", "noise2noise", "--data.dimensions", 1)


@pytest.fixture(scope="module")
def rate() -> np.ndarray:
    """A line off the middle on a slope: asymmetric."""
    x = np.arange(60)
    return 2 + 0.1 * x + 40 * np.exp(-(((x - 20) / 3) ** 2))


@pytest.fixture
def spectra(tmp_path, rate):
    """A CSV file: first row energies, then four repeats."""
    counts = np.random.default_rng(3).poisson(rate, (4, len(rate)))
    rows = [np.linspace(1, 7, len(rate)), *counts]
    path = tmp_path / "spectra.csv"
    np.savetxt(path, rows, delimiter=",", fmt="%.6g")
    return path


def train(smae, path, run, *options):
    return smae("train", "--data.path", path, "--run", run, *QUICK, *options)


def answer_of(smae, path, run, output, *options):
    answer = smae("infer", "--run", run, "--input", path, "--output", output, *options)
    assert answer.status == 0, answer.err
    return read(str(output), dimensions=1)


def test_spectra_keep_axis_totals_and_sign(smae, spectra, tmp_path):
    assert train(smae, spectra, tmp_path / "run", *N2N).status == 0
    output = tmp_path / "denoised.npz"
    answer = smae("infer", "--run", tmp_path / "run", "--input", spectra, "--output", output)
    assert answer.status == 0, answer.err
    with np.load(output) as file:
        counts, sigma = file["counts"], file["sigma"]
        axis = file[next(name for name in file.files if name in ("axis", "energy"))]
    measured = read(str(spectra))
    np.testing.assert_allclose(axis, measured.axis.values)
    assert counts.shape == sigma.shape == (1, 60)
    assert counts.min() > 0
    assert sigma.min() >= 0
    assert counts.sum() * 4 == pytest.approx(measured.counts.sum(), rel=1e-4)


def test_run_folder_has_the_parts_of_any_run(smae, spectra, tmp_path):
    run = tmp_path / "run"
    assert train(smae, spectra, run, *N2N).status == 0
    for name in ("config.toml", "survey.json", "metrics.jsonl", "figures/loss.png"):
        assert (run / name).is_file(), name
    prepared = json.loads((run / "survey.json").read_text())
    assert prepared["frame_shape"] == [60]
    assert prepared["frames"] == 4
    assert prepared["center"] is None
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) == 4
    again = train(smae, spectra, run, *N2N)
    assert again.status == 2
    assert "--overwrite" in again.err
    assert train(smae, spectra, run, *N2N, "--overwrite").status == 0


@pytest.mark.slow
@pytest.mark.optimized
def test_resume_is_bitwise(smae, spectra, tmp_path):
    assert train(smae, spectra, tmp_path / "whole", *N2N).status == 0
    short = (*N2N, "--train.schedule", "constant")
    assert train(smae, spectra, tmp_path / "long", *short).status == 0
    assert train(smae, spectra, tmp_path / "cut", *short, "--train.steps", 2).status == 0
    answer = smae("train", "--run", tmp_path / "cut", "--resume", "--train.steps", 4)
    assert answer.status == 0, answer.err
    values = []
    for name in ("long", "cut"):
        checkpoints = Checkpoints(tmp_path / name / "checkpoints")
        assert checkpoints.steps()[-1] == 4
        a = answer_of(smae, spectra, tmp_path / name, tmp_path / f"{name}.npz", "--checkpoint", 4)
        values.append(a.counts)
    np.testing.assert_array_equal(*values)


@pytest.mark.slow
def test_init_from_takes_the_parameters_over(smae, spectra, tmp_path):
    assert train(smae, spectra, tmp_path / "base", *N2N).status == 0
    answer = train(smae, spectra, tmp_path / "tuned", *N2N, "--init-from", tmp_path / "base")
    assert answer.status == 0, answer.err
    assert "took over" in answer.out
    first = json.loads((tmp_path / "tuned" / "metrics.jsonl").read_text().splitlines()[0])
    base = [
        json.loads(line) for line in (tmp_path / "base" / "metrics.jsonl").read_text().splitlines()
    ]
    held_out = min(line["validation_loss"] for line in base if "validation_loss" in line)
    assert first["step"] == 0
    assert first["validation_loss"] == pytest.approx(held_out, rel=1e-5)


@pytest.mark.slow
def test_chosen_repeats_are_used_again(smae, spectra, tmp_path):
    chosen = (*N2N, "--data.repeats", "1:4")
    assert train(smae, spectra, tmp_path / "run", *chosen).status == 0
    as_trained = answer_of(smae, spectra, tmp_path / "run", tmp_path / "a.npz")
    of_all = answer_of(smae, spectra, tmp_path / "run", tmp_path / "b.npz", "--repeats", "all")
    measured = read(str(spectra)).counts
    assert as_trained.counts.sum() == pytest.approx(measured[1:].sum() / 3, rel=1e-4)
    assert of_all.counts.sum() == pytest.approx(measured.sum() / 4, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["resnet", "msd", "unet"])
def test_every_network_trains(smae, spectra, tmp_path, model):
    small = ("--unet.widths", 8, "--unet.blocks", 0, "--msd.layers", 2, "--resnet.blocks", 1)
    assert train(smae, spectra, tmp_path / "run", *N2N, "--model", model, *small).status == 0
    assert (answer_of(smae, spectra, tmp_path / "run", tmp_path / "a.npz").counts > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["thinning", "noise2void"])
def test_single_measurements_have_an_answer_each(smae, spectra, tmp_path, method):
    assert train(smae, spectra, tmp_path / "run", "--method", method).status == 0
    denoised = answer_of(smae, spectra, tmp_path / "run", tmp_path / "a.npz")
    measured = read(str(spectra))
    assert denoised.counts.shape == measured.counts.shape
    np.testing.assert_allclose(denoised.counts.sum(1), measured.counts.sum(1), rtol=1e-4)


@pytest.mark.slow
def test_deep_image_prior_stops_early(smae, spectra, tmp_path):
    prior = ("--method", "deep_image_prior", "--train.steps", 60, "--train.learning-rate", 0.3)
    patient = ("--deep-image-prior.patience", 4, "--data.dimensions", 1)
    answer = train(smae, spectra, tmp_path / "run", *prior, *patient)
    assert answer.status == 0, answer.err
    assert "stopped after step" in answer.out
    # The noise that it draws from has one orientation, so there is no mirror image to average with.
    as_is = answer_of(smae, spectra, tmp_path / "run", tmp_path / "b.npz", "--ensemble", "none")
    again = answer_of(smae, spectra, tmp_path / "run", tmp_path / "c.npz")
    np.testing.assert_array_equal(as_is.counts, again.counts)
    assert (answer_of(smae, spectra, tmp_path / "run", tmp_path / "a.npz").counts > 0).all()


@pytest.mark.slow
def test_supervised_learns_from_a_reference(smae, spectra, rate, tmp_path):
    reference = tmp_path / "high.npy"
    np.save(reference, np.random.default_rng(0).poisson(30 * rate, (1, 60)))
    options = ("--method", "supervised", "--data.reference", reference, "--data.dimensions", 1)
    answer = train(smae, spectra, tmp_path / "run", *options)
    assert answer.status == 0, answer.err
    assert "30" in next(line for line in answer.out.splitlines() if "reference" in line)
    assert answer_of(smae, spectra, tmp_path / "run", tmp_path / "a.npz").counts.shape == (4, 60)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(3, 18, 22), (3, 8, 9, 10), (3, 20, 2)])
def test_patterns_volumes_and_channels(smae, tmp_path, shape):
    path = tmp_path / "data.npy"
    np.save(path, np.random.default_rng(1).poisson(5, shape).astype(np.uint16))
    channels = shape[-1] == 2
    dimensions = len(shape) - 1 - channels
    options = ["--method", "noise2noise", "--data.dimensions", dimensions]
    options += ["--data.channel-axis", 2] * channels
    if dimensions > 1:
        options += ["--train.patch", 16]
    answer = train(smae, path, tmp_path / "run", *options)
    assert answer.status == 0, answer.err
    output = tmp_path / "out.npy"
    answer = smae("infer", "--run", tmp_path / "run", "--input", path, "--output", output)
    assert answer.status == 0, answer.err
    assert np.load(output).shape == (1, *shape[1:])


@pytest.mark.slow
def test_repeats_may_stay_on_the_host(smae, spectra, tmp_path):
    losses = []
    each = ("--train.log-every", 1, "--train.steps-per-dispatch", 1)
    for where in ("device", "host"):
        answer = train(smae, spectra, tmp_path / where, *N2N, *each, "--train.resident", where)
        assert answer.status == 0, answer.err
        lines = (tmp_path / where / "metrics.jsonl").read_text().splitlines()
        losses.append([x["loss"] for x in map(json.loads, lines) if "loss" in x])
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--method", "smae"), "noise2noise"),
        (("--method", "noise2noise", "--data.repeats", "0"), "at least 2 repeats"),
        (("--method", "noise2noise", "--model", "sedcnn4"), "dncnn"),
        (("--method", "noise2noise", "--data.mask", "m.tif"), "--data.mask m.tif"),
        (("--method", "thinning", "--thinning.partner", "channel"), "--thinning.partner channel"),
        (("--method", "noise2noise", "--data.center", "3,4"), "--data.center 3,4"),
    ],
)
def test_mistakes_are_told_in_one_line(smae, spectra, tmp_path, options, says):
    answer = train(smae, spectra, tmp_path / "run", *options)
    assert answer.status == 2
    assert says in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.slow
def test_sigma_is_refused_where_there_is_none(smae, spectra, tmp_path):
    assert train(smae, spectra, tmp_path / "run", *N2N, "--data.repeats", "0:2").status == 0
    alone = ("infer", "--run", tmp_path / "run", "--input", spectra)
    run = (*alone, "--sigma")
    answer = smae(*run, "--output", tmp_path / "a.csv")
    assert answer.status == 2
    assert "--sigma: a run of method noise2noise has no error bars of" in answer.err
    assert answer.err.strip().count("\n") == 0
    assert not (tmp_path / "a.csv").exists()
    answer = smae(*run, "--output", tmp_path / "b.npz", "--repeats", "all")
    assert answer.status == 0, answer.err
    with np.load(tmp_path / "b.npz") as file:
        assert (file["sigma"] > 0).any()


def test_leaving_out_gives_the_error_of_a_mean_and_compiles_once():
    counts = np.random.default_rng(0).normal(50, 5, (6, 40)).astype(np.float32)
    traces = []

    class Mean(Method):
        answers, error_bars = "one", "repeats"

        def denoise(self, predict, batch):
            traces.append(1)
            mean = batch.counts.sum(axis=0, keepdims=True) / batch.exposure.sum(
                axis=0, keepdims=True
            )
            return Answers(mean, jnp.isfinite(mean), jnp.zeros(mean.shape, bool))

    found = Predictor(nn.Dense(1), Mean())({}, from_arrays(counts, dimensions=1), leave_out=True)
    expected = counts.std(axis=0, ddof=1) / np.sqrt(6)
    np.testing.assert_allclose(np.sqrt(found.variance[0]), expected, rtol=1e-3)
    assert len(traces) == 1


def test_restarts_return_to_the_peak():
    schedule = training.make_schedule("cosine", learning_rate=1.0, steps=90, restarts=2)
    rates = np.array([np.asarray(schedule(step)) for step in range(90)])
    np.testing.assert_allclose(rates[[0, 30, 60]], 1.0)
    assert (rates[[29, 59, 89]] < 0.05).all()
    assert (np.diff(rates[:30]) < 0).all()


def test_accumulated_gradients_change_the_parameters_every_so_many_steps():
    schedule = training.make_schedule("constant", learning_rate=0.5, steps=9)
    optimizer = training.make_optimizer("adam", schedule, accumulate=3)
    parameters: Any = {"a": jnp.ones(2)}
    state, seen = optimizer.init(parameters), []
    for _ in range(6):
        updates, state = optimizer.update({"a": jnp.ones(2)}, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        seen.append(float(parameters["a"][0]))
    np.testing.assert_allclose(seen, [1, 1, 0.5, 0.5, 0.5, 0], atol=1e-4)
