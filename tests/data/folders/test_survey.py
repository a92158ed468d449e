"""What the first pass skips, and its notes."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile

from class_folders import TWO_CLASSES, main_sources, read, source, tar


@main_sources
def test_files_left_by_desktops_are_noted(tmp_path, kind):
    left = {
        ".DS_Store": b"x", "cat/.hidden.png": b"x", "__MACOSX/cat/._1.png": b"x",
        "dog/Thumbs.db": b"x", "cat/notes.txt": b"words", "README": b"words",
    }  # fmt: skip
    splits, (hidden, others) = read(source(kind, tmp_path, {**TWO_CLASSES, **left}))
    assert len(splits["all"].images) == 3
    assert hidden.startswith("skipped hidden files (4): .DS_Store, __MACOSX/cat/._1.png")
    assert others == "skipped files without an image extension (2): README, cat/notes.txt"


def test_very_long_names_are_shortened_in_notes(tmp_path):
    path = tar(tmp_path / "x.tar", {**TWO_CLASSES, "cat/" + "x" * 4000: b""})
    _, (note,) = read(path)
    assert note.startswith("skipped files without an image extension (1): cat/xxx")
    assert len(note) < 300


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
    note = "skipped links and special files in the archive (4): cat/d.png, cat/f.png, cat/h.png"
    assert read(path)[1][0].startswith(note)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in TWO_CLASSES.items():
            archive.writestr(name, data)
        entry = zipfile.ZipInfo("cat/s.png")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    assert "cat/s.png" in read(path)[1][0]
