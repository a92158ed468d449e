"""The server's own description, as OpenAPI has it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from tenfold.deployment.background import Background
from tenfold.deployment.serving.bodies import BYTES, JSON, MULTIPART, most_json
from tenfold.deployment.serving.guarding import OPEN, Access
from tenfold.deployment.serving.limits import Limits
from tenfold.types import ImageShape

DESCRIPTION = "Classifies images. Every error is an object with a message and a remedy."

_MOST_LABELS = 1000
"""Number of classes up to which the description lists them."""

_FILE = {"file": {"contentType": "image/*"}}

_STATUSES = {
    400: "The request, or an image in it, is malformed.",
    401: "The token is missing or wrong.",
    403: "The request comes from a page of another site.",
    404: "There is nothing of this name.",
    408: "The client took too long to send the request.",
    413: "The body has too many bytes.",
    415: "The body is of a type that is not taken.",
    421: "The name in the header Host is not this server's.",
    422: "A parameter or the body has another form than is wanted.",
    431: "The head of the request is too large.",
    500: "The server failed.",
    503: "The server has too much to do at the moment, or is stopping.",
    507: "The collection could not be changed, or is full.",
}


class _Described(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class _Schema(_Described):
    schema_version: Annotated[Literal[1], Field(alias="schema")]


class GuessFacts(_Described):
    """A class that an image may belong to."""

    name: Annotated[str, Field(alias="class")]
    label: Annotated[int, Field(ge=0)]
    probability: Annotated[float, Field(ge=0, le=1)]


_Png = Annotated[str, Field(pattern="^data:image/png;base64,")]


class _LookFacts(_Described):
    inverted: Annotated[
        bool, Field(description="Whether it looks inverted against the training images.")
    ]
    uncentered: Annotated[
        bool,
        Field(
            description="Whether its subject is smaller, larger or fainter than those of the "
            "training images, or not in the middle, or on a gray background; after cropping, "
            "whether nothing like them was found."
        ),
    ]


class PredictionFacts(_LookFacts):
    """What the model says of one image."""

    image: str
    top: Annotated[list[GuessFacts], Field(min_length=1)]
    seen: Annotated[_Png, Field(description="The pixels that the network got, if asked for.")] = ""
    explanation: Annotated[
        _Png,
        Field(
            description="Blue where the image speaks for the first answer, orange where it speaks "
            "against it; if asked for."
        ),
    ] = ""


class PredictionsFacts(_Schema):
    """What the model says of all images of a request, in their order."""

    predictions: Annotated[list[PredictionFacts], Field(min_length=1)]


class LimitFacts(_Described):
    """Maximum size of a body in bytes, and of images in one request."""

    body_bytes: int
    images: int


class ModelFacts(_Schema):
    """The model, as its file describes it."""

    name: str
    model: str
    classes: list[str]
    input_shape: Annotated[list[int], Field(min_length=3, max_length=3)]
    background: Background | None
    temperature: float
    data: dict[str, Any]
    figures: dict[str, Any]
    sha256: str
    collect: bool
    version: str
    limits: LimitFacts


class HealthFacts(_Described):
    """The server answers."""

    status: Literal["ok"]


class ReadyFacts(_Described):
    """The server takes requests."""

    status: Literal["ready"]


class SavedFacts(_Schema, _LookFacts):
    """Where a picture was saved: its class and the name of its file; and how it looks."""

    saved: Annotated[str, Field(pattern=r"^[^/]+/[^/]+\.png$")]


class ProblemFacts(_Described):
    """What was wrong, and what to do about it, which may be nothing."""

    message: Annotated[str, Field(min_length=1)]
    remedy: str


class Problem(_Described):
    """An error."""

    error: ProblemFacts


def problems(access: Access, *statuses: int, writes: bool = False, is_open: bool = False) -> Any:  # noqa: ANN401 - as FastAPI has it
    """The errors of an address, as FastAPI takes them.

    Args:
        access: who may ask.
        statuses: beyond those of all addresses.
        writes: whether requests do more than read.
        is_open: whether they need no token.
    """
    common = {400, 408, 431, 500, 503}
    if access.token:
        common |= set() if is_open else {401}
    else:
        common |= {421} if access.is_loopback else set()
        common |= {403} if writes else set()
    return {status: _problem(status) for status in sorted(common | set(statuses))}


def _problem(status: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": _STATUSES[status],
        "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}},
    }
    if status == 401:
        found["headers"] = {"WWW-Authenticate": {"schema": {"const": "Bearer"}}}
    return found


def prediction(shape: ImageShape, limits: Limits) -> dict[str, Any]:
    """Parameters and body of a request for predictions."""
    picture = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "properties": {
            "file": {
                "type": "array",
                "items": picture,
                "minItems": 1,
                "maxItems": limits.images,
            }
        },
        "required": ["file"],
        "additionalProperties": False,
    }
    image, most = _pixels(shape), most_json(shape, limits)
    images = {"type": "array", "items": image, "minItems": 1, "maxItems": limits.images}
    return {
        "parameters": [
            _parameter(
                "top",
                "Number of classes in the answer, if the model has as many.",
                {"type": "integer", "minimum": 1, "maximum": limits.top, "default": 3},
            ),
            *_CHANGES,
            _parameter("seen", "Also answer with the pixels that the network got."),
            _parameter(
                "explain", "Also answer with what speaks for the first answer; for one image."
            ),
        ],
        "requestBody": {
            "description": f"At most {limits.body_bytes:,} bytes, and {most:,} of JSON.",
            "required": True,
            "content": {
                "image/*": {"schema": picture},
                BYTES: {"schema": picture},
                MULTIPART: {"schema": form, "encoding": _FILE},
                JSON: {"schema": {"oneOf": [_only("pixels", image), _only("images", images)]}},
            },
        },
    }


def collection(classes: list[str]) -> dict[str, Any]:
    """Parameters and body of a request that saves a picture."""
    label: dict[str, Any] = {"type": "string", "description": "The name of its class."}
    if len(classes) <= _MOST_LABELS:
        label["enum"] = classes
    form = {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}, "label": label},
        "required": ["file", "label"],
        "additionalProperties": False,
    }
    return {
        "parameters": _CHANGES,
        "requestBody": {
            "required": True,
            "content": {MULTIPART: {"schema": form, "encoding": _FILE}},
        },
    }


def collected() -> dict[str, Any]:
    """The parameters of a request that removes a picture: the parts of where it was saved."""
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in ("label", "name")
        ]
    }


def text(media_type: str) -> dict[int | str, dict[str, Any]]:
    """The answer of an address that gives text, as FastAPI takes it."""
    return {200: {"content": {media_type: {"schema": {"type": "string"}}}}}


UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "It is what the client has already, after its header If-None-Match."}
}
"""The answer that has nothing new, as FastAPI takes it."""


def complete(app: FastAPI, access: Access) -> None:
    """Add to an application's description what FastAPI does not know: errors, and the token."""
    description = app.openapi()
    components = description["components"]
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components["schemas"] |= {**schema.pop("$defs"), Problem.__name__: schema}
    if not access.token:
        return
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in description["paths"].items():
        if path not in OPEN:
            for operation in operations.values():
                operation["security"] = [{"token": []}]


def _parameter(name: str, text: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": text,
        "schema": schema or {"type": "boolean", "default": False},
    }


_CHANGES = [
    _parameter("invert", "Exchange dark and light; with `center`, of what that gives."),
    _parameter("center", "Crop to the subject, and make it like those of the training images."),
]


def _pixels(shape: ImageShape) -> dict[str, Any]:
    """Nested lists of a model's shape; without the channel if there is one alone."""
    value: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 255}
    channels, height, width = shape
    plane = _list_of(_list_of(value, width), height)
    whole = _list_of(plane, channels)
    return {"anyOf": [plane, whole]} if channels == 1 else whole


def _list_of(item: dict[str, Any], length: int) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": length, "maxItems": length}


def _only(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: schema},
        "required": [name],
        "additionalProperties": False,
    }
