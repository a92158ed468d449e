"""Pictures that are collected, from a request to a data set."""

from __future__ import annotations

import io
import os
import shutil
import threading
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from live_server import Live, encoded, served, small_classifier
from tenfold.data import load_splits
from tenfold.data.folders.layout import find_places
from tenfold.deployment import Classifier
from tenfold.deployment.background import Background
from tenfold.deployment.bundle import BundleHeader
from tenfold.deployment.serving import application, bodies, collecting
from tenfold.deployment.serving.bodies import Picture
from tenfold.deployment.serving.collecting import Collection, why_no_folder
from tenfold.deployment.serving.limits import Limits
from tenfold.deployment.serving.refusals import RefusedError
from tenfold.errors import DataError, StorageError, UsageError

CLASSES = ("a b", "cat", "dog?", "dog", "../up", ".hidden", "", "ünï 数", "test", "Dog")
HEADER: BundleHeader = small_classifier(classes=CLASSES).bundle.header
IMAGES = np.random.default_rng(0).integers(0, 256, (30, 1, 8, 8), dtype=np.uint8)
PNG = encoded(IMAGES[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outside") / "collected"


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    collection = Collection(folder, HEADER, Limits())
    with served(small_classifier(classes=CLASSES), collection=collection) as running:
        yield running


def collect(live: Live, label: str | None, data: bytes | None = PNG) -> requests.Response:
    form = {"label": (None, label), "file": ("x.png", data)}
    return live.post("/collect", files={name: pair for name, pair in form.items() if pair[1]})


def test_pictures_are_saved_for_training_and_can_be_taken_back(live: Live, folder: Path) -> None:
    for image in IMAGES:
        for label in ("cat", "a b", "ünï 数", "dog?"):
            answer = collect(live, label, encoded(image))
            assert answer.status_code == 201, answer.text
            saved = answer.json()["saved"]
            assert saved.startswith(f"{label}/20")
            assert (folder / saved).is_file()
    read = load_splits(str(folder)).splits
    assert read.train.classes == ("a b", "cat", "dog?", "ünï 数")
    parts = [part for part in (read.train, read.val, read.test) if part is not None]
    pixels = {image.tobytes() for part in parts for image in part.image_array}
    assert pixels == {image.tobytes() for image in IMAGES}
    url = f"{live.url}/collect/{quote(saved)}"
    assert requests.delete(url, timeout=30).status_code == 204
    assert not (folder / saved).exists()
    assert requests.delete(url, timeout=30).status_code == 404
    assert live.get("/model").json()["collect"]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("../up", "it has a slash or backslash"),
        (".hidden", "are hidden"),
        ("bird", "there is no class 'bird'"),
        ("dgo", "did you mean 'dog'?"),
        ("\0", "there is no class '\\x00'"),
    ],
)
def test_a_label_that_cannot_be_a_folder(label: str, words: str, live: Live, folder: Path) -> None:
    answer = collect(live, label)
    assert answer.status_code == 422
    assert words in "; ".join(answer.json()["error"].values())
    assert [path.name for path in folder.parent.iterdir()] == ["collected"]


def test_a_long_label(live: Live) -> None:
    answer = collect(live, "x" * 2000)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == "the label has more than 1,024 bytes"


def test_a_long_form_is_read_by_another_thread(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    readers = []
    read = bodies.labeled_picture

    def noticed(*arguments: object) -> object:
        readers.append(threading.current_thread().name)
        return read(*arguments)

    monkeypatch.setattr(application, "labeled_picture", noticed)
    assert collect(live, "cat", PNG + bytes(100_000)).status_code == 201
    assert readers[0].startswith("tenfold-images")


def test_an_empty_label(live: Live) -> None:
    form = (
        b'--x\r\nContent-Disposition: form-data; name="label"\r\n\r\n\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n--x--\r\n'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = live.post("/collect", form % PNG, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].endswith("cannot be collected: it is empty")


def test_other_bodies(live: Live, folder: Path) -> None:
    before = sorted(folder.rglob("*.png"))
    assert live.post("/collect", PNG, headers={"Content-Type": "image/png"}).status_code == 415
    assert collect(live, "cat", None).status_code == 422
    assert collect(live, None).status_code == 422
    assert collect(live, "cat", b"hello").status_code == 400
    twice = [("file", ("a", PNG)), ("file", ("b", PNG)), ("label", (None, "cat"))]
    assert live.post("/collect", files=twice).status_code == 422
    assert sorted(folder.rglob("*.png")) == before


@pytest.mark.parametrize(
    "path",
    [
        "cat/nothing.png",
        "..%2f..%2fetc/passwd",
        "../cat/x.png",
        "cat/..%2fx.png",
        "cat",
        "%2e%2e/x",
    ],
)
def test_only_what_was_collected_can_be_removed(path: str, live: Live, folder: Path) -> None:
    (folder / "cat").mkdir(exist_ok=True)
    own = folder / "cat" / "own.png"
    own.write_bytes(PNG)
    address = f"http://127.0.0.1:{live.port}/collect/{path}"
    prepared = requests.Request("DELETE", address).prepare()
    prepared.url = address  # as it is
    with requests.Session() as session:
        assert session.send(prepared, timeout=30).status_code in (404, 405)
    answer = requests.delete(f"{live.url}/collect/cat/own.png", timeout=30)
    assert answer.status_code == 404
    assert own.read_bytes() == PNG


def test_nothing_but_the_pixels_is_saved(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 30))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a secret"  # on its side, with a description
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, comment=b"a secret")
    saved = (
        Collection(tmp_path, HEADER, Limits())
        .save("cat", Picture("x", file.getvalue() + b"a secret"))
        .place
    )
    data = (tmp_path / saved).read_bytes()
    assert b"a secret" not in data
    assert b"eXIf" not in data
    with Image.open(tmp_path / saved) as found:
        assert (found.format, found.mode, found.size, found.info) == ("PNG", "L", (20, 30), {})


