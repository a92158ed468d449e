"""The figures that the teaching recipes' tutorials published, and how measurements are judged."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Literal

from pydantic import BeforeValidator, TypeAdapter

from tenfold.evaluation.metrics import wilson_interval

Figure = Literal["train_loss", "train_acc", "evaluated_train_acc", "test_acc", "rises"]
"""What is measured after an epoch: loss and accuracy accumulated over the epoch's batches,
accuracies of a separate pass over a whole split, and how often the loss has risen."""

VerdictName = Literal[
    "reproduced", "differs, as expected", "differs", "nothing published", "not run"
]


@dataclass(frozen=True)
class Interval:
    """A range of values; each bound is included unless it is open."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Parse mathematical notation, such as `(0.7, 1]`."""
        low, high = text[1:-1].split(",")
        return cls(float(low), float(high), text[0] == "(", text[-1] == ")")

    def holds(self, value: float) -> bool:
        """Whether a value is inside; NaN never is."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"{'above' if self.open_low else 'at least'} {self.low:.4g}"
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"{left}{self.low:.4g}, {self.high:.4g}{right}"


Written = Annotated[Interval, BeforeValidator(Interval.parse)]
"""An interval parsed from text."""


@dataclass(frozen=True)
class Expected:
    """A range that does not reproduce the published figure but is acceptable.

    Attributes:
        range: the acceptable values.
        reason: why they are acceptable.
        only_on_copy: whether it applies only to a copy of the tutorial's data.
    """

    range: Written
    reason: str
    only_on_copy: bool = False


@dataclass(frozen=True)
class PublishedFigure:
    """One figure from a tutorial.

    Attributes:
        figure: what is measured.
        epoch: after which epoch, counted from 1; 0 for the untrained model, None for the last.
        meaning: a description for readers.
        published: as printed in the tutorial; empty if it gives no figure.
        accepted: the measurements that reproduce it; None if nothing is published.
        tolerance: where that range comes from.
        expected: other acceptable ranges; the first that fits gives the reason.
    """

    figure: Figure
    meaning: str
    epoch: int | None = None
    published: str = ""
    accepted: Written | None = None
    tolerance: str = ""
    expected: tuple[Expected, ...] = ()


@dataclass(frozen=True)
class DataCopy:
    """A copy of a data set with slightly different pixels, used if the original is not on disk.

    Attributes:
        file: its name in the folder of data sets.
        title: its name wherever figures are shown.
    """

    file: str
    title: str


@dataclass(frozen=True)
class TeachingSystem:
    """A teaching recipe and what its tutorial published.

    Attributes:
        recipe: the recipe's name.
        data: title of the data set that the figures were published for.
        epochs: epochs run by default.
        published_epochs: epochs the tutorial ran.
        full_epochs: epochs to train as far as the tutorial did.
        epochs_note: why these differ, if they do.
        figures: in display order.
        copy: a substitute for the data.
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
        n: number of images behind an accuracy; None for other figures.
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
    """How a measurement compares with the published figure, and why.

    Attributes:
        name: one of five.
        reason: a sentence without a period; may be empty.
    """

    name: VerdictName
    reason: str = ""


def judge(
    figure: PublishedFigure,
    measured: Measurement | None,
    *,
    on_copy: bool = False,
    why_not: str = "",
) -> Verdict:
    """The verdict on one figure.

    Args:
        figure: the published figure.
        measured: the same figure, measured here; None if it was not.
        on_copy: whether a copy of the tutorial's data was used.
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
    """The verdict on a figure of a run whose training failed."""
    name: VerdictName = "nothing published" if figure.accepted is None else "differs"
    return Verdict(name, f"the training failed: {failure}")


def _systems() -> dict[str, TeachingSystem]:
    text = (resources.files("tenfold.reproduction") / "published.toml").read_text("utf-8")
    table = TypeAdapter(list[TeachingSystem]).validate_python(tomllib.loads(text)["system"])
    return {system.recipe: system for system in table}


SYSTEMS = _systems()
"""The teaching recipes by name, in the order of `published.toml`: slowest last."""
