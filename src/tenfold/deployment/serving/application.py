"""The application: what is answered at which address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from tenfold._version import __version__
from tenfold.deployment.classifier import Classifier
from tenfold.deployment.serving import documents as doc
from tenfold.deployment.serving.answering import (
    SCHEMA,
    Answering,
    Wanted,
    changes_of,
    facts_of,
    wanted_of,
)
from tenfold.deployment.serving.bodies import (
    JSON,
    Bodies,
    labeled_picture,
    media_type,
    most_json,
    pictures_in,
    pixels_in,
)
from tenfold.deployment.serving.collecting import Collection
from tenfold.deployment.serving.guarding import Access, Gate, State, report
from tenfold.deployment.serving.limits import Limits
from tenfold.deployment.serving.metrics import CONTENT_TYPE, Metrics
from tenfold.deployment.serving.page import INDEX, page_files
from tenfold.deployment.serving.patience import Patience
from tenfold.deployment.serving.pool import Pool
from tenfold.deployment.serving.refusals import Answer, RefusedError, answer_to, full
from tenfold.errors import TenfoldError, printable
from tenfold.types import PixelArray

_PREDICT, _COLLECT = "/predict", "/collect"

T = TypeVar("T")

_Endpoint = Callable[[Request], Awaitable[Response]]

_LONG = 16 * 2**10
"""Size of a body in bytes above which another thread reads it."""


@dataclass
class Service:
    """A model, and everything that answers for it.

    Args:
        classifier: the model.
        name: of the run or model file.
        limits: what clients are allowed.
        collection: where pictures are collected; None for nowhere.
        access: who may ask.
        tell: called with one line for every error that is no client's fault.
        connections: number of open connections, when asked.

    Attributes:
        state: of the server.
        metrics: what it has done.
        answering: what answers.
        savers: the thread that changes the collection.
        bodies: what reads requests.
        files: of the page, by name.
    """

    classifier: Classifier
    name: str
    limits: Limits = field(default_factory=Limits)
    collection: Collection | None = None
    access: Access = field(default_factory=Access)
    tell: Callable[[str], object] = lambda _: None
    connections: Callable[[], float] = lambda: 0

    def __post_init__(self) -> None:
        self.state = State()
        self.metrics = Metrics(lambda: self.answering.batcher.waiting, lambda: self.connections())
        self.answering = Answering(self.classifier, self.limits, self.metrics.computed)
        self.savers = Pool(1, self.limits.decodings, "pictures")
        self.bodies = Bodies(self.limits)
        self.files = page_files()

    def stop(self) -> None:
        """Finish what is being done, and end the threads."""
        self.answering.stop()
        self.savers.stop()

    def patience(self, request: Request) -> Patience:
        """Patience with a request whose body is complete."""
        exchange = request.scope["state"]["exchange"]
        return Patience(self.limits, self.state, lambda: exchange.is_gone)

    def facts(self) -> dict[str, Any]:
        """What clients may know of the model, ready for JSON."""
        header = self.classifier.bundle.header
        background = header.background
        return {
            "schema": SCHEMA,
            "name": self.name,
            "model": header.model,
            "classes": header.classes,
            "input_shape": header.input_shape,
            "background": None if background is None else background.model_dump(),
            "temperature": header.temperature,
            "data": {
                # A path would say where things are on this computer.
                key: Path(str(value)).name if key == "source" else value
                for key, value in header.data.items()
            },
            "figures": header.figures,
            "sha256": self.classifier.bundle.sha256,
            "collect": self.collection is not None,
            "version": __version__,
            "limits": {"body_bytes": self.limits.body_bytes, "images": self.limits.images},
        }


def application(service: Service) -> ASGIApp:
    """What answers requests, for a server to call."""
    app = FastAPI(
        title=f"tenfold: {service.name}",
        version=__version__,
        description=doc.DESCRIPTION,
        docs_url=None,  # pages of others, with scripts from elsewhere
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    _add_errors(app, service)
    predict = _add_prediction(app, service)
    _add_model(app, service)
    _add_state(app, service)
    _add_page(app, service)
    if service.collection is not None:
        _add_collection(app, service, service.collection)
    doc.complete(app, service.access)

    async def direct(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":  # uvicorn sends the head of an answer alone
            scope = {**scope, "method": "GET"}
        # FastAPI's own way to this function takes a fifth of the time of an answer.
        if scope["path"] == _PREDICT and scope["method"] == "POST":
            answer = await predict(Request(scope, receive))
            await answer(scope, receive, send)
        else:
            await app(scope, receive, send)

    return Gate(direct, service.access, service.metrics, service.tell)


def _add_errors(app: FastAPI, service: Service) -> None:
    def told(request: Request, error: Exception) -> Response:
        report(error, f"{request.method} {request.url.path}", service.tell)
        return answer_to(error)

    async def unexpected(request: Request, error: Exception) -> Response:
        del request  # the gate reports it
        return answer_to(error)

    app.add_exception_handler(TenfoldError, told)
    app.add_exception_handler(HTTPException, _told_by_status)
    app.add_exception_handler(Exception, unexpected)


def _told_by_status(request: Request, error: Exception) -> Response:
    """Where no address fits, or not with this method."""
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    if error.status_code == 405:
        message = f"{printable(path)} does not take {printable(method)}"
        remedy = f"use {(error.headers or {}).get('Allow', 'another method')}"
    else:
        message, remedy = f"there is nothing at {printable(path)}", "see /openapi.json"
        if path == _COLLECT or path.startswith(f"{_COLLECT}/"):
            remedy = "start the server with --collect FOLDER"
    return answer_to(RefusedError(error.status_code, message, remedy=remedy, headers=error.headers))


def _add_prediction(app: FastAPI, service: Service) -> _Endpoint:
    shape, limits = service.classifier.bundle.input_shape, service.limits
    answering = service.answering

    @app.post(
        _PREDICT,
        response_model=doc.PredictionsFacts,
        responses=doc.problems(service.access, 413, 415, 422, writes=True),
        openapi_extra=doc.prediction(shape, limits),
    )
    async def predict(request: Request) -> Response:
        """The most probable classes of one image or several."""
        wanted = wanted_of(request.scope["query_string"], limits)
        kind = request.headers.get("content-type", "")
        most = most_json(shape, limits) if media_type(kind) == JSON else None
        body = await service.bodies.read(request.headers, request.receive, most)
        try:
            patience = service.patience(request)
            names, pixels = await read(body.data, kind, wanted, patience)
        finally:
            body.release()
        return await answering.answer(names, pixels, wanted, patience)

    async def read(
        data: bytes, kind: str, wanted: Wanted, patience: Patience
    ) -> tuple[list[str], PixelArray]:
        """The names and pixels of images; of the body, nothing is kept while they wait."""
        if media_type(kind) == JSON:
            given = await _read(answering, data, lambda: pixels_in(data, shape, limits), patience)
            wanted.require_explainable(len(given))
            pixels = await answering.changed(given, wanted.changes, patience)
            return [f"image {n}" for n in range(len(pixels))], pixels
        pictures = await _read(answering, data, lambda: pictures_in(data, kind, limits), patience)
        wanted.require_explainable(len(pictures))
        pixels = await answering.pixels(pictures, wanted.changes, patience)
        return [picture.name for picture in pictures], pixels

    return predict


async def _read(answering: Answering, data: bytes, work: Callable[[], T], patience: Patience) -> T:
    """Read a body, in another thread if it is long."""
    return await answering.in_background(work, patience) if len(data) > _LONG else work()


def _add_model(app: FastAPI, service: Service) -> None:
    facts = Answer(service.facts())

    @app.get("/model", response_model=doc.ModelFacts, responses=doc.problems(service.access))
    async def model() -> Response:
        """The model: its classes, the shape of its images, its figures."""
        return facts

    @app.get("/openapi.json", include_in_schema=False)
    async def description() -> Response:
        return Answer(app.openapi())


def _add_state(app: FastAPI, service: Service) -> None:
    access = service.access

    is_open = doc.problems(access, is_open=True)

    @app.get("/health", response_model=doc.HealthFacts, responses=is_open)
    async def health() -> Response:
        """Whether the server runs."""
        return Answer({"status": "ok"})

    @app.get("/ready", response_model=doc.ReadyFacts, responses=is_open)
    async def ready() -> Response:
        """Whether it takes requests, which it no longer does when it stops."""
        if service.state.is_stopping:
            raise full("the server is stopping")
        return Answer({"status": "ready"})

    @app.get(
        "/metrics",
        response_class=Response,
        responses=doc.text("text/plain") | doc.problems(access),
    )
    async def metrics() -> Response:
        """What the server has done so far, as Prometheus reads it."""
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def _add_page(app: FastAPI, service: Service) -> None:
    problems = (
        doc.text("text/html") | doc.UNCHANGED | doc.problems(service.access, 404, is_open=True)
    )

    def file_named(name: str, request: Request) -> Response:
        file = service.files.get(name)
        if file is None:
            raise RefusedError(404, f"the page has no file {name!r}")
        headers = {"Cache-Control": "no-cache", "ETag": file.tag}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        return Response(file.data, headers={**headers, "Content-Type": file.media_type})

    @app.get("/", response_class=Response, responses=problems)
    async def page(request: Request) -> Response:
        """The page."""
        return file_named(INDEX, request)

    @app.get("/static/{name}", include_in_schema=False)
    async def static(request: Request) -> Response:
        return file_named(request.path_params["name"], request)


def _add_collection(app: FastAPI, service: Service, collection: Collection) -> None:
    access, limits = service.access, service.limits

    @app.post(
        _COLLECT,
        status_code=201,
        response_model=doc.SavedFacts,
        responses=doc.problems(access, 413, 415, 422, 507, writes=True),
        openapi_extra=doc.collection(collection.classes),
    )
    async def collect(request: Request) -> Response:
        """Save a picture with the right class."""
        changes = changes_of(request.scope["query_string"])
        kind = request.headers.get("content-type", "")
        body = await service.bodies.read(request.headers, request.receive)
        try:
            data, patience = body.data, service.patience(request)
            label, picture = await _read(
                service.answering, data, lambda: labeled_picture(data, kind, limits), patience
            )
            place, look = await service.savers.call(
                partial(collection.save, label, picture, changes), patience
            )
        finally:
            body.release()
        service.metrics.collected.inc()
        return Answer({"schema": SCHEMA, "saved": place, **facts_of(look)}, 201)

    @app.delete(
        f"{_COLLECT}/{{label}}/{{name}}",
        status_code=204,
        responses=doc.problems(access, 404, 507, writes=True),
        openapi_extra=doc.collected(),
    )
    async def take_back(request: Request) -> Response:
        """Remove a picture that was saved since the server started."""
        place = request.path_params
        await service.savers.call(
            partial(collection.take_back, place["label"], place["name"]),
            service.patience(request),
        )
        return Response(status_code=204)
