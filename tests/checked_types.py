"""In tests, arguments and results of the package's functions are checked by their annotations.

`beartype` checks types, and with jaxtyping's names of axes also shapes: an axis of the same name
has the same length in all arguments of a call and in its result. jaxtyping's own import hook does
the same, but slows every call down: with it, all tests take a third longer.
"""

from __future__ import annotations

import ast
import functools
import importlib.abc
import importlib.machinery
import random
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, get_args

import jaxtyping
from beartype import BeartypeConf, beartype
from beartype._check.code import codemain

with_checks = beartype(conf=BeartypeConf(violation_type=TypeError))


def check_types_of(package: str) -> None:
    """Check types in what is imported of a package from now on.

    Random numbers decide which item of a sequence is checked. They are not those of Python's own
    generator, since what is tested may use that, or refuse code that does.
    """
    assert codemain.getrandbits.__name__ == "getrandbits"  # and not something else by now
    codemain.getrandbits = random.Random(0).getrandbits
    sys.meta_path.insert(0, _Finder(package))


def checked(what: Any) -> Any:
    """A function whose arguments and result are checked, or a data class whose fields are."""
    if not isinstance(what, type):
        what.__annotations__ = _hints_of(what)
        has_axes = any(map(_has_axes, what.__annotations__.values()))
        return _with_own_axes(what) if has_axes else with_checks(what)
    if "__dataclass_fields__" in vars(what) and "__init__" in vars(what):
        what.__init__ = checked(what.__init__)  # type: ignore[misc]
    return what


def _hints_of(function: Any) -> dict[str, object]:
    """What the annotations of a function mean; not those with names that only mypy knows."""
    hints = {}
    for name, hint in function.__annotations__.items():
        try:
            hints[name] = eval(hint, function.__globals__) if isinstance(hint, str) else hint
        except (NameError, AttributeError):
            continue
    return hints


def _has_axes(hint: object) -> bool:
    """Whether a type is, or contains, that of an array or tensor."""
    is_type = isinstance(hint, type) and not get_args(hint)
    is_array = is_type and (
        issubclass(hint, jaxtyping.AbstractArray) or hint.__module__.startswith("torch")
    )
    return is_array or any(map(_has_axes, get_args(hint)))


def _with_own_axes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a function whose names of axes mean something within each call only.

    While the package traces a network, it turns such checks off: no tensors are passed then.
    """
    checking = with_checks(function)

    @functools.wraps(function)
    def call(*args: object, **kwargs: object) -> object:
        if jaxtyping.config.jaxtyping_disable:
            return function(*args, **kwargs)
        with jaxtyping.jaxtyped("context"):
            return checking(*args, **kwargs)

    # What looks for a place in somebody's code must not find this one.
    call.__code__ = call.__code__.replace(co_filename="<@beartype>")
    return call


class _Checking(ast.NodeTransformer):
    """Decorates functions, methods and classes; neither coroutines nor functions in functions."""

    def _decorated(self, node: Any) -> Any:
        decorator = ast.parse("__checked__").body[0].value  # type: ignore[attr-defined]
        ast.copy_location(decorator, node)
        # A function before it is decorated in another way, a class after it is a data class.
        node.decorator_list.insert(
            0 if isinstance(node, ast.ClassDef) else len(node.decorator_list), decorator
        )
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        return self._decorated(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._decorated(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return node


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        return compile(ast.fix_missing_locations(_Checking().visit(tree)), path, "exec")

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__checked__"] = checked
        super().exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname.partition(".")[0] != self._package:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec
