"""Data sets as Python objects: every kind, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

from small_images import COLOR, LABELS, PIXELS, Readings, image_dataset, whole
from tenfold.data.dataset import Splits
from tenfold.data.folders.images import image_to_array
from tenfold.data.load import load_splits
from tenfold.data.objects import class_names, read_items, resize_images
from tenfold.errors import DataError, UsageError
from tenfold.listening import Listener
from tenfold.types import WantedShape


class Items(Dataset[Any]):
    """A data set of anything."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class LikeTorchvision(Dataset[Any]):
    """Like torchvision's MNIST and CIFAR10: raw arrays, and items with Pillow images."""

    classes = ("ant", "bee", "cow", "dog")

    def __init__(
        self, data: Any, targets: Any, transform: Callable[..., Any] | None = None
    ) -> None:
        self.data = data
        self.targets = targets
        self.transform = transform
        self.target_transform = None

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        image = Image.fromarray(np.asarray(self.data[index]))
        label = int(self.targets[index])
        return (image if self.transform is None else self.transform(image)), label


class Picture(Tensor):
    """A subclass of tensor, like torchvision's `tv_tensors.Image`."""


def to_tensor(image: Image.Image) -> Tensor:
    """Scaled to 0..1 and channels-first, like torchvision's `ToTensor`."""
    array = np.asarray(image)
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return torch.tensor(array).float().div(255)


def items_of(make: Callable[[np.ndarray], Any], pixels: np.ndarray = PIXELS) -> Items:
    return Items([(make(image), int(label)) for image, label in zip(pixels, LABELS, strict=True)])


OBJECTS: dict[str, tuple[Any, np.ndarray]] = {
    "image data set": (image_dataset(), PIXELS),
    "tensor data set, raw": (TensorDataset(torch.tensor(PIXELS), torch.tensor(LABELS)), PIXELS),
    "tensor data set, scaled": (
        TensorDataset(torch.tensor(COLOR) / 255, torch.tensor(LABELS)),
        COLOR,
    ),
    "tensor data set, no channels": (
        TensorDataset(torch.tensor(PIXELS[:, 0]), torch.tensor(LABELS)),
        PIXELS,
    ),
    "like MNIST": (LikeTorchvision(torch.tensor(PIXELS[:, 0]), torch.tensor(LABELS)), PIXELS),
    "like CIFAR": (LikeTorchvision(COLOR.transpose(0, 2, 3, 1), LABELS.tolist()), COLOR),
    "like MNIST, scaled": (
        LikeTorchvision(torch.tensor(PIXELS[:, 0]), torch.tensor(LABELS), to_tensor),
        PIXELS,
    ),
    "Pillow, gray": (items_of(lambda image: Image.fromarray(image[0])), PIXELS),
    "Pillow, color": (
        items_of(lambda image: Image.fromarray(image.transpose(1, 2, 0)), COLOR),
        COLOR,
    ),
    "tensors": (items_of(torch.tensor, COLOR), COLOR),
    "tensors of a subclass": (
        items_of(lambda image: torch.tensor(image).as_subclass(Picture)),
        PIXELS,
    ),
    "scaled tensors": (items_of(lambda image: torch.tensor(image) / 255, COLOR), COLOR),
    "arrays, channels last": (items_of(lambda image: image.transpose(1, 2, 0), COLOR), COLOR),
    "arrays, channels first": (items_of(np.array, COLOR), COLOR),
    "arrays, gray": (items_of(lambda image: image[0]), PIXELS),
    "scaled arrays": (items_of(lambda image: image[0] / 255), PIXELS),
    "concatenated": (
        ConcatDataset([Subset(image_dataset(), range(15)), Subset(image_dataset(), range(15, 40))]),
        PIXELS,
    ),
}


@pytest.mark.parametrize(("dataset", "pixels"), OBJECTS.values(), ids=OBJECTS)
def test_every_kind_of_object_gives_the_same_pixels(dataset: Any, pixels: np.ndarray) -> None:
    loaded = load_splits(dataset, test_fraction=0.0)
    assert torch.equal(whole(loaded), torch.tensor(pixels))
    assert torch.equal(loaded.splits.train.labels, torch.tensor(LABELS))
    assert loaded.splits.train.images.is_contiguous()


