"""What method `thinning` has to find out about a scan before it can start."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from smae_jax.config import TrainConfig, parse_shares
from smae_jax.data.center import Center
from smae_jax.data.scan import Scan, not_counted
from smae_jax.evaluation.asymmetry import opposite, relative_asymmetry, symmetry_chi_square
from smae_jax.methods.thinning import deals_alike

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
    if options.partner == "auto":
        partner, reason = choose_partner(scan, center)
        say(f"partner {partner}: {reason}")
        options = dataclasses.replace(options, partner=partner)
    shares = parse_shares(options.shares)
    if options.across and not deals_alike(shares, options.variants, options.gaussian):
        options = dataclasses.replace(options, across=False)
        if options.partner != "none":
            say(
                "patches within half-planes: unequal shares, splits drawn anew or values that are no counts "
                "would show the network its target across the centre"
            )
    return dataclasses.replace(config, thinning=options)


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
