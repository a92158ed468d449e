"""Every wrong input gives one clear sentence and the right exit code, and leaves nothing behind.

The table `ROWS` is the list of what can be wrong: each row makes its input in an empty folder,
runs one command line there, and says with which exit code and which words that must end. The words
are those that a reader acts on: the place, what was found, what was wanted, what to do.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shlex
import shutil
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from command_line import Tenfold
from tenfold.models import build
from tenfold.runs.facts import FORMAT
from tensor_files import write_tensors

Maker = Callable[[Path], None]

QUICK = "--recipe digits-quick --epochs 1 --threads 1"
ABSENT_DEVICE = "mps" if torch.cuda.is_available() else "cuda"
SMALL = "--epochs 1 --batch-size 2 --threads 1"


@dataclass(frozen=True)
class Row:
    """One wrong input.

    Attributes:
        id: its name.
        command: the line behind `tenfold`, as a shell splits it.
        code: the exit code.
        words: what the message must contain.
        make: makes the input in the folder that the command runs in.
        with_run: whether a finished run lies in `run` before `make` is called.
        leaves: what may be there afterwards that was not there before; nothing below it is left
            half-written either.
    """

    id: str
    command: str
    code: int
    words: tuple[str, ...]
    make: Maker | None = None
    with_run: bool = False
    leaves: tuple[str, ...] = ()


# --- How inputs are made ----------------------------------------------------------------------


def all_of(*makers: Maker) -> Maker:
    def make(folder: Path) -> None:
        for maker in makers:
            maker(folder)

    return make


def file(name: str, data: bytes | str = b"") -> Maker:
    def make(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)

    return make


def empty_folder(name: str) -> Maker:
    return lambda folder: (folder / name).mkdir(parents=True)


def without(name: str) -> Maker:
    return lambda folder: (folder / name).unlink()


def truncated(name: str, by: int = 1) -> Maker:
    def make(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:-by])

    return make


def replaced(name: str, old: str, new: str) -> Maker:
    def make(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return make


def picture(gray: int = 0, size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, gray).save(buffer, "png")
    return buffer.getvalue()


def png(width: int, height: int, pixels: bytes) -> bytes:
    """A PNG file of 8-bit gray that says what it likes about its size."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(pixels)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def pictures(**classes: int) -> Maker:
    """Class folders in `photos`; the number of images by the class's name."""
    return all_of(
        *(
            file(f"photos/{name}/{number}.png", picture(7 * label + number))
            for label, (name, count) in enumerate(classes.items())
            for number in range(count)
        )
    )


def two_classes(damage: Maker) -> Maker:
    return all_of(pictures(cat=4, dog=4), damage)


def split_pictures(*names: str) -> Maker:
    return all_of(*(file(f"photos/{name}", picture(number)) for number, name in enumerate(names)))


def linked(name: str, target: str) -> Maker:
    return lambda folder: (folder / name).symlink_to(target)


def zipped(name: str, members: dict[str, bytes], *, encrypted: bool = False) -> Maker:
    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in members.items():
                archive.writestr(member, data)
        if encrypted:  # bit 0 of the flags, in the local header and in the directory
            data = bytearray((folder / name).read_bytes())
            for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
                data[data.index(magic) + offset] |= 1
            (folder / name).write_bytes(data)

    return make


def tarred(name: str, members: dict[str, bytes], mode: str = "w") -> Maker:
    def make(folder: Path) -> None:
        with tarfile.open(folder / name, mode) as archive:
            for member, data in members.items():
                entry = tarfile.TarInfo(member)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))

    return make


def idx(shape: tuple[int, ...], values: bytes, *, magic: int | None = None) -> bytes:
    start = 0x800 + len(shape) if magic is None else magic
    return struct.pack(f">{1 + len(shape)}I", start, *shape) + values


def idx_set(**files: bytes | None) -> Maker:
    """A folder `set` of four IDX files, of which some are as given; None leaves one out."""
    sound: dict[str, bytes | None] = {
        "train_images": idx((6, 4, 4), bytes(range(96))),
        "train_labels": idx((6,), bytes([0, 1, 2] * 2)),
        "test_images": idx((3, 4, 4), bytes(range(48))),
        "test_labels": idx((3,), bytes([0, 1, 2])),
    }
    names = {
        "train_images": "train-images-idx3-ubyte",
        "train_labels": "train-labels-idx1-ubyte",
        "test_images": "t10k-images-idx3-ubyte",
        "test_labels": "t10k-labels-idx1-ubyte",
    }
    return all_of(
        *(
            file(f"set/{names[key]}", data)
            for key, data in {**sound, **files}.items()
            if data is not None
        )
    )


def cifar_binary(damaged: bytes) -> Maker:
    """A folder `set` of CIFAR-10's binary batches of ten images each, the third one as given."""
    sound = b"".join(bytes([label]) + bytes(3072) for label in range(10))
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    return all_of(
        *(file(f"set/{name}", damaged if "3" in name else sound) for name in names),
    )


def cifar_python(damaged: object) -> Maker:
    """A folder `set` of CIFAR-10's pickled batches of ten images each, the third one as given."""
    sound = {b"data": np.zeros((10, 3072), np.uint8), b"labels": list(range(10))}
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    return all_of(
        *(file(f"set/{name}", pickle.dumps(damaged if "3" in name else sound)) for name in names),
    )


