"""Templates to pages; whatever is put into them is escaped."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import tenfold
from tenfold.errors import percent, printable

_NO_BREAK = "\N{NO-BREAK SPACE}"


def rendered(template: str, **values: Any) -> str:  # noqa: ANN401 - what the template shows
    """A page of HTML.

    Args:
        template: the name of its file.
        values: what it shows.
    """
    page = _environment().get_template(template).render(version=tenfold.__version__, **values)
    return re.sub(r"(?<=\d) %", f"{_NO_BREAK}%", page)


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
        "percent": lambda *given: percent(*given).replace(" ", _NO_BREAK),
        "figure": lambda value: "–" if value is None else f"{value:.4f}",
        "shown": printable,
        "sentence": lambda text: printable(text, 2000),
    }
    return environment
