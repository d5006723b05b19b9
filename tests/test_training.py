"""The trainer: same result on any devices, one compilation, nothing held out leaks, and its parts."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from smae_jax import losses, models, training
from smae_jax.data import batches
from smae_jax.methods.smae import Smae

PATCH = (16, 16)
BATCH = 8
METHOD = Smae(augment="d4")
NETWORK = models.build("unet", widths=(8,))


@pytest.fixture(scope="module")
def scan():
    """Five unlike frames on a canvas of 38 x 40 with a mask of each frame's own: some keep little."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:38, :40]
    rate = 0.5 + 6 * np.exp(-(((y - 18.5) / 4) ** 2) - ((x - 19.5) / 9) ** 2)
    counts = rng.poisson(rate * np.arange(1, 6)[:, None, None]).astype(np.float32)
    valid = rng.random(counts.shape) < np.array([0.95, 0.2, 0.7, 0.4, 0.9])[:, None, None]
    return batches.Canvases(
        counts=np.where(valid, counts, 0),
        valid=valid,
        scale=np.full(5, 3.0, np.float32),
        held_out=batches.held_out_pixels((38, 40), share=0.2, seed=1),
        frames=np.arange(5, dtype=np.int32),
        origins=batches.patch_origins(valid.mean(axis=0), PATCH, region="half"),
    )


def network_apply(parameters, source):
    return models.apply_of(NETWORK)(parameters, source)


def draw_on_device(key, data):
    places = batches.draw_places(key, data, batch_size=BATCH)
    return batches.gather(data, *places, patch_shape=PATCH)


class Trainer:
    """All of a training but the scan, so that a test changes one thing and names it."""

    def __init__(
        self,
        scan,
        *,
        devices=1,
        looped=False,
        streamed=False,
        seed=3,
        steps=5,
        apply=network_apply,
        start=None,
        pair=METHOD.pair,
        optimizer="adam",
        average_decay=0.9,
    ):
        self.mesh, key = training.make_mesh(devices), jax.random.key(seed)
        schedule = training.make_schedule("cosine", learning_rate=2e-3, steps=steps)
        self.optimizer = training.make_optimizer(optimizer, schedule, clip_norm=1.0)
        step = training.make_step(
            apply=apply,
            pair=pair,
            loss=losses.poisson,
            optimizer=self.optimizer,
            average_decay=average_decay,
        )
        if streamed:

            def draw(key):
                places = map(np.asarray, batches.draw_places(key, scan, batch_size=BATCH))
                return batches.gather_on_host(scan, *places, patch_shape=PATCH)

            self.run = training.make_streamed_run(step, draw, key=key, mesh=self.mesh)
        else:
            self.run = training.make_resident_run(
                step, draw_on_device, key=key, data=scan, mesh=self.mesh, looped=looped
            )
        self.steps, self.start, self.key = steps, start, key

    def fit(self, **options):
        if self.start is None:
            start = models.initial_parameters(NETWORK, self.key, channels=2, spatial=PATCH)
        else:
            start = jax.tree.map(jnp.array, self.start)
        state = training.initial_state(start, self.optimizer)
        state = jax.device_put(state, NamedSharding(self.mesh, PartitionSpec()))
        return training.fit(state, self.run, steps=self.steps, **options)


