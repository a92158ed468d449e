"""The time of a training step next to busy processes.

    python benchmarks/contention.py
    python benchmarks/contention.py --busy 1 2 --recipe mlp-fashion

Busy processes count in a loop, each as eager for a core as the training. A sample is the mean step
of the second epoch of a run with 100 steps an epoch. The bound is 3 x the idle time x
max(1, (threads + busy) / cores); if the median of an engine exceeds it, the exit code is 1.
Without `--quick`, two other ways are measured: the PyTorch engine without the shorter waiting that
tenfold's command line sets, as in a notebook; and 20 steps of a bare PyTorch loop.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from measuring import TENFOLD, Figure, begin, finish, in_turns, one_of, parsed, parser, run
from throughput import SYSTEMS, Worker

from tenfold.data.load import load_splits
from tenfold.native.library import Kernels, find_kernels
from tenfold.native.threads import available_cores
from tenfold.recipes import load_recipe
from tenfold.runs.resources import usual_threads

STEPS = 100

BARE_STEPS = 20

IN_A_NOTEBOOK = "torch, as in a notebook"

BUSY = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""
"""A busy process, which ends soon after the one that started it, however that ended."""


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Processes that count, inside the block."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    time.sleep(0.5)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def step(data: Path, recipe: str, engine: str, **environment: str) -> float:
    """Milliseconds per step in a run's second epoch."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--epochs", "2", "--engine", engine, "--out", f"{folder}/run", "--quiet"]
        options += ["--set", "test=0.0", "--val", "0"]
        run([*TENFOLD, "train", data, "--recipe", recipe, *options], **environment)
        lines = Path(folder, "run", "metrics.jsonl").read_text().splitlines()
    return 1e3 * json.loads(lines[-1])["seconds"] / STEPS


def main() -> None:
    """See the module."""
    made = parser(__doc__, rounds=5)
    made.add_argument(
        "--recipe", type=one_of(SYSTEMS), default="lenet-mnist", help="by default lenet-mnist"
    )
    made.add_argument(
        "--busy",
        type=int,
        nargs="+",
        default=[1, 4, 16],
        metavar="N",
        help="numbers of busy processes besides 0; by default 1 4 16",
    )
    options = parsed(made)
    options.rounds = 2 if options.quick else options.rounds
    options.busy = sorted({0, *options.busy})
    result, wrong = begin("contention", options), []
    recipe = load_recipe(options.recipe)
    images = load_splits(recipe.data).splits.train
    engines = ["native", "torch"] if isinstance(find_kernels(), Kernels) else ["torch"]
    cores, threads = available_cores(), usual_threads()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "images.npz"
        n = STEPS * recipe.batch_size
        np.savez(data, images=images.image_array[:n], labels=images.label_array[:n])
        for busy in options.busy:
            ways = {engine: partial(step, data, options.recipe, engine) for engine in engines}
            bare = None if options.quick else Worker(options.recipe, "bare", threads)
            if bare is not None:
                bare.milliseconds(BARE_STEPS)
                # OpenMP's own number, which tenfold replaces only if none is set.
                ways[IN_A_NOTEBOOK] = partial(ways["torch"], GOMP_SPINCOUNT="300000")
                ways["bare"] = partial(bare.milliseconds, BARE_STEPS)
            with busy_processes(busy):
                samples = in_turns(ways, options.rounds, warm_up=False)
            if bare is not None:
                bare.close()
            for way, found in samples.items():
                result.figures.append(Figure(f"{busy} busy", way, "ms per step", found))
    result.facts.update(cores=cores, threads=threads)
    for busy in options.busy:
        factor = 3 * max(1, (threads + busy) / cores)
        result.facts[f"bound, {busy} busy"] = factor
        for way in engines:
            idle = result.figure("0 busy", way).median
            found = result.figure(f"{busy} busy", way).median
            if found > factor * idle:
                wrong.append(f"{busy} busy, {way}: {found / idle:.1f} x idle, at most {factor:.1f}")
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
    finish(result, options)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
