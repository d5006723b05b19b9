"""Group laws on an asymmetric array: a wrong flip shows."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax import symmetry
from smae_jax.symmetry import D4, GROUPS, apply_random, group_average, inverse

SQUARE = jnp.arange(2 * 5 * 5, dtype=jnp.float32).reshape(2, 5, 5)
OBLONG = jnp.arange(2 * 3 * 4, dtype=jnp.float32).reshape(2, 3, 4)


def same(a, b):
    return a.shape == b.shape and bool(jnp.all(a == b))


@pytest.mark.parametrize("element", D4)
@pytest.mark.parametrize("array", [SQUARE, OBLONG])
def test_inverse_undoes(element, array):
    assert same(inverse(element)(element(array)), array)
    assert same(element(inverse(element)(array)), array)


@pytest.mark.parametrize("name", ["none", "flips", "d4"])
def test_group_is_closed_and_its_elements_differ(name):
    images = [g(SQUARE) for g in GROUPS[name]]
    for a, b in itertools.combinations(images, 2):
        assert not same(a, b)
    for g, h in itertools.product(GROUPS[name], repeat=2):
        assert any(same(g(h(SQUARE)), image) for image in images)


def test_group_orders_and_nesting():
    assert [len(GROUPS[n]) for n in ("none", "flips", "d4")] == [1, 4, 8]


def test_quarter_turns_are_numpys():
    np.testing.assert_array_equal(symmetry.rotate90(OBLONG), np.rot90(OBLONG, axes=(-2, -1)))
    np.testing.assert_array_equal(symmetry.rotate270(OBLONG), np.rot90(OBLONG, -1, axes=(-2, -1)))
    np.testing.assert_array_equal(symmetry.rotate180(OBLONG), np.rot90(OBLONG, 2, axes=(-2, -1)))


def test_flips_keep_any_shape():
    assert all(g(OBLONG).shape == OBLONG.shape for g in GROUPS["flips"])


def test_random_element_moves_all_arrays_alike_and_reaches_the_whole_group():
    keys = jax.random.split(jax.random.key(0), 64)
    pairs = (jnp.broadcast_to(SQUARE[0], (64, 5, 5)), jnp.broadcast_to(SQUARE[0] + 100, (64, 5, 5)))
    first, second = jax.vmap(lambda k, p: apply_random(k, p, group="d4"))(keys, pairs)
    assert same(first + 100, second)
    assert len({tuple(np.ravel(x)) for x in np.asarray(first)}) == 8


def test_random_quarter_turn_of_an_oblong_array_is_refused():
    with pytest.raises(ValueError, match="square"):
        apply_random(jax.random.key(0), OBLONG, group="d4")


@pytest.mark.parametrize("name", ["flips", "d4"])
def test_group_average_commutes_with_the_group(name):
    weights = jax.random.normal(jax.random.key(1), (5, 5))

    def uneven(x):
        return jnp.cumsum(x * weights[None], axis=-1)

    averaged = group_average(uneven, group=name)
    for g in GROUPS[name]:
        np.testing.assert_allclose(averaged(g(SQUARE)), g(averaged(SQUARE)), rtol=1e-5, atol=1e-4)
    assert not np.allclose(averaged(SQUARE), uneven(SQUARE))


def test_group_average_of_an_equivariant_function_is_the_function():
    averaged = group_average(lambda x: 2 * x, group="d4")
    np.testing.assert_allclose(averaged(OBLONG), 2 * OBLONG)
