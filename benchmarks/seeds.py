"""Compare the models that the two engines train: test accuracies of the same runs, over seeds.

    python benchmarks/seeds.py
    python benchmarks/seeds.py lenet-mnist --rounds 20 --epochs 3

For each seed, the recipe is trained by the native engine and by the PyTorch engine, from the same
weights and on the same batches. Training is chaotic: after a few hundred steps, two runs that
started one bit apart differ as much as two seeds do. With `--rounding`, a third run, by PyTorch
with one thread, shows how much difference rounding alone makes. A sample is the difference in test
accuracy for one seed, in percentage points.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from measuring import (
    Figure,
    at_least_one,
    begin,
    choose_from,
    data_for,
    finish,
    parsed,
    parser,
)

from tenfold.data import Splits, load_splits
from tenfold.recipes import Recipe, load_recipe
from tenfold.runs import train_run
from tenfold.runs.resources import Resources

SYSTEMS: dict[str, tuple[str, dict[str, object], int | None]] = {
    "softmax-fashion": ("softmax-fashion", {}, None),
    "mlp-fashion": ("mlp-fashion", {}, None),
    "lenet-mnist": ("lenet-mnist", {"epochs": 3}, None),
    "cnn-cifar10": ("cnn-cifar10", {"epochs": 3}, None),
    "convpool-mnist": ("convpool-mnist", {"epochs": 1}, 10_000),
    "convpool-mnist, without dropout": (
        "convpool-mnist",
        {"epochs": 1, "model_args.dropout": 0.0},
        2000,
    ),
    "convpool-mnist, lr 1e-4": ("convpool-mnist", {"epochs": 1, "lr": 1e-4}, 2000),
}
"""Recipe, changes to it, and the number of images to use; None for all."""


def data_of(recipe: str, images: int | None) -> Splits:
    """The recipe's data, or the first `images` of each split."""
    splits = load_splits(data_for(load_recipe(recipe).data)).splits
    if images is None:
        return splits
    parts = [
        None if part is None else part.select(np.arange(min(images, len(part))))
        for part in (splits.train, splits.val, splits.test)
    ]
    assert parts[0] is not None
    return Splits(parts[0], parts[1], parts[2])


def accuracy(recipe: Recipe, data: Splits, engine: str, threads: int) -> float:
    """Test accuracy of a run, in percent."""
    with tempfile.TemporaryDirectory() as folder:
        run = train_run(
            recipe,
            data,
            out=Path(folder) / "run",
            resources=Resources(device="cpu", threads=threads, engine=engine),
            checkpoint_every="",
        )
        return 100 * float(run.figures["test_acc"])


def main() -> None:
    """See the module."""
    made = parser(__doc__, rounds=10)
    choose_from(made, "systems", SYSTEMS)
    made.add_argument("--epochs", type=at_least_one, help="instead of each system's own number")
    made.add_argument("--threads", type=at_least_one, default=2, help="by default 2")
    made.add_argument("--rounding", action="store_true", help="also run PyTorch with one thread")
    options = parsed(made)
    ways = {"native": ("native", options.threads)}
    if options.rounding:
        ways["PyTorch with one thread"] = ("torch", 1)
    result = begin("seeds", options)
    for name in options.systems[:1] if options.quick else options.systems:
        recipe_name, changes, images = SYSTEMS[name]
        if options.epochs is not None:
            changes = {**changes, "epochs": options.epochs}
        data = data_of(recipe_name, images)
        differences: dict[str, list[float]] = {way: [] for way in ways}
        for seed in range(options.rounds):
            recipe = load_recipe(recipe_name, {**changes, "seed": seed})
            wanted = accuracy(recipe, data, "torch", options.threads)
            for way, (engine, threads) in ways.items():
                found = accuracy(recipe, data, engine, threads)
                differences[way].append(round(found - wanted, 4))
            print(f"{name}, seed {seed}: {wanted:.2f}", file=sys.stderr, flush=True)
        for way, samples in differences.items():
            unit = "percentage points"
            result.figures.append(Figure(name, f"{way} minus PyTorch", unit, samples))
        result.facts[name] = {"epochs": recipe.epochs, "images": len(data.train)}
    finish(result, options)


if __name__ == "__main__":
    main()
