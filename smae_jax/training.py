"""The trainer: optimizer, state, one jitted data-parallel step, and the loop with its hooks.

It receives a network, a method, a loss and placed arrays, and knows nothing of files or options. Data
parallelism is `jax.jit` over a mesh of one axis: what `jax.pmap` has become. A batch is split over the
devices, and means over the global batch are right as written.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from smae_jax import models
from smae_jax.errors import UserError
from smae_jax.made_once import made_once
from smae_jax.methods.own import OwnMethod, adapted
from smae_jax.methods.protocol import Batch, Method, Pair
from smae_jax.muon import muon
from smae_jax.named import qualified_name
from smae_jax.own_loss import value_of
from smae_jax.placing import Placed, cut_on_host, draw, draw_places, gather
from smae_jax.promised import check_answers, pair_of, prediction_of
from smae_jax.registration import displace
from smae_jax.step_memory import device_memory

Parameters = Any
Metrics = dict[str, Any]
Loss = Callable[[Array, Array, Array], Array]
Run = Callable[["TrainState", int], tuple["TrainState", Metrics]]
Hook = Callable[[int, "TrainState", Metrics], None]
METRICS = ("loss", "gradient_norm")
# Parts of the random stream that no step number reaches.
INITIAL, VALIDATION = 2**31 - 1, 2**31 - 2


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


class TrainingDivergedError(UserError):
    """The loss is not finite any more."""


@made_once
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


@made_once
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

    Muon orthogonalises the momentum of every kernel and scales it to the size of an Adam step, so that one
    learning rate serves kernels and biases; see `muon`.
    """
    if accumulate > 1:
        steps_of = schedule
        schedule = lambda count: steps_of(count * accumulate)  # noqa: E731
    if kind == "adam":
        chosen = optax.adamw(schedule, b1=0.9, b2=0.999, weight_decay=weight_decay)
    else:
        chosen = muon(schedule, weight_decay=weight_decay)
    if clip_norm:
        chosen = optax.chain(optax.clip_by_global_norm(clip_norm), chosen)
    if accumulate > 1:
        return optax.MultiSteps(chosen, accumulate).gradient_transformation()
    return chosen


def make_mesh(devices: int = 0) -> Mesh:
    """Return a mesh of one axis, "data", over the first `devices` devices (0 = all).

    Raises:
      UserError: if there are fewer.
    """
    there = jax.devices()
    if devices > len(there):
        raise UserError(
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


@dataclasses.dataclass(frozen=True)
class Step:
    """One training step, a pure function (state, key, batch) -> (state, metrics).

    Attributes:
      net: network.
      method: makes the pairs.
      loss: (prediction, target, weight) -> scalar; means are over the global batch, whatever the sharding.
      optimizer: optax transformation.
      average_decay: of the moving average of the parameters, in [0, 1); a running mean at first.
    """

    net: models.Network
    method: Method
    loss: Loss
    optimizer: optax.GradientTransformation
    average_decay: float = 0.98

    def __call__(self, state: TrainState, key: Array, batch: Batch) -> tuple[TrainState, Metrics]:
        """Do one step; metrics are "loss" and "gradient_norm", float32 scalars."""
        value, gradient = jax.value_and_grad(self.loss_of)(state.parameters, key, batch)
        updates, optimizer_state = self.optimizer.update(
            gradient, state.optimizer_state, state.parameters
        )
        parameters = optax.apply_updates(state.parameters, updates)
        decay = jnp.minimum(self.average_decay, (1.0 + state.step) / (10.0 + state.step))
        average = jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), state.average, parameters)
        state = TrainState(state.step + 1, parameters, average, optimizer_state)
        return state, {"loss": value, "gradient_norm": optax.tree.norm(gradient)}

    def loss_of(self, parameters: Parameters, key: Array, batch: Batch) -> Array:
        """Return the loss of the pairs that `key` makes of a batch, a scalar."""
        pair = pair_of(self.method, self.method.pair(key, batch))
        expected = self._expected(parameters, pair)
        what = f"loss {qualified_name(self.loss)}"
        return value_of(self.loss, expected, pair.target, pair.weight, what=what)

    def _expected(self, parameters: Parameters, pair: Pair) -> Array:
        """Return the prediction for a pair, on the target's grid."""
        prediction = models.apply_of(self.net)(parameters, pair.source)
        prediction = prediction_of(self.net, prediction, pair.source, self.method)
        if pair.shift is None:
            return prediction
        return jax.vmap(displace, in_axes=(-1, 1), out_axes=-1)(prediction, pair.shift)

    def begin(self, key: Array, patch: Sequence[int], parameters: Parameters = None) -> TrainState:
        """Return the state before the first step, with drawn parameters or with those given.

        Args:
          key: typed random key of the training.
          patch: shape of an example.
          parameters: pytree of arrays to begin at.
        """
        if parameters is None:
            parameters = models.initial_parameters(
                self.net,
                jax.random.fold_in(key, INITIAL),
                channels=self.method.source_channels,
                spatial=patch,
            )
        return initial_state(parameters, self.optimizer)


