"""A comparison as one page of HTML, which needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tenfold.markup import html_frame
from tenfold.reporting.comparison.text import comparison_text
from tenfold.reporting.comparison.words import (
    contrast_explanations,
    contrast_sentences,
    data_sentences,
    described,
    difference_cells,
    explanations,
    figure_cells,
)
from tenfold.reporting.pages.charts import Line, Spread, line_chart, sample, spread_chart
from tenfold.reporting.pages.rendering import rendered
from tenfold.runs.comparing import Comparison
from tenfold.storage import destination, make_folder, write_text

CURVES = {
    "val_acc": ("Validation accuracy", "share of images"),
    "train_acc": ("Training accuracy", "share of images"),
    "val_loss": ("Validation loss", "mean cross-entropy in nats"),
    "train_loss": ("Training loss", "mean cross-entropy in nats"),
}
"""Title and unit of each chart; accuracies have the same axis, and so have losses."""


class ShownComparison(Comparison):
    """A comparison that prints as text, and shows as its page in a notebook."""

    def __str__(self) -> str:
        return "\n\n".join([comparison_text(self), *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        return html_frame("Comparison", comparison_page(self))


def write_page(path: Path, comparison: Comparison) -> None:
    """Write the page; creates its folder if needed.

    Raises:
        StorageError: it cannot be written.
    """
    path = destination(path)
    make_folder(path.parent)
    write_text(path, comparison_page(comparison))


def comparison_page(comparison: Comparison) -> str:
    """The page, with charts, tables and tests."""
    candidates = comparison.candidates
    return rendered(
        "compare.html",
        n_runs=sum(len(each.runs) for each in candidates),
        candidates=[
            {"name": each.name, "described": described(each), "sample": sample(style)}
            for style, each in enumerate(candidates)
        ],
        figures=_table(figure_cells(comparison)),
        explanations=explanations(comparison),
        spread=_spread(comparison),
        curves=_curves(comparison),
        differences=[
            {"title": title, **_table(difference_cells(comparison, differing))}
            for title, differing in (
                ("What differs in the recipes", comparison.recipes),
                ("What differs in the conditions", comparison.conditions),
            )
            if differing
        ],
        data=data_sentences(comparison),
        tests=[_unbroken(sentence) for sentence in contrast_sentences(comparison)],
        contrast_explanations=contrast_explanations(comparison),
        notes=comparison.notes,
    )


def _unbroken(sentence: str) -> str:
    """A sentence in which no line ends within `p = 0.02`."""
    return sentence.replace("p = ", "p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}").replace(
        "p < ", "p\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}"
    )


def _table(cells: tuple[Sequence[str], Sequence[Sequence[str]]]) -> Mapping[str, Any]:
    headings, rows = cells
    return {"headings": headings, "rows": rows}


def _spread(comparison: Comparison) -> Markup:
    """The chart of test accuracies; empty if there are none."""
    rows = _spreads(comparison)
    if not rows:
        return Markup()
    return spread_chart(
        rows,
        title="Test accuracy with its 95 % interval",
        x_label="share of images",
        name="test-acc",
    )


def _curves(comparison: Comparison) -> list[Markup]:
    lines = {figure: _lines(comparison, figure) for figure in CURVES}
    charts = []
    for figure, (title, unit) in CURVES.items():
        kind = figure.rpartition("_")[2]
        among = [line for other in CURVES if other.endswith(kind) for line in lines[other]]
        if lines[figure]:
            charts.append(
                line_chart(
                    lines[figure],
                    title=title,
                    x_label="epochs",
                    y_label=unit,
                    name=figure.replace("_", "-"),
                    among=among,
                    from_zero=kind == "loss",
                )
            )
    return charts


def _spreads(comparison: Comparison) -> list[Spread]:
    return [
        Spread(
            each.name,
            style,
            each.figures["test_acc"],
            each.interval,
            [run.figures["test_acc"] for run in each.ended] if len(each.ended) > 1 else [],
        )
        for style, each in enumerate(comparison.candidates)
        if each.interval is not None
    ]


def _lines(comparison: Comparison, figure: str) -> list[Line]:
    """A line for each run that has the figure."""
    found = [
        (each.name, style, [(float(m.epoch), getattr(m, figure)) for m in run.history])
        for style, each in enumerate(comparison.candidates)
        for run in each.runs
    ]
    known = [
        Line(
            name,
            style,
            [
                (epoch, value)
                for epoch, value in points
                if value is not None and math.isfinite(value)
            ],
        )
        for name, style, points in found
    ]
    return [line for line in known if line.points]
