"""Compile the libraries: all kernels as one translation unit per instruction set.

setup.py loads this file by path before tenfold is installed, so it imports only the standard
library.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

INSTRUCTION_FLAGS = {
    "avx512": ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprfchw"),
    "avx2": ("-mavx2", "-mfma", "-mprfchw"),
    "neon": (),
}
"""For the kernels only: processor.cpp must run everywhere.

On a processor with AVX2 but without PREFETCHW, that instruction is a no-op.
"""

COMMON_FLAGS = (
    "-std=c++17",
    "-O3",
    "-ffp-contract=off",  # with every compiler, products and sums round as written
    "-fvisibility=hidden",
    "-fPIC",
    "-pthread",
)

GCC_FLAGS = ("-fno-predictive-commoning",)

WINDOWS_GCC_FLAGS = (
    # GCC assumes a 32-byte aligned stack, which Windows does not provide: GCC bug 54412.
    "-Wa,-muse-unaligned-vector-move",
)

LINK_FLAGS = {
    # Fail at link time, not at first use, if a function is missing.
    "linux": ("-shared", "-pthread", "-Wl,-z,defs", "-Wl,--version-script=exports.map"),
    "darwin": ("-bundle",),
    # Link the compiler's own libraries statically, since users lack them; omit the build time.
    "win32": ("-shared", "-static", "-Wl,--no-insert-timestamp"),
}

PROCESSOR_MACROS = {"x86_64": "__x86_64__", "arm64": "__aarch64__"}


NO_COMPILER = "no compiler was found"


class BuildError(Exception):
    """No library can be built.

    Args:
        reason: what failed, worded to precede "when tenfold was installed".
        output: the compiler's full output.
    """

    def __init__(self, reason: str, output: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.output = output


@dataclass(frozen=True)
class Compiler:
    """A compiler for one processor.

    Attributes:
        command: its path and the arguments that it always needs.
        version: its version line.
        is_clang: Clang if True, else GCC.
        system: as in `sys.platform`.
    """

    command: tuple[str, ...]
    version: str
    is_clang: bool
    system: str = sys.platform

    def compile_flags(self, instruction_set: str, digest: str) -> list[str]:
        """The flags for processor.cpp; the kernels add `INSTRUCTION_FLAGS`."""
        own = () if self.is_clang else GCC_FLAGS
        windows = WINDOWS_GCC_FLAGS if own and self.system == "win32" else ()
        return [
            *COMMON_FLAGS,
            *own,
            *windows,
            f"-DTENFOLD_{instruction_set.upper()}",
            f'-DTENFOLD_SOURCE_DIGEST="{digest}"',
        ]

    def link_flags(self) -> tuple[str, ...]:
        """The flags for linking a shared library."""
        return LINK_FLAGS.get(self.system, LINK_FLAGS["linux"])


@dataclass(frozen=True)
class Outcome:
    """The result of compiling.

    Attributes:
        compiler: its version line; empty if there is none.
        flags: by instruction set, for the libraries that were built.
        failures: by instruction set, for the others.
    """

    compiler: str
    flags: dict[str, list[str]]
    failures: dict[str, BuildError]


def find_compiler(
    processor: str, environment: Mapping[str, str] = os.environ, system: str = sys.platform
) -> Compiler:
    """The compiler that `CXX` names, or else the first of the usual ones.

    Args:
        processor: the target, `x86_64` or `arm64`.
        environment: environment variables.
        system: the target, as in `sys.platform`.

    Raises:
        BuildError: there is none, or it does not compile for the target.
    """
    command = _command(environment, system)
    if system == "darwin":  # one compiler targets both processors
        command = (*command, "-arch", processor)
    macros = _run([*command, "-dM", "-E", "-x", "c++", "-"]).splitlines()
    defined = {line.split()[1] for line in macros if line.startswith("#define ")}
    name = Path(command[0]).name
    if PROCESSOR_MACROS[processor] not in defined:
        raise BuildError(f"{name} did not compile for {processor} processors")
    if system == "win32" and "__MINGW32__" not in defined:
        raise BuildError(f"{name} did not compile for mingw-w64, which Windows requires")
    version = _run([*command, "--version"]).partition("\n")[0].strip()
    return Compiler(command, version, "__clang__" in defined, system)


def compile_library(
    compiler: Compiler, source: Path, library: Path, instruction_set: str, digest: str
) -> list[str]:
    """Build one library.

    Compiles in the source folder, so that no paths get into the library.

    Args:
        compiler: the compiler.
        source: the source folder.
        library: the file to write; object files are written beside it.
        instruction_set: the instruction set to compile the kernels for.
        digest: of the sources; the library reports it.

    Returns:
        The flags used to compile the kernels and link the library.

    Raises:
        BuildError: the compiler failed.
    """
    common = compiler.compile_flags(instruction_set, digest)
    flags = {"kernels": [*common, *INSTRUCTION_FLAGS[instruction_set]], "processor": common}
    objects = [str(library.with_suffix(f".{part}.o")) for part in flags]
    for part, compiled in zip(flags, objects, strict=True):
        _run([*compiler.command, "-c", f"{part}.cpp", "-o", compiled, *flags[part]], source)
    link = compiler.link_flags()
    _run([*compiler.command, *objects, "-o", str(library), *link], source)
    return [*flags["kernels"], *link]


def compile_libraries(
    processor: str, source: Path, libraries: Mapping[str, Path], digest: str
) -> Outcome:
    """Build libraries in parallel; each is moved into place once it is complete.

    Args:
        processor: `x86_64` or `arm64`.
        source: the source folder.
        libraries: by instruction set, the file to write.
        digest: of the sources.
    """
    if not libraries:
        return Outcome("", {}, {})
    try:
        compiler = find_compiler(processor)
    except BuildError as error:
        return Outcome("", {}, dict.fromkeys(libraries, error))
    outcome = Outcome(compiler.version, {}, {})

    def make(instruction_set: str, library: Path) -> None:
        with _folder_beside(library) as scratch:
            whole = scratch / library.name
            try:
                flags = compile_library(compiler, source, whole, instruction_set, digest)
            except BuildError as error:
                outcome.failures[instruction_set] = error
            else:
                os.replace(whole, library)
                outcome.flags[instruction_set] = flags

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(make, libraries.keys(), libraries.values()))
    return outcome


@contextmanager
def _folder_beside(library: Path) -> Iterator[Path]:
    """A temporary folder on the library's file system; a killed build leaves it behind."""
    with tempfile.TemporaryDirectory(prefix=f".{library.stem}-", dir=library.parent) as name:
        yield Path(name).absolute()


