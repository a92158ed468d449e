"""Hostile texts: recipes, tables, corrections, and what is in a run's folder."""

from __future__ import annotations

import os

from bad_inputs.makers.files import Maker, all_of, file
from bad_inputs.makers.pictures import pictures
from hostile.rows import Row

RECIPE = "load_recipe(Path('own.toml'))"
TABLE = "load_splits('./photos', options=FolderOptions(labels='table.csv'))"
CORRECTIONS = "read_corrections(Path('findings.csv'))"


def recipe(text: str) -> Row:
    return Row(file("own.toml", text), RECIPE)


def table(text: str | bytes, bound: int = 100) -> Row:
    return Row(all_of(pictures(cat=2, dog=2), file("photos/table.csv", text)), TABLE, bound)


def corrections(text: str | bytes, bound: int = 100) -> Row:
    return Row(file("findings.csv", text), CORRECTIONS, bound)


def pipe(name: str) -> Maker:
    return lambda folder: os.mkfifo(folder / name)


def link(name: str, target: str) -> Maker:
    return lambda folder: (folder / name).symlink_to(target)


def folder(name: str) -> Maker:
    return lambda place: (place / name).mkdir()


PLACES = {
    "own.toml": RECIPE,
    "findings.csv": CORRECTIONS,
    "model.safetensors": "load('model.safetensors')",
    "weights": "read_state_dict(Path('weights'))",
    "set.npz": "load_splits('./set.npz')",
    "photos.zip": "load_splits('./photos.zip')",
    "photos.tar": "load_splits('./photos.tar')",
    "x.png": "classifier.predict('x.png')",
}
"""Files that are read, and what reads them."""

ROWS = {
    "recipe of dots": recipe("a" + ".a" * 400_000 + " = 1"),
    "recipe of dots in many lines": recipe(
        "".join(f"k{n}" + ".a" * 499 + " = 1\n" for n in range(64))
    ),
    "recipe of lists in lists": recipe("x = " + "[" * 500_000),
    "recipe of tables in tables": recipe("a = " + "{a = " * 100_000),
    "recipe with a long number": recipe("lr = " + "9" * 500_000),
    "recipe with a long name": recipe("model = '" + "x" * 500_000 + "'"),
    "recipe of a million lines": recipe("\n" * 999_000 + "x = 1"),
    "table of one line of 60 MB": table("x" * 60_000_000, 700),
    "table of a million columns": table("image,label" + "," * 1_000_000, 300),
    "table of a million rows": table("image,label\n" + "x.png,cat\n" * 1_000_000, 700),
    "table with an open quote": table('image,label\n"' + "x,y\n" * 1_000_000, 300),
    "table of null bytes": table(bytes(10_000_000), 300),
    "corrections of one line of 60 MB": corrections("x" * 60_000_000, 700),
    "corrections of a million columns": corrections("image" + "," * 1_000_000, 300),
    "corrections of 200,000 deletions": Row(
        file(
            "findings.csv",
            "image,action\n" + "".join(f"{n}.png,delete\n" for n in range(200_000)),
        ),
        CORRECTIONS,
        200,
        ends="accepted",
    ),
    **{
        f"{what} in place of {name}": Row(make(name), opens)
        for name, opens in PLACES.items()
        for what, make in {
            "a pipe": pipe,
            "a folder": folder,
            "a link to a device": lambda name: link(name, "/dev/zero"),
            "a link to itself": lambda name: link(name, name),
        }.items()
    },
}
"""By what is hostile about it."""
