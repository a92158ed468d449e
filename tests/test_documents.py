"""What is published says what it means: no placeholder is left in any document."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from command_line import Tenfold
from drawn_digits import drawing, on_paper
from small_data import SMALL_DATA, TRAIN_IMAGES

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


ANCHOR = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)#([^)\s]+)\)")
"""What follows a link's text, if it is a heading of this document or of another."""


def anchors(path: Path) -> set[str]:
    """The headings of a document, as GitHub writes them in addresses."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_heading_leads_to_one(path: Path) -> None:
    links = ANCHOR.findall(CODE.sub("", prose(path)))
    assert [
        (target, anchor)
        for target, anchor in links
        if anchor not in anchors(path.parent / target if target else path)
    ] == []


def test_there_are_links_to_headings() -> None:
    assert sum(len(ANCHOR.findall(prose(path))) for path in DOCUMENTS) >= 2


def commands_in(path: Path) -> list[list[str]]:
    """The words of tenfold's commands in a document, without comments."""
    lines = re.findall(r"^\$ tenfold (.*)", path.read_text("utf-8"), re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("name", ["comparing.md", "report.md"])
def test_commands_run_in_their_order(name: str, tenfold: Tenfold) -> None:
    """Each training is one of a single epoch, to be quick."""
    Image.new("L", (28, 28)).save("seven.png")
    on_paper(drawing("7"), 0).save("photograph.jpg")
    commands = commands_in(ROOT / "docs" / name)
    assert len(commands) >= 5
    for words in commands:
        answer = tenfold(*words, *(["--epochs", "1"] if words[0] == "train" else []))
        assert answer.code == 0, f"{words}: {answer.err}"
        assert answer.out, words


TRANSLATED = sorted(path.name.removesuffix(".zh.md") for path in (ROOT / "docs").glob("*.zh.md"))


def in_both(name: str) -> tuple[str, str]:
    """A page's text in English and in Chinese."""
    folder = ROOT / "docs"
    return (folder / f"{name}.md").read_text("utf-8"), (folder / f"{name}.zh.md").read_text("utf-8")


def code_in(text: str) -> list[str]:
    """The lines of all blocks of code."""
    blocks = re.findall(r"^```.*?^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def before_words(line: str) -> str:
    """A line of code without a comment, or one of a tree without what is said of a file."""
    return re.split(r"(?<=\S)  |(?<=\S) +#", line)[0]


def test_these_pages_are_translated() -> None:
    assert {*TRANSLATED} == {
        "check", "comparing", "export", "folders", "own-networks", "report", "serving", "starting",
    }  # fmt: skip


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_translation_has_the_same_code(name: str) -> None:
    """Except for words in Chinese."""
    english, chinese = map(code_in, in_both(name))
    assert english
    for line, translated in zip(english, chinese, strict=True):
        if re.search("[\u4e00-\u9fff]", translated):
            assert before_words(translated) == before_words(line)
        else:
            assert translated == line


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_translation_has_the_same_parts_and_figures(name: str) -> None:
    """The levels of headings, the rows of tables, and the code and decimals in these."""
    english, chinese = in_both(name)
    for pattern in (r"^#+ ", r"^<!-- .* -->$"):
        found = [re.findall(pattern, text, re.MULTILINE) for text in (english, chinese)]
        assert found[0] == found[1]
    rows = [re.findall(r"^\|.*\|$", text, re.MULTILINE) for text in (english, chinese)]
    said = [[sorted(re.findall(r"`[^`]+`|\d+\.\d+", row)) for row in each] for each in rows]
    assert said[0] == said[1]


@pytest.mark.parametrize("name", TRANSLATED)
def test_each_language_links_to_the_other(name: str) -> None:
    english, chinese = in_both(name)
    assert english.split("\n\n")[1] == f"[中文]({name}.zh.md)"
    assert chinese.split("\n\n")[1] == f"[English]({name}.md)"


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


OWN_NETWORKS = ROOT / "docs" / "own-networks.md"


@SMALL_DATA
def test_what_is_said_about_own_networks_works(
    tenfold: Tenfold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRAIN_IMAGES, "mnist", 300)
    text = OWN_NETWORKS.read_text("utf-8")
    network, in_python = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    Path("net.py").write_text(network, "utf-8")
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            answer = tenfold(*shlex.split(line.removeprefix("$ tenfold "), comments=True))
            assert answer.code == 0, (line, answer.err)
    exec(network + in_python, {"__name__": "__main__"})
    wrong = network.replace("8 * 12 * 12", "576")
    Path("net.py").write_text(wrong, "utf-8")
    (shown,) = re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    answer = tenfold("train", "mnist", "--model", "net.py", "--out", "wrong")
    said = answer.err.partition("tenfold: ")[2].strip()
    assert said == shown.replace("\n", " ").strip()
