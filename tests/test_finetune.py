"""Warm starts: what is taken over, what is refused, and that the new run stands on its own."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from smae_jax.config import DataOptions, SmaeOptions, TrainConfig, UnetOptions
from smae_jax.config_file import load
from smae_jax.run.fine_tuning import differences, take_over, taken_in_words
from smae_jax.run.folder import RunFolder
from smae_jax.run.restore import read_parameters
from smae_jax.run.shipped import shipped_config
from smae_jax.simulate import simulate, write_simulation


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def parameters_of(run, checkpoint="best"):
    return read_parameters(RunFolder(run), checkpoint)[0]


def equal(a, b):
    leaves = (np.array_equal(x, y) for x, y in zip(flatten(a), flatten(b), strict=True))
    return all(leaves)


def flatten(tree):
    return (
        [leaf for v in tree.values() for leaf in flatten(v)] if isinstance(tree, dict) else [tree]
    )


@pytest.fixture
def data(small_scan):
    return (
        *("--data.path", f"{small_scan}::counts", "--data.mask", f"{small_scan}::mask"),
        *("--data.center", "17.5,14"),
    )


def test_fine_tuning_starts_at_the_base_and_goes_its_own_way(
    smae, trained_run, small, data, tmp_path
):
    base = shutil.copytree(trained_run, tmp_path / "base")
    # A learning rate that no float32 notices: what comes out is what was taken over.
    still = ("--init-from", "base", "--train.learning-rate", "1e-30")
    answer = smae("train", "--run", "still", *data, *small, *still)
    assert answer.status == 0, answer.err
    assert "starting from base, step" in answer.out
    assert "fresh optimizer" in answer.out
    numbers = sum(leaf.size for leaf in flatten(parameters_of(base)))
    assert f"took over {numbers:,} of {numbers:,} parameters" in answer.out
    assert "none starts at random" in answer.out
    assert "no step bettered" in answer.out
    run = tmp_path / "still"
    assert equal(parameters_of(run), parameters_of(base))
    logged = lines_of(run)
    validated = {x["step"]: x["validation_loss"] for x in logged if "validation_loss" in x}
    before = {x["step"]: x["validation_loss"] for x in lines_of(base) if "validation_loss" in x}
    assert validated[0] == pytest.approx(
        min(before.values()), rel=1e-6
    )  # the same seed, the same pixels
    assert logged[1]["step"] == 1  # not where the base left off
    step = json.loads((run / "survey.json").read_text())["init_step"]
    assert step == min(before, key=before.get)
    assert RunFolder(run).config().init_from == "base"

    # The base is not needed to go on.
    shutil.move(base, tmp_path / "elsewhere")
    answer = smae("train", "--run", "still", "--resume", "--train.steps", "6")
    assert answer.status == 0, answer.err
    assert "going on after step 4 of 6" in answer.out
    assert json.loads((run / "survey.json").read_text())["init_step"] == step

    answer = smae("train", "--run", "other", *data, *small, "--init-from", "elsewhere")
    assert answer.status == 0, answer.err
    assert not equal(parameters_of(tmp_path / "other", "last"), parameters_of(run))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--init-from", "nowhere"), "no run there"),
        (("--init-from", "run"), "is the new run itself"),
        (("--unet.widths", "8", "16"), r"unet.widths (8,) there, (8, 16) here"),
        (("--model", "sedcnn4"), "model unet there, sedcnn4 here"),
        (("--data.scale", "frame"), "data.scale scan there, frame here"),
        (("--method", "masked"), "method thinning there, masked here"),
        (("--init-checkpoint", "77"), "--init-checkpoint 77"),
    ],
)
def test_a_base_that_does_not_fit_is_refused_with_what_differs(
    smae, trained_run, small, data, options, message
):
    answer = smae("train", "--run", "run", *data, *small, "--init-from", trained_run, *options)
    assert answer.status == 2
    assert message in answer.err
    assert answer.err.count("\n") == 1


def test_spectra_do_not_start_from_frames(smae, trained_run, small, tmp_path):
    counts = np.random.default_rng(0).poisson(9.0, (4, 64))
    np.savetxt(tmp_path / "spectra.csv", counts, delimiter=",")
    asked = ("--data.path", "spectra.csv", *small, "--init-from", trained_run)
    answer = smae("train", "--run", "run", *asked)
    assert answer.status == 2
    assert "data patterns about a centre there, spectra here" in answer.err
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_partner_left_out_by_the_symmetry_is_no_half_start(smae, trained_run, small, tmp_path):
    scan = simulate("gisaxs", frames=4, size=128, seed=5, photons=10.0)
    write_simulation(tmp_path / "scan.npz", scan)
    y, x = scan.center
    data = ("--data.path", "scan.npz::counts", "--data.mask", "scan.npz::mask")
    asked = (*data, "--data.center", f"{y:g},{x:g}", *small, "--init-from", trained_run)
    answer = smae("train", "--run", "run", *asked)
    assert answer.status == 2
    assert "partner none: " in answer.out
    assert "channels of the source 4 there, 2 here" in answer.err
    assert not (tmp_path / "run").exists()


def test_a_fitting_base_may_be_of_the_other_method_and_of_another_augmentation():
    base = TrainConfig(
        method="smae",
        data=DataOptions(augment="flips"),
        smae=SmaeOptions(rule="direct", reference=True),
    )
    paired = TrainConfig(method="supervised", data=DataOptions(reference="high.npz"))
    assert differences(base, paired) == differences(paired, base) == []
    wide = dataclasses.replace(base, unet=UnetOptions(widths=(8,)))
    assert len(differences(wide, paired)) == 1
    # sizes of a network that is not used do not matter
    assert differences(*(dataclasses.replace(c, model="sedcnn4") for c in (wide, paired))) == []


def test_arrays_are_taken_over_by_name_and_shape():
    new = {"enc": {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)}, "out": {"bias": np.zeros(2)}}
    base = {"enc": {"kernel": np.ones((2, 3)), "bias": np.ones(4)}, "old": {"bias": np.ones(2)}}
    merged, taken, kept = take_over(new, base)
    assert (taken, sorted(kept)) == (["enc/kernel"], ["enc/bias", "out/bias"])
    assert merged["enc"]["kernel"].all()
    assert not merged["enc"]["bias"].any()
    said = taken_in_words(new, taken, kept)
    assert "6 of 11 parameters (1 of 3 arrays" in said
    assert "not taken over: enc/bias, out/bias" in said


@pytest.mark.parametrize(
    ("name", "method"), [("finetune", "smae"), ("finetune_paired", "supervised")]
)
def test_shipped_configs_load_and_fit_the_pretrained_base(name, method):
    config = load(shipped_config(name), TrainConfig)
    base = load(shipped_config("pretrain"), TrainConfig)
    assert config.method == method
    assert config.train.learning_rate < base.train.learning_rate
    assert differences(base, config) == []
