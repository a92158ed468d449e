"""Ratio of the loop's epoch time to that of a bare PyTorch loop on the same in-memory tensors.

    python benchmarks/loop.py

Both train the same model from the same weights on the same 20,000 random 28x28 images in batches of
64, in turn, so that noise on the machine affects both equally. The bare loop only takes steps: no
running metrics, no checks, no history.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from functools import partial

import torch
from torch import nn

from tenfold.data.dataset import ImageDataset
from tenfold.models import Preprocessing, build
from tenfold.models.image_model import ImageModel
from tenfold.training import TrainingState, build_optimizer, train
from tenfold.training.schedules import constant
from tenfold.types import ImageShape

BATCH_SIZE = 64
LR = 0.01


def bare_epoch(model: nn.Module, data: ImageDataset) -> float:
    """Seconds per epoch of a minimal loop."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    start = time.perf_counter()
    order = torch.randperm(len(data))
    for first in range(0, len(data), BATCH_SIZE):
        chosen = order[first : first + BATCH_SIZE]
        images, labels = data.images[chosen], data.labels[chosen]
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - start


def tenfold_epoch(model: nn.Module, data: ImageDataset) -> float:
    """Seconds per epoch of tenfold's loop, including metrics and checks."""
    optimizer = build_optimizer("sgd", model.parameters(), lr=LR)
    state = TrainingState(model, optimizer)
    start = time.perf_counter()
    train(state, data, epochs=1, batch_size=BATCH_SIZE, schedule=partial(constant, lr=LR))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    data = ImageDataset(
        torch.randint(0, 256, (20_000, 1, 28, 28), dtype=torch.uint8),
        torch.randint(0, 10, (20_000,)),
        [str(digit) for digit in range(10)],
    )
    for name in ("lenet", "mlp"):
        model = ImageModel(Preprocessing(), build(name, ImageShape(1, 28, 28), 10))
        bare_epoch(model, data)
        tenfold_epoch(model, data)
        pairs = [
            (bare_epoch(model, data), tenfold_epoch(model, data))
            for _ in range(options.repetitions)
        ]
        ratios = sorted(ours / bare for bare, ours in pairs)
        print(
            json.dumps(
                {
                    "model": name,
                    "batch_size": BATCH_SIZE,
                    "bare_seconds": statistics.median(bare for bare, _ in pairs),
                    "tenfold_seconds": statistics.median(ours for _, ours in pairs),
                    "ratio_median": statistics.median(ratios),
                    "ratio_range": [ratios[0], ratios[-1]],
                    "n": options.repetitions,
                    "threads": options.threads,
                    "torch": torch.__version__,
                    "machine": platform.processor() or platform.machine(),
                }
            )
        )


if __name__ == "__main__":
    main()
