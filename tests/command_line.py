"""What the fixture `tenfold` gives: a way to run a command line in the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Answer(NamedTuple):
    """What a command line answered: its exit code, its standard output, its standard error."""

    code: int
    out: str
    err: str


Tenfold = Callable[..., Answer]
