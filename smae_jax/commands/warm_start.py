"""Fine-tuning: start a training from the parameters of another run, if the two fit.

Only parameters are taken over. Optimizer, learning rate, schedule and data are the new run's own, and so is
the unit of rate: with the rules `scan` and `frame` it is the new frames' mean, so the network sees rates
about 1 as it did in its base, whatever the exposure of either scan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from smae_jax import models
from smae_jax.commands.build import build_method
from smae_jax.commands.build_repeats import of_repeats
from smae_jax.commands.infer import load_network
from smae_jax.config import TrainConfig
from smae_jax.run_folder import RunFolder

Say = Callable[[str], None]
# Methods that ask the same of a network: a rate and its exposure in, the rate out.
EXCHANGEABLE = frozenset({"smae", "supervised"})


@dataclasses.dataclass(frozen=True)
class Base:
    """What a training starts from.

    Attributes:
      config: what it was trained with.
      parameters: float32 pytree of numpy arrays.
      step: of the base's training.
      mean_counts: counts per pixel of its scan, where it had one.
    """

    config: TrainConfig
    parameters: Any
    step: int
    mean_counts: float | None


def read_base(config: TrainConfig, say: Say) -> Base | None:
    """Read the parameters that `--init-from` names; None where nothing is named.

    Args:
      config: options of the new run.
      say: receives every line that a person should read.

    Raises:
      ValueError: in one line, if there is no such run or checkpoint, or if network, method or scale differ.
    """
    if not config.init_from:
        return None
    folder = RunFolder(Path(config.init_from))
    if folder.path.absolute() == Path(config.run).absolute():
        raise ValueError(
            f"--init-from {config.init_from}: is the new run itself; name another --run, or go on with it "
            "with --resume"
        )
    if not (folder.path / "config.toml").is_file():
        raise ValueError(
            f"--init-from {config.init_from}: no run there (config.toml is missing); give a folder made by "
            "'smae-jax train' or 'smae-jax import-torch'"
        )
    base = folder.config()
    refuse_differences(base, config)
    try:
        _, parameters, step = load_network(base, folder, config.init_checkpoint)
    except ValueError as error:
        raise ValueError(
            f"--init-from: {str(error).replace('--checkpoint', '--init-checkpoint')}"
        ) from None
    say(f"starting from {folder.path}, step {step}; fresh optimizer, peak {config.peak_rate:g}")
    if base.method != config.method:
        say(f"method {config.method} fine-tunes a network of method {base.method}")
    if base.smae.reference != (config.method == "smae" and config.smae.reference):
        say(
            "note: base and new run mask zero counts differently (smae.reference), so the network sees "
            "other inputs than before"
        )
    return Base(base, parameters, step, folder.prepared().mean_counts)


def refuse_differences(base: TrainConfig, config: TrainConfig) -> None:
    """Refuse a base that does not fit, saying what differs."""
    differ = differences(base, config)
    if differ:
        raise ValueError(
            f"--init-from {config.init_from}: does not fit the new run: {'; '.join(differ)}; "
            "use the base's settings, or train from scratch"
        )


def differences(base: TrainConfig, new: TrainConfig) -> list[str]:
    """Say which settings keep the parameters of one run from meaning the same in another."""
    pairs: list[tuple[str, Any, Any]] = [
        ("model", base.model, new.model),
        ("data", _kind_of_data(base), _kind_of_data(new)),
        ("data.scale", base.data.scale, new.data.scale),
    ]
    if base.method != new.method and not {base.method, new.method} <= EXCHANGEABLE:
        pairs.append(("method", base.method, new.method))
    if base.model == new.model == "unet":
        pairs += [
            ("unet.widths", base.unet.widths, new.unet.widths),
            ("unet.blocks", base.unet.blocks, new.unet.blocks),
        ]
    channels = build_method(base).source_channels, build_method(new).source_channels
    pairs.append(("channels of the source", *channels))
    return [f"{name} {there} there, {here} here" for name, there, here in pairs if there != here]


def _kind_of_data(config: TrainConfig) -> str:
    return "repeats" if of_repeats(config) else "frames of a scan"


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
    before = base.mean_counts
    if before is None or 0.5 < mean_counts / before < 2:
        return None
    return (
        f"note: {mean_counts:.3g} counts per pixel here, {before:.3g} in the base's training; its own mean "
        "is the unit of its rates, but the noise that the network knows is another"
    )


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
