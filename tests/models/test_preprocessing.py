"""From raw pixels to the network's input."""

import gzip
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tenfold.errors import DataError, UsageError
from tenfold.models import Preprocessing

EVERY_PIXEL = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)


def test_every_pixel_value_becomes_the_nearest_float_to_its_255th():
    pixels = Preprocessing()(EVERY_PIXEL)
    assert pixels.dtype == torch.float32
    exact = torch.arange(256, dtype=torch.float64) / 255
    assert torch.equal(pixels.flatten(), exact.float())


def test_raw_pixels_are_not_changed():
    raw = EVERY_PIXEL.clone()
    Preprocessing([0.5], [0.5])(raw)
    assert torch.equal(raw, EVERY_PIXEL)


def test_normalization_is_per_channel():
    raw = torch.full((2, 3, 4, 5), 255, dtype=torch.uint8)
    pixels = Preprocessing(mean=[0.0, 0.5, 1.0], std=[1.0, 0.25, 2.0])(raw)
    assert pixels.shape == (2, 3, 4, 5)
    assert pixels.amin(dim=(0, 2, 3)).tolist() == [1.0, 2.0, 0.0]
    assert pixels.amax(dim=(0, 2, 3)).tolist() == [1.0, 2.0, 0.0]


def test_fitted_to_images_it_gives_them_mean_0_and_deviation_1():
    raw = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8)
    raw[:, 1] //= 7
    std, mean = torch.std_mean(Preprocessing.fitted_to(raw)(raw), dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(std, torch.ones(3))


def test_a_channel_of_equal_pixels_cannot_be_fitted_to():
    raw = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    raw[:, 2] = 77
    with pytest.raises(DataError, match="all pixels of channel 2 are equal"):
        Preprocessing.fitted_to(raw)
    with pytest.raises(DataError, match="no pixels"):
        Preprocessing.fitted_to(raw[:0])


@pytest.mark.real_data
def test_fitted_to_mnist_it_has_the_usual_numbers(real_data):
    packed = (real_data / "MNIST/raw/train-images-idx3-ubyte.gz").read_bytes()
    pixels = np.frombuffer(gzip.decompress(packed), dtype=np.uint8, offset=16).copy()
    fitted = Preprocessing.fitted_to(torch.from_numpy(pixels).reshape(60_000, 1, 28, 28))
    # PyTorch's own MNIST example normalizes with these.
    assert fitted.to_header()["mean"] == [pytest.approx(0.1307, abs=5e-5)]
    assert fitted.to_header()["std"] == [pytest.approx(0.3081, abs=5e-5)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.int8])
def test_images_that_are_not_raw_pixels_are_refused(dtype):
    with pytest.raises(UsageError, match=f"the images are {dtype}, wanted raw pixels 0..255"):
        Preprocessing()(torch.zeros(1, 1, 2, 2, dtype=dtype))


def test_other_channels_than_the_normalizations_are_refused():
    with pytest.raises(UsageError, match="the images have 3 channels, wanted 1"):
        Preprocessing([0.5], [0.5])(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([0.5], []),
        ([], [1.0]),
        ([0.5], [0.0]),
        ([0.5], [-1.0]),
        ([0.5], [1e-60]),  # 0 in single precision
        ([float("nan")], [1.0]),
        ([0.5], [float("inf")]),
    ],
)
def test_values_that_cannot_normalize_are_refused(mean, std):
    with pytest.raises(UsageError, match="preprocessing: "):
        Preprocessing(mean, std)


@given(values=st.lists(st.tuples(st.floats(-10, 10), st.floats(1e-3, 10)), max_size=4))
def test_the_header_gives_the_same_preprocessing_again(values):
    mean, std = [m for m, _ in values], [s for _, s in values]
    first = Preprocessing(mean, std)
    header = json.loads(json.dumps(first.to_header()))
    second = Preprocessing(**header)
    assert second.to_header() == first.to_header() == {"mean": mean, "std": std, "by_image": False}
    raw = torch.randint(0, 256, (2, max(1, len(values)), 3, 3), dtype=torch.uint8)
    assert torch.equal(first(raw), second(raw))


def test_the_header_of_normalization_by_image():
    first = Preprocessing(by_image=True)
    assert first.to_header() == {"mean": [], "std": [], "by_image": True}
    raw = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8)
    assert torch.equal(first(raw), Preprocessing(**first.to_header())(raw))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_gets_mean_0_and_std_1(channels):
    raw = torch.randint(0, 256, (4, channels, 7, 9), dtype=torch.uint8)
    found = Preprocessing(by_image=True)(raw).double().flatten(1)
    assert found.mean(1) == pytest.approx(0, abs=1e-6)
    assert found.std(1, correction=0) == pytest.approx(1, abs=1e-6)


def test_brightness_and_contrast_of_an_image_do_not_matter():
    raw = torch.randint(0, 100, (4, 1, 7, 9), dtype=torch.uint8)
    found, brighter = (Preprocessing(by_image=True)(each) for each in (raw, 2 * raw + 40))
    assert torch.allclose(found, brighter, atol=1e-5)


def test_an_image_of_a_single_color_becomes_0():
    raw = torch.tensor([0, 7, 255], dtype=torch.uint8)[:, None, None, None].expand(3, 3, 4, 4)
    assert not Preprocessing(by_image=True)(raw).any()


def test_images_are_not_normalized_twice():
    with pytest.raises(UsageError, match=r"by their own means and .* were also given"):
        Preprocessing([0.5], [0.5], by_image=True)


def test_it_has_no_weights_that_a_state_dict_would_carry():
    assert dict(Preprocessing([0.5], [0.5]).state_dict()) == {}
