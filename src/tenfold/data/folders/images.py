"""Decode one image to pixels, the same way for training and prediction.

The rules, which a model can rely on:

- The formats are PNG, JPEG, GIF, BMP, TIFF, WebP and PNM, and, if this Pillow or pillow-heif reads
  them, AVIF, JPEG 2000 and HEIC, detected from the first bytes and never from the file name. Of an
  animation or a multi-page file, the first frame is used.
- The EXIF orientation is applied, so pixels are as a viewer shows them.
- Transparency, whether alpha channel, transparent palette entry or transparent color, is
  composited on white.
- 16-bit gray keeps the highest 8 of the bits that the training images use, 16 unless said
  otherwise; larger values become white. Of 16-bit color, the highest 8 bits are read. Bilevel,
  palette, CMYK, YCbCr and LAB images go through RGB. Images of 32-bit integers or floats are
  refused, because their range is unknown.
- Color becomes gray by ITU-R 601 luma (Pillow's `L`); gray becomes color by repetition.
- To fit a size, a picture is scaled with an antialiased bilinear filter: as a whole, with a margin
  of one color where the proportions differ (`pad`); as a whole, without its proportions (`squash`);
  or without what is beyond the wanted proportions (`crop`). See `tenfold.resizing.Resize`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile

from tenfold.data.folders.pillow import open_image, pillow_errors, require_bounded
from tenfold.data.folders.tags import orientation_in
from tenfold.errors import DataError, UsageError
from tenfold.resizing import DEFAULT_RESIZE, Resize, size_inside

_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FIRST_ORIENTATION_ON_ITS_SIDE = 5

_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)([0-9])")

_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
_JPEG_PLAIN_SEGMENTS = (0xC4, 0xDB, 0xDD, 0xE0, *range(0xE2, 0xF0), 0xFE)

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_GRAY = ("1", "L", "LA", "La", *_SIXTEEN_BIT)
_COLORS_WITH_HIGH_BITS = ("RGB", "RGBA", "RGBX", "LA")
"""Pillow reads only the high 8 of 16 bits of these."""

Crop = Callable[[Image.Image], Image.Image]
"""From a picture to a part of it."""

_NEARLY_BLACK = 16
_THROUGH_RGB = ("1", "RGB", "RGBX", "P", "CMYK", "YCbCr", "LAB", "HSV")
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


class Header(NamedTuple):
    """What the header of an image says about its pixels."""

    height: int
    width: int
    is_gray: bool
    has_sixteen_bits: bool = False
    """Whether a gray value may have more than 8 bits."""
    format: str = "JPEG"
    """As Pillow calls it, such as `JPEG`."""


def read_header(data: bytes, name: str) -> Header:
    """What the header of an image says; no pixel is decoded.

    Args:
        data: the encoded image.
        name: where it came from, for messages.

    Raises:
        DataError: it is not an image, its header is damaged, or it is over `LARGEST_PIXELS`.
    """
    from_jpeg = _jpeg_header(data)
    if from_jpeg is not None:
        require_bounded(from_jpeg.width, from_jpeg.height, name)
        return from_jpeg
    with pillow_errors(data, name):
        image = open_image(data, name)
        width, height = image.size
        # For a TIFF, Pillow itself swaps the sides when it reads the header.
        if not isinstance(image, TiffImageFile):
            orientation = _orientation(image, without_pixels=b"eXIf" not in data)
            if orientation >= _FIRST_ORIENTATION_ON_ITS_SIDE:
                width, height = height, width
        has_sixteen_bits = _is_sixteen_bit(image)
        is_gray = image.mode in _GRAY or has_sixteen_bits
        return Header(height, width, is_gray, has_sixteen_bits, image.format or "")


def bits_of(data: bytes, name: str) -> int:
    """The number of bits that the largest value of a 16-bit gray image needs, 8..16.

    Raises:
        DataError: it cannot be decoded.
    """
    with pillow_errors(data, name):
        image = open_image(data, name)
        image.load()
        return max(8, int(np.asarray(image).max()).bit_length())


def decode_image(
    data: bytes,
    name: str,
    *,
    channels: int,
    size: tuple[int, int] | None,
    resize: Resize = DEFAULT_RESIZE,
    depth: int = 16,
    crop: Crop | None = None,
) -> UInt8[np.ndarray, "channels height width"]:
    """One encoded image as raw pixels.

    Args:
        data: the encoded image.
        name: where it came from, for messages.
        channels: 1 for gray, 3 for RGB.
        size: (height, width) of the result; None keeps the image's size.
        resize: how it is brought to that size.
        depth: of 16-bit gray, the number of bits that count, 8..16.
        crop: gives the part of the upright picture, L or RGB, that is brought to that size.

    Raises:
        DataError: it is not an image, is damaged or truncated, its mode is refused, or it is over
            `LARGEST_PIXELS`.
        UsageError: the channels are not 1 or 3, or the size is not positive.
    """
    with pillow_errors(data, name):
        image = open_image(data, name)
        if size is not None and crop is None and isinstance(image, JpegImageFile):
            _shrink_while_decoding(image, size)
        return _pixels(image, name, channels, size, resize, depth, crop)


def image_to_array(
    image: Image.Image,
    *,
    channels: int,
    size: tuple[int, int] | None,
    resize: Resize = DEFAULT_RESIZE,
    depth: int = 16,
    crop: Crop | None = None,
) -> UInt8[np.ndarray, "channels height width"]:
    """A Pillow image as raw pixels, by the same rules as `decode_image`; the image is unchanged.

    Raises:
        DataError: it cannot be decoded, its mode is refused, or it is over `LARGEST_PIXELS`.
        UsageError: the channels are not 1 or 3, or the size is not positive.
    """
    name = str(getattr(image, "filename", "") or "the image")
    with pillow_errors(None, name):
        require_bounded(*image.size, name)
        return _pixels(image, name, channels, size, resize, depth, crop)


def _orientation(image: Image.Image, *, without_pixels: bool = False) -> int:
    """The orientation in EXIF data or, if they have none, in XMP data; 1 if none is known.

    A PNG can have EXIF data after its pixels, and Pillow would decode them to get there.
    """
    exif = _exif(image)
    if exif is not None:
        found: object = orientation_in(exif)
        if found is None:
            found = _orientation_in_xmp(image)
    else:
        is_early = without_pixels and isinstance(image, PngImageFile)
        read = Image.Image.getexif(image) if is_early else image.getexif()
        found = read.get(ExifTags.Base.Orientation)
    return next((known for known in _ORIENTATIONS if known == found), 1)


def _exif(image: Image.Image) -> bytes | None:
    """The EXIF data of an image that were not read by Pillow."""
    exif = image.info.get("exif")
    if isinstance(exif, bytes):
        return exif
    text = image.info.get("Raw profile type exif")  # of ImageMagick, in a PNG
    if isinstance(text, str):
        with suppress(ValueError):
            return bytes.fromhex("".join(text.split("\n")[3:]))
        return b""
    return None


def _orientation_in_xmp(image: Image.Image) -> int | None:
    text = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp")
    if isinstance(text, str):
        text = text.encode()
    found = _XMP_ORIENTATION.search(text) if isinstance(text, bytes) else None
    return int(found[1]) if found else None


def _jpeg_header(data: bytes) -> Header | None:
    """The result of `read_header` for a plain JPEG; None leaves it to Pillow.

    Several times as fast, which matters for many small images. A file with a segment that can
    rotate the image (EXIF, XMP) is not plain, nor is one with anything unexpected.
    """
    position = 2
    while data.startswith(b"\xff\xd8\xff") and position + 10 <= len(data):
        start, marker = data[position], data[position + 1]
        if start == 0xFF and marker in _JPEG_FRAMES:
            _, height, width, components = struct.unpack_from(">BHHB", data, position + 4)
            return Header(height, width, components == 1)
        if start != 0xFF or marker not in _JPEG_PLAIN_SEGMENTS:
            return None
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _shrink_while_decoding(image: JpegImageFile, size: tuple[int, int]) -> None:
    """Let the JPEG decoder skip detail far beyond the wanted resolution.

    The result stays at least twice as large as wanted, so the later filter still determines the
    pixels. Both sides get the larger wanted side, because the image may still be rotated.
    """
    side = 2 * max(size)
    if min(image.size) >= 2 * side:
        image.draft(image.mode, (side, side))


def _pixels(
    image: Image.Image,
    name: str,
    channels: int,
    size: tuple[int, int] | None,
    resize: Resize,
    depth: int,
    crop: Crop | None,
) -> UInt8[np.ndarray, "channels height width"]:
    if channels not in (1, 3):
        raise UsageError(f"channels is {channels}, wanted 1 for gray or 3 for color")
    if size is not None and min(size) < 1:
        raise UsageError(f"the image size is {size[0]}x{size[1]}, wanted at least 1x1")
    is_deep = image.mode in _COLORS_WITH_HIGH_BITS and any(
        ";16" in str(tile[3]) for tile in getattr(image, "tile", ())
    )
    image.load()
    if is_deep:
        _require_high_bits(image, name)
    image = _upright(image)
    image = _opaque_gray_or_rgb(image, name, depth)
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if crop is not None:
        image = crop(image)
    if size is not None and image.size != (size[1], size[0]):
        image = _resized(image, size, resize)
    array = np.asarray(image)
    return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _require_high_bits(image: Image.Image, name: str) -> None:
    """Refuse an image of which only the high bits are here, and all of them are nearly black."""
    bands = zip(image.getbands(), np.asarray(image).max((0, 1)).tolist(), strict=True)
    if max(most for band, most in bands if band != "A") < _NEARLY_BLACK:
        raise DataError(
            f"{name}: 16 bits per channel, but no value over {256 * _NEARLY_BLACK - 1:,}, so that "
            "it would be read as black",
            remedy="save it with 8 bits per channel",
        )


def _resized(image: Image.Image, size: tuple[int, int], resize: Resize) -> Image.Image:
    """The image, L or RGB, in another size, (height, width)."""
    height, width = size
    if resize == "squash":
        return image.resize((width, height), Image.Resampling.BILINEAR)
    if resize == "crop":
        return ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    inside = size_inside((image.height, image.width), size)
    whole = image.resize((inside[1], inside[0]), Image.Resampling.BILINEAR)
    if inside == size:
        return whole
    canvas = Image.new(image.mode, (width, height), _color_of_the_rim(whole))
    canvas.paste(whole, ((width - inside[1]) // 2, (height - inside[0]) // 2))
    return canvas


def _color_of_the_rim(image: Image.Image) -> int | tuple[int, ...]:
    """The mean of the outermost pixels of an image, L or RGB."""
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    sides = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    rim = np.concatenate(sides).astype(np.int64)
    mean = ((2 * rim.sum(0) + len(rim)) // (2 * len(rim))).tolist()
    return tuple(mean) if len(mean) > 1 else int(mean[0])


def _upright(image: Image.Image) -> Image.Image:
    method = _ORIENTATIONS.get(_orientation(image))
    return image if method is None else image.transpose(method)


def _opaque_gray_or_rgb(image: Image.Image, name: str, depth: int) -> Image.Image:
    """The image in mode L or RGB, by the rules of this module."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if _is_sixteen_bit(image):
        return _high_bits(image, depth)
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        # The colors of La are premultiplied by alpha, which only a conversion to LA undoes.
        straight = image.convert("LA") if image.mode == "La" else image
        opaque = Image.alpha_composite(white, straight.convert("RGBA")).convert("RGB")
        return opaque.convert("L") if image.mode in _GRAY else opaque
    if image.mode in _THROUGH_RGB:
        return image.convert("RGB")
    raise DataError(
        f"{name}: its pixels have mode {image.mode!r}, whose range is unknown",
        remedy="save it with 8 bits per channel",
    )


def _is_sixteen_bit(image: Image.Image) -> bool:
    # Pillow opens some 16-bit gray files in the 32-bit mode "I"; these formats end at 16 bits.
    return image.mode in _SIXTEEN_BIT or (
        image.mode == "I" and isinstance(image, PngImageFile | PpmImageFile)
    )


def _high_bits(image: Image.Image, depth: int) -> Image.Image:
    values = np.asarray(image)
    gray = np.minimum(values >> (depth - 8), 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray[values == transparent] = 255
    return Image.fromarray(gray)
