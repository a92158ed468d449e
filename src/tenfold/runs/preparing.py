"""From a recipe and data to everything that a training begins with."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import nn

from tenfold.data.dataset import ImageDataset, Splits
from tenfold.deployment.background import background_of
from tenfold.errors import UsageError
from tenfold.listening import Listener
from tenfold.models import Preprocessing, build, model_arguments
from tenfold.models.image_model import ImageModel
from tenfold.models.layers import Layer, require_batches
from tenfold.models.mistakes.checking import require_usable, shapes_of
from tenfold.models.own import OwnModel
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
from tenfold.runs.conditions import machine_conditions
from tenfold.runs.facts import AddedFacts, DataFacts
from tenfold.runs.pace import Pace
from tenfold.runs.prepared import Prepared, acceleration_of, train_prepared
from tenfold.runs.reading import (
    Recorded,
    RunData,
    folder_options,
    paths_for_good,
    read_for,
)
from tenfold.runs.resources import Resources
from tenfold.runs.starting import (
    IMAGENET,
    Start,
    freeze,
    head_of,
    note_on_names,
    put_into,
    with_own_names,
)
from tenfold.training.acceleration import PLAIN
from tenfold.training.augment import Augmentation
from tenfold.training.averaging import AveragedWeights
from tenfold.training.balancing import weights_of
from tenfold.training.engine import StepSettings
from tenfold.training.engine_table import AUTO, NATIVE
from tenfold.training.engines import because_of, choose_engine, choose_frozen
from tenfold.training.frozen_engine import FrozenFeatures
from tenfold.training.optimizers import build_optimizer
from tenfold.training.state import TrainingState

SHOWS_TEST = (
    "test accuracy is shown after every epoch, and is not used to choose anything; deciding by it "
    "yourself would make it too good"
)
NO_TEST_TO_SHOW = (
    "test accuracy was to be shown after every epoch, but there are no test images, so there is "
    "nothing to show"
)


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
    _require_arguments(recipe, resources.own)  # fails before a long read
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
        facts = summarize(train, _own_layers(recipe, resources.own, train))
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
        model_arguments=recipe.model_args
        if resources.own is not None
        else model_arguments(recipe.model, recipe.model_args),
    )
    _require_fit(recipe, splits)
    preprocessing = _preprocessing(recipe, train, start)
    torch.manual_seed(derive_seed(recipe.seed, "model"))
    network, forgets = _network(recipe, train, preprocessing, resources.own, listener)
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
        acceleration=acceleration_of(recipe),
    )
    engine_name, features = resources.engine or AUTO, None
    if recipe.freeze:
        features = _features_of(recipe, model, device, augmentation, layers)
        if recipe.views and augmentation is None:
            listener.note(
                f"views is {recipe.views}, but images are not augmented, so features are computed "
                "once; to augment them: --set augment.shift=0.1"
            )
        engine = choose_frozen(engine_name, features, state, train, settings)
    else:
        own = resources.own
        with nullcontext() if own is None else own.imports_known():
            engine = choose_engine(engine_name, state, train, settings, layers)
    if engine.why_not_native and device.type == "cpu":
        listener.note(because_of(engine.why_not_native))
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
        own=resources.own,
        forgets=forgets if layers is None else (),
        shapes=shapes_of(network),
        features=features,
        background=background_of(train.image_array),
    )


def _require_arguments(recipe: Recipe, own: OwnModel | None) -> None:
    """Refuse arguments that the model does not take.

    Raises:
        UsageError: it does not take them, or the user's own network cannot be made.
    """
    if own is None:
        model_arguments(recipe.model, recipe.model_args)
        return
    with torch.random.fork_rng(devices=[]):
        own.build(recipe.model_args)


def _network(
    recipe: Recipe,
    train: ImageDataset,
    preprocessing: Preprocessing,
    own: OwnModel | None,
    listener: Listener,
) -> tuple[nn.Module, tuple[str, ...]]:
    """A new network for these images, and what checkpoints do not keep of it, in words.

    Raises:
        UsageError: it does not fit them.
    """
    if own is None:
        return build(recipe.model, train.image_shape, len(train.classes), **recipe.model_args), ()
    network = own.build(recipe.model_args)
    if any(isinstance(module, Preprocessing) for module in network.modules()):
        raise UsageError(
            f"{own.name} has a Preprocessing inside, and a run puts its own before the network",
            remedy="leave it out",
        )
    images = preprocessing(train.images[:2])
    usable = require_usable(
        network, train.image_shape, len(train.classes), images=images, listener=listener
    )
    return usable.network, usable.forgets


def _own_layers(
    recipe: Recipe, own: OwnModel | None, train: ImageDataset
) -> tuple[Layer, ...] | None:
    """The layers of the user's own network, none if it is not a list of them; None without one."""
    if own is None:
        return None
    with torch.random.fork_rng(devices=[]):
        return layer_list(own.build(recipe.model_args), train.image_shape) or ()


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
    recipe: Recipe,
    model: ImageModel,
    device: torch.device,
    augmentation: Augmentation | None,
    layers: Sequence[Layer] | None,
) -> FrozenFeatures:
    head = head_of(model.network)
    assert head is not None, "`freeze` has found it"
    if acceleration_of(recipe) != PLAIN:
        raise UsageError(
            "freeze computes features once, in single precision and as they are",
            remedy="leave out precision, channels_last and compile",
        )
    facts = [
        # Of code that is no list of layers, nothing says whether it computes the same again.
        str(uuid.uuid4())
        if layers is None
        else [layer.model_dump(mode="json") for layer in layers],
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


def _require_fit(recipe: Recipe, splits: Splits) -> None:
    if recipe.patience and splits.val is None:
        raise UsageError(
            f"patience is {recipe.patience}, but there is no validation split to judge epochs by",
            remedy="hold some out with --val 0.1, or choose --set patience=0",
        )
