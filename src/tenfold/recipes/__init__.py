"""Recipes: one TOML file each, the typed `Recipe`, and functions to change and complete one."""

from tenfold.recipes.completing import completed as completed
from tenfold.recipes.recipe import AugmentRecipe as AugmentRecipe
from tenfold.recipes.recipe import Recipe as Recipe
from tenfold.recipes.recipe import changed as changed
from tenfold.recipes.recipe import load_recipe as load_recipe
from tenfold.recipes.recipe import validate as validate
from tenfold.recipes.text import parse_recipe as parse_recipe
from tenfold.recipes.text import recipe_names as recipe_names
from tenfold.recipes.text import recipe_text as recipe_text
