"""What the build of the libraries and their loader agree on.

setup.py reads this file by its path, before tenfold is installed: nothing but the standard library
is imported here.
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
"""By processor, what libraries are built for; the best first."""

LIBRARIES = "libraries"
"""The folder that a build leaves in the package: beside modules, a library would pass for one."""

RECORD = "built.json"
"""In this folder, also when no library could be built."""


@dataclass(frozen=True)
class Record:
    """What a build has left: no times and no paths, so that the same build gives the same bytes.

    Attributes:
        digest: of the sources and flags.
        compiler: what it calls itself; empty where there was none.
        flags: by instruction set, what its library was built with.
        missing: by instruction set, why it has no library, as a sentence.
    """

    digest: str
    compiler: str = ""
    flags: dict[str, list[str]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def processor() -> str:
    """What this interpreter runs on, or is made to build for: a key of the table, or another name.

    A 32-bit interpreter on a 64-bit processor is named as such, since it loads no 64-bit library.
    """
    name = sysconfig.get_platform().rpartition("-")[2].lower()
    if name == "universal2":  # of macOS, for two processors
        name = platform.machine().lower()
    name = {"amd64": "x86_64", "aarch64": "arm64"}.get(name, name)
    return name if sys.maxsize > 2**32 else f"32-bit {name}"


def library_file(instruction_set: str) -> str:
    """The name of a library's file."""
    return f"kernels-{instruction_set}{'.dll' if sys.platform == 'win32' else '.so'}"


def source_files(source: Path) -> list[Path]:
    """Everything that a library is made of, in the order in which it is digested.

    What editors and file managers leave behind is hidden or ends in a tilde.
    """
    inside = {path.relative_to(source): path for path in source.rglob("*") if path.is_file()}
    return [
        inside[name]
        for name in sorted(inside, key=Path.as_posix)
        if not name.name.endswith("~") and not any(part.startswith(".") for part in name.parts)
    ]


def source_digest(source: Path) -> str:
    """16 hexadecimal digits of the SHA-256 over what decides a library's bytes but the compiler.

    That is the names and contents of the source files, and of the module beside them that has the
    flags for the compiler.
    """
    digest = hashlib.sha256()
    for path in [source.with_name("compiling.py"), *source_files(source)]:
        name, content = path.relative_to(source.parent).as_posix().encode(), path.read_bytes()
        digest.update(b"%d %d " % (len(name), len(content)) + name + content)
    return digest.hexdigest()[:16]


def write_record(folder: Path, record: Record) -> None:
    """Leave a record in the folder of the libraries."""
    text = json.dumps(asdict(record), indent=2, sort_keys=True) + "\n"
    (folder / RECORD).write_bytes(text.encode())


def read_record(folder: Path) -> Record | None:
    """The record in the folder of the libraries; None if it is missing or damaged."""
    try:
        record = Record(**json.loads((folder / RECORD).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    whole = isinstance(record.digest, str) and isinstance(record.missing, dict)
    return record if whole else None
