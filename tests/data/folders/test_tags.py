"""The tags of TIFF files and EXIF data: odd ones are harmless, those over a limit are found."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from tenfold.data.folders.images import decode_image, read_header
from tenfold.data.folders.tags import MOST_NUMBERS, MOST_TAGS, orientation_in, require_bounded_tags
from tenfold.errors import DataError

BYTE, SHORT, LONG, RATIONAL, SBYTE, UNDEFINED, LONG8 = 1, 3, 4, 5, 6, 7, 16
STRIPS, ORIENTATION, TRANSFER, XMP = 273, 274, 301, 700
EXIF, ICC_PROFILE, INTEROPERABILITY = 34_665, 34_675, 40_965


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
@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_tag_does_not_matter(
    odd: tuple[int, int, int, int], is_first: bool, order: str
) -> None:
    entries = [(ORIENTATION, SHORT, 1, 6), odd]
    data = jpeg(tags(order, *(reversed(entries) if is_first else entries)))
    header = read_header(data, "x.jpg")
    assert (header.height, header.width) == (16, 12)  # turned by a quarter
    top, bottom = decode_image(data, "x.jpg", channels=3, size=None)[0, [2, 13], 6]
    assert top > 200
    assert bottom < 50


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("start", [b"", b"Exif\0\0", b"Exif\0\0Exif\0\0"])
def test_of_many_tags_only_the_orientation_is_read(start: bytes, order: str) -> None:
    same = [(1000 + number, UNDEFINED, 5000, 8) for number in range(10)]
    exif = tags(order, (ORIENTATION, SHORT, 1, 6), *same, rest=5000)
    assert orientation_in(start + exif) == 6
    assert orientation_in(start + tags(order, *same, rest=5000)) is None
    header = read_header(jpeg(exif), "x.jpg")
    assert (header.height, header.width) == (16, 12)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [BYTE, SHORT, LONG])
def test_an_orientation_may_be_any_integer(kind: int, order: str) -> None:
    shift = 24 if (order, kind) == (">", BYTE) else 0
    assert orientation_in(tags(order, (ORIENTATION, kind, 1, 6 << shift))) == 6
    assert orientation_in(tags(order, (ORIENTATION, RATIONAL, 1, 6))) is None


def test_xmp_data_may_have_an_orientation() -> None:
    image = Image.new("RGB", (16, 12))
    for exif in (b"", b"Exif\0\0" + tags("<", (271, SHORT, 1, 6))):
        buffer = io.BytesIO()
        xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
        image.save(buffer, "JPEG", exif=exif, xmp=xmp)
        assert read_header(buffer.getvalue(), "x.jpg").width == 12


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow does not read AVIF")
@pytest.mark.parametrize("exif", [b"", b"Exif\0\0" + tags("<", (ORIENTATION, SHORT, 1, 6))])
def test_the_orientation_of_an_avif_is_its_own(exif: bytes) -> None:
    """Pillow writes that of EXIF data into the format's own boxes, and XMP data do not count."""
    buffer = io.BytesIO()
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    Image.new("RGB", (16, 12)).save(buffer, "AVIF", exif=exif, xmp=xmp)
    assert read_header(buffer.getvalue(), "x.avif").width == (12 if exif else 16)


def test_a_png_of_imagemagick_has_an_orientation() -> None:
    buffer, info = io.BytesIO(), PngInfo()
    exif = b"Exif\0\0" + tags("<", (ORIENTATION, SHORT, 1, 6))
    info.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n")
    Image.new("RGB", (16, 12)).save(buffer, "PNG", pnginfo=info)
    assert read_header(buffer.getvalue(), "x.png").width == 12


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    "odd", [(ORIENTATION, SHORT, 0, 3), (ORIENTATION, SHORT, 9, 5000), (ORIENTATION, LONG, 2, 40)]
)
def test_an_orientation_that_is_not_there_does_not_count(
    odd: tuple[int, int, int, int], order: str
) -> None:
    """It has no values, or they are beyond the end of the data, as a whole or in part."""
    assert orientation_in(tags(order, odd)) is None
    assert orientation_in(tags(order, odd, (ORIENTATION, SHORT, 1, 6))) == 6


