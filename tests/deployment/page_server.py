"""The real server for the page, which also fails and waits when it is told to."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from starlette.types import ASGIApp, Receive, Scope, Send

import tenfold
from tenfold.deployment.classifier import Classifier
from tenfold.deployment.serving import running
from tenfold.deployment.serving.application import Service, application
from tenfold.deployment.serving.collecting import Collection
from tenfold.deployment.serving.guarding import Access
from tenfold.deployment.serving.limits import Limits
from tenfold.deployment.serving.refusals import RefusedError, answer_to

STATIC = Path(tenfold.__file__).parent / "deployment" / "serving" / "static"


@dataclass
class Served:
    """A model as it is served, and what a test can see and change of it.

    Attributes:
        address: where.
        token: what it asks for; empty for nothing.
        folder: where pictures are collected; None for nowhere.
        failing: the statuses of the next answers of /predict.
        delays: seconds until the next answers of /predict, the first one last.
        answered: the number of answers of /predict.
        asked: the numbers of requests, by method and path.
    """

    address: str
    token: str
    folder: Path | None
    failing: list[int] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    answered: int = 0
    asked: dict[str, int] = field(default_factory=dict)

    @property
    def collected(self) -> dict[str, bytes]:
        """The pictures that were collected, by their place in the folder."""
        assert self.folder is not None
        while True:
            files = self.folder.glob("*/*.png")
            try:
                return {str(each.relative_to(self.folder)): each.read_bytes() for each in files}
            except FileNotFoundError:  # one was taken back in the meantime
                continue

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, with failures and delays."""

        async def told(scope: Scope, receive: Receive, send: Send) -> None:
            key = f"{scope['method']} {scope['path']}"
            self.asked[key] = self.asked.get(key, 0) + 1
            if scope["path"] != "/predict":
                await app(scope, receive, send)
            elif self.failing:
                error = RefusedError(self.failing.pop(0), "there is too much to do")
                await answer_to(error)(scope, receive, send)
            else:
                await asyncio.sleep(self.delays.pop() if self.delays else 0)
                await app(scope, receive, send)
                self.answered += 1

        return told


@contextmanager
def serving(
    classifier: Classifier,
    port: int = 0,
    *,
    token: str = "",
    collects: bool = False,
    body_bytes: int = Limits.body_bytes,
) -> Iterator[Served]:
    """A server in a thread of its own, until the block ends."""
    header = classifier.bundle.header
    limits = Limits(body_bytes=body_bytes)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "collected" if collects else None
        service = Service(
            classifier,
            name=f"{header.data['source']}-{header.model}-001",
            limits=limits,
            collection=None if folder is None else Collection(folder, header, limits),
            access=Access(token),
        )
        listening = running.listen("127.0.0.1", port)
        served = Served(listening.address, token, folder)
        with patch.object(running, "application", lambda it: served.around(application(it))):
            server = running.Server(service, listening)
        thread = threading.Thread(target=server.run)
        with listening.socket:
            thread.start()
            try:
                yield served
            finally:
                server.stop()
                thread.join()
