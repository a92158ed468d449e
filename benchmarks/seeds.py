"""Compare the models that the two engines train: test accuracies of the same runs, over seeds.

    python benchmarks/seeds.py                                     # all systems, seeds 0..9
    python benchmarks/seeds.py lenet-mnist --seeds 20 --epochs 3
    python benchmarks/seeds.py cnn-cifar10 --cifar10 cifar10.tar   # an archive of class folders

For each seed, the recipe is trained by the native engine and by the PyTorch engine, from the same
weights and on the same batches. Training is chaotic: after a few hundred steps, two runs that
started one bit apart differ as much as two seeds do. With `--rounding`, a third run, by PyTorch
with one thread, shows how much difference rounding alone makes. Prints one JSON object per system:
the mean difference in percentage points and its 95 % interval by Student's t.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import torch
from machine import machine
from scipy.stats import t as student_t

from tenfold.data import Splits, load_splits
from tenfold.recipes import Recipe, load_recipe
from tenfold.runs import train_run
from tenfold.runs.resources import Resources

SYSTEMS: dict[str, tuple[str, dict[str, object], int | None]] = {
    "softmax-fashion": ("softmax-fashion", {}, None),
    "mlp-fashion": ("mlp-fashion", {}, None),
    "lenet-mnist": ("lenet-mnist", {}, None),
    "cnn-cifar10": ("cnn-cifar10", {"epochs": 1}, None),
    "convpool-mnist": ("convpool-mnist", {"epochs": 1}, 2000),
    "convpool-mnist, lr 1e-4": ("convpool-mnist", {"epochs": 1, "lr": 1e-4}, 2000),
}
"""Recipe, changes to it, and the number of images to use; None for all."""


def data_of(recipe: str, cifar10: str, images: int | None) -> Splits:
    """The recipe's data, or the first `images` of each split."""
    source = load_recipe(recipe).data
    splits = load_splits(cifar10 if source == "cifar10" else source).splits
    if images is None:
        return splits
    parts = [
        None if part is None else part.select(torch.arange(min(images, len(part))))
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


def difference(first: list[float], second: list[float]) -> dict[str, object]:
    """The mean paired difference and its 95 % interval."""
    pairs = [a - b for a, b in zip(first, second, strict=True)]
    mean = statistics.mean(pairs)
    half = student_t.ppf(0.975, len(pairs) - 1) * statistics.stdev(pairs) / len(pairs) ** 0.5
    return {
        "mean": round(mean, 4),
        "interval": [round(mean - half, 4), round(mean + half, 4)],
        "largest": round(max(map(abs, pairs)), 4),
    }


def measure(
    name: str, data: Splits, changes: dict[str, object], seeds: int, threads: int, rounding: bool
) -> dict[str, object]:
    """Train every seed in each way."""
    ways = {"native": ("native", threads), "torch": ("torch", threads)}
    if rounding:
        ways["torch_with_one_thread"] = ("torch", 1)
    found: dict[str, list[float]] = {way: [] for way in ways}
    for seed in range(seeds):
        for way, (engine, of_way) in ways.items():
            recipe = load_recipe(SYSTEMS[name][0], {**changes, "seed": seed})
            found[way].append(accuracy(recipe, data, engine, of_way))
        figures = ", ".join(f"{way} {accuracies[-1]:.2f}" for way, accuracies in found.items())
        print(f"{name}, seed {seed}: {figures}", file=sys.stderr, flush=True)
    return {
        "system": name,
        "epochs": recipe.epochs,
        "images": len(data.train),
        "test_images": 0 if data.test is None else len(data.test),
        "accuracies": {way: [round(each, 2) for each in found[way]] for way in ways},
        "minus_torch": {
            way: difference(found[way], found["torch"]) for way in ways if way != "torch"
        },
        "n": seeds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("systems", nargs="*", default=[*SYSTEMS], metavar="SYSTEM")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=None, help="instead of the default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounding", action="store_true", help="also run PyTorch with one thread")
    parser.add_argument("--cifar10", default="cifar10", help="where CIFAR-10 is")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds must be at least 2: one difference has no spread")
    for name in options.systems:
        recipe, changes, images = SYSTEMS[name]
        if options.epochs is not None:
            changes = {**changes, "epochs": options.epochs}
        data = data_of(recipe, options.cifar10, images)
        found = measure(name, data, changes, options.seeds, options.threads, options.rounding)
        print(json.dumps({**found, **machine(options.threads)}), flush=True)


if __name__ == "__main__":
    main()
