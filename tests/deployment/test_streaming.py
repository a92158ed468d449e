"""Predictions for files, folders, archives, patterns and standard input, past bad files."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import Tenfold
from tenfold.deployment import Classifier
from tenfold.deployment.streaming import AT_ONCE, answers


def picture(light: bool, number: int = 0) -> bytes:
    generator = np.random.default_rng(number)
    pixels = generator.integers(0, 100, (10, 14, 3)) + 150 * light
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that tells dark pictures from light ones."""
    folder = tmp_path_factory.mktemp("model")
    for label, name in enumerate(("dark", "light")):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(20):
            path = folder / "photos" / name / f"{number}.png"
            path.write_bytes(picture(bool(label), number))
    command = ["train", "photos", "--recipe", "softmax-fashion", "--epochs", "20", "--quiet"]
    command += ["--batch-size", "8", "--set", "normalize=dataset", "--threads", "1", "--out", "run"]
    subprocess.run([sys.executable, "-m", "tenfold", *command], cwd=folder, check=True)
    return folder / "run" / "model.safetensors"


@pytest.fixture
def pictures(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the model, pictures, and files that are none."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(model, tmp_path / "model.safetensors")
    new = tmp_path / "new"
    (new / "more" / ".hidden").mkdir(parents=True)
    (new / "a.png").write_bytes(picture(light=False))
    (new / "b.png").write_bytes(picture(light=True))
    (new / "more" / "c.png").write_bytes(picture(light=True, number=7))
    (new / "more" / ".hidden" / "d.png").write_bytes(picture(light=True))
    (new / "notes.txt").write_text("no picture")
    return tmp_path


IN_THE_FOLDER = {"new/a.png": "dark", "new/b.png": "light", "new/more/c.png": "light"}


def told(out: str) -> dict[str, str]:
    """The answers in plain text."""
    lines = (line.partition(": ") for line in out.splitlines())
    return {name: answer.split()[0] for name, _, answer in lines}


@pytest.mark.parametrize("name", ["new", "new/", "./new"])
def test_a_folder(pictures: Path, tenfold: Tenfold, name: str) -> None:
    answer = tenfold("predict", "model.safetensors", name)
    assert answer.code == 0
    skipped = os.path.join(name, "notes.txt")  # noqa: PTH118 (keeps what was given)
    assert answer.err == f"note: skipped files without an image extension (1): {skipped}\n"
    assert {os.path.normpath(key): value for key, value in told(answer.out).items()} == (
        IN_THE_FOLDER
    )


def test_an_archive(pictures: Path, tenfold: Tenfold) -> None:
    with zipfile.ZipFile("new.zip", "w") as archive:
        for name in IN_THE_FOLDER:
            archive.write(name)
    answer = tenfold("predict", "model.safetensors", "new.zip")
    assert answer.code == 0
    assert told(answer.out) == {f"new.zip/{name}": what for name, what in IN_THE_FOLDER.items()}


@pytest.mark.parametrize("pattern", ["new/**/*.png", "n*/*.png"])
def test_a_pattern(pictures: Path, tenfold: Tenfold, pattern: str) -> None:
    answer = tenfold("predict", "model.safetensors", pattern)
    assert answer.code == 0
    below = {name for name in IN_THE_FOLDER if "more" not in name or "**" in pattern}
    assert told(answer.out) == {name: IN_THE_FOLDER[name] for name in sorted(below)}


def test_answers_are_in_the_order_of_the_names(pictures: Path, tenfold: Tenfold) -> None:
    names = ["new/more/c.png", "new/a.png", "new/b.png", "new/a.png"]
    answer = tenfold("predict", "model.safetensors", *names)
    assert [line.partition(": ")[0] for line in answer.out.splitlines()] == names


def test_what_cannot_be_read_is_listed_at_the_end(pictures: Path, tenfold: Tenfold) -> None:
    Path("bad.png").write_text("hello")
    Path("empty").mkdir()
    names = ["bad.png", "new/a.png", "gone.png", "empty", "new/b.png"]
    answer = tenfold("predict", "model.safetensors", *names)
    assert answer.code == 3
    assert told(answer.out) == {"new/a.png": "dark", "new/b.png": "light"}
    (line,) = answer.err.splitlines()
    assert line.startswith("tenfold: 3 of 5 images cannot be read: ")
    for words in ("starts with 'hello'", "PNM: bad.png", "gone.png", "no images in it: empty"):
        assert words in line


@pytest.mark.skipif(os.name == "nt", reason="links need a permission")
def test_links_out_of_a_folder_are_not_followed_and_said_so(
    pictures: Path, tenfold: Tenfold
) -> None:
    (pictures / "linked").mkdir()
    (pictures / "linked/inside.png").write_bytes(picture(light=True))
    (pictures / "linked/inner.png").symlink_to("inside.png")
    (pictures / "linked/outer.png").symlink_to("../new/a.png")
    answer = tenfold("predict", "model.safetensors", "linked")
    assert answer.code == 3
    assert told(answer.out) == {"linked/inner.png": "light", "linked/inside.png": "light"}
    assert "a link that is not followed, or a special file: linked/outer.png" in answer.err


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_names_on_standard_input(pictures: Path, end: str) -> None:
    found = piped("\n".join(IN_THE_FOLDER).replace("\n", end or "\n").encode() + end.encode())
    assert (found.returncode, found.stderr) == (0, b"")
    assert told(found.stdout.decode()) == IN_THE_FOLDER


@pytest.mark.parametrize("name", ["P1000123.JPG", "BM.png", "BMW/1.jpg"])
def test_names_that_begin_like_pictures(pictures: Path, name: str) -> None:
    """Some cameras name their pictures like this."""
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(picture(light=True))
    found = piped(f"{name}\n{name}\n".encode() * 10)
    assert (found.returncode, found.stderr) == (0, b"")
    assert told(found.stdout.decode()) == {name: "light"}


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="there is no such file here")
def test_a_file_that_cannot_be_read_at_all(pictures: Path, tenfold: Tenfold) -> None:
    answer = tenfold("predict", "model.safetensors", "/proc/self/mem", "new/a.png")
    assert answer.code == 3
    assert told(answer.out) == {"new/a.png": "dark"}
    assert "1 of 2 images cannot be read: " in answer.err


