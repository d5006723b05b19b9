import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax import losses, metrics
from smae_jax.errors import UserError
from smae_jax.loss_spec import parse_loss

ELEMENTWISE = ("mse", "mae", "huber", "charbonnier", "poisson", "anscombe")
ALL = (*ELEMENTWISE, "ssim")
SHAPES = {"1-D": (2, 37, 1), "2-D": (2, 21, 13, 1), "3-D": (1, 9, 12, 14, 2)}


def random_example(shape, seed=0):
    """Rates about 4, exposures in {0, 0.5, 1}, as float32."""
    rng = np.random.default_rng(seed)
    prediction = rng.gamma(4.0, 1.0, shape).astype(np.float32)
    weight = rng.choice(np.float32([0, 0.5, 1]), shape)
    target = (rng.poisson(4.0 * np.maximum(weight, 0.5)) / np.maximum(weight, 0.5)).astype(
        "float32"
    )
    return prediction, target, weight


def test_values_by_hand():
    # One pixel with exposure 3 and one with 1, so a mean is (3 a + b) / 4.
    prediction, target = jnp.array([2.0, 5.0]), jnp.array([1.0, 9.0])  # errors 1 and -4
    weight = jnp.array([3.0, 1.0])
    expected = {
        "mse": (3 * 1 + 16) / 4,
        "mae": (3 * 1 + 4) / 4,
        "huber(delta=2)": (3 * 0.5 + 2 * (4 - 1)) / 4,
        "charbonnier(epsilon=3)": (3 * 10**0.5 + 5) / 4,
        "poisson": (3 * (2 - np.log(2)) + (5 - 9 * np.log(5))) / 4,
        # (2 sqrt(2.375) - 2 sqrt(1.375))^2 and (2 sqrt(5.375) - 2 sqrt(9.375))^2
        "anscombe": (3 * 4 * (2.375**0.5 - 1.375**0.5) ** 2 + 4 * (5.375**0.5 - 9.375**0.5) ** 2)
        / 4,
    }
    for spec, value in expected.items():
        assert float(parse_loss(spec)(prediction, target, weight)) == pytest.approx(value, 1e-6), (
            spec
        )


def test_poisson_differs_from_the_count_likelihood_by_a_constant():
    rng = np.random.default_rng(3)
    exposure = np.array([0.25, 0.5, 1.0, 2.0])
    counts = rng.poisson(6 * exposure).astype(float)

    def exact(rate):  # -log P(counts | rate * exposure) without log counts!
        return np.sum(rate * exposure - counts * np.log(rate * exposure)) / exposure.sum()

    differences = [
        exact(r) - float(losses.poisson(jnp.asarray(r), counts / exposure, exposure))
        for r in (rng.uniform(0.5, 9, 4) for _ in range(5))
    ]
    np.testing.assert_allclose(differences, differences[0], rtol=1e-5)


@pytest.mark.parametrize("spec", ["mse", "poisson"])
def test_minimiser_is_the_weighted_mean(spec):
    _, target, weight = random_example((200,))
    mean = np.sum(weight * target) / np.sum(weight)
    slope = jax.grad(lambda rate: parse_loss(spec)(rate, target, weight))(jnp.float32(mean))
    assert abs(float(slope)) < 1e-5
    for away, sign in ((0.8 * mean, -1), (1.2 * mean, 1)):
        slope = jax.grad(lambda rate: parse_loss(spec)(rate, target, weight))(jnp.float32(away))
        assert np.sign(float(slope)) == sign


def test_poisson_minimiser_exists_for_zeros_and_pulls_negatives_back():
    slope = jax.grad(lambda p, t: losses.poisson(p, t, jnp.ones(())))
    assert float(slope(jnp.float32(-0.01), jnp.float32(2.0))) < -1  # rises towards 2
    assert float(slope(jnp.float32(0.5), jnp.float32(0.0))) == 1
    assert (
        0 <= float(slope(jnp.float32(-1.0), jnp.float32(0.0))) < 1e-6
    )  # does not run to -infinity
    grid = jnp.linspace(-0.01, 0.01, 401)
    values = jax.vmap(lambda p: losses.poisson(p, 1.0, jnp.ones(())))(grid)
    assert (np.diff(np.asarray(values)) < 0).all()  # monotone through the joint at epsilon


@pytest.mark.parametrize("name", ALL)
def test_gradient_is_finite_at_zeros_and_negatives(name):
    loss, shape = jax.jit(jax.value_and_grad(parse_loss(name))), (1, 8, 8, 1)
    for level in (0.0, -1.0, -1e4, 1e6):
        for target in (0.0, 3.0):
            arrays = (np.full(shape, x, np.float32) for x in (level, target, 1))
            value, slope = loss(*arrays)
            assert np.isfinite(value), (level, target)
            assert np.isfinite(slope).all(), (level, target)


