"""What columns of a table are by what they are called: axes, measurements, and what is made of these.

Instruments write many columns beside each other: pixel, wavelength, shift, dark, reference, raw counts, and
what they made of them. Only raw ones are measurements.
"""

from __future__ import annotations

import re

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.raw_repeats import is_axis, split_label, usual_name

_NUMBERING = re.compile(
    r"|pixels?|index|idx|points?|pt|no\.?|nr\.?|n|#|rows?|channels?|chan|ch|kanal|canal|unnamed: 0"
    r"|(pixel|channel|point|data point)[ _]?(number|no\.?|nr\.?|index)|line|id|i",
    re.I,
)
_FOREIGN = (  # names of axes in other words, and as this program writes them
    (
        r"(photon|incident|mono(chromator)?|x-?ray)[ _]energy|energie|energía|energia|énergie|e",
        "energy",
    ),
    (r"(binding|kinetic)[ _]energy|b\.?e\.?|k\.?e\.?", "energy"),
    (r"raman[ _-]?(shift|verschiebung)|d[ée]placement raman|wave|stokes shift", "shift"),
    (
        r"wellenl(ä|ae)nge|lambda|λ|longueur d['\u2019]onde|longitud de onda|wl|wave[ _]?length",
        "wavelength",
    ),
    (r"wellenzahl(en)?|nombre d['\u2019]ondes?|n[úu]mero de onda|wave[ _]?number", "wavenumber"),
    (r"(2|two|deux|zwei)[ _-]?(theta|θ|th)|tth|2θ", "two_theta"),
    (r"angle|theta|bragg|winkel", "angle"),
    (r"q[ _](abs|norm|magnitude)", "q"),
)
_PRIORITY = (
    *("shift", "energy", "q", "two_theta", "angle", "wavelength", "wavenumber"),
    *("frequency", "mass", "x", "axis", "time"),
)
_SIGMA = re.compile(r"(.*[ _.-])?(sigma|error|err|std|stdev|uncertainty|esd|sd|dy|di|stderr)", re.I)
_SUM = re.compile(r"(mean|average|avg|sum|total|median)([ _](spectrum|counts|intensity))?", re.I)
_NEVER = re.compile(
    r"((raw|mean)[ _])?(darks?|dunkel\w*|references?|referenz|backgrounds?|bkgd?|bg|hintergrund|baseline"
    r"|untergrund|fond|white|blank)([ _-](spectrum|counts|intensity|scan|signal|current|ref(erence)?))?"
    r"[ _]*#?\d*|monitor|mon|i_?0|io|irefer|i_?ref|epoch|seconds|timestamp|temperature"
    r"|(dead|live|real|count|dwell)[ _]?time|exposure",
    re.I,
)
_MADE = re.compile(
    r"(.*\b)?(dark[ _-]?(subtracted|corrected)|processed|corrected|subtracted|smoothed|normali[sz]ed"
    r"|absorbance|extinktion|transmittance|reflectance|irradiance|residuals?)(\b.*)?"
    r"|% ?(tr?|r)\b.*|(norm|flat|x?mu|mue|mutrans|mufluor|murefer|normtrans|normfluor|μ|fit|model|calc"
    r"|difference|derivative|der|sec|pre_edge|post_edge|chi|smooth|transmission|absorption|reflection)"
    r"[ _]*#?\d*",
    re.I,
)
_RAW = re.compile(r"raw\b.*|.*\braw|rohdaten|roh|brut(e|es)?", re.I)
_SIGNAL = re.compile(
    r"(counts?|cts|intensity|intensities|int|signal|sample|scope|spectrum|cps|y|ifluor|itrans|iff?|it|i1|i2"
    r"|fluorescence|intensit(ä|ae)t|z(ä|ae)hlrate|z(ä|ae)hler|impulse|intensit[ée]|intensidad|coups|det|detector"
    r"|apd|xrf|fluo|transm)\b.*|.*[ _](counts|intensity)",
    re.I,
)
TIERS = ("raw", "signal", "unknown", "made", "never")


def axis_name(label: str) -> str | None:
    """Return the usual name of an axis that a label means, or None.

    >>> axis_name("Raman Shift [cm-1]"), axis_name("Wellenlänge (nm)"), axis_name("steel")
    ('shift', 'wavelength', None)
    """
    name = split_label(label)[0]
    if usual := usual_name(name):
        return usual
    for pattern, usual in _FOREIGN:
        if re.fullmatch(pattern, name.strip(), re.I):
            return usual
    return None


def is_numbering_name(label: str) -> bool:
    """Whether a label heads a column that only counts: pixel, index, No., or none at all."""
    return _NUMBERING.fullmatch(label.strip()) is not None


