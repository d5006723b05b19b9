"""Losses, networks and methods of one's own: what they do not give as promised is refused before any step."""

import dataclasses
import functools
import os
import sys
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from smae_jax import models, promised
from smae_jax.errors import UserError
from smae_jax.loss_spec import parse_loss
from smae_jax.losses import mse
from smae_jax.measurements import Measurements
from smae_jax.methods.own import adapted
from smae_jax.methods.protocol import Answers, Pair
from smae_jax.placing import place
from smae_jax.training import make_step

DATA = Measurements(np.ones((3, 8, 10), np.int32), np.ones((1, 8, 10), np.float32))


class Own:
    """Every pixel is its own target."""

    def pair(self, key, batch):
        source = jnp.stack([batch.counts, batch.exposure], -1)
        return Pair(source, batch.counts[..., None], batch.eligible[..., None])

    def denoise(self, predict, batch):
        answer = predict(jnp.stack([batch.counts, batch.exposure], -1))[..., 0]
        known = batch.exposure > 0
        return Answers(answer, known, jnp.zeros_like(known))


class Tuple(Own):
    def pair(self, key, batch):
        pair = super().pair(key, batch)
        return pair.source, pair.target, pair.weight


class NoAxis(Own):
    def pair(self, key, batch):
        return dataclasses.replace(super().pair(key, batch), weight=batch.eligible)


class Narrow(Own):
    def pair(self, key, batch):
        return dataclasses.replace(super().pair(key, batch), source=batch.counts[..., None])


class Bare(Own):
    def denoise(self, predict, batch):
        return super().denoise(predict, batch).counts


class Halved(Own):
    def denoise(self, predict, batch):
        return jax.tree.map(lambda a: a[:, ::2], super().denoise(predict, batch))


class Misled(Own):
    def denoise(self, predict, batch):
        return super().denoise(lambda source: predict(source[..., :1]), batch)


class Failing(Own):
    def denoise(self, predict, batch):
        raise KeyError("mine")


class Net(nn.Module):
    outputs: int = 1
    strides: int = 1

    @nn.compact
    def __call__(self, source):
        return nn.Conv(self.outputs, (3, 3), strides=self.strides, name="only")(source)


NET = Net()


def check(method=Own, net=NET, loss=mse):
    method = adapted(method, name=f"mine:{method.__name__}")
    step = make_step(net, method, loss, optax.identity())
    placed = place(DATA, method, patch=8)
    promised.check(step, placed, jax.random.key(0), batch_size=2)


def test_what_gives_as_promised_is_taken():
    check()


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (Tuple, "mine:Tuple: pair: expected smae_jax.Pair(source, target, weight), got a tuple"),
        (NoAxis, "mine:NoAxis: pair: weight: expected shape (2, 8, 8, 1), as the source with 1"),
        (Narrow, "mine:Narrow: pair: source: expected shape (batch, *spatial, 2), got an array of"),
        (Bare, "mine:Bare: denoise: expected smae_jax.Answers(counts, known, filled), got an arr"),
        (Halved, "mine:Halved: denoise: counts: expected shape (2, 8, 10), got an array of shape "),
        (Misled, "mine:Misled: denoise: predict: expected shape (batch, *spatial, 2), got an arr"),
    ],
)
def test_a_method_that_gives_something_else_is_refused(method, said):
    with pytest.raises(UserError) as caught:
        check(method)
    assert str(caught.value).startswith(f"method {said}")


@pytest.mark.parametrize("net", [Net(outputs=2), Net(strides=2)])
def test_a_network_of_another_shape_is_refused(net):
    with pytest.raises(
        UserError, match=r"network [\w.]+:Net: expected an array of shape \(2, 8, 8, 1\)"
    ):
        check(net=net)


