"""Labels that may be wrong, by confident learning.

C. Northcutt, L. Jiang and I. Chuang, "Confident learning: estimating uncertainty in dataset
labels", Journal of Artificial Intelligence Research 70, 2021. Every image is judged by a model that
was not trained on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from tenfold.data.checks.findings import Finding, located
from tenfold.data.dataset import ImageDataset, Splits
from tenfold.errors import DataError, counted, percent
from tenfold.evaluation.metrics import softmax
from tenfold.recipes import Recipe, load_recipe
from tenfold.recipes.choosing import USUAL_BUDGET, Budget, chosen_by_data, summarize
from tenfold.runs.folds import each_fold
from tenfold.runs.reading import RunData
from tenfold.runs.resources import Resources
from tenfold.training.watching import Watcher
from tenfold.types import LabelArray, LabeledArrays

FOLDS = 5

SHARE_OF_WORK = 0.2
"""More finds hardly more: it makes models that are sure of what they get wrong."""

TIMES_ESTIMATED = 2
"""How many labels are suspected, in proportion to the estimated number of wrong ones."""

FEWEST = FOLDS
"""Classes with fewer images are not judged: no model sees enough of them."""

_TOLERANCE = 1e-6
"""By which a probability may miss its class's threshold, for rounding."""

Probabilities = Float[np.ndarray, "n classes"]


@dataclass(frozen=True)
class Judged:
    """What models say about images that they were not trained on.

    Attributes:
        findings: the labels that may be wrong, the most doubtful first.
        accuracy: the share of labels that the models agree with.
        n: number of images that were judged.
    """

    findings: list[Finding]
    accuracy: float
    n: int


def judge_labels(
    parts: Sequence[ImageDataset], *, resources: Resources, watcher: Watcher
) -> Judged:
    """Find labels that may be wrong, by cross-validation over all splits together.

    Args:
        parts: the splits.
        resources: what each training may use.
        watcher: gets the progress.

    Raises:
        DataError: fewer than two classes have enough images, or too few images differ.
        TrainingError: a loss became infinite or undefined.
    """
    pooled, owners = _pooled(parts)
    recipe = quick_recipe(pooled)
    splits = Splits(pooled)
    read = RunData(splits, splits.fingerprint, pooled.source, False, None, ())
    probabilities = np.empty((len(pooled), len(pooled.classes)))
    for name, held, fitted in each_fold(
        recipe, read, folds=FOLDS, resources=resources, watcher=watcher
    ):
        prepared = fitted.prepared
        test = prepared.splits.test
        assert test is not None, "a fold is held out"
        logits = prepared.engine.predict(test.images, recipe.eval_batch_size)
        probabilities[held] = softmax(logits.cpu().numpy())
        assert fitted.report is not None, "a fold is held out"
        share = f"{percent(fitted.report.accuracy)} of {counted(len(held), 'label')}"
        watcher.note(f"checking labels, {name}: the model agrees with {share}")
    labels = pooled.label_array
    order = wrong_labels(probabilities, labels)
    findings = []
    for place in order.tolist():
        part, index = owners[place]
        findings.append(_finding(part, index, pooled.classes, probabilities[place]))
    agreeing = float((probabilities.argmax(1) == labels).mean())
    return Judged(findings, agreeing, len(pooled))


def quick_recipe(train: ImageDataset) -> Recipe:
    """The default, narrower: all folds together take `SHARE_OF_WORK` of the usual work."""
    recipe = load_recipe("default", {"val": 0.0, "test": 0.0})
    budget = Budget(USUAL_BUDGET.multiply_adds * SHARE_OF_WORK / FOLDS)
    return chosen_by_data(recipe, summarize(train), budget)


def _pooled(
    parts: Sequence[ImageDataset],
) -> tuple[ImageDataset, list[tuple[ImageDataset, int]]]:
    """All images of classes with enough of them, and for each its split and place there."""
    counts = np.sum([part.class_counts() for part in parts], axis=0)
    enough = np.flatnonzero(counts >= FEWEST)
    if len(enough) < 2:
        raise DataError(f"fewer than two classes have {FEWEST} images or more")
    classes = tuple(parts[0].classes[label] for label in enough.tolist())
    chosen = [np.flatnonzero(np.isin(part.label_array, enough)) for part in parts]
    arrays = LabeledArrays(
        np.concatenate([part.image_array[at] for part, at in zip(parts, chosen, strict=True)]),
        np.searchsorted(
            enough,
            np.concatenate([part.label_array[at] for part, at in zip(parts, chosen, strict=True)]),
        ).astype(np.int64),
        classes,
        groups=_pooled_groups(parts, chosen),
    )
    pooled = ImageDataset.from_arrays(arrays, split="train", source=parts[0].source)
    owners = [
        (part, place) for part, at in zip(parts, chosen, strict=True) for place in at.tolist()
    ]
    return pooled, owners


def _pooled_groups(
    parts: Sequence[ImageDataset], chosen: Sequence[np.ndarray]
) -> tuple[str, ...] | None:
    if all(part.groups is None for part in parts):
        return None
    return tuple(
        f"/{part.split}/{place}" if part.groups is None else part.groups[place]
        for part, at in zip(parts, chosen, strict=True)
        for place in at.tolist()
    )


def wrong_labels(probabilities: Probabilities, labels: LabelArray) -> Int64[np.ndarray, " found"]:
    """The images whose label may be wrong, the most doubtful first.

    Those of which another class is more probable are sorted by the probability of their label
    ("self-confidence"), and the first are taken: `TIMES_ESTIMATED` times as many as are estimated
    to be wrong.

    Args:
        probabilities: of each class, by a model that was not trained on the image.
        labels: as given.
    """
    own = probabilities[np.arange(len(labels)), labels]
    order = np.argsort(own, kind="stable")[: TIMES_ESTIMATED * number_wrong(probabilities, labels)]
    found: Int64[np.ndarray, " found"] = order[probabilities.argmax(1)[order] != labels[order]]
    return found


def number_wrong(probabilities: Probabilities, labels: LabelArray) -> int:
    """An estimate of how many labels are wrong, by confident learning.

    A model is confident of a class if its probability is at least the mean probability of that
    class over the images with its label. A label counts as wrong if the most probable class, and
    the most probable one of which the model is confident, are others.

    Args:
        probabilities: see `wrong_labels`.
        labels: see `wrong_labels`.
    """
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, own, classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confident = np.where(probabilities >= thresholds - _TOLERANCE, probabilities, -1.0)
    wrong = (confident.max(1) > 0) & (confident.argmax(1) != labels)
    return int((wrong & (probabilities.argmax(1) != labels)).sum())


def _finding(
    part: ImageDataset,
    index: int,
    classes: Sequence[str],
    probabilities: Float[np.ndarray, " classes"],
) -> Finding:
    image = located(part, index)
    best = int(probabilities.argmax())
    own = float(probabilities[classes.index(image.label)])
    return Finding(
        "wrong-label",
        f"labeled {image.label!r} (probability {own:.3f}), more likely {classes[best]!r} "
        f"({probabilities[best]:.3f})",
        (image,),
        (False,),
        own,
        classes[best],
    )
