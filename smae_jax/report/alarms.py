"""What speaks against a result, in words: each alarm is a pure function of numbers that were measured.

An alarm rings, is quiet, or cannot tell; it says what was found, beside the limit, and what to do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from smae_jax.cautions import counted
from smae_jax.counting import USUAL, Scatter
from smae_jax.evaluation.residuals import Whiteness
from smae_jax.geometry import Center
from smae_jax.likeness import Unlike
from smae_jax.report.ghosts import CHANCE, GHOST, SHARE, TELLING, Dark, contradicted
from smae_jax.report.observable import Observable
from smae_jax.report.profiles import Ring
from smae_jax.report.shells import Below

State = Literal["rings", "quiet", "cannot tell"]

SIGNIFICANT = 5.0
"""Standard deviations that noise alone does not reach."""
LARGEST_ASYMMETRY = 0.06
"""Systematic difference of opposite pixels, as `inspect` has it."""
WHITE = (0.8, 1.05)
"""Variance of the residual over that of photon noise: below, the answer follows the noise (a Gaussian of 1
pixel leaves 0.76); above, it took structure away."""
WHITE_BLOCKS = 1.2
"""Variance of residuals added up over 8 x 8 pixels."""
CORRELATED = 0.02
"""Correlation of residuals of neighbouring pixels."""
LARGEST_MOVE = 1.0
"""Per cent by which a ring's total, or a peak's position, width or area may move."""
LARGEST_TURN = 1.0
"""Degrees by which a direction may turn."""
LEAST_MOTION = 0.7
"""Share of the change from frame to frame that raw values show, and denoised ones must."""
LARGEST_OFFSET = 1.0
"""Pixels between the centre of the profiles and that of the answers. A bin is as wide, so that pixels of one
ring would go to other bins; and opposite pixels would differ by 8 %."""
UNEVEN = 0.1
"""Share by which a mask may take the mean of a ring's pixels off that of all azimuths."""
BENT, FROM_NOISE = 0.2, 2.0
"""Deviation of G(r) below the first shell from -4 pi density r, over its maximum, and over its noise. Right
compositions of a simulated metallic glass and silica leave 0.01 to 0.18 of the maximum, wrong ones 0.3 to
4 at 15 1/angstrom."""
LEAST_Q_MAX = 8.0
"""1/angstrom, below which even sharp shells of right compositions bend that line."""
HARDLY = 0.1
"""Share of the frames that must tell a quantity, raw or denoised."""
EXPOSURES = (0.5, 2.0)
"""Counts per pixel over those of the training."""
FARTHEST = 0.05
"""Distance to the training scan that is always near enough."""
FARTHER = 2.0
"""Times the distance that 95 % of the training frames have to the nearest other one."""
FILLED = 0.2
"""Share of the answers, or of their counts, that stand on the partner alone."""
DRIFT = 0.1
"""Change of the totals from the first frame to the last."""
_LISTED = 8


@dataclasses.dataclass(frozen=True)
class Alarm:
    """One thing that was looked at.

    Attributes:
      name: of what could be wrong.
      state: whether it rings.
      found: what was measured, beside the limit.
      advice: what to do where it rings; "" otherwise.
    """

    name: str
    state: State
    found: str
    advice: str = ""


def _alarm(name: str, rings: bool, found: str, advice: str) -> Alarm:
    return Alarm(name, "rings" if rings else "quiet", found, advice if rings else "")


def symmetry_broken(relative: float, sigmas: float, *, used: bool) -> Alarm:
    """Ring where opposite pixels differ beyond noise, and the answers rest on their being alike.

    Args:
      relative: rms of the systematic relative difference, see `asymmetry.relative_asymmetry`.
      sigmas: standard deviations by which it is seen.
      used: whether partners are used.
    """
    name = "symmetry broken"
    if not np.isfinite(relative):
        return Alarm(name, "cannot tell", "no two opposite pixels were measured")
    seen = sigmas > SIGNIFICANT
    found = (
        f"opposite pixels differ by {100 * relative:.2g} % beyond noise; the limit is "
        f"{100 * LARGEST_ASYMMETRY:.0f} %"
        if seen
        else "no difference of opposite pixels is seen beyond noise"
    )
    if not used:
        found += "; partners are not used"
    return _alarm(
        name,
        seen and relative > LARGEST_ASYMMETRY and used,
        found,
        "Check centre, mask and flat field. Where the pattern itself is uneven, train with "
        "--thinning.partner none.",
    )


