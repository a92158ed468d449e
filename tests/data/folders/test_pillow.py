"""The formats that Pillow may open, without warnings."""

from __future__ import annotations

import io
import struct
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


def tiff_of_strips(side: int, strips: int) -> bytes:
    """A gray TIFF in two strips, which are there many times."""
    place = 8 + side * side
    tags = (
        *((256, 1, side), (257, 1, side), (258, 1, 8), (259, 1, 1), (262, 1, 1), (277, 1, 1)),
        *((278, 1, side // 2), (273, strips, place), (279, strips, place + 4 * strips)),
    )
    directory = b"".join(struct.pack("<HHII", tag, 4, n, value) for tag, n, value in sorted(tags))
    return b"".join(
        [
            struct.pack("<2sHI", b"II", 42, place + 8 * strips),
            bytes(side * side),
            struct.pack("<I", 8) * strips,
            struct.pack("<I", side * side // 2) * strips,
            struct.pack("<H", len(tags)) + directory + bytes(4),
        ]
    )


def test_a_tiff_whose_strips_cover_it_many_times_is_refused():
    """Decoding all of them would take minutes."""
    assert open_image(tiff_of_strips(64, 2), "x.tif").size == (64, 64)
    with pytest.raises(DataError, match=r"x.tif: the image has 60,000 pieces, which cover it more"):
        open_image(tiff_of_strips(2000, 60_000), "x.tif").load()


def test_a_text_of_comments_is_refused():
    """Reading all of them would take minutes."""
    pixels = b"0 1 2 3\n"
    with open_image(b"P2\n# by hand\n2 2 3\n" + pixels, "x.pgm") as image:
        image.load()
    with pytest.raises(DataError, match=r"x.pgm: the image has more than 1,000 comments"):
        open_image(b"P2\n2 2 3\n" + b"#\n" * 500_000 + pixels, "x.pgm").load()
    whole = open_image(b"P5\n40 40 255\n" + b"#" * 1600, "x.pgm")
    assert whole.getpixel((0, 0)) == ord("#")
