"""Filling in what a recipe leaves to the data."""

import pytest

from tenfold.errors import DataError
from tenfold.recipes import completed, load_recipe

FACTS = {
    "source": "photos",
    "image_shape": (3, 20, 24),
    "model_arguments": {"hidden": [8], "dropout": 0.0},
}


def test_open_keys_are_filled_in_and_the_rest_is_unchanged():
    recipe = load_recipe("mlp-fashion", {"epochs": 3})
    complete = completed(recipe, **FACTS)
    assert complete.to_dict() == {
        **recipe.to_dict(),
        "data": "photos",
        "image_size": [20, 24],
        "channels": 3,
        "model_args": {"hidden": [8], "dropout": 0.0},
    }
    assert completed(complete, **FACTS) == complete


@pytest.mark.parametrize(("channels", "wanted"), [(1, 1), (3, 3), (2, None), (4, None)])
def test_only_gray_and_color_are_recorded(channels, wanted):
    facts = {**FACTS, "image_shape": (channels, 8, 8)}
    assert completed(load_recipe("default"), **facts).channels == wanted


def test_a_path_that_a_recipe_cannot_name_is_refused():
    with pytest.raises(DataError, match=r"the path is not UTF-8, .*; rename the folder"):
        completed(load_recipe("default"), **{**FACTS, "source": "phot\udcf6s"})
