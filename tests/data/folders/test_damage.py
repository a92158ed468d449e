"""How files that cannot be read are named and grouped."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from tenfold.data.folders.damage import MOST_NAMED, by_reason, reason_of, refuse, refuse_some
from tenfold.errors import DataError


def test_reasons_that_differ_in_details_are_one() -> None:
    found = by_reason(
        [
            ("a.png", "the image (10 bytes) is damaged: truncated (3 bytes not processed)"),
            ("b.png", "the image (2,000 bytes) is damaged: truncated (1 byte not processed)"),
            ("c.png", "it declares 9000x9000 pixels, over the limit of 50,000,000"),
            ("d.png", "it declares 8000x8000 pixels, over the limit of 50,000,000"),
            ("e.png", "Bad CRC-32 for file 'e.png'"),
        ]
    )
    assert found == (
        "the image is damaged: truncated: a.png, b.png; it has more pixels than 50,000,000: c.png, "
        "d.png; Bad CRC-32 for file 'e.png': e.png"
    )


@pytest.mark.parametrize("n", [MOST_NAMED, MOST_NAMED + 1, 1000])
@pytest.mark.parametrize("alike", [True, False])
def test_no_more_than_so_many_are_named(n: int, alike: bool) -> None:
    found = by_reason((f"{i}.png", "bad" if alike else f"bad in way {i}") for i in range(n))
    assert len(re.findall(r"\d+\.png", found)) == MOST_NAMED
    left = "" if n == MOST_NAMED else f"and {n - MOST_NAMED:,} more"
    assert found.endswith(left + ("" if alike or not left else " for other reasons"))


def test_a_remedy_of_its_own_belongs_to_the_reason() -> None:
    error = DataError("x/a.heic: HEIC cannot be read here", remedy="install something")
    for name in ("a.heic", "x/a.heic"):
        assert reason_of(error, name) == "HEIC cannot be read here (install something)"
    plain = DataError("a.png: not an image", remedy="replace or remove the file")
    assert reason_of(plain, "a.png") == "not an image"


def test_all_are_listed_in_a_file_if_there_are_many(tmp_path: Path) -> None:
    bad = {f"cat,{i}\udcff.png": "it is, say, bad" for i in range(MOST_NAMED + 1)}
    error = refuse(tmp_path / "photos", bad, 100)
    assert error.bad_files == bad
    listed = re.match(r"all are listed in (.*\.csv); replace or remove them, or ", error.remedy)
    assert listed is not None
    with Path(listed[1]).open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file", "reason"]
    assert rows[1] == ["cat,0\\udcff.png", "it is, say, bad"]
    assert len(rows) == MOST_NAMED + 2


def test_other_work_has_another_file() -> None:
    bad = [(f"{i}.png", "bad") for i in range(MOST_NAMED + 1)]
    first, again, other = (refuse_some(bad, 30, work).remedy for work in ("a", "a", "b"))
    assert first == again != other


def test_a_single_one() -> None:
    error = refuse(Path("photos"), {"a.png": "bad"}, 7)
    assert str(error).startswith("photos: 1 of 7 images cannot be read: bad: a.png; replace or ")
    assert "replace or remove it, or leave out what is bad" in error.remedy
    assert refuse(Path("photos"), {"a.png": "bad"}, 1, skipping=True).remedy == (
        "replace or remove it"
    )
