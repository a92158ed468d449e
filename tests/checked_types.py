"""In tests, arguments and results of the package's functions are checked by their annotations.

`beartype` checks types, and with jaxtyping's names of axes also shapes: an axis of the same name
has the same length in all arguments of a call and in its result. jaxtyping's own import hook checks
the arguments once more after the call, and functions inside functions; but it slows every call
down, and all tests take a third longer with it.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib.abc
import importlib.machinery
import inspect
import random
import sys
from collections.abc import Callable
from typing import Any, get_args

import jaxtyping
from beartype import BeartypeConf, beartype

OWN_BITS = random.Random(0).getrandbits

with_checks = beartype(conf=BeartypeConf(violation_type=TypeError))


def check_types_of(package: str) -> None:
    """Check types in what is imported of a package from now on."""
    _draw_other_random_numbers()
    builtins.__checked__ = checked  # type: ignore[attr-defined]
    sys.meta_path.insert(0, _Finder(package))


def _draw_other_random_numbers() -> None:
    """Let beartype, which checks random items of a sequence, draw them from a generator of its own.

    What is tested may use Python's, or refuse code that does.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("beartype.") and hasattr(module, "getrandbits"):
            module.getrandbits = OWN_BITS


def checked(what: Any) -> Any:
    """A function whose arguments and result are checked, or a data class whose fields are."""
    if not isinstance(what, type):
        what.__annotations__ = _hints_of(what)
        if inspect.isgeneratorfunction(what):
            return _in_own_context(what, before=with_checks(_with_its_arguments(what)))
        if any(map(_may_be_a_stand_in, what.__annotations__.values())):
            return _in_own_context(with_checks(what), unchecked=what)
        return with_checks(what)
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


def _may_be_a_stand_in(hint: object) -> bool:
    """Whether a type has axes, or is one of PyTorch, for which a traced network gets a proxy."""
    if isinstance(hint, type) and not get_args(hint):
        return issubclass(hint, jaxtyping.AbstractArray) or hint.__module__.startswith("torch")
    return any(map(_may_be_a_stand_in, get_args(hint)))


def _with_its_arguments(function: Any) -> Any:
    """A function with the same arguments that does nothing.

    What beartype makes of a generator function would check them only when it is iterated.
    """
    parameters = inspect.signature(function).parameters.values()
    bare = [
        each.replace(annotation=each.empty, default=each.empty if each.default is each.empty else 0)
        for each in parameters
    ]
    same = eval(f"lambda {str(inspect.Signature(bare))[1:-1]}: None")
    same.__defaults__, same.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    same.__annotations__ = {**function.__annotations__}
    same.__annotations__.pop("return", None)
    same.__name__, same.__qualname__ = function.__name__, function.__qualname__
    return same


def _nothing(*args: object, **kwargs: object) -> None:
    pass


def _in_own_context(
    function: Any, unchecked: Any = None, before: Callable[..., None] = _nothing
) -> Any:
    """A function whose names of axes mean something within each call only.

    Args:
        function: with checks of its arguments, unless `before` has them.
        unchecked: the same without checks, for when the package traces a network and turns them
            off: then functions get proxies instead of tensors.
        before: is called with the arguments first.
    """
    unchecked = unchecked or function

    @functools.wraps(unchecked)
    def call(*args: object, **kwargs: object) -> object:
        if jaxtyping.config.jaxtyping_disable:
            return unchecked(*args, **kwargs)
        with jaxtyping.jaxtyped("context"):
            before(*args, **kwargs)
            return function(*args, **kwargs)

    # What looks for a place in somebody's code must not find this one.
    call.__code__ = call.__code__.replace(co_filename="<@beartype>")
    return call


class _Checking(ast.NodeTransformer):
    """Decorates functions, methods and classes; neither coroutines nor functions in functions."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.decorator_list.insert(0, _decorator(node))  # outermost: a data class has its __init__
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list.append(_decorator(node))  # innermost: others may hide its annotations
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return node


def _decorator(node: ast.stmt) -> ast.expr:
    return ast.copy_location(ast.Name("__checked__", ast.Load()), node)


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> Any:
        """The code with checks, which is compiled each time: only that without them is kept."""
        path = self.get_filename(fullname)
        tree = _Checking().visit(ast.parse(self.get_data(path), path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


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
