"""Reading what a client sends: a bounded body, and the images in it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

import numpy as np
from python_multipart.multipart import parse_options_header
from starlette.types import Receive

from tenfold.deployment.serving.limits import Limits
from tenfold.deployment.serving.refusals import ClientGoneError, RefusedError, full
from tenfold.errors import counted, did_you_mean, printable
from tenfold.types import ImageShape, PixelArray

MULTIPART, JSON, BYTES = "multipart/form-data", "application/json", "application/octet-stream"

_LEAST_JSON, _BYTES_PER_NUMBER = 2**16, 32

_MOST_FIELDS = 8
"""Parts of a form beside its images."""

_LONGEST_BOUNDARY = 70
"""Its maximum size in bytes, after RFC 2046."""

_LONGEST_CONTENT_TYPE, _LONGEST_PART_HEAD, _LONGEST_LABEL = 1024, 8192, 1024
"""Maximum sizes in bytes."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image.

    Attributes:
        name: what the client calls it.
        data: the contents of the file, which may be a part of a body.
    """

    name: str
    data: bytes | memoryview


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
    data: memoryview


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

        Room is made for what has arrived, not for what was announced: a client that sends nothing
        takes none.

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
            body.require(int(announced) if announced.isdecimal() else 0)
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientGoneError
                body.extend(message.get("body", b""))
                more = message.get("more_body", False)
            body.complete()
        except BaseException:
            body.release()
            raise
        return body

    def take_room(self, more: int) -> None:
        """Hold more bytes, if there is room for them.

        Raises:
            RefusedError: there is none.
        """
        if self.held + more > self._limits.bodies_bytes:
            raise full("the server is receiving too much at the moment")
        self.held += more


class Body:
    """The body of one request, while it is read and used.

    Args:
        of: what keeps count.
        most: maximum size in bytes.

    Attributes:
        data: the bytes, once it is complete.
    """

    def __init__(self, of: Bodies, most: int) -> None:
        self._of, self._most = of, most
        self._received = bytearray()  # and no list: small pieces take more than their bytes
        self._size = 0
        self.data = b""

    def require(self, size: int) -> None:
        """Refuse a body of this size if that is too large.

        Raises:
            RefusedError: it is.
        """
        if size > self._most:
            raise RefusedError(
                413,
                f"the body has more than {self._most:,} bytes",
                remedy="scale the images down, or send them in several requests",
            )

    def extend(self, data: bytes) -> None:
        """Append to it.

        Raises:
            RefusedError: it becomes too large, or all bodies together do.
        """
        self.require(self._size + len(data))
        self._of.take_room(len(data))
        self._size += len(data)
        self._received += data

    def complete(self) -> None:
        """There is no more."""
        self.data, self._received = bytes(self._received), bytearray()

    def release(self) -> None:
        """Forget it."""
        self._of.held -= self._size
        self.data, self._received, self._size = b"", bytearray(), 0


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
    label, file = found["label"].data, found["file"]
    if len(label) > _LONGEST_LABEL:
        raise RefusedError(422, f"the label has more than {_LONGEST_LABEL:,} bytes")
    return bytes(label).decode(errors="replace"), Picture(file.file or "the picture", file.data)


def parts_of(data: bytes, content_type: str, limits: Limits) -> list[Part]:
    """The parts of a form (RFC 2046, section 5.1.1), which are not copied.

    Raises:
        RefusedError: it is malformed, or has too many.
    """
    if len(content_type) > _LONGEST_CONTENT_TYPE:
        raise RefusedError(
            431, f"the header Content-Type has more than {_LONGEST_CONTENT_TYPE:,} bytes"
        )
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise _malformed(
            f"the content type of the form has no boundary of 1..{_LONGEST_BOUNDARY} bytes",
            "let what makes the form set its content type",
        )
    line = b"--" + boundary
    parts: list[Part] = []
    at = 0 if data.startswith(line) else data.find(b"\r\n" + line) + 2
    if at == 1:
        raise _malformed("the form cannot be read: it does not have the boundary of its type")
    at += len(line)
    while not data.startswith(b"--", at):
        end = data.find(b"\r\n" + line, at)
        if end < 0:
            raise _malformed("the end of the form is missing", "send it again")
        if len(parts) >= limits.images + _MOST_FIELDS:
            raise RefusedError(422, f"the form has more than {counted(len(parts), 'part')}")
        parts.append(_part(data, at, end))
        at = end + len(line) + 2
    if sum(part.field == "file" for part in parts) > limits.images:
        raise _too_many(limits)
    return parts


def _part(data: bytes, start: int, end: int) -> Part:
    """A part of a form, from behind the boundary before it to before the one after it."""
    blank = data.find(b"\r\n\r\n", start, min(end, start + _LONGEST_PART_HEAD))
    rest, *lines = data[start : max(start, blank)].split(b"\r\n")
    if blank < 0 or rest.strip(b" \t"):
        raise _malformed("the form cannot be read: a part of it has no head")
    disposition = b""
    for line in lines:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            disposition = value
    options = parse_options_header(disposition)[1]
    names = [options.get(key, b"").decode(errors="replace") for key in (b"name", b"filename")]
    return Part(names[0], names[1], memoryview(data)[blank + 4 : end])


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
            f"the object has the keys {printable(sorted(found))}, wanted pixels or images alone",
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
        reason: object = error
        if isinstance(error, RecursionError):
            reason = "nested too deeply"
        elif "int_max_str_digits" in str(error):  # Python's, which is nothing to clients
            reason = "a number in it is too long"
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


def _malformed(message: str, remedy: str = "") -> RefusedError:
    return RefusedError(400, message, remedy=remedy)