class Touch:
    """Pickled, it asks whoever reads it to make a file."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch harm-was-done",)


def npz(**arrays: object) -> Maker:
    return lambda folder: np.savez_compressed(folder / "set.npz", **arrays)


def npz_bomb(folder: Path) -> None:
    """80 KB that unpack to 80 MB and declare 8 TB."""
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**23)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(folder / "set.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(80 * 2**20))
        archive.writestr("labels.npy", b"")


def zip_bomb(folder: Path) -> None:
    """One picture that unpacks to 80 MB."""
    zipped("photos.zip", {"cat/1.png": bytes(80 * 2**20), "dog/1.png": picture()})(folder)


def bundle(weight: float | None = None, **changes: object) -> Maker:
    """A bundle of a softmax regression on 1x8x8 images of digits, with a changed header.

    Args:
        weight: what every weight is; None for fresh ones.
        changes: entries of the header.
    """
    sound = {
        "model": "softmax",
        "arguments": {},
        "input_shape": [1, 8, 8],
        "classes": list("0123456789"),
        "preprocessing": {"mean": [], "std": []},
        "data": {},
        "figures": {},
    }
    return tensor_file({**sound, **changes}, weight=weight)


def tensor_file(
    header: dict[str, object],
    *,
    kind: str = "tenfold-bundle",
    version: int = 1,
    weight: float | None = None,
) -> Maker:
    def make(folder: Path) -> None:
        weights = build("softmax", (1, 8, 8), 10).state_dict()
        if weight is not None:
            weights = {name: torch.full_like(tensor, weight) for name, tensor in weights.items()}
        path = folder / "model.safetensors"
        write_tensors(path, weights, kind=kind, version=version, header=header)

    return make


def foreign_tensors(folder: Path) -> None:
    safetensors.torch.save_file({"x": torch.zeros(3)}, folder / "model.safetensors")


def declared_header(declared: int, there: int) -> Maker:
    """A safetensors file whose header claims a length; what is there takes no room on the disk."""

    def make(folder: Path) -> None:
        with (folder / "model.safetensors").open("wb") as opened:
            opened.write(struct.pack("<Q", declared))
            opened.truncate(8 + there)

    return make


def framed(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def broken_link_out(folder: Path) -> None:
    outside = folder.parent / f"{folder.name}-outside.png"
    outside.write_bytes(picture())
    (folder / "photos/cat/out.png").symlink_to(outside)


def recipe(text: str) -> Maker:
    return file("own.toml", text)


# --- The table --------------------------------------------------------------------------------

COMMAND_LINE = [
    Row("unknown-command", "trian digits", 2, ("trian", "train")),
    Row("unknown-option", "train digits --epoch 3", 2, ("--epoch", "--epochs")),
    Row("missing-argument", "evaluate", 2, ("RUN", "evaluate --help")),
    Row("argument-too-many", "train digits mnist", 2, ("mnist", "train --help")),
    Row("option-without-value", "train digits --lr", 2, ("--lr", "argument")),
    Row("epochs-no-number", "train digits --epochs many", 2, ("--epochs", "'many'", "integer")),
    Row("epochs-0", "train digits --epochs 0", 2, ("epochs is 0", "at least 1")),
    Row("epochs-negative", "train digits --epochs -1", 2, ("epochs is -1", "1")),
    Row("resume-epochs-0", "resume run --epochs 0", 2, ("--epochs", "0", "1")),
    Row("batch-size-0", "train digits --batch-size 0", 2, ("batch_size is 0", "1")),
    Row("lr-0", "train digits --lr 0", 2, ("lr is 0", "more than 0")),
    Row("lr-1e30", "train digits --lr 1e30", 2, ("lr is 1e+30", "1000000")),
    Row("lr-nan", "train digits --lr nan", 2, ("lr is nan", "finite")),
    Row("val-1.5", "train digits --val 1.5", 2, ("val is 1.5", "less than 1")),
    Row("val-negative", "train digits --val -0.1", 2, ("val is -0.1", "0")),
    Row("seed-too-large", f"train digits --seed {2**63}", 2, ("seed is 9223372036854775808",)),
    Row("unknown-data", "train mnits", 2, ("'mnits'", "did you mean 'mnist'?")),
    Row("unknown-data-shown", "data mnits", 2, ("'mnits'", "did you mean 'mnist'?")),
    Row("unknown-model", "train digits --model lnet", 2, ("'lnet'", "did you mean 'lenet'?")),
    Row("unknown-summary", "summary lnet", 2, ("'lnet'", "did you mean 'lenet'?")),
    Row(
        "unknown-recipe",
        "train digits --recipe lenet-mnst",
        2,
        ("'lenet-mnst'", "did you mean 'lenet-mnist'?", ".toml"),
    ),
    Row("unknown-recipe-shown", "recipes mlp-fasion", 2, ("did you mean 'mlp-fashion'?",)),
    Row(
        "unknown-optimizer",
        "train digits --optimizer adamm",
        2,
        ("optimizer is 'adamm'", "did you mean 'adam'?"),
    ),
    Row(
        "unknown-schedule",
        "train digits --set schedule=cosin",
        2,
        ("schedule is 'cosin'", "did you mean 'cosine'?"),
    ),
    Row(
        "unknown-device",
        "train digits --device cdua",
        2,
        ("'cdua'", "did you mean 'cuda'?"),
    ),
    Row(
        "unknown-engine",
        "train digits --engine turch",
        2,
        ("there is no engine 'turch'", "did you mean 'torch'?"),
    ),
    Row("threads-0", "train digits --threads 0", 2, ("threads is 0", "1..1024")),
    Row("log-every-negative", "train digits --log-every -1", 2, ("--log-every", "-1", "0")),
    Row(
        "checkpoint-every-word",
        "train digits --checkpoint-every often",
        2,
        ("'often'", "30s", "500"),
    ),
    Row("checkpoint-every-0", "train digits --checkpoint-every 0", 2, ("'0'", "30s")),
    Row("checkpoint-every-nan", "train digits --checkpoint-every nans", 2, ("'nans'", "30s")),
    Row("checkpoint-every-negative", "train digits --checkpoint-every -5s", 2, ("'-5s'", "30s")),
    Row("set-without-equals", "train digits --set momentum", 2, ("'momentum'", "KEY=VALUE")),
    Row("set-without-key", "train digits --set =3", 2, ("'=3'", "KEY=VALUE")),
    Row(
        "set-unknown-key",
        "train digits --set momentun=0.9",
        2,
        ("'momentun'", "did you mean 'momentum'?"),
    ),
    Row(
        "set-unknown-inner-key",
        "train digits --set augment.flipp=true",
        2,
        ("'augment.flipp'", "did you mean 'flip'?"),
    ),
    Row(
        "set-unknown-argument",
        "train digits --model mlp --set model_args.dropuot=0.1",
        2,
        ("'dropuot'", "did you mean 'dropout'?"),
    ),
    Row("set-wrong-type", "train digits --set epochs=1.5", 2, ("epochs is 1.5", "a whole number")),
    Row("set-no-table", "train digits --set augment=3", 2, ("augment is 3", "a table")),
    Row("set-below-a-value", "train digits --set epochs.x=3", 2, ("'epochs.x'", "not a table")),
    Row("set-empty-part", "train digits --set augment.=3", 2, ("'augment.'",)),
    Row(
        "set-hidden-0",
        "train digits --set model=mlp --set model_args.hidden=[0]",
        2,
        ("hidden[0] is 0", "wanted 1..65536"),
    ),
    Row("json-with-csv", "predict run --json --csv", 2, ("--csv", "--json", "choose one")),
    Row("top-0", "predict run --top 0", 2, ("--top", "0", "1")),
    Row("shape-of-two", "summary lenet --shape 28x28", 2, ("'28x28'", "1x28x28")),
    Row("shape-of-words", "summary lenet --shape axbxc", 2, ("'axbxc'", "1x28x28")),
    Row("shape-of-0", "summary softmax --shape 0x28x28", 2, ("0x28x28", "1..16384")),
    Row("shape-huge", "summary softmax --shape 1x99999999x9", 2, ("1x99999999x9", "1..16384")),
    Row("shape-endless", f"summary softmax --shape 1x1x{'9' * 5000}", 2, ("--shape", "1x28x28")),
    Row("shape-too-small", "summary lenet --shape 1x4x4", 2, ("lenet", "too small", "at least")),
    Row("classes-0", "summary lenet --classes 0", 2, ("--classes", "0", "1")),
    Row("nothing-to-train-on", "train", 2, ("no data set", "digits")),
    Row("accept-nonsense", "resume run --accept everything", 2, ("'everything'", "recipe, data")),
    Row("unknown-split", "evaluate run --split tset", 2, ("'tset'", "train, val or test")),
    Row(
        "adam-with-momentum",
        "train digits --optimizer adam --set momentum=0.9",
        2,
        ("adam", "momentum", "set momentum = 0"),
    ),
    Row(
        "nesterov-alone",
        "train digits --recipe lenet-mnist --set momentum=0 --set nesterov=true",
        2,
        ("nesterov", "momentum above 0"),
    ),
    Row(
        "set-endless-number",
        f"train digits --model mlp --set model_args.hidden=[0x{'f' * 5000}]",
        2,
        ("mlp: hidden is '[0xfff", "a list of whole numbers"),
    ),
    Row(
        "set-nested-without-end",
        f"train digits --model mlp --set model_args.hidden={'[' * 5000}",
        2,
        ("mlp: hidden is '[[[", "a list of whole numbers"),
    ),
    Row(
        "set-two-lines",
        "train digits --set 'epochs=1\nlr=2'",
        2,
        ("epochs is '1\\nlr=2'", "a whole number"),
    ),
    Row("reproduce-unknown", "reproduce lenet-mnst", 2, ("'lenet-mnst'", "'lenet-mnist'?")),
]

RECIPES = [
    Row("recipe-missing", "train digits --recipe own.toml", 2, ("own.toml", "no such file")),
    Row(
        "recipe-is-a-folder",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "directory"),
        empty_folder("own.toml"),
    ),
    Row(
        "recipe-not-toml",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "not TOML", "line 1"),
        recipe("epochs: 3"),
    ),
    Row(
        "recipe-binary",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "not UTF-8"),
        file("own.toml", bytes(range(256))),
    ),
    Row(
        "recipe-of-10-mb",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "more than 65,536 bytes", "TOML"),
        file("own.toml", b"#" * 10_000_000),
    ),
    Row(
        "recipe-nested-too-deeply",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "not TOML"),
        recipe("model_args = " + "[" * 50_000),
    ),
    Row(
        "recipe-of-dots",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "more than 500 dots in a line"),
        recipe("a" + ".a" * 30_000 + " = 1"),
    ),
    Row(
        "recipe-of-many-wrong-keys",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "'key0'", "and 991 more"),
        recipe("".join(f"key{number} = 1\n" for number in range(1000))),
    ),
    Row(
        "recipe-empty",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "'model' is missing"),
        recipe(""),
    ),
    Row(
        "recipe-wrong-types",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "epochs is 'three'", "a whole number", "shuffle is 1", "true or false"),
        recipe("model = 'mlp'\nepochs = 'three'\nshuffle = 1"),
    ),
    Row(
        "recipe-nested-tables",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "epochs is", "a whole number", "'trainer'"),
        recipe("model = 'mlp'\n[epochs.of.mine]\nn = 3\n[trainer.x]\ny = 1"),
    ),
    Row(
        "recipe-unknown-key",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "'epoch'", "did you mean 'epochs'?"),
        recipe("model = 'mlp'\nepoch = 3"),
    ),
    Row(
        "recipe-number-not-finite",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "lr is inf", "finite"),
        recipe("model = 'mlp'\nlr = inf"),
    ),
    Row(
        "recipe-argument-not-finite",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "model_args has inf", "finite"),
        recipe("model = 'mlp'\nmodel_args = {dropout = inf}"),
    ),
    Row(
        "recipe-date",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "lr is", "a number"),
        recipe("model = 'mlp'\nlr = 1979-05-27"),
    ),
    Row(
        "recipe-unknown-model",
        "train digits --recipe own.toml",
        2,
        ("'lnet'", "did you mean 'lenet'?"),
        recipe("model = 'lnet'"),
    ),
    Row(
        "recipe-one-side-of-a-size",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "image_size", "height and width"),
        recipe("model = 'mlp'\nimage_size = [8]"),
    ),
]

IDX = [
    Row("path-missing", "train nowhere/at/all", 3, ("nowhere/at/all", "no such folder or file")),
    Row("path-of-a-text", "train notes.txt", 3, ("notes.txt", ".zip"), file("notes.txt", "hello")),
    Row(
        "idx-images-missing",
        "train set",
        3,
        ("set: there is no train-images-idx3-ubyte", "train-labels-idx1-ubyte", "put it there"),
        idx_set(train_images=None),
    ),
    Row(
        "idx-labels-of-test-missing",
        "train set",
        3,
        ("set: there is no t10k-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "put it there"),
        idx_set(test_labels=None),
    ),
    Row(
        "idx-truncated",
        "train set",
        3,
        ("train-images-idx3-ubyte", "declares 6 x 4 x 4", "cut off", "fetch the file again"),
        idx_set(train_images=idx((6, 4, 4), bytes(95))),
    ),
    Row(
        "idx-ends-in-its-header",
        "train set",
        3,
        ("train-images-idx3-ubyte", "ends after 10 bytes"),
        idx_set(train_images=idx((6, 4, 4), b"")[:10]),
    ),
    Row(
        "idx-empty",
        "train set",
        3,
        ("train-labels-idx1-ubyte", "begins with nothing", "00 00 08 01"),
        idx_set(train_labels=b""),
    ),
    Row(
        "idx-swapped",
        "train set",
        3,
        ("train-labels-idx1-ubyte", "file of images", "wanted an IDX file of labels", "swap"),
        idx_set(
            train_images=idx((6,), bytes([0, 1, 2] * 2)), train_labels=idx((6, 4, 4), bytes(96))
        ),
    ),
    Row(
        "idx-wrong-magic",
        "train set",
        3,
        ("train-images-idx3-ubyte", "begins with 12 34 56 78", "wanted 00 00 08 03"),
        idx_set(train_images=idx((6, 4, 4), bytes(96), magic=0x12345678)),
    ),
    Row(
        "idx-trailing-bytes",
        "train set",
        3,
        ("train-labels-idx1-ubyte", "declares 6 bytes", "more follow"),
        idx_set(train_labels=idx((6,), bytes(7))),
    ),
    Row(
        "idx-declares-terabytes",
        "train set",
        3,
        ("train-images-idx3-ubyte", "declares 4,294,967,295", "limit"),
        idx_set(train_images=idx((2**32 - 1, 2**16, 2**16), b"")),
    ),
    Row(
        "idx-gzip-corrupt",
        "train set",
        3,
        ("train-images-idx3-ubyte", "gzip", "damaged or cut off"),
        idx_set(train_images=gzip.compress(idx((6, 4, 4), bytes(96)))[:-8] + bytes(8)),
    ),
    Row(
        "idx-gzip-cut-off",
        "train set",
        3,
        ("train-images-idx3-ubyte", "gzip", "damaged or cut off"),
        idx_set(train_images=gzip.compress(idx((6, 4, 4), os.urandom(96)))[:-20]),
    ),
    Row(
        "idx-counts-differ",
        "train set",
        3,
        ("6 images", "5 labels", "train-labels-idx1-ubyte"),
        idx_set(train_labels=idx((5,), bytes(5))),
    ),
    Row(
        "mnist-with-files-missing",
        "train mnist --data-root root --offline",
        3,
        ("root/MNIST/raw was not used", "lacks train-labels-idx1-ubyte", "switched off"),
        file("root/MNIST/raw/train-images-idx3-ubyte", b"damaged"),
    ),
    Row(
        "mnist-damaged",
        "train mnist --data-root root --offline",
        3,
        ("root/MNIST/raw/train-images-idx3-ubyte", "digest", "sha256"),
        all_of(
            *(
                file(f"root/MNIST/raw/{name}", b"damaged")
                for name in (
                    "train-images-idx3-ubyte",
                    "train-labels-idx1-ubyte",
                    "t10k-images-idx3-ubyte",
                    "t10k-labels-idx1-ubyte",
                )
            )
        ),
    ),
    Row(
        "mnist-not-here",
        "train mnist --data-root root --offline",
        3,
        ("MNIST", "put train-images-idx3-ubyte", "TENFOLD_DATA"),
        empty_folder("root"),
    ),
    Row("data-root-missing", "train mnist --data-root root", 3, ("root", "not there", "make it")),
]

CIFAR_AND_NPZ = [
    Row(
        "cifar-binary-wrong-length",
        "train set",
        3,
        ("data_batch_3.bin", "3,072 bytes", "records of 3,073 bytes"),
        cifar_binary(bytes(3072)),
    ),
    Row(
        "cifar-binary-empty",
        "train set",
        3,
        ("data_batch_3.bin", "0 bytes", "3,073"),
        cifar_binary(b""),
    ),
    Row(
        "cifar-binary-label",
        "train set",
        3,
        ("data_batch_3.bin", "label 10 at index 0", "0..9"),
        cifar_binary(bytes([10]) + bytes(3072)),
    ),
    Row(
        "cifar-python-runs-a-program",
        "train set",
        3,
        ("data_batch_3", "system", "only if you made it yourself"),
        cifar_python(Touch()),
    ),
    Row(
        "cifar-python-no-dict",
        "train set",
        3,
        ("data_batch_3", "a list", "wanted a dict"),
        cifar_python([1, 2]),
    ),
    Row(
        "cifar-python-shape",
        "train set",
        3,
        ("data_batch_3", "(10, 3071)", "(n, 3072)"),
        cifar_python({b"data": np.zeros((10, 3071), np.uint8), b"labels": list(range(10))}),
    ),
    Row(
        "cifar-python-label",
        "train set",
        3,
        ("data_batch_3", "label -1 at index 0", "0..9"),
        cifar_python({b"data": np.zeros((1, 3072), np.uint8), b"labels": [-1]}),
    ),
    Row(
        "npz-objects",
        "train set.npz",
        3,
        ("set.npz", "labels", "object"),
        npz(images=np.zeros((4, 8, 8), np.uint8), labels=np.array([Touch()] * 4, object)),
    ),
    Row(
        "npz-missing-key",
        "train set.npz",
        3,
        ("set.npz", "no 'labels'", "images and labels"),
        npz(images=np.zeros((4, 8, 8), np.uint8)),
    ),
    Row(
        "npz-unknown-key",
        "train set.npz",
        3,
        ("set.npz", "pixels", "images and labels"),
        npz(pixels=np.zeros((4, 8, 8), np.uint8)),
    ),
    Row(
        "npz-float-images",
        "train set.npz",
        3,
        ("set.npz", "float32", "0..255", "astype('uint8')"),
        npz(images=np.zeros((4, 8, 8), np.float32), labels=np.arange(4)),
    ),
    Row(
        "npz-label-out-of-range",
        "train set.npz",
        3,
        ("set.npz", "label 2 at index 2", "0..1"),
        npz(images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4), classes=["a", "b"]),
    ),
    Row(
        "npz-counts-differ",
        "train set.npz",
        3,
        ("set.npz", "4 images", "5 labels"),
        npz(images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(5)),
    ),
    Row("npz-bomb", "train set.npz", 3, ("set.npz", "images"), npz_bomb),
    Row("npz-that-is-text", "train set.npz", 3, ("set.npz", "not an .npz"), file("set.npz", "hi")),
    Row("npz-empty", "train set.npz", 3, ("set.npz", "not an .npz"), file("set.npz")),
    Row(
        "npz-truncated",
        "train set.npz",
        3,
        ("set.npz", "damaged or cut off"),
        all_of(
            npz(images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4)), truncated("set.npz", 30)
        ),
    ),
    Row(
        "npz-without-training-images",
        "train set.npz",
        3,
        ("set.npz", "no training split", "test"),
        npz(test_images=np.zeros((4, 8, 8), np.uint8), test_labels=np.arange(4)),
    ),
    Row(
        "one-class-npz",
        "train set.npz",
        3,
        ("set.npz", "8 training images are of one class, 'a'", "add images"),
        npz(images=np.zeros((10, 8, 8), np.uint8), labels=np.zeros(10, int), classes=["a", "b"]),
    ),
]

FOLDERS = [
    Row("folder-empty", "train photos", 3, ("photos", "no images"), empty_folder("photos")),
    Row(
        "folder-of-texts",
        "train photos",
        3,
        ("photos", "no images", "cat/notes.txt", "CLASS/IMAGE"),
        file("photos/cat/notes.txt", "hello"),
    ),
    Row(
        "class-empty",
        "train photos",
        3,
        ("photos", "dog", "no images", "add images"),
        all_of(pictures(cat=3), empty_folder("photos/dog")),
    ),
    Row(
        "one-class",
        "train photos",
        3,
        ("photos", "only one class, 'cat'", "two or more"),
        pictures(cat=3),
    ),
    Row(
        "images-outside-of-classes",
        "train photos",
        3,
        ("photos", "1 images lie outside", "stray.png"),
        two_classes(file("photos/stray.png", picture())),
    ),
    Row(
        "classes-differ-between-splits",
        "train photos",
        3,
        ("photos", "train lacks cow", "test lacks dog", "same class folders"),
        split_pictures("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/cow/1.png"),
    ),
    Row(
        "test-split-only",
        "train photos",
        3,
        ("photos", "no training split", "test"),
        split_pictures("test/cat/1.png", "test/dog/1.png"),
    ),
    Row(
        "images-damaged-are-all-named",
        "train photos",
        3,
        (
            "photos",
            "4 of 12 images cannot be read",
            "cat/broken.png",
            "cut off",
            "cat/empty.png",
            "the file is empty",
            "dog/text.png",
            "text that begins with 'hello'",
            "dog/noise.jpg",
            "replace or remove them",
        ),
        two_classes(
            all_of(
                file("photos/cat/broken.png", picture(3, (40, 40))[:60]),
                file("photos/cat/empty.png"),
                file("photos/dog/text.png", "hello"),
                file("photos/dog/noise.jpg", b"\xff\xd8\xff" + bytes(range(128))),
            )
        ),
    ),
    Row(
        "png-bomb",
        "train photos",
        3,
        ("cat/bomb.png", "30000x30000", "50,000,000"),
        two_classes(file("photos/cat/bomb.png", png(30_000, 30_000, bytes(10_000_000)))),
    ),
    Row(
        "png-declares-a-huge-side",
        "train photos",
        3,
        ("cat/wide.png", "2147483647x1", "50,000,000"),
        two_classes(file("photos/cat/wide.png", png(2**31 - 1, 1, b""))),
    ),
    Row(
        "png-without-pixels",
        "train photos",
        3,
        ("cat/none.png", "damaged", "replace or remove"),
        two_classes(file("photos/cat/none.png", png(0, 8, b""))),
    ),
    Row(
        "link-out-of-the-folder",
        "train photos",
        3,
        ("photos", "links out of the folder", "cat/out.png", "put the files themselves"),
        two_classes(broken_link_out),
    ),
    Row(
        "link-to-nothing",
        "train photos",
        3,
        ("photos", "cat/gone.png"),
        two_classes(linked("photos/cat/gone.png", "nowhere.png")),
    ),
    Row(
        "class-name-with-escape",
        "train photos",
        3,
        ("photos", r"\x1b[2J", "rename"),
        all_of(pictures(cat=2), file("photos/\x1b[2J/1.png", picture())),
    ),
    Row(
        "class-too-small-to-hold-out-a-test-image",
        f"train photos {SMALL}",
        3,
        ("photos", "'dog' has 1 images", "too few to hold out 20% for test"),
        pictures(cat=9, dog=1),
    ),
    Row(
        "class-too-small-for-the-val-fraction",
        f"train photos {SMALL} --val 0.1 --set test=0",
        3,
        ("photos", "'dog' has 2 images", "too few to hold out 10% for val", "fraction"),
        pictures(cat=40, dog=2),
    ),
    Row(
        "val-fraction-that-takes-all",
        f"train photos {SMALL} --val 0.99",
        3,
        ("photos", "too few to hold out 99% for val"),
        pictures(cat=10, dog=10),
    ),
    Row(
        "tar-with-names-that-lead-out",
        "train photos.tar",
        3,
        ("photos.tar", "no images", "../../cat/evil.png", "CLASS/IMAGE"),
        tarred("photos.tar", {"../../cat/evil.png": picture(), "../../dog/evil.png": picture()}),
    ),
    Row(
        "zip-encrypted",
        "train photos.zip",
        3,
        ("photos.zip", "encrypted", "cat/1.png", "without a password"),
        zipped("photos.zip", {"cat/1.png": picture(), "dog/1.png": picture()}, encrypted=True),
    ),
    Row("zip-bomb", "train photos.zip", 3, ("cat/1.png", "limit of 67,108,864"), zip_bomb),
    Row(
        "zip-truncated",
        "train photos.zip",
        3,
        ("photos.zip", "damaged", "make it anew"),
        all_of(
            zipped("photos.zip", {"cat/1.png": picture(), "dog/1.png": picture()}),
            truncated("photos.zip", 40),
        ),
    ),
    Row(
        "tar-xz-truncated",
        "train photos.tar.xz",
        3,
        ("photos.tar.xz", "damaged", "make it anew"),
        all_of(
            tarred("photos.tar.xz", {"cat/1.png": os.urandom(5000)}, "w:xz"),
            truncated("photos.tar.xz", 2000),
        ),
    ),
    Row(
        "archive-that-is-none",
        "train photos.zip",
        3,
        ("photos.zip", "neither a folder nor an archive", ".tar.xz"),
        file("photos.zip", "this is no archive"),
    ),
    Row(
        "archive-empty-file",
        "train photos.tar.gz",
        3,
        ("photos.tar.gz", "neither a folder nor an archive"),
        file("photos.tar.gz"),
    ),
    Row(
        "archive-without-members",
        "train photos.zip",
        3,
        ("photos.zip", "no images"),
        zipped("photos.zip", {}),
    ),
    Row("data-damaged-shown", "data photos.zip", 3, ("photos.zip",), file("photos.zip", "no")),
]

TRAINING = [
    Row(
        "model-too-deep-for-the-images",
        "train digits --model lenet",
        2,
        ("lenet", "1x8x8", "too small", "at least", "choose another model or larger images"),
    ),
    Row(
        "batch-size-larger-than-the-data",
        "train digits --batch-size 100000",
        2,
        ("batch_size is 100,000", "only 1,294", "training images", "at most"),
    ),
    Row(
        "patience-without-validation",
        "train digits --val 0 --set patience=3",
        2,
        ("patience is 3", "no validation split", "--val 0.1"),
    ),
    Row(
        "images-of-one-color-normalized",
        "train set.npz --set normalize=true --batch-size 2",
        3,
        ("channel 0 are equal",),
        npz(images=np.zeros((20, 8, 8), np.uint8), labels=np.arange(20) % 2),
    ),
    Row(
        "crop-beyond-reason",
        "train digits --set augment.crop_padding=300",
        2,
        ("augment.crop_padding is 300", "256"),
    ),
    Row(
        "loss-not-finite",
        f"train digits {QUICK} --optimizer sgd --lr 1e6 --out run",
        1,
        ("loss", "learning rate"),
        leaves=("run",),
    ),
    Row(
        "device-not-here",
        f"train digits --device {ABSENT_DEVICE}",
        2,
        (ABSENT_DEVICE, "not available", "choose --device auto"),
    ),
    Row(
        "out-is-a-file",
        f"train digits {QUICK} --out out",
        2,
        ("out", "something already", "another folder"),
        file("out", "kept"),
    ),
    Row(
        "out-below-a-file",
        f"train digits {QUICK} --out out/run",
        1,
        ("out", "choose a"),
        file("out", "kept"),
    ),
    Row("out-not-writable", f"train digits {QUICK} --out /proc/run", 1, ("/proc/run", "choose")),
    Row(
        "out-not-empty",
        f"train digits {QUICK} --out out",
        2,
        ("out", "something already", "choose another folder"),
        file("out/thesis.txt", "kept"),
    ),
    Row(
        "runs-is-a-file",
        f"train digits {QUICK}",
        1,
        ("runs", "file of this name", "wanted a folder"),
        file("runs", "kept"),
    ),
]

BUNDLES = [
    Row("bundle-missing", "predict gone.safetensors", 4, ("gone.safetensors", "no such")),
    Row(
        "bundle-of-text",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors",),
        file("model.safetensors", "this is a text and no bundle of any kind"),
    ),
    Row(
        "bundle-empty",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "0 bytes", "too few"),
        file("model.safetensors"),
    ),
    Row(
        "bundle-truncated",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "damaged", "ends at byte 2,600, the file at 2,599"),
        all_of(bundle(), truncated("model.safetensors")),
    ),
    Row(
        "bundle-of-somebody-else",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "not a file that tenfold wrote", "model.safetensors"),
        foreign_tensors,
    ),
    Row(
        "bundle-that-is-a-checkpoint",
        "predict model.safetensors x.png",
        4,
        ("'tenfold-checkpoint'", "wanted a 'tenfold-bundle'"),
        tensor_file({}, kind="tenfold-checkpoint"),
    ),
    Row(
        "bundle-newer",
        "predict model.safetensors x.png",
        4,
        ("version 2", "reads up to 1", "install a newer tenfold"),
        tensor_file({}, version=2),
    ),
    Row(
        "bundle-without-entries",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "not a bundle that can be used", "model is missing"),
        tensor_file({}),
    ),
    Row(
        "bundle-header-of-100-mb",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "not a file that tenfold wrote", "name a run folder"),
        declared_header(100 * 2**20, 200 * 2**20),
    ),
    Row(
        "bundle-header-beyond-the-file",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "too few"),
        declared_header(10 * 2**20, 100),
    ),
    Row(
        "bundle-header-nested-too-deeply",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "damaged", "its header is not JSON"),
        file("model.safetensors", framed(b'{"__metadata__":' + b"[" * 200_000)),
    ),
    Row(
        "bundle-arguments-giant",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "hidden[0] is 1000000000000", "1..65536"),
        bundle(model="mlp", arguments={"hidden": [10**12]}),
    ),
    Row(
        "bundle-of-too-many-parameters",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "parameters", "at most"),
        bundle(model="mlp", arguments={"hidden": [65_536] * 64}),
    ),
    Row(
        "bundle-of-another-architecture",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "do not fit its architecture", "weight"),
        bundle(model="mlp", arguments={}),
    ),
    Row(
        "bundle-of-an-unknown-model",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "'os.system' is not known"),
        bundle(model="os.system"),
    ),
    Row(
        "bundle-of-a-model-that-is-no-name",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "not a bundle that can be used", "model is ['mlp'], wanted a text"),
        bundle(model=["mlp"]),
    ),
    Row(
        "bundle-shape-giant",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "input_shape.1 is 1099511627776", "16384"),
        bundle(input_shape=[1, 2**40, 2**40]),
    ),
    Row(
        "bundle-shape-negative",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "input_shape.1 is -8, wanted more than 0"),
        bundle(input_shape=[1, -8, 8]),
    ),
    Row(
        "bundle-data-is-no-table",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "data is 3, wanted a table"),
        bundle(data=3),
    ),
    Row(
        "bundle-classes-are-no-names",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "classes.0 is 1, wanted a text"),
        bundle(classes=[1, 2]),
    ),
    Row(
        "bundle-preprocessing-foreign",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "preprocessing"),
        bundle(preprocessing={"mean": ["x"], "std": [1]}),
    ),
    Row(
        "bundle-preprocessing-of-other-channels",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "preprocessing", "channel"),
        all_of(
            bundle(preprocessing={"mean": [0.5] * 3, "std": [1.0] * 3}), file("x.png", picture())
        ),
    ),
    Row(
        "bundle-of-weights-that-are-no-numbers",
        "predict model.safetensors x.png --json",
        4,
        ("model.safetensors", "not all finite numbers", "linear.bias, linear.weight"),
        all_of(bundle(weight=float("nan")), file("x.png", picture(200))),
    ),
    Row(
        "bundle-of-weights-that-overflow",
        "predict model.safetensors x.png --json",
        4,
        ("weights are so large", "outputs are not finite", "retrain it", "learning rate"),
        all_of(bundle(weight=3e38), file("x.png", picture(200))),
    ),
    Row(
        "bundle-of-weights-that-overflow-evaluated",
        "evaluate model.safetensors digits --json",
        4,
        ("weights are so large", "outputs are not finite", "retrain it", "learning rate"),
        bundle(weight=3e38),
    ),
    Row(
        "bundle-summary",
        "summary model.safetensors",
        4,
        ("model.safetensors", "0 bytes"),
        file("model.safetensors"),
    ),
    Row(
        "bundle-evaluated-without-data",
        "evaluate model.safetensors",
        2,
        ("model.safetensors", "where its data lies", "name the data"),
        bundle(),
    ),
    Row(
        "folder-without-model",
        "predict photos x.png",
        4,
        ("photos", "no model.safetensors"),
        pictures(cat=1),
    ),
    Row(
        "predict-without-images-of-a-bundle",
        "predict model.safetensors",
        2,
        ("model.safetensors", "a bundle alone has no images", "name image files"),
        bundle(),
    ),
    Row(
        "predict-nothing-decodable",
        "predict model.safetensors a.png b.png photos gone.png",
        3,
        (
            "4 of 4 images cannot be used",
            "a.png",
            "text that begins with 'hello'",
            "b.png",
            "the file is empty",
            "photos",
            "directory",
            "gone.png",
            "no such file",
        ),
        all_of(bundle(), file("a.png", "hello"), file("b.png"), empty_folder("photos")),
    ),
    Row(
        "predict-bomb",
        "predict model.safetensors bomb.png",
        3,
        ("bomb.png", "30000x30000", "50,000,000"),
        all_of(bundle(), file("bomb.png", png(30_000, 30_000, bytes(1000)))),
    ),
    Row(
        "predict-device",
        "predict model.safetensors x.png --device tpu",
        2,
        ("'tpu'", "did you mean 'cpu'?"),
        bundle(),
    ),
    Row(
        "evaluate-other-classes",
        "evaluate model.safetensors photos",
        3,
        ("photos", "classes are cat, dog", "the model's are 0, 1"),
        all_of(bundle(), pictures(cat=3, dog=3)),
    ),
    Row(
        "evaluate-a-class-too-many",
        "evaluate model.safetensors set.npz",
        3,
        ("set.npz", "classes are 0, 1, x", "the model's are 0, 1, 2"),
        all_of(
            bundle(),
            npz(
                images=np.zeros((6, 8, 8), np.uint8),
                labels=np.arange(6) % 3,
                classes=["0", "1", "x"],
            ),
        ),
    ),
    Row(
        "evaluate-split-missing",
        "evaluate model.safetensors photos --split val",
        3,
        ("photos", "no val split", "--split"),
        all_of(bundle(), pictures(cat=3, dog=3)),
    ),
    Row("evaluate-data-unknown", "evaluate model.safetensors mnits", 2, ("'mnist'?",), bundle()),
]

RUNS = [
    Row("run-missing", "resume gone", 4, ("gone", "no such folder", "tenfold train")),
    Row("run-that-is-none", "resume photos", 4, ("photos", "not a run folder"), pictures(cat=1)),
    Row(
        "run-json-not-json",
        "resume run",
        4,
        ("run/run.json", "not JSON", "put back"),
        file("run/run.json", "{"),
        with_run=True,
    ),
    Row(
        "run-json-binary",
        "resume run",
        4,
        ("run/run.json", "not UTF-8", "put back"),
        file("run/run.json", bytes(range(256))),
        with_run=True,
    ),
    Row(
        "run-json-nested-too-deeply",
        "evaluate run",
        4,
        ("run/run.json", "not JSON"),
        file("run/run.json", "[" * 200_000),
        with_run=True,
    ),
    Row(
        "run-json-newer",
        "resume run",
        4,
        ("run/run.json", f"version {FORMAT + 1}", f"reads up to {FORMAT}", "newer tenfold"),
        replaced("run/run.json", f'"format": {FORMAT}', f'"format": {FORMAT + 1}'),
        with_run=True,
    ),
    Row(
        "run-json-without-data",
        "resume run",
        4,
        ("run/run.json", "data"),
        replaced("run/run.json", '"data": {', '"daten": {'),
        with_run=True,
    ),
    Row(
        "run-recipe-damaged",
        "resume run",
        4,
        ("run/recipe.toml", "put back"),
        file("run/recipe.toml", "model = "),
        with_run=True,
    ),
    Row(
        "run-recipe-missing",
        "evaluate run",
        4,
        ("run/recipe.toml", "no such file"),
        without("run/recipe.toml"),
        with_run=True,
    ),
    Row(
        "run-recipe-changed",
        "resume run --epochs 2",
        4,
        ("run/recipe.toml", "recipe.label_smoothing was", "--accept recipe"),
        replaced("run/recipe.toml", "label_smoothing = 0.0", "label_smoothing = 0.5"),
        with_run=True,
    ),
    Row(
        "run-recipe-changed-evaluated",
        "evaluate run",
        4,
        (
            "run/recipe.toml",
            "not the recipe that the run ended with",
            "put it back",
            "--accept recipe",
        ),
        replaced("run/recipe.toml", "label_smoothing = 0.0", "label_smoothing = 0.5"),
        with_run=True,
    ),
    Row(
        "run-of-other-data",
        "resume run --epochs 2 --data photos",
        4,
        ("not the run that was stopped", "classes was", "--accept"),
        pictures(cat=60, dog=60),
        with_run=True,
    ),
    Row(
        "run-without-checkpoints",
        "resume run --epochs 2",
        4,
        ("run/checkpoints", "none of the 2 checkpoints verifies", "start the run anew"),
        all_of(
            *(truncated(f"run/checkpoints/step-{step:09d}.safetensors", 100) for step in (0, 21))
        ),
        with_run=True,
    ),
    Row(
        "run-whose-data-has-gone",
        "evaluate run",
        3,
        ("gone/photos", "no longer at", "say where it is now"),
        replaced("run/run.json", '"source": "digits"', '"source": "gone/photos"'),
        with_run=True,
    ),
    Row(
        "run-with-damaged-model",
        "predict run",
        4,
        ("run/model.safetensors", "damaged"),
        truncated("run/model.safetensors"),
        with_run=True,
    ),
    Row(
        "run-without-such-a-split",
        "evaluate run set.npz --split val",
        3,
        ("set.npz", "no val split", "--split"),
        npz(images=np.zeros((6, 8, 8), np.uint8), labels=np.arange(6) % 3),
        with_run=True,
    ),
    Row(
        "run-predicts-nothing-decodable",
        "predict run run.txt --json",
        3,
        ("1 of 1 images", "run.txt", "text that begins with 'hello'"),
        file("run.txt", "hello"),
        with_run=True,
    ),
]

ROWS = [
    *COMMAND_LINE, *RECIPES, *IDX, *CIFAR_AND_NPZ, *FOLDERS, *TRAINING, *BUNDLES, *RUNS,
]  # fmt: skip


# --- The one test -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on digits, to be copied."""
    import tenfold

    folder = tmp_path_factory.mktemp("finished") / "run"
    tenfold.train("digits", recipe="digits-quick", epochs=1, threads=1, out=folder)
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below, with what is in it; links as what they say."""
    return {
        str(path.relative_to(folder)): str(path.readlink()).encode()
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in folder.rglob("*")
        if path.name != ".lock"  # a run's lock stays when it is let go
    }


def control_characters(text: str) -> set[str]:
    """What could move the cursor, color a terminal or turn the direction of writing."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}


