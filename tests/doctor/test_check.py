"""`tenfold check` from the outside: what it prints, writes and returns."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tenfold as package
from command_line import Tenfold
from tenfold.data.checks.findings import KINDS, Finding, Located
from tenfold.doctor.check import Checked
from tenfold.errors import UsageError


def picture(path: Path, number: int, size: tuple[int, int] = (16, 16), light: int = 0) -> None:
    """A picture of stripes that differs from others by its number."""
    generator = np.random.default_rng(number)
    rows = generator.integers(40, 180, (4, 4, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(rows).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    Image.fromarray(np.asarray(image) + np.uint8(light)).save(path, quality=95)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one fault of nearly every kind."""
    root = tmp_path_factory.mktemp("data") / "photos"
    for number in range(60):
        picture(root / ("cat" if number % 2 else "dog") / f"{number:02}.png", number)
    (root / "dog" / "again.png").write_bytes((root / "dog" / "02.png").read_bytes())
    (root / "dog" / "wrong.png").write_bytes((root / "cat" / "03.png").read_bytes())
    Image.open(root / "cat" / "05.png").save(root / "cat" / "05 small.jpg", quality=92)
    Image.new("RGB", (16, 16)).save(root / "cat" / "black.png")
    picture(root / "cat" / "tiny.png", 92, (4, 3))
    picture(root / "cat" / "long.png", 91, (4, 90))
    (root / "cat" / "torn.png").write_bytes((root / "cat" / "07.png").read_bytes()[:200])
    (root / "cat" / "<b>&amp;.png").write_bytes((root / "cat" / "09.png").read_bytes())
    return root


QUICK = {
    "unreadable": 1,
    "two-labels": 1,
    "duplicates": 2,
    "blank": 1,
    "tiny": 1,
    "extreme": 1,
}


def test_what_pixels_show(tenfold: Tenfold, photos: Path, tmp_path: Path) -> None:
    answer = tenfold("check", str(photos), "--quick", "--json", "--out", str(tmp_path / "check"))
    assert answer.code == 0
    facts = json.loads(answer.out)
    assert facts["counts"] == QUICK
    assert facts["schema"] == 1
    stored = json.loads((tmp_path / "check" / "findings.json").read_text())
    assert stored.items() <= facts.items()


