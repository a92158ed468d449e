"""Templates to pages; whatever is put into them is escaped."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import tenfold
from tenfold.errors import printable

_UNIT = "\N{NO-BREAK SPACE}%"


def rendered(template: str, **values: Any) -> str:  # noqa: ANN401 - what the template shows
    """A page of HTML.

    Args:
        template: the name of its file.
        values: what it shows.
    """
    return _environment().get_template(template).render(version=tenfold.__version__, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tenfold.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "number": lambda value: f"{value:,}",
        "percent": percent,
        "figure": lambda value: "–" if value is None else f"{value:.4f}",
        "shown": printable,
        "sentence": lambda text: printable(text, 2000),
    }
    return environment


def percent(share: float | int | None, digits: int = 1) -> str:
    """A share as percent; what is not all, or more than nothing, is not shown as such."""
    if share is None:
        return "–"
    least = 10.0**-digits
    value = 100 * share
    if 0 < value < least:
        return f"<{least:.{digits}f}{_UNIT}"
    if 100 - least < value < 100:
        return f">{100 - least:.{digits}f}{_UNIT}"
    return f"{value:.{digits}f}{_UNIT}"
