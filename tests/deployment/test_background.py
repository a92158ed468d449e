"""The background that a data set's images have in common."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tenfold.data.load import load_splits
from tenfold.deployment.background import Background, background_of
from tenfold.deployment.looks import Look, looks_of


def subjects(n: int, *, shade: int, ink: int, side: int = 28, extent: int = 20) -> np.ndarray:
    """A square of one color on another."""
    images = np.full((n, 1, side, side), shade, np.uint8)
    start = (side - extent) // 2
    images[:, :, start : start + extent, start : start + extent] = ink
    return images


@pytest.mark.parametrize(("shade", "ink", "wanted"), [(0, 255, "dark"), (255, 20, "light")])
def test_the_shade_and_how_much_the_subject_takes(shade, ink, wanted):
    found = background_of(subjects(50, shade=shade, ink=ink))
    assert found is not None
    assert (found.shade, found.extent, found.least_extent) == (wanted, 20 / 28, 20 / 28)
    assert found.most_offset == pytest.approx(0, abs=1e-6)


def test_images_of_both_kinds_have_no_common_background():
    both = [subjects(50, shade=0, ink=255), subjects(50, shade=255, ink=0)]
    assert background_of(np.concatenate(both)) is None


def test_some_exceptions_do_not_matter():
    most, few = subjects(97, shade=0, ink=255), subjects(3, shade=255, ink=0)
    assert background_of(np.concatenate([most, few])) is not None


def test_gray_noise_has_no_background():
    noise = np.random.default_rng(0).integers(0, 256, (50, 3, 16, 16)).astype(np.uint8)
    assert background_of(noise) is None


def test_empty_images_have_one():
    assert background_of(np.zeros((5, 1, 8, 8), np.uint8)) == Background(shade="dark", extent=1)


def test_what_looks_inverted():
    background = Background(shade="dark", extent=0.7)
    images = np.concatenate([subjects(2, shade=0, ink=255), subjects(1, shade=255, ink=0)])
    assert [look.is_inverted for look in looks_of(images, background)] == [False, False, True]
    assert [look.is_inverted for look in looks_of(255 - images, background)] == [True, True, False]
    assert looks_of(images, None) == 3 * [Look()]


@pytest.mark.parametrize("shade", ["dark", "light"])
@pytest.mark.parametrize(
    ("start", "extent", "paper", "wanted"),
    [
        (4, 20, 0, Look()),
        (5, 19, 0, Look()),
        (1, 20, 0, Look(is_uncentered=True)),  # not in the middle
        (8, 12, 0, Look(is_uncentered=True)),  # smaller
        (4, 20, 90, Look(is_uncentered=True, is_full=True)),  # on a gray background
        (4, 20, 230, Look(is_inverted=True)),
        (8, 12, 230, Look(is_inverted=True, is_uncentered=True)),
        (
            4,
            20,
            160,
            Look(is_inverted=True, is_uncentered=True, is_full=True),
        ),  # as a photograph of paper
    ],
)
def test_what_differs_from_images_whose_subjects_are_alike(shade, start, extent, paper, wanted):
    background = background_of(subjects(50, shade=0, ink=255))
    image = np.full((1, 1, 28, 28), paper, np.uint8)
    ink = 10 if wanted.is_inverted else 250
    image[:, :, start : start + extent, start : start + extent] = ink
    assert background is not None
    if shade == "light":
        image, background = 255 - image, background.model_copy(update={"shade": "light"})
    assert looks_of(image, background) == [wanted]


def test_what_is_faint_behind_the_subject_does_not_move_its_center():
    background = background_of(subjects(50, shade=0, ink=255))
    images = subjects(1, shade=0, ink=255)
    images[:, :, :, 24:] = 60
    assert looks_of(images, background) == [Look()]


def test_a_faint_subject_is_noticed():
    background = background_of(subjects(50, shade=0, ink=255))
    blank = Look(is_uncentered=True, is_blank=True)
    assert looks_of(subjects(1, shade=0, ink=100), background) == [blank]
    assert looks_of(subjects(1, shade=0, ink=0), background) == [blank]
    assert blank.cropped == blank
    assert Look(is_inverted=True, is_uncentered=True).cropped == Look(is_inverted=True)


def test_a_background_without_limits_says_nothing_of_size_and_place():
    background = Background(shade="dark", extent=0.7)
    assert looks_of(subjects(1, shade=0, ink=255, extent=6), background) == [Look()]


def test_digits_are_light_on_dark_and_fill_their_image():
    splits = load_splits("digits").splits
    found = background_of(splits.train.image_array)
    assert found is not None
    assert (found.shade, found.extent) == ("dark", 1)


@pytest.mark.parametrize(("name", "most"), [("mnist", 10), ("fashion-mnist", 20), ("digits", 1)])
def test_hardly_any_test_image_differs(name, most, real_data):
    """Of 10,000 images, and of 359; the limits are those of one training image in 1,000."""
    splits = load_splits(name, data_root=real_data).splits
    looks = looks_of(splits.test.image_array, background_of(splits.train.image_array))
    assert sum(look != Look() for look in looks) <= most


def test_mnist_is_light_on_dark_in_a_box_of_20(real_data):
    """The digits were scaled to 20 x 20 (LeCun et al., "The MNIST database"), less faint edges."""
    splits = load_splits("mnist", data_root=real_data).splits
    found = background_of(splits.train.image_array)
    assert found is not None
    assert (found.shade, found.extent) == ("dark", pytest.approx(19 / 28, abs=1.1 / 28))


def lines_of_text(shape: tuple[int, int], n: int = 40) -> np.ndarray:
    """Thin strokes, light on dark, one image a row."""
    height, width = shape
    images = np.zeros((n, 1, height, width), np.uint8)
    images[:, :, height // 4 : 3 * height // 4, width // 4 : 3 * width // 4 : 9] = 255
    return images


@pytest.mark.parametrize(
    ("images", "wanted"),
    [
        (lines_of_text((32, 32)), True),
        (lines_of_text((24, 256)), True),
        (lines_of_text((256, 24)), True),
        (subjects(40, shade=0, ink=255, extent=20), False),  # bulky ones
    ],
    ids=["square", "wide", "tall", "bulky"],
)
def test_strokes_are_known(images, wanted):
    background = background_of(images)
    assert background is not None
    assert background.has_strokes == wanted


def test_of_large_images_few_are_looked_at():
    """And those in small parts."""
    images = np.zeros((1000, 1, 300, 300), np.uint8)
    images[:, :, 100:200, 100:200] = 255
    tracemalloc.start()
    found = background_of(images)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found is not None
    assert found.extent == pytest.approx(1 / 3)
    assert found.thickest == pytest.approx(1 / 3, abs=0.03)
    assert most < 100 * 2**20  # the images that are looked at have 72 MiB as floats
