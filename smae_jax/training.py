"""The trainer: optimizer, state, one jitted data-parallel step, and the loop with its hooks.

It receives functions and arrays and knows nothing of files, configs or what a method means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from smae_jax.registration import displace

Parameters = Any
Metrics = dict[str, Array]
Apply = Callable[[Parameters, Array], Array]
Loss = Callable[[Array, Array, Array], Array]
METRICS = ("loss", "gradient_norm")


class TrainState(NamedTuple):
    """All that a training carries on; nothing random is kept, keys follow from seed and step.

    Attributes:
      step: steps done, int32 scalar.
      parameters: float32 pytree.
      average: exponential moving average of the parameters, which validation and inference use.
      optimizer_state: optax state.
    """

    step: Array
    parameters: Parameters
    average: Parameters
    optimizer_state: Any


class TrainingDivergedError(ValueError):
    """The loss is not finite any more."""


Step = Callable[[TrainState, Array, Any], tuple[TrainState, Metrics]]
Run = Callable[[TrainState, int], tuple[TrainState, Metrics]]
Hook = Callable[[int, TrainState, Metrics], None]


def make_schedule(
    kind: Literal["cosine", "step", "constant"],
    *,
    learning_rate: float,
    steps: int,
    warmup_steps: int = 0,
    final_share: float = 0.02,
    halve_every: int = 0,
    restarts: int = 0,
) -> optax.Schedule:
    """Return the learning rate as a function of the step.

    Args:
      kind: "cosine" falls to `final_share` of the peak at the last step; "step" halves it every
        `halve_every` steps; "constant" keeps it.
      learning_rate: the peak.
      steps: length of the training.
      warmup_steps: linear rise from 0 to the peak.
      final_share: of the peak, in [0, 1].
      halve_every: steps; 0 = a quarter of the training.
      restarts: how often "cosine" starts anew from the peak, each time for the same number of steps.

    Returns:
      step -> learning rate.
    """
    warmup_steps = min(warmup_steps, steps // 2)
    rest = max(1, steps - warmup_steps)
    if kind == "cosine" and restarts:
        each = -(-rest // (restarts + 1))
        falls = [optax.cosine_decay_schedule(learning_rate, each, alpha=final_share)]
        after = optax.join_schedules(
            falls * (restarts + 1), [each * (k + 1) for k in range(restarts)]
        )
    elif kind == "cosine":
        after = optax.cosine_decay_schedule(learning_rate, rest, alpha=final_share)
    elif kind == "step":
        every = halve_every or max(1, steps // 4)
        after = optax.exponential_decay(learning_rate, every, 0.5, staircase=True)
    else:
        after = optax.constant_schedule(learning_rate)
    if not warmup_steps:
        return after
    rise = optax.linear_schedule(0.0, learning_rate, warmup_steps)
    return optax.join_schedules([rise, after], [warmup_steps])


def make_optimizer(
    kind: Literal["muon", "adam"],
    schedule: optax.Schedule,
    *,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    accumulate: int = 1,
) -> optax.GradientTransformation:
    """Return the optimizer, with clipping of the global norm where `clip_norm` > 0.

    With `accumulate` > 1 the gradients of so many steps are averaged before the parameters change; the
    schedule still counts steps.

    Muon orthogonalises the momentum of every kernel, taken as a matrix (window x input, output), and
    scales it to the size of an Adam step, so that one learning rate serves kernels and biases.

    Reference:
      Jordan et al. 2024 (Muon); step size as in Liu et al. 2025, "Muon is scalable for LLM training", eq. 4.
    """
    if accumulate > 1:
        steps_of = schedule
        schedule = lambda count: steps_of(count * accumulate)  # noqa: E731
    if kind == "adam":
        chosen = optax.adamw(schedule, b1=0.9, b2=0.999, weight_decay=weight_decay)
    else:
        chosen = optax.contrib.muon(
            schedule,
            weight_decay=weight_decay,
            adam_weight_decay=weight_decay,
            consistent_rms=0.2,
            muon_weight_dimension_numbers=_kernels_as_matrices,
        )
    if clip_norm:
        chosen = optax.chain(optax.clip_by_global_norm(clip_norm), chosen)
    if accumulate > 1:
        return optax.MultiSteps(chosen, accumulate).gradient_transformation()
    return chosen


def _kernels_as_matrices(parameters: Parameters) -> Parameters:
    def matrix(leaf: Array) -> optax.contrib.MuonDimensionNumbers | None:
        if leaf.ndim < 2:
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), (leaf.ndim - 1,))

    return jax.tree.map(matrix, parameters)


def make_mesh(devices: int = 0) -> Mesh:
    """Return a mesh of one axis, "data", over the first `devices` devices (0 = all).

    Raises:
      ValueError: if there are fewer.
    """
    there = jax.devices()
    if devices > len(there):
        raise ValueError(
            f"--train.devices {devices}: expected at most {len(there)}, as many as there are "
            f"({there[0].device_kind}); 0 takes all"
        )
    chosen = there[: devices or None]
    return jax.make_mesh((len(chosen),), ("data",), (AxisType.Auto,), devices=chosen)


def initial_state(parameters: Parameters, optimizer: optax.GradientTransformation) -> TrainState:
    """Return the state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        parameters=parameters,
        average=jax.tree.map(jnp.copy, parameters),
        optimizer_state=optimizer.init(parameters),
    )


