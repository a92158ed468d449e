"""A run's report in a notebook."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass
from pathlib import Path

from tenfold.markup import html_frame


@dataclass(frozen=True)
class ReportPage:
    """The page of a run's report, which a notebook shows under the cell.

    Attributes:
        path: the file.
        text: its contents.
    """

    path: Path
    text: str

    def open(self) -> None:
        """Open the page in the browser of this computer."""
        webbrowser.open(self.path.resolve().as_uri())

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"ReportPage({str(self.path)!r})"

    def _repr_html_(self) -> str:
        return html_frame("Report", self.text)
