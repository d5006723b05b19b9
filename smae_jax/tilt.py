"""How far a tilted detector takes opposite pixels off the places of opposite scattering vectors."""

from __future__ import annotations

import numpy as np

from smae_jax.geometry import Geometry

STEPS = 33
"""Places a side at which a frame is looked at, its edges among them."""


def rotation(rotations_rad: tuple[float, float, float]) -> np.ndarray:
    """Return the matrix that takes (y, x, normal) of the detector to the laboratory, (3, 3).

    Args:
      rotations_rad: rot1, rot2, rot3.

    Reference:
      pyFAI, `geometry.core.Geometry.calc_pos_zyx`: t1, t2, t3 (t3 along the beam) of p1, p2, L.
    """
    (s1, s2, s3), (c1, c2, c3) = np.sin(rotations_rad), np.cos(rotations_rad)
    return np.array(
        [
            [c2 * c3, c3 * s1 * s2 - c1 * s3, -(c1 * c3 * s2 + s1 * s3)],
            [c2 * s3, c1 * c3 + s1 * s2 * s3, -(c1 * s2 * s3 - c3 * s1)],
            [s2, -c2 * s1, c1 * c2],
        ]
    )


def partner_displacement(
    geometry: Geometry, shape: tuple[int, int]
) -> tuple[float, tuple[int, int]] | None:
    """Find where opposite pixels are furthest from opposite scattering vectors of equal length.

    A ray at the same angle to the beam, on its other side, meets the detector plane at the true partner. The
    pixel-wise partner of p about the centre c is 2 c - p.

    Args:
      geometry: of the detector.
      shape: (height, width) in pixels.

    Returns:
      (largest distance of the two in pixels, the pixel (y, x) where it is so far), among the pixels whose
      partner lies on the frame; None where the geometry is not known, not tilted, or no pixel has a partner.
    """
    center, size, distance = geometry.center, geometry.pixel_size_m, geometry.distance_m
    if not (center and size and distance and geometry.rotations_rad):
        return None
    axes = [
        np.linspace(max(0.0, 2 * c - (n - 1)), min(n - 1.0, 2 * c), STEPS)
        for c, n in zip(center, shape, strict=True)
    ]
    if any(axis[0] >= axis[-1] for axis in axes):
        return None
    y, x = np.meshgrid(*axes, indexing="ij")
    turned = rotation(geometry.rotations_rad)
    beam = np.array([0.0, 0.0, distance])
    plane = np.stack([(y - center[0]) * size[0], (x - center[1]) * size[1], np.zeros_like(y)], -1)
    there = plane @ turned.T + beam
    opposite = there * np.array([-1.0, -1.0, 1.0])
    normal = turned[:, 2]
    along = opposite @ normal
    reach = np.divide(beam @ normal, along, out=np.full_like(along, np.inf), where=along > 0)
    with np.errstate(invalid="ignore"):
        partner = (opposite * reach[..., None] - beam) @ turned
        off = (partner + plane)[..., :2] / np.asarray(size)
    pixels = np.nan_to_num(np.hypot(off[..., 0], off[..., 1]), nan=np.inf)
    place = np.unravel_index(int(np.argmax(pixels)), pixels.shape)
    return float(pixels[place]), (round(y[place]), round(x[place]))
