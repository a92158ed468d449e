"""The C++ sources: formatting, clang-tidy, and every supported compiler."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from trees import ROOT, SOURCE, Tree
from workshop import DIGEST, DRIVER, TESTS, Workshop, strict

from needed_tools import cannot_be_tested, need
from tenfold.native.built import INSTRUCTION_SETS, LIBRARIES, library_file, processor, source_files
from tenfold.native.compiling import INSTRUCTION_FLAGS, Compiler, compile_library, find_compiler
from tenfold.native.library import PACKAGE
from thoroughness import only_if_thorough, some

MINGW = "x86_64-w64-mingw32"

COMPILERS = {
    "g++": ("g++", "x86_64", "linux"),
    "clang++": ("clang++", "x86_64", "linux"),
    "mingw-w64 g++": (f"{MINGW}-g++-posix", "x86_64", "win32"),
    "g++ for ARM": ("aarch64-linux-gnu-g++", "arm64", "linux"),
    "clang++ for ARM": ("clang++ --target=aarch64-linux-gnu", "arm64", "linux"),
}
"""By name: the command, and the processor and system that it compiles for."""

SOURCES = [path for path in source_files(ROOT / SOURCE) if path.suffix in (".cpp", ".h")]
PROGRAMS = sorted(TESTS.glob("*.cpp"))
OTHER_PROGRAMS = [path for path in PROGRAMS if path.stem not in DRIVER]

INTERFACE = (ROOT / SOURCE / "interface.h").read_text()
FUNCTIONS = set(re.findall(r"^TENFOLD_EXPORT .*?(tenfold_\w+)\(", INTERFACE, re.MULTILINE))


def compiler_named(name: str) -> Compiler:
    """A compiler from the table, with warnings as errors."""
    command, machine, system = COMPILERS[name]
    program, *arguments = shlex.split(command)
    if "--target=aarch64-linux-gnu" in arguments:
        need("aarch64-linux-gnu-g++")  # its headers and libraries are used
    words = shlex.join([need(program), *arguments])
    return strict(find_compiler(machine, {"CXX": words}, system))


class WithoutOptimizing(Compiler):
    """Compiles in a quarter of the time."""

    def compile_flags(self, instruction_set: str, digest: str) -> list[str]:
        return [*super().compile_flags(instruction_set, digest), "-O0"]


@pytest.mark.parametrize(
    ("name", "instruction_set"),
    [
        (name, kind)
        for name, (_, machine, _) in COMPILERS.items()
        for kind in (
            INSTRUCTION_SETS[machine] if name == "g++" else some(INSTRUCTION_SETS[machine])
        )
    ],
)
def test_the_sources_compile_without_a_warning(
    name: str, instruction_set: str, workshop: Workshop
) -> None:
    """Compiled as in an installation where the driver links it, and once by clang."""
    compiler = compiler_named(name)
    if not name.startswith("g++") and (name, instruction_set) != ("clang++", "avx512"):
        compiler = WithoutOptimizing(**vars(compiler))
    assert DIGEST.encode() in workshop.library(compiler, instruction_set).read_bytes()


def test_the_sources_are_formatted() -> None:
    command = [need("clang-format"), "--dry-run", "-Werror", *map(str, [*SOURCES, *PROGRAMS])]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, f"run `make format`:\n{answer.stderr}"


def tidied(units: Sequence[Path], instruction_set: str, *options: str) -> str:
    """What clang-tidy finds in units and their includes; empty if nothing."""
    if is_arm := instruction_set in INSTRUCTION_SETS["arm64"]:
        need("aarch64-linux-gnu-g++")  # its headers are read
    flags = [
        *Compiler((), "", is_clang=True).compile_flags(instruction_set, DIGEST),
        *INSTRUCTION_FLAGS[instruction_set],
        *(["--target=aarch64-linux-gnu"] if is_arm else []),
        f"-I{ROOT / SOURCE}",
    ]
    configuration = f"--config-file={ROOT / '.clang-tidy'}"
    words = [need("clang-tidy"), "--quiet", configuration, *options, *map(str, units)]
    answer = subprocess.run([*words, "--", *flags], cwd=ROOT, capture_output=True, text=True)
    return answer.stdout if answer.returncode else ""


@pytest.mark.parametrize(
    "unit", [path for path in SOURCES if path.suffix == ".cpp"], ids=lambda path: path.name
)
def test_clang_tidy_finds_nothing_in_the_sources(unit: Path) -> None:
    assert not tidied([unit], "avx2")


@pytest.mark.parametrize("instruction_set", [name for name in INSTRUCTION_FLAGS if name != "avx2"])
def test_clang_tidy_finds_nothing_in_other_vectors(instruction_set: str, tmp_path: Path) -> None:
    unit = tmp_path / "vectors.cpp"
    unit.write_text('#include "exponential.h"\n#include "lanes.h"\n')
    assert not tidied([unit], instruction_set)


# Without the path-sensitive analyzer, which takes most of the time.
QUICK = "--checks=-clang-analyzer-*,-bugprone-suspicious-include"


@only_if_thorough
def test_clang_tidy_finds_nothing_in_the_driver(tmp_path: Path) -> None:
    """All of it as one unit: the standard library takes most of the time, again in every unit."""
    units, whole = [TESTS / f"{name}.cpp" for name in DRIVER], tmp_path / "driver.cpp"
    whole.write_text("".join(f'#include "{unit}"\n' for unit in units))
    assert not tidied([whole], "avx2", QUICK)
    assert not tidied(units, "avx2", "--checks=-*,misc-unused-*")  # what one unit never uses


@pytest.mark.parametrize("unit", OTHER_PROGRAMS, ids=lambda path: path.name)
def test_clang_tidy_finds_nothing_in_other_programs(unit: Path) -> None:
    assert not tidied([unit], "avx2", QUICK)


def exported(nm: str, library: Path) -> set[str]:
    """The functions that a library exports."""
    command = [need(nm), "--dynamic", "--defined-only", str(library)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in listing.splitlines()}


@pytest.mark.skipif(processor() not in INSTRUCTION_SETS, reason="there are no kernels for it")
def test_the_installed_libraries_export_exactly_the_functions_of_the_interface() -> None:
    for name in INSTRUCTION_SETS[processor()]:
        library = PACKAGE / LIBRARIES / library_file(name)
        if not library.exists():
            cannot_be_tested(f"{library.name} is not built")
        assert exported("nm", library) == FUNCTIONS


def test_a_library_for_windows_depends_only_on_windows(tree: Tree) -> None:
    kernels = tree.source / "kernels.cpp"
    threads = "#include <thread>\nvoid wait() { std::thread([] {}).join(); }\n"
    kernels.write_text(kernels.read_text() + threads)
    library = tree.folder / "kernels.dll"
    compile_library(compiler_named("mingw-w64 g++"), tree.source, library, "avx2", DIGEST)
    command = [need(f"{MINGW}-objdump"), "--private-headers", str(library)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"DLL Name: (\S+)", listing)) <= {"KERNEL32.dll", "msvcrt.dll"}
    (names,) = re.findall(r"Name Pointer\] Table\n(.*?)\n\n", listing, re.DOTALL)
    assert {line.split()[-1] for line in names.splitlines()} == FUNCTIONS
