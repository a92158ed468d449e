"""Reading what a client sends: a bounded body, and the images in it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

import numpy as np
import python_multipart
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.types import Receive

from tenfold.deployment.serving.limits import Limits
from tenfold.deployment.serving.refusals import ClientGoneError, RefusedError, full
from tenfold.errors import counted, did_you_mean, printable
from tenfold.types import ImageShape, PixelArray

# What the parser has to say about a malformed form would be printed.
logging.getLogger("python_multipart").addHandler(logging.NullHandler())

MULTIPART, JSON, BYTES = "multipart/form-data", "application/json", "application/octet-stream"

_LEAST_JSON, _BYTES_PER_NUMBER = 2**16, 32

_MOST_FIELDS = 8
"""Parts of a form beside its images."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image.

    Attributes:
        name: what the client calls it.
        data: the contents of the file.
    """

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a form.

    Attributes:
        field: its name.
        file: the name of the file; empty if it has none.
        data: its contents.
    """

    field: str
    file: str
    data: bytes


class Bodies:
    """Reads the bodies of requests, each and all together within their limits.

    Args:
        limits: the server's.

    Attributes:
        held: bytes of all bodies in memory.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.held = 0

    async def read(
        self, headers: Mapping[str, str], receive: Receive, most: int | None = None
    ) -> Body:
        """The body of a request, which has to be released after use.

        Args:
            headers: of the request.
            receive: gives the next piece.
            most: maximum size in bytes, if that is less than all bodies may have.

        Raises:
            RefusedError: it is too large, or too much is being read already.
            ClientGoneError: the client did not send all of it.
        """
        announced = headers.get("content-length", "")
        most = self._limits.body_bytes if most is None else min(most, self._limits.body_bytes)
        body = Body(self, most)
        try:
            body.reserve(int(announced) if announced.isdecimal() else 0)
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientGoneError
                body.extend(message.get("body", b""))
                more = message.get("more_body", False)
        except BaseException:
            body.release()
            raise
        return body

    def require_room(self, more: int) -> None:
        """Refuse more bytes than there is room for."""
        if self.held + more > self._limits.bodies_bytes:
            raise full("the server is receiving too much at the moment")


class Body:
    """The body of one request, while it is read and used.

    Args:
        of: what keeps count.
        most: maximum size in bytes.
    """

    def __init__(self, of: Bodies, most: int) -> None:
        self._of, self._most = of, most
        self._parts: list[bytes] = []
        self._size = self._reserved = 0

    def reserve(self, size: int) -> None:
        """Make room for this many bytes.

        Raises:
            RefusedError: they are too many.
        """
        more = size - self._reserved
        if size > self._most:
            raise RefusedError(
                413,
                f"the body has more than {self._most:,} bytes",
                remedy="scale the images down, or send them in several requests",
            )
        if more > 0:
            self._of.require_room(more)
            self._reserved = size
            self._of.held += more

    def extend(self, data: bytes) -> None:
        """Append to it.

        Raises:
            RefusedError: it becomes too large.
        """
        if data:
            self._size += len(data)
            self.reserve(self._size)
            self._parts.append(data)

    @property
    def data(self) -> bytes:
        """The bytes."""
        if len(self._parts) != 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0]

    def release(self) -> None:
        """Forget it."""
        self._of.held -= self._reserved
        self._parts, self._size, self._reserved = [], 0, 0


def media_type(content_type: str) -> str:
    """A content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def is_picture(kind: str) -> bool:
    """Whether a body of this type is one encoded image; one without a type is taken for one."""
    return kind in ("", BYTES) or kind.startswith("image/")


def pictures_in(data: bytes, content_type: str, limits: Limits) -> list[Picture]:
    """The images of a body that is one, or a form with some.

    Raises:
        RefusedError: it is neither, has none, or has too many.
    """
    kind = media_type(content_type)
    if is_picture(kind):
        return [Picture("image 0", data)]
    if kind != MULTIPART:
        raise RefusedError(
            415,
            f"the body is of type {kind!r}",
            remedy=f"send an image as image/png or {BYTES}, several as {MULTIPART}, or pixels as "
            f"{JSON}",
        )
    parts = parts_of(data, content_type, limits)
    require_fields(parts, ("file",))
    if not parts:
        raise RefusedError(
            422, "the form has no images", remedy="send them in fields called 'file'"
        )
    return [Picture(part.file or f"image {n}", part.data) for n, part in enumerate(parts)]


def labeled_picture(data: bytes, content_type: str, limits: Limits) -> tuple[str, Picture]:
    """The label and the image of a form.

    Raises:
        RefusedError: it is no form, or does not have one of each.
    """
    if media_type(content_type) != MULTIPART:
        raise RefusedError(
            415,
            f"the body is of type {media_type(content_type)!r}, wanted {MULTIPART}",
            remedy="send a form with the fields 'file' and 'label'",
        )
    parts = parts_of(data, content_type, limits)
    require_fields(parts, ("file", "label"))
    found = {part.field: part for part in parts}
    if len(found) < 2 or len(parts) > 2:
        raise RefusedError(
            422,
            f"the form has the fields {printable([part.field for part in parts])}",
            remedy="send one field 'file' and one field 'label'",
        )
    label, file = found["label"].data.decode(errors="replace"), found["file"]
    return label, Picture(file.file or "the picture", file.data)


