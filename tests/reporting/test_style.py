"""Figures look the same with any user settings, and are always written as the same bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.style
import pytest
import torch
from matplotlib import font_manager
from matplotlib.figure import Figure
from PIL import Image

from tenfold.data.dataset import ImageDataset
from tenfold.errors import StorageError, UsageError
from tenfold.reporting import style
from tenfold.reporting.plots import curves_figure, images_figure
from tenfold.reporting.style import figure_bytes, save_figure


def curves() -> Figure:
    """A figure with lines, markers, a legend and two panels."""
    return curves_figure(
        {"train_loss": {1: 2.0, 2: 1.0, 3: 0.5}, "train_acc": {1: 0.5, 2: 0.75, 3: 0.875}}
    )


def test_characters_that_no_font_has_are_noted_once_with_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "_families", lambda: ("DejaVu Sans",))
    for remembered in (style._has_glyph, style._note_once):
        remembered.cache_clear()
    try:
        assert style.legible("\u732bcat\u72d7") == r"\u732bcat\u72d7"
        assert style.legible("\u732b") == r"\u732b"
        note = capsys.readouterr().err
        assert note.count("note: ") == 1
        assert "install fonts-noto-cjk (Debian, Ubuntu)" in note
        assert style.legible("caf\u00e9") == "caf\u00e9"
        assert capsys.readouterr().err == ""
    finally:
        for remembered in (style._has_glyph, style._note_once):
            remembered.cache_clear()


def test_a_newly_installed_font_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dejavu = Path(font_manager.findfont("DejaVu Sans"))
    new = tmp_path / "New.ttf"
    new.write_bytes(dejavu.read_bytes())
    (tmp_path / "Broken.ttf").write_bytes(b"not a font")
    monkeypatch.setattr(
        font_manager, "findSystemFonts", lambda: [str(new), str(tmp_path / "Broken.ttf")]
    )
    before = list(font_manager.fontManager.ttflist)
    try:
        style._find_new_fonts()
        assert [f.fname for f in font_manager.fontManager.ttflist if f not in before] == [str(new)]
    finally:
        font_manager.fontManager.ttflist = before


def settings() -> dict[str, object]:
    """Matplotlib's settings, except the backend, which is only chosen when it is read."""
    return {key: mpl.rcParams[key] for key in mpl.rcParams if key != "backend"}


def test_a_png_has_twice_the_pixels_of_the_screen(tmp_path: Path) -> None:
    figure = curves()
    save_figure(figure, tmp_path / "new" / "a.png")
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert image.format == "PNG"
        assert image.size == tuple(round(200 * side) for side in figure.get_size_inches())


@pytest.mark.parametrize("name", ["a.png", "a.svg", "A.SVG"])
def test_equal_figures_are_equal_bytes(tmp_path: Path, name: str) -> None:
    for folder in ("one", "two"):
        save_figure(curves(), tmp_path / folder / name)
    one, two = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
    assert one == two


def test_an_svg_holds_its_words_as_text_and_no_date() -> None:
    names = ("T-shirt/top", "Ankle boot")
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    dataset = ImageDataset(images, torch.arange(2), names)
    written = figure_bytes(images_figure(dataset, range(2)), "svg").decode()
    for name in names:
        assert f">{name}</text>" in written
    assert "<dc:date>" not in written


def test_the_users_settings_have_no_effect_and_are_not_changed() -> None:
    plain = figure_bytes(curves(), "png")
    with matplotlib.style.context(["dark_background", {"legend.fontsize": 20}]):
        before = settings()
        assert figure_bytes(curves(), "png") == plain
        assert settings() == before


@pytest.mark.parametrize("name", ["a.pdf", "a"])
def test_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"use a name that ends in \.png or \.svg"):
        save_figure(curves(), tmp_path / name)
    assert not [*tmp_path.iterdir()]


def test_a_file_where_the_folder_belongs_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="this is a file, wanted a folder"):
        save_figure(curves(), tmp_path / "file" / "a.png")


def test_pyplot_is_not_imported() -> None:
    code = (
        "import sys, numpy as np; from tenfold.reporting.plots import *; "
        "from tenfold.reporting.style import figure_bytes; "
        "from tenfold.evaluation.report import Report; "
        "r = Report('test', 2, 0.5, np.eye(2, dtype=np.int64), ('a', 'b')); "
        "figure_bytes(confusion_figure(r), 'png'); "
        "figure_bytes(curves_figure({'train_loss': {1: 0.5}}), 'svg'); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"
    assert answer.stderr == ""
