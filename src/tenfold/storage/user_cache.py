"""The user's cache folder; everything in it can be rebuilt or downloaded again."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_dir


def cache_folder() -> Path:
    """`TENFOLD_CACHE` if it is set, else the user's cache folder for tenfold."""
    named = os.environ.get("TENFOLD_CACHE")
    return Path(named) if named else Path(user_cache_dir("tenfold"))
