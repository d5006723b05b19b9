"""Methods are told apart by their facts: what settles them, their rules, methods of one's own, keys."""

import ast
import dataclasses
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import smae_jax
from smae_jax import inference, losses, placing, training
from smae_jax.config import TrainConfig
from smae_jax.geometry import Center
from smae_jax.measurements import Measurements
from smae_jax.methods import (
    Answers,
    DeepImagePrior,
    Masked,
    Method,
    Noise2Noise,
    Noise2Void,
    Pair,
    Smae,
    Supervised,
    Thinning,
    ZeroShot,
)
from smae_jax.methods.own import adapted
from smae_jax.methods.protocol import name_of
from smae_jax.methods.views import like, rate_of
from smae_jax.run.build import METHODS, build_method

PACKAGE = Path(smae_jax.__file__).parent


def scan_of(shape=(4, 20, 24), center=(9.5, 11.5), dtype=np.int32):
    counts = np.random.default_rng(0).poisson(5.0, shape).astype(dtype)
    ones = np.ones((1, *shape[1:]), np.float32)
    return Measurements(counts, ones, None if center is None else Center.given(center))


def names_compared(tree):
    """Yield the lines on which a method's name stands on either side of a comparison or in a match."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            sides = [node.value]
        else:
            continue
        for side in sides:
            held = side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side]
            for one in held:
                if isinstance(one, ast.Constant) and one.value in METHODS:
                    yield node.lineno


def test_no_module_asks_for_a_methods_name():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        if inside.parts[0] == "methods" or inside == Path("run/build.py"):
            continue
        lines = names_compared(ast.parse(path.read_text(encoding="utf-8")))
        found += [f"{inside}:{line}" for line in lines]
    assert not found


@pytest.mark.parametrize(
    "code",
    ['a == "smae"', 'x in ("thinning", "b")', 'match a:\n  case "masked": pass', '"smae" != m'],
)
def test_the_search_finds_what_it_looks_for(code):
    assert list(names_compared(ast.parse(code)))
    assert not list(names_compared(ast.parse('a == "other"; b = "smae"; f("thinning")')))


@pytest.mark.parametrize("name", METHODS)
def test_every_name_makes_the_method_of_that_name(name):
    method = build_method(TrainConfig(method=name))
    assert isinstance(method, Method)
    assert name_of(method) == name


# --- settled ---------------------------------------------------------------------------------------


def test_thinning_settles_on_the_partner_and_the_largest_count():
    said = []
    found = Thinning().settled(scan_of(), say=said.append)
    assert found.partner == "channel"
    assert (found.outputs, found.source_channels) == (2, 4)
    assert "partner channel" in said[0]
    counts = scan_of().counts
    assert counts.max() <= found.most < 2 * counts.max() + 2
    flat = np.random.default_rng(1).poisson(np.where(np.arange(24) < 12, 1.0, 60.0), (4, 20, 24))
    lopsided = dataclasses.replace(scan_of(), counts=flat.astype(np.int32))
    assert Thinning().settled(lopsided).partner == "none"
    asked = Thinning(partner="channel").settled(lopsided)  # what is asked for is not asked again
    assert asked.partner == "channel"


def test_thinning_without_a_centre_leaves_the_partner_out():
    alone = Thinning(shares=((0.8, 0.2), (0.5, 0.5)), variants=3)
    found = alone.settled(scan_of(center=None))
    assert (found.partner, found.variants, found.outputs) == ("none", 0, 1)
    assert found.shares == ((0.8, 0.8), (0.5, 0.5))
    assert found.rules == ()
    with pytest.raises(ValueError, match=r"--thinning\.partner channel"):
        Thinning(partner="channel").settled(scan_of(center=None))


def test_thinning_takes_values_that_are_no_counts_only_with_their_noise():
    halves = scan_of(dtype=np.float32)
    halves = dataclasses.replace(halves, counts=halves.counts + np.float32(0.5))
    with pytest.raises(ValueError, match="whole photon counts"):
        Thinning().settled(halves)
    assert Thinning(gaussian=(2.0, 1.0)).settled(halves).region != "across"


@pytest.mark.parametrize("method", [Thinning(), Smae(), Supervised()])
def test_methods_are_registered_at_a_centre_between_half_pixels(method):
    data = dataclasses.replace(scan_of(), center=Center((9.5, 11.5), (9.7, 11.4)))
    assert method.settled(data).shift == pytest.approx((0.4, -0.2))
    still = dataclasses.replace(method, registration=False)
    assert still.settled(data).shift == (0.0, 0.0)


def test_supervised_without_a_centre_has_one_view():
    assert Supervised(rule="average").settled(scan_of(center=None)).rule == "direct"
    assert Supervised(rule="average").settled(scan_of()).rule == "average"


@pytest.mark.parametrize("method", [Smae(), Masked(), ZeroShot()])
def test_methods_of_patterns_refuse_spectra(method):
    with pytest.raises(ValueError, match=r"centro-symmetric patterns.*spectra"):
        method.settled(scan_of((4, 60), center=None))


def test_smae_needs_a_centre_and_repeats_are_two_or_more():
    with pytest.raises(ValueError, match="without a beam centre"):
        Smae().settled(scan_of(center=None))
    with pytest.raises(ValueError, match="at least 2 repeats"):
        Noise2Noise().settled(scan_of((1, 60), center=None))
    data = Measurements(np.ones((2, 9, 3), np.int32), np.ones((1, 9), np.float32), channels=True)
    assert Noise2Noise().settled(data).channels
    with pytest.raises(ValueError, match="without channels"):
        DeepImagePrior().settled(data)


# --- rules -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [Smae(), Supervised(), Thinning(partner="channel")])
def test_with_rule_changes_the_rule_and_nothing_else(method):
    for rule in method.rules:
        assert method.with_rule(rule) == dataclasses.replace(method, rule=rule)
    assert method.with_rule("run") is method
    with pytest.raises(ValueError, match=r"--rule half: expected direct, "):
        method.with_rule("half")


@pytest.mark.parametrize("method", [Masked(), ZeroShot(), Noise2Void(), Thinning(partner="none")])
def test_a_method_of_one_view_takes_no_other_rule(method):
    assert method.with_rule("run") is method
    assert method.with_rule("direct") is method
    with pytest.raises(ValueError, match=r"--rule average: the method has one view"):
        method.with_rule("average")


# --- a method of one's own -------------------------------------------------------------------------


class Checkerboard:
    """Every other pixel predicts the rest; no facts but one."""

    axes = (2,)

    def pair(self, key, batch):
        del key
        shape = batch.counts.shape
        even = (jnp.indices(shape[1:]).sum(axis=0) % 2 == 0)[None]
        rate = rate_of(batch.counts, batch.exposure, batch.scale)
        shown = jnp.where(even, rate, 0.0), jnp.where(even, batch.exposure, 0.0)
        weight = jnp.where(even, 0.0, batch.exposure * batch.eligible)
        return Pair(jnp.stack(shown, axis=-1), rate[..., None], weight[..., None])

    def denoise(self, predict, batch):
        rate = rate_of(batch.counts, batch.exposure, batch.scale)
        answer = predict(jnp.stack([rate, batch.exposure], axis=-1))[..., 0]
        known = batch.exposure > 0
        counts = jnp.where(known, answer * like(batch.scale, answer), jnp.nan)
        return Answers(counts=counts, known=known, filled=jnp.zeros_like(known))


class Constant(nn.Module):
    """The same rate everywhere."""

    @nn.compact
    def __call__(self, source):
        level = self.param("level", nn.initializers.zeros, ())
        return jnp.full((*source.shape[:-1], 1), jnp.exp(level))


@pytest.mark.parametrize("made", [Checkerboard, Checkerboard(), lambda: Checkerboard()])
def test_ones_own_method_is_placed_trained_and_asked(made):
    data = scan_of()
    method = adapted(made, name="mine:Checkerboard").settled(data)
    assert isinstance(method, Method)
    assert method.asks == ""
    assert (method.axes, method.answers, method.outputs) == ((2,), "each", 1)
    placed = placing.place(data, method, patch=8)
    step = training.make_step(Constant(), method, losses.poisson, optax.sgd(0.5), average_decay=0.0)
    loop = training.Loop(8, devices=1, validate_every=10, validation_batches=1)
    fitted = training.fit(step, placed, jax.random.key(0), steps=10, loop=loop)
    assert np.isfinite(fitted.loss)
    answers = inference.predict(
        Constant(), fitted.average, method, data, conserve_totals=False, group="none"
    )
    assert answers.counts.shape == data.counts.shape
    expected = float(jnp.exp(fitted.average["level"])) * data.counts.mean()
    np.testing.assert_allclose(answers.counts, expected, rtol=1e-4)


def test_ones_own_method_is_refused_what_it_says_it_does_not_take():
    with pytest.raises(ValueError, match="spectra without a beam centre"):
        adapted(Checkerboard, name="mine:it").settled(scan_of((4, 60), center=None))


def test_ones_own_method_may_settle_itself_and_a_method_stays_as_it_is():
    class Choosing(Checkerboard):
        settled_on = None

        def settled(self, data, *, say):
            say("chosen")
            made = Choosing()
            made.settled_on = data.frames
            return made

    said = []
    found = adapted(Choosing, name="mine:Choosing").settled(scan_of(), say=said.append)
    assert said == ["chosen"]
    assert found._own.settled_on == 4
    smae = Smae()
    assert adapted(smae, name="mine:smae") is smae
    assert adapted(Smae, name="mine:Smae") == smae


@pytest.mark.parametrize("wrong", [3, object, "net"])
def test_what_is_no_method_is_refused(wrong):
    with pytest.raises(ValueError, match=r"--method mine:it: expected an object with pair"):
        adapted(wrong, name="mine:it")


# --- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_a_pair_uses_no_key_twice_and_keys_make_pairs(name):
    """`jax_debug_key_reuse` is on in tests: a key that is used twice raises, outside of jit too."""
    assert jax.config.jax_debug_key_reuse
    method = build_method(TrainConfig(method=name))
    repeats = "repeats" in method.needs or method.whole
    data = scan_of(center=None if repeats else (9.5, 11.5))
    method = method.settled(data)
    reference = scan_of(center=None) if "reference" in method.needs else None
    placed = placing.place(data, method, patch=8, reference=reference)
    batch = placing.draw(jax.random.key(0), placed, batch_size=1 if method.whole else 8)
    for pair in (method.pair, jax.jit(method.pair)):
        first, again, other = (pair(jax.random.key(seed), batch) for seed in (1, 1, 2))
        jax.tree.map(np.testing.assert_array_equal, first, again)
        assert any(
            (np.asarray(a) != np.asarray(b)).any()
            for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True)
        )
        key = jax.random.key(3)
        pair(key, batch)
        with pytest.raises(jax.errors.KeyReuseError):  # it was used: none is left to draw with
            jax.random.normal(key)
