"""Facts from a file as typed objects: the one place where JSON becomes a pydantic model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tenfold.errors import FileRefusedError, NewerFormatError, printable, wanted


class Facts(BaseModel):
    """Base class for the contents of a file: strict types, finite numbers, frozen.

    Nothing is converted except whole numbers to floats. JSON only has lists: a tuple field needs
    `Field(strict=False)`.
    """

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


AnyFacts = TypeVar("AnyFacts", bound=Facts)


def checked(
    model: type[AnyFacts], value: object, place: str | Path, *, remedy: str = ""
) -> AnyFacts:
    """Validate a JSON value as one of our models.

    Args:
        model: the class.
        value: the decoded JSON.
        place: where it came from, for the message.
        remedy: what to do about an error.

    Raises:
        FileRefusedError: a key is missing, unknown, of the wrong type, or out of range; names the
            first.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problem = _sentence(error.errors(include_url=False)[0])
        raise FileRefusedError(f"{place}: {problem}", remedy=remedy) from error


def require_readable(version: int, newest: int, place: str | Path) -> None:
    """Refuse a file that a newer tenfold wrote.

    Args:
        version: the file's format version.
        newest: the newest version that this tenfold reads.
        place: where it came from, for the message.

    Raises:
        NewerFormatError: the version is newer.
    """
    if version > newest:
        raise NewerFormatError(
            f"{place}: its format is version {version}, this tenfold reads up to {newest}",
            remedy="install a newer tenfold",
        )


def _sentence(problem: Mapping[str, Any]) -> str:
    place, kind = problem["loc"], problem["type"]
    if kind == "missing" and isinstance(place[-1], int):  # report the list, not the missing entry
        place = place[:-1]
    key = ".".join(str(part) for part in place)
    if kind == "value_error":
        message = str(problem["msg"]).removeprefix("Value error, ")
        return f"{key}: {message}" if key else message
    if kind == "missing" and place == problem["loc"]:
        return f"{key} is missing"
    if kind == "extra_forbidden":
        return f"unknown key {key}"
    return f"{key or 'it'} is {printable(repr(problem['input']), 80)}, wanted {wanted(problem)}"
