"""Pillow behind a fence: it opens the formats named here, no larger than allowed, and in silence.

Pillow's own `Image.open` tries every format that it knows, one of which starts a program. Here the
first bytes name the reader.
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
from tenfold.errors import DataError

LARGEST_PIXELS = 50_000_000
"""Pixels that an image may declare; more is refused before any of them is decoded."""

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
    """The image with its header read and its size checked, by the reader that its bytes name.

    Raises:
        DataError: it is of no known format, or over `LARGEST_PIXELS`.
    """
    for starts, reader in _FORMATS:
        if data.startswith(starts) and (reader is not WebPImageFile or data[8:12] == b"WEBP"):
            image = reader(io.BytesIO(data))
            require_bounded(*image.size, name)
            return image
    raise DataError(
        f"{name}: this is not an image: {_description(data)}, wanted {FORMAT_NAMES}",
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
    """Whatever Pillow raises becomes a DataError that names the image; it gives no warnings."""
    size = "" if data is None else f" ({len(data):,} bytes)"
    what = f"{name}: the image{size} is damaged or cut off"
    with library_errors(what, remedy="replace or remove the file"), quiet_pillow():
        yield


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silence the warnings that Pillow gives about damaged files, on all threads that ask for it.

    What is wrong with a file is an error here or nothing. The filters of `warnings` belong to the
    process, so the first thread to enter silences and the last to leave restores.
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
    """How many threads want Pillow's warnings silenced, and what to restore after the last."""

    lock = threading.Lock()
    depth = 0
    filters = ExitStack()


def _description(data: bytes) -> str:
    if not data:
        return "the file is empty"
    start = data[:16]
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in data[:64]):
        return f"it is text that begins with {start.decode('ascii')!r}"
    return f"it begins with the bytes {start.hex(' ')}"
