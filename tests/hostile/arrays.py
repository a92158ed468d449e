"""Hostile files of arrays: .npz, IDX and CIFAR's batches."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path

from bad_inputs.makers.data_sets import cifar_binary, idx, idx_set
from bad_inputs.makers.files import Maker, all_of, file
from hostile.archives import many_members, understate, write_zeros
from hostile.rows import Row

NPZ, SET = "load_splits('./set.npz')", "load_splits('./set')"


def npy(description: str, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A NumPy file with a header of any text."""
    text = description.encode() + b"\n"
    size = len(text) if length is None else length
    return b"\x93NUMPY\x02\0" + struct.pack("<I", size) + text + data


def described(dtype: str, shape: str) -> str:
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"


def npz(images: bytes, labels: bytes = npy(described("|u1", "(2,)"), b"\0\1")) -> Maker:
    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / "set.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", images)
            archive.writestr("labels.npy", labels)

    return make


def zeros_in_an_npz(method: int = zipfile.ZIP_DEFLATED, shape: str = "(1073741824, 1024)") -> Maker:
    def make(folder: Path) -> None:
        start = b"\x93NUMPY\x01\x00v\x00" + described("|u1", shape).encode()
        with zipfile.ZipFile(folder / "set.npz", "w", method) as archive:
            write_zeros(archive, "images.npy", start.ljust(127) + b"\n")
            archive.writestr("labels.npy", b"")
        if method != zipfile.ZIP_DEFLATED:
            understate(folder / "set.npz")

    return make


def renamed(make: Maker, old: str, new: str) -> Maker:
    def making(folder: Path) -> None:
        make(folder)
        (folder / old).rename(folder / new)

    return making


def zeros_in_an_idx_file(folder: Path) -> None:
    """160 KB that unpack to 160 MB and declare 8 GB."""
    (folder / "set").mkdir()
    for name, axes in (("images-idx3", 3), ("labels-idx1", 1)):
        with gzip.open(folder / f"set/train-{name}-ubyte.gz", "wb") as opened:
            opened.write(struct.pack(f">{1 + axes}I", 0x800 + axes, *[2**11] * axes))
            for _ in range(160 if axes == 3 else 0):
                opened.write(bytes(2**20))
            opened.write(bytes(2**11))


def pickled(data: bytes) -> Maker:
    """A folder of CIFAR-10's pickled batches."""
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    return all_of(*(file(f"set/{name}", data) for name in names))


ROWS = {
    "npz of zeros": Row(zeros_in_an_npz(), NPZ),
    "npz of zeros, bzip2": Row(zeros_in_an_npz(zipfile.ZIP_BZIP2, "(1024, 1023)"), NPZ),
    "npz of zeros, LZMA": Row(zeros_in_an_npz(zipfile.ZIP_LZMA, "(1024, 1023)"), NPZ),
    "npz of 1,100,000 arrays": Row(
        renamed(many_members(1_100_000), "photos.zip", "set.npz"), NPZ, 300, says="members"
    ),
    "npz of 2 to 60 images": Row(npz(npy(described("|u1", f"({2**60}, 1, 1)"))), NPZ),
    "npz of a negative number of images": Row(npz(npy(described("|u1", "(-2, 8, 8)"))), NPZ),
    "npz of objects": Row(npz(npy(described("|O", "(2,)"), bytes(99))), NPZ, says="dtype"),
    "npz of nothing, many times": Row(npz(npy(described("|V0", f"({2**60},)"))), NPZ, says="dtype"),
    "npz with a header of 4 GB": Row(npz(npy("{", length=2**32 - 1)), NPZ),
    "npz with a header of 1 MB": Row(npz(npy("(" * 1_000_000)), NPZ),
    "npz with a header of brackets": Row(npz(npy("(" * 9000)), NPZ),
    "npz with a header of a long number": Row(npz(npy("9" * 9000)), NPZ),
    "npz with a program as header": Row(npz(npy("__import__('os').system('touch harm')")), NPZ),
    "IDX of zeros": Row(zeros_in_an_idx_file, SET),
    "IDX of 2 to 96 pixels": Row(idx_set(train_images=idx((2**32 - 1,) * 3, bytes(99))), SET),
    "IDX of no labels": Row(idx_set(train_labels=idx((2**32 - 1,), b"")), SET),
    "IDX of images without pixels": Row(idx_set(train_images=idx((6, 0, 2**31), b"")), SET),
    "CIFAR batch of one byte": Row(cifar_binary(b"x"), SET),
    "CIFAR batch of 200 MB": Row(cifar_binary(bytes(200_000_000)), SET, 500),
    "pickle of 2 million lists": Row(
        pickled(b"\x80\x02(" + b"]" * 2_000_000 + b"l."), SET, says="containers"
    ),
    "pickle of 2 million tables": Row(
        pickled(b"\x80\x02(" + b"}" * 2_000_000 + b"l."), SET, says="containers"
    ),
    "pickle of 5 million values": Row(
        pickled(b"\x80\x02(" + b"K\1" * 4_500_000 + b"l."), SET, 300, says="values"
    ),
    "pickle of lists in lists": Row(pickled(b"(" * 100_000 + b"l" * 100_000 + b"."), SET),
    "pickle with a program": Row(
        pickled(b"cos\nsystem\n(S'touch harm'\ntR."), SET, says="os.system"
    ),
    "pickle with a long number": Row(pickled(b"I" + b"9" * 1_000_000 + b"\n."), SET),
    "pickle with 2 to 31 slots": Row(pickled(b"\x80\x02}r\xff\xff\xff\x7f."), SET, says="slot"),
    "pickle with a text of 2 to 62 bytes": Row(
        pickled(b"\x80\x04\x8d" + b"\xff" * 7 + b"\x3f."), SET
    ),
}
"""By what is hostile about it."""