def test_no_empty_folder_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one, the pictures of other classes could not be trained on."""
    collection, picture = Collection(tmp_path, HEADER, Limits()), Picture("x", PNG)
    for label in ("cat", "dog"):
        for _ in range(10):
            collection.save(label, picture)
    collection.take_back(*collection.save("a b", picture).place.split("/"))
    collection.take_back(*collection.save("dog", picture).place.split("/"))
    monkeypatch.setattr(collecting, "write_bytes", full)
    with pytest.raises(StorageError):
        collection.save("dog?", picture)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat", "dog"]
    assert load_splits(str(tmp_path)).splits.train.classes == ("cat", "dog")


def full(path: Path, data: bytes) -> None:
    raise StorageError(f"{path}: no space left on device")


DEEP = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024)
CLEAR = Image.fromarray(np.arange(128, dtype=np.uint8).reshape(8, 8, 2), "LA")


@pytest.mark.parametrize("changes", ["invert=true", "invert=true&center=true"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("image", [Image.fromarray(IMAGES[0, 0]), DEEP, CLEAR])
def test_a_picture_is_saved_as_the_model_got_it(
    image: Image.Image, channels: int, changes: str, tmp_path: Path
) -> None:
    """Inverted, and cropped to its subject, whatever the browser can decode."""
    file = io.BytesIO()
    image.save(file, "TIFF" if image.mode == "L" else "PNG")
    classifier = small_classifier((channels, 8, 8))
    collection = Collection(tmp_path, classifier.bundle.header, Limits())
    with served(classifier, collection=collection) as live:
        answer = live.predict(file.getvalue(), f"?{changes}&seen=true")
        form = {"label": (None, "cat"), "file": ("x", file.getvalue())}
        saved = live.post(f"/collect?{changes}", files=form).json()["saved"]
        assert live.post("/collect?top=1", files=form).status_code == 422
        assert live.post("/collect?invert=1", files=form).status_code == 422
    seen = answer.json()["predictions"][0]["seen"].partition(",")[2]
    with Image.open(tmp_path / saved) as found, Image.open(io.BytesIO(b64decode(seen))) as wanted:
        assert found.mode == ("L" if channels == 1 else "RGB")
        assert found.tobytes() == wanted.tobytes()


def test_what_is_cropped_is_saved_as_the_model_got_it_and_how_it_looks_is_said(
    tmp_path: Path,
) -> None:
    """A thin line, too, which is faint when it is scaled down."""
    classifier = small_classifier((1, 8, 8))
    background = Background(shade="dark", extent=0.5, least_extent=0.4, most_offset=0.1)
    header = classifier.bundle.header.model_copy(update={"background": background})
    classifier = Classifier(replace(classifier.bundle, header=header), threads=1)
    pixels = np.full((1, 900, 900), 255, np.uint8)
    pixels[:, 100:500, 700:708] = 40
    data = encoded(pixels)
    form = {"label": (None, "cat"), "file": ("x", data)}
    with served(classifier, collection=Collection(tmp_path, header, Limits())) as live:
        plain = live.post("/collect", files=form).json()
        changed = live.post("/collect?center=true", files=form).json()
    assert (plain["inverted"], plain["uncentered"]) == (True, True)
    assert (changed["inverted"], changed["uncentered"]) == (False, False)
    wanted = classifier.pixels(data, center=True)[0, 0]
    with Image.open(tmp_path / changed["saved"]) as found:
        assert (np.asarray(found) == wanted).all()
    assert wanted.max() == 255


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    collection, picture = Collection(tmp_path, HEADER, Limits()), Picture("x", PNG)
    for label in ("cat", "dog"):
        collection.take_back(*collection.save(label, picture).place.split("/"))
    assert [path.name for path in tmp_path.iterdir()] == ["cat"]


def test_a_class_called_like_a_split_does_not_become_the_only_one(tmp_path: Path) -> None:
    """Alone, its pictures would be read as a test split without classes."""
    collection, picture = Collection(tmp_path, HEADER, Limits()), Picture("x", PNG)
    cat = collection.save("cat", picture).place
    collection.save("test", picture)
    collection.take_back(*cat.split("/"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat", "test"]


def test_large_pictures_are_scaled_down_and_colors_are_kept_if_the_model_has_them(
    tmp_path: Path,
) -> None:
    header = small_classifier((3, 8, 8)).bundle.header
    collection = Collection(tmp_path, header, Limits(collected_side=100))
    data = encoded(np.full((3, 100, 200), 9, np.uint8))
    with Image.open(tmp_path / collection.save("cat", Picture("x", data)).place) as found:
        assert (found.mode, found.size) == ("RGB", (100, 50))


@pytest.mark.parametrize(
    ("limits", "n"), [(Limits(collected=2), 2), (Limits(collected_bytes=3 * len(PNG)), 3)]
)
def test_a_full_collection(limits: Limits, n: int, tmp_path: Path) -> None:
    collection, picture = Collection(tmp_path, HEADER, limits), Picture("x", PNG)
    saved = [collection.save("cat", picture).place for _ in range(n)]
    with pytest.raises(RefusedError, match="the collection is full"):
        collection.save("cat", picture)
    collection.take_back(*saved[0].split("/"))
    collection.save("cat", picture)


def test_a_class_called_like_a_split_is_not_the_first(tmp_path: Path) -> None:
    collection, picture = Collection(tmp_path, HEADER, Limits()), Picture("x", PNG)
    with pytest.raises(RefusedError, match="save a picture of another class first"):
        collection.save("test", picture)
    for label in ("cat", "test"):
        for _ in range(10):
            collection.save(label, picture)
    assert load_splits(str(tmp_path)).splits.train.classes == ("cat", "test")


def test_folders_that_are_one_where_case_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection, picture = Collection(tmp_path, HEADER, Limits()), Picture("x", PNG)
    collection.save("dog", picture)
    monkeypatch.setattr(Collection, "_class_folders", lambda _: ["dog"])
    with pytest.raises(RefusedError, match="differs only by case"):
        collection.save("Dog", picture)


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "photos" / "train" / "cat").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"reads as parts of a data set.*name a new folder"):
        Collection(tmp_path / "photos", HEADER, Limits())
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="this is a file, wanted a folder"):
        Collection(tmp_path / "file", HEADER, Limits())


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everything is writable here")
@pytest.mark.parametrize("mode", [0o500, 0o300])
def test_a_folder_that_cannot_be_read_or_written(mode: int, tmp_path: Path) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(StorageError, match="pictures cannot be saved there"):
        Collection(tmp_path, HEADER, Limits())


def test_a_folder_that_is_removed_while_the_server_runs(tmp_path: Path) -> None:
    collection = Collection(tmp_path / "x", HEADER, Limits())
    shutil.rmtree(tmp_path / "x")
    with pytest.raises(StorageError, match="cannot be read: No such file"):
        collection.save("test", Picture("x", PNG))


def test_pictures_are_saved_by_a_thread_of_their_own(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which waits for the disk while others decode."""
    savers = []
    write = collecting.write_bytes

    def noticed(path: Path, data: bytes) -> None:
        savers.append(threading.current_thread().name)
        write(path, data)

    monkeypatch.setattr(collecting, "write_bytes", noticed)
    assert collect(live, "cat").status_code == 201
    assert savers[0].startswith("tenfold-pictures")


