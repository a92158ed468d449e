"""Compare tenfold's default on folders of pictures with two plain alternatives, split by split.

    python benchmarks/folders.py signs.tar tiles.tar
    python benchmarks/folders.py PHOTOS --rounds 2 --ways tenfold hog

Each round holds out another stratified fifth of the pictures for testing, the same one for every
way:

- `tenfold`: `tenfold train` without an option.
- `hog`: histograms of oriented gradients (Dalal and Triggs, CVPR 2005) at 64 pixels, and a logistic
  regression whose strength of regularization is chosen by cross-validation within the training
  pictures; `hog, balanced`: with every class counting the same.
- `cnn`: a plain PyTorch network of three pairs of convolutions with batch normalization and ReLU,
  max-pooling, and a linear layer, at 64 pixels, with random shifts, scales, rotations and changes
  of brightness, AdamW and a one-cycle schedule, trained for as many seconds as `--seconds` says.

A name that is no path is looked for in the folder that TENFOLD_DATA names.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measuring import Figure, at_least_one, begin, finish, parsed, parser
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional

from tenfold.data import ImageDataset, Splits
from tenfold.data.load import read_data
from tenfold.data.splitting import split_stratified
from tenfold.evaluation.metrics import balanced_accuracy, confusion_matrix
from tenfold.recipes import load_recipe
from tenfold.runs import train_run
from tenfold.runs.resources import Resources

SIDE = 64
"""Of the pictures that the alternatives see, in pixels."""


def gradients(images: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients of gray images, n x height x width; one row per image.

    Nine unsigned orientations, cells of 8 x 8 pixels, blocks of 2 x 2 cells, clipped at 0.2.
    """
    images = np.sqrt(images.astype(np.float32))
    down, across = np.zeros_like(images), np.zeros_like(images)
    down[:, 1:-1] = images[:, 2:] - images[:, :-2]
    across[:, :, 1:-1] = images[:, :, 2:] - images[:, :, :-2]
    size = np.hypot(down, across)
    angle = np.degrees(np.arctan2(down, across)) % 180
    n, height, width = images.shape
    cells = np.zeros((n, height // 8, width // 8, 9), np.float32)
    for bin_ in range(9):
        inside = (angle >= 20 * bin_) & (angle < 20 * (bin_ + 1))
        chosen = np.where(inside, size, 0)
        cells[..., bin_] = chosen.reshape(n, height // 8, 8, width // 8, 8).mean((2, 4))
    corners = [
        cells[:, y : y + height // 8 - 1, x : x + width // 8 - 1] for y in (0, 1) for x in (0, 1)
    ]
    blocks = np.concatenate(corners, -1)
    for _ in range(2):
        norm = np.sqrt((blocks**2).sum(-1, keepdims=True) + 1e-10)
        blocks = np.minimum(blocks / norm, 0.2)
    return blocks.reshape(n, -1)


def gray(dataset: ImageDataset) -> np.ndarray:
    """The luminance of its images."""
    images = dataset.image_array
    if images.shape[1] == 1:
        return images[:, 0]
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return np.tensordot(weights, images.astype(np.float32), (0, 1))


def by_hog(weight: str | None) -> Callable[[Splits, int], np.ndarray]:
    """Fits HOG with logistic regression; gives the test images' classes."""

    def fit(splits: Splits, _seed: int) -> np.ndarray:
        assert splits.test is not None
        model = make_pipeline(
            StandardScaler(),
            LogisticRegressionCV(Cs=np.logspace(-5, 0, 6), cv=3, class_weight=weight, max_iter=500),
        )
        model.fit(gradients(gray(splits.train)), splits.train.label_array)
        found: np.ndarray = model.predict(gradients(gray(splits.test)))
        return found

    return fit


def plain_network(channels: int, classes: int) -> nn.Module:
    """A network as one writes it."""
    layers: list[nn.Module] = []
    for width in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    ending = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(128, classes)]
    return nn.Sequential(*layers, *ending)


def augmented(images: torch.Tensor) -> torch.Tensor:
    """Rotated, scaled, shifted, and brighter or darker."""
    n = len(images)
    angle = torch.empty(n).uniform_(-math.radians(10), math.radians(10))
    scale = torch.empty(n).uniform_(0.85, 1.15)
    shift = torch.empty(n, 2).uniform_(-0.2, 0.2)
    matrix = torch.zeros(n, 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = torch.cos(angle) * scale
    matrix[:, 1, 0] = torch.sin(angle) * scale
    matrix[:, 0, 1] = -matrix[:, 1, 0]
    matrix[:, :, 2] = shift
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    factor = torch.empty(n, 1, 1, 1).uniform_(0.8, 1.2)
    return (moved * factor).clamp(0, 1)


def by_cnn(seconds: float) -> Callable[[Splits, int], np.ndarray]:
    """Trains the plain network for some seconds; gives the test images' classes."""

    def fit(splits: Splits, seed: int) -> np.ndarray:
        assert splits.test is not None
        torch.manual_seed(seed)
        images, labels = splits.train.images.float() / 255, splits.train.labels
        mean, std = images.mean((0, 2, 3), keepdim=True), images.std((0, 2, 3), keepdim=True)
        network = plain_network(images.shape[1], len(splits.train.classes))
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
        began, share = time.perf_counter(), 0.0
        while share < 1:
            for chosen in torch.randperm(len(images)).split(32):
                if len(chosen) < 2:
                    continue
                share = (time.perf_counter() - began) / seconds
                rise = min(1.0, share / 0.2)
                for group in optimizer.param_groups:
                    group["lr"] = 1e-3 * min(rise, 0.5 * (1 + math.cos(math.pi * min(1, share))))
                batch = (augmented(images[chosen]) - mean) / std
                loss = functional.cross_entropy(network(batch), labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if share >= 1:
                    break
        network.eval()
        with torch.no_grad():
            parts = (splits.test.images.float() / 255).split(256)
            logits = torch.cat([network((part - mean) / std) for part in parts])
        return logits.argmax(1).numpy()

    return fit


def pictures(name: str) -> Path:
    """The path of a folder or archive, here or where TENFOLD_DATA says."""
    places = dict.fromkeys([Path(name), Path(os.environ.get("TENFOLD_DATA", ".")) / name])
    for path in places:
        if path.exists():
            return path
    raise argparse.ArgumentTypeError(
        f"there is no {' nor '.join(map(str, places))}; TENFOLD_DATA names the folder of data"
    )


def main() -> None:
    """See the module."""
    made = parser(__doc__, rounds=5)
    made.add_argument(
        "folders", nargs="+", type=pictures, help="folders or archives of class folders"
    )
    ways = ("tenfold", "hog", "hog, balanced", "cnn")
    made.add_argument("--ways", nargs="+", choices=ways, default=list(ways))
    made.add_argument("--seconds", type=at_least_one, default=150, help="for the plain network")
    made.add_argument("--threads", type=at_least_one, default=2, help="by default 2")
    options = parsed(made)
    paths = options.folders
    options.folders = [path.name for path in paths]
    if options.quick:
        options.seconds = min(options.seconds, 30)
    torch.set_num_threads(options.threads)
    plain = {
        "hog": by_hog(None),
        "hog, balanced": by_hog("balanced"),
        "cnn": by_cnn(options.seconds),
    }
    result = begin("folders", options)
    for path in paths:
        samples: dict[tuple[str, str], list[float]] = {}
        small = read_data(path, image_size=(SIDE, SIDE), resize="squash").parts["train"]
        usual = read_data(path).parts["train"]
        for seed in range(options.rounds):
            for way in options.ways:
                source = usual if way == "tenfold" else small
                train, test = split_stratified(source, 0.2, seed=seed, name="test")
                splits = Splits(train, None, test)
                began = time.perf_counter()
                if way == "tenfold":
                    with tempfile.TemporaryDirectory() as folder:
                        run = train_run(
                            load_recipe("default", {"seed": seed}),
                            splits,
                            out=Path(folder) / "run",
                            resources=Resources(device="cpu", threads=options.threads),
                        )
                        accuracy = float(run.figures["test_acc"])
                        balanced = float(run.figures["test_balanced_acc"])
                else:
                    found = plain[way](splits, seed)
                    confusion = confusion_matrix(test.label_array, found, len(test.classes))
                    accuracy = float(confusion.trace() / len(test))
                    balanced = balanced_accuracy(confusion)
                seconds = time.perf_counter() - began
                figures = {"accuracy": accuracy, "balanced": balanced, "seconds": seconds}
                for figure, value in figures.items():
                    samples.setdefault((way, figure), []).append(value)
                print(
                    f"{path.name}, split {seed}, {way}: accuracy {accuracy:.4f}, "
                    f"balanced {balanced:.4f}, {seconds:.0f} s",
                    flush=True,
                )
        for (way, figure), values in samples.items():
            unit = "s" if figure == "seconds" else ""
            result.figures.append(Figure(f"{path.name}, {figure}", way, unit, values))
    finish(result, options)


if __name__ == "__main__":
    main()
