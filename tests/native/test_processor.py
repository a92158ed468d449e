"""Whether a library reports correctly if it runs on a processor."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from trees import ROOT, Tree
from workshop import DIGEST, Workshop, strict

from needed_tools import cannot_be_tested, need
from tenfold.native.built import INSTRUCTION_SETS, LIBRARIES, library_file, processor
from tenfold.native.compiling import compile_library, find_compiler
from tenfold.native.library import PACKAGE
from thoroughness import only_if_thorough

ASK = ROOT / "tests" / "native" / "ask.cpp"

ON_X86 = pytest.mark.skipif(processor() != "x86_64", reason="this is not an x86-64 processor")

PROCESSORS = {
    "Nehalem": {"avx2": 0, "avx512": 0},
    "SandyBridge": {"avx2": 0, "avx512": 0},
    "Haswell": {"avx2": 1, "avx512": 0},
    "Haswell,-fma": {"avx2": 0, "avx512": 0},
    "Haswell,-xsave": {"avx2": 0, "avx512": 0},
}
"""By QEMU's name, the libraries that run there. AVX came with Sandy Bridge, AVX2 and FMA with
Haswell; without XSAVE, the operating system saves neither. QEMU does not emulate AVX-512."""


def asking(tmp_path: Path, compiler: str) -> Path:
    """Compile the program that queries a library."""
    path = tmp_path / "ask"
    subprocess.run([need(compiler), str(ASK), "-o", str(path), "-ldl"], check=True)
    return path


def answer(*command: object) -> tuple[int, str]:
    """The program's output: whether the library runs here, and its digest."""
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert result.returncode == 0, (result.returncode, result.stderr)
    runs_here, digest = result.stdout.split()
    return int(runs_here), digest


def library_of(tree: Tree, instruction_set: str, compiler: str) -> Path:
    """A library built from a small tree."""
    path = tree.folder / f"{instruction_set}.so"
    named = find_compiler("x86_64", {"CXX": need(compiler)}, "linux")
    compile_library(named, tree.source, path, instruction_set, "0123456789abcdef")
    return path


@ON_X86
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS["x86_64"])
def test_an_x86_library_runs_on_processors_with_its_instructions(
    compiler: str, instruction_set: str, tree: Tree, tmp_path: Path
) -> None:
    ask = asking(tmp_path, compiler)
    library = library_of(tree, instruction_set, compiler)
    answers = {name: answer(need("qemu-x86_64"), "-cpu", name, ask, library) for name in PROCESSORS}
    assert answers == {
        name: (runs[instruction_set], "0123456789abcdef") for name, runs in PROCESSORS.items()
    }


@ON_X86
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS["x86_64"])
def test_an_x86_library_runs_here_if_linux_lists_its_instructions(
    instruction_set: str, tree: Tree, tmp_path: Path
) -> None:
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        pytest.skip("this system does not list a processor's features in a file")
    flags = set(next(x for x in facts.read_text().splitlines() if x.startswith("flags")).split())
    needed = {
        "avx2": {"avx2", "fma"},
        "avx512": {"avx2", "fma", "avx512f", "avx512dq", "avx512bw", "avx512vl"},
    }
    runs_here, _ = answer(asking(tmp_path, "c++"), library_of(tree, instruction_set, "c++"))
    assert runs_here == (needed[instruction_set] <= flags)


@ON_X86
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS["x86_64"])
def test_the_installed_library_can_be_opened_on_a_processor_that_cannot_run_it(
    instruction_set: str, tmp_path: Path
) -> None:
    """Code that runs while a library is opened uses only baseline instructions."""
    library = PACKAGE / LIBRARIES / library_file(instruction_set)
    if not library.exists():
        cannot_be_tested(f"{library.name} is not built")
    ask = asking(tmp_path, "c++")
    assert answer(need("qemu-x86_64"), "-cpu", "Nehalem", ask, library)[0] == 0


@only_if_thorough
def test_an_arm_library_runs_on_every_64_bit_arm_processor(
    workshop: Workshop, tmp_path: Path
) -> None:
    ask = asking(tmp_path, "aarch64-linux-gnu-g++")
    compiler = find_compiler("arm64", {"CXX": need("aarch64-linux-gnu-g++")}, "linux")
    library = workshop.library(strict(compiler), "neon")
    emulator = [need("qemu-aarch64"), "-L", "/usr/aarch64-linux-gnu"]
    for name in ("cortex-a53", "max"):
        assert answer(*emulator, "-cpu", name, ask, library) == (1, DIGEST)
