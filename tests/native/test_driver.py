"""The kernels through their C interface: a fuzzer in C++ against a slow reference.

The driver says how to repeat a failure: `driver --seed N --cases 1`. `tests/soak/fuzz_kernels.py`
runs the same for longer.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from workshop import Answer, Workshop, call, instruction_sets_here

from needed_tools import cannot_be_tested
from tenfold.native.built import processor
from tenfold.native.compiling import BuildError
from thoroughness import IS_THOROUGH, only_if_thorough, some

SETS_HERE = instruction_sets_here()
CANNOT_RUN_HERE = 3  # the driver's exit code

pytestmark = [
    pytest.mark.skipif(not SETS_HERE, reason=f"there are no kernels for {processor()} processors"),
    pytest.mark.skipif(sys.platform != "linux", reason="the driver is written for Linux"),
]

SEEDS = {"plain": 0, "undefined": 1_000_000, "thread": 2_000_000}
CASES = {"plain": 60 if IS_THOROUGH else 30, "undefined": 10, "thread": 8}

# With a sanitizer, one instruction set has to do here; the longer fuzzer has all of them.
ONE_THREAD = [
    *((name, "plain") for name in SETS_HERE),
    *((name, "undefined") for name in SETS_HERE[-1:]),  # checks addresses as well
]
BUILDS = [*ONE_THREAD, *((name, "thread") for name in SETS_HERE[-1:])]

each_set = pytest.mark.parametrize("instruction_set", SETS_HERE)
each_build = pytest.mark.parametrize(("instruction_set", "sanitizer"), BUILDS)
each_build_for_one_thread = pytest.mark.parametrize(("instruction_set", "sanitizer"), ONE_THREAD)


@pytest.fixture(scope="session")
def workshop(workshop: Workshop) -> Workshop:
    """The workshop, if programs for this processor can be compiled."""
    try:
        _ = workshop.compiler
    except BuildError as error:
        cannot_be_tested(error.reason)
    return workshop


def passes(command: list[str], *arguments: str) -> Answer:
    """Run a program that must not fail; skip if the processor cannot run the kernels."""
    answer = call(command, *arguments)
    if answer.code == CANNOT_RUN_HERE:
        pytest.skip(answer.err.strip())
    assert answer.code == 0, f"{' '.join(arguments)}\n{answer.err}{answer.out}"
    return answer


@only_if_thorough
def test_the_reference_agrees_with_finite_differences(workshop: Workshop) -> None:
    driver = workshop.driver(SETS_HERE[-1])
    assert "gradients" in passes(driver, "--check-reference", "--cases", "6").out


@pytest.mark.parametrize("instruction_set", some(sorted(SETS_HERE)))
def test_the_small_pieces(workshop: Workshop, instruction_set: str) -> None:
    passes(workshop.driver(instruction_set), "--lists", "--cases", "1")  # may skip
    assert "ulp" in passes(workshop.pieces(instruction_set)).out


@each_build
def test_random_trainings(workshop: Workshop, instruction_set: str, sanitizer: str) -> None:
    seed = SEEDS[sanitizer] + 10_000 * SETS_HERE.index(instruction_set)
    cases = CASES[sanitizer]
    answer = passes(
        workshop.driver(instruction_set, sanitizer), "--seed", str(seed), "--cases", str(cases)
    )
    assert answer.out.startswith(f"{cases} cases")


@each_build
def test_concurrent_trainings(workshop: Workshop, instruction_set: str, sanitizer: str) -> None:
    passes(workshop.driver(instruction_set, sanitizer), "--company", "--cases", "5")


@each_build_for_one_thread
def test_mutated_lists(workshop: Workshop, instruction_set: str, sanitizer: str) -> None:
    passes(workshop.driver(instruction_set, sanitizer), "--lists", "--cases", "3000")


@each_build_for_one_thread
def test_wrong_arguments(workshop: Workshop, instruction_set: str, sanitizer: str) -> None:
    passes(workshop.driver(instruction_set, sanitizer), "--arguments")


@each_set
def test_networks_that_are_too_large(workshop: Workshop, instruction_set: str) -> None:
    """Without a sanitizer: with one, memory is unlimited, or exceeding it ends the program."""
    passes(workshop.driver(instruction_set), "--large")


def digests(command: list[str], *, cases: int = 30, steps: int = 20, threads: int = 2) -> list[str]:
    """Digests of the bits that trainings end with, one per line."""
    numbers = {"seed": 7, "cases": cases, "steps": steps, "threads": threads}
    options = [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
    found = passes(command, "--digest", *options).out.splitlines()
    assert len(found) == 12 + cases
    return found


@each_set
@pytest.mark.parametrize("threads", [1, 3])
def test_every_instruction_set_ends_with_the_same_bits(
    workshop: Workshop, instruction_set: str, threads: int
) -> None:
    wanted = digests(workshop.driver(SETS_HERE[-1]))
    assert digests(workshop.driver(instruction_set), threads=threads) == wanted


@pytest.mark.skipif(processor() == "arm64", reason="nothing is emulated on an ARM processor")
class TestEmulatedArm:
    """The kernels for NEON on an emulated processor."""

    def test_the_same_bits_as_here(self, workshop: Workshop) -> None:
        wanted = digests(workshop.driver(SETS_HERE[-1]), cases=4, steps=2)
        assert digests(workshop.driver("neon"), cases=4, steps=2, threads=1) == wanted

    def test_the_small_pieces(self, workshop: Workshop) -> None:
        rounds = [] if IS_THOROUGH else ["1000"]
        assert "ulp" in passes(workshop.pieces("neon"), *rounds).out


def test_a_library_by_its_path(workshop: Workshop, tmp_path: Path) -> None:
    """The driver opens an installed library, or says what is wrong with it."""
    missing = tmp_path / "kernels.so"
    answer = call(workshop.driver(SETS_HERE[-1]), "--library", str(missing))
    assert answer.code == 2
    assert str(missing) in answer.err
