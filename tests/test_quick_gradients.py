"""Convolutions with a gradient of their own on a CPU: the same as XLA's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smae_jax.models.convolution import quick

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
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), found, wanted)


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("shape", [(8, 12), (9, 7)])
def test_the_gradient_of_a_convolution_with_stride_two_is_that_of_xla(shape, size):
    same_as_xla(quick, *arrays(*shape, size, 4), (2, 2), [(size // 2, size // 2)] * 2)


@pytest.mark.parametrize("padding", ["SAME", "VALID", [(2, 0), (1, 3)]])
@pytest.mark.parametrize("shape", [(8, 12), (150, 40), (23, 300)])
def test_a_kernels_gradient_in_strips_is_that_of_xla(shape, padding):
    same_as_xla(quick, *arrays(*shape, 3, 5), (1, 1), padding)
