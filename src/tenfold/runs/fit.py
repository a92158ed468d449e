"""Training in memory: from a recipe and data to weights, history and figures, with no folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tenfold.data.dataset import ImageDataset, Splits
from tenfold.deployment.background import Background, background_of
from tenfold.deployment.bundle import Bundle, BundleHeader, PreprocessingHeader
from tenfold.errors import UsageError, counted
from tenfold.evaluation.calibration import fit_temperature
from tenfold.evaluation.report import Report, report_of
from tenfold.listening import Listener
from tenfold.models import Preprocessing, build, model_arguments
from tenfold.models.image_model import ImageModel
from tenfold.models.layers import Layer, require_batches
from tenfold.models.tracing import layer_list
from tenfold.randomness import derive_seed
from tenfold.recipes import Recipe, completed
from tenfold.recipes.choosing import (
    Budget,
    DataSummary,
    budget_within,
    chosen_by_data,
    in_words,
    summarize,
    warning,
)
from tenfold.runs.conditions import conditions, machine_conditions
from tenfold.runs.facts import AddedFacts, Conditions, Context, DataFacts, Figures, StartFacts
from tenfold.runs.pace import Pace
from tenfold.runs.reading import (
    Recorded,
    RunData,
    folder_options,
    paths_for_good,
    read_for,
)
from tenfold.runs.resources import USUAL, Resources
from tenfold.runs.starting import (
    IMAGENET,
    Start,
    freeze,
    head_of,
    note_on_names,
    put_into,
    read_start,
    with_own_names,
    with_start,
)
from tenfold.tensors import Logits, part_of, to_stored
from tenfold.training.acceleration import PLAIN, Acceleration
from tenfold.training.advice import (
    LITTLE_MORE,
    LOST,
    advice_on_few_steps,
    advice_on_the_last_steps,
    constant_loss,
)
from tenfold.training.augment import Augmentation
from tenfold.training.averaging import AveragedWeights
from tenfold.training.balancing import weights_of
from tenfold.training.checkpoint import Checkpointer
from tenfold.training.engine import StepSettings
from tenfold.training.engine_table import AUTO, NATIVE
from tenfold.training.engines import ChosenEngine, choose_engine, choose_frozen
from tenfold.training.frozen_engine import FrozenFeatures
from tenfold.training.history import EpochMetrics
from tenfold.training.loop import Outcome
from tenfold.training.loop import train as train_loop
from tenfold.training.memory import out_of_memory_explained
from tenfold.training.optimizers import build_optimizer
from tenfold.training.schedules import Schedule
from tenfold.training.state import TrainingState
from tenfold.training.watching import Watcher
from tenfold.types import as_array


@dataclass(frozen=True)
class Prepared:
    """Everything needed to start or continue training.

    Attributes:
        recipe: the complete recipe, with data and model arguments filled in.
        splits: the training, validation and test images.
        layers: the network as a flat list; None if it is not one.
        state: the training state, initially fresh.
        schedule: the learning-rate schedule.
        augmentation: None if the recipe has none.
        class_weights: of the loss, one per class; None if all count alike.
        engine: what runs the training steps.
        data: where the splits come from, and how to find the data again.
        start: what the network starts from; None for random weights.
        features: of a network of which only the last layer is trained; else None.
        background: of the training images.
        chosen: in words, what was chosen by the data; empty for nothing.
        shows_test: whether the test images are evaluated after every epoch, for a person to see.
    """

    recipe: Recipe
    splits: Splits
    layers: tuple[Layer, ...] | None
    state: TrainingState
    schedule: Schedule
    augmentation: Augmentation | None
    class_weights: tuple[float, ...] | None
    engine: ChosenEngine
    data: DataFacts
    start: StartFacts | None = None
    features: FrozenFeatures | None = None
    background: Background | None = None
    chosen: str = ""
    shows_test: bool = False

    def compute_features(self, listener: Listener) -> None:
        """Compute the features that training needs, if only the last layer is trained.

        Call this once the network has its weights; it may take long. If it is interrupted, those
        that are done are in the cache.
        """
        if self.features is not None:
            with out_of_memory_explained(
                self.state, batch_size=None, eval_batch_size=self.recipe.eval_batch_size
            ):
                others = [part.images for part in (self.splits.val, self.shown) if part is not None]
                try:
                    self.features.compute(self.splits.train.images, others, listener)
                except KeyboardInterrupt:
                    listener.note(
                        "interrupted while features were computed; the same command takes those "
                        "that are in the cache from there"
                    )
                    raise

    @property
    def model(self) -> ImageModel:
        """The model being trained."""
        model = self.state.model
        assert isinstance(model, ImageModel), "`prepare` made it"
        return model

    @property
    def shown(self) -> ImageDataset | None:
        """The test images, if they are evaluated after every epoch."""
        return self.splits.test if self.shows_test else None

    @property
    def context(self) -> Context:
        """What must be unchanged for a resume."""
        return Context(
            recipe=self.recipe.decisive_fields(),
            data={part.split: part.fingerprint for part in self.splits},
            classes=list(self.splits.train.classes),
        )

    @property
    def conditions(self) -> Conditions:
        """What must be unchanged for a resume to end with the same bits."""
        return conditions(self.state.device, self.engine)

    def evaluate(self, dataset: ImageDataset) -> Report:
        """The current model's figures on a data set, computed the same way as in validation."""
        return report_of(self.logits(dataset), dataset, self.class_weights)

    def logits(self, dataset: ImageDataset) -> Logits:
        """The current model's logits on a data set."""
        return self.engine.predict(dataset.images, self.recipe.eval_batch_size)


