"""Evaluation of a run's model on its own data or other data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tenfold.data.catalog.table import DATASETS
from tenfold.data.dataset import ImageDataset, Splits
from tenfold.data.folders.damage import BadFilesError
from tenfold.data.folders.options import NO_OPTIONS, FolderOptions
from tenfold.data.load import load_splits, read_data
from tenfold.data.splitting import with_validation
from tenfold.deployment.bundle import Bundle
from tenfold.deployment.classifier import Classifier, is_for_kernels
from tenfold.errors import (
    DataError,
    FileRefusedError,
    FileUnreadableError,
    NewerFormatError,
    UsageError,
    listing,
)
from tenfold.evaluation.report import Report
from tenfold.listening import Listener, WithoutNotes
from tenfold.paths import exists, is_folder
from tenfold.recipes import Recipe
from tenfold.runs.adding import read_added, with_added
from tenfold.runs.evidence import Evidence
from tenfold.runs.facts import Beginnings, RunFacts
from tenfold.runs.folder import RunFolder, existing_run
from tenfold.runs.reading import Recorded, folder_options, limited_splits
from tenfold.runs.resources import CPU, USUAL, Resources, usual_threads
from tenfold.runs.run import notes_on, open_run, read_own_bundle, read_recipe
from tenfold.training.engine_table import AUTO

_NAME_FILES = "name image files"


def evaluate_run(
    path: Path,
    data: object = None,
    *,
    split: str = "test",
    options: FolderOptions = NO_OPTIONS,
    resources: Resources = USUAL,
    listener: Listener | None = None,
) -> Report:
    """Evaluate a run's model, or a bundle's, on a split of the run's data or other data.

    On the same machine, a run's own test split gives exactly the figures that training ended
    with, and so does the same data passed explicitly. Other data without splits is evaluated
    whole; its classes may be any subset of the model's, in any order.

    Args:
        path: a run's folder or a bundle.
        data: what to evaluate on; None for the data that the run was trained on.
        split: `train`, `val` or `test`.
        options: how the images of a folder or archive that is other data are labeled.
        resources: what the evaluation may use.
        listener: gets notes on the data, the progress of long reads, and a note if the run has
            not finished or every image is predicted as one class.

    Raises:
        FileRefusedError: there is no usable model.
        UsageError: no data was given for a bundle.
        DataError: the data cannot be read, has changed, or has no such split.
    """
    if split not in ("train", "val", "test"):
        raise UsageError(f"there is no split {split!r}, wanted train, val or test")
    bundle, own = read_own_bundle(path, resources.own)
    if data is None and own is None:
        if is_folder(RunFolder(path).checkpoints):
            existing_run(path)  # says what it lacks
        raise UsageError(
            f"{path}: a model file alone does not say where its data is",
            remedy=f"name the data: {RunFolder(path).command('evaluate', 'DATA')}",
        )
    if data is None and (option := options.given()):
        raise UsageError(
            f"{option} is for other data than the run's own",
            remedy=f"name that data: {RunFolder(path).command('evaluate', 'DATA')}",
        )
    listener, parts, batch_size = listener or Listener(), None, 1024
    if own is not None:
        try:
            facts = own.read_facts()
            recipe = read_recipe(own, facts)
        except (NewerFormatError, FileUnreadableError):
            raise
        except FileRefusedError as error:
            if data is None or is_folder(path):
                raise
            # The model file is all that is needed.
            listener.note(
                f"{error.message}; the model file is used as it is, and the data may include "
                "images that the model was trained on"
            )
            own = None
    if own is not None:
        resources, batch_size = resources.with_defaults_from(facts, data), recipe.eval_batch_size
    for note in notes_on(bundle, own):
        listener.note(note)
    with _classifier_of(bundle, resources) as classifier:
        if own is not None:
            adding = split == "train"
            parts = _own_parts(own, facts, recipe, data, resources, listener, adding=adding)
            if parts is not None and isinstance(data, str | Path):
                listener.note(f"this is the run's own data, so its {split} split is evaluated")
        if parts is None:
            parts = _other_parts(data, classifier, options, resources, listener)
        part = _chosen(parts, split).with_classes(classifier.classes, "the model's classes")
        report = classifier.evaluate(part, batch_size=batch_size)
    if report.note:
        listener.note(report.note)
    return report


def parts_of(
    path: Path,
    data: object = None,
    *,
    remedy: str = "",
    resources: Resources = USUAL,
    listener: Listener | None = None,
) -> dict[str, ImageDataset]:
    """The splits that a run was trained with, by name.

    Args:
        path: the run's folder.
        data: the same data, if it was passed in Python or has moved.
        remedy: what to do if the run's data is missing or has changed; empty to pass it to
            `evaluate`.
        resources: what the reading may use.
        listener: gets the progress of long reads.

    Raises:
        FileRefusedError: not a run folder.
        UsageError: the run's data was passed in Python.
        DataError: its data cannot be read or has changed, or other data was given.
    """
    folder = existing_run(path)
    facts = folder.read_facts()
    recipe = read_recipe(folder, facts)
    resources = resources.with_defaults_from(facts, data)
    parts = _own_parts(
        folder, facts, recipe, data, resources, listener or Listener(), remedy=remedy
    )
    if parts is None:
        raise DataError(
            f"{folder}: the given data is not what the run was trained with", remedy=remedy
        )
    return parts


def evidence_of(
    path: Path,
    parts: Mapping[str, ImageDataset] | None = None,
    *,
    resources: Resources = USUAL,
    listener: Listener | None = None,
) -> Evidence:
    """A run's images, and what its model says about those that it was not trained on.

    On the same machine, the logits are those that training ended with.

    Args:
        path: the run's folder.
        parts: what `parts_of` gives, if that is known already.
        resources: what the evaluation may use.
        listener: gets the progress of long reads.

    Raises:
        FileRefusedError: not a run folder, or there is no usable model.
        UsageError, DataError: see `parts_of`.
    """
    resources.require_valid()
    run = open_run(path)
    bundle, _ = read_own_bundle(path, resources.own)
    if parts is None:
        parts = parts_of(path, resources=resources, listener=listener)
    resources = resources.with_defaults_from(run.facts, None)
    with _classifier_of(bundle, resources) as classifier:
        logits = {
            split: classifier.logits(part, batch_size=run.recipe.eval_batch_size)
            for split, part in parts.items()
            if split != "train"
        }
    return Evidence(parts, logits, bundle.header)


@contextmanager
def _classifier_of(bundle: Bundle, resources: Resources) -> Iterator[Classifier]:
    """The classifier that computes a bundle's figures as they were computed during training.

    If kernels do, PyTorch and its settings are not needed.
    """
    resources.require_valid()
    if resources.prefer_kernels and is_for_kernels(bundle):
        yield Classifier(bundle, threads=resources.threads or usual_threads())
        return
    with resources.repeatable() as device:
        yield Classifier(
            bundle,
            device,
            use_kernels=resources.engine in ("", AUTO),
            flush_denormals=device.type == CPU,
        )


def _chosen(parts: Mapping[str, ImageDataset], split: str) -> ImageDataset:
    """The split with this name.

    Raises:
        DataError: there is no such split.
    """
    if split not in parts:
        there = [name for name in parts if name != split]
        raise DataError(
            f"{parts[there[0]].source}: no {split} split, only {listing(there)}",
            remedy=f"choose another one, such as --split {there[-1]}",
        )
    return parts[split]


def sample_of_test_images(
    path: Path,
    n: int = 5,
    *,
    resources: Resources = USUAL,
    listener: Listener | None = None,
) -> tuple[list[str], ImageDataset]:
    """A few of a run's test images, and their names.

    Args:
        path: the run's folder.
        n: maximum number of images, spread evenly over the split.
        resources: what the evaluation may use.
        listener: gets the progress of long reads.

    Raises:
        FileRefusedError: not a run folder.
        DataError: its data cannot be read, or has no test split.
    """
    folder = existing_run(path)
    facts = folder.read_facts()
    resources = resources.with_defaults_from(facts, None)
    recipe = read_recipe(folder, facts)
    listener = listener or Listener()
    parts = _own_parts(
        folder, facts, recipe, None, resources, listener, remedy=_NAME_FILES, adding=False
    )
    test = None if parts is None else parts.get("test")
    if test is None:
        raise DataError(f"{folder}: the run's data has no test split", remedy=_NAME_FILES)
    chosen = np.linspace(0, len(test) - 1, min(n, len(test))).astype(np.int64)
    sample = test.select(chosen)
    return list(sample.names or [f"test image {index}" for index in chosen.tolist()]), sample


def _own_parts(
    folder: RunFolder,
    facts: RunFacts,
    recipe: Recipe,
    data: object,
    resources: Resources,
    listener: Listener,
    *,
    remedy: str = "",
    adding: bool = True,
) -> dict[str, ImageDataset] | None:
    """The splits that a run was trained with; None if `data` is given and is not the run's.

    Args:
        folder: the run's.
        facts: the run's.
        recipe: the run's.
        data: a name, path or Python object; None for the run's own.
        resources: what the evaluation may use.
        listener: gets the progress of long reads.
        remedy: what to do if the run's data is missing; empty to pass it to `evaluate`.
        adding: whether the training images that were added are wanted.

    Raises:
        DataError: the run's data has changed.
    """
    evaluate = f"tenfold.evaluate({str(folder)!r}, data)"
    recorded = Recorded.of(facts.data)
    try:
        loaded = load_splits(
            data
            if data is not None
            else reopened_data(
                folder,
                facts,
                passed_in_python=remedy or f"evaluate in Python, and pass it again: {evaluate}",
                moved=remedy or f"say where it is now: {folder.command('evaluate', 'PLACE')}",
            ),
            data_root=resources.data_root,
            image_size=recipe.image_size,
            channels=recipe.channels,
            resize=recipe.resize,
            depth=recipe.depth,
            options=folder_options(recipe, recorded.left_out),
            corrections=recorded.corrections_from("the run's corrections"),
            test_fraction=recipe.test,
            duplicates_together=recipe.duplicates_together,
            download=resources.download,
            look_at_pixels=False,
            listener=WithoutNotes(listener),
        )
        splits = with_validation(
            limited_splits(loaded.splits, recipe, Listener()),
            recipe.val,
            seed=recipe.seed,
            duplicates_together=recipe.duplicates_together,
        )
    except (DataError, UsageError) as error:
        if data is None and isinstance(error, BadFilesError):
            raise of_own_images(error) from error
        if data is None:
            raise
        return None  # data that cannot be read or split like the run's is other data
    if splits.fingerprint == facts.data.fingerprint:
        if adding:
            splits = _with_added(splits, loaded.depth, facts, recipe, listener)
        return {part.split: part for part in splits}
    if data is None:
        as_it_is = folder.command("evaluate", loaded.source)
        raise DataError(
            f"{loaded.source}: the data has changed since the run was trained on it, so any split "
            "may now contain images that it was trained on",
            remedy=remedy or f"restore it, or evaluate on it as it is now: {as_it_is}",
        )
    return None


def _with_added(
    splits: Splits, depth: int | None, facts: RunFacts, recipe: Recipe, listener: Listener
) -> Splits:
    """With the images that the run was trained on besides, if these are still there."""
    if facts.data.added is None:
        return splits
    try:
        added = read_added(recipe, splits, depth, WithoutNotes(listener), facts.data.added)
    except DataError as error:
        listener.note(f"the training images are those of the data alone: {error}")
        return splits
    return with_added(splits, added, Listener())


def _other_parts(
    data: object,
    classifier: Classifier,
    options: FolderOptions,
    resources: Resources,
    listener: Listener,
) -> dict[str, ImageDataset]:
    """The splits of other data in the model's shape; data without splits is all test data."""
    shape = classifier.bundle.input_shape
    read = read_data(
        data,
        data_root=resources.data_root,
        image_size=(shape.height, shape.width),
        channels=shape.channels,
        resize=classifier.bundle.header.resize,
        depth=classifier.bundle.header.depth,
        options=options,
        download=resources.download,
        listener=listener,
    )
    parts = dict(read.parts)
    if parts.keys() == {"train"}:
        parts["test"] = parts["train"].renamed("test")
        if _is_within(str(classifier.bundle.header.data.get("source")), read.source):
            listener.note(
                f"{read.source}: all of it is evaluated, and the model was trained on data from "
                "there, so the figures may include images that it was trained on"
            )
    return parts