def test_names_that_come_one_at_a_time_are_answered_one_at_a_time(pictures: Path) -> None:
    """The next name is written after the answer to the one before."""
    command = [sys.executable, "-m", "tenfold", "predict", "model.safetensors", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for name, answer in IN_THE_FOLDER.items():
            process.stdin.write(f"{name}\n".encode())
            process.stdin.flush()
            assert told(process.stdout.readline().decode()) == {name: answer}
        process.stdin.close()
        assert process.wait() == 0


@pytest.mark.parametrize("bytes_at_once", [1, 3, 7, 100])
def test_standard_input_in_parts(pictures: Path, model: Path, bytes_at_once: int) -> None:
    """A pipe gives any number of bytes at a time."""

    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            return super().read1(min(size or 0, bytes_at_once))

    classifier = Classifier.from_file(model)
    names = "\r\n".join(IN_THE_FOLDER).encode()
    found = answers(classifier, ["-"], 1, lambda: Slow(b"\xef\xbb\xbf" + names))
    assert {each.name: each.guesses[0].name for each in found} == IN_THE_FOLDER
    found = answers(classifier, ["-"], 1, lambda: Slow(picture(light=True)))
    assert [each.guesses[0].name for each in found] == ["light"]


@pytest.mark.parametrize("kind", ["BMP", "WEBP"])
def test_a_picture_in_parts_with_an_early_line_break(
    pictures: Path, model: Path, kind: str
) -> None:
    """The size of the file, near its beginning, has a byte that is a line break in text."""

    class Slow(io.BytesIO):
        def read1(self, _size: int | None = -1, /) -> bytes:
            return super().read1(1)

    for width in range(1, 3000):
        encoded = io.BytesIO()
        noise = np.random.default_rng(width).integers(230, 256, (20, width, 3), np.uint8)
        Image.fromarray(noise).save(encoded, kind)
        if b"\n" in encoded.getvalue()[:8]:
            break
    else:
        pytest.fail("no such picture")
    found = answers(Classifier.from_file(model), ["-"], 1, lambda: Slow(encoded.getvalue()))
    assert [each.guesses[0].name for each in found] == ["light"]


def test_a_picture_on_standard_input(pictures: Path) -> None:
    found = piped(picture(light=True))
    assert (found.returncode, found.stderr) == (0, b"")
    assert told(found.stdout.decode()) == {"-": "light"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (picture(light=True)[:60], b"damaged or truncated"),
        (bytes(1000), b"neither an image nor names of images, one a line"),
        (b"new/a.png\nb" + b"x" * 100 + b"\0ad.png\n", b"not the name of a file"),
        (b"x" * 10_000, b"1 of 1 image cannot be read"),
        (b"new/a.png\n" + b"x" * 10**7, b"a line is too long for the name of a file"),
    ],
)
def test_what_standard_input_may_not_be(pictures: Path, data: bytes, said: bytes) -> None:
    found = piped(data)
    assert found.returncode == 3
    assert said in found.stderr
    assert b"Traceback" not in found.stderr


