"""From a name, a path or an object to checked splits."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

from tenfold.data.catalog.table import DATASETS
from tenfold.data.dataset import ImageDataset, Splits
from tenfold.data.load import LoadedData, load_splits, shared_images
from tenfold.errors import DataError, UsageError

GENERATOR = np.random.default_rng(5)
PIXELS = GENERATOR.integers(0, 256, (40, 1, 6, 5), dtype=np.uint8)
COLOUR = GENERATOR.integers(0, 256, (40, 3, 6, 5), dtype=np.uint8)
LABELS = np.arange(40) % 4


def image_dataset(
    pixels: np.ndarray = PIXELS, labels: np.ndarray = LABELS, **options: Any
) -> ImageDataset:
    classes = options.pop("classes", "abcd")
    return ImageDataset(torch.tensor(pixels), torch.tensor(labels), classes, **options)


def whole(loaded: LoadedData) -> Tensor:
    """All images of a source that was not to be split."""
    assert loaded.splits.test is None
    return loaded.splits.train.images


# --- the catalogue


def test_digits_are_scikit_learns() -> None:
    loaded = load_splits("digits")
    digits = load_digits()
    train, test = loaded.splits.train, loaded.splits.test
    assert test is not None
    assert (len(train), len(test)) == (1438, 359)
    assert loaded.source == "digits"
    assert train.classes == tuple("0123456789")
    pixels = load_splits("digits", test_fraction=0.0).splits.train.images[:, 0].double()
    assert torch.equal(
        load_splits("digits", test_fraction=0.0).splits.train.labels, torch.tensor(digits.target)
    )
    assert (pixels * 16 / 255 - torch.tensor(digits.images)).abs().max() < 0.05
    assert pixels.max() == 255
    assert any("held out" in note for note in loaded.notes)


def test_the_held_out_test_images_are_always_the_same_and_stratified() -> None:
    first, second = (load_splits("digits").splits.test for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.fingerprint == second.fingerprint
    share = first.class_counts() / torch.bincount(torch.tensor(load_digits().target))
    assert (share - 0.2).abs().max() < 0.01


@pytest.mark.parametrize(
    ("name", "first_label", "mean"),
    [
        # The widely used normalisation constants 0.1307 and 0.2860 are these means.
        ("mnist", "5", 0.1307),
        ("fashion-mnist", "Ankle boot", 0.2860),
    ],
)
def test_real_data_by_name(real_data: Path, name: str, first_label: str, mean: float) -> None:
    loaded = load_splits(name, data_root=real_data, download=False)
    train, test = loaded.splits.train, loaded.splits.test
    assert test is not None
    assert train.images.shape == (60_000, 1, 28, 28)
    assert test.images.shape == (10_000, 1, 28, 28)
    assert loaded.splits.val is None
    assert train.classes == DATASETS[name].classes
    assert train.classes[int(train.labels[0])] == first_label
    assert float(train.images.float().mean() / 255) == pytest.approx(mean, abs=5e-5)
    assert test.class_counts().sum() == 10_000
    if name == "fashion-mnist":
        assert train.class_counts().tolist() == [6_000] * 10
    assert loaded.source == name
    assert loaded.notes == ()


def test_a_name_that_is_also_a_folder_is_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    class_folders(tmp_path / "digits")
    loaded = load_splits("digits")
    assert loaded.source == "digits"
    assert any("write './digits'" in note for note in loaded.notes)
    assert load_splits("./digits").splits.train.classes == ("cat", "dog")
    assert load_splits(Path("digits")).splits.train.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fashion-mnits", "did you mean 'fashion-mnist'"),
        ("photos", "choose one of: cifar10, "),
        ("", "is neither the name of a data set"),
        ("a" * 300, "choose one of: cifar10, "),
    ],
)
def test_an_unknown_name_is_a_wrong_call(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_splits(name)


@pytest.mark.parametrize(
    "path",
    ["./photos", "no/such", "photos.zip", "~/no-such-photos", "~no-such-user/x", "./" + "a" * 300],
)
def test_a_path_that_is_not_there_is_missing_data(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="there is no such folder or file"):
        load_splits(path)


# --- paths


def class_folders(path: Path, classes: tuple[str, ...] = ("cat", "dog"), n: int = 10) -> Path:
    generator = np.random.default_rng(len(str(path)))
    for name in classes:
        (path / name).mkdir(parents=True)
        for i in range(n):
            pixels = generator.integers(0, 256, (8, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / name / f"{i}.png")
    return path


def test_class_folders_without_splits(tmp_path: Path) -> None:
    path = class_folders(tmp_path / "pets")
    loaded = load_splits(str(path), test_fraction=0.3)
    train, test = loaded.splits.train, loaded.splits.test
    assert test is not None
    assert train.class_counts().tolist() == [7, 7]
    assert test.class_counts().tolist() == [3, 3]
    assert set(train.names or ()).isdisjoint(test.names or ())
    assert loaded.source == str(path)


def test_class_folders_with_splits(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        class_folders(tmp_path / "pets" / split)
    calls: list[tuple[str, int, int | None]] = []
    loaded = load_splits(tmp_path / "pets", progress=lambda *call: calls.append(call))
    assert [part.split for part in loaded.splits] == ["train", "val", "test"]
    assert calls[-1] == ("images", 60, 60)
    small = load_splits(tmp_path / "pets", image_size=(4, 4), channels=1)
    assert small.splits.train.image_shape == (1, 4, 4)
    assert load_splits(tmp_path / "pets", test_fraction=0.0).splits.test is not None


def test_a_name_without_a_separator_may_be_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    class_folders(tmp_path / "pets")
    assert load_splits("pets").source == str(tmp_path / "pets")


def test_the_real_archive_of_class_folders(real_data: Path) -> None:
    loaded = load_splits(real_data / "cifar10-jpeg.tar.xz")
    train, test = loaded.splits.train, loaded.splits.test
    assert test is not None
    assert train.images.shape == (50_000, 3, 32, 32)
    assert train.classes == DATASETS["cifar10"].classes
    assert train.class_counts().tolist() == [5_000] * 10
    assert test.class_counts().tolist() == [1_000] * 10


@pytest.mark.parametrize("below", ["MNIST/raw", "MNIST"])
def test_a_folder_of_published_idx_files_has_class_names(real_data: Path, below: str) -> None:
    path = real_data / below
    loaded = load_splits(path)
    assert loaded.splits.train.classes == DATASETS["mnist"].classes
    assert loaded.source == str(path)
    assert loaded.notes == ()
    by_name = load_splits("mnist", data_root=real_data)
    assert loaded.splits.fingerprint == by_name.splits.fingerprint


def test_a_folder_of_several_data_sets_is_not_guessed_at(real_data: Path) -> None:
    with pytest.raises(UsageError, match="several data sets: MNIST/raw, FashionMNIST/raw"):
        load_splits(real_data)


def idx(array: np.ndarray) -> bytes:
    header = b"\0\0\x08" + bytes([array.ndim])
    return header + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def test_unknown_idx_files_have_numbers_for_names(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(PIXELS[:, 0]))
    labels = idx(LABELS * 4)  # up to 12
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    loaded = load_splits(tmp_path, test_fraction=0.0)
    assert torch.equal(whole(loaded), torch.tensor(PIXELS))
    assert loaded.splits.train.classes == tuple(str(i) for i in range(13))
    assert any("not known as a published data set" in note for note in loaded.notes)


def test_cifar_binary_files(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    images = generator.integers(0, 256, (30, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(30) % 10
    names = [f"data_batch_{i}.bin" for i in range(1, 6)]
    for i, name in enumerate([*names, "test_batch.bin"]):
        part = slice(5 * i, 5 * i + 5)
        rows = [
            np.append(label, image)
            for label, image in zip(labels[part], images[part].reshape(5, -1), strict=True)
        ]
        (folder / name).write_bytes(np.array(rows, dtype=np.uint8).tobytes())
    loaded = load_splits(folder)
    assert loaded.splits.test is not None
    assert torch.equal(loaded.splits.train.images, torch.tensor(images[:25]))
    assert torch.equal(loaded.splits.test.labels, torch.tensor(labels[25:]))
    with pytest.raises(DataError, match=r"shape \[25, 3, 32, 32\], wanted \[50000, 3, 32, 32\]"):
        load_splits("cifar10", data_root=tmp_path, download=False)


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x_train=PIXELS[:, 0], y_train=LABELS, x_test=PIXELS[:8, 0], y_test=LABELS[:8])
    loaded = load_splits(path)
    assert loaded.splits.test is not None
    assert torch.equal(loaded.splits.train.images, torch.tensor(PIXELS))
    assert len(loaded.splits.test) == 8
    assert loaded.source == str(path)
    assert any("8 of the 8 test images are also in the training" in n for n in loaded.notes)


# --- objects


class Items(Dataset[Any]):
    """A data set of anything."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class LikeTorchvision(Dataset[Any]):
    """What torchvision's MNIST and CIFAR10 have: raw arrays, and items made of Pillow images."""

    classes = ("ant", "bee", "cow", "dog")

    def __init__(
        self, data: Any, targets: Any, transform: Callable[..., Any] | None = None
    ) -> None:
        self.data = data
        self.targets = targets
        self.transform = transform
        self.target_transform = None
        self.asked = 0

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        self.asked += 1
        image = Image.fromarray(np.asarray(self.data[index]))
        label = int(self.targets[index])
        return (image if self.transform is None else self.transform(image)), label


