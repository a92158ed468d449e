"""Wrong folders and archives of class folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bad_inputs.makers.files import all_of, empty_folder, file, linked, truncated
from bad_inputs.makers.pictures import (
    broken_link_out,
    picture,
    pictures,
    png,
    split_pictures,
    tarred,
    two_classes,
    zip_bomb,
    zipped,
)
from bad_inputs.rows import Row, check
from command_line import Tenfold

SMALL = "--epochs 1 --batch-size 2 --threads 1"

ROWS = [
    Row("path-missing", "train nowhere/at/all", 3, ("nowhere/at/all", "no such folder or file")),
    Row("path-of-a-text", "train notes.txt", 3, ("notes.txt", ".zip"), file("notes.txt", "hello")),
    Row(
        "path-of-a-recipe",
        "train mine.toml",
        3,
        ("mine.toml", "looks like a recipe", "tenfold train DATA --recipe "),
        file("mine.toml", "epochs = 3"),
    ),
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
        ("photos", "are of one class, 'cat'", "each class is its own folder"),
        pictures(cat=3),
    ),
    Row(
        "images-outside-of-classes",
        "train photos",
        3,
        ("photos", "1 image outside", "stray.png"),
        two_classes(file("photos/stray.png", picture())),
    ),
    Row(
        "classes-differ-between-splits",
        "train photos",
        3,
        ("photos", "test images of 'cow', but no training images", "add training images"),
        split_pictures("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/cow/1.png"),
    ),
    Row(
        "test-split-only",
        "train photos",
        3,
        ("photos", "no training images", "test"),
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
            "truncated",
            "cat/empty.png",
            "the file is empty",
            "dog/text.png",
            "text that starts with 'hello'",
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
        ("photos", "a link out of the folder or to nothing", "cat/out.png", "replace or remove"),
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
        "a-folder-beside-the-splits",
        "train photos",
        3,
        ("photos", "1 other folder next to the split folder 'train': 'extra'", "move each image"),
        split_pictures("train/cat/1.png", "train/dog/1.png", "extra/dog/1.png"),
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
        ("photos.zip", "damaged", "recreate it"),
        all_of(
            zipped("photos.zip", {"cat/1.png": picture(), "dog/1.png": picture()}),
            truncated("photos.zip", 40),
        ),
    ),
    Row(
        "tar-xz-truncated",
        "train photos.tar.xz",
        3,
        ("photos.tar.xz", "damaged", "recreate it"),
        all_of(
            tarred("photos.tar.xz", {"cat/1.png": os.urandom(5000)}, "w:xz"),
            truncated("photos.tar.xz", 2000),
        ),
    ),
    Row(
        "archive-that-is-none",
        "train photos.zip",
        3,
        ("photos.zip", "neither a folder nor a supported archive", ".tar.xz", ".npz"),
        file("photos.zip", "this is no archive"),
    ),
    Row(
        "archive-empty-file",
        "train photos.tar.gz",
        3,
        ("photos.tar.gz", "neither a folder nor a supported archive"),
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


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_wrong_input_gives_one_sentence_and_leaves_nothing(
    row: Row, tenfold: Tenfold, tmp_path: Path
) -> None:
    check(row, tenfold, tmp_path)
