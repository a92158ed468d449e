"""Files with a user's own code, which are run only if the user names them."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
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
from tenfold.models.siblings import INSTALLED, Siblings
from tenfold.paths import exists, found_at, is_file
from tenfold.storage import absolute, read_text

LARGEST_SOURCE = 2**20
"""Bytes that a file with a network may have."""

_BEING_RUN: ContextVar[Path | None] = ContextVar("file that is run", default=None)

_NOT_THE_USERS = ("tenfold", "torch", "torchvision")
"""Packages whose classes have no file of the user's."""


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
    module.__file__, module.__package__ = place, ""
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
        is_of_the_code = isinstance(error, Exception | SystemExit)
        if not is_of_the_code or isinstance(error, TenfoldError | StoppedAtOnce):
            raise
        raise UsageError(f"{_where(path, error)}: {_said(error)}", remedy=_remedy(error)) from error
    return module, code


def _import_torch() -> None:
    """Import PyTorch while no folder of a user's is searched for what it may have or not."""
    import torch  # noqa: F401


def _said(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{printable(error.msg)} (SyntaxError)"
    return f"running it raises {type(error).__name__}: {printable(str(error), 300)}"


def _remedy(error: BaseException) -> str:
    line = traceback.extract_tb(error.__traceback__)[-1].line or ""
    if "no known parent package" in str(error) and re.match(r"from\s+\.(?!\.)", line):
        return "its folder is searched: import by name, without the dot"
    return ""


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
    if not file.is_relative_to(folder) or any(map(file.is_relative_to, INSTALLED)):
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
