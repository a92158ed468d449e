"""Train small-image classifiers in seconds, and trust what they say.

Everything public is loaded when it is first used, so that `import tenfold` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenfold.errors import DataError as DataError
    from tenfold.errors import FileRefusedError as FileRefusedError
    from tenfold.errors import TenfoldError as TenfoldError
    from tenfold.errors import TrainingError as TrainingError
    from tenfold.errors import UsageError as UsageError

__version__ = "0.1.0"

_HOMES = {
    "DataError": "tenfold.errors",
    "FileRefusedError": "tenfold.errors",
    "TenfoldError": "tenfold.errors",
    "TrainingError": "tenfold.errors",
    "UsageError": "tenfold.errors",
}
_SUBPACKAGES = ("data", "evaluation", "models", "training")

__all__ = ["__version__", *sorted(_HOMES), *_SUBPACKAGES]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in _SUBPACKAGES:
        value = importlib.import_module(f"tenfold.{name}")
    else:
        raise AttributeError(f"module 'tenfold' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
