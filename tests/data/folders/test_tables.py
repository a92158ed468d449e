"""Tables of labels: how they are read, and which images their names stand for."""

from __future__ import annotations

import pytest

from tenfold.data.folders.tables import (
    AMBIGUOUS,
    MOST_COLUMNS,
    ImageNames,
    LabelColumn,
    Table,
    common_folder,
    find_tables,
    label_column,
    name_column,
    path_in,
    read_table,
    rows_of_images,
    simplified,
)
from tenfold.errors import DataError, UsageError


def names(*images: str, splits: tuple[str, ...] = ()) -> ImageNames:
    return ImageNames([tuple(each.split("/")) for each in images], splits or ("all",) * len(images))


NONE = names()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\nc,d\n", [["c", "d"]]),
        ("a;b\r\nc;d\r\n", [["c", "d"]]),
        ("a\tb\rc\td", [["c", "d"]]),
        ("a|b\n\nc|d\n\n", [["c", "d"]]),
        ("a b\nc   d\n\n", [["c", "d"]]),
        ("\n\n# made by hand\na,b\nc,d", [["c", "d"]]),
        ('a,b\n"c,c","d ""d"""\n', [["c,c", 'd "d"']]),
        ('a,b\n"c\nc",d\n', [["c\nc", "d"]]),
        ("\ufeffa,b\nc,d", [["c", "d"]]),
    ],
)
def test_forms_of_tables(text: str, rows: list[list[str]]) -> None:
    table = read_table(text.encode(), "t.csv", NONE)
    assert table.headings == ("a", "b")
    assert table.rows == rows
    assert table.notes == ()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_marked_encodings(encoding: str) -> None:
    data = "名,类\nx,小猫\n".encode(encoding)
    if encoding == "utf-16-le":
        data = b"\xff\xfe" + data
    assert read_table(data, "t.csv", NONE).rows == [["x", "小猫"]]


@pytest.mark.parametrize(
    ("encoding", "word", "read_as"),
    [("gbk", "小狗", "GBK"), ("latin-1", "forêt", "CP1252"), ("cp1252", "Löwe", "CP1252")],
)
def test_guessed_encodings_are_told(encoding: str, word: str, read_as: str) -> None:
    table = read_table(f"a,b\nx,{word}\n".encode(encoding), "t.csv", NONE)
    assert table.rows == [["x", word]]
    assert table.notes == (f"t.csv is read as {read_as}, because it is not in UTF-8",)


def test_without_headings() -> None:
    table = read_table(b"1.png,cat\n2.png,dog\n", "t.csv", names("1.png", "2.png"))
    assert table.headings == ("1", "2")
    assert len(table.rows) == 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the table is empty"),
        (b"\n\n", "the table is empty"),
        (b"a\0b,c\n", "not a table of text"),
        (b"a," * MOST_COLUMNS + b"b\n", "more than 1,000 columns"),
    ],
)
def test_what_is_no_table(data: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_table(data, "t.csv", NONE)


def test_columns_by_heading() -> None:
    table = Table("t.csv", ("Image ID", "label"), [["x"], ["y", " cat "]])
    assert table.column("Image ID") == table.column("image_id") == 0
    assert list(table.cells(1)) == ["", "cat"]
    assert table.has("LABEL")
    with pytest.raises(UsageError, match="there is no column 'lable', only 'Image ID', 'label'"):
        table.column("lable")


@pytest.mark.parametrize(
    ("cell", "place"),
    [
        ("train/1.png", 0),
        ("train/1", 0),
        ("TRAIN/1.PNG", 0),
        ("1.png", 0),  # the one for training
        ("test/1.png", 1),
        ("sub/2.png", 2),
        ("2.png", 2),
        ("3.png", AMBIGUOUS),
        ("9.png", None),
        ("b/1.png", None),
        ("", None),
    ],
)
def test_what_a_name_stands_for(cell: str, place: int | None) -> None:
    images = "train/1.png", "test/1.png", "deep/er/sub/2.png", "test/a/3.png", "test/b/3.png"
    found = names(*images, splits=("train", "test", "train", "test", "test"))
    assert found.find(path_in(cell)) == place


def test_an_exact_path_wins() -> None:
    found = names("a.png", "sub/a.png")
    assert found.find("a.png") == 0
    assert found.find("a.png", "sub") == 1
    assert found.find("sub/a.png") == 1
    assert names("x/a.png", "sub/a.png").find("a.png", "sub") == 1


def test_case_tells_images_apart_if_it_can() -> None:
    found = names("A.png", "a.png")
    assert (found.find("A.png"), found.find("a.png")) == (0, 1)


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        (["a/b/1", "a/b/2"], "a/b/"),
        (["a/b/1", "a/c/2"], "a/"),
        (["a/1", "2"], ""),
        ([], ""),
        (["ab/1", "a/2"], ""),
    ],
)
def test_the_folder_that_all_names_begin_with(paths: list[str], folder: str) -> None:
    assert common_folder(paths) == folder


