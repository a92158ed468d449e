"""The typed recipe: everything that decides what a run does, validated."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tenfold.errors import UsageError, did_you_mean, printable, wanted
from tenfold.recipes.text import MOST_DOTS, numbers_in, parse_recipe, recipe_text
from tenfold.training.optimizers import OPTIMIZERS, OptimizerEntry, require_own_options
from tenfold.training.schedules import SCHEDULES, ScheduleEntry

_MOST_PROBLEMS = 10

_Fraction = Annotated[float, Field(ge=0, lt=1)]
_Positive = Annotated[float, Field(gt=0, le=1e6)]
_NotNegative = Annotated[float, Field(ge=0, le=1e6)]
_Side = Annotated[int, Field(ge=1, le=16_384)]


def _from_list(value: object) -> object:
    """TOML has no tuples."""
    return tuple(value) if isinstance(value, list) else value


_ImageSize = Annotated[tuple[_Side, _Side], BeforeValidator(_from_list)]

if TYPE_CHECKING:
    _Optimizer = str
    _Schedule = str
else:
    _Optimizer = Literal[tuple(OPTIMIZERS)]
    _Schedule = Literal[tuple(SCHEDULES)]


class AugmentRecipe(BaseModel):
    """How training images are changed, anew in every epoch.

    Attributes:
        flip: mirror half of the images left to right.
        crop_padding: pad by this many pixels and crop at a random place.
        cutout: blank a square of this side at a random place.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    flip: bool = False
    crop_padding: int = Field(0, ge=0, le=256)
    cutout: int = Field(0, ge=0, le=4096)


class Recipe(BaseModel):
    """What to train, on what, and how. Every field has a default but `model`.

    Attributes:
        description: one line for people.
        data: a name from the catalog or a path, if none is given.
        image_size: height and width that images in folders are brought to.
        channels: 1 for gray, 3 for color.
        test: share held out for testing where the data has no test split.
        val: share of the training images held out for validation.
        normalize: shift and scale each channel by its mean and deviation in training.
        model: a name from the table of models.
        model_args: the model's own arguments.
        epochs: passes over the training images.
        batch_size: images in a step.
        eval_batch_size: images at once in validation and testing.
        shuffle: a new order in every epoch.
        augment: how training images are changed.
        optimizer: a name from the table of optimizers.
        lr: the highest learning rate.
        momentum: of optimizer sgd.
        nesterov: Nesterov's form of the momentum.
        weight_decay: pulls the weights towards 0.
        schedule: a name from the table of schedules.
        warmup_epochs: over how many epochs the learning rate rises at the beginning.
        drop_every: schedule step: epochs between two drops.
        drop_factor: schedule step: what a drop multiplies by.
        label_smoothing: share of probability spread over all classes.
        clip_norm: largest norm of all gradients; 0 is off.
        average_decay: decay of the moving average of the weights; 0 is off.
        choose_by: the figure that the best epoch is chosen by.
        patience: stop after this many epochs without a gain; 0 is never.
        seed: random seed: order, split, initial weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    description: str = Field("", max_length=MOST_DOTS)
    data: str = ""
    image_size: _ImageSize | None = None
    channels: Literal[1, 3] | None = None
    test: _Fraction = 0.2
    val: _Fraction = 0.0
    normalize: bool = False

    model: str
    model_args: dict[str, Any] = Field(default_factory=dict)

    epochs: int = Field(10, ge=1, le=50_000)  # the history of more would not fit a header
    batch_size: int = Field(64, ge=1, le=10_000_000)
    eval_batch_size: int = Field(1024, ge=1, le=10_000_000)
    shuffle: bool = True
    augment: AugmentRecipe = AugmentRecipe()

    optimizer: _Optimizer = "sgd"
    lr: _Positive = 0.1
    momentum: _Fraction = 0.0
    nesterov: bool = False
    weight_decay: _NotNegative = 0.0
    schedule: _Schedule = "constant"
    warmup_epochs: _NotNegative = 0.0
    drop_every: int = Field(10, ge=1)
    drop_factor: float = Field(0.1, gt=0, le=1)
    label_smoothing: _Fraction = 0.0
    clip_norm: _NotNegative = 0.0
    average_decay: _Fraction = 0.0

    choose_by: Literal["val_loss", "val_acc"] = "val_loss"
    patience: int = Field(0, ge=0)
    seed: int = Field(0, ge=-(2**63), lt=2**63)

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        try:
            require_own_options(self.optimizer, dict(self))
        except UsageError as error:
            raise ValueError(str(error)) from error
        for number in numbers_in(self.model_args):
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"model_args has {number}, wanted finite numbers")
        return self

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON can hold them."""
        return self.model_dump(mode="json")

    def decisive(self) -> dict[str, Any]:
        """The fields that decide what a run ends with on given data, as JSON can hold them."""
        return self.model_dump(mode="json", exclude={"description", "data"})

    def to_toml(self) -> str:
        """The whole recipe as a TOML file."""
        return tomli_w.dumps({k: v for k, v in self.to_dict().items() if v is not None})