def residual_not_white(found: Whiteness | None) -> Alarm:
    """Ring where what was taken away is not photon noise and nothing else."""
    name = "residual is not photon noise"
    if found is None or not found.expected > 0:
        return Alarm(name, "cannot tell", "no photon counts to compare the answers with")
    variance, blocks = found.variance, found.block_variance
    neighbours = float(found.correlation[0])
    of_variance, of_neighbours, of_blocks = (
        SIGNIFICANT * error
        for error in (found.variance_error, found.correlation_error, found.block_variance_error)
    )
    low, high = WHITE
    reasons = [
        text
        for wrong, text in (
            (variance < min(low, 1 - of_variance), "the answer follows the noise"),
            (variance > max(high, 1 + of_variance), "structure was taken away"),
            (abs(neighbours) > max(CORRELATED, of_neighbours), "neighbouring residuals are alike"),
            (
                blocks > max(WHITE_BLOCKS, 1 + of_blocks),
                "8 x 8 pixels together are off by more than noise",
            ),
        )
        if wrong
    ]
    numbers = (
        f"variance {variance:.3f} +- {found.variance_error:.2g} ({low:g} to {high:g} is right), correlation "
        f"of neighbours {neighbours:+.3f} +- {found.correlation_error:.2g} (up to {CORRELATED:g}), variance "
        f"of 8 x 8 pixels {blocks:.2f} +- {found.block_variance_error:.2g} (up to {WHITE_BLOCKS:g}); the "
        f"limit is {SIGNIFICANT:g} sigma besides"
    )
    return _alarm(
        name,
        bool(reasons),
        f"{numbers}{': ' * bool(reasons)}{', '.join(reasons)}",
        "Look at the residual in the gallery: a pattern there was taken away. Train longer, or on this scan.",
    )


def rings_moved(rings: Sequence[Ring], unit: str) -> Alarm:
    """Ring where denoised totals of rings differ from the raw ones, which are unbiased; name them."""
    name = "rings moved"
    if not rings:
        return Alarm(name, "cannot tell", "no ring has photon counts enough")
    moved = [
        ring
        for ring in rings
        if abs(ring.sigmas) > SIGNIFICANT and abs(ring.percent) > LARGEST_MOVE
    ]
    worst = max(rings, key=lambda ring: abs(ring.sigmas))
    limit = f"the limit is {SIGNIFICANT:g} sigma and {LARGEST_MOVE:g} %"
    named = _some([f"{_span(ring, unit)}: {_move(ring)}" for ring in moved])
    found = (
        f"{counted(len(moved), 'ring')} of {len(rings)}, denoised against raw: {named}; {limit}"
        if moved
        else f"the largest move is {_move(worst)}, at {_span(worst, unit)}; {limit}"
    )
    return _alarm(
        name,
        bool(moved),
        found,
        "Take profiles of these rings from the raw counts. Train longer, and leave the stage keep_sums in.",
    )


def peaks_moved(observables: Sequence[Observable]) -> Alarm:
    """Ring where denoising changes positions, widths, areas or orientation in all frames alike; name them."""
    name = "peaks moved"
    known = [one for one in observables if np.isfinite(one.shift[0]) and one.shift[1] > 0]
    if not known:
        why = "no raw value has an error" if observables else "no peak was fitted (extra physics)"
        return Alarm(name, "cannot tell", why)
    moved = []
    for one in known:
        shift, error = one.shift
        usual = abs(one.middle(one.raw))
        limit = LARGEST_TURN if one.period else LARGEST_MOVE / 100 * usual
        if abs(shift) > max(SIGNIFICANT * error, limit):
            relative = "degrees" if one.period else "%"
            size = shift if one.period else 100 * shift / usual
            moved.append(f"{one.title}: {size:+.3g} {relative} ({shift / error:+.1f} sigma)")
    limits = (
        f"the limit is {SIGNIFICANT:g} sigma and {LARGEST_MOVE:g} %, or {LARGEST_TURN:g} degree"
    )
    found = _some(moved) if moved else f"none of {len(known)} quantities"
    return _alarm(
        name,
        bool(moved),
        f"median over the frames of denoised less raw: {found}; {limits}",
        "Take these quantities from the raw counts, or correct them by what is said here. Train longer.",
    )


