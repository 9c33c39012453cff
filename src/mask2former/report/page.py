"""A page of HTML that needs nothing beside itself: sections of text, tables, bars and pictures."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from PIL import Image

WIDEST = 1280  # pixels; wider pictures are reduced before they are embedded

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --mark: #2f6fde; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .3rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p { margin: .4rem 0; max-width: 60rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
th { white-space: nowrap; } td.number, th.number { text-align: right; white-space: nowrap; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; border-radius: 4px; }
figcaption { font-size: .9rem; opacity: .8; }
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: .15rem .7rem;
  max-width: 50rem; align-items: center; }
.bars i { display: block; height: .9rem; background: var(--mark); border-radius: 2px; }
.fault { border-left: .3rem solid #d33; } .warning { border-left: .3rem solid #e90; }
.note { border-left: .3rem solid #59c; }
.fault, .warning, .note { padding-left: .7rem; }
"""


class Html(str):
    """Text that is HTML already; all other text is escaped."""

    __slots__ = ()


class Section(NamedTuple):
    """A heading and what stands below it; plain text becomes a paragraph."""

    title: str
    body: Sequence[str]


def page(title: str, sections: Sequence[Section], lead: str = "") -> str:
    """A whole document; sections without a body are left out."""
    parts = [f"<h1>{escape(title)}</h1>", _block(lead) if lead else ""]
    for section in sections:
        if section.body:
            parts += [f"<h2>{escape(section.title)}</h2>", *map(_block, section.body)]
    head = (
        f'<meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style>"
    )
    body = "\n".join(filter(None, parts))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def table(rows: Sequence[Mapping[str, object]]) -> Html:
    """Rows of equal keys, which are the head; numbers stand to the right, NaN is a dash."""
    if not rows:
        return Html()
    numeric = {key: all(_is_number(row[key]) for row in rows) for key in rows[0]}
    head = "".join(_cell("th", key, is_number) for key, is_number in numeric.items())
    body = "".join(
        f"<tr>{''.join(_cell('td', row[key], number) for key, number in numeric.items())}</tr>"
        for row in rows
    )
    return Html(f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>')


def bars(values: Mapping[str, float]) -> Html:
    """A bar for each name, as long as its value from 0 on."""
    largest = max(values.values(), default=0) or 1
    rows = (
        f"<span>{escape(name)}</span>"
        f'<i style="width:{100 * max(value, 0) / largest:.2f}%"></i><span>{_shown(value)}</span>'
        for name, value in values.items()
    )
    return Html(f'<div class="bars">{"".join(rows)}</div>')


def figure(image: np.ndarray | Image.Image, caption: str) -> Html:
    """A picture, embedded, with its caption: a uint8 array (H, W, 3) or (H, W), or Pillow's own."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    if picture.width > WIDEST:
        height = max(1, round(picture.height * WIDEST / picture.width))
        picture = picture.resize((WIDEST, height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, format="JPEG", quality=90, subsampling=0)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    text = escape(caption)
    return Html(
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="{text}" width="{picture.width}" '
        f'height="{picture.height}"><figcaption>{text}</figcaption></figure>'
    )


def marked(text: str, kind: str) -> Html:
    """A paragraph with a coloured edge: a `fault`, a `warning` or a `note`."""
    return Html(f'<p class="{escape(kind)}">{escape(text)}</p>')


def _block(part: str) -> str:
    return part if isinstance(part, Html) else f"<p>{escape(part)}</p>"


def _cell(tag: str, value: object, is_number: bool) -> str:
    text = value if isinstance(value, Html) else escape(_shown(value))
    mark = ' class="number"' if is_number else ""
    return f"<{tag}{mark}>{text}</{tag}>"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _shown(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if math.isfinite(value) else "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
