"""Augmentation: its effect on one image, its keys, and its distribution."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_digits

from tenfold.errors import UsageError
from tenfold.randomness import derive_seed
from tenfold.training.augment import ANGLES, LARGEST, ONE, Augmentation, keyed_choice

MASK = 2**64 - 1


def digits(n=200, channels=1):
    """Real 8x8 digits; further channels are the same picture, darker."""
    gray = torch.from_numpy((load_digits().images[:n] * 15).astype(np.uint8))
    return torch.stack([gray // (channel + 1) for channel in range(channels)], dim=1)


def everything(n):
    return torch.arange(n)


# --- The numbers -----------------------------------------------------------------------------


def split_mix_64(state):
    """One number from the generator in the paper's figure, in Python integers."""
    z = state & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_the_reference_gives_the_published_sequence():
    """The first outputs for seed 1234567, which other implementations test against."""
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    golden = 0x9E3779B97F4A7C15
    assert [split_mix_64(1234567 + i * golden) for i in range(1, 6)] == published


@given(
    key=st.integers(0, 2**63 - 1),
    indices=st.lists(st.integers(0, 2**62), min_size=1, max_size=5),
    choices=st.integers(1, 20_000),
)
@settings(deadline=None)
def test_choices_are_the_top_bits_of_split_mix(key, indices, choices):
    golden = 0x9E3779B97F4A7C15
    wanted = [((split_mix_64(key + i * golden) >> 40) * choices) >> 24 for i in indices]
    assert keyed_choice(key, torch.tensor(indices), choices).tolist() == wanted


@pytest.mark.parametrize("choices", [1, 2, 3, 9, 32])
def test_all_choices_are_equally_likely(choices):
    found = keyed_choice(derive_seed(0, "a"), everything(100_000), choices)
    counts = torch.bincount(found, minlength=choices)
    assert len(counts) == choices
    assert choices == 1 or stats.chisquare(counts.numpy()).pvalue > 0.001


def test_neighbors_and_purposes_are_independent():
    first = keyed_choice(derive_seed(0, "a"), everything(100_000), 8)
    second = keyed_choice(derive_seed(0, "b"), everything(100_000), 8)
    for one, other in ((first, second), (first[:-1], first[1:])):
        table = torch.bincount(one * 8 + other, minlength=64).reshape(8, 8).numpy()
        assert stats.chi2_contingency(table).pvalue > 0.001


# --- The effect on one image -----------------------------------------------------------------


def crop_by_hand(image, padding, row, column):
    _, height, width = image.shape
    result = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            from_y, from_x = y + row - padding, x + column - padding
            if 0 <= from_y < height and 0 <= from_x < width:
                result[:, y, x] = image[:, from_y, from_x]
    return result


def cutout_by_hand(image, side, row, column):
    result = image.copy()
    top, left = row - side // 2, column - side // 2
    for y in range(image.shape[1]):
        for x in range(image.shape[2]):
            if top <= y < top + side and left <= x < left + side:
                result[:, y, x] = 0
    return result


def warped_by_hand(image, augmentation, choice):
    """By the definition, in exact fractions except for the rounding of its five numbers."""
    _, height, width = image.shape

    def factor(purpose, most):
        return 1 + most * ((choice(purpose, 2**24) - 2**23) / 2**23) if most else 1.0

    def fixed(number):
        return Fraction(round(number * ONE), ONE)

    angle = 0.0
    if augmentation.rotate:
        place = choice("rotation", 2 * ANGLES + 1) - ANGLES
        angle = math.radians(augmentation.rotate) * place / ANGLES
    step = factor("scale", augmentation.scale)
    along, across = fixed(math.cos(angle) * step), fixed(math.sin(angle) * step)
    center = [
        side - 1 + fixed(2 * side * (factor(purpose, augmentation.shift) - 1))
        for side, purpose in ((height, "shifted rows"), (width, "shifted columns"))
    ]
    result = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            rows, columns = 2 * y - height + 1, 2 * x - width + 1
            place = (
                (center[0] + along * rows - across * columns) / 2,
                (center[1] + across * rows + along * columns) / 2,
            )
            (top, down), (left, right) = (divmod(math.floor(each * 256), 256) for each in place)
            for plane, out in zip(image, result, strict=True):
                total = 0
                for below, vertical in ((0, 256 - down), (1, down)):
                    for beside, horizontal in ((0, 256 - right), (1, right)):
                        row = min(max(top + below, 0), height - 1)
                        column = min(max(left + beside, 0), width - 1)
                        total += vertical * horizontal * int(plane[row, column])
                out[y, x] = (total + 32768) // 65536
    return result


