"""What a server allows its clients, so that none of them can exhaust it."""

from __future__ import annotations

from dataclasses import dataclass

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """Bounds of memory, queues and time; a client that goes beyond one is told so.

    Attributes:
        body_bytes: maximum size of the body of one request.
        bodies_bytes: maximum size of all bodies in memory together.
        head_bytes: maximum size of a request without its body.
        images: maximum number of images in one request.
        pixels: maximum number of pixels of all encoded images in one request.
        top: maximum number of classes in one answer.
        queue: maximum number of images that wait to be computed.
        batch: images computed at once; a request with more is computed by itself.
        delay: seconds that an image may wait for others to be computed with it. While images are
            computed, others gather without it.
        decodings: maximum number of requests whose images wait to be decoded.
        explanations: maximum number of explanations that are computed or wait.
        connections: maximum number of open connections.
        head_seconds: time that a client has to send the head of a request.
        receive_seconds: time that a client has to send a request.
        answer_seconds: time until a request that waits is given up, and that a client has to take
            its answer.
        idle_seconds: time that a connection stays open without a request.
        leave_seconds: the same, once the server stops.
        stop_seconds: time that a client has to finish its request, once the server stops.
        collected: maximum number of pictures that are collected.
        collected_bytes: maximum size of all of them together.
        collected_side: longer side of a collected picture, in pixels; larger ones are scaled down.
    """

    body_bytes: int = 16 * MEBIBYTE
    bodies_bytes: int = 256 * MEBIBYTE
    head_bytes: int = 32 * 2**10
    images: int = 64
    pixels: int = 200_000_000
    top: int = 1000
    queue: int = 1024
    batch: int = 64
    delay: float = 0.0
    decodings: int = 64
    explanations: int = 8
    connections: int = 256
    head_seconds: float = 10.0
    receive_seconds: float = 60.0
    answer_seconds: float = 30.0
    idle_seconds: float = 15.0
    leave_seconds: float = 0.25
    stop_seconds: float = 5.0
    collected: int = 10_000
    collected_bytes: int = 2048 * MEBIBYTE
    collected_side: int = 1024
