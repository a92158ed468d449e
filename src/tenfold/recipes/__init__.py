"""Recipes: one TOML file each, and the typed `Recipe` they are read into."""

from tenfold.recipes.recipe import (
    AugmentRecipe,
    Recipe,
    load_recipe,
    parse_recipe,
    recipe_names,
    recipe_text,
    validate,
)

__all__ = [
    "AugmentRecipe",
    "Recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_names",
    "recipe_text",
    "validate",
]
