"""The choice of a library, and the reason given if there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from trees import Tree, loaded_from

from needed_tools import cannot_be_tested
from tenfold.errors import UsageError
from tenfold.native import library
from tenfold.native.built import INSTRUCTION_SETS, library_file, processor
from tenfold.native.library import PACKAGE, Kernels, NoKernels, find_kernels, find_kernels_in

HERE = INSTRUCTION_SETS.get(processor(), ())

needs_kernels = pytest.mark.skipif(
    not HERE, reason=f"there are no kernels for {processor()} processors"
)


@pytest.fixture
def installed() -> Kernels:
    """The kernels that this environment was installed with."""
    found = find_kernels_in(PACKAGE, "")
    if isinstance(found, NoKernels):
        cannot_be_tested(found.reason)
    return found


def reason(folder: Path, choice: str = "") -> str:
    found = find_kernels_in(folder, choice)
    assert isinstance(found, NoKernels)
    return found.reason


@needs_kernels
def test_the_installed_kernels_are_found_once(installed: Kernels) -> None:
    assert installed.instruction_set in HERE
    assert installed.functions.tenfold_runs_here() == 1
    assert find_kernels_in(PACKAGE, "") is installed
    assert installed.instruction_set not in installed.skipped


@needs_kernels
def test_the_environment_chooses(installed: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_NATIVE", "0")
    assert find_kernels() == NoKernels("TENFOLD_NATIVE is 0")
    monkeypatch.setenv("TENFOLD_NATIVE", installed.instruction_set)
    found = find_kernels()
    assert isinstance(found, Kernels)
    assert (found.instruction_set, found.skipped) == (installed.instruction_set, {})
    for usual in ("", "1"):
        monkeypatch.setenv("TENFOLD_NATIVE", usual)
        assert vars(find_kernels()) | {"functions": 0} == vars(installed) | {"functions": 0}


@needs_kernels
def test_every_library_can_be_selected(tree: Tree) -> None:
    tree.build("editable")
    for name in HERE:
        found = loaded_from(tree.folder / "src", TENFOLD_NATIVE=name)
        assert found in (
            {"instruction_set": name, "skipped": {}},
            {"reason": library.LACKING[name]},
        )


def test_an_unknown_choice_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TENFOLD_NATIVE", "avx22")
    with pytest.raises(UsageError, match=r"TENFOLD_NATIVE .* 'avx22'; did you mean 'avx2'"):
        find_kernels()
    with pytest.raises(UsageError, match="choose one of: 0, 1, avx2, avx512, neon"):
        find_kernels_in(tmp_path, "yes please")


@pytest.mark.parametrize("machine", ["riscv64", "32-bit x86_64"])
def test_an_unsupported_processor(
    machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "processor", lambda: machine)
    assert reason(tmp_path) == f"there are no kernels for {machine} processors"
    assert reason(tmp_path, "avx2") == f"there are no avx2 kernels for {machine} processors"


@needs_kernels
def test_libraries_that_were_never_built(tmp_path: Path) -> None:
    name = library_file(HERE[-1])
    assert reason(tmp_path) == f"{name} is missing; install tenfold again"
    (tmp_path / "editable" / "source").mkdir(parents=True)
    assert reason(tmp_path / "editable") == f"{name} is missing; run `pip install -e .` again"


@needs_kernels
def test_a_damaged_library_is_refused_with_the_loaders_message(tree: Tree) -> None:
    tree.build("editable")
    for name in HERE:
        (tree.libraries / library_file(name)).write_bytes(b"\x7fELF and no more")
    said = str(loaded_from(tree.folder / "src")["reason"])
    assert said.startswith(f"{library_file(HERE[-1])} cannot be loaded: ")
    assert "file too short" in said or sys.platform != "linux"
    assert said.endswith("; run `pip install -e .` again")


@needs_kernels
@pytest.mark.skipif(sys.platform != "linux", reason="other systems' loaders refuse such a file")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_library_is_refused_and_does_not_kill_the_process(
    share: float, tree: Tree
) -> None:
    tree.build("editable")
    for name in HERE:
        path = tree.libraries / library_file(name)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    words = f"{library_file(HERE[-1])} is truncated; run `pip install -e .` again"
    assert loaded_from(tree.folder / "src") == {"reason": words}


@needs_kernels
def test_a_library_that_lacks_a_function_has_different_sources(tree: Tree) -> None:
    kernels = tree.source / "kernels.cpp"
    kernels.write_text(kernels.read_text().replace("tenfold_predict", "tenfold_foretell"))
    tree.build("editable")
    assert "was built from different sources" in str(loaded_from(tree.folder / "src")["reason"])


@needs_kernels
def test_a_processor_without_the_instructions(tree: Tree) -> None:
    asked = tree.source / "processor.cpp"
    text = asked.read_text().replace("avx2 ?", "!avx2 ?").replace("return 1;", "return 0;")
    asked.write_text(text.replace("avx2 && avx512 ?", "false ?"))
    tree.build("editable")
    assert loaded_from(tree.folder / "src") == {"reason": library.LACKING[HERE[-1]]}


@pytest.mark.skipif(len(HERE) < 2, reason="this processor has libraries for one instruction set")
def test_if_the_best_library_does_not_run_another_is_used_with_the_reason(
    tree: Tree,
) -> None:
    asked = tree.source / "processor.cpp"
    asked.write_text(asked.read_text().replace("avx2 && avx512 ?", "false ?"))
    tree.build("editable")
    assert loaded_from(tree.folder / "src") == {
        "instruction_set": "avx2",
        "skipped": {"avx512": library.LACKING["avx512"]},
    }


def test_importing_the_loader_reads_no_sources_and_opens_no_library() -> None:
    code = (
        "import sys\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, arguments: seen.append((event, str(arguments))))\n"
        "import tenfold.native.library\n"
        "watched = [s for s in seen if s[0] in ('open', 'ctypes.dlopen', 'os.scandir')]\n"
        "assert watched\n"
        "print([s for s in watched if 'kernels' in s[1] or 'source' in s[1]])\n"
        "print([name for name in ('torch', 'numpy') if name in sys.modules])\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (answer.stdout, answer.stderr) == ("[]\n[]\n", "")
