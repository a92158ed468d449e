"""Advice during training, as from a teacher: what went wrong, and what to try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tenfold.training.history import EpochMetrics
from tenfold.training.schedules import Schedule
from tenfold.types import LabelArray

RISING_EPOCHS = 3
"""Overfitting: validation loss up and training loss down for this many epochs in a row."""

BELOW, ABOVE = 0.001, 0.02
"""A loss within these relative margins of a constant prediction's counts as stuck there.

A constant prediction is below that loss only by rounding; one that still jitters is above it.
"""


ENOUGH_STEPS = 100
"""Steps before a loss counts as stuck: the first ones, often of a warm-up, move it very little."""


class Advisor:
    """Gives advice after each epoch, each kind only once.

    Args:
        labels: of the training images.
        classes: number of classes.
        schedule: of the learning rate.
    """

    def __init__(self, labels: LabelArray, classes: int, schedule: Schedule) -> None:
        self._schedule = schedule
        self.constant_loss = constant_loss(labels, classes)
        self._said: set[str] = set()

    def after_epoch(
        self,
        history: Sequence[EpochMetrics],
        gradient_norms: Mapping[str, float],
        steps: int,
    ) -> Iterator[str]:
        """New advice, one sentence each.

        Args:
            history: this run's epochs so far, at least one.
            gradient_norms: of the epoch's last step; see `Stretch`.
            steps: number taken so far, in all epochs.
        """
        last = history[-1]
        seen = {
            "dead": bool(gradient_norms)
            and not any(gradient_norms.values())
            and (
                f"the gradient is zero in every layer after epoch {last.epoch}: the ReLUs are "
                "dead, so the model cannot learn; start again with a learning rate ten times lower"
            ),
            "constant": steps >= ENOUGH_STEPS
            and -BELOW * self.constant_loss
            <= last.train_loss - self.constant_loss
            <= ABOVE * self.constant_loss
            and (
                f"the training loss is stuck at {last.train_loss:.3f} after epoch {last.epoch}: "
                f"a model that predicts the same for every image gets {self.constant_loss:.3f}, "
                f"so this one is not learning; try a learning rate ten times lower (it went "
                f"up to {max(map(self._schedule, range(steps))):g}) or larger batches, and raise "
                "the rate again only if the loss then falls too slowly"
            ),
            "overfitting": _overfits(history)
            and (
                f"the validation loss has risen for {RISING_EPOCHS} epochs while the training "
                f"loss fell, up to epoch {last.epoch}: the model is overfitting; stop earlier "
                "with --set patience=3, or try dropout, weight_decay or augment"
            ),
        }
        for kind, sentence in seen.items():
            if sentence and kind not in self._said:
                self._said.add(kind)
                yield sentence


def constant_loss(labels: LabelArray, classes: int) -> float:
    """The lowest mean cross-entropy of a constant prediction, in nats.

    It is the entropy of the class frequencies: ln(classes) if all are equally frequent.
    """
    counts = np.bincount(labels, minlength=classes)
    shares = counts[counts > 0] / len(labels)
    return float(-(shares * np.log(shares)).sum())


def _overfits(history: Sequence[EpochMetrics]) -> bool:
    recent = history[-RISING_EPOCHS - 1 :]
    val = np.array([metrics.val_loss for metrics in recent], dtype=float)  # NaN for None
    train = np.array([metrics.train_loss for metrics in recent])
    rises = (val[1:] > val[:-1]) & (train[1:] < train[:-1])
    return len(recent) > RISING_EPOCHS and bool(rises.all())
