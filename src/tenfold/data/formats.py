"""Bytes of the known data sets' files to arrays: IDX, CIFAR's two versions, npz.

Every count, shape and length in a file is a claim, which is compared with the bytes that are there
before anything of that size is allocated. Nothing in a file is run: of CIFAR's pickles only the
few things that make up an array are understood.
"""

from __future__ import annotations

import gzip
import io
import math
import pickle
import pickletools
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError, TenfoldError, listing, printable
from tenfold.types import LabelArray, LabelledArrays, PixelArray

LARGEST_ARRAY = 16 * 2**30
"""Bytes of pixels that one split may have once decoded."""

LARGEST_PICKLE = 512 * 2**20
"""Bytes of one batch of CIFAR's python version; the largest known one has 155 million."""

LARGEST_DEFLATE_RATIO = 1032
"""How many times its size deflate, which gzip and npz use, can unpack to at the most."""

_CHUNK = 2**20
_GZIP_MAGIC = b"\x1f\x8b"
_FETCH_AGAIN = "fetch the file again"

_IDX_IMAGES, _IDX_LABELS = 0x803, 0x801
_IDX_NAMES = {_IDX_IMAGES: "an IDX file of images", _IDX_LABELS: "an IDX file of labels"}

_CIFAR_PIXELS = 3 * 32 * 32


def read_idx_images(path: Path) -> PixelArray:
    """The images of an IDX file, as MNIST has them, as (n, 1, height, width).

    Args:
        path: gzipped or not, which its content says and not its name.

    Raises:
        DataError: it is missing, no IDX file of images, damaged, cut off, too long or too large.
    """
    return _read_idx(path, _IDX_IMAGES)[:, None]


def read_idx_labels(path: Path) -> LabelArray:
    """The labels of an IDX file, as MNIST has them.

    Args:
        path: gzipped or not, which its content says and not its name.

    Raises:
        DataError: it is missing, no IDX file of labels, damaged, cut off, too long or too large.
    """
    return _read_idx(path, _IDX_LABELS).astype(np.int64)


def read_idx_pair(images_path: Path, labels_path: Path, classes: Sequence[str]) -> LabelledArrays:
    """Images and labels of two IDX files that belong together.

    Raises:
        DataError: as the readers of each; the counts differ, or a label is out of range.
    """
    images, labels = read_idx_images(images_path), read_idx_labels(labels_path)
    if len(images) != len(labels):
        raise DataError(
            f"{printable(images_path)} has {len(images):,} images but "
            f"{printable(labels_path)} has {len(labels):,} labels",
            remedy="name two files that belong together",
        )
    return _labelled(str(labels_path), images, labels, classes)


