"""Facts from a file as typed objects: the one place where JSON becomes one of our models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from tenfold.errors import FileRefusedError

Model = TypeVar("Model")


def checked(model: type[Model], value: object, place: str | Path, *, remedy: str = "") -> Model:
    """What a file says, as an object of a pydantic model or of a dataclass.

    Types are strict: a number is not a text, a text is not a number, and nothing is converted but
    lists to tuples and whole numbers to floats, which JSON does not tell apart.

    Args:
        model: the class.
        value: what JSON can hold.
        place: where it stands, for the message.
        remedy: what to do about it.

    Raises:
        FileRefusedError: a key is missing, of another type, or out of range; the first is named.
    """
    try:
        return TypeAdapter(model).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        problem = _sentence(error.errors(include_url=False)[0])
        raise FileRefusedError(f"{place}: {problem}", remedy=remedy) from error


def _sentence(problem: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"{key} is missing"
    message = str(problem["msg"]).removeprefix("Value error, ").replace("Input should be", "wanted")
    return f"{key} is {problem['input']!r}, {message}" if key else message
