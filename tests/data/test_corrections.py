"""A table of corrections: what it means, what is refused, and that a run remembers it."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tenfold
from command_line import Tenfold
from small_images import image_dataset
from tenfold.data.checks.findings import Finding, Located
from tenfold.data.corrections import Corrections, Kept, as_cell, corrected, read_corrections
from tenfold.data.load import read_data
from tenfold.errors import DataError
from tenfold.listening import Listener, Recorder


def table(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "findings.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (
            "image,action,new_label\na.png,delete,\nb.png,relabel,dög\nc.png,,cat\nd,keep,\n",
            "utf-8",
        ),
        (
            "sep=;\r\nimage;x;Action;New label\r\na.png;;Delete;\r\nb.png;;RELABEL;dög\r\n",
            "utf-8-sig",
        ),
        ("new_label\taction\timage\n\tdelete\ta.png\n\ndög\trelabel\tb.png\n", "utf-16"),
    ],
)
def test_rows_with_an_action_count(tmp_path: Path, text: str, encoding: str) -> None:
    """An unmarked row, or one that keeps the image, changes nothing."""
    found = read_corrections(table(tmp_path, text, encoding))
    assert found.new_labels == {"a.png": "", "b.png": "dög"}
    assert found.deleted == {"a.png"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs the columns 'image' and 'action', and 'image', 'action' are missing"),
        ("image,label\na,cat\n", "'action' is missing; take the findings.csv"),
        ("image,action\na,\nb,remove\n", "line 3: the action is 'remove'; choose one of: delete"),
        ("image,action\na,delet\n", "line 2: the action is 'delet'; did you mean 'delete'"),
        ("image,action\na,relabel\n", "line 2: it does not say which label 'a' gets"),
        ("image,action,new_label\na,relabel, \n", "write it in the column 'new_label'"),
        ("image,action\n,delete\n", "line 2: no image is named"),
        (
            "image,action,new_label\na,delete,\na,relabel,cat\n",
            "different actions for the same image: 'a' in lines 2 and 3; leave all but one",
        ),
        ('image,action\nx,delete\n"a,delete\nb,delete\n', "line 4: unexpected end of data"),
        ("image,action\na,delete\na,keep\n", "'a' in lines 2 and 3"),
        ("image,action,Action\na,,delete\n", "several columns are called 'action'; remove all"),
        (
            "image,finding,action\na,wrong-labels,keep\n",
            "no findings of the kind 'wrong-labels'; did you mean 'wrong-label'?",
        ),
        (f"image,action\n{'a' * 200_000},delete\n", "look at this line and the ones before it"),
        (
            "image,action\na,delete\nb,keep\na,keep\nb,delete\n",
            "'a' in lines 2 and 4, 'b' in lines 3 and 5",
        ),
    ],
)
def test_rows_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_corrections(table(tmp_path, text))
    assert message in str(caught.value)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_corrections(tmp_path / "findings.csv")


TRAIN = image_dataset(names=[f"{i}.png" for i in range(40)])
TEST = image_dataset(np.flip(TRAIN.image_array, 2).copy(), split="test")
PARTS = {"train": TRAIN, "test": TEST}


def test_images_are_left_out_and_labels_changed() -> None:
    recorder = Recorder(Listener())
    changes = {"0.png": "", "2.png": " a", "3.png": "d", "test/39": "", "test/0": "b"}
    found = corrected(PARTS, Corrections("x.csv", changes), recorder)
    train, test = found["train"], found["test"]
    assert train.names == tuple(f"{i}.png" for i in range(1, 40))
    assert train.label_array.tolist() == [1, 0, *TRAIN.label_array[3:].tolist()]
    assert (train.image_array == TRAIN.image_array[1:]).all()
    assert test.label_array.tolist() == [1, *TEST.label_array[1:39].tolist()]
    (note,) = recorder.notes
    assert note == (
        "by x.csv, 2 images were left out (1 of train, 1 of test), and 2 labels changed (1 of "
        "train, 1 of test)"
    )
    assert TRAIN.label_array[2] == 2, "the original is unchanged"


def test_a_class_and_a_split_may_go() -> None:
    changes = {f"{i}.png": "" for i in range(1, 40, 4)} | {f"test/{i}": "" for i in range(40)}
    recorder = Recorder(Listener())
    found = corrected(PARTS, Corrections("x.csv", changes), recorder)
    assert list(found) == ["train"]
    assert found["train"].classes == ("a", "c", "d")
    assert found["train"].label_array.tolist() == [0, 1, 2] * 10
    assert "no image of 'b' is left, so the class was left out" in recorder.notes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"0.png": "e", "1.png": "f"},
            r"x.csv: there is no class 'e', the new label of '0.png' \(and so for 1 more\); choose",
        ),
        ({"gone.png": "a", "0.png": ""}, "1 image to relabel is not in the data: 'gone.png'"),
        ({"Katze.png": ""}, "in the data: 'Katze.png'; there are, for example, '0.png', 'test/0'"),
        ({**{f"{i}.png": "" for i in range(40)}, **{f"test/{i}": "" for i in range(40)}},
         "x.csv: no image is left"),
    ],
)  # fmt: skip
def test_corrections_that_do_not_fit(changes: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        corrected(PARTS, Corrections("x.csv", changes), Listener())


@pytest.mark.parametrize("label", ["", "a"])
def test_an_image_that_is_gone_already_is_only_noted(label: str) -> None:
    recorder, changes = Recorder(Listener()), {"gone.png": label, "0.png": ""}
    corrected(PARTS, Corrections("x.csv", changes, is_recorded=bool(label)), recorder)
    assert "images to correct are not there (1): gone.png" in recorder.notes


def test_numbers_of_images_stay_those_that_they_were_read_with() -> None:
    """A second table can name the images that are left."""
    data = image_dataset()
    first = corrected({"train": data}, Corrections("x.csv", {"train/0": ""}), Listener())
    second = corrected(first, Corrections("y.csv", {"train/5": ""}), Listener())
    assert second["train"].names == tuple(f"train/{i}" for i in range(40) if i not in (0, 5))
    assert (second["train"].image_array[4] == data.image_array[6]).all()


def test_a_name_that_two_images_have_is_refused() -> None:
    twice = {"train": TRAIN, "test": TRAIN.renamed("test")}
    with pytest.raises(DataError, match=r"several images are called '0\.png'"):
        corrected(twice, Corrections("x.csv", {"0.png": ""}), Listener())


def test_too_many_for_a_run_to_record_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenfold.data.corrections.LARGEST_CHANGES", 10)
    path = table(tmp_path, "image,action\nlong name.png,delete\n")
    with pytest.raises(DataError, match="1 image to correct, more than a run can record"):
        read_corrections(path)


def test_a_name_in_another_encoding_can_be_corrected(tenfold: Tenfold, tmp_path: Path) -> None:
    photos = folder(tmp_path)
    (photos / "light" / "bad.png").unlink()
    odd = photos / "dark" / os.fsdecode(b"caf\xe9.png")
    odd.write_bytes((photos / "light" / "2.png").read_bytes())
    assert tenfold("check", str(photos), "--quick", "--out", str(tmp_path / "check")).code == 0
    findings = tmp_path / "check" / "findings.csv"
    lines = findings.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(r"dark/caf\udce9.png,"))
    lines[at] = lines[at][:-2] + ",delete,"
    findings.write_text("\n".join(lines))
    answer = tenfold("data", str(photos), "--corrections", str(findings))
    assert "1 image was left out, and 0 labels changed" in answer.out


def test_a_second_check_carries_the_corrections_over(tenfold: Tenfold, tmp_path: Path) -> None:
    photos = folder(tmp_path)
    first = table(
        tmp_path, "image,action,new_label\ndark/0.png,delete,\ndark/1.png,relabel,light\n"
    )
    command = ("check", str(photos), "--quick", "--corrections", str(first), "--out")
    assert tenfold(*command, str(tmp_path / "check")).code == 0
    again = read_corrections(tmp_path / "check" / "findings.csv")
    assert again.new_labels == {"dark/0.png": "", "dark/1.png": "light", "light/bad.png": ""}


def test_what_a_check_writes_can_be_given_to_the_next_as_it_is(
    tenfold: Tenfold, tmp_path: Path
) -> None:
    """Even if a relabeled image is a copy of another then, and a deleted file cannot be read."""
    photos = folder(tmp_path)
    rows = ("image,action,new_label", "dark/0.png,relabel,light", "light/bad.png,delete,")
    first = table(tmp_path, "\n".join(rows))
    command = ("check", str(photos), "--quick", "--strict", "--corrections")
    answer = tenfold(*command, str(first), "--out", str(tmp_path / "2"))
    assert answer.code == 3
    assert "duplicates: dark/0.png, light/0.png: the same image 2 times" in answer.out
    assert "bad.png" not in answer.out
    again = tmp_path / "2" / "findings.csv"
    assert read_corrections(again).new_labels == {
        "dark/0.png": "light",
        "light/0.png": "",
        "light/bad.png": "",
    }
    answer = tenfold(*command, str(again), "--out", str(tmp_path / "3"))
    assert answer.code == 0, answer.out
    assert "note: not looked for: near-duplicates, wrong-label" in answer.out


def folder(root: Path) -> Path:
    """Two classes of different pictures, one of them under the wrong label, and a bad file."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for number in range(40):
        name = "dark" if number % 2 else "light"
        pixels = generator.integers(0, 100, (8, 8), np.uint8) + (0 if number % 2 else 150)
        path = root / "photos" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    (root / "photos" / "dark" / "0.png").write_bytes(
        (root / "photos" / "light" / "0.png").read_bytes()
    )
    (root / "photos" / "light" / "bad.png").write_bytes(b"no picture")
    return root / "photos"