@pytest.fixture
def compiled():
    """Names of the functions that XLA compiles during a test, one entry per compilation."""
    names = []

    def listen(event, _seconds, **about):
        if event.endswith("backend_compile_duration"):
            names.append(about["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


def assert_bitwise(a, b):
    chex.assert_trees_all_equal(a, b)


# --- the same training, wherever and however it runs --------------------------------------------


def test_eight_devices_train_as_one_with_unlike_masks(scan):
    # The fixture must be able to tell: patches of one batch have very unlike numbers of valid pixels.
    draw_key, pair_key = training.step_keys(jax.random.key(3), jnp.int32(0))
    weight = METHOD.pair(pair_key, draw_on_device(draw_key, scan)).weight
    shares = np.asarray(weight.mean(axis=(1, 2, 3)))
    assert shares.max() > 5 * shares.min() > 0

    log = {1: [], 8: []}
    states = {}
    for devices, seen in log.items():
        hook = [(1, lambda step, state, metrics, seen=seen: seen.append(float(metrics["loss"])))]
        states[devices] = Trainer(scan, devices=devices).fit(every=hook)
    assert len(jax.tree.leaves(states[8].parameters)[0].sharding.device_set) == 8
    np.testing.assert_allclose(log[1], log[8], rtol=1e-5)
    chex.assert_trees_all_close(states[1].parameters, states[8].parameters, rtol=1e-3, atol=2e-5)
    chex.assert_trees_all_close(states[1].average, states[8].average, rtol=1e-3, atol=2e-5)


def test_mean_over_devices_is_the_mean_over_pixels(scan):
    """The gradient of the first step, before any optimizer can hide a factor, on 1 and 8 devices."""
    draw_key, pair_key = training.step_keys(jax.random.key(3), jnp.int32(0))
    pair = METHOD.pair(pair_key, draw_on_device(draw_key, scan))
    rate = jnp.float32(0.7)

    def objective(rate, pair):
        return losses.poisson(jnp.full_like(pair.target, 1.0) * rate, pair.target, pair.weight)

    each = [
        jax.grad(objective)(rate, jax.tree.map(lambda a, i=i: a[i : i + 1], pair)) for i in range(8)
    ]
    split = NamedSharding(training.make_mesh(8), PartitionSpec("data"))
    sharded = jax.jit(jax.grad(objective))(rate, jax.device_put(pair, split))
    whole = jax.grad(objective)(rate, pair)
    np.testing.assert_allclose(sharded, whole, rtol=1e-5)
    assert abs(np.mean(each) / whole - 1) > 0.02  # the mean of the devices' means is something else


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_one_seed_gives_the_same_bits_and_another_seed_does_not(scan, optimizer):
    a, b = (Trainer(scan, steps=3, optimizer=optimizer).fit() for _ in range(2))
    assert_bitwise(a, b)
    other = Trainer(scan, steps=3, optimizer=optimizer, seed=4).fit()
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(a.parameters, other.parameters, rtol=1e-2)


def test_one_compilation_for_single_steps(scan, compiled):
    trainer = Trainer(scan, pair=chex.assert_max_traces(METHOD.pair, n=1))
    trainer.fit()
    assert compiled.count("jit(one)") == 1


def test_one_compilation_for_loops_with_an_odd_last_chunk_and_the_bits_of_single_steps(
    scan, compiled
):
    calls = []
    trainer = Trainer(scan, steps=5, looped=True, pair=chex.assert_max_traces(METHOD.pair, n=1))
    inner = trainer.run
    trainer.run = lambda state, count: (calls.append(count), inner(state, count))[1]
    looped = trainer.fit(steps_per_dispatch=2)
    assert calls == [2, 2, 1]
    assert compiled.count("jit(many)") == 1
    single = Trainer(scan, steps=5).fit()
    assert int(looped.step) == int(single.step) == 5
    chex.assert_trees_all_close(looped.parameters, single.parameters, rtol=1e-3, atol=2e-5)
    chex.assert_trees_all_close(looped.average, single.average, rtol=1e-3, atol=2e-5)


def test_looped_metrics_are_means_over_the_steps_of_the_call(scan):
    single, looped = [], []
    rows = np.full(PATCH[0], 0.7, np.float32)
    small = {"apply": image_apply, "start": {"rows": rows}, "steps": 4}
    Trainer(scan, **small).fit(every=[(1, lambda s, state, m: single.append(float(m["loss"])))])
    Trainer(scan, looped=True, **small).fit(
        steps_per_dispatch=4, every=[(4, lambda s, state, m: looped.append(float(m["loss"])))]
    )
    assert np.ptp(single) > 0.01
    np.testing.assert_allclose(looped, [np.mean(single)], rtol=1e-4)


def test_streamed_from_the_host_trains_as_resident_on_the_device(scan, compiled):
    pair = chex.assert_max_traces(METHOD.pair, n=1)
    streamed = Trainer(scan, streamed=True, devices=2, pair=pair).fit()
    assert compiled.count("jit(step)") == 1
    resident = Trainer(scan, devices=2).fit()
    chex.assert_trees_all_close(streamed.parameters, resident.parameters, rtol=1e-3, atol=2e-5)


def test_streamed_run_goes_on_from_any_step(scan):
    """Its own count of steps must start from the state's, not from zero."""
    small = {"apply": image_apply, "start": {"rows": np.zeros(PATCH[0], np.float32)}, "steps": 4}
    trainer = Trainer(scan, streamed=True, **small)
    states = {}
    trainer.fit(every=[(2, lambda step, state, m: states.update({step: jax.device_get(state)}))])
    again = Trainer(scan, streamed=True, **small)
    resumed = training.fit(jax.tree.map(jnp.array, states[2]), again.run, steps=4)
    assert_bitwise(resumed.parameters, states[4].parameters)


def test_too_many_devices_are_refused():
    with pytest.raises(ValueError, match=r"--train.devices 9: expected at most 8"):
        training.make_mesh(9)


# --- what may and what may not reach the gradient ------------------------------------------------


def image_apply(parameters, source):
    """A 'network' that sees no source: a constant per patch row, so only targets can move it."""
    return jnp.broadcast_to(jnp.exp(parameters["rows"])[:, None, None], (*source.shape[:3], 1))


def counts_changed_at(scan, chosen):
    """Other counts at the chosen pixels, where they are valid."""
    counts = np.where(scan.valid & chosen, scan.counts + 7, scan.counts)
    assert (counts != scan.counts).any()
    return dataclasses.replace(scan, counts=counts)


def trained_rows(scan):
    start = {"rows": np.zeros(PATCH[0], np.float32)}
    return Trainer(scan, apply=image_apply, start=start, steps=3).fit().parameters


def test_held_out_pixels_are_never_targets(scan):
    before = trained_rows(scan)
    assert_bitwise(trained_rows(counts_changed_at(scan, scan.held_out)), before)
    with pytest.raises(AssertionError):  # the same change elsewhere is seen
        assert_bitwise(trained_rows(counts_changed_at(scan, ~scan.held_out)), before)


def test_held_out_pixels_are_sources_of_their_neighbours(scan):
    """They are kept from the targets only: a network that sees the source learns something else."""
    before = Trainer(scan, steps=2).fit().parameters
    after = Trainer(counts_changed_at(scan, scan.held_out), steps=2).fit().parameters
    with pytest.raises(AssertionError):
        assert_bitwise(after, before)


def test_validation_sees_held_out_pixels_only(scan):
    def validation_loss(data):
        frames, origins = batches.draw_places(jax.random.key(5), data, batch_size=BATCH)
        held_out = batches.gather(data, frames, origins, patch_shape=PATCH, held_out=True)
        validate = training.make_validation(
            apply=image_apply,
            pair=METHOD.pair,
            loss=losses.poisson,
            batches=[held_out, held_out],
            key=jax.random.key(6),
            mesh=training.make_mesh(4),
        )
        return validate({"rows": jnp.linspace(-1, 1, PATCH[0])})

    before = validation_loss(scan)
    assert validation_loss(scan) == before  # the same patches and pairs at every call
    assert validation_loss(counts_changed_at(scan, ~scan.held_out)) == before
    assert validation_loss(counts_changed_at(scan, scan.held_out)) != before


def test_invalid_pixels_reach_neither_source_nor_target(scan):
    """Whatever stands under an invalid pixel, NaN included, leaves every bit of the training as it is."""
    before = Trainer(scan, steps=2).fit()
    garbage = np.where(scan.valid, scan.counts, np.nan).astype(np.float32)
    after = Trainer(dataclasses.replace(scan, counts=garbage), steps=2).fit()
    assert_bitwise(after.parameters, before.parameters)


def test_held_out_pixels_are_kept_with_their_partners(scan):
    held_out = scan.held_out
    np.testing.assert_array_equal(held_out, held_out[::-1, ::-1])
    assert 0.15 < held_out.mean() < 0.25
    assert not batches.held_out_pixels((38, 40), share=0.0, seed=1).any()


# --- draws ----------------------------------------------------------------------------------------


def test_draws_on_the_host_and_on_the_device_are_the_same(scan):
    places = batches.draw_places(jax.random.key(7), scan, batch_size=BATCH)
    for held_out in (False, True):
        device = batches.gather(scan, *places, patch_shape=PATCH, held_out=held_out)
        host = batches.gather_on_host(
            scan, *map(np.asarray, places), patch_shape=PATCH, held_out=held_out
        )
        assert_bitwise(device, host)


def test_one_mask_for_all_frames_is_broadcast(scan):
    one = dataclasses.replace(scan, valid=scan.valid[3:4])
    all_frames = dataclasses.replace(scan, valid=np.repeat(scan.valid[3:4], 5, axis=0))
    assert_bitwise(*(draw_on_device(jax.random.key(8), data) for data in (one, all_frames)))


def test_partners_stand_beside_their_pixels(scan):
    """On a canvas numbered so that pixel and partner add up to a constant, every pair must."""
    number = np.arange(38 * 40, dtype=np.float32).reshape(1, 38, 40)
    data = dataclasses.replace(
        scan, counts=np.repeat(number, 5, axis=0), valid=np.ones((1, 38, 40), bool)
    )
    batch = draw_on_device(jax.random.key(9), data)
    np.testing.assert_array_equal(batch.counts + batch.partner_counts, 38 * 40 - 1)
    assert np.unique(batch.counts[:, 0, 0]).size > 3


def test_patches_of_a_half_never_cross_the_middle(scan):
    x = scan.origins[:, 1]
    assert ((x + PATCH[1] <= 20) | (x >= 20)).all()
    assert (x < 20).any()
    assert (x >= 20).any()


# --- parts ----------------------------------------------------------------------------------------


def test_average_starts_as_a_running_mean_and_then_decays(scan):
    decay, seen = 0.3, []
    start = {"rows": np.linspace(-1, 1, PATCH[0]).astype(np.float32)}
    trainer = Trainer(scan, apply=image_apply, start=start, steps=6, average_decay=decay)
    final = trainer.fit(
        every=[(1, lambda step, state, m: seen.append(np.asarray(state.parameters["rows"])))]
    )
    average = start["rows"].astype(np.float64)
    for step, parameters in enumerate(seen):
        kept = min(decay, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * parameters
    np.testing.assert_allclose(final.average["rows"], average, rtol=1e-5, atol=1e-7)
    assert np.abs(final.average["rows"] - final.parameters["rows"]).max() > 1e-5


def test_no_average_is_the_parameters_themselves(scan):
    start = {"rows": np.zeros(PATCH[0], np.float32)}
    final = Trainer(scan, apply=image_apply, start=start, steps=2, average_decay=0.0).fit()
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


def counting(state, count):
    """A 'training' that only counts."""
    return state._replace(step=state.step + count), {"loss": state.step + count}


@pytest.mark.parametrize("per_dispatch", [1, 4, 100])
def test_hooks_are_called_at_their_multiples_and_at_the_end_in_order(per_dispatch):
    calls = []

    def hook(name):
        return lambda step, state, metrics: calls.append((step, name, int(state.step)))

    state = training.TrainState(np.int32(3), None, None, None)
    every = [(5, hook("log")), (0, hook("never")), (10, hook("validate")), (14, hook("save"))]
    final = training.fit(state, counting, steps=14, steps_per_dispatch=per_dispatch, every=every)
    assert int(final.step) == 14
    assert calls == [
        (5, "log", 5),
        (10, "log", 10),
        (10, "validate", 10),
        (14, "log", 14),
        (14, "validate", 14),
        (14, "save", 14),
    ]


def test_fit_does_nothing_when_all_steps_are_done():
    state = training.TrainState(np.int32(14), None, None, None)
    calls = []
    every = [(1, lambda *arguments: calls.append(arguments))]
    assert training.fit(state, counting, steps=14, every=every) is state
    assert calls == []


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
def test_not_finite_loss_stops_with_advice(loss):
    training.check_finite(1e30, 4)
    with pytest.raises(training.TrainingDivergedError, match=r"by step 7.*--train.learning-rate"):
        training.check_finite(loss, 7)
