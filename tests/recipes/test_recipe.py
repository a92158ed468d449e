"""Recipes: those that come with tenfold, validation, and round trips through TOML."""

import inspect
import math
import tomllib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.data.catalog.table import DATASETS
from tenfold.errors import UsageError
from tenfold.models import MODELS, Preprocessing, build, model_arguments
from tenfold.recipes import Recipe, changed, load_recipe, recipe_names, recipe_text, validate
from tenfold.recipes.recipe import AugmentRecipe
from tenfold.training import OPTIMIZERS, SCHEDULES, build_optimizer, build_schedule

EVERY_RECIPE = pytest.mark.parametrize("name", recipe_names())

# --- The recipes that come with tenfold ------------------------------------------------------

COMMON = {
    "momentum": 0.0,
    "nesterov": False,
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup_epochs": 0.0,
    "label_smoothing": 0.0,
    "clip_norm": 0.0,
    "average_decay": 0.0,
    "normalize": "none",
    "shuffle": True,
    "patience": 0,
    "val": 0.0,
    "augment": AugmentRecipe().model_dump(),
    "class_weights": "none",
}
"""Settings that none of the five tutorials uses: they scale pixels to 0..1, shuffle, and step."""

TUTORIALS = {
    "lenet-mnist": {
        "data": "mnist",
        "model": "lenet",
        "optimizer": "sgd",
        "lr": 0.1,
        "batch_size": 64,
        "epochs": 10,
    },
    "softmax-fashion": {
        "data": "fashion-mnist",
        "model": "softmax",
        "optimizer": "sgd",
        "lr": 0.1,
        "batch_size": 256,
        "epochs": 10,
    },
    "cnn-cifar10": {
        "data": "cifar10",
        "model": "cifar-cnn",
        "optimizer": "adam",
        "lr": 1e-3,
        "batch_size": 10,
        "eval_batch_size": 8,
        "epochs": 100,
    },
    "convpool-mnist": {
        "data": "mnist",
        "model": "convpool",
        "optimizer": "adam",
        "lr": 1e-2,
        "weight_decay": 1e-4,
        "batch_size": 10,
        "epochs": 10,
        "val": 0.2,
    },
    "mlp-fashion": {
        "data": "fashion-mnist",
        "model": "mlp",
        "optimizer": "sgd",
        "lr": 1e-3,
        "batch_size": 64,
        "epochs": 5,
        "shuffle": False,
    },
}
"""The tutorials' own settings."""

PARAMETERS = {
    "lenet-mnist": 61_706,
    "softmax-fashion": 7_850,
    "cnn-cifar10": 81_302,
    "convpool-mnist": 15_168_266,
    "mlp-fashion": 669_706,
}
"""As published, except for softmax regression: 784 weights and a bias for each of ten classes."""


def network_of(recipe):
    entry = DATASETS[recipe.data or "cifar10"]
    return build(recipe.model, entry.image_shape, len(entry.classes), **recipe.model_args)


@pytest.mark.parametrize("name", TUTORIALS)
def test_the_tutorials_are_followed_exactly(name):
    recipe = load_recipe(name).to_dict()
    wanted = {**COMMON, **TUTORIALS[name]}
    assert {key: recipe[key] for key in wanted} == wanted


@pytest.mark.parametrize("name", TUTORIALS)
def test_their_models_have_as_many_parameters_as_published(name):
    network = network_of(load_recipe(name))
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]


def test_the_dropout_of_the_wide_tutorial():
    dropouts = [
        module.p
        for module in network_of(load_recipe("convpool-mnist")).modules()
        if isinstance(module, torch.nn.Dropout)
    ]
    assert dropouts == [0.3]


@EVERY_RECIPE
def test_every_recipe_can_be_trained(name):
    recipe = load_recipe(name)
    assert recipe.description
    assert recipe.description.isprintable()
    assert recipe.model in MODELS
    network = network_of(recipe)
    shape = DATASETS[recipe.data or "cifar10"].image_shape
    images = torch.randint(256, (2, *shape), dtype=torch.uint8)
    logits = torch.nn.Sequential(Preprocessing(), network)(images)
    assert logits.isfinite().all()
    build_optimizer(
        recipe.optimizer,
        network.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )
    schedule = build_schedule(
        recipe.schedule,
        lr=recipe.lr,
        epochs=recipe.epochs,
        steps_per_epoch=10,
        warmup_epochs=recipe.warmup_epochs,
    )
    assert 0 < max(schedule(step) for step in range(10 * recipe.epochs)) <= recipe.lr


