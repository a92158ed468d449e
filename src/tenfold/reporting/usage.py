"""One-sentence errors for wrong command lines."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperOption

from tenfold.errors import UsageError, nearest, printable, set_option, shell_word, wanted
from tenfold.paths import exists, is_folder

_SYNONYMS = {
    "--learning-rate": "--lr",
    "--gpu": "--device cuda",
    "--cuda": "--device cuda",
    "--cpu": "--device cpu",
}

_KEYS = {
    **dict.fromkeys(("imagesize", "img_size", "input_size", "resolution", "size"), "image_size"),
    **dict.fromkeys(("test_fraction", "test_size", "test_split"), "test"),
}
"""Keys of recipes by names that other tools have for them."""

_SWITCHED = ("true", "false", "yes", "no", "on", "off", "1", "0")
"""Words that people write after an option that takes no value."""


def misunderstood(error: typer.TyperException, arguments: Sequence[str]) -> UsageError:
    """The error to show instead of typer's.

    Args:
        error: typer's error.
        arguments: the command line without the program's name.
    """
    return _Line(tuple(arguments), getattr(error, "ctx", None)).explained(error)


def image_in_place_of_run(image: Path, others: Sequence[Path]) -> UsageError:
    """The error for `predict` without a run, or with the run after the images.

    Args:
        image: what stands where the run should.
        others: the paths after it.
    """
    runs = [path for path in others if path.suffix == ".safetensors" or is_folder(path)][:1]
    words = [*(runs or [Path("RUN")]), image, *(path for path in others if path not in runs)]
    return UsageError(
        f"{printable(image)}: this is an image, wanted a run first",
        remedy=f"write tenfold predict {' '.join(map(shell_word, words))}",
    )


@dataclass(frozen=True)
class _Line:
    """A wrong command line.

    Attributes:
        arguments: its words without the program's name.
        context: typer's context of the command; None if it does not say.
    """

    arguments: tuple[str, ...]
    context: Any

    @property
    def command(self) -> str:
        """The program and the command, as in `tenfold train`."""
        if self.context is not None:
            return printable(self.context.command_path)
        named = [word for word in self.arguments[:1] if not word.startswith("-")]
        return printable(" ".join(["tenfold", *named]))

    @property
    def help(self) -> str:
        """The remedy if there is no better one."""
        return f"see {self.command} --help"

    @property
    def commands(self) -> Mapping[str, Any]:
        """The program's commands, if none of them was found on the line."""
        found: Mapping[str, Any] = getattr(getattr(self.context, "command", None), "commands", {})
        return found

    @property
    def options(self) -> list[TyperOption]:
        """The command's options."""
        found = [] if self.context is None else self.context.command.params
        return [each for each in found if isinstance(each, TyperOption)]

    def explained(self, error: typer.TyperException) -> UsageError:
        """The error in tenfold's words."""
        details: list[Any] = getattr(error.__cause__, "errors", list)()
        if details:
            name = error.format_message().removeprefix("Invalid value for ").partition(":")[0]
            found = printable(repr(details[0]["input"]), 80)
            words = wanted(details[0]).partition(", ")[0]
            return UsageError(f"{name.strip(chr(39))} is {found}, wanted {words}")
        message, option = error.format_message().rstrip("."), getattr(error, "option_name", None)
        if option is not None and hasattr(error, "possibilities"):
            return self._unknown_option(option)
        if option is not None and message.endswith("does not take a value"):
            return _takes_no_value(option, self._value_of(option))
        if option is not None and message.endswith("requires an argument"):
            example = (
                "write, for example, --set label_smoothing=0.1" if option == "--set" else self.help
            )
            return UsageError(f"{option} needs a value", remedy=example)
        if extra := re.search(r"unexpected extra argument.*? \((.*)\)$", message):
            # Typer joins them by spaces, which an argument may contain.
            fitting = [word for word in self.arguments if f"{extra[1]} ".startswith(f"{word} ")]
            return self._extra_argument(max(fitting, key=len, default=extra[1]))
        if message.startswith("No such command"):  # it has the word's repr
            named = (word for word in self.arguments if repr(word) in message)
            return self._unknown_command(next(named, ""))
        return UsageError(f"{message[:1].lower()}{message[1:]}", remedy=self.help)

    def _unknown_command(self, name: str) -> UsageError:
        similar, remedy = nearest(name, self.commands), self.help
        if _is_data(name):
            remedy = f"write {self.command} train {shell_word(name)}"
        elif similar:
            remedy = f"did you mean {self.command} {similar}?"
        return UsageError(f"there is no command {printable(repr(name), 80)}", remedy=remedy)

    def _unknown_option(self, option: str) -> UsageError:
        name = option.lstrip("-")
        if name in self.commands:
            remedy = f"write {self.command} {name}"
        else:
            remedy = self._instead_of(option) or self.help
        message = f"there is no option {printable(option, 80)} in {self.command}"
        return UsageError(message, remedy=remedy)

    def _instead_of(self, option: str) -> str:
        """The remedy that names what was probably meant; empty if nothing is likely."""
        names = {name for known in self.options for name in known.opts}
        value, with_hyphens = self._value_of(option), option.replace("_", "-")
        if meant := _SYNONYMS.get(with_hyphens, with_hyphens if with_hyphens in names else ""):
            return f"did you mean {meant}?"
        _, _, command = self.command.partition(" ")
        if option == "--data":
            return self._data_as_an_argument(command, shell_word(value or "DATA"))
        if command == "resume" and (option == "--set" or _setting(option, "")):
            if _key(option) == "corrections":
                return "a run keeps the corrections that it began with: train a new run"
            if _key(option) in _KEPT or _model_setting(option, ""):
                return "a run keeps its model, start and optimizer: train a new run"
            return "change the run's recipe.toml, and add --accept recipe"
        if "--set" in names:
            # In `summary`, --set is for model arguments.
            named = _model_setting if command == "summary" else _setting
            if setting := named(option, value):
                return f"write {setting}"
        if option.lstrip("-") in self._other_commands():
            return f"did you mean tenfold {option.lstrip('-')}?"
        similar = nearest(with_hyphens.lstrip("-"), [name.lstrip("-") for name in names])
        return f"did you mean --{similar}?" if similar else ""

    def _data_as_an_argument(self, command: str, data: str) -> str:
        if command in ("train", "data"):
            return f"write {self.command} {data}"
        if command == "evaluate":
            return f"write the data after the run: {self.command} RUN {data}"
        return ""

    def _other_commands(self) -> Mapping[str, Any]:
        return _Line(self.arguments, getattr(self.context, "parent", None)).commands

    def _value_of(self, option: str) -> str:
        """The value after an option on the command line; empty if there is none."""
        for place, word in enumerate(self.arguments):
            name, equals, value = word.partition("=")
            if name == option:
                following = "".join(self.arguments[place + 1 : place + 2])
                return value if equals else "" if following.startswith("-") else following
        return ""

    def _extra_argument(self, extra: str) -> UsageError:
        """The error for an extra argument, which may be meant as the value of a flag."""
        flags = {name for option in self.options if option.is_flag for name in option.opts}
        pairs = list(itertools.pairwise(self.arguments))
        settings = [after for before, after in pairs if before == "--set"]
        for before, word in pairs:
            if before in flags and (word == extra or word.lower() in _SWITCHED):
                return _takes_no_value(before, word)
            if word != extra:
                continue
            if before in settings and "=" not in before:
                following = [after for start, after in pairs if start == "="]
                value = following[0] if extra == "=" and following else extra
                setting = set_option(before, value.lstrip("="))
                return UsageError(f"--set {before}: not KEY=VALUE", remedy=f"write {setting}")
            if exists(f"{before} {extra}"):
                return UsageError(
                    f"{self.command} takes no more arguments, found {printable(repr(extra), 80)}",
                    remedy=f"put the path in quotes: {shell_word(f'{before} {extra}')}",
                )
        return UsageError(
            f"{self.command} takes no more arguments, found {printable(repr(extra), 80)}",
            remedy=self.help,
        )


