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

_DISCARDING_SECONDS = 2.0
"""Time that a client has to take an answer for which it need not send the rest of its request."""

_MOST_FOR_REFUSALS = 2
"""Connections beyond this multiple of their limit are cut without an answer."""

_LARGE_HEAD = "the head of the request is too large"


class ConnectionSettings(uvicorn.Config):
    """uvicorn's settings, and what connections need beyond them.

    Args:
        app: what answers requests.
        limits: what clients are allowed.
        state: of the server.
        refused: called with the status of each request that did not get to the application.
        left: called for each request whose client left before its answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        state: State,
        refused: Callable[[int], object],
        left: Callable[[], object],
        **options: Any,  # noqa: ANN401 - uvicorn's own
    ) -> None:
        super().__init__(app, http=Connection, **options)
        self.limits, self.state, self.refused, self.left = limits, state, refused, left


class Exchange:
    """A request and its answer, for whoever answers.

    Args:
        connection: on which it came.
        cycle: uvicorn's.
    """

    def __init__(self, connection: Connection, cycle: RequestResponseCycle) -> None:
        self._connection, self._cycle = connection, cycle

    @property
    def is_gone(self) -> bool:
        """Whether the client has left."""
        # uvicorn marks only the newest of several requests.
        has_no_answer = self._connection.is_lost and not self._cycle.response_complete
        return self._cycle.disconnected or has_no_answer

    @property
    def is_last(self) -> bool:
        """Whether the connection is to be closed after the answer."""
        return self._cycle.more_body or self._connection.is_done


class _Outlet:
    """What an answer is written to: a transport that its connection closes."""

    def __init__(self, connection: Connection) -> None:
        self.write, self.is_closing = connection.transport.write, connection.transport.is_closing
        self.close = connection.end


class Connection(HttpToolsProtocol):
    """A connection that does not wait for its client for ever.

    Args:
        config: the settings.
        server_state: uvicorn's, shared by all connections.
        app_state: uvicorn's.
        _loop: the event loop; None for the running one.

    Attributes:
        is_lost: whether it is closed, by whomever.
    """

    def __init__(
        self,
        config: ConnectionSettings,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits, self._state = config.limits, config.state
        self._refused, self._left = config.refused, config.left
        self._idle_since = self._closing_since = time.monotonic()
        self._unsent = self._receiving_since = self._answering_since = 0.0
        self._discarding_since = 0.0
        self._is_in_head = self._is_unreadable = self.is_lost = False
        self._overhead = self._body = self._discarded = 0

    # --- uvicorn's and the parser's calls -----------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for a connection, or refuse its requests, or even the connection."""
        super().connection_made(transport)
        # An answer is written in two pieces: the second must not wait for the first to arrive.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        most = self._limits.connections
        if len(self.connections) > most:
            others = [
                each
                for each in self.connections
                if isinstance(each, Connection)
                and each is not self
                and not each.transport.is_closing()
            ]
            if len(others) >= most:
                self._make_room(others)
            if len(others) >= _MOST_FOR_REFUSALS * most:
                transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by whomever."""
        self.is_lost = True
        if self.cycle is not None and not self.cycle.response_complete:
            for _ in range(1 + len(self.pipeline)):
                self._left()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; it gets the answers to what was complete."""
        if self._discarding_since or self.cycle is None or self.cycle.response_complete:
            return False
        self.cycle.keep_alive, self._receiving_since = False, 0.0
        return not self.cycle.more_body

    def timeout_keep_alive_handler(self) -> None:
        """Do nothing: `look` closes connections."""

    def data_received(self, data: bytes) -> None:
        """Parse what was received, unless there is too much of it beside the body."""
        if self._discarding_since:
            self._discarded += len(data)
            if self._discarded > self._limits.body_bytes:
                self.transport.close()
            return
        if self._is_unreadable:
            return
        self._overhead += len(data)
        super().data_received(data)
        if self._overhead > self._limits.head_bytes + self._body and self.parser is not None:
            self._refuse(431, _LARGE_HEAD)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._receiving_since, self._is_in_head = time.monotonic(), True

    def on_headers_complete(self) -> None:
        """The head of a request is complete."""
        names = [name for name, _ in self.headers]
        if self.parser.should_upgrade() and {b"content-length", b"transfer-encoding"} & {*names}:
            # The parser takes the body for one in that protocol.
            self.app = self._only(
                RefusedError(
                    400,
                    "the request asks for another protocol than HTTP/1.1, and has a body",
                    remedy="let the client use HTTP/1.1 alone, as curl does with --http1.1",
                )
            )
        if names.count(b"host") != 1 and self.parser.get_http_version() == "1.1":
            self.app = self._only(RefusedError(400, "the request needs one header Host"))
        # What arrives at once, with the end of the request, `data_received` notices too late.
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.head_bytes:
            self.app = self._only(RefusedError(431, _LARGE_HEAD))
        super().on_headers_complete()
        self._is_in_head = False
        self.cycle.transport = _Outlet(self)  # type: ignore[assignment]
        self.scope["state"]["exchange"] = Exchange(self, self.cycle)

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
        self._idle_since = time.monotonic()
        if self._discarding_since:
            return
        super().on_response_complete()
        self._answering_since = self._idle_since if self.pipeline else 0.0

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(400, msg.rstrip("."))

    # --- the server's -------------------------------------------------------------------------

    @property
    def is_done(self) -> bool:
        """Whether the server stops, and this connection has no other request."""
        return self._state.is_stopping and not self.pipeline and not self._receiving_since

    def look(self, stopped: float | None = None) -> None:
        """End what takes too long.

        Args:
            stopped: when the server began to stop; None if it does not.
        """
        now, limits = time.monotonic(), self._limits
        if self.transport.is_closing():
            allowed = limits.answer_seconds if stopped is None else limits.stop_seconds
            if now - max(self._closing_since, stopped or 0.0) > allowed:
                self.transport.abort()
            return
        self._closing_since = now
        is_unsent = bool(self.transport.get_write_buffer_size())
        if is_unsent:
            self._unsent = now
            if stopped is not None and now - max(self._idle_since, stopped) > limits.stop_seconds:
                self.transport.abort()
                return
        if self._discarding_since:
            allowed = _DISCARDING_SECONDS if stopped is None else limits.leave_seconds
            if now - self._discarding_since > allowed:
                self.transport.close()
        elif self._receiving_since:
            began = self._receiving_since
            allowed = limits.head_seconds if self._is_in_head else limits.receive_seconds
            is_late = now - began > allowed
            if stopped is not None:
                is_late = is_late or now - max(began, stopped) > limits.stop_seconds
            if is_late:
                self._refuse(408, "the request was not complete in time")
        elif self._answering_since:
            if now - self._answering_since > 2 * limits.answer_seconds:
                self.transport.abort()
        elif is_unsent:
            if now - self._idle_since > limits.answer_seconds:
                self.transport.abort()
        else:
            allowed = limits.idle_seconds if stopped is None else limits.leave_seconds
            if now - max(self._idle_since, self._unsent, stopped or 0.0) > allowed:
                self.transport.close()

    def end(self) -> None:
        """Close after the last answer.

        Closing while a client sends would take the answer from it: what it sends is discarded for a
        while.
        """
        if not (self._receiving_since or self._is_unreadable):
            self.transport.close()
        elif not self._discarding_since and not self.transport.is_closing():
            self._discarding_since, self._answering_since = time.monotonic(), 0.0
            self.flow.resume_reading()
            self.transport.write_eof()

    @property
    def _waiting_since(self) -> float:
        """When it began to wait for its client; 0 if it does not.

        For a request, for a head, or for a body that takes longer than a head may.
        """
        if self._discarding_since:
            return self._discarding_since
        if self._answering_since or self.transport.get_write_buffer_size():
            return 0.0
        if self._receiving_since:
            is_slow = time.monotonic() - self._receiving_since > self._limits.head_seconds
            return self._receiving_since if self._is_in_head or is_slow else 0.0
        return self._idle_since

    def _make_room(self, others: list[Connection]) -> None:
        """Close the connection that has waited for its client longest, or else refuse this one."""
        waiting = [each for each in others if each._waiting_since]
        if waiting:
            min(waiting, key=lambda each: each._waiting_since).transport.abort()
        else:
            self.app = self._only(full("too many connections are open"))

    def _refuse(self, status: int, message: str) -> None:
        """Answer a request that did not get to the application, and close the connection.

        Requests before it are answered first. One that was answered before it was complete gets no
        second answer.
        """
        if self.transport.is_closing() or self._discarding_since:
            return
        refusal = RefusedError(status, message, headers={"Connection": "close"})
        cycle, has_cycle = self.cycle, bool(self._receiving_since) and not self._is_in_head
        self._is_unreadable, self._receiving_since = True, 0.0
        if has_cycle and self.pipeline:
            self.pipeline[0] = (cycle, self._only(refusal))  # type: ignore[assignment]
            self._answering_since = self._answering_since or time.monotonic()
        elif (
            cycle is not None
            and not cycle.response_complete
            and (not has_cycle or cycle.response_started)
        ):
            cycle.keep_alive = False  # which closes the connection after this answer
            self.flow.pause_reading()
        else:
            if not (has_cycle and cycle.response_complete):
                self._write(refusal)
            if has_cycle:
                cycle.response_complete = cycle.disconnected = True
                cycle.message_event.set()
            self.end()

    def _write(self, refusal: RefusedError) -> None:
        answer = answer_to(refusal)
        head = [STATUS_LINE[answer.status_code]]
        for name, value in (*self.server_state.default_headers, *answer.raw_headers):
            head += [name, b": ", value, b"\r\n"]
        self.transport.write(b"".join([*head, b"\r\n", bytes(answer.body)]))
        self._refused(answer.status_code)

    def _only(self, refusal: RefusedError) -> ASGIApp:
        """Answer every request on this connection with a refusal, and close it."""

        async def answer_all(scope: Scope, receive: Receive, send: Send) -> None:
            answer = answer_to(refusal)
            answer.headers["Connection"] = "close"
            await answer(scope, receive, send)
            if not scope["state"]["exchange"].is_gone:
                self._refused(answer.status_code)

        return answer_all
