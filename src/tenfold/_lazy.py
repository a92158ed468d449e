"""Lazy imports: a package's names are imported on first use."""

from __future__ import annotations

import _thread
import ast
import gc
import importlib
import io
import os
import sys
from collections.abc import Callable
from types import ModuleType


def lazy_names(package: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` for a package that imports its names lazily.

    The names are the ones imported by the stub next to its `__init__.py`. Type checkers read the
    same stub: to them, `from module import name as name` is a re-export.

    Args:
        package: its `__name__`.

    Raises:
        ImportError: the stub cannot be read.
    """
    home_of = _imports_of_stub(package)

    def get(name: str) -> object:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if home_of[name] == package:  # a submodule
            value: object = imported(f"{package}.{name}")
        else:
            value = getattr(imported(home_of[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    names = sorted(home_of)
    return get, lambda: names, names


_FROZEN_BY_PYTHON = 5000
"""Python 3.12 counts objects that never die, such as None: some hundreds."""


def something_is_frozen() -> bool:
    """Whether the program has frozen objects, so that the garbage collector leaves them alone."""
    return gc.get_freeze_count() > _FROZEN_BY_PYTHON


class _Imports:
    """The imports in progress, during which no garbage is collected.

    Attributes:
        threads: the thread of each; imports may be nested, or in several threads.
        collected: whether garbage was collected before the first of them.
    """

    lock = _thread.allocate_lock()
    threads: tuple[int, ...] = ()
    collected = False

    @classmethod
    def begin(cls) -> None:
        with cls.lock:
            if not cls.threads:
                cls.collected = gc.isenabled()
                gc.disable()
            cls.threads = (*cls.threads, _thread.get_ident())

    @classmethod
    def end(cls) -> None:
        with cls.lock:
            place = cls.threads.index(_thread.get_ident())
            cls.threads = cls.threads[:place] + cls.threads[place + 1 :]
            if not something_is_frozen():
                # What is new counts as old, as if the collector had already looked at it.
                gc.freeze()
                gc.unfreeze()
            if not cls.threads and cls.collected:
                gc.enable()

    @classmethod
    def forget_other_threads(cls) -> None:
        """In a forked child, they do not exist."""
        cls.lock = _thread.allocate_lock()
        before = cls.threads
        cls.threads = tuple(each for each in before if each == _thread.get_ident())
        if before and not cls.threads and cls.collected:
            gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Imports.forget_other_threads)


def imported(module: str) -> ModuleType:
    """The module, imported without looking for garbage, which imports hardly make."""
    _Imports.begin()
    try:
        return importlib.import_module(module)
    finally:
        _Imports.end()


def _imports_of_stub(package: str) -> dict[str, str]:
    """For each name in a package's stub, the module it is imported from."""
    (folder,) = sys.modules[package].__path__
    try:
        # `pathlib` is slow to import, and `import tenfold` should cost next to nothing.
        with io.open_code(f"{folder}/__init__.pyi") as file:
            stub = ast.parse(file.read())
    except OSError as error:
        raise ImportError(f"{package}: cannot read the stub with its names: {error}") from None
    return {
        alias.name: str(node.module)
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