def read_cifar_binary(
    paths: Sequence[Path], classes: Sequence[str], *, label_bytes: Literal[1, 2] = 1
) -> LabelledArrays:
    """The batches of CIFAR's binary version, one after the other, as (n, 3, 32, 32).

    Args:
        paths: the batches.
        classes: the names of the classes.
        label_bytes: 1 for CIFAR-10; 2 for CIFAR-100, whose second, fine label is the one used.

    Raises:
        DataError: a file is missing or not made of whole records, or a label is out of range.
    """
    record = label_bytes + _CIFAR_PIXELS
    batches = []
    for path in paths:
        data = _read_whole(path, LARGEST_ARRAY // max(len(paths), 1))
        if not data or len(data) % record:
            raise DataError(
                f"{printable(path)}: {len(data):,} bytes are not whole records of {record:,} bytes "
                f"({label_bytes} of labels, {_CIFAR_PIXELS:,} of pixels)",
                remedy=_FETCH_AGAIN,
            )
        records = np.frombuffer(data, np.uint8).reshape(-1, record)
        images = records[:, label_bytes:].reshape(-1, 3, 32, 32)
        labels = records[:, label_bytes - 1].astype(np.int64)
        batches.append(_labelled(str(path), images, labels, classes))
    return _joined(batches)


def read_cifar_python(
    paths: Sequence[Path], classes: Sequence[str], *, label_key: str = "labels"
) -> LabelledArrays:
    """The batches of CIFAR's python version, one after the other, as (n, 3, 32, 32).

    A batch is a pickled dict. It is not run: whatever it names beyond the parts of a numpy array
    is refused.

    Args:
        paths: the batches.
        classes: the names of the classes.
        label_key: `labels` for CIFAR-10, `fine_labels` for CIFAR-100.

    Raises:
        DataError: a file is missing, damaged or not such a batch, or a label is out of range.
    """
    batches = []
    for path in paths:
        batch = _read_pickled_dict(path)
        images = _cifar_images(path, batch.get("data"))
        labels = _cifar_labels(path, batch, label_key)
        if len(images) != len(labels):
            raise DataError(
                f"{printable(path)}: {len(images):,} images but {len(labels):,} labels",
                remedy=_FETCH_AGAIN,
            )
        batches.append(_labelled(str(path), images, labels, classes))
    return _joined(batches)


def _labelled(
    place: str, images: PixelArray, labels: LabelArray, classes: Sequence[str]
) -> LabelledArrays:
    """Images and labels together, if every label is in range."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise DataError(
            f"{printable(place)}: label {labels[wrong[0]]} at index {wrong[0]:,} is out of range, "
            f"wanted 0..{len(classes) - 1} for {len(classes)} classes",
            remedy="correct the labels or name more classes",
        )
    return LabelledArrays(images, labels, tuple(classes))


def _joined(batches: Sequence[LabelledArrays]) -> LabelledArrays:
    if not batches:
        raise DataError("there are no batches to read", remedy="name one file or more")
    return LabelledArrays(
        np.concatenate([batch.images for batch in batches]),
        np.concatenate([batch.labels for batch in batches]),
        batches[0].classes,
    )


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    """Failures of the file system and of decompression as errors that name the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            f"{printable(path)}: there is no such file", remedy="check the name or fetch the data"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{printable(path)}: the gzip data is damaged or cut off: {printable(error)}",
            remedy=_FETCH_AGAIN,
        ) from error
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DataError(f"{printable(path)}: it cannot be read: {printable(reason)}") from error


def _read_whole(path: Path, limit: int) -> bytearray:
    """A file's bytes, as memory that can be written."""
    with _file_errors(path), path.open("rb") as file:
        data = bytearray(min(path.stat().st_size, limit + 1))
        size = file.readinto(data)
    if size > limit:
        raise DataError(f"{printable(path)}: it has more than {limit:,} bytes")
    return data[:size] if size < len(data) else data