def recolored_by_hand(image, augmentation, choice):
    def factor(purpose, most):
        return 1 + most * ((choice(purpose, 2**24) - 2**23) / 2**23) if most else 1.0

    contrast = factor("contrast", augmentation.contrast)
    gain = round(contrast * factor("brightness", augmentation.brightness) * ONE)
    offset = round(128 * (1 - contrast) * ONE)
    return np.clip((image.astype(np.int64) * gain + offset + 32768) // 65536, 0, 255)


def augmented_by_hand(image, augmentation, index, epoch):
    def choice(purpose, choices):
        key = derive_seed(augmentation.seed, "augment", purpose, epoch)
        return int(keyed_choice(key, torch.tensor([index]), choices))

    if augmentation.rotate or augmentation.scale or augmentation.shift:
        image = warped_by_hand(image, augmentation, choice)
    if augmentation.brightness or augmentation.contrast:
        image = recolored_by_hand(image, augmentation, choice).astype(np.uint8)
    padding, side = augmentation.crop_padding, augmentation.cutout
    if padding:
        places = 2 * padding + 1
        row, column = choice("crop rows", places), choice("crop columns", places)
        image = crop_by_hand(image, padding, row, column)
    if augmentation.flip and choice("flip", 2) == 0:
        image = image[:, :, ::-1]
    if side:
        row = choice("cutout rows", image.shape[1])
        image = cutout_by_hand(image, side, row, choice("cutout columns", image.shape[2]))
    return image


WAYS = [
    {"flip": True},
    {"crop_padding": 1},
    {"crop_padding": 3},
    {"cutout": 1},
    {"cutout": 4},
    {"cutout": 5},
    {"cutout": 40},
    {"flip": True, "crop_padding": 2, "cutout": 3},
    {"rotate": 10.0},
    {"rotate": 180.0},
    {"scale": 0.3},
    {"shift": 0.2},
    {"brightness": 0.4},
    {"contrast": 0.4},
    {"rotate": 20.0, "scale": 0.2, "shift": 0.1, "flip": True, "contrast": 0.3, "brightness": 0.3},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_augmented_like_single_images(way, channels):
    images, augmentation = digits(60, channels)[:, :, :, :7], Augmentation(5, **way)
    indices = torch.arange(1000, 1060)
    found = augmentation(images, indices, 3)
    wanted = np.stack(
        [
            augmented_by_hand(image, augmentation, index, 3)
            for image, index in zip(images.numpy(), indices.tolist(), strict=True)
        ]
    )
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), wanted)


def test_no_augmentation_changes_nothing():
    images = digits(20)
    assert Augmentation(0).changes_nothing
    assert torch.equal(Augmentation(0)(images, everything(20), 0), images)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_copy_is_changed_and_the_original_is_not(way):
    images = digits(20)
    before = images.clone()
    augmentation = Augmentation(0, **way)
    assert not augmentation.changes_nothing
    assert not torch.equal(augmentation(images, everything(20), 0), images)
    assert torch.equal(images, before)


# --- Keyed -----------------------------------------------------------------------------------

ALL = {
    "flip": True, "crop_padding": 2, "cutout": 3, "rotate": 15.0, "scale": 0.2, "shift": 0.1,
    "brightness": 0.2, "contrast": 0.2,
}  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(order=st.permutations(range(40)), cut=st.integers(1, 39), epoch=st.integers(0, 10**6))
def test_an_image_is_augmented_alike_in_any_batch(order, cut, epoch):
    images, augmentation = digits(40), Augmentation(1, **ALL)
    whole = augmentation(images, everything(40), epoch)
    order = torch.tensor(order)
    for part in (order[:cut], order[cut:]):
        assert torch.equal(augmentation(images[part], part, epoch), whole[part])


