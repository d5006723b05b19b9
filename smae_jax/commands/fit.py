"""The part of a training that scans and repeats share: state, hooks, checkpoints, the best step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from smae_jax import models, training
from smae_jax.checkpoint import Checkpoints
from smae_jax.commands.hooks import Logger, Saver, Validator
from smae_jax.commands.warm_start import take_over, taken_in_words
from smae_jax.config import TrainConfig, TrainOptions
from smae_jax.methods.protocol import Batch, Method
from smae_jax.run_folder import RunFolder

Say = Callable[[str], None]
MakeRun = Callable[[training.Step, Array], tuple[training.Run, int]]
# Parts of the random stream that no step number reaches.
INITIAL, VALIDATION = 2**31 - 1, 2**31 - 2


class EnoughTrainedError(Exception):
    """The held-out loss has not fallen for as long as the options allow."""


def fit(
    config: TrainConfig,
    folder: RunFolder,
    method: Method,
    module: models.Network,
    loss: training.Loss,
    mesh: jax.sharding.Mesh,
    say: Say,
    *,
    spatial: Sequence[int],
    make_run: MakeRun,
    held_out: Callable[[Array], list[Batch]],
    start: models.Parameters | None = None,
    more_hooks: Callable[[Saver], list[tuple[int, training.Hook]]] = lambda saver: [],
) -> training.TrainState:
    """Build the step, restore what there is, and train with logging, validation and checkpoints.

    Args:
      config: options of the run.
      folder: of the run.
      method: makes the pairs.
      module: network.
      loss: (prediction, target, weight) -> scalar.
      mesh: from `training.make_mesh`.
      say: receives every line that a person should read.
      spatial: shape of an example.
      make_run: (step, key) -> (run, steps per dispatch).
      held_out: typed random keys -> the batches that validation looks at.
      start: parameters to begin at; they are validated before the first step, so that the best ones are
        never worse on the held-out data than those the training began with.
      more_hooks: hooks of the caller's own; one may end the training by `EnoughTrainedError`.

    Returns:
      The state after the last step.
    """
    options, key = config.train, jax.random.key(config.seed)
    apply = models.apply_of(module)
    schedule, optimizer = build_optimizer(options, peak=config.peak_rate)
    state = first_state(config, method, module, optimizer, mesh, say, spatial=spatial, start=start)
    step = training.make_step(
        apply=apply,
        pair=method.pair,
        loss=loss,
        optimizer=optimizer,
        average_decay=options.average_decay,
    )
    run, per_dispatch = make_run(step, key)
    checkpoints = Checkpoints(folder.checkpoints, keep=options.keep or None)
    best, notes = Checkpoints(folder.best), None
    if config.resume:
        last = checkpoints.steps()[-1]
        state, notes = checkpoints.restore(last, "state", state), checkpoints.notes(last)
        for kept in (checkpoints, best):
            kept.remove_unfinished()
        best.keep_only([step for step in best.steps() if step <= last])  # later ones come again
        say(f"going on after step {last} of {options.steps}")
    saver = Saver(checkpoints, notes)
    hooks: list[tuple[int, training.Hook]] = []
    with Logger(folder.metrics, schedule, steps=options.steps, start=int(state.step)) as logger:
        hooks.append((options.log_every, logger))
        if options.validation != "none":
            validation_key = jax.random.fold_in(key, VALIDATION)
            validate = training.make_validation(
                apply=apply,
                pair=method.pair,
                loss=loss,
                batches=held_out(jax.random.split(validation_key, options.validation_batches)),
                key=validation_key,
                mesh=mesh,
            )
            validator = Validator(validate, best, saver, logger)
            if start is not None:
                validator(0, state, {})
            hooks.append((options.validate_every, validator))
        hooks += [(options.checkpoint_every or options.steps, saver), *more_hooks(saver)]
        try:
            state = training.fit(
                state, run, steps=options.steps, steps_per_dispatch=per_dispatch, every=hooks
            )
        except EnoughTrainedError as enough:
            say(str(enough))
        if options.validation == "none" and options.steps not in best.steps():
            best.save(options.steps, parameters=state.average, notes={})
    best.keep_only(best.steps()[-1:])
    say(f"best step {best.steps()[-1]} of {options.steps}")
    if start is not None and best.steps()[-1] == 0:
        say("note: no step bettered the parameters that it began with; try another learning rate")
    checkpoints.close()
    best.close()
    return state


def build_optimizer(
    options: TrainOptions, *, peak: float
) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """Return the learning rate over the steps, and the optimizer that follows it."""
    schedule = training.make_schedule(
        options.schedule,
        learning_rate=peak,
        steps=options.steps,
        warmup_steps=options.warmup_steps,
        halve_every=options.halve_every,
        restarts=options.restarts,
    )
    optimizer = training.make_optimizer(
        options.optimizer,
        schedule,
        weight_decay=options.weight_decay,
        clip_norm=options.clip_norm,
        accumulate=options.accumulate,
    )
    return schedule, optimizer


def first_state(
    config: TrainConfig,
    method: Method,
    module: models.Network,
    optimizer: optax.GradientTransformation,
    mesh: jax.sharding.Mesh,
    say: Say,
    *,
    spatial: Sequence[int],
    start: models.Parameters | None = None,
) -> training.TrainState:
    """Draw the parameters, or take over those to begin at."""
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def begin(key: Array) -> training.TrainState:
        parameters = models.initial_parameters(
            module, key, channels=method.source_channels, spatial=spatial
        )
        return training.initial_state(parameters, optimizer)

    start_key = jax.random.fold_in(jax.random.key(config.seed), INITIAL)
    state = jax.jit(begin, out_shardings=everywhere)(start_key)
    count = models.count_parameters(state.parameters)
    say(f"{config.model}: {count:,} parameters; loss {config.loss}")
    if start is None:
        return state
    merged, taken, kept = take_over(state.parameters, start)
    say(taken_in_words(state.parameters, taken, kept))

    def begin_with(parameters: Any) -> training.TrainState:
        return training.initial_state(parameters, optimizer)

    return jax.jit(begin_with, out_shardings=everywhere)(jax.tree.map(jnp.asarray, merged))
