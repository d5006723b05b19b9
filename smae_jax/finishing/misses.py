"""What answers miss beyond their scatter: its power by octaves of length, and random fields that have it.

What a network smooths away in both halves of the photons alike is in no difference of answers. Here it is
taken for a random field: rate^(POWER / 2) times a field whose power is measured where the photons of either
half judge the answer to the other. So it is as large, as sharp, as much along rings and as common to the
frames of a scan as what was found, and quantities that are made of it later have errors of the right size.

Along a ring means with few maxima around it, from 0 (the ring is too bright) to `MOST_MAXIMA`: an
orientation or texture that is missed is missed on all rings of a frame alike, which no field of pixels has.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jax import Array

from smae_jax.piecewise import piecewise
from smae_jax.smoothing import smooth

_FFT: Any = scipy.fft
POWER = 1.75
"""Squared errors grow with this power of the rate: noise as the rate, what is smoothed away as its square."""
MOST_MAXIMA = 4
"""Around a ring. With 2 it is oriented too much, too little or elsewhere; with 4 its arcs are too wide."""
OCTAVES = 12
"""Of length; the first holds periods below 4 pixels, the last all that are longer."""
ABOUT = 2.0
"""Sigma, in pixels, of the Gaussian that smooths the rates."""
MARGIN = 32
"""Pixels of nothing about a frame, so that its sides do not touch in a Fourier transform."""


@dataclasses.dataclass(frozen=True)
class Places:
    """Where pixels of a frame lie: on which ring, and opposite to which.

    Attributes:
      shape: (height, width).
      center: (y, x) of the beam, multiples of 0.5.
      symmetric: whether opposite pixels have the same answer, and so the same error.
    """

    shape: tuple[int, int]
    center: tuple[float, float]
    symmetric: bool

    @functools.cached_property
    def ring(self) -> np.ndarray:
        """Number of the ring of every pixel, each one pixel wide, (height, width), int32."""
        y, x = (np.arange(n) - c for n, c in zip(self.shape, self.center, strict=True))
        return np.floor(np.hypot(y[:, None], x)).astype(np.int32)

    @functools.cached_property
    def angle(self) -> np.ndarray:
        """Azimuth of every pixel in radians, (height, width), float32."""
        y, x = (np.arange(n) - c for n, c in zip(self.shape, self.center, strict=True))
        return np.arctan2(y[:, None], x).astype(np.float32)

    @property
    def maxima(self) -> list[int]:
        """Numbers of maxima around a ring that misses have; opposite pixels are alike where they are even."""
        return list(range(0, MOST_MAXIMA + 1, 2 if self.symmetric else 1))

    @property
    def waves(self) -> list[tuple[int, int]]:
        """Waves around a ring: (which of `maxima`, 0 = cosine and 1 = sine)."""
        return [(k, part) for k, n in enumerate(self.maxima) for part in range(2 if n else 1)]

    def around(self, wave: tuple[int, int], angle: Any) -> Any:
        """Return a wave at azimuths, of NumPy or JAX."""
        which, part = wave
        array: Any = np if isinstance(angle, np.ndarray) else jnp
        return (array.sin if part else array.cos)(self.maxima[which] * angle)

    @property
    def rings(self) -> int:
        """How many there are."""
        return int(self.ring.max()) + 1

    @property
    def padded(self) -> tuple[int, int]:
        """Shape of a frame with its margin."""
        high, wide = (_FFT.next_fast_len(n + MARGIN, real=True) for n in self.shape)
        return high, wide

    @property
    def line(self) -> int:
        """Number of rings with their margin."""
        return _FFT.next_fast_len(self.rings + MARGIN, real=True)

    @functools.cached_property
    def octave(self) -> np.ndarray:
        """Octave of every frequency of a padded frame, as `rfft2` has them."""
        high, wide = self.padded
        return _octave(np.hypot(np.fft.fftfreq(high)[:, None], np.fft.rfftfreq(wide)))

    @functools.cached_property
    def octave_of_line(self) -> np.ndarray:
        """Octave of every frequency along the rings, as `rfft` has them."""
        return _octave(np.fft.rfftfreq(self.line))

    @functools.cached_property
    def opposite(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rows, columns, on the frame) of the opposite pixels: (height,), (width,), (height, width)."""
        there = [
            np.int32(2 * c) - np.arange(n, dtype=np.int32)
            for n, c in zip(self.shape, self.center, strict=True)
        ]
        on = [(t >= 0) & (t < n) for t, n in zip(there, self.shape, strict=True)]
        rows, columns = (np.clip(t, 0, n - 1) for t, n in zip(there, self.shape, strict=True))
        return rows, columns, on[0][:, None] & on[1]


