"""Decoded arrays kept on disk, so that a folder of images is decoded once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tenfold.types import LabelledArrays


class Cached(NamedTuple):
    """What the cache has for a key."""

    splits: dict[str, LabelledArrays] | None
    """By split; None if the cache has nothing that can be used."""
    header: dict[str, Any]
    """What was stored beside the arrays."""
    note: str = ""
    """What a person should be told, such as that an entry was damaged; mostly empty."""


def cache_folder() -> Path:
    """`TENFOLD_CACHE` if it is set, else the user's cache folder."""
    raise NotImplementedError


def load_cached(key: str) -> Cached:
    """What was stored under this key, if it is there and whole."""
    raise NotImplementedError


def store_cached(key: str, splits: Mapping[str, LabelledArrays], header: Mapping[str, Any]) -> str:
    """Store arrays under a key; a note on why that was not possible, or an empty text."""
    raise NotImplementedError
