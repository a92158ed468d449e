"""The typed, validated recipe: every setting of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tomli_w
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_serializer,
    model_validator,
)

from tenfold.errors import UsageError, did_you_mean, nearest, printable, wanted
from tenfold.recipes.text import MAX_DOTS, numbers_in, parse_recipe, recipe_text
from tenfold.resizing import DEFAULT_RESIZE, Resize, as_size
from tenfold.training.optimizers import OPTIMIZERS, OptimizerEntry, require_own_options
from tenfold.training.schedules import SCHEDULES, Schedule, ScheduleEntry, build_schedule

AUTO = "auto"
"""The value that leaves a key to the data."""

CHOSEN_BY_DATA: Mapping[str, Any] = {
    "val": 0.0,
    "image_size": None,
    "normalize": "none",
    "model": "resnet-small",
    "epochs": 10,
    "batch_size": 64,
    "lr": 0.1,
    "class_weights": "none",
    "augment.flip": False,
    "augment.rotate": 0.0,
    "augment.scale": 0.0,
    "augment.shift": 0.0,
    "augment.brightness": 0.0,
    "augment.contrast": 0.0,
}
"""The keys that may be left to the data, with the values that stand for them until then."""

NOT_DECISIVE = ("data", "labels", "label_from", "group_by", "skip_bad", "corrections", "add")
"""Keys that say where data is and which of it is used; the data itself is compared."""

_MAX_PROBLEMS = 10

_MEANT = {
    "learning_rate": "lr",
    **{name: f"model_args.{name}" for name in ("dropout", "hidden", "kernels", "widths", "blocks")},
}
"""Keys that other tools have, and keys of a table written without it."""

_MEANT_VALUES = dict.fromkeys(("float16", "fp16", "half", "16"), "bfloat16")
"""Values that other tools have."""

_Fraction = Annotated[float, Field(ge=0, lt=1)]
_LARGEST_NUMBER = 1e6
_Positive = Annotated[float, Field(gt=0, le=_LARGEST_NUMBER)]
_NotNegative = Annotated[float, Field(ge=0, le=_LARGEST_NUMBER)]


def _from_list(value: object) -> object:
    """TOML has no tuples."""
    return tuple(value) if isinstance(value, list) else value


def _normalization_by_name(value: object) -> object:
    """Older recipes only say whether images are normalized."""
    return {True: "dataset", False: "none"}[value] if isinstance(value, bool) else value


def _size(value: object) -> object:
    return None if value is None else as_size(value)


def _class_weights(value: object) -> object:
    """One of the names, or a number for every class."""
    weights = _from_list(value)
    numbers = weights if isinstance(weights, tuple) else ()
    if weights not in ("none", "balanced", "sqrt") and not (
        numbers and all(type(n) in (int, float) and 0 <= n <= _LARGEST_NUMBER for n in numbers)
    ):
        raise ValueError(
            "none, balanced, sqrt, or a list of numbers of at least 0, such as [1,2,0.5]"
        )
    return tuple(map(float, numbers)) or weights


_ImageSize = Annotated[tuple[int, int] | None, BeforeValidator(_size)]
_ClassWeights = Annotated[
    Literal["none", "balanced", "sqrt"] | tuple[float, ...], BeforeValidator(_class_weights)
]

if TYPE_CHECKING:
    _Optimizer = str
    _Schedule = str
else:
    _Optimizer = Literal[tuple(OPTIMIZERS)]
    _Schedule = Literal[tuple(SCHEDULES)]


class AugmentRecipe(BaseModel):
    """How training images are augmented, differently in every epoch.

    Attributes:
        flip: flip half the images left to right.
        crop_padding: pad by this many pixels and crop at random.
        cutout: blank a square of this side at a random place.
        rotate: rotate by at most this many degrees.
        scale: enlarge or shrink by at most this share.
        shift: shift by at most this share of height and width.
        brightness: brighten or darken by at most this share.
        contrast: strengthen or weaken the contrast by at most this share.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    flip: bool = False
    crop_padding: int = Field(0, ge=0, le=256)
    cutout: int = Field(0, ge=0, le=4096)
    rotate: float = Field(0.0, ge=0, le=180)
    scale: float = Field(0.0, ge=0, le=0.9)
    shift: float = Field(0.0, ge=0, le=1)
    brightness: float = Field(0.0, ge=0, le=1)
    contrast: float = Field(0.0, ge=0, le=1)