OPTIONS = ("--model", "softmax", "--epochs", "2", "--quiet")


def test_a_check_a_person_and_a_training(tenfold: Tenfold, tmp_path: Path) -> None:
    photos = folder(tmp_path)
    assert tenfold("check", str(photos), "--quick", "--out", str(tmp_path / "check")).code == 0
    findings = tmp_path / "check" / "findings.csv"
    lines = findings.read_text().splitlines()
    bad = next(line for line in lines if line.startswith("light/bad.png"))
    assert bad.endswith(",delete,")
    at = next(i for i, line in enumerate(lines) if line.startswith("dark/0.png"))
    assert ",two-labels,1," in lines[at]
    lines[at] = lines[at].removesuffix(",").removesuffix(",") + ",delete,"
    findings.write_text("\n".join(lines))
    run = tmp_path / "run"
    given = ("--corrections", str(findings), "--out", str(run))
    answer = tenfold("train", str(photos), *OPTIONS, *given)
    assert answer.code == 0, answer.err
    assert "2 images were left out, and 0 labels changed" in answer.err
    assert "different labels" not in answer.err
    findings.unlink()  # the run remembers
    assert tenfold("evaluate", str(run)).code == 0
    answer = tenfold("resume", str(run), "--epochs", "3", "--quiet")
    assert answer.code == 0, answer.err
    # Without them, the bad file is an error again, although the pictures are in the cache.
    answer = tenfold("train", str(photos), *OPTIONS)
    assert answer.code == 3
    assert "light/bad.png" in answer.err


