"""Installing tenfold with its libraries, without them, and after a failed build."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from trees import ROOT, SOURCE, Built, Tree, loaded_from, program

from needed_tools import cannot_be_tested
from tenfold.native.built import (
    INSTRUCTION_SETS,
    library_file,
    processor,
    read_record,
    source_digest,
    source_files,
)

HERE = INSTRUCTION_SETS.get(processor(), ())
FILES = {library_file(name) for name in HERE}

BUILT = shutil.ignore_patterns("libraries", "__pycache__", "*.egg-info")
"""Files that the real tree may have but a copy must not."""

pytestmark = pytest.mark.skipif(
    not HERE, reason=f"there are no kernels for {processor()} processors"
)


@pytest.fixture
def failing(tmp_path: Path) -> str:
    """A compiler that identifies itself but fails to compile."""
    compiler = shutil.which("c++") or cannot_be_tested("c++ is not installed")
    script = 'case "$*" in *-c*) echo "kernels.cpp:7:1: error: too hard" >&2; exit 1;; esac\n'
    return str(program(tmp_path / "failing", f'{script}exec {compiler} "$@"'))


@pytest.fixture
def nothing(tmp_path: Path) -> str:
    """An empty folder to use as the PATH."""
    (tmp_path / "nothing").mkdir()
    return str(tmp_path / "nothing")


def libraries(folder: Path) -> set[str]:
    """The libraries in a folder, including unfinished ones."""
    return {path.name for path in folder.glob("*") if "kernels" in path.name}


def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def unpacked(wheel: Path) -> Path:
    """The folder of packages of an installed wheel."""
    folder = wheel.parent / "installed"
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def notes(built: Built) -> list[str]:
    """The lines in which the build reports what it did."""
    return [line for line in built.out.splitlines() if line.startswith("tenfold: ")]


def tags(wheel: Path) -> list[str]:
    """A wheel's metadata after its version and generator."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        return archive.read(name).decode().split("\n")[2:]


def test_a_wheel_has_the_libraries_and_not_the_sources(tree: Tree) -> None:
    wheel = tree.build("wheel")
    native = {n.removeprefix("tenfold/native/") for n in members(wheel.file) if "native" in n}
    assert {*(f"libraries/{name}" for name in (*FILES, "built.json")), "library.py"} <= native
    assert not [name for name in native if name.startswith("source") or name.endswith(".o")]
    (note,) = notes(wheel)
    assert note.startswith(f"tenfold: built kernels for {' and '.join(sorted(HERE))} with ")
    assert loaded_from(unpacked(wheel.file))["instruction_set"] in HERE


def test_a_wheel_with_libraries_is_for_one_platform_and_any_python(tree: Tree) -> None:
    wheel = tree.build("wheel").file
    purity, tag, *rest = tags(wheel)
    assert (purity, "".join(rest)) == ("Root-Is-Purelib: false", "")
    assert re.fullmatch(r"Tag: py3-none-(?!any)\w+", tag)
    assert wheel.name.endswith(f"-{tag.removeprefix('Tag: ')}.whl")


def test_a_wheel_without_libraries_is_for_all_platforms(tree: Tree) -> None:
    wheel = tree.build("wheel", TENFOLD_NATIVE="0").file
    assert wheel.name.endswith("-py3-none-any.whl")
    assert tags(wheel)[:2] == ["Root-Is-Purelib: true", "Tag: py3-none-any"]


def test_without_a_compiler_tenfold_is_installed_without_libraries(
    tree: Tree, nothing: str
) -> None:
    wheel = tree.build("wheel", PATH=nothing)
    reason = (
        "no compiler was found when tenfold was installed "
        "(install g++ or clang++, and then tenfold again)"
    )
    assert notes(wheel) == [f"tenfold: no kernels for {' and '.join(sorted(HERE))}: {reason}"]
    assert "tenfold/native/library.py" in members(wheel.file)
    assert not [name for name in members(wheel.file) if "kernels-" in name]
    assert loaded_from(unpacked(wheel.file)) == {"reason": reason}


def test_a_named_compiler_that_is_missing_is_not_replaced(tree: Tree) -> None:
    tree.build("editable", CXX="no-such-c++ -O1")
    reason = "no-such-c++ -O1, which CXX names, was not found when tenfold was installed"
    assert loaded_from(tree.folder / "src") == {"reason": reason}


