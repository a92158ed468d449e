"""How the libraries are compiled: all kernels as one unit for each instruction set.

setup.py reads this file by its path, before tenfold is installed: nothing but the standard library
is imported here.
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

A processor without PREFETCHW takes it for no operation if it has AVX2.
"""

COMMON_FLAGS = (
    "-std=c++17",
    "-O3",
    "-ffp-contract=off",  # a product and a sum are rounded as they are written, by every compiler
    "-fvisibility=hidden",
    "-fPIC",
    "-pthread",
)

GCC_FLAGS = ("-fno-predictive-commoning",)

WINDOWS_GCC_FLAGS = (
    # GCC takes the stack for 32-byte aligned, which it is not on Windows: GCC's bug 54412.
    "-Wa,-muse-unaligned-vector-move",
)

LINK_FLAGS = {
    # Everything that is called must be there when the library is made, not when it is first used.
    "linux": ("-shared", "-pthread", "-Wl,-z,defs", "-Wl,--version-script=exports.map"),
    "darwin": ("-bundle",),
    # Without the compiler's own libraries, which no user has, and without the time of the build.
    "win32": ("-shared", "-static", "-Wl,--no-insert-timestamp"),
}

PROCESSOR_MACROS = {"x86_64": "__x86_64__", "arm64": "__aarch64__"}


NO_COMPILER = "no compiler was found"


class BuildError(Exception):
    """No library can be built.

    Args:
        reason: what failed, in words that go before "when tenfold was installed".
        output: all that the compiler said.
    """

    def __init__(self, reason: str, output: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.output = output


@dataclass(frozen=True)
class Compiler:
    """A compiler for one processor.

    Attributes:
        command: its path, and what it must always be told.
        version: what it calls itself.
        is_clang: whether it is some Clang; else it is GCC.
        system: as in `sys.platform`.
    """

    command: tuple[str, ...]
    version: str
    is_clang: bool
    system: str = sys.platform

    def compile_flags(self, instruction_set: str, digest: str) -> list[str]:
        """The flags for the kernels, and without an instruction set's own for processor.cpp."""
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
        """The flags that make a shared library of what is compiled."""
        return LINK_FLAGS.get(self.system, LINK_FLAGS["linux"])


@dataclass(frozen=True)
class Outcome:
    """What came of compiling.

    Attributes:
        compiler: what it calls itself; empty if there is none.
        flags: by instruction set, of the libraries that were made.
        failures: by instruction set, of the others.
    """

    compiler: str
    flags: dict[str, list[str]]
    failures: dict[str, BuildError]


def find_compiler(
    processor: str, environment: Mapping[str, str] = os.environ, system: str = sys.platform
) -> Compiler:
    """The compiler that `CXX` names, or the first of the usual ones, if it suits.

    Args:
        processor: `x86_64` or `arm64`, which it must compile for.
        environment: of this process.
        system: as in `sys.platform`, which it must compile for.

    Raises:
        BuildError: there is none, or it does not suit.
    """
    command = _command(environment, system)
    if system == "darwin":  # a compiler for both of its processors
        command = (*command, "-arch", processor)
    macros = _run([*command, "-dM", "-E", "-x", "c++", "-"]).splitlines()
    defined = {line.split()[1] for line in macros if line.startswith("#define ")}
    name = Path(command[0]).name
    if PROCESSOR_MACROS[processor] not in defined:
        raise BuildError(f"{name} did not compile for {processor} processors")
    if system == "win32" and "__MINGW32__" not in defined:
        raise BuildError(f"{name} did not compile for mingw-w64, as it must on Windows")
    version = _run([*command, "--version"]).partition("\n")[0].strip()
    return Compiler(command, version, "__clang__" in defined, system)


def compile_library(
    compiler: Compiler, source: Path, library: Path, instruction_set: str, digest: str
) -> list[str]:
    """Make one library.

    It is compiled in the folder of the sources, so that no path gets into it.

    Args:
        compiler: which one, for which processor and system.
        source: the folder of the sources.
        library: the file to write; what is compiled on the way lies beside it.
        instruction_set: what the kernels are compiled for.
        digest: of the sources, which the library hands out.

    Returns:
        The flags that the kernels were compiled with and the library was linked with.

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
    """Make libraries at the same time, each of which is put in its place when it is whole.

    Args:
        processor: `x86_64` or `arm64`.
        source: the folder of the sources.
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
    """A temporary folder on the file system of a library; a build that is killed leaves it."""
    with tempfile.TemporaryDirectory(prefix=f".{library.stem}-", dir=library.parent) as name:
        yield Path(name).absolute()


def _command(environment: Mapping[str, str], system: str) -> tuple[str, ...]:
    """The words that call the compiler."""
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
    """A command's words: a path may have spaces in it, and a command may have arguments."""
    if shutil.which(named):
        return [named]
    try:
        return shlex.split(named, posix=system != "win32")
    except ValueError:  # a quotation that does not end
        return [named]


def _run(command: Sequence[str], folder: Path | None = None) -> str:
    """What a command prints."""
    name = Path(command[0]).name
    environment = {**os.environ, "LC_ALL": "C"}  # a failure is looked for in English
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
    """The line of a compiler's output that says most."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["without a word"]
    return next((line for line in lines if "error" in line.lower()), lines[0])