def to_tensor(image: Image.Image) -> Tensor:
    """Scaled to 0..1 and channels first, as torchvision's `ToTensor` does it."""
    array = np.asarray(image)
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return torch.tensor(array).float().div(255)


def items_of(make: Callable[[np.ndarray], Any], pixels: np.ndarray = PIXELS) -> Items:
    return Items([(make(image), int(label)) for image, label in zip(pixels, LABELS, strict=True)])


OBJECTS: dict[str, tuple[Any, np.ndarray]] = {
    "image data set": (image_dataset(), PIXELS),
    "tensor data set, raw": (TensorDataset(torch.tensor(PIXELS), torch.tensor(LABELS)), PIXELS),
    "tensor data set, scaled": (
        TensorDataset(torch.tensor(COLOUR) / 255, torch.tensor(LABELS)),
        COLOUR,
    ),
    "tensor data set, no channels": (
        TensorDataset(torch.tensor(PIXELS[:, 0]), torch.tensor(LABELS)),
        PIXELS,
    ),
    "like MNIST": (LikeTorchvision(torch.tensor(PIXELS[:, 0]), torch.tensor(LABELS)), PIXELS),
    "like CIFAR": (LikeTorchvision(COLOUR.transpose(0, 2, 3, 1), LABELS.tolist()), COLOUR),
    "like MNIST, scaled": (
        LikeTorchvision(torch.tensor(PIXELS[:, 0]), torch.tensor(LABELS), to_tensor),
        PIXELS,
    ),
    "Pillow, grey": (items_of(lambda image: Image.fromarray(image[0])), PIXELS),
    "Pillow, colour": (
        items_of(lambda image: Image.fromarray(image.transpose(1, 2, 0)), COLOUR),
        COLOUR,
    ),
    "tensors": (items_of(torch.tensor, COLOUR), COLOUR),
    "scaled tensors": (items_of(lambda image: torch.tensor(image) / 255, COLOUR), COLOUR),
    "arrays, channels last": (items_of(lambda image: image.transpose(1, 2, 0), COLOUR), COLOUR),
    "arrays, channels first": (items_of(np.array, COLOUR), COLOUR),
    "arrays, grey": (items_of(lambda image: image[0]), PIXELS),
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


def test_raw_arrays_are_taken_whole_where_nothing_changes_them() -> None:
    raw = LikeTorchvision(torch.tensor(PIXELS[:, 0]), torch.tensor(LABELS))
    assert load_splits(raw).splits.train.classes == LikeTorchvision.classes
    assert raw.asked < len(raw)

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
        torch.tensor(PIXELS).int(),
    ],
    ids=["normalised", "0..255", "nan", "between", "half", "int"],
)
def test_pixels_that_are_not_raw_are_refused(images: Tensor) -> None:
    for dataset in (
        TensorDataset(images, torch.tensor(LABELS)),
        Items([(image, int(label)) for image, label in zip(images, LABELS, strict=True)]),
    ):
        with pytest.raises(DataError, match="the image at index 0"):
            load_splits(dataset)