@EVERY_RECIPE
def test_every_recipe_has_only_known_keys(name):
    """Every key in the file is known, and the arguments are the model's own."""
    values = tomllib.loads(recipe_text(name))
    recipe = load_recipe(name)
    complete = model_arguments(recipe.model, recipe.model_args)
    assert {key: complete[key] for key in recipe.model_args} == recipe.model_args
    for key, value in values.items():
        if key not in ("model_args", "augment"):
            assert recipe.to_dict()[key] == value


def test_the_first_commands_recipes_are_there():
    assert {"default", "digits-quick", *TUTORIALS} <= set(recipe_names())
    assert load_recipe("default").data == ""
    assert load_recipe("digits-quick").data == "digits"


# --- Round trips through TOML ----------------------------------------------------------------


@EVERY_RECIPE
def test_a_recipe_survives_a_round_trip(name, tmp_path):
    recipe = load_recipe(name)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml(), "utf-8")
    assert load_recipe(path) == recipe
    assert load_recipe(str(path)).to_toml() == recipe.to_toml()


shares = st.floats(0, 1, exclude_max=True)
positive = st.floats(0, 1e6, exclude_min=True)

recipes = st.fixed_dictionaries(
    {"model": st.text(max_size=10)},
    optional={
        "description": st.text(max_size=20),
        "data": st.text(max_size=20),
        "image_size": st.none() | st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
        "channels": st.sampled_from([None, 1, 3]),
        "val": shares,
        "test": shares,
        "normalize": st.sampled_from(["none", "dataset", "image"]),
        "model_args": st.dictionaries(
            st.text(min_size=1, max_size=5),
            st.integers(-(2**63), 2**63 - 1)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.booleans()
            | st.text(max_size=5)
            | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
            max_size=3,
        ),
        "epochs": st.integers(1, 50_000),
        "batch_size": st.integers(1, 10**7),
        "shuffle": st.booleans(),
        "augment": st.fixed_dictionaries(
            {}, optional={"flip": st.booleans(), "crop_padding": st.integers(0, 256)}
        ),
        "lr": positive,
        "weight_decay": st.just(0.0) | positive,
        "schedule": st.sampled_from(list(SCHEDULES)),
        "drop_factor": st.floats(0, 1, exclude_min=True),
        "average_decay": shares,
        "choose_by": st.sampled_from(["val_loss", "val_acc"]),
        "patience": st.integers(0, 10**6),
        "seed": st.integers(-(2**63), 2**63 - 1),
    },
)


@settings(deadline=None)
@given(recipes)
def test_any_recipe_survives_a_round_trip(values):
    recipe = validate(values, "here")
    assert validate(tomllib.loads(recipe.to_toml()), "there") == recipe


def test_a_whole_number_is_accepted_as_a_float():
    recipe = validate({"model": "mlp", "lr": 1, "weight_decay": 0}, "here")
    assert (recipe.lr, type(recipe.lr)) == (1.0, float)


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load_recipe("default").lr = 3.0


