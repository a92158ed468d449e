"""Whether there is a file or a folder; no for what no system could have.

The methods of `Path` raise an error for a name that is too long, in some versions of Python.
"""

from __future__ import annotations

import os
from typing import TypeAlias

AnyPath: TypeAlias = str | os.PathLike[str]


def exists(path: AnyPath) -> bool:
    """Whether there is anything at a path, or where a link there leads."""
    return os.path.exists(path)  # noqa: PTH110


def found_at(path: AnyPath, wanted: str = "file") -> str:
    """What is wrong at a path where a regular file, or whatever is wanted, is not."""
    if is_folder(path):
        return f"this is a folder, wanted a {wanted}"
    return "not a regular file" if exists(path) else f"no such {wanted}"


def is_file(path: AnyPath) -> bool:
    """Whether there is a regular file."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: AnyPath) -> bool:
    """Whether there is a folder."""
    return os.path.isdir(path)  # noqa: PTH112
