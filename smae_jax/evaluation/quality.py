"""The table of a denoised simulation beside the simple filters: every estimate against the truth."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from smae_jax.errors import UserError
from smae_jax.evaluation import tables
from smae_jax.evaluation.filters import best_gaussian, rotated_average
from smae_jax.geometry import turn
from smae_jax.metrics import count_ratio, psnr, rmse, ssim

SIGMAS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""Widths that the best Gaussian is chosen from, in pixels."""

Row = dict[str, Any]

# key of a row -> (heading, format, unit said once)
_COLUMNS = {
    "psnr_db": ("PSNR / dB", "{:.2f}"),
    "ssim": ("SSIM", "{:.4f}"),
    "rmse": ("RMSE", "{:.4f}"),
    "psnr_either_db": ("with filled / dB", "{:.2f}"),
    "no_value": ("no value / %", "{:.1f}"),
    "count_ratio": ("counts kept", "{:.4f}"),
    "worst_count_ratio": ("worst frame", "{:.4f}"),
}


def quality_rows(
    counts: ArrayLike,
    estimates: Mapping[str, ArrayLike],
    truth: ArrayLike,
    valid: ArrayLike,
    center: tuple[float, float],
) -> list[Row]:
    """Score the raw counts, the simple filters and some estimates against the truth.

    The main scores look at the pixels that are valid and have a valid partner; a second PSNR also
    at those that only their partner can answer. An estimate that has no value (NaN) at a pixel that
    a score looks at has the score NaN, and `no_value` says for how many.

    Args:
      counts: measured, (frames, height, width); anything where invalid.
      estimates: name -> expected counts, shaped as `counts`, NaN where there is no value.
      truth: expected counts, shaped as `counts`.
      valid: True = use the pixel, bool, (height, width), (1, height, width) or as `counts`.
      center: (y, x) in pixels; taken at the nearest half pixel.

    Returns:
      A row for each of `raw`, `rotated average`, the best Gaussian on that (named with its sigma,
      the one of `SIGMAS` with the smallest error to the truth, which no user knows), and the
      estimates in their order. Its keys:

      - name, pixels: what was scored, and at how many pixels of the scan.
      - data_range: largest truth at these pixels over the scan, in counts; of both PSNR and SSIM.
      - psnr_db, ssim, rmse (counts): at pixels that are valid and have a valid partner.
      - psnr_either_db: at pixels of which one partner at least is valid.
      - no_value: share of the latter without a value, in %.
      - count_ratio, worst_count_ratio: total over the counts measured at the valid pixels of the
        scan, and of the frame that is furthest from 1.

    Raises:
      UserError: if no pixel has a valid partner.
      ValueError: if shapes differ.
    """
    seen = np.asarray(counts, np.float64)
    true = np.asarray(truth, np.float64)
    use = np.broadcast_to(np.asarray(valid, bool), seen.shape)
    half = (round(2 * center[0]) / 2, round(2 * center[1]) / 2)
    turned = turn(use, half, False)
    both = use & turned
    if not both.any():
        raise UserError(f"centre {half}: no valid pixel has a valid partner; nothing to score")
    average, known = rotated_average(seen, use, half)
    sigma, smoothed = best_gaussian(average, known, true, SIGMAS, judged=both)
    candidates = {
        "raw": np.where(use, seen, np.nan),
        "rotated average": np.where(known, average, np.nan),
        f"best Gaussian on rotated average, sigma {sigma:g}": np.where(known, smoothed, np.nan),
        **{name: np.asarray(estimate, np.float64) for name, estimate in estimates.items()},
    }
    for name, estimate in candidates.items():
        if estimate.shape != true.shape:
            raise ValueError(f"{name}: expected shape {true.shape}, got {estimate.shape}")
    return [_row(name, one, seen, true, use, turned) for name, one in candidates.items()]


def _row(
    name: str,
    estimate: np.ndarray,
    counts: np.ndarray,
    truth: np.ndarray,
    use: np.ndarray,
    turned: np.ndarray,
) -> Row:
    """Score one estimate; `use` and `turned`: where a pixel is valid, and where its partner is."""
    both, either = use & turned, use | turned
    data_range, answered = float(truth[both].max()), np.isfinite(estimate)
    complete, everywhere = bool(answered[both].all()), bool(answered[either].all())
    ratios = _count_ratios(estimate, counts, use)
    return {
        "name": name,
        "pixels": int(both.sum()),
        "data_range": data_range,
        "psnr_db": psnr(estimate, truth, both, data_range) if complete else math.nan,
        "ssim": ssim(estimate, truth, both, data_range) if complete else math.nan,
        "rmse": rmse(estimate, truth, both) if complete else math.nan,
        "psnr_either_db": psnr(estimate, truth, either, data_range) if everywhere else math.nan,
        "no_value": 100 * float(1 - answered[either].mean()),
        "count_ratio": count_ratio(estimate, counts, use) if counts[use].any() else math.nan,
        "worst_count_ratio": max(ratios, key=lambda ratio: abs(ratio - 1), default=math.nan),
    }


def _count_ratios(estimate: np.ndarray, counts: np.ndarray, use: np.ndarray) -> list[float]:
    """Divide totals frame by frame; frames without a photon are left out, NaN goes first."""
    ratios = [
        count_ratio(e, n, u) for e, n, u in zip(estimate, counts, use, strict=True) if n[u].any()
    ]
    return [math.nan] if any(math.isnan(ratio) for ratio in ratios) else ratios


def as_markdown(rows: list[Row]) -> str:
    """Write the table as Markdown, with what its columns mean below it."""
    return f"{tables.as_markdown(rows, _COLUMNS, missing='no value')}\n\n{_legend(rows)}\n"


def as_text(rows: list[Row]) -> str:
    """Write the table for a terminal, columns aligned, with what they mean below it."""
    return f"{tables.as_text(rows, _COLUMNS, missing='no value')}\n{_legend(rows)}"


def as_json(rows: list[Row]) -> str:
    """Write the rows as JSON; what is not finite becomes null."""
    return json.dumps(tables.without_infinities(rows), indent=2) + "\n"


def _legend(rows: list[Row]) -> str:
    if not rows:
        return "nothing was scored"
    return (
        "PSNR, SSIM and RMSE to the truth, at the valid pixels that have a valid partner; data "
        f"range {rows[0]['data_range']:.4g} counts, the largest truth there.\n"
        "With filled: PSNR also at the pixels that only their partner can answer; no value: share "
        "of all these pixels that the estimate leaves open.\n"
        "Counts kept: total over the measured total at the valid pixels, of the scan and of the "
        "frame furthest from 1."
    )
