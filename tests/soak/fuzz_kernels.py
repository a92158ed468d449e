"""Fuzz the compiled kernels with random trainings, mutated lists and concurrent trainings.

    python tests/soak/fuzz_kernels.py --minutes 30

A longer version of `tests/native/test_driver.py`, with new seeds all the time. Tests each of this
processor's instruction sets without a sanitizer, with the address and undefined behavior
sanitizers, and with the thread sanitizer. Sometimes compares the bits that trainings end with
between instruction sets, including ARM's on an emulated processor, and the reference with finite
differences. Failures are printed with the command that repeats them. The exit code is 0 if nothing
failed.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

sys.path[:0] = [str(Path(__file__).parents[1] / "native"), str(Path(__file__).parents[1])]

from workshop import (  # noqa: E402 - needs the path above
    CROSS_COMPILERS,
    EMULATED,
    Answer,
    Workshop,
    call,
    instruction_sets_here,
)

from tenfold.native.built import INSTRUCTION_SETS, processor  # noqa: E402 - must follow the path

CANNOT_RUN_HERE = 3
MOST_FAILURES = 10
CASES = {"plain": 100, "undefined": 30, "thread": 10}
"""Cases per call of the driver, which takes a few seconds."""

MODES = {(): 1, ("--lists",): 100, ("--company",): 0.2, ("--check-reference",): 0.5}
"""The driver's modes, and their number of cases relative to trainings."""

DIGEST = ("--digest", "--steps", "20", "--cases", "10")
MINUTE = 60.0
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
        emulated: commands of the drivers for other processors.
        seconds: how long to run.
        seed: for the choice of calls.
    """

    def __init__(
        self,
        drivers: list[tuple[str, list[str]]],
        emulated: list[list[str]],
        seconds: float,
        seed: int,
    ) -> None:
        self.drivers = drivers
        self.plain = [driver for name, driver in drivers if name == "plain"] + emulated
        self.end = time.monotonic() + seconds
        self.dice = random.Random(seed)
        self.tally = Tally()
        self.lock = Lock()

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self.end or len(self.tally.failures) >= MOST_FAILURES

    def run(self) -> None:
        """Run one worker's calls."""
        while not self.is_over:
            with self.lock:
                job = self.dice.choices([self._check, self._compare], [15, 1])[0]
            job()

    def _check(self) -> None:
        """Run one mode of one driver."""
        with self.lock:
            sanitizer, driver = self.dice.choice(self.drivers)
            mode = self.dice.choices(list(MODES), [8, 1, 1, 1])[0]
            seed = self.dice.randrange(LARGEST_SEED)
        cases = max(1, round(MODES[mode] * CASES[sanitizer]))
        arguments = [*mode, "--seed", str(seed), "--cases", str(cases)]
        answer = call(driver, *arguments)
        self._count(" ".join(mode) or "trainings", cases)
        if answer.code != 0:
            self._failed(driver, arguments, answer)

    def _compare(self) -> None:
        """Compare one instruction set's bits with the first's, on any number of threads."""
        with self.lock:
            driver = self.dice.choice(self.plain)
            seed, threads = self.dice.randrange(LARGEST_SEED), self.dice.randint(1, 4)
        arguments = [*DIGEST, "--seed", str(seed), "--threads", str(threads)]
        wanted, answer = call(self.plain[0], *DIGEST, "--seed", str(seed)), call(driver, *arguments)
        self._count("--digest", 1)
        if answer.code != 0 or answer.out != wanted.out:
            self._failed(driver, arguments, answer)

    def _count(self, name: str, cases: int) -> None:
        with self.lock:
            self.tally.calls += 1
            self.tally.cases[name] = self.tally.cases.get(name, 0) + cases

    def _failed(self, driver: list[str], arguments: list[str], answer: Answer) -> None:
        command = shlex.join([Path(driver[-1]).name, *arguments])
        with self.lock:
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


def emulated_drivers(workshop: Workshop) -> list[list[str]]:
    """The driver for each other processor with a cross-compiler and an emulator here."""
    found = []
    for machine, emulator in EMULATED.items():
        tools = [emulator, CROSS_COMPILERS[machine]]
        if machine == processor():
            continue
        if all(map(shutil.which, tools)):
            found += [workshop.driver(name) for name in INSTRUCTION_SETS[machine]]
        else:
            print(f"skipping {machine}: it needs {' and '.join(tools)}", file=sys.stderr)
    return found


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
        workshop = Workshop(Path(folder))
        drivers, emulated = built_drivers(workshop), emulated_drivers(workshop)
        fuzzer = Fuzzer(drivers, emulated, MINUTE * options.minutes, seed)
        with ThreadPoolExecutor(max_workers=options.jobs) as pool:
            workers = {pool.submit(fuzzer.run) for _ in range(options.jobs)}
            while workers:
                ended, workers = wait(workers, timeout=MINUTE)
                for worker in ended:
                    worker.result()
                if workers:
                    print(summary(fuzzer.tally), file=sys.stderr, flush=True)
    print(*fuzzer.tally.failures, sep="\n")
    print(f"{len(drivers) + len(emulated)} drivers, {summary(fuzzer.tally)}")
    sys.exit(1 if fuzzer.tally.failures or not fuzzer.tally.calls else 0)


def summary(tally: Tally) -> str:
    """The calls, cases and failures so far, in one line."""
    cases = ", ".join(f"{count:,} {name}" for name, count in sorted(tally.cases.items()))
    return f"{tally.calls:,} calls, {cases}; {len(tally.failures)} failures"


if __name__ == "__main__":
    main()
