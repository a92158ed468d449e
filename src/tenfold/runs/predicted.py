"""Which class a run's model predicts for each of its test images."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from tenfold.data.corrections import as_cell
from tenfold.errors import FileRefusedError, TenfoldError, encodable
from tenfold.evaluation.metrics import confusion_matrix
from tenfold.listening import Listener
from tenfold.paths import exists
from tenfold.runs.evaluate import evidence_of
from tenfold.runs.folder import RunFolder
from tenfold.runs.resources import USUAL, Resources
from tenfold.runs.run import Run
from tenfold.types import LabelArray

INDEX, SPLIT, TRUE, PREDICTED = "index", "split", "true", "predicted"
"""The columns that are read: the place in the split from 0, its name, and names of classes."""


@dataclass(frozen=True)
class Predictions:
    """The classes of a run's test images, in their order.

    Attributes:
        true: the labels.
        predicted: what the model predicts.
    """

    true: LabelArray
    predicted: LabelArray

    @property
    def correct(self) -> Bool[np.ndarray, " n"]:
        """Whether each image is recognized."""
        return np.asarray(self.true == self.predicted)


def predictions_of(
    run: Run, *, resources: Resources = USUAL, listener: Listener | None = None
) -> Predictions:
    """What a run's model predicts for its test images.

    They are those in its `predictions.csv`, if that agrees with the figures that the run ended
    with; else its model is evaluated again, on its own data.

    Args:
        run: one that has ended, with figures on a test split.
        resources: what an evaluation may use.
        listener: gets the progress of long reads.

    Raises:
        FileRefusedError: neither agrees with the run's figures, or it has none.
        TenfoldError: the run cannot be evaluated again; see `evidence_of`.
    """
    confusion = _confusion_of(run)
    found = _in_file(run)
    if found is not None and _agrees(found, confusion):
        return found
    evidence = evidence_of(run.folder, resources=resources, listener=listener)
    logits = evidence.logits["test"]
    found = Predictions(evidence.parts["test"].label_array, logits.argmax(axis=1))
    if not _agrees(found, confusion):
        raise FileRefusedError(
            f"{run.folder}: evaluated again, its model gives other answers than the run ended with"
        )
    return found


def _confusion_of(run: Run) -> Int64[np.ndarray, "classes classes"]:
    """The confusion matrix that a run ended with.

    Raises:
        FileRefusedError: there is none.
    """
    classes = len(run.facts.data.classes)
    try:
        confusion = np.array((run.facts.test or {})["confusion"])
    except (KeyError, ValueError):
        confusion = np.empty(0)
    if confusion.shape != (classes, classes) or confusion.dtype.kind != "i":
        raise FileRefusedError(f"{run.folder}: it has no figures on test images")
    return confusion.astype(np.int64)


def _agrees(found: Predictions, confusion: Int64[np.ndarray, "classes classes"]) -> bool:
    counts = confusion_matrix(found.true, found.predicted, len(confusion))
    return bool((counts == confusion).all())


def _in_file(run: Run) -> Predictions | None:
    """What the run's file says; None if there is none, or it is not a row for each test image."""
    folder = RunFolder(run.folder)
    if not exists(folder.predictions):
        return None
    labels: dict[str, int] = {}
    for label, name in enumerate(run.facts.data.classes):
        labels |= dict.fromkeys((name, encodable(name), as_cell(encodable(name))), label)
    try:
        rows = list(csv.DictReader(io.StringIO(folder.read_text(folder.predictions))))
        found = sorted(
            (int(row[INDEX]), labels[row[TRUE]], labels[row[PREDICTED]])
            for row in rows
            if row[SPLIT] == "test"
        )
    except (TenfoldError, csv.Error, KeyError, ValueError, TypeError):
        return None
    if [index for index, _, _ in found] != list(range(len(found))):
        return None
    columns = np.array(found, np.int64).reshape(-1, 3)
    return Predictions(columns[:, 1], columns[:, 2])
