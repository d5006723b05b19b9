"""The section "Pair distribution" of the page."""

from __future__ import annotations

from smae_jax.figures.pair import PairCurves, pair_figure
from smae_jax.figures.profiles import Curve
from smae_jax.report import page
from smae_jax.report.collecting import Collected
from smae_jax.report.pair import Pair
from smae_jax.report.pair_curves import Curves
from smae_jax.report.sections import Keep, drawn, observed_table


def section(found: Pair, collected: Collected, keep: Keep) -> str:
    """Show S(Q), G(r) and the shells over the scan."""
    layout = found.layout
    body = page.paragraph(
        "I(q), without the background and over the polarisation factor (1 + cos^2 2theta) / 2 of whole "
        "rings, is brought to electron units by the integral of Krogh-Moe and Norman. S(Q) is that of Faber "
        "and Ziman, with form factors and Compton scattering of the composition by xraylib. G(r) is its sine "
        "transform. Absorption, multiple scattering and fluorescence are not corrected; what changes slowly "
        "with Q shows below 1 angstrom."
    )
    body += page.facts(layout.said)
    middle = len(collected.names) // 2
    shells = [(shell.start, shell.end) for shell in layout.shells]
    rows = [
        PairCurves(
            f"frame {collected.numbers[middle]}",
            _drawn_curves(found.structure, middle),
            _drawn_curves(found.functions, middle),
        ),
        PairCurves(
            "all frames added up",
            _drawn_curves(found.whole_structure, 0),
            _drawn_curves(found.whole_functions, 0),
        ),
    ]
    transform = layout.transform
    image = keep("pair", pair_figure(transform.q, transform.r, rows, shells=shells))
    body += page.figure(
        image,
        "S(Q) and G(r) before and after, one standard deviation shaded; shells shaded in yellow.",
    )
    if not layout.shells:
        return body + page.paragraph("No shell stands out of G(r) of the raw counts of the scan.")
    body += observed_table(found.observables)
    body += page.paragraph(
        "The position is the maximum of a parabola through the upper half of the shell, the centroid the "
        "mean distance weighted by G(r), between the places beside the maximum where G(r) crosses 0. The "
        "area is the integral of G(r) where that of the whole scan is above 0: raw areas are unbiased, and "
        "a smaller denoised one says that the structure was smoothed. A shell that the raw counts of a "
        "frame do not show by 3 sigma has no raw position and centroid there. Errors of denoised quantities "
        "are the scatter of replicas.",
        "soft",
    )
    return body + drawn(found.observables, collected, keep, name="shells")


def _drawn_curves(curves: Curves, frame: int) -> list[Curve]:
    sigma = None if curves.denoised_sigma is None else curves.denoised_sigma[frame]
    shown = [
        Curve("raw", curves.raw[frame], curves.raw_sigma[frame]),
        Curve("denoised", curves.denoised[frame], sigma),
    ]
    if curves.reference is not None:
        shown.append(Curve("reference", curves.reference[frame]))
    return shown
