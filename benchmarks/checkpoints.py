"""The cost of checkpoints: the share of a run's time that is spent on saving.

    python benchmarks/checkpoints.py

Trains each recipe on random images with the shape and number of its data, for as many epochs as fit
into `--seconds`, with the usual checkpoints. Counts all saves, the first and the last included, and
measures the longest time between two, which is the most work that a kill could have cost.
"""

from __future__ import annotations

import math
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from measuring import (
    Figure,
    at_least_one,
    begin,
    choose_from,
    finish,
    parsed,
    parser,
)

from tenfold.data.dataset import ImageDataset, Splits
from tenfold.recipes import load_recipe, recipe_names
from tenfold.runs import train_run
from tenfold.runs.resources import Resources
from tenfold.training.checkpoint import Checkpointer

RECIPES = ("digits-quick", "mlp-fashion", "lenet-mnist", "convpool-mnist")
WAY = "saving"
SHAPES = {"cifar10": (50_000, (3, 32, 32)), "digits": (1_437, (1, 8, 8))}
GRAY = (60_000, (1, 28, 28))


def made_up(data: str) -> Splits:
    """Random images and labels, as many as the data set has."""
    n, shape = SHAPES.get(data, GRAY)
    images = np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)
    classes = tuple("abcdefghij")
    return Splits(ImageDataset(images, np.arange(n) % 10, classes, split="train", source="made up"))


class Meter:
    """Records the seconds of every save inside the block, and when it ended."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.ended: list[float] = []
        self.real = Checkpointer.save

    @property
    def longest_between(self) -> float:
        """The most seconds between the ends of two saves that follow each other."""
        return max((after - before for before, after in pairwise(self.ended)), default=0.0)

    def __enter__(self) -> Meter:
        def save(checkpointer: Checkpointer, state: object) -> Path:
            before = checkpointer.seconds_spent
            path = self.real(checkpointer, state)
            self.seconds.append(checkpointer.seconds_spent - before)
            self.ended.append(time.perf_counter())
            return path

        Checkpointer.save = save
        return self

    def __exit__(self, *_: object) -> None:
        Checkpointer.save = self.real


def measure(name: str, seconds: float, threads: int) -> tuple[float, dict[str, object]]:
    """The percentage of a run's time that is spent on saving, and facts about the run."""
    recipe = load_recipe(name, {"test": 0.0})
    data = made_up(recipe.data)
    epochs = math.ceil(seconds / time_of_an_epoch(name, data, threads))
    recipe = recipe.model_copy(update={"epochs": epochs})
    with tempfile.TemporaryDirectory() as folder, Meter() as meter:
        started = time.perf_counter()
        run = train_run(
            recipe,
            data,
            out=Path(folder) / "run",
            resources=Resources(threads=threads),
        )
        whole = time.perf_counter() - started
        newest = max((run.folder / "checkpoints").glob("step-*"))
        size = newest.stat().st_size
    saving = sum(meter.seconds)
    return 100 * saving / whole, {
        "epochs": epochs,
        "seconds": round(whole, 2),
        "checkpoints": len(meter.seconds),
        "checkpoint_bytes": size,
        "milliseconds_per_save": round(1e3 * saving / len(meter.seconds), 1),
        "longest_between": round(meter.longest_between, 1),
    }


def time_of_an_epoch(name: str, data: Splits, threads: int) -> float:
    """Seconds per epoch, extrapolated from part of one."""
    recipe = load_recipe(name, {"epochs": 1, "test": 0.0})
    n = min(len(data.train), max(1_000, 100 * recipe.batch_size))
    part = Splits(data.train.select(np.arange(n)))
    with tempfile.TemporaryDirectory() as folder:
        resources = Resources(threads=threads)
        run = train_run(recipe, part, out=Path(folder) / "run", resources=resources)
    return run.history[0].seconds * len(data.train) / n


def main() -> None:
    """See the module."""
    made = parser(__doc__, rounds=3)
    choose_from(made, "recipes", recipe_names(), usual=RECIPES)
    made.add_argument("--seconds", type=float, help="time of a sample; by default 90")
    made.add_argument("--threads", type=at_least_one, default=2, help="by default 2")
    options = parsed(made)
    options.seconds = options.seconds or (5.0 if options.quick else 90.0)
    options.rounds = 1 if options.quick else options.rounds
    result = begin("checkpoints", options)
    for name in options.recipes:
        samples = []
        for _ in range(options.rounds):
            percent, result.facts[name] = measure(name, options.seconds, options.threads)
            samples.append(percent)
        result.figures.append(Figure(name, WAY, "% of the time", samples))
    finish(result, options)


if __name__ == "__main__":
    main()
