"""Conventions shared by the build of the libraries and their loader.

setup.py loads this file by path before tenfold is installed, so it imports only the standard
library.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import sysconfig
from dataclasses import asdict, dataclass, field
from pathlib import Path

INSTRUCTION_SETS = {"x86_64": ("avx512", "avx2"), "arm64": ("neon",)}
"""Instruction sets to build for, by processor; best first."""

LIBRARIES = "libraries"
"""The package's folder for libraries; among the modules, a library could be imported as one."""

RECORD = "built.json"
"""File in that folder, written even if no library could be built."""


@dataclass(frozen=True)
class Record:
    """The result of a build, without times or paths, so that builds are reproducible.

    Attributes:
        digest: of the sources and flags.
        compiler: its version line; empty if there was none.
        flags: by instruction set, the flags its library was built with.
        missing: by instruction set, why it has no library, as a sentence.
    """

    digest: str
    compiler: str = ""
    flags: dict[str, list[str]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def processor() -> str:
    """The processor that this interpreter runs on, or builds for; may be missing in the table.

    A 32-bit interpreter on a 64-bit processor is named as such: it cannot load a 64-bit library.
    """
    name = sysconfig.get_platform().rpartition("-")[2].lower()
    if name == "universal2":  # macOS: two processors in one binary
        name = platform.machine().lower()
    name = {"amd64": "x86_64", "aarch64": "arm64"}.get(name, name)
    return name if sys.maxsize > 2**32 else f"32-bit {name}"


def library_file(instruction_set: str) -> str:
    """The file name of a library."""
    return f"kernels-{instruction_set}{'.dll' if sys.platform == 'win32' else '.so'}"


def source_files(source: Path) -> list[Path]:
    """The source files of a library, in the order in which they are digested.

    Skips hidden files and names ending in a tilde, which editors and file managers leave behind.
    """
    inside = {path.relative_to(source): path for path in source.rglob("*") if path.is_file()}
    return [
        inside[name]
        for name in sorted(inside, key=Path.as_posix)
        if not name.name.endswith("~") and not any(part.startswith(".") for part in name.parts)
    ]


def source_digest(source: Path) -> str:
    """16 hexadecimal digits of the SHA-256 over all inputs of the build except the compiler.

    These are the names and contents of the source files and of the module with the compiler flags.
    """
    digest = hashlib.sha256()
    for path in [source.with_name("compiling.py"), *source_files(source)]:
        name, content = path.relative_to(source.parent).as_posix().encode(), path.read_bytes()
        digest.update(b"%d %d " % (len(name), len(content)) + name + content)
    return digest.hexdigest()[:16]


def write_record(folder: Path, record: Record) -> None:
    """Write a record into the libraries' folder."""
    text = json.dumps(asdict(record), indent=2, sort_keys=True) + "\n"
    (folder / RECORD).write_bytes(text.encode())


def read_record(folder: Path) -> Record | None:
    """The record in the libraries' folder; None if missing or damaged."""
    try:
        record = Record(**json.loads((folder / RECORD).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    whole = isinstance(record.digest, str) and isinstance(record.missing, dict)
    return record if whole else None
