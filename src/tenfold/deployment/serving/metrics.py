"""What a server has done so far, in Prometheus's text format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PATHS = frozenset(
    {"/", "/model", "/predict", "/collect", "/health", "/ready", "/metrics", "/openapi.json"}
)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counts what happens.

    Args:
        waiting: number of images that wait to be computed, when asked.
        connections: number of open connections, likewise.
    """

    def __init__(self, waiting: Callable[[], float], connections: Callable[[], float]) -> None:
        # Of each, the time when it began to be counted.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        registry = self._registry
        self._requests = Counter(
            "tenfold_requests",
            "Requests that were answered, by path and status.",
            ("path", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "tenfold_request_seconds",
            "Time from the head of a request to the end of its answer, by path.",
            ("path",),
            registry=registry,
            buckets=_SECONDS,
        )
        self.left = Counter(
            "tenfold_left_requests",
            "Requests whose clients left before they were answered.",
            registry=registry,
        )
        self.images = Counter("tenfold_images", "Images that were classified.", registry=registry)
        self.collected = Counter(
            "tenfold_collected_pictures", "Pictures that were collected.", registry=registry
        )
        self._batches = Histogram(
            "tenfold_batch_images",
            "Images that were computed together.",
            registry=registry,
            buckets=_IMAGES,
        )
        for name, text, value in (
            ("tenfold_queue_images", "Images that wait to be computed.", waiting),
            ("tenfold_connections", "Open connections.", connections),
        ):
            Gauge(name, text, registry=registry).set_function(value)
        ProcessCollector(registry=registry)
        self._by_answer: dict[tuple[str, int], Counter] = {}
        self._by_path: dict[str, Histogram] = {}

    def computed(self, images: int) -> None:
        """Count a batch."""
        self._batches.observe(images)
        self.images.inc(images)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        name = _name_of(path)
        self._count(name, status)
        histogram = self._by_path.get(name)
        if histogram is None:
            histogram = self._by_path[name] = self._seconds.labels(name)
        histogram.observe(seconds)

    def refused(self, status: int) -> None:
        """Count a request that was answered before anybody knew what it asks for."""
        self._count("other", status)

    def _count(self, name: str, status: int) -> None:
        counter = self._by_answer.get((name, status))
        if counter is None:
            counter = self._requests.labels(name, str(status))
            self._by_answer[name, status] = counter
        counter.inc()

    def text(self) -> bytes:
        """Everything, as text."""
        return generate_latest(self._registry)


def _name_of(path: str) -> str:
    """One of a few names, whatever clients ask for."""
    if path in _PATHS:
        return path
    for start in ("/static", "/collect"):
        if path.startswith(f"{start}/"):
            return start
    return "other"