def test_what_transforms_and_subclasses_make_of_an_image_counts() -> None:
    raw = LikeTorchvision(torch.tensor(PIXELS[:, 0]), torch.tensor(LABELS))
    assert load_splits(raw).splits.train.classes == LikeTorchvision.classes

    def inverted(image: Image.Image) -> Image.Image:
        return Image.fromarray(255 - np.asarray(image))

    changed = LikeTorchvision(torch.tensor(PIXELS[:, 0]), torch.tensor(LABELS), inverted)
    assert torch.equal(whole(load_splits(changed, test_fraction=0.0)), torch.tensor(255 - PIXELS))

    class Inverted(LikeTorchvision):
        def __getitem__(self, index: int) -> Any:
            image, label = super().__getitem__(index)
            return inverted(image), label

    overridden = Inverted(torch.tensor(PIXELS[:, 0]), torch.tensor(LABELS))
    assert torch.equal(
        whole(load_splits(overridden, test_fraction=0.0)), torch.tensor(255 - PIXELS)
    )


def test_all_256_pixel_values_survive_scaling() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(2, 1, 1, 1)
    for scaled in (ramp.float() / 255, ramp.double() / 255, ramp.float() * (1 / 255)):
        loaded = load_splits(TensorDataset(scaled, torch.tensor([0, 1])), test_fraction=0.0)
        assert torch.equal(whole(loaded), ramp)


@pytest.mark.parametrize(
    "images",
    [
        (torch.tensor(PIXELS) / 255 - 0.1307) / 0.3081,
        torch.tensor(PIXELS).float(),
        torch.full((40, 1, 6, 5), float("nan")),
        torch.full((40, 1, 6, 5), 0.5),
        (torch.tensor(PIXELS) / 255).half(),
        (torch.tensor(PIXELS) / 255).bfloat16(),
        torch.tensor(PIXELS).int(),
    ],
    ids=["normalized", "0..255", "nan", "between", "half", "bfloat16", "int"],
)
def test_pixels_that_are_not_raw_are_refused(images: Tensor) -> None:
    for dataset in (
        TensorDataset(images, torch.tensor(LABELS)),
        Items([(image, int(label)) for image, label in zip(images, LABELS, strict=True)]),
    ):
        with pytest.raises(DataError, match="the image at index 0"):
            load_splits(dataset)


