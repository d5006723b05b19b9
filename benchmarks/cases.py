"""Cases: measurements, and what answers to them are scored against. Nothing here trains anything."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter, gaussian_filter1d, minimum_filter1d
from scipy.signal import find_peaks

import smae_jax
from smae_jax.evaluation.filters import gaussian
from smae_jax.evaluation.scores import inverse_rate
from smae_jax.geometry import turn
from smae_jax.io.reading import read
from smae_jax.measurements import Measurements
from smae_jax.simulate import Kind, Simulation, simulate

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SEED = 0
LEAST = 1e-9
"""Expected counts that a weighted score divides by at least."""
SIDE = 18
"""Spectra along each side of the simulated map."""


@dataclasses.dataclass(frozen=True)
class Case:
    """Measurements, and the truth or an independent reference.

    Attributes:
      name: as in folders and messages.
      group: cases that differ by their photons only: one table, one panel of a figure.
      photons: counts of a pixel, or the share of an exposure.
      data: what methods see.
      truth: expected counts of every frame of `data`, or a reference, float64, as counts.
      mask: where answers are scored, bool, (*spatial).
      variance: noise of the reference, as `truth`; None = it is the truth.
      expected: counts that the weighted score divides by, as `truth`; None = the truth itself.
      answered: frames that are answered and scored; None = all.
      matched: whether answers are scaled to the reference's counts before they are scored.
      again: seed -> the same case of another seed, where it can be made again.
    """

    name: str
    group: str
    photons: float
    data: Measurements
    truth: np.ndarray
    mask: np.ndarray
    variance: np.ndarray | None = None
    expected: np.ndarray | None = None
    answered: np.ndarray | None = None
    matched: bool = False
    again: Callable[[int], Case] | None = None

    @property
    def frames(self) -> np.ndarray:
        """Frames that are answered."""
        return np.arange(self.data.frames) if self.answered is None else self.answered

    @property
    def asked(self) -> Measurements:
        """What is answered."""
        return self.data.take(self.frames)

    @property
    def valid(self) -> np.ndarray:
        """Where there is a measurement, bool, (*spatial)."""
        return self.data.valid.any(axis=0)

    @property
    def center(self) -> tuple[float, float]:
        """Half-pixel centre (y, x) of patterns."""
        assert self.data.center is not None, "a pattern"
        return self.data.center.half_pixel

    @property
    def turned(self) -> np.ndarray:
        """Where the partner of a pixel is valid."""
        return turn(self.valid, self.center, False)


def there(*names: str, folder: Path | None = None) -> bool:
    """Whether real data lie beside the checkout; says which are skipped where they do not."""
    folder = folder or DATA
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        print(f"skipped: {', '.join(missing)} not in {folder}, where the real data belong")
    return not missing


def of_simulation(scan: Simulation, **case: Any) -> Case:
    """Make a case of a simulated scan, scored at all valid pixels unless told otherwise."""
    data = smae_jax.from_arrays(scan.counts, valid=scan.valid, center=scan.center)
    truth = scan.truth.astype(np.float64)
    return Case(**{"data": data, "truth": truth, "mask": scan.valid, **case})


def simulated(
    kind: Kind,
    photons: float,
    asymmetry: float = 0.0,
    *,
    frames: int = 64,
    size: int = 128,
    seed: int = SEED,
) -> Case:
    """Simulate a scan; scored where a pixel and its partner are valid."""
    scan = simulate(kind, frames=frames, size=size, photons=photons, seed=seed, asymmetry=asymmetry)
    unit = f"{100 * asymmetry:g} % asymmetry" if asymmetry else "photons/pixel"
    group = f"{kind.upper()} ({unit})"
    both = scan.valid & turn(scan.valid, scan.center, False)
    made = functools.partial(simulated, kind, photons, asymmetry, frames=frames, size=size)
    name = f"{group}, {photons:g}"
    again = lambda seed: made(seed=seed)  # noqa: E731
    return of_simulation(scan, name=name, group=group, photons=photons, mask=both, again=again)


def muscle(share: float, *, repeats: int = 4, size: int = 512) -> Case:
    """Sample the three real muscle patterns at a share of an exposure; frames of the last are answered."""
    with np.load(DATA / "phantoms_muscle_512.npz", allow_pickle=False) as file:
        names = [name for name in file.files if not name.endswith("_mask")]
        patterns = np.stack([file[name] for name in names])
        valid = np.all([file[f"{name}_mask"] for name in names], axis=0)
    middle = slice((patterns.shape[1] - size) // 2, (patterns.shape[1] + size) // 2)
    valid = valid[middle, middle]
    truth = (share * np.repeat(patterns[:, middle, middle], repeats, axis=0)).astype(np.float32)
    counts = np.random.default_rng(SEED).poisson(truth).astype(np.int32)
    center = ((size - 1) / 2, (size - 1) / 2)
    group = "muscle (share of an exposure)"
    return Case(
        name=f"{group}, {share:g}",
        group=group,
        photons=share,
        data=smae_jax.from_arrays(counts, valid=valid, center=center),
        truth=truth.astype(np.float64),
        mask=valid & turn(valid, center, False),
        answered=np.arange(2 * repeats, 3 * repeats),
    )


def p40(*, with_peaks: bool = False, folder: Path | None = None) -> Case:
    """Real muscle frames 0, 2, 4 of 10 ms against the mean of 1, 3, 5, in the 512 x 512 crop.

    Args:
      with_peaks: use the reflections' brightest pixels, which the mask file takes for hot.
      folder: of the real data; None = beside the checkout.
    """
    folder = folder or DATA
    with np.load(folder / "muscle_p40_mask.npz", allow_pickle=False) as file:
        mask, detector, center = file["mask"], file["detector_mask"], file["center"]
        top, left = (int(v) for v in file["crop_origin"])
    if with_peaks:
        y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
        mask = mask | (detector & (np.hypot(y - center[0], x - center[1]) > 26))
    files = str(folder / "muscle_p40_raw" / "P40_1_3_0000[{}].tif")
    low, high = (read(files.format(which)) for which in ("024", "135"))
    data = smae_jax.from_arrays(low.counts, valid=mask & low.valid, center="auto")
    inside = np.zeros_like(mask)
    inside[top : top + 512, left : left + 512] = True
    inside &= mask
    reference = high.counts.mean(axis=0, dtype=np.float64)
    same = (data.frames, *data.spatial)
    return Case(
        name="P40",
        group="muscle frames of 10 ms (P40)",
        photons=float(low.counts[:, inside].mean()),
        data=data,
        truth=np.broadcast_to(reference, same),
        mask=inside,
        variance=np.broadcast_to(reference / high.frames, same),
        expected=np.broadcast_to(1 / inverse_rate(reference, inside), same),
        matched=True,
    )


def real_scan(share: float, *, file: str = "scan_mn23_12x1s", seed: int = SEED) -> Case:
    """Show a share of the photons of a real scan; the others are the reference, at the same exposure."""
    with np.load(DATA / f"{file}.npz", allow_pickle=False) as stored:
        counts, valid = stored["crop"].astype(np.int64), stored["crop_mask"]
        y, x = (round(2 * c) / 2 for c in stored["center"] - stored["crop_origin"])
    counts = np.where(valid, np.maximum(counts, 0), 0)
    shown = np.random.default_rng(seed).binomial(counts, share)
    rate = share / (1 - share)
    smooth = gaussian(counts * share, np.broadcast_to(valid, counts.shape), 2.0)
    data = smae_jax.from_arrays(shown.astype(np.int32), valid=valid, center=(y, x))
    photons = float(shown[:, valid].mean())
    return Case(
        name=f"real scan, {photons:.2g} photons/pixel",
        group="real scan (photons/pixel)",
        photons=photons,
        data=data,
        truth=(counts - shown) * rate,
        mask=valid,
        variance=(counts - shown) * rate**2,
        expected=np.maximum(smooth, 0.01 * share),
    )


def xrf(used: int | None = 4, *, folder: Path | None = None) -> Case:
    """Four fluorescence spectra of 0.1 s against the mean of 28 others; `used` None = all, each alone."""
    path = str((folder or DATA) / "xrf_spectra.csv")
    every = smae_jax.read(path, axis_label="energy (keV)")
    counts = every.counts.astype(np.float64)
    if used is None:
        truth = np.stack([np.delete(counts, k, axis=0).mean(axis=0) for k in range(len(counts))])
    else:
        truth = np.broadcast_to(counts[used:].mean(axis=0), (used, counts.shape[1]))
    return Case(
        name="XRF",
        group="X-ray fluorescence",
        photons=float(counts.mean()),
        data=every.take(slice(used)),
        truth=truth,
        mask=np.ones(every.spatial, bool),
        variance=truth / (len(counts) - (used or 1)),
    )


def raman() -> Case:
    """Five Raman spectra at the lowest laser power against the mean at the highest, up to a factor."""
    with np.load(DATA / "raman_repeats.npz", allow_pickle=False) as file:
        power, values, raw = file["power_percent"], file["sub"].astype(np.float32), file["raw"]
        shift = file["shift"].astype(np.float64)
    low, high = values[power == power.min()], values[power == power.max()].astype(np.float64)
    saturated = (raw[power == power.max()] >= 65000).any(axis=0)
    axis = smae_jax.Axis(shift, "shift", "1/cm")
    return Case(
        name="Raman",
        group="Raman",
        photons=float(low.mean()),
        data=smae_jax.from_arrays(low, dimensions=1, axis=axis),
        truth=np.broadcast_to(high.mean(axis=0), low.shape),
        mask=~np.asarray(binary_dilation(saturated, iterations=3)),
        variance=np.broadcast_to(high.var(axis=0, ddof=1) / len(high), low.shape),
        matched=True,
    )


def spectra_map(mean: np.ndarray, *, seed: int = SEED) -> Case:
    """Simulate a map of SIDE x SIDE spectra with the lines of a measured mean spectrum.

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
    own = [gaussian_filter1d((nearest == k).astype(float), 8) for k in range(len(places))]
    rng = np.random.default_rng(seed)
    noise = [rng.standard_normal((SIDE, SIDE)) for _ in places]
    fields = np.stack([gaussian_filter(one, 1.5, mode="wrap") for one in noise])
    fields /= fields.std(axis=(1, 2), keepdims=True)
    amounts = np.exp(np.clip(0.8 * fields, -np.log(5), np.log(5)))
    truth = background + np.einsum("kyx,kc->yxc", amounts, np.stack(own) * lines)
    truth = truth.reshape(SIDE**2, -1)
    counts = np.random.default_rng(seed + 1).poisson(truth).astype(np.int32)
    return Case(
        name="map",
        group="X-ray fluorescence map",
        photons=float(truth.mean()),
        data=smae_jax.from_arrays(counts, dimensions=1),
        truth=truth,
        mask=np.ones(truth.shape[1:], bool),
    )
