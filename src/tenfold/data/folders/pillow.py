"""Restricted use of Pillow: only the formats listed here, bounded image sizes, no warnings.

Pillow's `Image.open` tries every format that it knows, one of which runs an external program. Here
the first bytes select the reader.
"""

from __future__ import annotations

import io
import logging
import pkgutil
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

from PIL import features
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tenfold.data.files.reading import library_errors
from tenfold.data.folders.tags import TILE_SIDES, require_bounded_tags
from tenfold.errors import DataError, counted

# What Pillow has to say about a damaged file would be printed beside our own message.
logging.getLogger("PIL").addHandler(logging.NullHandler())

LARGEST_PIXELS = 50_000_000
"""Maximum number of pixels an image may declare; checked before anything is decoded."""

FORMAT_NAMES = "PNG, JPEG, GIF, BMP, TIFF, WebP, AVIF, JPEG 2000, HEIC or PNM"

Reader: TypeAlias = Callable[[io.BytesIO], ImageFile]
"""Opens an image from its bytes."""

_FORMATS: tuple[tuple[re.Pattern[bytes], str, Reader | str], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG", PngImageFile),
    (re.compile(rb"\xff\xd8\xff"), "JPEG", JpegImageFile),
    (re.compile(rb"GIF8[79]a"), "GIF", GifImageFile),
    (
        re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
        "BMP",
        BmpImageFile,
    ),
    (re.compile(rb"II[*+]\0|MM\0\*"), "TIFF", TiffImageFile),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WebP", WebPImageFile),
    (re.compile(rb"P[1-6][\s#]"), "PNM", PpmImageFile),
    (
        re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
        "JPEG 2000",
        "PIL.Jpeg2KImagePlugin:Jpeg2KImageFile",
    ),
    (
        re.compile(rb"\0...ftyp(?:.{4})*?(?:avif|avis)", re.DOTALL),
        "AVIF",
        "PIL.AvifImagePlugin:AvifImageFile",
    ),
    (
        re.compile(rb"\0...ftyp(?:.{4})*?(?:hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL),
        "HEIC",
        "pillow_heif:HeifImageFile",
    ),
)
"""How files of each format begin, its name, and what reads it; some readers may be missing."""

_LONGEST_BEGINNING = 64

_EXIF, _HIDDEN = b"Exif\0\0", b"exif\0\0"
_EXIF_OF_JPEG = re.compile(rb"(\xff\xe1..)" + _EXIF, re.DOTALL)
_EXIF_IN_BOXES = re.compile(rb"(infe(?:\x02.{7}|\x03.{9}))Exif", re.DOTALL)

_MOST_LAYERS = 8
"""How often the pieces of an image may cover it; a TIFF can have one layer for each channel."""

_PNM_AS_TEXT, _MOST_COMMENTS = re.compile(rb"P[123]"), 1000


def is_image(start: bytes) -> bool:
    """Whether a file that begins like this is an image in one of the known formats."""
    return any(beginning.match(start) for beginning, _, _ in _FORMATS)


def open_image(data: bytes, name: str) -> ImageFile:
    """Open an image with the reader for its first bytes: reads the header and checks the size.

    Raises:
        DataError: the format is unknown, the image is over `LARGEST_PIXELS`, or decoding it would
            take far longer than its size allows for.
    """
    start = data[:_LONGEST_BEGINNING]
    for beginning, format_name, reader in _FORMATS:
        if beginning.match(start):
            if isinstance(reader, str):
                reader = _found(reader, format_name, name)
            if reader is TiffImageFile:
                _require_bounded_tiles(data, name)
            _require_few_comments(data, name)
            image = reader(io.BytesIO(_without_exif(data)))
            _put_exif_back(image)
            require_bounded(*image.size, name)
            _require_few_layers(image, name)
            return image
    raise DataError(
        f"{name}: not an image: {_description(data)}, wanted {FORMAT_NAMES}",
        remedy="replace or remove the file",
    )


def _without_exif(data: bytes) -> bytes:
    """The image with its EXIF data under another name, if Pillow would read it while opening.

    It makes an object of every number in it. In AVIF and HEIC, orientation is not a matter of EXIF
    data, see ISO/IEC 23008-12, 6.5.10 and 6.5.12.
    """
    if b"Exif" not in data:
        return data
    if data.startswith(b"\xff\xd8"):
        return _EXIF_OF_JPEG.sub(rb"\1" + _HIDDEN, data)
    if data[4:8] == b"ftyp":
        return _EXIF_IN_BOXES.sub(rb"\1none", data)
    return data


def _put_exif_back(image: ImageFile) -> None:
    """Let `image.info` have the EXIF data of a JPEG: by its standard, a single segment.

    For AVIF and HEIC, the XMP data are removed: the orientation in them does not count, either.
    """
    if image.format in ("AVIF", "HEIF"):
        image.info.pop("xmp", None)
    for _, segment in getattr(image, "applist", ()):
        if segment.startswith(_HIDDEN):
            image.info.setdefault("exif", _EXIF + segment.removeprefix(_HIDDEN))


def _found(reader: str, format_name: str, name: str) -> Reader:
    """A reader that may be missing.

    Raises:
        DataError: it is.
    """
    remedy = "save it as JPEG or PNG"
    if format_name == "HEIC":
        remedy += ", or install what reads it: pip install pillow-heif"
    try:
        found: Reader = pkgutil.resolve_name(reader)
    except ImportError as error:
        raise DataError(
            f"{name}: {format_name} images cannot be read here", remedy=remedy
        ) from error
    feature = {"AVIF": "avif", "JPEG 2000": "jpg_2000"}.get(format_name)
    if feature is not None and not features.check(feature):
        raise DataError(f"{name}: this Pillow cannot read {format_name} images", remedy=remedy)
    return found


def require_bounded(width: int, height: int, name: str) -> None:
    """Refuse an image without pixels or with more than `LARGEST_PIXELS`."""
    if width < 1 or height < 1:
        raise DataError(f"{name}: the image has no pixels: {width}x{height}")
    if width * height > LARGEST_PIXELS:
        raise DataError(
            f"{name}: the image declares {width}x{height} pixels, "
            f"over the limit of {LARGEST_PIXELS:,}",
            remedy="scale it down",
        )


def _require_bounded_tiles(data: bytes, name: str) -> None:
    """Refuse a TIFF file with tags over a limit, or with larger tiles than an image may be."""
    tags = require_bounded_tags(data, name)
    sides = [[tag.value for tag in tags if tag.number == side] for side in TILE_SIDES]
    if all(sides):
        width, height = map(max, sides)
        if width * height > LARGEST_PIXELS:
            raise DataError(
                f"{name}: the image has tiles of {width}x{height} pixels, over the limit of "
                f"{LARGEST_PIXELS:,}",
                remedy="save it again with smaller tiles",
            )


def _require_few_layers(image: ImageFile, name: str) -> None:
    """Refuse an image that has its pixels many times over, such as a TIFF of overlapping strips."""
    pieces = [tile[1] for tile in getattr(image, "tile", ()) if tile[1] is not None]
    area = sum((right - left) * (bottom - top) for left, top, right, bottom in pieces)
    if area > _MOST_LAYERS * image.width * image.height:
        raise DataError(
            f"{name}: the image has {counted(len(pieces), 'piece')}, which cover it more than "
            f"{_MOST_LAYERS} times",
            remedy="replace or remove the file",
        )


def _require_few_comments(data: bytes, name: str) -> None:
    """Refuse a PNM file of text full of comments: Pillow copies the rest for each of them."""
    if _PNM_AS_TEXT.match(data) and data.count(b"#") > _MOST_COMMENTS:
        raise DataError(
            f"{name}: the image has more than {_MOST_COMMENTS:,} comments",
            remedy="replace or remove the file",
        )


@contextmanager
def pillow_errors(data: bytes | None, name: str) -> Iterator[None]:
    """Turn Pillow's exceptions into a DataError that names the image, and silence its warnings."""
    size = "" if data is None else f" ({counted(len(data), 'byte')})"
    what = f"{name}: the image{size} is damaged or truncated"
    with library_errors(what, remedy="replace or remove the file"), quiet_pillow():
        yield


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silence Pillow's warnings about damaged files, safely across threads.

    Here a problem with a file is either an error or ignored. Warning filters are process-wide, so
    the first thread to enter silences them and the last to leave restores them.
    """
    with _Quiet.lock:
        if _Quiet.depth == 0:
            _Quiet.filters.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _Quiet.depth += 1
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.depth -= 1
            if _Quiet.depth == 0:
                _Quiet.filters.close()


class _Quiet:
    """The number of threads inside `quiet_pillow`, and the filters to restore after the last."""

    lock = threading.Lock()
    depth = 0
    filters = ExitStack()


def _description(data: bytes) -> str:
    if not data:
        return "the file is empty"
    start = data[:16]
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in data[:64]):
        return f"it is text that starts with {start.decode('ascii')!r}"
    return f"it starts with the bytes {start.hex(' ')}"
