"""Runs and their figures as plain text, for terminals and log files."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tenfold.errors import printable, shell_quoted, shell_word
from tenfold.evaluation.report import Report
from tenfold.paths import exists
from tenfold.reporting.columns import columns_of, left_aligned
from tenfold.reporting.language import speaker
from tenfold.reporting.streams import display_on
from tenfold.runs.folder import RunFolder
from tenfold.runs.run import Run
from tenfold.storage import absolute
from tenfold.training.history import EpochMetrics
from tenfold.training.watching import Standing, Watcher

PLOT_NAME = "training.png"
"""The file in a run's folder with the plot of its training, if it has one."""

DECIDES_NOTHING = "not used for choosing"
"""What is said of test figures that are shown while a run trains."""


class PlainWatcher(Watcher):
    """Prints to standard error a line per epoch, and one every `log_every` batches.

    Args:
        log_every: batches between lines with the running loss; 0 for none.
        quiet: print only notes.

    Attributes:
        say: turns what is printed into the language of its reader.
    """

    def __init__(self, log_every: int = 0, *, quiet: bool = False) -> None:
        self.stream = display_on(sys.stderr)
        self.say = speaker(self.stream)
        self.every_batches = 0 if quiet else log_every
        self.quiet = quiet

    def advanced(self, standing: Standing) -> None:
        """Print the mean loss since the epoch's start, every `log_every` batches."""
        if self.every_batches and standing.batch % self.every_batches == 0:
            training = f"{standing.training}, " if standing.training else ""
            line = (
                f"{training}epoch {standing.epoch}, batch {standing.batch}/{standing.batches}: "
                f"running loss {standing.running_loss:.4f}"
            )
            self._write(self.say(line))

    def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
        """Print the epoch's figures."""
        if not self.quiet:
            self._write(self.say(epoch_line(metrics, epochs)))

    def note(self, text: str) -> None:
        """Print the note."""
        self._write(self.say(f"note: {printable(text, 2000)}"))

    def _write(self, line: str) -> None:
        self.stream.write(f"{line}\n")
        self.stream.flush()


def epoch_line(metrics: EpochMetrics, epochs: int) -> str:
    """An epoch's figures on one line."""
    parts = [f"train_loss {metrics.train_loss:.4f}", f"train_acc {metrics.train_acc:.4f}"]
    if metrics.val_loss is not None and metrics.val_acc is not None:
        parts += [f"val_loss {metrics.val_loss:.4f}", f"val_acc {metrics.val_acc:.4f}"]
        if metrics.val_balanced_acc is not None:
            parts.append(f"val_balanced_acc {metrics.val_balanced_acc:.4f}")
    if metrics.test_acc is not None:
        loss = [] if metrics.test_loss is None else [f"test_loss {metrics.test_loss:.4f}"]
        parts += [*loss, f"test_acc {metrics.test_acc:.4f} ({DECIDES_NOTHING})"]
    parts += [f"lr {metrics.lr:.2g}", f"{metrics.seconds:.1f} s"]
    return f"epoch {metrics.epoch}/{epochs}: {', '.join(parts)}"


def report_text(report: Report) -> str:
    """A report's headline, and one line per class."""
    head, *names = class_column(report.classes)
    lines = [str(report), "", f"{head}       n  precision  recall      f1  most often taken for"]
    for label, (name, figures) in enumerate(zip(names, report.per_class, strict=True)):
        cells = "".join(
            f"{'-' if value is None else f'{value:.3f}':>{columns}}"
            for value, columns in ((figures.precision, 11), (figures.recall, 8), (figures.f1, 8))
        )
        lines.append(f"{name}{figures.n:>8,}{cells}  {most_often_taken_for(report, label)}")
    return "\n".join(lines)


def class_column(names: Iterable[str]) -> list[str]:
    """The first column of a table of classes: heading and names, padded to one width."""
    column = ["class", *(printable(name, 40) for name in names)]
    width = max(map(columns_of, column))
    return [left_aligned(cell, width) for cell in column]


def most_often_taken_for(report: Report, label: int) -> str:
    """The class that this one is most often mistaken for, and how often."""
    row = report.confusion[label].copy()
    row[label] = 0
    count = int(row.max())
    if not count:
        return "-"
    return f"{printable(report.classes[int(row.argmax())], 40)} ({count})"


def run_text(run: Run) -> str:
    """A run's results, its engine, and where its files are."""
    lines, folder, figures = [], run.folder, run.figures
    if figures.get("test_acc") is not None:
        low, high = figures["test_interval"]
        loss = math.inf if figures["test_loss"] is None else figures["test_loss"]
        lines.append(
            f"test_acc {figures['test_acc']:.4f} (95 % interval {low:.4f} to {high:.4f}, "
            f"n = {figures['n_test']:,}), test_loss {loss:.4f}"
        )
        if figures.get("test_balanced_acc") is not None:
            lines.append(
                f"balanced_acc {figures['test_balanced_acc']:.4f} (mean recall); always answering "
                f"the largest class would get {figures['test_largest_share']:.4f}"
            )
    else:
        lines.append(_not_tested(figures))
    if figures.get("best_epoch") and figures["epochs"] > 1:
        lines.append(
            f"the weights are from epoch {figures['best_epoch']} of {figures['epochs']}, "
            "chosen on validation data only"
        )
    place, code = _typed(folder), list(map(shell_quoted, run.facts.naming_code))
    plot, page = folder / PLOT_NAME, RunFolder(folder).report
    split = [] if figures.get("n_test") else ["--split", "val" if figures.get("n_val") else "train"]
    return "\n".join(
        [
            *lines,
            f"engine {run.facts.conditions.engine}",
            f"run    {place}",
            f"model  {_typed(folder / 'model.safetensors')}",
            *([f"plot   {_typed(plot)}"] if exists(plot) else []),
            *([f"report {_typed(page)}"] if exists(page) else []),
            f"next   {' '.join(['tenfold evaluate', place, *split, *code])}",
            f"       {' '.join(['tenfold predict', place, 'IMAGE...', *code])}",
            f"       {' '.join(['tenfold serve', place, *code])}",
        ]
    )


def _not_tested(figures: Mapping[str, Any]) -> str:
    """What is known of a model without test images."""
    if figures.get("n_val"):
        return (
            "not tested: there are no test images, and the validation images chose the epoch, so "
            "their figures are slightly optimistic"
        )
    return (
        "not measured: there are neither test nor validation images, so how good it is with new "
        "images is not known"
    )


def group_text(folder: Path, results: str) -> str:
    """The results of a group of runs, and where its files are."""
    place = _typed(folder)
    return "\n".join([results, f"group  {place}", f"next   tenfold compare {place} OTHER"])


def _typed(path: Path) -> str:
    """A path as typed into a shell in the working directory."""
    return shell_word(as_typed(path))


def as_typed(path: Path) -> Path:
    """A path as seen from the working directory, if it is in there."""
    here = absolute(Path())
    return path.relative_to(here) if path.is_relative_to(here) else path
