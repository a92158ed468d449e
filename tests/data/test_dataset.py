"""The in-memory data set: what it refuses, its fingerprint, and fair, disjoint splits."""

import hashlib
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from tenfold.data.dataset import ImageDataset, Splits
from tenfold.data.splitting import split_stratified
from tenfold.errors import DataError, UsageError
from tenfold.types import ImageShape, LabelledArrays

DIGITS = tuple("0123456789")


def digits(n=1797, **named):
    bunch = load_digits()
    images = torch.from_numpy((bunch.images[:n, None] * 15).astype(np.uint8))
    return ImageDataset(images, torch.from_numpy(bunch.target[:n]).long(), DIGITS, **named)


def numbered(labels, classes):
    """A data set whose images say which one they are."""
    n = len(labels)
    pixels = np.arange(n, dtype="<u4").view(np.uint8).reshape(n, 1, 2, 2).copy()
    return ImageDataset(
        torch.from_numpy(pixels),
        torch.tensor(labels),
        [f"class {label}" for label in range(classes)],
        names=[f"image {i}" for i in range(n)],
    )


def numbers(dataset):
    return dataset.images.numpy().reshape(-1).view("<u4").tolist()


# --- The data set ----------------------------------------------------------------------------


def test_it_is_a_data_set_as_pytorch_knows_them():
    dataset = digits(20)
    assert isinstance(dataset, torch.utils.data.Dataset)
    assert len(dataset) == 20
    image, label = dataset[3]
    assert image.dtype == torch.uint8
    assert image.shape == (1, 8, 8)
    assert (type(label), label) == (int, 3)
    assert torch.equal(dataset[-1][0], dataset.images[19])
    with pytest.raises(IndexError):
        dataset[20]


def test_iterating_ends():
    assert [label for _, label in digits(12)] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_what_it_says_of_itself():
    dataset = digits(20, split="test", source="digits")
    assert dataset.image_shape == ImageShape(1, 8, 8)
    assert str(dataset.image_shape) == "1x8x8"
    assert repr(dataset) == "ImageDataset('digits', split='test', n=20, shape=1x8x8, classes=10)"
    assert dataset.class_counts().tolist() == [2] * 10


def test_counts_include_classes_without_images():
    assert numbered([1, 1], 4).class_counts().tolist() == [0, 2, 0, 0]


def pixels(*shape, dtype=torch.uint8):
    return torch.zeros(shape, dtype=dtype)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            pixels(2, 1, 4, 4, dtype=torch.float32),
            [0, 1],
            r"torch\.float32 of shape \[2, 1, 4, 4\]",
        ),
        (pixels(2, 4, 4), [0, 1], r"wanted torch.uint8 of shape \[n, channels, height, width\]"),
        (pixels(2, 1, 4, 4), [0.0, 1.0], "labels are torch.float32"),
        (pixels(2, 1, 4, 4), [[0], [1]], r"labels are torch.int64 of shape \[2, 1\]"),
        (pixels(2, 1, 4, 4), [0, 1, 1], "2 images but 3 labels"),
        (pixels(2, 1, 0, 4), [0, 1], "there are no pixels"),
        (pixels(2, 1, 4, 4), [0, 2], r"label 2 at index 1 is out of range, wanted 0\.\.1 for 2"),
        (pixels(2, 1, 4, 4), [-1, 1], "label -1 at index 0 is out of range"),
    ],
)
def test_data_that_contradicts_itself_is_refused(images, labels, message):
    with pytest.raises(DataError, match=message) as raised:
        ImageDataset(images, torch.tensor(labels), ["a", "b"], source="here", split="val")
    assert str(raised.value).startswith("here (val): ")


def test_no_images_are_refused():
    with pytest.raises(DataError, match="there are no pixels"):
        ImageDataset(pixels(0, 1, 4, 4), torch.zeros(0, dtype=torch.int64), ["a"])


def test_no_classes_and_wrong_counts_of_names_are_refused():
    labels = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(DataError, match="label 0 at index 0 is out of range"):
        ImageDataset(pixels(2, 1, 4, 4), labels, [])
    with pytest.raises(DataError, match="2 images but 1 names"):
        ImageDataset(pixels(2, 1, 4, 4), labels, ["a"], names=["one"])


def test_read_only_arrays_are_copied_and_others_need_not_be():
    array = np.zeros((3, 1, 2, 2), dtype=np.uint8)
    array.setflags(write=False)
    arrays = LabelledArrays(array, np.array([0, 1, 0]), ("a", "b"), ("x", "y", "z"))
    dataset = ImageDataset.from_arrays(arrays, split="train", source="s")
    dataset.images.add_(1)
    assert not array.any()
    assert dataset.names == ("x", "y", "z")
    assert (dataset.split, dataset.source) == ("train", "s")


