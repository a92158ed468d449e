"""Train small-image classifiers in seconds, and trust what they say.

Everything public is loaded when it is first used, so that `import tenfold` costs next to nothing.
"""

from typing import TYPE_CHECKING

from tenfold._lazy import lazy_names

if TYPE_CHECKING:
    from tenfold import data, evaluation, models, notebook, training
    from tenfold._version import __version__
    from tenfold.api import evaluate, load, resume, train
    from tenfold.deployment import Classifier
    from tenfold.errors import (
        DataError,
        FileRefusedError,
        TenfoldError,
        TrainingError,
        UsageError,
    )
    from tenfold.evaluation import Report
    from tenfold.recipes import Recipe
    from tenfold.runs import Run, open_run
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Classifier": "tenfold.deployment",
            "DataError": "tenfold.errors",
            "FileRefusedError": "tenfold.errors",
            "Recipe": "tenfold.recipes",
            "Report": "tenfold.evaluation",
            "Run": "tenfold.runs",
            "TenfoldError": "tenfold.errors",
            "TrainingError": "tenfold.errors",
            "UsageError": "tenfold.errors",
            "__version__": "tenfold._version",
            "data": "tenfold.data",
            "evaluate": "tenfold.api",
            "evaluation": "tenfold.evaluation",
            "load": "tenfold.api",
            "models": "tenfold.models",
            "notebook": "tenfold.notebook",
            "open_run": "tenfold.runs",
            "resume": "tenfold.api",
            "train": "tenfold.api",
            "training": "tenfold.training",
        },
    )

__all__ = [
    "Classifier",
    "DataError",
    "FileRefusedError",
    "Recipe",
    "Report",
    "Run",
    "TenfoldError",
    "TrainingError",
    "UsageError",
    "__version__",
    "data",
    "evaluate",
    "evaluation",
    "load",
    "models",
    "notebook",
    "open_run",
    "resume",
    "train",
    "training",
]
