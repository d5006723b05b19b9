"""Scans of SPEC files, read by silx: columns of a scan, or the spectra of a multichannel analyser (`@A`)."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from smae_jax.errors import UserError
from smae_jax.io.raw_repeats import RawRepeats
from smae_jax.io.text_layout import in_columns
from smae_jax.io.text_tables import Table, TableOptions

_PROBE = 1 << 16
_LISTED = 8  # scans that a message names
# silx copies the characters of a number into 100 bytes, however many there are.
_ENDLESS = re.compile(rb"^(?!#).*?([0-9.eE+-]{64,})", re.M)


def is_spec(path: str) -> bool:
    """Whether a file holds SPEC scans: `#F` or `#S`, and below a scan's header its columns or spectra."""
    try:
        with open(path, "rb") as file:
            probe = file.read(_PROBE)
    except OSError:
        return False  # the reader that opens it says why
    begins = re.match(rb"\s*#(F|S|C|E|D)\b", probe)
    return bool(
        begins and re.search(rb"^#S \d+", probe, re.M) and re.search(rb"^(#L |@A)", probe, re.M)
    )


def read_spec(path: str, inside: str, options: TableOptions) -> RawRepeats:
    """Read one scan of a SPEC file, or several as repeats.

    Args:
      path: the file.
      inside: scans such as `/1.1` or `1.1,2.1`; "" = the only one. `/1.1/Detector` is a column of it, and
        `/1.1/mca_1` the second of several analysers.
      options: which columns are spectra.

    Returns:
      Values (repeats, channels), float64. Where a scan holds spectra of an analyser, these with their
      calibrated energies; else columns of counters over the first column.

    Raises:
      UserError: in one line, if silx is missing, or there is no such scan or nothing to read in it.
    """
    try:
        from silx.io.specfile import SpecFile
    except ImportError:
        raise UserError(
            f"{path}: is a SPEC file, which the package silx reads; install it with pip install silx"
        ) from None
    try:
        with _as_silx_reads(path) as name, contextlib.closing(SpecFile(name)) as file:
            keys = [str(key) for key in file.keys()]  # noqa: SIM118  (iterating gives the scans)
            chosen = _chosen(path, inside, keys, lambda key: _command(file[key]))
            parts = [_scan(f"{path}::/{key}", file[key], what, options) for key, what in chosen]
    except UserError:
        raise
    except (OSError, ValueError, LookupError, MemoryError) as error:
        told = " ".join(str(error).split())[:80]
        raise UserError(
            f"{path}: silx cannot read this SPEC file ({told}); is it complete?"
        ) from None
    return _joined(path, parts)


@contextlib.contextmanager
def _as_silx_reads(path: str) -> Iterator[str]:
    """Give the path of the file, or of a copy with the line ends that silx understands.

    Raises:
      UserError: if a number in it is so long that silx would write over its own memory.
    """
    raw = Path(path).read_bytes()
    lines = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if endless := _ENDLESS.search(lines):
        told = endless[1][:20].decode()
        raise UserError(
            f"{path}: expected numbers of less than 64 characters, got '{told}...'; the file is damaged: "
            "copy it again"
        )
    if lines == raw:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "scans.spec"
        copy.write_bytes(lines)
        yield str(copy)


def _chosen(path: str, inside: str, keys: list[str], command: Any) -> list[tuple[str, str]]:
    """Return the chosen scans, each with what is asked of it: the name of a column, or ""."""
    listed = ", ".join(f"/{key} ({command(key)})" for key in keys[:_LISTED])
    listed += f", ... {len(keys)} in all" if len(keys) > _LISTED else ""
    if not keys:
        raise UserError(f"{path}: is a SPEC file without a scan; is it complete?")
    if not inside:
        if len(keys) > 1:
            raise UserError(
                f"{path}: holds several scans: {listed}; choose as in '{path}::/{keys[0]}'"
            )
        return [(keys[0], "")]
    chosen = list[tuple[str, str]]()
    for part in inside.split(","):
        key, _, rest = part.strip().strip("/").partition("/")
        key = key if "." in key else f"{key}.1"
        if key not in keys:
            raise UserError(f"{path}: there is no scan '{part.strip()}'; it holds {listed}")
        chosen.append((key, rest.removeprefix("measurement/").removeprefix("instrument/")))
    return chosen


def _command(scan: Any) -> str:
    return str(scan.scan_header_dict.get("S", "")).partition(" ")[2].strip()[:40] or "no title"


