"""How long data sets take to read: IDX files, CIFAR's files, an .npz file, folders of JPEG files.

    python benchmarks/reading.py

MNIST is read as `tenfold train mnist` reads it: the first time, when digests are compared with the
published ones, and again, when it is known that they agree. The others have the 60,000 images of
CIFAR-10, or of its JPEG copy: in CIFAR's Python files, in an .npz file, and as JPEG files in class
folders, decoded and then from the cache. For comparison: the same JPEG files opened one by one with
Pillow, and the IDX files unpacked by Python alone.
"""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from commands import as_npz
from measuring import (
    Figure,
    begin,
    data_for,
    finish,
    in_turns,
    parsed,
    parser,
    seconds,
)
from PIL import Image

from tenfold.data.load import load_splits


def one_by_one(folder: Path) -> None:
    """Open every JPEG file, as a simple data set does."""
    for path in sorted(folder.rglob("*.jpg")):
        with Image.open(path) as picture:
            np.asarray(picture)


def unpacked(folder: Path) -> None:
    """Unpack the IDX files, and do nothing else."""
    for path in folder.glob("*.gz"):
        with gzip.open(path) as file:
            file.read()


def cifar_files(source: Path, folder: Path) -> None:
    """Write files in the format of CIFAR-10's own."""
    folder.mkdir()
    with np.load(source) as arrays:
        for split in ("train", "test"):
            images = arrays[f"{split}_images"].reshape(-1, 3072)
            labels = arrays[f"{split}_labels"].tolist()
            for start in range(0, len(images), 10_000):
                part = slice(start, start + 10_000)
                name = f"data_batch_{start // 10_000 + 1}" if split == "train" else "test_batch"
                batch = {"data": images[part], "labels": labels[part]}
                (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
        names = {"label_names": arrays["classes"].tolist()}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))


def main() -> None:
    """See the module."""
    options = parsed(parser(__doc__, rounds=5))
    result = begin("reading", options)
    mnist = load_splits("mnist", download=False).root
    if mnist is None:
        sys.exit("MNIST must be in the folder that TENFOLD_DATA names")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TENFOLD_CACHE"] = str(folder / "cache")
        npz = as_npz(data_for("cifar10"), folder / "cifar.npz")
        cifar_files(npz, folder / "cifar")
        archive = Path(data_for("cifar10"))

        def first(name: str) -> Callable[[], float]:
            def measured() -> float:
                shutil.rmtree(folder / "cache", ignore_errors=True)
                return seconds(partial(load_splits, name))

            return measured

        def again(name: str) -> Callable[[], float]:
            def measured() -> float:
                load_splits(name)  # whatever came before it
                return seconds(partial(load_splits, name))

            return measured

        timed = {
            "MNIST, IDX files, the first time": first("mnist"),
            "MNIST, IDX files, again": again("mnist"),
            "CIFAR-10, .npz file": partial(seconds, partial(load_splits, str(npz))),
            "CIFAR-10, Python files": partial(seconds, partial(load_splits, f"{folder}/cifar")),
        }
        raw = mnist / "MNIST" / "raw"
        if any(raw.glob("*.gz")):
            timed["MNIST, only unpacked"] = partial(seconds, partial(unpacked, raw))
        if archive.is_file():
            with tarfile.open(archive) as tar:
                tar.extractall(folder / "jpeg", filter="data")
            pictures = str(next((folder / "jpeg").iterdir()))
            alone = partial(one_by_one, Path(pictures))
            timed |= {
                "60,000 JPEG files, decoded": first(pictures),
                "60,000 JPEG files, from the cache": again(pictures),
                "60,000 JPEG files, one by one with Pillow": partial(seconds, alone),
                "archive of 60,000 JPEG files, decoded": first(str(archive)),
                "archive of 60,000 JPEG files, from the cache": again(str(archive)),
            }
        else:
            print("no JPEG files are read: that takes the JPEG copy of CIFAR-10", file=sys.stderr)
        for way, samples in in_turns(timed, options.rounds, warm_up=not options.quick).items():
            result.figures.append(Figure("reading", way, "s", samples))
    finish(result, options)


if __name__ == "__main__":
    main()
