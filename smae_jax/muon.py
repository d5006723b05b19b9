"""Muon, with all kernels of like size orthogonalised together.

`optax.contrib.muon` does the same kernel by kernel: hundreds of small products, each with a start of its own
and a program of its own to compile. Here kernels are filled up with zeros to stacks of like size, which
changes nothing: the zeros of a matrix stay zeros in every product. The state is optax's, so runs made with it
go on.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from optax.contrib import MuonState

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration; from Jordan et al. 2024."""
ROUNDS = 5
MOMENTUM = 0.95
RMS = 0.2
"""Root mean square of an update, as Adam's: Liu et al. 2025, eq. 4."""
EPSILON = 1e-8


def muon(schedule: optax.Schedule, *, weight_decay: float) -> optax.GradientTransformation:
    """Return Muon for kernels, taken as matrices (window x input, output), and AdamW for all else.

    Args:
      schedule: step -> learning rate, of both.
      weight_decay: of both.

    Reference:
      Jordan et al. 2024 (Muon); step size as in Liu et al. 2025, "Muon is scalable for LLM training", eq. 4.
    """
    kernels = optax.chain(
        _orthogonal_momentum(),
        optax.identity(),  # in the place of optax's scale by shape, which has no state either
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(schedule),
    )
    rest = optax.adamw(schedule, b1=0.9, b2=0.999, weight_decay=weight_decay, nesterov=True)
    return optax.partition({"muon": kernels, "adam": rest}, _labels)


def _labels(parameters: Any) -> Any:
    return jax.tree.map(lambda leaf: "muon" if leaf.ndim > 1 else "adam", parameters)


def _orthogonal_momentum() -> optax.GradientTransformation:
    """Return Nesterov momentum, orthogonalised and scaled to `RMS`."""

    def begin(params: Any) -> MuonState:
        return MuonState(
            count=jnp.zeros([], jnp.int32),
            mu=optax.tree.zeros_like(params),
            ns_coeffs=jnp.asarray(COEFFICIENTS),
        )

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, MuonState]:
        del params
        count = optax.safe_increment(state.count)
        momentum = optax.tree.update_moment(updates, state.mu, MOMENTUM, 1)
        ahead = optax.tree.bias_correction(momentum, MOMENTUM, optax.safe_increment(count))
        now = optax.tree.bias_correction(updates, MOMENTUM, count)
        mixed = jax.tree.map(lambda m, g: MOMENTUM * m + (1 - MOMENTUM) * g, ahead, now)
        leaves, tree = jax.tree.flatten(mixed)
        leaves = [
            leaf * (np.sqrt(max(_matrix(leaf.shape))) * RMS) for leaf in orthogonalised(leaves)
        ]
        return tree.unflatten(leaves), MuonState(count, momentum, state.ns_coeffs)

    return optax.GradientTransformation(begin, update)


def orthogonalised(kernels: Sequence[Array]) -> list[Array]:
    """Replace the singular values of every kernel, as a matrix, by about 1.

    Args:
      kernels: float32, (*window, input, output) each.

    Returns:
      As `kernels`; singular values between about 0.7 and 1.2, zero ones stay.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for place, kernel in enumerate(kernels):
        groups[_power_of_two(min(_matrix(kernel.shape)))].append(place)
    found: dict[int, Array] = {}
    for places in groups.values():
        for place, flat in zip(
            places, _stacked([kernels[p] for p in places], _rounds), strict=True
        ):
            found[place] = flat
    return [found[place] for place in range(len(kernels))]


def _stacked(kernels: Sequence[Array], function: Callable[[Array], Array]) -> list[Array]:
    """Apply a function to kernels as one stack of wide matrices, (kernels, short side, long side)."""
    shapes = [_matrix(kernel.shape) for kernel in kernels]
    short, long = max(map(min, shapes)), max(map(max, shapes))
    wide = []
    for kernel, shape in zip(kernels, shapes, strict=True):
        matrix = kernel.reshape(shape)
        matrix = matrix.T if shape[0] > shape[1] else matrix
        rows, columns = matrix.shape
        wide.append(jnp.pad(matrix, ((0, short - rows), (0, long - columns))))
    done = function(jnp.stack(wide))
    back = []
    for matrix, kernel, shape in zip(done, kernels, shapes, strict=True):
        matrix = matrix[: min(shape), : max(shape)]
        back.append((matrix.T if shape[0] > shape[1] else matrix).reshape(kernel.shape))
    return back


def _rounds(x: Array) -> Array:
    """Do the Newton-Schulz iteration on a stack of wide matrices.

    A round multiplies by a polynomial of x x', from which that of the next round follows: rounds are done on
    these small matrices, and multiplied with x together. Errors of float32 grow from round to round, so x x'
    is made anew once.
    """
    a, b, c = COEFFICIENTS
    product = functools.partial(jnp.matmul, precision="highest")
    one = jnp.broadcast_to(jnp.eye(x.shape[1], dtype=x.dtype), (*x.shape[:2], x.shape[1]))
    x = x / (jnp.linalg.norm(x, axis=(1, 2), keepdims=True) + EPSILON)
    for rounds in (ROUNDS - ROUNDS // 2, ROUNDS // 2):
        gram = product(x, x.mT)
        factor = step = a * one + b * gram + c * product(gram, gram)
        for _ in range(rounds - 1):
            gram = product(product(step, gram), step)
            step = a * one + b * gram + c * product(gram, gram)
            factor = product(step, factor)
        x = product(factor, x)
    return x


def _matrix(shape: Sequence[int]) -> tuple[int, int]:
    """Return the shape of a kernel taken as a matrix: (window x input, output)."""
    return int(np.prod(shape[:-1])), shape[-1]


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
