"""Cost of checkpoints: the share of a run's time spent on saving.

    python benchmarks/checkpointing.py

Trains each recipe on random images with the shape and number of its data, once with checkpoints at
ends of epochs (within their time budget) and once with additional ones every 30 seconds. Prints the
total time for saving, including the first and last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import tempfile
import time
from pathlib import Path

import torch

from tenfold.data.dataset import ImageDataset, Splits
from tenfold.recipes import load_recipe
from tenfold.runs import train_run
from tenfold.runs.resources import Resources
from tenfold.training.checkpoint import Checkpointer

SHAPES = {"cifar10": (50_000, (3, 32, 32)), "digits": (1_437, (1, 8, 8))}
GRAY = (60_000, (1, 28, 28))


def made_up(data: str) -> Splits:
    """Random images and labels, as many as the data set has."""
    n, shape = SHAPES.get(data, GRAY)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, *shape), dtype=torch.uint8, generator=generator)
    classes = tuple("abcdefghij")
    return Splits(
        ImageDataset(images, torch.arange(n) % 10, classes, split="train", source="made up")
    )


class Meter:
    """Records the seconds of every save inside the block."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.real = Checkpointer.save

    def __enter__(self) -> Meter:
        def save(checkpointer: Checkpointer, state: object) -> Path:
            before = checkpointer.seconds_spent
            path = self.real(checkpointer, state)
            self.seconds.append(checkpointer.seconds_spent - before)
            return path

        Checkpointer.save = save
        return self

    def __exit__(self, *_: object) -> None:
        Checkpointer.save = self.real


def measure(name: str, every: str, seconds: float, threads: int) -> dict[str, object]:
    """Train a recipe for about `seconds` and measure the share of time spent on saving."""
    recipe = load_recipe(name)
    data = made_up(recipe.data)
    epoch_seconds = time_of_an_epoch(name, data, threads)
    epochs = max(1, min(recipe.epochs, math.ceil(seconds / epoch_seconds)))
    recipe = recipe.model_copy(update={"epochs": epochs})
    with tempfile.TemporaryDirectory() as folder, Meter() as meter:
        run = train_run(
            recipe,
            data,
            out=Path(folder) / "run",
            resources=Resources(threads=threads),
            checkpoint_every=every,
        )
        newest = max((run.folder / "checkpoints").glob("step-*"))
        size = newest.stat().st_size
    training = sum(metrics.seconds for metrics in run.history)
    return {
        "recipe": name,
        "checkpoint_every": every or "epoch",
        "epochs": epochs,
        "training_seconds": round(training, 2),
        "checkpoints": len(meter.seconds),
        "checkpoint_bytes": size,
        "save_seconds_mean": round(sum(meter.seconds) / len(meter.seconds), 4),
        "share_of_time": round(sum(meter.seconds) / (training + sum(meter.seconds)), 4),
    }


def time_of_an_epoch(name: str, data: Splits, threads: int) -> float:
    """Seconds per epoch, extrapolated from the first 1,000 images or 20 batches."""
    recipe = load_recipe(name, {"epochs": 1})
    n = min(len(data.train), max(1_000, 20 * recipe.batch_size))
    part = Splits(data.train.select(torch.arange(n)))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        train_run(recipe, part, out=Path(folder) / "run", resources=Resources(threads=threads))
        return (time.perf_counter() - start) * len(data.train) / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipes", nargs="*", default=["digits-quick", "mlp-fashion"])
    parser.add_argument("--seconds", type=float, default=60.0, help="approximate training time")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print(json.dumps({"machine": platform.platform(), "threads": options.threads}))
    for name in options.recipes:
        for every in ("", "30s"):
            print(json.dumps(measure(name, every, options.seconds, options.threads)), flush=True)


if __name__ == "__main__":
    main()
