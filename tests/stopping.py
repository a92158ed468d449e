"""A watcher that stops the process's own training."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from tenfold.training.watching import Standing, Watcher


class StopsAt(Watcher):
    """Sends signals to the process itself after a certain step; keeps what is noted."""

    every_batches = 1

    def __init__(self, step: int = -1, signals: Sequence[int] = (signal.SIGTERM,)) -> None:
        self.step, self.signals = step, signals
        self.notes: list[str] = []

    def advanced(self, standing: Standing) -> None:
        if standing.step == self.step:
            for number in self.signals:
                os.kill(os.getpid(), number)

    def note(self, text: str) -> None:
        self.notes.append(text)
