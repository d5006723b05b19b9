"""Several trainings on repeats in one program, without files: what comparing settings needs.

Data, pairs, steps, held-out loss and best step are those of `smae-jax train`; only the run folder is missing.
Trainings that differ by data and seed are compiled once and run one after another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax import models, training
from smae_jax.commands.fit import INITIAL, VALIDATION, build_optimizer
from smae_jax.commands.infer_repeats import make_stack_denoiser
from smae_jax.commands.place_repeats import one_answer, place_repeats
from smae_jax.commands.train_repeats import set_up, settled
from smae_jax.config import TrainConfig
from smae_jax.data.repeat_batches import Stack, draw
from smae_jax.data.repeats import Repeats


def denoised_in_memory(
    config: TrainConfig, whole: Repeats, parts: Sequence[Repeats], seeds: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Train on every part with every seed, and denoise each part by its own training.

    Args:
      config: options; the seed is not looked at.
      whole: of which the unit and the noise are taken, for all parts.
      parts: repeats to train on, of one shape.
      seeds: of the trainings.

    Returns:
      (answers (parts, seeds, repeats or 1, *spatial), steps that were best (parts, seeds)).
    """
    options = config.train
    config = settled(config, whole)
    setup = set_up(config, whole, _silent)
    runs = []
    for part in parts:
        for seed in seeds:
            own = dataclasses.replace(config, seed=seed)
            runs.append(place_repeats(own, part, _silent, scale=setup.prepared.scale)[0])
    stacks = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *runs)
    keys = jnp.stack([jax.random.key(seed) for _ in parts for seed in seeds])
    apply = models.apply_of(setup.module)
    _, optimizer = build_optimizer(options, peak=config.peak_rate)
    step = training.make_step(
        apply=apply,
        pair=setup.method.pair,
        loss=setup.loss,
        optimizer=optimizer,
        average_decay=options.average_decay,
    )

    def drawn(key: Array, stack: Stack, *, held_out: bool) -> Any:
        return draw(
            key,
            stack,
            batch_size=options.batch_size,
            patch_shape=setup.patch_shape,
            held_out=held_out,
        )

    def one(run: tuple[Stack, Array]) -> tuple[Any, Array]:
        stack, key = run
        validation_key = jax.random.fold_in(key, VALIDATION)

        def validate(parameters: Any) -> Array:
            losses = []
            for number, own in enumerate(
                jax.random.split(validation_key, options.validation_batches)
            ):
                batch = drawn(own, stack, held_out=True)
                made = setup.method.pair(jax.random.fold_in(validation_key, number), batch)
                losses.append(setup.loss(apply(parameters, made.source), made.target, made.weight))
            return jnp.mean(jnp.stack(losses))

        def train_step(_: Any, state: training.TrainState) -> training.TrainState:
            draw_key, pair_key = training.step_keys(key, state.step)
            return step(state, pair_key, drawn(draw_key, stack, held_out=False))[0]

        def some(number: Any, carry: Any) -> Any:
            state, best, least, chosen = carry
            count = jnp.minimum(
                options.validate_every, options.steps - number * options.validate_every
            )
            state = jax.lax.fori_loop(0, count, train_step, state)
            loss = validate(state.average)
            better = loss < least
            best = jax.tree.map(lambda new, old: jnp.where(better, new, old), state.average, best)
            return (
                state,
                best,
                jnp.where(better, loss, least),
                jnp.where(better, state.step, chosen),
            )

        start = models.initial_parameters(
            setup.module,
            jax.random.fold_in(key, INITIAL),
            channels=setup.method.source_channels,
            spatial=setup.patch_shape,
        )
        state = training.initial_state(start, optimizer)
        carry = state, state.average, jnp.float32(jnp.inf), jnp.int32(0)
        rounds = -(-options.steps // options.validate_every)
        _, best, _, chosen = jax.lax.fori_loop(0, rounds, some, carry)
        return best, chosen

    parameters, chosen = jax.jit(lambda runs: jax.lax.map(one, runs))((stacks, keys))
    denoise = make_stack_denoiser(
        apply,
        setup.method,
        group=config.predict.ensemble,
        conserve_totals=config.predict.conserve_totals,
        together=one_answer(config),
    )
    answers = [
        denoise(jax.tree.map(lambda leaf, run=run: leaf[run], parameters), stack)[:, 0]
        for run, stack in enumerate(runs)
    ]
    shape = len(parts), len(seeds)
    return np.stack(answers).reshape(*shape, *answers[0].shape), np.asarray(chosen).reshape(shape)


def _silent(line: str) -> None:
    del line