def _read_idx(path: Path, wanted: int) -> NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes with the wanted magic number."""
    with _file_errors(path), path.open("rb") as file:
        is_gzipped = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        largest = path.stat().st_size * (LARGEST_DEFLATE_RATIO if is_gzipped else 1)
        if not is_gzipped:
            return _read_idx_stream(path, file, wanted, largest)
        with gzip.GzipFile(fileobj=file) as unzipped:
            return _read_idx_stream(path, unzipped, wanted, largest)


def _read_idx_stream(
    path: Path, file: io.BufferedIOBase, wanted: int, largest: int
) -> NDArray[np.uint8]:
    """The array of an opened IDX file that has at most `largest` bytes."""
    axes = wanted & 0xFF
    header = file.read(4 + 4 * axes)
    _require_idx_magic(path, header, wanted)
    if len(header) < 4 + 4 * axes:
        raise DataError(
            f"{printable(path)}: it ends after {len(header)} bytes, inside its header",
            remedy=_FETCH_AGAIN,
        )
    shape = [int(n) for n in np.frombuffer(header, ">u4", offset=4)]
    size = math.prod(shape)
    declared = f"its header declares {' x '.join(f'{n:,}' for n in shape)} bytes"
    if size == 0:
        raise DataError(f"{printable(path)}: {declared}, so there is nothing in it")
    if size > LARGEST_ARRAY:
        raise DataError(f"{printable(path)}: {declared}, over the limit of {LARGEST_ARRAY:,}")
    if size > largest:
        raise DataError(
            f"{printable(path)}: {declared}, more than the file can hold; it is cut off",
            remedy=_FETCH_AGAIN,
        )
    array = np.empty(size, np.uint8)
    filled = _fill(file, array)
    if filled < size:
        raise DataError(
            f"{printable(path)}: {declared}, but only {filled:,} are there; it is cut off",
            remedy=_FETCH_AGAIN,
        )
    if file.read(1):
        raise DataError(f"{printable(path)}: {declared}, but more follow them", remedy=_FETCH_AGAIN)
    return array.reshape(shape)


def _require_idx_magic(path: Path, header: bytes, wanted: int) -> None:
    found = int.from_bytes(header[:4], "big")
    if len(header) >= 4 and found == wanted:
        return
    if len(header) >= 4 and found in _IDX_NAMES:
        raise DataError(
            f"{printable(path)}: this is {_IDX_NAMES[found]}, wanted {_IDX_NAMES[wanted]}",
            remedy="swap the two files",
        )
    start = header[:4].hex(" ") or "nothing"
    raise DataError(
        f"{printable(path)}: it begins with {start}, wanted {wanted.to_bytes(4, 'big').hex(' ')}, "
        f"as {_IDX_NAMES[wanted]} does",
        remedy=_FETCH_AGAIN,
    )


def _fill(file: io.BufferedIOBase, array: NDArray[np.uint8]) -> int:
    """Read into an array as far as the file goes, and how many bytes that was."""
    filled = 0
    while filled < len(array):
        chunk = file.read(min(_CHUNK, len(array) - filled))
        if not chunk:
            break
        array[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
        filled += len(chunk)
    return filled


def _cifar_images(path: Path, data: object) -> PixelArray:
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2:
        raise DataError(
            f"{printable(path)}: its 'data' is {_described(data)}, "
            f"wanted uint8 of shape (n, {_CIFAR_PIXELS})"
        )
    if len(data) == 0 or data.shape[1] != _CIFAR_PIXELS:
        raise DataError(
            f"{printable(path)}: its 'data' has shape {data.shape}, wanted (n, {_CIFAR_PIXELS})"
        )
    return data.reshape(-1, 3, 32, 32)


def _cifar_labels(path: Path, batch: Mapping[str, object], key: str) -> LabelArray:
    labels = batch.get(key)
    if labels is None:
        raise DataError(
            f"{printable(path)}: it has no {key!r}, only "
            f"{listing([printable(name, 40) for name in batch])}",
            remedy="CIFAR-10 has 'labels', CIFAR-100 'fine_labels' and 'coarse_labels'",
        )
    if isinstance(labels, np.ndarray) and labels.ndim == 1:
        labels = labels.tolist()
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise DataError(f"{printable(path)}: its {key!r} is not a list of whole numbers")
    if any(not -(2**31) <= label < 2**31 for label in labels):
        raise DataError(f"{printable(path)}: its {key!r} has numbers far out of range")
    return np.array(labels, np.int64)


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return "missing" if value is None else f"a {type(value).__name__}"


def _read_pickled_dict(path: Path) -> dict[str, object]:
    """The dict of a pickle, its keys as text, its arrays as numpy arrays."""
    data = bytes(_read_whole(path, LARGEST_PICKLE))
    try:
        _require_harmless_opcodes(data)
        value = _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except TenfoldError as error:
        raise DataError(
            f"{printable(path)}: {error.message}",
            remedy="use it only if you made it yourself, and save it as .npz then",
        ) from error
    except Exception as error:  # on bytes that were made up an unpickler raises about any exception
        reason = printable(f"{type(error).__name__}: {error}", 120)
        raise DataError(
            f"{printable(path)}: the pickle is damaged or cut off: {reason}", remedy=_FETCH_AGAIN
        ) from error
    if not isinstance(value, dict):
        raise DataError(
            f"{printable(path)}: it holds {_described(value)}, wanted a dict as CIFAR's batches are"
        )
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
# fmt: on
_HARMLESS_OPCODES = _PLAIN_VALUES | _MEMO_WRITERS | _MEMO_READERS | _STRUCTURE
_LARGEST_MEMO = 2_000_000


def _require_harmless_opcodes(data: bytes) -> None:
    """Refuse what plain data never needs and an attack may, before anything is built.

    A memo slot of a huge number would make the unpickler allocate all the slots below it, and a
    tuple made of one tuple over and over takes for ever to hash; so only values that are surely
    no tuples may be used again.
    """
    is_plain: dict[int, bool] = {}
    top_is_plain = False
    end = 0
    for opcode, argument, position in pickletools.genops(data):
        name = opcode.name
        if name not in _HARMLESS_OPCODES:
            raise DataError(f"the pickle has the instruction {name}, which plain data never has")
        if name in _MEMO_WRITERS:
            slot = len(is_plain) if argument is None else int(argument)
            if slot > _LARGEST_MEMO:
                raise DataError(f"the pickle numbers an object {slot:,}, which no batch needs")
            is_plain[slot] = top_is_plain
        elif name in _MEMO_READERS:
            if not is_plain.get(int(argument or 0), False):
                raise DataError("the pickle uses one tuple twice, which no batch does")
            top_is_plain = True
        elif name not in ("PROTO", "FRAME"):
            top_is_plain = name in _PLAIN_VALUES
        end = (position or 0) + 1
    if end != len(data):
        raise DataError(f"{len(data) - end:,} bytes follow the pickle's end")


class _PickledDtype:
    """A dtype under construction: its code and, once its state is set, its byte order."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: object, *_: object) -> None:
        text = code.decode("ascii") if isinstance(code, bytes) else code
        if text not in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"):
            raise DataError(f"the pickle has an array of type {printable(code, 40)!r}")
        self._code = str(text)
        self._order = "="

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        text = order.decode("ascii") if isinstance(order, bytes) else order
        if text not in ("<", ">", "|", "="):
            raise DataError("the pickle has an array of unknown byte order")
        self._order = str(text)

    def dtype(self) -> np.dtype[np.integer]:
        return np.dtype(f"{self._order}{self._code}")


