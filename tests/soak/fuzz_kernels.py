"""Fuzz the compiled kernels with random trainings, mutated lists and concurrent trainings.

    python tests/soak/fuzz_kernels.py --minutes 30

A longer version of `tests/native/test_driver.py`, with new seeds all the time. Tests each of this
processor's instruction sets without a sanitizer, with the address and undefined behavior
sanitizers, and with the thread sanitizer. Failures are printed with the command that repeats them.
The exit code is 0 if nothing failed.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

sys.path[:0] = [str(Path(__file__).parents[1] / "native"), str(Path(__file__).parents[1])]

from workshop import Workshop, call, instruction_sets_here  # noqa: E402 - needs the path above

CANNOT_RUN_HERE = 3
MOST_FAILURES = 10
CASES = {"plain": 100, "undefined": 30, "thread": 10}
"""Cases per call of the driver, which takes a few seconds."""

MODES = {(): 1, ("--lists",): 100, ("--company",): 0.2}
"""The driver's modes, and their number of cases relative to trainings."""

LARGEST_SEED = 2**53


@dataclass
class Tally:
    """Counts and failures.

    Attributes:
        calls: of the driver.
        cases: in all calls, by mode.
        failures: the command that repeats each, with its output.
    """

    calls: int = 0
    cases: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class Fuzzer:
    """Calls drivers until time is up.

    Args:
        drivers: pairs of sanitizer and command.
        seconds: how long to run.
        seed: for the choice of calls.
    """

    def __init__(self, drivers: list[tuple[str, list[str]]], seconds: float, seed: int) -> None:
        self.drivers = drivers
        self.end = time.monotonic() + seconds
        self.dice = random.Random(seed)
        self.tally = Tally()
        self.lock = Lock()

    def run(self) -> None:
        """Run one worker's calls."""
        while time.monotonic() < self.end and len(self.tally.failures) < MOST_FAILURES:
            with self.lock:
                sanitizer, driver = self.dice.choice(self.drivers)
                mode = self.dice.choices(list(MODES), [8, 1, 1])[0]
                seed = self.dice.randrange(LARGEST_SEED)
            cases = max(1, round(MODES[mode] * CASES[sanitizer]))
            arguments = [*mode, "--seed", str(seed), "--cases", str(cases)]
            answer = call(driver, *arguments)
            with self.lock:
                name = " ".join(mode) or "trainings"
                self.tally.calls += 1
                self.tally.cases[name] = self.tally.cases.get(name, 0) + cases
                if answer.code != 0:
                    command = shlex.join([Path(driver[0]).name, *arguments])
                    self.tally.failures.append(f"{command}\n{answer.err}{answer.out}")
                    print(self.tally.failures[-1], file=sys.stderr, flush=True)


def built_drivers(workshop: Workshop) -> list[tuple[str, list[str]]]:
    """The driver with each of this processor's instruction sets and each sanitizer."""
    drivers = []
    for instruction_set in instruction_sets_here():
        if call(workshop.driver(instruction_set), "--lists").code == CANNOT_RUN_HERE:
            print(f"this processor has no {instruction_set}", file=sys.stderr)
            continue
        drivers += [(name, workshop.driver(instruction_set, name)) for name in CASES]
    return drivers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="number of drivers in parallel"
    )
    options = parser.parse_args()
    seed = time.time_ns() if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="tenfold-fuzz-") as folder:
        drivers = built_drivers(Workshop(Path(folder)))
        fuzzer = Fuzzer(drivers, 60 * options.minutes, seed)
        with ThreadPoolExecutor(max_workers=options.jobs) as pool:
            for worker in [pool.submit(fuzzer.run) for _ in range(options.jobs)]:
                worker.result()
    tally = fuzzer.tally
    cases = ", ".join(f"{count:,} {name}" for name, count in sorted(tally.cases.items()))
    print(f"{len(drivers)} drivers, {tally.calls:,} calls, {cases}; {len(tally.failures)} failures")
    sys.exit(1 if tally.failures or not tally.calls else 0)


if __name__ == "__main__":
    main()
