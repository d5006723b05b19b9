"""The dihedral group D4 and its subgroup of the four flips, acting on the last two axes.

Every group element is a pure function `(..., height, width) -> (..., height', width')`. Scattering
patterns are compared with themselves under these motions: elastic scattering obeys I(q) = I(-q), which
for a centred pattern is `rotate180`. This module knows arrays only, no method and no data.
"""

import functools
from collections.abc import Callable
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from smae_jax.errors import UserError

Transform = Callable[[Array], Array]
GroupName = Literal["none", "flips", "d4"]
Tree = TypeVar("Tree")


def identity(x: Array) -> Array:
    """Return `x` unchanged."""
    return x


def flip_left_right(x: Array) -> Array:
    """Mirror the last axis."""
    return jnp.flip(x, axis=-1)


def flip_up_down(x: Array) -> Array:
    """Mirror the last axis but one."""
    return jnp.flip(x, axis=-2)


def rotate180(x: Array) -> Array:
    """Turn by 180 degrees about the middle of the array: the partner of pixel (i, j) comes to (i, j)."""
    return jnp.flip(x, axis=(-2, -1))


def transpose(x: Array) -> Array:
    """Exchange the last two axes (mirror about the main diagonal)."""
    return jnp.swapaxes(x, -2, -1)


def anti_transpose(x: Array) -> Array:
    """Mirror about the other diagonal."""
    return rotate180(transpose(x))


def rotate90(x: Array) -> Array:
    """Turn by 90 degrees counter-clockwise, rows counted downwards (as `numpy.rot90`)."""
    return flip_up_down(transpose(x))


def rotate270(x: Array) -> Array:
    """Turn by 270 degrees counter-clockwise: the inverse of `rotate90`."""
    return flip_left_right(transpose(x))


# The order is fixed: the first element is the identity, the first four are the flips (which keep any
# shape), the first of each is a subgroup of the next.
D4: tuple[Transform, ...] = (
    identity,
    flip_left_right,
    flip_up_down,
    rotate180,
    transpose,
    anti_transpose,
    rotate90,
    rotate270,
)
GROUPS: dict[str, tuple[Transform, ...]] = {"none": D4[:1], "flips": D4[:4], "d4": D4}
_INVERSES: dict[Transform, Transform] = {rotate90: rotate270, rotate270: rotate90}


def inverse(transform: Transform) -> Transform:
    """Return the element of D4 that undoes `transform` (all but the quarter turns undo themselves)."""
    return _INVERSES.get(transform, transform)


def apply_random(key: Array, example: Tree, *, group: GroupName) -> Tree:
    """Move one example by one group element drawn uniformly, all its arrays alike.

    Args:
      key: typed random key; one element is drawn. Use `jax.vmap` for an element per example.
      example: pytree of arrays, each (..., height, width) with common height and width.
      group: "none", "flips" or "d4".

    Returns:
      The moved pytree, shaped as `example`.

    Raises:
      UserError: if `group` is "d4" and an array is not square: the quarter turns would change its shape.
    """
    elements = GROUPS[group]
    if group == "d4":
        for leaf in jax.tree.leaves(example):
            if leaf.shape[-1] != leaf.shape[-2]:
                raise UserError(
                    f"augment 'd4' needs square patches, got {leaf.shape[-2:]}; use 'flips' or set a "
                    "patch size"
                )
    if len(elements) == 1:
        return example
    chosen = jax.random.randint(key, (), 0, len(elements))
    moves = [lambda tree, g=g: jax.tree.map(g, tree) for g in elements]
    return jax.lax.switch(chosen, moves, example)


def group_average(
    function: Transform, *, group: GroupName, channels_last: bool = False
) -> Transform:
    """Average a function over a group: move the input, apply, move the output back, take the mean.

    The result commutes with every element of the group whatever `function` is.

    Args:
      function: array (..., height, width) -> array whose last two axes move with the input's.
      group: "none", "flips" or "d4".
      channels_last: whether arrays are (..., height, width, channel).

    Returns:
      The averaged function, same signature.

    Reference:
      Reynolds operator of a finite group; the published SMAE averages over the four flips (its Step 4).
    """
    elements = GROUPS[group]

    def moved(element: Transform) -> Transform:
        return jax.vmap(element, in_axes=-1, out_axes=-1) if channels_last else element

    def averaged(x: Array) -> Array:
        back = (moved(inverse(g))(function(moved(g)(x))) for g in elements)
        return functools.reduce(jnp.add, back) / len(elements)

    return averaged if len(elements) > 1 else function