def test_they_are_recorded_in_python(tmp_path: Path) -> None:
    path = table(tmp_path, "image,action,new_label\ntrain/0,relabel,b\ntrain/5,delete,\n")
    run = tenfold.train(
        image_dataset(), recipe="softmax-fashion", epochs=1, corrections=str(path),
        out=tmp_path / "run", quiet=True, batch_size=8,
    )  # fmt: skip
    assert run.facts.data.corrections == {"train/0": "b", "train/5": ""}
    assert sum(run.facts.data.n.values()) == 39


@pytest.mark.parametrize(
    ("in_data", "in_table"),
    [
        ("a.png", " a.png "),
        (" a.png", "a.png"),
        ("Schlo\u0308\u00dfer.png", "Schl\u00f6\u00dfer.png"),
        ("Schl\u00f6\u00dfer.png", "Schlo\u0308\u00dfer.png"),
    ],
)
def test_names_as_spreadsheets_and_file_systems_change_them(in_data: str, in_table: str) -> None:
    data = image_dataset(names=[in_data, *(f"{i}.png" for i in range(39))])
    found = corrected({"train": data}, Corrections("x.csv", {in_table: "b"}), Listener())
    assert found["train"].label_array.tolist() == [1, *data.label_array[1:].tolist()]


def test_names_that_are_alike_are_told_apart() -> None:
    data = image_dataset(names=["a", " a", *(f"{i}.png" for i in range(38))])
    found = corrected({"train": data}, Corrections("x.csv", {"a": ""}), Listener())
    assert found["train"].names == data.names[1:]
    with pytest.raises(DataError, match="none of the images in it is in the data"):
        corrected({"train": data}, Corrections("x.csv", {"a ": ""}), Listener())


@pytest.mark.parametrize("name", ["=1+1.png", "-a.png", "@b", "+c", "'d", "'=e", "''=f", "f'", "g"])
def test_cells_are_no_formulas_and_mean_the_same(tmp_path: Path, name: str) -> None:
    cell = as_cell(name)
    assert not cell.startswith(("=", "+", "-", "@"))
    path = table(tmp_path, f"image,action,new_label\n{cell},relabel,{cell}\n")
    assert read_corrections(path).new_labels == {name: name}


