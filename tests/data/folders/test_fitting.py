"""The size that images of a folder get, and what is said about it."""

from __future__ import annotations

import pytest

from tenfold.data.folders.fitting import default_size, fitting_note
from tenfold.resizing import Resize, Size, size_inside


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ([(28, 28)], (28, 28)),
        ([(20, 48)], (20, 48)),
        ([(64, 64)] * 3, (64, 64)),
        ([(65, 65)] * 3, (64, 64)),
        ([(480, 640)] * 9 + [(640, 480)], (56, 72)),
        ([(480, 640)] * 5 + [(640, 480)] * 5, (64, 64)),
        ([(20, 20), (24, 24), (30, 30)], (24, 24)),
        ([(1, 20_000)], (24, 184)),
        ([(20_000, 1)], (184, 24)),
        ([(1, 1), (2, 2)], (8, 8)),
    ],
)
def test_default_sizes(sizes: list[Size], wanted: Size) -> None:
    assert default_size(sizes) == wanted


@pytest.mark.parametrize(
    ("own", "size", "inside"),
    [
        ((10, 30), (10, 10), (3, 10)),
        ((30, 10), (10, 10), (10, 3)),
        ((5, 5), (10, 10), (10, 10)),
        ((1, 1000), (8, 8), (1, 8)),
        ((100, 200), (50, 100), (50, 100)),
    ],
)
def test_the_largest_size_inside(own: Size, size: Size, inside: Size) -> None:
    assert size_inside(own, size) == inside


@pytest.mark.parametrize(
    ("resize", "said"),
    [
        ("pad", "1 of 2 images padded: on average 50%, at most 50%, of what the model sees is"),
        ("squash", "1 of 2 images distorted: one side is squashed by 50% on average, 50% at most"),
        ("crop", "of 1 of 2 images, on average 50%, at most 50%, of the area is cut off"),
    ],
)
def test_what_is_said_about_other_proportions(resize: Resize, said: str) -> None:
    note = fitting_note([(100, 200), (100, 100)], (64, 64), resize)
    assert note.startswith("images have 2 sizes from 100x100 to 100x200, scaled to 64x64")
    assert said in note


def test_nothing_is_said_about_images_that_stay_as_they_are() -> None:
    assert fitting_note([(28, 28)] * 3, (28, 28), "squash") == ""
    assert fitting_note([(128, 128)], (64, 64), "pad") == (
        "the image is 128x128, scaled to 64x64 (height x width)"
    )
