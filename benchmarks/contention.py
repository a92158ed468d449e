"""The time of a training step next to busy processes.

    python benchmarks/contention.py
    python benchmarks/contention.py --busy 0 1 2 --recipe mlp-fashion

Busy processes count in a loop, each as eager for a core as the training. A sample is the mean step
of the second epoch of a run with 100 steps an epoch. The bound is 3 x the idle time x
max(1, (threads + busy) / cores); if the median of an engine exceeds it, the exit code is 1.
Without `--quick`, two other ways are measured, once each: the PyTorch engine without the shorter
waiting that tenfold's command line sets, as in a notebook; and 20 steps of a bare PyTorch loop,
after as many that do not count.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from measuring import TENFOLD, Figure, Result, finish, one_of, parsed, parser, run, settings_of
from throughput import SYSTEMS, Worker

from tenfold.data.load import load_splits
from tenfold.native.library import Kernels, find_kernels
from tenfold.native.threads import available_cores
from tenfold.recipes import load_recipe
from tenfold.runs.resources import usual_threads

STEPS = 100

BARE_STEPS = 20

IN_A_NOTEBOOK = "torch, as in a notebook"


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Processes that count, inside the block."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    time.sleep(0.5)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def step(data: Path, recipe: str, engine: str, **environment: str) -> tuple[float, int]:
    """Milliseconds per step in a run's second epoch, and the run's number of threads."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--epochs", "2", "--engine", engine, "--out", f"{folder}/run", "--quiet"]
        options += ["--set", "test=0.0", "--val", "0"]
        run([*TENFOLD, "train", data, "--recipe", recipe, *options], **environment)
        lines = Path(folder, "run", "metrics.jsonl").read_text().splitlines()
        facts = json.loads(Path(folder, "run", "run.json").read_text())
    return 1e3 * json.loads(lines[-1])["seconds"] / STEPS, facts["conditions"]["threads"]


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
        default=[0, 1, 4, 16],
        metavar="N",
        help="numbers of busy processes; by default 0 1 4 16",
    )
    options = parsed(made)
    options.rounds = 2 if options.quick else options.rounds
    result, wrong = Result("contention", settings_of(options)), []
    recipe = load_recipe(options.recipe)
    images = load_splits(recipe.data).splits.train
    engines = ["native", "torch"] if isinstance(find_kernels(), Kernels) else ["torch"]
    cores, threads = available_cores(), 0
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "images.npz"
        n = STEPS * recipe.batch_size
        np.savez(data, images=images.image_array[:n], labels=images.label_array[:n])
        for busy in options.busy:
            samples: dict[str, list[float]] = {engine: [] for engine in engines}
            bare = None if options.quick else Worker(options.recipe, "bare", usual_threads())
            if bare is not None:
                bare.milliseconds(BARE_STEPS)
            with busy_processes(busy):
                for _ in range(options.rounds):
                    for engine in engines:
                        taken, threads = step(data, options.recipe, engine)
                        samples[engine].append(taken)
                if bare is not None:
                    # OpenMP's own number, which tenfold replaces only if none is set.
                    taken, _ = step(data, options.recipe, "torch", GOMP_SPINCOUNT="300000")
                    samples[IN_A_NOTEBOOK] = [taken]
                    samples["bare"] = [bare.milliseconds(BARE_STEPS)]
                    bare.close()
            for way, found in samples.items():
                result.figures.append(Figure(f"{busy} busy", way, "ms per step", found))
    result.facts.update(cores=cores, threads=threads)
    for busy in options.busy:
        factor = 3 * max(1, (threads + busy) / cores)
        result.facts[f"bound, {busy} busy"] = factor
        for way in engines:
            idle = result.figure("0 busy", way).median if 0 in options.busy else None
            found = result.figure(f"{busy} busy", way).median
            if idle is not None and found > factor * idle:
                wrong.append(f"{busy} busy, {way}: {found / idle:.1f} x idle, at most {factor:.1f}")
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
    finish(result, options)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
