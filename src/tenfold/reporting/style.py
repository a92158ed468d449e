"""The style of all figures: matplotlib settings, fonts and files.

The settings are in `tenfold.mplstyle`. Needs neither a window nor pyplot's global state.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Literal

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.figure import Figure

from tenfold.errors import UsageError, printable
from tenfold.reporting.terminal import PlainWatcher
from tenfold.storage import destination, make_folder, write_bytes

PictureFormat = Literal["png", "svg"]

PIXELS_PER_INCH = 100
"""On the screen; PNGs have `PNG_SCALE` times as many, for high-resolution screens."""

PNG_SCALE = 2

_CJK = ((0x1100, 0x11FF), (0x2E80, 0xD7FF), (0xF900, 0xFAFF), (0xFF00, 0xFFEF), (0x20000, 0x323AF))
"""Code point ranges of Chinese, Japanese and Korean characters."""

STYLE = mpl.rc_params_from_file(
    Path(__file__).with_name("tenfold.mplstyle"), use_default_template=False
)
"""Settings that override the user's matplotlib settings."""


@contextmanager
def house_style() -> Iterator[None]:
    """Draw with the settings in `STYLE` inside the block."""
    with mpl.rc_context({**STYLE, "font.family": [*_families(), "sans-serif"]}):
        yield


@cache
def _families() -> tuple[str, ...]:
    """The style's fonts that are installed; DejaVu Sans comes with matplotlib."""
    _find_new_fonts()
    installed = set(font_manager.get_font_names())
    return tuple(family for family in STYLE["font.family"] if family in installed)


def _find_new_fonts() -> None:
    """Add fonts to matplotlib's list that were installed after it was made."""
    manager = font_manager.fontManager
    known = {font.fname for font in manager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            with suppress(Exception):  # not a font: matplotlib skips it too
                manager.addfont(path)


def legible(name: str) -> str:
    """A name that can be drawn: characters that no font has are replaced by their codes.

    A note says so once, and which fonts to install.
    """
    shown = printable(name)
    missing = "".join(dict.fromkeys(each for each in shown if not _has_glyph(each)))
    if missing:
        _note_once(_without_font(missing))
    codes = {each: each.encode("unicode_escape").decode() for each in missing}
    return "".join(codes.get(each, each) for each in shown)


@cache
def _note_once(text: str) -> None:
    PlainWatcher().note(text)


def _without_font(missing: str) -> str:
    """The note about these characters; the same sentence for all in a script, so it shows once."""
    if any(first <= ord(each) <= last for each in missing for first, last in _CJK):
        return (
            "no installed font has Chinese, Japanese or Korean characters, so figures show their "
            "codes; install fonts-noto-cjk (Debian, Ubuntu), google-noto-sans-cjk-fonts (Fedora) "
            "or noto-fonts-cjk (Arch)"
        )
    return "no installed font has some of the characters in class names, so figures show codes"


@cache
def _has_glyph(character: str) -> bool:
    fonts = (font_manager.get_font(font_manager.findfont(family)) for family in _families())
    return any(font.get_char_index(ord(character)) for font in fonts)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG or SVG, by the path's ending; creates the folder if needed.

    The same figure gives the same bytes.

    Raises:
        UsageError: the path ends in neither `.png` nor `.svg`.
        StorageError: the file cannot be written.
    """
    path = Path(path)
    form = picture_format(path)
    path = destination(path)
    make_folder(path.parent)
    write_bytes(path, figure_bytes(figure, form))


def picture_format(path: Path) -> PictureFormat:
    """The format that a path's ending names.

    Raises:
        UsageError: it is neither PNG nor SVG.
    """
    match path.suffix.lower().removeprefix("."):
        case "png" | "svg" as form:
            return form
    raise UsageError(
        f"{path}: cannot write an image "
        + (f"as {path.suffix!r}" if path.suffix else "without knowing the format"),
        remedy="use a name that ends in .png or .svg",
    )


@house_style()
def figure_bytes(figure: Figure, form: PictureFormat) -> bytes:
    """A figure as a PNG or SVG file."""
    buffer = io.BytesIO()
    metadata = {"Software": None} if form == "png" else {"Date": None, "Creator": None}
    scale = PNG_SCALE if form == "png" else 1
    figure.savefig(buffer, format=form, dpi=scale * PIXELS_PER_INCH, metadata=metadata)
    return buffer.getvalue()
