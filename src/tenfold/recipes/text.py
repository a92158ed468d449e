"""From a recipe's name or file to its plain values, not yet validated."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from tenfold.errors import FileRefusedError, UsageError, did_you_mean

LARGEST_RECIPE = 2**16
"""Bytes of a recipe file, at the most."""

MOST_DOTS = 500
"""Dots in one line of a recipe: a key of n dotted parts takes TOML's reader n * n memory."""


def recipe_names() -> list[str]:
    """The names of the recipes that come with tenfold."""
    files = resources.files("tenfold.recipes").iterdir()
    return sorted(Path(file.name).stem for file in files if file.name.endswith(".toml"))


def recipe_text(name_or_file: str | Path) -> str:
    """The text of a recipe, comments included.

    Raises:
        UsageError: there is no such recipe, or its file cannot be read.
    """
    name, path = str(name_or_file), Path(name_or_file)
    if name in recipe_names():
        return (resources.files("tenfold.recipes") / f"{name}.toml").read_text("utf-8")
    if path.suffix != ".toml":
        raise UsageError(
            f"{name!r} is neither a recipe nor a .toml file",
            remedy=did_you_mean(name, recipe_names()),
        )
    from tenfold.storage import read_text  # brings NumPy along

    try:
        return read_text(path, LARGEST_RECIPE)
    except FileRefusedError as error:
        raise UsageError(
            f"recipe {error.message}",
            remedy="name a file of a few lines of TOML, or a recipe that tenfold recipes lists",
        ) from error


def parse_recipe(text: str, place: str) -> dict[str, Any]:
    """The plain values of a recipe's text, to be validated.

    Args:
        text: TOML.
        place: where it comes from, for messages.

    Raises:
        UsageError: it is not TOML, or more than a recipe ever is.
    """
    if len(text) > LARGEST_RECIPE or max(line.count(".") for line in text.split("\n")) > MOST_DOTS:
        raise UsageError(
            f"recipe {place}: it has more than {LARGEST_RECIPE:,} bytes, or more than {MOST_DOTS} "
            "dots in a line, wanted a few lines of TOML"
        )
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"recipe {place}: this is not TOML: {error}") from error
    whole = (number for number in numbers_in(values) if isinstance(number, int))
    if any(not -(2**63) <= number < 2**63 for number in whole):
        raise UsageError(f"recipe {place}: this is not TOML: a number has more than 64 bits")
    return values


def numbers_in(value: object) -> Iterator[int | float]:
    """All numbers in nested tables and lists."""
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(item)