def test_a_disk_that_is_full(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "write_bytes", full)
    live.told.clear()
    answer = collect(live, "cat")
    assert answer.status_code == 507
    assert answer.json()["error"]["message"] == "the collection could not be changed"
    assert live.told[0].startswith("POST /collect: ")
    assert live.told[0].endswith("no space left on device")


def test_a_picture_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not an image"):
        Collection(tmp_path, HEADER, Limits()).save("cat", Picture("x", b"hello"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("", "empty"),
        ("a\nb", "unprintable"),
        ("\ud800", "unprintable"),
        ("a/b", "slash"),
        ("a\\b", "slash"),
        ("x" * 256, "255 bytes"),
        ("数" * 86, "255 bytes"),
        (".", "hidden"),
        ("..", "hidden"),
        ("__MACOSX", "hidden"),
        ("e\u0301", "Unicode"),
    ],
)
def test_names_that_no_folder_has(label: str, words: str) -> None:
    assert words in why_no_folder(label)


@pytest.mark.parametrize("label", ["CON", "nul.txt", "COM1", "a:b", "a?", "a.", "a ", "<"])
def test_names_that_no_folder_on_windows_has(label: str) -> None:
    assert why_no_folder(label, on_windows=False) == ""
    assert "Windows" in why_no_folder(label, on_windows=True)


@pytest.mark.parametrize("label", ["3", "a b", "数", "it's", "console", "x" * 255, "train"])
def test_names_that_folders_have(label: str) -> None:
    assert why_no_folder(label, on_windows=True) == ""


@settings(max_examples=50)
@given(st.text(max_size=20) | st.sampled_from(["con", "train", " ", "images", "~", "-x"]))
def test_a_folder_is_read_as_the_class_that_it_was_made_for(label: str) -> None:
    if why_no_folder(label):
        return
    places = find_places(Path("x"), [(label, "a.png"), ("another class", "b.png")], set())
    assert places.of_image[0] == ("all", label)
