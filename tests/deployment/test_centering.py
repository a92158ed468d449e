"""Pictures cropped to their subjects, as the training images are."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

import tenfold
from drawn_digits import SURROUNDINGS, on_a_table, on_paper, variants
from live_server import small_classifier
from tenfold.deployment.background import Background, Shade
from tenfold.deployment.centering import centered
from tenfold.deployment.classifier import Classifier
from tenfold.deployment.looks import looks_of
from tenfold.deployment.subjects import _scales
from tenfold.errors import UsageError
from thoroughness import IS_THOROUGH

EXTENT = 20 / 28


def picture(
    top: int, left: int, tall: int, wide: int, *, side: int = 300, paper: int = 255, ink: int = 0
) -> Image.Image:
    """A rectangle of ink on paper."""
    pixels = np.full((side, side), paper, np.uint8)
    pixels[top : top + tall, left : left + wide] = ink
    return Image.fromarray(pixels)


def on(shade: Shade, extent: float = EXTENT) -> Background:
    return Background(shade=shade, extent=extent)


def box(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """The rows and columns of light pixels: their first, and how many."""
    rows, columns = np.flatnonzero(pixels.max(1) >= 128), np.flatnonzero(pixels.max(0) >= 128)
    return int(rows[0]), int(np.ptp(rows)) + 1, int(columns[0]), int(np.ptp(columns)) + 1


@pytest.mark.parametrize(("top", "left"), [(0, 0), (10, 250), (130, 120), (249, 3)])
@pytest.mark.parametrize("shade", ["dark", "light"])
def test_the_subject_gets_the_extent_and_the_middle_wherever_it_was(
    top: int, left: int, shade: Shade
) -> None:
    paper, ink = (0, 255) if shade == "dark" else (255, 0)
    given = picture(top, left, 50, 20, paper=paper, ink=ink)
    found = np.asarray(centered(given, on(shade), (28, 28)))
    light = found if shade == "dark" else 255 - found
    row, tall, column, wide = box(light)
    assert (tall, wide) == (pytest.approx(20, abs=1), pytest.approx(8, abs=1))
    assert (row, column) == (pytest.approx(4, abs=1), pytest.approx(10, abs=1))
    assert light[0].max() == light[:, 0].max() == 0


def test_the_center_of_mass_is_in_the_middle_as_far_as_the_sides_allow() -> None:
    pixels = np.zeros((200, 200), np.uint8)
    pixels[50:150, 50:90] = 255  # heavy on the left
    pixels[50:60, 90:120] = 255
    found = np.asarray(centered(Image.fromarray(pixels), on("dark"), (28, 28))).astype(float)
    rows, columns = np.indices(found.shape) + 0.5
    assert (columns * found).sum() / found.sum() == pytest.approx(14, abs=0.3)
    assert (rows * found).sum() / found.sum() == pytest.approx(14, abs=0.3)
    whole = np.asarray(centered(Image.fromarray(pixels), on("dark", 1.0), (28, 28)))
    assert box(whole)[:2] == (0, 28)


def test_images_that_are_not_square() -> None:
    found = np.asarray(centered(picture(20, 200, 30, 60), on("light", 0.5), (16, 40)))
    assert found.shape == (16, 40)
    row, tall, column, wide = box(255 - found)
    assert (tall, wide) == (8, 16)
    assert (row, column) == (4, 12)


def test_paper_becomes_white_and_ink_black_in_gray() -> None:
    found = np.asarray(
        centered(picture(20, 200, 60, 60, paper=170, ink=90), on("light", 0.5), (20, 20))
    )
    assert (found[0, 0], found[10, 10]) == (255, 0)


@pytest.mark.parametrize("light", [1.0, 0.7, 0.4])
def test_paper_becomes_white_around_colors_which_get_lighter_with_it(light: float) -> None:
    pixels = np.full((100, 100, 3), (250, 240, 230), np.float32)
    pixels[10:40, 60:90] = (200, 20, 30)
    paper = Image.fromarray((light * pixels).round().astype(np.uint8))
    for shade, image in (("light", paper), ("dark", ImageOps.invert(paper))):
        found = np.asarray(centered(image, on(shade, 0.5), (20, 20))).astype(int)
        found = found if shade == "light" else 255 - found
        assert found[0, 0].tolist() == [255, 255, 255]
        wanted = [200 * 255 / 250, 20 * 255 / 240, 30 * 255 / 230]
        assert found[10, 10] == pytest.approx(wanted, abs=4)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_where_nothing_stands_out_nothing_is_done(value: int) -> None:
    plain = Image.new("L", (40, 30), value)
    assert centered(plain, on("dark"), (28, 28)) is plain


@pytest.mark.parametrize("size", [(50_000_000, 1), (1, 20_000_000), (25_000_000, 2), (2, 3)])
def test_of_a_long_and_thin_picture_few_pixels_are_looked_at(size: tuple[int, int]) -> None:
    scales = _scales(size)
    width, height = (math.ceil(side / scale) for side, scale in zip(size, scales, strict=True))
    assert width * height <= 500_000
    assert min(width, height) == min(size)


def test_a_long_and_thin_picture_is_cropped() -> None:
    pixels = np.full((2, 5_000_000), 255, np.uint8)
    pixels[:, 1_000_000:1_500_000] = 0
    assert centered(Image.fromarray(pixels), on("light", 0.5), (8, 8)).size == (8, 8)


@pytest.mark.parametrize(("side", "dust"), [(300, 1), (300, 3), (3000, 1)])
def test_dust_does_not_belong_to_the_subject(dust: int, side: int) -> None:
    clean = picture(side // 2, side // 2, 40, 30, side=side)
    pixels = np.array(clean)
    pixels[5 : 5 + dust, 5 : 5 + dust] = 0
    wanted = np.asarray(centered(clean, on("light"), (28, 28)))
    found = np.asarray(centered(Image.fromarray(pixels), on("light"), (28, 28)))
    assert box(255 - found) == box(255 - wanted)


@pytest.mark.parametrize("side", [100, 1000, 4000])
def test_a_small_subject_on_a_large_sheet_is_found(side: int) -> None:
    found = np.asarray(
        centered(picture(side // 3, side // 2, 40, 20, side=side), on("light"), (28, 28))
    )
    _, tall, _, wide = box(255 - found)
    assert (tall, wide) == (pytest.approx(20, abs=2), pytest.approx(10, abs=2))


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from(["L", "RGB"]),
    st.sampled_from(["dark", "light"]),
    st.floats(0.01, 1),
    st.sampled_from([(1, 1), (8, 8), (5, 9)]),
    st.integers(0, 2**32 - 1),
)
def test_any_picture_becomes_one_of_the_size_or_stays(
    width: int,
    height: int,
    mode: str,
    shade: Shade,
    extent: float,
    size: tuple[int, int],
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    values = random.choice([0, 30, 128, 255], (height, width, len(mode)))
    pixels = values.astype(np.uint8)
    given = Image.fromarray(pixels[..., 0] if mode == "L" else pixels)
    found = centered(given, on(shade, extent), size)
    assert found is given or (found.size == size[::-1] and found.mode == mode)


# By classifiers


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = tmp_path_factory.mktemp("run") / "digits"
    tenfold.train("digits", out=folder, quiet=True, report=False)
    return tenfold.load(folder)


def test_photographs_of_digits_on_paper_are_recognized(digits: Classifier) -> None:
    """Nearly all of them; as they are, hardly any, which is said."""
    drawn = variants(60)
    photographs = [on_paper(strokes, number) for number, (_, strokes) in enumerate(drawn)]
    with pytest.warns(UserWarning, match="may be wrong") as told:
        plain = digits.predict(photographs)
    said = " ".join(str(each.message) for each in told)
    assert "all 60 images have a smaller, larger or fainter subject" in said
    assert "center=True crops to the subject and makes it like theirs" in said
    assert "invert" not in said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = digits.predict(photographs, center=True)
    assert sum(each == digit for each, (digit, _) in zip(plain, drawn, strict=True)) < 20
    assert sum(each == digit for each, (digit, _) in zip(found, drawn, strict=True)) >= 54


@pytest.mark.parametrize("seen", SURROUNDINGS)
def test_shadows_and_tables_do_not_belong_to_the_subject(digits: Classifier, seen: str) -> None:
    drawn = variants(40 if IS_THOROUGH else 20)
    photographs = [
        on_a_table(on_paper(strokes, number), seen, number)
        for number, (_, strokes) in enumerate(drawn)
    ]
    background, right = digits.bundle.header.background, 0
    for photograph, (digit, _) in zip(photographs, drawn, strict=True):
        (look,) = looks_of(digits.pixels(photograph), background)
        assert look.is_uncentered
        pixels = digits.pixels(photograph, center=True)
        right += digits.bundle.header.classes[int(digits.logits(pixels).argmax())] == digit
    assert right >= (0.65 if seen == "finger" else 0.85) * len(drawn)


@pytest.mark.parametrize("value", [0, 255])
def test_where_there_is_no_subject_that_is_said(digits: Classifier, value: int) -> None:
    blank = Image.new("L", (300, 300), value)
    with pytest.warns(UserWarning, match="the image has nothing that stands out"):
        digits.predict(blank, center=True)


def test_the_own_images_of_a_data_set_give_no_warning(digits: Classifier) -> None:
    test = tenfold.data.load_splits("digits").splits.test
    assert test is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        digits.predict(test)


def test_files_and_arrays_are_centered_alike(digits: Classifier, tmp_path: Path) -> None:
    small = np.zeros((3, 1, 8, 8), np.uint8)
    small[:, :, 1:4, 1:3] = 255
    found = digits.pixels(small, center=True)
    for pixels, wanted in zip(small, found, strict=True):
        Image.fromarray(pixels[0]).save(tmp_path / "x.png")
        assert (digits.pixels(tmp_path / "x.png", center=True)[0] == wanted).all()
    assert (digits.pixels(255 - small, center=True) == found).all()
    assert (digits.pixels(small, invert=True, center=True) == 255 - found).all()


def test_without_a_common_background_there_is_no_centering() -> None:
    classifier = small_classifier((3, 8, 8))
    header = classifier.bundle.header.model_copy(update={"background": None})
    classifier = Classifier(replace(classifier.bundle, header=header))
    with pytest.raises(UsageError, match="have no background in common"):
        classifier.predict(np.zeros((1, 3, 8, 8), np.uint8), center=True)
