"""Small groups of runs, and single ones beside them, on the digits that come with tenfold."""

from __future__ import annotations

from pathlib import Path

from tenfold.recipes import Recipe, load_recipe
from tenfold.runs import train_run
from tenfold.runs.resources import Resources
from tenfold.runs.seeds import train_seeds

ONE_THREAD = Resources(device="cpu", threads=1)


def small_recipe(**changes: object) -> Recipe:
    """Softmax regression, which takes a fraction of a second."""
    given = {"data": "digits", "epochs": 2, "val": 0.1, "lr": 0.02, **changes}
    return load_recipe("softmax-fashion", given)


def train_compared(folder: Path) -> Path:
    """See the fixture `compared`."""
    train_seeds(small_recipe(), seeds=3, out=folder / "slow", resources=ONE_THREAD)
    train_seeds(small_recipe(lr=0.5), seeds=4, out=folder / "fast", resources=ONE_THREAD)
    train_run(small_recipe(epochs=4), out=folder / "single", resources=ONE_THREAD)
    train_run(small_recipe(model="mlp", lr=0.3), out=folder / "wide", resources=ONE_THREAD)
    return folder