SHOWS_TEST = (
    "test accuracy is shown after every epoch, and is not used to choose anything; deciding by it "
    "yourself would make it too good"
)
NO_TEST_TO_SHOW = (
    "test accuracy was to be shown after every epoch, but there are no test images, so there is "
    "nothing to show"
)

_LOOKED_AT_AGAIN, _VALUES_LOOKED_AT = 2048, 2**25
"""Training images that are classified with the weights at the end, at most; and their values."""


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


def prepare(
    recipe: Recipe,
    data: object,
    resources: Resources,
    device: torch.device,
    *,
    listener: Listener,
    start: Start | None = None,
    recorded: Recorded | None = None,
    seconds: float | None = None,
    show_test: bool = False,
) -> Prepared:
    """Read the data and build the model; call this inside `Resources.repeatable`.

    Args:
        recipe: what to do.
        data: see `read_for`; or what that has read.
        resources: what the run may use.
        device: where to train.
        listener: gets notes on the data, the progress of long reads, what was chosen by the data,
            and, if no engine was requested, why PyTorch trains on a CPU.
        start: what the network starts from; `with_start` has put what it decides into the recipe.
        recorded: see `read_for`.
        seconds: how long training should take, with the features of a frozen network; None for
            what the data needs.
        show_test: whether to evaluate the test images after every epoch.

    Raises:
        DataError: the data cannot be read or trained on.
        UsageError: the recipe does not fit the data.
    """
    model_arguments(recipe.model, recipe.model_args)  # fails before a long read
    if not isinstance(data, RunData):
        data = read_for(recipe, data, resources, listener=listener, recorded=recorded)
    recipe = recipe.model_copy(update={"val": data.val})
    recipe, chosen = _fitted_to(data, recipe, resources, device, listener, start, seconds)
    prepared = _assembled(recipe, data, resources, device, listener, start)
    if show_test:
        listener.note(NO_TEST_TO_SHOW if prepared.splits.test is None else SHOWS_TEST)
    return replace(prepared, chosen=chosen, shows_test=show_test)


