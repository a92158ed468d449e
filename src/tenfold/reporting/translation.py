"""Finished English texts in another language, by a table of templates.

The code makes its notes, errors and results in English. Where one of them is displayed, the table
is searched for the template that it was made from, such as `no image of {0} is left`. What stands
in the places of the template is put into the template of the other language, whose places may be
in another order. A place that names a section of the table, such as `{0:counted}`, gets what
that section makes of it. Any other place is kept as it is, because it may be a name.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import product
from typing import NamedTuple

from tenfold.errors import TenfoldError
from tenfold.reporting.columns import columns_of

TEXTS = "texts"
"""The name, in a place, of all sections of `WHOLE` together."""

WHOLE = ("notes", "errors", "remedies", "results", "status", "where", "problems")
"""Sections with whole texts; the others have parts of these."""

NOTE, WHERE = "note: ", "where"
"""What notes begin with; the section of what may stand before a text, and a colon."""

HELP, HEADINGS = "help", "headings"
"""Sections without places: the texts of `--help`, and the headings of tables of results."""

TO_THE_RIGHT = "numbers"
"""The section with those headings that are aligned on the right."""

ANYTHING = "anything"
"""In a place: what a library or the system says, in whatever words."""

ENOUGH_LETTERS = 30
"""A template with fewer does not fit a text if a sentence would be left in English."""

DEEPEST, MOST_LOOKS = 12, 500
"""Places within places, and lookups in a section; what takes more of them stays English."""


_PLACE = re.compile(r"\{(\d+|[^{}|]*(?:\|[^{}|]*)+)\}")
"""In an English template: a number, or words of which the text has one, such as `{is|are}`."""

_NO_SPACE = "[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef“”…]"
"""Letters and marks of a script that has no spaces between words."""

_FILLED = re.compile(
    rf"(?P<before>(?<={_NO_SPACE}) )?"
    r"\{(?P<number>\d+)(?:(?P<mark>[:!;,+])(?P<section>\w+))?\}"
    rf"(?P<after> (?={_NO_SPACE}))?"
)
"""In a translation: the number of a place, and the section that translates what is there.

