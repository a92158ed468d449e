"""Folders as people have them: what is understood, what is said, and the exit code.

Each case is a folder or an archive; `tenfold data` and `tenfold train` must understand it alike.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import Tenfold

Files = Mapping[str, bytes]


def picture(number: int = 0, size: tuple[int, int] = (12, 12), kind: str = "PNG") -> bytes:
    """A small picture that differs from others by its number."""
    generator = np.random.default_rng(number)
    pixels = generator.integers(0, 256, (*size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def number_of(*parts: object) -> int:
    """A number that differs from those of other parts, and is the same in every process."""
    return zlib.crc32(repr(parts).encode())


def sixteen_bits(number: int, largest: int) -> bytes:
    """A 16-bit gray picture with no value over this one."""
    generator = np.random.default_rng(number)
    pixels = generator.integers(0, largest + 1, (12, 12)).astype(np.uint16)
    pixels[0, 0] = largest
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def sixteen_bit_color(largest: int) -> bytes:
    """A PNG with 16 bits per channel, of one value."""
    size = 8

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return len(data).to_bytes(4, "big") + whole + zlib.crc32(whole).to_bytes(4, "big")

    rows = b"".join(b"\0" + largest.to_bytes(2, "big") * 3 * size for _ in range(size))
    header = size.to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def pictures(*names: str, start: int = 0) -> dict[str, bytes]:
    return {name: picture(start + number) for number, name in enumerate(names)}


def classes(prefix: str = "", n: int = 6, start: int = 0, **more: int) -> dict[str, bytes]:
    """Class folders `cat` and `dog`, or those named, with so many pictures each."""
    counts = more or {"cat": n, "dog": n}
    names = [f"{prefix}{name}/{i}.png" for name, count in counts.items() for i in range(count)]
    return pictures(*names, start=start)


def table(rows: list[str], name: str = "labels.csv") -> dict[str, bytes]:
    return {name: "\n".join(rows).encode()}


def splits(train: str, test: str, val: str = "") -> dict[str, bytes]:
    found = {**classes(f"{train}/", 5), **classes(f"{test}/", 3, start=100)}
    return {**found, **classes(f"{val}/", 2, start=200)} if val else found


Understood = dict[str, dict[str, int]]
TRAIN_AND_TEST: Understood = {"train": {"cat": 5, "dog": 5}, "test": {"cat": 3, "dog": 3}}
ALL_THREE: Understood = {
    "train": {"cat": 5, "dog": 5},
    "val": {"cat": 2, "dog": 2},
    "test": {"cat": 3, "dog": 3},
}
HELD_OUT: Understood = {"train": {"cat": 5, "dog": 5}, "test": {"cat": 1, "dog": 1}}
"""Of two classes of six, with a fifth held out."""


SITES = {
    f"{split}/{site}/{name}/{i}.png": picture(number_of(split, site, name, i))
    for split in ("train", "test")
    for site in ("here", "there")
    for name in ("cat", "dog")
    for i in range(3)
}


@dataclass(frozen=True)
class Case:
    """A folder.

    Attributes:
        files: by name; a name that ends in a slash is an empty folder.
        understood: the number of images of each class in each split; None if it is refused.
        says: words in the notes, or in the error.
        options: of both commands.
        code: the exit code.
        make: creates it in another way; returns its path.
    """

    files: Files = field(default_factory=dict)
    understood: Understood | None = None
    says: tuple[str, ...] = ()
    options: str = ""
    code: int = 0
    make: Callable[[Path], Path] | None = None


def as_zip(encoding: str, names: list[str]) -> Callable[[Path], Path]:
    """A zip archive whose names are stored in some encoding, without saying which."""

    def make(folder: Path) -> Path:
        path = folder / "photos.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for number, name in enumerate(names):
                entry = zipfile.ZipInfo(f"{number:04d}".ljust(len(name.encode(encoding)), "_"))
                archive.writestr(entry, picture(number))
        data = bytearray(path.read_bytes())
        for number, name in enumerate(names):
            raw = name.encode(encoding)
            placeholder = f"{number:04d}".ljust(len(raw), "_").encode()
            assert data.count(placeholder) == 2
            data = data.replace(placeholder, raw)
        path.write_bytes(bytes(data))
        return path

    return make


def names_in_zip(one: str, other: str) -> list[str]:
    return [f"{name}/{i}.png" for name in (one, other) for i in range(6)]


ANY_NAME = {
    "training and testing": ("training", "testing", ""),
    "train_images and test_images": ("train_images", "test_images", ""),
    "training_set and test_set": ("training_set", "test_set", ""),
    "seg_train and seg_test": ("seg_train", "seg_test", ""),
    "Train and Test": ("Train", "Test", ""),
    "TRAIN and TEST": ("TRAIN", "TEST", ""),
    "train2017 and test2017": ("train2017", "test2017", ""),
    "Training Images and Test Images": ("Training Images", "Test Images", ""),
    "trainset, testset and valset": ("trainset", "testset", "valset"),
    "train, test and valid": ("train", "test", "valid"),
    "train, test and dev": ("train", "test", "dev"),
    "train, test and eval": ("train", "test", "eval"),
    "train, test and validation_data": ("train", "test", "validation_data"),
    "data-train, data-test and data-val": ("data-train", "data-test", "data-val"),
}

CASES: dict[str, Case] = {
    **{
        f"splits called {name}": Case(
            splits(*folders), ALL_THREE if folders[2] else TRAIN_AND_TEST
        )
        for name, folders in ANY_NAME.items()
    },
    "a split folder in itself, as some archives have it": Case(
        {**classes("seg_train/seg_train/", 5), **classes("seg_test/seg_test/", 3, 100)},
        TRAIN_AND_TEST,
    ),
    "train and val only": Case(
        {**classes("train/", 6), **classes("val/", 2, 100)},
        {"train": {"cat": 5, "dog": 5}, "val": {"cat": 2, "dog": 2}, "test": {"cat": 1, "dog": 1}},
        ("there is no test split: 2 of the 12 images were held out", "--set test=0.1"),
    ),
    "an unlabeled test folder": Case(
        {**classes("train/", 6), **pictures("test/1.png", "test/2.png", start=50)},
        HELD_OUT,
        ("2 images in 'test' are not in class folders, so they were left out", "tenfold predict"),
    ),
    "an unlabeled test folder in another": Case(
        {**classes("train/", 6), **pictures("test/images/1.png", start=50)},
        HELD_OUT,
        ("1 image in 'test' is not in a class folder, so it was left out",),
    ),
    "splits inside the classes": Case(
        {
            f"{name}/{split}/{i}.png": picture(number_of(name, split, i))
            for name in ("cat", "dog")
            for split, n in (("train", 5), ("test", 3))
            for i in range(n)
        },
        TRAIN_AND_TEST,
        ("the class folders contain the splits: 'test', 'train'",),
    ),
    "folders that all hold the same folders": Case(
        {**classes("site A/", 4), **classes("site B/", 4, 100)},
        None,
        ("'site A', 'site B' all contain the same folders, 'cat', 'dog'", "--label-from"),
        code=3,
    ),
    "the same, with the inner ones as classes": Case(
        {**classes("site A/", 3), **classes("site B/", 3, 100)},
        HELD_OUT,
        options="--label-from '^[^/]+/(?P<label>[^/]+)/'",
    ),
    "folders of other files beside the splits": Case(
        {**splits("train", "test"), "annotations/1.xml": b"<x/>"},
        TRAIN_AND_TEST,
        ("ignored folders without images: 'annotations'",),
    ),
    "what systems leave behind": Case(
        {
            **classes(n=6),
            "@eaDir/cat.png": picture(90),
            "lost+found/": b"",
            "$RECYCLE.BIN/x.png": picture(91),
            "System Volume Information/y.png": picture(92),
            "cat/@eaDir/0.png": picture(93),
            "cat/Thumbs.db": b"x",
            "__MACOSX/cat/._0.png": b"x",
            ".DS_Store": b"x",
        },
        HELD_OUT,
        ("skipped hidden files (7)",),
    ),
    "a name in two forms of Unicode": Case(
        {
            **classes("train/", **{unicodedata.normalize("NFC", "café"): 5, "tea": 5}),
            **classes("test/", start=50, **{unicodedata.normalize("NFD", "café"): 3, "tea": 3}),
        },
        {"train": {"café": 5, "tea": 5}, "test": {"café": 3, "tea": 3}},
    ),
    "names that differ by case": Case(
        classes(cat=6, Cat=6),
        {"train": {"cat": 5, "Cat": 5}, "test": {"cat": 1, "Cat": 1}},
        ("differ only by case or spaces", "'Cat', 'cat'"),
    ),
    "names that differ by spaces": Case(
        classes(**{"red fox": 6, "red_fox": 6}),
        {"train": {"red fox": 5, "red_fox": 5}, "test": {"red fox": 1, "red_fox": 1}},
        ("differ only by case or spaces",),
    ),
    "a zip archive with names in UTF-8 that does not say so": Case(
        understood={"train": {"猫": 5, "狗": 5}, "test": {"猫": 1, "狗": 1}},
        make=as_zip("utf-8", names_in_zip("猫", "狗")),
    ),
    "a zip archive with names in GBK": Case(
        understood={"train": {"小猫": 5, "小狗": 5}, "test": {"小猫": 1, "小狗": 1}},
        says=("names in the archive are taken to be in GBK",),
        make=as_zip("gbk", names_in_zip("小猫", "小狗")),
    ),
    "a zip archive with names in DOS's code page": Case(
        understood={"train": {"thé": 5, "café": 5}, "test": {"thé": 1, "café": 1}},
        says=("names in the archive are taken to be in CP437",),
        make=as_zip("cp437", names_in_zip("thé", "café")),
    ),
    "a table as Kaggle gives it": Case(
        {
            **pictures(*(f"train/{i}.png" for i in range(12))),
            **pictures("test/90.png", start=90),
            **table(["id,label", *(f"{i},{'cat' if i < 6 else 'dog'}" for i in range(12))],
                    "train.csv"),
            **table(["id,label", "90,cat"], "sample_submission.csv"),
        },
        HELD_OUT,
        ("labels are from train.csv (column 'label'), for 12 images",
         "left out images without a label (1): test/90.png"),
    ),
    "a table with extensions, folders and semicolons": Case(
        {
            **pictures(*(f"images/a{i}.png" for i in range(12))),
            **table(["file;kind", *(f"images/a{i}.png;{'cat' if i < 6 else 'dog'}"
                                    for i in range(12))]),
        },
        HELD_OUT,
    ),
    "a table without headings, separated by tabs": Case(
        {
            **pictures(*(f"a{i}.png" for i in range(12))),
            **table([f"a{i}.png\t{'cat' if i < 6 else 'dog'}" for i in range(12)], "x.tsv"),
        },
        HELD_OUT,
    ),
    "a table with missing and extra files": Case(
        {
            **pictures(*(f"a{i}.png" for i in range(12)), "extra.png"),
            **table(["name,label", "gone.png,cat",
                     *(f"a{i}.png,{'cat' if i < 6 else 'dog'}" for i in range(12))]),
        },
        HELD_OUT,
        ("left out images without a label (1): extra.png",
         "lists images that are not there (1): gone.png"),
    ),
    "a table with a column of splits": Case(
        {
            **pictures(*(f"a{i}.png" for i in range(16))),
            **table(["name,split,label", *(
                f"a{i},{'train' if i < 10 else 'test'},{'cat' if i % 2 else 'dog'}"
                for i in range(16))]),
        },
        TRAIN_AND_TEST,
    ),
    "a table with several columns, one of them chosen": Case(
        {
            **pictures(*(f"a{i}.png" for i in range(12))),
            **table(["name,color,animal", *(
                f"a{i},{'red' if i % 2 else 'blue'},{'cat' if i < 6 else 'dog'}"
                for i in range(12))]),
        },
        HELD_OUT,
        options="--labels labels.csv:animal",
    ),
    "a table with several columns, none of them chosen": Case(
        {
            **pictures(*(f"a{i}.png" for i in range(4))),
            **table(["name,color,animal", *(f"a{i},red,cat" for i in range(4))]),
        },
        None,
        ("not clear which column has the labels: 'color', 'animal'", "--labels labels.csv:color"),
        code=2,
    ),
    "a table with two labels for one image": Case(
        {**pictures("a.png", "b.png"), **table(["name,label", "a,cat", "b,dog", "a,dog"])},
        None,
        ("images have two labels: 'a.png'",),
        code=3,
    ),
    "two tables": Case(
        {
            **pictures("a.png", "b.png"),
            **table(["name,label", "a,cat", "b,dog"], "one.csv"),
            **table(["name,label", "a,cat", "b,dog"], "two.csv"),
        },
        None,
        ("several tables name the same images: one.csv (2 images), two.csv (2 images)", "--labels"),
        code=3,
    ),
    "a table of digits, labels first": Case(
        {
            **pictures(*(f"{i}.png" for i in range(12))),
            **table(["label,id", *(f"{i % 2},{i}" for i in range(12))]),
        },
        {"train": {"0": 5, "1": 5}, "test": {"0": 1, "1": 1}},
    ),
    "a table of digits for more images than there are": Case(
        {
            **pictures(*(f"{i}.png" for i in range(12))),
            **table(["id,label", *(f"{i},{i % 2}" for i in range(100))]),
        },
        {"train": {"0": 5, "1": 5}, "test": {"0": 1, "1": 1}},
        ("lists images that are not there (88): 12, 13, 14",),
    ),
    "training and test images of the same names": Case(
        {
            **pictures(*(f"train/{i}.png" for i in range(12))),
            **pictures(*(f"test/{i}.png" for i in range(5)), start=90),
            **table(["id,label", *(f"{i},{'cat' if i < 6 else 'dog'}" for i in range(12))],
                    "train.csv"),
        },
        HELD_OUT,
        ("for 12 images", "left out images without a label (5)"),
    ),
    "a table with the folders of another computer": Case(
        {
            **pictures(*(f"a{i}.png" for i in range(12))),
            **table(["path,label", *(f"/data/pets/a{i}.png,{'cat' if i < 6 else 'dog'}"
                                     for i in range(12))]),
        },
        HELD_OUT,
        ("names in labels.csv are taken without 'data/pets/'",),
    ),
    "a table of images in another folder": Case(
        {
            **pictures(*(f"a/{i}.png" for i in range(12))),
            **table(["path,label", *(f"{folder}/{i}.png,{'cat' if i < 6 else 'dog'}"
                                     for folder in "ab" for i in range(12))]),
        },
        HELD_OUT,
        ("lists images that are not there (12): b/0.png",),
    ),
    "a table with odd splits": Case(
        {
            **pictures(*(f"a{i}.png" for i in range(18))),
            **table(["name,split,label", *(
                f"a{i},{'train' if i < 10 else 'test' if i < 16 else 'excluded'},"
                f"{'cat' if i % 2 else 'dog'}" for i in range(18))]),
        },
        TRAIN_AND_TEST,
        ("left out rows of labels.csv that are for neither training nor testing (2): excluded",),
    ),
    "a table for training and one for testing": Case(
        {
            **pictures(*(f"a{i}.png" for i in range(16))),
            **table(["id,label", *(f"a{i},{'cat' if i % 2 else 'dog'}" for i in range(10))],
                    "train.csv"),
            **table(["id,label", *(f"a{i},{'cat' if i % 2 else 'dog'}" for i in range(10, 16))],
                    "test.csv"),
        },
        TRAIN_AND_TEST,
        ("labels are from train.csv, test.csv (column 'label'), for 16 images",),
    ),
    "tables for training and testing in a folder, with images beside them": Case(
        {
            **pictures(*(f"set/a{i}.png" for i in range(16)), *(f"old/a{i}.png" for i in range(4))),
            **table(["id,label", *(f"a{i},{'cat' if i % 2 else 'dog'}" for i in range(10))],
                    "set/train.csv"),
            **table(["id,label", *(f"a{i},{'cat' if i % 2 else 'dog'}" for i in range(10, 16))],
                    "set/test.csv"),
            "cover.png": picture(900),
        },
        TRAIN_AND_TEST,
        ("left out images without a label (5): cover.png, old/a0.png",),
    ),
    "a table of images to predict": Case(
        {
            **pictures(*(f"a{i}.png" for i in range(12)), "b1.png", "b2.png"),
            **table(["id,label", *(f"a{i},{'cat' if i % 2 else 'dog'}" for i in range(12))],
                    "train.csv"),
            **table(["id,width,height", "b1,12,12", "b2,12,12"], "test.csv"),
        },
        HELD_OUT,
        ("labels are from train.csv (column 'label'), for 12 images",),
    ),
    "a table beside two folders that are not classes": Case(
        {
            **pictures(*(f"part_{1 + i // 6}/a{i}.png" for i in range(12))),
            **table(["image_id,diagnosis", *(f"a{i},{'mole' if i % 2 else 'wart'}"
                                             for i in range(12))], "metadata.csv"),
        },
        {"train": {"part_1": 5, "part_2": 5}, "test": {"part_1": 1, "part_2": 1}},
        ("the classes are the folders, although metadata.csv names the images, too",
         "--labels metadata.csv takes its labels"),
    ),
    "the same, with the table chosen": Case(
        {
            **pictures(*(f"part_{1 + i // 6}/a{i}.png" for i in range(12))),
            **table(["image_id,diagnosis", *(f"a{i},{'mole' if i % 2 else 'wart'}"
                                             for i in range(12))], "metadata.csv"),
        },
        {"train": {"mole": 5, "wart": 5}, "test": {"mole": 1, "wart": 1}},
        options="--labels metadata.csv",
    ),
    "a table with comments, old line ends, another case and Latin-1": Case(
        {
            **pictures(*(f"A{i}.PNG" for i in range(12))),
            "labels.csv": "\r".join(
                ["# by hand", "", "file|kind",
                 *(f"a{i}.png|{'forêt' if i < 6 else 'chêne'}" for i in range(12))]
            ).encode("latin-1"),
        },
        {"train": {"chêne": 5, "forêt": 5}, "test": {"chêne": 1, "forêt": 1}},
        ("labels.csv is read as CP1252, because it is not in UTF-8",),
    ),
    "a table in GBK": Case(
        {
            **pictures(*(f"a{i}.png" for i in range(12))),
            "labels.csv": "\n".join(
                ["文件,类别", *(f"a{i}.png,{'小猫' if i < 6 else '小狗'}" for i in range(12))]
            ).encode("gbk"),
        },
        {"train": {"小狗": 5, "小猫": 5}, "test": {"小狗": 1, "小猫": 1}},
        ("labels.csv is read as GBK",),
    ),
    "a table that names no image": Case(
        {**pictures("a.png", "b.png"), **table(["name,label", "x,cat", "y,dog"])},
        None,
        (
            "outside class folders",
            "(labels.csv: no column names images such as 'a.png'; its first column has 'x', 'y')",
        ),
        code=3,
    ),
    "a table with far too many columns beside class folders": Case(
        {**classes(n=6), "big.csv": b",".join([b"x"] * 5000) + b"\n" + b"y\n" * 5000},
        HELD_OUT,
    ),
    "groups in a column, some of them unknown": Case(
        {
            **pictures(*(f"a{i}.png" for i in range(16))),
            **table(["name,label,patient", *(
                f"a{i},{'cat' if i % 2 else 'dog'},{' p' if i < 8 else ''}{i // 2 if i < 8 else ''}"
                for i in range(16))]),
        },
        {"train": {"cat": 6, "dog": 6}, "test": {"cat": 2, "dog": 2}},
        ("12 groups, each kept together",),
        "--group-by patient",
    ),
    "groups in a table beside class folders": Case(
        {
            **classes(n=8),
            **table(["file,patient", *(f"{name}/{i}.png,{i // 2}" for name in ("cat", "dog")
                                       for i in range(8))]),
        },
        {"train": {"cat": 6, "dog": 6}, "test": {"cat": 2, "dog": 2}},
        ("4 groups, each kept together",),
        "--group-by patient",
    ),
    "labels in names, and unlabeled pictures for testing": Case(
        {
            **pictures(*(f"train/{'cat' if i < 6 else 'dog'}.{i}.png" for i in range(12))),
            **pictures("test1/1.png", "test1/2.png", start=90),
        },
        HELD_OUT,
        ("2 images of the test folder have no label in their names, so they were left out",),
        "--label-from '(cat|dog)'",
    ),
    "labels in file names": Case(
        pictures(*(f"{'cat' if i < 6 else 'dog'}_{i:03d}.png" for i in range(12))),
        HELD_OUT,
        options=r"--label-from '(?P<label>[a-z]+)_\d+'",
    ),
    "labels in some file names": Case(
        pictures("cat_1.png", "dog_2.png", "cover.png"),
        None,
        ("finds nothing in 1 of 3 names: cover.png",),
        options=r"--label-from '([a-z]+)_\d+'",
        code=3,
    ),
    "an expression that is none": Case(
        pictures("cat_1.png"), None, ("not a regular expression",), "--label-from '(['", code=2
    ),
    "pictures of the same things": Case(
        {
            f"{name}/{thing}_{i}.png": picture(number_of(name, thing, i))
            for name in ("cat", "dog")
            for thing in range(5)
            for i in range(2)
        },
        {"train": {"cat": 8, "dog": 8}, "test": {"cat": 2, "dog": 2}},
        ("groups, each kept together",),
        r"--group-by '([a-z]+/\d+)_\d+'",
    ),
    "pictures that look like bursts": Case(
        {
            f"{name}/{thing:02d}_frame{i:03d}.png": picture(number_of(name, thing, i))
            for name in ("cat", "dog")
            for thing in range(6)
            for i in range(4)
        },
        {"train": {"cat": 19, "dog": 19}, "test": {"cat": 5, "dog": 5}},
        ("look like several images of one thing", "--group-by"),
    ),
    "pictures of other formats": Case(
        {
            **classes(n=5),
            "cat/a.avif": picture(80, kind="AVIF"),
            "dog/b.jp2": picture(81, kind="JPEG2000"),
        },
        HELD_OUT,
    ),
    "a HEIC picture": Case(
        {**classes(n=5), "cat/a.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)},
        None,
        ("HEIC images cannot be read here", "cat/a.heic"),
        code=3,
    ),
    "16-bit pictures that use 12 bits": Case(
        {f"{name}/{i}.png": sixteen_bits(10 * k + i, 4000)
         for k, name in enumerate(("cat", "dog")) for i in range(6)},
        HELD_OUT,
        ("no value over 4,095",),
    ),
    "bad files": Case(
        {**classes(n=6), "cat/bad.png": b"\x89PNG\r\n\x1a\nxxxx", "dog/empty.jpg": b""},
        None,
        ("2 of 14 images cannot be read", "cat/bad.png", "dog/empty.jpg", "--skip-bad"),
        code=3,
    ),
    "bad files that are left out": Case(
        {**classes(n=6), "cat/bad.png": b"\x89PNG\r\n\x1a\nxxxx", "dog/empty.jpg": b""},
        HELD_OUT,
        ("left out 2 images that cannot be read", "cat/bad.png"),
        "--skip-bad",
    ),
    "splits in a folder that is called like one": Case(
        {**classes("training_data/train/", 5), **classes("training_data/test/", 3, start=100)},
        TRAIN_AND_TEST,
    ),
    "training and validation in a folder called train": Case(
        {**classes("data/train/train/", 6), **classes("data/train/val/", 2, start=100)},
        {**HELD_OUT, "val": {"cat": 2, "dog": 2}},
    ),
    "two levels that may be classes, inside splits": Case(
        SITES,
        None,
        ("either may be the classes", "--label-from '^[^/]+/(?P<label>[^/]+)/'"),
        code=3,
    ),
    "the same, with the inner ones as classes in splits": Case(
        SITES,
        {"train": {"cat": 6, "dog": 6}, "test": {"cat": 6, "dog": 6}},
        options="--label-from '^[^/]+/[^/]+/(?P<label>[^/]+)/'",
    ),
    "a table beside split folders and a folder of other files": Case(
        {
            **pictures(*(f"train/a{i}.png" for i in range(10))),
            **pictures(*(f"test/b{i}.png" for i in range(6)), start=100),
            "docs/readme.txt": b"x",
            **table(["id,label", *(f"a{i},{'cat' if i < 5 else 'dog'}" for i in range(10)),
                     *(f"b{i},{'cat' if i < 3 else 'dog'}" for i in range(6))]),
        },
        TRAIN_AND_TEST,
    ),
    "pictures to predict beside the splits": Case(
        {
            **splits("seg_train/seg_train", "seg_test/seg_test"),
            **pictures("seg_pred/seg_pred/1.png", "seg_pred/seg_pred/2.png", start=400),
        },
        TRAIN_AND_TEST,
        ("2 images in 'seg_pred' are not in class folders, so they were left out",),
    ),
    "class folders in a folder beside another one": Case(
        {**classes("photos/", 6), "docs/readme.txt": b"x"}, HELD_OUT
    ),
    "a class without a single readable picture": Case(
        {**classes(n=6), "cow/1.png": b"hello", "cow/2.png": b""},
        HELD_OUT,
        ("no image of 'cow' is left, so the class was left out", "left out 2 images"),
        "--skip-bad",
    ),
    "gray pictures and a damaged one in color": Case(
        {
            **{f"{name}/{i}.png": sixteen_bits(10 * k + i, 65535)
               for k, name in enumerate(("cat", "dog")) for i in range(6)},
            "cat/bad.png": picture(3, (200, 200))[:20_000],
        },
        HELD_OUT,
        options="--skip-bad",
    ),
    "16-bit color that would be black": Case(
        {**classes(n=6), "cat/dark.png": sixteen_bit_color(1023)},
        None,
        ("16 bits per channel, but no value over 4,095, so that it would be read as black",
         "(save it with 8 bits per channel): cat/dark.png"),
        code=3,
    ),
    "many shapes": Case(
        {f"{name}/{i}.png": picture(10 * k + i, (30 + 9 * i, 100 - 9 * i))
         for k, name in enumerate(("cat", "dog")) for i in range(6)},
        HELD_OUT,
        ("images have 6 sizes", "without cropping", "one side is squashed by"),
    ),
    "many shapes, padded": Case(
        {f"{name}/{i}.png": picture(10 * k + i, (30 + 9 * i, 100 - 9 * i))
         for k, name in enumerate(("cat", "dog")) for i in range(6)},
        HELD_OUT,
        ("of what the model sees is margin",),
        "--resize pad",
    ),
    "many shapes, cropped": Case(
        {f"{name}/{i}.png": picture(10 * k + i, (30 + 9 * i, 100 - 9 * i))
         for k, name in enumerate(("cat", "dog")) for i in range(6)},
        HELD_OUT,
        ("of the area is cut off",),
        "--resize crop",
    ),
    "few images of a class": Case(
        classes(cat=20, dog=2),
        {"train": {"cat": 16, "dog": 2}, "test": {"cat": 4, "dog": 0}},
        ("few training images", "'dog' (2)", "no test images of 'dog'"),
    ),
    "a class with a single image": Case(
        classes(cat=20, dog=1),
        {"train": {"cat": 16, "dog": 1}, "test": {"cat": 4, "dog": 0}},
        ("no test images of 'dog'",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_folder_is_understood_as_a_person_would(
    name: str, tenfold: Tenfold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    monkeypatch.chdir(tmp_path)
    path = made(case, tmp_path)
    options = shlex.split(case.options)
    shown = tenfold("data", path.name, *options, "--json")
    trained = tenfold(
        "train",
        path.name,
        *options,
        "--model",
        "softmax",
        "--epochs",
        "1",
        "--val",
        "0",
        "--out",
        "run",
        "--json",
    )
    assert (shown.code, trained.code) == (case.code, case.code), shown.err + trained.err
    if case.understood is None:
        said = [shown.err, trained.err]
    else:
        facts = json.loads(shown.out)
        found = {
            split: dict(zip(facts["classes"], each["class_counts"], strict=True))
            for split, each in facts["splits"].items()
        }
        assert found == case.understood
        run = json.loads(Path("run/run.json").read_text())
        assert run["data"]["n"] == {
            split: sum(counts.values()) for split, counts in case.understood.items()
        }
        said = ["\n".join(facts["notes"]), trained.err]
    for text in said:
        for words in case.says:
            assert words in text


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 40


def made(case: Case, folder: Path) -> Path:
    if case.make is not None:
        return case.make(folder)
    root = folder / "photos"
    for name, data in case.files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(data)
    if os.path.normcase("A") == "a":
        pytest.skip("file names here do not tell capital letters apart")
    return root
