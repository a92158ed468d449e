"""Tables of plain text."""

from __future__ import annotations

from collections.abc import Collection, Sequence

GAP = "  "
"""Between two columns."""


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
            cell.ljust(width) if heading in left else cell.rjust(width)
            for cell, heading, width in zip(row, headings, widths, strict=True)
        ).rstrip()
        for row in (headings, *rows)
    ]


def width_of(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """How many characters wide a table is."""
    widths = _widths(headings, rows)
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _widths(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """How many characters wide each column is."""
    return [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
