"""How long commands take to start: until help is shown, an image is classified, a step is taken.

    python benchmarks/startup.py

Every sample is a new process. The first training step is over when `tenfold train --log-every 1`
prints its line. For comparison: an interpreter that does nothing, one that imports PyTorch, and one
that then ends at once, without freeing it, as tenfold's commands do.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from measuring import (
    IMPORT,
    TENFOLD,
    Figure,
    begin,
    finish,
    in_turns,
    parsed,
    parser,
    run,
)
from PIL import Image

from tenfold.data.load import load_splits


def first_step(folder: Path, engine: str) -> float:
    """Seconds from the start of `tenfold train` to the end of its first step."""
    shutil.rmtree(folder / "first", ignore_errors=True)
    options = ["--model", "softmax", "--epochs", "1", "--log-every", "1", "--engine", engine]
    command = [*TENFOLD, "train", "digits", *options, "--out", str(folder / "first")]
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "batch 1/" in line:
                taken = time.perf_counter() - started
                process.stderr.read()
                if process.wait() == 0:
                    return taken
    sys.exit("tenfold train took no step")


def train(folder: Path) -> float:
    """Seconds of a whole `tenfold train` of one short epoch."""
    shutil.rmtree(folder / "first", ignore_errors=True)
    options = ["--model", "softmax", "--epochs", "1", "--out", folder / "first"]
    return run([*TENFOLD, "train", "digits", *options]).seconds


def main() -> None:
    """See the module."""
    options = parsed(parser(__doc__, rounds=9))
    result = begin("startup", options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, image = folder / "model", folder / "image.png"
        run([*TENFOLD, "train", "digits", "--recipe", "digits-quick", "--out", model])
        test = load_splits("digits").splits.test
        assert test is not None
        Image.fromarray(test.image_array[0, 0]).save(image)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "python -c 'import torch'": [sys.executable, "-c", "import torch"],
            IMPORT: [sys.executable, "-c", "import os, torch; os._exit(0)"],
            "tenfold --help": [*TENFOLD, "--help"],
            "tenfold data digits": [*TENFOLD, "data", "digits"],
            "tenfold predict, one image": [*TENFOLD, "predict", model, image],
            "tenfold evaluate, 359 images": [*TENFOLD, "evaluate", model],
        }
        ways = {
            way: partial(lambda words: run(words).seconds, words) for way, words in commands.items()
        }
        ways["tenfold train, first step, native"] = partial(first_step, folder, "native")
        ways["tenfold train, first step, PyTorch"] = partial(first_step, folder, "torch")
        ways["tenfold train, all of a short run"] = partial(train, folder)
        for way, samples in in_turns(ways, options.rounds).items():
            result.figures.append(Figure("command", way, "s", samples))
    finish(result, options)


if __name__ == "__main__":
    main()
