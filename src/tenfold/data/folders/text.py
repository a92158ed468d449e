"""Text whose encoding is not known."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Sequence

from tenfold.errors import DataError

_LONGEST_PART = 255
"""Characters that a file system allows in one part of a path."""


def guessed_encoding(pieces: Sequence[bytes], otherwise: str) -> str:
    """The encoding of pieces of text that do not say theirs.

    UTF-8 if all can be. Otherwise, GBK if all can be, and if most that are not plain ASCII consist
    of the common characters of GB 2312. Otherwise, another one.

    Args:
        pieces: of text in one encoding.
        otherwise: what it is taken for then.
    """
    odd = [piece for piece in pieces if not piece.isascii()]
    if all(_can_be(piece, "utf-8") for piece in odd):
        return "utf-8"
    common = [piece for piece in odd if _can_be(piece, "gb2312")]
    if all(_can_be(piece, "gbk") for piece in odd) and 2 * len(common) >= len(odd):
        return "gbk"
    return otherwise


def decoded(data: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """A file as text, and a note if its encoding is a guess.

    Raises:
        DataError: it is not text.
    """
    notes: tuple[str, ...] = ()
    marks = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
    encoding = next((each for mark, each in marks.items() if data.startswith(mark)), "")
    if not encoding:
        encoding = guessed_encoding(data.splitlines(), "cp1252")
        if encoding != "utf-8":
            notes = (f"{name} is read as {encoding.upper()}, because it is not in UTF-8",)
    text = data.decode(encoding, "replace")
    if "\0" in text:
        raise DataError(f"{name}: not a table of text", remedy="save it as CSV in UTF-8")
    return text, notes


def _can_be(piece: bytes, encoding: str) -> bool:
    try:
        piece.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def composed(name: str) -> str:
    """A name or path with accents encoded in one way (NFC).

    Parts longer than any file's name stay as they are: sorting a row of accents takes time that
    grows with the square of its length.
    """
    if name.isascii():
        return name
    parts = name.split("/")
    return "/".join(
        unicodedata.normalize("NFC", part) if len(part) <= _LONGEST_PART else part for part in parts
    )


def plain_name(name: str) -> str:
    """A name without spaces around it, and with accents encoded in one way (NFC)."""
    return composed(name).strip()


def meant(given: Collection[str], there: Iterable[str]) -> dict[str, str]:
    """The name that each given name stands for, if it is not there itself, but only one like it is.

    Names are alike that differ only by spaces around them, or by how accents are encoded:
    spreadsheets and file systems change both.
    """
    names = set(there)
    missing = sorted(set(given) - names)
    alike: dict[str, list[str]] = {}
    for name in names if missing else ():
        alike.setdefault(plain_name(name), []).append(name)
    found, taken = dict[str, str](), set(given)
    for name in missing:
        those = alike.get(plain_name(name), [])
        if len(those) == 1 and those[0] not in taken:
            found[name] = those[0]
            taken.add(those[0])
    return found
