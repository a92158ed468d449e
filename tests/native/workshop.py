"""Libraries of the kernels and programs, each compiled once per test session."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from filelock import FileLock
from trees import ROOT, SOURCE

from needed_tools import need
from tenfold.native.built import INSTRUCTION_SETS, processor
from tenfold.native.compiling import (
    INSTRUCTION_FLAGS,
    Compiler,
    compile_library,
    find_compiler,
)

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

STRICT = ("-Wall", "-Wextra", "-Werror")
STRICT_GCC = (*STRICT, "-Wno-uninitialized")  # its own AVX-512 headers trigger this warning

# The driver is compiled without a sanitizer: only the kernels are being checked.
DRIVER_FLAGS = ("-std=c++17", "-O2", "-ffp-contract=off", "-pthread")

SANITIZERS = {
    "plain": (),
    "undefined": ("-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-Og", "-g1", "-fsanitize=thread"),
}
"""By name: extra flags for the kernels. `undefined` checks addresses as well."""

DIGEST = "0" * 16
"""The digest of their sources that libraries and programs built here report."""

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


def strict(compiler: Compiler) -> Compiler:
    """The same compiler, with every warning an error."""
    words = STRICT if compiler.is_clang else STRICT_GCC
    return replace(compiler, command=(*compiler.command, *words))


class Workshop:
    """Compiles libraries and programs into a folder that several processes may share.

    Args:
        folder: an existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def compiler(self) -> Compiler:
        """The compiler that `CXX` names, or the first of the usual ones, made strict."""
        return strict(find_compiler(processor()))

    def library(self, compiler: Compiler, instruction_set: str) -> Path:
        """The library as an installation builds it, with its object files beside it.

        Another name for the same compiler does not compile it again.
        """
        key = [
            *(str(Path(compiler.command[0]).resolve()), *compiler.command[1:]),
            *compiler.compile_flags(instruction_set, DIGEST),
        ]
        folder = self.folder / f"{_digest_of(key)}-{instruction_set}"
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                unfinished = folder.with_suffix(".unfinished")
                unfinished.mkdir(exist_ok=True)
                file = unfinished / "kernels.so"
                compile_library(compiler, ROOT / SOURCE, file, instruction_set, DIGEST)
                unfinished.rename(folder)
        return folder / "kernels.so"

    def driver(self, instruction_set: str, sanitizer: str = "plain") -> list[str]:
        """The command for the driver with the kernels linked in, emulated if necessary."""
        machine = _machine_of(instruction_set)
        is_foreign = machine != processor()
        compiler = self._compiler_for(machine)
        watched = SANITIZERS[sanitizer]
        # As one unit: headers of the standard library take most of the time, again in every unit.
        others = [f"-include{TESTS / name}.cpp" for name in DRIVER if name != "driver"]
        units = [(TESTS / "driver.cpp", [*DRIVER_FLAGS, "-DTENFOLD_LINKED", *others])]
        kernels: list[Path] = []
        if watched:
            flags = [*compiler.compile_flags(instruction_set, DIGEST), *watched]
            own = INSTRUCTION_FLAGS[instruction_set]
            units += [
                (ROOT / SOURCE / "kernels.cpp", [*flags, *own]),
                (ROOT / SOURCE / "processor.cpp", flags),
            ]
        else:
            library = self.library(compiler, instruction_set)
            kernels = [library.with_suffix(f".{name}.o") for name in KERNELS]
        linking = [*watched, "-pthread", *(["-static"] if is_foreign else ["-ldl"])]
        name = f"driver-{instruction_set}-{sanitizer}"
        program = self._program(name, compiler, units, kernels, linking)
        return [*_emulator(machine), str(program)]

    def pieces(self, instruction_set: str) -> list[str]:
        """The command for the unit tests in pieces.cpp, emulated if necessary."""
        machine = _machine_of(instruction_set)
        compiler = self._compiler_for(machine)
        flags = [*DRIVER_FLAGS, *INSTRUCTION_FLAGS[instruction_set]]
        units = [(TESTS / "pieces.cpp", [*flags, f"-DTENFOLD_{instruction_set.upper()}"])]
        linking = ["-static"] if machine != processor() else []
        program = self._program(f"pieces-{instruction_set}", compiler, units, [], linking)
        return [*_emulator(machine), str(program)]

    def _compiler_for(self, machine: str) -> Compiler:
        if machine == processor():
            return self.compiler
        return strict(find_compiler(machine, {"CXX": need(CROSS_COMPILERS[machine])}, "linux"))

    def _program(
        self,
        name: str,
        compiler: Compiler,
        units: Sequence[tuple[Path, Sequence[str]]],
        beside: Sequence[Path],
        linking: Sequence[str],
    ) -> Path:
        """Compile the missing units in parallel and link them with other object files."""
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            objects = list(pool.map(lambda unit: self._object(compiler, *unit), units))
        command = [*compiler.command, *map(str, [*objects, *beside]), *linking]
        return self._made(name, command)

    def _object(self, compiler: Compiler, source: Path, flags: Sequence[str]) -> Path:
        command = [*compiler.command, "-c", str(source), f"-I{ROOT / SOURCE}", *flags]
        return self._made(f"{source.stem}.o", command)

    def _made(self, name: str, command: Sequence[str]) -> Path:
        """The output file of a command; the first process to ask runs the command."""
        file = self.folder / f"{_digest_of(command)}-{name}"
        with FileLock(f"{file}.lock"):
            if not file.exists():
                unfinished = file.with_suffix(".unfinished")
                run = subprocess.run(
                    [*command, "-o", str(unfinished)], capture_output=True, text=True
                )
                assert run.returncode == 0, f"{shlex.join(command)}\n{run.stderr}"
                unfinished.rename(file)
        return file


def _digest_of(words: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


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
