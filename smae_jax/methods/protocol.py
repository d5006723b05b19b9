"""What every method promises: how pairs are made, and how predictions become answers.

Loss, network, trainer, checkpoints and inference know a method only through this file: its two ends, and
facts that they ask for instead of its name. Arrays are spatial first, `(batch, *spatial)`; the network's own
arrays end in a channel axis, `(batch, *spatial, channel)`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeVar

import jax
from jax import Array

from smae_jax.errors import UserError
from smae_jax.measurements import Measurements

Predict = Callable[[Array], Array]
"""(batch, *spatial, channel) source -> (batch, *spatial, output) rate, both in units of the scale."""
Region = Literal["half", "across", "frame"]
"""Where patches lie: within one half-plane, as small but anywhere, or anywhere."""
Need = Literal["symmetry", "repeats", "reference", "counts"]
"""What the measurements must bring: a beam centre, repeats, a paired reference, photon counts."""
Say = Callable[[str], None]
"""Receives every line that a person should read."""
Own = TypeVar("Own", bound="Method")


def silent(line: str) -> None:
    """Say nothing."""
    del line


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Frames, or patches of frames, with the same pixels' partners beside them.

    Attributes:
      counts: photons, (batch, *spatial), float32; 0 where invalid.
      exposure: full frames behind each pixel, (batch, *spatial), float32; 0 where invalid.
      partner_counts: counts of the pixel turned by 180 degrees about the beam centre, as `counts`; of data
        with channels and without symmetry, their mean over all channels.
      partner_exposure: exposure of that pixel; 0 where it is invalid or off the detector.
      scale: counts per full frame that one unit of rate stands for, (batch,), float32.
      eligible: 1 where a pixel may be a target in this call, else 0, (batch, *spatial), float32. It parts
        training pixels from held-out ones and is the same for a pixel and its partner.
      reference_counts: photons of a paired measurement, or of all other repeats, as `counts`; or None.
      reference_exposure: full frames behind them, in frames of `counts`; 0 where invalid.
      identity: a number of its own for every pixel of every frame, uint32, as `counts`; None where nothing
        is drawn for pixels.
      partner_identity: of the turned pixel.
    """

    counts: Array
    exposure: Array
    partner_counts: Array
    partner_exposure: Array
    scale: Array
    eligible: Array
    reference_counts: Array | None = None
    reference_exposure: Array | None = None
    identity: Array | None = None
    partner_identity: Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pair:
    """What one training step sees; rates in units of the scale.

    Attributes:
      source: the network's input, (batch, *spatial, channel): of each measurement its rate and its exposure.
      target: an independent measurement of the rate, (batch, *spatial, output); 0 where the weight is.
      weight: the target's exposure, (batch, *spatial, output); 0 keeps a pixel out of loss and gradient.
      shift: where the target's grid lies beside the source's, (batch, output, 2) pixels: the trainer
        displaces each predicted rate by it before the loss sees it. None = all grids are one.
    """

    source: Array
    target: Array
    weight: Array
    shift: Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Answers:
    """Expected counts of full frames, in the orientation of what was asked.

    Attributes:
      counts: per unit of exposure, (frames, *spatial), float32; NaN where `known` is False.
      known: whether there is an answer, bool, as `counts`.
      filled: whether the answer stands on the partner alone, the pixel itself being invalid, bool.
      variance: the jackknife's estimate of what photon noise does to the answer, as `counts`; None where it
        was not asked for.
      kept: where the answer is what was counted, bool, as `counts`; None where that was not asked.
      sigma: one standard deviation of the answer, as `counts`; None where it was not asked for.
      replicas: what plausible answers differ by from `counts`, (number, *counts' shape), float16; None where
        they were not asked for.
      again: measurements -> answers to others by the same network, such as a part of the photons; of some
        frames alone with their indices as `frames`; with `leave_out`, see `inference.Predictor`; None where
        that cannot be.
      done: stages that the answers went through after the network, with what each did in words.
    """

    counts: Any
    known: Any
    filled: Any
    variance: Any = None
    kept: Any = None
    sigma: Any = None
    replicas: Any = None
    again: Callable[..., Answers] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    done: tuple[tuple[str, str], ...] = dataclasses.field(default=(), metadata={"static": True})

    def after(self, stage: str, what: str, **changed: Any) -> Answers:
        """Return the answers as a stage leaves them; `what` it did, in words."""
        return dataclasses.replace(self, done=(*self.done, (stage, what)), **changed)


