"""Convolutions with a gradient of their own on a CPU: the same as XLA's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax.models.convolution import halving, many_features

NUMBERS = ("NHWC", "HWIO", "NHWC")


def arrays(height, width, size, features):
    rng = np.random.default_rng(0)
    shapes = ((2, height, width, 3), (size, size, 3, features))
    return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)


def same_as_xla(quick, x, kernel, *how):
    """Compare outputs and gradients of a convolution with those of XLA's."""

    def total(convolve):
        def loss(x, kernel):
            return jnp.sum(jnp.sin(convolve(x, kernel, *how, dimension_numbers=NUMBERS)))

        return jax.jit(jax.value_and_grad(loss, (0, 1)))(x, kernel)

    found, wanted = total(quick), total(jax.lax.conv_general_dilated)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, wanted)


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("shape", [(8, 12), (9, 7)])
def test_the_gradient_of_a_convolution_with_stride_two_is_that_of_xla(shape, size):
    same_as_xla(halving, *arrays(*shape, size, 4), (2, 2), [(size // 2, size // 2)] * 2)


@pytest.mark.parametrize("features", [5, 32, 70])
def test_the_gradient_of_many_features_is_that_of_xla(features):
    same_as_xla(many_features, *arrays(6, 7, 3, features), (1, 1), "SAME")
