"""Training in memory: from a recipe and data to weights, history and figures, with no folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from tenfold.deployment.bundle import Bundle, BundleHeader, PreprocessingHeader
from tenfold.errors import counted
from tenfold.evaluation.calibration import fit_temperature
from tenfold.evaluation.report import Report, report_of
from tenfold.listening import Listener
from tenfold.models.mistakes.checking import require_same_shapes
from tenfold.recipes import Recipe
from tenfold.runs.concern import concern_about
from tenfold.runs.facts import Figures
from tenfold.runs.prepared import Prepared, train_prepared
from tenfold.runs.preparing import prepare
from tenfold.runs.resources import USUAL, Resources
from tenfold.runs.starting import read_start, with_start
from tenfold.tensors import part_of, to_stored
from tenfold.training.history import EpochMetrics
from tenfold.training.loop import Outcome
from tenfold.training.memory import out_of_memory_explained
from tenfold.training.watching import Watcher
from tenfold.types import as_array


@dataclass(frozen=True)
class Fitted:
    """The result of training.

    Attributes:
        prepared: what was trained, and on what.
        outcome: how it ended.
        epoch: the epoch whose weights were kept, counted from 1: the best by validation, or the
            last.
        weights: the whole model's weights after that epoch.
        report: on the test split, with these weights; None if there is none.
        logits: of the validation and the test images, by split.
        temperature: fitted to the validation images; 1 if there are none.
        concern: what to say if little was learned, or lost again; or nothing.
    """

    prepared: Prepared
    outcome: Outcome
    epoch: int
    weights: dict[str, Tensor]
    report: Report | None
    logits: Mapping[str, np.ndarray]
    temperature: float
    concern: str

    @property
    def history(self) -> list[EpochMetrics]:
        """One entry per epoch."""
        return self.prepared.state.history

    @property
    def figures(self) -> Figures:
        """The final figures."""
        found = figures_of(self.prepared, self.epoch)
        if self.report is None:
            return found
        return Figures.model_validate(found.model_dump() | self.report.figures())

    def bundle(self) -> Bundle:
        """The model as a bundle."""
        return bundle_of(
            self.prepared, self.weights, self.figures.to_dict(), temperature=self.temperature
        )


def fit(
    recipe: Recipe,
    data: object = None,
    *,
    resources: Resources = USUAL,
    watcher: Watcher | None = None,
) -> Fitted:
    """Train in memory; nothing is written, so an interrupted training is lost.

    Args:
        recipe: what to do.
        data: see `load_splits`; None for the recipe's own.
        resources: what the run may use.
        watcher: called as training proceeds.

    Raises:
        DataError: the data cannot be read or trained on.
        UsageError: the recipe does not fit the data.
        TrainingError: the loss became infinite or undefined.
    """
    watcher = watcher or Watcher()
    start = read_start(recipe)
    recipe = with_start(recipe, start, watcher)
    with resources.repeatable() as device:
        prepared = prepare(recipe, data, resources, device, listener=watcher, start=start)
        prepared.compute_features(watcher)
        watcher.started(None, ())
        try:
            outcome = train_prepared(prepared, watcher=watcher)
        finally:
            watcher.ended()
        return finish(prepared, outcome, listener=watcher)


def finish(prepared: Prepared, outcome: Outcome, *, listener: Listener) -> Fitted:
    """Keep the best weights, fit the temperature, and evaluate them on the test split.

    Raises:
        TrainingError: memory ran out.
    """
    state, splits = prepared.state, prepared.splits
    size = prepared.recipe.eval_batch_size
    epoch, weights = state.final_weights()
    temperature, report = 1.0, None
    with (
        prepared.failures_named(),
        out_of_memory_explained(state, batch_size=None, eval_batch_size=size),
    ):
        state.model.load_state_dict(weights)
        logits = {
            part.split: as_array(prepared.logits(part))
            for part in (splits.val, splits.test)
            if part is not None
        }
        if splits.val is not None:
            temperature = fit_temperature(logits["val"], splits.val.label_array)
        if splits.test is not None:
            report = report_of(logits["test"], splits.test, prepared.class_weights)
        learned, n_added, train = 0, prepared.data.n_added, splits.train
        if n_added:
            last = np.arange(len(train) - n_added, len(train))
            learned = prepared.number_right(train.select(last))
        concern = concern_about(prepared, epoch, report)
    if n_added:
        listener.note(
            f"{learned:,} of {counted(n_added, 'added image')} {'is' if learned == 1 else 'are'} "
            "now classified as labeled"
        )
    for note in (concern, "" if report is None else report.note):
        if note:
            listener.note(note)
    return Fitted(prepared, outcome, epoch, weights, report, logits, temperature, concern)


def figures_of(prepared: Prepared, epoch: int) -> Figures:
    """The figures of one epoch in the history, and the sizes of the splits."""
    splits, history = prepared.splits, prepared.state.history
    chosen = history[epoch - 1]
    return Figures(
        epochs=len(history),
        best_epoch=epoch if splits.val is not None else None,
        n_train=len(splits.train),
        n_val=len(splits.val) if splits.val is not None else 0,
        n_test=len(splits.test) if splits.test is not None else 0,
        train_loss=chosen.train_loss,
        train_acc=chosen.train_acc,
        val_loss=chosen.val_loss,
        val_acc=chosen.val_acc,
        val_balanced_acc=chosen.val_balanced_acc,
        seconds=sum(metrics.seconds for metrics in history),
    )


def bundle_of(
    prepared: Prepared,
    weights: dict[str, Tensor],
    figures: dict[str, Any],
    *,
    temperature: float = 1.0,
) -> Bundle:
    """A bundle with these weights, which are those of the whole model.

    Raises:
        UsageError: a network of the user's own has changed its state dict while it was trained.
    """
    if prepared.own is not None:
        require_same_shapes(prepared.model.network, prepared.shapes)
    recipe, train, model = prepared.recipe, prepared.splits.train, prepared.model
    header = BundleHeader(
        model=recipe.model if prepared.own_facts is None else prepared.own_facts.model,
        arguments=recipe.model_args,
        input_shape=train.image_shape,
        classes=list(train.classes),
        resize=recipe.resize,
        depth=recipe.depth or 16,
        class_weights=None if prepared.class_weights is None else list(prepared.class_weights),
        preprocessing=PreprocessingHeader.model_validate(model.preprocessing.to_header()),
        own=prepared.own_facts,
        source=prepared.source_to_keep,
        layers=prepared.layers,
        temperature=temperature,
        background=prepared.background,
        data={"source": recipe.data, "fingerprint": prepared.data.fingerprint},
        figures=figures,
    )
    return Bundle(header, to_stored(part_of(weights, "network")))