@pytest.mark.parametrize("order", [slice(None, None, -1), slice(None, None, 2)])
def test_arrays_of_any_layout_are_taken(order):
    array = np.arange(4 * 3 * 2 * 2, dtype=np.uint8).reshape(4, 3, 2, 2)
    labels = np.array([0, 1, 2, 3])
    dataset = ImageDataset.from_arrays(
        LabelledArrays(array[order], labels[order], DIGITS[:4]), split="train", source="s"
    )
    assert np.array_equal(dataset.images.numpy(), array[order])
    assert dataset.labels.tolist() == labels[order].tolist()


def test_batches_and_selections_keep_images_labels_and_names_together():
    dataset = numbered([0, 1, 0, 1, 1], 2)
    indices = torch.tensor([4, 0, 4, 2])
    images, labels = dataset.batch(indices)
    chosen = dataset.select(indices, split="test")
    assert labels.tolist() == [1, 0, 1, 0]
    assert torch.equal(images, dataset.images[indices])
    assert numbers(chosen) == [4, 0, 4, 2]
    assert chosen.names == ("image 4", "image 0", "image 4", "image 2")
    assert (chosen.split, chosen.classes) == ("test", dataset.classes)
    assert dataset.select(indices).split == "train"


def test_a_selection_of_nothing_or_of_what_is_not_there_is_refused():
    dataset = numbered([0, 1], 2)
    with pytest.raises(DataError, match="there are no pixels"):
        dataset.select(torch.zeros(0, dtype=torch.int64))
    with pytest.raises(IndexError):
        dataset.select(torch.tensor([2]))


def test_another_name_for_the_same_images():
    dataset = numbered([0, 1], 2)
    other = dataset.renamed("test")
    assert (dataset.split, other.split) == ("train", "test")
    assert other.images.data_ptr() == dataset.images.data_ptr()
    assert other.names == dataset.names


# --- The fingerprint -------------------------------------------------------------------------


def test_the_fingerprint_is_the_documented_digest():
    """It stands in every run and bundle; a change would make old ones look like other data."""
    dataset = digits(20)
    bunch = load_digits()
    whole = hashlib.sha256(repr(((20, 1, 8, 8), DIGITS)).encode())
    whole.update((bunch.images[:20] * 15).astype(np.uint8).tobytes())
    whole.update(bunch.target[:20].astype("<i8").tobytes())
    assert dataset.fingerprint == whole.hexdigest()


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_any_byte_makes_another_fingerprint(data):
    dataset = digits(30)
    images = dataset.images.clone()
    place = data.draw(st.integers(0, images.numel() - 1))
    images.view(-1)[place] ^= 1 << data.draw(st.integers(0, 7))
    assert ImageDataset(images, dataset.labels, DIGITS).fingerprint != dataset.fingerprint


def test_labels_names_order_and_shape_make_another_fingerprint():
    dataset = digits(20)
    images, labels = dataset.images, dataset.labels
    other_label = labels.clone()
    other_label[7] = 8
    others = [
        ImageDataset(images, other_label, DIGITS),
        ImageDataset(images, labels, (*DIGITS[:9], "nine")),
        ImageDataset(images, labels, (*DIGITS[:8], "9", "8")),
        ImageDataset(images, labels, (*DIGITS, "ten")),
        ImageDataset(images.reshape(20, 1, 4, 16), labels, DIGITS),
        ImageDataset(images.reshape(20, 4, 4, 4), labels, DIGITS),
        dataset.select(torch.arange(20).flip(0)),
        dataset.select(torch.arange(19)),
    ]
    assert len({other.fingerprint for other in [dataset, *others]}) == len(others) + 1


def test_where_data_came_from_and_how_it_lies_make_no_difference():
    dataset = digits(20)
    other = ImageDataset(
        dataset.images.to(memory_format=torch.channels_last),
        torch.stack([dataset.labels, dataset.labels], 1)[:, 0],
        list(DIGITS),
        split="val",
        source="elsewhere",
        names=[str(i) for i in range(20)],
    )
    assert other.fingerprint == dataset.fingerprint


def test_class_names_cannot_be_shifted_against_each_other():
    first, second = (numbered([0, 1], 2) for _ in range(2))
    first.classes, second.classes = ("a', 'b", "c"), ("a", "b', 'c")
    assert first.fingerprint != second.fingerprint


# --- Splits ----------------------------------------------------------------------------------


def test_splits_are_gone_through_without_the_missing_ones():
    train, val, test = (digits(20, split=name) for name in ("train", "val", "test"))
    assert list(Splits(train)) == [train]
    assert list(Splits(train, test=test)) == [train, test]
    assert list(Splits(train, val, test)) == [train, val, test]


def test_the_fingerprint_of_splits_says_which_part_is_which():
    one, two = digits(20), digits(30)
    prints = {
        Splits(one).fingerprint,
        Splits(one, val=two.renamed("val")).fingerprint,
        Splits(one, test=two.renamed("test")).fingerprint,
        Splits(two, test=one.renamed("test")).fingerprint,
    }
    assert len(prints) == 4


def test_other_classes_in_a_part_are_named():
    train = numbered([0, 1], 2)
    other = ImageDataset(train.images, train.labels, ["class 0", "class\x1b 7"], split="test")
    with pytest.raises(DataError) as raised:
        Splits(train, test=other)
    assert "only in train: class 1; only in test: class\\x1b 7" in str(raised.value)