# --- What is wrong with a recipe -------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimiser": "adam"}, "unknown key 'optimiser', did you mean 'optimizer'?"),
        ({"leraning_rate": 1}, "unknown key 'leraning_rate'"),
        ({"epoch": 3}, "unknown key 'epoch', did you mean 'epochs'?"),
        ({"augment": {"flop": True}}, "unknown key 'augment.flop', did you mean 'augment.flip'?"),
        ({"augment": 3}, "augment is 3, wanted its keys, such as augment.flip=true"),
        ({"augment": {"crop_padding": -1}}, "augment.crop_padding is -1, wanted at least"),
        ({"augment": {"cutout": -2}}, "augment.cutout is -2, wanted at least 0"),
        ({"epochs": 0}, "epochs is 0, wanted at least 1"),
        ({"epochs": 1.5}, "epochs is 1.5, wanted a whole number"),
        ({"epochs": True}, "epochs is true, wanted a whole number"),
        ({"epochs": "10"}, "epochs is '10', wanted a whole number"),
        ({"lr": "0.1"}, "lr is '0.1', wanted a number"),
        ({"lr": 0}, "lr is 0, wanted more than 0"),
        ({"lr": -0.1}, "lr is -0.1, wanted more than 0"),
        ({"lr": math.nan}, "lr is nan, wanted a finite number"),
        ({"lr": math.inf}, "lr is inf, wanted a finite number"),
        ({"lr": 10**400}, "wanted a number"),
        ({"lr": 1e300}, "lr is 1e+300, wanted at most 1,000,000"),
        ({"weight_decay": 1e300}, "weight_decay is 1e+300, wanted at most"),
        ({"clip_norm": -1}, "clip_norm is -1, wanted at least 0"),
        ({"drop_factor": 10.0}, "drop_factor is 10.0, wanted at most 1"),
        ({"val": 1.0}, "val is 1.0, wanted less than 1"),
        ({"val": -0.1}, "val is -0.1, wanted at least 0"),
        ({"average_decay": 1.0}, "average_decay is 1.0, wanted less than 1"),
        (
            {"normalize": 1},
            "normalize is 1, wanted 'none', 'dataset', 'image', 'imagenet' or 'start'",
        ),
        ({"optimizer": "adm"}, "optimizer is 'adm', did you mean 'adam'?"),
        ({"precision": "float16"}, "precision is 'float16', did you mean 'bfloat16'?"),
        ({"precision": "fp16"}, "precision is 'fp16', did you mean 'bfloat16'?"),
        ({"precision": "bf16"}, "precision is 'bf16', did you mean 'bfloat16'?"),
        ({"schedule": "linear"}, "schedule is 'linear', choose one of: constant, cosine"),
        ({"channels": 2}, "channels is 2, wanted 1 or 3"),
        ({"image_size": [28]}, "image_size"),
        (
            {"class_weights": [1, -2]},
            "class_weights is [1, -2], wanted none, balanced, sqrt, or a list of",
        ),
        ({"class_weights": "some"}, "class_weights is 'some', wanted none, balanced, sqrt, or"),
        (
            {"image_size": [28, 28, 1]},
            "wanted height and width of 1 to 4,096 pixels, such as",
        ),
        ({"image_size": [28, 0]}, "image_size is [28, 0], wanted height"),
        (
            {"image_size": "28x"},
            "image_size is '28x', wanted height and width of 1 to 4,096",
        ),
        ({"model_args": []}, "model_args is [], wanted a table"),
        ({"model": 3}, "model is 3, wanted a string in quotes"),
        ({"seed": 2**63}, "seed"),
        ({"optimizer": ["sgd"]}, "optimizer is ['sgd'], wanted 'sgd', 'adam' or 'adamw'"),
        (
            {"momentum": 0.9, "optimizer": "adam"},
            "found momentum = 0.9; choose --set momentum=0.0, or --optimizer sgd",
        ),
        ({"nesterov": True}, "nesterov = true needs a momentum above 0"),
    ],
    ids=str,
)
def test_wrong_values_are_named_with_what_was_wanted(values, message):
    with pytest.raises(UsageError) as raised:
        validate({"model": "mlp", **values}, "mine.toml")
    assert "mine.toml" in str(raised.value)
    assert message in str(raised.value)
    assert len(str(raised.value)) < 1500


def test_all_wrong_values_are_named_at_once():
    with pytest.raises(UsageError) as raised:
        validate({"lr": "high", "epochs": 0, "modle": "mlp"}, "mine.toml")
    for part in ("lr is 'high'", "epochs is 0", "did you mean 'model'?", "'model' is missing"):
        assert part in str(raised.value)


def test_keys_and_values_from_outside_cannot_reach_the_terminal():
    with pytest.raises(UsageError) as raised:
        validate({"model": "mlp", "\x1b[2J": 1, "optimizer": "\x1b[31m" + "x" * 9999}, "mine.toml")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1500


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["flip", "cutout"]) | st.text(max_size=3), inner, max_size=2
        )
    ),
    max_leaves=5,
)


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(list(Recipe.model_fields)) | st.text(max_size=5), json_values, max_size=4
    )
)
def test_any_table_is_a_recipe_or_a_usage_error(values):
    try:
        recipe = validate({"model": "mlp", **values}, "mine.toml")
    except UsageError:
        return
    assert recipe.to_dict().keys() == Recipe.model_fields.keys()


# --- Changes ---------------------------------------------------------------------------------


