"""Conversion of a classifier's input, of any kind, to raw pixels in the model's shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tenfold.data.dataset import ImageDataset
from tenfold.data.folders.images import Crop, decode_image, image_to_array
from tenfold.data.folders.members import LARGEST_MEMBER, too_large
from tenfold.deployment.background import Background
from tenfold.deployment.bundle import BundleHeader
from tenfold.deployment.centering import centered
from tenfold.errors import DataError, TenfoldError, UsageError, listing, reason_of, shell_word
from tenfold.paths import is_folder
from tenfold.resizing import DEFAULT_RESIZE, Resize
from tenfold.storage import read_regular_file
from tenfold.types import ImageShape, PixelArray, as_array


@runtime_checkable
class Readable(Protocol):
    """An open binary file, or anything with such a `read`."""

    def read(self, size: int, /) -> bytes | str | None:
        """At most `size` bytes from where the file is now; text is refused, None is the end."""


_OneImage = UInt8[np.ndarray, "channels height width"]

Encoded = bytes | bytearray | memoryview
"""The contents of an image file."""

ImageInput = str | Path | Encoded | Readable | Image.Image
"""An image file by its name, contents or as an open file; or an opened Pillow image."""

if TYPE_CHECKING:
    from torch import Tensor

    ImageInputs: TypeAlias = ImageInput | Sequence[ImageInput] | np.ndarray | Tensor | ImageDataset
else:
    ImageInputs = Any
"""One input, a sequence of inputs, an array or tensor of raw pixels, or an `ImageDataset`."""


@dataclass(frozen=True)
class Conversion:
    """How images become raw pixels in a model's input shape, like the training images.

    Attributes:
        shape: of one image.
        resize: how pictures are brought to it.
        depth: of 16-bit gray, the number of bits that count, 8..16.
        invert: whether the negatives are taken, of what was cropped if that is asked for.
        center: what the training images have around their subjects, if pictures are to be cropped
            to theirs; None if they are not. See `centered`.
    """

    shape: ImageShape
    resize: Resize = DEFAULT_RESIZE
    depth: int = 16
    invert: bool = False
    center: Background | None = None

    def decoded(self, data: bytes, name: str) -> _OneImage:
        """An encoded image; see `decode_image`."""
        return self._negative(decode_image(data, name, **self._options()))

    def converted(self, image: Image.Image) -> _OneImage:
        """A Pillow image; see `image_to_array`."""
        return self._negative(image_to_array(image, **self._options()))

    def adjusted(self, pixels: PixelArray) -> PixelArray:
        """Raw pixels in the model's shape, n of them, cropped and inverted as is wanted."""
        if self.center is None:
            return self._negative(pixels)
        planes = pixels.transpose(0, 2, 3, 1)
        pictures = planes[..., 0] if self.shape.channels == 1 else planes
        return np.stack([self.converted(Image.fromarray(each)) for each in pictures])

    @property
    def crop(self) -> Crop | None:
        """What cuts pictures, if any is to; see `centered`."""
        if self.center is None:
            return None
        size = self.shape.height, self.shape.width
        return partial(centered, background=self.center, size=size)

    def _options(self) -> dict[str, Any]:
        return {
            "channels": self.shape.channels,
            "size": (self.shape.height, self.shape.width),
            "resize": self.resize,
            "depth": self.depth,
            "crop": self.crop,
        }

    def _negative(self, pixels: np.ndarray) -> np.ndarray:
        return 255 - pixels if self.invert else pixels


def conversion_for(
    header: BundleHeader, *, invert: bool = False, center: bool = False
) -> Conversion:
    """How images become raw pixels for a model; see `Classifier.pixels`.

    Raises:
        UsageError: `center` is set, but the training images have no common background.
    """
    shape = ImageShape(*header.input_shape)
    if center and (header.background is None or shape.channels not in (1, 3)):
        raise UsageError(
            "center: the training images have no background in common, so it is not known what the "
            "subject of an image is, or how much is around it",
            remedy="leave it out",
        )
    background = header.background if center else None
    return Conversion(shape, header.resize, header.depth, invert, background)


