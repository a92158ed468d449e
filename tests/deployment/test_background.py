"""The background that a data set's images have in common."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.data.load import load_splits
from tenfold.deployment.background import Background, background_of, look_inverted


def subjects(n: int, *, shade: int, ink: int, side: int = 28, extent: int = 20) -> np.ndarray:
    """A square of one color on another."""
    images = np.full((n, 1, side, side), shade, np.uint8)
    start = (side - extent) // 2
    images[:, :, start : start + extent, start : start + extent] = ink
    return images


@pytest.mark.parametrize(("shade", "ink", "wanted"), [(0, 255, "dark"), (255, 20, "light")])
def test_the_shade_and_how_much_the_subject_takes(shade, ink, wanted):
    found = background_of(subjects(50, shade=shade, ink=ink))
    assert found == Background(shade=wanted, extent=20 / 28)


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
    assert look_inverted(images, background).tolist() == [False, False, True]
    assert look_inverted(255 - images, background).tolist() == [True, True, False]
    assert look_inverted(images, None).tolist() == [False, False, False]


def test_digits_are_light_on_dark_and_fill_their_image():
    splits = load_splits("digits").splits
    assert background_of(splits.train.image_array) == Background(shade="dark", extent=1)


def test_mnist_is_light_on_dark_in_a_box_of_20(real_data):
    """The digits were scaled to 20 x 20 (LeCun et al., "The MNIST database"), less faint edges."""
    splits = load_splits("mnist", data_root=real_data).splits
    found = background_of(splits.train.image_array)
    assert found is not None
    assert (found.shade, found.extent) == ("dark", pytest.approx(19 / 28, abs=1.1 / 28))
