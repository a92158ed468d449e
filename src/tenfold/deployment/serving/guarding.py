"""What every request passes first: who may ask, and what every answer has in common."""

from __future__ import annotations

import hmac
import ipaddress
import math
import re
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenfold.deployment.serving.metrics import Metrics
from tenfold.deployment.serving.refusals import ClientGoneError, RefusedError, answer_to
from tenfold.errors import TenfoldError, printable

OPEN = frozenset({"/", "/health", "/ready"})
"""What needs no token, because it says nothing about the model; and so do the page's files."""

_STATIC = "/static/"

_READING = frozenset({"GET", "HEAD", "OPTIONS"})

_CONTENT_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    b"connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_COMMON = [
    (b"content-security-policy", _CONTENT_POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{0,5})?")
"""The header Host, in lower case: a name or address, and maybe a port."""

_FRESH = (b"cache-control", b"no-store")
_CLOSE = (b"connection", b"close")


@dataclass
class State:
    """What changes while a server runs.

    Attributes:
        stopped: when it began to stop, by `time.monotonic`; infinite if it did not.
    """

    stopped: float = math.inf

    @property
    def is_stopping(self) -> bool:
        """Whether it answers only what it has accepted."""
        return self.stopped < math.inf


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Without a token, only programs on this computer and pages of this server may, if it listens to
    this computer alone: a page of a stranger, open in a browser here, could send requests too, or
    read answers by giving its own name another address (DNS rebinding).

    Attributes:
        token: what clients have to send; empty if they need not.
        host: the address that the server listens to.
        is_loopback: whether that reaches this computer alone.
    """

    token: str = ""
    host: str = "127.0.0.1"
    is_loopback: bool = True

    def require(self, method: str, path: str, headers: dict[bytes, bytes]) -> None:
        """Refuse a request of somebody who may not ask.

        Raises:
            RefusedError: says why.
        """
        if self.token:
            if path not in OPEN and not path.startswith(_STATIC):
                self._require_token(headers.get(b"authorization", b""))
            return
        host = headers.get(b"host", b"").decode("latin-1")
        if self.is_loopback and host and not self._is_own(host):
            raise RefusedError(
                421,
                f"this server is not {host!r}; it answers to localhost only",
                remedy="open it as localhost or 127.0.0.1",
            )
        if method not in _READING:
            _require_same_site(headers, host)

    def _require_token(self, authorization: bytes) -> None:
        scheme, _, token = authorization.partition(b" ")
        is_right = hmac.compare_digest(token.strip(), self.token.encode())
        if scheme.lower() != b"bearer" or not is_right:
            is_given = scheme.lower() == b"bearer" and token
            raise RefusedError(
                401,
                "the token is wrong" if is_given else "this server needs a token",
                remedy="ask whoever started the server for the token"
                if is_given
                else "send the header Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _is_own(self, host: str) -> bool:
        found = _HOST.fullmatch(host.lower())
        name = found[1].strip("[]") if found else ""
        return name in ("localhost", self.host.lower()) or is_loopback(name)


def is_loopback(address: str) -> bool:
    """Whether an IP address reaches the same computer alone; no for anything else."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _require_same_site(headers: dict[bytes, bytes], host: str) -> None:
    """Refuse what a page of another site sends.

    Raises:
        RefusedError: it does.
    """
    origin = headers.get(b"origin", b"").decode("latin-1")
    is_foreign = headers.get(b"sec-fetch-site") == b"cross-site"
    if origin:
        is_foreign = is_foreign or origin.lower() not in (
            f"http://{host.lower()}",
            f"https://{host.lower()}",
        )
    if is_foreign:
        raise RefusedError(
            403,
            "the request comes from a page of another site",
            remedy="open the page of this server, or start it with a token",
        )


class Gate:
    """Passes requests on to an application if it may answer them, and counts the answers.

    Args:
        app: the application.
        access: who may ask.
        metrics: where requests are counted.
        tell: called with one line for every error that is no client's fault.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        metrics: Metrics,
        tell: Callable[[str], object],
    ) -> None:
        self._app, self._access = app, access
        self._metrics, self._tell = metrics, tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        began = time.perf_counter()
        method, path, status = scope["method"], scope["path"], 0
        exchange = scope["state"]["exchange"]

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": _headers(message["headers"], exchange)}
            await send(message)

        try:
            self._access.require(method, path, dict(scope["headers"]))
            await self._app(scope, receive, send_with_headers)
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001 - a client gets no more than that it happened
            report(error, f"{method} {path}", self._tell)
            if not status:
                await answer_to(error)(scope, receive, send_with_headers)
        if status and not exchange.is_gone:
            self._metrics.answered(path, status, time.perf_counter() - began)


def _headers(given: list[tuple[bytes, bytes]], exchange: Any) -> list[tuple[bytes, bytes]]:  # noqa: ANN401 - of a module that needs this one
    """The headers of an answer, and those of all answers."""
    headers = [*given, *_COMMON]
    if not any(name == _FRESH[0] for name, _ in given):
        headers.append(_FRESH)
    if exchange.is_last:
        headers.append(_CLOSE)
    return headers


def report(error: Exception, request: str, tell: Callable[[str], object]) -> None:
    """Say what happened, once, if that is no client's fault, and not only a matter of room."""
    if isinstance(error, RefusedError) or answer_to(error).status_code < 500:
        return
    if "is_reported" in vars(error):  # it ended several requests
        return
    vars(error)["is_reported"] = True
    if isinstance(error, TenfoldError):
        tell(f"{printable(request)}: {error}")
        return
    where = traceback.extract_tb(error.__traceback__)[-1]
    tell(
        f"{printable(request)}: {type(error).__name__}: {printable(error)} "
        f"({where.filename}:{where.lineno})"
    )
