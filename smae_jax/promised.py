"""What a network and a method of a user's own promise, looked at while they are traced: shapes cost nothing.

What is not as promised is refused in one line that names it. Errors that they raise themselves go through.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from smae_jax import models
from smae_jax.errors import UserError
from smae_jax.methods.own import Own
from smae_jax.methods.protocol import Answers, Batch, Method, Pair, name_of
from smae_jax.named import in_words, qualified_name
from smae_jax.placing import Placed, draw, whole_batch


def check(step: Any, placed: Placed, key: Array, *, batch_size: int) -> None:
    """Trace one step and one answer before anything is made: network, method and loss as one has them.

    Args:
      step: from `training.make_step`; its optimizer does not matter.
      placed: what it will be trained on.
      key: typed random key; nothing is drawn with it.
      batch_size: examples of a step.

    Raises:
      UserError: in one line, if one of them gives something else than it promises.
    """
    state = jax.eval_shape(functools.partial(step.begin, patch=placed.patch), key)
    batch = jax.eval_shape(functools.partial(draw, batch_size=batch_size), key, placed)
    jax.eval_shape(step.loss_of, state.parameters, key, batch)
    check_answers(step.net, step.method, placed, state.parameters)


def check_answers(net: models.Network, method: Method, placed: Placed, parameters: Any) -> None:
    """Trace one answer of a method of a user's own, which a training does not ask for.

    Args:
      net: network.
      method: of the training; one of this package is not asked.
      placed: what is trained on.
      parameters: of the network, or their shapes.

    Raises:
      UserError: in one line, if it gives no answers to whole frames.
    """
    if type(method).__module__.startswith("smae_jax.") and not isinstance(method, Own):
        return
    frames = len(placed.counts) if method.answers == "one" else 2
    image = jax.ShapeDtypeStruct((frames, *placed.counts.shape[2:]), jnp.float32)
    scale = jax.ShapeDtypeStruct((frames,), jnp.float32)
    apply = models.apply_of(net)

    def answered(parameters: Any, counts: Array, exposure: Array, scale: Array) -> None:
        def predict(source: Array) -> Array:
            _check_source(source, method, "denoise: predict")
            return prediction_of(net, apply(parameters, source), source, method)

        beside = None if placed.beside is None else counts
        batch = whole_batch(counts, exposure, scale, turned=placed.turned, beside=beside)
        answers_of(method, method.denoise(predict, batch), batch)

    jax.eval_shape(answered, parameters, image, image, scale)


def pair_of(method: Method, pair: Any) -> Pair:
    """Return what a method's `pair` gave, if it is one."""
    if not isinstance(pair, Pair):
        raise _refusal(method, "pair", "smae_jax.Pair(source, target, weight)", pair)
    _check_source(pair.source, method, "pair: source")
    wanted = (*pair.source.shape[:-1], method.outputs)
    for name in ("target", "weight"):
        if jnp.shape(found := getattr(pair, name)) != wanted:
            what = f"shape {wanted}, as the source with {method.outputs} in its last axis"
            raise _refusal(method, f"pair: {name}", what, found)
    return pair


def prediction_of(net: models.Network, prediction: Any, source: Array, method: Method) -> Array:
    """Return what a network gave, if it is a rate for every pixel and output."""
    wanted = (*source.shape[:-1], method.outputs)
    if getattr(prediction, "shape", None) != wanted:
        raise UserError(
            f"network {qualified_name(net)}: expected an array of shape {wanted} of a source of shape "
            f"{source.shape}, got {in_words(prediction)}"
        )
    return prediction


def answers_of(method: Method, answers: Any, batch: Batch) -> Answers:
    """Return what a method's `denoise` gave, if these are answers to the frames of a batch."""
    if not isinstance(answers, Answers):
        raise _refusal(method, "denoise", "smae_jax.Answers(counts, known, filled)", answers)
    frames = 1 if method.answers == "one" else len(batch.counts)
    wanted = (frames, *batch.counts.shape[1:])
    for name in ("counts", "known", "filled"):
        if jnp.shape(found := getattr(answers, name)) != wanted:
            raise _refusal(method, f"denoise: {name}", f"shape {wanted}", found)
    return answers


def _check_source(source: Any, method: Method, what: str) -> None:
    channels = method.source_channels
    shape = getattr(source, "shape", ())
    if len(shape) < 3 or shape[-1] != channels:
        raise _refusal(method, what, f"shape (batch, *spatial, {channels})", source)


def _refusal(method: Method, what: str, expected: str, got: Any) -> UserError:
    return UserError(f"method {name_of(method)}: {what}: expected {expected}, got {in_words(got)}")
