"""Predictions as text, CSV or JSON, written as they are made."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from typing import Any

from tenfold.deployment.streaming import Answer
from tenfold.errors import json_line, printable
from tenfold.reporting.language import speaker

UNSURE = "unsure"
"""The answer if no class is probable enough."""


class Writer:
    """Writes answers to standard output as lines of text.

    Args:
        min_confidence: 0..1; if no class is as probable, the answer is `UNSURE`.

    Attributes:
        count: answers so far.
    """

    def __init__(self, min_confidence: float) -> None:
        self.min_confidence, self.count = min_confidence, 0
        self.stream = sys.stdout  # that of the command; a network may print while it computes

    def write(self, answer: Answer) -> None:
        """Write an answer; what cannot be read is left to the caller."""
        self.count += 1
        if answer.guesses:
            self._write(answer)
            self.stream.flush()

    def close(self) -> None:
        """Write what comes after the last answer."""

    def is_unsure(self, answer: Answer) -> bool:
        """Whether no class is probable enough."""
        return answer.guesses[0].probability < self.min_confidence

    def _write(self, answer: Answer) -> None:
        guesses = ", ".join(f"{printable(g.name)} {_chance(g.probability)}" for g in answer.guesses)
        say = speaker(self.stream)
        text = f"{say(UNSURE)} ({guesses})" if self.is_unsure(answer) else guesses
        line = f"{printable(answer.name)}: {text}"
        if answer.true_class:
            line = say(f"{printable(answer.name)} ({printable(answer.true_class)}): {text}")
        self.stream.write(f"{line}\n")


class CsvWriter(Writer):
    """Writes a table: image, rank, class, probability; an unsure answer is one row."""

    def __init__(self, min_confidence: float) -> None:
        super().__init__(min_confidence)
        self._rows = csv.writer(self.stream, lineterminator="\n")
        self._rows.writerow(["image", "rank", "class", "probability"])

    def _write(self, answer: Answer) -> None:
        if self.is_unsure(answer):
            best = answer.guesses[0].probability
            self._rows.writerow([_encodable(answer.name), 1, UNSURE, f"{best:.6f}"])
            return
        for rank, guess in enumerate(answer.guesses, start=1):
            cells = (
                _encodable(answer.name),
                rank,
                _encodable(guess.name),
                f"{guess.probability:.6f}",
            )
            self._rows.writerow(cells)


class LinesWriter(Writer):
    """Writes a JSON object for every image, a line each, with `error` if it cannot be read."""

    def write(self, answer: Answer) -> None:
        """Write an answer."""
        self.count += 1
        self.stream.write(f"{json_line(self.facts_of(answer))}\n")
        self.stream.flush()

    def facts_of(self, answer: Answer) -> dict[str, Any]:
        """An answer, JSON-serializable."""
        if answer.problem:
            return {"image": answer.name, "error": answer.problem}
        return {
            "image": answer.name,
            **({"true_class": answer.true_class} if answer.true_class else {}),
            **({"unsure": True} if self.is_unsure(answer) else {}),
            **({"inverted": True} if answer.look.is_inverted else {}),
            **({"uncentered": True} if answer.look.is_uncentered else {}),
            "top": [guess.to_dict() for guess in answer.guesses],
        }


class JsonWriter(LinesWriter):
    """Writes a single JSON object at the end.

    Args:
        facts: what it says besides.
        min_confidence: see `Writer`.
    """

    def __init__(self, facts: Mapping[str, Any], min_confidence: float) -> None:
        super().__init__(min_confidence)
        self._facts = facts
        self._answers: list[dict[str, Any]] = []

    def write(self, answer: Answer) -> None:
        """Keep an answer."""
        self.count += 1
        self._answers.append(self.facts_of(answer))

    def close(self) -> None:
        """Write all answers."""
        self.stream.write(f"{json_line({**self._facts, 'predictions': self._answers})}\n")


def writer_of(kind: str, facts: Mapping[str, Any], min_confidence: float) -> Writer:
    """What writes answers as `text`, `csv`, `jsonl` or `json`.

    Args:
        kind: one of these.
        facts: what a single JSON object says besides.
        min_confidence: see `Writer`.
    """
    if kind == "json":
        return JsonWriter(facts, min_confidence)
    return {"text": Writer, "csv": CsvWriter, "jsonl": LinesWriter}[kind](min_confidence)


def _chance(probability: float) -> str:
    """Three digits; what is not certain, or not impossible, is not shown as such."""
    if 0 < probability < 0.0005:
        return "<0.001"
    if 0.9995 <= probability < 1:
        return ">0.999"
    return f"{probability:.3f}"


def _encodable(name: str) -> str:
    """A name, which may not be valid Unicode, in a form that standard output can encode."""
    return name.encode(errors="backslashreplace").decode()
