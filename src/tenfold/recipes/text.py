"""Reading a recipe by name or from a file as plain values, without validating them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from tenfold.errors import FileRefusedError, UsageError, did_you_mean

MAX_RECIPE_SIZE = 2**16
"""Maximum size of a recipe file in bytes."""

MAX_DOTS = 500
"""Maximum dots in a line of a recipe: for a key with n dots, `tomllib` needs n * n memory."""


def recipe_names() -> list[str]:
    """The names of the recipes that come with tenfold."""
    files = resources.files("tenfold.recipes").iterdir()
    return sorted(Path(file.name).stem for file in files if file.name.endswith(".toml"))


def recipe_text(name_or_file: str | Path) -> str:
    """The text of a recipe, including comments.

    Raises:
        UsageError: there is no such recipe, or its file cannot be read.
    """
    name, path = str(name_or_file), Path(name_or_file)
    if name in recipe_names():
        return (resources.files("tenfold.recipes") / f"{name}.toml").read_text("utf-8")
    if path.suffix.lower() != ".toml":
        raise UsageError(
            f"{name!r} is neither a recipe nor a .toml file",
            remedy=did_you_mean(name, recipe_names()),
        )
    from tenfold.storage import read_text  # imports NumPy

    try:
        return read_text(path, MAX_RECIPE_SIZE)
    except FileRefusedError as error:
        raise UsageError(
            f"recipe {error.message}",
            remedy="name a UTF-8 file with a few lines of TOML, or a recipe from tenfold recipes",
        ) from error


def parse_recipe(text: str, place: str) -> dict[str, Any]:
    """The plain values in a recipe's text, not validated.

    Args:
        text: TOML.
        place: where it comes from, for messages.

    Raises:
        UsageError: not TOML, or too large for a recipe.
    """
    if len(text) > MAX_RECIPE_SIZE or max(line.count(".") for line in text.split("\n")) > MAX_DOTS:
        raise UsageError(
            f"recipe {place}: it has more than {MAX_RECIPE_SIZE:,} bytes, or more than {MAX_DOTS} "
            "dots in a line, wanted a few lines of TOML"
        )
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise UsageError(
            f"recipe {place}: not TOML: {error}",
            remedy='write one setting per line, and text in quotes, as in data = "digits"',
        ) from error
    whole = (number for number in numbers_in(values) if isinstance(number, int))
    if any(not -(2**63) <= number < 2**63 for number in whole):
        raise UsageError(f"recipe {place}: not TOML: a number has more than 64 bits")
    return values


def numbers_in(value: object) -> Iterator[int | float]:
    """All numbers in nested tables and lists."""
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(item)