def piped(data: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tenfold", "predict", "model.safetensors", "-"]
    return subprocess.run(command, input=data, capture_output=True, check=False)


def test_an_answer_that_is_not_probable_enough_is_unsure(pictures: Path, tenfold: Tenfold) -> None:
    Image.fromarray(np.full((10, 14, 3), 122, np.uint8)).save("gray.png")
    command = ["predict", "model.safetensors", "gray.png", "new/a.png", "--min-confidence"]
    plain = tenfold(*command[:-1], "--jsonl", "--top", "2").out.splitlines()
    guesses = json.loads(plain[0])["top"]
    assert guesses[0]["probability"] < 0.999 < json.loads(plain[1])["top"][0]["probability"]
    answer = tenfold(*command, "0.999")
    assert answer.code == 0
    gray, dark = answer.out.splitlines()
    assert gray == f"gray.png: unsure ({guesses[0]['class']} {guesses[0]['probability']:.3f})"
    assert dark.startswith("new/a.png: dark ")
    rows = list(csv.DictReader(io.StringIO(tenfold(*command, "0.999", "--csv").out)))
    assert [(row["class"], row["rank"]) for row in rows] == [("unsure", "1"), ("dark", "1")]
    lines = [json.loads(line) for line in tenfold(*command, "0.999", "--jsonl").out.splitlines()]
    assert [line.get("unsure", False) for line in lines] == [True, False]
    assert lines[0]["top"][0]["class"] == guesses[0]["class"]


def test_a_line_of_json_for_each_picture(pictures: Path, tenfold: Tenfold) -> None:
    answer = tenfold("predict", "model.safetensors", "new", "gone.png", "--jsonl", "--top", "2")
    assert answer.code == 3
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert {line["image"]: line["top"][0]["class"] for line in lines[:-1]} == IN_THE_FOLDER
    assert all(len(line["top"]) == 2 for line in lines[:-1])
    assert lines[-1]["image"] == "gone.png"
    assert "no such file" in lines[-1]["error"]


def test_one_format_at_a_time(pictures: Path, tenfold: Tenfold) -> None:
    answer = tenfold("predict", "model.safetensors", "new", "--csv", "--jsonl")
    assert answer.code == 2
    assert "exclude each other" in answer.err


def test_answers_do_not_depend_on_what_else_is_asked(pictures: Path, model: Path) -> None:
    """More pictures than are read at once, some of them unreadable."""
    for number in range(2 * AT_ONCE + 5):
        bad = number % 10 == 3
        data = b"no picture" if bad else picture(number % 2 == 0, number)
        Path(f"{number:03}.png").write_bytes(data)
    classifier = Classifier.from_file(model)
    names = sorted(path.name for path in Path().glob("*.png"))
    found = list(answers(classifier, names, 1, lambda: io.BytesIO()))
    assert [answer.name for answer in found] == names
    for number, answer in enumerate(found):
        if number % 10 == 3:
            assert answer.problem.startswith("not an image: it is text")
        else:
            assert answer.guesses == classifier.top(answer.name, 1)[0]
            assert answer.guesses[0].name == ("light" if number % 2 == 0 else "dark")


def test_answers_come_as_pictures_are_read(pictures: Path, model: Path) -> None:
    """The second folder is not there before the first answers are."""
    for number in range(AT_ONCE):
        Path(f"new/{number:03}.png").write_bytes(picture(light=True, number=number))
    found = answers(Classifier.from_file(model), ["new", "later.png"], 1, lambda: io.BytesIO())
    next(found)
    Path("later.png").write_bytes(picture(light=False))
    assert [answer.problem for answer in found][-1] == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
@pytest.mark.parametrize("pattern", [False, True])
def test_what_is_neither_a_file_nor_a_folder(
    pictures: Path, tenfold: Tenfold, pattern: bool
) -> None:
    odd = pictures / "odd"
    odd.mkdir()
    (odd / "link.png").symlink_to(odd / "nowhere.png")
    os.mkfifo(odd / "pipe.png")
    (odd / "x.png").write_bytes(picture(light=True))
    names = ["odd/*.png"] if pattern else ["odd/link.png", "odd/pipe.png", "odd/x.png"]
    answer = tenfold("predict", "model.safetensors", *names, "/dev/null")
    assert answer.code == 3
    assert told(answer.out) == {"odd/x.png": "light"}
    assert answer.err.startswith("tenfold: 3 of 4 images cannot be read: ")
    for name in ("odd/link.png", "odd/pipe.png", "/dev/null"):
        assert name in answer.err


def test_files_in_a_folder_that_are_no_images_are_named(pictures: Path, tenfold: Tenfold) -> None:
    (pictures / "more").mkdir()
    (pictures / "more/a.png").write_bytes(picture(light=True))
    for name in ("notes.txt", "scan", ".hidden"):
        (pictures / "more" / name).write_bytes(picture(light=True))
    answer = tenfold("predict", "model.safetensors", "more")
    assert (answer.code, set(told(answer.out))) == (0, {"more/a.png"})
    assert answer.err == (
        "note: skipped files without an image extension (2): more/notes.txt, more/scan\n"
    )


def test_a_pattern_that_finds_folders_and_what_is_in_them(pictures: Path, tenfold: Tenfold) -> None:
    """Every image is answered once, and archives are looked into."""
    (pictures / "all/deep").mkdir(parents=True)
    (pictures / "elsewhere").mkdir()
    for name in ("all/a.png", "all/deep/b.png", "all/scan", "elsewhere/x.png"):
        (pictures / name).write_bytes(picture(light=True))
    (pictures / "all/link").symlink_to(pictures / "elsewhere")
    with zipfile.ZipFile(pictures / "all/more.zip", "w") as archive:
        archive.writestr("c.png", picture(light=False))
    for pattern in ("all/**", "all/**/*", "al*/**"):
        answer = tenfold("predict", "model.safetensors", pattern, "--csv")
        assert (answer.code, answer.err) == (0, "")
        names = sorted(row[0] for row in list(csv.reader(io.StringIO(answer.out)))[1:])
        assert names == [
            *("all/a.png", "all/deep/b.png", "all/link/x.png", "all/more.zip/c.png", "all/scan")
        ], pattern
    answer = tenfold("predict", "model.safetensors", "**/", "--csv")
    assert answer.out.count("all/deep/b.png") == 1


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_standard_input_with_nothing_in_it(pictures: Path, model: Path, data: bytes) -> None:
    (found,) = answers(Classifier.from_file(model), ["-"], 1, lambda: io.BytesIO(data))
    assert found.problem == "standard input is empty"


def test_what_a_pattern_finds_is_no_pattern_and_no_stream(pictures: Path, tenfold: Tenfold) -> None:
    (pictures / "magic").mkdir()
    for name in ("-", "[a].png"):
        (pictures / "magic" / name).write_bytes(picture(light=True))
    answer = tenfold("predict", "model.safetensors", "magic/*", "magic/[a].png")
    assert answer.code == 0, answer.err
    assert set(told(answer.out)) == {"magic/-", "magic/[a].png"}
    os.chdir("magic")
    assert set(told(tenfold("predict", "../model.safetensors", "*").out)) == {"-", "[a].png"}


def test_the_same_bad_file_twice_counts_twice(pictures: Path, tenfold: Tenfold) -> None:
    Path("bad.png").write_text("hello")
    answer = tenfold("predict", "model.safetensors", "bad.png", "bad.png")
    assert answer.err.startswith("tenfold: 2 of 2 images cannot be read: ")


def test_many_bad_files_are_listed_in_a_file(pictures: Path, tenfold: Tenfold) -> None:
    for number in range(30):
        Path(f"new/bad{number}.png").write_text("hello")
    answer = tenfold("predict", "model.safetensors", "new", "--csv")
    assert answer.code == 3
    listed = answer.err.strip().partition("; all are listed in ")[2]
    with Path(listed).open(newline="") as file:
        rows = list(csv.reader(file))
    assert {name for name, _ in rows[1:]} == {f"new/bad{number}.png" for number in range(30)}


def test_a_byte_order_mark_and_nothing(pictures: Path) -> None:
    found = piped(b"\xef\xbb\xbfnew/a.png\n")
    assert told(found.stdout.decode()) == {"new/a.png": "dark"}
    empty = piped(b"")
    assert empty.returncode == 3
    assert b"standard input is empty" in empty.stderr
