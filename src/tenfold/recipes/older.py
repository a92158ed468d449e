"""Recipes of runs that older versions of tenfold began."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tenfold.recipes.recipe import AugmentRecipe


def upgraded_recipe(values: Mapping[str, Any]) -> dict[str, Any]:
    """A run's complete recipe of any version, with today's keys.

    Runs write every key that has a value, so what is missing was not there yet: pictures were
    cropped, 16-bit gray kept its highest bits, no image was rotated, scaled, shifted or recolored,
    `resnet-small` had no pooling, equal images could be held out apart, all networks started from
    random weights, and all training images were used.

    Args:
        values: as in its `recipe.toml`, or part of its `run.json` or of a checkpoint.
    """
    upgraded = {
        "duplicates_together": False,
        "start": "",
        "weights": "",
        "freeze": False,
        "views": 0,
        "limit": 0,
        **values,
    }
    if "resize" not in values:
        upgraded = {"resize": "crop", "depth": 16, **upgraded}
    if isinstance(augment := values.get("augment"), Mapping):
        upgraded["augment"] = {**AugmentRecipe().model_dump(), **augment}
    if isinstance(normalize := values.get("normalize"), bool):
        upgraded["normalize"] = "dataset" if normalize else "none"
    arguments = values.get("model_args")
    if values.get("model") == "resnet-small" and isinstance(arguments, Mapping):
        upgraded["model_args"] = {"stem_pool": False, **arguments}
    return upgraded
