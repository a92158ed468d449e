"""Cross-validation, for data too small to hold out a test split; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from tenfold.data.dataset import Splits
from tenfold.data.splitting import folds_of, with_validation
from tenfold.errors import UsageError, counted
from tenfold.evaluation.comparing import SHARE, Summary, summary_of
from tenfold.evaluation.report import Report
from tenfold.recipes import Recipe
from tenfold.recipes.choosing import share_held_out
from tenfold.runs.adding import with_added
from tenfold.runs.reading import RunData, read_for
from tenfold.runs.resources import USUAL, Resources
from tenfold.runs.starting import read_start, with_start
from tenfold.training.watching import Standing, Watcher

if TYPE_CHECKING:
    from tenfold.runs.fit import Fitted

MOST_FOLDS = 100


@dataclass(frozen=True)
class CrossValidation:
    """The figures of every fold.

    Attributes:
        reports: one for each fold, on the images that its model was not trained on.
    """

    reports: tuple[Report, ...]

    def summary(self, name: str) -> Summary:
        """Mean, standard deviation and interval of a figure, 0..1.

        The folds' models share most of their training images, so the interval is somewhat narrow
        (Bengio and Grandvalet, "No unbiased estimator of the variance of k-fold cross-validation",
        JMLR 5, 2004).
        """
        return summary_of([getattr(report, name) for report in self.reports], SHARE)

    def to_dict(self) -> dict[str, object]:
        """Everything as a JSON-serializable dictionary."""
        return {
            "folds": [report.figures() for report in self.reports],
            **{name: self.summary(name).to_dict() for name in FIGURES},
        }

    def __str__(self) -> str:
        n = sum(report.n for report in self.reports)
        lines = []
        for name in FIGURES:
            found = self.summary(name)
            low, high = found.interval
            lines.append(
                f"{name} {found.mean:.4f} (deviation {found.deviation:.4f}, 95 % interval "
                f"of the mean {low:.4f} to {high:.4f})"
            )
        head = f"{counted(len(self.reports), 'fold')}, {counted(n, 'image')}, each tested once"
        return "\n".join([head, *lines])


class _OfFold(Watcher):
    """Forwards the progress of a fold's training, and those of its notes that are new.

    Args:
        watcher: receives them.
        fold: its name, such as `fold 2 of 5`.
        told: notes of other folds.
    """

    def __init__(self, watcher: Watcher, fold: str, told: set[str]) -> None:
        self._watcher, self._fold, self._told = watcher, fold, told
        self.every_batches = watcher.every_batches

    def note(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._watcher.note(f"{self._fold}: {text}")

    def advanced(self, standing: Standing) -> None:
        self._watcher.advanced(replace(standing, training=self._fold))


FIGURES = ("test_acc", "test_balanced_acc")
"""The figures that are summarized."""


def cross_validate(
    recipe: Recipe,
    data: object = None,
    *,
    folds: int,
    resources: Resources = USUAL,
    watcher: Watcher | None = None,
) -> CrossValidation:
    """Train as many models as there are folds, and test each on the fold it was not trained on.

    Folds are stratified, and groups are kept together. Validation images are the data's own, or are
    held out of those that a model is trained on. A test split that the data has is not touched. If
    the recipe has a limit, as many training images are chosen first, and these are divided into
    folds.

    Args:
        recipe: how to train each model.
        data: see `load_splits`; None for the recipe's own.
        folds: their number, 2..100.
        resources: what each training may use.
        watcher: gets notes on the data, the progress of reads and epochs, and a line per fold.

    Raises:
        DataError: the data cannot be read, trained on or divided.
        UsageError: the recipe does not fit the data, or the number of folds is out of range.
        TrainingError: a loss became infinite or undefined.
    """
    if not 2 <= folds <= MOST_FOLDS:
        raise UsageError(f"folds is {folds}, wanted 2..{MOST_FOLDS}")
    watcher = watcher or Watcher()
    recipe = with_start(recipe, read_start(recipe), watcher)
    read = read_for(recipe, data, resources, listener=watcher, holding_out=False)
    if read.splits.test is not None:
        n = len(read.splits.test)
        watcher.note(
            f"the {counted(n, 'image')} of the test split {'is' if n == 1 else 'are'} not used"
        )
    reports = []
    for name, _, fitted in each_fold(
        recipe, read, folds=folds, resources=resources, watcher=watcher
    ):
        assert fitted.report is not None, "there is a test split"
        reports.append(fitted.report)
        watcher.note(f"{name}: {fitted.report}")
    return CrossValidation(tuple(reports))


def each_fold(
    recipe: Recipe,
    read: RunData,
    *,
    folds: int,
    resources: Resources,
    watcher: Watcher,
) -> Iterator[tuple[str, Int64[np.ndarray, " held"], Fitted]]:
    """Train a model for each fold of the training images.

    Yields:
        The fold's name, such as `fold 2 of 5`; the places of its images, which are the test split;
        and the model that was trained on the others.

    Raises:
        DataError, UsageError, TrainingError: see `cross_validate`.
    """
    from tenfold.runs.fit import fit  # imports PyTorch

    train, told = read.splits.train, set[str]()
    together = recipe.duplicates_together
    of_image = folds_of(train, folds, seed=recipe.seed, duplicates_together=together)
    for fold in range(folds):
        name = f"fold {fold + 1} of {folds}"
        rest, held = np.flatnonzero(of_image != fold), np.flatnonzero(of_image == fold)
        splits = Splits(train.select(rest), read.splits.val, train.select(held, split="test"))
        val = share_held_out(recipe, len(rest))
        splits = with_validation(splits, val, seed=recipe.seed, duplicates_together=together)
        fingerprint, watching = splits.fingerprint, _OfFold(watcher, name, told)
        before = len(splits.train)
        splits = with_added(splits, read.added, watching)
        n_added = len(splits.train) - before
        fold_data = replace(
            read,
            splits=splits,
            fingerprint=fingerprint,
            val=val,
            n_left_out=0 if read.added is None else len(read.added) - n_added,
        )
        yield name, held, fit(recipe, fold_data, resources=resources, watcher=watching)
