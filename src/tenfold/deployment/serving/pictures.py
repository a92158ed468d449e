"""Pictures as a client gets and sends them: PNG files, and explanations as colors."""

from __future__ import annotations

import base64
import io
import struct

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

_FOR, _AGAINST = (0, 114, 178), (230, 159, 0)
"""Blue and orange, after Okabe and Ito: told apart by color-blind people, too."""

_MOST_OPAQUE = 200
"""Opacity of the strongest part of an explanation, 0..255."""

_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_FEW_BYTES, _FEW_PIXELS = 8192, 2**16
_PNG_SIZE = struct.Struct(">II")


def is_quick(data: bytes | memoryview) -> bool:
    """Whether an encoded image is decoded sooner than it is handed to another thread.

    A small PNG by its size and its header, so that hardly anything can be compressed in it. Pillow
    takes a header anywhere, and the last one if there are several.
    """
    if not len(_PNG) + 8 <= len(data) <= _FEW_BYTES:
        return False
    data = bytes(data)
    if not data.startswith(_PNG) or data.count(b"IHDR") > 1:
        return False
    width, height = _PNG_SIZE.unpack_from(data, len(_PNG))
    return bool(width * height <= _FEW_PIXELS)


def png_of(image: Image.Image) -> bytes:
    """A picture as a PNG file, without anything but its pixels."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def image_of(pixels: UInt8[np.ndarray, "channels height width"]) -> Image.Image:
    """Raw pixels as a picture: gray with one channel, RGB with three."""
    if len(pixels) == 1:
        return Image.fromarray(pixels[0])
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def data_address(png: bytes) -> str:
    """A PNG file as an address that contains it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def explanation_image(strengths: Float32[np.ndarray, "height width"]) -> Image.Image:
    """What speaks for an answer in blue and what speaks against it in orange, on nothing.

    Args:
        strengths: positive for and negative against; the strongest is the most opaque.
    """
    strongest = max(float(np.abs(strengths).max()), np.finfo(np.float32).tiny)
    colors = np.where(
        (strengths > 0)[..., None], np.array(_FOR, np.uint8), np.array(_AGAINST, np.uint8)
    )
    opacity = np.round(np.abs(strengths) / strongest * _MOST_OPAQUE).astype(np.uint8)
    return Image.fromarray(np.concatenate([colors, opacity[..., None]], axis=2))