@pytest.mark.parametrize("name", [*ALL, "mse+0.1*tv"])
def test_what_stands_under_weight_zero_never_arrives(name):
    prediction, target, weight = random_example((2, 16, 13, 1))
    function = jax.jit(jax.value_and_grad(parse_loss(name)))
    value, slope = function(prediction, target, weight)
    assert np.abs(slope).max() > 0
    assert (np.asarray(slope)[weight == 0] == 0).all()
    for rubbish in np.float32([np.nan, np.inf, -1.0, 1e30]):
        dirty = (np.where(weight > 0, clean, rubbish) for clean in (prediction, target))
        value_dirty, slope_dirty = function(*dirty, weight)
        assert float(value) == float(value_dirty)
        np.testing.assert_array_equal(slope, slope_dirty)


@pytest.mark.parametrize("name", [*ALL, "mse+tv"])
def test_empty_weight_gives_zero_and_no_gradient(name):
    prediction, target, weight = random_example((1, 12, 15, 1))
    value, slope = jax.value_and_grad(parse_loss(name))(prediction, target * np.nan, 0 * weight)
    assert float(value) == 0
    assert (np.asarray(slope) == 0).all()


@pytest.mark.parametrize("name", [*ALL, "mse+0.1*tv"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_any_number_of_axes_gives_a_float32_scalar(name, shape):
    prediction, target, weight = random_example(shape)
    value = jax.jit(parse_loss(name))(prediction.astype(jnp.bfloat16), target, weight)
    assert value.shape == ()
    assert value.dtype == jnp.float32
    assert 0 < abs(float(value)) < 100


@pytest.mark.parametrize("name", ALL)
def test_weight_broadcasts_and_its_scale_does_not_matter(name):
    prediction, target, _ = random_example((3, 15, 11, 1))
    weight = random_example((1, 15, 11, 1), seed=1)[2]
    value = parse_loss(name)(prediction, target, weight)
    full = np.broadcast_to(weight, target.shape)
    assert float(parse_loss(name)(prediction, target, 4 * full)) == pytest.approx(
        float(value), 1e-5
    )


@pytest.mark.parametrize("level", [4.0, 10.0, 50.0])
def test_anscombe_stabilises_the_variance(level):
    # Anscombe 1948: the variance of 2 sqrt(n + 3/8) is 1 + O(1 / level^2), against `level` before.
    counts = np.random.default_rng(0).poisson(level, 200_000).astype(np.float32)
    roots = 2 * np.sqrt(counts + 3 / 8)
    error = losses.anscombe(jnp.full(counts.shape, roots.mean() ** 2 / 4 - 3 / 8), counts, 1.0)
    assert float(error) == pytest.approx(1, abs=0.04)
    scaled = losses.anscombe(jnp.float32(level) / 7, counts / 7, 1.0, counts_per_unit=7.0)
    assert float(scaled) == pytest.approx(float(losses.anscombe(level, counts, 1.0)), 1e-3)


def test_ssim_is_zero_for_equal_and_near_one_for_unrelated():
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0, 1, (2, 1, 40, 33, 1)).astype(np.float32)
    weight = jnp.ones(a.shape)
    assert float(losses.ssim(a, a, weight)) == pytest.approx(0, abs=1e-5)
    assert 0.7 < float(losses.ssim(a - a.mean(), b, weight)) < 1.3
    blurred = a + 0.1 * b
    assert 0.001 < float(losses.ssim(blurred, a, weight)) < 0.2


def test_ssim_is_the_metric_of_that_name():
    # The metric is checked against scikit-image; both look at valid pixels only.
    rng = np.random.default_rng(2)
    a, b = rng.uniform(0, 2, (2, 3, 40, 33)).astype(np.float32)
    valid = rng.uniform(size=(3, 40, 33)) > 0.3
    loss = losses.ssim((a + b)[..., None], b[..., None], valid[..., None], data_range=4.0)
    assert float(loss) == pytest.approx(1 - metrics.ssim(a + b, b, valid, data_range=4.0), abs=1e-5)


def test_total_variation_by_hand_and_only_between_valid_pairs():
    ramp = jnp.arange(12.0).reshape(1, 3, 4, 1)  # neighbours differ by 4 down and by 1 across
    assert float(losses.total_variation(ramp)) == pytest.approx(5)
    weight = jnp.ones(ramp.shape).at[0, 1, 2, 0].set(0)
    spiked = ramp.at[0, 1, 2, 0].set(jnp.nan)
    assert float(losses.total_variation(spiked, weight)) == pytest.approx(5)
    assert float(losses.total_variation(jnp.full(ramp.shape, 3.0))) == 0


def test_parse_loss_adds_terms_with_their_factors():
    prediction, target, weight = random_example((1, 16, 16, 1))

    def value(spec):
        return float(parse_loss(spec)(prediction, target, weight))

    mixed = 0.8 * value("mse") + 0.2 * value("ssim")
    assert value("0.8*mse+0.2*ssim") == pytest.approx(mixed, 1e-6)
    assert value(" 8e-1 * mse + .2*ssim ") == pytest.approx(mixed, 1e-6)
    assert value("1e+1*mse") == pytest.approx(10 * value("mse"), 1e-6)
    smoothness = float(losses.total_variation(prediction, weight))
    assert value("poisson+0.01*tv") == pytest.approx(value("poisson") + 0.01 * smoothness, 1e-6)
    assert value("huber(delta=0.5)") != value("huber")
    assert value("huber(delta=1.0)") == value("huber()") == value("huber")


def test_parse_loss_takes_a_researchers_own(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_losses_for_a_test.py").write_text(
        "import jax.numpy as jnp\n"
        "def quartic(prediction, target, weight, *, scale=1.0):\n"
        "    return scale * jnp.sum(weight * (prediction - target) ** 4) / jnp.sum(weight)\n"
        "value = 3\n"
    )
    loss = parse_loss("2*own_losses_for_a_test:quartic(scale=0.5)")
    assert float(loss(jnp.array([2.0]), jnp.array([0.0]), jnp.array([1.0]))) == pytest.approx(16)
    with pytest.raises(ValueError, match=r"has no 'cubic'"):
        parse_loss("own_losses_for_a_test:cubic")
    with pytest.raises(ValueError, match=r"is an int, not a function"):
        parse_loss("own_losses_for_a_test:value")


def test_parse_loss_takes_what_only_the_caller_can_make():
    prediction, target, weight = random_example((1, 16, 16, 1))
    loss = parse_loss("auto + 0.5*tv", named_losses={"auto": lambda p, t, w: losses.mae(p, t, w)})
    expected = losses.mae(prediction, target, weight) + 0.5 * losses.total_variation(
        prediction, weight
    )
    assert float(loss(prediction, target, weight)) == pytest.approx(float(expected), 1e-6)
    with pytest.raises(UserError, match=r"tv.* knows no target"):
        parse_loss("tv", named_losses={"auto": losses.mae})
    with pytest.raises(UserError, match=r"choose from mse, .*, auto, or name"):
        parse_loss("rmse", named_losses={"auto": losses.mae})


def test_a_small_term_beside_a_large_one_keeps_its_digits():
    # Rates of a million: what is added must not come through the difference of two large losses.
    prediction, target, weight = random_example((1, 16, 16, 1))
    loss = parse_loss(
        "auto+0.001*tv", named_losses={"auto": lambda p, t, w: 0 * losses.mse(p, t, w)}
    )
    value = float(loss(1e6 + prediction, target, weight))
    smoothness = losses.total_variation(1e6 + prediction, weight)
    assert value == pytest.approx(0.001 * float(smoothness), rel=1e-6)


def test_errors_of_a_researchers_own_loss_go_through(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_bad_losses_for_a_test.py").write_text(
        "def picky(prediction, target, weight):\n    raise ValueError('mine')\n"
    )
    (tmp_path / "own_broken_losses_for_a_test.py").write_text("import no_such_library\n")
    loss = parse_loss("own_bad_losses_for_a_test:picky")
    with pytest.raises(ValueError, match="mine") as caught:
        loss(jnp.ones(1), jnp.ones(1), jnp.ones(1))
    assert not isinstance(caught.value, UserError)
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        parse_loss("own_broken_losses_for_a_test:mine")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", r"could not read ''"),
        ("mse+", r"could not read ''"),
        ("mse ssim", r"could not read 'mse ssim'"),
        ("mse-0.2*ssim", r"could not read"),
        ("huber(0.5)", r"could not read"),
        ("huber(delta=small)", r"could not read"),
        ("rmse", r"there is no 'rmse'; choose from mse, mae"),
        ("auto", r"no repeats here whose noise 'auto' could be measured from; choose from mse"),
        ("mse+auto", r"'auto'"),
        ("0*mse", r"factor above 0"),
        ("-1*mse", r"factor above 0"),
        ("mse(delta=1)", r"'mse' does not take .* options \['delta'\]"),
        ("0.1*tv", r"add it to another loss"),
        ("no_such_package.losses:mine", r"could not import 'no_such_package.losses'"),
        ("math:pi", r"is a float, not a function"),
        ("math:sqrt", r"does not take"),
    ],
)
def test_parse_loss_says_in_one_line_what_is_wrong(spec, message):
    with pytest.raises(UserError, match=message) as error:
        parse_loss(spec)
    assert "\n" not in str(error.value)
    assert repr(spec) in str(error.value)
