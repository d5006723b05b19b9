"""Read the paired high-count frames that method `supervised` learns from."""

from __future__ import annotations

from collections.abc import Callable

from smae_jax.config import TrainConfig
from smae_jax.data.masks import apply_mask
from smae_jax.data.pairing import PairedScans, pair_scans
from smae_jax.data.readers import read_mask, read_scan
from smae_jax.data.scan import Scan


def read_reference(
    config: TrainConfig, scan: Scan, say: Callable[[str], None]
) -> PairedScans | None:
    """Read the reference, mask it as it is valid itself and by the user's mask, and pair the frames.

    Args:
      config: the options of the training.
      scan: the prepared low-count frames.
      say: receives the line that tells how frames were paired and exposures compared.

    Returns:
      The pairs; None where the method takes no reference.

    Raises:
      ValueError: in one line, if a reference is missing, is not wanted, or does not fit.
    """
    options = config.data
    if config.method != "supervised":
        return None
    reference = read_scan(options.reference, saturation=options.saturation or None)
    if options.mask and reference.counts.shape[1:] == scan.counts.shape[1:]:
        mask = read_mask(options.mask, polarity=options.mask_polarity)
        reference = apply_mask(reference, mask, path=options.mask)
    paired = pair_scans(
        scan, reference, path=options.path, reference_path=options.reference, by=options.pair_by
    )
    say(paired.said)
    return paired


def check_reference(config: TrainConfig) -> None:
    """Refuse a method without its reference, and a reference without its method.

    Raises:
      ValueError: in one line, with what to do.
    """
    wanted, given = config.method == "supervised", bool(config.data.reference)
    if wanted and not given:
        raise ValueError(
            "--method supervised: expected the paired high-count frames in --data.reference, got none"
        )
    if given and not wanted:
        raise ValueError(
            f"--data.reference {config.data.reference}: method '{config.method}' learns from no reference; "
            "leave it out, or use --method supervised"
        )
