"""The time of a training step: the tutorials' way, a bare loop, tenfold's engines, other libraries.

    python benchmarks/throughput.py --quick
    python benchmarks/throughput.py lenet-mnist mlp-fashion --threads 1

- *tutorial*: a data set that opens every image with Pillow and makes it a tensor, PyTorch's
  DataLoader, and a step that asks for the loss and the number of correct predictions;
- *bare*: a minimal PyTorch loop over float tensors in memory;
- *torch* and *native*: what `tenfold train` runs, with either engine, metrics and checks included;
- other libraries, if they are installed, fitting the same model on the same arrays: Keras on
  TensorFlow and JAX, Lightning, skorch, and scikit-learn's MLPClassifier and SGDClassifier.

The first four train the same network from the same weights on the same batches. Before that, their
losses on the first batches are compared with those of the bare loop in double precision, with
dropout off because each draws its own. If one differs by more than 1e-5, and by more than three
times as much as the bare loop in single precision, the exit code is 1. Then all take turns, each in
a process of its own. Data sets are found as by `tenfold train`; without CIFAR-10, its
JPEG copy `cifar10-jpeg.tar.xz` in the folder of `TENFOLD_DATA` is used.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import torch
from measuring import (
    Figure,
    Result,
    at_least_one,
    begin,
    choose_from,
    data_for,
    finish,
    in_turns,
    number,
    parsed,
    parser,
    seconds,
)
from peers import PEERS, can_fit
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tutorials.pictures import Pictures

from tenfold.data import ImageDataset, Splits, load_splits
from tenfold.errors import TenfoldError
from tenfold.listening import Listener
from tenfold.models.layers import Conv2d, Linear, output_shapes
from tenfold.native import waiting
from tenfold.native.library import Kernels, find_kernels
from tenfold.recipes import Recipe, load_recipe
from tenfold.runs.prepared import Prepared, train_prepared
from tenfold.runs.preparing import prepare
from tenfold.runs.resources import Resources
from tenfold.training import Standing, Watcher, epoch_order

AVX2 = {
    "TENFOLD_NATIVE": "avx2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
"""What limits the kernels, PyTorch and its libraries to AVX2."""

WAYS = ("tutorial", "bare", "torch", "native")

COMPARED = 10
"""Number of batches whose losses are compared."""

LEAST_TOLERANCE = 1e-5
"""Relative differences of losses from those in double precision that are always accepted."""

PLAIN = {
    "augment.flip": False,
    "augment.crop_padding": 0,
    "augment.cutout": 0,
    "average_decay": 0.0,
    "schedule": "constant",
    "warmup_epochs": 0,
}
"""What the other ways do not have."""


@dataclass(frozen=True)
class System:
    """A recipe, as it is measured.

    Attributes:
        recipe: its name.
        steps: of a sample, with PyTorch.
        native_steps: of a sample, with the native engine.
        changes: to the recipe.
    """

    recipe: str
    steps: int
    native_steps: int
    changes: dict[str, object]


SYSTEMS = {
    "softmax-fashion": System("softmax-fashion", 60, 2350, {}),
    "lenet-mnist": System("lenet-mnist", 100, 938, {}),
    "mlp-fashion": System("mlp-fashion", 100, 938, {}),
    "cnn-cifar10": System("cnn-cifar10", 200, 5000, {}),
    "convpool-mnist": System("convpool-mnist", 10, 200, {}),
    "convpool-mnist, lr 1e-4": System("convpool-mnist", 10, 200, {"lr": 1e-4}),
    "resnet-small": System("resnet-small", 5, 20, PLAIN),
}

MEMORY_PER_WEIGHT = {"sgd": 2, "adam": 6, "adamw": 6}
"""Minimum floats that an update moves: weight and moments, read and written."""


class Stopwatch(Watcher):
    """Ends a training after some steps, and knows how long each took after the first stretch."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.first: tuple[int, float] | None = None
        self.last = (0, 0.0)

    def advanced(self, standing: Standing) -> None:
        now = (standing.step, time.perf_counter())
        self.first, self.last = self.first or now, now

    def is_over(self) -> bool:
        assert self.first is not None
        return self.last[0] - self.first[0] >= self.steps

    @property
    def seconds_per_step(self) -> float:
        assert self.first is not None
        return (self.last[1] - self.first[1]) / (self.last[0] - self.first[0])


