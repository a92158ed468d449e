"""Check on a GPU that runs repeat, resume and evaluate to the same bits.

    python tests/soak/gpu.py [--device cuda] [--epochs 4]

Every model of the table trains twice on digits with PyTorch's plain steps, in mixed precision with
channels last, and compiled; and each a third time with a signal in the middle and a resume. The
weights of all three must be equal, the evaluation must give the figures that training
ended with, and the caller's random numbers must be as they were.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from itertools import product
from pathlib import Path

import torch

import tenfold
from tenfold.models import MODELS
from tenfold.training import Watcher

SETTINGS = {
    "lenet": {"image_size": [28, 28]},
    "cifar-cnn": {"image_size": [28, 28]},
    "convpool": {"model_args": {"channels": [32, 64], "kernels": [3, 3], "hidden": [128]}},
    "resnet-small": {
        "average_decay": 0.99,
        "augment.flip": True,
        "augment.crop_padding": 1,
        "augment.cutout": 2,
        "model_args": {"dropout": 0.1},
    },
}
ACCELERATIONS = {
    "plain": {},
    "mixed": {"precision": "bfloat16", "channels_last": True},
    "compiled": {"compile": True},
}
STOP_AT = 37  # a step in the middle of the second epoch


class Stops(Watcher):
    """Terminates the run after some step."""

    every_batches = 1

    def advanced(self, standing: object) -> None:
        if standing.step == STOP_AT:
            os.kill(os.getpid(), signal.SIGTERM)


def weights(run: Path) -> dict[str, bytes]:
    """The bytes of a run's final weights, by name."""
    return {name: bytes(w.data) for name, w in tenfold.load(run).bundle.weights.items()}


def check(model: str, acceleration: str, device: str, epochs: int, folder: Path) -> list[str]:
    """What is not as it should be for one model and way to compute its steps."""
    settings = {
        "recipe": "digits-quick",
        "model": model,
        "epochs": epochs,
        "device": device,
        "engine": "torch",
        **ACCELERATIONS[acceleration],
        **SETTINGS.get(model, {}),
    }
    torch.manual_seed(5)
    wanted = torch.rand(3), torch.rand(3, device=device)
    torch.manual_seed(5)
    first = tenfold.train(out=folder / "first", quiet=True, **settings)
    found = torch.rand(3), torch.rand(3, device=device)
    second = tenfold.train(out=folder / "second", quiet=True, **settings)
    try:
        tenfold.train(out=folder / "stopped", watcher=Stops(), **settings)
    except tenfold.TenfoldError:
        pass
    interrupted = tenfold.open_run(folder / "stopped").status
    resumed = tenfold.resume(folder / "stopped", quiet=True)
    report = tenfold.evaluate(first)
    checks = {
        "the signal did not stop the run": interrupted == "interrupted",
        "the caller's random numbers changed": all(map(torch.equal, wanted, found)),
        "the same run ended with other weights": weights(first.folder) == weights(second.folder),
        "the resumed run ended with other weights": weights(first.folder)
        == weights(resumed.folder),
        "the resume is not bit-exact": resumed.facts.sessions[-1].bit_exact,
        "the evaluation differs": (report.test_loss, report.test_acc)
        == (first.figures["test_loss"], first.figures["test_acc"]),
    }
    print(
        f"{model}, {acceleration}: {first.facts.conditions.device}, test_acc {report.test_acc:.4f}",
        flush=True,
    )
    return [what for what, holds in checks.items() if not holds]


def main() -> int:
    parser = argparse.ArgumentParser(description="Check runs on a GPU.")
    parser.add_argument("--device", default="cuda", help="cuda, mps or cpu")
    parser.add_argument("--epochs", type=int, default=4)
    asked = parser.parse_args()
    print(f"PyTorch {torch.__version__}, tenfold {tenfold.__version__}")
    failures, count = 0, 0
    for model, acceleration in product(MODELS, ACCELERATIONS):
        with tempfile.TemporaryDirectory() as folder:
            for failure in check(model, acceleration, asked.device, asked.epochs, Path(folder)):
                print(f"{model}, {acceleration}: {failure}")
                failures += 1
        count += 1
    print(f"{count} trainings, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
