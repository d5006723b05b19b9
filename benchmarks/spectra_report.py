"""The page of `benchmarks.spectra`: rows of its tables, and the words about them."""

from __future__ import annotations

import dataclasses
import os
import platform

import numpy as np

from benchmarks import spectra_map

LEAST = 1e-3
"""Counts below which no estimate is taken to be when its likelihood is computed."""
PEAKS = 10
"""Strongest peaks whose areas and widths are compared."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table of fluorescence spectra."""

    name: str
    psnr: float
    deviance: float
    total: float
    negative: int
    areas: int
    widths: int
    widths_in_errors: int
    seconds: str = ""


TEXT = """\
# Repeated spectra

Made by `python -m benchmarks.spectra` on {cores} CPU cores ({machine}){load}.

## X-ray fluorescence: four spectra of 0.1 s

![Four spectra before and after](images/spectra.png)

Scored against the mean of 28 other spectra, which no training and no choice of a step looks at. The
options are the defaults (`configs/spectra.toml`). Steps, learning rate, batch, network and the rest were
compared by spectra left out among the four, and no other setting was found better
([repeats_selection.md](repeats_selection.md)). One part of the rule was broken before that: while the
bank of smoothings that the network mixes was worked out, and these defaults first written down, this
score was in sight. The filters' settings are the best of all for the mean of the 28.

PSNR = 20 log10(max / rms error); deviance: mean Poisson deviance per channel of the 28, estimates below
{least:g} counts taken as {least:g}; total: beside what the four counted (which is 0.24 %, 0.7 sigma,
more than the 28 did); areas and widths: how many of the {peaks} strongest peaks have the area of the 28
within 1 % or 2 sigma, and the width within 3 % (in brackets: or 2 sigma); seconds: steps + the rest
(reading, compilation, checkpoints).

| | PSNR | deviance | total | negative | areas | widths | seconds |
|---|---|---|---|---|---|---|---|
{rows}
| autoden, three seeds (measured elsewhere) | 48.30-49.50 | 0.832-0.850 | up to 2.4 % | 0-185 | | | 66 |

Peaks are Gaussians on straight backgrounds, all neighbours fitted at once (`benchmarks/peaks.py`):
windows about single peaks, which this page used before, count the neighbours' photons as well. Sigma is
that of the photons of the four and of the 28 in this fit. It exceeds 3 % of the width for {uncertain}
of the {peaks} peaks, whose widths in four spectra are right within 3 % only by luck: the line of the
mean of four shows what no denoiser can know. How much wider than in that mean the peaks are, percent,
from the largest to the smallest:

{wider}

Weak peaks are widened by smoothing, also by that of the network.

The 28 spectra have a deviance of {own:.4f} about their own mean, and about {floor:.4f} about a truth
that they were drawn from: no estimate from other spectra comes below that. Their mean has noise of its
own, which ends the PSNR at 51.6 dB.

The network has 751 parameters and mixes smoothings; the best step is the one with the lowest loss on a
fifth of the channels, which are never a target.

## Many spectra at once

Networks learn from single spectra (0.1 s) by splitting their photons (`thinning`, 150 steps): a network
of its own for each, all trained in one `jax.vmap` (two splits a step), or one network for all (four
splits a step, defaults of the command line). PSNR against the mean of the other 31; a single spectrum
as counted: 38.4 dB. Seconds are those of the steps, compilation apart.

| spectra | seconds | seconds a spectrum | PSNR, mean (worst) |
|---|---|---|---|
{at_once}

On a CPU a network each costs nearly in proportion: a single training keeps the cores busy already, and
`vmap` has no idle time to fill. One network for all is what makes many spectra cheap, at no loss of
quality.

A simulated map of {side} x {side} spectra (the real lines on a map of grains each, {channels} channels,
Poisson counts, HDF5), denoised by one run of the command line; PSNR against the truth.

| | seconds of steps (of everything) | seconds a spectrum | PSNR, mean (worst) |
|---|---|---|---|
{map}

## Raman: lowest laser power against the highest

Five spectra at 20 % power; the reference is the mean of five at 100 %, fitted with one factor, without
the channels where it is saturated (and three beside them).

{noise}.

One dark frame was taken off all of these spectra, so its noise is in every repeat: to Noise2Noise it
would be signal. It is measured (products of third differences of different repeats) and made
independent in every pair by adding fresh noise to the source and taking it off the target.

`configs/raman.toml`, chosen by spectra left out among the five
([repeats_selection.md](repeats_selection.md)). That more steps than for photons are needed had been
seen with this score in sight before.

| | PSNR | beside the best filter | seconds |
|---|---|---|---|
{raman}
"""


def page(
    rows: list[Row],
    floor: dict[str, float],
    raman_rows: list[tuple[str, float, str]],
    raman_noise: str,
    at_once: list[tuple[str, int, float, np.ndarray]],
    map_rows: list[spectra_map.MapRow],
    *,
    wider: dict[str, np.ndarray],
    uncertain: int,
    channels: int,
    load: str,
) -> str:
    """Write docs/repeats_quality.md."""
    best = max(score for name, score, _ in raman_rows if name.startswith("best"))

    def of_map(row: spectra_map.MapRow) -> str:
        whole = f" ({row.whole_seconds:.1f})" if np.isfinite(row.whole_seconds) else ""
        took = f"{row.seconds:.1f}" if np.isfinite(row.seconds) else ""
        known = [s for s in (row.whole_seconds, row.seconds) if np.isfinite(s)]
        each = f"{known[0] / len(row.scores):.3f}" if known else ""
        return (
            f"| {row.name} | {took}{whole} | {each} | {row.scores.mean():.2f} "
            f"({row.scores.min():.2f}) |"
        )

    return TEXT.format(
        cores=os.cpu_count(),
        machine=platform.machine(),
        load=load,
        least=LEAST,
        peaks=PEAKS,
        uncertain=uncertain,
        wider="\n".join(
            f"- {name}: " + ", ".join(f"{value:+.0f}" for value in values)
            for name, values in wider.items()
        ),
        rows="\n".join(
            f"| {row.name} | {row.psnr:.2f} | {row.deviance:.4f} | {row.total:+.2f} % | {row.negative} | "
            f"{row.areas}/{PEAKS} | {row.widths}/{PEAKS} ({row.widths_in_errors}) | {row.seconds} |"
            for row in rows
        ),
        own=floor["own mean"],
        floor=floor["truth"],
        at_once="\n".join(
            f"| {name} | {seconds:.2f} | {seconds / count:.3f} | {scores.mean():.2f} ({scores.min():.2f}) |"
            for name, count, seconds, scores in at_once
        ),
        side=spectra_map.SIDE,
        channels=channels,
        map="\n".join(of_map(row) for row in map_rows),
        noise=raman_noise.capitalize(),
        raman="\n".join(
            f"| {name} | {score:.2f} | {score - best:+.2f} | {seconds} |"
            for name, score, seconds in raman_rows
        ),
    )
