"""The cache of decoded arrays: what it returns, what it drops, and how it fails."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenfold.data.folders import cache
from tenfold.data.folders.cache import load_cached, store_cached
from tenfold.storage import cache_folder
from tenfold.types import LabelledArrays


def splits(seed: int = 0, n: int = 5, *, named: bool = True) -> dict[str, LabelledArrays]:
    rng = np.random.default_rng(seed)
    names = tuple(f"cat/é\udcff{i}.png" for i in range(n)) if named else None
    return {
        split: LabelledArrays(
            rng.integers(0, 256, (n, 3, 4, 2), np.uint8),
            rng.integers(0, 2, n, np.int64),
            ("cat", "dög"),
            names,
        )
        for split in ("train", "test")
    }


def entries() -> list[Path]:
    return sorted(cache_folder().rglob("*.safetensors"))


@pytest.mark.parametrize("named", [True, False])
def test_what_is_stored_comes_back(named):
    stored = splits(named=named)
    assert store_cached("key", stored, {"notes": ["é"], "size": [4, 2]}) == ""
    cached = load_cached("key")
    assert cached.note == ""
    assert cached.header == {"notes": ["é"], "size": [4, 2]}
    assert list(cached.splits) == ["train", "test"]
    for split, arrays in stored.items():
        again = cached.splits[split]
        assert np.array_equal(again.images, arrays.images)
        assert np.array_equal(again.labels, arrays.labels)
        assert again.classes == arrays.classes
        assert again.names == arrays.names
        assert again.images.flags.writeable


def test_another_key_has_nothing():
    store_cached("key", splits(), {})
    assert load_cached("other") == (None, {}, "")


def test_storing_again_replaces():
    store_cached("key", splits(1), {})
    store_cached("key", splits(2), {})
    assert np.array_equal(load_cached("key").splits["test"].images, splits(2)["test"].images)
    assert len(entries()) == 1


@given(place=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.booleans())
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_entry_is_said_and_never_used(place, value, cut):
    store_cached("key", splits(), {})
    (path,) = entries()
    data = bytearray(path.read_bytes())
    place %= len(data)
    if cut:
        del data[place:]
    elif data[place] == value:
        return
    else:
        data[place] = value
    path.write_bytes(data)
    cached = load_cached("key")
    assert cached.splits is None
    assert "the cached copy" in cached.note
    assert store_cached("key", splits(), {}) == ""
    assert load_cached("key").splits is not None


def test_an_entry_of_another_key_is_not_used():
    store_cached("one", splits(1), {})
    store_cached("two", splits(2), {})
    one, two = entries()
    os.replace(one, two)
    results = [load_cached("one"), load_cached("two")]
    assert all(cached.splits is None for cached in results)
    assert any("another key" in cached.note for cached in results)


def test_entries_used_longest_ago_are_dropped_first(monkeypatch):
    size = 2 * (5 * 24 + 5 * 8)
    for number, key in enumerate("abc"):
        store_cached(key, splits(), {})
        (path,) = set(entries()) - {cache._entry(other) for other in "abc"[:number]}
        os.utime(path, (1000 + number, 1000 + number))
    load_cached("a")  # used now, so "b" is the oldest
    on_disk = sum(path.stat().st_size for path in entries())
    monkeypatch.setattr(cache, "LARGEST_CACHE", on_disk + size - 1)
    assert store_cached("d", splits(), {}) == ""
    assert [load_cached(key).splits is not None for key in "abcd"] == [True, False, True, True]


def test_what_is_larger_than_the_cache_is_not_stored(monkeypatch):
    monkeypatch.setattr(cache, "LARGEST_CACHE", 100)
    assert store_cached("key", splits(), {}) == "not cached: 320 bytes are over the limit of 100"
    assert entries() == []


def test_a_folder_that_cannot_be_made_is_said(monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "file"))
    assert load_cached("key").splits is None
    assert store_cached("key", splits(), {}).startswith("not cached: ")


def test_a_cache_locked_by_another_is_said(monkeypatch):
    store_cached("key", splits(), {})
    monkeypatch.setattr(cache, "_LOCK_SECONDS", 0.05)
    with FileLock(cache_folder() / "decoded" / "lock"):
        assert "another process kept" in store_cached("other", splits(), {})
        assert load_cached("key").splits is not None


def test_many_writers_and_readers_leave_whole_entries():
    problems = []

    def work(seed: int) -> None:
        for _ in range(5):
            problems.append(store_cached(f"key{seed % 2}", splits(seed % 2), {}))
            problems.append(load_cached(f"key{seed % 2}").note)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(problems) == {""}
    for seed in (0, 1):
        images = load_cached(f"key{seed}").splits["train"].images
        assert np.array_equal(images, splits(seed)["train"].images)
    assert not list(cache_folder().rglob("*.tmp"))