def raw_pixels(images: ImageInputs, conversion: Conversion, *, paths: bool = True) -> PixelArray:
    """Raw pixels in a model's input shape; files are converted like training images.

    Args:
        images: see `ImageInputs`.
        conversion: how.
        paths: whether names of files are taken, and these files opened.

    Raises:
        UsageError: the images are of another type, or are names although these are not taken.
        DataError: there are no images, one cannot be read, or pixels do not have the model's shape.
    """
    if isinstance(images, ImageDataset):
        images = images.image_array
    if hasattr(images, "dtype"):
        return conversion.adjusted(_checked(as_array(images), conversion.shape))
    inputs: list[Any] = [images]
    if isinstance(images, Iterable) and not isinstance(images, ImageInput):
        inputs = list(images)
    if not inputs:
        raise DataError("predict: no images, wanted at least one")
    for place, item in enumerate(inputs):
        if not isinstance(item, ImageInput):
            raise UsageError(
                f"predict: image {place} is of type {type(item).__name__}, wanted a file name, "
                "the bytes of an image file, an open binary file or an opened image",
                remedy="stack arrays or tensors of raw pixels into one",
            )
        if isinstance(item, str | Path) and not paths:
            raise UsageError(
                f"predict: image {place} is the name of a file, and with paths=False no files are "
                "opened",
                remedy="pass the bytes of the file",
            )
    return _decoded(inputs, conversion)


def _checked(pixels: np.ndarray, shape: ImageShape) -> PixelArray:
    single = shape[1:] if shape.channels == 1 else shape
    whole = pixels[None] if pixels.shape == single else pixels
    if shape.channels == 1 and whole.ndim == 3:
        whole = whole[:, None]
    if whole.dtype != np.uint8 or whole.shape[1:] != shape or not len(whole):
        raise DataError(
            f"predict: found {pixels.dtype} of shape {list(pixels.shape)}, wanted raw pixels: "
            f"uint8 of shape [n, {', '.join(map(str, shape))}], n at least 1"
        )
    return whole


def _decoded(inputs: Sequence[ImageInput], conversion: Conversion) -> PixelArray:
    arrays, problems = [], []
    for place, item in enumerate(inputs):
        try:
            if isinstance(item, Image.Image):
                arrays.append(conversion.converted(item))
            else:
                name = _name_of(item, place)
                arrays.append(conversion.decoded(_contents(item, name), name))
        except TenfoldError as error:
            if len(inputs) == 1:
                raise DataError(error.message, remedy=error.remedy) from error
            problems.append(error.message)
    if problems:
        raise DataError(
            f"{len(problems)} of {len(inputs)} images cannot be used: {listing(problems)}",
            remedy="replace them or leave them out",
        )
    return np.stack(arrays)


def _name_of(item: ImageInput, place: int) -> str:
    """What messages call an image."""
    if isinstance(item, str | Path):
        return str(item)
    name = getattr(item, "name", None)  # an open file may have one, or its number
    return name if isinstance(name, str) and name else f"image {place}"


def _contents(item: str | Path | Encoded | Readable, name: str) -> bytes:
    """The contents of an image file.

    Raises:
        DataError: it cannot be read, is opened as text, or is over `LARGEST_MEMBER`.
    """
    if isinstance(item, str | Path):
        return read_image_file(Path(item))
    data = memoryview(item if isinstance(item, Encoded) else _read_all(item, name))
    if data.nbytes > LARGEST_MEMBER:
        raise too_large(name, data.nbytes)
    return bytes(data)


def _read_all(file: Readable, name: str) -> bytes:
    """What is left of an open file, up to just over `LARGEST_MEMBER`; `read` may give less."""
    parts: list[bytes] = []
    left = LARGEST_MEMBER + 1
    while left > 0:
        try:
            part = file.read(left)
        except Exception as error:  # a file of any kind has errors of its own
            raise DataError(f"{name}: cannot be read: {reason_of(error)}") from error
        if isinstance(part, str):
            raise DataError(
                f"{name}: the file is open as text, wanted a binary file",
                remedy="open it with mode 'rb'",
            )
        if not part:
            break
        if not isinstance(part, bytes):
            raise DataError(
                f"{name}: its read() gives {type(part).__name__}, wanted bytes",
                remedy="pass an open binary file, or the bytes",
            )
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def read_image_file(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        DataError: it is missing, no regular file, or over `LARGEST_MEMBER`.
    """
    if is_folder(path):
        raise DataError(
            f"{path}: this is a folder, wanted image files",
            remedy=f"classify all images in it with: tenfold predict RUN {shell_word(path)}",
        )
    with read_regular_file(path) as (file, size):
        if size > LARGEST_MEMBER:
            raise too_large(str(path), size)
        return file.read()
