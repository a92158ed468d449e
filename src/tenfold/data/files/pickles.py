"""Restricted pickle reader for CIFAR's Python batches.

It reads plain values and NumPy arrays without executing the pickle, and refuses everything else.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from tenfold.data.files.reading import damaged, described, read_whole
from tenfold.errors import DataError, TenfoldError, counted

LARGEST_PICKLE = 512 * 2**20
"""Maximum size of a batch of CIFAR's Python version, in bytes; the largest known has 155 million.
"""


def read_pickled_dict(path: Path) -> dict[str, object]:
    """A pickled dict, with its keys as strings and its arrays as NumPy arrays."""
    data = read_whole(path, LARGEST_PICKLE)
    try:
        _require_harmless_opcodes(data)
        value = _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except TenfoldError as error:
        raise DataError(
            f"{path}: {error.message}",
            remedy="use it only if you made it yourself, and then save it as .npz",
        ) from error
    except Exception as error:  # on malformed bytes, an unpickler can raise any exception
        reason = f"{type(error).__name__}: {error}"
        raise damaged(path, f"the pickle is damaged or truncated: {reason}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: it contains {described(value)}, wanted a dict, as CIFAR's do")
    batch: dict[str, object] = {}
    for key, item in value.items():
        name = key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)
        batch[name] = item.array if isinstance(item, _PickledArray) else item
    return batch


# fmt: off
_PLAIN_VALUES = frozenset({
    "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1",
    "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "BYTEARRAY8",
    "EMPTY_LIST", "LIST", "EMPTY_DICT", "DICT", "GLOBAL", "STACK_GLOBAL", "REDUCE",
})
_MEMO_WRITERS = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_MEMO_READERS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_STRUCTURE = frozenset({
    "PROTO", "FRAME", "STOP", "MARK", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD",
})
_CONTAINERS = frozenset({
    "EMPTY_LIST", "LIST", "EMPTY_DICT", "DICT", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2",
    "TUPLE3", "REDUCE", "BYTEARRAY8", "MARK",
})
# fmt: on
_HARMLESS_OPCODES = _PLAIN_VALUES | _MEMO_WRITERS | _MEMO_READERS | _STRUCTURE
_LARGEST_MEMO = 1_000_000

_MOST_VALUES, _MOST_CONTAINERS = 4_000_000, 10_000
"""Maximum number of values, and of lists and the like; CIFAR-100 has 150,000 and a dozen."""


def _require_harmless_opcodes(data: bytes) -> None:
    """Refuse opcodes that plain data never needs but an attack might, before building anything.

    A huge memo slot would make the unpickler allocate all slots below it, and a tuple nested in
    itself many times takes forever to hash; so only values that cannot be tuples may be reused.
    """
    memo, memo_length = bytearray(), 0  # by slot: 0 if it is free, 1 for a tuple, 2 for others
    top_is_plain = False
    end = values = containers = 0
    for opcode, argument, position in pickletools.genops(data):
        name = opcode.name
        if name not in _HARMLESS_OPCODES:
            raise DataError(f"the pickle has the opcode {name}, which plain data never has")
        if name in _MEMO_WRITERS:
            slot = memo_length if argument is None else int(argument)
            if slot > _LARGEST_MEMO:
                raise DataError(f"the pickle uses memo slot {slot:,}, which no batch needs")
            memo.extend(bytes(max(0, slot + 1 - len(memo))))
            memo_length += not memo[slot]
            memo[slot] = 1 + top_is_plain
        elif name in _MEMO_READERS:
            slot = int(argument or 0)
            if slot >= len(memo) or memo[slot] != 2:
                raise DataError("the pickle uses a tuple twice, which no batch does")
            top_is_plain = True
        elif name not in ("PROTO", "FRAME"):
            top_is_plain = name in _PLAIN_VALUES
        values += name in _PLAIN_VALUES or name in _MEMO_READERS
        containers += name in _CONTAINERS
        if values > _MOST_VALUES or containers > _MOST_CONTAINERS:
            raise DataError(
                f"the pickle has over {_MOST_VALUES:,} values or over {_MOST_CONTAINERS:,} "
                "containers; no batch has so many"
            )
        end = (position or 0) + 1
    if end != len(data):
        raise DataError(f"the pickle's end is followed by {counted(len(data) - end, 'byte')}")


class _PickledDtype:
    """A dtype under construction; its state will set the byte order."""

    __slots__ = ("dtype",)

    def __init__(self, code: object) -> None:
        text = _text(code)
        if text not in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"):
            raise DataError(f"the pickle has an array of dtype {text!r}")
        self.dtype: np.dtype[np.integer] = np.dtype(text)

    def __setstate__(self, state: object) -> None:
        order = _text(state[1]) if isinstance(state, tuple) and len(state) > 1 else ""
        if order not in ("<", ">", "|", "="):
            raise DataError("the pickle has an array of unknown byte order")
        self.dtype = np.dtype(f"{order}{self.dtype.str[1:]}")


def _text(value: object) -> str:
    """A short string, which Python 2 wrote as bytes."""
    # Other values are only described: nested lists can be arbitrarily long when printed.
    text = value.decode("ascii") if isinstance(value, bytes) else value
    return text if isinstance(text, str) else described(text)


class _PickledArray:
    """An array under construction; its shape is checked against its actual bytes."""

    __slots__ = ("array",)

    def __init__(self, array: NDArray[np.integer] | None = None) -> None:
        self.array = array

    def __setstate__(self, state: object) -> None:
        match state:
            case (int(), tuple() as shape, _PickledDtype() as kind, is_fortran, bytes() as raw):
                self.array = _array(raw, kind.dtype, shape, is_fortran=bool(is_fortran))
            case _:
                raise DataError("the pickle has an array in an unknown form")


def _array(
    raw: bytes, dtype: np.dtype[np.integer], shape: tuple[object, ...], *, is_fortran: bool
) -> NDArray[np.integer]:
    sides = [side for side in shape if type(side) is int and 0 <= side <= len(raw)]
    if len(sides) != len(shape) or len(sides) > 4 or math.prod(sides) * dtype.itemsize != len(raw):
        shown = ", ".join(str(side) if type(side) is int else described(side) for side in shape)
        raise DataError(
            f"the pickle has an array of shape ({shown}) and dtype {dtype}, "
            f"but {counted(len(raw), 'byte')} of data"
        )
    array = np.frombuffer(raw, dtype).reshape(sides, order="F" if is_fortran else "C")
    return array.astype(dtype.newbyteorder("="), order="C")


class _Stand:
    """Replaces a global that the pickle names: callable, but the pickle cannot change it."""

    __slots__ = ("_role",)

    def __init__(self, role: str) -> None:
        self._role = role

    def __call__(self, *arguments: object) -> object:
        match self._role, arguments:
            case "dtype", (code, *_):
                return _PickledDtype(code)
            case "reconstruct", (_Stand(), _, _):
                return _PickledArray()
            case "frombuffer", (
                bytes() | bytearray() as raw,
                _PickledDtype() as kind,
                tuple() as shape,
                order,
            ):
                is_fortran = _text(order) == "F"
                return _PickledArray(_array(bytes(raw), kind.dtype, shape, is_fortran=is_fortran))
            case "encode", (str() as text, "latin1" | b"latin1"):
                return text.encode("latin-1")
            case _:
                raise DataError(f"the pickle builds an array in an unknown way ({self._role})")

    def __setstate__(self, state: object) -> NoReturn:
        raise DataError("the pickle changes a global that it may only call")


_GLOBALS = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("_codecs", "encode"): "encode",
}
"""The globals that a batch may name; none of them is imported."""


class _ArrayUnpickler(pickle.Unpickler):
    """Reads plain values and arrays, and refuses everything else."""

    def find_class(self, module: str, name: str) -> _Stand:
        role = _GLOBALS.get((module, name))
        if role is None:
            raise DataError(f"the pickle uses {module}.{name}")
        return _Stand(role)
