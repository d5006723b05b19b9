"""A simulated fluorescence map: 18 x 18 single spectra, one network, one run of the command line.

The lines and the background are those of the real spectra, the maps of the elements are drawn; counts are
Poisson, so the truth is known. `benchmarks.spectra` puts the result on its page.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d, minimum_filter1d
from scipy.signal import find_peaks

from benchmarks.trained_in_memory import denoised_in_memory
from smae_jax.config import TrainConfig
from smae_jax.data.repeats import take_repeats
from smae_jax.data.repeats_readers import read_repeats

Run = Callable[[TrainConfig], tuple[np.ndarray, np.ndarray | None, float, float]]
SIDE = 18
SEED = 0


@dataclasses.dataclass(frozen=True)
class MapRow:
    """One line of the table.

    Attributes:
      name: of the estimate.
      scores: PSNR of each spectrum, dB.
      seconds: of the steps, or of the filter; NaN where nothing was done.
      whole_seconds: with reading, compilation and writing.
    """

    name: str
    scores: np.ndarray
    seconds: float = float("nan")
    whole_seconds: float = float("nan")


def simulated_map(mean: np.ndarray, *, seed: int = SEED) -> np.ndarray:
    """Make the expected counts of a map, (SIDE, SIDE, channels), from a measured mean spectrum.

    Every strong line has a map of its own (grains of a few pixels, from a fifth to five times the mean); the
    background below the lines is everywhere the same.
    """
    smooth = np.maximum(gaussian_filter1d(mean, 2.0), 1e-3)
    floor = gaussian_filter1d(minimum_filter1d(smooth, 201), 100)
    background = np.minimum(smooth, np.maximum(floor, 1e-3))
    lines = smooth - background
    places = np.sort(find_peaks(lines, prominence=0.3, distance=30)[0])
    # Every channel belongs to the line that is nearest; neighbours fade into each other.
    nearest = np.abs(np.arange(len(mean))[:, None] - places).argmin(axis=1)
    parts = np.stack(
        [gaussian_filter1d((nearest == k).astype(float), 8) for k in range(len(places))]
    )
    rng = np.random.default_rng(seed)
    fields = np.stack(
        [gaussian_filter(rng.standard_normal((SIDE, SIDE)), 1.5, mode="wrap") for _ in places]
    )
    fields /= fields.std(axis=(1, 2), keepdims=True)
    amounts = np.exp(np.clip(0.8 * fields, -np.log(5), np.log(5)))
    return background + np.einsum("kyx,kc->yxc", amounts, parts * lines)


def write_map(path: Path, counts: np.ndarray, axis: np.ndarray | None) -> None:
    """Write the map as NeXus: counts (rows, columns, energy) with the energies."""
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update({"NX_class": "NXentry", "default": "map"})
        group = entry.create_group("map")
        group.attrs.update({"NX_class": "NXdata", "signal": "counts", "axes": [".", ".", "energy"]})
        group.create_dataset("counts", data=counts.astype(np.int32), compression="gzip")
        energy = group.create_dataset(
            "energy", data=np.arange(counts.shape[-1]) if axis is None else axis
        )
        energy.attrs["units"] = "keV"


def psnr_each(estimate: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return 20 log10(max of the truth / rms error) of every spectrum (spectra, channels)."""
    rms = np.sqrt(((estimate - truth) ** 2).mean(axis=-1))
    return 20 * np.log10(truth.max(axis=-1) / rms)


def measure(config: TrainConfig, scratch: Path, run: Run, *, own: int = 6) -> list[MapRow]:
    """Simulate the map, and denoise it.

    Args:
      config: options of a training on single spectra; path and run are set here.
      scratch: folder.
      run: config -> (answers, sigmas, seconds with everything, seconds of the steps).
      own: spectra that are also given a network of their own.

    Returns:
      The rows; that of the networks of their own stands on the first `own` spectra, whose score with the one
      network follows it.
    """
    real = read_repeats(config.data.path)
    truth = simulated_map(real.counts.mean(axis=0, dtype=np.float64))
    counts = np.random.default_rng(SEED + 1).poisson(truth)
    path = scratch / "map.h5"
    write_map(path, counts, real.axis)
    flat, raw = truth.reshape(SIDE**2, -1), counts.reshape(SIDE**2, -1).astype(np.float64)
    rows = [MapRow("as counted", psnr_each(raw, flat))]
    start = time.perf_counter()
    widths = np.arange(1, 10, 0.5)
    smoothed = [psnr_each(gaussian_filter1d(raw, s, axis=-1), flat) for s in widths]
    best = int(np.argmax([scores.mean() for scores in smoothed]))
    seconds = (time.perf_counter() - start) / len(widths)
    rows.append(
        MapRow(f"best Gaussian along energy, sigma {widths[best]:g}", smoothed[best], seconds)
    )
    data = dataclasses.replace(config.data, path=str(path))
    config = dataclasses.replace(config, data=data, run=str(scratch / "map"))
    answers, _, whole_seconds, seconds = run(config)
    scores = psnr_each(answers.reshape(SIDE**2, -1).astype(np.float64), flat)
    rows.append(MapRow("one network for all", scores, seconds, whole_seconds))
    if own:
        repeats = read_repeats(str(path))
        start = time.perf_counter()
        parts = [take_repeats(repeats, [k]) for k in range(own)]
        alone, _ = denoised_in_memory(config, repeats, parts, [0])
        whole_seconds = time.perf_counter() - start
        each = psnr_each(alone[:, 0, 0].astype(np.float64), flat[:own])
        rows.append(MapRow(f"a network each, {own} of them", each, float("nan"), whole_seconds))
        rows.append(MapRow(f"one network for all, the same {own}", scores[:own]))
    return rows