def _is_within(source: str, other: str) -> bool:
    """Whether a source of data is, or is in, another one, each a name or a path."""
    if source in DATASETS or other in DATASETS:
        return source == other
    if not (exists(source) and exists(other)):  # such as what was passed in Python
        return False
    return Path(source).resolve().is_relative_to(Path(other).resolve())


def of_own_images(error: BadFilesError) -> BadFilesError:
    """An error about a run's own images: it cannot begin to leave out what cannot be read."""
    remedy = "put back what was there when the run was trained"
    return BadFilesError(error.message, remedy=remedy, bad_files=error.bad_files)


def reopened_data(
    folder: RunFolder, facts: Beginnings, *, passed_in_python: str, moved: str
) -> str:
    """The name or path of a run's data.

    Args:
        folder: the run's.
        facts: the run's.
        passed_in_python: the remedy if it was a Python object, which has neither name nor path.
        moved: the remedy if it is no longer there.

    Raises:
        UsageError: it was passed in Python.
        DataError: it has moved.
    """
    if not facts.data.can_be_reopened:
        raise UsageError(f"{folder}: the run's data was passed in Python", remedy=passed_in_python)
    source = facts.data.source
    if source not in DATASETS and not exists(source):
        raise DataError(f"{folder}: the run's data is no longer at {source}", remedy=moved)
    return source
