"""Facts from a file as typed objects: the one place where JSON becomes one of our models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tenfold.errors import FileRefusedError, NewerFormatError, printable, wanted


class Facts(BaseModel):
    """Base class of what a file says: strict types, finite numbers, nothing that changes.

    A number is not a text, a text is not a number, and nothing is converted but whole numbers to
    floats. JSON has lists only: a field that is a tuple needs `Field(strict=False)`.
    """

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


AnyFacts = TypeVar("AnyFacts", bound=Facts)


def checked(
    model: type[AnyFacts], value: object, place: str | Path, *, remedy: str = ""
) -> AnyFacts:
    """What a file says, as an object of one of our models.

    Args:
        model: the class.
        value: what JSON has given.
        place: where it stands, for the message.
        remedy: what to do about it.

    Raises:
        FileRefusedError: a key is missing, of another type, or out of range; the first is named.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problem = _sentence(error.errors(include_url=False)[0])
        raise FileRefusedError(f"{place}: {problem}", remedy=remedy) from error


def require_readable(version: int, newest: int, place: str | Path) -> None:
    """Refuse a file that a newer tenfold wrote.

    Args:
        version: of the file's format.
        newest: the newest version that this tenfold reads.
        place: where it stands, for the message.

    Raises:
        NewerFormatError: the version is above it.
    """
    if version > newest:
        raise NewerFormatError(
            f"{place}: its format is version {version}, this tenfold reads up to {newest}",
            remedy="install a newer tenfold",
        )


def _sentence(problem: Mapping[str, Any]) -> str:
    place, kind = problem["loc"], problem["type"]
    if kind == "missing" and isinstance(place[-1], int):  # said of the list that lacks it
        place = place[:-1]
    key = ".".join(str(part) for part in place)
    if kind == "value_error":
        message = str(problem["msg"]).removeprefix("Value error, ")
        return f"{key}: {message}" if key else message
    if kind == "missing" and place == problem["loc"]:
        return f"{key} is missing"
    if kind == "extra_forbidden":
        return f"the key {key} is not known"
    return f"{key or 'it'} is {printable(repr(problem['input']), 80)}, wanted {wanted(problem)}"
