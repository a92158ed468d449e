"""Class folders in directories and archives: layouts, damage, attacks, the cache."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tenfold.data.folders.folder import load_image_folder, read_image_folder, source_fingerprint
from tenfold.errors import DataError, UsageError


def picture(value: int = 0, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    colour = value if mode == "L" else (value, 255 - value, 7)
    Image.new(mode, (size[1], size[0]), colour).save(file, "PNG")
    return file.getvalue()


TWO_CLASSES = {
    "cat/1.png": picture(10),
    "cat/2.png": picture(20),
    "dog/1.png": picture(30),
}
SPLIT = {
    f"{split}/{name}": data
    for split in ("train", "val", "test")
    for name, data in TWO_CLASSES.items()
}


def directory(root: Path, files: dict[str, bytes]) -> Path:
    """A directory of these files; a name that ends in a slash is an empty folder."""
    for name, data in files.items():
        if name.endswith("/"):
            (root / name).mkdir(parents=True, exist_ok=True)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
    return root


def tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.size = len(data)
            entry.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(entry, io.BytesIO(data))
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


def source(kind: str, root: Path, files: dict[str, bytes]) -> Path:
    if kind == "directory":
        return directory(root / "pictures", files)
    if kind == "zip":
        return zipped(root / "pictures.zip", files)
    suffix = {"w": "tar", "w:gz": "tar.gz", "w:bz2": "tar.bz2", "w:xz": "tar.xz"}[kind]
    return tar(root / f"pictures.{suffix}", files, kind)


KINDS = ("directory", "zip", "w", "w:gz", "w:bz2", "w:xz")
every_source = pytest.mark.parametrize("kind", KINDS)
main_sources = pytest.mark.parametrize("kind", ["directory", "zip", "w:gz"])


@every_source
def test_classes_without_splits(tmp_path, kind):
    contents = read_image_folder(source(kind, tmp_path, TWO_CLASSES))
    assert list(contents.splits) == ["all"]
    arrays = contents.splits["all"]
    assert arrays.classes == ("cat", "dog")
    assert arrays.labels.tolist() == [0, 0, 1]
    assert arrays.names == ("cat/1.png", "cat/2.png", "dog/1.png")
    assert arrays.images[:, 0, 3, 3].tolist() == [10, 20, 30]
    assert arrays.images.flags.c_contiguous
    assert (contents.image_size, contents.channels, contents.notes) == ((8, 8), 3, ())


@every_source
@pytest.mark.parametrize("wrapper", ["", "pictures/", "a/b/", "./"])
def test_splits_and_wrapping_folders(tmp_path, kind, wrapper):
    files = {wrapper + name: data for name, data in SPLIT.items()}
    contents = read_image_folder(source(kind, tmp_path, files))
    assert list(contents.splits) == ["train", "val", "test"]
    for split, arrays in contents.splits.items():
        assert arrays.labels.tolist() == [0, 0, 1]
        assert arrays.names[2].endswith(f"{split}/dog/1.png")


@pytest.mark.parametrize("name", ["valid", "validation", "Val", "VALIDATION"])
def test_other_names_of_validation(tmp_path, name):
    files = {key.replace("val/", f"{name}/"): data for key, data in SPLIT.items()}
    assert list(read_image_folder(directory(tmp_path, files)).splits) == ["train", "val", "test"]


def test_one_wrapped_split_is_that_split(tmp_path):
    files = {f"set/train/{name}": data for name, data in TWO_CLASSES.items()}
    assert list(read_image_folder(directory(tmp_path, files)).splits) == ["train"]


def test_a_class_may_be_called_train(tmp_path):
    files = {"train/1.png": picture(1), "tram/1.png": picture(2)}
    arrays = read_image_folder(directory(tmp_path, files)).splits["all"]
    assert arrays.classes == ("train", "tram")


def test_the_order_does_not_depend_on_the_archive(tmp_path):
    backwards = dict(reversed(SPLIT.items()))
    one = read_image_folder(zipped(tmp_path / "one.zip", SPLIT))
    two = read_image_folder(tar(tmp_path / "two.tar", backwards))
    for split in one.splits:
        assert one.splits[split].names == two.splits[split].names
        assert np.array_equal(one.splits[split].images, two.splits[split].images)


def test_images_may_lie_deeper_in_their_class(tmp_path):
    files = {**TWO_CLASSES, "dog/more/still/2.png": picture(40)}
    assert read_image_folder(directory(tmp_path, files)).splits["all"].labels.tolist() == [
        0,
        0,
        1,
        1,
    ]


@main_sources
def test_what_desktops_leave_behind_is_noted(tmp_path, kind):
    left = {
        ".DS_Store": b"x", "cat/.hidden.png": b"x", "__MACOSX/cat/._1.png": b"x",
        "dog/Thumbs.db": b"x", "cat/notes.txt": b"words", "README": b"words",
    }  # fmt: skip
    contents = read_image_folder(source(kind, tmp_path, {**TWO_CLASSES, **left}))
    assert len(contents.splits["all"].images) == 3
    hidden, others = contents.notes
    assert hidden.startswith("passed over as hidden (4): .DS_Store, __MACOSX/cat/._1.png")
    assert others == "passed over, not images by their names (2): README, cat/notes.txt"


# what is refused


REFUSED = {
    "nothing at all": ({}, "there are no images in it, nothing was found"),
    "other files": ({"a/b.csv": b"1"}, r"no images in it, a/b\.csv was found"),
    "one class": ({"cat/1.png": picture()}, "only one class, 'cat'"),
    "an empty class": ({**TWO_CLASSES, "emu/": b""}, "class folders have no images: emu"),
    "a class of text": ({**TWO_CLASSES, "emu/a.txt": b"x"}, "class folders have no images: emu"),
    "an empty class of a split": (
        {**SPLIT, **{f"{s}/emu/": b"" for s in ("train", "val", "test")}},
        "no images: train/emu, val/emu, test/emu",
    ),
    "images outside": (
        {**TWO_CLASSES, "a.png": picture(), "b.png": picture()},
        r"2 images lie outside of class folders: a\.png, b\.png; wanted CLASS/IMAGE",
    ),
    "images only": ({"a.png": picture(), "b.png": picture()}, "2 images lie outside"),
    "images in a split": (
        {**SPLIT, "train/a.png": picture()}, r"1 images lie outside .*: train/a\.png"
    ),
    "splits of images": (
        {"train/1.png": picture(), "test/1.png": picture()}, "2 images lie outside"
    ),
    "different classes": (
        {**SPLIT, "train/emu/1.png": picture(), "val/yak/1.png": picture()},
        "different classes: train lacks yak; val lacks emu; test lacks emu, yak",
    ),
    "splits beside others": (
        {**SPLIT, "extra/cat/1.png": picture()}, "beside the split folders .* lie others: extra"
    ),
    "one split twice": (
        {**SPLIT, "valid/cat/1.png": picture()}, "several folders are the same split"
    ),
    "unprintable classes": (
        {**TWO_CLASSES, "\x1b[31m/1.png": picture()}, r"cannot be shown: \\x1b\[31m"
    ),
}  # fmt: skip


@main_sources
@pytest.mark.parametrize("case", REFUSED)
def test_layouts_that_are_none_are_refused(tmp_path, kind, case):
    files, message = REFUSED[case]
    path = source(kind, tmp_path, files)
    path.mkdir(exist_ok=True) if kind == "directory" else None
    with pytest.raises(DataError, match=message) as caught:
        read_image_folder(path)
    assert str(path) in str(caught.value)


@main_sources
def test_all_damaged_images_are_named(tmp_path, kind):
    whole = picture(5, (40, 40))
    files = {
        **TWO_CLASSES,
        "cat/zero.png": b"",
        "cat/text.png": b"not found",
        "dog/cut.png": whole[:60],
        "dog/header.png": whole[:20],
    }
    with pytest.raises(DataError, match="4 of 7 images cannot be read") as caught:
        read_image_folder(source(kind, tmp_path, files))
    for name in ("cat/zero.png", "cat/text.png", "dog/cut.png", "dog/header.png"):
        assert name in str(caught.value)
    assert "the file is empty" in str(caught.value)


def test_many_damaged_images_are_counted(tmp_path):
    files = {**TWO_CLASSES, **{f"cat/bad{i:03}.png": b"" for i in range(100)}}
    with pytest.raises(DataError, match=r"100 of 103 .* and 80 more"):
        read_image_folder(directory(tmp_path, files))


def test_what_is_neither_folder_nor_archive_is_told(tmp_path):
    with pytest.raises(DataError, match="no such folder or archive"):
        read_image_folder(tmp_path / "absent")
    for data in (b"", b"words", picture(), b"\x28\xb5\x2f\xfd"):
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(DataError, match="neither a folder nor an archive"):
            read_image_folder(tmp_path / "file")


@pytest.mark.parametrize(
    "options", [{"channels": 2}, {"image_size": (0, 8)}, {"image_size": (8, 5000)}]
)
def test_wrong_options_are_refused(tmp_path, options):
    with pytest.raises(UsageError):
        read_image_folder(directory(tmp_path, TWO_CLASSES), **options)


# sizes and channels


def test_small_images_of_one_size_keep_it(tmp_path):
    files = {"a/1.png": picture(1, (28, 40)), "b/1.png": picture(2, (28, 40))}
    assert read_image_folder(directory(tmp_path, files)).image_size == (28, 40)


@pytest.mark.parametrize(
    ("sizes", "wanted", "note"),
    [
        ([(20, 30), (40, 24), (90, 50)], (24, 24), "images have 3 sizes from 20x30 to 90x50, "),
        ([(200, 100)] * 3, (64, 64), "images are 200x100, scaled and cropped to 64x64"),
    ],
)
def test_other_images_become_square(tmp_path, sizes, wanted, note):
    files = {f"{'ab'[i % 2]}/{i}.png": picture(i, size) for i, size in enumerate(sizes)}
    contents = read_image_folder(directory(tmp_path, files))
    assert contents.image_size == wanted
    assert contents.notes[0].startswith(note)


def test_a_chosen_size_wins(tmp_path):
    contents = read_image_folder(directory(tmp_path, TWO_CLASSES), image_size=(12, 10), channels=1)
    assert contents.splits["all"].images.shape == (3, 1, 12, 10)
    assert contents.image_size == (12, 10)
    assert contents.notes[1] == "3 of 3 images are in colour, read as grey"


def test_channels_follow_the_images(tmp_path):
    grey = {"a/1.png": picture(1, mode="L"), "b/1.png": picture(2, mode="L")}
    assert read_image_folder(directory(tmp_path / "grey", grey)).channels == 1
    mixed = read_image_folder(directory(tmp_path / "mixed", {**grey, "b/2.png": picture(3)}))
    assert mixed.channels == 3
    assert mixed.notes == ("2 of 3 images are grey, read as colour",)


def test_arrays_over_the_limit_are_refused_before_they_are_allocated(tmp_path, monkeypatch):
    monkeypatch.setattr("tenfold.data.folders.folder.LARGEST_ARRAY", 500)
    with pytest.raises(DataError, match="3 images of 3x8x8 need 576 bytes, over the limit of 500"):
        read_image_folder(directory(tmp_path, TWO_CLASSES))


@pytest.mark.parametrize("kept", [0, 2**30])
def test_large_images_are_decoded_by_threads_and_read_again_alike(tmp_path, monkeypatch, kept):
    monkeypatch.setattr("tenfold.data.folders.survey.LARGEST_KEPT", kept)
    monkeypatch.setattr("tenfold.data.folders.decoding._IMAGES_A_CHUNK", 3)
    monkeypatch.setattr("tenfold.data.folders.survey._IMAGES_BETWEEN_LOOKS", 3)
    files = {f"{c}/{i:02}.png": picture(5 * i, (300, 300)) for c in "ab" for i in range(20)}
    calls = []
    contents = read_image_folder(
        zipped(tmp_path / "x.zip", files), progress=lambda done, total: calls.append((done, total))
    )
    values = contents.splits["all"].images[:, 0, 0, 0].tolist()
    assert values == [5 * i for i in range(20)] * 2
    assert calls[0] == (3, 0)
    assert calls[-1] == (40, 40)


# attacks


def test_names_that_lead_elsewhere_lead_nowhere(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    names = {"/abs/cat/1.png": picture(1), "/abs/dog/1.png": picture(2)}
    for path in (zipped(inside / "x.zip", names), tar(inside / "x.tar", names)):
        assert read_image_folder(path).splits["all"].classes == ("cat", "dog")
    climbing = {**TWO_CLASSES, "../../evil/1.png": picture()}
    for path in (zipped(inside / "y.zip", climbing), tar(inside / "y.tar", climbing)):
        contents = read_image_folder(path)
        assert contents.splits["all"].classes == ("cat", "dog")
        assert contents.notes == ("passed over as hidden (1): ../../evil/1.png",)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inside"]
    assert len(list(inside.iterdir())) == 4


def test_backslashes_of_windows_archives_are_slashes(tmp_path):
    path = zipped(tmp_path / "x.zip", {k.replace("/", "#"): v for k, v in TWO_CLASSES.items()})
    path.write_bytes(path.read_bytes().replace(b"cat#", b"cat\\").replace(b"dog#", b"dog\\"))
    assert read_image_folder(path).splits["all"].names[0] == "cat/1.png"


def test_links_and_devices_in_archives_are_noted(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in TWO_CLASSES.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for letter, kind in {
            "s": tarfile.SYMTYPE,
            "h": tarfile.LNKTYPE,
            "d": tarfile.CHRTYPE,
            "f": tarfile.FIFOTYPE,
        }.items():
            entry = tarfile.TarInfo(f"cat/{letter}.png")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    note = "passed over, links and the like in the archive (4): cat/d.png, cat/f.png, cat/h.png"
    assert read_image_folder(path).notes[0].startswith(note)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in TWO_CLASSES.items():
            archive.writestr(name, data)
        entry = zipfile.ZipInfo("cat/s.png")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    assert "cat/s.png" in read_image_folder(path).notes[0]


def test_links_in_directories(tmp_path):
    outside = tmp_path / "secret.png"
    outside.write_bytes(picture(99))
    root = directory(tmp_path / "data", TWO_CLASSES)
    (root / "dog/same.png").symlink_to(root / "cat/1.png")
    assert read_image_folder(root).splits["all"].images[:, 0, 0, 0].tolist() == [10, 20, 30, 10]
    for name, target in (("dog/out.png", outside), ("dog/folder", root), ("dog/none.png", "gone")):
        (root / name).symlink_to(target)
        with pytest.raises(DataError, match=f"not followed, .*: {name}; put the files"):
            read_image_folder(root)
        (root / name).unlink()
    os.mkfifo(root / "dog/pipe.png")
    with pytest.raises(DataError, match=r"dog/pipe\.png"):
        read_image_folder(root)


@pytest.mark.parametrize("pack", [zipped, tar])
def test_one_name_twice_is_refused(tmp_path, pack, recwarn):
    path = pack(tmp_path / "x", {**TWO_CLASSES, "./cat/1.png": picture()})
    if pack is tar:
        path = path.rename(tmp_path / "x.tar")
    with pytest.raises(DataError, match=r"more than once in the archive: cat/1\.png"):
        read_image_folder(path)


def test_encrypted_archives_are_refused(tmp_path):
    path = zipped(tmp_path / "x.zip", TWO_CLASSES)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"encrypted: cat/1\.png; make an archive without"):
        read_image_folder(path)


@pytest.mark.parametrize("kind", ["zip", "w:gz", "w:xz", "w:bz2"])
def test_bombs_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("tenfold.data.folders.archives.ALWAYS_ALLOWED", 2**20)
    path = source(kind, tmp_path, {**TWO_CLASSES, "cat/bomb.bin": bytes(2**24)})
    assert path.stat().st_size < 50_000
    with pytest.raises(DataError, match=r"unpacks to more than [\d,]+ bytes"):
        read_image_folder(path)


@main_sources
def test_one_large_file_is_named(tmp_path, monkeypatch, kind):
    for module in ("archives", "members"):
        monkeypatch.setattr(f"tenfold.data.folders.{module}.LARGEST_MEMBER", 4096)
    monkeypatch.setattr("tenfold.data.folders.archives._CHUNK", 512)
    files = {**TWO_CLASSES, "cat/large.png": picture() + bytes(10_000)}
    with pytest.raises(
        DataError, match=r"1 of 4 .* cat/large\.png: the file has .* over the limit"
    ):
        read_image_folder(source(kind, tmp_path, files))


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tenfold.data.folders.members.MOST_MEMBERS", 4)
    for kind in ("directory", "zip", "w"):
        with pytest.raises(DataError, match="more than 4 files and folders"):
            read_image_folder(
                source(kind, tmp_path / kind if kind == "directory" else tmp_path, SPLIT)
            )


def test_a_tar_header_that_claims_gigabytes_takes_no_memory(tmp_path):
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        entry = tarfile.TarInfo("cat/1.png")
        entry.type, entry.size = kind, 2**33
        (tmp_path / "x.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
        with pytest.raises(DataError, match="8,589,934,592"):
            read_image_folder(tmp_path / "x.tar")


def test_a_tar_header_of_negative_size_ends_the_reading(tmp_path):
    entry = tarfile.TarInfo("cat/1.txt")
    header = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xf8\x00"  # base 256, -2048
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "x.tar").write_bytes(bytes(header) * 4 + bytes(1024))
    with pytest.raises(DataError):
        read_image_folder(tmp_path / "x.tar")


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:xz", "w:bz2", "zip"])
def test_archives_that_are_cut_off_are_refused_wherever_it_is(tmp_path, kind):
    path = source(kind, tmp_path, TWO_CLASSES)
    data = path.read_bytes()
    for size in range(600 if kind == "w" else 10, len(data) - 1, max(len(data) // 40, 1)):
        if kind == "w" and not any(data[size:]):
            break  # only the end mark and its padding are left
        path.write_bytes(data[:size])
        with pytest.raises(DataError):
            read_image_folder(path)


def test_joined_archives_are_refused(tmp_path):
    one = tar(tmp_path / "one.tar", TWO_CLASSES).read_bytes()
    (tmp_path / "both.tar").write_bytes(one * 2)
    with pytest.raises(DataError, match="more data after the archive's end"):
        read_image_folder(tmp_path / "both.tar")


def test_a_damaged_checksum_is_found(tmp_path):
    path = tar(tmp_path / "x.tar.gz", TWO_CLASSES, "w:gz")
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        read_image_folder(path)


def test_a_damaged_member_of_a_zip_is_named(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in TWO_CLASSES.items():
            archive.writestr(name, data)
    data = bytearray(path.read_bytes())
    data[data.index(picture(20)) + 50] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"1 of 3 images cannot be read: .*cat/2\.png.*CRC"):
        read_image_folder(path)


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:xz"])
@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_archive_raises_anything_but_our_errors(tmp_path, kind, data):
    path = source(kind, tmp_path, TWO_CLASSES)
    sample = bytearray(path.read_bytes())
    places = st.one_of(st.integers(0, min(600, len(sample)) - 1), st.integers(0, len(sample) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        sample[place] = value
    path.write_bytes(sample)
    try:
        read_image_folder(path)
    except DataError:
        pass


@given(
    st.lists(
        st.lists(
            st.sampled_from(["train", "test", "cat", "dog", ".x", "..", "1.png", "a.txt", "é"]),
            min_size=1, max_size=4,
        ),
        max_size=8,
    )
)  # fmt: skip
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_layout_raises_anything_but_our_errors(tmp_path, names):
    path = tar(tmp_path / "x.tar", {"/".join(parts): picture() for parts in names})
    try:
        contents = read_image_folder(path)
    except DataError:
        return
    for arrays in contents.splits.values():
        assert len(arrays.images) == len(arrays.labels) == len(arrays.names)
        for label, name in zip(arrays.labels, arrays.names, strict=True):
            assert arrays.classes[label] in name.split("/")


# the cache


@main_sources
def test_the_second_load_comes_from_the_cache(tmp_path, monkeypatch, kind):
    path = source(kind, tmp_path, {**SPLIT, "train/cat/x.txt": b""})
    first = load_image_folder(path)
    monkeypatch.setattr("tenfold.data.folders.folder.read_image_folder", None)
    second = load_image_folder(path)
    assert second.notes == first.notes != ()
    assert (second.image_size, second.channels) == (first.image_size, first.channels)
    for split, arrays in first.splits.items():
        again = second.splits[split]
        assert np.array_equal(again.images, arrays.images)
        assert np.array_equal(again.labels, arrays.labels)
        assert (again.classes, again.names) == (arrays.classes, arrays.names)


def test_options_that_name_what_the_defaults_came_to_are_not_decoded_anew(tmp_path, monkeypatch):
    root = directory(tmp_path / "data", TWO_CLASSES)
    first = load_image_folder(root)
    monkeypatch.setattr("tenfold.data.folders.folder.read_image_folder", None)
    again = load_image_folder(root, image_size=first.image_size, channels=first.channels)
    assert np.array_equal(again.splits["all"].images, first.splits["all"].images)


def test_other_options_and_changed_files_are_decoded_anew(tmp_path):
    root = directory(tmp_path / "data", TWO_CLASSES)
    assert load_image_folder(root).image_size == (8, 8)
    assert load_image_folder(root, image_size=(5, 5)).image_size == (5, 5)
    assert load_image_folder(root, channels=1).channels == 1
    (root / "cat/1.png").write_bytes(picture(77))
    assert load_image_folder(root).splits["all"].images[0, 0, 0, 0] == 77


def test_without_the_cache_nothing_is_stored(tmp_path):
    load_image_folder(directory(tmp_path / "data", TWO_CLASSES), use_cache=False)
    assert not list(Path(os.environ["TENFOLD_CACHE"]).rglob("*.safetensors"))


def test_a_cache_that_cannot_be_used_is_said_and_nothing_else(tmp_path, monkeypatch):
    root = directory(tmp_path / "data", TWO_CLASSES)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "file"))
    contents = load_image_folder(root)
    assert len(contents.splits["all"].images) == 3
    assert "not cached: " in contents.notes[0]


def test_files_that_change_meanwhile_are_not_cached(tmp_path, monkeypatch):
    root = directory(tmp_path / "data", TWO_CLASSES)
    read = read_image_folder

    def read_and_change(path, **options):
        contents = read(path, **options)
        (root / "dog/2.png").write_bytes(picture(1))
        return contents

    monkeypatch.setattr("tenfold.data.folders.folder.read_image_folder", read_and_change)
    assert "changed while they were read" in load_image_folder(root).notes[-1]
    assert not list(Path(os.environ["TENFOLD_CACHE"]).rglob("*.safetensors"))


def test_the_fingerprint_of_an_archive_is_its_digest(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert source_fingerprint(path).startswith("ba7816bf8f01cfea")
    with pytest.raises(DataError, match="cannot be read"):
        source_fingerprint(tmp_path / "absent")


def test_the_fingerprint_of_a_directory_follows_its_files(tmp_path):
    root = directory(tmp_path / "data", TWO_CLASSES)
    seen = {source_fingerprint(root)}
    assert source_fingerprint(root) in seen
    changes = [
        lambda: (root / "cat/3.png").write_bytes(b"new"),
        lambda: (root / "cat/3.png").write_bytes(b"now"),
        lambda: (root / "cat/3.png").rename(root / "cat/4.png"),
        lambda: os.utime(root / "cat/4.png", ns=(1, 1)),
        lambda: (root / "cat/4.png").unlink(),
    ]
    for change in changes[:-1]:
        change()
        fingerprint = source_fingerprint(root)
        assert fingerprint not in seen
        seen.add(fingerprint)
    changes[-1]()
    assert source_fingerprint(root) in seen


@pytest.mark.real_data
def test_real_images_of_an_archive(real_data, tmp_path):
    """Every hundredth image of the JPEG copy of CIFAR-10, beside what Pillow makes of it."""
    wanted = {}
    files = {}
    with tarfile.open(real_data / "cifar10-jpeg.tar.xz", "r|xz") as archive:
        for count, entry in enumerate(filter(tarfile.TarInfo.isfile, archive)):
            if count % 100 == 0:
                data = archive.extractfile(entry).read()
                files[entry.name] = data
                wanted[entry.name] = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    contents = read_image_folder(tar(tmp_path / "part.tar.xz", files, "w:xz"))
    assert contents.notes == ()
    assert contents.splits["train"].classes[0] == "airplane"
    for split, per_class in (("train", 50), ("test", 10)):
        arrays = contents.splits[split]
        assert arrays.images.shape == (10 * per_class, 3, 32, 32)
        assert np.bincount(arrays.labels).tolist() == [per_class] * 10
        for image, name in zip(arrays.images, arrays.names, strict=True):
            assert np.array_equal(image.transpose(1, 2, 0), wanted[name])
