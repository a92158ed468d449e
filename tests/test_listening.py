"""The channel to the person: what is kept, what is passed on, what is dropped."""

from __future__ import annotations

from typing import Any

from tenfold.listening import Listener, Recorder, WithoutNotes


class Told(Listener):
    """Keeps every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def note(self, text: str) -> None:
        self.calls.append(("note", text))

    def reading(self, what: str, done: int, total: int | None) -> None:
        self.calls.append(("reading", what, done, total))


def tell(listener: Listener) -> None:
    listener.note("first")
    listener.reading("images", 5, 10)
    listener.note("second\x1b[2J")
    listener.reading("a.tar", 100, None)


EVERYTHING = [
    ("note", "first"),
    ("reading", "images", 5, 10),
    ("note", "second\x1b[2J"),
    ("reading", "a.tar", 100, None),
]
"""Raw: whoever shows it makes it printable."""


def test_a_listener_may_be_told_anything_and_does_nothing() -> None:
    listener = Listener()
    before = dict(vars(listener))
    tell(listener)
    assert vars(listener) == before


def test_a_recorder_keeps_the_notes_and_passes_everything_on_as_it_comes() -> None:
    told = Told()
    recorder = Recorder(told)
    assert recorder.notes == []
    tell(recorder)
    assert recorder.notes == ["first", "second\x1b[2J"]
    assert told.calls == EVERYTHING


def test_recorders_keep_notes_of_their_own() -> None:
    outer = Recorder(Listener())
    outer.note("before")
    inner = Recorder(outer)
    inner.note("within")
    assert (outer.notes, inner.notes) == (["before", "within"], ["within"])


def test_without_notes_only_the_readings_come_through() -> None:
    told = Told()
    tell(WithoutNotes(told))
    assert told.calls == [call for call in EVERYTHING if call[0] == "reading"]


def test_what_is_recorded_can_be_kept_from_who_was_told_before() -> None:
    told = Told()
    recorder = Recorder(WithoutNotes(told))
    tell(recorder)
    assert recorder.notes == ["first", "second\x1b[2J"]
    assert [kind for kind, *_ in told.calls] == ["reading", "reading"]
