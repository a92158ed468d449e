"""Reading a recipe by name or from a file."""

import os
from pathlib import Path

import pytest

from tenfold.errors import UsageError
from tenfold.recipes import load_recipe, parse_recipe, recipe_names, recipe_text


@pytest.mark.parametrize("name", recipe_names())
def test_a_file_may_begin_with_a_byte_order_mark(name, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(recipe_text(name), "utf-8-sig")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert load_recipe(path) == load_recipe(name)


def test_a_byte_order_mark_anywhere_else_is_refused():
    for text in ("\ufeffepochs = 3", "epochs\ufeff = 3"):
        with pytest.raises(UsageError, match="not TOML"):
            parse_recipe(text, "here")


def test_an_unknown_name_suggests_the_closest():
    for name, nearest in (("lenet-mnits", "did you mean 'lenet-mnist'"), ("a/b.tml", "choose one")):
        with pytest.raises(
            UsageError, match=f"{name}' is neither a recipe nor a .toml file; {nearest}"
        ):
            load_recipe(name)


@pytest.mark.parametrize(
    "content",
    [b"lr = ", b"[model", b"\xff\xfe", b"lr = 0.1\nlr = 0.2", b"x = " + b"[" * 100_000, b"\0"],
    ids=["half", "bracket", "bytes", "twice", "deep", "null"],
)
def test_a_file_that_is_not_toml_is_named(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"mine\.toml: "):
        load_recipe(path)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    with (tmp_path / "large.toml").open("wb") as file:
        file.truncate(2**33)
    for name in ("missing.toml", "folder.toml", "large.toml", "nul\0.toml"):
        with pytest.raises(UsageError, match=r"\.toml: "):
            load_recipe(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(
        UsageError, match=r"^recipe .*pipe\.toml: cannot be read: not a regular file"
    ):
        load_recipe(tmp_path / "pipe.toml")


def test_a_file_in_the_working_folder_does_not_hide_a_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lenet-mnist").write_text("model = 'mlp'")
    Path("lenet-mnist.toml").write_text("model = 'mlp'")
    assert load_recipe("lenet-mnist").model == "lenet"
    assert load_recipe("lenet-mnist.toml").model == "mlp"