def load_recipe(name_or_file: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by name or from a file, with some of its keys changed as `changed` does it.

    Args:
        name_or_file: one of `recipe_names()`, or the path of a TOML file.
        overrides: values by key; a dot leads into a table, as in `model_args.dropout`.

    Raises:
        UsageError: no such recipe, not TOML, an unknown key, or a value out of range.
    """
    place = str(name_or_file)
    return changed(parse_recipe(recipe_text(name_or_file), place), overrides or {}, place)


def changed(recipe: Recipe | Mapping[str, Any], overrides: Mapping[str, Any], place: str) -> Recipe:
    """A recipe with some of its keys changed.

    Another model, optimizer or schedule gets none of the keys that were the first one's own.

    Args:
        recipe: a recipe, or its plain values as TOML gives them.
        overrides: values by key; a dot leads into a table, as in `model_args.dropout`.
        place: where the recipe comes from, for messages.

    Raises:
        UsageError: an unknown key, a wrong type, a value out of range; the first of them are named.
    """
    values = recipe.model_dump() if isinstance(recipe, Recipe) else dict(recipe)
    for choice in ("model", "optimizer", "schedule"):
        before = values.get(choice, Recipe.model_fields[choice].default)
        if overrides.get(choice, before) != before:
            for key in _own_keys(choice, before):
                values.pop(key, None)
    for key, value in overrides.items():
        _set(values, key, value, place)
    return validate(values, place)


def validate(values: Mapping[str, Any], place: str) -> Recipe:
    """A recipe from plain values.

    Args:
        values: by key, as TOML gives them.
        place: where they come from, for messages.

    Raises:
        UsageError: an unknown key, a wrong type, a value out of range; the first of them are named.
    """
    try:
        return Recipe.model_validate(dict(values))
    except ValidationError as error:
        problems = [_sentence(problem) for problem in error.errors()[:_MOST_PROBLEMS]]
        if error.error_count() > _MOST_PROBLEMS:
            problems.append(f"and {error.error_count() - _MOST_PROBLEMS} more")
        raise UsageError(f"recipe {place}: {'; '.join(problems)}") from error


def _own_keys(choice: str, name: object) -> Iterable[str]:
    """The keys that only the model, optimizer or schedule of this name reads."""
    if choice == "model":
        return ["model_args"]
    entries: Mapping[str, OptimizerEntry | ScheduleEntry]
    entries = OPTIMIZERS if choice == "optimizer" else SCHEDULES
    return entries[name].own if isinstance(name, str) and name in entries else []


def _set(values: dict[str, Any], key: str, value: object, place: str) -> None:
    *tables, last = key.split(".")
    for table in tables:
        inner = values.get(table, {})
        if not isinstance(inner, dict):
            raise UsageError(f"recipe {place}: {key!r}: {table!r} is not a table")
        values[table] = dict(inner)  # what was handed over stays as it was
        values = values[table]
    values[last] = value


def _sentence(problem: Mapping[str, Any]) -> str:
    place = [str(part) for part in problem["loc"]]
    key = printable(".".join(place), 80)
    if problem["type"] == "extra_forbidden":
        fields = AugmentRecipe.model_fields if place[0] == "augment" else Recipe.model_fields
        return f"the key {key!r} is not known, {did_you_mean(place[-1], fields)}"
    if problem["type"] == "missing" and len(place) == 1:
        return f"the key {key!r} is missing"
    if not key:
        return str(problem["msg"]).removeprefix("Value error, ")
    found = printable(repr(problem["input"]), 80)
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        names = re.findall(r"'([^']+)'", problem["ctx"]["expected"])
        return f"{key} is {found}, {did_you_mean(problem['input'], names)}"
    two_sides = problem["type"] in ("missing", "too_short", "too_long")
    words = "two whole numbers, height and width" if two_sides else wanted(problem)
    return f"{key} is {found}, wanted {words}"
