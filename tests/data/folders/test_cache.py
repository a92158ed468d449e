"""The cache of decoded arrays: what it returns, what it evicts, and how it fails."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from platformdirs import user_cache_dir

from tenfold.data.folders import cache
from tenfold.data.folders.cache import Decoded, cache_folder, load_cached, store_cached
from tenfold.listening import Listener, Recorder
from tenfold.storage import user_cache
from tenfold.types import LabeledArrays
from tensor_files import read_tensors, write_tensors


def splits(seed: int = 0, n: int = 5, *, named: bool = True) -> dict[str, LabeledArrays]:
    rng = np.random.default_rng(seed)
    names = tuple(f"cat/é\udcff{i}.png" for i in range(n)) if named else None
    return {
        split: LabeledArrays(
            rng.integers(0, 256, (n, 3, 4, 2), np.uint8),
            rng.integers(0, 2, n, np.int64),
            ("cat", "dög"),
            names,
        )
        for split in ("train", "test")
    }


def store(key: str, stored: dict[str, LabeledArrays], notes: tuple[str, ...] = ()) -> list[str]:
    """The notes given while storing arrays."""
    recorder = Recorder(Listener())
    store_cached(key, Decoded(stored, list(notes)), recorder)
    return recorder.notes


def load(key: str) -> tuple[Decoded | None, list[str]]:
    """The cached entry and the notes."""
    recorder = Recorder(Listener())
    return load_cached(key, recorder), recorder.notes


def entries() -> list[Path]:
    return sorted(cache_folder().rglob("*.safetensors"))


def test_the_folder_is_the_named_one_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("TENFOLD_CACHE")
    assert cache_folder() == Path(user_cache_dir("tenfold"))


@pytest.mark.parametrize("named", [True, False])
def test_what_is_stored_comes_back(named):
    stored = splits(named=named)
    assert store("key", stored, ("é\udcff\x1b",)) == []
    cached, told = load("key")
    assert told == []
    assert cached.notes == ["é\udcff\x1b"]
    assert list(cached.splits) == ["train", "test"]
    for split, arrays in stored.items():
        again = cached.splits[split]
        assert np.array_equal(again.images, arrays.images)
        assert np.array_equal(again.labels, arrays.labels)
        assert again.classes == arrays.classes
        assert again.names == arrays.names
        assert again.images.flags.writeable


def test_another_key_has_nothing():
    store("key", splits())
    assert load("other") == (None, [])


def test_storing_again_replaces():
    store("key", splits(1))
    store("key", splits(2))
    cached, _ = load("key")
    assert np.array_equal(cached.splits["test"].images, splits(2)["test"].images)
    assert len(entries()) == 1


@given(place=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.booleans())
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_entry_is_noted_and_never_used(place, value, cut):
    store("key", splits())
    (path,) = entries()
    data = bytearray(path.read_bytes())
    place %= len(data)
    header_end = 8 + int.from_bytes(data[:8], "little")
    spaces = b" \t\n\r" if place < header_end else b""
    if cut:
        del data[place:]
    elif data[place] == value or (data[place] in spaces and value in spaces):
        return  # another space between the header's words means the same
    else:
        data[place] = value
    path.write_bytes(data)
    cached, (told,) = load("key")
    assert cached is None
    assert "the cached copy" in told
    assert store("key", splits()) == []
    assert load("key")[0] is not None


def test_an_entry_of_another_key_is_not_used():
    store("one", splits(1))
    store("two", splits(2))
    one, two = entries()
    os.replace(one, two)
    results = [load("one"), load("two")]
    assert all(cached is None for cached, _ in results)
    assert sum("another key" in told for _, notes in results for told in notes) == 1


def test_an_entry_of_the_first_version_of_tenfold_is_used():
    store("key", splits(), ("a note",))
    header, tensors = read_tensors(entries()[0], kind="tenfold-decoded", version=1)
    # what tenfold 0.1 wrote beside it
    header["header"] = {"notes": ["a note"], "image_size": [4, 2], "channels": 3}
    write_tensors(entries()[0], tensors, kind="tenfold-decoded", version=1, header=header)
    cached, told = load("key")
    assert told == []
    assert cached.notes == ["a note"]
    assert np.array_equal(cached.splits["train"].images, splits()["train"].images)


@pytest.mark.parametrize(
    "change",
    [
        {"header": None},
        {"header": {}},
        {"header": {"notes": "one"}},
        {"header": {"notes": [1]}},
        {"splits": []},
        {"splits": [{"split": "val", "classes": ["cat"]}]},
        {"splits": [{"split": "train", "classes": "cat"}]},
        {"splits": {"train": ["cat"]}},
    ],
    ids=str,
)
def test_a_foreign_header_is_noted_and_never_used(change):
    store("key", splits())
    header, tensors = read_tensors(entries()[0], kind="tenfold-decoded", version=1)
    write_tensors(
        entries()[0], tensors, kind="tenfold-decoded", version=1, header={**header, **change}
    )
    cached, (told,) = load("key")
    assert cached is None
    assert "was not used" in told


def test_foreign_arrays_are_noted_and_never_used():
    for number, images in enumerate((np.zeros((5, 4, 2), np.uint8), np.zeros((4, 3, 4, 2)))):
        odd = splits()["train"]._replace(images=images)
        store(str(number), {"train": odd})
        cached, (told,) = load(str(number))
        assert cached is None
        assert "its images and labels are" in told


def test_the_least_recently_used_entries_are_dropped_first(monkeypatch):
    size = 2 * (5 * 24 + 5 * 8)
    for number, key in enumerate("abc"):
        store(key, splits())
        (path,) = set(entries()) - {cache._entry(other) for other in "abc"[:number]}
        os.utime(path, (1000 + number, 1000 + number))
    load("a")  # used now, so "b" is the oldest
    on_disk = sum(path.stat().st_size for path in entries())
    monkeypatch.setattr(cache, "LARGEST_CACHE", on_disk + size - 1)
    assert store("d", splits()) == []
    assert [load(key)[0] is not None for key in "abcd"] == [True, False, True, True]


def test_data_larger_than_the_cache_is_not_stored(monkeypatch):
    monkeypatch.setattr(cache, "LARGEST_CACHE", 100)
    assert store("key", splits()) == ["not cached: 320 bytes are over the limit of 100"]
    assert entries() == []


def test_a_folder_that_cannot_be_created_is_noted(monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "file"))
    assert load("key")[0] is None
    assert store("key", splits())[0].startswith("not cached: ")


def test_a_cache_locked_by_another_process_is_noted(monkeypatch):
    store("key", splits())
    monkeypatch.setattr(user_cache, "_LOCK_SECONDS", 0.05)
    with FileLock(cache_folder() / "decoded" / "lock"):
        assert "another process kept" in store("other", splits())[0]
        assert load("key")[0] is not None


def test_many_writers_and_readers_leave_whole_entries():
    problems = []

    def work(seed: int) -> None:
        for _ in range(5):
            problems.extend(store(f"key{seed % 2}", splits(seed % 2)))
            problems.extend(load(f"key{seed % 2}")[1])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    for seed in (0, 1):
        cached, _ = load(f"key{seed}")
        images = cached.splits["train"].images
        assert np.array_equal(images, splits(seed)["train"].images)
    assert not list(cache_folder().rglob("*.tmp"))