After an exclamation mark, it must have a translation. After other signs than that and a colon, it
translates each part of a list. A space between such a script
and the place is left out if what is there is translated into that script.
"""

_LISTS = {";": ("; ", "；"), ",": (", ", "，"), "+": (", ", "、")}
"""By that sign, what stands between the parts, in English and in the translation."""

_PARTS = {
    between: re.compile(
        rf"""((?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?!{between}).)+)(?:{between})?""", re.DOTALL
    )
    for between, _ in _LISTS.values()
}
"""What stands between those, but not in quotes."""

_PROSE = re.compile(
    r"(?<![\w/.])(?:[a-z]+ [a-z]+ [a-z]+|(?:an?|the|its|this) [a-z]+|(?:it|this)$)(?![\w/.])"
)
_QUOTED = re.compile(r"(?<!\w)(?:'[^']*'|\"[^\"]*\")|\btenfold [a-z]+( .*)?$")
"""Names in quotes, and commands."""

_CELL = re.compile(r"\S+(?: \S+)*")
_FIGURE = re.compile(r"\w+_\w+|n|f1")
"""Headings that are the same in all languages."""


class _Template(NamedTuple):
    """An English template with one choice of its words.

    Attributes:
        literals: what stands before, between and after the places.
        translation: the template of the other language.
        starts: by the number of each place that follows another one directly, what the texts of
            its section may begin with.
    """

    literals: tuple[str, ...]
    translation: str
    starts: Mapping[int, Sequence[str]]

    @property
    def letters(self) -> int:
        """How many there are besides punctuation, which fits by chance."""
        return sum(character.isalpha() for literal in self.literals for character in literal)

    def places_in(self, text: str) -> Iterator[list[str]]:
        """What may stand in the places if the text was made from this template; or nothing.

        After a space, nothing begins with a space: that would be another column of a table. A place
        that follows another one directly may be empty.

        Args:
            text: it begins with the first literal and ends with the last.
        """
        if len(self.literals) == 1:
            if text == self.literals[0]:
                yield []
            return
        for shares in self._shares_of(text):
            ways = [_divided(*each) for each in zip(shares, self._starts_in_shares(), strict=True)]
            for chosen in product(*ways):
                yield [place for places in chosen for place in places]

    def _starts_in_shares(self) -> list[list[Sequence[str]]]:
        """For the places between two literals, what the second and later may begin with."""
        found: list[list[Sequence[str]]] = []
        for number in range(len(self.literals) - 1):
            if number in self.starts:
                found[-1].append(self.starts[number])
            else:
                found.append([])
        return found

    def _shares_of(self, text: str) -> Iterator[list[str]]:
        """What may stand between the literals."""
        first, *inner, last = self.literals
        middle = [literal for number, literal in enumerate(inner, 1) if number not in self.starts]
        position, end = len(first), len(text) - len(last)
        if position > end:
            return
        found = []
        for literal in middle:
            place = text.find(literal, position, end)
            if place < 0:
                return
            found.append(text[position:place])
            position = place + len(literal)
        found.append(text[position:end])
        before = zip((first, *middle), found, strict=True)
        if not any(lit.endswith(" ") and each.startswith(" ") for lit, each in before):
            yield found
        if len(middle) == 1 and (place := text.rfind(middle[0], position, end)) > len(found[0]):
            yield [text[len(first) : place], text[place + len(middle[0]) : end]]


class _Filled(NamedTuple):
    """A translation with its places.

    Attributes:
        text: all of it.
        is_translated: whether anything in its places was.
        has_prose: whether there is an English sentence in one of them.
        is_wrong: whether there is one where a section should have translated it.
        has_clauses: whether one that is kept as it is has a colon or a semicolon, or the
            translation of one is not sure.
    """

    text: str
    is_translated: bool
    has_prose: bool
    is_wrong: bool
    has_clauses: bool


class _Found(NamedTuple):
    """What a section makes of a text.

    Attributes:
        text: the translation.
        is_sure: whether its templates do not look like those of only a part of the text.
    """

    text: str
    is_sure: bool


_Known = dict[tuple[str, str], _Found | None]
"""What sections make of texts, by the text and the section."""


def _spaced(place: re.Match[str], text: str, *, starts: bool = False, ends: bool = False) -> str:
    """A text with the spaces around its place.

    Args:
        place: in a translation.
        text: what is there.
        starts: whether its first letters were translated.
        ends: whether its last ones were.
    """
    before, after = place["before"] or "", place["after"] or ""
    if not text:
        return before or after
    if starts and re.match(_NO_SPACE, text):
        before = ""
    if ends and re.match(_NO_SPACE, text[-1]):
        after = ""
    return f"{before}{text}{after}"


def _has_prose(text: str) -> bool:
    """Whether it has three English words in a row, or an article or the like, outside quotes.

    Names seldom have that.
    """
    return _PROSE.search(_QUOTED.sub("", text)) is not None


def _divided(text: str, starts: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """What may stand in places that follow each other directly.

    Args:
        text: of all of them.
        starts: what those after the first may begin with if they are not empty.
    """
    if not starts:
        yield [text]
        return
    *others, last = starts
    ends = [place for start in last for place in (text.find(start, 1), text.rfind(start, 1))]
    for end in dict.fromkeys([*(place for place in ends if place > 0), len(text)]):
        for before in _divided(text[:end], others):
            yield [*before, text[end:]]


def templates_of(english: str) -> Iterator[tuple[str, ...]]:
    """For each choice of a template's words, what stands before, between and after its places."""
    parts = _PLACE.split(english)
    choices = [
        [part] if number % 2 == 0 else [None] if part.isdecimal() else part.split("|")
        for number, part in enumerate(parts)
    ]
    for chosen in product(*choices):
        literals = [""]
        for part in chosen:
            if part is None:
                literals.append("")
            else:
                literals[-1] += part
        yield tuple(literals)


