"""A run that is killed and goes on ends with the bits of a run that was never killed."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from smae_jax import models
from smae_jax.commands.train import train
from smae_jax.config import DataOptions, TrainConfig, TrainOptions, UnetOptions
from smae_jax.run import hooks
from smae_jax.run.build import build_method, build_network
from smae_jax.run.checkpoint import Checkpoints
from smae_jax.run.folder import RunFolder
from smae_jax.run.restore import read_parameters
from smae_jax.training import initial_state, make_optimizer

ROOT = Path(__file__).resolve().parents[1]
STEPS = 9


class Killed(BaseException):
    """What no `except Exception` catches: a kill in the middle of a step's hooks."""


@pytest.fixture(scope="module")
def options(small_scan):
    """Validation at 2, 4, 6, 8, 9; checkpoints at 3, 6, 9; the default optimizer."""
    return TrainConfig(
        method="smae",
        seed=4,  # of which the best step comes after the first checkpoint
        data=DataOptions(
            path=f"{small_scan}::counts", mask=f"{small_scan}::mask", center="17.5,14"
        ),
        train=TrainOptions(
            steps=STEPS,
            batch_size=8,
            patch=16,
            log_every=1,
            validate_every=2,
            checkpoint_every=3,
            validation_batches=1,
            warmup_steps=2,
            learning_rate=1e-3,
        ),
        unet=UnetOptions(widths=(8,), blocks=0),
    )


def start(options, run, **train_options):
    options = dataclasses.replace(
        options, run=str(run), train=dataclasses.replace(options.train, **train_options)
    )
    train(options, lambda line: None)
    return run


def go_on(run, said=None, **train_options):
    own = RunFolder(run).config()
    options = dataclasses.replace(
        own, run=str(run), resume=True, train=dataclasses.replace(own.train, **train_options)
    )
    train(options, (said if said is not None else []).append)
    return run


def kill_in(patch, hook, step):
    """Let a hook die after it has done its work at a step."""
    done = hook.__call__

    def call(self, now, state, metrics):
        done(self, now, state, metrics)
        if now == step:
            raise Killed

    patch.setattr(hook, "__call__", call)


def killed(options, run, hook, step, **train_options):
    with pytest.MonkeyPatch.context() as patch:
        kill_in(patch, hook, step)
        with pytest.raises(Killed):
            start(options, run, **train_options)
    return run


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    """The run that was never killed."""
    return start(options, tmp_path_factory.mktemp("whole") / "run")