def test_it_is_repeatable_and_draws_no_random_numbers():
    images, before = digits(40), torch.get_rng_state()
    first = Augmentation(1, **ALL)(images, everything(40), 2)
    assert torch.equal(first, Augmentation(1, **ALL)(images, everything(40), 2))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("other", [{"seed": 2, "epoch": 0}, {"seed": 1, "epoch": 1}])
def test_seed_and_epoch_make_a_difference(other):
    images = digits(200)
    first = Augmentation(1, **ALL)(images, everything(200), 0)
    second = Augmentation(other["seed"], **ALL)(images, everything(200), other["epoch"])
    assert (first != second).flatten(1).any(1).float().mean() > 0.9


# --- Distribution ----------------------------------------------------------------------------


def test_half_the_images_are_flipped():
    images = torch.zeros(20_000, 1, 1, 2, dtype=torch.uint8)
    images[:, :, :, 0] = 255
    mirrored = int((Augmentation(0, flip=True)(images, everything(20_000), 0)[..., 1] > 0).sum())
    assert stats.binomtest(mirrored, 20_000, 0.5).pvalue > 0.001


def test_crops_are_uniform_over_all_places():
    n, padding = 20_000, 2
    images = torch.zeros(n, 1, 5, 5, dtype=torch.uint8)
    images[:, :, 2, 2] = 1
    moved = Augmentation(0, crop_padding=padding)(images, everything(n), 0)
    places = moved.flatten(1).argmax(1)
    assert (moved.sum((1, 2, 3)) == 1).all()
    assert stats.chisquare(torch.bincount(places, minlength=25).numpy()).pvalue > 0.001


def test_cutouts_are_uniform_over_all_pixels():
    n = 20_000
    images = torch.ones(n, 1, 4, 6, dtype=torch.uint8)
    cut = Augmentation(0, cutout=1)(images, everything(n), 0)
    places = cut.flatten(1).argmin(1)
    assert (cut.flatten(1).sum(1) == 23).all()
    assert stats.chisquare(torch.bincount(places, minlength=24).numpy()).pvalue > 0.001


def test_small_changes_are_spread_evenly():
    n = 20_000
    how = Augmentation(0, rotate=30.0, scale=0.2, shift=0.1, brightness=0.3, contrast=0.3)
    changes = how.changes(everything(n), 0, 50, 80)
    step = torch.hypot(changes.along.double(), changes.across.double()) / ONE
    angle = torch.rad2deg(torch.atan2(changes.across.double(), changes.along.double()))
    contrast = 1 - changes.offset / ONE / 128
    found = {
        "scale": (step - 1) / 0.2,
        "rotate": angle / 30,
        "shifted rows": (changes.row / ONE - 49) / 2 / 50 / 0.1,
        "shifted columns": (changes.column / ONE - 79) / 2 / 80 / 0.1,
        "contrast": (contrast - 1) / 0.3,
        "brightness": (changes.gain / ONE / contrast - 1) / 0.3,
    }
    for name, numbers in found.items():
        assert stats.kstest(numbers.numpy(), stats.uniform(-1, 2).cdf).pvalue > 0.001, name


def test_a_picture_turns_the_way_it_should():
    """A quarter turn is a reflection of the transposed picture, without any interpolation."""
    image, how = digits(1), Augmentation(0, rotate=90.0)
    changes = how.changes(everything(20_000), 0, 8, 8)
    for sign in (1, -1):
        index = ((changes.across == sign * ONE) & (changes.along == 0)).nonzero()[0]
        assert torch.equal(how(image, index, 0), image.rot90(-sign, (2, 3)))


@pytest.mark.parametrize("name", LARGEST)
@pytest.mark.parametrize("value", [-1, 2**15])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(UsageError, match=rf"augmentation: {name} is {value}(\.0)?, wanted 0\.\."):
        Augmentation(0, **{name: type(LARGEST[name])(value)})