def _fitted_to(
    data: RunData,
    recipe: Recipe,
    resources: Resources,
    device: torch.device,
    listener: Listener,
    start: Start | None,
    seconds: float | None,
) -> tuple[Recipe, str]:
    """The recipe with a value for everything that it leaves to the data, and a batch that fits.

    And what was chosen by the data, in words.
    """
    train, chosen, words = data.splits.train, recipe, ""
    if recipe.left_to_data:
        facts = summarize(train)
        chosen = _with_a_batch_that_fits(chosen_by_data(recipe, facts), train)
        if seconds is not None:
            for _ in range(2):  # another width has another pace
                trial = _assembled(chosen, data, resources, device, Listener(), start)
                began = time.perf_counter()
                trial.compute_features(listener)  # those of the second are in the cache, mostly
                taken = time.perf_counter() - began
                if taken > seconds > 0:
                    listener.note(
                        f"computing features took {taken:.0f} s, more than there was for training"
                    )
                seconds = max(0.0, seconds - taken)
                budget = _budget(seconds, trial, facts)
                chosen = _with_a_batch_that_fits(chosen_by_data(recipe, facts, budget), train)
        words = in_words(recipe, facts, chosen)
        listener.note(words)
        if seconds is None and "epochs" in recipe.left_to_data and (said := warning(facts, chosen)):
            listener.note(said)
    if "batch_size" not in recipe.left_to_data and recipe.batch_size > len(train):
        listener.note(
            f"batch_size reduced from {recipe.batch_size:,} to {len(train):,}, the number of "
            "training images"
        )
    return _with_a_batch_that_fits(chosen, train), words


def _with_a_batch_that_fits(recipe: Recipe, train: ImageDataset) -> Recipe:
    return recipe.model_copy(update={"batch_size": min(recipe.batch_size, len(train))})


def _budget(seconds: float, trial: Prepared, facts: DataSummary) -> Budget:
    """What can be computed in this time at the pace of some steps on trial."""
    pace = Pace()
    train_prepared(trial, watcher=pace, should_stop=pace.is_known)
    return budget_within(seconds, pace.seconds_per_step, trial.recipe, facts)


def _assembled(
    recipe: Recipe,
    data: RunData,
    resources: Resources,
    device: torch.device,
    listener: Listener,
    start: Start | None,
) -> Prepared:
    """A new model and all that trains it, by a recipe that leaves nothing to the data."""
    splits, train = data.splits, data.splits.train
    recipe = completed(
        recipe,
        source=data.source,
        image_shape=train.image_shape,
        depth=data.depth,
        labels=folder_options(recipe).labels_wherever(),
        paths=paths_for_good(recipe),
        model_arguments=model_arguments(recipe.model, recipe.model_args),
    )
    _require_fit(recipe, splits)
    preprocessing = _preprocessing(recipe, train, start)
    torch.manual_seed(derive_seed(recipe.seed, "model"))
    network = build(recipe.model, train.image_shape, len(train.classes), **recipe.model_args)
    if start is not None and start.weights:
        start = with_own_names(network, start)
        if said := note_on_names(start.facts):
            listener.note(said)
        listener.note(put_into(network, start, train.classes))
        if data.can_be_reopened and (seen := start.may_have_seen(recipe.data, data.fingerprint)):
            listener.note(seen)
    if recipe.freeze:
        listener.note(freeze(network))
    layers = layer_list(network, train.image_shape)
    if layers is not None and not recipe.freeze:
        require_batches(layers, train.image_shape, len(train), recipe.batch_size)
    model = ImageModel(preprocessing, network).to(device)
    optimizer = build_optimizer(
        recipe.optimizer,
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )
    averaged = AveragedWeights(model, recipe.average_decay) if recipe.average_decay else None
    state = TrainingState(model, optimizer, averaged)
    augmentation = _augmentation(recipe)
    weights = weights_of(recipe.class_weights, train)
    if recipe.compile and resources.engine != NATIVE:
        listener.note("PyTorch compiles the model first, which can take a minute")
    settings = StepSettings(
        batch_size=recipe.batch_size,
        label_smoothing=recipe.label_smoothing,
        clip_norm=recipe.clip_norm,
        augment=augmentation,
        class_weights=weights,
        seed=recipe.seed,
        acceleration=_acceleration(recipe),
    )
    engine_name, features = resources.engine or AUTO, None
    if recipe.freeze:
        features = _features_of(recipe, model, device, augmentation)
        if recipe.views and augmentation is None:
            listener.note(
                f"views is {recipe.views}, but images are not augmented, so features are computed "
                "once; to augment them: --set augment.shift=0.1"
            )
        engine = choose_frozen(engine_name, features, state, train, settings)
    else:
        engine = choose_engine(engine_name, state, train, settings, layers)
    if engine.why_not_native and device.type == "cpu":
        listener.note(f"training with PyTorch instead of compiled kernels: {engine.why_not_native}")
    if recipe.channels_last and engine.kind.name == NATIVE:
        listener.note("channels_last changes nothing: the compiled kernels have their own layout")
    return Prepared(
        recipe=recipe,
        splits=splits,
        layers=layers,
        state=state,
        schedule=recipe.learning_rates(len(train)),
        augmentation=augmentation,
        class_weights=weights,
        engine=engine,
        data=DataFacts(
            source=recipe.data,
            can_be_reopened=data.can_be_reopened,
            root=None if data.root is None else str(data.root.resolve()),
            fingerprint=data.fingerprint,
            classes=list(train.classes),
            image_shape=train.image_shape,
            n={part.split: len(part) for part in splits},
            notes=list(data.notes),
            skipped=dict(data.skipped),
            corrections=dict(data.corrections),
            added=None
            if data.added is None
            else AddedFacts(
                place=recipe.add,
                n=len(data.added),
                left_out=data.n_left_out,
                fingerprint=data.added.fingerprint,
            ),
        ),
        start=None if start is None else start.facts,
        features=features,
        background=background_of(train.image_array),
    )


