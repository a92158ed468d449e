"""Find the best library of kernels for this processor, or the reason why there is none.

Nothing is opened until it is needed.
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
"""Environment variable: 0 disables the kernels; an instruction set selects its library."""

LACKING = {
    "avx512": "this processor has no AVX-512 with F, DQ, BW and VL",
    "avx2": "this processor has neither AVX2 with FMA nor NEON",
    "neon": "this processor has no NEON",
}


@dataclass(frozen=True)
class Kernels:
    """A library that matches the sources and runs on this processor.

    Attributes:
        functions: the functions of source/interface.h.
        instruction_set: `avx512`, `avx2` or `neon`.
        skipped: by instruction set, why a better library is not used.
    """

    functions: ctypes.CDLL
    instruction_set: str
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NoKernels:
    """No library can be used.

    Attributes:
        reason: why, as a sentence without capital and period.
    """

    reason: str


class _UnfitError(Exception):
    """A library cannot be used; the message says why."""


def find_kernels() -> Kernels | NoKernels:
    """The best library for this processor, opened once, or why there is none.

    Raises:
        UsageError: `TENFOLD_NATIVE` is neither 0, 1 nor a known instruction set.
    """
    return find_kernels_in(PACKAGE, os.environ.get(VARIABLE, ""))


@cache
def find_kernels_in(package: Path, choice: str) -> Kernels | NoKernels:
    """The best library in a package, or why there is none.

    Args:
        package: its folder; if it contains the sources, the libraries must match them.
        choice: the value of `TENFOLD_NATIVE`.

    Raises:
        UsageError: an unknown choice.
    """
    if choice == "0":
        return NoKernels(f"{VARIABLE} is 0")
    candidates = _candidates(choice)
    if not candidates:
        wish = f"{choice} kernels" if choice not in ("", "1") else "kernels"
        return NoKernels(f"there are no {wish} for {processor()} processors")
    record = read_record(package / LIBRARIES)
    skipped: dict[str, str] = {}
    for name in candidates:
        try:
            functions = _open(package, name, record)
        except _UnfitError as unfit:
            skipped[name] = str(unfit)
        else:
            return Kernels(functions, name, skipped)
    # Any processor that can run one of the libraries can run the last, so report its reason.
    return NoKernels(skipped[candidates[-1]])


def _candidates(choice: str) -> tuple[str, ...]:
    """The instruction sets to try; without a choice, all for this kind of processor."""
    names = INSTRUCTION_SETS.get(processor(), ())
    if choice in ("", "1"):
        return names
    known = [name for names in INSTRUCTION_SETS.values() for name in names]
    if choice not in known:
        wanted = did_you_mean(choice, ["0", "1", *known])
        raise UsageError(f"{VARIABLE} in the environment is {choice!r}", remedy=wanted)
    return tuple(name for name in names if name == choice)


def _open(package: Path, instruction_set: str, record: Record | None) -> ctypes.CDLL:
    """Open a library.

    Raises:
        _UnfitError: it cannot be used.
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
    if _is_truncated(path):
        raise _UnfitError(f"{path.name} is truncated; {again}")
    try:
        functions = ctypes.CDLL(str(path.absolute()))
    except OSError as error:
        raise _UnfitError(f"{path.name} cannot be loaded: {error}; {again}") from None
    try:
        declare(functions)
        fits = functions.tenfold_source_digest() == digest.encode()
    except AttributeError:  # an older library that lacks a function
        fits = False
    if not fits:
        raise _UnfitError(f"{path.name} was built from different sources; {again}")
    if not functions.tenfold_runs_here():
        raise _UnfitError(LACKING[instruction_set])
    return functions


def _is_truncated(path: Path) -> bool:
    """Whether the end of an ELF file is missing.

    Linux would load it and kill the process on access to a missing page; the loaders of macOS and
    Windows refuse such files.
    """
    try:
        with path.open("rb") as file:
            header = file.read(64)
            size = file.seek(0, os.SEEK_END)
    except OSError:
        return False  # the loader's message is clearer
    if len(header) < 64 or not header.startswith(b"\x7fELF"):
        return False
    # The section header table comes last in the file.
    start, entry_size, entries = struct.unpack("<40xQ10xHH2x", header)
    return bool(size < start + entry_size * entries)
