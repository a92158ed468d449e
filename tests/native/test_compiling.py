"""The choice of a compiler, and the errors if none is suitable."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import Tree, program

from needed_tools import need
from tenfold.native.compiling import BuildError, compile_libraries, find_compiler


def reason(
    processor: str = "x86_64", system: str = "linux", environment: dict[str, str] | None = None
) -> str:
    with pytest.raises(BuildError) as error:
        find_compiler(processor, environment or {}, system)
    return error.value.reason


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def a_compiler(path: Path, macros: str, version: str) -> None:
    """A program that identifies itself as a compiler."""
    defines = "\n".join(f"echo '#define {name} 1'" for name in macros.split())
    program(path, f'case "$*" in *--version*) echo "{version}";; *) {defines};; esac')


def test_the_usual_names_are_tried_in_turn(path: Path) -> None:
    assert reason() == "no compiler was found"
    for name, is_clang in (("clang++", True), ("g++", False), ("c++", False)):
        a_compiler(path / name, "__x86_64__ __clang__" if is_clang else "__x86_64__", f"my {name}")
        found = find_compiler("x86_64", {}, "linux")
        assert found.command == (str(path / name),)
        assert (found.version, found.is_clang) == (f"my {name}", is_clang)
        gcc_alone = "-fno-predictive-commoning" in found.compile_flags("avx2", "0")
        assert gcc_alone != is_clang


def test_a_compiler_for_another_processor_is_refused(path: Path) -> None:
    a_compiler(path / "c++", "__x86_64__", "1")
    assert reason("arm64") == "c++ did not compile for arm64 processors"


def test_on_macos_the_compiler_gets_the_processor_as_an_argument(path: Path) -> None:
    a_compiler(path / "c++", "__aarch64__ __clang__", "Apple clang")
    assert find_compiler("arm64", {}, "darwin").command[1:] == ("-arch", "arm64")


def test_on_windows_only_mingw_is_accepted(path: Path) -> None:
    program(path / "cl", "exit 0")
    words = "MSVC's cl cannot build the kernels; mingw-w64's g++ or clang++ can"
    assert reason(system="win32") == words
    assert reason(system="win32", environment={"CXX": str(path / "cl")}) == words
    a_compiler(path / "clang++", "__x86_64__ __clang__ _MSC_VER", "1")
    assert reason(system="win32") == "clang++ did not compile for mingw-w64, which Windows requires"
    a_compiler(path / "g++", "__x86_64__ __MINGW32__", "1")
    found = find_compiler("x86_64", {}, "win32")
    assert "-Wa,-muse-unaligned-vector-move" in found.compile_flags("avx2", "0")
    assert "-static" in found.link_flags()


def test_a_compiler_that_cannot_run_or_has_a_malformed_name(path: Path) -> None:
    broken = path / "c++"
    broken.write_bytes(b"no program")
    broken.chmod(0o755)
    assert reason() == "c++ could not be run (Exec format error)"
    words = "g++ 'x, which CXX names, was not found"
    assert reason(environment={"CXX": "g++ 'x"}) == words
    program(path / "silent", "exit 3")
    assert reason(environment={"CXX": "silent"}) == "silent failed (no output)"


def test_a_failure_is_reported_in_english_by_the_most_informative_line(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", need("g++"))
    (tree.source / "kernels.cpp").write_text('#include "interface.h"\nint wrong() { return x; }\n')
    made = compile_libraries("x86_64", tree.source, {"avx2": tree.folder / "avx2.so"}, "0")
    assert (made.flags, list(made.failures)) == ({}, ["avx2"])
    failure = made.failures["avx2"]
    assert failure.reason.startswith("g++ failed (kernels.cpp:2:22: error: ")
    assert "In function" in failure.output
    assert not (tree.folder / "avx2.so").exists()
