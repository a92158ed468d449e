"""Restricted use of Pillow: only the formats listed here, bounded image sizes, no warnings.

Pillow's `Image.open` tries every format that it knows, one of which runs an external program. Here
the first bytes select the reader.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tenfold.data.files.reading import library_errors
from tenfold.errors import DataError, counted

LARGEST_PIXELS = 50_000_000
"""Maximum number of pixels an image may declare; checked before anything is decoded."""

FORMAT_NAMES = "PNG, JPEG, GIF, BMP, TIFF, WebP or PNM"

_FORMATS: tuple[tuple[tuple[bytes, ...], Callable[[io.BytesIO], ImageFile]], ...] = (
    ((b"\x89PNG\r\n\x1a\n",), PngImageFile),
    ((b"\xff\xd8\xff",), JpegImageFile),
    ((b"GIF87a", b"GIF89a"), GifImageFile),
    ((b"BM",), BmpImageFile),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImageFile),
    ((b"RIFF",), WebPImageFile),
    ((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"), PpmImageFile),
)


def open_image(data: bytes, name: str) -> ImageFile:
    """Open an image with the reader for its first bytes: reads the header and checks the size.

    Raises:
        DataError: the format is unknown, or the image is over `LARGEST_PIXELS`.
    """
    for starts, reader in _FORMATS:
        if data.startswith(starts) and (reader is not WebPImageFile or data[8:12] == b"WEBP"):
            image = reader(io.BytesIO(data))
            require_bounded(*image.size, name)
            return image
    raise DataError(
        f"{name}: not an image: {_description(data)}, wanted {FORMAT_NAMES}",
        remedy="replace or remove the file",
    )


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
