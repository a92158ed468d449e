"""Cost of a training step of the five teaching systems: the tutorials' way and three others.

    python benchmarks/engines.py                                      # all systems, 2 threads
    python benchmarks/engines.py lenet-mnist mlp-fashion --threads 1
    python benchmarks/engines.py cnn-cifar10 --cifar10 cifar10.tar    # an archive of class folders

- *tutorial*: a Dataset that opens images one by one with Pillow, PyTorch's DataLoader, and a step
  that keeps a running loss and counts correct predictions;
- *bare*: a minimal PyTorch loop, with all images as floats in memory;
- *torch* and *native*: tenfold's loop with its two engines, metrics and checks included.

All train the same model on the same images, in turn, so that noise on the machine affects them
equally. Prints one JSON object per system: the median and range of each way's milliseconds per
step, the ratios of the medians, and how far the native engine is from the machine's floor, which is
the longer of two times: the step's operations at the rate of PyTorch's large matrix product, and
the memory traffic of its weights at the rate of PyTorch's in-place addition. Also prints the share
of gradients that are 0 at the end, since timings of a dead network say nothing about a live one.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from machine import machine
from PIL import Image
from torch import Tensor, nn

from tenfold.data import ImageDataset, load_splits
from tenfold.models import Preprocessing, build
from tenfold.models.image_model import ImageModel
from tenfold.models.layers import Conv2d, Linear, output_shapes
from tenfold.models.tracing import layer_list
from tenfold.recipes import Recipe, load_recipe
from tenfold.training import TrainingState, build_optimizer, train
from tenfold.training.engine import Engine
from tenfold.training.native_engine import NativeEngine
from tenfold.training.schedules import constant
from tenfold.training.torch_engine import TorchEngine

SYSTEMS: dict[str, tuple[str, dict[str, object], int, int]] = {
    "lenet-mnist": ("lenet-mnist", {}, 100, 938),
    "softmax-fashion": ("softmax-fashion", {}, 60, 2350),
    "cnn-cifar10": ("cnn-cifar10", {}, 200, 5000),
    "mlp-fashion": ("mlp-fashion", {}, 100, 938),
    "convpool-mnist": ("convpool-mnist", {}, 10, 240),
    "convpool-mnist, lr 1e-4": ("convpool-mnist", {"lr": 1e-4}, 10, 240),
    "resnet-small": ("resnet-small", {}, 5, 20),
}
"""Recipe, changes to it, and steps per measurement with PyTorch and with the native engine. The
latter takes ten epochs of softmax regression, as the recipe does, and one of other small models."""

MEMORY_PER_WEIGHT = {"sgd": 2, "adam": 6, "adamw": 6}
"""Minimum floats that an update moves: weight and moments, read and written."""


class PillowDataset(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Reads images as the tutorials do: one by one, from picture to tensor."""

    def __init__(self, data: ImageDataset) -> None:
        self.images, self.labels = data.image_array, data.label_array

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.images[index]
        picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
        numbers = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
        numbers = numbers.view(picture.height, picture.width, len(pixels)).permute(2, 0, 1)
        return numbers.contiguous().to(torch.float32).div(255), int(self.labels[index])


