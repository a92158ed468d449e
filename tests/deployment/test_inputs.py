"""Conversion of a classifier's input to raw pixels."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tenfold.data.folders.members import LARGEST_MEMBER
from tenfold.deployment.inputs import Conversion, raw_pixels
from tenfold.errors import DataError, UsageError
from tenfold.types import ImageShape

GRAY = Conversion(ImageShape(1, 8, 8))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png: cannot be read: not a regular file"):
        raw_pixels(tmp_path / "pipe.png", GRAY)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no endless file here")  # noqa: PTH110
def test_an_endless_file_is_refused() -> None:
    with pytest.raises(DataError, match="not a regular file"):
        raw_pixels("/dev/zero", GRAY)


def test_a_file_over_the_limit_is_refused_without_reading_it(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**40)  # sparse: takes no disk space
    with pytest.raises(DataError, match=r"huge\.png: the file has 1,099,511,627,776 bytes or more"):
        raw_pixels(tmp_path / "huge.png", GRAY)


def test_a_folder_is_refused_with_the_command_that_takes_it(tmp_path: Path) -> None:
    (tmp_path / "my photos").mkdir()
    with pytest.raises(
        DataError, match="my photos: this is a folder, wanted image files"
    ) as raised:
        raw_pixels(tmp_path / "my photos", GRAY)
    assert raised.value.remedy == (
        f"classify all images in it with: tenfold predict RUN '{tmp_path}/my photos'"
    )


@pytest.fixture
def png(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(3).integers(0, 256, (8, 8)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "three.png")
    return tmp_path / "three.png"


def test_contents_and_open_files_are_the_file(png: Path) -> None:
    data = png.read_bytes()
    wanted = raw_pixels(png, GRAY)
    kinds = [data, bytearray(data), memoryview(data), io.BytesIO(data)]
    for each in kinds:
        assert np.array_equal(raw_pixels(each, GRAY), wanted)
    with png.open("rb") as file:
        assert np.array_equal(raw_pixels([file, data, png, Image.open(png)], GRAY)[0], wanted[0])


class Dripping(io.RawIOBase):
    """Gives a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        part, self.rest = self.rest[: min(7, size)], self.rest[min(7, size) :]
        return part


def test_a_file_that_gives_little_at_a_time_is_read_to_its_end(png: Path) -> None:
    assert np.array_equal(raw_pixels(Dripping(png.read_bytes()), GRAY), raw_pixels(png, GRAY))


@pytest.mark.parametrize("given", ["three.png", Path("three.png"), "/etc/passwd"])
def test_no_path_is_opened_if_paths_are_not_taken(given: str | Path, png: Path) -> None:
    with pytest.raises(UsageError, match="image 1 is the name of a file") as raised:
        raw_pixels([png.read_bytes(), given], GRAY, paths=False)
    assert raised.value.remedy == "pass the bytes of the file"


def test_contents_are_taken_if_paths_are_not(png: Path) -> None:
    found = raw_pixels([png.read_bytes()], GRAY, paths=False)
    assert np.array_equal(found, raw_pixels(png, GRAY))


def test_what_is_wrong_with_contents_is_said_of_their_place(png: Path) -> None:
    with pytest.raises(DataError, match="1 of 2 images cannot be used: image 1: "):
        raw_pixels([png.read_bytes(), b"no image"], GRAY)
    with pytest.raises(DataError, match="image 0: "):
        raw_pixels(b"", GRAY)


def test_an_open_file_is_named_in_its_error(tmp_path: Path) -> None:
    (tmp_path / "four.png").write_bytes(b"no image")
    with (tmp_path / "four.png").open("rb") as file, pytest.raises(DataError, match=r"four\.png: "):
        raw_pixels(file, GRAY)


def test_a_file_opened_as_text_or_closed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "five.png").write_text("text")
    with (tmp_path / "five.png").open() as file:
        with pytest.raises(DataError, match="is open as text, wanted a binary file") as raised:
            raw_pixels(file, GRAY)
        assert raised.value.remedy == "open it with mode 'rb'"
    with pytest.raises(DataError, match="cannot be read: "):
        raw_pixels(file, GRAY)


class Endless:
    """A file without an end."""

    def __init__(self) -> None:
        self.read_so_far = 0

    def read(self, size: int, /) -> bytes:
        self.read_so_far += size
        return bytes(size)


def test_contents_over_the_limit_are_refused_without_reading_on() -> None:
    file = Endless()
    with pytest.raises(DataError, match="image 0: the file has 67,108,865 bytes or more"):
        raw_pixels(file, GRAY)
    assert file.read_so_far == LARGEST_MEMBER + 1
    with pytest.raises(DataError, match="image 0: the file has 67,108,865 bytes or more"):
        raw_pixels(bytes(LARGEST_MEMBER + 1), GRAY)
