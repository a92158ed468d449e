from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import sys
import tarfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image

from small_data import SMALL_DATA, SMALL_MODEL
from tenfold import cli
from tenfold.data import load_splits
from tenfold.data.catalog.table import DATASETS
from tenfold.recipes import choosing
from thoroughness import only_if_thorough, some

LESSONS = Path(__file__).parent.parent / "docs" / "lessons"
sys.path.insert(0, str(LESSONS))
cifar10_copy, make_notebooks, make_outputs, pages = map(
    importlib.import_module, ("cifar10_copy", "make_notebooks", "make_outputs", "pages")
)

READMES = [LESSONS.parents[1] / "README.md", LESSONS.parents[1] / "README.zh.md"]
ENGLISH = [path for path in pages.lesson_pages() if not path.stem.endswith(".zh")]
CHINESE = [path for path in pages.lesson_pages() if path.stem.endswith(".zh")]
INDICES = [LESSONS / "README.md", LESSONS / "README.zh.md"]
MISSPELT = {"convpol.safetensors"}
"""On purpose: the lesson shows what comes of it."""


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def blocks(page: Path) -> list[tuple[str, str]]:
    """The kind and text of every block that can be run."""
    return [(block.kind, block.code) for block in pages.blocks(text_of(page))]


def failing(page: Path) -> list[bool]:
    """Of every block that can be run, whether its commands have to fail."""
    return [block.fails for block in pages.blocks(text_of(page))]


QUICK_CHOICES = {"LEAST_EPOCHS": 1, "MOST_EPOCHS": 2, "WIDTHS": (4,)}
"""Bounds of what is chosen by the data, for trainings whose models need not be good."""

CLASSES = sorted({name for entry in DATASETS.values() for name in entry.classes}, reverse=True)
RESULT = re.compile(
    r"\b(?:True|False|nan|inf)\b|"
    + "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in CLASSES if not name.isdigit())
)
"""Words that stand for results: names of classes, truth values, numbers that are none."""


def as_compared(line: str) -> str:
    """A line of output without spaces, and with `#` for what depends on the data or the machine."""
    return re.sub(r"\s", "", pages.without_numbers(RESULT.sub("#", line)))


def console(line: str, monkeypatch: pytest.MonkeyPatch, *, fails: bool) -> None:
    """Run a command, which has to succeed or to fail."""
    words = shlex.split(line.removeprefix("$ "))
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert bool(stop.value.code) == fails, line


def without_words(kind: str, text: str) -> str:
    """A block's code without comments and without what its strings say."""
    if kind == "console":
        return re.sub(r" +#.*", "", text)
    return ast.dump(_WithoutText().visit(ast.parse(text)))


class _WithoutPrintedText(ast.NodeTransformer):
    """Languages differ in the order of what is printed around a number."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        if isinstance(node.func, ast.Name) and node.func.id == "print":
            node.args = [_without_text(each) for each in node.args if not _is_text(each)]
        self.generic_visit(node)
        return node


class _WithoutText(_WithoutPrintedText):
    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant("") if _is_text(node) else node


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _without_text(node: ast.expr) -> ast.expr:
    """Keep an f-string's values with their formats, without the text around them."""
    if isinstance(node, ast.JoinedStr):
        node.values = [each for each in node.values if isinstance(each, ast.FormattedValue)]
    return node


def program(page: Path) -> list[str]:
    """A page's Python code without the text that it prints."""
    trees = [ast.parse(text) for kind, text in blocks(page) if kind == "python"]
    return [ast.dump(_WithoutPrintedText().visit(tree)) for tree in trees]


OTHER_PROGRAMS = [
    page
    for page in CHINESE
    if program(page) != program(page.with_name(page.name.replace(".zh", "")))
]
"""Pages in Chinese whose code does something else than in English."""


QUICKEST_FIRST = sorted(ENGLISH, key=lambda page: page.stem == "4-cnn-cifar")
"""The lessons in English, last the one that trains fifteen runs."""


