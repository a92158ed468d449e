"""The lessons: every page's code runs and prints what it shows; notebooks are made from pages."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbclient import NotebookClient

from small_data import SMALL_DATA, SMALL_MODEL, TRAIN_IMAGES
from tenfold import cli
from thoroughness import IS_THOROUGH, some

LESSONS = Path(__file__).parent.parent / "docs" / "lessons"
READMES = [LESSONS.parents[1] / "README.md", LESSONS.parents[1] / "README.zh.md"]
ENGLISH = sorted(path for path in LESSONS.glob("[0-9]-*.md") if not path.stem.endswith(".zh"))
CHINESE = [path.with_suffix(".zh.md") for path in ENGLISH]
INDICES = [LESSONS / "README.md", LESSONS / "README.zh.md"]
MISSPELT = {"convpol.safetensors"}
"""On purpose: the lesson shows what comes of it."""

ANY = re.DOTALL | re.MULTILINE
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", ANY)


def blocks(page: Path) -> list[tuple[str, str]]:
    """The kind and text of every block that can be run."""
    return BLOCK.findall(page.read_text("utf-8"))


MEASURED = re.compile(r"epoch \d+/\d+: |[\d,]+ of the [\d,]+ test images|\d\.\d+ \d\.\d+$")
"""How shown lines begin whose numbers depend on the data or the machine."""


def outputs(page: Path) -> list[tuple[str, str]]:
    """Every output that a page shows, with the block of Python before it."""
    shown, code = [], ""
    for kind, text in re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text("utf-8"), ANY):
        if kind == "python":
            code = text
        elif kind == "text":
            shown.append((code, text))
    return shown


def as_compared(line: str) -> str:
    """A line of output; if its numbers were measured, without them."""
    return re.sub(r"\d+([.,]\d+)*", "#", line) if MEASURED.match(line) else line


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
    for english, page in zip(ENGLISH, CHINESE, strict=True)
    if program(page) != program(english)
]
"""Pages in Chinese whose code does something else than in English."""


def by_name(path: Path) -> str:
    return path.name


def test_there_is_a_lesson_for_each_teaching_system() -> None:
    assert [page.stem for page in ENGLISH] == [
        "1-softmax",
        "2-mlp",
        "3-lenet",
        "4-cnn-cifar",
        "5-convpool",
    ]


@SMALL_DATA
@SMALL_MODEL
@pytest.mark.parametrize("page", some([*ENGLISH, *OTHER_PROGRAMS], len(ENGLISH) + 1), ids=by_name)
def test_every_block_runs_in_its_order(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    shown = dict(outputs(page))
    for number, (kind, text) in enumerate(blocks(page)):
        if kind == "python":
            capfd.readouterr()
            exec(compile(text, f"{page.name}, block {number}", "exec"), namespace)
            printed = {as_compared(line) for line in "".join(capfd.readouterr()).splitlines()}
            for line in shown.pop(text, "").splitlines():
                assert as_compared(line) in printed
    assert not shown
    text = page.read_text("utf-8")
    named = set(re.findall(r'"([\w-]+\.(?:png|safetensors))"', text)) - MISSPELT
    assert named <= {path.name for path in tmp_path.iterdir()}
    namespace.clear()  # the garbage collector would find a file of NumPy's before what closes it


@SMALL_DATA
@SMALL_MODEL
@pytest.mark.parametrize("page", ENGLISH, ids=by_name)
def test_every_command_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TRAIN_IMAGES:
        monkeypatch.setitem(TRAIN_IMAGES, name, 300)
    monkeypatch.chdir(tmp_path)
    commands = [
        line for kind, text in blocks(page) if kind == "console" for line in text.splitlines()
    ]
    assert commands
    for line in commands:
        monkeypatch.setattr(sys, "argv", shlex.split(line.removeprefix("$ ")))
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code, line


@pytest.mark.parametrize("page", [*ENGLISH, READMES[0]], ids=by_name)
def test_the_chinese_page_has_the_same_code(page: Path) -> None:
    theirs = blocks(page.with_suffix(".zh.md"))
    assert [without_words(*block) for block in theirs] == [
        without_words(*block) for block in blocks(page)
    ]


@pytest.mark.parametrize("page", ENGLISH, ids=by_name)
def test_the_chinese_page_shows_the_same_outputs(page: Path) -> None:
    """Except for the words that its own code prints."""

    def without_own_words(code: str, shown: str) -> list[str]:
        constants = {node.value for node in ast.walk(ast.parse(code)) if _is_text(node)}
        for words in sorted(constants, key=len, reverse=True):
            shown = shown.replace(words.strip() or "\n", "\n")
        return shown.split()

    theirs = outputs(page.with_suffix(".zh.md"))
    assert [without_own_words(*each) for each in theirs] == [
        without_own_words(*each) for each in outputs(page)
    ]


def test_a_shown_output_is_compared_with_its_numbers_unless_they_were_measured() -> None:
    assert as_compared("torch.Size([64, 10])") == "torch.Size([64, 10])"
    assert as_compared("0.1289 0.1300") == "# #"
    assert as_compared("60,000 of the 60,000 test images are") == "# of the # test images are"


@pytest.mark.parametrize("page", [*ENGLISH, INDICES[0], READMES[0]], ids=by_name)
def test_the_chinese_page_has_the_same_parts_and_figures(page: Path) -> None:
    """As many headings and table rows, and every number with a decimal point in the tables."""
    texts = [path.read_text("utf-8") for path in (page, page.with_suffix(".zh.md"))]
    assert len({len(re.findall(r"^#+ ", text, re.MULTILINE)) for text in texts}) == 1
    rows = [re.findall(r"^\|.*\|$", text, re.MULTILINE) for text in texts]
    numbers = [[re.findall(r"\d+\.\d+", row) for row in table] for table in rows]
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("page", [*ENGLISH, *CHINESE, *INDICES, READMES[1]], ids=by_name)
def test_the_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


# ---- Notebooks ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_notebooks", LESSONS / "make_notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", [*ENGLISH, *CHINESE], ids=by_name)
def test_the_notebook_is_made_from_the_page(page: Path, maker: ModuleType) -> None:
    path = maker.notebook_path(page)
    assert path.read_text("utf-8") == maker.notebook_text(page), (
        "run: python docs/lessons/make_notebooks.py"
    )
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert code == [text.strip("\n") for kind, text in blocks(page) if kind == "python"]
    for cell in notebook.cells:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", cell.source):
            assert (path.parent / target).exists(), target


def test_no_notebook_is_left_of_a_page_that_is_gone(maker: ModuleType) -> None:
    expected = {maker.notebook_path(page) for page in (*ENGLISH, *CHINESE)}
    assert {*maker.NOTEBOOKS.iterdir()} == expected


@pytest.mark.skipif(not IS_THOROUGH, reason="the page's code runs in another test: TENFOLD_SOAK=1")
def test_a_notebook_runs_in_a_kernel(maker: ModuleType, tmp_path: Path) -> None:
    startup = tmp_path / ".ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "small_data.py").write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import small_data\nsmall_data.SMALL_DATA.start()\n"
    )
    notebook = nbformat.read(maker.notebook_path(ENGLISH[0]), as_version=4)
    client = NotebookClient(
        notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    without_screen = {name: text for name, text in os.environ.items() if name != "DISPLAY"}
    client.execute(
        env={
            **without_screen,
            "IPYTHONDIR": str(tmp_path / ".ipython"),
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "error::UserWarning",
        }
    )
    pictures = [
        output.metadata["image/png"]["alt"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "display_data"
    ]
    assert len(pictures) == 3
    assert pictures[0] == "8 images of fashion-mnist (train)"
    assert pictures[1].startswith("Plot of the training up to epoch 10: train_loss ")
    assert pictures[2] == "8 images of fashion-mnist (test)"
