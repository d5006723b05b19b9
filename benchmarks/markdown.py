"""The one writer of result pages: title, command, date, tables, and what everything was made with."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smae_jax.run.folder import environment

PAGES = Path(__file__).parent / "pages"
"""What pages say around their tables."""
Rows = dict[str, dict[str, Any]]
"""Method -> its scores by key; `setting` is shown in brackets behind the score that comes first."""
WRAP = functools.partial(textwrap.fill, width=120, break_long_words=False, break_on_hyphens=False)
FORMS = {
    **{"psnr_db": "{:.2f}", "either_db": "{:.2f}", "rmse": "{:.4f}", "weighted": "{:.4f}"},
    **{
        "ssim": "{:.4f}",
        "plain": "{:.4f}",
        "asymmetry": "{:.2f}",
        "seconds": "{:.0f}",
        "steps_seconds": "{:.0f}",
    },
}
"""How each score is written."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table, numbers to the right.

    >>> print(table(["", "dB"], [["raw", "1.0"]]))
    |  | dB |
    | --- | ---: |
    | raw | 1.0 |
    """
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *rows])


def scores(head: str, rows: Rows, keys: dict[str, str], forms: dict[str, str] | None = None) -> str:
    """Write one table of methods x scores; empty where a method has no such score.

    Args:
      head: what stands above the methods.
      rows: method -> scores.
      keys: of the scores -> headings.
      forms: how to write the scores that `FORMS` does not know, or writes otherwise.
    """
    ways = FORMS | (forms or {})
    lines = [[name, *(_cell(row, key, ways, "") for key in keys)] for name, row in rows.items()]
    return table([head, *keys.values()], lines)


def compared(
    results: Sequence[Any], key: str, *, best: Callable[[list[float]], float] | None = None
) -> str:
    """Write a table for each group of results: methods x exposures; a dash where there is no figure.

    Args:
      results: with `group`, `photons` and `rows`.
      key: of the score.
      best: picks the score that is printed in bold; None = none.
    """
    tables = []
    for group in dict.fromkeys(result.group for result in results):
        own = [result for result in results if result.group == group]
        lines = []
        tops = [
            best([r[key] for r in one.rows.values() if key in r]) if best else None for one in own
        ]
        for name in dict.fromkeys(name for result in own for name in result.rows):
            rows = [result.rows.get(name, {}) for result in own]
            if any(key in row for row in rows):
                cells = [_cell(row, key, FORMS, "-") for row in rows]
                bold = [key in row and row[key] == top for row, top in zip(rows, tops, strict=True)]
                cells = [f"**{c}**" if b else c for c, b in zip(cells, bold, strict=True)]
                lines.append([name, *cells])
        if lines:
            tables.append(table([group, *(f"{result.photons:g}" for result in own)], lines))
    return "\n\n".join(tables) or "Not measured."


def _cell(row: dict[str, Any], key: str, forms: dict[str, str], missing: str) -> str:
    if key not in row:
        return missing
    text = row[key] if isinstance(row[key], str) else forms[key].format(row[key])
    return f"{text} ({row['setting']})" if row.get("setting") and key == "psnr_db" else text


class Making:
    """What a page says of how it was made, looked at when the work begins and when it is done."""

    def __init__(self, command: str) -> None:
        """Begin."""
        self.command, self._commit = command, commit()
        self._start, self._load = time.perf_counter(), os.getloadavg()[0]

    @property
    def minutes(self) -> float:
        """Minutes since the beginning."""
        return (time.perf_counter() - self._start) / 60

    def facts(self) -> str:
        """Say with what the page was made, a line each."""
        about = environment()
        names = ("jax", "jaxlib", "flax", "optax", "numpy", "smae_jax")
        versions = ", ".join(f"{name} {about[name]}" for name in names)
        return "\n".join(
            f"- {line}"
            for line in (
                f"commit {self._commit}",
                f"{about['devices']} x {about['device']}; {processor()}, {os.cpu_count()} cores",
                f"{versions}, Python {about['python']}, {platform.system()}",
                f"{self.minutes:.0f} minutes for what was not kept from an earlier call; load "
                f"{self._load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end",
            )
        )


def write(path: Path, template: str, parts: Mapping[str, Any], making: Making) -> None:
    """Write a page: its template filled, command and date below the title, facts at the end."""
    text = (PAGES / f"{template}.md").read_text(encoding="utf-8").format(**parts)
    title, _, rest = "\n".join(map(_wrapped, text.splitlines())).partition("\n")
    made = f"Made on {datetime.date.today()} by one command:\n\n    {making.command}"
    path.parent.mkdir(parents=True, exist_ok=True)
    page = f"{title}\n\n{made}\n\n{rest.strip()}\n\n## Made with\n\n{making.facts()}\n"
    path.write_text(page, encoding="utf-8")


def _wrapped(line: str) -> str:
    """Wrap a paragraph or an item of a list; templates have each in one line."""
    indent = "  " if line.startswith("- ") else ""
    return (
        line if line.startswith(("#", "|", "!", "    ")) else WRAP(line, subsequent_indent=indent)
    )


def command_line(benchmark: str, arguments: list[str] | None) -> str:
    """Return the command that runs a benchmark with these arguments; None = those of this process."""
    words = sys.argv[1:] if arguments is None else arguments
    return shlex.join(["python", "-m", f"benchmarks.{benchmark}", *words])


def commit() -> str:
    """Return the short hash of the checkout, and whether it has changes."""

    def git(*arguments: str) -> str:
        command, here = ["git", *arguments], Path(__file__).parent
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed


def processor() -> str:
    """Return the name of the processor."""
    file = Path("/proc/cpuinfo")
    for line in file.read_text().splitlines() if file.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