class Method:
    """A frozen dataclass with two pure functions, and facts that others ask for instead of its name.

    A method of your own needs `pair` and `denoise`; every fact has a default.

    Facts:
      needs: what the measurements must bring.
      axes: numbers of spatial axes that it takes.
      answers: "each" frame has an answer of its own, or all repeats have "one".
      whole: an example is the whole measurement: all repeats added up, every pixel, one a step.
      extent: train on pixels whose partner lies on the detector ("common") or on the whole frame.
      region: where patches lie.
      outputs: rates that the network answers with: those of the first measurements of the source.
      source_channels: length of the channel axis of `Pair.source`: two for each measurement.
      sees_exposure: whether training varies the exposure of the source, so that the network knows it.
      sees_measurement: whether the source shows the measurement, which motions and rates have a meaning for.
      error_bars: found by leaving out "photons" or "repeats", or not at all.
      rules: ways to put the two views of a pixel together; () = it has one view.
      asks: a name for what it asks of a network, where several methods ask the same: the parameters of one
        serve the others; "" = it shares them with none.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    axes: tuple[int, ...] = (1, 2, 3)
    answers: Literal["each", "one"] = "each"
    whole: bool = False
    extent: Literal["common", "all"] = "all"
    region: Region = "frame"
    outputs: int = 1
    source_channels: int = 2
    sees_exposure: bool = False
    sees_measurement: bool = True
    error_bars: Literal["photons", "repeats"] | None = "photons"
    rules: tuple[str, ...] = ()
    asks: str = ""

    def pair(self, key: Array, batch: Batch) -> Pair:
        """Make source, target and weight of one step; `key` is a typed random key."""
        raise NotImplementedError

    def denoise(self, predict: Predict, batch: Batch) -> Answers:
        """Turn predictions on a batch of whole canvases into expected counts."""
        raise NotImplementedError

    def settled(self: Own, data: Measurements, *, say: Say = silent) -> Own:
        """Return the method with everything chosen that it left to the measurements.

        Args:
          data: what it is trained on or applied to; with its centre, if it has one.
          say: receives every line that a person should read.

        Raises:
          UserError: if they are not what the method needs.
        """
        check_needs(self, data)
        return self

    def with_rule(self: Own, rule: str) -> Own:
        """Return the method with another rule for the two views of a pixel; "run" keeps it.

        Raises:
          UserError: if it does not know the rule.
        """
        if rule == "run" or (rule == "direct" and not self.rules):
            return self
        if rule not in self.rules:
            known = ", ".join(self.rules)
            expected = f"expected {known}" if known else "the method has one view of a pixel"
            raise UserError(f"--rule {rule}: {expected}; leave the option out")
        return dataclasses.replace(self, rule=rule)  # type: ignore[type-var]


def check_needs(method: Method, data: Measurements) -> None:
    """Refuse measurements that a method cannot learn from.

    Raises:
      UserError: in one line, with what to do.
    """
    name, source = name_of(method), data.origin.source
    axes = len(data.spatial)
    center = data.center
    if "symmetry" in method.needs and center is not None and not center.trusted:
        raise UserError(
            f"--method {name}: needs a pixel's partner, and {source} has no such: {center.reason}; give the "
            "right centre with --data.center (of infer: --center), or use --method thinning"
        )
    if axes not in method.axes or ("symmetry" in method.needs and data.center is None):
        raise UserError(
            f"--method {name}: is for centro-symmetric patterns, and {source} holds "
            f"{KINDS[axes]} without a beam centre; use noise2noise, thinning, noise2void, deep_image_prior "
            "or supervised, or leave --data.dimensions out"
        )
    if "repeats" in method.needs and data.frames < 2:
        raise UserError(
            f"--method {name}: expected at least 2 repeats, got {data.frames} in {source}; use method "
            "thinning or noise2void for a single one"
        )


KINDS = {1: "spectra", 2: "patterns", 3: "volumes"}
"""What measurements of so many axes are called."""


def name_of(method: Method) -> str:
    """Return a method's name as options have it: `DeepImagePrior` -> `deep_image_prior`."""
    if called := getattr(method, "called", ""):  # a user's own
        return called
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", type(method).__name__).lower()
