"""Values as JSON has them."""

from __future__ import annotations

import json
import math
from typing import Any


def as_json(value: object) -> Any:  # noqa: ANN401 - whatever JSON has
    """A value as it would be read again from JSON; tensors and arrays of one element are numbers.

    Raises:
        TypeError, ValueError, RecursionError: JSON cannot have it; the message says why.
    """
    return json.loads(json.dumps(value, default=_number))


def _number(value: object) -> object:
    """The number in a tensor, an array of one element or a number of NumPy's.

    Raises:
        TypeError: it is something else.
    """
    shape = getattr(value, "shape", None)
    if hasattr(value, "item") and shape is not None and math.prod(shape) == 1:
        return value.item()
    of_shape = "" if shape is None else f" of shape {list(shape)}"
    raise TypeError(f"found an object of type {type(value).__name__}{of_shape}")