def make_step(
    net: models.Network,
    method: Method | OwnMethod,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    average_decay: float = 0.98,
) -> Step:
    """Return one training step; see `Step`. A method may be an object of one's own."""
    return Step(net, adapted(method), loss, optimizer, average_decay)


def step_keys(key: Array, step: Array) -> tuple[Array, Array]:
    """Return the keys that draw and that pair the batch of one step; the same however it is drawn."""
    draw_key, pair_key = jax.random.split(jax.random.fold_in(key, step))
    return draw_key, pair_key


def make_resident_run(
    step: Callable[[TrainState, Array, Any], tuple[TrainState, Metrics]],
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
        convolutions inside a loop are many times slower there (`python -m benchmarks.speed` shows it), and
        what it fuses with the draw it computes more than once: there the draw is a program of its own.

    Returns:
      (state, count) -> (state, mean metrics of these steps). The state given is donated.
    """
    data = jax.device_put(data, NamedSharding(mesh, PartitionSpec()))
    if looped:
        compiled = _compiled_loop(step, draw, mesh)
        return lambda state, count: compiled(state, key, data, np.int32(count))
    drawn, compiled_step = _compiled_draw(draw, mesh), _compiled_step(step, mesh)

    def run(state: TrainState, count: int) -> tuple[TrainState, Metrics]:
        del count  # one: several steps per dispatch need looped=True
        return compiled_step(state, *drawn(key, state.step, data))

    return run


@made_once
def _compiled_draw(
    draw: Callable[[Array, Any], Any], mesh: Mesh
) -> Callable[[Array, Array, Any], tuple[Array, Any]]:
    """Return the jitted function that gives a step the key of its pairs and its batch."""

    def drawn(key: Array, step: Array, data: Any) -> tuple[Array, Any]:
        draw_key, pair_key = step_keys(key, step)
        return pair_key, draw(draw_key, data)

    everywhere, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
    return jax.jit(drawn, out_shardings=(everywhere, split))


@made_once
def _compiled_loop(
    step: Callable[[TrainState, Array, Any], tuple[TrainState, Metrics]],
    draw: Callable[[Array, Any], Any],
    mesh: Mesh,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Return the jitted function that does several steps on a device."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("data"))

    def many(state: TrainState, key: Array, data: Any, count: Array) -> tuple[TrainState, Metrics]:
        def body(_: Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
            draw_key, pair_key = step_keys(key, carry[0].step)
            batch = jax.lax.with_sharding_constraint(draw(draw_key, data), split)
            state, metrics = step(carry[0], pair_key, batch)
            return state, jax.tree.map(jnp.add, carry[1], metrics)

        start = (state, {name: jnp.zeros((), jnp.float32) for name in METRICS})
        state, total = jax.lax.fori_loop(0, count, body, start)
        return state, jax.tree.map(lambda value: value / count, total)

    return jax.jit(many, donate_argnums=0, out_shardings=everywhere)


def make_streamed_run(
    step: Callable[[TrainState, Array, Any], tuple[TrainState, Metrics]],
    draw: Callable[[Array], Any],
    *,
    key: Array,
    mesh: Mesh,
) -> Run:
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
    split = NamedSharding(mesh, PartitionSpec("data"))
    compiled = _compiled_step(step, mesh)
    done: list[
        int
    ] = []  # the host's own count of steps: reading the state's would wait for the device

    def run(state: TrainState, count: int) -> tuple[TrainState, Metrics]:
        del count  # one: the next batch is drawn meanwhile
        number = done.pop() if done else int(state.step)
        done.append(number + 1)
        draw_key, pair_key = step_keys(key, jnp.asarray(number, jnp.int32))
        return compiled(state, pair_key, jax.device_put(draw(draw_key), split))

    return run


@made_once
def _compiled_step(
    step: Callable[[TrainState, Array, Any], tuple[TrainState, Metrics]], mesh: Mesh
) -> Callable[..., tuple[TrainState, Metrics]]:
    def one(state: TrainState, key: Array, batch: Any) -> tuple[TrainState, Metrics]:
        return step(state, key, batch)

    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.jit(one, donate_argnums=0, out_shardings=everywhere)


@dataclasses.dataclass(frozen=True)
class Loop:
    """How a training runs.

    Attributes:
      batch_size: examples a step, over all devices together; a method that takes data whole has one.
      devices: to train on; 0 = all that divide the batch.
      validate_every: steps between looks at what is held out; 0 = never, and the last step is the best.
      validation_batches: that a held-out loss is the mean of.
      per_dispatch: steps per call of the device; 0 = 1 on a CPU, where XLA's convolutions inside a loop are
        many times slower, 20 on an accelerator.
      resident: whether the data stay on the "device" or on the "host"; "auto" as memory allows.
      patience: stop when the best step lies so many steps back; 0 = never.
      stop: asked after every dispatch; True ends the training as its last step would.
    """

    batch_size: int = 16
    devices: int = 0
    validate_every: int = 50
    validation_batches: int = 8
    per_dispatch: int = 0
    resident: Literal["auto", "device", "host"] = "auto"
    patience: int = 0
    stop: Callable[[], bool] = bool


class Fitted(NamedTuple):
    """What a training came to.

    Attributes:
      step: at which what was held out was predicted best; the last one where nothing was.
      average: averaged parameters of that step, to predict with.
      loss: held-out loss then; infinite where nothing was held out.
      last: the state after the last step, to go on from.
    """

    step: int
    average: Parameters
    loss: float
    last: TrainState | None


def fit(
    step: Step,
    placed: Placed,
    key: Array,
    *,
    steps: int,
    hooks: Sequence[tuple[int, Hook]] = (),
    state: TrainState | None = None,
    best: Fitted | None = None,
    loop: Loop = Loop(),
) -> Fitted:
    """Train until `steps` steps are done, and keep the best ones.

    Args:
      step: from `make_step`.
      placed: from `placing.place`.
      key: typed random key; with the step number it gives every draw, so a resumed training is the same.
      steps: step at which to stop.
      hooks: (interval, hook): called with (step, state, metrics) at every multiple of the interval and at the
        end. Metrics are those of the last dispatch, and where the step was looked at `validation_loss` and
        `is_best`.
      state: to go on from; None = drawn parameters. One given at step 0 is looked at before the first step,
        so that the best step is never worse than what the training began with. It is donated.
      best: best step so far, where the training goes on.
      loop: how to run.

    Returns:
      The best step and the last one.

    Raises:
      UserError: if the devices do not divide the batch, a network, method or loss of one's own gives
        something else than it promises, or the loss is not finite any more, as held-out data and the last
        step show.
    """
    size = 1 if step.method.whole else loop.batch_size
    mesh = mesh_for(size, devices=loop.devices)
    everywhere = NamedSharding(mesh, PartitionSpec())
    given = state is not None
    if state is None:
        state = compiled_begin(step, tuple(placed.patch), mesh)(key)
    state = jax.device_put(state, everywhere)
    assert state is not None, "there is a state by now"
    check_answers(step.net, step.method, placed, state.parameters)
    run, per_dispatch = _run_of(step, placed, key, size=size, mesh=mesh, loop=loop)
    look = _looking(step, placed, key, size=size, mesh=mesh, loop=loop)
    best = best or Fitted(0, None, float("inf"), None)
    done, ended = int(state.step), False
    if look is not None and given and done == 0 and best.average is None:
        best = Fitted(0, copied(state.average), look(state.average), None)
        for _, hook in hooks:
            hook(0, state, {"validation_loss": best.loss, "is_best": True})
    every = [interval for interval, _ in hooks if interval]
    every += [loop.validate_every] if loop.validate_every else []
    while done < steps and not ended:
        stops = [interval * (done // interval + 1) for interval in every]
        count = min(per_dispatch, min([steps, *stops]) - done)
        state, metrics = run(state, count)
        done += count
        ended = done == steps or loop.stop()
        if look is not None and (done % loop.validate_every == 0 or done == steps):
            loss = look(state.average)
            better = not loss >= best.loss or best.average is None
            if better:
                best = Fitted(done, copied(state.average), loss, None)
            metrics = metrics | {"validation_loss": loss, "is_best": better}
            ended = ended or 0 < loop.patience <= done - best.step
        for interval, hook in hooks:
            if interval and (done % interval == 0 or ended):
                hook(done, state, metrics)
        check_finite(metrics.get("validation_loss", 0.0), done)
        if ended:  # before, reading it would wait for the device
            check_finite(float(metrics["loss"]), done)
    if best.average is None:
        best = Fitted(done, copied(state.average), best.loss, None)
    return best._replace(last=state)


@jax.jit
def copied(tree: Any) -> Any:
    """Return arrays of their own: those of a state are given away at its next step."""
    return jax.tree.map(jnp.copy, tree)


@made_once
def compiled_begin(
    step: Step, patch: tuple[int, ...], mesh: Mesh | None = None
) -> Callable[[Array], TrainState]:
    """Return `Step.begin` with drawn parameters, jitted: key -> state, on all devices of a mesh."""
    sharding = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    return jax.jit(lambda key: step.begin(key, patch), out_shardings=sharding)


@made_once
def _compiled_loss(step: Step) -> Callable[..., Array]:
    return jax.jit(step.loss_of)


@made_once
def _compiled_mean_loss(step: Step) -> Callable[..., Array]:
    """Return the mean loss of several batches, in a loop: (parameters, keys, batches) -> scalar."""

    def mean_loss(parameters: Parameters, keys: Array, batches: Batch) -> Array:
        return jnp.mean(jax.lax.map(lambda one: step.loss_of(parameters, *one), (keys, batches)))

    return jax.jit(mean_loss)


@functools.partial(jax.jit, static_argnames=("batch_size", "batches"))
def _looked_at(
    key: Array, placed: Placed, *, batch_size: int, batches: int
) -> tuple[tuple[Array, Array], Array]:
    """Return where the batches lie that judge, with a leading axis of batches, and their pairs' keys."""
    draw_key, pair_key = jax.random.split(jax.random.fold_in(key, VALIDATION))
    draw_keys, pair_keys = (jax.random.split(key, batches) for key in (draw_key, pair_key))
    places = functools.partial(draw_places, placed=placed, batch_size=batch_size, judging=True)
    return jax.vmap(places)(draw_keys), pair_keys


@made_once
def _drawing(size: int) -> Callable[[Array, Placed], Batch]:
    return functools.partial(draw, batch_size=size)


_places = jax.jit(draw_places, static_argnames=("batch_size",))


def mesh_for(batch_size: int, *, devices: int = 0) -> Mesh:
    """Return a mesh that a batch can be split over.

    Args:
      batch_size: examples.
      devices: how many; 0 = as many as divide the batch: few examples need no more.

    Raises:
      UserError: if there are fewer, or they do not divide the batch.
    """
    dividing = (n for n in range(1, jax.device_count() + 1) if batch_size % n == 0)
    mesh = make_mesh(devices or max(dividing))
    if batch_size % mesh.size:
        raise UserError(
            f"--train.batch-size {batch_size}: expected a multiple of the {mesh.size} devices; change it, "
            "or set --train.devices"
        )
    return mesh


def _run_of(
    step: Step, placed: Placed, key: Array, *, size: int, mesh: Mesh, loop: Loop
) -> tuple[Run, int]:
    """Return the function that does some steps, and how many at most, on data on the devices or the host."""
    if not is_resident(loop.resident, placed):
        drawn = _drawn_on_host(placed, size)
        return make_streamed_run(step, drawn, key=key, mesh=mesh), 1
    per_dispatch = _steps_per_dispatch(loop)
    looped = per_dispatch > 1
    run = make_resident_run(step, _drawing(size), key=key, data=placed, mesh=mesh, looped=looped)
    return run, per_dispatch


def _steps_per_dispatch(loop: Loop) -> int:
    """Return how many steps the device does at a call, at most: as asked, or as suits it."""
    return loop.per_dispatch or (1 if jax.devices()[0].platform == "cpu" else 20)


def _drawn_on_host(placed: Placed, size: int) -> Callable[[Array], Batch]:
    """Return the function that draws a batch of numpy arrays to train on: key -> batch."""

    def drawn(key: Array) -> Batch:
        where = map(np.asarray, _places(key, placed, batch_size=size))
        return gather(placed, *where, cut=cut_on_host)

    return drawn


def is_resident(wanted: str, data: Any) -> bool:
    """Decide whether data stay on the device: as asked, or if they take less than 40 % of its memory."""
    if wanted != "auto":
        return wanted == "device"
    return sum(leaf.nbytes for leaf in jax.tree.leaves(data)) < 0.4 * device_memory()


def _looking(
    step: Step, placed: Placed, key: Array, *, size: int, mesh: Mesh, loop: Loop
) -> Callable[[Parameters], float] | None:
    """Return the loss on what is held out, of parameters; None where nothing is looked at.

    Examples and pairs are the same at every call, so that steps can be compared.
    """
    if not loop.validate_every:
        return None
    batches = loop.validation_batches
    (chosen, origins), keys = _looked_at(key, placed, batch_size=size, batches=batches)
    where = np.asarray(chosen).ravel(), np.asarray(origins).reshape(-1, origins.shape[-1])
    examples = gather(placed, *where, judging=True, cut=cut_on_host)
    parted = jax.tree.map(lambda a: a.reshape(batches, -1, *a.shape[1:]), examples)
    if _steps_per_dispatch(loop) > 1:
        stacked = jax.device_put(parted, NamedSharding(mesh, PartitionSpec(None, "data")))
        mean_loss = _compiled_mean_loss(step)
        return lambda parameters: float(mean_loss(parameters, jax.random.clone(keys), stacked))
    each = [jax.tree.map(lambda a, b=b: a[b], parted) for b in range(batches)]
    each = jax.device_put(each, NamedSharding(mesh, PartitionSpec("data")))
    one = _compiled_loss(step)

    def look(parameters: Parameters) -> float:
        again = jax.random.clone(keys)  # the same pairs at every look
        losses = [one(parameters, key, batch) for key, batch in zip(again, each, strict=True)]
        return float(np.mean(jax.device_get(losses)))

    return look


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
