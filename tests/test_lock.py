"""Two processes never train in one run folder."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from smae_jax.config import TrainConfig
from smae_jax.errors import UserError
from smae_jax.run.folder import RunFolder
from smae_jax.run.lock import held

HOLDER = """
    import sys, time
    from smae_jax.run.lock import held
    with held(sys.argv[1]):
        print("held", flush=True)
        time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that trains in `tmp_path/runs/a`."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path / "runs" / "a")],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_another_process_is_named_and_its_run_left_alone(tmp_path, holder):
    with (
        pytest.raises(UserError, match=rf"--run .*runs/a: process {holder.pid} on .* is training"),
        held(tmp_path / "runs" / "a"),
    ):
        pass
    with held(tmp_path / "runs" / "b"):
        pass
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [".a.lock"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_dies_with_its_process(tmp_path, holder, how):
    os.kill(holder.pid, how)
    holder.wait()
    with held(tmp_path / "runs" / "a"):
        pass
    assert not list((tmp_path / "runs").iterdir())


def test_one_process_does_not_train_twice_in_one_folder_under_any_name(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    with held("real/run"):
        for same in ("real/run", "link/run", tmp_path / "real" / "run", "real/../real/run/"):
            with pytest.raises(UserError, match="is training there"), held(same):
                pass
    with held("link/run"):
        pass


def test_what_the_training_raises_goes_through_and_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), held(tmp_path / "new" / "deep" / "run"):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    refuses = pytest.raises(UserError, match="no run can be written there")
    with refuses as refused, held(tmp_path / "file" / "run"):
        pass
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("option", ["--overwrite", "--resume"])
def test_train_refuses_a_run_that_is_being_trained(smae, tmp_path, holder, option):
    run = tmp_path / "runs" / "a"
    run.mkdir()
    written = dataclasses.replace(TrainConfig(), run=str(run))
    (run / "config.toml").write_text('method = "thinning"\n')
    assert RunFolder(run).config().method == written.method
    before = sorted(path.name for path in run.rglob("*"))
    given = () if option == "--resume" else ("--data.path", "nothing.npy")
    answer = smae("train", "--run", Path("runs") / "a", option, *given)
    assert answer.status == 2
    assert f"process {holder.pid}" in answer.err
    assert len(answer.err.splitlines()) == 1
    assert sorted(path.name for path in run.rglob("*")) == before