def test_the_same_classes_in_another_order_are_refused_as_such():
    train = numbered([0, 1], 2)
    other = ImageDataset(train.images, train.labels, train.classes[::-1], split="test")
    with pytest.raises(DataError, match="another order in test: found class 1, class 0, wanted"):
        Splits(train, test=other)


def test_other_shapes_in_a_part_are_named():
    train = numbered([0, 1], 2)
    other = ImageDataset(pixels(2, 1, 4, 4), train.labels, train.classes, split="val")
    with pytest.raises(DataError, match="train has images of 1x2x2, val of 1x4x4"):
        Splits(train, val=other)


# --- Stratified splits -----------------------------------------------------------------------


def largest_remainder(counts, fraction):
    """Hamilton's method, from its definition: quotas rounded down, seats by remainder."""
    total = round(fraction * sum(counts))
    quotas = [fraction * count for count in counts]
    seats = [math.floor(quota) for quota in quotas]
    for _ in range(total - sum(seats)):
        remainders = [quota - seat for quota, seat in zip(quotas, seats, strict=True)]
        seats[remainders.index(max(remainders))] += 1
    return seats


@settings(deadline=None, max_examples=200)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    fraction=st.floats(0.02, 0.98),
    seed=st.integers(),
    shuffler=st.randoms(use_true_random=False),
)
def test_properties_of_a_split(counts, fraction, seed, shuffler):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    assume(labels)
    shuffler.shuffle(labels)
    dataset = numbered(labels, len(counts))
    wanted = largest_remainder(counts, fraction)
    if any(count and held in (0, count) for count, held in zip(counts, wanted, strict=True)):
        with pytest.raises(DataError, match=r"class 'class \d' has \d+ images, too few"):
            split_stratified(dataset, fraction, seed=seed, name="val")
        return
    rest, held = split_stratified(dataset, fraction, seed=seed, name="val")
    assert sorted(numbers(rest) + numbers(held)) == list(range(len(labels)))
    assert numbers(rest) == sorted(numbers(rest))
    assert numbers(held) == sorted(numbers(held))
    assert held.class_counts().tolist() == wanted
    assert len(held) == round(fraction * len(labels))
    for part in (rest, held):
        assert part.labels.tolist() == [labels[i] for i in numbers(part)]
        assert list(part.names) == [f"image {i}" for i in numbers(part)]
    assert (rest.split, held.split) == ("train", "val")
    again = split_stratified(dataset, fraction, seed=seed, name="val")[1]
    assert again.fingerprint == held.fingerprint


def test_the_split_of_mnists_size_is_the_tutorials():
    """20 % of 60,000 are 12,000, and every class gives its fifth to within one image."""
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    rest, held = split_stratified(numbered(labels, 10), 0.2, seed=0, name="val")
    assert (len(rest), len(held)) == (48_000, 12_000)
    for count, held_count in zip(counts, held.class_counts().tolist(), strict=True):
        assert abs(held_count - count / 5) < 1


def test_seed_and_name_make_another_split():
    dataset = digits()
    chosen = {
        split_stratified(dataset, 0.1, seed=seed, name=name)[1].fingerprint
        for seed in (0, 1)
        for name in ("val", "test")
    }
    assert len(chosen) == 4


def test_pixels_do_not_choose():
    dataset = numbered([0, 1] * 20, 2)
    dark = ImageDataset(torch.zeros_like(dataset.images), dataset.labels, dataset.classes)
    dark.names = dataset.names
    assert (
        split_stratified(dark, 0.25, seed=3, name="val")[1].names
        == split_stratified(dataset, 0.25, seed=3, name="val")[1].names
    )


def test_every_image_is_as_likely_to_be_held_out_as_any_other():
    dataset = numbered([0] * 30 + [1] * 10, 2)
    held = Counter()
    for seed in range(1000):
        held.update(numbers(split_stratified(dataset, 0.3, seed=seed, name="val")[1]))
    assert len(held) == 40
    assert all(240 <= count <= 360 for count in held.values())  # 300, deviation 14.5


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_fraction_that_is_none_is_refused(fraction):
    with pytest.raises(UsageError, match="wanted 0 < fraction < 1"):
        split_stratified(digits(20), fraction, seed=0, name="val")


def test_a_class_of_one_image_is_named():
    dataset = numbered([0] * 10 + [1], 2)
    with pytest.raises(DataError, match="class 'class 1' has 1 images, too few to hold out 20%"):
        split_stratified(dataset, 0.2, seed=0, name="val")


def test_a_class_without_images_is_let_be():
    rest, held = split_stratified(numbered([0] * 10 + [2] * 10, 3), 0.2, seed=0, name="val")
    assert held.class_counts().tolist() == [2, 0, 2]
    assert rest.classes == held.classes


def test_two_classes_of_one_name_are_refused() -> None:
    images, labels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2])
    with pytest.raises(DataError, match="more than one is called cat"):
        ImageDataset(images, labels, ["cat", "dog", "cat"])
