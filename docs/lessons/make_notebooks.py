"""Make the notebooks from the pages: `python docs/lessons/make_notebooks.py`.

Blocks of Python and of commands become code cells, everything between them text, and so do folded
solutions with their code. In a cell, a command starts with `!`, and a notebook goes on if it fails.
The same page gives the same bytes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from pages import NOTEBOOKS, PAGES, Block, blocks, lesson_pages

RELATIVE_LINK = re.compile(
    r"^```.*?^```$|\]\((?!https?:|#)([^)]+)\)", re.DOTALL | re.MULTILINE
)
"""Or code, where such characters are no link."""

PROMPT = re.compile(r"^\$ ", re.MULTILINE)
"""Of a terminal."""


def notebook_path(page: Path) -> Path:
    """Where a page's notebook lies."""
    return NOTEBOOKS / f"{page.stem}.ipynb"


def notebook_text(page: Path) -> str:
    """The notebook of a page, as it stands in its file."""
    cells = [
        _cell("code" if place % 2 else "markdown", part.strip("\n"), f"cell-{place}")
        for place, part in enumerate(_parts(page.read_text("utf-8")))
        if part.strip()
    ]
    notebook = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _parts(text: str) -> list[str]:
    """A page's text and code in turn."""
    parts, end = [], 0
    for block in blocks(text):
        if not block.is_folded:
            start, next_end = block.span
            parts += [text[end:start], cell_code(block)]
            end = next_end
    return [*parts, text[end:]]


def cell_code(block: Block) -> str:
    """A block as the code of a cell."""
    return block.code if block.kind == "python" else PROMPT.sub("!", block.code)


def _cell(kind: str, source: str, name: str) -> dict[str, object]:
    text = source if kind == "code" else RELATIVE_LINK.sub(_link_from_notebook, source)
    cell: dict[str, object] = {
        "cell_type": kind,
        "id": name,
        "metadata": {},
        "source": text.splitlines(keepends=True),
    }
    return {**cell, "execution_count": None, "outputs": []} if kind == "code" else cell


def _link_from_notebook(link: re.Match[str]) -> str:
    """A page's relative link, from the notebook's folder; another lesson's is its notebook."""
    target = link[1]
    if target is None:
        return link[0]
    if PAGES / target in lesson_pages():
        return f"]({notebook_path(PAGES / target).name})"
    return f"](../{target})"


def main() -> None:
    NOTEBOOKS.mkdir(exist_ok=True)
    for page in lesson_pages():
        notebook_path(page).write_text(notebook_text(page), "utf-8")


if __name__ == "__main__":
    main()