def motion_damped(observables: Sequence[Observable]) -> Alarm:
    """Ring where quantities change less from frame to frame than raw values say; name them."""
    name = "motion damped"
    kept = {one.title: one.motion.kept for one in observables}
    known = {title: share for title, share in kept.items() if np.isfinite(share)}
    if not known:
        return Alarm(name, "cannot tell", "no quantity changes clearly from frame to frame")
    least = sorted(known, key=known.__getitem__)
    damped = [title for title in least if known[title] < LEAST_MOTION]
    shown = _some([f"{t}: {100 * known[t]:.0f} %" for t in damped or least[:_LISTED]])
    return _alarm(
        name,
        bool(damped),
        f"change over the frames that is left after denoising, of what raw values show: {shown}; the "
        f"limit is {100 * LEAST_MOTION:.0f} %",
        "Take the changes of these quantities from the raw counts, averaged over neighbouring frames.",
    )


def peaks_untold(observables: Sequence[Observable]) -> Alarm:
    """Ring where hardly any frame tells a quantity of a peak, neither raw nor denoised; name them.

    Rings do not count: an even one has no direction, and one that is covered too little is said on the page.
    """
    name = "peaks not told"
    looked = [one for one in observables if not one.where.startswith("ring ")]
    if not looked:
        return Alarm(name, "cannot tell", "no peak was fitted (extra physics)")
    untold: dict[str, list[str]] = {}
    for one in looked:
        told = max(float(np.isfinite(values).mean()) for values in (one.raw, one.denoised))
        if told < HARDLY:
            untold.setdefault(one.where, []).append(f"{one.name} in {100 * told:.0f} %")
    listed = _some([f"{where}: {', '.join(said)}" for where, said in untold.items()])
    found = f"{listed} of the frames" if untold else f"none of {len(looked)} quantities"
    return _alarm(
        name,
        bool(untold),
        f"told by hardly any frame, neither raw nor denoised: {found}; the limit is {100 * HARDLY:.0f} %",
        "Look at mask and window there, and give another one with --peaks, or other --orders. A peak too "
        "faint for single frames is told by the profile of the whole scan alone.",
    )


def unevenly_masked(rings: Mapping[str, np.ndarray]) -> Alarm:
    """Ring where a mask over an uneven ring takes profiles off those of the whole ring; name them.

    Args:
      rings: name -> mean of the measured pixels over that of all azimuths, less 1, (frames,), see `uneven`.
    """
    name = "rings unevenly masked"
    known = {ring: off[np.isfinite(off)] for ring, off in rings.items()}
    usual = {ring: float(np.median(off)) for ring, off in known.items() if off.size}
    if not usual:
        return Alarm(name, "cannot tell", "no ring is covered enough (extra physics)")
    far = {ring: off for ring, off in usual.items() if abs(off) > UNEVEN}
    ring, off = max(usual.items(), key=lambda one: abs(one[1]))
    listed = _some([f"{ring}: {100 * off:+.0f} %" for ring, off in (far or {ring: off}).items()])
    return _alarm(
        name,
        bool(far),
        f"mean of the measured pixels against that of all azimuths, median of the frames: {listed}; the "
        f"limit is {100 * UNEVEN:.0f} %",
        "I(q) and areas of peaks there are those of the measured pixels. Compare them only among frames of "
        "one direction, or take the peak areas around the ring.",
    )


def pair_doubtful(below: Below) -> Alarm:
    """Ring where G(r) is not that of no atoms where none are: composition, density or background is wrong."""
    name = "pair distribution in doubt"
    share, noise = below.off / below.height, below.noise / below.height
    found = (
        f"below the first shell the raw G(r) of the scan is off -4 pi density r by {100 * share:.0f} % of "
        f"its maximum; the limit is {100 * BENT:.0f} %"
    )
    if np.isfinite(noise):
        found += f", and {FROM_NOISE:g} times the noise of {100 * noise:.2g} %"
    if below.q_max < LEAST_Q_MAX:
        why = f"data up to {below.q_max:.3g} 1/angstrom, {LEAST_Q_MAX:g} are needed"
        return Alarm(name, "cannot tell", f"{found}; {why}")
    if not np.isfinite(share) or noise >= BENT:
        return Alarm(name, "cannot tell", f"{found}; too few photons")
    return _alarm(
        name,
        share > BENT and not share <= FROM_NOISE * noise,
        found,
        "Check --composition, --density (g/cm^3) and --background with its scale, then absorption and "
        "fluorescence. Until then trust no area of a shell.",
    )


def _some(found: Sequence[str]) -> str:
    """List the first of what was found, and say how many more there are."""
    more = f"; and {len(found) - _LISTED} more" * (len(found) > _LISTED)
    return "; ".join(found[:_LISTED]) + more


def _span(ring: Ring, unit: str) -> str:
    return f"{ring.low:.3g} to {ring.high:.3g} {unit}"


