"""Whether a network that was trained on other images helps with few of one's own.

    python benchmarks/transfer.py signs.tar
    python benchmarks/transfer.py signs.tar --rounds 2

Trains `tenfold train cifar10` once. Then, in each round, 5, 10 and 20 images of each class are
chosen at random; the others are for testing. They are trained on with all defaults: from nothing,
and from the network of CIFAR-10, with images of its size and of the size that `tenfold train`
chooses; its last layer alone, without and with augmented views; and, for comparison, HOG features
with logistic regression. All ways get the same images. The result is written after each way.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from folders import by_hog, pictures
from measuring import Figure, begin, data_for, finish, parsed, parser

from tenfold.data import ImageDataset
from tenfold.data.dataset import Splits
from tenfold.data.load import read_data
from tenfold.recipes import load_recipe
from tenfold.runs import train_run
from tenfold.runs.fit import fit
from tenfold.runs.resources import Resources

EACH = (5, 10, 20)
"""Images of each class to train on."""

SIDE, OF_CIFAR = 64, 32
"""Pixels a side that `tenfold train` chooses for pictures, and those of CIFAR-10."""

WAYS: Mapping[str, tuple[int, dict[str, object]]] = {
    "new, small": (OF_CIFAR, {}),
    "all": (OF_CIFAR, {"start": True}),
    "last": (OF_CIFAR, {"start": True, "freeze": True}),
    "last, views": (OF_CIFAR, {"start": True, "freeze": True, "views": 8}),
    "hog": (SIDE, {}),
    "all, large": (SIDE, {"start": True, "image_size": SIDE}),
    "new": (SIDE, {}),
}
"""By name, the size of images, and changes of the recipe; `start` is the network of CIFAR-10."""

RESOURCES = Resources(device="cpu", threads=2)


def chosen(whole: ImageDataset, each: int, seed: int) -> np.ndarray:
    """The places of as many images of each class."""
    generator = np.random.default_rng(seed)
    places = [
        generator.permutation(np.flatnonzero(whole.label_array == label))[:each]
        for label in range(len(whole.classes))
    ]
    return np.sort(np.concatenate(places))


def split(whole: ImageDataset, places: np.ndarray) -> Splits:
    """These images for training, all others for testing."""
    others = np.setdiff1d(np.arange(len(whole)), places)
    return Splits(whole.select(places), None, whole.select(others, split="test"))


def trained(splits: Splits, changes: Mapping[str, object], start: Path, seed: int) -> float:
    """The accuracy after training with a changed recipe."""
    given = {key: str(start) if key == "start" else value for key, value in changes.items()}
    recipe = load_recipe("default", {"seed": seed, **given})
    report = fit(recipe, splits, resources=RESOURCES).report
    assert report is not None, "there is a test split"
    return report.accuracy


def by_gradients(splits: Splits, seed: int) -> float:
    """The accuracy of HOG features with logistic regression."""
    assert splits.test is not None
    with warnings.catch_warnings():  # of scikit-learn, on future defaults
        warnings.simplefilter("ignore", FutureWarning)
        found = by_hog(None)(splits, seed)
    return float((found == splits.test.label_array).mean())


def main() -> None:
    """See the module."""
    made = parser(__doc__, rounds=10)
    made.add_argument("pictures", type=pictures, help="an archive or a folder of pictures")
    options = parsed(made)
    result = begin("transfer", options)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TENFOLD_CACHE"] = str(Path(folder) / "cache")  # features are computed anew
        images = {
            side: read_data(options.pictures, image_size=(side, side)).parts["train"]
            for side in (SIDE, OF_CIFAR)
        }
        out = Path(folder) / "cifar10"
        start = train_run(load_recipe("default"), data_for("cifar10"), out=out, resources=RESOURCES)
        facts = {"accuracy": start.figures["test_acc"], "seconds": start.figures["seconds"]}
        result.facts["start"] = facts
        print(facts, flush=True)
        for way, (side, changes) in WAYS.items():
            for each in EACH:
                accuracies, times = [], []
                for seed in range(options.rounds):
                    splits = split(images[side], chosen(images[side], each, seed))
                    began = time.perf_counter()
                    if way == "hog":
                        accuracies.append(by_gradients(splits, seed))
                    else:
                        accuracies.append(trained(splits, changes, start.folder, seed))
                    times.append(time.perf_counter() - began)
                    print(
                        f"{way}, {each} a class: {accuracies[-1]:.4f}, {times[-1]:.1f} s",
                        flush=True,
                    )
                result.figures.append(Figure(f"{each} a class", way, "", accuracies))
                result.figures.append(Figure(f"{each} a class, time", way, "s", times))
            if options.out is not None:
                result.write(options.out)
    finish(result, options)


if __name__ == "__main__":
    main()
