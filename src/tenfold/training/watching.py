"""What a person sees of a run while it goes on; nothing here can change the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tenfold.training.state import EpochMetrics, TrainingState


class Watcher:
    """Is told what happens. Every method does nothing; override those that interest you."""

    def started(self, folder: Path, history: Sequence[EpochMetrics]) -> None:
        """Once before the first batch, with the run's folder and the epochs already finished."""

    def batch_done(self, state: TrainingState, batches: int) -> None:
        """After every batch, with the number of batches in an epoch. It must be quick."""

    def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
        """After every epoch, with the number of epochs wanted."""

    def note(self, text: str) -> None:
        """Something that a person should know, one sentence."""

    def ended(self) -> None:
        """Once after the last batch, however the training ended."""


class Watchers(Watcher):
    """Several watchers, told in turn."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self.watchers = tuple(watchers)

    def started(self, folder: Path, history: Sequence[EpochMetrics]) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.started(folder, history)

    def batch_done(self, state: TrainingState, batches: int) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.batch_done(state, batches)

    def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.epoch_done(metrics, epochs)

    def note(self, text: str) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.note(text)

    def ended(self) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.ended()
