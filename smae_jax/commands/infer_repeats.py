"""`smae-jax infer` for repeats: spectra, patterns and volumes without a beam centre."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax import inference, models
from smae_jax.commands.build_repeats import (
    build_repeats_method,
    build_repeats_model,
    check_method,
)
from smae_jax.commands.place_repeats import (
    channels_first,
    exposures,
    mean_rate,
    one_answer,
    read_data,
)
from smae_jax.commands.restore import check_output_figure, made_by, restore_network
from smae_jax.config import InferConfig, TrainConfig, check_ensemble, parse_ranges
from smae_jax.data.repeat_batches import Stack, whole_repeats
from smae_jax.data.repeats import Repeats, mean_of_repeats
from smae_jax.data.repeats_writers import check_repeats_output, write_repeats
from smae_jax.evaluation.spectrum_figure import draw_spectrum
from smae_jax.methods.protocol import Denoised, Method
from smae_jax.noise import Noise
from smae_jax.run_folder import Prepared, RunFolder

Say = Callable[[str], None]


def infer_repeats(
    config: InferConfig, trained: TrainConfig, prepared: Prepared, folder: RunFolder, say: Say
) -> None:
    """Denoise repeats and write them in counts, with the axis that they had.

    Args:
      config: the options.
      trained: options of the run.
      prepared: what its training found out.
      folder: the run.
      say: receives every line that a person should read.

    Raises:
      ValueError: in one line, for anything that a user can mend.
    """
    ready = open_repeats(config, trained, prepared, folder, say)
    repeats, stack, denoise = ready.repeats, ready.stack, ready.denoise
    count = len(repeats.counts)
    if config.sigma and not has_sigma(trained, count):
        raise ValueError(
            f"--sigma: expected method noise2noise with prediction sum and 3 repeats or more, got method "
            f"{trained.method} with {count} of them; leave the option out"
        )
    check_repeats_output(config.output, dimensions=len(repeats.spatial), overwrite=config.overwrite)
    check_figure(config, repeats)
    values = denoise(stack)
    sigma = leave_one_out(denoise, stack) if has_sigma(trained, count) else None
    answers, errors = (
        None if x is None else np.moveaxis(x, 1, -1) if repeats.channels else x[:, 0]
        for x in (values, sigma)
    )
    assert answers is not None, "there is always an answer"
    write_repeats(
        config.output,
        answers,
        like=repeats,
        sigma=errors,
        process=made_by(folder, trained, step=ready.step, group=ready.group),
        overwrite=config.overwrite,
    )
    if config.figure:
        draw(config, repeats, answers, errors, prepared, folder)
    what = f"one answer to {count} repeats" if one_answer(trained) else f"{len(answers)} answers"
    say(
        f"{config.output}: {what}, in counts; {100 * float(np.isfinite(answers).mean()):.1f} % of values "
        f"have an answer, the rest is NaN; step {ready.step}, ensemble {ready.group}"
    )


@dataclasses.dataclass(frozen=True)
class Ready:
    """A run and the repeats that it is applied to.

    Attributes:
      repeats: as read.
      stack: the same as the network sees them.
      denoise: stack -> answers, (1 or repeats, channels, *spatial); see `make_stack_denoiser`.
      step: of the checkpoint.
      group: motions that predictions are averaged over.
    """

    repeats: Repeats
    stack: Stack
    denoise: Callable[[Stack], np.ndarray]
    step: int
    group: str


def open_repeats(
    config: InferConfig, trained: TrainConfig, prepared: Prepared, folder: RunFolder, say: Say
) -> Ready:
    """Read repeats and a run that fits them.

    Raises:
      ValueError: in one line, for anything that a user can mend.
    """
    check_method(trained)
    if config.rule not in ("run", "direct"):
        raise ValueError(
            f"--rule {config.rule}: method {trained.method} on repeats has no second view of a point; leave "
            "the option out"
        )
    asked = trained.predict.ensemble if config.ensemble == "run" else config.ensemble
    group = check_ensemble(asked, trained=trained.data.augment)
    if trained.method == "deep_image_prior":
        group = "none"  # its noise has one orientation
    wanted = trained.data.repeats if config.repeats == "run" else config.repeats
    mask = config.mask or trained.data.mask
    repeats = read_data(
        trained.data, config.input, repeats="" if wanted == "all" else wanted, mask=mask
    )
    apply, parameters, step, method = load_repeats_network(
        trained,
        prepared,
        folder,
        config.checkpoint,
        axes=len(repeats.spatial),
        channels=repeats.channels,
    )
    counts, exposure = channels_first(repeats), exposures(repeats)
    mean = mean_rate(counts, exposure)
    scale = mean if config.scale == "input" or prepared.scale is None else prepared.scale
    if not 0.5 < mean / scale < 2:
        say(
            f"note: {mean:.3g} counts per value here, {scale:.3g} in training; a network trained at this "
            "exposure would do better"
        )
    if trained.method == "deep_image_prior":
        fits = repeats.spatial == tuple(prepared.frame_shape or ())
        if not fits or len(counts) != prepared.frames:
            raise ValueError(
                f"{config.input}: a deep image prior knows one measurement, {prepared.frames} repeats of "
                f"{prepared.frame_shape}; got {len(counts)} of {repeats.spatial}: train it on these"
            )
    stack = Stack(
        counts=counts,  # type: ignore[arg-type]
        exposure=exposure,  # type: ignore[arg-type]
        scale=np.full(len(counts), scale, np.float32),  # type: ignore[arg-type]
        held_out=np.zeros(repeats.spatial, bool),  # type: ignore[arg-type]
    )
    denoise = make_stack_denoiser(
        apply,
        method,
        group=group,
        conserve_totals=trained.predict.conserve_totals,
        together=one_answer(trained),
    )
    placed = jax.device_put(parameters)
    return Ready(repeats, stack, lambda part: denoise(placed, part), step, group)


def has_sigma(trained: TrainConfig, repeats: int) -> bool:
    """Whether the answer comes with its standard deviation, from the answers without each repeat."""
    options = trained.noise2noise
    return trained.method == "noise2noise" and options.prediction == "sum" and repeats > 2


def load_repeats_network(
    trained: TrainConfig,
    prepared: Prepared,
    folder: RunFolder,
    wanted: str,
    *,
    axes: int,
    channels: bool,
) -> tuple[models.Apply, Any, int, Method]:
    """Restore the averaged parameters of a checkpoint: "best", "last", or a step.

    Returns:
      (apply, parameters, step, method).

    Raises:
      ValueError: if there is no such checkpoint.
    """
    method = build_repeats_method(trained, channels=channels)
    noise = Noise(
        prepared.gain or 1.0, prepared.readout_variance or 0.0, prepared.common_variance or 0.0
    )
    module = build_repeats_model(
        trained, method, axes=axes, scale=prepared.scale or 1.0, noise=noise
    )
    apply, parameters, step = restore_network(
        folder, wanted, module, channels=method.source_channels, spatial=(32,) * axes
    )
    return apply, parameters, step, method


def make_stack_denoiser(
    apply: models.Apply,
    method: Method,
    *,
    group: str,
    conserve_totals: bool,
    together: bool,
) -> Callable[[Any, Stack], np.ndarray]:
    """Return the function that denoises all repeats of a stack; it compiles once per shape.

    Args:
      apply: (parameters, source) -> prediction.
      method: puts the predictions back.
      group: motions that predictions are averaged over.
      conserve_totals: scale every answer to the counts that it stands for.
      together: whether the repeats have one answer; else each has its own.

    Returns:
      (parameters, stack) -> expected counts, (1 or repeats, channels, *spatial), float32, NaN where there is
      no answer: per unit of exposure for one answer, of each repeat's own exposure for many.
    """

    @jax.jit
    def one(parameters: Any, stack: Stack, channel: Array) -> Array:
        predict = mirrored(lambda source: apply(parameters, source), group)
        batch = whole_repeats(stack, channel)
        result = method.denoise(predict, batch)
        counts, light = batch.counts, batch.exposure
        if together:
            counts, light = counts.sum(axis=0)[None], light.sum(axis=0)[None]
        if conserve_totals:
            full = Denoised(jnp.nan_to_num(result.counts), result.known, result.filled)
            scaled = inference.conserve(full, counts, light).counts
            result = Denoised(jnp.where(result.known, scaled, jnp.nan), result.known, result.filled)
        if together:
            return result.counts
        return jnp.where(light > 0, result.counts * light, result.counts)

    def denoise(parameters: Any, stack: Stack) -> np.ndarray:
        placed = jax.device_put(stack)
        channels = range(stack.counts.shape[1])
        answers = [np.asarray(one(parameters, placed, jnp.asarray(c))) for c in channels]
        return np.stack(answers, axis=1)

    return denoise


def mirrored(predict: Callable[[Array], Array], group: str) -> Callable[[Array], Array]:
    """Average predictions over a group; along a single axis that is the mirror image."""

    def averaged(source: Array) -> Array:
        if group == "none":
            return predict(source)
        if source.ndim > 3:
            return inference.ensemble(predict, group=group)(source)  # type: ignore[arg-type]
        return (predict(source) + jnp.flip(predict(jnp.flip(source, 1)), 1)) / 2

    return averaged


def leave_one_out(denoise: Callable[[Stack], np.ndarray], stack: Stack) -> np.ndarray:
    """Estimate the noise of the answer to all repeats from the answers without each of them (jackknife).

    Args:
      denoise: stack -> one answer to all its repeats.
      stack: of three repeats or more.

    Returns:
      Standard deviation, (1, channels, *spatial), float32. It holds the noise of the counts, not what the
      network smooths away.

    Reference:
      Efron & Stein 1981, "The jackknife estimate of variance".
    """
    count, answers = len(stack.counts), []
    for left_out in range(count):  # without exposure a repeat does not exist
        kept = (np.arange(count) != left_out).astype(np.float32)
        counts = stack.counts * kept.reshape(-1, *(1,) * (stack.counts.ndim - 1))
        exposure = stack.exposure * kept.reshape(-1, *(1,) * (stack.exposure.ndim - 1))
        answers.append(denoise(dataclasses.replace(stack, counts=counts, exposure=exposure)))
    spread = np.var(np.stack(answers), axis=0) * (count - 1)
    return np.sqrt(spread).astype(np.float32)


def check_figure(config: InferConfig, repeats: Repeats) -> None:
    """Refuse a figure that exists, is no PNG or cannot be drawn, before the work."""
    if not config.figure:
        return
    check_output_figure(config)
    if len(repeats.spatial) != 1 or repeats.channels:
        raise ValueError(
            f"--figure {config.figure}: expected spectra, got repeats of {repeats.counts.shape[1:]}; leave "
            "the option out"
        )


def draw(
    config: InferConfig,
    repeats: Repeats,
    answers: np.ndarray,
    sigma: np.ndarray | None,
    prepared: Prepared,
    folder: RunFolder,
) -> None:
    """Draw the spectrum, or the first one of several, before and after."""
    together = len(answers) < len(repeats.counts) or len(repeats.counts) == 1
    chosen = slice(None) if together else slice(0, 1)
    light = mean_of_repeats(repeats)[1] if together else repeats.exposure[0]
    draw_spectrum(
        config.figure,
        repeats.counts[chosen],
        answers[0],
        valid=repeats.valid if len(repeats.valid) == 1 else repeats.valid[chosen],
        exposure=repeats.exposure[chosen] if together else None,
        sigma=None if sigma is None else sigma[0],
        noise=noise_beside_photons(prepared, answers[0], light),
        axis=repeats.axis,
        axis_label=repeats.axis_label,
        ranges=parse_ranges(config.plot_range),
        metrics=folder.metrics if folder.metrics.is_file() else None,
        title=os.path.basename(repeats.source),
        overwrite=config.overwrite,
    )


def noise_beside_photons(
    prepared: Prepared, answer: np.ndarray, light: np.ndarray | float
) -> np.ndarray | None:
    """Return the rms noise of what an answer was made of; None where it is that of photons alone.

    Args:
      prepared: what the training found out about the noise.
      answer: values per unit of exposure.
      light: exposure behind them.
    """
    gain, readout = prepared.gain or 1.0, prepared.readout_variance or 0.0
    if (gain, readout) == (1.0, 0.0):
        return None
    return np.sqrt(np.maximum(gain * answer + readout, 0) / light)
