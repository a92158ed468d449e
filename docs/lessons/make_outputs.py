"""Put what the lessons' code prints into the pages: `python docs/lessons/make_outputs.py 3-lenet`.

Runs every block of a page in order, in a temporary folder and on the real data sets (see
`TENFOLD_DATA`; of CIFAR-10, the copy in `cifar10_copy.py` will do), and replaces each block of text
that directly follows one with what that printed. Where the text has a line `...`, as many lines as
it has before and after that are kept. Pictures that the code saves as NAME.png, and that the page
shows as `pictures/3-NAME.png`, are copied there. A command must succeed, but must fail in a block
that starts with ```console fails. With `--check`, nothing is written: differences in words, numbers
aside, are shown, and the exit code is 1 if there are any.
"""

from __future__ import annotations

import argparse
import difflib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

from PIL import Image

import cifar10_copy
from pages import (
    PAGES,
    PICTURES,
    Block,
    blocks,
    execute,
    lesson_pages,
    pictures,
    without_numbers,
)

COMMAND = re.compile(r"^\$ tenfold (?P<arguments>.*)$")


def printed_by(block: Block, name: str, namespace: dict[str, object]) -> str:
    """What a block prints, standard output and errors as they come."""
    if block.kind == "console":
        lines = block.code.splitlines()
        return "".join(printed_by_command(line, fails=block.fails) for line in lines)
    screen = io.StringIO()
    with redirect_stdout(screen), redirect_stderr(screen):
        execute(block.code, name, namespace)
    return screen.getvalue()


def printed_by_command(line: str, *, fails: bool) -> str:
    """What a command such as `$ tenfold data mnist` prints.

    Args:
        line: the command, as a page shows it.
        fails: whether it has to fail.

    Raises:
        SystemExit: it is no command of tenfold's, it fails, or it does not fail as announced.
    """
    command = COMMAND.match(line)
    if command is None:
        raise SystemExit(f"{line!r} does not start with '$ tenfold '")
    words = shlex.split(command["arguments"])
    done = subprocess.run(
        [sys.executable, cifar10_copy.__file__, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
        check=False,
    )
    if (done.returncode != 0) != fails:
        raise SystemExit(f"{line}\n{done.stdout}exit code {done.returncode}")
    return done.stdout


def run(text: str, name: str) -> list[str]:
    """What each block of a page prints, run in order in the current folder, which is not named."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    folder = f"{Path.cwd()}{os.sep}"
    with cifar10_copy.copy_in_use():
        return [
            printed_by(block, f"<{name}, block {number}>", namespace).replace(folder, "")
            for number, block in enumerate(blocks(text), start=1)
        ]


def shortened(printed: str, shown: str) -> str:
    """What was printed, as far as the page shows it."""
    lines, pattern = [line.rstrip() for line in printed.splitlines()], shown.splitlines()
    if "..." in pattern:
        first = pattern.index("...")
        last = len(pattern) - first - 1
        if first + last < len(lines):
            lines = [*lines[:first], "...", *lines[len(lines) - last :]]
    return "".join(f"{line}\n" for line in lines)


def with_outputs(text: str, printed: list[str]) -> str:
    """The page with the outputs of its blocks."""
    for block, output in reversed([*zip(blocks(text), printed, strict=True)]):
        if block.output is not None:
            start, end = block.output_span
            text = text[:start] + shortened(output, block.output) + text[end:]
    return text


def differences(page: Path, text: str) -> list[str]:
    """Where a page differs from a text in more than numbers."""
    shown, printed = (
        without_numbers(each).splitlines() for each in (page.read_text("utf-8"), text)
    )
    return [*difflib.unified_diff(shown, printed, "shown", "printed", lineterm="", n=0)]


def copy_pictures(text: str, folder: Path) -> None:
    """Copy what a page shows of the pictures in a folder, with 256 colors, to keep files small."""
    PICTURES.mkdir(exist_ok=True)
    for shown, saved in pictures(text).items():
        with Image.open(folder / saved) as picture:
            picture.convert("RGB").quantize(256).save(PICTURES / shown, optimize=True)


def make(page: Path, *, only_check: bool) -> bool:
    """Run a page, and write its outputs or show where they differ; returns whether they do."""
    text = page.read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        made = with_outputs(text, run(text, page.name))
        if not only_check:
            copy_pictures(text, Path(folder))
            page.write_text(made, "utf-8")
            return False
    found = differences(page, made)
    for line in found:
        print(line)
    return bool(found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as 3-lenet; by default all")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    names = options.names or [page.stem for page in lesson_pages()]
    if len(names) == 1:
        raise SystemExit(make(PAGES / f"{names[0]}.md", only_check=options.check))
    checks = ["--check"] if options.check else []
    codes = [subprocess.call([sys.executable, __file__, name, *checks]) for name in names]
    raise SystemExit(any(codes))


if __name__ == "__main__":
    main()
