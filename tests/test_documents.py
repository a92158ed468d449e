"""What is published says what it means: no placeholder is left in any document."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from command_line import Tenfold

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.ipynb")]
)

PLACEHOLDER = re.compile(
    r"\b(TODO|TBD|FIXME|XXX+|PLACEHOLDERS?|TABLE|NOTE|FIGURE|RESULT|LOREM)\b"
    r"|\b[A-Z]{2,}(_[A-Z]{2,})+\b",
)
"""Words that authors write to be replaced; names of environment variables stand in code."""

CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def placeholders(text: str) -> list[str]:
    """The placeholders in a Markdown text, outside of its code."""
    return [match[0] for match in PLACEHOLDER.finditer(CODE.sub("", text))]


def prose(path: Path) -> str:
    """What a person reads in a document, without the code of a notebook."""
    text = path.read_text("utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_placeholder_is_published(path: Path) -> None:
    assert placeholders(prose(path)) == []


LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
"""What follows a link's text, if it is a path."""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    links = LINK.findall(CODE.sub("", prose(path)))
    assert [link for link in links if not (path.parent / link).exists()] == []


def commands_in(path: Path) -> list[list[str]]:
    """The words of tenfold's commands in a document, without comments."""
    lines = re.findall(r"^\$ tenfold (.*)", path.read_text("utf-8"), re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("name", ["comparing.md", "report.md"])
def test_commands_run_in_their_order(name: str, tenfold: Tenfold) -> None:
    """Each training is one of a single epoch, to be quick."""
    Image.new("L", (28, 28)).save("seven.png")
    commands = commands_in(ROOT / "docs" / name)
    assert len(commands) >= 5
    for words in commands:
        answer = tenfold(*words, *(["--epochs", "1"] if words[0] == "train" else []))
        assert answer.code == 0, f"{words}: {answer.err}"
        assert answer.out, words


@pytest.mark.parametrize("name", ["check", "folders", "report", "starting"])
def test_a_translation_has_the_same_commands(name: str) -> None:
    commands = [commands_in(ROOT / "docs" / f"{name}{end}") for end in (".md", ".zh.md")]
    assert len(commands[0]) >= 3
    assert commands[0] == commands[1]


@pytest.mark.parametrize(
    "text",
    [
        "Measured TABLE",
        "RESULT_SICK\n\n2.303 is ln 10",
        "NOTE",
        "SICK_ZH",
        "TABLE_ZH",
        "The accuracy is TBD.",
        "TODO: measure",
    ],
)
def test_a_placeholder_is_found(text: str) -> None:
    assert placeholders(f"# A lesson\n\nSome words.\n\n{text}\n")


def test_code_and_names_of_the_field_are_no_placeholders() -> None:
    assert placeholders("Set `TENFOLD_DATA`, then an MLP learns MNIST.\n```\nTODO\n```\n") == []
