"""What happens beside the steps of a training: the log, the validation, the checkpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optax
from tqdm import tqdm

from smae_jax.checkpoint import Checkpoints
from smae_jax.training import Metrics, TrainState, check_finite


class Logger:
    """Write `metrics.jsonl` and move the progress bar; the only hook that reads the loss.

    A resumed run cuts the log back to the step that it goes on from, so that no step is told twice.
    """

    def __init__(self, path: Path, schedule: optax.Schedule, *, steps: int, start: int) -> None:
        """Open the log at `start` of `steps`."""
        kept = []
        if path.exists():
            kept = [
                line for line in path.read_text().splitlines() if json.loads(line)["step"] <= start
            ]
        path.write_text("".join(f"{line}\n" for line in kept))
        self._file = path.open("a")
        self._bar = tqdm(total=steps, initial=start, unit="step", dynamic_ncols=True)
        self._schedule, self._since, self._clock = schedule, start, time.perf_counter()

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        """Log one line; stop if the loss is not finite."""
        values = {name: float(value) for name, value in metrics.items()}
        check_finite(values["loss"], step)
        now = time.perf_counter()
        speed = (step - self._since) / max(now - self._clock, 1e-9)
        self._since, self._clock = step, now
        self.write(
            step,
            **values,
            learning_rate=float(self._schedule(step - 1)),
            steps_per_s=round(speed, 3),
        )
        self._bar.set_postfix(loss=f"{values['loss']:.4g}")
        self._bar.update(step - self._bar.n)

    def write(self, step: int, **values: Any) -> None:
        """Append one line."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def __enter__(self) -> Logger:
        """Start."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the log and the bar."""
        self._file.close()
        self._bar.close()


class Saver:
    """Save the whole state, with the notes that a resumed run needs."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        """Keep checkpoints there."""
        self.checkpoints = checkpoints
        self.notes: dict[str, Any] = {"best_step": 0, "best_loss": None}

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        """Save a checkpoint."""
        self.checkpoints.save(step, parameters=state.average, state=state, notes=self.notes)


class Validator:
    """Keep the parameters whose loss on held-out data is the lowest."""

    def __init__(
        self,
        validate: Callable[[Any], float],
        best: Checkpoints,
        saver: Saver,
        logger: Logger,
    ) -> None:
        """Compare with the best so far, as the saver's notes have it."""
        self.validate, self.best, self.saver, self.logger = validate, best, saver, logger

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        """Validate the averaged parameters; save them if they are the best."""
        value = self.validate(state.average)
        check_finite(value, step)
        self.logger.write(step, validation_loss=value)
        best = self.saver.notes["best_loss"]
        if best is None or value < best:
            self.saver.notes = {"best_step": step, "best_loss": value}
            self.best.save(step, parameters=state.average, notes=self.saver.notes)
