"""What checkpoints cost: the share of a run's time that saving takes.

    python benchmarks/checkpointing.py

Trains each recipe on random images of its data's shape and size, once with checkpoints at the ends
of epochs (those that are worth their cost) and once with one every 30 seconds besides, and prints
how long all saving took, the first and the last one included.
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
    """Sums up what the checkpointers of a block spend."""

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
    """Train a recipe for about so many seconds and compare saving with all."""
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
    """Measured over the first 1,000 images or 20 batches."""
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
    parser.add_argument("--seconds", type=float, default=60.0, help="of training, about")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print(json.dumps({"machine": platform.platform(), "threads": options.threads}))
    for name in options.recipes:
        for every in ("", "30s"):
            print(json.dumps(measure(name, every, options.seconds, options.threads)), flush=True)


if __name__ == "__main__":
    main()
