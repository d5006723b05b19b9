"""The picture of a training: its loss, smoothed, the validation loss, and the step that was best."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter1d

from smae_jax.errors import UserError

_TRAINING, _VALIDATION = "#4a90c2", "#d95f02"
_NOTE = (
    "The targets are as noisy as the sources, and their own noise stays in the loss: a loss that "
    "hardly falls is normal.\nJudge the training by the validation loss and by the pictures."
)


def loss_figure(metrics_jsonl_path: str | Path) -> Figure:
    """Draw the losses of a training against its steps.

    Args:
      metrics_jsonl_path: one JSON object a line, `{"step": 10, "loss": 0.3, ...}` or
        `{"step": 50, "validation_loss": 0.2}`; of a step that comes twice the later line counts.

    Returns:
      The figure, not yet written; a notebook shows it.

    Raises:
      UserError: in one line, if the metrics cannot be read or hold no loss.
    """
    training = read_losses(metrics_jsonl_path, "loss")
    validation = read_losses(metrics_jsonl_path, "validation_loss")
    if not len(training[0]):
        raise UserError(
            f"{metrics_jsonl_path}: expected lines with a loss, found none; train first"
        )
    figure = Figure(figsize=(9.0, 5.2), layout="constrained")
    axes = figure.subplots()
    steps, losses = training
    width = max(1.0, len(losses) / 40)
    smooth = gaussian_filter1d(losses, width, mode="nearest")
    axes.plot(steps, losses, color=_TRAINING, linewidth=0.8, alpha=0.5, label="training")
    axes.plot(steps, smooth, color=_TRAINING, linewidth=2.4, label="training, smoothed")
    seen = [_after_the_start(losses), _after_the_start(smooth)]
    panel = axes
    if len(validation[0]):
        if apart := needs_own_scale(_after_the_start(smooth), _after_the_start(validation[1])):
            panel = own_scale(axes, _VALIDATION)
        best = int(np.argmin(validation[1]))
        step, lowest = validation[0][best], validation[1][best]
        panel.plot(*validation, "o-", color=_VALIDATION, markersize=4, label="validation")
        panel.plot([step, step], [-1e30, lowest], ":", color=_VALIDATION, linewidth=1.2, zorder=1)
        panel.plot(
            step,
            lowest,
            "*",
            color=_VALIDATION,
            markersize=17,
            markeredgecolor="white",
            label=f"best: step {step:.0f}, {lowest:.5g}",
        )
        held_out = np.r_[_after_the_start(validation[1]), lowest]
        if apart:
            panel.set_ylim(*_limits(held_out))
        else:
            seen.append(held_out)
    low, high = _limits(np.concatenate(seen))
    axes.set_ylim(low, high)
    axes.set_xlim(0, max(steps[-1], *validation[0][-1:], 1) * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    figure.suptitle("Training", fontsize=13, fontweight="bold")
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    axes.spines["top"].set_visible(False)
    axes.spines["right"].set_visible(panel is not axes)
    handles = [h for a in dict.fromkeys((axes, panel)) for h in a.get_legend_handles_labels()[0]]
    axes.legend(
        handles=handles, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4
    )
    figure.supxlabel(_NOTE, fontsize=8.5, color="#666666")
    return figure


def needs_own_scale(training: np.ndarray, validation: np.ndarray) -> bool:
    """Whether one scale would show the validation loss as a flat line.

    It does where both lie far apart, or where the training loss jumps with the examples of each step.
    """
    spans = [float(np.ptp(values)) for values in (training, validation)]
    gap = max(training.min() - validation.max(), validation.min() - training.max())
    return gap > 2 * max(spans) or 0 < spans[1] < 0.1 * spans[0]


def own_scale(axes: Axes, color: str) -> Axes:
    """Return a second vertical axis, on the right and in the colour of what is drawn on it."""
    second = axes.twinx()
    second.spines["top"].set_visible(False)
    second.set_ylabel("loss on held-out points", color=color)
    second.tick_params(axis="y", colors=color)
    return second


def read_losses(path: str | Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one quantity from a file of metrics.

    Args:
      path: one JSON object a line, each with a `step`.
      name: `loss` or `validation_loss`.

    Returns:
      (steps, values), float64, by ascending step; values that are not finite are left out.

    Raises:
      UserError: in one line, if the file is missing or a line is not such an object.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot read these metrics ({error.strerror})") from None
    found: dict[float, float] = {}
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            if entry.get(name) is not None:
                found[float(entry["step"])] = float(entry[name])
        except (AttributeError, KeyError, TypeError, ValueError):
            if number == len(lines):
                break  # a training that was killed may leave half a line
            raise UserError(
                f'{path}: line {number}: expected an object such as {{"step": 10, "loss": 0.3}}'
            ) from None
    kept = sorted((step, value) for step, value in found.items() if np.isfinite(value))
    steps, values = np.array(kept, np.float64).reshape(-1, 2).T
    return steps, values


def _after_the_start(losses: np.ndarray) -> np.ndarray:
    """Leave out the first fall, which would press all that follows into a line."""
    return losses[len(losses) // 10 :]


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [0, 99])
    margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + 2 * margin
