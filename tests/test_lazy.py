"""The names of a package that imports them when they are first used."""

from __future__ import annotations

import ast
import gc
import importlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

import tenfold
from tenfold import _lazy

SOURCE = Path(tenfold.__file__).parent
STUBS = sorted(SOURCE.rglob("*.pyi"))


def package_of(stub: Path) -> str:
    return ".".join(stub.relative_to(SOURCE.parent).parent.parts)


@pytest.mark.parametrize("stub", STUBS, ids=package_of)
def test_a_package_hands_on_what_its_stub_imports(stub: Path) -> None:
    package = importlib.import_module(package_of(stub))
    names: dict[str, object] = {}
    exec(stub.read_text(), names)
    del names["__builtins__"]
    assert names == {name: getattr(package, name) for name in package.__all__}
    assert package.__all__ == dir(package) == sorted(names)


@pytest.mark.parametrize("stub", STUBS, ids=package_of)
def test_a_stub_has_only_imports_that_a_type_checker_hands_on(stub: Path) -> None:
    for statement in ast.parse(stub.read_text()).body:
        assert isinstance(statement, ast.ImportFrom)
        assert statement.level == 0
        for alias in statement.names:
            assert alias.asname == alias.name


def test_every_package_with_lazy_names_has_its_stub() -> None:
    lazy = [path for path in SOURCE.rglob("__init__.py") if "lazy_names" in path.read_text()]
    assert sorted(path.with_suffix(".pyi") for path in lazy) == STUBS != []


def test_a_package_without_its_stub_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stubless").mkdir()
    (tmp_path / "stubless" / "__init__.py").write_text(
        "from tenfold._lazy import lazy_names\n"
        "__getattr__, __dir__, __all__ = lazy_names(__name__)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"stubless: cannot read the stub .*: .*__init__\.pyi"):
        importlib.import_module("stubless")
    assert "stubless" not in sys.modules


@pytest.mark.usefixtures("nothing_frozen")
@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("text", ["value = 1", "raise OSError(1)"])
def test_garbage_is_collected_after_an_import_as_before(
    enabled: bool, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"package_{enabled}_{len(text)}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(
        "from tenfold._lazy import lazy_names\n"
        "__getattr__, __dir__, __all__ = lazy_names(__name__)\n"
    )
    (tmp_path / name / "__init__.pyi").write_text(f"from {name}.inner import value as value\n")
    (tmp_path / name / "inner.py").write_text(f"import gc\nassert not gc.isenabled()\n{text}\n")
    monkeypatch.syspath_prepend(tmp_path)
    package = importlib.import_module(name)
    (gc.enable if enabled else gc.disable)()
    try:
        with nullcontext() if text == "value = 1" else pytest.raises(OSError, match="1"):
            assert package.value == 1
        assert gc.isenabled() == enabled
        assert not _lazy.something_is_frozen()
        assert gc.get_count()[0] < gc.get_threshold()[0], "there is nothing to collect at once"
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_parallel_imports_and_forks_leave_the_collector_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of two modules waits until the other is being imported; the second forks."""
    (tmp_path / "waits_first.py").write_text("import waiting\nwaiting.meet()\nwaiting.meet()\n")
    (tmp_path / "waits_second.py").write_text(
        "import gc, os, waiting\nwaiting.meet()\nassert not gc.isenabled()\n"
        "waiting.fork()\nwaiting.meet()\n"
    )
    (tmp_path / "waiting.py").write_text(
        "import gc, os, threading\n"
        "meet = threading.Barrier(2, timeout=60).wait\n"
        "codes = []\n"
        "def fork():\n"
        "    thread = threading.Thread(target=child)\n"
        "    thread.start()\n"
        "    thread.join()\n"
        "def child():\n"
        "    if (pid := os.fork()) == 0:\n"
        "        os._exit(0 if gc.isenabled() else 1)\n"
        "    codes.append(os.waitpid(pid, 0)[1])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    gc.enable()
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(_lazy.imported, ["waits_first", "waits_second"])
    assert gc.isenabled()
    assert importlib.import_module("waiting").codes == [0], "the child collects garbage"
    assert (first.__name__, second.__name__) == ("waits_first", "waits_second")


@pytest.mark.usefixtures("nothing_frozen")
def test_objects_that_were_frozen_before_an_import_stay_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package_frozen.py").write_text("value = [[] for _ in range(10_000)]\n")
    monkeypatch.syspath_prepend(tmp_path)
    gc.freeze()
    frozen = gc.get_freeze_count()
    _lazy.imported("package_frozen")
    assert gc.get_freeze_count() > frozen / 2 > 5000