@pytest.mark.parametrize("order", "<>")
def test_of_several_orientations_the_first_counts(order: str) -> None:
    """As in Pillow."""
    two = [(ORIENTATION, SHORT, 1, number) for number in (6, 3)]
    assert orientation_in(tags(order, *two)) == 6
    both = struct.pack(f"{order}HH", 6, 3)
    entry = tags(order, (ORIENTATION, SHORT, 2, struct.unpack(f"{order}I", both)[0]))
    assert orientation_in(entry) == 6


@pytest.mark.parametrize("number", [EXIF, 0])
def test_tags_of_unknown_types_are_skipped(number: int) -> None:
    require_bounded_tags(tags("<", (number, 99, 10**6, 8), rest=2 * 10**6), "x.tif")


@pytest.mark.parametrize("value", [0, 1, 7, 255])
def test_a_place_left_over_from_another_file_does_not_matter(value: int) -> None:
    """It leads into the pixels, whatever they are."""
    data = tags("<", (EXIF, LONG, 1, 1001)).ljust(10**6, bytes([value]))
    require_bounded_tags(data, "x.tif")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("entries", [1, 2])
def test_a_group_of_several_places_is_limited_too(entries: int, order: str) -> None:
    """Pillow follows the first place, whether there are several values or several tags."""
    many = tags(order, (1000, SHORT, MOST_NUMBERS + 1, 8))[8:].ljust(MOST_NUMBERS * 3, b"\0")
    if entries == 1:
        start = tags(order, (EXIF, LONG, 2, 26)).ljust(26, b"\0")
        start += struct.pack(f"{order}II", 50, 0)
    else:
        start = tags(order, (EXIF, LONG, 1, 50), (EXIF, LONG, 1, 0))
    with pytest.raises(DataError, match="numbers, wanted at most"):
        require_bounded_tags(start.ljust(50, b"\0") + many, "x.tif")


@pytest.mark.parametrize("kind", [SHORT, SBYTE])
@pytest.mark.parametrize("number", [STRIPS, ICC_PROFILE, XMP, EXIF])
def test_numbers_are_limited(number: int, kind: int) -> None:
    size = (MOST_NUMBERS + 1) * (2 if kind == SHORT else 1)
    with pytest.raises(DataError, match=f"tag {number} has 200,001 numbers, wanted at most"):
        require_bounded_tags(tags("<", (number, kind, MOST_NUMBERS + 1, 8), rest=size), "x.tif")
    require_bounded_tags(tags("<", (TRANSFER, kind, 3 * 2**16, 8), rest=size), "x.tif")
    require_bounded_tags(tags("<", (number, UNDEFINED, 2 * size, 8), rest=2 * size), "x.tif")


@pytest.mark.parametrize("kind", [LONG, LONG8])
@pytest.mark.parametrize("order", "<>")
def test_numbers_of_a_group_are_limited_together(order: str, kind: int) -> None:
    """The group is behind the first directory, and begins with one that leads deeper."""
    half = MOST_NUMBERS // 2 + 1
    inner = tags(order, (INTEROPERABILITY, LONG, 1, 100), *[(1000, SHORT, half, 8)] * 2)[8:]
    first = tags(order, (EXIF, kind, 1, 50))
    whole = first.ljust(50, b"\0") + inner.ljust(MOST_NUMBERS * 3, b"\0")
    if kind == LONG8:  # the tag says where its value is
        place = struct.pack(f"{order}Q", 50)
        whole = (
            tags(order, (EXIF, kind, 1, 26)).ljust(26, b"\0") + place.ljust(24, b"\0") + whole[50:]
        )
    with pytest.raises(DataError, match="a group of tags has 200,003 numbers, wanted at most"):
        require_bounded_tags(whole, "x.tif")


def test_the_number_of_tags_is_limited() -> None:
    count = MOST_TAGS + 1
    listed = struct.pack("<HHQQ", 1000, UNDEFINED, 0, 0) * count
    data = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, count) + listed + bytes(8)
    with pytest.raises(DataError, match="more than 65,535 tags"):
        require_bounded_tags(data, "x.tif")


@pytest.mark.parametrize("data", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff" + bytes(20), b"MM"])
def test_damaged_data_has_no_tags(data: bytes) -> None:
    assert require_bounded_tags(data, "x.tif") == []
