"""Count how often a run's advice is right: models x optimizers x learning rates x data sets.

    python benchmarks/advice.py
    python benchmarks/advice.py --rounds 3 --out FILE

Each run is trained to its end whatever is said. It has learned if its last epoch's training loss is
below that of the best constant answer by more than `LEARNED`. Then:

- a false alarm is a run that is said to have learned next to nothing yet, and has learned at its
  end; its advice is good nevertheless if a rate that it names leads to a lower loss;
- a miss is a run that has not learned at its end, and got no advice, nor was stopped by an error;
- a run is too sure if its loss is no lower although many of its answers are right;
- a wrong direction is advice to raise or lower the learning rate that leads to a higher loss at the
  next rate of the grid, while the other neighbor has a lower one.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
from measuring import Figure, begin, finish, parsed, parser

from tenfold.data import Splits, load_splits
from tenfold.errors import TrainingError
from tenfold.recipes import validate
from tenfold.runs.fit import fit
from tenfold.runs.resources import Resources
from tenfold.training.advice import LEARNED, constant_loss
from tenfold.training.watching import Watcher

RATES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)

OPTIMIZERS = ("sgd", "adam")

MODELS = {
    "softmax": {},
    "mlp": {},
    "lenet": {},
    "cifar-cnn": {},
    "convpool": {"channels": [8, 16], "kernels": [5, 3], "hidden": [64], "dropout": 0.3},
}

DATA = {"digits": (None, 15, 32), "fashion-mnist": (12_000, 4, 64)}
"""Images used (None for all), epochs and batch size. Digits are scaled to 28 x 28."""


@dataclass(frozen=True)
class Outcome:
    """How a run went.

    Attributes:
        loss: of its last epoch; infinite if it failed.
        constant: that of the best constant answer.
        said: the direction that was named: `higher`, `lower`, `both`; empty for none.
        alarmed: whether it was said to have learned next to nothing.
        failed: whether the loss became infinite or undefined.
    """

    loss: float
    constant: float
    said: str
    alarmed: bool
    failed: bool = False

    @property
    def learned(self) -> bool:
        """Whether it is better than a constant answer."""
        return self.loss < (1 - LEARNED) * self.constant


class Heard(Watcher):
    """Keeps what a run says about its learning."""

    def __init__(self) -> None:
        self.said, self.alarmed = "", False

    def note(self, text: str) -> None:
        """Keep the direction."""
        alarmed = "has learned next to nothing yet" in text or "ReLUs are dead" in text
        if alarmed or "too sure" in text:
            named = re.search("rates? ten times (higher|lower)( and ten)?", text)
            assert named, text
            self.said = "both" if named[2] else named[1]
            self.alarmed = alarmed


def data_of(name: str, images: int | None) -> Splits:
    """The data set, or its first images, digits at 28 x 28."""
    size = (28, 28) if name == "digits" else None
    train = load_splits(name, image_size=size).splits.train
    return Splits(train if images is None else train.select(np.arange(images)))


def run(model: str, optimizer: str, lr: float, name: str, data: Splits, seed: int) -> Outcome:
    """Train one model."""
    _, epochs, batch_size = DATA[name]
    recipe = validate(
        {
            "model": model,
            "model_args": MODELS[model],
            "optimizer": optimizer,
            "lr": lr,
            "epochs": epochs,
            "batch_size": batch_size,
            "test": 0.0,
            "seed": seed,
        },
        "made up",
    )
    heard, labels = Heard(), data.train.label_array
    constant = constant_loss(labels, len(data.train.classes))
    try:
        history = fit(recipe, data, resources=Resources(device="cpu"), watcher=heard).history
    except TrainingError:
        return Outcome(math.inf, constant, heard.said, heard.alarmed, failed=True)
    return Outcome(history[-1].train_loss, constant, heard.said, heard.alarmed)


def verdict(rate: int, outcomes: list[Outcome]) -> str:
    """What was right or wrong about one run's advice, given those of all rates."""
    found = outcomes[rate]
    if not found.said:
        if found.learned:
            return "rightly silent"
        return "stopped by an error" if found.failed else "miss"
    lower = outcomes[rate - 1].loss if rate else math.inf
    higher = outcomes[rate + 1].loss if rate + 1 < len(outcomes) else math.inf
    named, other = (higher, lower) if found.said == "higher" else (lower, higher)
    if found.alarmed and found.learned:
        helps = min(named, other if found.said == "both" else math.inf) < found.loss
        return "false alarm, good advice" if helps else "false alarm"
    if found.said != "both" and named > found.loss and other < found.loss:
        return "wrong direction"
    return "right advice" if found.alarmed else "too sure, right advice"


def main() -> None:
    """See the module."""
    made = parser(__doc__, rounds=2)
    options = parsed(made)
    result = begin("advice", options)
    counts: Counter[str] = Counter()
    for name, (images, _, _) in DATA.items():
        data = data_of(name, images)
        for model in MODELS:
            for optimizer in OPTIMIZERS:
                for seed in range(options.rounds):
                    outcomes = [run(model, optimizer, lr, name, data, seed) for lr in RATES]
                    verdicts = [verdict(rate, outcomes) for rate in range(len(RATES))]
                    counts.update(verdicts)
                    cells = [
                        f"{lr:g}: {each.loss:.3f} {each.said or '-'} {words}"
                        for lr, each, words in zip(RATES, outcomes, verdicts, strict=True)
                    ]
                    print(
                        f"{name}, {model}, {optimizer}, seed {seed}: " + "; ".join(cells),
                        flush=True,
                    )
    grid = {"models": MODELS, "optimizers": OPTIMIZERS, "rates": RATES, "data": DATA}
    result.facts.update({name: list(values) for name, values in grid.items()}, counts=dict(counts))
    for wrong in ("false alarm", "miss", "wrong direction"):
        n = sum(count for verdict, count in counts.items() if verdict.startswith(wrong))
        result.figures.append(Figure("advice", wrong, "runs", [float(n)]))
    print(dict(counts))
    finish(result, options)


if __name__ == "__main__":
    main()
