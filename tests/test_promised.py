"""Losses, networks and methods of one's own: what they do not give as promised is refused before any step."""

import dataclasses
import sys
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

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
