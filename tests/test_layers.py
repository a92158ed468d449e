"""A module imports only from above itself in the house."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tenfold

SOURCE = Path(tenfold.__file__).parent

HOUSE: dict[str, tuple[str, ...]] = {
    "errors": (),
    "types": (),
    "storage": (),
    "randomness": (),
    "scratch": (),
    "data": (
        "images",
        "formats",
        "cache",
        "members",
        "layout",
        "folder",
        "catalog",
        "fetch",
        "dataset",
        "rows",
        "objects",
        "sources",
        "augment",
        "loader",
    ),
    "models": (
        "arguments",
        "preprocessing",
        "softmax",
        "softmax_scratch",
        "mlp",
        "lenet",
        "cifar_cnn",
        "convpool",
        "resnet_small",
        "table",
        "summary",
    ),
    "evaluation": ("metrics", "report", "evaluate"),
    "training": (
        "optimizers",
        "schedules",
        "averaging",
        "step",
        "state",
        "checkpoint",
        "parts",
        "watching",
        "advice",
        "memory",
        "loop",
    ),
    "deployment": ("bundle", "classifier"),
    "reporting": ("facts", "terminal", "reproduction", "plots", "live"),
    "recipes": ("recipe",),
    "runs": ("signals", "folder", "prepare", "run", "train", "published", "reproduce"),
}
"""Folders from the top of the house down, and the files in each likewise."""

FACES = ("api", "cli", "notebook", "estimator")
"""At the bottom: they may import everything but each other, and nothing imports them."""

DOORS = ("__init__", "__main__")
"""They lead to the faces, so they stand outside the order."""

MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))


def place(parts: tuple[str, ...]) -> tuple[int, int]:
    """How far down the house a module stands: its folder's place, and its own in the folder."""
    top, inner = parts[0], parts[1] if len(parts) > 1 else ""
    if top in FACES:
        return len(HOUSE), 0
    folder = list(HOUSE).index(top)
    # A folder's __init__ stands below its files: it gathers them.
    return folder, HOUSE[top].index(inner) if inner in HOUSE[top] else len(HOUSE[top])


def imported(tree: ast.AST) -> list[tuple[str, ...]]:
    """The modules of tenfold that a file imports, as their parts."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names]
            found += [module if not exists(name) else name for name in names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [tuple(name.split(".")[1:]) for name in found if name.startswith("tenfold.")]


def exists(module: str) -> bool:
    if not module.startswith("tenfold."):
        return False
    path = SOURCE.joinpath(*module.split(".")[1:])
    return path.with_suffix(".py").exists() or path.is_dir()


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_has_a_place_in_the_house(module: Path) -> None:
    parts = module.with_suffix("").parts
    if len(parts) == 1:
        assert parts[0] in (*HOUSE, *FACES, *DOORS)
    else:
        assert parts[1] in (*HOUSE[parts[0]], "__init__")


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_imports_only_from_above(module: Path) -> None:
    parts = module.with_suffix("").parts
    if parts[0] in DOORS:
        return
    own = place(parts)
    for other in imported(ast.parse((SOURCE / module).read_text())):
        assert place(other) < own, f"{module} imports {'.'.join(other)}, which stands below it"


def test_the_order_names_only_what_is_there() -> None:
    for folder, files in HOUSE.items():
        assert exists(f"tenfold.{folder}"), folder
        for file in files:
            assert exists(f"tenfold.{folder}.{file}"), f"{folder}/{file}"
