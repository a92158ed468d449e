"""What a person sees of a run while it goes on; nothing here can change the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tenfold.listening import Listener
from tenfold.training.history import EpochMetrics


@dataclass(frozen=True)
class Standing:
    """Where a run stands within an epoch.

    Attributes:
        epoch: the one that goes on, counted from 1.
        batch: how many of its batches are done.
        batches: how many it has.
        step: how many steps the run has taken in all.
        running_loss: the mean of the epoch's batch losses so far.
    """

    epoch: int
    batch: int
    batches: int
    step: int
    running_loss: float


class Watcher(Listener):
    """Is told what happens. Every method does nothing; override those that interest you.

    Attributes:
        every_batches: see to it that `advanced` is called after every so many batches; with 0 it
            is called a few times a second.
    """

    every_batches: int = 0

    def started(self, folder: Path | None, history: Sequence[EpochMetrics]) -> None:
        """Once before the first batch, with the run's folder and the epochs already finished."""

    def advanced(self, standing: Standing) -> None:
        """After some batches. It must be quick."""

    def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
        """After every epoch, with the number of epochs wanted."""

    def ended(self) -> None:
        """Once after the last batch, however the training ended."""

    def next_look(self, batch: int) -> float:
        """The next batch of the epoch, after this one, that it must be told of."""
        return next_multiple(batch, self.every_batches)


class Watchers(Watcher):
    """Several watchers, told in turn."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self.watchers = tuple(watchers)

    def note(self, text: str) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.note(text)

    def reading(self, what: str, done: int, total: int | None) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.reading(what, done, total)

    def started(self, folder: Path | None, history: Sequence[EpochMetrics]) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.started(folder, history)

    def advanced(self, standing: Standing) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.advanced(standing)

    def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.epoch_done(metrics, epochs)

    def ended(self) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.ended()

    def next_look(self, batch: int) -> float:
        """The first that any of them must be told of."""
        return min((watcher.next_look(batch) for watcher in self.watchers), default=math.inf)


def next_multiple(count: int, every: int) -> float:
    """The next multiple of `every` above a count; infinity if `every` is 0."""
    return float((count // every + 1) * every) if every else math.inf
