"""Whole runs: from a recipe and data to a folder with a trained, evaluated model, and back."""

from typing import TYPE_CHECKING

from tenfold._lazy import lazy_names

if TYPE_CHECKING:
    from tenfold.runs.evaluate import evaluate_run as evaluate_run
    from tenfold.runs.resume import resume_run as resume_run
    from tenfold.runs.run import Run as Run
    from tenfold.runs.run import load as load
    from tenfold.runs.run import open_run as open_run
    from tenfold.runs.train import parse_interval as parse_interval
    from tenfold.runs.train import train_run as train_run
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "tenfold.runs.evaluate": ["evaluate_run"],
            "tenfold.runs.resume": ["resume_run"],
            "tenfold.runs.run": ["Run", "load", "open_run"],
            "tenfold.runs.train": ["parse_interval", "train_run"],
        },
    )
