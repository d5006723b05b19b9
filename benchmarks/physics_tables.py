"""What `benchmarks.physics` measured, as tables: errors beside raw, bias, coverage, where raw is as good."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from benchmarks import markdown

OWN, SECOND = "the scan itself", "a second scan"
FILTERS = ("rotated average", "best Gaussian")
AS_GOOD = 0.9
"""Times the error of raw: from here on raw counts are as good."""
SURE = 3.0
"""Standard errors beyond which a bias is one."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A quantity of a scan, as one way of answering tells it, beside its truth.

    Attributes:
      errors: of every frame, NaN where it is not told.
      truth: of the scan, its middle.
      bars: one standard deviation of every frame; None = not known.
    """

    errors: np.ndarray
    truth: float
    bars: np.ndarray | None

    @property
    def rms(self) -> float:
        """Root of the mean squared error over the frames that it tells."""
        return float(np.sqrt(np.nanmean(self.errors**2))) if self.told else np.nan

    @property
    def told(self) -> float:
        """Share of the frames."""
        return float(np.isfinite(self.errors).mean())

    @property
    def bias(self) -> tuple[float, float]:
        """Mean error and its standard error."""
        known = self.errors[np.isfinite(self.errors)]
        if len(known) < 2:
            return np.nan, np.nan
        return float(known.mean()), float(known.std(ddof=1) / np.sqrt(len(known)))

    @property
    def covered(self) -> float:
        """Share of the truths within one bar."""
        if self.bars is None:
            return np.nan
        known = np.isfinite(self.errors) & np.isfinite(self.bars)
        return float((np.abs(self.errors) <= self.bars)[known].mean()) if known.any() else np.nan

    @property
    def sigmas(self) -> float:
        """Bias in typical bars."""
        if self.bars is None or not np.isfinite(self.bars).any():
            return np.nan
        return self.bias[0] / float(np.nanmedian(self.bars))


Rows = dict[str, dict[str, Row]]
"""Quantity -> way of answering, such as `raw` or `denoised, a second scan` -> its row."""


@dataclasses.dataclass(frozen=True)
class Result:
    """All that was measured at one exposure."""

    kind: str
    photons: float
    rows: Rows
    intensity: dict[str, dict[str, Row]]


def number(value: float, form: str = "{:.3g}") -> str:
    """Write a number, or a dash where there is none."""
    return form.format(value) if np.isfinite(value) else "-"


def errors_table(result: Result) -> str:
    """Write the rms errors and biases of one exposure."""
    ways = ("raw", *FILTERS, f"denoised, {OWN}", f"denoised, {SECOND}")
    head = [f"{result.kind.upper()}, {result.photons:g} photons/pixel", "truth", *ways]
    head += [
        "bias of raw",
        "bias of denoised",
        "the same, a second scan",
        "told by raw, denoised / %",
    ]
    lines = []
    for title, rows in result.rows.items():
        biases = [
            f"{number(bias, '{:+.2g}')} ± {number(error, '{:.1g}')}"
            for bias, error in (rows[way].bias for way in ("raw", *ways[-2:]))
        ]
        told = " / ".join(f"{100 * rows[way].told:.0f}" for way in ("raw", ways[-2]))
        cells = [number(rows["raw"].truth, "{:.4g}"), *(number(rows[way].rms) for way in ways)]
        lines.append([title, *cells, *biases, told])
    return markdown.table(head, lines)


def common_errors(rows: dict[str, Row]) -> tuple[float, float]:
    """Return what 68 % of the errors of raw and denoised are below, of the second scan where both tell.

    One standard deviation of normal errors; a few fits of raw counts that go astray do not decide.
    """
    ways = (f"raw, {SECOND}", f"denoised, {SECOND}")
    both = np.isfinite(rows[ways[0]].errors) & np.isfinite(rows[ways[1]].errors)
    if both.sum() < 3:
        return np.nan, np.nan
    raw, other = (float(np.quantile(np.abs(rows[w].errors[both]), 0.68)) for w in ways)
    return raw, other


def verdicts(results: Iterable[Result]) -> Iterator[tuple[str, str]]:
    """Say of each quantity, by the second scan, where raw is as good and where denoised is biased."""
    way = f"denoised, {SECOND}"
    for result in results:
        where = f"{result.kind.upper()}, {result.photons:g}"
        for title, rows in result.rows.items():
            raw, denoised = common_errors(rows)
            if denoised >= AS_GOOD * raw:
                yield "as_good", f"{where}: {title} ({denoised / raw:.2f} times the error of raw)"
            bias, error = rows[way].bias
            if abs(rows[way].sigmas) > 1 and abs(bias) > SURE * error:
                share = (
                    f", {100 * bias / rows[way].truth:+.0f} %" if "direction" not in title else ""
                )
                yield "biased", f"{where}: {title} ({rows[way].sigmas:+.1f} sigma{share})"


def summary(results: Sequence[Result], kind: str) -> str:
    """Write one table of the quantities of a kind of scan: error beside raw, and coverage."""
    own = [result for result in results if result.kind == kind]
    names = dict.fromkeys(title.partition(",")[0] for result in own for title in result.rows)
    lines = []
    for name in names:
        cells = []
        for result in own:
            rows = [rows for title, rows in result.rows.items() if title.partition(",")[0] == name]
            ratios = [common_errors(one) for one in rows]
            known = [np.log(b / a) for a, b in ratios if a > 0 and b > 0]
            cells.append(number(float(np.exp(np.mean(known))) if known else np.nan, "{:.2f}"))
            for way in ("raw", *(f"denoised, {which}" for which in (OWN, SECOND))):
                shares = [one[way].covered for one in rows if np.isfinite(one[way].covered)]
                cells.append(number(100 * float(np.mean(shares)) if shares else np.nan, "{:.0f}"))
        lines.append([name, *cells])
    head = [kind.upper()]
    for result in own:
        at = f"at {result.photons:g}"
        head += [f"error over raw's {at}", "raw covers / %", "denoised / %", "a second scan / %"]
    return markdown.table(head, lines)


def intensity_table(results: Sequence[Result]) -> str:
    """Write how far I(q) and its bars are off."""
    head = ["I(q)", "scan", "rms error over raw's", "raw covers / %", "report's bars cover / %"]
    head += ["independent pixels' bars cover / %", "independent bars are too small by"]
    lines = []
    for result in results:
        for which, rows in result.intensity.items():
            alone = rows["independent"]
            assert alone.bars is not None
            pull = float(np.sqrt(np.mean((alone.errors / alone.bars) ** 2)))
            covered = (
                f"{100 * rows[way].covered:.0f}" for way in ("raw", "denoised", "independent")
            )
            name = f"{result.kind.upper()}, {result.photons:g}"
            lines.append([name, which, f"{alone.rms:.2f}", *covered, f"{pull:.1f} times"])
    return markdown.table(head, lines)


def listed(said: Sequence[str]) -> str:
    """Write a list, one line each."""
    return "\n".join(f"- {one}" for one in said) or "None."