@dataclasses.dataclass(frozen=True)
class Spectra:
    """Power by octaves, in units of rate^POWER.

    Attributes:
      own: of what each frame has by itself, (OCTAVES,).
      shared: of what all frames have alike, (OCTAVES,).
      own_rings, shared_rings: the same of waves around rings, by octaves along the radius, for each number
        of maxima, (maxima, OCTAVES).
    """

    own: np.ndarray
    shared: np.ndarray
    own_rings: np.ndarray
    shared_rings: np.ndarray


def spectra_of_missed(
    answers: np.ndarray,
    photons: np.ndarray,
    exposure: np.ndarray,
    use: np.ndarray,
    places: Places,
) -> Spectra:
    """Measure the power of what the answers to both halves of the photons miss alike.

    Each residual, photons / exposure - answer, holds the noise of its own half only, so that the product of
    both has the mean of what both miss. It is taken octave by octave, along rings and of the rest. The power
    of the residuals of all frames added up tells what they have in common. What is below its noise is 0.

    Args:
      answers: to either half, counts per full frame, (2, frames, height, width).
      photons: of either half, as `answers`.
      exposure: of a half, in full frames, (frames, height, width).
      use: where both are known, bool, as `exposure`.
      places: of the pixels.
    """
    light = np.where(use, exposure, 1)
    rate = rate_about(answers.mean(axis=0), use)
    # In units of the noise of the photons, and what a missed share of 1 would be there.
    unit = np.where(use, np.sqrt(light / rate), 0)
    sign = unit * rate ** (POWER / 2)
    seen = [np.where(use, (n / light - a) * unit, 0) for a, n in zip(answers, photons, strict=True)]
    both = np.sqrt((sign**2).sum(axis=0, keepdims=True))
    safe = np.where(both > 0, both, 1)
    together = [(one * sign).sum(axis=0, keepdims=True) / safe for one in seen]
    each, added = _powers(seen, sign, places), _powers(together, both, places)
    frames = len(rate)
    found = []
    for (of_each, noise), (of_sum, noise_of_sum) in zip(each, added, strict=True):
        shared = np.zeros_like(of_each)
        if frames > 1:
            shared = _clear((of_sum - of_each / frames) / (1 - 1 / frames), noise_of_sum)
        found += [_clear(of_each - shared, noise), shared]
    return Spectra(found[0], found[1], found[2], found[3])


def draw_missed(
    key: Array, spectra: Spectra, rate: np.ndarray, exposure: np.ndarray, places: Places
) -> Array:
    """Draw errors with measured power.

    Args:
      key: typed random key.
      spectra: from `spectra_of_missed`.
      rate: smoothed answers, 0 where none is missed, (frames, height, width), see `rate_about`.
      exposure: in full frames, as `rate`; totals of frames do not change, as these are known.
      places: of the pixels.

    Returns:
      Counts per full frame, (frames, height, width), float32.
    """
    first, second, third = jax.random.split(key, 3)
    seeds = jax.random.bits(third, (len(rate), 2), jnp.uint32)
    shared, own = (
        tuple(jnp.sqrt(jnp.asarray(power, jnp.float32)) for power in powers)
        for powers in (
            (spectra.shared, spectra.shared_rings),
            (spectra.own, spectra.own_rings),
        )
    )
    in_all = _field(first, shared[0], places), _lines(second, shared[1], places)
    draw = functools.partial(_draw, places, jnp.asarray(places.angle), own, in_all)
    return piecewise(draw, seeds, rate.astype(np.float32), exposure)


