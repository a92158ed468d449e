"""The lessons as data: which pages there are, and their blocks in order.

A block of Python or of commands that a block of text follows directly shows its output there; the
commands of a block that starts with ```console fails have to fail. Code in a folded solution is a
block like others, which notebooks leave folded.
"""

from __future__ import annotations

import linecache
import re
from pathlib import Path
from typing import NamedTuple

PAGES = Path(__file__).parent
PICTURES = PAGES / "pictures"
NOTEBOOKS = PAGES / "notebooks"

_BLOCK = re.compile(
    r"(?P<fenced>^```(?P<kind>python|console)(?P<fails> fails)?\n(?P<code>.*?)^```$)"
    r"(?:\n\n^```text(?P<measured> measured)?\n(?P<output>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)
_SOLUTION = re.compile(r"^<details>$.*?^</details>$", re.DOTALL | re.MULTILINE)
_PICTURE = re.compile(r"\]\(pictures/((\d)-([\w-]+\.png))\)")
_NUMBER = re.compile(r"[+-]?\d+(?:[.,:]\d+)*\.?(?:e[+-]?\d+)?")


class Block(NamedTuple):
    """What a reader runs, and the output that the page shows of it."""

    kind: str
    """`python` or `console`."""

    fails: bool
    """Whether its commands have to fail."""

    code: str
    output: str | None
    """None if the page shows none."""

    is_measured: bool
    """Whether not only numbers, but also words of the output depend on the data."""

    is_folded: bool
    """Whether it is in a folded solution."""

    span: tuple[int, int]
    """Where it starts and ends in the page's text, without its output."""

    output_span: tuple[int, int]
    """Where its output does."""


def lesson_pages() -> list[Path]:
    """The lessons in every language, without the index."""
    return sorted(PAGES.glob("[0-9]-*.md"))


def blocks(text: str) -> list[Block]:
    """Every block of a page that can be run."""
    folded = [solution.span() for solution in _SOLUTION.finditer(text)]
    return [
        Block(
            match["kind"],
            match["fails"] is not None,
            match["code"],
            match["output"],
            match["measured"] is not None,
            any(start < match.start() < end for start, end in folded),
            match.span("fenced"),
            match.span("output"),
        )
        for match in _BLOCK.finditer(text)
    ]


def pictures(text: str) -> dict[str, str]:
    """The pictures that a page shows: the name in `pictures/`, and that in the code."""
    return {shown: saved for shown, _lesson, saved in _PICTURE.findall(text)}


def without_numbers(text: str) -> str:
    """A text with `#` for every number, and for every time such as `2 min 5 s` only one."""
    return re.sub(r"(# (h|min) )+(?=# s)", "", _NUMBER.sub("#", text))


def execute(code: str, name: str, namespace: dict[str, object]) -> None:
    """Run a block of Python, whose lines can then be quoted like those of a file."""
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    exec(compile(code, name, "exec"), namespace)
