"""What is left to the data: the facts, the rule for each key, and how it is told."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_images import image_dataset
from tenfold.data import ImageDataset
from tenfold.models import build
from tenfold.models.layers import multiply_adds
from tenfold.models.tracing import layer_list
from tenfold.recipes import Recipe, load_recipe
from tenfold.recipes.choosing import (
    MOST_TIMES_WANTED,
    USUAL_BUDGET,
    WIDTHS,
    Budget,
    DataSummary,
    budget_within,
    chosen_by_data,
    in_words,
    means_the_same_mirrored,
    share_held_out,
    summarize,
    warning,
)
from tenfold.recipes.recipe import CHOSEN_BY_DATA
from tenfold.types import ImageShape
from thoroughness import IS_THOROUGH

PHOTOS = DataSummary(
    n=1000,
    image_shape=ImageShape(3, 64, 64),
    counts=(500, 500),
    classes=("cat", "dog"),
    lighting=0.4,
    explained=0.1,
)


def chosen(data: DataSummary = PHOTOS, budget: Budget = USUAL_BUDGET, **changes: Any) -> Recipe:
    return chosen_by_data(load_recipe("default", changes), data, budget)


def cost(recipe: Recipe, data: DataSummary) -> int:
    """Multiply-adds of one image."""
    network = build(
        recipe.model, data.image_shape, len(data.classes), device="meta", **recipe.model_args
    )
    layers = layer_list(network, data.image_shape)
    assert layers is not None
    return multiply_adds(layers, data.image_shape)


# --- Facts -----------------------------------------------------------------------------------


def dataset(images: np.ndarray, labels: np.ndarray) -> ImageDataset:
    return ImageDataset(images.astype(np.uint8), labels.astype(np.int64), ("a", "b"))


def test_facts_of_images() -> None:
    """Two classes, of 30 and 90: each half dark, half light, with alternating pixels."""
    labels = np.repeat([0, 1], [30, 90])
    means = 100 + 40 * (np.arange(120) % 2)
    checks = 10 * (np.indices((4, 6)).sum(0) % 2 * 2 - 1)
    found = summarize(dataset(means[:, None, None, None] + checks[None, None], labels))
    assert (found.n, found.image_shape, found.counts) == (120, (1, 4, 6), (30, 90))
    assert found.lighting == pytest.approx(20 / 10)
    assert found.explained == pytest.approx(0)
    assert found.imbalance == 3


def test_brightness_that_the_classes_explain() -> None:
    labels = np.arange(100) % 2
    means = 100 + 40 * labels
    checks = 10 * (np.indices((4, 6)).sum(0) % 2 * 2 - 1)
    found = summarize(dataset(means[:, None, None, None] + checks[None, None], labels))
    assert found.lighting == pytest.approx(0)
    assert found.explained == pytest.approx(1)


def test_images_of_one_color_have_facts_too() -> None:
    found = summarize(dataset(np.full((10, 3, 4, 4), 7), np.arange(10) % 2))
    assert (found.lighting, found.explained, found.is_flat) == (0, 0, True)


def test_a_color_that_does_not_vary() -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 4))
    assert not summarize(dataset(images, np.arange(10) % 2)).is_flat
    images[:, 2] = 7
    assert summarize(dataset(images, np.arange(10) % 2)).is_flat


def test_facts_do_not_depend_on_how_many_images_are_looked_at_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(0)
    data = dataset(generator.integers(0, 256, (50, 3, 5, 7)), np.arange(50) % 2)
    found = summarize(data)
    monkeypatch.setattr("tenfold.recipes.choosing._IMAGES_AT_ONCE", 7)
    assert summarize(data) == found


# --- Rules -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "key", "value"),
    [
        ({}, "image_size", (64, 64)),
        ({}, "model", "resnet-small"),
        ({}, "epochs", 60),
        ({"n": 60_000, "image_shape": ImageShape(1, 28, 28)}, "epochs", 8),
        ({"n": 10**6}, "epochs", 5),
        ({"n": 30}, "epochs", 100),
        ({"n": 100}, "batch_size", 16),
        ({"n": 1500}, "batch_size", 32),
        ({"n": 10**5}, "batch_size", 128),
        ({"n": 9}, "batch_size", 9),
        ({}, "normalize", "dataset"),
        ({"lighting": 1.5}, "normalize", "dataset"),
        ({"lighting": 1.5, "explained": 0.01}, "normalize", "image"),
        ({"lighting": 0.5, "explained": 0.01}, "normalize", "dataset"),
        ({"is_flat": True}, "normalize", "none"),
        ({}, "class_weights", "none"),
        ({"counts": (800, 200)}, "class_weights", "sqrt"),
        ({"counts": (1000, 0)}, "class_weights", "none"),
        ({}, "augment.flip", True),
        ({"classes": ("3", "7")}, "augment.flip", False),
        ({}, "augment.brightness", 0.15),
        ({"lighting": 1.5, "explained": 0.01}, "augment.brightness", 0.0),
        ({"lighting": 1.5, "explained": 0.01}, "augment.contrast", 0.0),
        ({"n": 20_000}, "augment.shift", 0.06),
        ({"n": 30_000}, "augment.shift", 0.0),
        ({"n": 30_000}, "augment.brightness", 0.0),
        ({"n": 30_000}, "augment.flip", True),
    ],
    ids=str,
)
def test_each_rule(facts: dict[str, Any], key: str, value: object) -> None:
    found: Any = chosen(replace(PHOTOS, **facts))
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value


def test_the_learning_rate_grows_with_the_batch() -> None:
    assert chosen(batch_size=32).lr == 0.003
    assert chosen(batch_size=128).lr == 0.006
    assert chosen(batch_size=32, optimizer="sgd").lr == 0.05
    assert chosen(batch_size=10**6).lr == chosen(batch_size=PHOTOS.n).lr


def test_what_is_given_is_kept() -> None:
    given = {"epochs": 3, "lr": 0.5, "model": "mlp", "normalize": "none", "augment.flip": False}
    found = chosen(**given)
    assert (found.epochs, found.lr, found.model, found.normalize) == (3, 0.5, "mlp", "none")
    assert not found.augment.flip
    assert found.model_args == {}
    assert found.left_to_data == frozenset()


def test_a_models_arguments_that_are_given_are_kept() -> None:
    found = chosen(**{"model_args.widths": [4, 8], "model_args.dropout": 0.0})
    assert found.model_args == {
        "widths": [4, 8],
        "blocks": 1,
        "dropout": 0.0,
        "stem_pool": True,
    }
    assert not chosen(**{"model_args.stem_pool": False}).model_args["stem_pool"]


@pytest.mark.parametrize(("shape", "pools"), [((3, 24, 40), True), ((3, 23, 40), False)])
def test_images_of_few_pixels_are_not_pooled_at_once(
    shape: tuple[int, int, int], pools: bool
) -> None:
    found = chosen(replace(PHOTOS, image_shape=ImageShape(*shape)))
    assert found.model_args.get("stem_pool", False) is pools


def test_images_that_are_seen_often_are_changed_more() -> None:
    assert not chosen(epochs=11).augment.rotate
    assert chosen(epochs=12).augment.rotate
    many = replace(PHOTOS, n=60_000, image_shape=ImageShape(1, 28, 28))
    assert not chosen(many).augment.scale


def test_features_are_dropped_if_images_are_seen_often() -> None:
    many = replace(PHOTOS, n=60_000, image_shape=ImageShape(1, 28, 28))
    longer = Budget(1e14, is_wanted=True)
    for found in (chosen(), chosen(epochs=12), chosen(many, longer)):
        assert found.model_args["dropout"] == 0.2
    for found in (chosen(many), chosen(epochs=11)):
        assert found.model_args["dropout"] == 0.0
    assert chosen(many, Budget(1e14, is_wanted=True)).augment.scale


def test_a_recipe_that_leaves_nothing_to_the_data_is_unchanged() -> None:
    recipe = load_recipe("lenet-mnist")
    assert chosen_by_data(recipe, PHOTOS) == recipe
    assert in_words(recipe, PHOTOS, recipe) == ""


@pytest.mark.parametrize(("side", "stages"), [(8, 2), (16, 2), (28, 3), (32, 3), (64, 4), (128, 5)])
def test_a_stage_for_each_halving(side: int, stages: int) -> None:
    found = chosen(replace(PHOTOS, image_shape=ImageShape(1, side, side)))
    widths = found.model_args["widths"]
    assert widths == [widths[0] * 2**stage for stage in range(stages)]


def test_more_images_get_a_narrower_network_within_the_same_budget() -> None:
    widths = []
    for n in (100, 1000, 3000, 10_000, 100_000):
        data = replace(PHOTOS, n=n)
        found = chosen(data)
        widths.append(found.model_args["widths"][0])
        if widths[-1] > WIDTHS[0]:
            assert n * found.epochs * cost(found, data) <= 1.01 * USUAL_BUDGET.multiply_adds
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > widths[-1]


@settings(deadline=None, max_examples=100 if IS_THOROUGH else 10)
@given(
    counts=st.lists(st.integers(0, 20_000), min_size=2, max_size=5).filter(any),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 96),
    width=st.integers(1, 96),
    lighting=st.floats(0, 5),
    explained=st.floats(0, 1),
    seconds=st.none() | st.floats(0.01, 1e5),
)
def test_any_data_gets_a_recipe(
    counts: list[int],
    channels: int,
    height: int,
    width: int,
    lighting: float,
    explained: float,
    seconds: float | None,
) -> None:
    data = DataSummary(
        sum(counts),
        ImageShape(channels, height, width),
        tuple(counts),
        tuple(f"thing {label}" for label in range(len(counts))),
        lighting,
        explained,
    )
    found = chosen(data)
    if seconds is not None:
        found = chosen(data, budget_within(seconds, 0.01, found, data))
    assert found.left_to_data == frozenset()
    assert found.image_size == (height, width)
    assert 1 <= found.batch_size <= data.n
    assert found.epochs >= 1
    assert cost(found, data) > 0
    assert in_words(load_recipe("default"), data, found)


def test_too_much_data_is_said_to_take_long() -> None:
    assert warning(PHOTOS, chosen()) == ""
    data = replace(PHOTOS, n=10**6)
    said = warning(data, chosen(data))
    assert said.startswith("training takes about 6 times as much computing as it usually does")


# --- Time ------------------------------------------------------------------------------------


def test_time_becomes_a_budget() -> None:
    """A step of 16 images takes 10 ms, so a minute is 96,000 images."""
    trial = chosen()
    budget = budget_within(60.0, 0.01, trial, PHOTOS)
    assert budget == Budget(96_000.0 * cost(trial, PHOTOS), is_wanted=True)
    found = chosen(PHOTOS, budget)
    assert found.epochs * PHOTOS.n * cost(found, PHOTOS) == pytest.approx(
        budget.multiply_adds, rel=0.05
    )


def test_more_time_first_buys_width_and_then_epochs() -> None:
    budgets = [Budget(10.0**power, is_wanted=True) for power in range(10, 16)]
    found = [chosen(PHOTOS, budget) for budget in budgets]
    assert found[0].epochs < 60
    widths = [recipe.model_args["widths"][0] for recipe in found]
    assert widths == sorted(widths)
    assert widths[-1] == WIDTHS[-1]
    assert found[-1].epochs == 60 * MOST_TIMES_WANTED


def test_time_decides_the_epochs_of_any_model() -> None:
    recipe = load_recipe("lenet-mnist", {"epochs": "auto"})
    data = replace(PHOTOS, image_shape=ImageShape(1, 28, 28))
    trial = chosen_by_data(recipe, data)
    found = chosen_by_data(recipe, data, budget_within(2.0, 0.001, trial, data))
    assert found.epochs == 2000 * trial.batch_size // data.n
    assert found.model == "lenet"


# --- Mirror images ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "same"),
    [
        (("cat", "dog"), True),
        (("ants", "bees"), True),
        (tuple("0123456789"), False),
        (tuple("ABCDEF"), False),
        (("zero", "one", "two"), False),
        (("digit 0", "digit 1"), False),
        (("letter_a", "letter_b"), False),
        (("turn left", "turn right", "stop"), False),
        (("MT_Crack", "MT_Free"), True),
        (("一", "二", "三"), False),
        (("小猫", "小狗", "汽车"), True),
        (("airplane", "7"), False),
        (("Digit_1", "Digit_2"), False),
        (("0 - zero", "1 - one"), False),
        (("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"), False),
        (("bright", "upright"), True),
        (("left_hand", "other"), False),
        (("TurnLeft", "TurnRight"), True),
    ],
    ids=str,
)
def test_whether_a_mirror_image_means_the_same(classes: tuple[str, ...], same: bool) -> None:
    assert means_the_same_mirrored(classes) == same


# --- Words and files -------------------------------------------------------------------------


def test_what_was_chosen_in_words() -> None:
    recipe = load_recipe("default")
    assert in_words(recipe, PHOTOS, chosen_by_data(recipe, PHOTOS)) == (
        "chosen for this data: images of 64x64; resnet-small (dropout 0.2, "
        "widths [32, 64, 128, 256], blocks 1, stem_pool True); 60 epochs of 63 steps; "
        "16 images a step; lr 0.0021; normalize dataset; class_weights none; augment flip, "
        "rotate 7, scale 0.1, shift 0.06, brightness 0.15, contrast 0.15"
    )


def test_what_was_given_is_not_called_chosen() -> None:
    recipe = load_recipe("lenet-mnist", {"epochs": "auto"})
    data = replace(PHOTOS, n=10, image_shape=ImageShape(1, 28, 28))
    found = in_words(recipe, data, chosen_by_data(recipe, data))
    assert found == "chosen for this data: 100 epochs of 1 step"


def test_auto_survives_toml(tmp_path: Any) -> None:
    recipe = load_recipe("default")
    assert recipe.left_to_data == CHOSEN_BY_DATA.keys()
    (tmp_path / "again.toml").write_text(recipe.to_toml())
    again = load_recipe(tmp_path / "again.toml")
    assert again.left_to_data == recipe.left_to_data
    assert again.to_toml() == recipe.to_toml()


def test_what_is_changed_is_no_longer_left_to_the_data() -> None:
    found = load_recipe("default").model_copy(update={"epochs": 3})
    assert found.to_dict()["epochs"] == 3
    assert found.left_to_data == CHOSEN_BY_DATA.keys() - {"epochs"}


def test_every_key_that_may_be_left_to_the_data_has_a_rule() -> None:
    for key in CHOSEN_BY_DATA:
        recipe = load_recipe("lenet-mnist", {key: "auto"})
        assert recipe.left_to_data == {key}
        found = chosen_by_data(recipe, replace(PHOTOS, image_shape=ImageShape(1, 28, 28)))
        assert found.left_to_data == frozenset()
        assert not math.isnan(found.lr)


@pytest.mark.parametrize(
    ("val", "n", "share"),
    [
        ("auto", 999, 0.0),
        ("auto", 1000, 0.1),
        ("auto", 10**6, 0.1),
        (0.3, 50, 0.3),
        (0.0, 5000, 0.0),
    ],
)
def test_the_share_held_out(val: object, n: int, share: float) -> None:
    assert share_held_out(load_recipe("default", {"val": val}), n) == share


@pytest.mark.parametrize(
    ("optimizer", "lr", "last"),
    [("adamw", 0.003, 0.06), ("adam", 0.002, 0.04), ("sgd", 0.05, 0.2)],
)
def test_a_last_layer_alone_takes_larger_steps(optimizer: str, lr: float, last: float) -> None:
    changes = {"optimizer": optimizer, "batch_size": 32, "model": "softmax"}
    facts = summarize(image_dataset())
    usual = chosen_by_data(load_recipe("default", changes), facts)
    frozen = chosen_by_data(
        load_recipe("default", {**changes, "start": "x", "freeze": True}), facts
    )
    assert usual.lr == pytest.approx(lr)
    assert frozen.lr == pytest.approx(last)


LARGE = {"model": "resnet50", "start": "x", "image_size": [224, 224], "freeze": True}
FEW = replace(PHOTOS, n=400, counts=(200, 200), image_shape=ImageShape(3, 224, 224))
"""As large and as few images as other layers could not be trained on within the usual budget."""


def test_a_last_layer_alone_is_trained_as_often_as_its_own_work_allows() -> None:
    """ResNet-50 takes 4.09 thousand million multiply-adds, and its last layer 2,048 for a class."""
    recipe = load_recipe("default", LARGE)
    all_layers = chosen_by_data(load_recipe("default", {**LARGE, "freeze": False}), FEW)
    assert all_layers.epochs == 5
    assert "training takes about" in warning(FEW, all_layers)
    many = replace(FEW, n=5000, counts=(2500, 2500))
    views = chosen_by_data(load_recipe("default", {**LARGE, "views": 8}), many)
    assert views.epochs == 27, "features that take long are no reason to train less on them"
    assert views.augment.shift > 0
    last = chosen_by_data(recipe, FEW)
    assert last.epochs == 95
    assert last.augment.shift > 0
    assert warning(FEW, last) == ""


def test_the_work_of_features_is_counted_once_for_each_view() -> None:
    once = [warning(FEW, chosen_by_data(load_recipe("default", LARGE), FEW))]
    views = chosen_by_data(load_recipe("default", {**LARGE, "views": 40}), FEW)
    said = warning(FEW, views)
    assert once == [""]
    # 400 images, 40 views, a third of 4.09e9: 2.2e13, of which 4e12 are usual
    assert said.startswith("training takes about 5 times as much computing")


def test_time_for_a_last_layer_is_for_its_steps() -> None:
    """A step takes 1 ms, so a second is 1,000 steps, whatever the features have taken before."""
    recipe = load_recipe("default", {**LARGE, "batch_size": 100})
    trial = chosen_by_data(recipe, FEW)
    found = chosen_by_data(recipe, FEW, budget_within(1.0, 0.001, trial, FEW))
    assert found.epochs == pytest.approx(250, abs=1)
