"""Hostile images, each beside sound ones."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

from bad_inputs.makers.files import Maker, all_of, file
from bad_inputs.makers.pictures import pictures, png
from hostile.rows import Row

OPENS = "load_splits('./photos')"


def beside_others(name: str, data: bytes) -> Maker:
    return all_of(pictures(cat=2, dog=2), file(f"photos/cat/{name}", data))


def row(name: str, data: bytes, bound: int = 100, says: str = "", ends: str = "refused") -> Row:
    return Row(beside_others(name, data), OPENS, bound, ends, says)


def saved(form: str, size: tuple[int, int] = (16, 16), mode: str = "RGB", **more: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, form, **more)
    return buffer.getvalue()


# --- PNG --------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    declared = len(data) if length is None else length
    return struct.pack(">I", declared) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with(*chunks: bytes) -> bytes:
    """A sound PNG with chunks before its pixels."""
    sound = png(16, 16, bytes(17 * 16))
    place = sound.index(b"IDAT") - 4
    return sound[:place] + b"".join(chunks) + sound[place:]


def bomb(size: int = 2**27) -> bytes:
    """Zeros, compressed a thousand times."""
    packer = zlib.compressobj(1)
    return b"".join([*(packer.compress(bytes(2**20)) for _ in range(size >> 20)), packer.flush()])


# --- TIFF -------------------------------------------------------------------------------------

SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7

Entries = list[tuple[int, int, int, int | bytes]]
"""Tags: their numbers, types, numbers of values, and a value or the bytes of several."""

GRAY: Entries = [(256, LONG, 1, 16), (257, LONG, 1, 16), (258, SHORT, 1, 8), (262, SHORT, 1, 1)]
DEFLATED = (259, SHORT, 1, 8)


def tiff(entries: Entries, *, following: int = 0, size: int = 0) -> bytes:
    """A TIFF file.

    Args:
        entries: of its image.
        following: the place of the next image.
        size: bytes that it is filled up to.
    """
    listed, rest = struct.pack("<H", len(entries)), b""
    base = 8 + 2 + 12 * len(entries) + 4
    for number, kind, count, value in sorted(entries):
        if isinstance(value, bytes):
            listed += struct.pack("<HHII", number, kind, count, base + len(rest))
            rest += value
        else:
            listed += struct.pack("<HHII", number, kind, count, value)
    whole = b"II*\0" + struct.pack("<I", 8) + listed + struct.pack("<I", following) + rest
    return whole.ljust(size, b"\0")


def tiled(side: int) -> Entries:
    places: Entries = [(322, LONG, 1, side), (323, LONG, 1, side), (324, LONG, 1, 200)]
    return [*GRAY, DEFLATED, *places, (325, LONG, 1, 17)]


def strips(count: int) -> Entries:
    """An image of one column, with a strip for each row."""
    sides: Entries = [(256, LONG, 1, 1), (257, LONG, 1, count), *GRAY[2:], (278, LONG, 1, 1)]
    return [*sides, (273, LONG, count, bytes(4 * count)), (279, LONG, 1, 1)]


def repeated(count: int, size: int) -> bytes:
    """A TIFF file of many tags whose values are in the same place."""
    listed = struct.pack("<H", count)
    for number in range(count):
        listed += struct.pack("<HHII", 1000 + number, 1, size, 8)
    return b"II*\0" + struct.pack("<I", 8) + listed + bytes(4) + bytes(size)


def tiff_with_group(number: int, group: Entries) -> bytes:
    """A sound TIFF file with a group of tags behind it, whose places are counted from its start."""
    sound = [*GRAY, (259, SHORT, 1, 1), (278, LONG, 1, 16), (279, LONG, 1, 256)]
    first = tiff([*sound, (273, LONG, 1, 8), (number, LONG, 1, 600)], size=600)
    base, listed, rest = 600 + 2 + 12 * len(group) + 4, struct.pack("<H", len(group)), b""
    for tag, kind, count, value in group:
        if isinstance(value, bytes):
            listed += struct.pack("<HHII", tag, kind, count, base + len(rest))
            rest += value
        else:
            listed += struct.pack("<HHII", tag, kind, count, value)
    return first + listed + bytes(4) + rest


def groups_of_groups(pointers: int, count: int) -> bytes:
    """A TIFF file with tags that lead to a group, whose first tags lead to the same group again."""
    place = 8 + 2 + 12 * pointers + 4
    leading = struct.pack("<HHII", 34_665, LONG, 1, place) * pointers
    others = struct.pack("<HHII", 1000, SHORT, 1, 5) * (count - pointers)
    head = b"II*\0" + struct.pack("<IH", 8, pointers) + leading + bytes(4)
    return head + struct.pack("<H", count) + leading + others


def big_tiff(count: int) -> bytes:
    entries = struct.pack("<QHHQQ", 1, 256, LONG, count, 16)
    return b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + entries + bytes(8)


def big_tiff_with_group(count: int, *, kind: int = SHORT, skipped: int = 1) -> bytes:
    """One with a group of tags further away than a file can be, then one of many numbers."""
    head = struct.pack("<QHHQQ", 1, 34_665, LONG, 1, 52) + bytes(8)
    group = struct.pack("<Q", skipped + 1) + struct.pack("<HHQQ", 999, kind, 8, 2**63) * skipped
    group += struct.pack("<HHQQ", 1000, RATIONAL, count, 88 + 20 * skipped)
    return b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + head + group + bytes(8) + bytes(8 * count)


def group_in_group(count: int) -> Entries:
    """Three tags: one larger than the file, one that leads to a deeper group, and that group."""
    place = 600 + 2 + 3 * 12 + 4
    deeper = struct.pack("<HHHII", 1, 1000, RATIONAL, count, place + 18) + bytes(4 + 8 * count)
    too_large = (999, RATIONAL, 2**29 - 1, 8)
    return [too_large, (40_965, LONG, 1, place), (1001, UNDEFINED, len(deeper), deeper)]


# --- Other formats ----------------------------------------------------------------------------


def gif(screen: tuple[int, int], frame: tuple[int, int], *, frames: int = 1) -> bytes:
    start = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes(6)
    one = b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\2\2\x4c\1\0"
    return start + one * frames + b";"


def bmp(width: int, height: int, *, colors: int = 0, compression: int = 0) -> bytes:
    fields = (40, width, height, 1, 8, compression, 0, 0, 0, colors, 0)
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + struct.pack("<IiiHHIIIIII", *fields)


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def lossless(side: int) -> bytes:
    """A WebP file without pixels that declares a square."""
    sides = (side - 1) | (side - 1) << 14
    return riff(webp_chunk(b"VP8L", b"\x2f" + struct.pack("<I", sides) + bytes(16)))


def animated(side: int) -> bytes:
    """A WebP file with a large canvas and a small frame."""
    canvas = (side - 1).to_bytes(3, "little")
    picture = saved("WEBP", lossless=True)[12:]
    frame = bytes(6) + (15).to_bytes(3, "little") * 2 + bytes(4) + picture
    return riff(
        webp_chunk(b"VP8X", b"\2\0\0\0" + canvas * 2),
        webp_chunk(b"ANIM", bytes(6)),
        webp_chunk(b"ANMF", frame),
    )


def jpeg_with(*segments: bytes) -> bytes:
    sound = saved("JPEG")
    return sound[:2] + b"".join(segments) + sound[2:]


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def exif_in_pieces(tags: bytes) -> bytes:
    """A JPEG whose EXIF data is spread over many segments."""
    pieces = [tags[start : start + 60_000] for start in range(0, len(tags), 60_000)]
    return jpeg_with(*(segment(0xE1, b"Exif\0\0" + piece) for piece in pieces))


def avif_with_exif(tags: bytes) -> bytes:
    """An AVIF with this EXIF data at its end."""
    small = Image.Exif()
    small[270] = "x"
    data = saved("AVIF", exif=small.tobytes())
    item, place = b"\0\0\0\6Exif\0\0" + tags, data.index(b"mdat") + 4  # of the first item
    extent = data.index(struct.pack(">I", place), data.index(b"iloc"))
    return data[:extent] + struct.pack(">II", len(data), len(item)) + data[extent + 8 :] + item


def resized_jpeg(width: int, height: int) -> bytes:
    """A JPEG that declares another size."""
    data = bytearray(saved("JPEG"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def misdeclared(form: str, size: int, box: bytes, at: int) -> bytes:
    """An image of a format in boxes that is larger than the box with its size says."""
    data = bytearray(saved(form, (size, size), "L"))
    struct.pack_into(">II", data, data.index(box) + at, 16, 16)
    return bytes(data)


ORIENTATION = 0x112
NUMBERS = struct.pack("<I", 70_000) * 1_000_000

ROWS = {
    "PNG of gigapixels": row("x.png", png(30_000, 30_000, bytes(90 * 2**20)), says="limit"),
    "PNG of 2 to 31 columns": row("x.png", png(2**31 - 1, 1, b""), says="limit"),
    "PNG of no pixels": row("x.png", png(0, 5, b""), says="no pixels|damaged"),
    "PNG of 49 megapixels": row("x.png", png(7000, 7000, bytes(7001 * 7000)), 300, ends="accepted"),
    "PNG with a color profile of 128 MB": row(
        "x.png", png_with(chunk(b"iCCP", b"x\0\0" + bomb())), says="too large"
    ),
    "PNG with a text of 128 MB": row(
        "x.png", png_with(chunk(b"zTXt", b"x\0\0" + bomb())), says="too large"
    ),
    "PNG with 100,000 texts": row(
        "x.png", png_with(chunk(b"tEXt", b"x\0" + bytes(900)) * 100_000), 300
    ),
    "PNG with a chunk of 2 GB": row("x.png", png_with(chunk(b"tEXt", b"x\0y", 2**31 - 1))),
    "PNG with a chunk of 4 GB": row("x.png", png_with(chunk(b"tEXt", b"x\0y", 2**32 - 1))),
    "PNG with pixels of too few bytes": row("x.png", png(4000, 4000, b"x"), says="truncated"),
    "PNG with a palette of 60,000 colors": row(
        "x.png", png_with(chunk(b"PLTE", bytes(180_000))), ends="accepted"
    ),
    "PNG with an orientation of a million numbers": row(
        "x.png",
        png_with(chunk(b"eXIf", tiff([(ORIENTATION, LONG, 1_000_000, NUMBERS)]))),
        ends="accepted",
    ),
    "PNG with tags in the same place": row(
        "x.png", png_with(chunk(b"eXIf", repeated(5000, 2**20))), ends="accepted"
    ),
    "PNG with an animation beyond its sides": row(
        "x.png",
        png_with(
            chunk(b"acTL", struct.pack(">II", 2, 0)),
            chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 2**31, 2**31, 0, 0, 1, 1, 0, 0)),
        ),
    ),
    "JPEG of 65,535 x 65,535": row("x.jpg", resized_jpeg(65_535, 65_535), says="limit"),
    "JPEG of 7,000 x 7,000 without most pixels": row(
        "x.jpg", resized_jpeg(7000, 7000), 300, ends="accepted"
    ),
    "JPEG with an orientation of a million numbers": row(
        "x.jpg",
        exif_in_pieces(tiff([(ORIENTATION, LONG, 1_000_000, NUMBERS)])),
        ends="accepted",
    ),
    "JPEG with a resolution of a million numbers": row(
        "x.jpg",
        exif_in_pieces(tiff([(282, RATIONAL, 1_000_000, NUMBERS * 2), (296, SHORT, 1, 2)])),
        ends="accepted",
    ),
    "AVIF with an orientation of a million numbers": row(
        "x.avif",
        avif_with_exif(tiff([(ORIENTATION, RATIONAL, 1_000_000, NUMBERS * 2)])),
        ends="accepted",
    ),
    "JPEG with tags in the same place": row(
        "x.jpg", exif_in_pieces(repeated(5000, 2**20)), ends="accepted"
    ),
    "JPEG with a color profile of 255 segments": row(
        "x.jpg",
        jpeg_with(
            *(
                segment(0xE2, b"ICC_PROFILE\0" + bytes([number, 255]) + bytes(60_000))
                for number in range(1, 256)
            )
        ),
        ends="accepted",
    ),
    "JPEG with 50,000 comments": row(
        "x.jpg", jpeg_with(segment(0xFE, bytes(1000)) * 50_000), 300, ends="accepted"
    ),
    "GIF of 65,535 x 65,535": row("x.gif", gif((65_535, 65_535), (1, 1)), says="limit|damaged"),
    "GIF with a frame larger than itself": row(
        "x.gif", gif((16, 16), (65_535, 65_535)), says="limit|damaged"
    ),
    "GIF of 200,000 frames": row("x.gif", gif((1, 1), (1, 1), frames=200_000), ends="accepted"),
    "BMP of 2 to 31 x 2 to 31": row("x.bmp", bmp(2**31 - 1, 2**31 - 1), says="limit"),
    "BMP of a negative width": row("x.bmp", bmp(-16, 16)),
    "BMP with 4 billion colors": row("x.bmp", bmp(16, 16, colors=2**32 - 1)),
    "BMP of runs of 7,000 x 7,000": row("x.bmp", bmp(7000, 7000, compression=1), 300),
    "TIFF with a tile of 32,768 x 32,768": row(
        "x.tif", tiff(tiled(32_768), size=200) + bomb(2**20), says="tiles of 32768x32768"
    ),
    "TIFF with a tile of 2 to 32 x 2 to 32": row(
        "x.tif", tiff(tiled(2**32 - 1), size=200) + bomb(2**20), says="tiles of"
    ),
    "TIFF of 10 million strips": row("x.tif", tiff(strips(10_000_000)), says="numbers"),
    "TIFF with tags in the same place": row("x.tif", repeated(5000, 2**20), says="its tags claim"),
    "TIFF with 10 million numbers of a byte": row(
        "x.tif", tiff([*GRAY[:2], (258, 6, 10_000_000, bytes(10_000_000))]), says="numbers"
    ),
    "TIFF with a color profile of a million numbers": row(
        "x.tif", tiff([*GRAY, (34_675, SHORT, 1_000_000, NUMBERS)]), says="numbers"
    ),
    "TIFF with EXIF data of a million numbers": row(
        "x.tif",
        tiff_with_group(34_665, [(33_434, RATIONAL, 1_000_000, NUMBERS * 2)]),
        says="numbers",
    ),
    "TIFF with GPS data of many tags of many numbers": row(
        "x.tif",
        tiff_with_group(
            34_853, [(number, SHORT, 100_000, NUMBERS[:200_000]) for number in range(30)]
        ),
        says="a group of tags has 3,000,000 numbers",
    ),
    "BigTIFF with a tag that leads too far, and one of a million numbers": row(
        "x.tif", big_tiff_with_group(1_000_000), says="tag 1000 has 1,000,000 numbers"
    ),
    "BigTIFF with a tag of a million numbers behind 65,536 of an unknown type": row(
        "x.tif",
        big_tiff_with_group(1_000_000, kind=99, skipped=65_536),
        says="more than 65,535 tags",
    ),
    "BigTIFF with a tag of a million numbers behind 65,536 that lead too far": row(
        "x.tif", big_tiff_with_group(1_000_000, skipped=65_536), says="more than 65,535 tags"
    ),
    "TIFF with a tag twice, the second time out of the file, and a million numbers": row(
        "x.tif",
        tiff_with_group(
            34_665,
            [
                (999, SHORT, 1, 5),
                (999, RATIONAL, 20, 2**32 - 16),
                (1000, RATIONAL, 1_000_000, NUMBERS * 2),
            ],
        ),
        says="tag 1000 has 1,000,000 numbers",
    ),
    "TIFF with a tag larger than the file, and a deeper group of a million numbers": row(
        "x.tif",
        tiff_with_group(34_665, group_in_group(1_000_000)),
        says="tag 1000 has 1,000,000 numbers",
    ),
    "TIFF with 156 groups of 65,535 tags": row(
        "x.tif", groups_of_groups(12, 65_535), bound=60, says="more than 65,535 tags"
    ),
    "TIFF with 156 groups of 20 tags": row(
        "x.tif", groups_of_groups(12, 20), says="more than 12 groups of tags"
    ),
    "TIFF that follows itself": row("x.tif", tiff(GRAY, following=8)),
    "TIFF of 65,535 samples a pixel": row("x.tif", tiff([*tiled(16), (277, SHORT, 1, 65_535)])),
    "TIFF with a strip of 2 to 31 rows": row(
        "x.tif",
        tiff(
            [*GRAY, DEFLATED, (278, LONG, 1, 2**31), (273, LONG, 1, 200), (279, LONG, 1, 900)],
            size=200,
        )
        + bomb(2**20),
    ),
    "TIFF with its tags outside": row("x.tif", b"II*\0" + struct.pack("<I", 2**31) + bytes(99)),
    "large TIFF with 2 to 60 numbers": row("x.tif", big_tiff(2**60)),
    "WebP of 16,383 x 16,383": row("x.webp", lossless(16_383), says="limit|damaged"),
    "WebP of 13,000 x 13,000": row("x.webp", lossless(13_000), says="limit|damaged"),
    "WebP with a canvas of 13,000 x 13,000": row("x.webp", animated(13_000), says="limit|damaged"),
    "PNM of 2 to 31 x 2 to 31": row("x.ppm", b"P6 2147483647 2147483647 255 ", says="limit"),
    "PNM with a number of a million digits": row("x.ppm", b"P6 " + b"9" * 1_000_000 + b" 1 255 "),
    "PNM with a comment of 2 MB": row("x.ppm", b"P6 #" + b"x" * 2_000_000),
    "PNM of text without end": row("x.ppm", b"P3 7000 7000 255 " + b"1" * 1_000_000, 600),
    "JPEG 2000 larger than it says": row("x.jp2", misdeclared("JPEG2000", 4000, b"ihdr", 4)),
    "AVIF larger than it says": row(
        "x.avif", misdeclared("AVIF", 4000, b"ispe", 8), ends="accepted"
    ),
    "file of 65 MB": row("x.png", bytes(65 * 2**20), 200, says="limit"),
}
"""By what is hostile about it."""
