"""One connection: HTTP as uvicorn speaks it, with bounds on time and on the size of heads."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from tenfold.deployment.serving.guarding import State
from tenfold.deployment.serving.limits import Limits
from tenfold.deployment.serving.refusals import RefusedError, answer_to, full

_CLOSING_SECONDS = 5.0
"""Time that a client has to take the last answer before its connection is cut."""

_MOST_FOR_REFUSALS = 2
"""Connections beyond this multiple of their limit are cut without an answer."""


class ConnectionSettings(uvicorn.Config):
    """uvicorn's settings, and what connections need beyond them.

    Args:
        app: what answers requests.
        limits: what clients are allowed.
        state: of the server.
        refused: called with the status of each request that did not get to the application.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        state: State,
        refused: Callable[[int], object],
        **options: Any,  # noqa: ANN401 - uvicorn's own
    ) -> None:
        super().__init__(app, http=Connection, **options)
        self.limits, self.state, self.refused = limits, state, refused


class Exchange:
    """A request and its answer, for whoever answers.

    Args:
        cycle: uvicorn's.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def is_gone(self) -> bool:
        """Whether the client has left."""
        return self._cycle.disconnected


class Connection(HttpToolsProtocol):
    """A connection that does not wait for its client for ever.

    Args:
        config: the settings.
        server_state: uvicorn's, shared by all connections.
        app_state: uvicorn's.
        _loop: the event loop; None for the running one.
    """

    def __init__(
        self,
        config: ConnectionSettings,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits, self._state, self._refused = config.limits, config.state, config.refused
        self._idle_since = self._closing_since = time.monotonic()
        self._receiving_since = self._answering_since = 0.0
        self._overhead = self._body = 0

    # --- uvicorn's and the parser's calls -----------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse the requests of a connection too many, or even the connection."""
        super().connection_made(transport)
        # An answer is written in two pieces: the second must not wait for the first to arrive.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        n = len(self.connections)
        if n > self._limits.connections:
            self.app = self._only(full("too many connections are open"))
        if n > _MOST_FOR_REFUSALS * self._limits.connections:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what was received, unless there is too much of it beside the body."""
        self._overhead += len(data)
        super().data_received(data)
        if self._overhead > self._limits.head_bytes + self._body and self.parser is not None:
            self._refuse(431, "the head of the request is too large")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._receiving_since = time.monotonic()

    def on_headers_complete(self) -> None:
        """The head of a request is complete."""
        names = {name for name, _ in self.headers}
        if self.parser.should_upgrade() and names & {b"content-length", b"transfer-encoding"}:
            # The parser takes the body for one in that protocol.
            self.app = self._only(
                RefusedError(
                    400,
                    "the request asks for another protocol than HTTP/1.1, and has a body",
                    remedy="let the client use HTTP/1.1 alone, as curl does with --http1.1",
                )
            )
        super().on_headers_complete()
        self.scope["state"]["exchange"] = Exchange(self.cycle)

    def on_body(self, body: bytes) -> None:
        """A part of a body, which is not overhead."""
        self._overhead -= len(body)
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        super().on_message_complete()
        self._overhead = self._body = 0
        self._receiving_since = 0.0
        if not self.cycle.response_complete:
            self._answering_since = time.monotonic()

    def on_response_complete(self) -> None:
        """An answer is complete, though the client may not have taken it yet."""
        super().on_response_complete()
        self._idle_since = time.monotonic()
        self._answering_since = self._idle_since if self.pipeline else 0.0

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(400, msg.rstrip("."))

    # --- the server's -------------------------------------------------------------------------

    def look(self, stopped: float | None = None) -> None:
        """End what takes too long.

        Args:
            stopped: when the server began to stop; None if it does not.
        """
        now, limits = time.monotonic(), self._limits
        if self.transport.is_closing():
            if now - self._closing_since > _CLOSING_SECONDS:
                self.transport.abort()
            return
        self._closing_since = now
        if self._receiving_since:
            began, allowed = self._receiving_since, limits.receive_seconds
            is_late = now - began > allowed
            if stopped is not None:
                is_late = is_late or now - max(began, stopped) > limits.stop_seconds
            if is_late:
                self._refuse(408, "the request was not complete in time")
        elif self._answering_since:
            if now - self._answering_since > 2 * limits.answer_seconds:
                self.transport.abort()
        else:
            allowed = limits.idle_seconds if stopped is None else limits.leave_seconds
            if now - max(self._idle_since, stopped or 0.0) > allowed:
                self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        """Answer a request that did not get to the application, and close the connection."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            answer = answer_to(RefusedError(status, message, headers={"Connection": "close"}))
            head = [STATUS_LINE[status]]
            for name, value in (*self.server_state.default_headers, *answer.raw_headers):
                head += [name, b": ", value, b"\r\n"]
            self.transport.write(b"".join([*head, b"\r\n", bytes(answer.body)]))
            self._refused(status)
        self.transport.close()

    def _only(self, refusal: RefusedError) -> ASGIApp:
        """Answer every request on this connection with a refusal, and close it."""

        async def answer_all(scope: Scope, receive: Receive, send: Send) -> None:
            answer = answer_to(refusal)
            answer.headers["Connection"] = "close"
            await answer(scope, receive, send)
            self._refused(answer.status_code)

        return answer_all
