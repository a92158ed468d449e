"""Servers for the catalog's tests, and an empty place for data sets."""

from __future__ import annotations

import contextlib
import http.server
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from mirrors import Mirror, Reply, not_found


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Mirror]]:
    """Start a server with replies by file name; other names give 404."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with contextlib.ExitStack() as stack:

        def start(replies: dict[str, Reply]) -> Mirror:
            requests: list[tuple[str, str | None]] = []

            class Handler(http.server.BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    requests.append((self.path, self.headers.get("Range")))
                    reply = replies.get(self.path.rpartition("/")[2], not_found)
                    with contextlib.suppress(ConnectionError):
                        reply(self)

                def log_message(self, *args: object) -> None:
                    pass

            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return Mirror(f"http://127.0.0.1:{server.server_port}/", requests)

        yield start


@pytest.fixture(autouse=True)
def _no_data_on_disk(monkeypatch: pytest.MonkeyPatch, real_data_or_none: str | None) -> None:
    monkeypatch.delenv("TENFOLD_DATA", raising=False)


@pytest.fixture(scope="session")
def real_data_or_none(request: pytest.FixtureRequest) -> str | None:
    """Resolve `real_data` before a test removes its environment variable."""
    if not os.environ.get("TENFOLD_DATA"):
        return None
    return str(request.getfixturevalue("real_data"))