def _command(environment: Mapping[str, str], system: str) -> tuple[str, ...]:
    """The command that runs the compiler."""
    named = environment.get("CXX", "").strip()
    words = _words(named, system)
    usual = ("g++", "clang++", "c++") if system == "win32" else ("c++", "g++", "clang++")
    found = next(filter(None, map(shutil.which, words[:1] or usual)), None)
    if system == "win32" and Path(found or "cl").stem.lower() == "cl" and shutil.which("cl"):
        raise BuildError("MSVC's cl cannot build the kernels; mingw-w64's g++ or clang++ can")
    if found is None:
        raise BuildError(f"{named}, which CXX names, was not found" if named else NO_COMPILER)
    return (str(Path(found).absolute()), *words[1:])


def _words(named: str, system: str) -> list[str]:
    """Split a command; its path may contain spaces, and it may have arguments."""
    if shutil.which(named):
        return [named]
    try:
        return shlex.split(named, posix=system != "win32")
    except ValueError:  # an unclosed quotation
        return [named]


def _run(command: Sequence[str], folder: Path | None = None) -> str:
    """The output of a command."""
    name = Path(command[0]).name
    environment = {**os.environ, "LC_ALL": "C"}  # `_first_error` looks for English
    try:
        answer = subprocess.run(  # noqa: S603 - the compiler that the environment names
            command,
            cwd=folder,
            env=environment,
            input="",
            capture_output=True,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise BuildError(f"{name} could not be run ({error.strerror})") from None
    if answer.returncode != 0:
        output = (answer.stderr + answer.stdout).strip()
        raise BuildError(
            f"{name} failed ({_first_error(output)})", f"{shlex.join(command)}\n{output}"
        )
    return answer.stdout


def _first_error(output: str) -> str:
    """The most informative line of a compiler's output."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["no output"]
    return next((line for line in lines if "error" in line.lower()), lines[0])
