"""How long data sets take to read: IDX files, CIFAR's files, an .npz file, folders of JPEG files.

    python benchmarks/reading.py

MNIST is read as `tenfold train mnist` reads it, digests included. The others have the 60,000 images
of CIFAR-10, or of its JPEG copy: in CIFAR's Python files, in an .npz file, and as JPEG files in
class folders, decoded and then from the cache. For comparison: the same JPEG files opened one by
one with Pillow, and the IDX files unpacked by Python alone.
"""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
import sys
import tarfile
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from commands import as_npz
from measuring import (
    Figure,
    Result,
    data_for,
    finish,
    in_turns,
    parsed,
    parser,
    seconds,
    settings_of,
)
from PIL import Image

from tenfold.data.files.cifar import read_cifar_python
from tenfold.data.load import load_splits, read_data

CLASSES = [str(label) for label in range(10)]


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


def cifar_files(source: Path, folder: Path) -> list[Path]:
    """Files in the format of CIFAR-10's own."""
    folder.mkdir()
    with np.load(source) as arrays:
        images = arrays["train_images"].reshape(-1, 3072)
        labels = arrays["train_labels"].tolist()
    paths = []
    for start in range(0, len(images), 10_000):
        part = slice(start, start + 10_000)
        paths.append(folder / f"data_batch_{start // 10_000 + 1}")
        batch = {"data": images[part], "labels": labels[part]}
        paths[-1].write_bytes(pickle.dumps(batch, protocol=2))
    return paths


def main() -> None:
    """See the module."""
    options = parsed(parser(__doc__, rounds=5))
    result = Result("reading", settings_of(options))
    mnist = load_splits("mnist").root
    assert mnist is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TENFOLD_CACHE"] = str(folder / "cache")
        npz = as_npz(data_for("cifar10"), folder / "cifar.npz")
        batches = cifar_files(npz, folder / "cifar")
        archive = Path(data_for("cifar10"))

        def uncached(path: Path) -> None:
            shutil.rmtree(folder / "cache", ignore_errors=True)
            read_data(str(path))

        ways = {
            "MNIST, IDX files": lambda: load_splits("mnist"),
            "MNIST, only unpacked": partial(unpacked, mnist / "MNIST" / "raw"),
            "CIFAR-10, .npz file": lambda: load_splits(str(npz)),
            "CIFAR-10, Python files": lambda: read_cifar_python(
                batches, CLASSES, label_key="labels"
            ),
        }
        if archive.exists():
            with tarfile.open(archive) as tar:
                tar.extractall(folder / "jpeg", filter="data")
            pictures = next((folder / "jpeg").iterdir())
            ways |= {
                "60,000 JPEG files, decoded": partial(uncached, pictures),
                "60,000 JPEG files, from the cache": lambda: read_data(str(pictures)),
                "60,000 JPEG files, one by one with Pillow": partial(one_by_one, pictures),
                "archive of 60,000 JPEG files, decoded": partial(uncached, archive),
                "archive of 60,000 JPEG files, from the cache": lambda: read_data(str(archive)),
            }
        else:
            print("without cifar10-jpeg.tar.xz, no JPEG files are read", file=sys.stderr)
        timed = {way: partial(seconds, work) for way, work in ways.items()}
        for way, samples in in_turns(timed, options.rounds, warm_up=not options.quick).items():
            result.figures.append(Figure("reading", way, "s", samples))
    finish(result, options)


if __name__ == "__main__":
    main()