class Recipe(BaseModel):
    """What to train, on which data, and how. Every field except `model` has a default.

    The value "auto" leaves a key of `CHOSEN_BY_DATA` to the data: `left_to_data` says which keys,
    whose own values mean nothing until `completed` has chosen them.

    Attributes:
        description: one line for users.
        data: default data: a name from the catalog or a path.
        image_size: height and width that images in folders are resized to.
        channels: 1 for gray, 3 for color.
        resize: how pictures are brought to a size of other proportions; see `tenfold.resizing`.
        depth: of 16-bit gray images, the number of bits that count.
        labels: a table with the images' labels; see `FolderOptions`, like the next three.
        label_from: a regular expression that finds labels in names.
        group_by: what images that stay together have in common.
        skip_bad: whether images that cannot be read are left out.
        corrections: a table of images to leave out and labels to change; see
            `tenfold.data.corrections`.
        add: more training images: a folder of class folders, such as corrected answers.
        limit: the number of training images to use, at most, from each class its share, before any
            are held out for validation; 0 for all. Test images, a validation split of the data's
            own, and what is added are not limited.
        test: share held out for testing if the data has no test split.
        val: share of the training images held out for validation.
        duplicates_together: whether equal images stay together when some are held out.
        normalize: by what mean and deviation pixels are standardized: `none`; `dataset`, those of
            each channel over the training images; `image`, those of each image; `imagenet`, those
            of ImageNet's images; or `start`, those that the model that it starts from has.
        model: a name from the table of models.
        model_args: the model's own arguments.
        start: a run or a model file whose weights the network starts from.
        weights: a file of weights of another program that the network starts from.
        freeze: train only the last layer, on features that the others compute once.
        views: if so, how many times the features are computed, each time of images augmented in
            another way; 0 for once, of the images as they are.
        epochs: passes over the training images.
        batch_size: images per step.
        eval_batch_size: images per batch in validation and testing.
        shuffle: a new order in every epoch.
        augment: how training images are augmented.
        optimizer: a name from the table of optimizers.
        lr: the highest learning rate.
        momentum: for optimizer sgd.
        nesterov: use Nesterov momentum.
        weight_decay: strength of weight decay.
        schedule: a name from the table of schedules.
        warmup_epochs: epochs over which the learning rate warms up.
        drop_every: for schedule step: epochs between drops.
        drop_factor: for schedule step: the factor of each drop.
        class_weights: how much each class counts in the loss: `none`, all images alike;
            `balanced`, all classes alike; `sqrt`, halfway; or one number per class.
        label_smoothing: probability spread over all classes.
        clip_norm: maximum norm of all gradients together; 0 for no clipping.
        average_decay: decay of the moving average of the weights; 0 for no average.
        choose_by: the metric that chooses the best epoch.
        patience: stop after this many epochs without improvement; 0 for never.
        seed: random seed: order, split, initial weights.
        precision: of PyTorch's products; bfloat16 is automatic mixed precision.
        channels_last: whether PyTorch keeps the values of a pixel next to each other.
        compile: whether `torch.compile` compiles the model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    description: str = Field("", max_length=MAX_DOTS)
    data: str = ""
    image_size: _ImageSize = None
    channels: Literal[1, 3] | None = None
    resize: Resize = DEFAULT_RESIZE
    depth: Annotated[int, Field(ge=8, le=16)] | None = None
    labels: str = ""
    label_from: str = ""
    group_by: str = ""
    skip_bad: bool = False
    corrections: str = ""
    add: str = ""
    limit: int = Field(0, ge=0)
    test: _Fraction = 0.2
    val: _Fraction = 0.0
    duplicates_together: bool = True
    normalize: Annotated[
        Literal["none", "dataset", "image", "imagenet", "start"],
        BeforeValidator(_normalization_by_name),
    ] = "none"

    model: str
    model_args: dict[str, Any] = Field(default_factory=dict)
    start: str = ""
    weights: str = ""
    freeze: bool = False
    views: int = Field(0, ge=0, le=100)

    epochs: int = Field(10, ge=1, le=50_000)  # a longer history would not fit into a header
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
    class_weights: _ClassWeights = "none"
    label_smoothing: _Fraction = 0.0
    clip_norm: _NotNegative = 0.0
    average_decay: _Fraction = 0.0

    choose_by: Literal["val_loss", "val_acc"] = "val_loss"
    patience: int = Field(0, ge=0)
    seed: int = Field(0, ge=-(2**63), lt=2**63)

    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    compile: bool = False

    _left_to_data: frozenset[str] = PrivateAttr(frozenset())

    @property
    def left_to_data(self) -> frozenset[str]:
        """The keys that are left to the data; a dot leads into a table."""
        return self._left_to_data

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Recipe:
        """A copy with some fields changed, which are then no longer left to the data."""
        copy = super().model_copy(update=update, deep=deep)
        changed_tables = {key.partition(".")[0] for key in update or ()}
        copy._left_to_data = frozenset(
            key for key in self._left_to_data if key.partition(".")[0] not in changed_tables
        )
        return copy

    @model_validator(mode="wrap")
    @classmethod
    def _without_auto(cls, values: Any, handler: Callable[[Any], Recipe]) -> Recipe:  # noqa: ANN401
        if not isinstance(values, Mapping):
            return handler(values)
        given = dict(values)
        if isinstance(given.get("augment"), Mapping):
            given["augment"] = dict(given["augment"])
        left = set()
        for key, value in CHOSEN_BY_DATA.items():
            table, _, name = key.rpartition(".")
            place = given.get(table) if table else given
            if isinstance(place, dict) and place.get(name) == AUTO:
                place[name] = value
                left.add(key)
        recipe = handler(given)
        recipe._left_to_data = frozenset(left)
        return recipe

    @model_serializer(mode="wrap")
    def _with_auto(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        values = handler(self)
        for key in self._left_to_data:
            table, _, name = key.rpartition(".")
            place = values.get(table) if table else values
            if isinstance(place, dict) and name in place:
                place[name] = AUTO
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        try:
            require_own_options(self.optimizer, dict(self))
        except UsageError as error:
            raise ValueError(str(error)) from error
        if self.start and self.weights:
            raise ValueError(
                "start and weights are both given, and a network starts from one of them: leave "
                "out the other"
            )
        if self.freeze and not (self.start or self.weights):
            raise ValueError(
                "freeze is true, but the network starts from random weights: name trained ones "
                "with --from RUN or --weights FILE"
            )
        if self.views and not self.freeze:
            raise ValueError(
                f"views is {self.views}, but only features of a frozen network are computed in "
                "advance: add freeze = true, or leave it out"
            )
        if self.normalize == "start" and not self.start:
            raise ValueError(
                "normalize is 'start', but the network does not start from a run or a model file: "
                "name one with --from, or choose normalize = 'dataset'"
            )
        for number in numbers_in(self.model_args):
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"model_args has {number}, wanted finite numbers")
        return self

    def learning_rates(self, n: int) -> Schedule:
        """The schedule of the learning rate, for n training images."""
        return build_schedule(
            self.schedule,
            lr=self.lr,
            epochs=self.epochs,
            steps_per_epoch=math.ceil(n / self.batch_size),
            drop_every=self.drop_every,
            drop_factor=self.drop_factor,
            warmup_epochs=self.warmup_epochs,
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return self.model_dump(mode="json")

    def decisive_fields(self) -> dict[str, Any]:
        """The fields that affect the result on given data, ready for JSON."""
        return self.model_dump(mode="json", exclude={"description", *NOT_DECISIVE})

    def to_toml(self) -> str:
        """The whole recipe as a TOML file."""
        return tomli_w.dumps({k: v for k, v in self.to_dict().items() if v is not None})


def load_recipe(name_or_file: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by name or from a file, with some of its keys changed by `changed`.

    Args:
        name_or_file: one of `recipe_names()`, or the path of a TOML file.
        overrides: values by key; dots lead into tables, as in `model_args.dropout`.

    Raises:
        UsageError: there is no such recipe, it is not TOML, a key is unknown, or a value is out of
            range.
    """
    place = str(name_or_file)
    return changed(parse_recipe(recipe_text(name_or_file), place), overrides or {}, place)