def test_the_named_compiler_is_used_with_its_arguments(tree: Tree, tmp_path: Path) -> None:
    compiler = shutil.which("c++") or cannot_be_tested("c++ is not installed")
    calls = tmp_path / "calls"
    named = program(tmp_path / "my compiler", f'echo "$@" >> "{calls}"; exec {compiler} "$@"')
    tree.build("editable", CXX=f"'{named}' -DMINE")
    assert libraries(tree.libraries) == FILES
    assert all("-DMINE" in call for call in calls.read_text().splitlines())


def test_nothing_is_compiled_when_switched_off(tree: Tree, tmp_path: Path) -> None:
    named = program(tmp_path / "c++", f'touch "{tmp_path}/called"')
    built = tree.build("editable", TENFOLD_NATIVE="0", CXX=str(named))
    assert not (tmp_path / "called").exists()
    assert len(notes(built)) == 1
    assert loaded_from(tree.folder / "src") == {
        "reason": "tenfold was installed with TENFOLD_NATIVE=0"
    }


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_a_failed_build_removes_earlier_libraries(kind: str, tree: Tree, failing: str) -> None:
    there = tree.folder / ("src" if kind == "editable" else "build/lib")
    folder = there / "tenfold" / "native" / "libraries"
    tree.build(kind)
    assert libraries(folder) == FILES
    built = tree.build(kind, CXX=failing)
    assert libraries(folder) == set()
    (note,) = notes(built)
    assert note.endswith(
        ": failing failed (kernels.cpp:7:1: error: too hard) when tenfold was installed"
    )
    packages = tree.folder / "src" if kind == "editable" else unpacked(built.file)
    assert loaded_from(packages) == {"reason": note.partition(f"{sorted(HERE)[-1]}: ")[2]}


@pytest.mark.parametrize("choice", ["0", "1"])
def test_a_switched_off_or_required_build_removes_earlier_libraries(
    choice: str, tree: Tree, failing: str
) -> None:
    tree.build("editable")
    tree.try_to_build("editable", CXX=failing, TENFOLD_NATIVE=choice)
    assert libraries(tree.libraries) == set()
    assert (tree.libraries / "built.json").exists() == (choice == "0")


def test_an_unknown_choice_is_refused(tree: Tree) -> None:
    tree.build("editable")
    answer = tree.try_to_build("editable", TENFOLD_NATIVE="yes")
    assert answer.code != 0
    assert "TENFOLD_NATIVE is 'yes', wanted 0 or 1" in answer.err
    assert libraries(tree.libraries) == FILES  # unchanged


def test_leftovers_of_a_killed_build_are_removed(tree: Tree) -> None:
    (tree.libraries / ".kernels-avx2-k1ll3d").mkdir(parents=True)
    (tree.libraries / ".kernels-avx2-k1ll3d" / "kernels-avx2.so").write_bytes(b"half")
    tree.build("editable")
    assert libraries(tree.libraries) == FILES


def test_if_libraries_are_required_a_failure_ends_the_installation_with_the_compilers_output(
    tree: Tree, failing: str
) -> None:
    for kind in ("wheel", "editable"):
        answer = tree.try_to_build(kind, CXX=failing, TENFOLD_NATIVE="1")
        assert answer.code != 0
        assert "TENFOLD_NATIVE is 1, but no kernels" in answer.err
        assert "\nkernels.cpp:7:1: error: too hard" in answer.err


def test_if_libraries_are_required_a_missing_compiler_ends_the_installation(
    tree: Tree, nothing: str
) -> None:
    answer = tree.try_to_build("wheel", PATH=nothing, TENFOLD_NATIVE="1")
    assert answer.code != 0
    assert "no compiler was found" in answer.err


@pytest.mark.skipif(len(HERE) < 2, reason="this processor has libraries for one instruction set")
def test_a_library_that_cannot_be_compiled_does_not_affect_the_others(
    tree: Tree, tmp_path: Path
) -> None:
    best, *others = HERE
    compiler = shutil.which("c++") or cannot_be_tested("c++ is not installed")
    fails = f'case "$*" in *TENFOLD_{best.upper()}*) echo "unknown option"; exit 1;; esac'
    old = program(tmp_path / "old-c++", f'{fails}\nexec {compiler} "$@"')
    tree.build("editable", CXX=str(old))
    assert libraries(tree.libraries) == {library_file(name) for name in others}
    found = loaded_from(tree.folder / "src")
    assert found["instruction_set"] == others[0]
    assert found["skipped"] == {best: "old-c++ failed (unknown option) when tenfold was installed"}
    assert tree.try_to_build("wheel", CXX=str(old), TENFOLD_NATIVE="1").code != 0


