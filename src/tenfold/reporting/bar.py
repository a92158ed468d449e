"""A progress bar on a terminal while data is read and a run trains."""

from __future__ import annotations

import time
from typing import TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tenfold.errors import printable
from tenfold.reporting.terminal import PlainWatcher
from tenfold.training.watching import Standing

SECONDS_BETWEEN_REDRAWS = 0.1


class BarWatcher(PlainWatcher):
    """A progress bar below the lines of `PlainWatcher`.

    Use it as a context manager, which removes the bar on exit.

    Args:
        log_every: see `PlainWatcher`.
        quiet: see `PlainWatcher`.
    """

    def __init__(self, log_every: int = 0, *, quiet: bool = False) -> None:
        super().__init__(log_every, quiet=quiet)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
            console=Console(file=cast("TextIO", self.stream), highlight=False),
            transient=True,
        )
        self.task = self.progress.add_task("", total=None, loss="", visible=False)
        self._drawn_at = 0.0

    def __enter__(self) -> BarWatcher:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def reading(self, what: str, done: int, total: int | None) -> None:
        """Show the progress of a long read."""
        self._show(self.say(printable(what, 48)), done, total, "")

    def advanced(self, standing: Standing) -> None:
        """Update the bar, at most every `SECONDS_BETWEEN_REDRAWS`."""
        super().advanced(standing)
        if time.perf_counter() - self._drawn_at >= SECONDS_BETWEEN_REDRAWS:
            self._show(
                ", ".join(
                    self.say(each)
                    for each in (standing.training, f"epoch {standing.epoch}")
                    if each
                ),
                standing.batch,
                standing.batches,
                self.say(f"loss {standing.running_loss:.4f}"),
            )

    def _show(self, what: str, done: int, total: int | None, loss: str) -> None:
        self._drawn_at = time.perf_counter()
        self.progress.update(
            self.task, description=what, completed=done, total=total, loss=loss, visible=True
        )

    def _write(self, line: str) -> None:
        self.progress.console.print(line, markup=False, soft_wrap=True)
