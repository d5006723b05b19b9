"""One display of progress: a bar on a terminal, sparse plain lines elsewhere, silence on demand."""

import io
import sys
import threading

import pytest

from smae_jax import progress
from smae_jax.progress import Bar, each, set_verbosity, verbosity


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def usual_verbosity():
    yield
    set_verbosity(0)


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when told to."""
    times = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: times[0])
    return times


def lines_of(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "\r" not in captured.err
    return captured.err.splitlines()


def test_a_log_file_gets_a_line_every_ten_percent(capsys, clock):
    with Bar(30, unit="batch", desc="64 frames") as bar:
        for done in range(1, 31):
            bar.to(done)
    lines = lines_of(capsys)
    assert len(lines) == 10
    assert lines[3] == "64 frames: 40 % (12 of 30 batches)"
    assert lines[-1] == "64 frames: 100 % (30 of 30 batches)"


def test_a_log_file_gets_a_line_after_half_a_minute_of_slow_work(capsys, clock):
    with Bar(1000, unit="step") as bar:
        for done in range(1, 5):
            clock[0] += 12
            bar.note(f"loss={done / 8}")
            bar.to(done)
    assert lines_of(capsys) == ["0 % (3 of 1000 steps), loss=0.375"]


def test_what_was_done_before_is_not_told_again(capsys, clock):
    with Bar(100, unit="step", initial=57) as bar:
        bar.to(58)
        bar.to(60)
        bar.to(100)
    assert lines_of(capsys) == ["60 % (60 of 100 steps)", "100 % (100 of 100 steps)"]


def test_one_of_one_is_singular_and_nothing_of_nothing_is_silent(capsys):
    assert list(each(["a"])) == ["a"]
    assert list(each([])) == []
    assert lines_of(capsys) == ["100 % (1 of 1 batch)"]


def test_an_item_counts_when_the_next_is_asked_for(capsys):
    items = each(iter("ab"), total=2, unit="file")
    next(items)
    assert lines_of(capsys) == []
    next(items)
    assert lines_of(capsys) == ["50 % (1 of 2 files)"]
    items.close()
    assert lines_of(capsys) == []


def test_unknown_total_is_counted(capsys, clock):
    for _ in each((n for n in range(3)), desc="reading", unit="file"):
        clock[0] += 20
    assert lines_of(capsys) == ["reading: 2 files"]


def test_quiet_says_nothing_anywhere(capsys, monkeypatch):
    set_verbosity(-1)
    list(each(range(20)))
    assert lines_of(capsys) == []
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Bar(3, unit="step") as bar:
        bar.note("loss=1")
        bar.to(3)
    assert sys.stderr.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    assert list(each(range(3))) == [0, 1, 2]


def test_without_standard_error_nothing_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    assert list(each(range(3))) == [0, 1, 2]


def test_a_terminal_gets_one_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Bar(8, unit="step", desc="training", initial=2) as bar:
        bar.note("loss=0.12")
        bar.to(8)
    shown = sys.stderr.getvalue().split("\r")[-1]
    assert "training: 100%" in shown
    assert "8/8" in shown
    assert "step" in shown
    assert "loss=0.12" in shown


def test_verbosity_is_one_of_three_and_of_this_thread():
    set_verbosity(1)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(verbosity()))
    thread.start()
    thread.join()
    assert (verbosity(), seen) == (1, [0])
    with pytest.raises(ValueError, match="expected -1, 0 or 1, got 2"):
        set_verbosity(2)
