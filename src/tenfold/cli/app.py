"""The application that commands belong to."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

import tenfold
from tenfold.errors import InterruptedRunError, TenfoldError
from tenfold.reporting.help import help_in_language

P = ParamSpec("P")
R = TypeVar("R")

TRAINING, MODELS, DATA, MORE = "Training", "Trained models", "Data", "More"
"""The panels of the help, which list the commands."""

_ORDER = (
    *("train", "resume", "runs", "compare", "reproduce"),
    *("evaluate", "report", "predict", "explain", "serve", "export"),
    *("data", "check", "show"),
    *("summary", "recipes", "info"),
)
"""The commands as the help lists them."""


class _Command(TyperCommand):
    """A command whose help shows no type for `--help`, and is in the language of its reader."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        with help_in_language(self, ctx):
            super().format_help(ctx, formatter)

    def get_help_option(self, ctx: Any) -> TyperOption | None:  # noqa: ANN401
        return _without_type(super().get_help_option(ctx))


class _Group(TyperGroup):
    """The same for the group of all commands, which are listed in their order."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        with help_in_language(self, ctx):
            super().format_help(ctx, formatter)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401
        return sorted(super().list_commands(ctx), key=_ORDER.index)

    def get_help_option(self, ctx: Any) -> TyperOption | None:  # noqa: ANN401
        return _without_type(super().get_help_option(ctx))


def _without_type(option: TyperOption | None) -> TyperOption | None:
    if option is not None:
        option.metavar = ""
    return option


app = typer.Typer(
    name="tenfold",
    cls=_Group,
    help="Train small-image classifiers in seconds, and trust what they say.",
    epilog="Start with: tenfold train digits",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class InterruptedByUserError(TenfoldError):
    """Ctrl-C outside training: there is nothing to save."""

    exit_code = 128 + signal.SIGINT

    def __init__(self) -> None:
        super().__init__("interrupted")


def command(panel: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function a command; Ctrl-C outside training becomes our error.

    Args:
        panel: of the help, in which it is listed.
    """

    def made(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def stoppable(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except KeyboardInterrupt as interrupt:
                # A further signal, just before the command that continues the run was shown.
                if isinstance(interrupt.__context__, InterruptedRunError):
                    raise interrupt.__context__ from None
                raise InterruptedByUserError from None

        return app.command(cls=_Command, rich_help_panel=panel)(stoppable)

    return made


def _version(wanted: bool | None) -> None:
    if wanted:
        sys.stdout.write(f"{tenfold.__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool | None,
        typer.Option(
            "--version", metavar="", callback=_version, is_eager=True, help="Show the version."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", metavar="", help="Show tracebacks of errors; works anywhere in the command."
        ),
    ] = False,
) -> None:
    del version, debug  # handled elsewhere; declared here for --help