def without_derived(header: list[str], columns: list[int]) -> list[int]:
    """Leave out uncertainties, and sums and means of the other columns; never all columns.

    >>> without_derived(["energy", "a", "a sigma", "mean"], [1, 2, 3])
    [1]
    """
    for pattern in (_SIGMA, _SUM):
        rest = [c for c in columns if not pattern.fullmatch(split_label(header[c])[0])]
        columns = rest or columns
    return columns


def tier(label: str) -> str:
    """Return how much of a measurement a column is by its name, one of `TIERS`.

    >>> [tier(name) for name in ("Raw data #1", "Intensity", "steel", "Dark Subtracted #1", "Dark")]
    ['raw', 'signal', 'unknown', 'made', 'never']
    """
    name = split_label(label)[0].strip()
    for pattern, found in ((_MADE, "made"), (_NEVER, "never"), (_RAW, "raw"), (_SIGNAL, "signal")):
        if pattern.fullmatch(name):
            return found
    return "unknown"


def kind_of_column(label: str) -> str:
    """Return a name without unit and number, so that repeats of one thing have one: `raw data`."""
    return re.sub(r"[ _]*#?[ _]*\d*$", "", split_label(label)[0].strip().lower())


def find_axis(numbers: np.ndarray, header: list[str], columns: list[int]) -> int | None:
    """Return the column that is called an axis and is one; of several the shift, the energy, ... first."""
    found = [
        (_PRIORITY.index(name) if name in _PRIORITY else len(_PRIORITY), column)
        for column in columns
        if (
            name := axis_name(header[column]) or ("axis" if _is_lone_unit(header[column]) else None)
        )
        and is_axis(numbers[:, column])
        and len(numbers) > 1
    ]
    return min(found)[1] if found else None


def _is_lone_unit(label: str) -> bool:
    name, unit = split_label(label)
    return bool(unit) and not name


def choose_measured(header: list[str], columns: list[int]) -> tuple[list[int], str]:
    """Choose the columns that are measurements by their names.

    Args:
      header: one name per column of the table.
      columns: those that may be chosen: neither axes nor text.

    Returns:
      (the chosen ones, the kind of quantity that they are, "" where the names do not tell columns apart).

    Raises:
      UserError: in one line without the file, if the names leave a choice.
    """
    tiers = {column: tier(header[column]) for column in columns}
    if len(set(tiers.values())) < 2 and not _differ(header, columns, tiers):
        return columns, ""
    if not {"made", "never"} & set(tiers.values()):
        raw = [column for column in columns if tiers[column] == "raw"]
        return (raw, kind_of_column(header[raw[0]])) if raw else (columns, "")
    best = min(tiers.values(), key=TIERS.index)
    chosen = [column for column in columns if tiers[column] == best]
    if len({kind_of_column(header[column]) for column in chosen}) > 1:
        listed = ", ".join(f"{column + 1} '{header[column]}'" for column in columns)
        raise UserError(
            f"has columns of several kinds ({listed}); say which are spectra with --data.columns "
            f'"{header[chosen[0]]}" or by number, as in --data.columns {chosen[0] + 1}'
        )
    return chosen, kind_of_column(header[chosen[0]])


def _differ(header: list[str], columns: list[int], tiers: dict[int, str]) -> bool:
    """Whether columns, none of them raw, are no repeats of one thing: dark beside reference."""
    kinds = {kind_of_column(header[column]) for column in columns}
    return len(kinds) > 1 and set(tiers.values()) <= {"made", "never"}


def named_columns(text: str, header: list[str] | None, count: int) -> list[int]:
    """Read a choice of columns: names, or numbers counted from 1.

    Args:
      text: such as `Raw data`, `3`, `3,4` or `a,b`; a name may leave out its unit and number.
      header: one name per column, None = there are none.
      count: number of columns.

    Raises:
      UserError: in one line without the file, if there is no such column.

    >>> named_columns("raw data", ["Pixel", "Dark", "Raw data #1"], 3), named_columns("2,3", None, 3)
    ([2], [1, 2])
    """
    names = [name.strip().lower() for name in header or []]
    chosen = list[int]()
    for part in [text] if text.strip().lower() in names else text.split(","):
        wanted = part.strip().lower()
        found = [c for c, name in enumerate(names) if name == wanted and wanted]
        found = found or [c for c, name in enumerate(names) if kind_of_column(name) == wanted != ""]
        if not found and wanted.isdecimal() and 1 <= int(wanted) <= count:
            found = [int(wanted) - 1]
        if not found:
            listed = ", ".join(f"{c + 1} '{name}'" for c, name in enumerate(header or []))
            raise UserError(
                f"--data.columns {text}: there is no column '{part.strip()}'; expected names or numbers from "
                f"1 to {count}" + (f" of {listed}" if listed else "")
            )
        chosen += [c for c in found if c not in chosen]
    return chosen
