"""A module imports only from folders above its own in the house, and nothing goes in circles."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tenfold

SOURCE = Path(tenfold.__file__).parent

HOUSE = (
    "_lazy",
    "_version",
    "errors",
    "types",
    "randomness",
    "listening",
    "storage",
    "tensors",
    "scratch",
    "data",
    "models",
    "evaluation",
    "training",
    "recipes",
    "deployment",
    "runs",
    "reporting",
    "reproduction",
)
"""Files and folders, from the top of the house down."""

FACES = ("api", "cli", "notebook")
"""Below the house: they may import everything but each other, and nothing imports them."""

DOORS = ("__init__", "__main__")
"""They lead to the faces, so they stand outside the order."""

MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
INSIDE = [module for module in MODULES if module.parts[0].removesuffix(".py") not in DOORS]


def name_of(module: Path) -> str:
    """As it is imported, such as `tenfold.data.load`; a folder's `__init__` is the folder."""
    parts = module.with_suffix("").parts
    return ".".join(("tenfold", *(part for part in parts if part != "__init__")))


KNOWN = {name_of(module) for module in MODULES}


def imports(module: Path) -> Iterator[str]:
    """The modules of tenfold that a file imports, wherever it does."""
    for node in ast.walk(ast.parse((SOURCE / module).read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                name = inner if inner in KNOWN else str(node.module)
                if name.startswith("tenfold."):
                    yield name
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("tenfold."))


def place(name: str) -> tuple[int, str]:
    """How far down the house a module stands, and in which folder or face."""
    top = name.split(".")[1]
    return (len(HOUSE) if top in FACES else HOUSE.index(top)), top


def circle(node_of: Callable[[str], str]) -> object:
    """The circle that the imports go in, if there is one; some of the modules may be one node."""
    graph: dict[str, set[str]] = {}
    for module in INSIDE:
        own = node_of(name_of(module))
        graph.setdefault(own, set()).update({node_of(name) for name in imports(module)} - {own})
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return None


@pytest.mark.parametrize("module", INSIDE, ids=str)
def test_a_module_imports_only_from_above_or_its_own_folder(module: Path) -> None:
    own, folder = place(name_of(module))
    for name in imports(module):
        other, other_folder = place(name)
        assert other < own or other_folder == folder, f"{module} imports {name} from below"


def test_the_house_names_only_what_is_there() -> None:
    for name in (*HOUSE, *FACES):
        assert f"tenfold.{name}" in KNOWN, name


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert circle(lambda name: name) is None


def test_no_room_of_data_is_returned_to() -> None:
    """A room is a folder or a file right inside `data/`."""

    def room(name: str) -> str:
        parts = name.split(".")
        return ".".join(parts[:3]) if parts[1] == "data" else name

    assert circle(room) is None
