"""Whole runs: from a recipe and data to a folder with a trained, evaluated model, and back."""

from tenfold.runs.evaluate import evaluate_run
from tenfold.runs.resume import resume_run
from tenfold.runs.run import Run, load, open_run
from tenfold.runs.train import parse_interval, train_run

__all__ = [
    "Run",
    "evaluate_run",
    "load",
    "open_run",
    "parse_interval",
    "resume_run",
    "train_run",
]
