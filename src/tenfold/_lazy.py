"""Lazy imports: a package's names are imported on first use."""

from __future__ import annotations

import ast
import gc
import importlib
import io
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
            value: object = _imported(f"{package}.{name}")
        else:
            value = getattr(_imported(home_of[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    names = sorted(home_of)
    return get, lambda: names, names


def _imported(module: str) -> ModuleType:
    """The module, imported without looking for garbage, which imports hardly make."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        if not gc.get_freeze_count():
            # What is new counts as old, as if the collector had already looked at it.
            gc.freeze()
            gc.unfreeze()
        if collects:
            gc.enable()


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
