"""Typed names and file names reach the terminal only as printable characters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bad_inputs.makers.bundles import bundle
from bad_inputs.makers.files import all_of, file
from bad_inputs.makers.pictures import picture, pictures, tarred
from bad_inputs.rows import control_characters, errors
from command_line import Tenfold
from thoroughness import some

NASTY = [
    "line\nbreak",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "bell\x07\x08\x7f",
    "c1\x9b2J",
    "\udcff",
]
"""Newline, color, reversed direction, bell, 8-bit escape, a byte that is not Unicode."""

COMMANDS = {
    "data": ["train", "{}"],
    "data-below-a-folder": ["train", "./{}"],
    "data-shown": ["data", "./{}"],
    "recipe": ["train", "digits", "--recipe", "{}"],
    "recipe-file": ["train", "digits", "--recipe", "{}.toml"],
    "key": ["train", "digits", "--set", "{}=1"],
    "no-key": ["train", "digits", "--set", "{}"],
    "inner-key": ["train", "digits", "--set", "epochs.{}.x=1"],
    "argument": ["train", "digits", "--set", "model_args.{}=1"],
    "value": ["train", "digits", "--set", "epochs={}"],
    "model": ["train", "digits", "--model", "{}"],
    "optimizer": ["train", "digits", "--optimizer", "{}"],
    "number": ["train", "digits", "--epochs", "{}"],
    "option": ["train", "digits", "--{}"],
    "command": ["{}"],
    "device": ["train", "digits", "--device", "{}"],
    "engine": ["train", "digits", "--engine", "{}"],
    "interval": ["train", "digits", "--checkpoint-every", "{}"],
    "out": ["train", "digits", "--epochs", "1", "--out", "file/{}"],
    "data-root": ["train", "mnist", "--data-root", "{}"],
    "run": ["resume", "{}"],
    "accept": ["resume", "run", "--accept", "{}"],
    "bundle": ["predict", "{}", "x.png"],
    "image": ["predict", "model.safetensors", "{}"],
    "split": ["evaluate", "model.safetensors", "--split", "{}"],
    "shape": ["summary", "lenet", "--shape", "{}"],
    "summary": ["summary", "{}"],
    "shown-recipe": ["recipes", "{}"],
    "reproduced": ["reproduce", "{}"],
}


TYPED = [
    (command, name)
    for place, command in enumerate(COMMANDS)
    for name in some((NASTY * 2)[place % len(NASTY) :][: len(NASTY)], 2)
]
"""Each command with two of the names, others for each of six commands."""


@pytest.mark.parametrize(("command", "name"), TYPED, ids=ascii)
def test_what_is_typed_cannot_reach_the_terminal(
    command: str, name: str, tenfold: Tenfold, tmp_path: Path
) -> None:
    all_of(bundle(), file("file"))(tmp_path)
    answer = tenfold(*(argument.replace("{}", name) for argument in COMMANDS[command]))
    assert answer.code in (1, 2, 3, 4), answer.err
    assert answer.out == ""
    (message,) = errors(answer.err)
    assert answer.err.endswith(f"{message}\n"), "the error comes after the notes"
    assert message.startswith("tenfold: ")
    assert not control_characters(answer.err)


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_what_files_are_called_cannot_reach_the_terminal(
    name: str, tenfold: Tenfold, tmp_path: Path
) -> None:
    damaged = (f"photos/cat/{name}.png", f"{name}/cat/1.png", f"{name}.npz", f"{name}.zip")
    all_of(pictures(cat=2, dog=2), *(file(place, "hello") for place in damaged))(tmp_path)
    tarred("members.tar", {f"cat/{name}.png": b"hello", "dog/1.png": picture()})(tmp_path)
    bundle()(tmp_path)
    shutil.move(tmp_path / "model.safetensors", tmp_path / f"{name}.safetensors")
    for command in (
        ["train", "photos"],
        ["train", f"./{name}"],
        ["train", f"./{name}.npz"],
        ["train", f"./{name}.zip"],
        ["data", "members.tar"],
        ["predict", f"{name}.safetensors", f"photos/cat/{name}.png"],
        ["evaluate", f"{name}.safetensors"],
    ):
        answer = tenfold(*command)
        assert answer.code in (2, 3), answer.err
        assert answer.err.count("\n") == 1
        assert not control_characters(answer.err), command


@pytest.mark.parametrize("name", NASTY, ids=ascii)
@pytest.mark.parametrize("form", ["--json", "--csv", ""])
def test_an_answer_about_an_image_of_any_name_can_be_printed(
    name: str, form: str, tenfold: Tenfold, tmp_path: Path
) -> None:
    all_of(bundle(), file(f"{name}.png", picture()))(tmp_path)
    answer = tenfold("predict", "model.safetensors", f"{name}.png", *filter(None, [form]))
    assert answer.code == 0, answer.err
    answer.out.encode()  # a terminal accepts UTF-8, not surrogates
    if form == "--json":
        (prediction,) = json.loads(answer.out)["predictions"]
        assert prediction["image"] == f"{name}.png"
    if form != "--csv":  # CSV is for programs, and has its own quoting
        assert not control_characters(answer.out)