def by_name(path: Path) -> str:
    return path.name


def test_there_is_a_lesson_for_each_teaching_system_and_for_own_pictures() -> None:
    assert [page.stem for page in ENGLISH] == [
        "1-softmax",
        "2-mlp",
        "3-lenet",
        "4-cnn-cifar",
        "5-convpool",
        "6-folder",
    ]
    assert [page.with_suffix(".zh.md") for page in ENGLISH] == CHINESE


@SMALL_DATA
@SMALL_MODEL
@pytest.mark.parametrize("page", some([*QUICKEST_FIRST, *OTHER_PROGRAMS], 5), ids=by_name)
def test_every_block_runs_in_its_order(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in QUICK_CHOICES.items():
        monkeypatch.setattr(choosing, name, value)
    namespace: dict[str, object] = {"__name__": "__main__"}
    text = text_of(page)
    for number, block in enumerate(pages.blocks(text), start=1):
        capfd.readouterr()
        if block.kind == "python":
            pages.execute(block.code, f"<{page.name}, block {number}>", namespace)
        else:
            for line in block.code.splitlines():
                console(line, monkeypatch, fails=block.fails)
        printed = "".join(capfd.readouterr()).replace(f"{tmp_path}{os.sep}", "").splitlines()
        compared = {as_compared(line) for line in printed}
        shown = "" if block.is_measured else block.output or ""
        for line in shown.splitlines():
            assert line == "..." or as_compared(line) in compared, block.code
    named = set(re.findall(r'"([\w-]+\.(?:png|safetensors))"', text)) - MISSPELT
    assert {*named, *pages.pictures(text).values()} <= {path.name for path in tmp_path.iterdir()}
    namespace.clear()  # the garbage collector would find a file of NumPy's before what closes it
    torch.set_printoptions(profile="default")  # which a lesson has changed


def test_a_shown_output_is_compared_without_what_the_data_decides() -> None:
    assert as_compared("tensor([  0, 0.1289, -3e-05, 0.])") == "tensor([#,#,#,#])"
    assert as_compared("60,000 of the  test images") == "#ofthetestimages"
    assert as_compared("epoch 1/2: lr 0.1, 2 min 5 s") == as_compared("epoch 2/2: lr 1, 0.1 s")
    assert as_compared("['Ankle boot', 'Bag']: True") == "['#','#']:#"
    assert as_compared("a bag of words") == "abagofwords"


@pytest.mark.parametrize("page", [*ENGLISH, READMES[0]], ids=by_name)
def test_the_chinese_page_has_the_same_code(page: Path) -> None:
    theirs = blocks(page.with_suffix(".zh.md"))
    assert [without_words(*block) for block in theirs] == [
        without_words(*block) for block in blocks(page)
    ]
    assert failing(page.with_suffix(".zh.md")) == failing(page)


NOT_BETWEEN_LETTERS = r"(?!(?<=[A-Za-z])(?=[A-Za-z]))"
"""So that what is printed as `to` is not taken out of `torch`."""


@pytest.mark.parametrize("page", ENGLISH, ids=by_name)
def test_the_chinese_page_shows_the_same_outputs(page: Path) -> None:
    """Except for the words that its own code prints, and for times."""
    theirs = outputs_without_own_words(page.with_suffix(".zh.md"))
    assert theirs == outputs_without_own_words(page)


def outputs_without_own_words(page: Path) -> list[list[str]]:
    """A page's outputs without the strings of their blocks and of functions that these call."""
    outputs, of_functions = [], dict[str, set[str]]()
    for block in pages.blocks(text_of(page)):
        shown = re.sub(r"(\d+ (h|min) )*[\d.]+ s\b", "# s", block.output or "")
        if block.kind == "python":
            tree = ast.parse(block.code)
            for node in tree.body:
                if isinstance(node, ast.FunctionDef):
                    of_functions[node.name] = texts_in(node, of_functions)
            for words in sorted(texts_in(tree, of_functions), key=len, reverse=True):
                own = re.escape(words.strip()) or "\n"
                shown = re.sub(f"{NOT_BETWEEN_LETTERS}{own}{NOT_BETWEEN_LETTERS}", "\n", shown)
        outputs.append(shown.split())
    return outputs


def texts_in(tree: ast.AST, of_functions: dict[str, set[str]]) -> set[str]:
    """The strings in code, and in the functions that it names."""
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.Name):
            found |= of_functions.get(node.id, set())
    return found