LOSSES = {
    "vector": (lambda p, t, w: jnp.mean(p, axis=(1, 2, 3)), "got an array of shape (2,), float32"),
    "none": (lambda p, t, w: None, "got None"),
    "text": (lambda p, t, w: "hello", "got a str"),
    "whole": (lambda p, t, w: 3, "got 3, an int"),
    "whole_array": (lambda p, t, w: jnp.int32(3), "got an array of shape (), int32"),
    "constant": (lambda p, t, w: 3.0, "depends on the prediction, got always 3"),
    "target": (lambda p, t, w: jnp.mean(t), "whose gradient is zero whatever the prediction"),
    "jitted": (jax.jit(lambda p, t, w: jnp.mean(w * t)), "is zero whatever the prediction"),
    "stopped": (
        lambda p, t, w: jnp.mean((jax.lax.stop_gradient(p) - t) ** 2),
        "is zero whatever the prediction",
    ),
    "compared": (lambda p, t, w: jnp.mean(1.0 * (p > t)), "is zero whatever the prediction"),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("spec", ["{}", "mse+0.1*{}"])
def test_a_loss_that_is_no_number_to_learn_from_is_refused(name, spec, monkeypatch):
    module = types.SimpleNamespace(**{name: LOSSES[name][0]})
    monkeypatch.setitem(sys.modules, "own_losses_of_this_test", module)
    loss = parse_loss(spec.format(f"own_losses_of_this_test:{name}"))
    with pytest.raises(UserError) as caught:
        check(loss=loss)
    assert str(caught.value).startswith(f"loss 'own_losses_of_this_test:{name}': expected ")
    assert str(caught.value).endswith(LOSSES[name][1])
    with pytest.raises(UserError, match=r"loss .*expected "):
        check(loss=LOSSES[name][0])


@pytest.mark.parametrize(
    "loss",
    [
        lambda p, t, w: jnp.mean(p),  # of a gradient that is always the same
        lambda p, t, w: jax.jit(mse)(p, t, w),
        lambda p, t, w: jnp.mean(jnp.maximum(p - 1e9, 0.0)),  # zero here, but not everywhere
        lambda p, t, w: jax.lax.cond(t.sum() > 0, lambda: p.mean(), lambda: t.mean()),
        functools.partial(mse),
        jax.checkpoint(mse),
    ],
)
def test_a_loss_that_depends_on_the_prediction_is_taken(loss):
    check(loss=loss)


NUMPY = {
    "numpy": lambda p, t, w: np.mean(np.asarray(p) - np.asarray(t)),
    "float": lambda p, t, w: float(jnp.mean(p)),
    "if": lambda p, t, w: jnp.mean(p) if jnp.mean(t) > 0 else jnp.mean(p - t),
    "scipy": lambda p, t, w: scipy.special.huber(1.0, p - t).mean(),
}


@pytest.mark.parametrize("name", NUMPY)
def test_a_loss_that_cannot_be_traced_is_refused_with_its_line(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "own_numpy_of_this_test", types.SimpleNamespace(**NUMPY))
    for loss in (NUMPY[name], parse_loss(f"own_numpy_of_this_test:{name}")):
        with pytest.raises(UserError, match=r"made of functions of jax\.numpy, got .*py, line \d+"):
            check(loss=loss)


@pytest.mark.parametrize("name", ["numpy:mean", "numpy:average", "jax.numpy:mean"])
def test_a_function_that_is_no_loss_is_refused_by_the_command(name, smae, small_scan, small):
    data = ("--data.path", f"{small_scan}::counts", "--data.center", "17.5,14")
    answer = smae("train", "--run", "r", *data, *small, "--loss", name)
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert f"loss '{name}': expected a function of (prediction, target, weight)" in answer.err
    assert not os.path.exists("r")


def test_what_ones_own_code_raises_goes_through():
    with pytest.raises(KeyError, match="mine"):
        check(Failing)


def test_what_needs_arguments_is_refused():
    with pytest.raises(
        UserError, match=r"--model mine:net: .* needs no argument but outputs, got \(width"
    ):
        models.own(lambda width: Net(width), 1, "mine:net")
    with pytest.raises(UserError, match=r"--method mine:it: .* needs no argument, got \(share"):
        adapted(lambda share: Own(), name="mine:it")
