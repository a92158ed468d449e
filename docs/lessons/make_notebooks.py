"""Make the notebooks from the pages: `python docs/lessons/make_notebooks.py`.

Blocks of Python become code cells, everything between them text. The same page gives the same
bytes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

PAGES = Path(__file__).parent
NOTEBOOKS = PAGES / "notebooks"

CODE_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RELATIVE_LINK = re.compile(r"\]\((?!https?:|#)([^)]+)\)")


def lesson_pages() -> list[Path]:
    """The lessons in every language, without the index."""
    return sorted(PAGES.glob("[0-9]-*.md"))


def notebook_path(page: Path) -> Path:
    """Where a page's notebook lies."""
    return NOTEBOOKS / f"{page.stem}.ipynb"


def notebook_text(page: Path) -> str:
    """The notebook of a page, as it stands in its file."""
    parts = CODE_BLOCK.split(page.read_text("utf-8"))
    cells = [
        _cell("code" if place % 2 else "markdown", part.strip("\n"), f"cell-{place}")
        for place, part in enumerate(parts)
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
    if PAGES / target in lesson_pages():
        return f"]({notebook_path(PAGES / target).name})"
    return f"](../{target})"


def main() -> None:
    NOTEBOOKS.mkdir(exist_ok=True)
    for page in lesson_pages():
        notebook_path(page).write_text(notebook_text(page), "utf-8")


if __name__ == "__main__":
    main()
