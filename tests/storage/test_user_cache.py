"""The location of the user's cache."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_dir

from tenfold.storage import cache_folder, room_for


def test_the_folder_is_the_named_one_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("TENFOLD_CACHE")
    assert cache_folder() == Path(user_cache_dir("tenfold"))


def test_a_file_that_is_not_named_by_a_digest_is_never_removed(tmp_path: Path) -> None:
    entries = [tmp_path / f"{letter * 64}.safetensors" for letter in "abc"]
    own = tmp_path / "my-model.safetensors"
    for path in (own, *entries[:2]):
        path.write_bytes(bytes(100))
    with room_for(entries[2], most=1):
        entries[2].touch()
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {own.name, entries[2].name}
