import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax.models.sedcnn import SEDCNN4, published_parameters

APPLY = jax.jit(lambda params, x: SEDCNN4().apply({"params": params}, x))


def published_state(names, shapes):
    """The deterministic weights of the reference vectors, as `data/SOURCES.md` defines them."""
    state = {}
    for k, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        values = np.sin(0.7 * np.arange(np.prod(shape)) + k).reshape(shape)
        values = values / np.sqrt(np.prod(shape[1:])) if len(shape) == 4 else 0.01 * values
        state[str(name)] = values.astype(np.float32)
    return state


@pytest.fixture(scope="module")
def reference(shared_data):
    return np.load(shared_data / "reference_vectors.npz")


@pytest.fixture(scope="module")
def state(reference):
    shapes = [
        tuple(int(n) for n in text.strip("()").split(",") if n)
        for text in reference["state_shapes"]
    ]
    return published_state(reference["state_names"], shapes)


@pytest.fixture(scope="module")
def initial():
    # This generator compiles in half the time of the default one, of which every layer has a copy.
    key = jax.random.key(4, impl="unsafe_rbg")
    return jax.jit(SEDCNN4().init)(key, jnp.zeros((1, 16, 16, 1)))["params"]


def test_parameter_count_is_the_published_one(initial):
    assert sum(x.size for x in jax.tree.leaves(initial)) == 2_275_593


def test_output_equals_the_published_program(reference, state):
    x = reference["network_input"].transpose(0, 2, 3, 1)
    expected = reference["network_output"].transpose(0, 2, 3, 1)
    output = np.asarray(APPLY(published_parameters(state), x))
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_mapping_strips_the_data_parallel_prefix_and_fills_every_parameter(state, initial):
    plain = published_parameters(state)
    wrapped = published_parameters({f"module.{name}": value for name, value in state.items()})
    jax.tree.map(np.testing.assert_array_equal, plain, wrapped)
    assert jax.tree.structure(plain) == jax.tree.structure(initial)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("dec2.upsample.bias"), r"dec2.upsample.bias of shape \(16,\), got none"),
        (lambda s: s.update({"dec5.bias": np.zeros(3)}), r"dec5.bias of shape none, got \(3,\)"),
        (lambda s: s.update({"conv0.weight": np.zeros((8, 1, 3, 3))}), r"conv0.kernel of shape"),
        (lambda s: s.clear(), r"got none"),
    ],
)
def test_mapping_names_what_does_not_fit(state, change, message):
    wrong = dict(state)
    change(wrong)
    with pytest.raises(ValueError, match=message):
        published_parameters(wrong)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 17, 45, 1), (1, 32, 16, 1)])
def test_any_size_comes_back(initial, shape):
    x = jax.random.uniform(jax.random.key(1), shape)
    output = APPLY(initial, x)
    assert output.shape == shape
    padded = jnp.pad(x, ((0, 0), (0, -shape[1] % 16), (0, -shape[2] % 16), (0, 0)))
    np.testing.assert_array_equal(output, APPLY(initial, padded)[:, : shape[1], : shape[2]])


def test_channels_are_free():
    network = SEDCNN4(out_channels=2)
    create = network.init_with_output
    output, variables = jax.eval_shape(create, jax.random.key(0), jnp.ones((1, 16, 16, 3)))
    assert output.shape == (1, 16, 16, 2)
    assert variables["params"]["conv0"]["kernel"].shape == (3, 3, 3, 16)


def test_bfloat16_computes_nearly_the_same_from_float32_parameters(state):
    params = published_parameters(state)
    x = jax.random.uniform(jax.random.key(2), (1, 32, 48, 1))
    network = SEDCNN4(dtype=jnp.bfloat16)
    kept = jax.eval_shape(network.init, jax.random.key(0), x)["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(kept)} == {jnp.dtype(jnp.float32)}
    exact, rough = APPLY(params, x), jax.jit(network.apply)({"params": params}, x)
    assert rough.dtype == jnp.float32
    difference = np.abs(np.asarray(exact - rough)).max() / np.abs(exact).max()
    assert 1e-5 < difference < 0.05


def test_initial_weights_are_kaiming_normal_fan_out_and_biases_zero(initial):
    for path, value in jax.tree_util.tree_leaves_with_path(jax.device_get(initial)):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if name.endswith("bias"):
            assert not value.any(), name
            continue
        height, width, inputs, outputs = value.shape
        fan_out = height * width * (inputs if "upsample" in name else outputs)
        # The spread of n normal numbers is known to 1 / sqrt(2 n): five of these.
        tolerance = 5 / np.sqrt(2 * value.size)
        assert float(value.std()) == pytest.approx(np.sqrt(2 / fan_out), rel=tolerance), name
        assert abs(float(value.mean())) < 5 * np.sqrt(2 / fan_out / value.size), name
