"""Fine-tuning: start a training from the parameters of another run, if the two fit.

Only parameters are taken over. Optimizer, learning rate, schedule and data are the new run's own, and so is
the unit of rate: with the rules `scan` and `frame` it is the new frames' mean, so the network sees rates
about 1 as it did in its base, whatever the exposure of either scan.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from smae_jax import models
from smae_jax.config import TrainConfig
from smae_jax.errors import UserError
from smae_jax.methods.protocol import KINDS, Method, Say
from smae_jax.run.build import build_method
from smae_jax.run.folder import RunFolder, Survey
from smae_jax.run.restore import read_parameters


@dataclasses.dataclass(frozen=True)
class Base:
    """What a training starts from.

    Attributes:
      config: what it was trained with.
      parameters: float32 pytree of numpy arrays.
      step: of the base's training.
      survey: what its training found out.
    """

    config: TrainConfig
    parameters: Any
    step: int
    survey: Survey


def read_base(config: TrainConfig, say: Say) -> Base | None:
    """Read the parameters that `--init-from` names; None where nothing is named.

    Args:
      config: options of the new run.
      say: receives every line that a person should read.

    Raises:
      UserError: in one line, if there is no such run or checkpoint, or if network, method or scale differ.
    """
    if not config.init_from:
        return None
    folder = RunFolder(Path(config.init_from))
    if folder.path.absolute() == Path(config.run).absolute():
        raise UserError(
            f"--init-from {config.init_from}: is the new run itself; name another --run, or go on with it "
            "with --resume"
        )
    if not (folder.path / "config.toml").is_file():
        raise UserError(
            f"--init-from {config.init_from}: no run there (config.toml is missing); give a folder made by "
            "'smae-jax train' or 'smae-jax import-torch'"
        )
    base, survey = folder.config(), folder.survey()
    _refuse(config, differences(base, config))
    try:
        parameters, step = read_parameters(folder, config.init_checkpoint)
    except UserError as error:
        raise UserError(
            f"--init-from: {str(error).replace('--checkpoint', '--init-checkpoint')}"
        ) from None
    say(f"starting from {folder.path}, step {step}; fresh optimizer, peak {config.peak_rate:g}")
    if base.method != config.method:
        say(f"method {config.method} fine-tunes a network of method {base.method}")
    if base.smae.reference != config.smae.reference:
        say(
            "note: base and new run mask zero counts differently (smae.reference), so the network sees "
            "other inputs than before"
        )
    return Base(base, parameters, step, survey)


def refuse_base(
    base: Base, config: TrainConfig, method: Method, *, axes: int, centred: bool
) -> None:
    """Refuse a base that does not fit what the new run settled on, saying what differs.

    Args:
      base: the base.
      config: options of the new run, as they were settled.
      method: of the new run, settled.
      axes: of its measurements.
      centred: whether they are patterns about a beam centre.
    """
    differ = differences(base.config, config)
    there, here = _kind(base.survey), f"{KINDS[axes]}{' about a centre' if centred else ''}"
    if there is not None and there != here:
        differ.append(f"data {there} there, {here} here")
    channels = build_method(base.config).source_channels
    if channels != method.source_channels and "repeats" not in method.needs:
        differ.append(f"channels of the source {channels} there, {method.source_channels} here")
    _refuse(config, differ)


def _refuse(config: TrainConfig, differ: list[str]) -> None:
    if differ:
        raise UserError(
            f"--init-from {config.init_from}: does not fit the new run: {'; '.join(differ)}; "
            "use the base's settings, or train from scratch"
        )


def _kind(survey: Survey) -> str | None:
    """Return what a run's data were, as far as it had some."""
    if survey.frame_shape is None:
        return None
    about = " about a centre" if survey.center is not None else ""
    return f"{KINDS[len(survey.frame_shape)]}{about}"


def differences(base: TrainConfig, new: TrainConfig) -> list[str]:
    """Say which settings keep the parameters of one run from meaning the same in another."""
    pairs: list[tuple[str, Any, Any]] = [
        ("model", base.model, new.model),
        ("data.scale", base.data.scale, new.data.scale),
    ]
    asked = build_method(base).asks, build_method(new).asks
    if base.method != new.method and not (asked[0] and asked[0] == asked[1]):
        pairs.append(("method", base.method, new.method))
    if base.model == new.model == "unet":
        pairs += [
            ("unet.widths", base.unet.widths, new.unet.widths),
            ("unet.blocks", base.unet.blocks, new.unet.blocks),
        ]
    return [f"{name} {there} there, {here} here" for name, there, here in pairs if there != here]


def take_over(parameters: Any, base: Any) -> tuple[Any, list[str], list[str]]:
    """Put the base's arrays in the place of the new network's, by name.

    Args:
      parameters: the new network's, as they would start.
      base: the base's.

    Returns:
      (parameters, names taken over, names that keep their start); arrays of equal name and shape are taken.
    """
    found = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(base)}
    taken: list[str] = []
    kept: list[str] = []

    def choose(path: tuple[Any, ...], leaf: Any) -> Any:
        name = _name(path)
        fits = name in found and np.shape(found[name]) == np.shape(leaf)
        (taken if fits else kept).append(name)
        return found[name] if fits else leaf

    return jax.tree_util.tree_map_with_path(choose, parameters), taken, kept


def taken_in_words(parameters: Any, taken: list[str], kept: list[str]) -> str:
    """Say how much was taken over, and by name what was not."""
    sizes = {_name(p): leaf.size for p, leaf in jax.tree_util.tree_leaves_with_path(parameters)}
    numbers = sum(sizes[name] for name in taken)
    rest = f"not taken over: {', '.join(kept)}" if kept else "none starts at random"
    return (
        f"took over {numbers:,} of {models.count_parameters(parameters):,} parameters "
        f"({len(taken)} of {len(sizes)} arrays, {taken[0]} to {taken[-1]}); {rest}"
        if taken
        else f"took over no parameters; {rest}"
    )


def exposure_note(base: Base, mean_counts: float) -> str | None:
    """Say so where the base was trained at another exposure: the unit of rate is each scan's own mean."""
    before = base.survey.mean_counts
    if before is None or 0.5 < mean_counts / before < 2:
        return None
    return (
        f"note: {mean_counts:.3g} counts per pixel here, {before:.3g} in the base's training; its own mean "
        "is the unit of its rates, but the noise that the network knows is another"
    )


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