def test_what_is_kept(tmp_path: Path) -> None:
    text = (
        "image,finding,text,action\na,wrong-label,why,keep\nb,,,keep\n"
        ",imbalance,'a1' has 17 images,keep\nc,blank,,\n"
    )
    found = read_corrections(table(tmp_path, text))
    assert found.new_labels == {}
    imbalance = Kept("", "imbalance", "'a1' has 17 images")
    assert found.kept == {Kept("a", "wrong-label"), Kept("b", ""), imbalance}
    a, b, c = (Located(name, "train", "x", place) for place, name in enumerate("abc"))
    assert found.keeps(Finding("wrong-label", "", (a,)))
    assert found.keeps(Finding("wrong-label", "", (a, b)))
    assert not found.keeps(Finding("duplicates", "", (a, b)))
    assert found.keeps(Finding("blank", "", (b,)))
    assert found.keeps(Finding("imbalance", "'a1' has 1,018 images")), "numbers change"
    assert not found.keeps(Finding("imbalance", "'a2' has 17 images"))
    assert not found.keeps(Finding("blank", "", (a,)))
    assert not found.keeps(Finding("wrong-label", "", (a, c)))


def test_numbers_of_images_do_not_tell_findings_apart_but_names_do(tmp_path: Path) -> None:
    """An apostrophe is no quote."""
    said = "the image's size alone gives away '1' (28 x 28) in 93.5 % of images"
    found = read_corrections(
        table(tmp_path, f'image,finding,text,action\n,Shortcut,"{said}",keep\n')
    )
    assert found.keeps(Finding("shortcut", said))
    assert found.keeps(Finding("shortcut", said.replace("93.5", "94")))
    assert not found.keeps(Finding("shortcut", said.replace("'1'", "'2'")))
    assert not found.keeps(Finding("shortcut", said.replace("size", "area")))


def test_a_number_alone_is_no_finding(tmp_path: Path) -> None:
    found = read_corrections(table(tmp_path, "image,number,action\na,1,keep\nb,1,\n"))
    assert found.kept == {Kept("a", "")}


def test_many_names_in_another_encoding_take_time_in_proportion() -> None:
    """60,000 of them took half a minute once."""
    names = [f"{number} e\u0301.png" for number in range(60_000)]
    found = Corrections("x.csv", {unicodedata.normalize("NFC", name): "" for name in names})
    assert found.for_names(names).deleted == set(names)


def test_two_names_do_not_stand_for_the_same_image() -> None:
    found = Corrections("x.csv", {" a": "", "a ": "b"}).for_names(["a"])
    assert sorted(found.new_labels) == ["a", "a "]


def test_an_image_that_cannot_be_read_is_deleted_by_another_encoding_of_its_name(
    tenfold: Tenfold, tmp_path: Path
) -> None:
    photos = folder(tmp_path)
    (photos / "light/e\u0301.png").write_bytes(b"no image")
    rows = table(tmp_path, "image,action\nlight/\u00e9.png,delete\nlight/bad.png,delete\n")
    assert tenfold("data", str(photos)).code == 3
    answer = tenfold("data", str(photos), "--corrections", str(rows))
    assert answer.code == 0, answer.err
    assert "2 images were left out" in answer.out
    assert "cannot be read" not in answer.out + answer.err


def test_images_that_are_deleted_decide_nothing(tenfold: Tenfold, tmp_path: Path) -> None:
    """Neither size nor channels nor notes: all is as if they were not there."""
    generator = np.random.default_rng(0)

    def save(name: str, *shape: int) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / name)

    for number in range(12):
        save(f"photos/{'ab'[number % 2]}/{number}.png", 20, 24)
    whole = shutil.copytree(tmp_path / "photos", tmp_path / "whole")
    for number in range(30):
        save(f"photos/c/{number}.png", 90, 100, 3)
    save("photos/a/odd.png", 9, 200, 3)
    names = [f"c/{number}.png" for number in range(30)] + ["a/odd.png"]
    rows = table(tmp_path, "image,action\n" + "".join(f"{name},delete\n" for name in names))
    wanted, found = Recorder(Listener()), Recorder(Listener())
    as_it_is = read_data(whole, listener=wanted).parts["train"]
    for _ in range(2):  # decoded, and from the cache
        found.notes.clear()
        read = read_data(
            tmp_path / "photos", corrections=read_corrections(rows), listener=found
        ).parts["train"]
        assert np.array_equal(read.image_array, as_it_is.image_array)
        assert read.image_shape == (1, 20, 24)
        *others, deleted, gone = found.notes
        assert others == wanted.notes
        assert deleted.endswith("31 images were left out, and 0 labels changed")
        assert gone == "no image of 'c' is left, so the class was left out"


