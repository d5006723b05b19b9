"""What happens beside the steps of a training: the log, the best parameters, the checkpoints."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from smae_jax.io.atomic import atomic_path
from smae_jax.methods.protocol import Say
from smae_jax.overlap import Behind
from smae_jax.progress import Bar
from smae_jax.run.checkpoint import Checkpoints
from smae_jax.training import Metrics, Parameters, TrainState, check_finite, copied


class Logger:
    """Write `metrics.jsonl` and move the progress bar; the only hook that reads the loss.

    A resumed run cuts the log back to the step that it goes on from, so that no step is told twice.
    """

    def __init__(self, path: Path, schedule: optax.Schedule, *, steps: int, start: int) -> None:
        """Open the log at `start` of `steps`."""
        kept = [f"{line}\n" for line in _lines(path) if _step_of(line) <= start]
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")
        # Unbuffered: what a full disk did not take is not tried again on closing.
        self._path, self._file = path, path.open("ab", buffering=0)
        self._bar = Bar(steps, unit="step", desc="training", initial=start)
        self._rate, self._since, self._clock = jax.jit(schedule), start, time.perf_counter()

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        """Log one line; stop if the loss is not finite."""
        if "loss" not in metrics:  # looked at before the first step
            return
        found = jax.device_get({name: metrics[name] for name in ("loss", "gradient_norm")})
        values = {name: float(value) for name, value in found.items()}
        check_finite(values["loss"], step)
        now = time.perf_counter()
        speed = (step - self._since) / max(now - self._clock, 1e-9)
        self._since, self._clock = step, now
        self.write(
            step,
            **values,
            learning_rate=float(self._rate(np.int32(step - 1))),
            steps_per_s=round(speed, 3),
        )
        self._bar.note(f"loss={values['loss']:.4g}")
        self._bar.to(step)

    def write(self, step: int, **values: Any) -> None:
        """Append one line.

        Raises:
          OSError: with the name of the log, if the disk does not take it.
        """
        line = (json.dumps({"step": step, **values}) + "\n").encode()
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def __enter__(self) -> Logger:
        """Start."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the log and the bar."""
        self._file.close()
        self._bar.close()


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _step_of(line: str) -> float:
    """Return the step of a line of the log; infinity for one that a kill cut short."""
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")


class Saver:
    """Save the whole state, and with it the best parameters so far and the notes that a resumed run needs.

    A thread writes while the next steps are done; what goes wrong there is raised by the next save, or at the
    end. The best that the newest checkpoint knows of stays until there is a newer one: a run that is killed
    goes on from that checkpoint and finds its best again. Left in any other way, the best is written too.
    """

    def __init__(
        self, checkpoints: Checkpoints, best: Checkpoints, notes: dict[str, Any] | None = None
    ) -> None:
        """Keep both there; `notes` are those of the checkpoint that a run goes on from."""
        self.checkpoints, self.best = checkpoints, best
        self.notes = notes or {"best_step": 0, "best_loss": None}
        self._waiting: Any = None
        self._behind = Behind()

    def note_best(self, step: int, average: Parameters, loss: float) -> None:
        """Remember the best parameters so far, which may be given away after this call."""
        self._waiting = step, copied(average), loss

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        """Save a checkpoint."""
        if "loss" not in metrics:
            return
        best, self._waiting = self._waiting, None
        # Copies: what is on a CPU is otherwise only looked at, and given away at the next step.
        self._behind(self._write, *jax.tree.map(np.array, jax.device_get((best, step, state))))

    def _write(self, best: Any, step: int = 0, state: TrainState | None = None) -> None:
        """Write the best parameters so far, if they are not there, and then a checkpoint."""
        if best is not None:
            at, average, loss = best
            notes = {"best_step": int(at), "best_loss": float(loss)}
            self.best.save(int(at), parameters=average, notes=notes)
            self.best.keep_only({int(at), self.notes["best_step"]})
            self.notes = notes
        if state is not None:
            average = state.average
            self.checkpoints.save(int(step), parameters=average, state=state, notes=self.notes)

    def __enter__(self) -> Saver:
        """Start."""
        self._behind.__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Wait for what is being written, and write the best, however the training ends."""
        self._behind.__exit__(kind, error, trace)
        self._write(jax.device_get(self._waiting))


class Tracer:
    """Write a trace of the steps between its second call and its third: what compiles is done by then.

    A trace that cannot be written is said, and the training goes on.
    """

    def __init__(self, folder: Path, say: Say) -> None:
        """Write into this folder, made when it is needed."""
        self._folder, self._say, self._calls = folder, say, 0

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        """Begin, or end, after the steps so far have been done."""
        if "loss" not in metrics or self._calls > 2:
            return
        jax.block_until_ready(state)
        self._calls += 1
        if self._calls == 2:
            jax.profiler.start_trace(self._folder)
        elif self._calls == 3:
            self._stop()

    def _stop(self) -> None:
        try:
            jax.profiler.stop_trace()
        except (OSError, RuntimeError) as error:
            self._say(f"note: no trace was written to {self._folder}: {error}")

    def __enter__(self) -> Tracer:
        """Start."""
        return self

    def __exit__(self, *_: object) -> None:
        """Keep the trace of a training that ended before its third call."""
        if self._calls == 2:
            self._stop()


class Judge:
    """Log what looks at the held-out data found, and have the best parameters so far kept."""

    def __init__(self, saver: Saver, logger: Logger) -> None:
        """Note the best where the saver keeps it."""
        self.saver, self.logger = saver, logger

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        """Log one look."""
        if "validation_loss" not in metrics:
            return
        loss = metrics["validation_loss"]
        check_finite(loss, step)
        self.logger.write(step, validation_loss=loss)
        if metrics["is_best"]:
            self.saver.note_best(step, state.average, loss)
