"""Running a server: its socket, its event loop, and its end."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import uvicorn

from tenfold._lazy import something_is_frozen
from tenfold.deployment.serving.application import Service, application
from tenfold.deployment.serving.connections import Connection, ConnectionSettings
from tenfold.deployment.serving.guarding import is_loopback
from tenfold.errors import UsageError, printable, reason_of

_BACKLOG = 1024
"""Connections that the system holds until they are accepted."""

_OTHER_FILES = 32
"""Files that a process has open beside its connections, at most."""

_TICK = 0.05
"""Seconds between looks at the connections of a server that stops."""

_REMEDIES = {
    errno.EADDRINUSE: "choose another one with --port, or any that is free with --port 0",
    errno.EACCES: "choose a port from 1024 on with --port",
    errno.EADDRNOTAVAIL: "choose an address of this computer with --host, such as 127.0.0.1",
}
"""By error number, what to do if a server cannot listen."""


@dataclass(frozen=True)
class Listening:
    """An open socket.

    Attributes:
        socket: the socket.
        host: the numeric address.
        port: the port that was taken.
    """

    socket: socket.socket
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this computer reaches it."""
        return is_loopback(self.host)

    @property
    def address(self) -> str:
        """The address to open in a browser on this computer."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"


def listen(host: str, port: int) -> Listening:
    """Open a socket.

    Args:
        host: an address or name of this computer.
        port: 0 for any that is free.

    Raises:
        UsageError: there is no such address, or the port is in use or not allowed.
    """
    if not host:
        raise UsageError(
            "--host is empty, wanted an address", remedy=_REMEDIES[errno.EADDRNOTAVAIL]
        )
    try:
        family, _, _, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.create_server(place, family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", 0)
        what = f"port {port} of {printable(host)}"
        if number == errno.EADDRINUSE:
            message = f"{what} is in use by another program"
        else:
            # Python adds the address, which is named already.
            reason = os.strerror(number) if number > 0 else reason_of(error)
            message = f"cannot listen to {what}: {reason}"
        remedy = _REMEDIES.get(number, _REMEDIES[errno.EADDRNOTAVAIL])
        raise UsageError(message, remedy=remedy) from error
    found = opened.getsockname()
    return Listening(opened, found[0], found[1])


class Server:
    """A server that answers until it is told to stop, and then answers what it has accepted.

    Args:
        service: what answers.
        listening: the socket, which is closed when the server stops.
        stop: whether to stop, asked ten times a second.
    """

    def __init__(
        self, service: Service, listening: Listening, stop: Callable[[], bool] = lambda: False
    ) -> None:
        self._service, self._listening, self._said = service, listening, ""
        limits = replace(
            service.limits, connections=min(service.limits.connections, _most_connections())
        )
        service.answering.warm_up()
        settings = ConnectionSettings(
            application(service),
            limits,
            service.state,
            service.metrics.refused,
            service.metrics.left.inc,
            log_config=None,
            log_level="critical",  # the gate says what happened
            access_log=False,
            proxy_headers=False,
            server_header=False,
            lifespan="off",
            ws="none",
            backlog=_BACKLOG,
        )
        self._uvicorn = _Uvicorn(settings, stop)
        service.connections = lambda: len(self._uvicorn.server_state.connections)

    def run(self) -> None:
        """Answer requests until the server stops."""
        with _frozen(), asyncio.Runner() as runner:
            runner.get_loop().set_exception_handler(self._told)
            runner.run(self._uvicorn.serve([self._listening.socket]))
            self._service.stop()

    def _told(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        error = context.get("exception")
        what = "" if error is None else f": {type(error).__name__}: {error}"
        text = f"{context['message']}{what}"
        if text != self._said:  # where there are no more files, again and again
            self._service.tell(text)
        self._said = text

    def stop(self) -> None:
        """Let it stop, from any thread."""
        self._uvicorn.should_exit = True


def _most_connections() -> int:
    """What the system's limit of open files allows, with as many again that are refused."""
    if sys.platform == "win32":
        return 2**31
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if files == resource.RLIM_INFINITY else max(1, (files - _OTHER_FILES) // 2)


@contextmanager
def _frozen() -> Iterator[None]:
    """Keep the garbage collector from looking through all modules again and again.

    That takes tens of milliseconds, in which nobody is answered. A program that has frozen its
    objects itself is left as it is.
    """
    if something_is_frozen():
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class _Uvicorn(uvicorn.Server):
    """uvicorn's server, which leaves signals alone, and ends in its own way."""

    def __init__(self, config: ConnectionSettings, stop: Callable[[], bool]) -> None:
        super().__init__(config)
        self._settings, self._stop, self._state = config, stop, config.state

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Whoever runs the server has handlers of its own."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop."""
        self._look()
        self.should_exit = self.should_exit or self._stop()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, answer what was asked on the others, and close them.

        A connection stays open for a moment, because its client may just have sent a request; the
        answer says that it is the last one.
        """
        self._state.stopped = time.monotonic()
        await asyncio.sleep(_TICK)
        accepted = [each for listening in sockets or () for each in _accept_all(listening)]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for each in accepted:
            await loop.connect_accepted_socket(self._connection, each)
        stopped = time.monotonic()
        await asyncio.sleep(_TICK)  # who was accepted just before is known after this
        while self.server_state.connections or self.server_state.tasks:
            self._look(stopped)
            await asyncio.sleep(_TICK)

    def _connection(self) -> Connection:
        return Connection(self._settings, self.server_state, self.lifespan.state)

    def _look(self, stopped: float | None = None) -> None:
        for connection in list(self.server_state.connections):
            assert isinstance(connection, Connection)
            connection.look(stopped)


def _accept_all(listening: socket.socket) -> list[socket.socket]:
    """Accept who has connected already: closing the socket would cut them off."""
    accepted = []
    with suppress(OSError):  # there is nobody else
        while True:
            accepted.append(listening.accept()[0])
    return accepted
