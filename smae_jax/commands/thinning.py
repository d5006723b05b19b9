"""What method `thinning` has to find out about a scan before it can start."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from smae_jax.config import TrainConfig, parse_raster
from smae_jax.data.center import Center
from smae_jax.data.neighbours import frames_beside
from smae_jax.data.scan import Scan, not_counted
from smae_jax.evaluation.asymmetry import opposite, relative_asymmetry, symmetry_chi_square

Say = Callable[[str], None]
UNRELATED = 0.5
"""Relative asymmetry from which a pixel and its partner are taken for two different things."""
SIGNIFICANT = 3.0
"""Standard deviations from which an asymmetry is taken for real."""


def settle_thinning(config: TrainConfig, scan: Scan, center: Center, say: Say) -> TrainConfig:
    """Check that the values can be split, and choose what is made of the partner.

    Args:
      config: options of the run.
      scan: its frames.
      center: their beam centre.
      say: receives every line that a person should read.

    Returns:
      The options, with `thinning.partner` settled; as they were for another method.

    Raises:
      ValueError: if the values are no photon counts and the noise is not known.
    """
    options = config.thinning
    if config.method != "thinning":
        return config
    odd = None if options.gaussian else not_counted(scan.counts)
    if odd is not None:
        raise ValueError(
            f"{scan.metadata.sources[0]}: expected whole photon counts to split, got {odd:g}; give "
            "--thinning.gain and --thinning.readout-noise of an integrating detector, or use --method smae"
        )
    if options.partner != "auto":
        return config
    partner, reason = choose_partner(scan, center)
    say(f"partner {partner}: {reason}")
    return dataclasses.replace(config, thinning=dataclasses.replace(options, partner=partner))


def choose_partner(scan: Scan, center: Center) -> tuple[str, str]:
    """Choose by the scan's symmetry whether a pixel's partner helps; return the choice and the reason."""
    seen = np.broadcast_to(scan.valid, scan.counts.shape)
    total = scan.counts.sum(axis=0, dtype=np.float64)
    own, partner, both = opposite(total, np.asarray(seen.all(axis=0)), center.half_pixel)
    if not both.any():
        return "none", "no pixel has a valid partner"
    found = relative_asymmetry(own, partner, both)
    chi_square = symmetry_chi_square(scan.counts, scan.valid, center.half_pixel)
    measured = (
        f"chi-square of opposite pixels {chi_square:.2f}, asymmetry {100 * found.relative:.1f} %"
    )
    if found.relative > UNRELATED and found.sigmas > SIGNIFICANT:
        return "none", f"{measured}: the pattern is not centro-symmetric"
    return "channel", f"{measured}: pixel and partner are related, and kept apart"


def neighbours_for(config: TrainConfig, scan: Scan) -> np.ndarray | None:
    """Return which frames lie beside each, (frames, n) int32, where the options ask for them."""
    options = config.thinning
    if config.method != "thinning" or options.neighbours == "none":
        return None
    shape = parse_raster(options.raster) if options.raster else scan.metadata.raster_shape
    return frames_beside(len(scan.counts), kind=options.neighbours, raster_shape=shape)