@pytest.mark.parametrize("page", [*ENGLISH, INDICES[0], READMES[0]], ids=by_name)
def test_the_chinese_page_has_the_same_parts_and_figures(page: Path) -> None:
    """As many headings and table rows, and every number with a decimal point in the tables."""
    texts = [path.read_text("utf-8") for path in (page, page.with_suffix(".zh.md"))]
    assert len({len(re.findall(r"^#+ ", text, re.MULTILINE)) for text in texts}) == 1
    rows = [re.findall(r"^\|.*\|$", text, re.MULTILINE) for text in texts]
    numbers = [[re.findall(r"\d+\.\d+", row) for row in table] for table in rows]
    assert numbers[0] == numbers[1]


CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [*ENGLISH, *CHINESE, *INDICES, READMES[1]], ids=by_name)
def test_the_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", CODE.sub("", text_of(page))):
        assert (page.parent / target).exists(), target


TABLE_ROW = re.compile(r"^\|.*\|$", re.MULTILINE)
NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
IN_PROSE = re.compile(rf"(?<![\w.,])({NUMBER}) ?(%?)")
AGREED = {"95%", "100%"}
"""An interval's usual level, and a whole."""


def untraced(text: str) -> list[str]:
    """Decimals and percentages in the prose that no code, output or table of the page has."""
    elsewhere = [*CODE.findall(text), *TABLE_ROW.findall(text)]
    values = {float(each.replace(",", "")) for each in re.findall(NUMBER, "\n".join(elsewhere))}
    prose = TABLE_ROW.sub("", CODE.sub("", text))
    found = []
    for number, percent in IN_PROSE.findall(re.sub(r"\]\([^)]*\)", "]", prose)):
        plain = number.replace(",", "")
        places = len(plain.partition(".")[2])
        known = {f"{value:.{places}f}" for value in values}
        if percent:
            known |= {f"{100 * value:.{places}f}" for value in values}
        if (places or percent) and plain not in known and number + percent not in AGREED:
            found.append(number + percent)
    return found


@pytest.mark.parametrize("page", [*ENGLISH, *CHINESE], ids=by_name)
def test_every_figure_in_the_prose_is_also_in_an_output_a_table_or_code(page: Path) -> None:
    assert untraced(text_of(page)) == []


def test_a_figure_in_the_prose_may_be_rounded_or_a_percentage() -> None:
    page = "```python\nlr = 0.25\n```\n\n```text\n0.8347 1,234.5\n```\n\n| 2.303 |\n\n"
    assert untraced(page + "0.835, 83 %, 83.5%, 25%, 1,234.5, 2.30, [3](3.7.md), 95 %, 17") == []
    assert untraced(page + "0.834, 84 % and 1.5") == ["0.834", "84%", "1.5"]


EXERCISE = re.compile(
    r"^### Exercise (\d): \S.*?\n\n(?:(?!^#).)+?^<details>\n<summary>Solution</summary>\n\n"
    r"((?:(?!^#{1,3} |^</details>).)+)^</details>$",
    re.DOTALL | re.MULTILINE,
)