def test_the_index_of_a_wrong_pixel_is_reported() -> None:
    images = torch.tensor(PIXELS) / 255
    images[17, 0, 3, 2] = 0.5
    with pytest.raises(DataError, match=r"image at index 17 has the value 0\.5"):
        load_splits(TensorDataset(images, torch.tensor(LABELS)))


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([(PIXELS[0], 0, 1)], "the item at index 0 is a tuple, wanted"),
        ([PIXELS[0]], "the item at index 0 is an ndarray"),
        ([("cat.png", 0)], "is a str, wanted a Pillow image"),
        ([(PIXELS[0], 0.5)], r"the label at index 0 is float64 of shape \[\], wanted one whole"),
        ([(PIXELS[0], np.eye(4)[1])], r"the label at index 0 is float64 of shape \[4\]"),
        ([(PIXELS[0], [1, 0])], r"the label at index 0 is int64 of shape \[2\]"),
        ([(PIXELS[0], [[1], [2, 3]])], "the label at index 0 cannot be read as an array: "),
        ([(PIXELS[0], "cat")], "the label at index 0 is text, wanted one whole number"),
        ([(PIXELS[0], None)], "the label at index 0 is object of shape"),
        ([(PIXELS[0], 0), (PIXELS[1][:, :3], 1)], r"index 1 has shape \[1, 3, 5\], the first"),
        ([(PIXELS[0].reshape(2, 3, 5), 0)], r"has shape \[2, 3, 5\]"),
        ([], "is empty"),
    ],
    ids=[
        "three",
        "no label",
        "text",
        "float label",
        "one hot",
        "two labels",
        "ragged label",
        "text label",
        "no number",
        "sizes",
        "two channels",
        "empty",
    ],
)
def test_items_that_do_not_fit_are_named(items: list[Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_splits(Items(items))


def test_other_objects_are_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([])

    for thing, kind in (
        (PIXELS, "an ndarray"),
        (torch.tensor(PIXELS), "a Tensor"),
        (Stream(), "a Stream"),
        (5, "an int"),
        (None, "None"),
        ([image_dataset()], "a list"),
    ):
        with pytest.raises(UsageError, match=f": {kind} is not a data set, wanted one with"):
            load_splits(thing)
    with pytest.raises(UsageError, match="got a tuple of 3"):
        load_splits((image_dataset(),) * 3)
    with pytest.raises(UsageError, match=r"wrap arrays in torch\.utils\.data\.TensorDataset"):
        load_splits((PIXELS, LABELS))


def test_a_pair_and_splits_are_kept_apart() -> None:
    train, test = image_dataset(PIXELS[:30], LABELS[:30]), image_dataset(PIXELS[30:], LABELS[30:])
    loaded = load_splits((train, test))
    assert loaded.splits.test is not None
    assert torch.equal(loaded.splits.test.images, test.images)
    assert [part.split for part in loaded.splits] == ["train", "test"]
    (note,) = loaded.notes
    assert note.startswith("few training images, so little can be learned about: ")
    val = image_dataset(COLOR[:4, :1], LABELS[:4])
    three = load_splits(Splits(train, val, test))
    assert [part.split for part in three.splits] == ["train", "val", "test"]
    mixed = load_splits((train, TensorDataset(test.images, test.labels)))
    assert mixed.splits.fingerprint == loaded.splits.fingerprint


def test_classes_have_the_names_of_the_first_data_set_that_names_them() -> None:
    named = LikeTorchvision(torch.tensor(PIXELS[:, 0]), torch.tensor(LABELS))
    unnamed = TensorDataset(torch.tensor(PIXELS), torch.tensor(LABELS))
    for dataset in (
        named,
        Subset(named, range(9)),
        ConcatDataset([Subset(named, range(9)), named]),
    ):
        assert class_names([unnamed, dataset], 3) == named.classes
    assert class_names([unnamed, unnamed], 3) == ("0", "1", "2", "3")


def test_labels_may_be_any_one_whole_number() -> None:
    kinds = (int, np.int16, np.uint8, np.array, torch.tensor, lambda n: torch.tensor([n]))
    items = [(image, kind(3)) for image, kind in zip(PIXELS, kinds, strict=False)]
    _, labels = read_items(Items(items), "here", WantedShape(), Listener())
    assert labels.tolist() == [3] * len(kinds)


@pytest.mark.parametrize(
    ("make", "n", "told"),
    [
        (
            lambda images, labels: Items(list(zip(images, labels.tolist(), strict=True))),
            1001,
            [500, 1000],
        ),
        (TensorDataset, 5000, [4096, 5000]),
    ],
    ids=["one by one", "gathered"],
)
def test_progress_is_reported(make: Callable[..., Any], n: int, told: list[int]) -> None:
    images, labels = torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.zeros(n, dtype=torch.int64)
    readings = Readings()
    read_items(make(images, labels), "here", WantedShape(), readings)
    assert readings.calls == [("reading images", done, n) for done in told]


def test_unnamed_classes_are_counted_over_both_splits() -> None:
    images, labels = torch.tensor(PIXELS), torch.tensor(LABELS)
    few = labels[30:] < 3
    pair = (
        TensorDataset(images[:30], labels[:30]),
        TensorDataset(images[30:][few], labels[30:][few]),
    )
    assert load_splits(pair).splits.train.classes == ("0", "1", "2", "3")


def test_images_of_the_wanted_shape_are_left_alone() -> None:
    five = np.zeros((2, 5, 4, 3), dtype=np.uint8)
    for pixels in (PIXELS, five):
        _, channels, *size = pixels.shape
        assert resize_images(pixels, WantedShape(tuple(size), channels), "here") is pixels
        assert resize_images(pixels, WantedShape(), "here") is pixels


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_only_gray_and_color_images_are_converted(channels: int) -> None:
    images = image_dataset(np.zeros((40, channels, 4, 3), dtype=np.uint8), source="satellite")
    for wanted in ({"image_size": (2, 2)}, {"channels": 3}):
        with pytest.raises(DataError, match=rf"satellite \(train\): images of {channels} channels"):
            load_splits(images, **wanted)


def test_images_of_another_size_or_color() -> None:
    loaded = load_splits(image_dataset(), image_size=(12, 10), channels=3, test_fraction=0.0)
    images = whole(loaded)
    assert images.shape == (40, 3, 12, 10)
    expected = Image.fromarray(PIXELS[7, 0]).resize((10, 12), Image.Resampling.BILINEAR)
    assert np.array_equal(images[7, 0].numpy(), np.asarray(expected))
    assert torch.equal(images[:, 0], images[:, 2])
    assert any("converted from 1x6x5 to 3x12x10" in note for note in loaded.notes)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_any_size_and_mode_are_read_as_files_are(channels: int) -> None:
    color = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 4), dtype=np.uint8))
    modes = ["1", "L", "LA", "La", "P", "RGB", "RGBA", "CMYK", "I;16"]
    # Pillow converts to these two modes only from the one named first.
    ways = {"La": ("LA", "La"), "I;16": ("L", "I;16")}
    pictures = []
    for mode in modes:
        picture = color
        for step in ways.get(mode, (mode,)):
            picture = picture.convert(step)
        pictures.append(picture)
    items = [(picture.resize((9 + i, 12)), i) for i, picture in enumerate(pictures)]
    images, _ = read_items(Items(items), "here", WantedShape((6, 5), channels), Listener())
    for image, (picture, _) in zip(images, items, strict=True):
        assert np.array_equal(image, image_to_array(picture, channels=channels, size=(6, 5)))
