"""The modules that a user's file imports from its folder."""

from __future__ import annotations

import contextlib
import importlib
import os
import site
import sys
import sysconfig
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

INSTALLED = frozenset(sysconfig.get_paths().values())
"""Folders of modules that belong to no file of the user's."""

_LIBRARIES = tuple(
    os.path.join(place, "")  # noqa: PTH118 - a separator at the end
    for place in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
    }
)
"""Where installed modules are, as the beginning of a path."""

_NEVER_SET_ASIDE = ("__main__", "tenfold", "torch", "torchvision")
"""Modules of which there is one, even if they are not in a library's folder."""

_CHANGING_MODULES = threading.RLock()
"""Held while `sys.modules` is changed, and while a file is run that may change it."""

_KNOWN: list[Siblings] = []
"""Those whose modules Python knows, the latest last."""

_KNOWN_BEFORE: dict[str, ModuleType | None] = {}
"""What Python knew under the names of their modules; None for those that it did not know."""


class Siblings:
    """The modules that a file imports from its folder; no other file gets them.

    Args:
        folder: searched only while the file is run and while its network is made: libraries look
            for modules that may be missing, and must not find files of the same name that the user
            did not import.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._modules: dict[str, ModuleType] = {}

    @contextlib.contextmanager
    def importable(self) -> Iterator[None]:
        """Have the folder searched inside the block: after what is installed, before all else.

        What Python knows from elsewhere under the names of its modules is set aside.
        """
        with _CHANGING_MODULES:
            importlib.invalidate_caches()  # a file may have been written just now
            finder = _Finder(self._folder)
            aside = _set_aside(finder)
            before = {*sys.modules}
            _ask_before_the_path(finder)
            try:
                with self.known():
                    try:
                        yield
                    finally:
                        self._keep(sys.modules.keys() - before, aside)
            finally:
                sys.meta_path.remove(finder)
                sys.modules.update(aside)

    @contextlib.contextmanager
    def known(self) -> Iterator[None]:
        """Have Python know the modules inside the block, and forget them after it."""
        with _CHANGING_MODULES:
            _KNOWN.append(self)
            for name, module in self._modules.items():
                _KNOWN_BEFORE.setdefault(name, sys.modules.get(name))
                sys.modules[name] = module
        try:
            yield
        finally:
            with _CHANGING_MODULES:
                self._keep_submodules()
                _KNOWN.remove(self)
                for name in self._modules:
                    _know_again(name)

    def module(self, name: str) -> ModuleType | None:
        """The module of that name; None if there is none."""
        return self._modules.get(name)

    def _keep(self, new: Iterable[str], aside: Mapping[str, ModuleType]) -> None:
        """Keep the new modules of the folder, and those in whose place others were set aside."""
        for name in new:
            if _top(name) in aside or self._is_here(name):
                self._modules[name] = sys.modules[name]

    def _is_here(self, name: str) -> bool:
        """Whether a module is a file of the folder, or of a package in it."""
        if str(self._folder) in INSTALLED:
            return False
        places = [Path(place) for place in _places(getattr(sys.modules[name], "__spec__", None))]
        package = self._folder / _top(name)
        return any(p.parent == self._folder or p.is_relative_to(package) for p in places)

    def _keep_submodules(self) -> None:
        """Keep what was imported of its packages since."""
        for name, module in list(sys.modules.items()):
            package = self._modules.get(_top(name))
            if package is not None and sys.modules.get(_top(name)) is package:
                self._modules[name] = module


class _Finder(MetaPathFinder):
    """Finds the modules of a folder, unless they are installed or the file adds a place for them.

    A package without `__init__.py` counts only if nothing else has its name, as Python has it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._others = {place for place in sys.path if not _is_installed(place)} | {self._folder}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What to import for a name; None if that is to be found elsewhere."""
        if path is not None:  # it is inside a package
            return None
        found = PathFinder.find_spec(fullname, self._path(), target)
        if found is None or self._folder not in {str(Path(p).parent) for p in _places(found)}:
            return None
        if found.loader is None:
            other = PathFinder.find_spec(fullname)
            if other is not None and other.loader is not None:
                return None
            # Python's own kind of list follows sys.path, where the folder is not.
            found.submodule_search_locations = list(found.submodule_search_locations or ())
        return found

    def _path(self) -> list[str]:
        """`sys.path` with the folder after what is installed, and only what the file adds."""
        path = [place for place in sys.path if place not in self._others]
        after = max((n for n, place in enumerate(path, 1) if _is_installed(place)), default=0)
        return [*path[:after], self._folder, *path[after:]]


def _ask_before_the_path(finder: MetaPathFinder) -> None:
    """Have a finder asked before Python searches `sys.path`, but after its built-in modules."""
    finders = sys.meta_path
    finders.insert(finders.index(PathFinder) if PathFinder in finders else len(finders), finder)


def _set_aside(finder: MetaPathFinder) -> dict[str, ModuleType]:
    """Have Python forget the modules in whose place a finder finds others."""
    names = {
        name
        for name, module in list(sys.modules.items())
        if "." not in name
        and name not in _NEVER_SET_ASIDE
        and not _is_of_a_library(module)
        and finder.find_spec(name, None) is not None
    }
    aside = {name: module for name, module in list(sys.modules.items()) if _top(name) in names}
    for name in aside:
        del sys.modules[name]
    return aside


def _is_of_a_library(module: ModuleType | None) -> bool:
    spec = getattr(module, "__spec__", None)
    origin = getattr(spec, "origin", None)
    return origin in ("built-in", "frozen") or any(map(_is_installed, _places(spec)))


def _is_installed(place: str) -> bool:
    return os.path.join(place, "").startswith(_LIBRARIES)  # noqa: PTH118 - a separator at the end


def _places(spec: ModuleSpec | None) -> list[str]:
    """The file of a module, or the folders of a package."""
    if spec is None:
        return []
    return list(spec.submodule_search_locations or ([spec.origin] if spec.origin else []))


def _top(name: str) -> str:
    """The package that a module is in, or the module itself."""
    return name.partition(".")[0]


def _know_again(name: str) -> None:
    """Have Python know under a name what the latest of `_KNOWN` has there, or what was before."""
    modules = (siblings.module(name) for siblings in reversed(_KNOWN))
    module = next((each for each in modules if each is not None), None)
    if module is None:
        module = _KNOWN_BEFORE.pop(name, None)
    if module is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = module
