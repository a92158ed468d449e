"""What a teacher would say on looking over one's shoulder: what was seen, and what to try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tenfold.training.history import EpochMetrics
from tenfold.types import LabelArray

RISING_EPOCHS = 3
"""Epochs in a row of rising validation loss and falling training loss that mean overfitting."""

BELOW, ABOVE = 0.001, 0.02
"""How far below and above a constant answer's loss, relatively, counts as sitting there.

No constant answer gets below that loss but by rounding; one that still jitters stays above it.
"""


class Advisor:
    """Looks at each finished epoch and says each thing once.

    Args:
        labels: of the training images.
        classes: how many there are.
    """

    def __init__(self, labels: LabelArray, classes: int) -> None:
        self.constant_loss = constant_loss(labels, classes)
        self._said: set[str] = set()

    def after_epoch(
        self, history: Sequence[EpochMetrics], gradient_norms: Mapping[str, float]
    ) -> Iterator[str]:
        """What there is to say now that was not said before, one sentence each.

        Args:
            history: this run's epochs so far, at least one.
            gradient_norms: of the epoch's last step, see `Stretch`.
        """
        last = history[-1]
        seen = {
            "dead": bool(gradient_norms)
            and not any(gradient_norms.values())
            and (
                f"the gradient is zero in every layer after epoch {last.epoch}: no ReLU lets "
                "anything through any more, so nothing can be learned; start again with a "
                "learning rate ten times lower"
            ),
            "constant": -BELOW * self.constant_loss
            <= last.train_loss - self.constant_loss
            <= ABOVE * self.constant_loss
            and (
                f"the training loss sits at {last.train_loss:.3f} after epoch {last.epoch}: "
                f"{self.constant_loss:.3f} is what a model gets that gives every image the same "
                f"answer, so it is not learning; try a learning rate ten times lower (it went "
                f"up to {max(metrics.lr for metrics in history):g}) or larger batches, and only "
                "if the loss then falls too slowly a higher one"
            ),
            "overfitting": _overfits(history)
            and (
                f"the validation loss has risen for {RISING_EPOCHS} epochs while the training "
                f"loss fell, up to epoch {last.epoch}: the model is learning its training images "
                "by heart; stop earlier (patience = 3), or try dropout, weight_decay or augment"
            ),
        }
        for kind, sentence in seen.items():
            if sentence and kind not in self._said:
                self._said.add(kind)
                yield sentence


def constant_loss(labels: LabelArray, classes: int) -> float:
    """The lowest mean cross-entropy that one answer for all images can reach, in nats.

    It is the entropy of the classes' shares: ln(classes) where all are equally frequent.
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