class _PickledArray:
    """An array under construction, whose shape is checked against the bytes that are there."""

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: NDArray[np.integer] | None = None

    def __setstate__(self, state: object) -> None:
        match state:
            case (int(), tuple() as shape, _PickledDtype() as kind, is_fortran, bytes() as raw):
                self.array = _array(raw, kind, shape, "F" if is_fortran else "C")
            case _:
                raise DataError("the pickle has an array of unknown make")


def _array(
    raw: bytes, kind: _PickledDtype, shape: tuple[object, ...], order: Literal["C", "F"]
) -> NDArray[np.integer]:
    dtype = kind.dtype()
    sides = [side for side in shape if type(side) is int and 0 <= side <= len(raw)]
    if len(sides) != len(shape) or len(sides) > 4 or math.prod(sides) * dtype.itemsize != len(raw):
        raise DataError(
            f"the pickle has an array of shape {printable(shape, 60)} and type {dtype}, "
            f"but {len(raw):,} bytes of it"
        )
    array = np.frombuffer(raw, dtype).reshape(sides, order=order)
    return array.astype(dtype.newbyteorder("="), order="C")


class _Stand:
    """What a pickle gets for a global's name: a call that we wrote, and no way to change it."""

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
                result = _PickledArray()
                result.array = _array(bytes(raw), kind, shape, "F" if order in ("F", b"F") else "C")
                return result
            case "encode", (str() as text, "latin1" | b"latin1"):
                return text.encode("latin-1")
            case _:
                raise DataError(f"the pickle makes an array in an unknown way ({self._role})")

    def __setstate__(self, state: object) -> NoReturn:
        raise DataError("the pickle changes what it may only call")


_GLOBALS = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("_codecs", "encode"): "encode",
}
"""All that a batch may name; none of it is imported."""


class _ArrayUnpickler(pickle.Unpickler):
    """Reads plain values and arrays, and refuses whatever else a pickle may ask for."""

    def find_class(self, module: str, name: str) -> _Stand:
        role = _GLOBALS.get((module, name))
        if role is None:
            raise DataError(f"the pickle asks for {printable(f'{module}.{name}', 80)}")
        return _Stand(role)


_NPZ_SPLITS = {
    "images": ("all", "labels"),
    "train_images": ("train", "train_labels"),
    "val_images": ("val", "val_labels"),
    "test_images": ("test", "test_labels"),
    "x_train": ("train", "y_train"),
    "x_val": ("val", "y_val"),
    "x_test": ("test", "y_test"),
}
"""By the key of the images: the split and the key of its labels."""