def train_prepared(
    prepared: Prepared,
    *,
    watcher: Watcher,
    checkpointer: Checkpointer | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train from the current state as the recipe says.

    Raises:
        TrainingError: the loss became infinite or undefined, or memory ran out.
    """
    recipe, state = prepared.recipe, prepared.state
    with out_of_memory_explained(
        state, batch_size=recipe.batch_size, eval_batch_size=recipe.eval_batch_size
    ):
        return train_loop(
            state,
            prepared.splits.train,
            prepared.splits.val,
            test_data=prepared.shown,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            schedule=prepared.schedule,
            seed=recipe.seed,
            shuffle=recipe.shuffle,
            eval_batch_size=recipe.eval_batch_size,
            label_smoothing=recipe.label_smoothing,
            clip_norm=recipe.clip_norm,
            augment=prepared.augmentation,
            class_weights=prepared.class_weights,
            acceleration=_acceleration(recipe),
            choose_by=recipe.choose_by,
            patience=recipe.patience,
            make_engine=prepared.engine.make,
            checkpointer=checkpointer,
            watcher=watcher,
            should_stop=should_stop,
        )


def finish(prepared: Prepared, outcome: Outcome, *, listener: Listener) -> Fitted:
    """Keep the best weights, fit the temperature, and evaluate them on the test split.

    Raises:
        TrainingError: memory ran out.
    """
    state, splits = prepared.state, prepared.splits
    size = prepared.recipe.eval_batch_size
    epoch, weights = state.final_weights()
    state.model.load_state_dict(weights)
    temperature, report = 1.0, None
    with out_of_memory_explained(state, batch_size=None, eval_batch_size=size):
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
            learned = _number_right(prepared, train.select(last))
        concern = _concern(prepared, epoch, report)
    if n_added:
        are = "is" if learned == 1 else "are"
        of_all = f"of {counted(n_added, 'added image')}"
        listener.note(f"{learned:,} {of_all} {are} now classified as labeled")
    for note in (concern, "" if report is None else report.note):
        if note:
            listener.note(note)
    return Fitted(prepared, outcome, epoch, weights, report, logits, temperature, concern)


def _concern(prepared: Prepared, epoch: int, report: Report | None) -> str:
    """What to say if little was learned, or lost again; or nothing.

    Training images are only looked at if the test images, or else the validation images, have many
    more wrong answers than those had.
    """
    recipe, train = prepared.recipe, prepared.splits.train
    history = prepared.state.history
    kept = history[epoch - 1]
    constant = constant_loss(
        train.label_array,
        len(train.classes),
        label_smoothing=recipe.label_smoothing,
        class_weights=prepared.class_weights,
    )
    right = kept.train_acc if report is None else report.accuracy
    largest = float(train.class_counts().max()) / len(train)
    if right < largest + LITTLE_MORE * (1 - largest):
        few = advice_on_few_steps(prepared.state.step, history[-1].train_loss, constant)
        if few:
            return few
    held_out = kept.val_acc if report is None else report.interval[1]
    if held_out is not None and held_out >= kept.train_acc - LOST:
        return ""
    n = min(len(train), _LOOKED_AT_AGAIN, max(1, _VALUES_LOOKED_AT // train.image_array[0].size))
    some = np.linspace(0, len(train) - 1, n).astype(np.int64)
    return advice_on_the_last_steps(
        epoch,
        kept.train_acc,
        _number_right(prepared, train.select(some)) / n,
        n=len(train),
        batch_size=recipe.batch_size,
        falls=recipe.schedule != "constant",
        averages=_averages(prepared),
    )


def _number_right(prepared: Prepared, dataset: ImageDataset) -> int:
    """How many images of a data set the current model answers right."""
    answers = as_array(prepared.logits(dataset)).argmax(axis=1)
    return int((answers == dataset.label_array).sum())


def _averages(prepared: Prepared) -> str:
    """What of a model is a moving average that training moves; empty for nothing."""
    if prepared.recipe.average_decay:
        return "the averaged weights"
    if prepared.recipe.freeze:
        return ""
    modules = prepared.model.modules()
    return "batch normalization" if any(isinstance(m, _BatchNorm) for m in modules) else ""


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
    """A bundle with these weights, which are those of the whole model."""
    recipe, train, model = prepared.recipe, prepared.splits.train, prepared.model
    header = BundleHeader(
        model=recipe.model,
        arguments=recipe.model_args,
        input_shape=train.image_shape,
        classes=list(train.classes),
        resize=recipe.resize,
        depth=recipe.depth or 16,
        class_weights=None if prepared.class_weights is None else list(prepared.class_weights),
        preprocessing=PreprocessingHeader.model_validate(model.preprocessing.to_header()),
        layers=prepared.layers,
        temperature=temperature,
        background=prepared.background,
        data={"source": recipe.data, "fingerprint": prepared.data.fingerprint},
        figures=figures,
    )
    return Bundle(header, to_stored(part_of(weights, "network")))


def _preprocessing(recipe: Recipe, train: ImageDataset, start: Start | None) -> Preprocessing:
    if recipe.normalize == "dataset":
        return Preprocessing.fitted_to(train.images)
    header = IMAGENET if recipe.normalize == "imagenet" else None
    if recipe.normalize == "start":
        header = None if start is None else start.facts.preprocessing
        if header is None:
            raise UsageError(
                "normalize is 'start', but the run did not start from a model of tenfold",
                remedy="choose normalize = 'dataset'",
            )
    if header is not None:
        if len(header.mean) not in (0, train.image_shape.channels):
            raise UsageError(
                f"normalize is {recipe.normalize!r}, which has {len(header.mean)} channels, but "
                f"the images have {train.image_shape.channels}",
                remedy=f"choose --set channels={len(header.mean)}"
                + (", or --set normalize=dataset" if start is None else ""),
            )
        return Preprocessing(**header.model_dump())
    return Preprocessing(by_image=recipe.normalize == "image")


def _features_of(
    recipe: Recipe, model: ImageModel, device: torch.device, augmentation: Augmentation | None
) -> FrozenFeatures:
    head = head_of(model.network)
    assert head is not None, "`freeze` has found it"
    if _acceleration(recipe) != PLAIN:
        raise UsageError(
            "freeze computes features once, in single precision and as they are",
            remedy="leave out precision, channels_last and compile",
        )
    facts = [
        recipe.model,
        recipe.model_args,
        model.preprocessing.to_header(),
        machine_conditions(device),
        recipe.augment.model_dump() if recipe.views else {},
        recipe.seed if recipe.views else 0,
    ]
    return FrozenFeatures(
        model,
        f"network.{head}",
        views=recipe.views,
        augment=augmentation,
        key=json.dumps(facts, sort_keys=True),
    )


def _augmentation(recipe: Recipe) -> Augmentation | None:
    augmentation = Augmentation(recipe.seed, **recipe.augment.model_dump())
    return None if augmentation.changes_nothing else augmentation


def _acceleration(recipe: Recipe) -> Acceleration:
    return Acceleration(recipe.precision, recipe.channels_last, recipe.compile)


def _require_fit(recipe: Recipe, splits: Splits) -> None:
    if recipe.patience and splits.val is None:
        raise UsageError(
            f"patience is {recipe.patience}, but there is no validation split to judge epochs by",
            remedy="hold some out with --val 0.1, or choose --set patience=0",
        )