def test_a_library_is_only_used_with_its_own_sources(tree: Tree) -> None:
    tree.build("editable")
    assert loaded_from(tree.folder / "src")["instruction_set"] in HERE
    with (tree.source / "kernels.cpp").open("a") as file:
        file.write("// and a comment\n")
    again = "was built from different sources; run `pip install -e .` again"
    assert loaded_from(tree.folder / "src") == {"reason": f"{library_file(HERE[-1])} {again}"}
    tree.build("editable")
    assert loaded_from(tree.folder / "src")["instruction_set"] in HERE


@pytest.mark.parametrize(
    "change",
    [
        lambda source: (source / "new.h").write_text(""),
        lambda source: (source / "kernels.cpp").unlink(),
        lambda source: (source / "kernels.cpp").rename(source / "kernel.cpp"),
        lambda source: (source / "deep").mkdir() or (source / "deep" / "new.h").write_text(""),
        lambda source: (source.parent / "compiling.py").write_text("COMMON_FLAGS = ()"),
    ],
    ids=["added", "removed", "renamed", "deep", "other flags"],
)
def test_the_digest_covers_every_name_and_content(tree: Tree, change) -> None:
    before = source_digest(tree.source)
    change(tree.source)
    assert source_digest(tree.source) != before


def test_the_digest_ignores_editors_leftovers(tree: Tree) -> None:
    before = source_digest(tree.source)
    (tree.source / "kernels.cpp~").write_text("old")
    (tree.source / ".kernels.cpp.swp").write_text("open")
    (tree.source / ".cache").mkdir()
    (tree.source / ".cache" / "index").write_text("of a language server")
    assert source_digest(tree.source) == before


def test_build_and_loader_compute_the_same_digest(tree: Tree) -> None:
    tree.build("editable")
    record = read_record(tree.libraries)
    assert record is not None
    assert record.digest == source_digest(tree.source)
    assert re.fullmatch("[0-9a-f]{16}", record.digest)
    for name in HERE:
        assert record.digest.encode() in (tree.libraries / library_file(name)).read_bytes()


def test_an_installed_library_must_match_the_digest_in_the_record(tree: Tree) -> None:
    installed = unpacked(tree.build("wheel").file)
    record = installed / "tenfold" / "native" / "libraries" / "built.json"
    facts = json.loads(record.read_text())
    facts["digest"] = "0123456789abcdef"
    record.write_text(json.dumps(facts))
    other = f"{library_file(HERE[-1])} was built from different sources; install tenfold again"
    assert loaded_from(installed) == {"reason": other}
    record.write_text("{")
    assert "built.json" in str(loaded_from(installed)["reason"])
    record.unlink()
    assert "built.json" in str(loaded_from(installed)["reason"])


def test_a_source_distribution_builds_byte_identical_libraries(tree: Tree) -> None:
    wheel = unpacked(tree.build("wheel").file) / "tenfold" / "native" / "libraries"
    source = tree.build("sdist").file
    with tarfile.open(source) as archive:
        archive.extractall(tree.folder / "elsewhere", filter="data")
    (folder,) = (tree.folder / "elsewhere").iterdir()
    packed = folder / SOURCE
    assert source_files(tree.source)
    assert source_digest(packed) == source_digest(tree.source)
    other = object.__new__(Tree)
    other.folder = folder
    again = unpacked(other.build("wheel").file) / "tenfold" / "native" / "libraries"
    for name in (*FILES, "built.json"):
        assert (again / name).read_bytes() == (wheel / name).read_bytes(), name


def tracked(folder: str) -> set[str]:
    """The files in a folder that are, or could be, under version control."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        cannot_be_tested("this is not a clone of the repository")
    assert listed.stdout
    return set(listed.stdout.splitlines())


def test_every_source_file_under_version_control_is_digested() -> None:
    digested = {path.relative_to(ROOT).as_posix() for path in source_files(ROOT / SOURCE)}
    assert tracked(str(SOURCE)) <= digested


def test_a_wheel_has_all_files_of_the_package_except_the_libraries_sources(
    tree: Tree,
) -> None:
    shutil.copytree(ROOT / "src", tree.folder / "src", dirs_exist_ok=True, ignore=BUILT)
    inside = members(tree.build("wheel", TENFOLD_NATIVE="0").file)
    packed = {f"src/{name}" for name in inside if ".dist-info/" not in name}
    package = {name for name in tracked("src/tenfold") if not name.startswith(f"{SOURCE}/")}
    assert packed - {"src/tenfold/native/libraries/built.json"} == package