def test_one_row_keeps_a_finding_unless_another_has_another_action(tmp_path: Path) -> None:
    text = (
        "image,finding,number,action\na,duplicates,1,\nb,duplicates,1,keep\n"
        "c,duplicates,2,keep\nd,duplicates,2,delete\ne,duplicates,2,\n"
        "f,duplicates,3,\ng,near-duplicates,1,\n"
    )
    found = read_corrections(table(tmp_path, text))
    assert found.kept == {Kept(name, "duplicates") for name in "abc"}
    assert found.new_labels == {"d": ""}


def test_an_image_may_be_kept_for_one_finding_and_corrected_for_another(tmp_path: Path) -> None:
    text = (
        "image,finding,action,new_label\na,corrected,relabel,cat\na,near-duplicates,keep,\n"
        "b,wrong-label,keep,\nb,duplicates,delete,\n"
    )
    found = read_corrections(table(tmp_path, text))
    assert found.new_labels == {"a": "cat", "b": ""}
    assert found.kept == {Kept("a", "near-duplicates"), Kept("b", "wrong-label")}


def test_what_is_decided_is_written_by_the_names_of_the_data(
    tenfold: Tenfold, tmp_path: Path
) -> None:
    """So that a check takes its own table, though a spreadsheet had changed the names."""
    photos = folder(tmp_path)
    odd = "light/e\u0301.png"
    (photos / odd).write_bytes((photos / "light" / "2.png").read_bytes())
    rows = ("image,action,new_label", "light/\u00e9.png,relabel,dark", " dark/3.png ,keep,")
    first = table(tmp_path, "\n".join(rows))
    command = ("check", str(photos), "--quick", "--corrections")
    second = tmp_path / "second"
    assert tenfold(*command, str(first), "--out", str(second)).code in (0, 3)
    written = (second / "findings.csv").read_text("utf-8-sig")
    assert odd in written
    assert "\u00e9" not in written
    answer = tenfold(*command, str(second / "findings.csv"), "--out", str(tmp_path / "third"))
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("layout", ["folders", "table", "splits", "archive"])
def test_a_class_may_lose_all_of_its_images_and_get_others(tmp_path: Path, layout: str) -> None:
    """Whether a class is lost is decided after relabeling."""
    photos, generator = tmp_path / "photos", np.random.default_rng(0)
    names = {
        f"{'train/' if layout == 'splits' else ''}{'ab'[number % 2]}/{number}.png": "ab"[number % 2]
        for number in range(12)
    }
    if layout == "splits":
        names |= {f"test/{label}/{number}.png": label for number, label in enumerate("abab")}
    for name in names:
        place = photos / (name.replace("/", "-") if layout == "table" else name)
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8)).save(place)
    if layout == "table":
        names = {name.replace("/", "-"): label for name, label in names.items()}
        rows = "".join(f"{name},{label}\n" for name, label in names.items())
        (photos / "labels.csv").write_text("image,label\n" + rows)
    of_b = [name for name, label in names.items() if label == "b"]
    first_of_a = next(name for name, label in names.items() if label == "a")
    text = "image,action,new_label\n" + "".join(f"{name},delete,\n" for name in of_b)
    if layout == "archive":
        photos = Path(shutil.make_archive(str(photos), "zip", photos))
    whole = read_corrections(table(tmp_path, f"{text}{first_of_a},relabel,b\n"))
    found = read_data(photos, corrections=whole).parts["train"]
    assert found.classes == ("a", "b")
    assert found.class_counts().tolist() == [5, 1]
    recorder = Recorder(Listener())
    lost = read_data(photos, corrections=read_corrections(table(tmp_path, text)), listener=recorder)
    assert lost.parts["train"].classes == ("a",)
    assert "no image of 'b' is left, so the class was left out" in recorder.notes
    (said,) = (note for note in recorder.notes if "and 0 labels changed" in note)
    assert f"{len(of_b)} images were left out" in said
    assert ("2 of test" in said and "6 of train" in said) == (layout == "splits")


def test_a_name_is_not_taken_for_one_that_the_table_has_for_another_image(tmp_path: Path) -> None:
    """Only one of two files, whose names differ by how an accent is encoded, is still there."""
    for label in "ab":
        for number in range(4):
            place = tmp_path / "photos" / label / f"{number}e\u0301.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((8, 8), 10 * number + ord(label), np.uint8)
            Image.fromarray(pixels).save(place)
    text = "image,action,new_label\na/0\u00e9.png,delete,\na/0e\u0301.png,relabel,b\n"
    found = read_data(tmp_path / "photos", corrections=read_corrections(table(tmp_path, text)))
    assert found.parts["train"].class_counts().tolist() == [3, 5]