_NPZ_KEYS = frozenset(_NPZ_SPLITS) | {labels for _, labels in _NPZ_SPLITS.values()} | {"classes"}
_LARGEST_NPY_HEADER = 10_000
_NPZ_HELP = "save images and labels, or train_images, train_labels, test_images, test_labels"


def read_npz(path: Path) -> dict[str, LabelledArrays]:
    """The splits of an `.npz` file: `train`, `val`, `test`, or `all`.

    The keys are `images` and `labels`; or those of splits, as `train_images` and `train_labels`
    or `x_train` and `y_train`, and likewise for val and test; and optionally `classes`, the names
    as an array of text, else they are "0" up to the largest label. Any other key is refused.

    Images are whole numbers 0..255 of shape (n, height, width), (n, height, width, channels) or
    (n, channels, height, width) with 1 or 3 channels. Where both of the latter would do, the
    channels are last. Labels are whole numbers of shape (n,) or (n, 1).

    Raises:
        DataError: it is missing, damaged, too large, or holds anything else.
    """
    with _file_errors(path), path.open("rb") as file:
        if file.read(4) not in (b"PK\x03\x04", b"PK\x05\x06"):
            raise DataError(f"{printable(path)}: this is not an .npz file", remedy=_NPZ_HELP)
        arrays = _npz_arrays(path, file)
    classes = _npz_classes(path, arrays.pop("classes", None))
    pairs = _npz_pairs(path, arrays)
    if classes is None:
        highest = max(int(labels.max()) for _, labels in pairs.values())
        if highest >= _MOST_UNNAMED_CLASSES:
            raise DataError(
                f"{printable(path)}: the largest label is {highest:,}, "
                f"wanted less than {_MOST_UNNAMED_CLASSES:,} without names",
                remedy="number the classes from 0, or save their names as 'classes'",
            )
        classes = tuple(str(label) for label in range(highest + 1))
    return {
        split: _labelled(f"{path} ({split})", images, labels, classes)
        for split, (images, labels) in pairs.items()
    }


_MOST_UNNAMED_CLASSES = 10_000