def test_a_path_in_odd_forms() -> None:
    assert path_in(" .\\a\\b.png ") == path_in("/a/b.png") == path_in("./a/b.png") == "a/b.png"


def test_the_column_of_names_has_most_different_images() -> None:
    images = names(*(f"{i}.png" for i in range(12)))
    rows = [[str(i % 3), str(i)] for i in range(12)]
    found = name_column(Table("t.csv", ("label", "id"), rows), images)
    assert found is not None
    assert (found.place, found.matches) == (1, 12)
    table = Table("t.csv", ("number", "id"), [[str(i), str(i)] for i in range(12)])
    assert getattr(name_column(table, images), "place", None) == 1
    assert getattr(name_column(table, images, labels=1), "place", None) == 0
    assert name_column(Table("t.csv", ("a", "b"), [["x", "y"]]), images) is None


def test_names_with_a_folder_of_elsewhere() -> None:
    table = Table("t.csv", ("path", "label"), [["/data/x/1.png", "a"], ["/data/x/2.png", "b"]])
    images = names("1.png", "2.png")
    column = name_column(table, images)
    assert column is not None
    assert column.left_out == "data/x/"
    assert rows_of_images(table, column, images) == [0, 1]


def test_the_column_of_labels() -> None:
    def found(*headings: str) -> str:
        return label_column(Table("t.csv", headings, []), 0).heading

    assert found("id", "anything") == "anything"
    assert found("id", "x", "Class Name", "y z") == "Class Name"
    assert found("id", "split", "kind") == "kind"
    for headings in (("id", "x", "z"), ("id", "label", "label"), ("id",)):
        with pytest.raises(UsageError, match=r"not clear which column|have the same heading"):
            found(*headings)


def test_marks_that_are_no_classes() -> None:
    """Columns of splits, and one column of 0 and 1."""
    for headings, rows in (
        (("image", "train", "test"), [["1", "0", "1"], ["2", "1", "0"]]),
        (("image", "cat", "test", "width"), [["1", "1", "0", "7"], ["2", "1", "0", "8"]]),
    ):
        with pytest.raises(UsageError, match="not clear which column has the labels"):
            label_column(Table("t.csv", headings, rows), 0)


@pytest.mark.parametrize(
    ("text", "headings", "rows"),
    [
        (
            "file label\n1.png golden retriever\n",
            ("file", "label"),
            [["1.png", "golden retriever"]],
        ),
        (
            "1.png golden eagle\n1.png cat\n",
            ("1", "2"),
            [["1.png", "golden eagle"], ["1.png", "cat"]],
        ),
        ("1.png cat train\n", ("1", "2", "3"), [["1.png", "cat", "train"]]),
    ],
)
def test_labels_of_several_words(
    text: str, headings: tuple[str, ...], rows: list[list[str]]
) -> None:
    table = read_table(text.encode(), "t.txt", names("1.png"))
    assert (table.headings, table.rows) == (headings, rows)


