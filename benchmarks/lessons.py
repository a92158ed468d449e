"""The figures in the lessons: each recipe unchanged, and with one thing changed.

    python benchmarks/lessons.py                        # all lessons
    python benchmarks/lessons.py mlp-fashion --seeds 3  # one of them, three seeds
    python benchmarks/lessons.py loading --pairs 15     # time of one pass through a loader

Data sets are found as by `tenfold train`; `--cifar10` names another source for the lesson on
CIFAR-10, such as an archive of class folders. `--images` limits the number of training images if a
whole epoch takes too long. Prints one JSON object per run. Each run uses the test images once,
after its last epoch.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

import tenfold
from tenfold.data import DataLoader, ImageDataset, Splits, load_splits
from tenfold.recipes import load_recipe

CHANGES: dict[str, dict[str, dict[str, object]]] = {
    "softmax-fashion": {
        "as it is": {},
        "lr 0.01": {"lr": 0.01},
        "lr 1": {"lr": 1.0},
        "one hidden layer of 256": {"model": "mlp", "model_args.hidden": [256]},
    },
    "mlp-fashion": {
        "as it is": {},
        "lr 1e-2": {"lr": 1e-2},
        "lr 1e-1": {"lr": 1e-1},
        "lr 1e-1, shuffled": {"lr": 1e-1, "shuffle": True},
        "lr 1e-1, shuffled, dropout 0.2": {
            "lr": 1e-1,
            "shuffle": True,
            "model_args.dropout": 0.2,
        },
        "lr 1e-1, shuffled, three hidden layers": {
            "lr": 1e-1,
            "shuffle": True,
            "model_args.hidden": [512, 512, 512],
        },
    },
    "lenet-mnist": {
        "as it is": {},
        "lr 0.01": {"lr": 0.01},
        "lr 0.5": {"lr": 0.5},
        "dropout 0.25": {"model_args.dropout": 0.25},
    },
    "cnn-cifar10": {
        "validation": {"val": 0.1, "epochs": 20},
        "lr 1e-4": {"val": 0.1, "epochs": 10, "lr": 1e-4},
        "dropout 0.25": {"val": 0.1, "epochs": 10, "model_args.dropout": 0.25},
        "one hidden layer more": {
            "val": 0.1,
            "epochs": 10,
            "model_args.hidden": [120, 120, 84],
        },
    },
    "convpool-mnist": {
        "as it is": {"epochs": 1},
        "lr 1e-3": {"epochs": 1, "lr": 1e-3},
        "lr 1e-4": {"epochs": 1, "lr": 1e-4},
        "lr 1e-4, dropout 0": {"epochs": 1, "lr": 1e-4, "model_args.dropout": 0.0},
        "lr 1e-4, three blocks": {
            "epochs": 1,
            "lr": 1e-4,
            "model_args.channels": [64, 128, 128],
            "model_args.kernels": [11, 5, 3],
        },
    },
}
"""By recipe: each change's name and the recipe's keys that make it."""


class Notes(tenfold.training.Watcher):
    """Collects the notes shown during training."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class OneByOne(torch.utils.data.Dataset):
    """The data set class of the second lesson."""

    def __init__(self, part: ImageDataset) -> None:
        self.images, self.labels = part.images, part.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index].float() / 255, int(self.labels[index])


def time_loading(pairs: int) -> dict[str, list[float]]:
    """Seconds per pass over Fashion-MNIST's training images in batches of 64, both ways in turn."""
    part = load_splits("fashion-mnist").splits.train
    datasets = {
        "one by one": OneByOne(part),
        "whole batches": TensorDataset(part.images.float() / 255, part.labels),
    }
    seconds: dict[str, list[float]] = {name: [] for name in datasets}
    for _ in range(pairs):
        for name, dataset in datasets.items():
            start = time.perf_counter()
            for _batch in DataLoader(dataset, batch_size=64):
                pass
            seconds[name].append(time.perf_counter() - start)
    return seconds


def chosen_data(recipe: str, cifar10: str, images: int) -> object:
    """The data to train on: the recipe's own, another source of it, or part of it."""
    data = cifar10 if recipe == "cnn-cifar10" else None
    if not images:
        return data
    splits = load_splits(data or load_recipe(recipe).data).splits
    return Splits(splits.train.select(torch.arange(images)), None, splits.test)


def measure(
    recipe: str, change: dict[str, object], data: object, seed: int, threads: int
) -> dict[str, object]:
    """Train once and return the results."""
    notes = Notes()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = tenfold.train(
            data,
            recipe=recipe,
            out=Path(folder) / "run",
            device="cpu",
            threads=threads,
            watcher=notes,
            seed=seed,
            **change,
        )
        seconds = time.perf_counter() - start
    return {
        **run.figures,
        "history": [
            {key: getattr(m, key) for key in ("train_loss", "train_acc", "val_loss", "val_acc")}
            for m in run.history
        ],
        "notes": notes.notes,
        "wall_seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "recipes",
        nargs="*",
        default=list(CHANGES),
        metavar="RECIPE",
        help=f"by default all: {', '.join(CHANGES)}; or only `loading`",
    )
    parser.add_argument("--only", help="run only this change")
    parser.add_argument("--seeds", type=int, default=1, help="by default 1")
    parser.add_argument("--pairs", type=int, default=5, help="of passes of `loading`; by default 5")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="by default PyTorch's number"
    )
    parser.add_argument("--cifar10", default="cifar10", help="the data of cnn-cifar10")
    parser.add_argument("--images", type=int, default=0, help="training images; 0 for all")
    options = parser.parse_args()
    if options.recipes == ["loading"]:
        torch.set_num_threads(options.threads)
        print(json.dumps({"loading": time_loading(options.pairs), "threads": options.threads}))
        return
    for recipe in options.recipes:
        data = chosen_data(recipe, options.cifar10, options.images)
        for name, change in CHANGES[recipe].items():
            if options.only not in (None, name):
                continue
            for seed in range(options.seeds):
                figures = measure(recipe, change, data, seed, options.threads)
                print(
                    json.dumps(
                        {
                            "recipe": recipe,
                            "change": name,
                            "data": data if isinstance(data, str) else "the recipe's own",
                            "images": options.images or "all",
                            "seed": seed,
                            **figures,
                            "threads": options.threads,
                            "torch": torch.__version__,
                            "machine": platform.processor() or platform.machine(),
                        }
                    ),
                    flush=True,
                )


if __name__ == "__main__":
    main()
