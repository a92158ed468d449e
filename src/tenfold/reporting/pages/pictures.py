"""Images of a data set as pictures inside a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from tenfold.types import PixelArray

LARGEST_PICTURE = 128
"""Longest side of a picture on a page, in pixels; larger ones are scaled down."""

LARGEST_IN_A_ROW = 56
"""The same for those side by side."""


def picture_url(pixels: np.ndarray) -> str:
    """A picture as a `data:` URL.

    Args:
        pixels: uint8 of shape (channels, height, width).
    """
    return _as_url(_picture(pixels, LARGEST_PICTURE))


def row_url(images: PixelArray) -> str:
    """Several images side by side as one picture, as a `data:` URL.

    Args:
        images: at least one; larger ones are scaled down to `LARGEST_IN_A_ROW`.
    """
    pictures = [_picture(pixels, LARGEST_IN_A_ROW) for pixels in images]
    width, height = pictures[0].size
    gap = max(1, width // 14)
    row = Image.new("RGBA", (len(pictures) * (width + gap) - gap, height))
    for place, picture in enumerate(pictures):
        row.paste(picture, (place * (width + gap), 0))
    return _as_url(row)


def _picture(pixels: np.ndarray, largest: int) -> Image.Image:
    if len(pixels) == 3:
        array = pixels.transpose(1, 2, 0)
    else:  # of any other number of channels, their mean
        array = pixels.mean(0).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(array))
    picture.thumbnail((largest, largest))
    return picture


def _as_url(picture: Image.Image) -> str:
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    return f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"
