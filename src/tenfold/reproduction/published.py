"""What the tutorials behind the teaching recipes published, and how a measurement is judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tenfold.evaluation.metrics import wilson_interval

Figure = Literal["train_loss", "train_acc", "evaluated_train_acc", "test_acc", "rises"]
"""What is measured after an epoch: loss and accuracy as they add up over the epoch's batches,
accuracies of a pass over a whole split afterwards, and how often the loss has risen."""

VerdictName = Literal[
    "reproduced", "differs, as expected", "differs", "nothing published", "not run"
]


@dataclass(frozen=True)
class Interval:
    """From one value to another, both included unless a bound is open."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value lies inside; NaN never does."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"{'above' if self.open_low else 'at least'} {self.low:.4g}"
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"{left}{self.low:.4g}, {self.high:.4g}{right}"


@dataclass(frozen=True)
class Expected:
    """A range that is not the published one, but where a figure may well lie.

    Attributes:
        range: where.
        reason: why there.
        only_on_copy: whether it holds only for another copy of the data than the tutorial's.
    """

    range: Interval
    reason: str
    only_on_copy: bool = False


@dataclass(frozen=True)
class PublishedFigure:
    """One figure of a tutorial.

    Attributes:
        figure: what is measured.
        epoch: after which epoch, counted from 1; 0 for the untrained model, None for the last.
        meaning: what it is, for people.
        published: as the tutorial has it; empty for a figure that it does not give.
        accepted: the measurements that reproduce it; None where nothing is published.
        tolerance: where that range comes from.
        expected: other ranges that are right as well, the first that fits gives the reason.
    """

    figure: Figure
    epoch: int | None
    meaning: str
    published: str = ""
    accepted: Interval | None = None
    tolerance: str = ""
    expected: tuple[Expected, ...] = ()


@dataclass(frozen=True)
class DataCopy:
    """A copy of a data set with other pixels, for where the data set itself is not on disk.

    Attributes:
        file: its name in the folder of data sets.
        title: what it is called wherever its figures are shown.
    """

    file: str
    title: str


@dataclass(frozen=True)
class TeachingSystem:
    """A teaching recipe and what its tutorial published.

    Attributes:
        recipe: the recipe's name.
        data: the title of the data set that the figures were published for.
        epochs: how many are run unless others are asked for.
        published_epochs: how many the tutorial ran.
        full_epochs: how many bring the model to where the tutorial's ended.
        epochs_note: why these differ, if they do.
        figures: in the order in which they are shown.
        copy: what may take the place of the data.
    """

    recipe: str
    data: str
    epochs: int
    published_epochs: int
    full_epochs: int
    figures: tuple[PublishedFigure, ...]
    epochs_note: str = ""
    copy: DataCopy | None = None


