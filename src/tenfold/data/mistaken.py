"""Paths that exist and are taken for data sets, but are something else."""

from __future__ import annotations

import json
from pathlib import Path

from tenfold.data.catalog.reading import has_idx_training_files
from tenfold.data.files.idx import idx_kind
from tenfold.data.folders.walking import FACTS, SEEDS
from tenfold.errors import DataError, FileRefusedError, shell_word
from tenfold.paths import is_file, is_folder
from tenfold.storage import read_text

_LARGEST_FACTS = 64 * 2**20
_ENDED = ("finished", "stopped early")


def refuse_mistaken(path: Path) -> None:
    """Refuse the folder of a run or a group of runs, a recipe, and a single one of several files.

    Raises:
        DataError: says what it is, and what to do with it.
    """
    if is_folder(path):
        if is_file(path / FACTS):
            raise _is_a_run(path)
        if is_file(path / SEEDS):
            raise _is_a_group(path)
    elif is_file(path):
        if path.suffix.lower() == ".toml":
            raise _is_a_recipe(path)
        if kind := idx_kind(path):
            raise _is_one_file(path, kind)


def _is_a_run(path: Path) -> DataError:
    try:
        facts = json.loads(read_text(path / FACTS, _LARGEST_FACTS))
    except (ValueError, RecursionError, FileRefusedError):
        facts = None
    has_ended = isinstance(facts, dict) and facts.get("status") in _ENDED
    what, command = ("evaluate", "evaluate") if has_ended else ("continue", "resume")
    return DataError(
        f"{path}: this is the folder of a run, wanted a data set",
        remedy=f"{what} the run with: tenfold {command} {shell_word(path)}",
    )


def _is_a_group(path: Path) -> DataError:
    return DataError(
        f"{path}: this is a group of runs with different seeds, wanted a data set",
        remedy=f"show the runs with: tenfold runs {shell_word(path)}",
    )


def _is_a_recipe(path: Path) -> DataError:
    return DataError(
        f"{path}: this looks like a recipe, wanted a data set",
        remedy=f"train by the recipe with: tenfold train DATA --recipe {shell_word(path)}",
    )


def _is_one_file(path: Path, kind: str) -> DataError:
    if has_idx_training_files(path):
        remedy = f"name its folder instead: {shell_word(path.parent)}"
    else:
        remedy = (
            "put train-images-idx3-ubyte and train-labels-idx1-ubyte into one folder, gzipped or "
            "not, and name the folder"
        )
    return DataError(
        f"{path}: this is {kind}, one of the files of a data set, wanted the folder with all of "
        "them",
        remedy=remedy,
    )
