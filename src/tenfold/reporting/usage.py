"""What is wrong with a command line that cannot be understood, in one sentence."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from typer.core import TyperOption

from tenfold.errors import UsageError, nearest, printable, wanted

_SYNONYMS = {"--learning-rate": "--lr"}


def misunderstood(error: typer.TyperException, arguments: Sequence[str]) -> UsageError:
    """The error to show for one of typer's.

    Args:
        error: what typer raised.
        arguments: of the command line, without the program's name.
    """
    context = getattr(error, "ctx", None)
    command = printable(context.command_path if context else "tenfold")
    help_for_command = f"see {command} --help"
    options = _options(context)
    details: list[Any] = getattr(error.__cause__, "errors", list)()
    if details:
        option = error.format_message().removeprefix("Invalid value for ").partition(":")[0]
        found = printable(repr(details[0]["input"]), 80)
        words = wanted(details[0]).partition(",")[0]
        return UsageError(f"{option.strip(chr(39))} is {found}, wanted {words}")
    unknown = getattr(error, "option_name", None)
    if unknown is not None and hasattr(error, "possibilities"):
        remedy = _remedy_for(unknown, arguments, options) or help_for_command
        found = printable(unknown, 80)
        return UsageError(f"there is no option {found} in {command}", remedy=remedy)
    message = error.format_message().rstrip(".")
    if extra := re.search(r"unexpected extra arguments? ?\(?s?\)? ?\((\S+)", message):
        found = extra[1].removesuffix(")")
        return _extra_argument(command, found, arguments, options, help_for_command)
    if no_command := re.match(r"No such command '(.*?)'", message):
        message = f"there is no command {printable(no_command[1], 80)!r}"
        similar = nearest(no_command[1], context.command.commands if context else ())
        help_for_command = f"did you mean {command} {similar}?" if similar else help_for_command
    return UsageError(f"{message[:1].lower()}{message[1:]}", remedy=help_for_command)


def _options(context: typer.Context | None) -> list[TyperOption]:
    found = [] if context is None else context.command.params
    return [each for each in found if isinstance(each, TyperOption)]


def _remedy_for(unknown: str, arguments: Sequence[str], options: Iterable[TyperOption]) -> str:
    """The option or the key of a recipe that was probably meant; empty if there is none."""
    names = {name for option in options for name in option.opts}
    if "--set" in names and (setting := _setting(unknown, arguments)):
        return f"write --set {setting}"
    similar = _SYNONYMS.get(unknown) or nearest(unknown, names)
    return f"did you mean {similar}?" if similar else ""


def _setting(unknown: str, arguments: Sequence[str]) -> str:
    """The value that an option was given, as a setting of the recipe's key of this name, if any."""
    from tenfold.recipes import AugmentRecipe, Recipe

    name = unknown.lstrip("-").replace("-", "_")
    value = "VALUE"
    for place, argument in enumerate(arguments):
        option, equals, inline = argument.partition("=")
        if option == unknown:
            following = [*arguments[place + 1 : place + 2], ""][0]
            value = inline if equals else following
            break
    if not value or value.startswith("-"):
        value = "VALUE"
    if name == "image_size":
        sides = [side for side in value.lower().split("x") if side.isdecimal()]
        height, width = (sides * 2)[:2] if len(sides) in (1, 2) else ("HEIGHT", "WIDTH")
        return f"image_size=[{height},{width}]"
    fields = {**Recipe.model_fields, **AugmentRecipe.model_fields}
    if value == "VALUE" and name in fields and fields[name].annotation is bool:
        value = "true"
    if name in Recipe.model_fields:
        return printable(f"{name}={value}", 80)
    if name in AugmentRecipe.model_fields:
        return printable(f"augment.{name}={value}", 80)
    return printable(f"model_args.{name}={value}", 80) if name in _model_arguments() else ""


def _model_arguments() -> set[str]:
    from tenfold.models import MODELS, model_arguments

    return {argument for name in MODELS for argument in model_arguments(name, {})}


def _extra_argument(
    command: str,
    extra: str,
    arguments: Sequence[str],
    options: Iterable[TyperOption],
    help_for_command: str,
) -> UsageError:
    """The first argument that has no place, which may be meant for an option that takes none."""
    flags = {name for option in options if option.is_flag for name in option.opts}
    for before, argument in itertools.pairwise(arguments):
        if argument == extra and before in flags:
            return UsageError(
                f"{before} takes no value, found {printable(repr(extra), 80)}",
                remedy=f"write {before} alone, or leave it out",
            )
    return UsageError(
        f"{command} takes no further argument, but found {printable(repr(extra), 80)}",
        remedy=help_for_command,
    )
