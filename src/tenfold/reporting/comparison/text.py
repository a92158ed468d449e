"""A comparison as plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.reporting.columns import columns_of, in_table, left_aligned, paragraph, width_of
from tenfold.reporting.comparison.words import (
    contrast_explanations,
    contrast_sentences,
    data_sentences,
    described,
    difference_cells,
    explanations,
    figure_cells,
)
from tenfold.reporting.language import Say
from tenfold.runs.comparing import Comparison

WIDTH = 80
"""Lines are at most so wide, if names and values are short."""


def comparison_text(comparison: Comparison, say: Say = str) -> str:
    """The candidates, their figures, what differs in them, and the tests.

    Args:
        comparison: what was compared.
        say: turns a sentence into the language of its reader, before it is divided into lines.
    """
    candidates = comparison.candidates
    width = max(columns_of(each.name) for each in candidates)
    sections = [
        [f"{left_aligned(each.name, width)}  {say(described(each))}" for each in candidates]
    ]
    headings, rows = figure_cells(comparison)
    sections.append(in_table(headings, rows, left=[""]))
    sections.append(_wrapped(explanations(comparison), say))
    for title, differing in (
        ("what differs in the recipes", comparison.recipes),
        ("what differs in the conditions", comparison.conditions),
    ):
        if differing:
            sections.append([title, *_differences(comparison, differing)])
    sections.append(_wrapped(data_sentences(comparison), say))
    sections += [
        _wrapped(contrast_sentences(comparison), say),
        _wrapped(contrast_explanations(comparison), say),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _differences(comparison: Comparison, differing: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A table with a column for each candidate; or if that is too wide, a line for each value."""
    headings, rows = difference_cells(comparison, differing)
    if width_of(headings, rows) <= WIDTH:
        return in_table(headings, rows, left=headings)
    return [line for row in rows for line in _by_value(headings[1:], row)]


def _by_value(names: Sequence[str], row: Sequence[str]) -> list[str]:
    """A key, and under it each value with the names of those that have it."""
    by_value: dict[str, list[str]] = {}
    for name, value in zip(names, row[1:], strict=True):
        by_value.setdefault(value, []).append(name)
    return [row[0], *(f"  {', '.join(having)}: {value}" for value, having in by_value.items())]


def _wrapped(sentences: Sequence[str], say: Say) -> list[str]:
    return [line for sentence in sentences for line in paragraph(say(sentence), WIDTH)]