def _move(ring: Ring) -> str:
    return f"{ring.percent:+.3g} % ({ring.sigmas:+.1f} sigma)"


def outside_training(here: float, there: float | None) -> Alarm:
    """Ring where the counts per pixel are not those of the training.

    Args:
      here: mean counts per pixel and frame.
      there: of the training; None = not known.
    """
    name = "outside the training's exposures"
    if not there:
        return Alarm(name, "cannot tell", "the run does not tell its counts per pixel")
    ratio = here / there
    return _alarm(
        name,
        not EXPOSURES[0] <= ratio <= EXPOSURES[1],
        f"{here:.3g} counts per pixel here, {there:.3g} in training: {ratio:.2g} times as many "
        f"({EXPOSURES[0]:g} to {EXPOSURES[1]:g} is near enough)",
        "Train on this scan, or fine-tune the run on it with --init-from.",
    )


def unlike_training(frames: Unlike | None, training: Unlike | None, names: Sequence[str]) -> Alarm:
    """Ring where frames are far from every frame of the training scan.

    Args:
      frames: distance of every frame to the most similar training frame, see `likeness.unlike`.
      training: the same of the training frames, each to the rest; None = the run does not tell.
      names: of the frames.
    """
    name = "frames unlike the training scan"
    if frames is None or training is None or not len(training.distance):
        return Alarm(name, "cannot tell", "the run keeps nothing of its training frames")
    usual = float(np.quantile(training.distance, 0.95))
    limit = max(FARTHEST, FARTHER * usual)
    far = np.flatnonzero((frames.distance > limit) & (frames.sigmas > SIGNIFICANT))
    listed = ", ".join(f"{names[k]} ({100 * frames.distance[k]:.2g} %)" for k in far[:_LISTED])
    more = ", ..." * (len(far) > _LISTED)
    verb = "is" if len(far) == 1 else "are"
    which = f"{len(far)} of {counted(len(names), 'frame')} {verb} farther: {listed}{more}"
    return _alarm(
        name,
        bool(far.size),
        f"rms difference to the most similar training frame, in rings and wedges: at most "
        f"{100 * float(frames.distance.max()):.2g} %; the limit is {100 * limit:.2g} %, and training frames "
        f"are {100 * usual:.2g} % apart{'; ' * bool(far.size)}{which if far.size else ''}",
        "Look at these frames in the residual, and train on a scan that holds such ones.",
    )


def ghosts(dark: Dark | None, names: Sequence[str]) -> Alarm:
    """Ring where frames answer with light in dark places that their own photons say is not there; name them.

    Args:
      dark: photons where frames are dark and others bright; None = there are no photon counts.
      names: of the frames.
    """
    name = "ghosts of other frames"
    if dark is None:
        return Alarm(name, "cannot tell", "no photon counts to compare the answers with")
    if len(names) < 2:
        return Alarm(name, "cannot tell", "there is no other frame")
    seen = contradicted(dark)
    if not seen.can_tell.any():
        return Alarm(name, "cannot tell", "dark places expect too few photons, or no frame has any")
    far = np.flatnonzero(seen.rings)
    far = far[np.argsort(-seen.sigmas[far], kind="stable")]
    said = [
        f"{names[k]} ({seen.expected[k]:.0f} photons answered, {seen.counted[k]:.0f} counted, "
        f"{seen.sigmas[k]:.1f} sigma)"
        for k in (far[:_LISTED] if far.size else [int(seen.sigmas.argmax())])
    ]
    listed = f"{', '.join(said)}{', ...' * (len(far) > _LISTED)}"
    frames = counted(len(names), "frame")
    which = (
        f"in {counted(len(far), 'frame')} of {len(names)} a ghost cannot be excluded: {listed}"
        if far.size
        else f"none of {frames} answers with clearly more than it counted; the most is in {listed}"
    )
    few = len(names) - int(seen.can_tell.sum())
    untold = f"; in {counted(few, 'frame')} too few photons are expected to tell" * (few > 0)
    return _alarm(
        name,
        bool(far.size),
        f"where {100 * TELLING:g} % of a frame's photons say that it is below {100 * SHARE:.0f} % of the "
        f"scan's brightest, beside its other photons: {which}{untold}; the limit is {100 * GHOST:.0f} %, and "
        f"what noise alone shows in {CHANCE:g} of all scans",
        "Look at the dark places of these frames in the gallery beside their raw counts. Train longer; take "
        "faint features there from the raw counts.",
    )