def test_a_row_with_more_cells_than_headings_is_refused() -> None:
    """A comma in a label that is not in quotes would cut it."""
    with pytest.raises(
        DataError, match="a row has more cells than there are headings: '1', 'bird'"
    ):
        read_table(b"file,label\n1,bird, small\n", "t.csv", names("1.png"))
    assert read_table(b"file,label\n1,bird,,\n", "t.csv", NONE).rows == [["1", "bird", "", ""]]


def test_many_columns_of_numbers_are_tried_at_a_few_places_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = 0
    find = ImageNames.find

    def counted(self: ImageNames, *named: str) -> int | None:
        nonlocal calls
        calls += 1
        return find(self, *named)

    monkeypatch.setattr(ImageNames, "find", counted)
    rows = [[f"im{i}", *("0.5" for _ in range(50))] for i in range(2000)]
    table = Table("t.csv", ("file", *map(str, range(50))), rows)
    column = name_column(table, names(*(f"im{i}.png" for i in range(2000))))
    assert column is not None
    assert (column.place, column.matches) == (0, 2000)
    assert calls < 20_000


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        ([["1", "0", "1"], ["2", "1", "0"]], ["dog", "cat"]),
        ([["1", "0.0", "1.0"], ["2", "1.0", "0.0"]], ["dog", "cat"]),
        ([["1", "1", "1"], ["2", "1", "0"]], None),
        ([["1", "0", "0"], ["2", "1", "0"]], None),
        ([["1", "0", "1"], ["2", "1", "2"]], None),
        ([["1", "0.2", "0.8"], ["2", "0.9", "0.1"]], None),
    ],
)
def test_a_column_for_each_class(rows: list[list[str]], labels: list[str] | None) -> None:
    table = Table("t.csv", ("image", "cat", "dog"), rows)
    if labels is None:
        with pytest.raises(UsageError, match="not clear which column has the labels: 'cat', 'dog'"):
            label_column(table, 0)
    else:
        assert label_column(table, 0) == LabelColumn("", labels)


def test_tables_that_do_not_count_are_explained() -> None:
    tables = {
        "labels.csv": b"id,label\n1,a\n2,b\n",
        "few.csv": b"id,label\n1,a\n" + b"x,b\n" * 9,
        "none.csv": b"id,label\nx,a\n",
        "empty.csv": b"",
        "list.csv": b"1.png\n2.png\n",
        "people.csv": b"name,age\nann,3\nbob,4\n",
        "twice.csv": b"file,label\n0,a\n",
    }
    images = [*(f"{i}.png" for i in range(1, 9)), "a/0.png", "b/0.png"]
    found, reasons = find_tables(tables, names(*images), 9)
    assert [table.name for table, _ in found] == ["labels.csv"]
    assert list(reasons) == [name for name in tables if name != "labels.csv"]
    assert list(reasons.values()) == [
        "few.csv: it names only 1 image",
        "none.csv: no column names images such as '1.png'; its first column has 'x'",
        "empty.csv: the table is empty",
        "list.csv: it has only one column",
        "people.csv: it names only 2 images",
        "twice.csv: several images have the name '0', so it has to give their folders, too",
    ]


def test_headings_are_compared_without_case_and_spaces() -> None:
    assert simplified("Image_ID ") == simplified("image-id") == "imageid"


LONG = 120_000
"""Characters that take minutes where the time grows with the square of them."""


def test_long_cells_of_accents_take_little_time() -> None:
    accents = "a" + "\u0315\u0300" * (LONG // 2)
    table = read_table(f"file,label\n1.png,cat\n{accents},dog\n".encode(), "t.csv", names("1.png"))
    assert name_column(table, names("1.png")).matches == 1
    assert names(f"{accents}.png").find(path_in(accents)) == 0


def test_long_names_of_tables_take_little_time() -> None:
    assert Table("_" * LONG + ".csv", (), []).split_named == ""


def test_deep_folders_take_little_time() -> None:
    assert common_folder(["a/" * LONG, "b/" + "a/" * LONG]) == ""
    assert common_folder(["a/" * LONG, "a/" * LONG + "b/"]) == "a/" * LONG
