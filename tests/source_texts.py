"""The English texts in the sources, as templates with numbered places."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import tenfold

SOURCE = Path(tenfold.__file__).parent

Piece = str | None
"""A part of a text, or None for what varies."""

_FIELD = re.compile(r"\{(\w*)(?::[^{}]*)?\}")
"""A place in a text for `str.format`."""


@cache
def tree_of(module: str) -> ast.Module:
    """The syntax of a file, which is not changed."""
    return ast.parse((SOURCE / module).read_text("utf-8"))


def modules() -> list[str]:
    """All files, such as `data/load.py`."""
    return sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))


def templates(node: ast.expr) -> set[str]:
    """What an expression may be, such as `{0} of them {is|are} left`."""
    return {_numbered(pieces) for pieces in _texts(node)}


def texts_in(nodes: Iterable[ast.AST]) -> set[str]:
    """The templates of all expressions there, also of those inside others."""
    found: set[str] = set()
    for node in nodes:
        match node:
            case ast.Constant(value=str() as text):
                found |= {text, _of_format(text)}
            case ast.JoinedStr() | ast.BinOp(op=ast.Add()):
                found |= templates(node)
            case ast.AugAssign(op=ast.Add(), value=added):
                found |= {_numbered([None, *pieces]) for pieces in _texts(added)}
            case ast.Call(func=ast.Name("counted"), args=[_, noun]):
                found |= {_plural(_numbered([None, " ", *pieces])) for pieces in _texts(noun)}
    found |= {_renumbered(line) for text in found for line in text.split("\n")}
    return found | {_of_format(text) for text in found if "{}" in text}


@cache
def all_texts() -> frozenset[str]:
    """All that the sources have."""
    return frozenset(texts_in(node for module in modules() for node in ast.walk(tree_of(module))))


def _texts(node: ast.expr) -> Iterator[list[Piece]]:
    match node:
        case ast.Constant(value=str() as text):
            yield [text]
        case ast.JoinedStr(values=values):
            yield [_piece(value) for value in values]
        case ast.IfExp(body=one, orelse=other):
            yield from _texts(one)
            yield from _texts(other)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            for first in _texts(left):
                for last in _texts(right):
                    yield [*first, *last]
        case _:
            yield [None]


def _piece(value: ast.expr) -> Piece:
    match value:
        case ast.Constant(value=str() as text):
            return text
        case ast.FormattedValue(
            value=ast.IfExp(
                body=ast.Constant(value=str() as one), orelse=ast.Constant(value=str() as other)
            )
        ):
            return f"{{{one}|{other}}}"
    return None


def _numbered(pieces: Iterable[Piece]) -> str:
    text, n = "", 0
    for piece in pieces:
        if piece is None:
            text, n = f"{text}{{{n}}}", n + 1
        else:
            text += piece
    return text


def _renumbered(text: str) -> str:
    """One line of several, with its own places."""
    count = iter(range(text.count("{")))
    return re.sub(r"\{\d+\}", lambda _: f"{{{next(count)}}}", text)


def _plural(text: str) -> str:
    places, noun = re.fullmatch(r"((?:\{\d+\} )+)(.*)", text).groups()
    return f"{places}{{{noun}|{noun}s}}" if noun else text


def _of_format(text: str) -> str:
    """A text for `str.format` with numbered places, in which others follow those it has."""
    count = iter(range(text.count("{")))
    return _FIELD.sub(lambda _: f"{{{next(count)}}}", text)