def parts_of(data: bytes, content_type: str, limits: Limits) -> list[Part]:
    """The parts of a form.

    Raises:
        RefusedError: it is malformed, or has too many.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise _malformed("the content type of the form has no boundary")
    reader = _FormReader(limits.images + _MOST_FIELDS)
    try:
        parser = python_multipart.MultipartParser(boundary, reader.callbacks)
        parser.write(data)
        parser.finalize()
    except FormParserError as error:
        raise _malformed(f"the form cannot be read: {error}") from error
    if not reader.is_complete:
        raise _malformed("the end of the form is missing")
    files = sum(part.field == "file" for part in reader.parts)
    if files > limits.images:
        raise _too_many(limits)
    return reader.parts


def require_fields(parts: list[Part], known: tuple[str, ...]) -> None:
    """Refuse a form with a field of another name.

    Raises:
        RefusedError: says which.
    """
    for part in parts:
        if part.field not in known:
            raise RefusedError(
                422,
                f"the form has an unknown field {part.field!r}",
                remedy=did_you_mean(part.field, known),
            )


class _FormReader:
    """Collects the parts of a form as a parser finds them.

    Args:
        most: maximum number of parts.

    Attributes:
        parts: those that are complete.
        is_complete: whether the end of the form was found.
        callbacks: for the parser.
    """

    def __init__(self, most: int) -> None:
        self.parts: list[Part] = []
        self.is_complete = False
        self._most = most
        self._begin()
        self.callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._part_data,
            "on_part_end": self._end,
            "on_end": self._complete,
        }

    def _begin(self) -> None:
        self._disposition = b""
        self._field, self._value, self._data = bytearray(), bytearray(), bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _end(self) -> None:
        if len(self.parts) >= self._most:
            raise RefusedError(422, f"the form has more than {counted(self._most, 'part')}")
        options = parse_options_header(self._disposition)[1]
        names = [options.get(key, b"").decode(errors="replace") for key in (b"name", b"filename")]
        self.parts.append(Part(names[0], names[1], bytes(self._data)))

    def _complete(self) -> None:
        self.is_complete = True


def most_json(shape: ImageShape, limits: Limits) -> int:
    """Maximum size in bytes of pixels as JSON, with a line and its indentation for every number.

    Reading JSON keeps other threads waiting.
    """
    return _LEAST_JSON + _BYTES_PER_NUMBER * limits.images * math.prod(shape)


def pixels_in(data: bytes, shape: ImageShape, limits: Limits) -> PixelArray:
    """The images of a JSON object: `pixels` of one, or `images` of several.

    Args:
        data: the JSON.
        shape: of the model's images.
        limits: the server's.

    Raises:
        RefusedError: it is not such an object, or images do not have the shape.
    """
    found = _json_object(data)
    if len(found) != 1 or not found.keys() <= {"pixels", "images"}:
        raise RefusedError(
            422,
            f"the object has the keys {printable(sorted(found))}, wanted one",
            remedy="send pixels for one image, or images for several",
        )
    images = found["images"] if "images" in found else [found["pixels"]]
    if not isinstance(images, list) or not images:
        raise RefusedError(422, "images is not a list of one or more images")
    if len(images) > limits.images:
        raise _too_many(limits)
    return np.stack([_pixels(image, f"image {n}", shape) for n, image in enumerate(images)])


def _json_object(data: bytes) -> dict[str, Any]:
    def refuse(text: str) -> NoReturn:
        raise ValueError(f"{text} is not JSON")

    try:
        found = json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise _malformed(f"the body is not valid JSON: {reason}") from error
    if not isinstance(found, dict):
        raise RefusedError(
            422, "the body is not a JSON object", remedy='send {"pixels": [[...], ...]}'
        )
    return found


def _pixels(image: object, name: str, shape: ImageShape) -> np.ndarray:
    """One image: rows of gray values, or a list of such for every channel."""
    channels, height, width = shape
    rows = image
    if channels == 1 and isinstance(image, list) and len(image) == height:
        rows = [image] if height > 1 or _depth(image) < 3 else image
    values = _flat(rows, (channels, height, width))
    if values is None:
        size = f"{height} x {width}" if channels == 1 else f"{channels} x {height} x {width}"
        raise RefusedError(
            422,
            f"{name}: not raw pixels as the model takes them, wanted {size} numbers in nested "
            "lists",
            remedy="send the image as a file instead, which is converted",
        )
    if not set(map(type, values)) <= {int, float} or not all(
        0 <= value <= 255 and value == math.floor(value) for value in values
    ):
        raise RefusedError(
            422, f"{name}: pixels are whole numbers, 0..255, but some of these are not"
        )
    return np.array(values, np.uint8).reshape(shape)


def _depth(value: object) -> int:
    """How deeply lists are nested, along the first of each."""
    depth = 0
    while isinstance(value, list) and value:
        value, depth = value[0], depth + 1
    return depth


def _flat(value: object, shape: tuple[int, ...]) -> list[Any] | None:
    """The numbers in nested lists of a shape; None if they have another."""
    level: list[Any] = [value]
    for length in shape:
        if not all(isinstance(each, list) and len(each) == length for each in level):
            return None
        level = list(chain.from_iterable(level))
    return level


def _too_many(limits: Limits) -> RefusedError:
    return RefusedError(
        422,
        f"the request has more than {counted(limits.images, 'image')}",
        remedy="send them in several requests",
    )


def _malformed(message: str) -> RefusedError:
    return RefusedError(400, message, remedy="send it again")