def errors(err: str) -> list[str]:
    """The lines of standard error that are no notes."""
    return [line for line in err.splitlines() if not line.startswith("note: ")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_wrong_input_is_told_in_one_sentence_and_leaves_nothing(
    row: Row, tenfold: Tenfold, tmp_path: Path, finished_run: Path
) -> None:
    if row.with_run:
        shutil.copytree(finished_run, tmp_path / "run")
    if row.make is not None:
        row.make(tmp_path)
    before, beside = contents(tmp_path), set(tmp_path.parent.iterdir())

    answer = tenfold(*shlex.split(row.command))

    assert answer.code == row.code, answer.err
    assert answer.out == ""
    (message,) = errors(answer.err)
    assert answer.err.endswith(f"{message}\n"), "the error comes after the notes"
    assert message.startswith("tenfold: ")
    assert "Traceback" not in answer.err
    assert not control_characters(answer.err)
    missing = [words for words in row.words if words not in message]
    assert not missing, message
    assert len(message) < 4200

    after = contents(tmp_path)
    new = {name for name in after if after[name] != before.get(name)} | before.keys() - after.keys()
    assert {name for name in new if Path(name).parts[0] not in row.leaves} == set()
    assert not [name for name in after if name.endswith(".tmp")]
    assert set(tmp_path.parent.iterdir()) == beside
    assert not list(Path(os.environ["TENFOLD_CACHE"]).rglob("*.tmp"))


# --- Names that would move the cursor ---------------------------------------------------------

NASTY = [
    "line\nbreak",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "bell\x07\x08\x7f",
    "c1\x9b2J",
    "\udcff",
]
"""A new line, a color, a turned direction, a bell, an 8-bit escape, a byte that is no Unicode."""

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


@pytest.mark.parametrize("name", NASTY, ids=ascii)
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS.keys())
def test_what_is_typed_cannot_reach_the_terminal(
    arguments: list[str], name: str, tenfold: Tenfold, tmp_path: Path
) -> None:
    all_of(bundle(), file("file"))(tmp_path)
    answer = tenfold(*(argument.replace("{}", name) for argument in arguments))
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
    answer.out.encode()  # a terminal takes UTF-8 and no surrogates
    if form == "--json":
        (prediction,) = json.loads(answer.out)["predictions"]
        assert prediction["image"] == f"{name}.png"
    if form != "--csv":  # which is for programs, and quotes what it must
        assert not control_characters(answer.out)
