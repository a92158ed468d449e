"""Modules import only from above, never in circles, and PyTorch only where it is needed."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tenfold

SOURCE = Path(tenfold.__file__).parent

LAYERS = (
    "_lazy",
    "_version",
    "errors",
    "markup",
    "paths",
    "resizing",
    "types",
    "randomness",
    "listening",
    "storage",
    "tensors",
    "scratch",
    "data",
    "models",
    "native",
    "evaluation",
    "training",
    "recipes",
    "deployment",
    "runs",
    "doctor",
    "reporting",
    "reproduction",
)
"""Files and folders, from the top layer down."""

FRONT_ENDS = ("api", "cli", "notebook")
"""Below all layers: they may import everything but each other, and nothing imports them."""

ENTRY_POINTS = ("__init__", "__main__")
"""They import the front ends, so they are outside the order."""

WITHOUT_TORCH = {
    "the layers above data": (
        "_lazy.py",
        "_version.py",
        "errors.py",
        "markup.py",
        "paths.py",
        "resizing.py",
        "types.py",
        "randomness.py",
        "listening.py",
        "storage/*.py",
    ),
    "data": (
        "data/*.py",
        "data/catalog/*.py",
        "data/checks/*.py",
        "data/files/*.py",
        "data/folders/*.py",
        "data/loading/__init__.py",
    ),
    "models": (
        "models/__init__.py",
        "models/layers.py",
        "models/weight_names.py",
        "models/weight_order.py",
    ),
    "native": ("native/*.py",),
    "evaluation": (
        "evaluation/__init__.py",
        "evaluation/comparing.py",
        "evaluation/threads.py",
        "evaluation/baselines.py",
        "evaluation/calibration.py",
        "evaluation/metrics.py",
        "evaluation/report.py",
    ),
    "training": (
        "training/__init__.py",
        "training/advice.py",
        "training/engine_table.py",
        "training/history.py",
        "training/optimizers.py",
        "training/schedules.py",
        "training/watching.py",
    ),
    "recipes": ("recipes/*.py",),
    "deployment": (
        "deployment/*.py",
        "deployment/export/__init__.py",
        "deployment/export/checking.py",
        "deployment/export/facts.py",
        "deployment/export/formats.py",
        "deployment/export/source.py",
        "deployment/serving/*.py",
    ),
    "runs": (
        "runs/__init__.py",
        "runs/comparing.py",
        "runs/evaluate.py",
        "runs/evidence.py",
        "runs/export.py",
        "runs/facts.py",
        "runs/folder.py",
        "runs/groups.py",
        "runs/listing.py",
        "runs/page.py",
        "runs/predicted.py",
        "runs/reading.py",
        "runs/resources.py",
        "runs/run.py",
        "runs/seeds.py",
        "runs/train.py",
    ),
    "reporting": (
        "reporting/__init__.py",
        "reporting/columns.py",
        "reporting/comparison/*.py",
        "reporting/describe.py",
        "reporting/exports.py",
        "reporting/help.py",
        "reporting/language.py",
        "reporting/listing.py",
        "reporting/terminal.py",
        "reporting/translation.py",
    ),
    "front ends": ("__init__.py", "api.py", "cli/*.py"),
}
"""What can be imported without PyTorch, directly or by way of others, in groups."""

MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
INSIDE = [module for module in MODULES if module.parts[0].removesuffix(".py") not in ENTRY_POINTS]


def name_of(module: Path) -> str:
    """As it is imported, such as `tenfold.data.load`; a folder's `__init__` is the folder."""
    parts = module.with_suffix("").parts
    return ".".join(("tenfold", *(part for part in parts if part != "__init__")))


KNOWN = {name_of(module) for module in MODULES}


def nodes(module: Path) -> Iterator[ast.AST]:
    """The syntax of a file, and of the stub beside it where there is one."""
    for path in SOURCE.joinpath(module).parent.glob(f"{module.stem}.py*"):
        yield from ast.walk(ast.parse(path.read_text()))


def imports(module: Path) -> Iterator[str]:
    """The modules of tenfold that a file and its stub import, wherever they do."""
    for node in nodes(module):
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
    """The number of a module's layer, from the top, and its name."""
    top = name.split(".")[1]
    return (len(LAYERS) if top in FRONT_ENDS else LAYERS.index(top)), top


def circle(node_of: Callable[[str], str]) -> object:
    """A cycle of imports, if there is one; several modules may be one node."""
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


def test_every_layer_and_front_end_exists() -> None:
    for name in (*LAYERS, *FRONT_ENDS):
        assert f"tenfold.{name}" in KNOWN, name


def test_no_module_imports_itself_indirectly() -> None:
    assert circle(lambda name: name) is None


def test_the_parts_of_data_do_not_import_each_other_in_circles() -> None:
    """A part is a folder or a file directly in `data/`."""

    def part(name: str) -> str:
        parts = name.split(".")
        return ".".join(parts[:3]) if parts[1] == "data" else name

    assert circle(part) is None


def without_torch(group: str) -> list[Path]:
    """The modules of a group; every pattern must mean something."""
    found = [sorted(SOURCE.glob(pattern)) for pattern in WITHOUT_TORCH[group]]
    assert all(found)
    return [path.relative_to(SOURCE) for paths in found for path in paths]


def imported_at_once(node: ast.AST) -> Iterator[str]:
    """What is imported when this code is run, outside of functions and type checking."""
    match node:
        case ast.Import():
            yield from (alias.name for alias in node.names)
        case ast.ImportFrom():
            yield str(node.module)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            pass
        case ast.If(test=ast.Name("TYPE_CHECKING")):
            for statement in node.orelse:
                yield from imported_at_once(statement)
        case _:
            for inner in ast.iter_child_nodes(node):
                yield from imported_at_once(inner)


@pytest.mark.parametrize("group", WITHOUT_TORCH)
def test_no_module_without_torch_imports_it_at_once(group: str) -> None:
    for module in without_torch(group):
        names = imported_at_once(ast.parse((SOURCE / module).read_text()))
        assert not [name for name in names if name.partition(".")[0] == "torch"], module


@pytest.mark.parametrize("group", WITHOUT_TORCH)
def test_no_module_without_torch_loads_it_indirectly(group: str) -> None:
    names = [name_of(module) for module in without_torch(group)]
    code = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(f'{name} loads torch')\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import torch.nn as nn", ["torch.nn"]),
        ("from torch import nn", ["torch"]),
        ("try:\n    import torch\nexcept ImportError:\n    import numpy", ["torch", "numpy"]),
        ("class A:\n    import torch", ["torch"]),
        ("if True:\n    import torch", ["torch"]),
        ("match 1:\n    case 1:\n        import torch", ["torch"]),
        ("if TYPE_CHECKING:\n    import torch\nelse:\n    import numpy", ["numpy"]),
        ("def f():\n    import torch", []),
        ("class A:\n    def f(self):\n        import torch", []),
    ],
)
def test_imports_that_run_at_once_are_found(text: str, names: list[str]) -> None:
    assert list(imported_at_once(ast.parse(text))) == names
