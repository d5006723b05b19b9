"""`smae-jax train`: from files to a run folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from smae_jax.cautions import cautions, counted, not_counts
from smae_jax.config import TrainConfig
from smae_jax.config_file import flat
from smae_jax.counting import judged
from smae_jax.errors import UserError
from smae_jax.io.reading import describe_mask
from smae_jax.io.writing import refuse_input
from smae_jax.measurements import Measurements, mean_rate
from smae_jax.methods.protocol import KINDS, Method, Say
from smae_jax.noise import Noise
from smae_jax.outliers import take_out
from smae_jax.placing import Placed, Placing, place
from smae_jax.polar import Polar
from smae_jax.run.build import (
    build_loss,
    build_method,
    build_network,
    fitting,
    keep_settled,
    may_be_fitted,
    noise_in_words,
    noise_of,
    with_noise,
)
from smae_jax.run.checkpoint import Checkpoints
from smae_jax.run.data import check_reference, read_data, read_reference
from smae_jax.run.fine_tuning import Base, exposure_note, read_base, refuse_base
from smae_jax.run.fit import Training, check_memory, check_own, fit_in_folder
from smae_jax.run.folder import RunFolder, Survey
from smae_jax.run.lock import held
from smae_jax.run.polar import bins_of, config_of, folder_of
from smae_jax.splitting import check_splittable
from smae_jax.training import mesh_for

FOUND_OUT = (
    ("thinning.partner", "auto"),
    ("data.dimensions", 0),
    ("data.marks", "auto"),
    ("data.noise", "auto"),
)
"""Options that leave to the data what a run then keeps."""


def train(config: TrainConfig, say: Say, *, data: Measurements | None = None) -> Path:
    """Train a denoiser as the options say, or go on with a training.

    Args:
      config: the options.
      say: receives every line that a person should read.
      data: measurements at hand; None = they are read as `config.data` says.

    Returns:
      The run folder.

    Raises:
      UserError: in one line, for anything that a user can mend.
    """
    folder = _folder(config, at_hand=data is not None)
    with held(folder.path):
        if config.resume:
            folder.take_back()
            config = resumed(config, folder)
        else:
            folder.refuse(overwrite=config.overwrite)
        return _train(config, folder, say, data)


def _train(config: TrainConfig, folder: RunFolder, say: Say, data: Measurements | None) -> Path:
    """Train in a folder that no other process trains in."""
    method = build_method(config)
    build_loss(config)  # refused before anything is read, if it is
    _check(config, method)
    base = None if config.resume else read_base(config, say)
    if data is None:
        options = dataclasses.replace(config.data, noise=config.noise)
        data = read_data(options, symmetric="repeats" not in method.needs and not method.whole)
    else:
        if "repeats" in method.needs or method.whole:  # a scan is taken for repeats of one pattern
            data = dataclasses.replace(data, center=None)
        data = judged(data, config.noise)
    warned = cautions(data, polarity=config.data.mask_polarity)
    measured = "repeats" in method.needs or config.thinning.gaussian is not None
    odd = not_counts(data, loss=config.loss, noise_measured=measured)
    for line in (*data.origin.notes, *odd, *warned):
        say(line)
    config = fitting(config, method, data, say)
    method = build_method(config)
    data, reference = read_reference(config, method, data, say)
    data = _calm(config, data, say)
    if data.center is not None and data.are_counts:
        check_splittable(data.counts, data.origin.source)
    method = method.settled(data, say=say)
    config = _settled(config, method, data)
    noise = noise_of(config, method, data)
    method = with_noise(method, noise)
    placed = place(data, method, reference=reference, how=_placing(config, method))
    scale = float(np.mean(placed.scale))
    survey = _survey(config, data, scale, noise, reference, base)
    if base is not None:
        centred = data.center is not None
        refuse_base(base, config, method, axes=len(data.spatial), centred=centred)
        if note := exposure_note(base, survey.mean_counts or 0.0):
            say(note)
    for line in _in_words(config, method, data, placed, noise):
        say(line)
    work = _work(config, method, data, placed, noise, say, base=base)
    second = _second(config, folder, data, method, say) if config.train.polar else None
    _fit(config, folder, work, survey, say, data=data)
    if second is not None:
        second.train(say)
    # Matplotlib takes as long to start as JAX: the first step does not wait for it.
    from smae_jax.figures import save
    from smae_jax.figures.losses import loss_figure

    save(loss_figure(folder.metrics), folder.figures / "loss.png", overwrite=True)
    say(
        f"{folder.path}: trained; denoise with 'smae-jax infer --run {folder.path} --input ... --output ...'"
    )
    return folder.path


def _work(
    config: TrainConfig,
    method: Method,
    data: Measurements,
    placed: Placed,
    noise: Noise,
    say: Say,
    *,
    base: Base | None = None,
) -> Training:
    """Put a training together; what speaks against it is found before any work."""
    scale = float(np.mean(placed.scale))
    net = build_network(
        config,
        method,
        axes=len(data.spatial),
        centred=data.center is not None,
        scale=scale,
        noise=noise,
    )
    work = Training(method, net, build_loss(config, noise, scale), placed, base)
    check_own(config, work)
    check_memory(config, work, say)
    return work


def _fit(
    config: TrainConfig,
    folder: RunFolder,
    work: Training,
    survey: Survey,
    say: Say,
    *,
    data: Measurements | None = None,
) -> None:
    """Train in a folder that is made for it, with the mask of `data`, or go on there."""
    if config.resume:
        folder.go_on(config, survey)
    else:
        folder.create(config, survey, data)
    fit_in_folder(config, folder, work, say)


@dataclasses.dataclass(frozen=True)
class _Second:
    """The second network of a run, ready to be trained."""

    config: TrainConfig
    folder: RunFolder
    work: Training
    survey: Survey
    layout: Polar

    def train(self, say: Say) -> None:
        """Train it, or go on with it."""
        radii, azimuths = self.layout.radii, self.layout.azimuths // 2
        say(
            f"second network, in polar coordinates: {radii} radii, {azimuths} azimuths of a half turn"
        )
        _fit(self.config, self.folder, self.work, self.survey, say)


def _second(
    config: TrainConfig, run: RunFolder, data: Measurements, method: Method, say: Say
) -> _Second:
    """Make a run's second network ready; what speaks against it is found before the first is trained."""
    (layout, bins), folder = bins_of(config, data, method), folder_of(run)
    config = config_of(config, folder)
    method = build_method(config).settled(bins)
    noise = noise_of(config, method, bins)
    placed = place(bins, method, how=_placing(config, method))
    scale = float(np.mean(placed.scale))
    work = _work(config, method, bins, placed, noise, say)
    return _Second(config, folder, work, _survey(config, bins, scale, noise, None, None), layout)


