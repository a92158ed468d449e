"""Recipes: one TOML file each, the typed `Recipe`, and the rules that change and complete one."""

from tenfold.recipes.completing import completed
from tenfold.recipes.recipe import AugmentRecipe, Recipe, changed, load_recipe, validate
from tenfold.recipes.text import parse_recipe, recipe_names, recipe_text

__all__ = [
    "AugmentRecipe",
    "Recipe",
    "changed",
    "completed",
    "load_recipe",
    "parse_recipe",
    "recipe_names",
    "recipe_text",
    "validate",
]
