"""One image's bytes to pixels, the same for training and for prediction."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def read_size_and_mode(data: bytes, name: str) -> tuple[int, int, bool]:
    """Height, width and whether the image is grey, from its header alone."""
    raise NotImplementedError


def decode_image(
    data: bytes, name: str, *, channels: int, size: tuple[int, int] | None
) -> UInt8[np.ndarray, "channels height width"]:
    """One encoded image as pixels of the wanted channels and (height, width)."""
    raise NotImplementedError


def image_to_array(
    image: Image.Image, *, channels: int, size: tuple[int, int] | None
) -> UInt8[np.ndarray, "channels height width"]:
    """An opened Pillow image as pixels of the wanted channels and (height, width)."""
    raise NotImplementedError