def _folder(config: TrainConfig, *, at_hand: bool) -> RunFolder:
    """Return the run's folder, or refuse to train there or on nothing, before anything is touched."""
    if not config.run:
        raise UserError("--run: expected a folder for the results, got none; try --run runs/first")
    folder = RunFolder.to_write(config.run)
    if config.resume:
        if not folder.set_aside.is_dir():  # it may come back
            folder.config()  # says what is wrong, if there is no run
        return folder
    if not config.data.path and not at_hand:
        raise UserError("--data.path: expected files of frames, got none; see --help")
    options = config.data
    inputs = (
        *(options.path, *options.mask, options.reference, options.monitor, options.geometry),
        *(options.dark, options.flat),
    )
    refuse_input(config.run, *inputs, option="--run")
    return folder


def resumed(config: TrainConfig, folder: RunFolder) -> TrainConfig:
    """Return the options to go on with: the run's own; only the number of steps may be raised.

    Raises:
      UserError: if there is nothing to go on with, or another option is asked for.
    """
    own, steps = folder.config(), Checkpoints(folder.checkpoints).steps()
    if not steps:
        raise UserError(
            f"--resume: {folder.path} has no checkpoint yet; start it again with --overwrite"
        )
    asked, kept = flat(config), flat(own)
    found_out = (*FOUND_OUT, *([("method", TrainConfig().method)] if may_be_fitted(own) else []))
    for name in sorted(asked.keys() - {"run", "config", "resume", "overwrite", "train.steps"}):
        if asked[name] != kept[name] and (name, asked[name]) not in found_out:
            raise UserError(
                f"--{name.replace('_', '-')}: {folder.path} was started with {kept[name]!r} and goes on "
                f"with it, not with {asked[name]!r}; leave the option out, or start a new run"
            )
    if config.train.steps < max(own.train.steps, steps[-1]):
        raise UserError(
            f"--train.steps {config.train.steps}: expected {max(own.train.steps, steps[-1])} or more with "
            f"--resume; {folder.path} has done {steps[-1]} steps"
        )
    kept_options = {"method": own.method, "thinning": own.thinning, "data": own.data}
    return dataclasses.replace(config, overwrite=False, **kept_options)


