"""What a step has to compute and to move, layer by layer, and how fast the machine does each at best."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Product:
    """A convolution or a matrix product: operations (two for each multiplication), and bytes in and out."""

    operations: int
    bytes: int


def products(function: Callable[..., Any], *arguments: Any) -> list[Product]:
    """List the convolutions and matrix products of a function, as it is written, loops unrolled."""
    return list(_of(jax.make_jaxpr(function)(*arguments).jaxpr, 1))


def _of(jaxpr: Any, times: int) -> Iterator[Product]:
    for equation in jaxpr.eqns:
        name, given = equation.primitive.name, equation.params
        shapes = [v.aval for v in (*equation.invars, *equation.outvars)]
        if name in ("conv_general_dilated", "dot_general"):
            moved = sum(math.prod(a.shape) * a.dtype.itemsize for a in shapes)
            out = math.prod(equation.outvars[0].aval.shape)
            yield from [Product(2 * out * _depth(equation), moved)] * times
        inner = times * given.get("length", 1) if name == "scan" else times
        for value in given.values():
            for one in value if isinstance(value, (list, tuple)) else [value]:
                if hasattr(one, "eqns"):
                    yield from _of(one, inner)
                elif hasattr(one, "jaxpr"):
                    yield from _of(one.jaxpr, inner)


def _depth(equation: Any) -> int:
    """Return how many multiplications each value of a product is the sum of."""
    left, right = (v.aval.shape for v in equation.invars[:2])
    if equation.primitive.name == "dot_general":
        (axes, _), _ = equation.params["dimension_numbers"]
        return math.prod(left[axis] for axis in axes)
    numbers = equation.params["dimension_numbers"]
    spread = math.prod(equation.params["lhs_dilation"])  # what lies between is 0, and no work
    return max(1, math.prod(right) // right[numbers.rhs_spec[0]] // spread)


@dataclasses.dataclass(frozen=True)
class Rates:
    """What the machine does at best: operations a second, and bytes moved a second."""

    operations: float
    bytes: float

    def seconds(self, some: list[Product]) -> float:
        """Return the least time of products, each limited by its operations or by its bytes."""
        return sum(max(p.operations / self.operations, p.bytes / self.bytes) for p in some)


def measured_rates(dtype: Any, *, side: int, copied: int) -> Rates:
    """Measure a product of square matrices, and a copy.

    Args:
      dtype: of the product; float32 is multiplied as convolutions multiply it by default.
      side: of the matrices.
      copied: bytes, several times what a cache holds.
    """
    matrix = jnp.ones((side, side), dtype) * jnp.arange(side, dtype=dtype)[None] / side
    multiply = jax.jit(lambda a: a @ a)
    source = jnp.ones((copied // 4,), jnp.float32)
    copy = jax.jit(lambda a: a + 1)
    return Rates(2 * side**3 / _seconds(multiply, matrix), 2 * copied / _seconds(copy, source))


def _seconds(function: Callable[[Any], Any], argument: Any) -> float:
    jax.block_until_ready(function(argument))
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(5):
            out = function(argument)
        jax.block_until_ready(out)
        best = min(best, (time.perf_counter() - start) / 5)
    return best
