"""The command that serves a trained model."""

from __future__ import annotations

import importlib.util
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from tenfold.cli.app import MODELS, command
from tenfold.cli.options import Code, Device, Json, RunArgument, named_code
from tenfold.cli.output import show
from tenfold.errors import UsageError, printable
from tenfold.native.threads import MOST_THREADS

_PACKAGES = ("fastapi", "uvicorn", "httptools", "python_multipart", "prometheus_client")
"""What the extra `serve` brings."""

_TOKEN = "TENFOLD_TOKEN"  # noqa: S105 - the name of an environment variable

_SHORTEST_TOKEN = 8


@command(MODELS)
def serve(
    run: RunArgument,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address of this computer to listen to.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(metavar="N", min=0, max=65535, help="Port to listen to; 0 for any free one."),
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Answer only clients that send this token. Others on this computer can see it "
            f"here, but not in the environment variable {_TOKEN}, which means the same.",
        ),
    ] = None,
    no_token: Annotated[
        bool,
        typer.Option(
            "--no-token", metavar="", help="Listen to other computers even without a token."
        ),
    ] = False,
    collect: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Save the pictures that people mark wrong, with their right classes, in class "
            "folders that `tenfold train` takes.",
        ),
    ] = None,
    max_batch: Annotated[
        int, typer.Option(metavar="N", min=1, max=4096, help="Images computed at once.")
    ] = 64,
    max_delay: Annotated[
        float,
        typer.Option(
            metavar="MS",
            min=0,
            max=1000,
            help="Milliseconds that an image waits for others to be computed with it.",
        ),
    ] = 0.0,
    max_queue: Annotated[
        int, typer.Option(metavar="N", min=1, max=1_000_000, help="Images that may wait.")
    ] = 1024,
    device: Device = "cpu",
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=MOST_THREADS,
            help="CPU threads that compute; by default one for kernels, PyTorch's own number for "
            "PyTorch.",
        ),
    ] = None,
    code: Code = None,
    as_json: Json = False,
) -> None:
    """Serve a model over HTTP, with a page to draw on, until Ctrl-C or SIGTERM.

    Only programs on this computer reach it, unless --host says otherwise.
    """
    _require_packages()
    from tenfold.deployment import Classifier
    from tenfold.deployment.serving.application import Service
    from tenfold.deployment.serving.collecting import Collection
    from tenfold.deployment.serving.guarding import Access
    from tenfold.deployment.serving.limits import Limits
    from tenfold.deployment.serving.running import Server, listen
    from tenfold.reporting.terminal import PlainWatcher
    from tenfold.runs.resources import choose_device
    from tenfold.runs.run import notes_on, read_own_bundle
    from tenfold.runs.signals import stop_on_signals
    from tenfold.storage import absolute

    watcher = PlainWatcher()  # there is no progress to show
    with stop_on_signals() as request:
        token = _chosen_token(token, no_token)
        bundle, own = read_own_bundle(run, named_code(code))
        limits = Limits(batch=max_batch, delay=max_delay / 1000, queue=max_queue)
        listening = listen(host, port)
        with listening.socket:
            if not (listening.is_loopback or token or no_token):
                raise UsageError(
                    f"--host {printable(host)}: other computers may reach this address, so the "
                    "server needs a token",
                    remedy=f"set {_TOKEN} or --token, or allow everybody with --no-token",
                )
            collection = None if collect is None else Collection(collect, bundle.header, limits)
            classifier = Classifier(bundle, choose_device(device), threads=threads or 1)
            if threads is not None and "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(threads)
            service = Service(
                classifier,
                name=absolute(run).name if own is None else own.path.name,
                limits=limits,
                collection=collection,
                access=Access(token, host, listening.is_loopback),
                tell=watcher.note,
            )
            server = Server(service, listening, request)
            for note in notes_on(bundle, own):
                watcher.note(note)
            facts = {
                "address": listening.address,
                "host": listening.host,
                "port": listening.port,
                "run": str(absolute(run)),
                "model": bundle.header.model,
                "collect": None if collect is None else str(absolute(collect)),
            }
            saving = "" if collect is None else f"corrections are saved in {printable(collect)}; "
            show(
                facts,
                as_json,
                lambda: (
                    f"{listening.address} answers for {printable(run)} "
                    f"({printable(bundle.header.model)}); {saving}stop it with Ctrl-C"
                ),
            )
            with redirect_stdout(sys.stderr):  # what a network of the user's own prints
                server.run()
            watcher.note("stopped")
        request.signal_number = 0  # everything was answered: the stop is no interruption


def _require_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"serve needs packages that are not installed: {', '.join(missing)}",
            remedy="install them with: pip install 'tenfold[serve]'",
        )


def _chosen_token(token: str | None, no_token: bool) -> str:
    """The token on the command line, or else in the environment; empty for none.

    Raises:
        UsageError: it is no token, or none was wanted.
    """
    place = "--token"
    if token is None:
        token, place = os.environ.get(_TOKEN, ""), _TOKEN
    if no_token and (token or place == "--token"):
        raise UsageError(f"{place} and --no-token exclude each other", remedy="choose one")
    if not token and place == _TOKEN:
        return ""
    if len(token) < _SHORTEST_TOKEN or not all("!" <= character <= "~" for character in token):
        raise UsageError(
            f"the token in {place} is too short, or has spaces or letters beyond ASCII; wanted "
            f"{_SHORTEST_TOKEN} or more letters, digits and signs",
            remedy="make one with: python -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    return token