def arrays_of(folder, step, item):
    """Every array of a checkpoint, by name, as numpy."""
    manager = Checkpoints(folder)._manager
    import orbax.checkpoint as ocp

    items = ocp.args.Composite(**{item: ocp.args.StandardRestore()})
    found = jax.tree_util.tree_leaves_with_path(manager.restore(step, args=items)[item])
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in found}


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    assert len(a) >= 4
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def log_of(run):
    """The lines of the log without the one value that a clock makes."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "steps_per_s"} for line in lines]


def assert_same_run(run, whole):
    for folder in ("checkpoints", "best"):
        ours, theirs = (Checkpoints(place / folder).steps() for place in (run, whole))
        assert ours[-1] == theirs[-1]
    assert len(Checkpoints(run / "best").steps()) == 1
    last, best = (Checkpoints(whole / folder).steps()[-1] for folder in ("checkpoints", "best"))
    for folder, step, item in [
        ("checkpoints", last, "state"),
        ("checkpoints", last, "parameters"),
        ("best", best, "parameters"),
    ]:
        assert_same_bits(arrays_of(run / folder, step, item), arrays_of(whole / folder, step, item))
    assert log_of(run) == log_of(whole)
    assert not list(run.rglob("*tmp*"))


def test_the_run_to_compare_with_is_worth_comparing(whole):
    log = log_of(whole)
    assert [line["step"] for line in log if "loss" in line] == list(range(1, STEPS + 1))
    validations = {
        line["step"]: line["validation_loss"] for line in log if "validation_loss" in line
    }
    assert list(validations) == [2, 4, 6, 8, 9]
    best = min(validations, key=lambda step: validations[step])
    assert Checkpoints(whole / "best").steps() == [best]
    assert best > 3  # a best step after the first checkpoint, see below
    assert Checkpoints(whole / "checkpoints").steps() == [3, 6, 9]
    state = arrays_of(whole / "checkpoints", 9, "state")
    assert {name.split("'")[1] for name in state} >= {"average", "parameters", "optimizer_state"}


@pytest.mark.parametrize(
    ("hook", "step"),
    [
        (hooks.Logger, 5),  # between two checkpoints
        (hooks.Judge, 4),  # a new best was found after the last checkpoint: it comes again
        (hooks.Judge, 6),  # the same step is best and due for a checkpoint
        (hooks.Saver, 6),  # right after a checkpoint
        (hooks.Logger, 9),  # before the last hooks
    ],
)
def test_killed_and_resumed_is_the_uninterrupted_run_bitwise(options, tmp_path, whole, hook, step):
    run = killed(options, tmp_path / "run", hook, step)
    said = []
    go_on(run, said)
    last = step if hook is hooks.Saver else (step - 1) // 3 * 3
    assert f"going on after step {last} of {STEPS}" in said
    assert_same_run(run, whole)


@pytest.mark.slow
@pytest.mark.optimized
def test_killed_twice_at_different_places(options, tmp_path, whole):
    run = killed(options, tmp_path / "run", hooks.Judge, 4)
    with pytest.MonkeyPatch.context() as patch:
        kill_in(patch, hooks.Judge, 8)
        with pytest.raises(Killed):
            go_on(run)
    go_on(run)
    assert_same_run(run, whole)


def test_best_of_the_last_checkpoint_outlives_a_better_one_after_it(options, tmp_path):
    """The better one was made under a schedule that a resumed run may change: it does not count."""
    run = killed(options, tmp_path / "run", hooks.Judge, 8)
    best, last = Checkpoints(run / "best").steps(), Checkpoints(run / "checkpoints").steps()[-1]
    assert last == 6
    assert [step for step in best if step <= last] == [
        Checkpoints(run / "checkpoints").notes(last)["best_step"]
    ]


@pytest.mark.slow
@pytest.mark.optimized
def test_half_a_line_and_half_a_checkpoint_do_not_hinder(options, tmp_path, whole):
    run = killed(options, tmp_path / "run", hooks.Logger, 5)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    for folder in ("checkpoints", "best"):
        half = run / folder / "6.orbax-checkpoint-tmp" / "state"
        half.mkdir(parents=True)
        (half / "part").write_text("x")
    go_on(run)
    assert_same_run(run, whole)


@pytest.mark.slow
@pytest.mark.optimized
def test_real_kill_of_a_real_process(options, tmp_path):
    """Both runs are processes of their own: what is compared is the kill, not two kinds of process."""
    own = options.train
    arguments = [
        *("--data.path", options.data.path, "--data.mask", *options.data.mask),
        *("--method", options.method, "--unet.widths", 8, "--seed", options.seed),
        *("--data.center", options.data.center, "--train.steps", STEPS),
        *("--train.batch-size", own.batch_size, "--train.patch", own.patch, "--unet.blocks", 0),
        *("--train.log-every", 1, "--train.validate-every", 2, "--train.checkpoint-every", 3),
        *("--train.validation-batches", 1, "--train.warmup-steps", 2),
        *("--train.learning-rate", own.learning_rate),
    ]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "8",
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache" / "tests"),
    }

    def train_command(name, *more):
        return [
            sys.executable,
            str(ROOT / "train.py"),
            "--run",
            str(tmp_path / name),
            *map(str, more),
        ]

    def finished(name, *more):
        answer = subprocess.run(
            train_command(name, *more),
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert answer.returncode == 0, answer.stderr
        return tmp_path / name

    run, whole = tmp_path / "run", finished("whole", *arguments)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            train_command("run", *arguments), stdout=log, stderr=log, env=environment, cwd=tmp_path
        )
        try:
            for _ in range(1200):
                if (run / "checkpoints" / "3").is_dir() or process.poll() is not None:
                    break
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            process.wait()
    assert Checkpoints(run / "checkpoints").steps(), (tmp_path / "log").read_text()
    finished("run", "--resume")
    assert_same_run(run, whole)


# --- which options hold ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.optimized
def test_finished_run_goes_on_for_more_steps(options, tmp_path):
    """With a constant rate the first steps do not know how many will follow."""
    whole = start(options, tmp_path / "whole", schedule="constant", warmup_steps=0)
    run = start(options, tmp_path / "run", schedule="constant", warmup_steps=0, steps=6)
    go_on(run, steps=STEPS)
    assert_same_bits(*(arrays_of(place / "checkpoints", STEPS, "state") for place in (run, whole)))
    assert RunFolder(run).config().train.steps == STEPS
    assert log_of(run) == log_of(whole)
    before = log_of(run)
    go_on(run)  # nothing is left to do
    assert log_of(run) == before


@pytest.mark.slow
@pytest.mark.optimized
def test_run_without_validation_resumes_and_has_its_last_step_as_best(options, tmp_path):
    run = killed(options, tmp_path / "run", hooks.Logger, 5, validation="none")
    for _ in range(2):
        go_on(run)
        assert Checkpoints(run / "best").steps() == [STEPS]
    whole = start(options, tmp_path / "whole", validation="none")
    assert_same_bits(*(arrays_of(place / "best", STEPS, "parameters") for place in (run, whole)))


def test_only_the_last_checkpoint_when_none_between_are_wanted(options, tmp_path):
    run = start(options, tmp_path / "run", checkpoint_every=0, steps=3)
    assert Checkpoints(run / "checkpoints").steps() == [3]


@pytest.mark.slow
def test_the_run_keeps_its_own_options(smae, small, small_scan, tmp_path):
    data = ("--data.path", f"{small_scan}::counts", "--data.center", "17.5,14")
    config = tmp_path / "mine.toml"
    config.write_text("[train]\nlearning_rate = 3e-3\n")
    start = ("train", "--run", "run", *data, *small, "--overwrite", "--config", config)
    assert smae(*start).status == 0
    own = RunFolder(tmp_path / "run").config()
    assert (own.train.learning_rate, own.overwrite, own.resume) == (3e-3, False, False)
    for again in (
        ("train", "--run", "run", "--resume"),
        ("train", "--run", "run", "--resume", "--config", config),
        ("train", "--run", "run/", "--resume", *data, *small, "--config", config),
    ):
        answer = smae(*again)
        assert answer.status == 0, answer.err
        assert "going on after step 4 of 4" in answer.out
    assert RunFolder(tmp_path / "run").config() == dataclasses.replace(own, run="run/")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--train.learning-rate", 1e-4), "--train.learning-rate"),
        (("--seed", 5), "--seed"),
        (("--data.path", "other.npz"), "--data.path"),
        (("--unet.widths", 16), "--unet.widths"),
        (("--loss", "mse"), "--loss"),
        (("--train.steps", 3), "--train.steps"),
        (("--overwrite",), "--overwrite"),
    ],
)
def test_other_options_are_refused_by_name(smae, trained_run, given, said):
    before = sorted(trained_run.rglob("*"))
    answer = smae("train", "--run", trained_run, "--resume", *given)
    assert answer.status == 2
    assert said in answer.err
    assert answer.err.count("\n") == 1
    assert sorted(trained_run.rglob("*")) == before


def test_a_config_that_says_otherwise_is_refused_by_the_name_of_the_option(
    smae, trained_run, tmp_path
):
    (tmp_path / "mine.toml").write_text('loss = "mse"\n')
    answer = smae("train", "--run", trained_run, "--resume", "--config", "mine.toml")
    assert answer.status == 2
    assert "--loss" in answer.err


def test_other_frames_are_refused(options, tmp_path, small_scan):
    path = tmp_path / "scan.npz"
    path.write_bytes(small_scan.read_bytes())
    own = dataclasses.replace(options.data, path=f"{path}::counts")
    run = start(dataclasses.replace(options, data=own), tmp_path / "run", steps=1)
    counts = np.load(path)["counts"]
    np.savez(path, counts=counts[:-1])
    with pytest.raises(ValueError, match=r"--resume: .*has frames 5, and 6 when"):
        go_on(run, steps=2)


def test_nothing_to_go_on_with_is_refused(smae, trained_run, tmp_path):
    answer = smae("train", "--run", tmp_path / "none", "--resume")
    assert answer.status == 2
    assert "no run there" in answer.err
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.toml").write_bytes((trained_run / "config.toml").read_bytes())
    answer = smae("train", "--run", tmp_path / "begun", "--resume")
    assert answer.status == 2
    assert "no checkpoint yet" in answer.err
    assert [path.name for path in (tmp_path / "begun").iterdir()] == ["config.toml"]


def test_parameters_for_inference_are_the_average(whole):
    parameters, step = read_parameters(RunFolder(whole), "last")
    assert step == STEPS
    state = arrays_of(whole / "checkpoints", STEPS, "state")
    average = [v for k, v in state.items() if k.startswith("['average']")]
    assert len(average) == len(jax.tree.leaves(parameters))
    for kept, leaf in zip(average, jax.tree.leaves(parameters), strict=True):
        np.testing.assert_array_equal(kept, leaf)


def test_optimizer_is_a_part_of_what_must_fit(options, whole):
    """A state of another optimizer is refused by name, not restored in part."""
    config = RunFolder(whole).config()
    net = build_network(config, build_method(config))
    parameters = models.initial_parameters(net, jax.random.key(0), channels=2, spatial=(16, 16))
    like = initial_state(parameters, make_optimizer("adam", lambda step: 0.1))
    with pytest.raises(ValueError, match="optimizer_state"):
        Checkpoints(whole / "checkpoints").restore(STEPS, "state", like)
