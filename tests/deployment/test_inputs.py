"""Conversion of a classifier's input to raw pixels."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tenfold.deployment.inputs import raw_pixels
from tenfold.errors import DataError
from tenfold.types import ImageShape


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png: cannot be read: not a regular file"):
        raw_pixels(tmp_path / "pipe.png", ImageShape(1, 8, 8))


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no endless file here")  # noqa: PTH110
def test_an_endless_file_is_refused() -> None:
    with pytest.raises(DataError, match="not a regular file"):
        raw_pixels("/dev/zero", ImageShape(1, 8, 8))


def test_a_file_over_the_limit_is_refused_without_reading_it(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**40)  # sparse: takes no disk space
    with pytest.raises(DataError, match=r"huge\.png: the file has 1,099,511,627,776 bytes or more"):
        raw_pixels(tmp_path / "huge.png", ImageShape(1, 8, 8))


def test_a_folder_is_refused_with_the_command_that_takes_it(tmp_path: Path) -> None:
    (tmp_path / "my photos").mkdir()
    with pytest.raises(
        DataError, match="my photos: this is a folder, wanted image files"
    ) as raised:
        raw_pixels(tmp_path / "my photos", ImageShape(1, 8, 8))
    assert raised.value.remedy == (
        f"classify all images in it with: tenfold predict RUN '{tmp_path}/my photos'"
    )