def test_the_place_of_a_wrong_pixel_is_told() -> None:
    images = torch.tensor(PIXELS) / 255
    images[17, 0, 3, 2] = 0.5
    with pytest.raises(DataError, match=r"image at index 17 has the value 0\.5"):
        load_splits(TensorDataset(images, torch.tensor(LABELS)))


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([(PIXELS[0], 0, 1)], "the item at index 0 is a tuple, wanted"),
        ([PIXELS[0]], "the item at index 0 is a ndarray"),
        ([("cat.png", 0)], "is a str, wanted a Pillow image"),
        ([(PIXELS[0], 0.5)], "the label at index 0 is torch.float"),
        ([(PIXELS[0], 0), (PIXELS[1][:, :3], 1)], r"index 1 has shape \[1, 3, 5\], the first"),
        ([(PIXELS[0].reshape(2, 3, 5), 0)], r"has shape \[2, 3, 5\]"),
        ([], "is empty"),
    ],
    ids=["three", "no label", "text", "float label", "sizes", "two channels", "empty"],
)
def test_items_that_do_not_fit_are_named(items: list[Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_splits(Items(items))


def test_what_is_no_data_set_is_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([])

    for thing in (PIXELS, torch.tensor(PIXELS), Stream(), 5, None, [image_dataset()]):
        with pytest.raises(UsageError, match="is not a data set"):
            load_splits(thing)
    with pytest.raises(UsageError, match="a tuple of 3"):
        load_splits((image_dataset(),) * 3)
    with pytest.raises(UsageError, match=r"wrap arrays in torch\.utils\.data\.TensorDataset"):
        load_splits((PIXELS, LABELS))


def test_a_pair_and_splits_are_kept_apart() -> None:
    train, test = image_dataset(PIXELS[:30], LABELS[:30]), image_dataset(PIXELS[30:], LABELS[30:])
    loaded = load_splits((train, test))
    assert loaded.splits.test is not None
    assert torch.equal(loaded.splits.test.images, test.images)
    assert [part.split for part in loaded.splits] == ["train", "test"]
    assert loaded.notes == ()
    val = image_dataset(COLOUR[:4, :1], LABELS[:4])
    three = load_splits(Splits(train, val, test))
    assert [part.split for part in three.splits] == ["train", "val", "test"]
    mixed = load_splits((train, TensorDataset(test.images, test.labels)))
    assert mixed.splits.fingerprint == loaded.splits.fingerprint


def test_unnamed_classes_are_counted_over_both_splits() -> None:
    images, labels = torch.tensor(PIXELS), torch.tensor(LABELS)
    few = labels[30:] < 3
    pair = (
        TensorDataset(images[:30], labels[:30]),
        TensorDataset(images[30:][few], labels[30:][few]),
    )
    assert load_splits(pair).splits.train.classes == ("0", "1", "2", "3")


def test_images_of_another_size_or_colour() -> None:
    loaded = load_splits(image_dataset(), image_size=(12, 10), channels=3, test_fraction=0.0)
    images = whole(loaded)
    assert images.shape == (40, 3, 12, 10)
    expected = Image.fromarray(PIXELS[7, 0]).resize((10, 12), Image.Resampling.BILINEAR)
    assert np.array_equal(images[7, 0].numpy(), np.asarray(expected))
    assert torch.equal(images[:, 0], images[:, 2])
    assert any("changed from 1x6x5 to 3x12x10" in note for note in loaded.notes)


# --- checks


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="all 40 training images are of one class, 'c'"):
        load_splits((image_dataset(labels=np.full(40, 2)), image_dataset()))


def test_a_class_that_is_only_tested_is_refused() -> None:
    train = image_dataset(labels=LABELS % 3)
    with pytest.raises(DataError, match="no training images of d, but others are"):
        load_splits((train, image_dataset(COLOUR[:, :1])))


def test_a_class_without_any_image_is_noted() -> None:
    loaded = load_splits(image_dataset(classes="abcde"))
    assert "there are no images of e" in loaded.notes


def test_splits_of_different_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="has images of 1x6x5, test of 3x6x5"):
        load_splits((image_dataset(), image_dataset(COLOUR)))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2.0, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match="wanted 0 <= test_fraction < 1"):
        load_splits("digits", test_fraction=fraction)


def test_shared_images_are_counted_in_the_second() -> None:
    train = image_dataset()
    other = image_dataset(np.concatenate([PIXELS[:3], PIXELS[:1], COLOUR[:6, :1]]), LABELS[:10])
    assert shared_images(train, other) == 4
    assert shared_images(train, train) == 40
    assert shared_images(train, image_dataset(COLOUR)) == 0
    off_by_one = PIXELS.copy()
    off_by_one[:, 0, 5, 4] ^= 1
    assert shared_images(train, image_dataset(off_by_one)) == 0


def test_the_same_images_in_both_splits_are_noted() -> None:
    notes = load_splits((image_dataset(), image_dataset())).notes
    assert notes == ("40 of the 40 test images are also in the training images, pixel for pixel",)