def test_overrides_reach_into_tables_and_create_missing_ones():
    recipe = load_recipe(
        "convpool-mnist",
        {"lr": 1e-4, "model_args.dropout": 0.5, "augment.flip": True, "image_size": [14, 14]},
    )
    plain = load_recipe("convpool-mnist")
    assert (recipe.lr, recipe.model_args["dropout"]) == (1e-4, 0.5)
    assert recipe.model_args["hidden"] == plain.model_args["hidden"]
    assert recipe.augment.flip
    assert recipe.image_size == (14, 14)
    assert (recipe.epochs, recipe.data) == (plain.epochs, plain.data)


def test_another_model_drops_the_first_ones_arguments():
    recipe = load_recipe("convpool-mnist", {"model": "mlp", "model_args.hidden": [8]})
    assert (recipe.model, recipe.model_args) == ("mlp", {"hidden": [8]})
    same = load_recipe("convpool-mnist", {"model": "convpool"})
    assert same == load_recipe("convpool-mnist")


OWN = {"momentum": 0.9, "nesterov": True, "drop_every": 3, "drop_factor": 0.5}
"""A value with an effect for every key that not every optimizer or schedule has."""

TABLES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}

EVERY_ENTRY = pytest.mark.parametrize(
    ("choice", "name"), [(choice, name) for choice, table in TABLES.items() for name in table]
)


@EVERY_ENTRY
def test_an_entrys_own_options_are_recipe_keys_with_the_same_defaults(choice, name):
    build = {"optimizer": build_optimizer, "schedule": build_schedule}[choice]
    for key, default in TABLES[choice][name].own.items():
        assert Recipe.model_fields[key].default == default
        assert inspect.signature(build).parameters[key].default == default


@EVERY_ENTRY
def test_another_optimizer_or_schedule_drops_the_first_ones_own_keys(choice, name):
    own = {key: OWN[key] for key in TABLES[choice][name].own}
    recipe = validate({"model": "mlp", choice: name, **own, "lr": 0.3, "epochs": 7}, "here")
    for other in TABLES[choice].keys() - {name}:
        wanted = validate({"model": "mlp", choice: other, "lr": 0.3, "epochs": 7}, "here")
        assert changed(recipe, {choice: other}, "here") == wanted
    assert changed(recipe, {choice: name, "lr": 0.3}, "here") == recipe


def test_the_optimizer_of_a_recipe_that_names_none_has_own_keys_too():
    assert changed({"model": "mlp", "momentum": 0.9}, {"optimizer": "adam"}, "x").momentum == 0


def test_own_keys_that_come_with_another_optimizer_are_refused():
    with pytest.raises(UsageError, match="optimizer adamw takes no momentum"):
        load_recipe("resnet-small", {"optimizer": "adamw", "momentum": 0.9})
    with pytest.raises(UsageError, match="optimizer is 'adm', did you mean 'adam'"):
        load_recipe("resnet-small", {"optimizer": "adm"})


CHANGES = [
    {},
    {"model": "mlp"},
    {"model": "mlp", "model_args.hidden": [8]},
    {"optimizer": "adamw", "schedule": "step", "drop_every": 2},
    {"augment.flip": False, "model_args.dropout": 0.5, "image_size": [14, 14]},
]


@EVERY_RECIPE
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_recipe_and_its_text_are_changed_alike(name, changes):
    assert changed(load_recipe(name), changes, "here") == load_recipe(name, changes)


def test_the_original_is_not_changed():
    values = {"model": "mlp", "model_args": {"hidden": [8]}}
    recipe = validate(values, "here")
    for whole in (values, recipe):
        assert changed(whole, {"model_args.hidden": [9]}, "x").model_args == {"hidden": [9]}
    assert values["model_args"] == recipe.model_args == {"hidden": [8]}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"lr.x": 1}, "recipe convpool-mnist: 'lr.x': 'lr' is not a table"),
        ({"epcohs": 1}, "did you mean 'epochs'?"),
        ({"augment.flipp": True}, "did you mean 'augment.flip'?"),
        ({"lr": "fast"}, "lr is 'fast', wanted a number"),
        ({"": 1}, "unknown key"),
    ],
    ids=str,
)
def test_wrong_overrides(override, message):
    with pytest.raises(UsageError) as raised:
        load_recipe("convpool-mnist", override)
    assert message in str(raised.value)
