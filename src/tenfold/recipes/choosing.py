"""What a recipe leaves to the data, chosen from facts about the data alone.

The rules are about what limits learning, not about particular data: few pictures are seen more
often than many, and are changed at random so that they are not learned by heart; pictures of many
pixels get a deeper network; if brightness differs more between pictures than within them, each is
normalized by itself; and so on. The network is as wide as the
work allows, which is bounded by a number of multiply-adds and not by a time, so that the same
recipe means the same on every machine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tenfold.data.dataset import ImageDataset
from tenfold.errors import counted
from tenfold.models.layers import Layer, Linear, multiply_adds
from tenfold.recipes.recipe import Recipe
from tenfold.types import ImageShape


@dataclass(frozen=True)
class Budget:
    """How much may be computed.

    Attributes:
        multiply_adds: of all forward passes in training; a step takes about three times as many.
        is_wanted: whether all of it is to be used; otherwise only what the data needs.
    """

    multiply_adds: float
    is_wanted: bool = False


USUAL_BUDGET = Budget(4e12)

LEAST_EPOCHS, MOST_EPOCHS = 5, 100

MOST_TIMES_WANTED = 5
"""With more time than the data needs, training takes at most so many times as many epochs."""

WIDTHS = (8, 12, 16, 24, 32, 48, 64)
"""Channels of the first stage that a network may have, at most as many as pixels a side."""

LEAST_SIDE_TO_POOL = 24
"""Pixels a side at or above which the first convolution is followed by pooling."""

LAST_SIDE = 8
"""The last stage sees an image of about this many pixels a side, or half as many after pooling."""

USUAL_SHARE_HELD_OUT, LEAST_TO_HOLD_OUT = 0.1, 1000
"""Share of the training images held out for validation, if there are at least so many."""

USUAL_RATES = {"sgd": 0.05, "adam": 2e-3, "adamw": 3e-3}
FROZEN_RATES = {"sgd": 0.2, "adam": 0.04, "adamw": 0.06}
"""Learning rates for 32 images a batch, by the optimizer, for all layers and for the last alone."""

SEEN_OFTEN = 12
"""Epochs at or above which the network would learn images by heart, unless they are changed and
some of its features dropped at random."""

MUCH_LIGHTING, LITTLE_EXPLAINED = 1.0, 0.05
"""See `DataSummary`: beyond and below which differences of brightness are taken for noise."""

WORTH_A_WARNING = 2.0
"""Times of the usual work."""

LARGEST_USUAL_BATCH = 512
"""Beyond it, the learning rate does not grow with the batch."""

_IMAGES_AT_ONCE = 256


@dataclass(frozen=True)
class DataSummary:
    """Facts about the training images, and what is given of the network, that choices depend on.

    Attributes:
        n: number of images.
        image_shape: of one image.
        counts: images in each class.
        classes: names of the classes.
        lighting: how much images of a class differ in brightness, in comparison with how much an
            image's own pixels differ: the deviation of the images' means, over the mean of the
            images' deviations.
        explained: the share of the variance of the images' means that their classes explain, 0..1.
        is_flat: whether all pixels of a channel are equal in all images.
        own_layers: those of a network of the user's own, empty if it is not a list of layers; None
            for a network of the table.
    """

    n: int
    image_shape: ImageShape
    counts: tuple[int, ...]
    classes: tuple[str, ...]
    lighting: float
    explained: float
    is_flat: bool = False
    own_layers: tuple[Layer, ...] | None = None

    @property
    def imbalance(self) -> float:
        """The largest class's size over the smallest's, of those that have images."""
        present = [count for count in self.counts if count]
        return max(present) / min(present)


def summarize(train: ImageDataset, own_layers: tuple[Layer, ...] | None = None) -> DataSummary:
    """The facts about training images.

    Args:
        train: the images.
        own_layers: see `DataSummary`.
    """
    pixels = train.image_array.reshape(len(train), -1)
    means, deviations = np.empty(len(train)), np.empty(len(train))
    for start in range(0, len(train), _IMAGES_AT_ONCE):
        some = slice(start, start + _IMAGES_AT_ONCE)
        means[some] = pixels[some].mean(1, dtype=np.float64)
        deviations[some] = pixels[some].std(1, dtype=np.float64)
    low, high = train.image_array.min((0, 2, 3)), train.image_array.max((0, 2, 3))
    labels, counts = train.label_array, train.class_counts()
    of_class = np.bincount(labels, means, len(counts)) / np.maximum(counts, 1)
    variance, within = means.var(), np.square(means - of_class[labels]).mean()
    contrast = deviations.mean()
    return DataSummary(
        len(train),
        train.image_shape,
        tuple(counts.tolist()),
        train.classes,
        lighting=float(np.sqrt(within) / contrast) if contrast else 0.0,
        explained=float(1 - within / variance) if variance else 0.0,
        is_flat=bool((low == high).any()),
        own_layers=own_layers,
    )


def share_held_out(recipe: Recipe, n: int) -> float:
    """The share of `n` training images that is held out for validation.

    If that is left to the data: none of few images, which are needed more for training than to
    choose the best epoch.
    """
    return _usual_share_held_out(n) if "val" in recipe.left_to_data else recipe.val


def chosen_by_data(recipe: Recipe, data: DataSummary, budget: Budget = USUAL_BUDGET) -> Recipe:
    """The recipe with a value for every key that it leaves to the data.

    Args:
        recipe: as given.
        data: facts about the training images.
        budget: how much may be computed.
    """
    values = recipe.model_dump()
    for key in sorted(recipe.left_to_data, key=list(_RULES).index):
        table, _, name = key.rpartition(".")
        place = values[table] if table else values
        place[name] = None
        chosen = _RULES[key](values, data, budget)
        place[name] = chosen
        if key == "model":
            values["model_args"] = _model_args(values, data, budget)
    if "model" in recipe.left_to_data:
        dropout = _if_seen_often(0.2)(values, data, budget)
        values["model_args"] = {"dropout": dropout, **values["model_args"]}
    return Recipe.model_validate(values)


def budget_within(
    seconds: float, seconds_per_step: float, recipe: Recipe, data: DataSummary
) -> Budget:
    """What can be computed in a time.

    Args:
        seconds: the time for all steps.
        seconds_per_step: how long a step takes on this machine.
        recipe: what was trained then, complete.
        data: facts about the training images.
    """
    images, work = seconds / seconds_per_step * recipe.batch_size, _work(recipe.model_dump(), data)
    return Budget(work.each * images, is_wanted=True)


def warning(data: DataSummary, chosen: Recipe) -> str:
    """A warning if training takes several times as much computing as usual; else empty.

    Even the narrowest network and the fewest epochs may be too much for many or large images, and a
    person may have asked for more.
    """
    work = _work(chosen.model_dump(), data)
    times = work.of(chosen.epochs, data) / USUAL_BUDGET.multiply_adds
    if times < WORTH_A_WARNING:
        return ""
    return (
        f"training takes about {times:.0f} times as much computing as it usually does; to bound "
        "it, say how long it may take, such as --time 10m"
    )


def in_words(recipe: Recipe, data: DataSummary, chosen: Recipe) -> str:
    """What was chosen, as one short block; empty if nothing was left to the data."""
    left, augment = recipe.left_to_data, chosen.augment.model_dump()
    if not left:
        return ""
    steps = counted(math.ceil(data.n / chosen.batch_size), "step")
    changes = [
        name if value is True else f"{name} {value:g}"
        for name, value in augment.items()
        if value and f"augment.{name}" in left
    ]
    parts = {
        "image_size": f"images of {'x'.join(map(str, data.image_shape[1:]))}",
        "model": f"{chosen.model} ({_arguments(chosen.model_args)})",
        "epochs": f"{counted(chosen.epochs, 'epoch')} of {steps}",
        "batch_size": f"{counted(chosen.batch_size, 'image')} a step",
        "lr": f"lr {chosen.lr:g}",
        "normalize": f"normalize {chosen.normalize}",
        "class_weights": f"class_weights {chosen.class_weights}",
        "augment": f"augment {', '.join(changes)}" if changes else "augment nothing",
    }
    tables = {key.partition(".")[0] for key in left}
    return "chosen for this data: " + "; ".join(parts[key] for key in parts if key in tables)


def _arguments(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in arguments.items())


# --- the rules


def _wanted_epochs(data: DataSummary) -> float:
    """Few images are seen more often: twice as often for a quarter of them."""
    return min(float(MOST_EPOCHS), max(float(LEAST_EPOCHS), 60 * math.sqrt(1000 / data.n)))


def _model_args(values: Mapping[str, Any], data: DataSummary, budget: Budget) -> dict[str, Any]:
    """The widest network that sees all images as often as wanted within the budget.

    Pooling after the first convolution makes room for a network of about twice the width, which
    was better on most data tried.
    """
    side = min(data.image_shape[1:])
    stages = max(2, min(5, 1 + round(math.log2(max(side, 1) / LAST_SIDE))))
    given = values["model_args"]
    pooling = {"stem_pool": True} if side >= LEAST_SIDE_TO_POOL else {}
    for width in reversed([width for width in WIDTHS if width <= max(side, WIDTHS[0])]):
        widths = [width * 2**stage for stage in range(stages)]
        arguments = {"widths": widths, "blocks": 1, **pooling, **given}
        work = _work({**values, "model_args": arguments}, data)
        if work.of(_wanted_epochs(data), data) <= budget.multiply_adds:
            break
    return arguments


@dataclass(frozen=True)
class _Work:
    """What one image costs in multiply-adds of forward passes.

    Attributes:
        each: in every epoch.
        once: before the first.
    """

    each: float
    once: float

    def of(self, epochs: int | float, data: DataSummary) -> float:
        """The work of so many epochs with all images."""
        return data.n * (self.once + epochs * self.each)

    def epochs(self, budget: Budget, data: DataSummary) -> float:
        """How many epochs can be computed; what is computed before does not depend on them."""
        return budget.multiply_adds / data.n / self.each


def _work(values: Mapping[str, Any], data: DataSummary) -> _Work:
    """The work of a model; 1 an epoch if it is not a list of known layers.

    If only the last layer is trained, the others compute each view of an image once, forward only:
    a third of a step.
    """
    from tenfold.models import build
    from tenfold.models.tracing import layer_list

    shape, arguments, layers = data.image_shape, values["model_args"], data.own_layers
    if layers is None:
        network = build(values["model"], shape, len(data.classes), device="meta", **arguments)
        layers = layer_list(network, shape)
    if not layers:
        return _Work(1.0, 0.0)
    total = float(multiply_adds(layers, shape))
    if not values["freeze"]:
        return _Work(total, 0.0)
    head = [layer for layer in layers if isinstance(layer, Linear)][-1]
    each = float(head.in_features * head.out_features)
    return _Work(each, max(1, values["views"]) * (total - each) / 3)


def _epochs(values: Mapping[str, Any], data: DataSummary, budget: Budget) -> int:
    wanted = _wanted_epochs(data)
    possible = _work(values, data).epochs(budget, data)
    if budget.is_wanted:
        return max(1, int(min(possible, MOST_TIMES_WANTED * wanted)))
    return max(LEAST_EPOCHS, round(min(possible, wanted)))


def _batch_size(_values: Mapping[str, Any], data: DataSummary, _budget: Budget) -> int:
    """About 50 steps an epoch, within 16 to 128."""
    size: int = 2 ** round(math.log2(max(1, data.n / 50)))
    return min(max(size, 16), 128, data.n)


def _lr(values: Mapping[str, Any], data: DataSummary, _budget: Budget) -> float:
    """Usual for the optimizer, and in proportion to the square root of the batch.

    A last layer alone can take, and needs, larger steps.
    """
    usual = (FROZEN_RATES if values["freeze"] else USUAL_RATES)[values["optimizer"]]
    size = min(values["batch_size"], data.n, LARGEST_USUAL_BATCH)
    return float(f"{usual * math.sqrt(size / 32):.2g}")


def _normalize(_values: Mapping[str, Any], data: DataSummary, _budget: Budget) -> str:
    """By image if lighting differs more than what is in the images, and tells nothing of them."""
    is_noise = data.lighting > MUCH_LIGHTING and data.explained < LITTLE_EXPLAINED
    return "none" if data.is_flat else "image" if is_noise else "dataset"


def _class_weights(_values: Mapping[str, Any], data: DataSummary, _budget: Budget) -> str:
    return "sqrt" if data.imbalance > 1.5 else "none"


_CHARACTER = re.compile(
    r"\W*(?:(?:digit|number|letter|char|character|class|label)[\s_-]*)?(?:\d+|\w)\W*", re.IGNORECASE
)
_SIDES = re.compile(r"(?<![^\W_])(?:left|right|clockwise|mirror\w*)(?![^\W_])", re.IGNORECASE)
_NUMBERS = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"}
_LETTERS = {"alpha", "beta", "gamma", "delta", "epsilon", "theta", "lambda", "sigma", "omega"}
_SYLLABLES = {"o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"}
"""Those of Kuzushiji-MNIST."""


def means_the_same_mirrored(classes: tuple[str, ...]) -> bool:
    """Whether a mirror image means the same: not for digits, letters, and left or right.

    A name of a single character counts as one, whatever it means.
    """

    def is_character(name: str) -> bool:
        words = set(re.split(r"[\W_]+", name.casefold().strip()))
        spelled = words & (_NUMBERS | _LETTERS) or words <= _SYLLABLES
        return bool(_CHARACTER.fullmatch(name) or spelled)

    if any(_SIDES.search(name) for name in classes):
        return False
    return 2 * sum(map(is_character, classes)) < len(classes)


def _flip(_values: Mapping[str, Any], data: DataSummary, _budget: Budget) -> bool:
    return means_the_same_mirrored(data.classes)


def _if_seen_often(value: float) -> Callable[[Mapping[str, Any], DataSummary, Budget], float]:
    return lambda values, _data, _budget: value if values["epochs"] >= SEEN_OFTEN else 0.0


def _recoloring(values: Mapping[str, Any], data: DataSummary, budget: Budget) -> float:
    """Normalizing each image takes this away again."""
    often = _if_seen_often(0.15)(values, data, budget)
    return 0.0 if values["normalize"] == "image" else often


def _usual_share_held_out(n: int) -> float:
    return USUAL_SHARE_HELD_OUT if n >= LEAST_TO_HOLD_OUT else 0.0


_RULES: Mapping[str, Callable[[Mapping[str, Any], DataSummary, Budget], Any]] = {
    "val": lambda _values, data, _budget: _usual_share_held_out(data.n),
    "image_size": lambda _values, data, _budget: tuple(data.image_shape[1:]),
    "normalize": _normalize,
    "model": lambda _values, _data, _budget: "resnet-small",
    "epochs": _epochs,
    "batch_size": _batch_size,
    "lr": _lr,
    "class_weights": _class_weights,
    "augment.flip": _flip,
    "augment.rotate": _if_seen_often(7.0),
    "augment.scale": _if_seen_often(0.1),
    "augment.shift": _if_seen_often(0.06),
    "augment.brightness": _recoloring,
    "augment.contrast": _recoloring,
}
"""How each key is chosen, in order: a rule sees what those before it have chosen."""
