"""What method `thinning` has to find out about a scan before it can start."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from smae_jax.config import ThinningOptions, TrainConfig, parse_raster, parse_shares
from smae_jax.data.batches import Shared
from smae_jax.data.center import Center
from smae_jax.data.components import CHUNK_VALUES, FEWEST, amounts, find_components
from smae_jax.data.neighbours import Neighbours, frames_beside
from smae_jax.data.scan import Scan, not_counted
from smae_jax.evaluation.asymmetry import opposite, relative_asymmetry, symmetry_chi_square
from smae_jax.methods.thinning import Thinning, deals_alike
from smae_jax.splitting import pixel_identity

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
    if options.neighbours == "auto":
        options = dataclasses.replace(options, neighbours="none")
    shares = parse_shares(options.shares)
    if options.across and not deals_alike(shares, options.variants, options.gaussian):
        options = dataclasses.replace(options, across=False)
        if options.partner != "none":
            say(
                "patches within half-planes: unequal shares, splits drawn anew or values that are no counts "
                "would show the network its target across the centre"
            )
    if options.neighbours == "scan":
        wrong = without_components(options, len(scan.counts))
        if wrong:
            raise ValueError(
                f"--thinning.neighbours scan: {wrong}; change that, or use frames, raster or none"
            )
    return dataclasses.replace(config, thinning=options)


def without_components(options: ThinningOptions, frames: int) -> str | None:
    """Say why what the frames have in common cannot be shown; None where it can.

    A network learns few frames by heart; and which photons of a whole frame its source holds must be known
    beforehand.
    """
    if frames < FEWEST:
        return f"expected {FEWEST} frames or more, got {frames}"
    if options.gaussian:
        return "expected whole photon counts, without --thinning.gain and --thinning.readout-noise"
    if options.variants == 0:
        return "expected --thinning.variants 1 or more, got 0"
    if options.partner != "none" and any(a != b for a, b in parse_shares(options.shares)):
        shares = " ".join(options.shares)
        return f"expected --thinning.shares alike for own and partner, got {shares}"
    return None


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


def neighbours_for(config: TrainConfig, scan: Scan) -> Neighbours | None:
    """Return which other frames each is denoised with, where the options ask for them."""
    options = config.thinning
    if config.method != "thinning" or options.neighbours in ("auto", "none"):
        return None
    if options.neighbours == "scan":
        return Neighbours("scan")
    shape = parse_raster(options.raster) if options.raster else scan.metadata.raster_shape
    beside = frames_beside(len(scan.counts), kind=options.neighbours, raster_shape=shape)
    return Neighbours(options.neighbours, beside)


def neighbours_at_hand(config: TrainConfig, scan: Scan, say: Say) -> Neighbours | None:
    """Return which other frames a run is applied with, and find what all of these have in common.

    Args:
      config: options of the run, settled.
      scan: the frames that it is applied to.
      say: receives a line where there are too few of them.
    """
    neighbours = neighbours_for(config, scan)
    if neighbours is None or neighbours.kind != "scan":
        return neighbours
    if len(scan.counts) < FEWEST:
        say(
            f"note: the run denoises frames with what {FEWEST} of them or more have in common; the "
            f"{len(scan.counts)} here are denoised each by itself"
        )
    return Neighbours("scan", components=find_components(scan.counts, scan.valid))


def shared_by_frames(method: Thinning, counts: np.ndarray, valid: np.ndarray) -> Shared:
    """Find what the frames of a scan have in common, and how much of it the source of each split holds.

    Args:
      method: tells how photons are split.
      counts: on the canvas, (frames, height, width), 0 where invalid.
      valid: bool, (1 or frames, height, width).

    Returns:
      It, of numpy arrays.
    """
    components = find_components(counts, valid)
    assert components is not None, "settled on the scan"
    pixel = np.arange(counts[0].size).reshape(counts[0].shape)
    found = np.empty((len(counts), method.splits, components.patterns.shape[1]), np.float32)
    seen_counts = jax.jit(method.seen_counts, static_argnums=2)
    step = max(1, CHUNK_VALUES // pixel.size)
    for first in range(0, len(counts), step):
        chosen = np.arange(first, min(first + step, len(counts)))
        seen = valid if len(valid) == 1 else valid[chosen]
        identity = pixel_identity(jnp.asarray(chosen)[:, None, None], jnp.asarray(pixel))
        for split in range(method.splits):
            part, share = seen_counts(counts[chosen].astype(np.float32), identity, split)
            amount = amounts(components, np.asarray(part), seen, chosen)
            found[chosen, split] = amount / max(share, 1e-6)
    return Shared(  # numpy arrays, on their way to the device
        group=components.group,  # type: ignore[arg-type]
        patterns=components.patterns,  # type: ignore[arg-type]
        known=components.known,  # type: ignore[arg-type]
        amounts=found,  # type: ignore[arg-type]
    )
