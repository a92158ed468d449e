"""Watchers, which follow a run as it trains and cannot change it."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenfold.errors import UsageError, printable
from tenfold.listening import Listener
from tenfold.training.history import EpochMetrics


@dataclass(frozen=True)
class Standing:
    """A run's progress within an epoch.

    Attributes:
        epoch: the current epoch, counted from 1.
        batch: batches done in this epoch.
        batches: batches in an epoch.
        step: total number of steps taken.
        running_loss: mean of the epoch's batch losses so far.
        training: which one it is, such as `fold 2 of 5`; empty if it is the only one.
    """

    epoch: int
    batch: int
    batches: int
    step: int
    running_loss: float
    training: str = ""


class Watcher(Listener):
    """Callbacks from a run. Every method does nothing by default; override the ones you need.

    Attributes:
        every_batches: call `advanced` at least every this many batches; with 0, a few times a
            second.
    """

    every_batches: int = 0

    def started(self, folder: Path | None, history: Sequence[EpochMetrics]) -> None:
        """Called once before the first batch, with the run's folder and the finished epochs."""

    def advanced(self, standing: Standing) -> None:
        """Called after some batches. It must be quick."""

    def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
        """Called after every epoch; `epochs` is the number that the run will have in total."""

    def ended(self) -> None:
        """Called once after the last batch, however training ended."""

    def next_look(self, batch: int) -> float:
        """The next batch of the epoch, after this one, at which `advanced` must be called."""
        return next_multiple(batch, self.every_batches)


class Watchers(Watcher):
    """Several watchers, called in turn."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self.watchers = tuple(watchers)

    def note(self, text: str) -> None:
        """Call every watcher."""
        for watcher in self.watchers:
            watcher.note(text)

    def reading(self, what: str, done: int, total: int | None) -> None:
        """Call every watcher."""
        for watcher in self.watchers:
            watcher.reading(what, done, total)

    def started(self, folder: Path | None, history: Sequence[EpochMetrics]) -> None:
        """Call every watcher."""
        for watcher in self.watchers:
            watcher.started(folder, history)

    def advanced(self, standing: Standing) -> None:
        """Call every watcher."""
        for watcher in self.watchers:
            watcher.advanced(standing)

    def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
        """Call every watcher."""
        for watcher in self.watchers:
            watcher.epoch_done(metrics, epochs)

    def ended(self) -> None:
        """Call every watcher."""
        for watcher in self.watchers:
            watcher.ended()

    def next_look(self, batch: int) -> float:
        """The first such batch of any of them."""
        return min((watcher.next_look(batch) for watcher in self.watchers), default=math.inf)


class OnEpoch(Watcher):
    """Calls a function after every epoch; its failures never stop the training.

    Args:
        function: called with the epoch's metrics, before a checkpoint of the epoch is written.
        tell: called with a sentence once, if the function raises an exception; it is not called
            again then.

    Raises:
        UsageError: it is not a function.
    """

    def __init__(
        self, function: Callable[[EpochMetrics], object], *, tell: Callable[[str], None]
    ) -> None:
        if not callable(function):
            raise UsageError(
                f"on_epoch is of type {type(function).__name__}, wanted a function that takes the "
                "metrics of an epoch",
                remedy="give one, such as on_epoch=print",
            )
        self._function, self._tell, self._has_failed = function, tell, False

    def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
        """Call the function, unless it has failed."""
        del epochs
        if self._has_failed:
            return
        try:
            self._function(metrics)
        except Exception as error:  # noqa: BLE001 - whoever looks on must not end hours of training
            self._has_failed = True
            reason = traceback.format_exception_only(error)[-1].strip()  # whatever its __str__ does
            self._tell(
                f"on_epoch: {_name_of(self._function)} failed after epoch {metrics.epoch} and is "
                f"not called again, training continues without it: {printable(reason)}"
            )


def _name_of(function: object) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__


def next_multiple(count: int, every: int) -> float:
    """The smallest multiple of `every` above a count; infinity if `every` is 0."""
    return float((count // every + 1) * every) if every else math.inf
