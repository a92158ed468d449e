"""Which image gets which label, file by file, where labels are not those of class folders."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

import pytest

from bad_inputs.makers.pictures import picture
from tenfold.data import load_splits
from tenfold.data.folders.folder import read_image_folder
from tenfold.data.folders.layout import Images
from tenfold.data.folders.options import NO_OPTIONS, FolderOptions
from tenfold.data.folders.table_labels import Tables
from tenfold.errors import DataError, TenfoldError
from tenfold.listening import Listener, Recorder
from tenfold.types import WantedShape


def folder_of(root: Path, files: dict[str, str | None]) -> Path:
    """A folder with these texts; None for a picture."""
    for name, text in files.items():
        path = root / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture() if text is None else text.encode())
    return root / "photos"


def labels_of(folder: Path) -> dict[str, str]:
    """The class of every image, with the split in front."""
    splits = load_splits(folder).splits
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    return {
        name: part.classes[label]
        for part in parts.values()
        if part is not None
        for name, label in zip(part.names, part.label_array, strict=True)
    }


@pytest.mark.parametrize("heading", ["filename", "pic"])
def test_numbers_of_rows_are_not_names_of_images(tmp_path: Path, heading: str) -> None:
    """As pandas writes them; the images have numbers, too."""
    table = f",{heading},label\n0,3.png,cat\n1,2.png,cat\n2,1.png,dog\n3,gone.png,dog\n"
    files = dict.fromkeys(("0.png", "1.png", "2.png", "3.png"))
    folder = folder_of(tmp_path, {"labels.csv": table, **files})
    assert labels_of(folder) == {"3.png": "cat", "2.png": "cat", "1.png": "dog"}


TABLES = {
    "beside them": ("train.csv", "test.csv", ""),
    "with the images": ("train/labels.csv", "test/labels.csv", ""),
    "with other folders": ("train.csv", "test.csv", "/kaggle/{split}/"),
}


@pytest.mark.parametrize(("train", "test", "before"), TABLES.values(), ids=TABLES.keys())
def test_a_table_of_a_split_labels_its_images(
    tmp_path: Path, train: str, test: str, before: str
) -> None:
    """The images of both splits have the same names."""
    files: dict[str, str | None] = {}
    expected = {}
    for split, table, first in (("train", train, "cat"), ("test", test, "dog")):
        second = "dog" if first == "cat" else "cat"
        rows = []
        for number in range(4):
            files[f"{split}/{number}.png"] = None
            label = first if number < 2 else second
            expected[f"{split}/{number}.png"] = label
            rows.append(f"{before.format(split=split)}{number}.png,{label}\n")
        files[table] = "id,label\n" + "".join(rows)
    assert labels_of(folder_of(tmp_path, files)) == expected


@dataclass(frozen=True)
class Case:
    """A folder with tables.

    Attributes:
        files: as in `folder_of`.
        places: the split and class of every image that is used.
        options: as a person gives them.
        says: words in the notes.
        not_says: words that are not in them.
        groups: of every image; None if nobody asks.
    """

    files: dict[str, str | None]
    places: dict[str, str]
    options: FolderOptions = NO_OPTIONS
    says: tuple[str, ...] = ()
    not_says: tuple[str, ...] = ()
    groups: dict[str, str] | None = None


def images(*names: str) -> dict[str, str | None]:
    return dict.fromkeys(names)


FOUR = images("1.png", "2.png", "3.png", "4.png")
OF_TRAINING = "file,label\n1,cat\n2,dog\n"
OF_TESTING = "file,label\n3,cat\n4,dog\n"
BY_TABLES = {"1.png": "train cat", "2.png": "train dog", "3.png": "test cat", "4.png": "test dog"}
TOGETHER = {"1.png": "all cat", "2.png": "all dog", "3.png": "all cat", "4.png": "all dog"}
WITH_PERSONS = "file,label,person\n1,cat,a\n2,dog,b\n3,cat,a\n4,dog,b\n"
PERSONS = {"1.png": "a", "2.png": "b", "3.png": "a", "4.png": "b"}

CASES = {
    "tables named after splits": Case(
        {**FOUR, "train.csv": OF_TRAINING, "test.csv": OF_TESTING},
        BY_TABLES,
        says=("labels are from test.csv, train.csv (column 'label'), for 4 images",),
        not_says=("skipped",),
    ),
    "tables named after splits and what they hold": Case(
        {**FOUR, "train_labels.csv": OF_TRAINING, "TestLabels.csv": OF_TESTING}, BY_TABLES
    ),
    "tables whose columns are in another order": Case(
        {**FOUR, "train.csv": OF_TRAINING, "test.csv": "label,file\ncat,3\ndog,4\n"}, BY_TABLES
    ),
    "tables that are not named after splits": Case(
        {**FOUR, "labels.csv": OF_TRAINING, "more.csv": OF_TESTING}, TOGETHER
    ),
    "a table named after a split with another": Case(
        {**FOUR, "labels.csv": OF_TRAINING, "test.csv": OF_TESTING}, BY_TABLES
    ),
    "a column of splits in one table of two": Case(
        {
            **FOUR,
            "labels.csv": "file,label,split\n1,cat,train\n3,cat,test\n4,dog,test\n",
            "more.csv": "file,label\n2,dog\n",
        },
        BY_TABLES,
    ),
    "a column that names only the test images": Case(
        {**FOUR, "labels.csv": "file,label,split\n1,cat,\n2,dog,\n3,cat,test\n4,dog,test\n"},
        BY_TABLES,
    ),
    "class folders, words and a table of sizes": Case(
        {
            **images("cat/1.png", "dog/2.png"),
            "notes/README.txt": "cat and dog",
            "sizes.csv": "file,width\n1,70\n2,71\n",
        },
        {"cat/1.png": "all cat", "dog/2.png": "all dog"},
    ),
    "folders that only hold images": Case(
        {
            **images("images_001/1.png", "images_002/2.png"),
            "Data_Entry.csv": "Image Index,label\n1,cat\n2,dog\n",
        },
        {"images_001/1.png": "all cat", "images_002/2.png": "all dog"},
    ),
    "folders that hold parts of the images": Case(
        {
            **images("HAM10000_images_part_1/1.png", "HAM10000_images_part_2/2.png"),
            "HAM10000_metadata.csv": "lesion_id,image_id,dx,age\n7,1,cat,30\n8,2,dog,40\n",
        },
        {
            "HAM10000_images_part_1/1.png": "all cat",
            "HAM10000_images_part_2/2.png": "all dog",
        },
    ),
    "splits of images beside others": Case(
        {
            **images("train/1.png", "test/2.png", "extra/3.png"),
            "labels.csv": "file,label\n1,cat\n2,dog\n3,cat\n",
        },
        {"train/1.png": "train cat", "test/2.png": "test dog", "extra/3.png": "train cat"},
    ),
    "a table in a folder is about the images there": Case(
        {**images("1.png", "more/1.png", "more/2.png"),
         "more/labels.csv": "file,label\n1,cat\n2,dog\n"},
        {"more/1.png": "all cat", "more/2.png": "all dog"},
    ),
    "classes with names of splits, and a table": Case(
        {
            **images("train/1.png", "training/2.png", "bus/3.png"),
            "sizes.csv": "file,width,height\n1,7,8\n2,7,9\n",
        },
        {"train/1.png": "all train", "training/2.png": "all training", "bus/3.png": "all bus"},
    ),
    "one folder of any name, and kinds": Case(
        {**images(*(f"flowers/{i}.png" for i in range(1, 5))),
         "labels.csv": "file,kind\n1,rose\n2,lily\n3,rose\n4,lily\n"},
        {f"flowers/{i}.png": "all flowers" for i in range(1, 5)},
        says=("although labels.csv names the images, too; --labels labels.csv takes its labels",),
    ),
    "one folder of images, and words that are no table": Case(
        {**images("images/1.png", "images/2.png"), "README.txt": "These are images of cats.\n"},
        {"images/1.png": "all images", "images/2.png": "all images"},
    ),
    "a second table, of persons who recur": Case(
        {**FOUR, "labels.csv": "file,label\n1,cat\n2,dog\n3,cat\n4,dog\n",
         "persons.csv": "file,person\n1,anna\n2,anna\n3,ben\n4,ben\n"},
        TOGETHER,
        FolderOptions(group_by="person"),
        groups={"1.png": "anna", "2.png": "anna", "3.png": "ben", "4.png": "ben"},
    ),
    "tables of kinds, some of which do not recur": Case(
        {**FOUR, "train.csv": "file,kind\n1,cat\n2,dog\n", "test.csv": "file,kind\n3,cat\n4,emu\n"},
        {**BY_TABLES, "4.png": "test emu"},
    ),
    "class folders that are called like containers": Case(
        {**images("photos/1.png", "frames/2.png"), "meta.csv": "file,width\n1,70\n2,71\n"},
        {"photos/1.png": "all photos", "frames/2.png": "all frames"},
        says=("although meta.csv names the images, too; --labels meta.csv takes its labels",),
    ),
    "a folder of no class around splits, and kinds": Case(
        {**images("flowers/train/1.png", "flowers/test/2.png"), "t.csv": "file,kind\n1,0\n2,1\n"},
        {"flowers/train/1.png": "train 0", "flowers/test/2.png": "test 1"},
    ),
    "a class called train among columns of marks": Case(
        {**FOUR, "t.csv": "file,bus,car,train\n1,1,0,0\n2,0,1,0\n3,0,0,1\n4,1,0,0\n"},
        {"1.png": "all bus", "2.png": "all car", "3.png": "all train", "4.png": "all bus"},
    ),
    "a row that says nothing about the split": Case(
        {**FOUR, "t.csv": "file,label,split\n1,cat,\n2,dog,\n3,cat,test\n3,cat,\n4,dog,test\n"},
        BY_TABLES,
    ),
    "splits of which some are missing": Case(
        {**FOUR, "t.csv": "file,label,split\n1,cat,train\n2,dog,train\n3,cat,test\n4,dog,\n"},
        {"1.png": "train cat", "2.png": "train dog", "3.png": "test cat"},
        says=("left out rows of t.csv that are for neither training nor testing (1): (empty)",),
    ),
    "a table of images to predict beside class folders": Case(
        {**images("cat/1.png", "dog/2.png"), "sample_submission.csv": "id,label\n1,cat\n2,cat\n"},
        {"cat/1.png": "all cat", "dog/2.png": "all dog"},
        not_says=("--labels",),
    ),
    "a table whose every second row is here": Case(
        {**images("1_right.png", "2_right.png"), "t.csv": "image,level\n" + "".join(
            f"{i}_{side},{'low' if i % 2 else 'high'}\n"
            for i in range(1, 101) for side in ("left", "right")
        )},
        {"1_right.png": "all low", "2_right.png": "all high"},
        FolderOptions(labels="t.csv"),
    ),
    "labels in names, and a folder for predictions": Case(
        images("train/cat_1.png", "test/dog_2.png", "unlabeled/cat_9.png"),
        {"train/cat_1.png": "train cat", "test/dog_2.png": "test dog"},
        FolderOptions(label_from=r"([a-z]+)_\d"),
        says=("1 image was left out, because 'unlabeled' is for images without labels",),
    ),
    "labels and groups by one expression": Case(
        images("cat_a.png", "cat_b.png", "dog_a.png", "dog_b.png"),
        {"cat_a.png": "all cat", "cat_b.png": "all cat", "dog_a.png": "all dog",
         "dog_b.png": "all dog"},
        FolderOptions(label_from="(?P<label>[a-z]+)_(?P<group>.)",
                      group_by="(?P<label>[a-z]+)_(?P<group>.)"),
        groups={"cat_a.png": "a", "cat_b.png": "b", "dog_a.png": "a", "dog_b.png": "b"},
    ),
    "groups in a table whose folder is named after submissions": Case(
        {**images("cat/1.png", "dog/2.png", "cat/3.png", "dog/4.png"),
         "submissions/who.csv": "file,person\n1,anna\n2,ben\n3,anna\n4,ben\n"},
        {"cat/1.png": "all cat", "dog/2.png": "all dog", "cat/3.png": "all cat",
         "dog/4.png": "all dog"},
        FolderOptions(group_by="person"),
        groups={"cat/1.png": "anna", "dog/2.png": "ben", "cat/3.png": "anna",
                "dog/4.png": "ben"},
    ),
    "a column of splits that agrees with the folders": Case(
        {
            **images("train/1.png", "train/2.png", "test/3.png", "test/4.png"),
            "labels.csv": "file,label,split\n1,cat,train\n2,dog,train\n3,cat,test\n4,dog,test\n",
        },
        {
            "train/1.png": "train cat",
            "train/2.png": "train dog",
            "test/3.png": "test cat",
            "test/4.png": "test dog",
        },
        not_says=("the splits are those of the folders",),
    ),
    "a column of splits that does not": Case(
        {
            **images("train/1.png", "train/2.png", "test/3.png", "test/4.png"),
            "labels.csv": "file,label,split\n1,cat,test\n2,dog,train\n3,cat,test\n4,dog,else\n",
        },
        {
            "train/1.png": "train cat",
            "train/2.png": "train dog",
            "test/3.png": "test cat",
            "test/4.png": "test dog",
        },
        says=("the splits are those of the folders, not those in labels.csv",),
        not_says=("for neither training nor testing",),
    ),
    "splits by folders, and a table without them": Case(
        {**images("1.png", "test/2.png"), "labels.csv": "file,label\n1,cat\n2,dog\n"},
        {"1.png": "train cat", "test/2.png": "test dog"},
        not_says=("the splits are those of the folders",),
    ),
    "a column of sets that are no splits": Case(
        {**FOUR, "labels.csv": "file,label,set\n1,cat,a\n2,dog,a\n3,cat,b\n4,dog,test\n"},
        TOGETHER,
    ),
    "a comment that has no headings": Case(
        {**FOUR, "labels.csv": "# made, by, hand\n1,cat\n2,dog\n3,cat\n4,dog\n"}, TOGETHER
    ),
    "an empty column": Case(
        {**FOUR, "labels.csv": "file,kind,note\n1,cat,\n2,dog,\n3,cat,\n4,dog,\n"}, TOGETHER
    ),
    "headings in a comment": Case(
        {**FOUR, "labels.csv": "# by hand\n# file,score,kind,label\n"
         "1,3,x,cat\n2,4,x,dog\n3,4,y,cat\n4,3,y,dog\n"},
        TOGETHER,
        says=("column 'label'",),
    ),
    "numbers of rows without a heading": Case(
        {**FOUR, "labels.csv": ",file,kind\n0,1,cat\n1,2,dog\n2,3,cat\n3,4,dog\n"}, TOGETHER
    ),
    "numbers of rows as pandas calls them": Case(
        {**FOUR, "labels.csv": "Unnamed: 0,file,kind\n0,1,cat\n1,2,dog\n2,3,cat\n3,4,dog\n"},
        TOGETHER,
    ),
    "the images of all classes in one folder": Case(
        {
            **images("all images/1.png", "all images/2.png"),
            "labels.csv": "file;kind\n1;cat\n2;dog\n",
        },
        {"all images/1.png": "all cat", "all images/2.png": "all dog"},
    ),
    "one folder with a name of its own, and labels": Case(
        {**images("zoo/1.png", "zoo/2.png"), "labels.csv": "file,label\n1,cat\n2,dog\n"},
        {"zoo/1.png": "all cat", "zoo/2.png": "all dog"},
    ),
    "one class, and a table of something else": Case(
        {**images("cat/1.png", "cat/2.png"), "meta.csv": "file,bytes\n1,70\n2,71\n"},
        {"cat/1.png": "all cat", "cat/2.png": "all cat"},
        says=("the classes are the folders, although meta.csv names the images, too",),
    ),
    "a text file with spaces": Case({**FOUR, "list.txt": "1.png cat\n2.png dog\n"},
        {"1.png": "all cat", "2.png": "all dog"}),
    "a column for each class": Case(
        {**FOUR, "truth.csv": "image,cat,dog\n1,1.0,0.0\n2,0.0,1.0\n3,1.0,0.0\n4,0.0,1.0\n"},
        TOGETHER,
        says=("(the heading of the column with a 1: 'cat', 'dog'), for 4 images",),
    ),
    "groups in the table": Case(
        {**FOUR, "labels.csv": WITH_PERSONS},
        TOGETHER,
        FolderOptions(group_by="person"),
        groups=PERSONS,
    ),
    "groups in several tables with the labels": Case(
        {
            **FOUR,
            "one.csv": "file,label,person\n1,cat,a\n2,dog,b\n",
            "two.csv": "file,label,person\n3,cat,a\n4,dog,b\n",
        },
        TOGETHER,
        FolderOptions(group_by="person"),
        groups=PERSONS,
    ),
    "groups in several other tables": Case(
        {
            **images("cat/1.png", "dog/2.png", "cat/3.png", "dog/4.png"),
            "one.csv": "file,person\n1,a\n2,b\n",
            "two.csv": "file,person\n3,a\n",
        },
        {"cat/1.png": "all cat", "dog/2.png": "all dog", "cat/3.png": "all cat",
         "dog/4.png": "all dog"},
        FolderOptions(group_by="person"),
        says=("1 image without 'person' in the table, so each is a group of its own",),
        not_says=("skipped",),
        groups={"cat/1.png": "a", "dog/2.png": "b", "cat/3.png": "a", "dog/4.png": "/"},
    ),
    "one table of several": Case(
        {**FOUR, "a/labels.csv": OF_TRAINING, "b/labels.csv": OF_TESTING},
        {"3.png": "all cat", "4.png": "all dog"},
        FolderOptions(labels="b/labels.csv"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_place_and_group_of_every_image(tmp_path: Path, case: Case) -> None:
    recorder = Recorder(Listener())
    read = read_image_folder(
        folder_of(tmp_path, case.files), WantedShape(), recorder, case.options
    ).splits
    places, groups = {}, {}
    for split, part in read.items():
        assert part.names is not None
        for name, label in zip(part.names, part.labels, strict=True):
            places[name] = f"{split} {part.classes[label]}"
        if part.groups is not None:
            groups |= {
                name: "/" if group.startswith("/") else group
                for name, group in zip(part.names, part.groups, strict=True)
            }
    assert places == case.places
    assert groups == (case.groups or {})
    said = "\n".join(recorder.notes)
    for words in case.says:
        assert words in said
    for words in case.not_says:
        assert words not in said


@dataclass(frozen=True)
class Refused:
    """A folder with tables that are not used.

    Attributes:
        files: as in `folder_of`.
        says: words of the error and its remedy.
        options: as a person gives them.
        mended: files and options that the remedy leads to, which are understood.
    """

    files: dict[str, str | None]
    says: tuple[str, ...]
    options: FolderOptions = NO_OPTIONS
    mended: tuple[dict[str, str | None], FolderOptions] = ({}, NO_OPTIONS)


MOVED = ""
"""In place of a text: the file is gone."""

OF_NO_LABEL = "file,kind,size\n1,cat,3\n2,dog,4\n"
REFUSED = {
    "several tables without a clear column of labels": Refused(
        {**FOUR, "one.csv": OF_NO_LABEL, "two.csv": "file,kind,size\n3,cat,3\n4,dog,4\n"},
        ("it is not clear which column has the labels: 'kind', 'size'",
         "give this column the heading 'label' in each of the tables"),
        mended=({"one.csv": OF_NO_LABEL.replace("kind", "label"),
                 "two.csv": "file,label,size\n3,cat,3\n4,dog,4\n"}, NO_OPTIONS),
    ),
    "several tables with other headings": Refused(
        {**FOUR, "one.csv": OF_TRAINING, "two.csv": "file,class\n3,cat\n4,dog\n"},
        ("have different headings in several tables: one.csv ('label'), two.csv ('class')",
         "choose one table with --labels, such as --labels one.csv"),
        mended=({}, FolderOptions(labels="one.csv")),
    ),
    "several tables of one name": Refused(
        {**FOUR, "a/labels.csv": OF_TRAINING, "b/labels.csv": OF_TESTING},
        ("has several of this name: 'a/labels.csv', 'b/labels.csv'",
         "such as --labels a/labels.csv"),
        FolderOptions(labels="labels.csv"),
        ({}, FolderOptions(labels="a/labels.csv")),
    ),
    "groups by names that several images have": Refused(
        {**images("cat/1.png", "dog/1.png"), "meta.csv": "file,person\n1,a\n1,b\n"},
        ("--group-by 'person' finds nothing in 2 of 2 names: cat/1.png, dog/1.png",
         "meta.csv: several images have the name '1', so it has to give their folders, too"),
        FolderOptions(group_by="person"),
        ({"meta.csv": "file,person\ncat/1,a\ndog/1,b\n"}, FolderOptions(group_by="person")),
    ),
    "two columns of one heading": Refused(
        {**FOUR, "labels.csv": "file,label,label\n1,cat,x\n2,dog,x\n"},
        ("labels.csv: 2 columns have the same heading: 'label'", "give them different headings"),
        mended=({"labels.csv": "file,label,kind\n1,cat,x\n2,dog,x\n"}, NO_OPTIONS),
    ),
    "two columns of one heading, and it is named": Refused(
        {**FOUR, "labels.csv": "file,kind,kind\n1,cat,x\n2,dog,x\n"},
        ("labels.csv: 2 columns have the same heading: 'kind'", "give them different headings"),
        FolderOptions(labels="labels.csv:kind"),
        ({"labels.csv": "file,kind,mark\n1,cat,x\n2,dog,x\n"},
         FolderOptions(labels="labels.csv:kind")),
    ),
    "two columns of words, one without a heading": Refused(
        {**FOUR, "labels.csv": ",file,kind\nx,1,cat\ny,2,dog\n"},
        ("it is not clear which column has the labels: '1', 'kind'",
         "name it, for example with --labels labels.csv:1"),
        mended=({}, FolderOptions(labels="labels.csv:kind")),
    ),
    "class folders, a stray image and a table of cameras": Refused(
        {**images("cat/1.png", "cat/2.png", "dog/3.png", "dog/4.png", "cover.png"),
         "exif.csv": "file,camera\n1,Canon\n2,Canon\n3,Nikon\n4,Nikon\ncover,Canon\n"},
        ("1 image outside class folders: cover.png", "move them into class folders"),
        mended=({"cover.png": MOVED}, NO_OPTIONS),
    ),
    "words in lines of one length": Refused(
        {**FOUR, "t.txt": "1.png cat train\n2.png dog train\n3.png cat test\n"},
        ("it is not clear which column has the labels: '2', '3'", "--labels t.txt:2"),
        mended=({}, FolderOptions(labels="t.txt:2")),
    ),
    "a comma that is not in quotes": Refused(
        {**images("images/1.png", "images/2.png"), "t.txt": "file,label\n1,cat, small\n2,dog\n"},
        ("t.txt: a row has more cells than there are headings: '1', 'cat', ' small'",),
        mended=({"t.txt": 'file,label\n1,cat\n2,dog\n'}, NO_OPTIONS),
    ),
    "an image in two splits": Refused(
        {**FOUR, "labels.csv": "file,label,split\n1,cat,train\n2,dog,test\n1,cat,test\n"},
        ("labels.csv: images have two splits: '1.png'", "keep one row for each image"),
        mended=({"labels.csv": "file,label,split\n1,cat,train\n2,dog,train\n"}, NO_OPTIONS),
    ),
    "an image outside class folders, and a table of sizes": Refused(
        {**images("cat/1.png", "dog/2.png", "5.png"), "meta.csv": "file,width\n1,8\n2,9\n5,8\n"},
        ("1 image outside class folders: 5.png", "move them into class folders"),
        mended=({"5.png": MOVED}, NO_OPTIONS),
    ),
    "an image with two groups": Refused(
        {**FOUR, "labels.csv": WITH_PERSONS + "1,cat,b\n"},
        ("images have two cells in the column 'person': '1.png'", "keep one row for each image"),
        FolderOptions(group_by="person"),
        ({"labels.csv": WITH_PERSONS}, FolderOptions(group_by="person")),
    ),
    "an image with two groups in two tables": Refused(
        {**FOUR, "labels.csv": WITH_PERSONS.replace("person", "x"),
         "one.csv": "file,person\n1,a\n2,b\n", "two.csv": "file,person\n1,b\n3,a\n"},
        ("in the column 'person', 1.png has 'a' and 'b'",),
        FolderOptions(labels="labels.csv:label", group_by="person"),
        ({"two.csv": "file,person\n3,a\n"},
         FolderOptions(labels="labels.csv:label", group_by="person")),
    ),
    "one group of all images": Refused(
        images("cat/IMG_1.png", "dog/IMG_2.png"),
        ("--group-by 'IMG' puts all 2 images into one group", "choose what differs"),
        FolderOptions(group_by="IMG"),
        ({}, FolderOptions(group_by=r"_(\d)")),
    ),
    "a column that no table has": Refused(
        {**FOUR, "labels.csv": WITH_PERSONS},
        ("--group-by 'people' finds nothing in 4 of 4 names: 1.png, 2.png, 3.png, 4.png",
         "(labels.csv has no column 'people', only 'label', 'person')"),
        FolderOptions(group_by="people"),
        ({}, FolderOptions(group_by="person")),
    ),
    "a table of other names beside one folder of images": Refused(
        {
            **images("images/im1.png", "images/im2.png"),
            "labels.csv": "file,label\n1,cat\n2,dog\n",
        },
        ("all images are in one folder, 'images', and no table beside them has their labels",
         "(labels.csv: no column names images such as 'images/im1.png'; its first column has '1'",
         "mend the table"),
        mended=({"labels.csv": "file,label\nim1,cat\nim2,dog\n"}, NO_OPTIONS),
    ),
    "several groups of an expression": Refused(
        images("cat_1.png", "dog_1.png"),
        ("it has 2 groups, and none is named label", "write (?P<label>...)"),
        FolderOptions(label_from=r"([a-z]+)_(\d)"),
        ({}, FolderOptions(label_from=r"(?P<label>[a-z]+)_(\d)")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_clear_is_refused_and_the_remedy_works(tmp_path: Path, case: Refused) -> None:
    with pytest.raises(TenfoldError) as caught:
        read_image_folder(folder_of(tmp_path, case.files), WantedShape(), Listener(), case.options)
    said = f"{caught.value.message}; {caught.value.remedy}"
    for words in case.says:
        assert words in said
    files, options = case.mended
    for name in [name for name, text in files.items() if text == MOVED]:
        (tmp_path / "photos" / name).unlink()
        files = {other: text for other, text in files.items() if other != name}
    found = read_image_folder(folder_of(tmp_path, files), WantedShape(), Listener(), options)
    assert next(iter(found.splits.values())).classes == ("cat", "dog")


def test_a_table_elsewhere_says_nothing_about_splits_by_its_folders(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, images("train/1.png", "val/1.png", "train/2.png", "val/2.png"))
    table = tmp_path / "val" / "labels.csv"
    table.parent.mkdir()
    table.write_text("file,label\n1,cat\n2,dog\n")
    options = FolderOptions(labels=str(table))
    found = read_image_folder(folder, WantedShape(), Listener(), options).splits
    assert {split: part.names for split, part in found.items()} == {
        "train": ("train/1.png", "train/2.png")
    }


def test_tables_that_are_too_large_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenfold.data.folders.survey.LARGEST_TABLES", 20)
    folder = folder_of(tmp_path, {**FOUR, "labels.csv": OF_TRAINING})
    for options in (NO_OPTIONS, FolderOptions(labels="labels.csv"), FolderOptions(group_by="x")):
        with pytest.raises(DataError, match=r"labels\.csv: it was not read, because tables beside"):
            read_image_folder(folder, WantedShape(), Listener(), options)
    on_disk = FolderOptions(labels=str(folder / "labels.csv"))
    found = read_image_folder(folder, WantedShape(), Listener(), on_disk)
    assert found.splits["all"].classes == ("cat", "dog")


def test_a_table_that_cannot_be_read_is_wrong_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path, {**FOUR, "labels.csv": OF_TRAINING})

    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tenfold.storage.files.os.open", denied)
    options = FolderOptions(labels=str(folder / "labels.csv"))
    images = Images(folder, [(name,) for name in FOUR], set())
    with pytest.raises(DataError, match=r"labels\.csv: cannot be read: Permission denied"):
        Tables(images).chosen(options)