def changed(recipe: Recipe | Mapping[str, Any], overrides: Mapping[str, Any], place: str) -> Recipe:
    """A recipe with some of its keys changed.

    Changing the model, optimizer or schedule drops the keys that only the old one reads.

    Args:
        recipe: a recipe, or its plain values from TOML.
        overrides: values by key; dots lead into tables, as in `model_args.dropout`.
        place: where the recipe comes from, for messages.

    Raises:
        UsageError: unknown keys, wrong types, or values out of range; the first of them are named.
    """
    values = recipe.model_dump() if isinstance(recipe, Recipe) else dict(recipe)
    for choice in ("model", "optimizer", "schedule"):
        before = values.get(choice, Recipe.model_fields[choice].default)
        if overrides.get(choice, before) != before:
            for key in _own_keys(choice, before):
                values.pop(key, None)
    for key, value in overrides.items():
        _set(values, key, value, place)
    return validate(values, place, overrides)


def validate(
    values: Mapping[str, Any], place: str, overrides: Collection[str] = frozenset()
) -> Recipe:
    """A recipe from plain values.

    Args:
        values: by key, from TOML.
        place: where they come from, for messages.
        overrides: keys whose values come from elsewhere; a dot leads into a table.

    Raises:
        UsageError: unknown keys, wrong types, or values out of range; the first of them are named.
    """
    try:
        return Recipe.model_validate(dict(values))
    except ValidationError as error:
        shown = error.errors()[:_MAX_PROBLEMS]
        problems = list(_with_each_list_once(map(_sentence, shown)))
        if error.error_count() > _MAX_PROBLEMS:
            problems.append(f"and {error.error_count() - _MAX_PROBLEMS} more")
        is_recipe_to_blame = not all(_is_in(overrides, problem["loc"]) for problem in shown)
        said = "; ".join(problems)
        raise UsageError(f"recipe {place}: {said}" if is_recipe_to_blame else said) from error