def make_step(
    *,
    apply: Apply,
    pair: Callable[[Array, Any], Any],
    loss: Loss,
    optimizer: optax.GradientTransformation,
    average_decay: float,
) -> Step:
    """Return one training step as a pure function (state, key, batch) -> (state, metrics).

    Args:
      apply: (parameters, source) -> prediction.
      pair: (key, batch) -> Pair.
      loss: (prediction, target, weight) -> scalar; means are over the global batch, whatever the sharding.
      optimizer: optax transformation.
      average_decay: of the moving average of the parameters, in [0, 1); a running mean at first.

    Returns:
      The step; metrics are "loss" and "gradient_norm", float32 scalars.
    """

    def step(state: TrainState, key: Array, batch: Any) -> tuple[TrainState, Metrics]:
        made = pair(key, batch)

        def objective(parameters: Parameters) -> Array:
            return loss(_expected(apply, parameters, made), made.target, made.weight)

        value, gradient = jax.value_and_grad(objective)(state.parameters)
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer_state, state.parameters
        )
        parameters = optax.apply_updates(state.parameters, updates)
        decay = jnp.minimum(average_decay, (1.0 + state.step) / (10.0 + state.step))
        average = jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), state.average, parameters)
        state = TrainState(state.step + 1, parameters, average, optimizer_state)
        return state, {"loss": value, "gradient_norm": optax.tree.norm(gradient)}

    return step


def _expected(apply: Apply, parameters: Parameters, pair: Any) -> Array:
    """Return the prediction for a pair, on the target's grid."""
    prediction = apply(parameters, pair.source)
    if pair.shift is None:
        return prediction
    return jax.vmap(displace, in_axes=(-1, 1), out_axes=-1)(prediction, pair.shift)


def step_keys(key: Array, step: Array) -> tuple[Array, Array]:
    """Return the keys that draw and that pair the batch of one step; the same however it is drawn."""
    draw_key, pair_key = jax.random.split(jax.random.fold_in(key, step))
    return draw_key, pair_key


