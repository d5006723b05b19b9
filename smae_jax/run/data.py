"""Measurements as a run's options name them: masked, with their centre, with their reference."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from smae_jax import blocks
from smae_jax.calibration import with_response, without_dark
from smae_jax.config import DataOptions, TrainConfig, parse_center
from smae_jax.counting import judged
from smae_jax.errors import UserError
from smae_jax.io.monitor import with_monitor
from smae_jax.io.pairing import pair_frames
from smae_jax.io.parts import checksum
from smae_jax.io.poni import read_poni
from smae_jax.io.reading import How, choose_frames, is_spectra, read, with_masks
from smae_jax.io.text_tables import TableOptions
from smae_jax.measurements import Measurements, mean_of_frames
from smae_jax.memory import parse_memory
from smae_jax.methods.protocol import Method, Say
from smae_jax.outliers import mask_outliers, take_out
from smae_jax.run.large import open_large
from smae_jax.survey import settle

FEWEST = 3
"""Frames in which a pixel must stand out to be called hot: in fewer ones it is an outlier of a frame."""


def read_data(options: DataOptions, *, symmetric: bool = True) -> Measurements:
    """Read measurements as the options say, mask them and give patterns their centre.

    Args:
      options: which files, and what to make of them.
      symmetric: whether patterns are taken for centro-symmetric ones where the options do not tell: they are
        repeats of one thing otherwise.

    Raises:
      UserError: in one line, if anything cannot be read, does not fit, or leaves nothing to use.
    """
    scan = symmetric and not is_spectra(options.path, dimensions=options.dimensions)
    data = _read_chosen(options, scan=scan)
    scan = scan and len(data.spatial) == 2
    if not scan and len(data.spatial) == 2 and not options.dimensions:
        data = _read_chosen(dataclasses.replace(options, dimensions=2), scan=False)
    if scan:
        return settled_scan(data, options)
    data = _with_mask(options, calibrated(data, options, dark=options.dark, flat=options.flat))
    _refuse_scan_options(options)
    return judged(data, options.noise)


def settled_scan(data: Measurements, options: DataOptions) -> Measurements:
    """Take dark, flat and masks of the options into account, and give patterns of a scan their centre.

    Args:
      data: patterns as read.
      options: which masks, which centre, which noise.

    Raises:
      UserError: in one line, if a file cannot be read or does not fit, or no centre can be told.
    """
    data = _with_mask(options, calibrated(data, options, dark=options.dark, flat=options.flat))
    if options.geometry:
        shape = (data.spatial[0], data.spatial[1])
        data = dataclasses.replace(data, geometry=read_poni(options.geometry, shape, data.geometry))
    center = "auto" if options.center == "auto" else parse_center(options.center)
    data = settle(data, center=center, hot_pixels=options.hot_pixels and data.frames >= FEWEST)
    data = judged(data, options.noise)
    return mask_outliers(take_out(data)) if options.outliers == "mask" else data


def how_settled(data: Measurements) -> dict[str, str]:
    """Tell mask, dark, flat and centre of settled patterns, to recognise them."""
    detector = [image for image in (data.dark, data.response) if image is not None]
    return {
        "mask": f"{checksum(np.asarray(data.valid.any(axis=0))):08x}",
        "dark or flat": f"{checksum(*detector):08x}",
        "center": str(data.center and data.center.half_pixel),
    }


def as_settled(data: Measurements, known: Measurements) -> Measurements:
    """Mask and centre further frames as others of the same detector were, with their dark and flat.

    Args:
      data: as read.
      known: patterns, settled.
    """
    if known.dark is not None:
        data = without_dark(data, known.dark)
    if known.response is not None:
        data = with_response(data, known.response)
    valid = data.valid & known.valid.any(axis=0)
    taken = data.valid & ~valid
    counts = data.counts
    if taken.any():
        counts = np.where(valid, counts, np.zeros((), counts.dtype))
    return dataclasses.replace(
        data,
        counts=counts,
        exposure=np.where(valid, data.exposure, np.float32(0)),
        center=known.center,
        geometry=known.geometry,
        integrated=known.integrated,
    )


def _read_chosen(options: DataOptions, *, scan: bool) -> Measurements:
    """Read the frames or repeats that are asked for, with the exposures that a monitor gives them.

    Of a scan that does not fit into memory, frames evenly spread over it.
    """
    if scan:
        memory = parse_memory(options.memory, "--data.memory")

        def most(pixels: int) -> int:
            return blocks.frames_that_fit(pixels, memory, each=blocks.TO_TRAIN)

        large = open_large(
            options,
            options.path,
            frames=options.frames or options.repeats,
            monitor=options.monitor,
            left_out=(options.reference, options.dark, options.flat),
            most=most,
            choice="--data.frames" if options.frames else "--data.repeats",
        )
        if large is not None:
            told = options.memory or f"{memory / 2**30:.3g}GiB"
            return large.some(most(large.pixels), f"are read (--data.memory {told})")
    chosen = "" if options.monitor else options.repeats
    others = (options.reference, options.dark, options.flat)
    data = read_files(options, options.path, repeats=chosen, left_out=others)
    if options.monitor:
        data = choose_frames(with_monitor(data, options.monitor), options.repeats)
    return choose_frames(data, options.frames, "--data.frames")


def read_files(
    options: DataOptions, path: str, *, repeats: str, left_out: Sequence[str] = ()
) -> Measurements:
    """Read files as the options say measurements lie in them, without mask and centre.

    Args:
      options: how measurements lie in files; their masks are no frames.
      path: which files.
      repeats: which of their frames.
      left_out: more locations that are no frames, even where `path` matches them.
    """
    how = How(
        dimensions=options.dimensions,
        repeats=repeats,
        repeats_axis=options.repeats_axis,
        channel_axis=options.channel_axis,
        axis_label=options.axis_label,
        saturation=options.saturation or None,
        marks=options.marks,
        missing=options.missing,
        table=TableOptions(options.decimal, options.columns),
        left_out=(*options.mask, *left_out),
    )
    return read(path, how)


def calibrated(
    data: Measurements,
    options: DataOptions,
    *,
    dark: str | np.ndarray | None,
    flat: str | np.ndarray | None,
    prefix: str = "--data.",
) -> Measurements:
    """Take dark frames off, and take the flat field for exposure; measurements that have them already stay.

    Args:
      data: read, not masked yet.
      options: how measurements lie in files.
      dark: files of dark frames, or their mean, (*spatial); "" or None = none.
      flat: file of a flat field, or the response, (*spatial); "" or None = none.
      prefix: what options are called before their own name.

    Raises:
      UserError: in one line, if one cannot be read, has another shape, or leaves no pixel.
    """
    if dark is not None and len(dark) and data.dark is None:
        image = _image(data, options, dark, f"{prefix}dark")
        data = without_dark(data, image)
        if not data.are_counts:
            low, high = (float(value) for value in np.nanpercentile(image, (1, 99)))
            data = _noted(
                data,
                f"dark counts taken off, {low:.3g} to {high:.3g} in most pixels: what is left are no photon "
                "counts; for a detector that counts photons give --background to infer instead",
            )
    if flat is not None and len(flat) and data.response is None:
        data = with_response(data, _image(data, options, flat, f"{prefix}flat"))
        if data.response is not None:
            low, high = np.percentile(data.response[data.response > 0], (1, 99))
            data = _noted(data, f"flat field: response of most pixels from {low:.3g} to {high:.3g}")
    return data


def _noted(data: Measurements, note: str) -> Measurements:
    origin = dataclasses.replace(data.origin, notes=(*data.origin.notes, note))
    return dataclasses.replace(data, origin=origin)


def _image(
    data: Measurements, options: DataOptions, given: str | np.ndarray, option: str
) -> np.ndarray:
    """Return the mean of the frames that are named, or the image that is given, NaN where unknown."""
    if isinstance(given, str):
        image, what = (
            mean_of_frames(read_images(data, options, given, option))[0],
            f"{option} {given}",
        )
    else:
        image, what = given, f"{option} of the run"
    if image.shape != data.spatial:
        raise UserError(
            f"{what}: expected {data.spatial} as the frames of {data.origin.source} have, got {image.shape}; "
            "give an image of this detector"
        )
    return image


def read_images(data: Measurements, options: DataOptions, path: str, option: str) -> Measurements:
    """Read further frames of the detector that measured the data: dark ones, a flat field, a background.

    Raises:
      UserError: in one line that names the option, if they cannot be read.
    """
    plain = dataclasses.replace(
        options, dimensions=len(data.spatial), repeats_axis=0, saturation=math.inf, reference=""
    )
    try:
        return read_files(plain, path, repeats="")
    except UserError as error:
        raise UserError(f"{option}: {error}") from error


def _with_mask(options: DataOptions, data: Measurements) -> Measurements:
    if not options.mask:
        return data
    if len(data.spatial) != 2:
        raise UserError(
            f"--data.mask {' '.join(options.mask)}: is for patterns, and {options.path} holds "
            f"{len(data.spatial)}-D measurements; leave it out"
        )
    return with_masks(data, options.mask, polarity=options.mask_polarity)


def _refuse_scan_options(options: DataOptions) -> None:
    """Refuse options that have a meaning about a beam centre only, instead of passing over them."""
    default = DataOptions()
    ignored = {
        f"--data.crop {options.crop}": options.crop != default.crop,
        f"--data.center {options.center}": options.center != default.center,
        f"--data.geometry {options.geometry}": bool(options.geometry),
    }
    for option, asked in ignored.items():
        if asked:
            raise UserError(
                f"{option}: is for scans of centro-symmetric patterns and does nothing for spectra and "
                f"repeats ({options.path}); leave it out"
            )


def read_reference(
    config: TrainConfig, method: Method, data: Measurements, say: Say
) -> tuple[Measurements, Measurements | None]:
    """Read the paired measurements that a method learns from.

    Args:
      config: options of the run.
      method: asks for a reference or not.
      data: the low-count measurements.
      say: receives the line that tells how frames were paired and exposures compared.

    Returns:
      (frames of `data` that have a reference, the references with exposures in frames of `data`); None where
      the method takes none.

    Raises:
      UserError: in one line, if a reference is missing, is not wanted, or does not fit.
    """
    check_reference(config, method)
    if "reference" not in method.needs:
        return data, None
    options = config.data
    better = read_files(options, options.reference, repeats="", left_out=(options.path,))
    if better.spatial == data.spatial:
        better = calibrated(better, options, dark=options.dark, flat=options.flat)
        better = _with_mask(options, better)
    paired = pair_frames(
        data,
        better,
        path=options.path,
        reference_path=options.reference,
        by=options.pair_by,
        repeats=data.center is None,
    )
    say(paired.said)
    ratio = paired.ratio.reshape(-1, *(1,) * len(data.spatial))
    exposure = (paired.reference.exposure * ratio).astype(np.float32)
    return paired.frames, dataclasses.replace(paired.reference, exposure=exposure)


def check_reference(config: TrainConfig, method: Method) -> None:
    """Refuse a method without its reference, and a reference without its method, before the work.

    Raises:
      UserError: in one line, with what to do.
    """
    wanted, given = "reference" in method.needs, bool(config.data.reference)
    if wanted and not given:
        raise UserError(
            f"--method {config.method}: expected the paired high-count frames in --data.reference, got none"
        )
    if given and not wanted:
        raise UserError(
            f"--data.reference {config.data.reference}: method '{config.method}' learns from no reference; "
            "leave it out, or use --method supervised"
        )
