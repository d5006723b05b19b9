"""SIGTERM is remembered, not obeyed at once, and only within the block."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from smae_jax import cli
from smae_jax.stopping import Stopped, stopping


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def outer():
    """A handler from before, which must not be called within the block and be back after it."""
    calls = []

    def handler(number, frame):
        calls.append(number)

    former = signal.signal(signal.SIGTERM, handler)
    yield handler, calls
    signal.signal(signal.SIGTERM, former)


def test_sigterm_is_told_within_the_block_and_the_former_handler_comes_back(outer):
    handler, calls = outer
    with stopping() as stop:
        assert not stop()
        terminate()
        terminate()  # batch systems repeat it
        assert stop()
    assert calls == []
    assert signal.getsignal(signal.SIGTERM) is handler
    terminate()
    assert calls == [signal.SIGTERM]


def test_the_former_handler_comes_back_after_an_exception(outer):
    handler, _ = outer
    with pytest.raises(Stopped), stopping():
        raise Stopped("step 3 is saved")
    assert signal.getsignal(signal.SIGTERM) is handler


def test_blocks_within_each_other_ask_the_inner_one(outer):
    with stopping() as stop:
        with stopping() as inner:
            terminate()
            assert inner()
        assert not stop()
        terminate()
        assert stop()


def test_another_thread_may_not_catch_signals_and_is_told_no(outer):
    handler, _ = outer
    seen = []

    def work():
        with stopping() as stop:
            seen.append((stop(), signal.getsignal(signal.SIGTERM) is handler))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, True)]


def test_command_line_says_in_one_line_that_it_was_stopped(smae, monkeypatch):
    def stop(config, say):
        raise Stopped("stopped after step 7;\n go on with --resume")

    monkeypatch.setattr(cli, "command", lambda name: stop)
    answer = smae("inspect")
    assert answer.status == 143
    assert answer.err == "smae-jax inspect: stopped after step 7; go on with --resume\n"


def test_a_process_that_asks_ends_in_its_own_time():
    program = textwrap.dedent(
        """
        import time
        from smae_jax.stopping import stopping
        with stopping() as stop:
            print("ready", flush=True)
            while not stop():
                time.sleep(0.01)
        print("saved")
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == "saved\n"
    assert process.returncode == 0
