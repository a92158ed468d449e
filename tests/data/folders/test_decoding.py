"""The second pass: damaged images, too much data, threads."""

from __future__ import annotations

import pytest
from class_folders import TWO_CLASSES, directory, main_sources, picture, read, source, zipped

from tenfold.data.folders.folder import read_image_folder
from tenfold.errors import DataError
from tenfold.listening import Listener
from tenfold.types import WantedShape


@main_sources
def test_all_damaged_images_are_named(tmp_path, kind):
    whole = picture(5, (40, 40))
    files = {
        **TWO_CLASSES,
        "cat/zero.png": b"",
        "cat/text.png": b"not found",
        "dog/cut.png": whole[:60],
        "dog/header.png": whole[:20],
    }
    with pytest.raises(DataError, match="4 of 7 images cannot be read") as caught:
        read(source(kind, tmp_path, files))
    for name in ("cat/zero.png", "cat/text.png", "dog/cut.png", "dog/header.png"):
        assert name in str(caught.value)
    assert "the file is empty" in str(caught.value)


def test_many_damaged_images_are_counted(tmp_path):
    files = {**TWO_CLASSES, **{f"cat/bad{i:03}.png": b"" for i in range(100)}}
    with pytest.raises(DataError, match=r"100 of 103 .* and 80 more"):
        read(directory(tmp_path, files))


def test_arrays_over_the_limit_are_refused_before_they_are_allocated(tmp_path, monkeypatch):
    monkeypatch.setattr("tenfold.data.folders.decoding.LARGEST_ARRAY", 500)
    with pytest.raises(DataError, match="3 images of 3x8x8 need 576 bytes, over the limit of 500"):
        read(directory(tmp_path, TWO_CLASSES))


@pytest.mark.parametrize("kept", [0, 2**30])
def test_large_images_are_decoded_by_threads_and_read_again_alike(tmp_path, monkeypatch, kept):
    monkeypatch.setattr("tenfold.data.folders.survey.LARGEST_KEPT", kept)
    monkeypatch.setattr("tenfold.data.folders.decoding._IMAGES_A_CHUNK", 3)
    monkeypatch.setattr("tenfold.data.folders.survey._IMAGES_BETWEEN_LOOKS", 3)
    files = {f"{c}/{i:02}.png": picture(5 * i, (300, 300)) for c in "ab" for i in range(20)}
    calls = []

    class Counting(Listener):
        def reading(self, what, done, total):
            calls.append((what, done, total))

    decoded = read_image_folder(zipped(tmp_path / "x.zip", files), WantedShape(), Counting())
    values = decoded.splits["all"].images[:, 0, 0, 0].tolist()
    assert values == [5 * i for i in range(20)] * 2
    assert calls[0] == ("finding images", 3, None)
    assert calls[-1] == ("reading images", 40, 40)
