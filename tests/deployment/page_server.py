"""A small server for the page: its files, and the answers of a real model.

It also fails when it is told to, so that the page can be seen to say so.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
import io
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from PIL import Image

import tenfold
from tenfold.deployment.background import look_inverted
from tenfold.deployment.classifier import Classifier
from tenfold.deployment.explaining import occlusion_map
from tenfold.errors import TenfoldError

STATIC = Path(tenfold.__file__).parent / "deployment" / "serving" / "static"

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class RefusedError(Exception):
    def __init__(self, status: int, message: str, remedy: str = "") -> None:
        self.status, self.message, self.remedy = status, message, remedy


@dataclass
class Served:
    """A model as it is served, and what a test can see and change of it.

    Attributes:
        failing: the statuses of the next answers of /predict.
        delays: seconds until the next answers of /predict, the first one last.
        answered: the number of answers of /predict.
        collected: the pictures that were collected, by the path that was given for them.
        asked: the numbers of requests, by method and path.
    """

    classifier: Classifier
    token: str = ""
    collects: bool = False
    body_bytes: int = 2**24
    failing: list[int] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    answered: int = 0
    collected: dict[str, bytes] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    address: str = ""
    computing: threading.Lock = field(default_factory=threading.Lock)

    def model(self) -> dict[str, object]:
        header = self.classifier.bundle.header
        return {
            "schema": 1,
            "name": f"{header.data['source']}-{header.model}-001",
            "model": header.model,
            "classes": header.classes,
            "input_shape": header.input_shape,
            "background": None if header.background is None else header.background.model_dump(),
            "temperature": header.temperature,
            "data": header.data,
            "figures": header.figures,
            "sha256": self.classifier.bundle.sha256,
            "collect": self.collects,
            "version": "0.1.0",
            "limits": {"body_bytes": self.body_bytes, "images": 64},
        }

    def predict(self, name: str, data: bytes, query: Mapping[str, str]) -> dict[str, object]:
        if self.failing:
            raise RefusedError(self.failing.pop(0), "there is too much to do", "try again later")
        file = io.BytesIO(data)
        file.name = name
        pixels = self.classifier.pixels(file, paths=False)
        if query.get("invert") == "true":
            pixels = 255 - pixels
        (top,) = self.classifier.top(pixels, int(query.get("top", 3)))
        background = self.classifier.bundle.header.background
        answer: dict[str, object] = {
            "image": name,
            "top": [guess.to_dict() for guess in top],
            "inverted": bool(look_inverted(pixels, background)[0]),
        }
        if query.get("seen") == "true":
            answer["seen"] = png(pixels[0].transpose(1, 2, 0).squeeze())
        if query.get("explain") == "true":
            found = occlusion_map(self.classifier, pixels, top[0].label)
            answer["explanation"] = png(colors(found))
        return {"schema": 1, "predictions": [answer]}


def png(array: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def colors(strengths: np.ndarray) -> np.ndarray:
    """Blue for, orange against, with an opacity by the strength."""
    opaque = 200 * np.abs(strengths) / max(float(np.abs(strengths).max()), 1e-9)
    shades = np.where(strengths[..., None] > 0, (0, 114, 178), (230, 159, 0))
    return np.concatenate([shades, opaque[..., None]], axis=2).astype(np.uint8)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 2**16  # head and body together: the other side may wait before it confirms one
    served: Served

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_DELETE = do_GET  # noqa: N815

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        split = urlsplit(self.path)
        key = f"{self.command} {split.path}"
        self.served.asked[key] = self.served.asked.get(key, 0) + 1
        try:
            query = {name: values[0] for name, values in parse_qs(split.query).items()}
            self._route(unquote(split.path), query, body)
        except RefusedError as refused:
            self._refuse(refused.status, refused.message, refused.remedy)
        except TenfoldError as error:
            self._refuse(400, error.message, error.remedy or "")

    def _route(self, path: str, query: Mapping[str, str], body: bytes) -> None:
        served = self.served
        if path == "/":
            return self._send_file(STATIC / "index.html")
        if path.startswith("/static/"):
            return self._send_file(STATIC / Path(path).name)
        if served.token and self.headers.get("Authorization") != f"Bearer {served.token}":
            raise RefusedError(401, "the token is missing or wrong")
        if path == "/model":
            return self._send_json(200, served.model())
        if path == "/predict":
            name, data = "image 0", body
            if "multipart" in self.headers["Content-Type"]:
                name, data = self._form(body)["file"]
            time.sleep(served.delays.pop() if served.delays else 0)
            with served.computing:
                facts = served.predict(name, data, query)
                served.answered += 1
            return self._send_json(200, facts)
        if path == "/collect" and served.collects:
            form = self._form(body)
            label = form["label"][1].decode()
            saved = f"{label}/{len(served.asked)}-{len(served.collected)}.png"
            served.collected[saved] = form["file"][1]
            return self._send_json(201, {"schema": 1, "saved": saved})
        if path.startswith("/collect/") and self.command == "DELETE":
            del served.collected[path.removeprefix("/collect/")]
            return self._send(204, "", b"")
        raise RefusedError(404, f"there is no {path}")

    def _form(self, body: bytes) -> dict[str, tuple[str, bytes]]:
        """File name and contents of each field."""
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        return {
            str(part.get_param("name", header="content-disposition")): (
                part.get_filename() or "",
                part.get_payload(decode=True),
            )
            for part in parts.iter_parts()
        }

    def _send_file(self, path: Path) -> None:
        self._send(200, TYPES[path.suffix], path.read_bytes())

    def _refuse(self, status: int, message: str, remedy: str) -> None:
        self._send_json(status, {"error": {"message": message, "remedy": remedy}})

    def _send_json(self, status: int, facts: Mapping[str, object]) -> None:
        self._send(status, "application/json", json.dumps(facts).encode())

    def _send(self, status: int, media_type: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        if media_type:
            self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """End the connections as well, which a browser keeps."""
        super().server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """The browser leaves whenever it likes."""


@contextmanager
def serving(classifier: Classifier, port: int = 0, **facts: object) -> Iterator[Served]:
    """A server in a thread of its own, until the block ends."""
    served = Served(classifier, **facts)
    handler = type("ServedHandler", (Handler,), {"served": served})
    with _Server(("127.0.0.1", port), handler) as server:
        served.address = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
