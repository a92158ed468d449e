"""Pictures, class folders of them, and archives of class folders: valid and invalid."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

from PIL import Image

from bad_inputs.makers.files import Maker, all_of, file


def picture(gray: int = 0, size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, gray).save(buffer, "png")
    return buffer.getvalue()


def png(width: int, height: int, pixels: bytes) -> bytes:
    """An 8-bit gray PNG file that declares any size."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(pixels)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def pictures(**classes: int) -> Maker:
    """Class folders in `photos`, with the number of images by class name."""
    return all_of(
        *(
            file(f"photos/{name}/{number}.png", picture(7 * label + number))
            for label, (name, count) in enumerate(classes.items())
            for number in range(count)
        )
    )


def two_classes(damage: Maker) -> Maker:
    return all_of(pictures(cat=4, dog=4), damage)


def split_pictures(*names: str) -> Maker:
    return all_of(*(file(f"photos/{name}", picture(number)) for number, name in enumerate(names)))


def broken_link_out(folder: Path) -> None:
    outside = folder.parent / f"{folder.name}-outside.png"
    outside.write_bytes(picture())
    (folder / "photos/cat/out.png").symlink_to(outside)


def zipped(name: str, members: dict[str, bytes], *, encrypted: bool = False) -> Maker:
    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in members.items():
                archive.writestr(member, data)
        if encrypted:  # bit 0 of the flags, in the local header and in the directory
            data = bytearray((folder / name).read_bytes())
            for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
                data[data.index(magic) + offset] |= 1
            (folder / name).write_bytes(data)

    return make


def tarred(name: str, members: dict[str, bytes], mode: str = "w") -> Maker:
    def make(folder: Path) -> None:
        with tarfile.open(folder / name, mode) as archive:
            for member, data in members.items():
                entry = tarfile.TarInfo(member)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))

    return make


def zip_bomb(folder: Path) -> None:
    """One image that unpacks to 80 MB."""
    zipped("photos.zip", {"cat/1.png": bytes(80 * 2**20), "dog/1.png": picture()})(folder)