@dataclass(frozen=True)
class Measurement:
    """A figure measured here.

    Attributes:
        value: the figure.
        n: how many images an accuracy was counted on; None for other figures.
    """

    value: float
    n: int | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of an accuracy."""
        return None if self.n is None else wilson_interval(round(self.value * self.n), self.n)


Measurements = Mapping[tuple[Figure, int], Measurement]
"""By figure and epoch."""


@dataclass(frozen=True)
class Verdict:
    """How a measurement stands to what was published, and why.

    Attributes:
        name: one of five.
        reason: a sentence without a full stop; may be empty.
    """

    name: VerdictName
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}" if self.reason else self.name


def judge(
    figure: PublishedFigure,
    measured: Measurement | None,
    *,
    on_copy: bool = False,
    why_not: str = "",
) -> Verdict:
    """The verdict on one figure.

    Args:
        figure: what was published.
        measured: the same figure here; None if there is none.
        on_copy: whether the data is another copy than the tutorial's.
        why_not: why there is no measurement.
    """
    if measured is None:
        return Verdict("not run", why_not)
    if figure.accepted is not None and figure.accepted.holds(measured.value):
        return Verdict("reproduced")
    for expected in figure.expected:
        if expected.range.holds(measured.value) and (on_copy or not expected.only_on_copy):
            name: VerdictName = (
                "nothing published" if figure.accepted is None else "differs, as expected"
            )
            return Verdict(name, expected.reason)
    if figure.accepted is not None:
        return Verdict("differs", f"{figure.accepted} would reproduce it")
    if figure.expected:
        wanted = " or ".join(str(expected.range) for expected in figure.expected)
        return Verdict("differs", f"nothing is published, but {wanted} was expected")
    return Verdict("nothing published")


def judge_failure(figure: PublishedFigure, failure: str) -> Verdict:
    """The verdict on a figure of a run whose training broke off."""
    name: VerdictName = "nothing published" if figure.accepted is None else "differs"
    return Verdict(name, f"the training failed: {failure}")


def _within(value: float, tolerance: float) -> Interval:
    return Interval(value - tolerance, value + tolerance)


def _cifar_epoch(epoch: int, loss: str, accuracy: str) -> tuple[PublishedFigure, ...]:
    copied = "compressed to JPEG and back, the pixels are not the tutorial's"
    return (
        PublishedFigure(
            "train_loss",
            epoch,
            f"mean loss over epoch {epoch}",
            loss,
            _within(float(loss), 0.075),
            "0.075: over the five epochs the loss falls 2.5 times as much as the accuracy rises",
            (Expected(_within(float(loss), 0.1), copied, only_on_copy=True),),
        ),
        PublishedFigure(
            "train_acc",
            epoch,
            f"accuracy over epoch {epoch}",
            accuracy,
            _within(float(accuracy), 0.03),
            "0.03: two places are printed, and seeds 1 to 3 lay up to 0.024 away on the copy",
            (Expected(_within(float(accuracy), 0.04), copied, only_on_copy=True),),
        ),
    )


_ABOVE_SEVEN_TENTHS = Interval(0.7, 1.0, open_low=True)
_CONSTANT = math.log(10)

SYSTEMS: dict[str, TeachingSystem] = {
    system.recipe: system
    for system in (
        TeachingSystem(
            recipe="lenet-mnist",
            data="MNIST",
            epochs=11,
            published_epochs=10,
            full_epochs=11,
            epochs_note="the tutorial's ten start from a model already trained for one",
            figures=(
                PublishedFigure(
                    "train_loss",
                    2,
                    "mean loss over the first of the ten printed epochs",
                    "0.0858",
                    Interval(0.85 * 0.0858, 1.15 * 0.0858),
                    "15 %: seeds 1 to 4 lay up to 10 % away",
                ),
                PublishedFigure(
                    "train_loss",
                    11,
                    "mean loss over the last of the ten printed epochs",
                    "0.0152",
                    Interval(0.85 * 0.0152, 1.15 * 0.0152),
                    "15 %: seeds 1 to 4 lay up to 10 % away",
                ),
                PublishedFigure(
                    "rises",
                    11,
                    "epochs 3 to 11 whose mean loss is above the one before",
                    "0",
                    Interval(0.0, 0.0),
                    "the ten losses fall all the way",
                ),
                PublishedFigure(
                    "evaluated_train_acc",
                    11,
                    "accuracy of a pass over the training images after training",
                    "0.99607",
                    Interval(0.995, 1.0),
                    "at least 0.995",
                    (
                        Expected(
                            Interval(0.993, 0.995, open_high=True),
                            "the last batches can end low: seeds 1 to 4 gave 0.9949 to 0.9968",
                        ),
                    ),
                ),
                PublishedFigure(
                    "test_acc",
                    11,
                    "accuracy on the test images after training",
                    "0.99607",
                    Interval(0.995, 1.0),
                    "at least 0.995",
                    (
                        Expected(
                            Interval(0.985, 0.993),
                            "the tutorial's test images are its training images again; these "
                            "10,000 were never trained on, and 0.989 is usual",
                        ),
                    ),
                ),
            ),
        ),
        TeachingSystem(
            recipe="softmax-fashion",
            data="Fashion-MNIST",
            epochs=10,
            published_epochs=10,
            full_epochs=10,
            figures=(
                PublishedFigure(
                    "test_acc",
                    0,
                    "accuracy of the untrained model on the test images",
                    "about 0.1",
                    Interval(0.0, 0.21),
                    "three standard deviations, of which 1,000 seeds have 0.037",
                ),
                PublishedFigure(
                    "train_loss",
                    10,
                    "mean loss over the last epoch",
                    "< 0.5",
                    Interval(0.0, 0.5, open_high=True),
                    "the tutorial's own bound",
                ),
                PublishedFigure(
                    "train_acc",
                    10,
                    "accuracy over the last epoch",
                    "(0.7, 1]",
                    _ABOVE_SEVEN_TENTHS,
                    "the tutorial's own bounds",
                ),
                PublishedFigure(
                    "test_acc",
                    10,
                    "accuracy on the test images after training",
                    "(0.7, 1]",
                    _ABOVE_SEVEN_TENTHS,
                    "the tutorial's own bounds",
                ),
            ),
        ),
        TeachingSystem(
            recipe="mlp-fashion",
            data="Fashion-MNIST",
            epochs=5,
            published_epochs=5,
            full_epochs=5,
            figures=(
                PublishedFigure(
                    "test_acc",
                    5,
                    "accuracy on the test images after training",
                    expected=(
                        Expected(
                            Interval(0.60, 0.70),
                            "0.65 is usual at this learning rate, which is low",
                        ),
                    ),
                ),
            ),
        ),
        TeachingSystem(
            recipe="cnn-cifar10",
            data="CIFAR-10",
            copy=DataCopy("cifar10-jpeg.tar.xz", "CIFAR-10 (JPEG copy)"),
            epochs=5,
            published_epochs=100,
            full_epochs=100,
            figures=(
                *_cifar_epoch(1, "1.67102", "0.38"),
                *_cifar_epoch(2, "1.35650", "0.51"),
                *_cifar_epoch(3, "1.22355", "0.57"),
                *_cifar_epoch(4, "1.14639", "0.59"),
                *_cifar_epoch(5, "1.09468", "0.61"),
                PublishedFigure(
                    "test_acc",
                    100,
                    "accuracy on the test images after training",
                    "0.57",
                    _within(0.57, 0.03),
                    "0.03: by then it has overfitted, and the last epochs go up and down",
                    (
                        Expected(
                            _within(0.57, 0.05),
                            "compressed to JPEG and back, the pixels are not the tutorial's",
                            only_on_copy=True,
                        ),
                    ),
                ),
            ),
        ),
        TeachingSystem(
            recipe="convpool-mnist",
            data="MNIST",
            epochs=2,
            published_epochs=10,
            full_epochs=10,
            figures=(
                PublishedFigure(
                    "train_loss",
                    None,
                    "mean loss over the last epoch",
                    expected=(
                        Expected(
                            Interval(0.0, 0.99 * _CONSTANT, open_high=True), "the model has learned"
                        ),
                        Expected(
                            Interval(0.99 * _CONSTANT, math.inf),
                            "the model has not learned: ln 10 = 2.303 is the loss of one answer "
                            "for all images",
                        ),
                    ),
                ),
                PublishedFigure("test_acc", None, "accuracy on the test images after training"),
            ),
        ),
    )
}
"""The teaching recipes, the slowest last."""