def filled_dominates(share: float, of_counts: float) -> Alarm:
    """Ring where many answers stand on the partner alone.

    Args:
      share: of the answered pixels, in [0, 1].
      of_counts: of the expected counts, in [0, 1].
    """
    return _alarm(
        "filled pixels dominate",
        max(share, of_counts) > FILLED,
        f"{100 * share:.1f} % of the answered pixels and {100 * of_counts:.1f} % of their counts stand "
        f"on the opposite pixel alone; the limit is {100 * FILLED:.0f} %",
        "What is filled was not measured there. Leave it out of integrals (dataset filled); check the mask.",
    )


def totals_drift(totals: np.ndarray) -> Alarm:
    """Ring where the frames' totals rise or fall over the scan.

    Args:
      totals: counts per unit of exposure of each frame, in order, (frames,).
    """
    name = "totals drift"
    known = np.isfinite(totals)
    if known.sum() < 8 or not np.mean(totals[known]) > 0:
        return Alarm(name, "cannot tell", "a drift is looked for in 8 frames or more")
    place = np.linspace(-0.5, 0.5, len(totals))[known]
    values = totals[known] / totals[known].mean()
    slope, level = np.polyfit(place, values, 1)
    rest = values - (slope * place + level)
    error = float(
        np.sqrt((rest**2).sum() / (len(values) - 2) / ((place - place.mean()) ** 2).sum())
    )
    sigmas = abs(slope) / max(error, 1e-12)
    return _alarm(
        name,
        bool(abs(slope) > DRIFT and sigmas > SIGNIFICANT),
        f"totals change by {100 * slope:+.2g} % from the first frame to the last, beside a scatter of "
        f"{100 * float(rest.std()):.2g} %; the limit is {100 * DRIFT:.0f} %",
        "Where the sample did not change so, give monitor counts with --monitor: exposures are known then.",
    )


def guessed_centre(center: Center) -> Alarm:
    """Ring where the beam centre is a guess."""
    (y, x), doubt = center.half_pixel, f": {center.reason}" if center.reason else ""
    return _alarm(
        "centre is a guess",
        not center.trusted,
        f"the centre is y {y:g}, x {x:g}, {center.source}{doubt}",
        "Give the centre with --center y,x. Until then no pixel is filled from its partner.",
    )


def centres_differ(used: Center, of_profiles: Center | None) -> Alarm:
    """Ring where profiles are made about another centre than the answers are.

    Args:
      used: of the answers: the one that pixels have their partners about.
      of_profiles: of the geometry that profiles are made with; None = there are no profiles.
    """
    name = "profiles about another centre"
    if of_profiles is None:
        return Alarm(name, "cannot tell", "there are no profiles (extra physics)")
    off = float(np.hypot(*np.subtract(of_profiles.subpixel, used.subpixel)))
    if off <= LARGEST_OFFSET:
        return Alarm(name, "quiet", f"profiles and answers have one centre within {off:.2g} pixels")
    (y, x), (there_y, there_x) = used.subpixel, of_profiles.subpixel
    found = (
        f"profiles are about y {there_y:.2f}, x {there_x:.2f} ({of_profiles.source}), answers about "
        f"y {y:.2f}, x {x:.2f} ({used.source}): {off:.3g} pixels apart; the limit is {LARGEST_OFFSET:g} "
        "pixel, the width of a bin"
    )
    if not used.trusted:
        return Alarm(name, "cannot tell", f"{found}; the centre of the answers is a guess")
    return Alarm(
        name,
        "rings",
        found,
        "One of them is wrong, and with that of the profiles every place, width and orientation. Calibrate "
        "again, or give the right one with --center.",
    )


def does_not_count(scatter: Scatter | None, whole: bool) -> Alarm:
    """Ring where the noise is not that of photons.

    Args:
      scatter: see `counting`; None = too little was counted.
      whole: whether all values are whole and none is negative.
    """
    name = "detector does not count"
    advice = (
        "Error bars and scores take the noise for that of photons. Train with --thinning.gain and "
        "--thinning.readout-noise, or give the frames as the detector wrote them."
    )
    if not whole:
        return Alarm(name, "rings", "some values are no whole photon counts", advice)
    if scatter is None:
        return Alarm(name, "cannot tell", "too little was counted")
    low, high = USUAL
    return _alarm(
        name,
        scatter.unlike,
        f"variance over mean of second differences {scatter.low:.3g} to {scatter.high:.3g} (quartiles); "
        f"{low:g} to {high:g} is right for photons",
        advice,
    )