class Contest:
    """The ways to take a system's steps, all from the same weights and on the same batches."""

    def __init__(self, system: System, data: ImageDataset, threads: int) -> None:
        self.system, self.data, self.threads = system, data, threads
        # As many epochs as it takes: a stopwatch ends them.
        self.recipe = load_recipe(
            system.recipe, {**system.changes, "val": 0.0, "test": 0.0, "epochs": 1000}
        )

    @cached_property
    def pictures(self) -> Pictures:
        """The images as a tutorial's data set has them."""
        pixels = self.data.image_array.transpose(0, 2, 3, 1)
        gray = pixels.shape[3] == 1
        return Pictures(
            np.ascontiguousarray(pixels[..., 0] if gray else pixels), self.data.label_array
        )

    @cached_property
    def floats(self) -> Tensor:
        """The images as a bare loop has them."""
        return self.normalized(self.data.images.float() / 255)

    def normalized(self, images: Tensor) -> Tensor:
        """The images, 0..1, with the recipe's normalization if it has one."""
        if not self.recipe.normalize:
            return images
        mean, std = self.moments
        return (images - mean) / std

    @cached_property
    def moments(self) -> list[Tensor]:
        """Means and standard deviations of the channels."""
        header = self.prepared("torch", self.recipe).model.preprocessing.to_header()
        return [torch.tensor(header[name])[:, None, None] for name in ("mean", "std")]

    def prepared(self, engine: str, recipe: Recipe) -> Prepared:
        """What `tenfold train` has before the first step."""
        with self.resources(engine).repeatable() as device:
            return prepare(
                recipe,
                Splits(self.data),
                self.resources(engine),
                device,
                listener=Listener(),
            )

    def resources(self, engine: str) -> Resources:
        """What the run may use."""
        return Resources(device="cpu", threads=self.threads, engine=engine)

    def tenfold(self, engine: str, recipe: Recipe, steps: int) -> tuple[float, list[float]]:
        """Seconds per step, and the losses of the epoch so far."""
        stopwatch = Stopwatch(steps)
        with self.resources(engine).repeatable() as device:
            prepared = prepare(
                recipe,
                Splits(self.data),
                self.resources(engine),
                device,
                listener=Listener(),
            )
            train_prepared(prepared, watcher=stopwatch, should_stop=stopwatch.is_over)
        return stopwatch.seconds_per_step, prepared.state.losses.tolist()

    def pytorch(
        self, recipe: Recipe, steps: int, loop: Callable[..., list[float]]
    ) -> tuple[float, list[float]]:
        """Seconds per step, and the losses if there is time to look at them."""
        network = copy.deepcopy(self.prepared("torch", recipe).model.network).train()
        if loop == self.bare:
            network = network.to(self.floats.dtype)
        order = epoch_order(len(self.data), recipe.seed, 0, shuffle=recipe.shuffle)
        options = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
        if recipe.optimizer == "sgd":
            options |= {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
        kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        optimizer = kinds[recipe.optimizer](network.parameters(), **options)
        criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        size = recipe.batch_size
        losses = loop(network, optimizer, criterion, order[:size])  # which has more to set up
        started = time.perf_counter()
        timed = loop(network, optimizer, criterion, order[size : (1 + steps) * size])
        return (time.perf_counter() - started) / len(timed), losses + timed

    def tutorial(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        criterion: nn.Module,
        order: Tensor,
    ) -> list[float]:
        """The tutorials' loop."""
        loader = DataLoader(self.pictures, self.recipe.batch_size, sampler=order.tolist())
        losses, correct = [], 0
        for images, labels in loader:
            optimizer.zero_grad()
            logits = network(self.normalized(images))
            loss = criterion(logits, labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            correct += (logits.argmax(1) == labels).sum().item()
        return losses

    def bare(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        criterion: nn.Module,
        order: Tensor,
    ) -> list[float]:
        """A minimal loop."""
        losses = []
        for chosen in order.split(self.recipe.batch_size):
            loss = criterion(network(self.floats[chosen]), self.data.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).tolist()

    def take(self, way: str, recipe: Recipe, steps: int) -> tuple[float, list[float]]:
        """Seconds per step, and losses, of one of `WAYS`."""
        if way in ("torch", "native"):
            return self.tenfold(way, recipe, steps)
        return self.pytorch(recipe, steps, {"tutorial": self.tutorial, "bare": self.bare}[way])

    def first_losses(self, way: str) -> list[float]:
        """The losses of the first batches without dropout, which each way draws for itself.

        `exact` is the bare loop in double precision.
        """
        recipe = self.recipe
        if "dropout" in self.prepared("torch", recipe).recipe.model_args:
            arguments = {**recipe.model_args, "dropout": 0.0}
            recipe = recipe.model_copy(update={"model_args": arguments})
        if way == "exact":
            self.floats = self.floats.double()
            losses = self.take("bare", recipe, COMPARED)[1][:COMPARED]
            del self.floats
            return losses
        return self.take(way, recipe, COMPARED)[1][:COMPARED]

    def floor(self) -> float:
        """Seconds that a step takes at least on this machine.

        The longer of two times: its operations at the rate of PyTorch's product of large matrices,
        and the memory traffic of its weights at the rate of PyTorch's in-place addition.
        """
        prepared = self.prepared("torch", self.recipe)
        assert prepared.layers is not None
        shapes = output_shapes(prepared.layers, self.data.image_shape)
        operations, weights = 0, 0
        for layer, shape in zip(prepared.layers, shapes, strict=True):
            if isinstance(layer, Conv2d | Linear):
                (_, size), *_ = layer.tensors()
                products = math.prod(size) * math.prod(shape[1:])
                # Forward, and the gradients of the weights and, after the first layer, the input.
                operations += 2 * products * (3 if weights else 2)
                weights += math.prod(size)
        moved = 4 * weights * MEMORY_PER_WEIGHT[self.recipe.optimizer]
        return max(operations * self.recipe.batch_size / matrix_rate(), moved / memory_rate())


@cache
def matrix_rate() -> float:
    """Operations per second of PyTorch's product of two large matrices."""
    a, b = torch.rand(2048, 2048), torch.rand(2048, 2048)
    return 2 * 2048**3 / min(seconds(lambda: torch.mm(a, b)) for _ in range(5))


@cache
def memory_rate() -> float:
    """Bytes read and written per second by PyTorch's in-place addition to a large array."""
    numbers = torch.zeros(2**26)
    return 8 * 2**26 / min(seconds(lambda: numbers.add_(1)) for _ in range(5))


class Worker:
    """A process of its own for one way to take a system's steps.

    Threads of one way would disturb the others: OpenMP waits less eagerly if a process has more
    threads than there are cores.
    """

    def __init__(
        self, name: str, way: str, threads: int, batch_size: int = 0, *, avx2: bool = False
    ) -> None:
        # As the command line does.
        limited = way in ("native", "torch") and not waiting.is_set()
        environment = {"GOMP_SPINCOUNT": waiting.spin_count()} if limited else {}
        environment |= AVX2 if avx2 else {}
        self.process = subprocess.Popen(
            [
                *(sys.executable, __file__, name, "--work", way),
                *("--threads", str(threads), "--batch-size", str(batch_size)),
            ],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, question: str) -> Any:
        """The answer to `losses`, `exact`, `floor` or a number of steps."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{question}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a measurement failed; see above")
        return json.loads(line)

    def milliseconds(self, steps: int) -> float:
        """Milliseconds per step, over this many."""
        return 1e3 * float(self.ask(str(steps)))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def work(name: str, way: str, threads: int, batch_size: int) -> None:
    """Answer questions on standard input, in a worker's process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once
    if hasattr(os, "sched_setaffinity"):  # not all libraries can be told a number of threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    if way not in ("native", "torch"):
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
    system = SYSTEMS[name]
    if batch_size:
        system = replace(system, changes={**system.changes, "batch_size": batch_size})
    data = load_splits(data_for(load_recipe(system.recipe).data)).splits.train
    if way in PEERS:
        fit = PEERS[way](system.recipe, data)
        of_epoch = len(data) // load_recipe(system.recipe).batch_size
        for line in sys.stdin:
            print(json.dumps(fit(min(int(line), of_epoch))), flush=True)
        return
    contest = Contest(system, data, threads)
    for line in sys.stdin:
        question = line.strip()
        if question in ("losses", "exact"):
            answer: object = contest.first_losses(way if question == "losses" else question)
        elif question == "floor":
            answer = contest.floor()
        else:
            answer = contest.take(way, contest.recipe, int(question))[0]
        print(json.dumps(answer), flush=True)


def measure(name: str, options: argparse.Namespace, result: Result) -> list[str]:
    """Add a system's figures to the result; returns what is wrong with the losses."""
    system, share = SYSTEMS[name], 5 if options.quick else 1
    ways = [way for way in WAYS if way != "native" or isinstance(find_kernels(), Kernels)]
    peers = [peer for peer in PEERS if options.peers and can_fit(peer, system.recipe)]
    load_splits(data_for(load_recipe(system.recipe).data))  # fails once, and not in every worker
    workers = {
        way: Worker(name, way, options.threads, options.batch_size, avx2=options.avx2)
        for way in (*ways, *peers)
    }
    losses = {way: workers[way].ask("losses") for way in ways}
    steps = dict.fromkeys(workers, system.steps // share)
    # Others fit whole epochs at a call, which takes some time of its own.
    steps |= dict.fromkeys(("native", *peers), system.native_steps // share)
    timed = {way: partial(worker.milliseconds, steps[way]) for way, worker in workers.items()}
    samples = in_turns(timed, options.rounds)
    result.figures.extend(Figure(name, way, "ms per step", taken) for way, taken in samples.items())
    exact = workers["bare"].ask("exact")
    differences = {
        way: max(abs(a - b) / b for a, b in zip(found, exact, strict=True))
        for way, found in losses.items()
    }
    allowed = max(LEAST_TOLERANCE, 3 * differences["bare"])
    floor = 1e3 * workers["bare"].ask("floor")
    result.facts[name] = {"differences": differences, "floor_ms": floor}
    for worker in workers.values():
        worker.close()
    return [
        f"{name}: the losses of {way} differ by {found:.1e} from those in double precision, "
        f"wanted at most {allowed:.1e}"
        for way, found in differences.items()
        if not found <= allowed
    ]


def ratios(result: Result, name: str) -> str:
    """How many times faster each engine is than the other ways."""
    medians = {figure.way: figure.median for figure in result.figures if figure.of == name}
    parts = []
    for engine in ("native", "torch"):
        if engine in medians:
            others = (
                f"{number(median / medians[engine])} times as fast as {way}"
                for way, median in medians.items()
                if way not in ("native", engine)
            )
            parts.append(f"{engine} is {', '.join(others)}")
    return "; ".join(parts)


def main() -> None:
    """See the module."""
    made = parser(__doc__)
    choose_from(made, "systems", SYSTEMS)
    made.add_argument("--threads", type=at_least_one, default=2, help="by default 2")
    made.add_argument(
        "--peers", action="store_true", help="also measure other libraries, if installed"
    )
    made.add_argument("--avx2", action="store_true", help="let no way use AVX-512")
    made.add_argument("--batch-size", type=int, default=0, help=argparse.SUPPRESS)
    made.add_argument("--work", help=argparse.SUPPRESS)
    options = parsed(made)
    if options.work:
        work(options.systems[0], options.work, options.threads, options.batch_size)
        return
    result = begin("throughput", options, **({"kernels": "avx2"} if options.avx2 else {}))
    wrong = []
    for name in options.systems:
        wrong += measure(name, options, result)
        print(f"{name}: {ratios(result, name)}", file=sys.stderr, flush=True)
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
    finish(result, options)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    try:
        main()
    except TenfoldError as error:
        sys.exit(f"{error}")
