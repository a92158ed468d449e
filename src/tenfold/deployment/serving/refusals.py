"""Errors as a client gets them: a status, and JSON with a message and a remedy."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response

from tenfold.errors import DataError, StorageError, TenfoldError, UsageError

RETRY_AFTER = "1"
"""Seconds after which a client may try again where the server is full."""


class RefusedError(TenfoldError):
    """A request that is not answered.

    Args:
        status: of HTTP.
        message: see `TenfoldError`.
        remedy: what the client can do about it.
        headers: further ones of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        remedy: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status, self.headers = status, dict(headers or {})


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


class Answer(Response):
    """A JSON object; names that are not valid Unicode are written as escapes."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """The object as bytes."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def full(what: str) -> RefusedError:
    """The refusal of a request for which there is no room at the moment."""
    return RefusedError(503, what, remedy="try again later", headers={"Retry-After": RETRY_AFTER})


def refusal_of(error: Exception) -> RefusedError:
    """An error as the client's fault, or as the server's without a word of what is inside."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, DataError):
        return RefusedError(400, error.message, remedy=error.remedy)
    if isinstance(error, UsageError):
        return RefusedError(422, error.message, remedy=error.remedy)
    if isinstance(error, StorageError):
        return RefusedError(
            507, "the collection could not be changed", remedy="see the server's own output"
        )
    if isinstance(error, TenfoldError):
        return RefusedError(500, "the model could not answer", remedy="see the server's own output")
    return RefusedError(500, "the server failed", remedy="see the server's own output")


def error_facts(error: TenfoldError) -> dict[str, object]:
    """An error as a client gets it, ready for JSON."""
    return {"error": {"message": error.message, "remedy": error.remedy}}


def answer_to(error: Exception) -> Answer:
    """The answer to a request that led to an error."""
    refusal = refusal_of(error)
    return Answer(error_facts(refusal), refusal.status, refusal.headers)
