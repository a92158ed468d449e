"""Train small-image classifiers in seconds, and trust what they say.

Everything public is loaded when it is first used, so that `import tenfold` costs next to nothing.
"""

from typing import TYPE_CHECKING

from tenfold._lazy import lazy_names

if TYPE_CHECKING:
    from tenfold import data as data
    from tenfold import evaluation as evaluation
    from tenfold import models as models
    from tenfold import notebook as notebook
    from tenfold import training as training
    from tenfold._version import __version__ as __version__
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
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "tenfold._version": ["__version__"],
            "tenfold.api": ["evaluate", "load", "resume", "train"],
            "tenfold.data": ["data"],
            "tenfold.deployment": ["Classifier"],
            "tenfold.errors": [
                "DataError",
                "FileRefusedError",
                "TenfoldError",
                "TrainingError",
                "UsageError",
            ],
            "tenfold.evaluation": ["Report", "evaluation"],
            "tenfold.models": ["models"],
            "tenfold.notebook": ["notebook"],
            "tenfold.recipes": ["Recipe"],
            "tenfold.runs": ["Run", "open_run"],
            "tenfold.training": ["training"],
        },
    )
