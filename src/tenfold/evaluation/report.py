"""Results of an evaluation; every accuracy comes with n and its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Int64

from tenfold.data.dataset import ImageDataset
from tenfold.errors import UsageError, percent
from tenfold.evaluation.metrics import (
    ArrayLike,
    ClassFigures,
    balanced_accuracy,
    class_figures,
    confusion_matrix,
    mean_cross_entropy,
    wilson_interval,
)
from tenfold.markup import html_facts, html_table
from tenfold.types import as_array

SPLITS = {"train": "training", "val": "validation", "test": "test"}
"""The names of splits in sentences."""


class OtherSplitError(UsageError, AttributeError):
    """A figure of another split; also an AttributeError, so that `hasattr` works."""


@dataclass(frozen=True, eq=False)
class Report:
    """The figures of one model on one split.

    Figures are also attributes under their usual names: a report on the test split has
    `test_loss`, `test_acc`, `test_balanced_acc` and `test_largest_share`, one on the validation
    split `val_loss` and so on.

    Attributes:
        split: `train`, `val` or `test`.
        n: number of images.
        loss: mean cross-entropy in nats, with the class weights that the model was trained with.
        confusion: counts; rows are true classes, columns predicted.
        classes: class names.
    """

    split: str
    n: int
    loss: float
    confusion: Int64[np.ndarray, "classes classes"]
    classes: tuple[str, ...]

    @property
    def correct(self) -> int:
        """Number of correct predictions."""
        return int(self.confusion.trace())

    @property
    def accuracy(self) -> float:
        """Fraction of correct predictions, 0..1."""
        return self.correct / self.n

    @property
    def balanced_acc(self) -> float:
        """Mean recall of the classes that have images, 0..1."""
        return balanced_accuracy(self.confusion)

    @property
    def largest_share(self) -> float:
        """Share of the class with the most images, 0..1: the accuracy of always answering it."""
        return int(self.confusion.sum(1).max()) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson_interval(self.correct, self.n)

    @property
    def per_class(self) -> tuple[ClassFigures, ...]:
        """Precision, recall and F1 of every class."""
        return class_figures(self.confusion, self.classes)

    @property
    def note(self) -> str:
        """A warning if images of several classes were all predicted as one; otherwise empty."""
        true, predicted = (np.flatnonzero(self.confusion.sum(axis=axis)) for axis in (1, 0))
        if len(true) == 1 or len(predicted) > 1:
            return ""
        return (
            f"all {self.n:,} {SPLITS[self.split]} images were predicted as "
            f"{self.classes[predicted[0]]!r}"
        )

    def __getattr__(self, name: str) -> float:
        for figure, value in _FIGURES.items():
            split = name.removesuffix(f"_{figure}")
            if split not in ("", name):
                if split != self.split:
                    raise OtherSplitError(
                        f"this report is on the {self.split} split and has no {name}",
                        remedy=f"ask for {self.split}_{figure}, or evaluate the {split} split",
                    )
                return value(self)
        raise AttributeError(f"Report has no attribute {name!r}")

    def figures(self) -> dict[str, object]:
        """The headline figures under their usual names; a non-finite loss is None, as in JSON."""
        return {
            f"n_{self.split}": self.n,
            f"{self.split}_loss": self.loss if math.isfinite(self.loss) else None,
            f"{self.split}_acc": self.accuracy,
            f"{self.split}_interval": list(self.interval),
            f"{self.split}_balanced_acc": self.balanced_acc,
            f"{self.split}_largest_share": self.largest_share,
        }

    def to_dict(self) -> dict[str, object]:
        """Everything as a JSON-serializable dictionary."""
        return {
            **self.figures(),
            "classes": list(self.classes),
            "per_class": [asdict(figures) for figures in self.per_class],
            "confusion": self.confusion.tolist(),
        }

    def _repr_html_(self) -> str:
        low, high = self.interval
        rows = {
            "accuracy": f"{percent(self.accuracy, 2)} of {self.n:,} {self.split} images "
            f"(95 % interval {100 * low:.2f} to {100 * high:.2f} %)",
            "balanced accuracy": percent(self.balanced_acc, 2),
            "always the largest class": percent(self.largest_share, 2),
            "loss": f"{self.loss:.4f}",
        }
        listed = [
            (each.name, f"{each.n:,}", *map(percent, (each.precision, each.recall, each.f1)))
            for each in self.per_class
        ]
        columns = ("class", "images", "precision", "recall", "F1")
        return html_facts("Evaluation", f"{self.split} split", rows) + html_table(columns, listed)

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.split}_acc {self.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}, "
            f"n = {self.n:,}), {self.split}_loss {self.loss:.4f}, "
            f"balanced_acc {self.balanced_acc:.4f}; always answering the largest class: "
            f"{self.largest_share:.4f}"
        )


_FIGURES: Mapping[str, Callable[[Report], float]] = {
    "balanced_acc": lambda report: report.balanced_acc,
    "largest_share": lambda report: report.largest_share,
    "acc": lambda report: report.accuracy,
    "loss": lambda report: report.loss,
}
"""What is an attribute under its name with the split's; longer names come first."""


def report_of(
    logits: ArrayLike, dataset: ImageDataset, class_weights: Sequence[float] | None = None
) -> Report:
    """Compare logits with the labels of a data set.

    Args:
        logits: shape (n, classes); an array or a tensor.
        dataset: the same images, with their labels.
        class_weights: of the loss that the model was trained with, one per class; None if all
            images count alike.

    Raises:
        UsageError: there is not one logit per class.
    """
    scores, classes = as_array(logits), len(dataset.classes)
    if scores.shape[1] != classes:
        raise UsageError(
            f"evaluate: the model gives {scores.shape[1]} logits per image, "
            f"wanted {classes}, one per class of {dataset.source}"
        )
    # Also checks the labels.
    confusion = confusion_matrix(dataset.label_array, scores.argmax(1), classes)
    return Report(
        split=dataset.split,
        n=len(dataset),
        loss=mean_cross_entropy(scores, dataset.label_array, class_weights),
        confusion=confusion,
        classes=dataset.classes,
    )