def _takes_no_value(flag: str, found: str) -> UsageError:
    return UsageError(
        f"{flag} takes no value, found {printable(repr(found), 80)}",
        remedy=f"write {flag} alone, or leave it out",
    )


def _is_data(name: str) -> bool:
    from tenfold.data.catalog.table import find  # slow to import

    return find(name) is not None or exists(name)


def _setting(option: str, value: str) -> str:
    """An option and its value as a recipe's key of this name is set; empty without one."""
    from tenfold.recipes import AugmentRecipe, Recipe

    name = _key(option)
    if name == "image_size":
        return f"--image-size {shell_word(value) if value else 'N'}"
    if name == "augment":
        name, value = value, ""
    for model, prefix in ((AugmentRecipe, "augment."), (Recipe, "")):
        if name in model.model_fields and name != "model_args":
            example = "true" if model.model_fields[name].annotation is bool else "VALUE"
            return set_option(f"{prefix}{name}", value or example)
    return _model_setting(option, value, "model_args.")


def _model_setting(option: str, value: str, prefix: str = "") -> str:
    """An option and its value as a `--set` for a model's argument; empty if there is none."""
    from tenfold.models import MODELS, model_arguments

    name = _key(option)
    known = {k: v for model in MODELS for k, v in model_arguments(model, {}).items()}
    if name not in known:
        return ""
    if isinstance(known[name], list) and re.fullmatch(r"[0-9, ]+", value):
        value = f"[{value}]"
    return set_option(f"{prefix}{name}", value or "VALUE")


_KEPT = ("model", "optimizer", "start", "from", "weights", "freeze")


def _key(option: str) -> str:
    """The key that an option is named after, or that is meant by its usual name elsewhere."""
    name = option.lstrip("-").replace("-", "_")
    return _KEYS.get(name, name)
