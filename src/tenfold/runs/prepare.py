"""From a recipe and data to everything the loop needs, before anything is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tenfold.data.dataset import Splits
from tenfold.data.load import load_splits
from tenfold.data.splitting import split_stratified
from tenfold.errors import UsageError
from tenfold.models import Preprocessing, build, model_arguments
from tenfold.randomness import derive_seed
from tenfold.recipes import Recipe, completed
from tenfold.runs.conditions import conditions
from tenfold.training.augment import Augmentation
from tenfold.training.averaging import AveragedWeights
from tenfold.training.optimizers import build_optimizer
from tenfold.training.schedules import Schedule, build_schedule
from tenfold.training.state import TrainingState

Progress = Callable[[str, int, int | None], None]
"""Told what is being read, how much is done, and how much there is, where that is known."""


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start.

    Attributes:
        recipe: complete: data, model arguments and all.
        splits: what is learned from, validated on and tested on.
        preprocessing: the model's first step.
        network: the rest of it.
        state: fresh.
        schedule: of the learning rate.
        augmentation: None where the recipe has none.
        notes: what a person should know about the data.
    """

    recipe: Recipe
    splits: Splits
    preprocessing: Preprocessing
    network: nn.Module
    state: TrainingState
    schedule: Schedule
    augmentation: Augmentation | None
    notes: tuple[str, ...]

    def context(self) -> dict[str, Any]:
        """What a resume must find unchanged, and what it must know to be bit-exact."""
        return {
            "recipe": self.recipe.decisive(),
            "data": {part.split: part.fingerprint for part in self.splits},
            "classes": list(self.splits.train.classes),
            "conditions": conditions(self.state.device),
        }


def prepare(
    recipe: Recipe,
    data: object,
    *,
    device: torch.device,
    data_root: Path | None = None,
    download: bool = True,
    progress: Progress | None = None,
) -> Prepared:
    """Read the data and build the model; call it inside `repeatable`.

    Args:
        recipe: what to do.
        data: see `load_splits`.
        device: where to train.
        data_root: a folder of known data sets.
        download: whether what is missing may be fetched.
        progress: told about long reading.

    Raises:
        DataError: the data cannot be read or trained on.
        UsageError: the recipe does not fit the data.
    """
    loaded = load_splits(
        data,
        data_root=data_root,
        image_size=recipe.image_size,
        channels=recipe.channels,
        test_fraction=recipe.test,
        download=download,
        progress=progress,
    )
    splits = with_validation(loaded.splits, recipe)
    recipe = completed(
        recipe,
        source=loaded.source,
        image_shape=splits.train.image_shape,
        model_arguments=model_arguments(recipe.model, recipe.model_args),
    )
    _require_fit(recipe, splits)
    train = splits.train
    preprocessing = Preprocessing.fitted_to(train.images) if recipe.normalize else Preprocessing()
    torch.manual_seed(derive_seed(recipe.seed, "model"))
    network = build(recipe.model, train.image_shape, len(train.classes), **recipe.model_args)
    model = nn.Sequential(preprocessing, network).to(device)
    state = TrainingState(
        model=model,
        optimizer=build_optimizer(
            recipe.optimizer,
            model.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        ),
        averaged=AveragedWeights(model, recipe.average_decay) if recipe.average_decay else None,
    )
    augmentation = Augmentation(recipe.seed, **recipe.augment.model_dump())
    return Prepared(
        recipe=recipe,
        splits=splits,
        preprocessing=preprocessing,
        network=network,
        state=state,
        schedule=_schedule(recipe, len(train)),
        augmentation=None if augmentation.changes_nothing else augmentation,
        notes=loaded.notes,
    )


def with_validation(splits: Splits, recipe: Recipe) -> Splits:
    """The splits with a part of the training images held out, where the recipe wants it.

    A data set that comes with a validation split keeps its own.
    """
    if splits.val is not None or not recipe.val:
        return splits
    train, val = split_stratified(splits.train, recipe.val, seed=recipe.seed, name="val")
    return Splits(train, val, splits.test)


def _schedule(recipe: Recipe, n: int) -> Schedule:
    return build_schedule(
        recipe.schedule,
        lr=recipe.lr,
        epochs=recipe.epochs,
        steps_per_epoch=math.ceil(n / recipe.batch_size),
        drop_every=recipe.drop_every,
        drop_factor=recipe.drop_factor,
        warmup_epochs=recipe.warmup_epochs,
    )


def _require_fit(recipe: Recipe, splits: Splits) -> None:
    if recipe.batch_size > len(splits.train):
        raise UsageError(
            f"batch_size is {recipe.batch_size:,}, but there are only {len(splits.train):,} "
            "training images",
            remedy=f"choose at most {len(splits.train)}",
        )
    if recipe.patience and splits.val is None:
        raise UsageError(
            f"patience is {recipe.patience}, but there is no validation split to judge epochs by",
            remedy="hold some out with --val 0.1, or set patience = 0",
        )
