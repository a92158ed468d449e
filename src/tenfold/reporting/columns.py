"""Tables and paragraphs of plain text, in which some characters are two columns wide."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Collection, Sequence

GAP = "  "
"""Between two columns."""

_WIDE = r"[\u2e80-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]"
_OPENING, _CLOSING = "（《“‘【", "，。、；：！？）》”’】…"

WORD = re.compile(rf"\s*(?:[{_OPENING}]*(?:{_WIDE}|(?:(?!{_WIDE})\S)+)[{_CLOSING}]*|\S+)\s*")
"""What stays on one line: a word, or a Chinese character with the punctuation that belongs to it.
"""


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes: two for a Chinese character."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def left_aligned(text: str, columns: int) -> str:
    """A text with spaces after it, to so many columns."""
    return text + " " * (columns - columns_of(text))


def right_aligned(text: str, columns: int) -> str:
    """A text with spaces before it, to so many columns."""
    return " " * (columns - columns_of(text)) + text


def in_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: Collection[str]
) -> list[str]:
    """The lines of a table: its headings, then its rows.

    Args:
        headings: one per column.
        rows: a cell per column.
        left: headings of the columns that are aligned on the left, as words are; numbers are
            aligned on the right.
    """
    widths = _widths(headings, rows)
    return [
        GAP.join(
            left_aligned(cell, width) if heading in left else right_aligned(cell, width)
            for cell, heading, width in zip(row, headings, widths, strict=True)
        ).rstrip()
        for row in (headings, *rows)
    ]


def width_of(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """How many columns of a terminal a table takes."""
    widths = _widths(headings, rows)
    return sum(widths) + len(GAP) * (len(widths) - 1)


def paragraph(sentence: str, width: int) -> list[str]:
    """The lines of a paragraph, indented after the first.

    Args:
        sentence: of any length.
        width: that lines have at most, in columns, if their words are short.
    """
    if columns_of(sentence) == len(sentence):
        return textwrap.wrap(
            sentence, width, subsequent_indent=GAP, break_long_words=False, break_on_hyphens=False
        )
    lines = [""]
    for word in WORD.findall(sentence):
        if columns_of(lines[-1]) + columns_of(word.rstrip()) > width and lines[-1].strip():
            lines.append(GAP)
        lines[-1] += word
    return [line.rstrip() for line in lines]


def _widths(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """How many columns of a terminal each column takes."""
    return [max(map(columns_of, column)) for column in zip(headings, *rows, strict=True)]
