"""Small tables of HTML, as notebooks show objects."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from tenfold.errors import printable

_HEIGHT = 640
"""Of a page under a notebook's cell, in pixels."""

_CELL = 'style="text-align: left; white-space: nowrap"'


def html_facts(title: str, place: str, facts: Mapping[str, str]) -> str:
    """A title, where something is, and a line for each of its facts."""
    rows = "".join(
        f"<tr><th {_CELL}>{_escaped(name)}</th><td {_CELL}>{_escaped(value)}</td></tr>"
        for name, value in facts.items()
    )
    return (
        f"<p><b>{_escaped(title)}</b> <code>{_escaped(place)}</code></p>"
        f"<table><tbody>{rows}</tbody></table>"
    )


def html_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a heading for each column."""
    head = "".join(f"<th>{_escaped(column)}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{_escaped(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def html_frame(title: str, page: str) -> str:
    """A whole page inside another one, which scrolls and runs no script.

    Args:
        title: what a screen reader says of it.
        page: HTML.
    """
    return (
        f'<iframe sandbox title="{_escaped(title)}" srcdoc="{html.escape(page)}" width="100%" '
        f'height="{_HEIGHT}" style="border: 1px solid #8886; border-radius: 4px"></iframe>'
    )


def _escaped(value: str) -> str:
    return html.escape(printable(value))