def _check(config: TrainConfig, method: Method) -> None:
    """Refuse options that contradict each other, before anything is read."""
    check_reference(config, method)
    if config.smae.reference and not getattr(method, "reference", False):
        raise UserError(
            f"--smae.reference: expected --method smae, whose published rule it is, got {config.method}; "
            "add --method smae, or leave the option out"
        )
    mesh_for(1 if method.whole else config.train.batch_size, devices=config.train.devices)


def _settled(config: TrainConfig, method: Method, data: Measurements) -> TrainConfig:
    """Return the options with what was found out: a run is applied as it was trained."""
    config = keep_settled(config, method)
    options = config.data
    if data.integrated is not None:
        noise = "integrated" if data.integrated else "photons"
        options = dataclasses.replace(options, noise=noise)
    if options.marks == "auto":
        options = dataclasses.replace(options, marks=data.origin.marks)
    config = dataclasses.replace(config, data=options)
    if data.center is not None:
        return config
    options = dataclasses.replace(config.data, dimensions=len(data.spatial))
    return dataclasses.replace(config, data=options)


def _calm(config: TrainConfig, data: Measurements, say: Say) -> Measurements:
    """Take out of frames what stands out in them, unless it is to be kept, and say so."""
    calm = data if config.data.outliers == "keep" else take_out(data)
    if calm.outliers is not None:
        frames = len(np.unique(calm.outliers.places[:, 0]))
        say(
            f"{len(calm.outliers.counts)} counts in {frames} frames stand out, up to "
            f"{calm.outliers.counts.max():g}: not trained on (--data.outliers keep does)"
        )
    return calm


def _placing(config: TrainConfig, method: Method) -> Placing:
    options = config.train
    prior = config.deep_image_prior.held_out
    return Placing(
        patch=options.patch,
        square=config.data.augment == "d4",
        crop=config.data.crop,
        scale=config.data.scale,
        held_out=options.validation,
        share=prior if method.whole else options.validation_share,
        seed=config.seed,
        outliers=config.data.outliers == "keep",
    )


def _survey(
    config: TrainConfig,
    data: Measurements,
    scale: float,
    noise: Noise,
    reference: Measurements | None,
    base: Base | None,
) -> Survey:
    """Write down what inference will need."""
    ratio = None if reference is None else float(np.mean(reference.frame_exposure))
    return Survey(
        center=data.center,
        frame_shape=data.spatial,
        scale=scale,
        mean_counts=mean_rate(data.channels_first, data.exposure),
        frames=data.frames,
        init_step=None if base is None else base.step,
        reference_exposure=ratio,
        noise=noise,
        geometry=data.geometry if config.data.geometry else None,
    )


def _in_words(
    config: TrainConfig, method: Method, data: Measurements, placed: Placed, noise: Noise
) -> list[str]:
    """Say what was understood and chosen, a line each."""
    kind = "frames" if data.center is not None else KINDS[len(data.spatial)]
    shape = " x ".join(map(str, data.spatial))
    channels = f" of {data.counts.shape[-1]} channels" if data.channels else ""
    source = data.origin.source if data.center is None else data.names[0]
    following = " and following" if data.center is not None and data.frames > 1 else ""
    lines = [
        f"{counted(data.frames, kind)} of {shape}{channels}, {data.origin.dtype}, from {source}{following}"
    ]
    if len(data.spatial) == 2:
        lines.append(describe_mask(data))
    elif not data.valid.all():
        lines[0] += f"; {100 * (1 - data.valid.mean()):.2f} % not measured"
    if data.center is not None:
        known = "; ".join(data.geometry.in_words())
        geometry = [f"geometry: {known}"] if known else []
        lines += [data.center.in_words(), *data.center.warnings(), *geometry]
    else:
        measured = "repeats" in method.needs and data.frames > 2
        lines.append(noise_in_words(noise, measured=measured))
    strategy = getattr(method, "strategy", "")
    size = 1 if method.whole else config.train.batch_size
    lines.append(
        f"method {config.method}{' ' * bool(strategy)}{strategy}, scale: {config.data.scale} "
        f"({np.mean(placed.scale):.4g} counts per value), moved by: {config.data.augment}, examples of "
        f"{' x '.join(map(str, placed.patch))}, {size} a step"
    )
    return lines