def test_all_of_it(
    tenfold: Tenfold, photos: Path, tmp_path: Path, train_for: Callable[[int], None]
) -> None:
    train_for(3)
    answer = tenfold("check", str(photos), "--out", str(tmp_path / "check"), "--threads", "1")
    assert answer.code == 0, answer.err
    assert (
        "1  near-duplicates: cat/05 small.jpg, cat/05.png: 2 images are nearly the same"
    ) in answer.out
    assert "models that were not trained on them agree with" in answer.out
    assert "fold 5 of 5: " in answer.err
    with (tmp_path / "check" / "findings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    by_kind = {row["finding"] for row in rows}
    assert QUICK.keys() | {"near-duplicates"} <= by_kind
    deleted = {row["image"] for row in rows if row["action"] == "delete"}
    assert deleted == {"cat/torn.png", "cat/black.png", "dog/again.png", "cat/<b>&amp;.png"}


def test_what_is_decided_is_not_found_again(tenfold: Tenfold, photos: Path, tmp_path: Path) -> None:
    """Review in rounds: each table has the decisions of the one before."""
    command = ("check", str(photos), "--quick", "--strict", "--json", "--out")
    first = tmp_path / "first"
    assert tenfold(*command, str(first)).code == 3
    with (first / "findings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if not row["action"] and row["finding"] in ("tiny", "extreme"):
            row["action"] = "keep"
    edited = tmp_path / "edited.csv"

    def save() -> None:
        with edited.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)

    save()
    given = ("--corrections", str(edited))
    answer = tenfold(*command, str(tmp_path / "second"), *given)
    assert answer.code == 3
    facts = json.loads(answer.out)
    assert facts["counts"] == {"two-labels": 1}
    assert f"2 findings are left out because they are decided in {edited}" in facts["unchecked"]
    assert len(facts["kept"]) == 2
    assert facts["corrections"].keys() == {
        row["image"] for row in rows if row["action"] == "delete"
    }
    with (tmp_path / "second" / "findings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["finding"] == "two-labels":
            row["action"] = "delete" if row["image"] == "dog/wrong.png" else ""
    save()
    answer = tenfold(*command, str(tmp_path / "third"), *given)
    assert answer.code == 0, answer.out


def test_strict_and_ignore(tenfold: Tenfold, photos: Path, tmp_path: Path) -> None:
    command = ("check", str(photos), "--quick", "--strict", "--out")
    assert tenfold(*command, str(tmp_path / "1")).code == 3
    ignored = [word for kind in QUICK for word in ("--ignore", kind)]
    answer = tenfold(*command, str(tmp_path / "2"), *ignored)
    assert answer.code == 0
    assert "nothing was found" in answer.out
    answer = tenfold(*command, str(tmp_path / "3"), "--ignore", "blanks")
    assert answer.code == 2
    assert "there is no finding 'blanks'; did you mean 'blank'?" in answer.err


def test_a_device_that_is_not_there_is_an_error(tenfold: Tenfold, photos: Path) -> None:
    answer = tenfold("check", str(photos), "--device", "gpu")
    assert answer.code == 2
    assert "gpu" in answer.err


def test_where_it_writes(
    tenfold: Tenfold, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        answer = tenfold("check", str(photos), "--quick")
        assert f"pictures  checks/photos-{number:03}/check.html" in answer.out
    answer = tenfold("check", str(photos), "--quick", "--out", "checks/photos-001")
    assert answer.code == 2
    assert "already exists and is not an empty folder" in answer.err


def test_a_check_in_the_data_does_not_become_data(
    tenfold: Tenfold, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tenfold("data", str(photos), "--skip-bad", "--json").out
    monkeypatch.chdir(photos)
    assert tenfold("check", ".", "--quick").code == 0
    assert (photos / "checks" / "photos-001" / "findings.csv").exists()
    assert tenfold("data", str(photos), "--skip-bad", "--json").out == before
    for name in ("findings.csv", "check.html"):  # as if the process had died before
        (photos / "checks" / "photos-001" / name).unlink()
        assert tenfold("data", str(photos), "--skip-bad", "--json").out == before


class Page(HTMLParser):
    """Collects what a page shows and loads, and whether its tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page(tenfold: Tenfold, photos: Path, tmp_path: Path) -> None:
    tenfold("check", str(photos), "--quick", "--out", str(tmp_path / "check"))
    page = Page()
    text = (tmp_path / "check" / "check.html").read_text()
    page.feed(text)
    assert page.open == []
    shown = " ".join(page.texts)
    for kind, n in QUICK.items():
        assert f"{KINDS[kind].title} ({n})" in shown
        assert kind in page.ids
    assert "cat/<b>&amp;.png" in shown, "names are text, not HTML"
    assert "<b>&amp;.png" not in text
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} == set(page.ids)
    assert len(re.findall("data:image/png", text)) == 2 + 4 + 3
    assert f"--corrections {tmp_path / 'check' / 'findings.csv'}" in shown
    assert page.texts.count("delete") == 1 + 4, "in the explanation, and below each such image"


def test_in_python(photos: Path, tmp_path: Path) -> None:
    checked = package.check(photos, quick=True, out=tmp_path / "check")
    assert checked.counts() == QUICK
    assert repr(checked).endswith(f"photos', {QUICK})")
    assert "2  duplicates (4 images): such as " in str(checked)
    assert [finding.images[0].name for finding in checked.of_kind("blank")] == ["cat/black.png"]
    assert (tmp_path / "check" / "check.html").exists()
    with pytest.raises(UsageError, match="there is no finding 'nothing'"):
        package.check(photos, ignore="nothing")


def test_arrays_have_numbers_instead_of_names() -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 1, 8, 8), np.uint8)
    images[7] = images[3]
    data = package.data.ImageDataset(images, np.arange(30) % 2, "ab")
    (finding,) = package.check(data, quick=True).findings
    assert [image.name for image in finding.images] == ["train/3", "train/7"]
    assert finding.kind == "duplicates"


def test_data_that_cannot_be_trained_on_is_checked(tenfold: Tenfold, tmp_path: Path) -> None:
    for number in range(6):
        picture(tmp_path / "photos" / "cat" / f"{number}.png", number)
    (tmp_path / "photos" / "dog").mkdir()
    answer = tenfold("check", str(tmp_path / "photos"), "--out", str(tmp_path / "check"))
    assert answer.code == 0, answer.err
    assert "empty-class: 'dog' has no images" in answer.out
    assert "note: labels were not checked: fewer than two classes have 5 images or more" in (
        answer.out
    )


@pytest.mark.parametrize(("accuracy", "said"), [(0.79, True), (0.81, False), (None, False)])
def test_what_a_low_agreement_may_mean_is_said(accuracy: float | None, said: bool) -> None:
    finding = Finding(
        "wrong-label", "labeled 'a', more likely 'b'", (Located("x", "train", "a", 0),)
    )
    checked = Checked("photos", {}, (finding,), (), (), accuracy=accuracy, judged=100)
    assert ("that is seldom: many labels are wrong, or the classes" in str(checked)) == said
    without = Checked("photos", {}, (), (), (), accuracy=accuracy, judged=100)
    assert "that is seldom" not in str(without)
