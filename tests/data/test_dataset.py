"""The in-memory data set: arrays and tensors, what it refuses, its fingerprint, its splits."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch.utils.data import ConcatDataset, DataLoader, Subset, random_split

from small_images import DIGITS, digits, numbered, numbers
from tenfold.data.dataset import ImageDataset, Splits
from tenfold.errors import DataError, UsageError
from tenfold.types import ImageShape, LabeledArrays

# --- The data set ----------------------------------------------------------------------------


def test_it_is_a_pytorch_data_set():
    dataset = digits(20)
    assert len(dataset) == 20
    image, label = dataset[3]
    assert image.dtype == torch.uint8
    assert image.shape == (1, 8, 8)
    assert (type(label), label) == (int, 3)
    assert torch.equal(dataset[-1][0], dataset.images[19])
    with pytest.raises(IndexError):
        dataset[20]


def test_pytorchs_tools_accept_it():
    dataset = digits(20)
    images, labels = next(iter(DataLoader(dataset, batch_size=20)))
    assert torch.equal(images, dataset.images)
    assert torch.equal(labels, dataset.labels)
    image, label = Subset(dataset, [7, 3])[1]
    assert torch.equal(image, dataset.images[3])
    assert label == 3
    parts = random_split(dataset, [15, 5], torch.Generator().manual_seed(0))
    assert sorted(index for part in parts for index in part.indices) == list(range(20))
    both = dataset + digits(10)
    assert isinstance(both, ConcatDataset)
    assert (len(both), both[25][1]) == (30, 5)


def test_iterating_ends():
    assert [label for _, label in digits(12)] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_its_repr():
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
            r"images are float32 of shape \[2, 1, 4, 4\]",
        ),
        (pixels(2, 4, 4), [0, 1], r"wanted uint8 of shape \[n, channels, height, width\]"),
        (
            pixels(2, 1, 4, 4),
            [0.0, 1.0],
            r"labels are float32 of shape \[2\], wanted int64 of shape \[n\]",
        ),
        (pixels(2, 1, 4, 4), [[0], [1]], r"labels are int64 of shape \[2, 1\]"),
        (pixels(2, 1, 4, 4), [0, 1, 1], "2 images but 3 labels"),
        (pixels(2, 1, 0, 4), [0, 1], "there are no pixels"),
        (pixels(2, 1, 4, 4), [0, 2], r"label 2 at index 1 is out of range, wanted 0\.\.1 for 2"),
        (pixels(2, 1, 4, 4), [-1, 1], "label -1 at index 0 is out of range"),
    ],
)
def test_data_that_contradicts_itself_is_refused(images, labels, message):
    labels = torch.tensor(labels)
    for as_given in (lambda tensor: tensor, lambda tensor: tensor.numpy()):
        with pytest.raises(DataError, match=message) as raised:
            ImageDataset(as_given(images), as_given(labels), "ab", source="here", split="val")
        assert str(raised.value).startswith("here (val): ")


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.array([0, 1], np.int32), "int32 of shape [2]"),
        (np.array([0, 1], np.uint8), "uint8 of shape [2]"),
        (np.array([[0], [1]]), "int64 of shape [2, 1]"),
        (np.array([[1, 0], [0, 1]]), "int64 of shape [2, 2]"),
    ],
)
def test_labels_of_another_form_are_accepted_once_passed_as_advised(labels, found):
    with pytest.raises(DataError) as raised:
        ImageDataset(pixels(2, 1, 4, 4), labels, "ab")
    assert f": labels are {found}, wanted int64 of shape [n]" in raised.value.message
    code = raised.value.remedy.removeprefix("pass ").partition(" if ")[0]
    advised = eval(code, {"labels": labels, "numpy": np})
    assert ImageDataset(pixels(2, 1, 4, 4), advised, "ab").label_array.tolist() == [0, 1]


@pytest.mark.parametrize("labels", [np.array(["a", "b"]), np.array([b"a", b"b"])])
def test_labels_that_are_text_are_called_so(labels):
    with pytest.raises(DataError) as raised:
        ImageDataset(pixels(2, 1, 4, 4), labels, "ab")
    assert ": labels are text of shape [2], wanted int64 of shape [n]" in raised.value.message
    assert raised.value.remedy == "number the classes from 0, and give their names as classes"


@pytest.mark.parametrize("as_given", [torch.from_numpy, np.asarray], ids=["tensors", "arrays"])
@pytest.mark.parametrize("make", [lambda raw: raw / np.float32(255), lambda raw: raw[:, 0]])
def test_images_of_another_form_are_accepted_once_passed_as_advised(make, as_given):
    raw = pixels(2, 1, 4, 4).numpy()
    images = as_given(make(raw))
    with pytest.raises(DataError) as raised:
        ImageDataset(images, torch.tensor([0, 1]), "ab")
    code = raised.value.remedy.removeprefix("pass ").partition(" if ")[0]
    advised = eval(code, {"images": images, "numpy": np})
    assert np.array_equal(ImageDataset(advised, torch.tensor([0, 1]), "ab").image_array, raw)


def test_images_whose_scale_is_unknown_are_refused():
    for images in (pixels(2, 1, 4, 4).float() - 3, pixels(2, 1, 4, 4).int()):
        with pytest.raises(DataError, match=r"; pass raw pixels 0\.\.255 as uint8"):
            ImageDataset(images, torch.tensor([0, 1]), "ab")


def test_a_tensor_that_numpy_cannot_hold_is_refused():
    images, labels = pixels(2, 1, 4, 4, dtype=torch.bfloat16), torch.tensor([0, 1])
    with pytest.raises(UsageError, match=r"torch\.bfloat16 tensor, a dtype NumPy does not have"):
        ImageDataset(images, labels, ["a", "b"])


def test_no_images_are_refused():
    with pytest.raises(DataError, match="there are no pixels"):
        ImageDataset(pixels(0, 1, 4, 4), torch.zeros(0, dtype=torch.int64), ["a"])


def test_no_classes_and_wrong_numbers_of_names_are_refused():
    labels = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(DataError, match="label 0 at index 0 is out of range, wanted named classes"):
        ImageDataset(pixels(2, 1, 4, 4), labels, [])
    with pytest.raises(
        DataError, match="label 1 at index 0 is out of range, wanted 0 for 1 class;"
    ):
        ImageDataset(pixels(2, 1, 4, 4), labels + 1, ["a"])
    with pytest.raises(DataError, match=r"2 images but 1 name$"):
        ImageDataset(pixels(2, 1, 4, 4), labels, ["a"], names=["one"])


@pytest.mark.parametrize("as_given", [torch.from_numpy, np.asarray], ids=["tensors", "arrays"])
def test_arrays_and_tensors_share_the_given_memory(as_given):
    array = np.arange(16, dtype=np.uint8).reshape(4, 1, 2, 2)
    labels = np.array([0, 1, 2, 3])
    dataset = ImageDataset(as_given(array), as_given(labels), DIGITS[:4])
    array[2], labels[2] = 200, 0
    for images in (dataset.image_array, dataset.images.numpy()):
        assert images[2].tolist() == [[[200, 200], [200, 200]]]
    for held in (dataset.label_array, dataset.labels):
        assert held.tolist() == [0, 1, 0, 3]
    assert dataset.images is dataset.images


def test_tensors_are_created_on_demand_and_not_pickled():
    dataset = digits(20)
    assert not {"images", "labels"} & vars(dataset).keys()
    assert torch.equal(
        dataset.images[:, 0].sum((1, 2)),
        torch.tensor(dataset.image_array.sum((1, 2, 3), dtype=np.int64)),
    )
    other = pickle.loads(pickle.dumps(dataset))
    assert not {"images", "labels"} & vars(other).keys()
    assert other.fingerprint == dataset.fingerprint
    assert torch.equal(other.images, dataset.images)


def test_tensors_have_the_strides_that_pytorch_would_give_them():
    """With other strides PyTorch may pick another algorithm, with other last bits."""
    last = np.zeros((6, 4, 4, 1), dtype=np.uint8)
    for images in (
        np.moveaxis(last, 3, 1),
        last[:1].reshape(1, 1, 4, 4),
        last.reshape(6, 16, 1, 1),
    ):
        dataset = ImageDataset(images, np.zeros(len(images), np.int64), ["a"])
        assert dataset.images.stride() == torch.empty(images.shape).stride()


def test_read_only_arrays_are_copied_and_others_need_not_be():
    array = np.zeros((3, 1, 2, 2), dtype=np.uint8)
    array.setflags(write=False)
    arrays = LabeledArrays(array, np.array([0, 1, 0]), ("a", "b"), ("x", "y", "z"))
    dataset = ImageDataset.from_arrays(arrays, split="train", source="s")
    dataset.images.add_(1)
    assert not array.any()
    assert dataset.names == ("x", "y", "z")
    assert (dataset.split, dataset.source) == ("train", "s")


@pytest.mark.parametrize("order", [slice(None, None, -1), slice(None, None, 2)])
def test_arrays_of_any_memory_layout_are_accepted(order):
    array = np.arange(4 * 3 * 2 * 2, dtype=np.uint8).reshape(4, 3, 2, 2)
    labels = np.array([0, 1, 2, 3])
    dataset = ImageDataset.from_arrays(
        LabeledArrays(array[order], labels[order], DIGITS[:4]), split="train", source="s"
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


@pytest.mark.parametrize("as_given", [np.array, torch.tensor], ids=["array", "tensor"])
def test_images_may_be_selected_by_place_from_the_end_or_by_a_mask(as_given):
    dataset = numbered([0, 1, 0, 1], 2)
    for indices in ([1, -1], [False, True, False, True]):
        chosen = dataset.select(as_given(indices))
        assert numbers(chosen) == [1, 3]
        assert chosen.names == ("image 1", "image 3")
        assert chosen.label_array.tolist() == [1, 1]


def test_empty_and_out_of_range_selections_are_refused():
    dataset = numbered([0, 1], 2)
    with pytest.raises(DataError, match="there are no pixels"):
        dataset.select(torch.zeros(0, dtype=torch.int64))
    with pytest.raises(IndexError):
        dataset.select(torch.tensor([2]))


def test_what_is_no_list_of_places_is_refused():
    dataset = numbered([0, 1], 2)
    with pytest.raises(UsageError, match=r"have the shape \(\), wanted \(n,\); give a list"):
        dataset.select(torch.tensor(1))
    with pytest.raises(UsageError, match=r"one image at a time, found a slice; select several"):
        dataset[:1]


def test_another_name_for_the_same_images():
    dataset = numbered([0, 1], 2)
    other = dataset.renamed("test")
    assert (dataset.split, other.split) == ("train", "test")
    assert other.images.data_ptr() == dataset.images.data_ptr()
    assert other.names == dataset.names


def test_duplicate_class_names_are_refused() -> None:
    images, labels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2])
    with pytest.raises(DataError, match="more than one is called 'cat'"):
        ImageDataset(images, labels, ["cat", "dog", "cat"])


# --- The fingerprint -------------------------------------------------------------------------


def test_the_fingerprint_is_the_documented_digest():
    """It is in every run and bundle; a change would make old ones look like other data."""
    dataset = digits(20)
    bunch = load_digits()
    whole = hashlib.sha256(repr(((20, 1, 8, 8), DIGITS)).encode())
    whole.update((bunch.images[:20] * 15).astype(np.uint8).tobytes())
    whole.update(bunch.target[:20].astype("<i8").tobytes())
    assert dataset.fingerprint == whole.hexdigest()


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_any_byte_changes_the_fingerprint(data):
    dataset = digits(30)
    images = dataset.images.clone()
    place = data.draw(st.integers(0, images.numel() - 1))
    images.view(-1)[place] ^= 1 << data.draw(st.integers(0, 7))
    assert ImageDataset(images, dataset.labels, DIGITS).fingerprint != dataset.fingerprint


def test_labels_names_order_and_shape_change_the_fingerprint():
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


def test_source_and_memory_layout_do_not_change_the_fingerprint():
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


def test_iteration_skips_missing_splits():
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
    assert "only in train: 'class 1'; only in test: 'class\\x1b 7'" in str(raised.value)


def test_the_same_classes_in_another_order_are_refused_as_such():
    train = numbered([0, 1], 2)
    other = ImageDataset(train.images, train.labels, train.classes[::-1], split="test")
    with pytest.raises(
        DataError,
        match="in another order than those of train: found 'class 1', 'class 0', wanted",
    ):
        Splits(train, test=other)


def test_other_shapes_in_a_part_are_named():
    train = numbered([0, 1], 2)
    other = ImageDataset(pixels(2, 1, 4, 4), train.labels, train.classes, split="val")
    with pytest.raises(DataError, match="train has images of 1x2x2, val of 1x4x4"):
        Splits(train, val=other)