class System:
    """A recipe's model and data, with the ways to train it."""

    def __init__(self, name: str, data: ImageDataset) -> None:
        recipe_name, changes, self.steps, self.native_steps = SYSTEMS[name]
        self.recipe: Recipe = load_recipe(recipe_name, changes)
        self.data = data
        torch.manual_seed(0)
        self.network = build(
            self.recipe.model, data.image_shape, len(data.classes), **self.recipe.model_args
        )
        self.floats, self.labels = data.images.float() / 255, data.labels
        self.loss = nn.CrossEntropyLoss(label_smoothing=self.recipe.label_smoothing)
        self.ways: dict[str, Callable[[], float]] = {
            "tutorial": self.tutorial,
            "bare": self.bare,
            "torch": partial(self.tenfold, TorchEngine, self.steps),
            "native": partial(self.tenfold, NativeEngine, self.native_steps),
        }

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The recipe's optimizer, with PyTorch's default implementation."""
        recipe = self.recipe
        options = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
        if recipe.optimizer == "sgd":
            options |= {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
        kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        return kinds[recipe.optimizer](model.parameters(), **options)

    def tutorial(self) -> float:
        """Seconds per step of the tutorials' loop."""
        model, running, correct = self.network.train(), 0.0, 0
        optimizer = self.optimizer(model)
        loader = torch.utils.data.DataLoader(
            PillowDataset(self.data), self.recipe.batch_size, shuffle=self.recipe.shuffle
        )
        started = time.perf_counter()
        for step, (images, labels) in enumerate(loader, start=1):
            optimizer.zero_grad()
            logits = model(images)
            loss = self.loss(logits, labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
            correct += int((logits.argmax(1) == labels).sum())
            if step == self.steps:
                break
        return (time.perf_counter() - started) / self.steps

    def bare(self) -> float:
        """Seconds per step of a minimal loop over images in memory."""
        model, size = self.network.train(), self.recipe.batch_size
        optimizer = self.optimizer(model)
        started = time.perf_counter()
        order = torch.randperm(len(self.data))
        for step in range(self.steps):
            chosen = order[step * size : (step + 1) * size]
            loss = self.loss(model(self.floats[chosen]), self.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return (time.perf_counter() - started) / self.steps

    def tenfold(self, engine: type[Engine], steps: int) -> float:
        """Seconds per step of tenfold's loop."""
        recipe = self.recipe
        preprocessing = (
            Preprocessing.fitted_to(self.data.images) if recipe.normalize else Preprocessing()
        )
        model = ImageModel(preprocessing, self.network)
        optimizer = build_optimizer(
            recipe.optimizer,
            model.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
        part = self.data.select(torch.arange(min(len(self.data), steps * recipe.batch_size)))
        of_epoch = math.ceil(len(part) / recipe.batch_size)
        epochs = max(1, steps // of_epoch)
        started = time.perf_counter()
        train(
            TrainingState(model, optimizer),
            part,
            epochs=epochs,
            batch_size=recipe.batch_size,
            schedule=partial(constant, lr=recipe.lr),
            label_smoothing=recipe.label_smoothing,
            make_engine=engine,
        )
        return (time.perf_counter() - started) / (epochs * of_epoch)

    def work(self) -> tuple[float, float]:
        """Operations and bytes that a step cannot avoid."""
        layers = layer_list(self.network)
        assert layers is not None
        shapes = output_shapes(layers, self.data.image_shape)
        operations, weights = 0, 0
        for layer, shape in zip(layers, shapes, strict=True):
            if not isinstance(layer, Conv2d | Linear):
                continue
            (_, size), *_ = layer.tensors()
            products = math.prod(size) * math.prod(shape[1:])
            # Forward, gradient of the weights, and gradient of the input if a layer before learns.
            operations += 2 * products * (3 if weights else 2)
            weights += math.prod(size)
        return (
            operations * self.recipe.batch_size,
            4.0 * weights * MEMORY_PER_WEIGHT[self.recipe.optimizer],
        )

    def zero_gradients(self) -> float:
        """The share of weights whose gradient is exactly 0 in the network's current state."""
        model, size = self.network.train(), self.recipe.batch_size
        self.loss(model(self.floats[:size]), self.labels[:size]).backward()
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        zeros = sum(int((gradient == 0).sum()) for gradient in gradients)
        model.zero_grad()
        return zeros / sum(gradient.numel() for gradient in gradients)


def matrix_rate() -> float:
    """Operations per second of PyTorch's product of two large matrices."""
    a, b = torch.rand(2048, 2048), torch.rand(2048, 2048)
    return 2 * 2048**3 / min(_seconds(lambda: torch.mm(a, b)) for _ in range(5))


def memory_rate() -> float:
    """Bytes read and written per second by PyTorch's in-place addition to a large array."""
    numbers = torch.zeros(2**26)
    return 8 * 2**26 / min(_seconds(lambda: numbers.add_(1)) for _ in range(5))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(name: str, data: ImageDataset, repetitions: int) -> dict[str, object]:
    """Time all ways in turn, after one warm-up turn."""
    system = System(name, data)
    seconds: dict[str, list[float]] = {way: [] for way in system.ways}
    for turn in range(repetitions + 1):
        for way, take in system.ways.items():
            taken = take()
            if turn:
                seconds[way].append(taken)
    median = {way: statistics.median(values) for way, values in seconds.items()}
    operations, moved = system.work()
    rates = matrix_rate(), memory_rate()
    floor = max(operations / rates[0], moved / rates[1])
    return {
        "system": name,
        "batch_size": system.recipe.batch_size,
        "milliseconds": {
            way: {
                "median": round(1e3 * median[way], 4),
                "range": [round(1e3 * min(values), 4), round(1e3 * max(values), 4)],
            }
            for way, values in seconds.items()
        },
        "tutorial_over_native": round(median["tutorial"] / median["native"], 2),
        "bare_over_native": round(median["bare"] / median["native"], 2),
        "torch_over_native": round(median["torch"] / median["native"], 2),
        "zero_gradients": round(system.zero_gradients(), 4),
        "operations": operations,
        "bytes": moved,
        "matrix_gflops": round(rates[0] / 1e9, 1),
        "memory_gbytes": round(rates[1] / 1e9, 1),
        "floor_milliseconds": round(1e3 * floor, 4),
        "native_over_floor": round(median["native"] / floor, 2),
        "n": repetitions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("systems", nargs="*", default=[*SYSTEMS], metavar="SYSTEM")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--cifar10", default="cifar10", help="where CIFAR-10 is")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    for name in options.systems:
        source = load_recipe(SYSTEMS[name][0]).data
        data = load_splits(options.cifar10 if source == "cifar10" else source).splits.train
        print(
            json.dumps({**measure(name, data, options.repetitions), **machine(options.threads)}),
            flush=True,
        )


if __name__ == "__main__":
    main()
