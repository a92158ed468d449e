"""A recipe in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tenfold.errors import counted
from tenfold.recipes import Recipe
from tenfold.runs.facts import RunFacts
from tenfold.runs.run import Run
from tenfold.types import ImageShape

_OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}

_SCHEDULES = {
    "constant": "constant",
    "cosine": "falling to 0 along a cosine",
    "one-cycle": "rising at first and then falling (one cycle)",
}

_NORMALIZATIONS = {
    "none": "scaled to 0..1",
    "dataset": "standardized by the mean and deviation of the training images",
    "image": "standardized image by image",
    "imagenet": "standardized as for ImageNet",
    "start": "standardized as by the model that it started from",
}


def recipe_in_words(run: Run) -> list[str]:
    """How a run's model was made, one sentence for each part of it."""
    recipe, facts = run.recipe, run.facts
    return [
        _network(recipe, facts),
        *_beginning(recipe),
        _training(recipe, facts),
        *_change_of_schedule(run),
        *_loss(recipe),
        _augmentation(recipe),
        _choice(recipe, facts),
    ]


def _network(recipe: Recipe, facts: RunFacts) -> str:
    shape = ImageShape(*facts.data.image_shape)
    arguments = ", ".join(f"{name} {value}" for name, value in recipe.model_args.items())
    return (
        f"The network {recipe.model}{f' ({arguments})' if arguments else ''} has "
        f"{counted(facts.parameters, 'parameter')}. It takes images of {shape} (channels, height, "
        f"width), {_NORMALIZATIONS[recipe.normalize]}."
    )


def _beginning(recipe: Recipe) -> list[str]:
    source = recipe.start or recipe.weights
    if not source:
        return []
    what = "only its last layer was trained" if recipe.freeze else "all its layers were trained"
    return [f"It started from the weights of {source}, and {what}."]


def _training(recipe: Recipe, facts: RunFacts) -> str:
    steps = math.ceil(facts.data.n["train"] / recipe.batch_size)
    if recipe.schedule == "step":
        schedule = f"multiplied by {recipe.drop_factor:g} every {_epochs(recipe.drop_every)}"
    else:
        schedule = _SCHEDULES.get(recipe.schedule, recipe.schedule)
    details = [
        f"{'Nesterov ' * recipe.nesterov}momentum {recipe.momentum:g}" if recipe.momentum else "",
        f"weight decay {recipe.weight_decay:g}" if recipe.weight_decay else "",
        f"a warm-up of {_epochs(recipe.warmup_epochs)}" if recipe.warmup_epochs else "",
        f"gradients clipped to norm {recipe.clip_norm:g}" if recipe.clip_norm else "",
        f"averaged weights (decay {recipe.average_decay:g})" if recipe.average_decay else "",
    ]
    order = "a new order in every epoch" if recipe.shuffle else "the same order in every epoch"
    return (
        f"It was trained by {_OPTIMIZERS.get(recipe.optimizer, recipe.optimizer)} for "
        f"{_epochs(recipe.epochs)} of {counted(steps, 'step')}, each on "
        f"{counted(recipe.batch_size, 'image')}, in {order} (seed {recipe.seed}). "
        f"The learning rate is {recipe.lr:g}, {schedule}{_with(details)}."
    )


def _change_of_schedule(run: Run) -> list[str]:
    """What a run says that was lengthened, for example, when some epochs had been trained."""
    n = run.facts.data.n["train"]
    rates, steps = run.recipe.learning_rates(n), math.ceil(n / run.recipe.batch_size)
    for each in run.history:
        if not math.isclose(each.lr, rates(each.epoch * steps - 1), rel_tol=1e-6, abs_tol=1e-12):
            said = "Its schedule was changed on the way: earlier epochs had other learning rates."
            return [said]
    return []


def _loss(recipe: Recipe) -> list[str]:
    parts = []
    if recipe.label_smoothing:
        parts.append(
            f"Label smoothing spreads {100 * recipe.label_smoothing:g} % of the probability over "
            "all classes."
        )
    if recipe.class_weights != "none":
        weights = {"balanced": "All classes count alike", "sqrt": "Small classes count more"}
        named = weights.get(str(recipe.class_weights), "Each class has a weight of its own")
        parts.append(f"{named} in the loss.")
    return parts


def _augmentation(recipe: Recipe) -> str:
    augment = recipe.augment
    changes = [
        "flipped" if augment.flip else "",
        f"moved by up to {augment.crop_padding} pixels" if augment.crop_padding else "",
        f"covered by a square of {augment.cutout} pixels" if augment.cutout else "",
        f"turned by up to {augment.rotate:g} degrees" if augment.rotate else "",
        f"scaled by up to {100 * augment.scale:g} %" if augment.scale else "",
        f"shifted by up to {100 * augment.shift:g} %" if augment.shift else "",
        f"made brighter or darker by up to {100 * augment.brightness:g} %"
        if augment.brightness
        else "",
        f"changed in contrast by up to {100 * augment.contrast:g} %" if augment.contrast else "",
    ]
    said = _listed(changes)
    if not said:
        return "Training images were used as they are, without augmentation."
    return f"In every epoch, training images were randomly {said}."


def _choice(recipe: Recipe, facts: RunFacts) -> str:
    figures = facts.figures
    assert figures is not None, "the run has ended"
    if figures.best_epoch is None:
        return "The weights after the last epoch were kept: no images were held out to choose by."
    by = {"val_loss": "loss", "val_acc": "accuracy"}[recipe.choose_by]
    which = "lowest" if by == "loss" else "highest"
    return (
        f"The weights after epoch {figures.best_epoch} of {figures.epochs} were kept, where the "
        f"{by} on {counted(figures.n_val, 'validation image')} was {which}."
        f"{' The test images decided nothing.' if figures.n_test else ''}"
    )


def _epochs(n: float | int) -> str:
    return counted(int(n), "epoch") if n == int(n) else f"{n:g} epochs"


def _with(details: Iterable[str]) -> str:
    said = _listed(details)
    return f"; with {said}" if said else ""


def _listed(parts: Iterable[str]) -> str:
    """The parts that are not empty, as in a sentence."""
    said = [part for part in parts if part]
    if len(said) < 2:
        return "".join(said)
    return f"{', '.join(said[:-1])} and {said[-1]}"
