"""Programs built from the driver and the kernels, each compiled once per test session."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import FileLock
from trees import ROOT, SOURCE, need

from tenfold.native.built import INSTRUCTION_SETS, processor
from tenfold.native.compiling import INSTRUCTION_FLAGS, Compiler, find_compiler

KERNELS = ("kernels", "processor")
DRIVER = (
    "cases",
    "comparing",
    "digests",
    "driver",
    "fuzzing",
    "library",
    "networks",
    "reference",
    "refusals",
    "steps",
)
TESTS = ROOT / "tests" / "native"

STRICT = ("-Wall", "-Wextra", "-Werror", "-Wno-uninitialized")  # the last for GCC's AVX-512 headers

# The driver is compiled without a sanitizer: only the kernels are being checked.
DRIVER_FLAGS = ("-std=c++17", "-O2", "-ffp-contract=off", "-pthread", *STRICT)

SANITIZERS = {
    "plain": (),
    "address": ("-Og", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-O1", "-g1", "-fsanitize=thread"),
}
"""By name: extra flags for the kernels."""

ENVIRONMENT = {
    # On a signal, the driver reports the current case.
    "ASAN_OPTIONS": "abort_on_error=1",
    "UBSAN_OPTIONS": "abort_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "abort_on_error=1:halt_on_error=1",
}

EMULATED = {"arm64": "qemu-aarch64"}
CROSS_COMPILERS = {"arm64": "aarch64-linux-gnu-g++"}


@dataclass(frozen=True)
class Answer:
    """A program's exit code and output."""

    code: int
    out: str
    err: str


class Workshop:
    """Compiles programs into a folder that several processes may share.

    Args:
        folder: an existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def compiler(self) -> Compiler:
        """The compiler that `CXX` names, or the first of the usual ones."""
        return find_compiler(processor())

    def driver(self, instruction_set: str, sanitizer: str = "plain") -> list[str]:
        """The command for the driver with the kernels linked in, emulated if necessary."""
        machine = _machine_of(instruction_set)
        is_foreign = machine != processor()
        compiler = self._compiler_for(machine)
        watched = SANITIZERS[sanitizer]
        flags = compiler.compile_flags(instruction_set, "0" * 16)
        own = INSTRUCTION_FLAGS[instruction_set]
        units = [
            (ROOT / SOURCE / "kernels.cpp", [*flags, *own, *watched]),
            (ROOT / SOURCE / "processor.cpp", [*flags, *watched]),
            *((TESTS / f"{name}.cpp", [*DRIVER_FLAGS, "-DTENFOLD_LINKED"]) for name in DRIVER),
        ]
        linking = [*watched, "-pthread", *(["-static"] if is_foreign else ["-ldl"])]
        program = self._program(f"driver-{instruction_set}-{sanitizer}", compiler, units, linking)
        return [*_emulator(machine), str(program)]

    def pieces(self, instruction_set: str) -> list[str]:
        """The command for the unit tests in pieces.cpp, emulated if necessary."""
        machine = _machine_of(instruction_set)
        compiler = self._compiler_for(machine)
        flags = [*DRIVER_FLAGS, *INSTRUCTION_FLAGS[instruction_set]]
        units = [(TESTS / "pieces.cpp", [*flags, f"-DTENFOLD_{instruction_set.upper()}"])]
        linking = ["-static"] if machine != processor() else []
        program = self._program(f"pieces-{instruction_set}", compiler, units, linking)
        return [*_emulator(machine), str(program)]

    def _compiler_for(self, machine: str) -> Compiler:
        if machine == processor():
            return self.compiler
        return find_compiler(machine, {"CXX": need(CROSS_COMPILERS[machine])}, "linux")

    def _program(
        self,
        name: str,
        compiler: Compiler,
        units: Sequence[tuple[Path, Sequence[str]]],
        linking: Sequence[str],
    ) -> Path:
        """Compile the missing units in parallel and link them."""
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            objects = list(pool.map(lambda unit: self._object(compiler, *unit), units))
        command = [*compiler.command, *map(str, objects), *linking]
        return self._made(name, command)

    def _object(self, compiler: Compiler, source: Path, flags: Sequence[str]) -> Path:
        command = [*compiler.command, "-c", str(source), f"-I{ROOT / SOURCE}", *flags]
        return self._made(f"{source.stem}.o", command)

    def _made(self, name: str, command: Sequence[str]) -> Path:
        """The output file of a command; the first process to ask runs the command."""
        digest = hashlib.sha256("\0".join(command).encode()).hexdigest()[:16]
        file = self.folder / f"{digest}-{name}"
        with FileLock(f"{file}.lock"):
            if not file.exists():
                unfinished = file.with_suffix(".unfinished")
                run = subprocess.run(
                    [*command, "-o", str(unfinished)], capture_output=True, text=True
                )
                assert run.returncode == 0, f"{shlex.join(command)}\n{run.stderr}"
                unfinished.rename(file)
        return file


def call(command: Sequence[str], *arguments: str) -> Answer:
    """Run a program from the workshop."""
    run = subprocess.run(
        [*command, *arguments],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        errors="replace",
    )
    return Answer(run.returncode, run.stdout, run.stderr)


def instruction_sets_here() -> list[str]:
    """The instruction sets of this kind of processor, best first."""
    return list(INSTRUCTION_SETS.get(processor(), ()))


def _machine_of(instruction_set: str) -> str:
    return next(name for name, sets in INSTRUCTION_SETS.items() if instruction_set in sets)


def _emulator(machine: str) -> list[str]:
    return [] if machine == processor() else [need(EMULATED[machine])]