@pytest.mark.parametrize("page", ENGLISH, ids=by_name)
def test_a_lesson_ends_with_three_exercises_and_their_solutions(page: Path) -> None:
    before, _, part = text_of(page).partition("\n## Exercises\n")
    assert "<details>" not in before
    assert "\n## " not in part
    found = EXERCISE.findall(part)
    assert [number for number, _ in found] == ["1", "2", "3"]
    assert part.count("<details>") == part.count("\n### ") == 3
    for _, solution in found:
        assert pages.blocks(solution)


# ---- Pictures ----------------------------------------------------------------------------------


def test_the_pictures_are_those_of_the_pages_and_small() -> None:
    shown = {name for page in (*ENGLISH, *CHINESE) for name in pages.pictures(text_of(page))}
    assert {path.name for path in pages.PICTURES.iterdir()} == shown
    for path in pages.PICTURES.iterdir():
        assert path.stat().st_size < 60_000, path.name


# ---- Making outputs ----------------------------------------------------------------------------

SMALL_PAGE = """# A page

```python
for n in range(9):
    print("number", n)
from PIL import Image
Image.effect_noise((9, 9), 50).save("dots.png")
```

```text
number 7
...
old
```

![dots](pictures/1-dots.png)

```console fails
$ tenfold data nowhere
```

<details>
<summary>Solution</summary>

```python
print(len("four"))
```

```text
```

</details>
"""


@pytest.fixture
def small_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(make_outputs, "PICTURES", tmp_path / "pictures")
    page = tmp_path / "1-small.md"
    page.write_text(SMALL_PAGE, "utf-8")
    return page


def test_outputs_are_put_into_the_page_and_pictures_beside_it(small_page: Path) -> None:
    assert not make_outputs.make(small_page, only_check=False)
    assert text_of(small_page) == SMALL_PAGE.replace(
        "number 7\n...\nold", "number 0\n...\nnumber 8"
    ).replace("```text\n```", "```text\n4\n```")
    assert [path.name for path in (small_page.parent / "pictures").iterdir()] == ["1-dots.png"]


