"""A run applied to measurements: its parameters restored, its method settled, and the same stages for all.

`infer` and `evaluate` open a run through this file, so that what is judged is what is written.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from smae_jax import blocks, finishing, models
from smae_jax.cautions import counted
from smae_jax.config import (
    ApplyOptions,
    DataOptions,
    JudgeOptions,
    SomeFrames,
    TrainConfig,
    check_ensemble,
    parse_center,
)
from smae_jax.config_file import dump
from smae_jax.counting import judged
from smae_jax.errors import UserError
from smae_jax.finishing import Stage
from smae_jax.finishing.replicas import in_memory
from smae_jax.inference import Predictor, answered, in_tiles
from smae_jax.io.monitor import with_monitor
from smae_jax.io.parts import checksum
from smae_jax.io.reading import choose_frames, masked, with_masks
from smae_jax.measurements import Measurements, mean_rate
from smae_jax.memory import parse_memory
from smae_jax.methods.protocol import Answers, Method, Say
from smae_jax.one_heap import LARGE, large_in_heap
from smae_jax.outliers import mask_outliers, take_out
from smae_jax.polar import layout_of, polar_of
from smae_jax.run.build import build_method, build_network
from smae_jax.run.checkpoint import Checkpoints, on_first_device
from smae_jax.run.data import FEWEST, as_settled, calibrated, how_settled, read_files
from smae_jax.run.folder import RunFolder, Survey
from smae_jax.run.large import TELLING, Large, open_large
from smae_jax.run.polar import SecondNetwork, folder_of, why_no_bins
from smae_jax.splitting import LARGEST, check_splittable
from smae_jax.survey import center_of, find_hot_pixels, frame_scales, given
from smae_jax.version import version

_OF_BOTH = re.compile(
    r"--data\.(center|marks|mask|mask-polarity|monitor|memory|missing|noise|repeats|dark|flat)\b"
)
"""Options of a training that applying a run has too."""


@dataclasses.dataclass(frozen=True)
class Opened:
    """A run with the measurements that it is applied to.

    Attributes:
      folder: of the run.
      config: its options.
      survey: what its training found out.
      data: measurements, masked, with the centre.
      predictor: network and method, settled on the data.
      parameters: of the network.
      step: of the checkpoint.
      scale: counts per unit of rate, of every frame.
      stages: that answers go through, without error bars.
      polar: the run's second network; None where it has none, or none is asked for.
      large: reads the frames of a scan that does not fit into memory; `data` are some of them then.
      block: most frames that are denoised together.
      seed: of the halves of the photons that stages judge by.
    """

    folder: RunFolder
    config: TrainConfig
    survey: Survey
    data: Measurements
    predictor: Predictor
    parameters: Any
    step: int
    scale: np.ndarray
    stages: tuple[Stage, ...]
    polar: SecondNetwork | None = None
    large: Large | None = None
    block: int = blocks.FRAMES
    seed: int = 0

    @property
    def method(self) -> Method:
        """The run's method, settled on the data."""
        return self.predictor.method

    def answers(
        self,
        data: Measurements | None = None,
        *,
        sigma: bool = False,
        progress: Callable[..., Any] = iter,
    ) -> Answers:
        """Answer the data, or a part of their photons, and take the answers through the stages.

        Args:
          data: frames of `self.data`, or parts of their photons; None = `self.data`.
          sigma: whether error bars are wanted.
          progress: wraps the starts of batches.
        """
        whole = data is None
        data = self.data if data is None else data
        if finishing.put_back in self.stages:
            data = take_out(data)
        scale = self.scale
        if not whole and not self.config.data.scale.startswith("scan"):
            scale = frame_scales(data, rule=self.config.data.scale)
        elif len(scale) != data.frames:
            scale = scale[: data.frames]
        if data.center is not None and data.are_counts:
            check_splittable(data.counts, data.origin.source)
        stages = (*self.stages, finishing.error_bars) if sigma else self.stages
        polar = self.polar and dataclasses.replace(self.polar, progress=progress)
        # Arrays that are not large lie there anyhow, and those of error bars stay long.
        often = 4 * data.counts.size >= LARGE and not in_tiles(data.spatial) and not sigma
        with large_in_heap(often):
            found = answered(self.predictor, self.parameters, data, scale=scale, progress=progress)
            return finishing.finish(
                found, data, stages=stages, key=jax.random.key(self.seed), polar=polar
            )

    def with_replicas(
        self,
        answers: Answers,
        *,
        number: int,
        room: Callable[[tuple[int, ...]], np.ndarray] = in_memory,
        progress: Callable[..., Any] = iter,
    ) -> Answers:
        """Return answers to `self.data` with replicas beside them, see `finishing.replicas`."""
        return finishing.with_replicas(
            jax.random.key(self.seed),
            answers,
            self.data,
            functools.partial(self.answers, progress=progress),
            number=number,
            room=room,
        )

    def of_block(self, which: slice) -> Opened:
        """Return the same with the frames of one block of a large scan, masked and centred as `data`."""
        if self.large is None:
            raise TypeError("the scan is not large: `data` are all of its frames")
        return self.of_frames(self.large.read(which))

    def of_frames(self, data: Measurements, *, alone: bool = False) -> Opened:
        """Return the same with other frames of this detector, masked and centred as `data`.

        Args:
          data: as read, without mask and centre.
          alone: whether scale, and what stands out, are told of each frame by that frame only.
        """
        data = as_settled(data, self.data)
        if self.config.data.outliers == "mask":
            data = mask_outliers(take_out(data, alone=alone))
        rule = self.config.data.scale
        if rule.startswith("scan"):
            scale = np.full(data.frames, self.scale[0])
        else:
            calm = _as_trained(self.config, data, alone=alone)
            frames = [calm.take([index]) for index in range(data.frames)] if alone else [calm]
            scale = np.concatenate([frame_scales(some, rule=rule) for some in frames])
        return dataclasses.replace(self, data=data, scale=scale.astype(np.float32))

    def with_checkpoint(self, wanted: str) -> Opened:
        """Return the same with another checkpoint's parameters."""
        like = parameters_like(self.predictor.net, self.method, axes=len(self.data.spatial))
        parameters, step = read_parameters(self.folder, wanted, like=like)
        polar = self.polar
        if polar is not None:
            of_second = _of_second(polar.folder, wanted, polar.predictor)
            polar = dataclasses.replace(polar, parameters=of_second)
        return dataclasses.replace(self, parameters=parameters, step=step, polar=polar)

    def depends_on(self) -> dict[str, str]:
        """Tell what answers depend on, whatever the frames: the parameters, and how frames are settled."""
        parameters = self.parameters, None if self.polar is None else self.polar.parameters
        return {
            "version": version(),
            "parameters": f"{checksum(*jax.tree.leaves(parameters)):08x}",
            "training": f"{zlib.crc32(dump(self.config).encode()):08x}",
            **how_settled(self.data),
        }

    def made_by(self, done: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Return what an output remembers of the run that made it, and of the stages that it went through."""
        return {
            "program": "smae_jax",
            "version": version(),
            "run": str(self.folder.path),
            "step": str(self.step),
            "ensemble": self.predictor.group,
            "stages": " ".join(stage for stage, _ in done),
            "config": dump(self.config),
            **dict(done),
        }


def open_run(options: ApplyOptions, say: Say, *, data: Measurements | None = None) -> Opened:
    """Read a run, and the measurements that it is applied to.

    Args:
      options: which run, which frames, which checkpoint, and how predictions are put together.
      say: receives every line that a person should read.
      data: measurements at hand; None = they are read from `options.input`.

    Raises:
      UserError: in one line, for anything that a user can mend.
    """
    try:
        return _open_run(options, lambda line: say(_of_infer(line)), data)
    except UserError as error:
        raise UserError(_of_infer(str(error))) from error


def _of_infer(text: str) -> str:
    """Call options by the names that they have where a run is applied: `--center`, not `--data.center`."""
    return _OF_BOTH.sub(r"--\1", text).replace(" (of infer: --center)", "")


def _open_run(options: ApplyOptions, say: Say, data: Measurements | None) -> Opened:
    folder = RunFolder(Path(options.run))
    config, survey = folder.config(), folder.survey()
    wanted = config.predict.ensemble if options.ensemble == "run" else options.ensemble
    group = check_ensemble(wanted, trained=config.data.augment)
    large, block = None, blocks.FRAMES
    if data is None:
        large = open_input(options, config, survey)
        if large is None:
            data = read_input(options, config)
        else:
            block = block_of(options, config, survey)(large.pixels)
            some = isinstance(options, SomeFrames)
            count = block if some else min(block, TELLING)
            data = large.some(count, "are judged" if some else "tell mask and scale of all")
        data = calibrated_as_run(options, folder, config, data)
        for note in data.origin.notes:
            say(note)
    else:
        data = calibrated_as_run(options, folder, config, data)
    _refuse_frames(options, survey, data)
    data = _masked(options, folder, survey, data, say)
    data = _centred(options, config, survey, data, say)
    data = judged(data, config.noise if options.noise == "run" else options.noise)
    data = _without_faults(config, data, say)
    method = build_method(config).with_rule(options.rule)
    method = method.settled(_as_counts(data, config))
    _check_whole(method, survey, data)
    _refuse_idle(options, method, data)
    net = build_network(
        config,
        method,
        axes=len(data.spatial),
        centred=data.center is not None,
        scale=survey.scale or 1.0,
        noise=survey.noise,
    )
    parameters, step = read_parameters(
        folder, options.checkpoint, like=parameters_like(net, method, axes=len(data.spatial))
    )
    predictor = Predictor(
        net,
        method,
        group=cast(Any, group if method.sees_measurement else "none"),
        conserve_totals=config.predict.conserve_totals,
        batch_size=options.batch_size or config.predict.batch_size,
    )
    return Opened(
        folder=folder,
        config=config,
        survey=survey,
        data=data,
        predictor=predictor,
        parameters=parameters,
        step=step,
        scale=_scale(options, config, survey, data, say),
        stages=stages_of(
            options,
            conserve_totals=config.predict.conserve_totals,
            outliers=config.data.outliers == "put_back",
        ),
        polar=_polar(options, folder, predictor, data, say) if config.train.polar else None,
        large=large,
        block=block,
        seed=options.seed,
    )


def _polar(
    options: ApplyOptions, run: RunFolder, first: Predictor, data: Measurements, say: Say
) -> SecondNetwork | None:
    """Return a run's second network; None where it has none, or the frames are not what it is for."""
    if not options.polar:
        return None
    folder, layout = folder_of(run), polar_of(data)
    if layout is None:
        say(f"WARNING: the first network answers alone, because {why_no_bins(data)}")
        return None
    mend = f"go on with 'smae-jax train --resume --run {run.path}'"
    if not folder.has_steps():
        say(
            f"WARNING: {folder.path}: the second network is not there, and the first answers alone; {mend}"
        )
        return None
    config, survey = folder.config(), folder.survey()
    done = max(Checkpoints(folder.checkpoints).steps(), default=0)
    if done < config.train.steps:
        say(
            f"WARNING: {folder.path}: the second network was stopped at step {done} of {config.train.steps}; "
            f"{mend}"
        )
    method = build_method(config).with_rule(options.rule)
    method = method.settled(layout.frames_of(_as_counts(data, config).take([0])))
    net = build_network(
        config, method, axes=2, centred=True, scale=survey.scale or 1.0, noise=survey.noise
    )
    rule = config.data.scale
    fixed = options.scale == "run" and rule.startswith("scan")
    predictor = dataclasses.replace(
        first, net=net, method=method, group="flips" if first.group == "d4" else first.group
    )
    parameters = _of_second(folder, options.checkpoint, predictor)
    return SecondNetwork(
        layout, predictor, parameters, survey.scale if fixed else None, rule, folder
    )


def _of_second(folder: RunFolder, wanted: str, predictor: Predictor) -> Any:
    """Return a second network's parameters: of the checkpoint wanted, else the best ones."""
    if wanted.isdigit():
        kept = Checkpoints(folder.checkpoints)
        wanted = wanted if int(wanted) in kept.steps() else "best"
        kept.close()
    like = parameters_like(predictor.net, predictor.method, axes=2)
    return read_parameters(folder, wanted, like=like)[0]


def stages_of(
    options: ApplyOptions, *, conserve_totals: bool = True, outliers: bool = True
) -> tuple[Stage, ...]:
    """Return the stages that the options leave in, in their order, without error bars.

    Sums of a scan, and of dark places, go with totals of frames: answers that keep no totals keep no sums.
    """
    sums = options.keep_sums and conserve_totals
    asked: dict[Any, Stage | None] = {
        finishing.combine: finishing.combine if options.combine else None,
        finishing.keep_spots: functools.partial(
            finishing.keep_spots, sigmas=options.keep_significant
        )
        if options.keep_significant
        else None,
        finishing.keep_dark: finishing.keep_dark if sums else None,
        finishing.keep_sums: finishing.keep_sums if sums else None,
        finishing.keep_shadows: finishing.keep_shadows if options.keep_shadows else None,
        finishing.keep_measured: finishing.keep_measured if options.keep_measured else None,
        finishing.conserve_totals: finishing.conserve_totals if conserve_totals else None,
        finishing.put_back: finishing.put_back if outliers else None,
    }
    chosen = (asked.get(stage) for stage in finishing.STAGES)
    return tuple(stage for stage in chosen if stage is not None)


def block_of(options: ApplyOptions, config: TrainConfig, survey: Survey) -> Callable[[int], int]:
    """Return how many frames are denoised together by a run, given the pixels of one."""
    memory, each = parse_memory(options.memory), bytes_of_pixel(options, config, survey)

    def frames(pixels: int) -> int:
        return min(blocks.FRAMES, blocks.frames_that_fit(pixels, memory, each=each))

    return frames


def bytes_of_pixel(options: ApplyOptions, config: TrainConfig, survey: Survey) -> int:
    """Return the memory that a pixel takes while a block is denoised, by one network or by two."""
    if not (config.train.polar and options.polar and survey.center and survey.frame_shape):
        return blocks.TO_DENOISE
    height, width = survey.frame_shape
    layout = layout_of((height, width), survey.center.subpixel)
    bins = math.prod(layout.spatial) / (height * width)
    return blocks.TO_DENOISE + round(blocks.TO_DENOISE_BINS * bins)


def open_input(options: ApplyOptions, config: TrainConfig, survey: Survey) -> Large | None:
    """Open the input without reading it, where it is a scan of more frames than one block; else None."""
    if survey.center is None:
        return None
    chosen = config.data.repeats if options.repeats == "run" else options.repeats
    reference = options.reference if isinstance(options, JudgeOptions) else ""
    return open_large(
        _as_read(options, config),
        options.input,
        frames="" if chosen == "all" else chosen,
        monitor=options.monitor,
        left_out=(*options.mask, reference, *files_of(options.dark, options.flat)),
        most=block_of(options, config, survey),
        choice="--repeats",
    )


def _as_read(options: ApplyOptions, config: TrainConfig) -> DataOptions:
    """Return how the run read its own measurements, where the options do not say otherwise."""
    marks = config.data.marks if options.marks == "run" else options.marks
    missing = config.data.missing if options.missing == "run" else options.missing
    return dataclasses.replace(config.data, marks=marks, missing=missing)


def read_input(options: ApplyOptions, config: TrainConfig) -> Measurements:
    """Read the measurements that a run is applied to, as it read its own."""
    chosen = config.data.repeats if options.repeats == "run" else options.repeats
    chosen = "" if chosen == "all" else chosen
    how = _as_read(options, config)
    reference = options.reference if isinstance(options, JudgeOptions) else ""
    left_out = (*options.mask, reference, *files_of(options.dark, options.flat))
    if not options.monitor:
        return read_files(how, options.input, repeats=chosen, left_out=left_out)
    data = read_files(how, options.input, repeats="", left_out=left_out)
    return choose_frames(with_monitor(data, options.monitor, "--monitor"), chosen, "--repeats")


def files_of(*given: str) -> tuple[str, ...]:
    """Return those of some options that name files, which are neither `run` nor `none`."""
    return tuple(one for one in given if one not in ("", "run", "none"))


def calibrated_as_run(
    options: ApplyOptions, folder: RunFolder, config: TrainConfig, data: Measurements
) -> Measurements:
    """Take dark frames and flat field into account: those of the options, else those of the training."""
    own = folder.calibration()

    def chosen(name: str, asked: str) -> str | np.ndarray | None:
        return own.get(name) if asked == "run" else None if asked == "none" else asked

    dark, flat = chosen("dark", options.dark), chosen("flat", options.flat)
    return calibrated(data, config.data, dark=dark, flat=flat, prefix="--")


def _refuse_frames(options: ApplyOptions, survey: Survey, data: Measurements) -> None:
    """Refuse detector frames, whose rows a run of spectra would take for spectra."""
    trained = survey.frame_shape
    if len(data.spatial) != 1 or trained is None or len(trained) != 1 or data.axis is not None:
        return
    if data.origin.leading and data.spatial != trained:
        shape = (*data.origin.leading, *data.spatial)
        raise UserError(
            f"{options.input or data.origin.source}: an array of shape {shape} without an axis, as frames of "
            f"a detector are; the run was trained on spectra of {trained[0]} channels: give it such spectra, "
            "or use a run that was trained on frames"
        )


def _masked(
    options: ApplyOptions, folder: RunFolder, survey: Survey, data: Measurements, say: Say
) -> Measurements:
    """Mask patterns by the mask that was given, else by the run's own, where it fits."""
    if len(data.spatial) != 2:
        if options.mask:
            raise UserError(
                f"--mask {' '.join(options.mask)}: is for patterns, and {options.input} holds none; "
                "leave it out"
            )
        return data
    if options.mask:
        return with_masks(data, options.mask, polarity=options.mask_polarity)
    own = folder.valid()
    if own is None and survey.frame_shape == data.spatial:
        return data  # repeats of a former version, which kept no mask
    if own is not None and own.shape == data.spatial:
        return masked(data, own, cause="run", path=str(folder.path / "mask.npz"))
    if options.center == "run" and survey.center is not None:
        raise UserError(
            f"{options.input}: frames of {data.spatial}, but the run was trained on frames of "
            f"{survey.frame_shape}; train on this detector's frames, or apply the run to them with "
            "--center auto"
        )
    say("no mask but the file's own: the run has none for these frames; give --mask")
    return data


def _centred(
    options: ApplyOptions, config: TrainConfig, survey: Survey, data: Measurements, say: Say
) -> Measurements:
    """Give patterns their centre, where the run was trained on patterns about one."""
    imported = survey.frame_shape is None
    if survey.center is None and not imported:
        if options.center != "run":
            raise UserError(
                f"--center {options.center}: the run was trained on measurements without a beam centre; "
                "leave the option out"
            )
        return data
    if len(data.spatial) != 2:
        raise UserError(
            f"{options.input}: the run was trained on patterns, got {len(data.spatial)}-D measurements; "
            "give it patterns"
        )
    if survey.geometry is not None:
        data = dataclasses.replace(data, geometry=survey.geometry.over(data.geometry))
    if options.center == "run" and survey.center is not None:
        for line in survey.center.warnings():
            say(line)
        return dataclasses.replace(data, center=survey.center)
    told = options.center not in ("run", "auto")
    center = (
        given(data, parse_center(options.center, option="--center")) if told else center_of(data)
    )
    say(center.in_words().replace("(found ", "(found on the input "))
    for line in center.warnings():
        say(line)
    return dataclasses.replace(data, center=center)


def _without_faults(config: TrainConfig, data: Measurements, say: Say) -> Measurements:
    """Mask what became hot since the training, and outliers where the run masks them."""
    if len(data.spatial) != 2 or data.channels or data.center is None:
        return data
    if config.data.hot_pixels and data.frames >= FEWEST:
        center = None if data.symmetry is None else data.symmetry.half_pixel
        good = find_hot_pixels(data, center=center)
        if not good.all():
            number = int(np.sum(~good))
            say(f"{counted(number, 'pixel')} {'is' if number == 1 else 'are'} hot here: masked")
            data = masked(data, good, cause="hot")
    return mask_outliers(take_out(data)) if config.data.outliers == "mask" else data


def _as_counts(data: Measurements, config: TrainConfig) -> Measurements:
    """Return measurements that every method settles on: predicting splits no photons, training does."""
    if data.are_counts:
        return data if data.counts.max(initial=0) <= LARGEST else _as_trained(config, data)
    whole = np.clip(np.rint(data.counts), 0, LARGEST).astype(np.int32)
    return dataclasses.replace(data, counts=whole)


def _check_whole(method: Method, survey: Survey, data: Measurements) -> None:
    """Refuse other data than those that a network was trained to draw."""
    if method.whole and (data.spatial != survey.frame_shape or data.frames != survey.frames):
        raise UserError(
            f"{data.origin.source}: a deep image prior knows one measurement, {survey.frames} repeats of "
            f"{survey.frame_shape}; got {data.frames} of {data.spatial}: train it on these"
        )


def _refuse_idle(options: ApplyOptions, method: Method, data: Measurements) -> None:
    """Refuse options that would change nothing, instead of passing over them; turning off is fine."""
    sigmas, usual = options.keep_significant, ApplyOptions().keep_significant
    if data.center is None and sigmas not in (0, usual):
        raise UserError(
            f"--keep-significant {sigmas:g}: is for patterns about a beam centre and does nothing for others "
            f"({data.origin.source}); leave it out"
        )
    if method.answers == "one" and options.batch_size:
        raise UserError(
            f"--batch-size {options.batch_size}: all repeats have one answer, which is made in one piece; "
            "leave it out"
        )


def _scale(
    options: ApplyOptions, config: TrainConfig, survey: Survey, data: Measurements, say: Say
) -> np.ndarray:
    """Return the unit of rate of every frame; say so where the exposure is not the training's."""
    rule = config.data.scale
    own = options.scale == "run" and rule.startswith("scan") and survey.scale is not None
    there, mean = survey.mean_counts, mean_rate(data.channels_first, data.exposure)
    if not (own and _alike(mean, there)):
        data = _as_trained(config, data)
        mean = mean_rate(data.channels_first, data.exposure)
    if there is not None and not _alike(mean, there):
        say(
            f"note: {mean:.3g} counts per pixel here, {there:.3g} in training; a network trained at this "
            "exposure would do better" + ("; try --scale input" if options.scale == "run" else "")
        )
    return np.full(data.frames, survey.scale, np.float32) if own else frame_scales(data, rule=rule)


def _as_trained(config: TrainConfig, data: Measurements, *, alone: bool = False) -> Measurements:
    """Take out what stands out, unless the run was trained on it."""
    return data if config.data.outliers == "keep" else take_out(data, alone=alone)


def _alike(mean: float, there: float | None) -> bool:
    return there is None or 0.5 < mean / there < 2


def parameters_like(net: models.Network, method: Method, *, axes: int) -> Any:
    """Return the shapes of a network's parameters, on the first device."""
    like = jax.eval_shape(
        lambda key: models.initial_parameters(
            net,
            key,
            channels=method.source_channels,
            spatial=(64,) * min(axes, 2) + (16,) * (axes - 2),
        ),
        jax.random.key(0),
    )
    return on_first_device(like)


def read_parameters(folder: RunFolder, wanted: str, *, like: Any = None) -> tuple[Any, int]:
    """Restore the averaged parameters of a checkpoint: "best", "last", or a step.

    Args:
      folder: of the run.
      wanted: which checkpoint.
      like: shapes of the parameters wanted; None = as the checkpoint has them.

    Returns:
      (numpy arrays, step).

    Raises:
      UserError: if there is no such checkpoint, or it is of another network.
    """
    checkpoints = Checkpoints(folder.best if wanted == "best" else folder.checkpoints)
    steps = checkpoints.steps()
    if not steps:
        aside = folder.set_aside
        kept = (
            f"; the run before it is kept in {aside}, and train puts it back"
            if aside.is_dir()
            else ""
        )
        raise UserError(
            f"{checkpoints.folder}: no checkpoint there; train the run to its end{kept}"
        )
    step = steps[-1] if wanted in ("best", "last") else int(wanted) if wanted.isdigit() else -1
    if step not in steps:
        raise UserError(
            f"--checkpoint {wanted}: expected best, last or one of the kept steps "
            f"{', '.join(map(str, steps))}"
        )
    parameters = checkpoints.restore(step, "parameters", like)
    checkpoints.close()
    return jax.tree.map(np.asarray, parameters), step


def wanted_checkpoints(folder: RunFolder, *, every: bool, wanted: str) -> Sequence[str]:
    """Return the checkpoints to look at: one, or all that were kept, each step once."""
    if not every:
        return [wanted]
    kept, best = Checkpoints(folder.checkpoints), Checkpoints(folder.best)
    chosen = best.steps()[-1:]
    found = [str(step) for step in kept.steps() if step not in chosen]
    kept.close()
    best.close()
    return [*found, *(["best"] if chosen else [])] or ["last"]
