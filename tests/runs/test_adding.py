"""More training images, from another place than the data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tenfold
from command_line import Tenfold
from tenfold.data import ImageDataset, Splits, load_splits
from tenfold.errors import DataError
from tenfold.listening import Listener
from tenfold.recipes import load_recipe
from tenfold.runs import Run, open_run
from tenfold.runs.evaluate import parts_of
from tenfold.runs.folds import cross_validate
from tenfold.runs.reading import read_for
from tenfold.runs.resources import Resources
from tenfold.training.watching import Watcher

ONE_THREAD = Resources(device="cpu", threads=1)


@pytest.fixture
def corrections(tmp_path: Path) -> Path:
    """Three pictures of 3 and one of 7, as a server has collected them, in white on black."""
    for label, value in (("3", 100), ("3", 150), ("3", 200), ("7", 250)):
        pixels = np.zeros((64, 64), np.uint8)
        pixels[8:56, 20:44] = value
        (tmp_path / "corrections" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "corrections" / label / f"{value}.png")
    return tmp_path / "corrections"


def train(folder: Path, corrections: Path, **changes: object) -> Run:
    return tenfold.train(
        "digits",
        recipe="digits-quick",
        epochs=2,
        out=folder,
        add=str(corrections),
        quiet=True,
        **changes,
    )


def test_they_are_trained_on_and_nothing_else_changes(corrections: Path, tmp_path: Path) -> None:
    read = {
        add: read_for(
            load_recipe("digits-quick", {"add": add}), None, ONE_THREAD, listener=Listener()
        )
        for add in ("", str(corrections))
    }
    plain, more = read.values()
    assert plain.added is None
    assert more.added is not None
    assert len(more.splits.train) == len(plain.splits.train) + 4
    assert (more.splits.train.image_array[:-4] == plain.splits.train.image_array).all()
    assert more.splits.train.label_array[-4:].tolist() == [3, 3, 3, 7]
    assert [Path(name).name for name in (more.splits.train.names or ())[-4:]] == [
        "100.png", "150.png", "200.png", "250.png",
    ]  # fmt: skip
    for one, other in ((plain.splits.val, more.splits.val), (plain.splits.test, more.splits.test)):
        assert one is not None
        assert other is not None
        assert one.fingerprint == other.fingerprint
    assert more.fingerprint == plain.fingerprint
    (note,) = [note for note in more.notes if "add to the training images" in note]
    assert note == f"4 images to add to the training images, of '3', '7', from {corrections}"


def test_a_run_records_them_and_is_resumed_with_them(
    corrections: Path, tmp_path: Path, tenfold: Tenfold
) -> None:
    whole = train(tmp_path / "whole", corrections)
    added = whole.facts.data.added
    assert added is not None
    assert (added.place, added.n) == (str(corrections), 4)
    assert whole.facts.data.n["train"] == whole.figures["n_train"]
    line = f"train digits --recipe digits-quick --epochs 1 --add {corrections} --out part"
    assert tenfold(*line.split()).code == 0
    assert tenfold("resume", "part", "--epochs", "2").code == 0
    resumed = open_run(tmp_path / "part")
    assert resumed.facts.data.added == added
    for run in (whole, resumed):
        assert len(parts_of(run.folder)["train"]) == whole.facts.data.n["train"]


def test_a_comparison_names_them(corrections: Path, tmp_path: Path, tenfold: Tenfold) -> None:
    for name, add in (("plain", []), ("more", ["--add", str(corrections)])):
        line = f"train digits --recipe digits-quick --epochs 1 --no-report --out {name}"
        assert tenfold(*line.split(), *add).code == 0
    told = tenfold("compare", "plain", "more", "--json").out
    values = json.loads(told)["recipes"]["add"]
    assert list(values.values()) == [None, f"4 images from {corrections}"]


def test_one_that_is_changed_or_gone_is_noticed(
    corrections: Path, tmp_path: Path, tenfold: Tenfold
) -> None:
    run = train(tmp_path / "run", corrections)
    (corrections / "3" / "100.png").unlink()
    told = tenfold("resume", "run", "--epochs", "3")
    assert told.code == 3
    assert (
        f"{corrections}: the images that are added have changed since the run began: there were "
        "4, and there are 3, or others; restore them, or train a new run" in told.err
    )
    corrections.rename(tmp_path / "moved")
    told = tenfold("resume", "run", "--epochs", "3")
    assert f"{corrections}: no such folder or file" in told.err
    assert "put it back" in told.err
    told = tenfold("evaluate", "run")  # the test images are there
    assert (told.code, told.err) == (0, "")
    told = tenfold("evaluate", "run", "--split", "train")
    assert "the training images are those of the data alone" in told.err
    assert f"n = {run.facts.data.n['train'] - 4:,}" in told.out


def test_folds_train_on_them_and_never_test_them(
    corrections: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenfold.runs import fit as module

    original, sizes = module.fit, list[tuple[int, int]]()

    def counting(recipe, data, **others):  # type: ignore[no-untyped-def]
        assert data.splits.test is not None
        sizes.append((len(data.splits.train), len(data.splits.test)))
        return original(recipe, data, **others)

    monkeypatch.setattr(module, "fit", counting)
    recipe = load_recipe("digits-quick", {"epochs": 1, "val": 0.0, "add": str(corrections)})
    found = cross_validate(recipe, folds=2, resources=ONE_THREAD)
    assert sum(report.n for report in found.reports) == 1797
    assert [train + test for train, test in sizes] == [1801, 1801]


class Told(Watcher):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_ones_that_are_unlike_the_others_are_noticed(corrections: Path, tmp_path: Path) -> None:
    """The photograph of a sheet, and not its negative, should be cropped."""
    Image.new("L", (300, 400), 200).save(corrections / "3" / "sheet.png")
    told = Told()
    train(tmp_path / "run", corrections, watcher=told)
    (note,) = [note for note in told.notes if "serve --collect" in note]
    assert "smaller, larger or fainter subject than the other training images" in note
    assert not [note for note in told.notes if "negatives" in note]


def test_how_many_were_learned_is_said(corrections: Path, tmp_path: Path) -> None:
    """One of them is labeled wrong, so that it is not learned."""
    (corrections / "4").mkdir()
    (corrections / "3" / "100.png").rename(corrections / "4" / "wrong.png")
    told = Told()
    run = train(tmp_path / "run", corrections, watcher=told)
    paths = sorted(corrections.rglob("*.png"))
    labels = run.model.logits(paths).argmax(axis=1)
    right = sum(str(label) == path.parent.name for label, path in zip(labels, paths, strict=True))
    are = "is" if right == 1 else "are"
    assert f"{right} of 4 added images {are} now classified as labeled" in told.notes


def test_an_empty_name_is_not_the_working_directory(tenfold: Tenfold) -> None:
    told = tenfold("train", "digits", "--add", "")
    assert (told.code, "--add is empty" in told.err) == (2, True)


def test_the_seeds_of_a_group_have_them(corrections: Path, tmp_path: Path) -> None:
    group = tenfold.train_seeds(
        "digits", recipe="digits-quick", seeds=2, epochs=1, add=str(corrections),
        out=tmp_path / "group", quiet=True, report=False,
    )  # fmt: skip
    assert all(run.facts.data.added is not None for run in group.runs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "no such folder or file, wanted class folders with images to add"),
        ("other class", "some images are of 'three', but those of the data are '0', '1'"),
        ("splits", "the images to add are divided into test, train, wanted class folders alone"),
        ("empty", "no images in it"),
        ("damaged", "mend these files, or remove them"),
    ],
)
def test_what_cannot_be_added_is_refused(
    corrections: Path, tmp_path: Path, change: str, message: str
) -> None:
    if change == "missing":
        corrections = tmp_path / "nowhere"
    elif change == "other class":
        (corrections / "3").rename(corrections / "three")
    elif change == "splits":
        for split in ("train", "test"):
            shutil.copytree(corrections, tmp_path / "divided" / split)
        corrections = tmp_path / "divided"
    elif change == "damaged":
        (corrections / "3" / "100.png").write_bytes(b"no image")
    else:
        corrections = tmp_path / "empty"
        corrections.mkdir()
    with pytest.raises(DataError, match=message):
        train(tmp_path / "run", corrections)


def test_inverted_ones_are_noticed(corrections: Path, tenfold: Tenfold) -> None:
    digits = load_splits("digits").splits.train
    for path, pixels in zip(corrections.rglob("*.png"), digits.image_array, strict=False):
        Image.fromarray(255 - pixels[0]).save(path)
    line = f"train digits --recipe digits-quick --epochs 1 --add {corrections} --out run"
    assert (
        "4 of them are dark on light, but the other training images are light on dark; add their "
        "negatives instead, unless the model should handle both" in tenfold(*line.split()).err
    )


def test_test_images_among_them_are_left_out(corrections: Path, tenfold: Tenfold) -> None:
    test = load_splits("digits").splits.test
    assert test is not None
    label = test.classes[int(test.label_array[0])]
    (corrections / label).mkdir(exist_ok=True)
    Image.fromarray(test.image_array[0, 0]).save(corrections / label / "leaked.png")
    line = f"train digits --recipe digits-quick --epochs 1 --add {corrections} --out run"
    told = tenfold(*line.split()).err
    assert "1 image to add is left out, as it is among those that are held out" in told
    page = Path("run", "report.html").read_text()
    assert f"4 training images, from {corrections}" in page
    assert open_run("run").facts.data.n["train"] == 1294 + 4


def test_folds_do_not_train_on_images_that_they_test(tmp_path: Path) -> None:
    data = load_splits("digits").splits.train
    for place in range(300):
        label = data.classes[int(data.label_array[place])]
        (tmp_path / "same" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.image_array[place, 0]).save(tmp_path / f"same/{label}/{place}.png")
    told = Told()
    recipe = load_recipe("digits-quick", {"epochs": 1, "val": 0.0, "add": str(tmp_path / "same")})
    cross_validate(recipe, folds=2, resources=ONE_THREAD, watcher=told)
    left_out = [int(note.split()[4]) for note in told.notes if "left out" in note]
    assert sum(left_out) == 300


def test_a_start_that_knows_more_classes_is_said(corrections: Path, tenfold: Tenfold) -> None:
    assert (
        tenfold(
            *["train", "digits", "--recipe", "digits-quick", "--epochs", "1", "--out", "old"]
        ).code
        == 0
    )
    told = tenfold(*f"train {corrections} --from old --epochs 1 --set test=0 --out new".split())
    assert (
        "this data lacks 8 of its 10 classes ('0', '1', '2', '4', '5' and 3 more), so the new "
        "model will not know them: to keep them, train on digits and give this data to --add"
        in told.err
    )
    told = tenfold(
        *f"train digits --from old --recipe digits-quick --epochs 1 --add {corrections}".split()
    )
    assert (told.code, "will not know" in told.err) == (0, False)


def test_names_where_only_the_added_have_some() -> None:
    images = np.zeros((2, 1, 2, 2), np.uint8)
    labels = np.array([0, 1])
    plain = ImageDataset(images, labels, ("a", "b"))
    named = ImageDataset(images, labels, ("a", "b"), names=["x", "y"])
    assert plain.joined(named).names == ("train image 0", "train image 1", "x", "y")
    assert plain.joined(plain).names is None
    assert Splits(plain.joined(named)).train.label_array.tolist() == [0, 1, 0, 1]