def make_resident_run(
    step: Step,
    draw: Callable[[Array, Any], Any],
    *,
    key: Array,
    data: Any,
    mesh: Mesh,
    looped: bool,
) -> Run:
    """Return the function that does several steps in one dispatch, on data kept on the devices.

    Args:
      step: from `make_step`.
      draw: (key, data) -> batch; pure. Its leading axis is split over the mesh.
      key: typed random key of the training.
      data: pytree that `draw` reads; kept on every device.
      mesh: from `make_mesh`.
      looped: run the steps in a loop on the device. On a CPU keep this off and give count 1: XLA's
        convolutions inside a loop are many times slower there (`python -m benchmarks.speed` shows it).

    Returns:
      (state, count) -> (state, mean metrics of these steps). The state given is donated.
    """
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("data"))
    data = jax.device_put(data, everywhere)

    def one(state: TrainState, key: Array, data: Any) -> tuple[TrainState, Metrics]:
        draw_key, pair_key = step_keys(key, state.step)
        batch = jax.lax.with_sharding_constraint(draw(draw_key, data), split)
        return step(state, pair_key, batch)

    def many(state: TrainState, key: Array, data: Any, count: Array) -> tuple[TrainState, Metrics]:
        def body(_: Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
            state, metrics = one(carry[0], key, data)
            return state, jax.tree.map(jnp.add, carry[1], metrics)

        start = (state, {name: jnp.zeros((), jnp.float32) for name in METRICS})
        state, total = jax.lax.fori_loop(0, count, body, start)
        return state, jax.tree.map(lambda value: value / count, total)

    if looped:
        compiled = jax.jit(many, donate_argnums=0, out_shardings=everywhere)
        return lambda state, count: compiled(state, key, data, jnp.asarray(count, jnp.int32))
    single = jax.jit(one, donate_argnums=0, out_shardings=everywhere)

    def run(state: TrainState, count: int) -> tuple[TrainState, Metrics]:
        assert count == 1, "several steps per dispatch need looped=True"
        return single(state, key, data)

    return run


def make_streamed_run(step: Step, draw: Callable[[Array], Any], *, key: Array, mesh: Mesh) -> Run:
    """Return the function that does one step on a batch drawn on the host, for data larger than a device.

    The device works on one step while the host draws the next. Draws and pairs have the keys of
    `make_resident_run`, so both train alike.

    Args:
      step: from `make_step`.
      draw: key -> batch of numpy arrays.
      key: typed random key of the training.
      mesh: from `make_mesh`; the batch is split over it.

    Returns:
      (state, 1) -> (state, metrics). The state given is donated.
    """
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("data"))
    compiled = jax.jit(step, donate_argnums=0, out_shardings=everywhere)
    done: list[
        int
    ] = []  # the host's own count of steps: reading the state's would wait for the device

    def run(state: TrainState, count: int) -> tuple[TrainState, Metrics]:
        assert count == 1, "a streamed run does one step per dispatch"
        number = done.pop() if done else int(state.step)
        done.append(number + 1)
        draw_key, pair_key = step_keys(key, jnp.asarray(number, jnp.int32))
        return compiled(state, pair_key, jax.device_put(draw(draw_key), split))

    return run


def make_validation(
    *,
    apply: Apply,
    pair: Callable[[Array, Any], Any],
    loss: Loss,
    batches: Sequence[Any],
    key: Array,
    mesh: Mesh,
) -> Callable[[Parameters], float]:
    """Return the loss on held-out data: parameters -> mean over the batches.

    Patches and pairs are the same at every call, so that steps can be compared.

    Args:
      apply: (parameters, source) -> prediction.
      pair: (key, batch) -> Pair.
      loss: (prediction, target, weight) -> scalar.
      batches: whose eligible pixels are the held-out ones.
      key: typed random key of the pairs.
      mesh: from `make_mesh`; the batches are split over it.
    """
    placed = jax.device_put(list(batches), NamedSharding(mesh, PartitionSpec("data")))

    @jax.jit
    def one(parameters: Parameters, key: Array, batch: Any) -> Array:
        made = pair(key, batch)
        return loss(_expected(apply, parameters, made), made.target, made.weight)

    def validate(parameters: Parameters) -> float:
        values = [one(parameters, jax.random.fold_in(key, i), b) for i, b in enumerate(placed)]
        return float(jnp.mean(jnp.stack(values)))

    return validate


def fit(
    state: TrainState,
    run: Run,
    *,
    steps: int,
    steps_per_dispatch: int = 1,
    every: Sequence[tuple[int, Hook]] = (),
) -> TrainState:
    """Train until `steps` steps are done, calling hooks at their multiples and at the end.

    Args:
      state: where to start from; its step counts.
      run: (state, count) -> (state, metrics of these steps).
      steps: step at which to stop.
      steps_per_dispatch: most steps per call of `run`.
      every: (interval, hook): the hook is called with (step, state, metrics) at every multiple of the
        interval and after the last step; metrics are those of the last call of `run`.

    Returns:
      The state after `steps` steps.
    """
    done = int(state.step)
    while done < steps:
        stops = [interval * (done // interval + 1) for interval, _ in every if interval]
        count = min(steps_per_dispatch, min([steps, *stops]) - done)
        state, metrics = run(state, count)
        done += count
        for interval, hook in every:
            if interval and (done % interval == 0 or done == steps):
                hook(done, state, metrics)
    return state


def check_finite(loss: float, step: int) -> None:
    """Stop a training whose loss is not finite.

    Raises:
      TrainingDivergedError: with what to do, if `loss` is NaN or infinite.
    """
    if not np.isfinite(loss):
        raise TrainingDivergedError(
            f"the loss became {loss} by step {step}; lower --train.learning-rate, set "
            "--train.clip-norm 1, or look at the data with 'smae-jax inspect'"
        )
