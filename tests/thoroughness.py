"""How much of what takes long is tested: some of it, or with TENFOLD_SOAK=1 all of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TypeVar

import pytest

T = TypeVar("T")

IS_THOROUGH = bool(os.environ.get("TENFOLD_SOAK"))
"""Whether all is tested, as by `make soak`."""


only_if_thorough = pytest.mark.skipif(
    not IS_THOROUGH, reason="it takes long: TENFOLD_SOAK=1, as in make soak"
)


def some(cases: Iterable[T], n: int = 1) -> Sequence[T]:
    """The first cases, or all if the tests are thorough."""
    found = tuple(cases)
    return found if IS_THOROUGH else found[:n]
