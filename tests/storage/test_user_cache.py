"""The location of the user's cache."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_dir

from tenfold.storage import cache_folder


def test_the_folder_is_the_named_one_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("TENFOLD_CACHE")
    assert cache_folder() == Path(user_cache_dir("tenfold"))
