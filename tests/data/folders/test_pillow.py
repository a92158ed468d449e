"""The formats that Pillow may open, without warnings."""

from __future__ import annotations

import io
import threading
import warnings

import pytest
from PIL import Image

from tenfold.data.folders.pillow import open_image, pillow_errors, quiet_pillow
from tenfold.errors import DataError


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "the file is empty"),
        (b"<html>not here</html>", "text that starts with '<html>not here</"),
        (b"\x00\x01\x02\x03", "starts with the bytes 00 01 02 03"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "it is text"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "starts with the bytes 52 49 46 46"),
    ],
)
def test_the_message_says_why_it_is_not_an_image(data, found):
    with pytest.raises(DataError, match=r"cat/1\.png: not an image") as caught:
        open_image(data, "cat/1.png")
    assert found in str(caught.value)


def test_no_format_that_runs_a_program_is_opened():
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "EPS")
    with pytest.raises(DataError, match="not an image"):
        open_image(file.getvalue(), "a.eps")


def test_the_filters_of_warnings_are_restored_after_many_threads():
    before = list(warnings.filters)
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        for _ in range(200):
            with quiet_pillow():
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


def test_any_error_names_the_image():
    message = r"1\.png: the image \(3 bytes\) is damaged or truncated: KeyError; replace"
    with pytest.raises(DataError, match=message), pillow_errors(b"abc", "1.png"):
        raise KeyError
