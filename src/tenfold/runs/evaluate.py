"""The figures of a run's model on its own data or other data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tenfold.data.catalog.table import DATASETS
from tenfold.data.dataset import ImageDataset, Splits
from tenfold.data.load import load_splits
from tenfold.deployment.classifier import Classifier
from tenfold.errors import DataError, UsageError
from tenfold.evaluation.report import Report
from tenfold.listening import Listener, WithoutNotes
from tenfold.recipes import Recipe
from tenfold.runs.facts import RunFacts
from tenfold.runs.fit import with_validation
from tenfold.runs.folder import RunFolder, existing_run
from tenfold.runs.resources import USUAL, Resources
from tenfold.runs.run import read_own_bundle, read_recipe
from tenfold.training.engines import AUTO


def evaluate_run(
    path: Path,
    data: object = None,
    *,
    split: str = "test",
    resources: Resources = USUAL,
    listener: Listener | None = None,
) -> Report:
    """The figures of a run's model, or a bundle's, on a split of the run's data or other data.

    A run's own test split gives exactly the figures that training ended with, on the same
    machine; so does the same data named or handed over again. Other data without splits is
    evaluated whole; its classes may be some of the model's, in any order.

    Args:
        path: a run's folder or a bundle.
        data: what to evaluate on; None for the data that the run learned from.
        split: `train`, `val` or `test`.
        resources: what may be used.
        listener: is told about the data, and about long reading.

    Raises:
        FileRefusedError: there is no usable model, or no run that says what its data is.
        DataError: the data cannot be read, has changed, or has no such split.
    """
    if split not in ("train", "val", "test"):
        raise UsageError(f"there is no split {split!r}, wanted train, val or test")
    bundle, own = read_own_bundle(path)
    if data is None and own is None:
        raise UsageError(
            f"{path}: a bundle alone does not say where its data lies",
            remedy="name the data to evaluate on",
        )
    listener, splits, batch_size = listener or Listener(), None, 1024
    if own is not None:
        facts = own.read_facts()
        recipe = read_recipe(own, facts)
        resources, batch_size = resources.or_those_of(facts, data), recipe.eval_batch_size
    with resources.repeatable() as device:
        # A run's figures are computed by what computed them while it was trained.
        classifier = Classifier(bundle, device, use_kernels=resources.engine in ("", AUTO))
        if own is not None:
            splits = _own_splits(own, facts, recipe, data, resources, listener)
        if splits is None:
            splits = _other_splits(data, classifier, resources, listener)
        part = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
        if part is None:
            raise DataError(
                f"{splits.train.source}: it has no {split} split",
                remedy="name another one with --split",
            )
        return classifier.evaluate(part, batch_size=batch_size)


def sample_of_test_images(
    path: Path, n: int = 5, *, data_root: Path | None = None
) -> tuple[list[str], ImageDataset]:
    """A few of a run's test images, with names that tell their true classes.

    Args:
        path: the run's folder.
        n: how many at the most; spread evenly over the split.
        data_root: a folder of known data sets.

    Raises:
        FileRefusedError: there is no such run.
        DataError: its data cannot be read, or has no test split.
    """
    folder = existing_run(path)
    facts = folder.read_facts()
    resources = Resources(data_root).or_those_of(facts, None)
    splits = _own_splits(folder, facts, read_recipe(folder, facts), None, resources, Listener())
    if splits is None or splits.test is None:
        raise DataError(f"{folder}: the data has no test split", remedy="name image files")
    chosen = np.linspace(0, len(splits.test) - 1, min(n, len(splits.test))).astype(np.int64)
    sample = splits.test.select(chosen)
    names = [
        f"test image {index} ({splits.test.classes[label]})"
        for index, label in zip(chosen.tolist(), sample.label_array.tolist(), strict=True)
    ]
    return names, sample


def _own_splits(
    folder: RunFolder,
    facts: RunFacts,
    recipe: Recipe,
    data: object,
    resources: Resources,
    listener: Listener,
) -> Splits | None:
    """The splits that a run was made with; None if `data` is given and is not the run's.

    Raises:
        DataError: the run's data is no longer what it was.
    """
    try:
        loaded = load_splits(
            data if data is not None else reopened_data(folder, facts),
            data_root=resources.data_root,
            image_size=recipe.image_size,
            channels=recipe.channels,
            test_fraction=recipe.test,
            download=resources.download,
            listener=WithoutNotes(listener),
        )
        splits = with_validation(loaded.splits, recipe)
    except DataError:
        if data is None:
            raise
        return None  # data that cannot be split as the run's was is other data
    if splits.fingerprint == facts.data.fingerprint:
        return splits
    if data is None:
        raise DataError(
            f"{loaded.source}: the data has changed since the run learned from it, so "
            "its splits may share images with what was learned",
            remedy="put it back, or name it as DATA to evaluate on all of it as it is now",
        )
    return None


def _other_splits(
    data: object, classifier: Classifier, resources: Resources, listener: Listener
) -> Splits:
    """The splits of other data in the model's shape; without any, all of it is the test split."""
    shape = classifier.bundle.input_shape
    splits = load_splits(
        data,
        data_root=resources.data_root,
        image_size=(shape.height, shape.width),
        channels=shape.channels,
        test_fraction=0.0,
        download=resources.download,
        listener=listener,
    ).splits
    parts = {part.split: _with_classes(part, classifier.classes) for part in splits}
    train = parts["train"]
    if len(parts) == 1:
        return Splits(train, None, train.renamed("test"))
    return Splits(train, parts.get("val"), parts.get("test"))


def _with_classes(part: ImageDataset, classes: tuple[str, ...]) -> ImageDataset:
    """The images with the model's classes in the model's order, where it has all of theirs."""
    if part.classes == classes or not set(part.classes) <= set(classes):
        return part
    places = np.array([classes.index(name) for name in part.classes])
    return ImageDataset(
        part.image_array,
        places[part.label_array],
        classes,
        split=part.split,
        source=part.source,
        names=part.names,
    )


def reopened_data(folder: RunFolder, facts: RunFacts) -> str:
    """The data of a run, to be opened again by name or path.

    Raises:
        UsageError: it was handed over in Python and has neither.
        DataError: it has moved.
    """
    if not facts.data.can_be_reopened:
        raise UsageError(
            f"{folder}: the run's data was handed over in Python",
            remedy="hand it over again as data=",
        )
    source = facts.data.source
    if source not in DATASETS and not os.path.exists(source):  # noqa: PTH110 (Path's raises)
        raise DataError(
            f"{folder}: the run's data is no longer at {source}",
            remedy="say where it is now: resume with --data PLACE, or evaluate RUN PLACE",
        )
    return source