def _scan(name: str, scan: Any, what: str, options: TableOptions) -> RawRepeats:
    header = {
        line.split()[0]: line.split()[1:]
        for line in scan.header
        if line[:1] == "#" and line[1:].strip()
    }
    is_mca = re.fullmatch(r"mca(_(\d+))?(/data)?", what)
    if is_mca or (not what and not options.columns and _has_spectra(scan, name)):
        return _spectra(name, scan, int(is_mca[2] or 0) if is_mca else None, header)
    labels, numbers = [str(label) for label in scan.labels], np.asarray(scan.data, np.float64).T
    if numbers.size == 0 or numbers.shape[1] != len(labels):
        raise UserError(f"{name}: holds no points; choose another scan")
    notes = (f"scan {_command(scan)}",)
    table = Table(numbers, {}, labels, notes, [])
    try:
        raw = in_columns(table, what or options.columns)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    if raw.axis is None and not (what or options.columns):
        raise UserError(
            f"{name}: its first column '{labels[0]}' does not ascend; choose a column with --data.columns of "
            f"{', '.join(labels)}"
        )
    return raw


def _has_spectra(scan: Any, name: str) -> bool:
    _check_channels(scan, name)
    return len(scan.mca) > 0


def _check_channels(scan: Any, name: str) -> None:
    """Refuse more channels than a file can hold before silx counts them out."""
    size = os.path.getsize(name.partition("::")[0])
    for line in scan.header:
        if line.startswith("#@CHANN"):
            figures = [_figure(text) for text in line.split()[1:]]
            if len(figures) < 4 or any(not abs(one) <= size for one in figures):
                raise UserError(
                    f"{name}: '{line[:60]}' names more channels than the file holds; mend it"
                )


def _figure(text: str) -> float:
    """Return a number, NaN where there is none."""
    try:
        return float(text)
    except ValueError:
        return np.nan


def _spectra(name: str, scan: Any, device: int | None, header: dict[str, list[str]]) -> RawRepeats:
    _check_channels(scan, name)
    points = max(1, np.asarray(scan.data).shape[-1] if np.asarray(scan.data).size else 1)
    devices = max(1, len(scan.mca) // points)
    if device is None and devices > 1:
        raise UserError(
            f"{name}: holds spectra of {devices} analysers; choose one, '{name}/mca_0' to "
            f"mca_{devices - 1}"
        )
    if not len(scan.mca) or (device or 0) >= devices:
        raise UserError(
            f"{name}: there is no analyser mca_{device or 0}; choose columns of the scan"
        )
    spectra = [np.asarray(one, np.float64) for one in list(scan.mca)[device or 0 :: devices]]
    if len({len(one) for one in spectra}) > 1:
        raise UserError(f"{name}: spectra differ in length; is the file complete?")
    values, notes = (
        np.array(spectra),
        [f"scan {_command(scan)}: {len(spectra)} spectra of an analyser"],
    )
    calibration = np.array([_figure(text) for text in header.get("#@CALIB", [])[:3]])
    first, step = (_figure(text) for text in [*header.get("#@CHANN", [])[1:4:2], "0", "1"][:2])
    axis, exposure = None, None
    if calibration.size >= 2 and np.isfinite(calibration).all() and calibration[1] not in (0, 1):
        channels = (
            first + step * np.arange(values.shape[1]) if np.isfinite([first, step]).all() else None
        )
        if channels is not None:
            axis = np.polynomial.polynomial.polyval(channels, calibration)
            notes.append(f"axis by #@CALIB, {axis[0]:g} to {axis[-1]:g}")
    live = _figure(header["#@CTIME"][1]) if len(header.get("#@CTIME", [])) > 1 else np.nan
    if 0 < live < 1e9:
        exposure = np.full(len(values), live)
    return RawRepeats(
        values,
        axis,
        "energy" if axis is not None else "",
        "",
        exposure=exposure,
        notes=tuple(notes),
        oriented=True,
    )


def _joined(path: str, parts: list[RawRepeats]) -> RawRepeats:
    """Put the spectra of several scans one after another."""
    first = parts[0]
    for part in parts[1:]:
        same = (part.axis is None) == (first.axis is None)
        if (
            not same
            or part.values.shape[1] != first.values.shape[1]
            or (
                part.axis is not None
                and not np.allclose(part.axis, first.axis, rtol=1e-6, atol=1e-9)  # type: ignore[arg-type]
            )
        ):
            raise UserError(
                f"{path}: the chosen scans differ in their axes; choose scans of one axis"
            )
    times = [part.exposure for part in parts if part.exposure is not None]
    return RawRepeats(
        np.concatenate([part.values for part in parts]),
        first.axis,
        first.axis_name,
        first.axis_unit,
        first.names if len(parts) == 1 else None,
        exposure=np.concatenate(times) if len(times) == len(parts) else None,
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        oriented=True,
        quantity=first.quantity,
    )
