"""How the time grows: with threads, with the batch size, and with the number of images.

    python benchmarks/scaling.py

- threads: a step of each recipe with the native engine, with 1 thread, 2, and as many as cores;
- batch size: LeNet on MNIST, microseconds per image for batches of 1 to 1,024, with each engine and
  2 threads;
- images: `tenfold train`, imports included, for one epoch of softmax regression and of LeNet, on
  1,000 to 1,000,000 made-up 28x28 images in an .npz file: time, and peak memory.
"""

from __future__ import annotations

import json
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from measuring import (
    Figure,
    Result,
    begin,
    finish,
    in_turns,
    parsed,
    parser,
    run,
)
from throughput import SYSTEMS, Worker

from tenfold.native.threads import available_cores

BATCHES = (1, 4, 16, 64, 256, 1024)
SIZES = (1_000, 10_000, 100_000, 1_000_000)

TRAIN = """
import json, re, resource, sys, time
started = time.perf_counter()
from tenfold.cli import main
try:
    main()
finally:
    seconds = time.perf_counter() - started
    try:  # Linux's ru_maxrss is inherited from the process that started this one
        peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 2**10
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "peak": peak}))
"""
"""The command line, and then its time and peak memory in MiB."""


def with_threads(result: Result, rounds: int, quick: bool) -> None:
    """A step of each recipe for every number of threads."""
    counts = sorted({1, 2, available_cores()} & set(range(1, available_cores() + 1)))
    for name in list(SYSTEMS)[:4] if quick else SYSTEMS:
        workers = {count: Worker(name, "native", count) for count in counts}
        steps = SYSTEMS[name].native_steps // (5 if quick else 1)
        ways = {
            f"{count} threads": partial(worker.milliseconds, steps)
            for count, worker in workers.items()
        }
        for way, samples in in_turns(ways, rounds).items():
            result.figures.append(Figure(f"threads, {name}", way, "ms per step", samples))
        for worker in workers.values():
            worker.close()


def with_batch_size(result: Result, rounds: int, quick: bool) -> None:
    """LeNet's time per image for every batch size."""
    for size in BATCHES[::2] if quick else BATCHES:
        workers = {engine: Worker("lenet-mnist", engine, 2, size) for engine in ("native", "torch")}
        images = {"native": 12_800, "torch": 3_200}
        ways = {
            engine: partial(
                worker.milliseconds, max(2, images[engine] // size // (4 if quick else 1))
            )
            for engine, worker in workers.items()
        }
        for way, samples in in_turns(ways, rounds).items():
            per_image = [1e3 * sample / size for sample in samples]
            result.figures.append(Figure(f"batches of {size:,}", way, "µs per image", per_image))
        for worker in workers.values():
            worker.close()


def with_images(result: Result, rounds: int, quick: bool, folder: Path) -> None:
    """The time and memory of one epoch for every number of images."""
    sizes = SIZES[:3] if quick else SIZES
    generator = np.random.default_rng(0)
    for size in sizes:
        images = generator.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        np.savez(folder / f"{size}.npz", images=images, labels=np.arange(size) % 10)
    for model, batch in (("softmax", 256), ("lenet", 64)):
        taken: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
        for _ in range(rounds):
            for size in sizes:
                with tempfile.TemporaryDirectory(dir=folder) as out:
                    options = [
                        *("--model", model, "--epochs", "1", "--batch-size", str(batch)),
                        *("--val", "0", "--set", "test=0.0", "--out", f"{out}/run", "--quiet"),
                    ]
                    words = [sys.executable, "-c", TRAIN, "train", folder / f"{size}.npz"]
                    taken[size].append(json.loads(run([*words, *options]).out.splitlines()[-1]))
        for size, answers in taken.items():
            of = f"{size:,} images, {model}"
            times = [answer["seconds"] for answer in answers]
            peaks = [answer["peak"] for answer in answers]
            result.figures.append(Figure(of, "time", "s", times))
            result.figures.append(Figure(of, "peak memory", "MiB", peaks))


def main() -> None:
    """See the module."""
    options = parsed(parser(__doc__, rounds=3))
    result = begin("scaling", options)
    with_threads(result, options.rounds, options.quick)
    with_batch_size(result, options.rounds, options.quick)
    with tempfile.TemporaryDirectory() as folder:
        with_images(result, 1 if options.quick else options.rounds, options.quick, Path(folder))
    finish(result, options)


if __name__ == "__main__":
    main()
