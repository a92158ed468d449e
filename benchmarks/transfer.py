"""Whether a network that was trained on other images helps with few of one's own.

    python benchmarks/transfer.py signs.tar
    python benchmarks/transfer.py signs.tar --rounds 2

Trains `tenfold train cifar10` once. Then, in each round, 5, 10 and 20 images of each class are
chosen at random; the others are for testing. They are trained on with all defaults: from nothing,
with images of the size that `tenfold train` chooses and of CIFAR-10's; from the network of
CIFAR-10, all layers or the last alone, without and with augmented views; and, for comparison, HOG
features with logistic regression. All ways get the same images.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from folders import by_hog
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
    "new": (SIDE, {}),
    "new, small": (OF_CIFAR, {}),
    "all": (OF_CIFAR, {"start": True}),
    "last": (OF_CIFAR, {"start": True, "freeze": True}),
    "last, views": (OF_CIFAR, {"start": True, "freeze": True, "views": 8}),
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


def measured(
    pictures: Mapping[int, ImageDataset], start: Path, each: int, seed: int
) -> Iterator[tuple[str, float, float]]:
    """For each way, its accuracy and its time in seconds."""

    def by_recipe(changes: Mapping[str, object]) -> Callable[[Splits], float]:
        given = {key: str(start) if key == "start" else v for key, v in changes.items()}
        recipe = load_recipe("default", {"seed": seed, **given})

        def train(splits: Splits) -> float:
            report = fit(recipe, splits, resources=RESOURCES).report
            assert report is not None, "there is a test split"
            return report.accuracy

        return train

    def hog(splits: Splits) -> float:
        assert splits.test is not None
        found = by_hog(None)(splits, seed)
        return float((found == splits.test.label_array).mean())

    ways = {way: (side, by_recipe(changes)) for way, (side, changes) in WAYS.items()}
    for way, (side, train) in {**ways, "hog": (SIDE, hog)}.items():
        whole = pictures[side]
        splits = split(whole, chosen(whole, each, seed))
        began = time.perf_counter()
        accuracy = train(splits)
        yield way, accuracy, time.perf_counter() - began


def main() -> None:
    """See the module."""
    made = parser(__doc__, rounds=10)
    made.add_argument("pictures", type=Path, help="an archive or a folder of pictures")
    options = parsed(made)
    result = begin("transfer", options)
    pictures = {
        side: read_data(options.pictures, image_size=(side, side)).parts["train"]
        for side in (SIDE, OF_CIFAR)
    }
    samples: dict[tuple[str, str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        start = train_run(
            load_recipe("default"),
            data_for("cifar10"),
            out=Path(folder) / "cifar10",
            resources=RESOURCES,
        )
        result.facts["start"] = {
            "accuracy": start.figures["test_acc"],
            "seconds": start.figures["seconds"],
        }
        print(result.facts["start"], flush=True)
        for each in EACH:
            for seed in range(options.rounds):
                for way, accuracy, seconds in measured(pictures, start.folder, each, seed):
                    print(
                        f"{each} a class, {seed}: {way} {accuracy:.4f} {seconds:.1f} s", flush=True
                    )
                    samples.setdefault((f"{each} a class", way, ""), []).append(accuracy)
                    samples.setdefault((f"{each} a class, time", way, "s"), []).append(seconds)
    result.figures.extend(Figure(*key, values) for key, values in samples.items())
    finish(result, options)


if __name__ == "__main__":
    main()
