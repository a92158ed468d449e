"""The tags of TIFF files and EXIF data: odd ones are harmless, those over a limit are found."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from tenfold.data.folders.images import decode_image, read_header
from tenfold.data.folders.tags import MOST_NUMBERS, require_bounded_tags, safe_orientation
from tenfold.errors import DataError

SHORT, LONG, UNDEFINED, SBYTE = 3, 4, 7, 6
ORIENTATION, STRIPS, TRANSFER = 274, 273, 301


def tags(order: str, *entries: tuple[int, int, int, int], rest: int = 0) -> bytes:
    """EXIF data, or the start of a TIFF file, with zeros after it."""
    start = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, len(entries))
    for number, kind, count, value in entries:
        shift = 16 if (order, kind, count) == (">", SHORT, 1) else 0
        start += struct.pack(f"{order}HHII", number, kind, count, value << shift)
    return start + bytes(4 + rest)


def jpeg(exif: bytes) -> bytes:
    """A JPEG of 12 x 16 pixels with this EXIF data, and a red left half."""
    image = Image.new("RGB", (16, 12))
    image.paste((255, 0, 0), (0, 0, 8, 12))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=b"Exif\0\0" + exif)
    return buffer.getvalue()


ODD = {
    "a tag of nothing that leads out": (0, UNDEFINED, 2_555_904, 0),
    "a maker note that is cut off": (37_500, UNDEFINED, 3000, 8),
    "a type that nobody knows": (0, 99, 4_000_000, 8),
    "a place at the end": (301, SHORT, 10, 2**32 - 1),
}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_tag_does_not_matter(odd: tuple[int, int, int, int], order: str) -> None:
    data = jpeg(tags(order, (ORIENTATION, SHORT, 1, 6), odd))
    header = read_header(data, "x.jpg")
    assert (header.height, header.width) == (16, 12)  # turned by a quarter
    top, bottom = decode_image(data, "x.jpg", channels=3, size=None)[0, [2, 13], 6]
    assert top > 200
    assert bottom < 50


@pytest.mark.parametrize("order", "<>")
def test_of_too_many_tags_only_the_orientation_is_read(order: str) -> None:
    same = [(1000 + number, UNDEFINED, 5000, 8) for number in range(10)]
    exif = tags(order, (ORIENTATION, SHORT, 1, 6), *same, rest=5000)
    assert safe_orientation(exif) == 6
    assert safe_orientation(tags(order, *same, rest=5000)) == 0
    assert safe_orientation(tags(order, (ORIENTATION, SHORT, 1, 6), rest=5000)) is None
    header = read_header(jpeg(exif), "x.jpg")
    assert (header.height, header.width) == (16, 12)


@pytest.mark.parametrize("kind", [SHORT, SBYTE])
def test_only_tags_that_are_used_are_limited(kind: int) -> None:
    size = (MOST_NUMBERS + 1) * (2 if kind == SHORT else 1)
    with pytest.raises(DataError, match="tag 273 has 200,001 numbers, wanted at most 200,000"):
        require_bounded_tags(tags("<", (STRIPS, kind, MOST_NUMBERS + 1, 8), rest=size), "x.tif")
    require_bounded_tags(tags("<", (TRANSFER, kind, MOST_NUMBERS + 1, 8), rest=size), "x.tif")


@pytest.mark.parametrize("data", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff" + bytes(20), b"MM"])
def test_damaged_data_has_no_tags(data: bytes) -> None:
    assert require_bounded_tags(data, "x.tif") == []
