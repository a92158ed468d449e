"""Files with a user's own code, which are run only if the user names them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from tenfold.errors import (
    FileRefusedError,
    StoppedAtOnce,
    TenfoldError,
    UsageError,
    printable,
    shell_quoted,
)
from tenfold.paths import exists, found_at, is_file
from tenfold.storage import absolute, read_text

LARGEST_SOURCE = 2**20
"""Bytes that a file with a network may have."""

_BEING_RUN: ContextVar[Path | None] = ContextVar("file that is run", default=None)

_NOT_THE_USERS = ("tenfold", "torch", "torchvision")
"""Packages whose classes have no file of the user's."""

_INSTALLED = frozenset(sysconfig.get_paths().values())
"""Folders of modules that belong to no file of the user's."""


class Siblings:
    """The modules that a file imports from its folder; no other file gets them.

    Args:
        folder: searched after all other places, and only while the file is run and while its
            network is made: libraries look for modules that may be missing, and must not find
            files of the same name that the user did not import.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._modules: dict[str, ModuleType] = {}

    @contextlib.contextmanager
    def importable(self) -> Iterator[None]:
        """Have the folder searched inside the block."""
        folder = str(self._folder)
        is_searched = folder in sys.path
        if not is_searched:
            sys.path.append(folder)
        importlib.invalidate_caches()  # a file may have been written just now
        try:
            with self.known():
                yield
        finally:
            if not is_searched:
                with contextlib.suppress(ValueError):  # the file may have changed the path
                    sys.path.remove(folder)

    @contextlib.contextmanager
    def known(self) -> Iterator[None]:
        """Have Python know the modules inside the block, and forget them after it."""
        before = dict(sys.modules)
        sys.modules.update(self._modules)
        try:
            yield
        finally:
            self._take_back(before)

    def _take_back(self, before: Mapping[str, ModuleType]) -> None:
        """Let Python forget the modules of the folder that it did not have before."""
        new = sys.modules.keys() - before.keys()
        own = {name for name in new if "." not in name and self._is_here(sys.modules[name])}
        own |= self._modules.keys()
        self._modules |= {name: sys.modules[name] for name in new if name.partition(".")[0] in own}
        for name in self._modules:
            sys.modules.pop(name, None)
            if name in before:
                sys.modules[name] = before[name]

    def _is_here(self, module: ModuleType | None) -> bool:
        """Whether it is a file or a package of the folder, and not installed there."""
        spec = getattr(module, "__spec__", None)
        if spec is None or str(self._folder) in _INSTALLED:
            return False
        places = spec.submodule_search_locations or [spec.origin]
        return any(Path(place).parent == self._folder for place in places if place)


@dataclass(frozen=True)
class CodeFile:
    """Code of the user's.

    Attributes:
        name: of the file, without its folder; empty for a piece of code, such as a notebook's.
        source: the text.
        path: of the file; None without one.
        siblings: what it imports from its folder; None if tenfold did not run it.
    """

    name: str
    source: str = field(repr=False)
    path: Path | None = None
    siblings: Siblings | None = field(default=None, repr=False, compare=False)

    @property
    def sha256(self) -> str:
        """Of the text."""
        return hashlib.sha256(self.source.encode()).hexdigest()


def run_file(path: Path) -> tuple[ModuleType, CodeFile]:
    """Run a Python file as a module; what it prints goes to standard error.

    It may import what is in its folder, which is read anew.

    Raises:
        UsageError: there is no such file, or it raises an error, whose line the message names.
        TenfoldError: what it uses of tenfold raises it.
    """
    if not is_file(path):
        folder = shell_quoted(str(absolute(path).parent))
        raise UsageError(
            f"{path}: {found_at(path)}"
            if exists(path)
            else f"{path}: no such file in the folder {folder}",
            remedy="name the file with the network, such as net.py:Net",
        )
    siblings = Siblings(path.parent)
    code = CodeFile(path.name, read_text(path, LARGEST_SOURCE), path, siblings)
    place = str(absolute(path))  # of another folder, `net.py` is another file to Python's caches
    name = f"_tenfold_code_{path.stem}_{hashlib.sha256(place.encode()).hexdigest()[:8]}"
    module, before = ModuleType(name), sys.modules.get(name)
    module.__file__ = place
    sys.modules[name] = module  # dataclasses and `inspect` look for it there
    _import_torch()
    try:
        with contextlib.redirect_stdout(sys.stderr), siblings.importable(), _being_run(path):
            compiled = compile(code.source, place, "exec", dont_inherit=True)
            exec(compiled, vars(module))  # noqa: S102 - the user has named it to be run
    except BaseException as error:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        if isinstance(error, TenfoldError | StoppedAtOnce):
            raise
        if not isinstance(error, Exception | SystemExit):
            raise
        raise UsageError(f"{_where(path, error)}: {_said(error)}") from error
    return module, code


def _import_torch() -> None:
    """Import PyTorch while no folder of a user's is searched for what it may have or not."""
    import torch  # noqa: F401


def _said(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{printable(error.msg)} (SyntaxError)"
    return f"running it raises {type(error).__name__}: {printable(str(error), 300)}"


def _where(path: Path, error: BaseException) -> str:
    """The last line of a file that an error came through, and that of another in its folder."""
    folder = absolute(path).parent
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    found: dict[str, int | None] = {}
    for file, line in places:
        own = _name_in(folder, Path(file))
        found.pop(own, None)  # the last one is the innermost
        found[own] = line
    lines = {file: f" line {line}" for file, line in found.items() if file and line}
    where = f"{path}{lines.get(path.name, '')}"
    last = next(reversed(lines), path.name)
    return where if last == path.name else f"{where}, in {last}{lines[last]}"


def _name_in(folder: Path, file: Path) -> str:
    """The name of a file in a folder of the user's; empty for one that is elsewhere."""
    if file.is_relative_to(folder.resolve()):
        folder = folder.resolve()
    if not file.is_relative_to(folder) or any(map(file.is_relative_to, _INSTALLED)):
        return ""
    return str(file.relative_to(folder))


def code_of(found: object) -> CodeFile | None:
    """The code of a class or function: its file, or in a notebook itself; None if neither is there.

    Args:
        found: a class or a function of the user's.
    """
    package = str(getattr(found, "__module__", "")).partition(".")[0]
    if package in _NOT_THE_USERS:
        return None
    try:
        file = inspect.getsourcefile(found)  # type: ignore[arg-type]
        if file is not None and is_file(Path(file)) and _has_a_name(found):
            return CodeFile(Path(file).name, read_text(Path(file), LARGEST_SOURCE), Path(file))
        return CodeFile("", inspect.getsource(found))  # type: ignore[arg-type]
    except (TypeError, OSError, FileRefusedError):  # it was typed in, and not kept
        return None


def _has_a_name(found: object) -> bool:
    """Whether its module has it under its name, so that it can be named again."""
    module = sys.modules.get(str(getattr(found, "__module__", "")))
    return getattr(module, str(getattr(found, "__name__", "")), None) is found


@contextlib.contextmanager
def _being_run(path: Path) -> Iterator[None]:
    """Know inside the block that a file is run for the network in it."""
    token = _BEING_RUN.set(path)
    try:
        yield
    finally:
        _BEING_RUN.reset(token)


def refuse_while_a_file_is_run() -> None:
    """Refuse to train or evaluate by a file that is run only for the network in it.

    Raises:
        UsageError: with what to change in the file.
    """
    path = _BEING_RUN.get()
    if path is not None:
        raise UsageError(
            f"{path}: it is run for the network in it, and trains or evaluates when it is run",
            remedy='put that under if __name__ == "__main__":',
        )
