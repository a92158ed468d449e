"""The files of known data sets, and .npz files: valid and invalid."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bad_inputs.makers.files import Maker, all_of, file


def idx(shape: tuple[int, ...], values: bytes, *, magic: int | None = None) -> bytes:
    start = 0x800 + len(shape) if magic is None else magic
    return struct.pack(f">{1 + len(shape)}I", start, *shape) + values


def idx_set(**files: bytes | None) -> Maker:
    """A folder `set` of four IDX files, some replaced by the given ones; None leaves one out."""
    sound: dict[str, bytes | None] = {
        "train_images": idx((6, 4, 4), bytes(range(96))),
        "train_labels": idx((6,), bytes([0, 1, 2] * 2)),
        "test_images": idx((3, 4, 4), bytes(range(48))),
        "test_labels": idx((3,), bytes([0, 1, 2])),
    }
    names = {
        "train_images": "train-images-idx3-ubyte",
        "train_labels": "train-labels-idx1-ubyte",
        "test_images": "t10k-images-idx3-ubyte",
        "test_labels": "t10k-labels-idx1-ubyte",
    }
    return all_of(
        *(
            file(f"set/{names[key]}", data)
            for key, data in {**sound, **files}.items()
            if data is not None
        )
    )


def cifar_binary(damaged: bytes) -> Maker:
    """A folder `set` of CIFAR-10's binary batches of ten images each, the third replaced."""
    sound = b"".join(bytes([label]) + bytes(3072) for label in range(10))
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    return all_of(
        *(file(f"set/{name}", damaged if "3" in name else sound) for name in names),
    )


def cifar_python(damaged: object) -> Maker:
    """A folder `set` of CIFAR-10's pickled batches of ten images each, the third replaced."""
    sound = {b"data": np.zeros((10, 3072), np.uint8), b"labels": list(range(10))}
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    return all_of(
        *(file(f"set/{name}", pickle.dumps(damaged if "3" in name else sound)) for name in names),
    )


def npz(**arrays: object) -> Maker:
    return lambda folder: np.savez_compressed(folder / "set.npz", **arrays)


def npz_bomb(folder: Path) -> None:
    """80 KB that unpack to 80 MB and declare 8 TB."""
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**23)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(folder / "set.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(80 * 2**20))
        archive.writestr("labels.npy", b"")


class Touch:
    """Its pickle creates a file when loaded."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch harm-was-done",)
