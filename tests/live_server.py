"""A real server on this computer, in a thread, and small models for it."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests
import torch
from PIL import Image

from small_bundles import bundle_with
from tenfold.deployment import Classifier
from tenfold.deployment.background import Background
from tenfold.deployment.serving.application import Service
from tenfold.deployment.serving.limits import Limits
from tenfold.deployment.serving.running import Server, listen
from tenfold.models import build, model_arguments
from tenfold.models.tracing import layer_list

CLASSES = ("cat", "dog", "a b")


def small_classifier(
    shape: tuple[int, int, int] = (1, 8, 8), classes: Sequence[str] = CLASSES
) -> Classifier:
    """With random weights, which are large, so that it is sure of something."""
    torch.manual_seed(0)
    network = build("mlp", shape, len(classes))
    weights = {name: 4 * tensor for name, tensor in network.state_dict().items()}
    bundle = bundle_with(
        weights,
        model="mlp",
        arguments=model_arguments("mlp", {}),
        input_shape=shape,
        classes=list(classes),
        layers=layer_list(network),
        data={"source": "/home/somebody/pictures", "fingerprint": "ab"},
        temperature=2.0,
        background=Background(shade="dark", extent=0.7),
    )
    return Classifier(bundle, threads=1)


@dataclass
class Live:
    """A server that runs.

    Attributes:
        service: what answers.
        port: where.
        told: what it had to say.
    """

    service: Service
    port: int
    told: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(f"{self.url}{path}", timeout=30, **options)

    def post(self, path: str, data: Any = None, **options: Any) -> requests.Response:
        return requests.post(f"{self.url}{path}", data=data, timeout=30, **options)

    def predict(self, data: bytes, query: str = "", kind: str = "image/png") -> requests.Response:
        return self.post(f"/predict{query}", data, headers={"Content-Type": kind})

    def raw(self, data: bytes = b"") -> socket.socket:
        """A connection on which something was sent."""
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        opened.sendall(data)
        return opened


@contextmanager
def served(
    classifier: Classifier | None = None, *, limits: Limits | None = None, **options: Any
) -> Iterator[Live]:
    """Run a server in the block.

    Args:
        classifier: the model; None for a small one.
        limits: what clients are allowed; None for the usual.
        options: of `Service`.
    """
    told: list[str] = []
    service = Service(
        classifier or small_classifier(),
        name="small",
        limits=limits or Limits(),
        tell=told.append,
        **options,
    )
    listening = listen("127.0.0.1", 0)
    server = Server(service, listening)
    thread = threading.Thread(target=server.run)
    with listening.socket:
        thread.start()
        try:
            yield Live(service, listening.port, told)
        finally:
            server.stop()
            thread.join()


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """An image of shape (1 or 3, height, width) as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(file, kind)
    return file.getvalue()


def response_on(opened: socket.socket) -> bytes:
    """All that arrives until the server closes a connection."""
    parts = []
    while part := opened.recv(65536):
        parts.append(part)
    return b"".join(parts)
