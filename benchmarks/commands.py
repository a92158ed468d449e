"""Whole commands, from the start of the process to the result: recipes and the tutorials' scripts.

    python benchmarks/commands.py --quick
    python benchmarks/commands.py lenet-mnist --rounds 5

Each recipe is trained for as many epochs as published (cnn-cifar10 for 5 of its 100, and
convpool-mnist, whose tutorial takes hours, for one of its ten) by `tenfold train`, with each
engine, and by a script that is the tutorial (benchmarks/tutorials/), which take turns. The script
runs twice: its DataLoader reads images in the script's own process, or in four others. Every time
includes the interpreter's start, all imports, reading the data, training, evaluating as the
tutorial or the recipe does, and writing the model.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from measuring import (
    TENFOLD,
    Figure,
    begin,
    choose_from,
    data_for,
    finish,
    in_turns,
    parsed,
    parser,
    run,
)

from tenfold.data.load import load_splits
from tenfold.native.library import Kernels, find_kernels
from tenfold.recipes import load_recipe

TUTORIALS = Path(__file__).parent / "tutorials"

WORKERS = 4

WITH_WORKERS = f"tutorial, {WORKERS} workers"

RAW = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw"}
"""Where a data set is in the folder of `TENFOLD_DATA`."""


@dataclass(frozen=True)
class Command:
    """A recipe.

    Attributes:
        epochs: how many to train.
        quick: how many with `--quick`.
        rounds: at most this many samples, because one takes very long; None for no limit.
    """

    epochs: int
    quick: int
    rounds: int | None = None


COMMANDS = {
    "softmax-fashion": Command(10, 2),
    "lenet-mnist": Command(10, 1),
    "mlp-fashion": Command(5, 1),
    "cnn-cifar10": Command(5, 1),
    "convpool-mnist": Command(1, 0, rounds=1),
}


def as_npz(source: str, path: Path) -> Path:
    """The data set in a file that both ways read quickly: neither has to decode JPEG files.

    As in CIFAR's own files, the channels come first.
    """
    splits = load_splits(source).splits
    assert splits.test is not None
    arrays = {}
    for part in (splits.train, splits.test):
        arrays[f"{part.split}_images"] = part.image_array
        arrays[f"{part.split}_labels"] = part.label_array
    np.savez(path, **arrays, classes=list(splits.train.classes))
    return path


def ways(
    recipe: str, epochs: int, folder: Path, accuracies: dict[str, float]
) -> dict[str, Callable[[], float]]:
    """What to run for a recipe; each returns seconds, and notes the test accuracy."""
    name = load_recipe(recipe).data
    if name in RAW:
        found = load_splits(name).root
        assert found is not None
        data, raw = name, found / RAW[name]
    else:
        raw = folder / f"{name}.npz"
        if not raw.exists():
            as_npz(data_for(name), raw)
        data = str(raw)

    def tutorial(workers: int, way: str) -> float:
        script = TUTORIALS / f"{recipe.replace('-', '_')}.py"
        done = run(
            [
                sys.executable,
                script,
                raw,
                "--epochs",
                str(epochs),
                "--workers",
                str(workers),
                "--save",
                folder / "w.pt",
            ]
        )
        said = re.findall(r"(?:test accuracy|^accuracy) ([0-9.]+)", done.out, re.MULTILINE)
        if said:
            accuracies[way] = float(said[-1])
        return done.seconds

    def tenfold(engine: str) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            options = ["--epochs", str(epochs), "--engine", engine, "--out", f"{out}/run", "--json"]
            done = run([*TENFOLD, "train", data, "--recipe", recipe, *options])
        accuracies[engine] = json.loads(done.out)["test_acc"]
        return done.seconds

    engines = ["torch", "native"] if isinstance(find_kernels(), Kernels) else ["torch"]
    scripts = {"tutorial": 0, WITH_WORKERS: WORKERS}
    return {
        **{way: partial(tutorial, workers, way) for way, workers in scripts.items()},
        **{engine: partial(tenfold, engine) for engine in engines},
    }


def main() -> None:
    """See the module."""
    made = parser(__doc__, rounds=3)
    choose_from(made, "recipes", COMMANDS)
    options = parsed(made)
    options.rounds = 1 if options.quick else options.rounds
    result = begin("commands", options)
    with tempfile.TemporaryDirectory() as folder:
        for recipe in options.recipes:
            command = COMMANDS[recipe]
            epochs = command.quick if options.quick else command.epochs
            if not epochs:
                continue
            accuracies: dict[str, float] = {}
            rounds = min(options.rounds, command.rounds or options.rounds)
            timed = ways(recipe, epochs, Path(folder), accuracies)
            for way, samples in in_turns(timed, rounds, warm_up=False).items():
                result.figures.append(Figure(recipe, way, "s", samples))
            result.facts[recipe] = {"epochs": epochs, "test_acc": accuracies}
            last = result.figures[-1]
            ratio = result.figure(recipe, "tutorial").median / last.median
            said = f"{recipe}: {last.way} is {ratio:.1f} times as fast as the tutorial"
            print(said, file=sys.stderr, flush=True)
    finish(result, options)


if __name__ == "__main__":
    main()
