"""Which library of kernels this processor runs best, or why there is none.

Nothing is opened before it is asked for.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tenfold.errors import UsageError, did_you_mean
from tenfold.native.built import (
    INSTRUCTION_SETS,
    LIBRARIES,
    RECORD,
    Record,
    library_file,
    processor,
    read_record,
    source_digest,
)
from tenfold.native.structures import declare

PACKAGE = Path(__file__).parent

VARIABLE = "TENFOLD_NATIVE"
"""In the environment: 0 uses no library, an instruction set's name only that one."""

LACKING = {
    "avx512": "this processor has no AVX-512 with F, DQ, BW and VL",
    "avx2": "this processor has neither AVX2 with FMA nor NEON",
    "neon": "this processor has no NEON",
}


@dataclass(frozen=True)
class Kernels:
    """A library that fits the sources and runs here.

    Attributes:
        functions: those of source/interface.h.
        instruction_set: what it was compiled for: `avx512`, `avx2` or `neon`.
        passed_over: by instruction set, why a better one is not used.
    """

    functions: ctypes.CDLL
    instruction_set: str
    passed_over: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NoKernels:
    """No library can be used.

    Attributes:
        reason: why, as a sentence without its capital and full stop.
    """

    reason: str


class _UnfitError(Exception):
    """A library cannot be used; says why."""


def find_kernels() -> Kernels | NoKernels:
    """The best library for this processor, opened once, or why there is none.

    Raises:
        UsageError: `TENFOLD_NATIVE` is neither a number nor an instruction set that there is.
    """
    return find_kernels_in(PACKAGE, os.environ.get(VARIABLE, ""))


@cache
def find_kernels_in(package: Path, choice: str) -> Kernels | NoKernels:
    """The best library in a package, or why there is none.

    Args:
        package: its folder; if the sources are in it, the libraries must be made of them.
        choice: the value of `TENFOLD_NATIVE`.

    Raises:
        UsageError: a choice that there is not.
    """
    if choice == "0":
        return NoKernels(f"{VARIABLE} is 0")
    candidates = _candidates(choice)
    if not candidates:
        wish = f"{choice} kernels" if choice not in ("", "1") else "kernels"
        return NoKernels(f"there are no {wish} for {processor()} processors")
    record = read_record(package / LIBRARIES)
    passed_over: dict[str, str] = {}
    for name in candidates:
        try:
            functions = _open(package, name, record)
        except _UnfitError as unfit:
            passed_over[name] = str(unfit)
        else:
            return Kernels(functions, name, passed_over)
    # Every processor that runs another library runs the last one, so its reason counts.
    return NoKernels(passed_over[candidates[-1]])


def _candidates(choice: str) -> tuple[str, ...]:
    """The instruction sets to try; without a choice, all that this kind of processor may have."""
    names = INSTRUCTION_SETS.get(processor(), ())
    if choice in ("", "1"):
        return names
    known = [name for names in INSTRUCTION_SETS.values() for name in names]
    if choice not in known:
        wanted = did_you_mean(choice, ["0", "1", *known])
        raise UsageError(f"{VARIABLE} in the environment is {choice!r}", remedy=wanted)
    return tuple(name for name in names if name == choice)


def _open(package: Path, instruction_set: str, record: Record | None) -> ctypes.CDLL:
    """A library that can be used.

    Raises:
        _UnfitError: it cannot.
    """
    path = package / LIBRARIES / library_file(instruction_set)
    source = package / "source"
    again = "run `pip install -e .` again" if source.is_dir() else "install tenfold again"
    if not path.exists():
        missing = record.missing.get(instruction_set) if record else None
        raise _UnfitError(missing or f"{path.name} is missing; {again}")
    if source.is_dir():
        digest = source_digest(source)
    elif record:
        digest = record.digest
    else:
        raise _UnfitError(f"{RECORD} beside {path.name} is missing or damaged; {again}")
    if _is_cut_off(path):
        raise _UnfitError(f"{path.name} is cut off; {again}")
    try:
        functions = ctypes.CDLL(str(path.absolute()))
    except OSError as error:
        raise _UnfitError(f"{path.name} cannot be loaded: {error}; {again}") from None
    try:
        declare(functions)
        fits = functions.tenfold_source_digest() == digest.encode()
    except AttributeError:  # a function that the library doesn't have yet
        fits = False
    if not fits:
        raise _UnfitError(f"{path.name} was built from other sources; {again}")
    if not functions.tenfold_runs_here():
        raise _UnfitError(LACKING[instruction_set])
    return functions


def _is_cut_off(path: Path) -> bool:
    """Whether the end of an ELF file is missing.

    Linux would load it and kill the process where it touches what is missing; the loaders of macOS
    and Windows refuse such files themselves.
    """
    try:
        with path.open("rb") as file:
            header = file.read(64)
            size = file.seek(0, os.SEEK_END)
    except OSError:
        return False  # the loader says it better
    if len(header) < 64 or not header.startswith(b"\x7fELF"):
        return False
    # The table of sections is the last thing in the file.
    start, entry_size, entries = struct.unpack("<40xQ10xHH2x", header)
    return bool(size < start + entry_size * entries)
