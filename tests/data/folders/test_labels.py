"""Which image gets which label, file by file, where labels are not those of class folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from bad_inputs.makers.pictures import picture
from tenfold.data import load_splits


def folder_of(root: Path, files: dict[str, str | None]) -> Path:
    """A folder with these texts; None for a picture."""
    for name, text in files.items():
        path = root / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture() if text is None else text.encode())
    return root / "photos"


def labels_of(folder: Path) -> dict[str, str]:
    """The class of every image, with the split in front."""
    splits = load_splits(folder).splits
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    return {
        name: part.classes[label]
        for part in parts.values()
        if part is not None
        for name, label in zip(part.names, part.label_array, strict=True)
    }


@pytest.mark.parametrize("heading", ["filename", "pic"])
def test_numbers_of_rows_are_not_names_of_images(tmp_path: Path, heading: str) -> None:
    """As pandas writes them; the images have numbers, too."""
    table = f",{heading},label\n0,3.png,cat\n1,2.png,cat\n2,1.png,dog\n3,gone.png,dog\n"
    files = dict.fromkeys(("0.png", "1.png", "2.png", "3.png"))
    folder = folder_of(tmp_path, {"labels.csv": table, **files})
    assert labels_of(folder) == {"3.png": "cat", "2.png": "cat", "1.png": "dog"}


TABLES = {
    "beside them": ("train.csv", "test.csv", ""),
    "with the images": ("train/labels.csv", "test/labels.csv", ""),
    "with other folders": ("train.csv", "test.csv", "/kaggle/{split}/"),
}


@pytest.mark.parametrize(("train", "test", "before"), TABLES.values(), ids=TABLES.keys())
def test_a_table_of_a_split_labels_its_images(
    tmp_path: Path, train: str, test: str, before: str
) -> None:
    """The images of both splits have the same names."""
    files: dict[str, str | None] = {}
    expected = {}
    for split, table, first in (("train", train, "cat"), ("test", test, "dog")):
        second = "dog" if first == "cat" else "cat"
        rows = []
        for number in range(4):
            files[f"{split}/{number}.png"] = None
            label = first if number < 2 else second
            expected[f"{split}/{number}.png"] = label
            rows.append(f"{before.format(split=split)}{number}.png,{label}\n")
        files[table] = "id,label\n" + "".join(rows)
    assert labels_of(folder_of(tmp_path, files)) == expected
