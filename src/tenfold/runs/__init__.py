"""Whole runs: from a recipe and data to a folder with a trained, evaluated model, and back."""

from tenfold.runs.run import Run, evaluate_run, load, open_run
from tenfold.runs.train import parse_interval, resume_run, train_run

__all__ = [
    "Run",
    "evaluate_run",
    "load",
    "open_run",
    "parse_interval",
    "resume_run",
    "train_run",
]
