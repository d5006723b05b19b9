"""The trainer: same result on any devices, one compilation, nothing held out leaks, and its parts."""

import dataclasses

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from smae_jax import losses, models, placing, training
from smae_jax.methods import Smae

PATCH = (16, 16)
BATCH = 8
METHOD = Smae(augment="d4")
NETWORK = models.build("unet", widths=(8,))


class Rows(nn.Module):
    """A 'network' that sees no source: a constant per patch row, so only targets can move it."""

    @nn.compact
    def __call__(self, source):
        rows = self.param("rows", nn.initializers.zeros, (PATCH[0],))
        return jnp.broadcast_to(jnp.exp(rows)[:, None, None], (*source.shape[:3], 1))


@pytest.fixture(scope="module")
def scan():
    """Five unlike frames on a canvas of 38 x 40 with a mask of each frame's own: some keep little."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:38, :40]
    rate = 0.5 + 6 * np.exp(-(((y - 18.5) / 4) ** 2) - ((x - 19.5) / 9) ** 2)
    counts = rng.poisson(rate * np.arange(1, 6)[:, None, None]).astype(np.float32)
    valid = rng.random(counts.shape) < np.array([0.95, 0.2, 0.7, 0.4, 0.9])[:, None, None]
    return placing.Placed(
        counts=np.where(valid, counts, 0)[:, None],
        exposure=valid.astype(np.float32),
        scale=np.full(5, 3.0, np.float32),
        held_out=placing.held_out_pixels((38, 40), share=0.2, seed=1),
        frames=np.arange(5, dtype=np.int32),
        judges=np.arange(5, dtype=np.int32),
        origins=placing.patch_origins(valid.mean(axis=0), PATCH, region="half"),
        patch=PATCH,
        turned=True,
    )


@jax.jit
def draw_on_device(key, data):
    return placing.draw(key, data, batch_size=BATCH)


def trained(
    scan,
    *,
    devices=1,
    seed=3,
    steps=5,
    until=None,
    net=NETWORK,
    method=METHOD,
    optimizer="adam",
    average_decay=0.9,
    start=None,
    hooks=(),
    state=None,
    **loop,
):
    """All of a training but the scan, so that a test changes one thing and names it."""
    schedule = training.make_schedule("cosine", learning_rate=2e-3, steps=steps)
    chosen = training.make_optimizer(optimizer, schedule, clip_norm=1.0)
    step = training.make_step(net, method, losses.poisson, chosen, average_decay=average_decay)
    if start is not None:
        state = training.initial_state({"rows": jnp.asarray(start)}, chosen)
    options = {"batch_size": BATCH, "devices": devices, "validate_every": 0, **loop}
    return training.fit(
        step,
        scan,
        jax.random.key(seed),
        steps=steps if until is None else until,
        hooks=hooks,
        state=state,
        loop=training.Loop(**options),
    )


@pytest.fixture
def traced():
    """A method as `METHOD` that notes how often its pair is traced."""
    traces = []

    class Traced(Smae):
        def pair(self, key, batch):
            traces.append(1)
            return super().pair(key, batch)

    return Traced(augment="d4"), traces


def assert_bitwise(a, b):
    chex.assert_trees_all_equal(a, b)


# --- the same training, wherever and however it runs --------------------------------------------


@pytest.mark.slow
@pytest.mark.optimized
def test_eight_devices_train_as_one_with_unlike_masks(scan):
    # The fixture must be able to tell: patches of one batch have very unlike numbers of valid pixels.
    draw_key, pair_key = training.step_keys(jax.random.key(3), jnp.int32(0))
    weight = jax.jit(METHOD.pair)(pair_key, draw_on_device(draw_key, scan)).weight
    shares = np.asarray(weight.mean(axis=(1, 2, 3)))
    assert shares.max() > 5 * shares.min() > 0

    log = {1: [], 8: []}
    states = {}
    for devices, seen in log.items():
        hooks = [(1, lambda step, state, metrics, seen=seen: seen.append(float(metrics["loss"])))]
        states[devices] = trained(scan, devices=devices, hooks=hooks).last
    assert len(jax.tree.leaves(states[8].parameters)[0].sharding.device_set) == 8
    np.testing.assert_allclose(log[1], log[8], rtol=1e-5)
    chex.assert_trees_all_close(states[1].parameters, states[8].parameters, rtol=1e-3, atol=2e-5)
    chex.assert_trees_all_close(states[1].average, states[8].average, rtol=1e-3, atol=2e-5)


def test_mean_over_devices_is_the_mean_over_pixels(scan):
    """The gradient of the first step, before any optimizer can hide a factor, on 1 and 8 devices."""
    draw_key, pair_key = training.step_keys(jax.random.key(3), jnp.int32(0))
    pair = jax.jit(METHOD.pair)(pair_key, draw_on_device(draw_key, scan))
    rate = jnp.float32(0.7)

    def objective(rate, pair):
        return losses.poisson(jnp.full_like(pair.target, 1.0) * rate, pair.target, pair.weight)

    slope = jax.jit(jax.grad(objective))
    each = [slope(rate, jax.tree.map(lambda a, i=i: a[i : i + 1], pair)) for i in range(8)]
    split = NamedSharding(training.make_mesh(8), PartitionSpec("data"))
    sharded = slope(rate, jax.device_put(pair, split))
    whole = slope(rate, pair)
    np.testing.assert_allclose(sharded, whole, rtol=1e-5)
    assert abs(np.mean(each) / whole - 1) > 0.02  # the mean of the devices' means is something else


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_one_seed_gives_the_same_bits_and_another_seed_does_not(scan, optimizer):
    a, b = (trained(scan, steps=3, optimizer=optimizer).last for _ in range(2))
    assert_bitwise(a, b)
    other = trained(scan, steps=3, optimizer=optimizer, seed=4).last
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(a.parameters, other.parameters, rtol=1e-2)


def test_one_compilation_for_single_steps(scan, compiled, traced):
    method, traces = traced
    trained(scan, method=method)
    assert len(traces) == 1
    assert compiled.count("jit(one)") == 1


def test_one_compilation_for_loops_with_an_odd_last_chunk_and_the_bits_of_single_steps(
    scan, compiled, traced, monkeypatch
):
    calls, method, made = [], traced[0], training.make_resident_run

    def noting(*arguments, **options):
        inner = made(*arguments, **options)
        return lambda state, count: (calls.append(count), inner(state, count))[1]

    monkeypatch.setattr(training, "make_resident_run", noting)
    looped = trained(scan, method=method, per_dispatch=2).last
    assert calls == [2, 2, 1]
    assert len(traced[1]) == 1
    assert compiled.count("jit(many)") == 1
    single = trained(scan).last
    assert int(looped.step) == int(single.step) == 5
    chex.assert_trees_all_close(looped.parameters, single.parameters, rtol=1e-3, atol=2e-5)
    chex.assert_trees_all_close(looped.average, single.average, rtol=1e-3, atol=2e-5)


def test_looped_metrics_are_means_over_the_steps_of_the_call(scan):
    single, looped = [], []
    small = {"net": Rows(), "start": np.full(PATCH[0], 0.7, np.float32), "steps": 4}
    trained(scan, hooks=[(1, lambda s, state, m: single.append(float(m["loss"])))], **small)
    hooks = [(4, lambda s, state, m: looped.append(float(m["loss"])))]
    trained(scan, per_dispatch=4, hooks=hooks, **small)
    assert np.ptp(single) > 0.01
    np.testing.assert_allclose(looped, [np.mean(single)], rtol=1e-4)


def test_streamed_from_the_host_trains_as_resident_on_the_device(scan, traced):
    method, traces = traced
    streamed = trained(scan, devices=2, method=method, resident="host").last
    assert len(traces) == 1
    resident = trained(scan, devices=2, resident="device").last
    chex.assert_trees_all_close(streamed.parameters, resident.parameters, rtol=1e-3, atol=2e-5)


def test_validation_loss_is_the_same_streamed_and_resident(scan):
    small = {"net": Rows(), "steps": 4, "validate_every": 2, "validation_batches": 2}
    found = [trained(scan, resident=where, **small).loss for where in ("host", "device")]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(*found, rtol=1e-5)


@pytest.mark.parametrize("resident", ["device", "host"])
def test_twelve_steps_are_six_and_six_more(scan, resident):
    """The whole state, and for a streamed run its own count of steps, must go on from the sixth."""
    small = {"net": Rows(), "steps": 12, "resident": resident}
    whole = trained(scan, **small).last
    half = trained(scan, until=6, **small).last
    assert int(half.step) == 6
    resumed = trained(scan, state=jax.tree.map(jnp.array, half), **small).last
    assert_bitwise(resumed, whole)
    with pytest.raises(AssertionError):  # the halves are not alike
        assert_bitwise(half.parameters, whole.parameters)


def test_too_many_devices_are_refused():
    with pytest.raises(ValueError, match=r"--train.devices 9: expected at most 8"):
        training.make_mesh(9)


def test_a_batch_that_the_devices_do_not_divide_is_refused(scan):
    with pytest.raises(ValueError, match=r"--train.batch-size 8: expected a multiple of the 3"):
        trained(scan, devices=3)


# --- what may and what may not reach the gradient ------------------------------------------------


def counts_changed_at(scan, chosen):
    """Other counts at the chosen pixels, where they are valid."""
    there = ((scan.exposure > 0) & chosen)[:, None]
    counts = np.where(there, scan.counts + 7, scan.counts)
    assert (counts != scan.counts).any()
    return dataclasses.replace(scan, counts=counts)


def trained_rows(scan):
    return trained(scan, net=Rows(), steps=3).last.parameters


def test_held_out_pixels_are_never_targets(scan):
    before = trained_rows(scan)
    assert_bitwise(trained_rows(counts_changed_at(scan, scan.held_out)), before)
    with pytest.raises(AssertionError):  # the same change elsewhere is seen
        assert_bitwise(trained_rows(counts_changed_at(scan, ~scan.held_out)), before)


def test_held_out_pixels_are_sources_of_their_neighbours(scan):
    """They are kept from the targets only: a network that sees the source learns something else."""
    before = trained(scan, steps=2).last.parameters
    after = trained(counts_changed_at(scan, scan.held_out), steps=2).last.parameters
    with pytest.raises(AssertionError):
        assert_bitwise(after, before)


def validation_loss(data):
    """Of parameters that are given, before any step: `fit` looks at these first."""
    rows = np.linspace(-1, 1, PATCH[0], dtype=np.float32)
    looked = {"validate_every": 1, "validation_batches": 2, "devices": 4}
    fitted = trained(data, net=Rows(), start=rows, until=0, **looked)
    assert fitted.step == 0
    return fitted.loss


def test_validation_sees_held_out_pixels_only(scan):
    before = validation_loss(scan)
    assert validation_loss(scan) == before  # the same patches and pairs at every call
    assert validation_loss(counts_changed_at(scan, ~scan.held_out)) == before
    assert validation_loss(counts_changed_at(scan, scan.held_out)) != before


def test_held_out_frames_judge_with_all_their_pixels_and_train_nothing(scan):
    """No pixel is held out then: a loss that looks at held-out pixels would look at none."""
    none = np.zeros_like(scan.held_out)
    frames, judges = np.array([0, 2, 3], np.int32), np.array([1, 4], np.int32)
    apart = dataclasses.replace(
        scan, held_out=none, frames=frames, judges=judges, pixels_judge=False
    )
    judged = np.isin(np.arange(5), judges)[:, None, None]
    before = validation_loss(apart)
    assert np.isfinite(before)
    assert before != 0
    assert validation_loss(counts_changed_at(apart, ~judged)) == before
    assert validation_loss(counts_changed_at(apart, judged)) != before
    rows = trained_rows(apart)
    assert_bitwise(trained_rows(counts_changed_at(apart, judged)), rows)
    with pytest.raises(AssertionError):
        assert_bitwise(trained_rows(counts_changed_at(apart, ~judged)), rows)


def test_invalid_pixels_reach_neither_source_nor_target(scan):
    """Whatever stands under an invalid pixel, NaN included, leaves every bit of the training as it is."""
    before = trained(scan, steps=2).last
    garbage = np.where(scan.exposure[:, None] > 0, scan.counts, np.nan).astype(np.float32)
    after = trained(dataclasses.replace(scan, counts=garbage), steps=2).last
    assert_bitwise(after.parameters, before.parameters)


# --- the best step --------------------------------------------------------------------------------


def test_fit_without_a_folder_keeps_the_best_step(scan):
    """Four steps down and eight up: what comes back are the averages of the step that judged best."""
    seen, rows = {}, np.full(PATCH[0], 0.4, np.float32)

    def note(step, state, metrics):
        if "validation_loss" in metrics:
            seen[step] = metrics["validation_loss"], jax.device_get(state.average)

    optimizer = optax.sgd(lambda step: jnp.where(step < 4, 0.5, -1.0))
    step = training.make_step(Rows(), METHOD, losses.poisson, optimizer, average_decay=0.5)
    state = training.initial_state({"rows": jnp.asarray(rows)}, optimizer)
    loop = training.Loop(BATCH, devices=1, validate_every=2, validation_batches=2)
    fitted = training.fit(
        step, scan, jax.random.key(3), steps=12, hooks=[(2, note)], state=state, loop=loop
    )
    assert sorted(seen) == [0, 2, 4, 6, 8, 10, 12]
    best = min(seen, key=lambda number: seen[number][0])
    assert 0 < best < 12
    assert seen[12][0] > seen[best][0]
    assert fitted.step == best
    assert fitted.loss == seen[best][0]
    assert_bitwise(jax.device_get(fitted.average), seen[best][1])
    assert int(fitted.last.step) == 12
    with pytest.raises(AssertionError):
        assert_bitwise(jax.device_get(fitted.average), jax.device_get(fitted.last.average))


def test_without_a_look_the_last_step_is_the_best(scan):
    fitted = trained(scan, net=Rows(), steps=3)
    assert fitted.step == 3
    assert fitted.loss == float("inf")
    assert_bitwise(fitted.average, fitted.last.average)


def test_patience_and_stop_end_a_training(scan):
    small = {"net": Rows(), "steps": 12, "validate_every": 2, "validation_batches": 1}
    worse = trained(scan, start=np.zeros(PATCH[0], np.float32), **small)
    assert int(worse.last.step) == 12
    asked = iter([False, False, True])
    stopped = trained(scan, stop=lambda: next(asked), **small)
    assert int(stopped.last.step) == 3
    optimizer = optax.sgd(lambda step: -0.5)  # every step is worse than the one before
    step = training.make_step(Rows(), METHOD, losses.poisson, optimizer)
    state = training.initial_state({"rows": jnp.full(PATCH[0], 0.4)}, optimizer)
    loop = training.Loop(BATCH, devices=1, validate_every=2, validation_batches=1, patience=4)
    ended = training.fit(step, scan, jax.random.key(3), steps=12, state=state, loop=loop)
    assert (ended.step, int(ended.last.step)) == (0, 4)


# --- parts ----------------------------------------------------------------------------------------


def test_average_starts_as_a_running_mean_and_then_decays(scan):
    decay, seen = 0.3, []
    start = np.linspace(-1, 1, PATCH[0]).astype(np.float32)
    hooks = [(1, lambda step, state, m: seen.append(np.asarray(state.parameters["rows"])))]
    final = trained(scan, net=Rows(), start=start, steps=6, average_decay=decay, hooks=hooks).last
    average = start.astype(np.float64)
    for step, parameters in enumerate(seen):
        kept = min(decay, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * parameters
    np.testing.assert_allclose(final.average["rows"], average, rtol=1e-5, atol=1e-7)
    assert np.abs(final.average["rows"] - final.parameters["rows"]).max() > 1e-5


def test_no_average_is_the_parameters_themselves(scan):
    final = trained(scan, net=Rows(), steps=2, average_decay=0.0).last
    np.testing.assert_allclose(final.average["rows"], final.parameters["rows"], atol=1e-8)


def rates(kind, steps=100, **options):
    schedule = training.make_schedule(kind, learning_rate=0.4, steps=steps, **options)
    return np.array([float(schedule(step)) for step in range(steps + 1)])


def test_cosine_falls_to_two_percent_after_the_warm_up():
    rate = rates("cosine", warmup_steps=10)
    np.testing.assert_allclose(rate[:11], 0.4 * np.arange(11) / 10, rtol=1e-5)
    assert (np.diff(rate[10:]) < 0).all()
    np.testing.assert_allclose(rate[55], 0.4 * 0.51, rtol=1e-4)
    np.testing.assert_allclose(rate[100], 0.4 * 0.02, rtol=1e-4)


def test_step_halves_again_and_again():
    """The published program halved once and never again."""
    rate = rates("step", halve_every=30)
    for step, expected in [(0, 0.4), (29, 0.4), (30, 0.2), (60, 0.1), (99, 0.05)]:
        np.testing.assert_allclose(rate[step], expected, rtol=1e-6)
    assert len(np.unique(rates("step")[:-1])) == 4  # a quarter of the training by default


def test_constant_stays_and_a_long_warm_up_is_cut_to_half_of_the_training():
    np.testing.assert_allclose(rates("constant"), 0.4)
    rate = rates("constant", steps=10, warmup_steps=50)
    np.testing.assert_allclose(rate[:6], 0.4 * np.arange(6) / 5, rtol=1e-6)
    np.testing.assert_allclose(rate[5:], 0.4, rtol=1e-6)


@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_optimizers_move_downhill(kind):
    target = jnp.linspace(-1, 1, 12).reshape(3, 4)
    parameters = {"kernel": jnp.zeros((3, 4)), "bias": jnp.ones(4)}

    def objective(p):
        return jnp.sum((p["kernel"] - target) ** 2) + jnp.sum(p["bias"] ** 2)

    optimizer = training.make_optimizer(kind, optax.constant_schedule(0.05), clip_norm=1.0)

    @jax.jit
    def step(parameters, state):
        updates, state = optimizer.update(jax.grad(objective)(parameters), state, parameters)
        return optax.apply_updates(parameters, updates), state

    before, state = objective(parameters), optimizer.init(parameters)
    for _ in range(150):
        parameters, state = step(parameters, state)
    assert objective(parameters) < 0.05 * before


@pytest.mark.parametrize(("clip_norm", "expected"), [(0.0, 500.0), (2.0, 2.0)])
def test_gradients_are_clipped_to_their_global_norm(clip_norm, expected):
    optimizer = training.make_optimizer("adam", optax.constant_schedule(0.1), clip_norm=clip_norm)
    parameters = {"a": jnp.zeros(3), "b": jnp.zeros(())}
    gradient = {"a": jnp.array([300.0, 0.0, 0.0]), "b": jnp.float32(400.0)}
    _, state = optimizer.update(gradient, optimizer.init(parameters), parameters)
    momentum = optax.tree.norm(optax.tree.get(state, "mu")) / (1 - 0.9)
    np.testing.assert_allclose(momentum, expected, rtol=1e-5)


def test_weight_decay_shrinks_parameters_without_gradient():
    parameters = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    for kind in ("adam", "muon"):
        optimizer = training.make_optimizer(kind, optax.constant_schedule(0.1), weight_decay=0.5)
        zero = jax.tree.map(jnp.zeros_like, parameters)
        updates, _ = optimizer.update(zero, optimizer.init(parameters), parameters)
        chex.assert_trees_all_close(
            updates, jax.tree.map(lambda p: -0.05 * p, parameters), rtol=1e-3
        )


@pytest.mark.parametrize("per_dispatch", [1, 4, 100])
def test_hooks_are_called_at_their_multiples_and_at_the_end_in_order(scan, per_dispatch):
    calls = []

    def hook(name):
        return lambda step, state, metrics: calls.append((step, name, int(state.step)))

    begun = trained(scan, net=Rows(), steps=3).last
    hooks = [(5, hook("log")), (0, hook("never")), (10, hook("validate")), (14, hook("save"))]
    final = trained(scan, net=Rows(), steps=14, state=begun, hooks=hooks, per_dispatch=per_dispatch)
    assert int(final.last.step) == final.step == 14
    assert calls == [
        (5, "log", 5),
        (10, "log", 10),
        (10, "validate", 10),
        (14, "log", 14),
        (14, "validate", 14),
        (14, "save", 14),
    ]


def test_fit_does_nothing_when_all_steps_are_done(scan):
    done = trained(scan, net=Rows(), steps=3).last
    kept, calls = jax.device_get(done), []
    again = trained(
        scan, net=Rows(), steps=3, state=done, hooks=[(1, lambda *told: calls.append(told))]
    )
    assert_bitwise(jax.device_get(again.last), kept)
    assert calls == []


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
def test_not_finite_loss_stops_with_advice(loss):
    training.check_finite(1e30, 4)
    with pytest.raises(training.TrainingDivergedError, match=r"by step 7.*--train.learning-rate"):
        training.check_finite(loss, 7)