class Translator:
    """Translates finished texts.

    Args:
        table: by the name of a section, its English templates and their translations.
    """

    def __init__(self, table: Mapping[str, Mapping[str, str]]) -> None:
        self._table = table
        whole = [entry for name in WHOLE for entry in table.get(name, {}).items()]
        self._sections = {
            TEXTS: _sorted(whole, table),
            **{name: _sorted(entries.items(), table) for name, entries in table.items()},
        }

    def text(self, english: str) -> str:
        """A note, a line of results, or another whole text; unchanged if there is none for it."""
        if english.startswith(NOTE):
            return self._table["notes"][NOTE] + self.text(english.removeprefix(NOTE))
        where, colon, rest = english.partition(": ")
        if colon and (before := self._in_section(where, WHERE, 1, {})):
            return f"{before.text}：{self.text(rest)}"
        found = self._in_section(english, TEXTS, DEEPEST, {})
        return english if found is None else found.text

    def error(self, error: TenfoldError) -> str:
        """An error's message and remedy."""
        message, remedy = self.text(error.message), self.text(error.remedy)
        if not remedy:
            return message
        return f"{message}{'; ' if message == error.message else '；'}{remedy}"

    def lines(self, english: str) -> str:
        """Results, line by line; headings keep their columns, of which each must be wide enough."""
        return "\n".join(
            self._headings(line) or self.text(line) if line.strip() else line
            for line in english.split("\n")
        )

    def help(self, english: str) -> str:
        """A text of `--help`, paragraph by paragraph."""
        entries = self._table.get(HELP, {})
        if english in entries:
            return entries[english]
        paragraphs = [" ".join(each.split()) for each in english.split("\n\n")]
        return "\n\n".join(entries.get(each, each) for each in paragraphs)

    def _in_section(self, english: str, section: str, depth: int, known: _Known) -> _Found | None:
        """What a section makes of a text; None if nothing.

        Args:
            english: a text or a part of one.
            section: by name.
            depth: of places within places that may still be translated.
            known: from earlier lookups; this one is added.
        """
        key = english, section
        if key not in known:
            if len(known) >= MOST_LOOKS:
                return None
            known[key] = None  # inside of itself, too
            known[key] = self._looked_up(english, section, depth, known)
        return known[key]

    def _looked_up(self, english: str, section: str, depth: int, known: _Known) -> _Found | None:
        """The same, if it is not known."""
        second_best = None
        for template in self._sections.get(section, ()):
            literals = template.literals
            if not (english.startswith(literals[0]) and english.endswith(literals[-1])):
                continue
            for places in template.places_in(english):
                filled = self._filled(template, places, depth, known)
                is_sure = template.letters >= ENOUGH_LETTERS or not filled.has_prose
                is_needed = template.letters or literals[0] or literals[-1] or filled.is_translated
                if not is_sure or not is_needed or filled.is_wrong:
                    continue
                if not (filled.has_clauses or filled.has_prose):
                    return _Found(filled.text, is_sure=True)
                # Another template may be about all of it, and this only about what is at one end.
                second_best = second_best or _Found(filled.text, is_sure=False)
        return second_best

    def _filled(
        self, template: _Template, places: Sequence[str], depth: int, known: _Known
    ) -> _Filled:
        """A translation with its places; one that follows another directly must be translated."""
        is_any_translated = has_prose = is_wrong = has_clauses = False

        def filled(place: re.Match[str]) -> str:
            nonlocal is_any_translated, has_prose, is_wrong, has_clauses
            number, section = int(place["number"]), place["section"]
            english = places[number]
            if not english or section == ANYTHING:
                return _spaced(place, english)
            if section is None or not depth:
                has_clauses |= ": " in english or "; " in english
                has_prose |= _has_prose(english)
                return _spaced(place, english)
            between, instead = _LISTS.get(place["mark"], ("", ""))
            parts = _PARTS[between].findall(english) if between else [english]
            if between.join(parts) != english:
                parts = [english]
            found = [self._in_section(part, section, depth - 1, known) for part in parts]
            is_any_translated |= any(each is not None for each in found)
            left = any(
                each is None and _has_prose(part) for part, each in zip(parts, found, strict=True)
            )
            has_prose |= left
            is_wrong |= left and section != TEXTS
            is_wrong |= None in found and (place["mark"] == "!" or number in template.starts)
            has_clauses |= any(each is not None and not each.is_sure for each in found)
            said = instead.join(
                part if each is None else each.text for part, each in zip(parts, found, strict=True)
            )
            starts, ends = found[0] is not None, found[-1] is not None
            return _spaced(place, said, starts=starts, ends=ends)

        text = _FILLED.sub(filled, template.translation)
        return _Filled(text, is_any_translated, has_prose, is_wrong, has_clauses)

    def _headings(self, line: str) -> str:
        """A line that has the headings of a table, with these in place; else empty."""
        words, numbers = (self._table.get(name, {}) for name in (HEADINGS, TO_THE_RIGHT))
        cells = list(_CELL.finditer(line))
        known = [cell for cell in cells if cell[0] in words or cell[0] in numbers]
        if len(known) < 2 or any(c not in known and not _FIGURE.fullmatch(c[0]) for c in cells):
            return ""
        translated, column = "", 0
        for cell in cells:
            text = words.get(cell[0]) or numbers.get(cell[0]) or cell[0]
            start = cell.end() - columns_of(text) if cell[0] in numbers else cell.start()
            translated += " " * max(start - column, 1 if column else 0) + text
            column = columns_of(translated)
        return translated


def _sorted(
    entries: Iterable[tuple[str, str]], table: Mapping[str, Mapping[str, str]]
) -> list[_Template]:
    """The templates, those that say most first."""
    found = [
        _Template(literals, translation, _starts(literals, translation, table))
        for english, translation in entries
        for literals in templates_of(english)
    ]
    return sorted(found, key=lambda template: -sum(map(len, template.literals)))


def _starts(
    literals: Sequence[str], translation: str, table: Mapping[str, Mapping[str, str]]
) -> dict[int, list[str]]:
    """See `_Template`."""
    sections = {int(each["number"]): each["section"] for each in _FILLED.finditer(translation)}
    return {
        number: [
            each[0]
            for english in table.get(sections.get(number, ""), {})
            for each in templates_of(english)
        ]
        for number in range(1, len(literals) - 1)
        if not literals[number]
    }


@cache
def translator(language: str) -> Translator:
    """What translates into a language, by the table in `languages/` that has its name."""
    place = resources.files("tenfold.reporting") / "languages" / f"{language}.toml"
    return Translator(tomllib.loads(place.read_text("utf-8")))
