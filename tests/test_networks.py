"""The small networks and the mixture of smoothings, in one, two and three dimensions."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax import models
from smae_jax.models import rate
from smae_jax.models.convolution import convolve, convolve_shifted
from smae_jax.models.scales import bank, rates_at_levels, smoothings
from smae_jax.models.unet import UNet

SHAPES = [(37,), (13, 18), (5, 6, 4)]


def source_of(shape, seed=0, channels=1, mean=5.0):
    rng = np.random.default_rng(seed)
    rate = rng.poisson(mean, (2, *shape, channels)) / mean
    pairs = np.stack([rate, np.ones_like(rate)], axis=-1)
    return jnp.asarray(pairs.reshape(2, *shape, 2 * channels), jnp.float32)


# One program, as training compiles it, instead of one for each operation.
initial = jax.jit(models.initial_parameters, static_argnames=("module", "channels", "spatial"))


def built(name, shape, **options):
    module = models.build(name, axes=len(shape), counts_per_unit=5.0, **options)
    channels = 2 * options.get("measurements", 1)
    parameters = initial(module, jax.random.key(0), channels=channels, spatial=shape)
    return jax.jit(models.apply_of(module)), parameters


@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_shifted_copies_convolve_as_xla_does(shape):
    axes, rng = len(shape), np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(2, *shape, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(*(3,) * axes, 3, 4)), jnp.float32)
    for dilation in (1, 2):
        ours = convolve_shifted(x, kernel, dilation=dilation)
        np.testing.assert_allclose(
            ours, convolve(x, kernel, dilation=dilation), rtol=1e-4, atol=1e-4
        )


def test_edges_go_on_so_that_a_constant_stays_constant():
    x, kernel = jnp.ones((1, 11, 1)), jnp.asarray([0.5, 1.0, -0.25]).reshape(3, 1, 1)
    np.testing.assert_allclose(convolve_shifted(x, kernel, dilation=3), 1.25, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("dncnn", SHAPES[0]), ("resnet", SHAPES[1]), ("msd", SHAPES[2]), ("dncnn", SHAPES[2])],
)
def test_networks_answer_positive_rates_of_any_shape(name, shape):
    sizes = {"layers": 2} if name == "msd" else {}
    apply, parameters = built(name, shape, sizes=sizes)
    rate = apply(parameters, source_of(shape))
    assert rate.shape == (2, *shape, 1)
    assert float(rate.min()) > 0


def test_small_networks_are_small():
    for name, most in (("dncnn", 1000), ("msd", 1000), ("resnet", 5000)):
        module = models.build(name, axes=1)
        start = jax.eval_shape(
            lambda key, module=module: models.initial_parameters(
                module, key, channels=2, spatial=(32,)
            ),
            jax.random.key(0),
        )
        assert models.count_parameters(start) < most


@pytest.mark.parametrize("head", ["root", "direct"])
def test_other_heads_take_small_networks_too(head):
    module = models.build("dncnn", axes=1, head=head)
    parameters = initial(module, jax.random.key(1), channels=2, spatial=(20,))
    apply = jax.jit(models.apply_of(module))
    assert float(apply(parameters, source_of((20,))).min()) > 0


def test_correction_adds_one_answer_and_starts_at_nothing():
    source = source_of((40,))
    plain, parameters = built("dncnn", (40,))
    richer, more = built("dncnn", (40,), correction=True)
    assert more["network"]["out"]["bias"].size == parameters["network"]["out"]["bias"].size + 1
    np.testing.assert_allclose(richer(more, source), plain(parameters, source), atol=1e-3)


def test_a_measurement_more_changes_only_the_features():
    apply, parameters = built("dncnn", (30,), measurements=2)
    assert apply(parameters, source_of((30,), channels=2)).shape == (2, 30, 1)


def test_methods_with_two_rates_are_refused():
    with pytest.raises(ValueError, match="use --model unet"):
        models.build("dncnn", outputs=2, measurements=2)


def test_smoothings_keep_sums_and_widen_by_root_two():
    x = jnp.zeros((1, 301, 1)).at[0, 150, 0].set(1.0)
    found = smoothings(x, levels=6)[1:, 0, :, 0]
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-5)
    place = np.arange(301)[None] - 150
    variances = np.asarray((found * place**2).sum(axis=1))
    np.testing.assert_allclose(variances, [0.5, 1, 3, 5, 13, 21], rtol=1e-4)
    np.testing.assert_allclose(1 / (found**2).sum(axis=1), bank(6).pixels, rtol=1e-4)


def test_sharpened_kernels_keep_parabolas():
    place = np.arange(401) - 200.0
    x = jnp.asarray(1 + 0.3 * place + 0.02 * place**2, jnp.float32)[None, :, None]
    levels = smoothings(x, levels=8)[1:, 0, :, 0]
    sharpened = bank(8).sharpened @ np.asarray(levels, np.float64)
    middle = slice(150, 250)
    expected = np.broadcast_to(x[0, middle, 0], sharpened[:, middle].shape)
    np.testing.assert_allclose(sharpened[:, middle], expected, rtol=1e-3, atol=0.05)
    assert abs(levels[4, 200] - x[0, 200, 0]) > 0.2  # which plain smoothing does not


def test_gaps_take_the_next_wider_smoothing_and_never_their_own_value():
    rate = np.full((1, 50, 1), 3.0, np.float32)
    exposure = np.ones_like(rate)
    exposure[0, 20:30] = 0
    for value in (0.0, 1e6):
        rate[0, 20:30] = value
        seen = np.where(exposure > 0, rate, 0)
        at_levels = jax.jit(lambda a, b: rates_at_levels(a, b, levels=8)[0])
        rates = at_levels(jnp.asarray(seen), jnp.asarray(exposure))
        np.testing.assert_allclose(rates[1:], 3.0, rtol=1e-5)


def test_units_of_rate_do_not_matter_where_the_counts_are_the_same():
    counts = np.random.default_rng(2).poisson(4.0, (1, 64, 1)).astype(np.float32)
    answers = []
    for unit in (4.0, 40.0):
        module = models.build("dncnn", axes=1, counts_per_unit=unit)
        parameters = initial(module, jax.random.key(3), channels=2, spatial=(64,))
        parameters["network"]["out"]["kernel"] += 0.1 * jnp.arange(
            parameters["network"]["out"]["kernel"].size
        ).reshape(parameters["network"]["out"]["kernel"].shape)
        source = jnp.concatenate([jnp.asarray(counts / unit), jnp.ones((1, 64, 1))], axis=-1)
        answers.append(unit * jax.jit(models.apply_of(module))(parameters, source))
    np.testing.assert_allclose(*answers, rtol=1e-3)


def test_the_large_network_is_a_larger_unet():
    sizes = {}
    for name in ("unet", "large"):
        module = models.build(name, measurements=2, outputs=2)
        start = jax.eval_shape(
            lambda key, module=module: models.initial_parameters(
                module, key, channels=4, spatial=(32, 32)
            ),
            jax.random.key(0),
        )
        sizes[name] = models.count_parameters(start)
    assert sizes["large"] > 5 * sizes["unet"]


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_edges_of_a_unet_go_on_with_their_own_values(axes):
    """A constant stays constant up to the edge with edge padding, and does not with zeros beyond it."""
    spatial = (16,) * axes
    flat, spread = jnp.ones((1, *spatial, 2)), {}
    for edge in (True, False):
        network = UNet((4,), 1, outputs=1, edge=edge)
        parameters = jax.jit(network.init)(jax.random.key(3), flat)
        kernel = parameters["params"]["out"]["kernel"]
        parameters["params"]["out"]["kernel"] = jax.random.normal(jax.random.key(4), kernel.shape)
        answer = np.asarray(jax.jit(network.apply)(parameters, flat))
        # Pixels of a block that is folded into channels may differ from each other.
        blocks = answer[(0, *(slice(None, None, 2),) * axes, 0)]
        spread[edge] = np.ptp(blocks) / np.abs(answer).max()
    assert spread[True] < 1e-5
    assert spread[False] > 1e-2


def test_the_mean_of_views_has_the_gradient_of_its_formula():
    rng = np.random.default_rng(0)
    views, logits = (list(jnp.asarray(rng.normal(size=(3, 2, 4, 5)))) for _ in range(2))
    wanted = jnp.asarray(rng.normal(size=(2, 4, 5)))

    def formula(views, logits):
        return jnp.sum(jax.nn.softmax(jnp.stack(logits), axis=0) * jnp.stack(views), axis=0)

    def slopes(mean):
        return jax.grad(lambda *given: jnp.sum(mean(*given) * wanted), argnums=(0, 1))(
            views, logits
        )

    chex.assert_trees_all_close(rate._mean(views, logits), formula(views, logits), rtol=1e-5)
    chex.assert_trees_all_close(slopes(rate._mean), slopes(formula), rtol=1e-4, atol=1e-6)


def test_the_mean_of_views_of_another_precision_has_a_gradient():
    with jax.enable_x64(True):
        views = [jnp.ones((1, 2), jnp.float64), jnp.zeros((1, 2), jnp.float64)]
        logits = [jnp.zeros((1, 2), jnp.float32)] * 2
        total = jax.checkpoint(lambda logits: jnp.sum(rate._mean(views, logits)))
        own, other = jax.vmap(jax.grad(total))([logit[None] for logit in logits])
        assert own.dtype == jnp.float32
        np.testing.assert_allclose(own, 0.25)
        np.testing.assert_allclose(other, -0.25)
