"""The known data sets, loaded from `catalog.toml`."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from tenfold.data.catalog.entries import CatalogEntry


def _datasets() -> dict[str, CatalogEntry]:
    text = (resources.files("tenfold.data.catalog") / "catalog.toml").read_text("utf-8")
    catalog = tomllib.loads(text)
    for dataset in catalog["dataset"]:
        for file_set in dataset["file_sets"]:
            file_set["files"] = catalog["files"][file_set["files"]]
            _add_digests(file_set, "digest")
            _add_digests(file_set, "gzip_digest")
    # Refuse misspelled keys: a misspelled optional one would go unnoticed.
    entries = TypeAdapter(list[CatalogEntry], config=ConfigDict(extra="forbid"))
    return {entry.name: entry for entry in entries.validate_python(catalog["dataset"])}


def _add_digests(file_set: dict[str, Any], kind: str) -> None:
    """Move the set's list of digests, if any, to its files."""
    if digests := file_set.pop(f"{kind}s", None):
        pairs = zip(file_set["files"], digests, strict=True)
        file_set["files"] = [{**file, kind: digest} for file, digest in pairs]


DATASETS = _datasets()
"""The data sets by name, in display order."""


def find(name: str) -> CatalogEntry | None:
    """The data set of this name, or None.

    Case and everything that is not a letter or a digit are ignored, so `Fashion_MNIST` is
    `fashion-mnist` and `CIFAR-10` is `cifar10`.
    """
    by_letters = {_letters_and_digits(known): entry for known, entry in DATASETS.items()}
    return by_letters.get(_letters_and_digits(name))


def _letters_and_digits(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