def _npz_arrays(path: Path, file: io.BufferedIOBase) -> dict[str, NDArray[np.generic]]:
    """All arrays of the file by key, after their sizes were checked."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _require_npz_entries(path, entries)
            return {
                entry.filename.removesuffix(".npy"): _npy_array(path, archive, entry)
                for entry in entries
            }
    except TenfoldError:
        raise
    except Exception as error:  # on bytes that were made up zipfile raises about any exception
        raise DataError(
            f"{printable(path)}: the .npz file is damaged or cut off: "
            f"{printable(f'{type(error).__name__}: {error}', 120)}",
            remedy="save or fetch it again",
        ) from error


def _require_npz_entries(path: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    keys = [entry.filename.removesuffix(".npy") for entry in entries]
    unknown = [printable(key, 40) for key in keys if key not in _NPZ_KEYS]
    if unknown or not keys:
        found = listing(unknown) or "nothing"
        raise DataError(f"{printable(path)}: unknown arrays in it: {found}", remedy=_NPZ_HELP)
    if len(set(keys)) < len(keys):
        raise DataError(f"{printable(path)}: it has several arrays of one name", remedy=_NPZ_HELP)
    total = sum(entry.file_size for entry in entries)
    if total > LARGEST_ARRAY:
        raise DataError(
            f"{printable(path)}: its arrays have {total:,} bytes, over the limit of "
            f"{LARGEST_ARRAY:,}"
        )


def _npy_array(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[np.generic]:
    """One array, if its header fits the bytes that the archive has for it."""
    place = f"{printable(path)}: {printable(entry.filename, 40)}"
    if entry.file_size > entry.compress_size * LARGEST_DEFLATE_RATIO + _CHUNK:
        raise DataError(
            f"{place}: {entry.compress_size:,} bytes cannot unpack to {entry.file_size:,}",
            remedy="save it again",
        )
    with archive.open(entry) as opened:
        file = cast("io.BufferedIOBase", opened)
        shape, is_fortran, dtype = _npy_header(place, file)
        if dtype.hasobject or dtype.kind not in "biufU":
            raise DataError(
                f"{place}: it holds {printable(dtype, 60)}", remedy="save whole numbers 0..255"
            )
        size = math.prod(shape) * dtype.itemsize
        if size != entry.file_size - file.tell():
            raise DataError(
                f"{place}: its header declares {size:,} bytes, "
                f"but {entry.file_size - file.tell():,} are there",
                remedy="save or fetch it again",
            )
        array = np.empty(size, np.uint8)
        if _fill(file, array) < size or file.read(1):
            raise DataError(f"{place}: it is cut off", remedy="save or fetch it again")
    return array.view(dtype).reshape(shape, order="F" if is_fortran else "C")


def _npy_header(
    place: str, file: io.BufferedIOBase
) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise DataError(f"{place}: its format is version {version}, wanted 1.0 or 2.0")
    shape, is_fortran, dtype = readers[version](file, max_header_size=_LARGEST_NPY_HEADER)
    if any(side < 0 for side in shape):
        raise DataError(f"{place}: its header declares the shape {shape}")
    return shape, is_fortran, dtype


def _npz_classes(path: Path, names: NDArray[np.generic] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    if names.dtype.kind != "U" or names.ndim != 1 or names.size == 0:
        raise DataError(
            f"{printable(path)}: its 'classes' are {_described(names)}, wanted text of shape (n,)"
        )
    classes = tuple(str(name) for name in names)
    if len(set(classes)) < len(classes):
        raise DataError(f"{printable(path)}: its 'classes' have the same name twice")
    return classes


def _npz_pairs(
    path: Path, arrays: Mapping[str, NDArray[np.generic]]
) -> dict[str, tuple[PixelArray, LabelArray]]:
    pairs: dict[str, tuple[PixelArray, LabelArray]] = {}
    for images_key, (split, labels_key) in _NPZ_SPLITS.items():
        if images_key not in arrays and labels_key not in arrays:
            continue
        absent = [key for key in (images_key, labels_key) if key not in arrays]
        if absent:
            raise DataError(f"{printable(path)}: there is no {absent[0]!r}", remedy=_NPZ_HELP)
        if split in pairs or (pairs and "all" in (split, *pairs)):
            raise DataError(
                f"{printable(path)}: {images_key!r} comes on top of {listing(list(pairs))}",
                remedy=_NPZ_HELP,
            )
        images = _npz_images(f"{printable(path)}: {images_key}", arrays[images_key])
        labels = _npz_labels(f"{printable(path)}: {labels_key}", arrays[labels_key])
        if len(images) != len(labels):
            raise DataError(
                f"{printable(path)}: {len(images):,} {images_key} but {len(labels):,} {labels_key}"
            )
        pairs[split] = images, labels
    if not pairs:
        raise DataError(f"{printable(path)}: it has no images", remedy=_NPZ_HELP)
    return pairs


def _npz_images(place: str, images: NDArray[np.generic]) -> PixelArray:
    """Any of the accepted shapes and types as uint8 of (n, channels, height, width)."""
    if images.size == 0:
        raise DataError(f"{place}: there are no pixels, its shape is {images.shape}")
    if images.dtype.kind not in "iu":
        raise DataError(
            f"{place}: the pixels are {images.dtype}, wanted whole numbers 0..255",
            remedy="save (255 * images).round().astype('uint8') if they are 0..1",
        )
    if images.dtype != np.uint8:
        lowest, highest = int(images.min()), int(images.max())
        if lowest < 0 or highest > 255:
            raise DataError(f"{place}: the pixels are {lowest}..{highest}, wanted 0..255")
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    elif images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(
            f"{place}: the shape is {images.shape}, wanted (n, height, width), "
            "(n, height, width, 1 or 3) or (n, 1 or 3, height, width)"
        )
    return np.ascontiguousarray(images, dtype=np.uint8)


def _npz_labels(place: str, labels: NDArray[np.generic]) -> LabelArray:
    is_column = labels.ndim == 2 and labels.shape[1] == 1
    if labels.dtype.kind not in "iu" or not (labels.ndim == 1 or is_column):
        raise DataError(
            f"{place}: the labels are {_described(labels)}, wanted whole numbers of shape (n,)"
        )
    if labels.size and int(labels.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{place}: label {int(labels.max()):,} is out of range")
    return labels.reshape(-1).astype(np.int64)