def test_a_check_shows_differences_in_words_and_writes_nothing(
    small_page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make_outputs.make(small_page, only_check=True)
    assert text_of(small_page) == SMALL_PAGE
    assert "-old\n+number #\n" in capsys.readouterr().out
    small_page.write_text(
        SMALL_PAGE.replace("\nold\n", "\nnumber 1\n").replace("```text\n```", "```text\n3\n```"),
        "utf-8",
    )
    assert not make_outputs.make(small_page, only_check=True)


def test_a_command_that_fails_unannounced_stops_the_page(small_page: Path) -> None:
    small_page.write_text(SMALL_PAGE.replace("console fails", "console"), "utf-8")
    with pytest.raises(SystemExit, match="exit code 2"):
        make_outputs.make(small_page, only_check=False)


def test_a_command_that_should_fail_and_does_not_stops_the_page(small_page: Path) -> None:
    small_page.write_text(SMALL_PAGE.replace("data nowhere", "--version"), "utf-8")
    with pytest.raises(SystemExit, match="exit code 0"):
        make_outputs.make(small_page, only_check=False)


def test_cifar_10_is_read_from_its_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = DATASETS["cifar10"].classes
    with tarfile.open(tmp_path / cifar10_copy.ARCHIVE, "w:xz") as archive:
        for split, n in (("train", 20), ("test", 10)):
            for number in range(n):
                red = 10 * number
                name = tmp_path / "image.jpg"
                Image.new("RGB", (32, 32), (red, 0, 0)).save(name, quality=100)
                archive.add(name, f"copy/{split}/{classes[number % 10]}/{number}.jpg")
    monkeypatch.setenv("TENFOLD_DATA", str(tmp_path))
    with cifar10_copy.copy_in_use():
        splits = load_splits("cifar10").splits
        assert splits.train.source == "cifar10"
    assert splits.test is not None
    for part, n in ((splits.train, 20), (splits.test, 10)):
        assert part.classes == classes
        assert len(part) == n
        numbers = np.rint(part.image_array[:, 0, 0, 0] / 10).astype(int)
        assert sorted(numbers) == [*range(n)]
        assert [*numbers] != [*range(n)]
        assert part.label_array.tolist() == [*(numbers % 10)]


# ---- Notebooks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*ENGLISH, *CHINESE], ids=by_name)
def test_the_notebook_is_made_from_the_page(page: Path) -> None:
    path = make_notebooks.notebook_path(page)
    assert path.read_text("utf-8") == make_notebooks.notebook_text(page), (
        "run: python docs/lessons/make_notebooks.py"
    )
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert code == [
        re.sub("^[$] ", "!", block.code.strip("\n"), flags=re.MULTILINE)
        for block in pages.blocks(text_of(page))
        if not block.is_folded
    ]
    for cell in notebook.cells:
        source = "" if cell.cell_type == "code" else CODE.sub("", cell.source)
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", source):
            assert (path.parent / target).exists(), target


def test_no_notebook_is_left_of_a_page_that_is_gone() -> None:
    expected = {make_notebooks.notebook_path(page) for page in (*ENGLISH, *CHINESE)}
    assert {*pages.NOTEBOOKS.iterdir()} == expected


COMMAND_ON_SMALL_DATA = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import small_data
from tenfold import cli
from tenfold.recipes import choosing
small_data.SMALL_DATA.start()
for name, value in {QUICK_CHOICES!r}.items():
    setattr(choosing, name, value)
cli.main()
"""


def run_in_kernel(page: Path, folder: Path) -> nbformat.NotebookNode:
    """A page's notebook with its outputs, run in an empty folder on small data."""
    work, startup = folder / "work", folder / ".ipython" / "profile_default" / "startup"
    commands = folder / "commands"
    for each in (work, startup, commands):
        each.mkdir(parents=True)
    (startup / "small_data.py").write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import small_data\nsmall_data.SMALL_DATA.start()\n"
    )
    (commands / "tenfold").write_text(COMMAND_ON_SMALL_DATA)
    (commands / "tenfold").chmod(0o755)
    notebook = nbformat.read(make_notebooks.notebook_path(page), as_version=4)
    client = NotebookClient(
        notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": work}}
    )
    without_screen = {name: text for name, text in os.environ.items() if name != "DISPLAY"}
    client.execute(
        env={
            **without_screen,
            "IPYTHONDIR": str(folder / ".ipython"),
            "OMP_NUM_THREADS": "1",
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "PYTHONWARNINGS": "error::UserWarning",
        }
    )
    return notebook


def outputs_in(notebook: nbformat.NotebookNode, kind: str) -> list[nbformat.NotebookNode]:
    """A notebook's outputs of a kind."""
    return [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == kind
    ]


@only_if_thorough
def test_a_notebook_runs_in_a_kernel(tmp_path: Path) -> None:
    notebook = run_in_kernel(ENGLISH[0], tmp_path)
    pictures = [
        output.metadata["image/png"]["alt"] for output in outputs_in(notebook, "display_data")
    ]
    assert len(pictures) == 4
    assert pictures[0] == "8 images of fashion-mnist (train)"
    assert pictures[1].startswith("Plot of the training up to epoch 10: train_loss ")
    assert pictures[2] == "the weights of each class as an image"
    assert pictures[3] == "16 images of fashion-mnist (test)"


@only_if_thorough
def test_the_commands_of_a_notebook_run_in_its_folder(tmp_path: Path) -> None:
    notebook = run_in_kernel(ENGLISH[5], tmp_path)
    printed = "".join(output.text for output in outputs_in(notebook, "stream"))
    assert "1 of 301 images cannot be read" in printed
    assert "report runs/better/report.html" in printed
    assert "the server has stopped with exit code 0" in printed
    assert len(outputs_in(notebook, "display_data")) == 3
    assert (tmp_path / "work" / "runs" / "clothes" / "model.py").exists()
