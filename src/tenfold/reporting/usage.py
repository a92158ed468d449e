"""One-sentence errors for wrong command lines."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperOption

from tenfold.errors import UsageError, nearest, printable, shell_word, wanted

_SYNONYMS = {
    "--learning-rate": "--lr",
    "--gpu": "--device cuda",
    "--cuda": "--device cuda",
    "--cpu": "--device cpu",
}


def misunderstood(error: typer.TyperException, arguments: Sequence[str]) -> UsageError:
    """The error to show instead of typer's.

    Args:
        error: typer's error.
        arguments: the command line without the program's name.
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
        commands = getattr(context.command, "commands", {}) if context else {}
        remedy = _remedy_for(unknown, command, arguments, options) or help_for_command
        if unknown.lstrip("-") in commands:
            remedy = f"write {command} {unknown.lstrip('-')}"
        found = printable(unknown, 80)
        return UsageError(f"there is no option {found} in {command}", remedy=remedy)
    message = error.format_message().rstrip(".")
    if extra := re.search(r"unexpected extra argument.*? \((.*)\)$", message):
        # Typer joins them by spaces, which an argument may contain.
        fitting = [each for each in arguments if f"{extra[1]} ".startswith(f"{each} ")]
        found = max(fitting, key=len, default=extra[1])
        return _extra_argument(command, found, arguments, options, help_for_command)
    if no_command := re.match(r"No such command '(.*?)'", message):
        message = f"there is no command {printable(no_command[1], 80)!r}"
        similar = nearest(no_command[1], context.command.commands if context else ())
        help_for_command = f"did you mean {command} {similar}?" if similar else help_for_command
        if _is_data(no_command[1]):
            help_for_command = f"write {command} train {shell_word(no_command[1])}"
    return UsageError(f"{message[:1].lower()}{message[1:]}", remedy=help_for_command)


def _is_data(name: str) -> bool:
    from tenfold.data.catalog.table import find  # slow to import

    return find(name) is not None or Path(name).exists()


def _options(context: Any) -> list[TyperOption]:  # noqa: ANN401 - typer's own
    found = [] if context is None else context.command.params
    return [each for each in found if isinstance(each, TyperOption)]


def _remedy_for(
    unknown: str, command: str, arguments: Sequence[str], options: Iterable[TyperOption]
) -> str:
    """The option or setting that was probably meant; empty if there is none."""
    names = {name for option in options for name in option.opts}
    if unknown == "--data":
        return f"write {command} {shell_word(_value_of(unknown, arguments) or 'DATA')}"
    if "--set" in names:
        of_the_recipe = not command.endswith("summary")  # there --set is for model arguments
        setting = _setting(unknown, _value_of(unknown, arguments), of_the_recipe)
        if setting:
            return f"write --set {printable(setting, 80)}"
    similar = _SYNONYMS.get(unknown) or nearest(unknown, names)
    return f"did you mean {similar}?" if similar else ""


def _value_of(option: str, arguments: Sequence[str]) -> str:
    """The value after an option on the command line; empty if there is none."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == option:
            following = "".join(arguments[place + 1 : place + 2])
            return value if equals else "" if following.startswith("-") else following
    return ""


def _values_of(option: str, arguments: Sequence[str]) -> list[str]:
    """All arguments that follow an option."""
    return [after for before, after in itertools.pairwise(arguments) if before == option]


def _setting(unknown: str, value: str, of_the_recipe: bool) -> str:
    """An option and its value as a `--set` for the key of this name; empty if there is no key."""
    from tenfold.recipes import AugmentRecipe, Recipe

    name = unknown.lstrip("-").replace("-", "_")
    if name in _model_arguments():
        return f"{'model_args.' if of_the_recipe else ''}{name}={value or 'VALUE'}"
    if not of_the_recipe:
        return ""
    if name == "image_size":
        sides = [side for side in value.lower().split("x") if side.isdecimal()]
        height, width = (sides * 2)[:2] if len(sides) in (1, 2) else ("HEIGHT", "WIDTH")
        return f"image_size=[{height},{width}]"
    for model, prefix in ((Recipe, ""), (AugmentRecipe, "augment.")):
        if name in model.model_fields:
            example = "true" if model.model_fields[name].annotation is bool else "VALUE"
            return f"{prefix}{name}={value or example}"
    return ""


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
    """The error for an extra argument, which may be meant as the value of a flag."""
    flags = {name for option in options if option.is_flag for name in option.opts}
    for before, argument in itertools.pairwise(arguments):
        if argument != extra:
            continue
        if before in _values_of("--set", arguments) and "=" not in before:
            return UsageError(
                f"--set {before}: not KEY=VALUE",
                remedy=f"write --set {before}={extra}",
            )
        if Path(f"{before} {extra}").exists():
            return UsageError(
                f"{command} takes no more arguments, found {printable(repr(extra), 80)}",
                remedy=f"put the path in quotes: {shell_word(f'{before} {extra}')}",
            )
        if before in flags:
            return UsageError(
                f"{before} takes no value, found {printable(repr(extra), 80)}",
                remedy=f"write {before} alone, or leave it out",
            )
    return UsageError(
        f"{command} takes no more arguments, found {printable(repr(extra), 80)}",
        remedy=help_for_command,
    )
