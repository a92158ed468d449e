"""Names of a package that are imported when they are first used."""

from __future__ import annotations

import ast
import importlib
import io
import sys
from collections.abc import Callable


def lazy_names(package: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """The `__getattr__`, `__dir__` and `__all__` of a package that imports nothing yet.

    The names are those that the stub beside its `__init__.py` imports. Type checkers read the same
    stub: to them, `from module import name as name` says that the package hands the name on.

    Args:
        package: its `__name__`.

    Raises:
        ImportError: the stub cannot be read.
    """
    home_of = _imports_of_stub(package)

    def get(name: str) -> object:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if home_of[name] == package:  # a module of its own
            value: object = importlib.import_module(f"{package}.{name}")
        else:
            value = getattr(importlib.import_module(home_of[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    names = sorted(home_of)
    return get, lambda: names, names


def _imports_of_stub(package: str) -> dict[str, str]:
    """By name, the module that a package's stub imports it from."""
    (folder,) = sys.modules[package].__path__
    try:
        # `pathlib` is slow to import, and `import tenfold` is to cost next to nothing.
        with io.open_code(f"{folder}/__init__.pyi") as file:
            stub = ast.parse(file.read())
    except OSError as error:
        raise ImportError(f"{package}: the stub with its names cannot be read: {error}") from None
    return {
        alias.name: str(node.module)
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
