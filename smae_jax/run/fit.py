"""A training in a run folder: gone on with where there is something, logged, saved, the best kept."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import optax

from smae_jax import models, promised, step_memory, training
from smae_jax.config import TrainConfig
from smae_jax.errors import UserError
from smae_jax.memory import in_gib
from smae_jax.methods.protocol import Method, Say
from smae_jax.one_heap import large_in_heap
from smae_jax.placing import Placed
from smae_jax.run.build import build_optimizer, loop_of
from smae_jax.run.checkpoint import Checkpoints, on_first_device
from smae_jax.run.fine_tuning import Base, take_over, taken_in_words
from smae_jax.run.folder import RunFolder
from smae_jax.run.hooks import Judge, Logger, Saver, Tracer
from smae_jax.stopping import Stopped, stopping

SHARE_SAID, SHARE_REFUSED = 0.5, 1.5
"""Of the memory that is there: what a step may take without a word, and what it may be estimated to take."""
MOST_KEPT = 1000
"""Times the bytes of its batch that a step may take; the networks of this package take 10 to 200 times."""


@dataclasses.dataclass(frozen=True)
class Training:
    """What a training consists of.

    Attributes:
      method: makes the pairs.
      net: network.
      loss: (prediction, target, weight) -> scalar.
      placed: what is trained on.
      base: whose parameters it starts from, or None.
    """

    method: Method
    net: models.Network
    loss: training.Loss
    placed: Placed
    base: Base | None = None


def check_own(config: TrainConfig, work: Training) -> None:
    """Refuse a user's own method, network or loss that does not give what it promises, before any work.

    Raises:
      UserError: in one line.
    """
    if any(":" in named for named in (config.method, config.model, config.loss)):
        step = training.make_step(work.net, work.method, work.loss, optax.identity())
        size = 1 if work.method.whole else config.train.batch_size
        promised.check(step, work.placed, jax.random.key(config.seed), batch_size=size)


def check_memory(config: TrainConfig, work: Training, say: Say) -> None:
    """Refuse a batch that does not fit into memory, before any work; say so where it takes most of it.

    Raises:
      UserError: in one line, with what it would take and what there is.
    """
    size, looks = config.train.batch_size, config.train.validation_batches
    mesh = training.mesh_for(size, devices=config.train.devices)
    shared = mesh.devices.flat[0].platform == "cpu"
    there = step_memory.device_memory() * (1 if shared else mesh.size)
    batch = step_memory.of_batch(work.placed, batch_size=size)
    if work.method.whole or (looks + MOST_KEPT) * batch < SHARE_SAID * there:
        return
    step = training.make_step(work.net, work.method, work.loss, optax.identity())
    taken = looks * batch + step_memory.of_step(step, work.placed, batch_size=size)
    if taken < SHARE_SAID * there:
        return
    fewer = 2 ** max(0, int(np.log2(SHARE_SAID * there / taken * size)))
    mend = f"--train.batch-size {fewer} --train.accumulate {-(-size // fewer)}"
    what = (
        f"--train.batch-size {size}: a step takes about {in_gib(taken)}, and {in_gib(there)} are there; "
        f"{mend if fewer < size else 'a smaller --train.patch'} takes less"
    )
    if taken > SHARE_REFUSED * there:
        raise UserError(what)
    say(f"WARNING: {what}")


def fit_in_folder(config: TrainConfig, folder: RunFolder, work: Training, say: Say) -> None:
    """Train with logging and checkpoints, or go on with a training.

    Args:
      config: options of the run; with `resume` its newest checkpoint is gone on from.
      folder: of the run, made already.
      work: what the training consists of.
      say: receives every line that a person should read.

    Raises:
      Stopped: where SIGTERM came; a checkpoint was saved.
    """
    options, key = config.train, jax.random.key(config.seed)
    schedule, optimizer = build_optimizer(options, peak=config.peak_rate)
    step = training.make_step(
        work.net, work.method, work.loss, optimizer, average_decay=options.average_decay
    )
    checkpoints = Checkpoints(folder.checkpoints, keep=options.keep or None)
    best = Checkpoints(folder.best)
    with folder.replacing() as step_made:
        state, so_far, notes = _start(config, step, work, key, (checkpoints, best), say)
        start = 0 if state is None else int(state.step)
        with (
            stopping() as asked_to_stop,
            Logger(folder.metrics, schedule, steps=options.steps, start=start) as logger,
            Saver(checkpoints, best, notes) as saver,
            Tracer(folder.profile, say) as tracer,
        ):

            def logged(step: int, state: training.TrainState, metrics: training.Metrics) -> None:
                logger(step, state, metrics)
                if "loss" in metrics:
                    step_made()  # and its loss is finite

            loop = loop_of(config, work.method, stop=asked_to_stop)
            hooks: list[tuple[int, training.Hook]] = [(options.log_every, logged)]
            if loop.validate_every:
                hooks.append((loop.validate_every, Judge(saver, logger)))
            hooks.append((options.checkpoint_every or options.steps, saver))
            hooks.append((options.log_every if options.profile else 0, tracer))
            with large_in_heap():
                fitted = training.fit(
                    step,
                    work.placed,
                    key,
                    steps=options.steps,
                    hooks=hooks,
                    state=state,
                    best=so_far,
                    loop=loop,
                )
    _close(config, fitted, checkpoints, best, say)


def _start(
    config: TrainConfig,
    step: training.Step,
    work: Training,
    key: Any,
    kept: tuple[Checkpoints, Checkpoints],
    say: Say,
) -> tuple[training.TrainState | None, training.Fitted | None, dict[str, Any] | None]:
    """Return state, best step and notes to begin with: of the run, of a base, or none."""
    begin = training.compiled_begin(step, tuple(work.placed.patch))
    shapes = jax.eval_shape(begin, key)
    count = models.count_parameters(shapes.parameters)
    say(f"{config.model}: {count:,} parameters; loss {config.loss}")
    checkpoints, best = kept
    if config.resume:
        last = checkpoints.steps()[-1]
        like = on_first_device(shapes)
        state, notes = checkpoints.restore(last, "state", like), checkpoints.notes(last)
        for one in kept:
            one.remove_unfinished()
        best.keep_only([step for step in best.steps() if step <= last])  # later ones come again
        say(f"going on after step {last} of {config.train.steps}")
        number, so_far = notes["best_step"], None
        if notes["best_loss"] is not None and number in best.steps():
            average = best.restore(number, "parameters", like.average)
            so_far = training.Fitted(number, average, notes["best_loss"], None)
        return state, so_far, notes
    if work.base is None:
        return None, None, None
    drawn = begin(key)
    merged, taken, left = take_over(drawn.parameters, work.base.parameters)
    say(taken_in_words(drawn.parameters, taken, left))
    return step.begin(key, work.placed.patch, jax.tree.map(jax.numpy.asarray, merged)), None, None


def _close(
    config: TrainConfig,
    fitted: training.Fitted,
    checkpoints: Checkpoints,
    best: Checkpoints,
    say: Say,
) -> None:
    """Keep the best step, say which it is, and tell an end before the last step from a stop."""
    assert fitted.last is not None, "fit returns its last state"
    steps, done = config.train.steps, int(fitted.last.step)
    if config.train.validation == "none" and done not in best.steps():
        best.save(done, parameters=fitted.average, notes={})
    early = done < steps
    patience = config.deep_image_prior.patience
    enough = early and 0 < patience <= done - fitted.step
    if not early or enough:
        best.keep_only(best.steps()[-1:])
    if enough:
        say(
            f"stopped after step {done}: the held-out counts were predicted best at step {fitted.step}"
        )
    checkpoints.close()
    best.close()
    if early and not enough:
        raise Stopped(
            f"stopped at step {done} of {steps}, which is saved; go on with --resume --run {config.run}"
        )
    say(f"best step {fitted.step} of {steps}")
    if fitted.step == 0:
        say("note: no step bettered the parameters that it began with; try another learning rate")
