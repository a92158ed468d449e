"""From a name, a path or an object to checked splits; objects have their own test module."""

from __future__ import annotations

import gzip
import io
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from command_line import Tenfold
from small_images import COLOR, LABELS, PIXELS, Readings, image_dataset, whole
from tenfold.data.catalog.table import DATASETS
from tenfold.data.dataset import ImageDataset, fingerprint_of
from tenfold.data.load import load_splits, read_to_show
from tenfold.errors import DataError, UsageError
from tenfold.listening import Listener, Recorder
from tenfold.recipes import load_recipe
from tenfold.resizing import SizeLike
from tenfold.runs.reading import read_for
from tenfold.runs.resources import Resources

# --- the catalog


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
    share = first.class_counts() / np.bincount(load_digits().target)
    assert np.abs(share - 0.2).max() < 0.01


@pytest.mark.parametrize(
    ("name", "first_label", "mean"),
    [
        # The widely used normalization constants 0.1307 and 0.2860 are these means.
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


def test_a_folder_whose_name_is_nearly_this_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("insects", ".insect", "other"):
        (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match=r"did you mean 'insects'\?"):
        load_splits("insect")
    with pytest.raises(UsageError, match="choose one of: cifar10, cifar100, digits"):
        load_splits("something")


@pytest.mark.parametrize("size", [12, "12", "12x12", (12, 12), [12, 12]])
def test_forms_of_a_size(size: SizeLike) -> None:
    found = load_splits("digits", image_size=size).splits.train
    assert found.image_shape == (1, 12, 12)


@pytest.mark.parametrize("size", [0, "12x", (1, 2, 3), [12], 4097])
def test_what_is_no_size(size: SizeLike) -> None:
    with pytest.raises(
        UsageError, match=r"image_size is .*, wanted height and width of 1 to 4,096"
    ):
        load_splits("digits", image_size=size)


def test_classes_without_validation_images_are_noted() -> None:
    told = Recorder(Listener())
    labels = np.array([0] * 20 + [1] * 20 + [2] * 2)
    data = ImageDataset(np.zeros((42, 1, 6, 5), np.uint8), labels, "abc")
    recipe = load_recipe("softmax-fashion", {"val": 0.2, "test": 0})
    read_for(recipe, data, Resources(), listener=told)
    assert "there are no val images of 'c'" in told.notes


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("name", ["pipe", "pipe.npz"])
def test_a_pipe_is_refused_and_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="neither a folder nor a regular file"):
        load_splits(tmp_path / name)


@pytest.mark.parametrize(
    "path",
    ["./photos", "no/such", "photos.zip", "~/no-such-photos", "~no-such-user/x", "./" + "a" * 300],
)
def test_a_path_that_does_not_exist_is_missing_data(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no such folder or file"):
        load_splits(path)


def test_notes_are_sent_at_once_and_kept_with_the_data() -> None:
    told = Recorder(Listener())
    loaded = load_splits(image_dataset(classes="abcde"), listener=told)
    assert loaded.notes == tuple(told.notes)
    assert [note.split(":")[0] for note in told.notes] == [
        "there is no test split",
        "few training images, so little can be learned about",
        "there are no images of 'e'",
    ]


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
    readings = Readings()
    loaded = load_splits(tmp_path / "pets", listener=readings)
    assert [part.split for part in loaded.splits] == ["train", "val", "test"]
    assert readings.calls[-1] == ("reading images", 60, 60)
    small = load_splits(tmp_path / "pets", image_size=(4, 4), channels=1)
    assert small.splits.train.image_shape == (1, 4, 4)
    assert load_splits(tmp_path / "pets", test_fraction=0.0).splits.test is not None


def test_a_name_without_a_separator_may_be_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    class_folders(tmp_path / "pets")
    assert load_splits("pets").source == str(tmp_path / "pets")


def test_a_real_archive_of_class_folders(real_data: Path, tmp_path: Path) -> None:
    """Every hundredth image of the JPEG copy of CIFAR-10, compared with Pillow.

    `make soak` loads all of them.
    """
    wanted = {}
    with (
        tarfile.open(real_data / "cifar10-jpeg.tar.xz", "r|xz") as archive,
        tarfile.open(tmp_path / "part.tar.xz", "w:xz") as part,
    ):
        for count, entry in enumerate(filter(tarfile.TarInfo.isfile, archive)):
            if count % 100 == 0:
                data = archive.extractfile(entry).read()
                part.addfile(entry, io.BytesIO(data))
                wanted[entry.name] = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    loaded = load_splits(tmp_path / "part.tar.xz")
    assert loaded.notes == ()
    train, test = loaded.splits.train, loaded.splits.test
    assert test is not None
    assert train.classes == DATASETS["cifar10"].classes
    for split, per_class in ((train, 50), (test, 10)):
        assert split.images.shape == (10 * per_class, 3, 32, 32)
        assert split.class_counts().tolist() == [per_class] * 10
        labels = [split.classes[label] for label in split.labels.tolist()]
        for image, label, name in zip(split.images.numpy(), labels, split.names, strict=True):
            assert np.array_equal(image.transpose(1, 2, 0), wanted[name])
            assert name.split("/")[-3:-1] == [split.split, label]


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


def test_classes_of_unknown_idx_files_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(PIXELS[:, 0]))
    labels = idx(LABELS * 4)  # up to 12
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    loaded = load_splits(tmp_path, test_fraction=0.0)
    assert torch.equal(whole(loaded), torch.tensor(PIXELS))
    assert loaded.splits.train.classes == tuple(str(i) for i in range(13))
    assert any("not the files of a known data set" in note for note in loaded.notes)


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
    assert any("8 of the 8 test images are also training images" in n for n in loaded.notes)


def test_npz_with_duplicate_class_names(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, images=PIXELS, labels=LABELS, classes=np.array(["cat", "dog", "cat", "owl"]))
    with pytest.raises(DataError, match=r"data\.npz \(train\): .* more than one is called 'cat'"):
        load_splits(path)


# --- data to be shown


def test_data_that_can_be_trained_on_is_shown_as_training_would_have_it() -> None:
    for name in ("digits", image_dataset(classes="abcde")):
        loaded, read = load_splits(name), read_to_show(name)
        assert [*read.parts] == ["train", "test"]
        assert fingerprint_of(read.parts.values()) == loaded.splits.fingerprint
        assert (read.notes, read.source) == (loaded.notes, loaded.source)


def only_test(path: Path) -> Path:
    class_folders(path / "test")
    return path


def one_class(path: Path) -> Path:
    return class_folders(path, ("cat",))


def an_empty_class(path: Path) -> Path:
    (path / "cow").mkdir(parents=True)
    return class_folders(path)


def splits_of_two_shapes(path: Path) -> Path:
    np.savez(
        path.with_suffix(".npz"),
        x_train=PIXELS,
        y_train=LABELS,
        x_test=PIXELS[:, :, 1:],
        y_test=LABELS,
    )
    return path.with_suffix(".npz")


@pytest.mark.parametrize(
    ("make", "splits", "note"),
    [
        (only_test, {"test": 20}, "no training images, only test; add a `train` folder"),
        (one_class, {"train": 10}, "all 10 training images are of one class, 'cat'; add images"),
        (an_empty_class, {"train": 20}, "class folders have no images: 'cow'; add images"),
        (splits_of_two_shapes, {"train": 40, "test": 40}, "train has images of 1x6x5, test of"),
    ],
)
def test_data_that_cannot_be_trained_on_is_shown_as_it_is(
    make: Callable[[Path], Path],
    splits: dict[str, int],
    note: str,
    tmp_path: Path,
    tenfold: Tenfold,
) -> None:
    path = make(tmp_path / "photos")
    told = Recorder(Listener())
    read = read_to_show(path, listener=told)
    assert {name: len(part) for name, part in read.parts.items()} == splits
    assert read.notes == tuple(told.notes)
    assert read.notes[-1].startswith(f"it cannot be trained on: {path}")
    assert note in read.notes[-1]
    for options in ([], ["--json"]):
        answer = tenfold("data", str(path), *options)
        assert (answer.code, answer.err) == (0, "")
        assert note in answer.out
    with pytest.raises(DataError, match=re.escape(note)):
        load_splits(path)


# --- checks


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="all 40 training images are of one class, 'c'"):
        load_splits((image_dataset(labels=np.full(40, 2)), image_dataset()))


