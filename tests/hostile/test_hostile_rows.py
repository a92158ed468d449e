"""Every hostile file is refused with our error, or harmless, in little memory.

Each row of the tables makes a file and opens it in a process of its own, where the growth of the
peak of its memory is measured. One process imports everything, and forks those.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from bad_inputs.makers.bundles import bundle
from hostile.rows import Row
from thoroughness import IS_THOROUGH

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"),
    reason="the peak of a part of a program can only be measured where there is fork",
)

MEASURE = """
    import importlib, json, os, resource, sys
    from pathlib import Path
    from PIL import Image, AvifImagePlugin, Jpeg2KImagePlugin
    from tenfold.data.corrections import read_corrections
    from tenfold.data.folders.options import FolderOptions
    from tenfold.data.load import load_splits
    from tenfold.errors import TenfoldError
    from tenfold.models.weight_files import read_state_dict
    from tenfold.recipes import load_recipe
    from tenfold.runs import load
    from tenfold.training.checkpoint import read_newest

    classifier = load("sound.safetensors")
    Image.new("L", (8, 8)).save("sound.png")
    classifier.predict("sound.png")
    load_recipe("default")

    def peak():
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return size / (2**20 if sys.platform == "darwin" else 2**10)

    for name, place, opens, limits in json.loads(sys.stdin.read()):
        sys.stdout.flush()
        if os.fork() == 0:  # a separate process, whose peak starts at the current use
            os.chdir(place)
            os.dup2(os.open("messages", os.O_WRONLY | os.O_CREAT), 2)
            for limit, value in limits.items():
                module, _, variable = limit.rpartition(".")
                setattr(importlib.import_module(module), variable, value)
            before = peak()
            try:
                eval(opens)
                ending = "accepted"
            except TenfoldError as error:
                ending = f"refused: {error}"
            except BaseException as error:
                ending = f"failed: {error!r}"
            print(json.dumps([name, ending, peak() - before]), flush=True)
            os._exit(0)
        os.wait()
"""


class Measured:
    """Rows, opened.

    Attributes:
        folder: where the files are, a folder for each row.
        endings: how each row ended, and the growth of the peak of memory in MiB.
    """

    def __init__(self, rows: dict[str, Row], folder: Path) -> None:
        self.folder, self.places = folder, dict[str, Path]()
        orders: list[tuple[str, str, str, Any]] = []
        for number, (name, row) in enumerate(rows.items()):
            place = self.places[name] = folder / str(number) / "home"
            place.mkdir(parents=True)
            row.make(place)
            orders.append((name, str(place), row.opens, dict(row.limits)))
        bundle()(folder)
        (folder / "model.safetensors").rename(folder / "sound.safetensors")
        answer = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(MEASURE)],
            input=json.dumps(orders),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        results = [json.loads(line) for line in answer.stdout.splitlines()]
        self.endings = {name: (ending, growth) for name, ending, growth in results}


def tables() -> list[dict[str, Row]]:
    """All rows; to import them takes long, and only one worker of several needs them."""
    from hostile import archives, arrays, pictures, tensors, texts

    return [archives.ROWS, pictures.ROWS, arrays.ROWS, tensors.ROWS, texts.ROWS]


def test_every_row_ends_as_it_should(tmp_path: Path) -> None:
    rows = {name: row for table in tables() for name, row in table.items()}
    assert len(rows) == sum(map(len, tables()))
    if not IS_THOROUGH:  # rows of a kind are beside each other
        rows = dict(list(rows.items())[::2])
    measured = Measured(rows, tmp_path)
    wrong = []
    for name, place in measured.places.items():
        row = rows[name]
        ending, growth = measured.endings.get(name, ("killed", 0.0))
        if not ending.startswith(row.ends) or not re.search(row.says, ending):
            wrong.append(f"{name}: {ending:.400}, wanted {row.ends}: {row.says}")
        if not ending.isprintable():
            wrong.append(f"{name}: more than one line")
        if growth > row.bound:
            wrong.append(f"{name}: it took {growth:.0f} MiB, over the bound of {row.bound}")
        if (messages := place / "messages").exists() and (text := messages.read_text()):
            wrong.append(f"{name}: it printed {text[:400]!r}")
        if outside := [path.name for path in place.parent.iterdir() if path != place]:
            wrong.append(f"{name}: it wrote {outside}")
        if (place / "harm").exists():
            wrong.append(f"{name}: it ran a program")
    assert not wrong, "\n".join(["", *wrong])
