"""Small tables that objects show of themselves, in a console and in notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

#: Title, header, rows, and what is not in them.
Table = tuple[str, Sequence[str], Sequence[Sequence[str]], str]


def cut(text: str) -> str:
    """Return a text in one line of at most 80 characters."""
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:79]}…"


def as_text(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], rest: str) -> str:
    """Return a table as lines of text."""
    lines = [[cut(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    body = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
    return "\n".join([title, *body, *([f"  {rest}"] if rest else [])])


def as_html(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], rest: str) -> str:
    """Return a table as HTML."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cut(cell))}</{tag}>" for cell in cells) + "</tr>"

    return (
        f"<table><caption>{escape(title)}</caption><thead>{line(header, 'th')}</thead>"
        f"<tbody>{''.join(line(row, 'td') for row in rows)}</tbody></table>" + (f"<p>{rest}</p>" if rest else "")
    )