def test_a_class_that_is_only_tested_is_refused() -> None:
    train = image_dataset(labels=LABELS % 3)
    with pytest.raises(DataError, match="test images of 'd', but no training images of that class"):
        load_splits((train, image_dataset(COLOR[:, :1])))


def test_a_class_without_any_image_is_noted() -> None:
    loaded = load_splits(image_dataset(classes="abcde"))
    assert "there are no images of 'e'" in loaded.notes


def test_splits_of_different_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="has images of 1x6x5, test of 3x6x5"):
        load_splits((image_dataset(), image_dataset(COLOR)))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2.0, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match="wanted 0 <= test_fraction < 1"):
        load_splits("digits", test_fraction=fraction)


@pytest.mark.parametrize(
    ("n", "shared", "note"),
    [
        (40, 1, "1 of the 40 test images is also a training image, pixel for pixel"),
        (40, 2, "2 of the 40 test images are also training images, pixel for pixel"),
        (1, 1, "1 of the 1 test image is also a training image, pixel for pixel"),
    ],
)
def test_the_number_of_shared_images_agrees_with_its_verb(n: int, shared: int, note: str) -> None:
    pixels = np.concatenate([PIXELS[:shared], COLOR[shared:, :1]])[:n]
    assert note in read_to_show((image_dataset(), image_dataset(pixels, LABELS[:n]))).notes


def test_numbers_of_one_agree_with_their_nouns_and_verbs() -> None:
    two = image_dataset(PIXELS[:8], LABELS[:8])
    assert (
        load_splits(two, test_fraction=0.5)
        .notes[0]
        .startswith("there is no test split: 4 of the 8 images were held out")
    )
    with pytest.raises(DataError, match="its only training image is of one class, 'a'; add"):
        load_splits(image_dataset(PIXELS[:1], LABELS[:1]))
    train = image_dataset(labels=LABELS % 2)
    with pytest.raises(DataError, match="training images of those classes, or remove their test"):
        load_splits((train, image_dataset(COLOR[:, :1])))


def test_the_same_images_in_both_splits_are_noted() -> None:
    notes = load_splits((image_dataset(), image_dataset())).notes
    assert notes == ("40 of the 40 test images are also training images, pixel for pixel",)


def test_the_folder_of_a_run_is_not_taken_for_data(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(DataError, match="this is the folder of a run, wanted a data set"):
        load_splits(tmp_path)