def _with_each_list_once(problems: Iterable[str]) -> Iterator[str]:
    """The problems, of which only the first says what all keys of a table are."""
    said = set()
    for problem in problems:
        what, choose, keys = problem.partition(", choose one of: ")
        yield what if keys in said else what + choose + keys
        said.add(keys)


def _is_in(keys: Collection[str], place: Sequence[object]) -> bool:
    """Whether a problem is at or inside one of these keys, or has no place and there are keys."""
    parts = [str(part) for part in place]
    return (not parts and bool(keys)) or any(
        ".".join(parts[:end]) in keys for end in range(1, len(parts) + 1)
    )


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
        values[table] = dict(inner)  # a copy: the caller's table must not change
        values = values[table]
    values[last] = value


def _as_typed(value: object) -> str:
    """A value as a recipe has it, but with separators in large numbers."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return printable(repr(list(value) if isinstance(value, tuple) else value), 80)


def _sentence(problem: Mapping[str, Any]) -> str:
    place = [str(part) for part in problem["loc"]]
    key = printable(".".join(place), 80)
    if problem["type"] == "extra_forbidden":
        if key in _MEANT:
            return f"unknown key {key!r}, did you mean {_MEANT[key]!r}?"
        table, fields = "", Recipe.model_fields
        if place[0] == "augment":
            table, fields = "augment.", AugmentRecipe.model_fields
        similar = nearest(place[-1], fields)
        known = [table + name for name in ([similar] if similar else sorted(fields))]
        words = f"did you mean {known[0]!r}?" if similar else f"choose one of: {', '.join(known)}"
        return f"unknown key {key!r}, {words}"
    if problem["type"] == "missing" and len(place) == 1:
        return f'the key {key!r} is missing: add, for example, model = "mlp"'
    if not key:
        return str(problem["msg"]).removeprefix("Value error, ")
    found = _as_typed(problem["input"])
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        names = re.findall(r"'([^']+)'", problem["ctx"]["expected"])
        meant = _MEANT_VALUES.get(problem["input"], problem["input"])
        return f"{key} is {found}, {did_you_mean(meant, names)}"
    words = wanted(problem)
    if key == "augment":
        words = "its keys, such as augment.flip=true"
    if problem["type"] == "value_error":
        words = str(problem["msg"]).removeprefix("Value error, ")
    return f"{key} is {found}, wanted {words}"