def rate_about(answers: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Smooth answers over the pixels that are known, (frames, height, width); never 0."""
    light = np.array(_smooth(known.astype(np.float32)))
    found = np.array(_smooth(np.where(known, np.maximum(answers, 0), 0).astype(np.float32)))
    least = 1e-3 * max(float(found.mean()), 1e-9)
    return np.maximum(np.divide(found, light, out=np.zeros_like(found), where=light > 1e-3), least)


@jax.jit
def _smooth_frames(images: Array) -> Array:
    return smooth(images[..., None], sigma=ABOUT)[..., 0]


def _smooth(images: np.ndarray) -> Array:
    return piecewise(_smooth_frames, images)


def _octave(frequency: np.ndarray) -> np.ndarray:
    """Return 0 for periods below 4 pixels, 1 below 8 and so on, int32."""
    octave = np.floor(-np.log2(np.maximum(2 * frequency, 1e-9)))
    return np.clip(octave, 0, OCTAVES - 1).astype(np.int32)


def _clear(power: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return np.where(power > noise, power, 0.0)


def _powers(
    seen: list[np.ndarray], sign: np.ndarray, places: Places
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the power that two residuals share over that of `sign`, and its standard deviation.

    Both of what no ring has, and of rings. The residuals' noise has a variance of 1 in every pixel.
    """
    plane = Components.of(places.padded, places.octave)
    line = Components.of((places.line,), places.octave_of_line)
    waves = [places.around(wave, places.angle) for wave in places.waves]
    pixels, rings = np.zeros(OCTAVES), np.zeros((len(places.maxima), OCTAVES))
    square, square_of_rings, whole_of_rings = 0.0, *np.zeros((2, len(places.maxima), 1))
    for frame, expected in enumerate(sign):
        squares = [_over_rings((expected * wave) ** 2, places) for wave in waves]
        (first, rest), (second, other) = (
            _along_rings(one[frame], expected, waves, squares, places) for one in seen
        )
        pixels += plane.product(rest, other)
        square += float((expected > 0).sum()) ** 2
        for k, (which, _) in enumerate(places.waves):
            rings[which] += line.product(first[k], second[k])
            square_of_rings[which] += float((squares[k] > 0).sum()) ** 2
            whole_of_rings[which] += squares[k].sum()
    whole = max(float((sign.astype(np.float64) ** 2).sum()), 1e-30)
    whole_of_rings = np.maximum(whole_of_rings, 1e-30)
    return (
        (pixels / whole, np.sqrt(square / plane.number) / whole),
        (rings / whole_of_rings, np.sqrt(square_of_rings / line.number) / whole_of_rings),
    )


@dataclasses.dataclass(frozen=True)
class Components:
    """Fourier components of real arrays of one shape, by octaves.

    Attributes:
      shape: of the arrays, padded.
      octave: of every component, as `rfftn` has them.
      weight: 2 for those that stand for their conjugates too, 1 at both ends; as `octave`.
      number: of components in every octave, 1 at least, (OCTAVES,).
    """

    shape: tuple[int, ...]
    octave: np.ndarray
    weight: np.ndarray
    number: np.ndarray

    @classmethod
    def of(cls, shape: tuple[int, ...], octave: np.ndarray) -> Components:
        """Count the components of a shape."""
        weight = np.full(octave.shape, 2.0)
        weight[..., 0] = 1.0
        if shape[-1] % 2 == 0:
            weight[..., -1] = 1.0
        number = np.bincount(octave.ravel(), weights=weight.ravel(), minlength=OCTAVES)
        return cls(shape, octave, weight, np.maximum(number, 1))

    def product(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return the mean product of two arrays' components in every octave, 0 in empty ones."""
        axes = range(len(self.shape))
        first, second = (_FFT.rfftn(a.astype(np.float32), self.shape, axes) for a in (one, other))
        product = self.weight * (first * second.conj()).real
        total = np.bincount(self.octave.ravel(), weights=product.ravel(), minlength=OCTAVES)
        return total / self.number


def _along_rings(
    residual: np.ndarray,
    sign: np.ndarray,
    waves: list[np.ndarray],
    squares: list[np.ndarray],
    places: Places,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return what a residual has of `sign` times each wave on each ring, by least squares, and its rest.

    In units of the residual's noise: amplitudes times the root of `squares`, those of `sign` times the wave.
    """
    found = []
    for wave, square in zip(waves, squares, strict=True):
        along = _over_rings(residual * sign * wave, places)
        ring = np.divide(along, square, out=np.zeros_like(along), where=square > 0)
        residual = residual - sign * wave * ring[places.ring]
        found.append(np.sqrt(square) * ring)
    return found, residual


def _over_rings(image: np.ndarray, places: Places) -> np.ndarray:
    return np.bincount(places.ring.ravel(), weights=image.ravel(), minlength=places.rings)


def _field(key: Array, amplitudes: Array, places: Places) -> Array:
    """Draw a field of a frame, (height, width), given the root of its power in every octave."""
    shape = places.padded
    amplitude = amplitudes[places.octave]
    white = jnp.fft.rfft2(jax.random.normal(key, shape, jnp.float32))
    field = jnp.fft.irfft2(white * amplitude, shape)[: places.shape[0], : places.shape[1]]
    if not places.symmetric:
        return field
    rows, columns, there = places.opposite
    turned = field[rows][:, columns]
    return jnp.where(there, (field + turned) * np.float32(np.sqrt(0.5)), field)


def _lines(key: Array, amplitudes: Array, places: Places) -> list[Array]:
    """Draw a value for every ring, (rings,), of every wave around it."""
    keys = jax.random.split(key, len(places.waves))
    return [
        _line(one, amplitudes[which], places)
        for one, (which, _) in zip(keys, places.waves, strict=True)
    ]


def _line(key: Array, amplitudes: Array, places: Places) -> Array:
    amplitude = amplitudes[places.octave_of_line]
    white = jnp.fft.rfft(jax.random.normal(key, (places.line,), jnp.float32))
    return jnp.fft.irfft(white * amplitude, places.line)[: places.rings]


@functools.partial(jax.jit, static_argnums=0)
def _draw(
    places: Places,
    angle: Array,
    own: tuple[Array, ...],
    shared: tuple[Array, list[Array]],
    seeds: Array,
    rates: Array,
    exposures: Array,
) -> Array:
    """Draw the errors of some frames."""
    ring = functools.partial(
        jax.ops.segment_sum, segment_ids=places.ring.ravel(), num_segments=places.rings
    )

    def of_frame(seed: Array, rate: Array, exposure: Array) -> Array:
        first, second = jax.random.split(jax.random.wrap_key_data(seed))
        rest = _field(first, own[0], places) + shared[0]
        light = rate ** (POWER - 1) * exposure  # of a share of 1, squared, over its noise
        waves = jnp.zeros_like(rest)
        for wave, mine, all_alike in zip(
            places.waves, _lines(second, own[1], places), shared[1], strict=True
        ):
            around = places.around(wave, angle)
            squares = ring((light * around**2).ravel())
            along = ring((light * around * rest).ravel()) / jnp.where(squares > 0, squares, 1.0)
            rest -= around * along[places.ring]
            waves += around * (mine + all_alike)[places.ring]
        error = rate ** (POWER / 2) * (rest + waves)
        total = jnp.sum(jnp.sum(error * exposure, axis=1))
        of_rate = jnp.sum(jnp.sum(rate * exposure, axis=1))
        return error - rate * total / jnp.where(of_rate > 0, of_rate, 1.0)

    return jax.vmap(of_frame)(seeds, rates, exposures)
