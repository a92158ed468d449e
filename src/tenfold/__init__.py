"""Train small-image classifiers in seconds, and trust what they say.

Everything public is loaded when it is first used, so that `import tenfold` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenfold.api import evaluate as evaluate
    from tenfold.api import load as load
    from tenfold.api import resume as resume
    from tenfold.api import train as train
    from tenfold.deployment import Classifier as Classifier
    from tenfold.errors import DataError as DataError
    from tenfold.errors import FileRefusedError as FileRefusedError
    from tenfold.errors import TenfoldError as TenfoldError
    from tenfold.errors import TrainingError as TrainingError
    from tenfold.errors import UsageError as UsageError
    from tenfold.evaluation import Report as Report
    from tenfold.recipes import Recipe as Recipe
    from tenfold.runs import Run as Run
    from tenfold.runs import open_run as open_run

__version__ = "0.1.0"

_HOMES = {
    "Classifier": "tenfold.deployment",
    "DataError": "tenfold.errors",
    "FileRefusedError": "tenfold.errors",
    "Recipe": "tenfold.recipes",
    "Report": "tenfold.evaluation",
    "Run": "tenfold.runs",
    "TenfoldError": "tenfold.errors",
    "TrainingError": "tenfold.errors",
    "UsageError": "tenfold.errors",
    "evaluate": "tenfold.api",
    "load": "tenfold.api",
    "open_run": "tenfold.runs",
    "resume": "tenfold.api",
    "train": "tenfold.api",
}
_SUBPACKAGES = ("data", "evaluation", "models", "notebook", "training")

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
