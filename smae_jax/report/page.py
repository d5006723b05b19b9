"""The page: pieces of HTML put into a template, with style and script inside, so that it opens from disk.

Whatever comes from data goes through `text`, which escapes it; the script reads attributes only, and the
page's content policy lets no other script run and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import math
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from smae_jax.report.gallery import COUNTS, RESIDUAL, SIGMAS, Gallery, View, data_uri, gradient


def text(value: Any) -> str:
    """Escape what is to be read, in elements and in attributes."""
    return html.escape(str(value), quote=True)


def page(title: str, lead: str, sections: Sequence[tuple[str, str, str]], footer: str) -> str:
    """Put a page together.

    Args:
      title: headline, plain text.
      lead: first sentence, plain text.
      sections: (identifier, heading in plain text, HTML) each.
      footer: plain text.

    Returns:
      The page, complete in itself.
    """
    script = _part("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    links = "".join(f'<a href="#{name}">{text(heading)}</a>' for name, heading, _ in sections)
    bodies = "\n".join(
        f'<section id="{name}">\n<h2>{text(heading)}</h2>\n{body}\n</section>'
        for name, heading, body in sections
    )
    return string.Template(_part("page.html")).substitute(
        title=text(title),
        lead=text(lead),
        navigation=links,
        sections=bodies,
        footer=text(footer),
        style=_part("page.css"),
        script=script,
        script_hash=digest,
    )


def _part(name: str) -> str:
    """Read a part of the page that comes with the package."""
    return importlib.resources.files("smae_jax.report").joinpath(name).read_text(encoding="utf-8")


def paragraph(words: str, kind: str = "") -> str:
    """Return a paragraph of plain text."""
    named = f' class="{kind}"' if kind else ""
    return f"<p{named}>{text(words)}</p>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a list of names and what is said of them, plain text each."""
    rows = "".join(f"<dt>{text(name)}</dt><dd>{text(said)}</dd>" for name, said in pairs)
    return f"<dl>{rows}</dl>"


def table(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, tuple[str, str]],
    *,
    first: str = "estimate",
    ours: str = "",
) -> str:
    """Return a table of numbers; what is not known reads as a dash.

    Args:
      rows: each with its `name`.
      columns: key of a row -> heading and format.
      first: heading of the names.
      ours: name of the row that stands out.
    """

    def cell(row: Mapping[str, Any], key: str, form: str) -> str:
        value = row.get(key)
        none = value is None or (isinstance(value, float) and not math.isfinite(value))
        return "-" if none else text(form.format(value))

    heads = "".join(
        f'<th scope="col">{text(h)}</th>' for h in (first, *(h for h, _ in columns.values()))
    )
    lines = "".join(
        f"<tr{' class=ours' if row['name'] == ours else ''}><td>{text(row['name'])}</td>"
        + "".join(f"<td>{cell(row, key, form)}</td>" for key, (_, form) in columns.items())
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>'
        "</div>"
    )


def folded(summary: str, body: str) -> str:
    """Return HTML that opens when its summary is clicked."""
    return f"<details><summary>{text(summary)}</summary>{body}</details>"


def figure(image: bytes, caption: str, kind: str = "chart") -> str:
    """Return a picture with its caption.

    Args:
      image: PNG.
      caption: plain text.
      kind: `chart` (lines on white, which the dark page turns over) or `picture`.
    """
    return (
        f'<figure class="{kind}"><img src="{data_uri(image)}" alt="{text(caption)}">'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def gallery(pictures: Gallery) -> str:
    """Return the viewer (slider and blink), its scales, and the sheet of all pictures, which is printed."""
    sheets = "".join(_sheet(view, pictures) for view in pictures.views)
    return _viewer(pictures) + _bars(pictures) + f'<div class="sheets">{sheets}</div>'


def _viewer(pictures: Gallery) -> str:
    def options(names: Sequence[str], chosen: str, *, numbered: bool = False) -> str:
        return "".join(
            f'<option value="{k if numbered else text(name)}"{" selected" * (name == chosen)}>'
            f"{text(name)}</option>"
            for k, name in enumerate(names)
        )

    layers, views = pictures.layers, [_name_of(view) for view in pictures.views]
    several = "" if len(views) > 1 else " hidden"
    last = len(pictures.shown) - 1
    return (
        '<div class="viewer"><div class="controls">'
        f'<label>Left <select class="choose-left">{options(layers, "before")}</select></label>'
        f'<label>Right <select class="choose-right">{options(layers, "denoised")}</select></label>'
        f"<label{several}>View <select class=choose-view>"
        f"{options(views, views[0], numbered=True)}</select></label>"
        '<button type="button" class="blink" aria-pressed="false">Blink</button>'
        f'<label>Frame <input type="range" class="frame" min="0" max="{last}" value="0" step="1">'
        f'<span class="number">{pictures.shown[0][0]}</span></label></div>'
        '<div class="stage"><img class="under" alt="right picture"><img class="over" alt="left picture">'
        '<div class="edge"></div><span class="tag left"></span><span class="tag right"></span></div>'
        '<input type="range" class="split" min="0" max="100" value="50" aria-label="Border between left '
        'and right"><p class="soft caption"></p></div>'
    )


def _name_of(view: View) -> str:
    dots = f" ({view.block} x {view.block} pixels a dot)" if view.block > 1 else ""
    return view.name + dots


def _bars(pictures: Gallery) -> str:
    middle = math.sqrt(pictures.low * pictures.high)
    ends = (pictures.low, middle, pictures.high)

    def bar(words: str, colours: str, marks: Sequence[str]) -> str:
        numbers = "".join(f"<span>{text(mark)}</span>" for mark in marks)
        return (
            f'<div class="bar">{text(words)}<i style="background: {gradient(colours)}"></i>'
            f"<span>{numbers}</span></div>"
        )

    counts = bar(
        "counts per pixel and exposure, logarithmic; hatched: no value",
        COUNTS,
        [f"{value:.3g}" for value in ends],
    )
    residual = bar(
        "residual: (before - denoised) / sqrt(denoised)",
        RESIDUAL,
        [f"{-SIGMAS:g} sigma", "0", f"+{SIGMAS:g} sigma"],
    )
    return f'<div class="bars">{counts}{residual}</div>'


def _sheet(view: View, pictures: Gallery) -> str:
    rows = []
    for (number, name), layers in zip(pictures.shown, view.frames, strict=True):
        cells = "".join(
            f'<figure><img data-layer="{text(layer)}" src="{data_uri(image)}" alt="{text(layer)} of frame '
            f'{number}"><figcaption>{text(layer)}, frame {number}</figcaption></figure>'
            for layer, image in layers.items()
        )
        rows.append(
            f'<div class="row" data-name="{text(name)}" data-number="{number}">{cells}</div>'
        )
    sheet = f'<div class="sheet">{"".join(rows)}</div>'
    return f"<h3>All pictures, {text(_name_of(view))}</h3>{sheet}"
