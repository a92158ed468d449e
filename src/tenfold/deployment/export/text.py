"""Python code as a formatter would lay it out, in lines of at most 88 characters."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_LINE = 88
"""What ruff and black allow unless told otherwise."""


def call(start: str, items: Sequence[str], end: str, indent: int = 0) -> str:
    """A call or a list on one line, or its items on a line of their own, or on one each.

    Args:
        start: what comes before the items, such as `x = f(`.
        items: the arguments.
        end: what comes after them, such as `)`.
        indent: spaces before each line.
    """
    margin, inner = " " * indent, " " * (indent + 4)
    together = ", ".join(items)
    if "\n" not in together:
        if len(whole := f"{margin}{start}{together}{end}") <= LONGEST_LINE:
            return whole
        if len(line := f"{inner}{together}") <= LONGEST_LINE:
            return f"{margin}{start}\n{line}\n{margin}{end}"
    lines = "".join(f"{inner}{item},\n" for item in items)
    return f"{margin}{start}\n{lines}{margin}{end}"


def text_literal(text: str) -> str:
    """A string in Python code; characters that do not print are escaped."""
    quote = "'" if '"' in text and "'" not in text else '"'
    return quote + "".join(_escaped(character, quote) for character in text) + quote


def _escaped(character: str, quote: str) -> str:
    if character in ("\\", quote):
        return f"\\{character}"
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode()


def size_literal(size: tuple[int, int]) -> str:
    """A pair of sizes; one number if they are equal."""
    return str(size[0]) if size[0] == size[1] else f"({size[0]}, {size[1]})"
