"""What a model answered for each image of a split: its mistakes, and what it confuses."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32, Int64

from tenfold.data.corrections import as_cell
from tenfold.data.dataset import ImageDataset
from tenfold.errors import encodable
from tenfold.evaluation.metrics import softmax
from tenfold.evaluation.report import Report

COLUMNS = ("index", "image", "split", "true", "predicted", "probability", "correct")
"""Of the table of answers."""


@dataclass(frozen=True)
class Mistake:
    """An image that was answered with another class.

    Attributes:
        index: of the image in its split.
        image: its name.
        true: the class that it is labeled with.
        predicted: the answer.
        probability: of the answer, 0..1.
        probability_of_true: of its own class.
    """

    index: int
    image: str
    true: str
    predicted: str
    probability: float
    probability_of_true: float


@dataclass(frozen=True)
class Pair:
    """Images of one class that were answered with a certain other one.

    Attributes:
        true: the class that they are labeled with.
        predicted: the answer.
        n: how many.
        share: of the images of the class, 0..1.
        indices: of some of them in their split, the surest answers first.
    """

    true: str
    predicted: str
    n: int
    share: float
    indices: tuple[int, ...]


class Answers:
    """The answers for a split.

    Args:
        part: the split.
        logits: of its images.
        temperature: of the model.
    """

    def __init__(
        self, part: ImageDataset, logits: Float32[np.ndarray, "n classes"], temperature: float
    ) -> None:
        self.part, self.logits = part, logits
        self.predicted: Int64[np.ndarray, " n"] = logits.argmax(axis=1)
        chances = softmax(logits, temperature)
        self.probability = _of(chances, self.predicted)
        self.probability_of_true = _of(chances, part.label_array)
        # Not the logarithm of the class's own probability, which may be rounded to 0.
        behind = _of(logits, self.predicted) - _of(logits, part.label_array)
        self._loss = behind / temperature - np.log(self.probability)

    @cached_property
    def costliest(self) -> Int64[np.ndarray, " wrong"]:
        """Indices of the images answered wrongly, those with the greatest loss first."""
        wrong = np.flatnonzero(self.predicted != self.part.label_array)
        return wrong[np.argsort(-self._loss[wrong], kind="stable")]

    def name(self, index: int) -> str:
        """The name of an image, or its number where images have none."""
        names = self.part.names
        return f"{self.part.split} image {index}" if names is None else names[index]

    def mistakes(self, most: int) -> list[Mistake]:
        """The costliest ones, the worst first."""
        return [
            Mistake(
                index=index,
                image=self.name(index),
                true=self.part.classes[int(self.part.label_array[index])],
                predicted=self.part.classes[int(self.predicted[index])],
                probability=float(self.probability[index]),
                probability_of_true=float(self.probability_of_true[index]),
            )
            for index in self.costliest[:most].tolist()
        ]

    def pairs(self, most: int, examples: int) -> list[Pair]:
        """The classes that are confused most often, with some images of each pair."""
        classes, labels = self.part.classes, self.part.label_array
        codes = labels[self.costliest] * len(classes) + self.predicted[self.costliest]
        found, counts = np.unique(codes, return_counts=True)
        order = np.lexsort((found, -counts))[:most]
        of_class = self.part.class_counts()
        pairs = []
        for code, n in zip(found[order].tolist(), counts[order].tolist(), strict=True):
            true, predicted = divmod(code, len(classes))
            indices = self.costliest[codes == code][:examples].tolist()
            share = n / int(of_class[true])
            pairs.append(Pair(classes[true], classes[predicted], n, share, tuple(indices)))
        return pairs


def pairs_of(report: Report, most: int) -> list[Pair]:
    """The classes that are confused most often, without images."""
    confusion = report.confusion.copy()
    np.fill_diagonal(confusion, 0)
    order = np.argsort(-confusion, axis=None, kind="stable")[:most]
    pairs = []
    for true, predicted in zip(*np.unravel_index(order, confusion.shape), strict=True):
        if n := int(confusion[true, predicted]):
            share = n / int(report.confusion[true].sum())
            pairs.append(Pair(report.classes[true], report.classes[predicted], n, share, ()))
    return pairs


def answers_csv(parts: Iterable[Answers]) -> str:
    """A row for each image: what it is, what was answered, and how probable that was."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for answers in parts:
        part = answers.part
        names = [as_cell(encodable(name)) for name in part.classes]
        columns = zip(
            part.label_array.tolist(),
            answers.predicted.tolist(),
            answers.probability.tolist(),
            strict=True,
        )
        for index, (true, predicted, probability) in enumerate(columns):
            image = as_cell(encodable(answers.name(index)))
            chance, correct = f"{probability:.6f}", int(true == predicted)
            rows.writerow(
                (index, image, part.split, names[true], names[predicted], chance, correct)
            )
    return text.getvalue()


def _of(
    values: Float32[np.ndarray, "n classes"], labels: Int64[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """The value of one class of each image."""
    found: np.ndarray = np.take_along_axis(values, labels[:, None], axis=1)[:, 0]
    return found
