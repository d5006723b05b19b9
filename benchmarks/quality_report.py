"""The page and the figure of `benchmarks.quality`: tables, gains, and curves of quality against exposure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.methods_report import facts_list

Result = dict[str, Any]
LINES = {
    "raw": ("#9a9a9a", ":"),
    "rotated average": ("#9a9a9a", "--"),
    "best Gaussian": ("#4c78a8", "--"),
    "SMAE as published": ("#b279a2", ":"),
    "SMAE, cross": ("#f2a07b", "-"),
    "SMAE, average": ("#d62728", "-"),
    "thinning, direct": ("#9ccc9c", "-"),
    "thinning, average": ("#2ca02c", "-"),
    "thinning, symmetric": ("#145214", "-"),
    "thinning, half-planes": ("#0b8f5a", "-."),
    "thinning, none": ("#c9a227", "-"),
    "oracle": ("#000000", "--"),
}

SHOWN_BOTH = (
    "SMAE, average",
    "thinning, average",
    "thinning, half-planes",
    "thinning, none",
    "oracle",
)
"""Also scored as the network answers, to tell what `infer` adds with the other frames of the scan."""
ALONE = ", network alone"
"""What the names of these rows end with; each stands below its own, dotted."""
STYLE = {
    name + ending: (color, ":" if ending else line)
    for name, (color, line) in LINES.items()
    for ending in (("", ALONE) if name in SHOWN_BOTH else ("",))
}

TEXT = """\
# Quality of thinning beside SMAE, filters and an oracle

    {command}

![PSNR against photons per pixel](images/quality.png)

*PSNR where pixel and partner are valid, against the exposure. Dashed: filters, and the oracle, the same
network trained as long on clean patterns of eight other scans. Dotted: the network alone.*

## PSNR / dB where pixel and partner are valid

{psnr}

## PSNR / dB where either is valid

{either}

Methods without an answer at pixels that only their partner measured have a dash, and so has what was not run.

## Error over the expected variance

Mean of (estimate - truth)^2 / truth where both are valid: 1 is a raw exposure, 0 is perfect.

{weighted}

## The asymmetry that is left

Slope of the answer's odd part on the truth's: 1 keeps the asymmetry, 0 wipes it out.

{asymmetry}

## Real muscle frames

Three 10 ms exposures trained on and denoised, scored against the mean of three others; score of the error
over photon noise, 1 = raw, 0 = perfect (`python -m benchmarks.p40`, the README's table).

{real}

## Training seconds

{seconds}

## How to read it

- **Scores** compare expected counts with expected counts, not scaled, clipped or registered; the data
  range of the PSNR is the largest truth inside the mask. All frames of a scan are trained on and scored:
  training sees their noisy counts and no truth. The best Gaussian (on raw counts or on the average with
  the turned frame) has the sigma of the smallest error to the truth, which no user knows.
- **Data**: scans of 64 frames, 128 x 128 pixels, with gaps, beamstop and arm (`smae_jax.simulate`), and real
  muscle patterns, Poisson-sampled.
- **Settings**: the defaults for every method and exposure, {steps} steps of 16 patches. SMAE as published
  has its own network, loss, scaling and as many steps of 4, see [methods.md](methods.md).
- **Network alone**: `infer` combines the frames of a scan, as far as held-out photons confirm that they
  differ, and corrects what a network gets wrong in all frames alike by the counts of the scan added up. All
  rows have that, but for SMAE as published, its rule `cross`, and the rows that say so
  (`--no-combine --no-keep-sums --keep-significant 0`).
- **Rows of thinning**: the first three are its default and differ in `--rule`. In "half-planes"
  patches do not cross the centre (`--thinning.no-across`); "none" leaves the partner out.
- One seed: differences below some 0.2 dB mean nothing. `--kept` reports trainings that are in the folder
  already; without it all are run.

## Made with

{facts}
"""


def write_report(
    output: Path, results: list[Result], real: dict[str, dict[str, float]], facts: dict[str, Any]
) -> None:
    """Write `quality.md` and `images/quality.png` into the folder `output`.

    Args:
      output: folder.
      results: of the cases with a known truth.
      real: row -> scores of the real muscle frames; empty if they were not run.
      facts: command, steps and what the figures were made with.
    """
    (output / "images").mkdir(parents=True, exist_ok=True)
    uneven = [r for r in results if any("asymmetry" in row for row in r["rows"].values())]
    text = TEXT.format(
        command=facts["command"],
        psnr=table(results, "psnr_db", "{:.2f}"),
        either=table(results, "either_db", "{:.2f}"),
        weighted=table(results, "weighted", "{:.4f}"),
        asymmetry=table(uneven, "asymmetry", "{:.2f}") if uneven else "No case has one.",
        seconds=table(results, "seconds", "{:.0f}"),
        real=real_table(real) if real else "Not run.",
        steps=facts["steps"],
        facts=facts_list(facts),
    )
    (output / "quality.md").write_text(text, encoding="utf-8")
    draw(output / "images" / "quality.png", results)


def table(results: list[Result], key: str, form: str) -> str:
    """Make Markdown tables, one of each group: methods x exposures; a dash where there is no figure."""
    tables = []
    for group in dict.fromkeys(result["group"] for result in results):
        own = [result for result in results if result["group"] == group]
        lines = [[group, *(f"{result['flux']:g}" for result in own)], ["---", *["---:"] * len(own)]]
        for method in STYLE:
            rows = [result["rows"].get(method, {}) for result in own]
            if any(key in row for row in rows):
                lines.append(
                    [method, *(form.format(row[key]) if key in row else "-" for row in rows)]
                )
        tables.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(tables)


def real_table(rows: dict[str, dict[str, float]]) -> str:
    """Make the Markdown table of the real frames: row, two scores, seconds of training."""
    lines = [
        "| | plain score | weighted score | training / s |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, row in rows.items():
        seconds = f"{row['seconds']:.0f}" if "seconds" in row else ""
        lines.append(f"| {name} | {row['plain']:.3f} | {row['weighted']:.4f} | {seconds} |")
    return "\n".join(lines)


def draw(path: Path, results: list[Result]) -> None:
    """Draw, for each group of cases, PSNR against the exposure."""
    groups = list(dict.fromkeys(result["group"] for result in results))
    figure = Figure(figsize=(4.4 * len(groups) + 2.2, 4.6), layout="constrained", dpi=110)
    axes = figure.subplots(
        1, len(groups) + 1, squeeze=False, gridspec_kw={"width_ratios": [1] * len(groups) + [0.5]}
    )[0]
    for axis, group in zip(axes, groups, strict=False):
        own = [result for result in results if result["group"] == group]
        for method, (color, style) in STYLE.items():
            points = [(r["flux"], r["rows"][method]["psnr_db"]) for r in own if method in r["rows"]]
            if points and method != "raw":
                wide = 2.4 if method == "thinning, average" else 1.3
                x, y = zip(*points, strict=True)
                axis.plot(x, y, style, color=color, marker="o", ms=4, lw=wide, label=method)
        name, _, unit = group.partition(" (")
        axis.set_xscale("log")
        axis.set_title(f"{name}, {unit.rstrip(')')}", fontsize=10)
        axis.set_xlabel("photons per pixel" if "muscle" not in group else "share of an exposure")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("PSNR / dB")
    axes[-1].axis("off")
    handles = {
        label: h for a in axes for h, label in zip(*a.get_legend_handles_labels(), strict=True)
    }
    axes[-1].legend(handles.values(), handles.keys(), loc="center left", frameon=False)
    figure.savefig(path)
