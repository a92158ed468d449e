"""Files as the readers' tests need them: whole ones, and damaged ones."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TEN = [str(digit) for digit in range(10)]
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def placed(folder: Path, data: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def mutated(data: st.DataObject, seed: bytes, header: int) -> bytes:
    """The seed with some bytes changed, mostly in its header, and perhaps cut off or longer."""
    sample = bytearray(seed)
    places = st.one_of(st.integers(0, min(header, len(seed)) - 1), st.integers(0, len(seed) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        sample[place] = value
    cut = data.draw(st.one_of(st.just(len(seed)), st.integers(0, len(seed))))
    return bytes(sample[:cut]) + data.draw(st.binary(max_size=4))


def python2_string(value: bytes) -> bytes:
    if len(value) < 256:
        return b"U" + bytes([len(value)]) + value  # SHORT_BINSTRING
    return b"T" + struct.pack("<i", len(value)) + value  # BINSTRING


def python2_batch(images: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2's cPickle wrote it, instruction by instruction, in protocol 2."""
    n, pixels = images.shape
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85q\x07U\x01bq\x08"
        b"\x87q\tRq\n(K\x01" + b"J" + struct.pack("<i", n) + b"M" + struct.pack("<H", pixels)
        + b"\x86q\x0bcnumpy\ndtype\nq\x0cU\x02u1q\rK\x00K\x01\x87q\x0eRq\x0f(K\x03U\x01|q\x10NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x11b\x89" + python2_string(images.tobytes())
        + b"q\x12tq\x13b"
    )  # fmt: skip
    return (
        b"\x80\x02}q\x01("
        + python2_string(b"batch_label") + b"q\x02" + python2_string(b"testing batch 1 of 1")
        + b"q\x03" + python2_string(b"labels") + b"q\x14]q\x15("
        + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
        + python2_string(b"data") + b"q\x04" + array
        + python2_string(b"filenames") + b"q\x16]q\x17("
        + b"".join(python2_string(b"%d.png" % i) for i in range(n)) + b"eu."
    )  # fmt: skip


def cifar_batch(n: int = 3) -> tuple[np.ndarray, list[int]]:
    return rng().integers(0, 256, (n, 3072), np.uint8), [i % 10 for i in range(n)]
