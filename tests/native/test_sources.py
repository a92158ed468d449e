"""The C++ sources: formatting, clang-tidy, and every supported compiler."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from trees import ROOT, SOURCE, Tree, cannot_be_tested, need

from tenfold.native.built import INSTRUCTION_SETS, LIBRARIES, library_file, processor, source_files
from tenfold.native.compiling import INSTRUCTION_FLAGS, Compiler, compile_library, find_compiler
from tenfold.native.library import PACKAGE

STRICT = "-Wall -Wextra -Werror"
STRICT_GCC = f"{STRICT} -Wno-uninitialized"  # its own AVX-512 headers trigger this warning

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
TESTS = sorted((ROOT / "tests" / "native").glob("*.cpp"))

INTERFACE = (ROOT / SOURCE / "interface.h").read_text()
FUNCTIONS = set(re.findall(r"^TENFOLD_EXPORT .*?(tenfold_\w+)\(", INTERFACE, re.MULTILINE))


def compiler_named(name: str) -> Compiler:
    """A compiler from the table, with warnings as errors."""
    command, machine, system = COMPILERS[name]
    program, *arguments = shlex.split(command)
    if "--target=aarch64-linux-gnu" in arguments:
        need("aarch64-linux-gnu-g++")  # its headers and libraries are used
    strict = STRICT if "clang" in program else STRICT_GCC
    words = f"{shlex.join([need(program), *arguments])} {strict}"
    return find_compiler(machine, {"CXX": words}, system)


@pytest.mark.parametrize(
    ("name", "instruction_set"),
    [
        (name, kind)
        for name, (_, machine, _) in COMPILERS.items()
        for kind in INSTRUCTION_SETS[machine]
    ],
)
def test_the_sources_compile_without_a_warning(
    name: str, instruction_set: str, tmp_path: Path
) -> None:
    library = tmp_path / "library.so"
    compile_library(compiler_named(name), ROOT / SOURCE, library, instruction_set, "0" * 16)
    assert b"0" * 16 in library.read_bytes()


def test_the_sources_are_formatted() -> None:
    command = [need("clang-format"), "--dry-run", "-Werror", *map(str, [*SOURCES, *TESTS])]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, f"run `make format`:\n{answer.stderr}"


def tidied(unit: Path, instruction_set: str, *options: str) -> str:
    """What clang-tidy finds in a unit and its includes; empty if nothing."""
    if is_arm := instruction_set in INSTRUCTION_SETS["arm64"]:
        need("aarch64-linux-gnu-g++")  # its headers are read
    flags = [
        *Compiler((), "", is_clang=True).compile_flags(instruction_set, "0" * 16),
        *INSTRUCTION_FLAGS[instruction_set],
        *(["--target=aarch64-linux-gnu"] if is_arm else []),
        f"-I{ROOT / SOURCE}",
    ]
    configuration = f"--config-file={ROOT / '.clang-tidy'}"
    command = [need("clang-tidy"), "--quiet", configuration, *options, str(unit), "--", *flags]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return answer.stdout if answer.returncode else ""


@pytest.mark.parametrize(
    "unit", [path for path in SOURCES if path.suffix == ".cpp"], ids=lambda path: path.name
)
def test_clang_tidy_finds_nothing_in_the_sources(unit: Path) -> None:
    assert not tidied(unit, "avx2")


@pytest.mark.parametrize("instruction_set", [name for name in INSTRUCTION_FLAGS if name != "avx2"])
def test_clang_tidy_finds_nothing_in_other_vectors(instruction_set: str, tmp_path: Path) -> None:
    unit = tmp_path / "vectors.cpp"
    unit.write_text('#include "exponential.h"\n#include "lanes.h"\n')
    assert not tidied(unit, instruction_set)


@pytest.mark.parametrize("unit", TESTS, ids=lambda path: path.name)
def test_clang_tidy_finds_nothing_in_the_tests(unit: Path) -> None:
    # Without the path-sensitive analyzer, which takes most of the time.
    assert not tidied(unit, "avx2", "--checks=-clang-analyzer-*")


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
    compile_library(compiler_named("mingw-w64 g++"), tree.source, library, "avx2", "0" * 16)
    command = [need(f"{MINGW}-objdump"), "--private-headers", str(library)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"DLL Name: (\S+)", listing)) <= {"KERNEL32.dll", "msvcrt.dll"}
    (names,) = re.findall(r"Name Pointer\] Table\n(.*?)\n\n", listing, re.DOTALL)
    assert {line.split()[-1] for line in names.splitlines()} == FUNCTIONS
