"""The one channel by which a person is told things while something long goes on."""

from __future__ import annotations


class Listener:
    """Is told what a person should know. Every method does nothing; override what interests you."""

    def note(self, text: str) -> None:
        """Something that a person should know, one sentence without a full stop."""

    def reading(self, what: str, done: int, total: int | None) -> None:
        """How far a long reading has come.

        Args:
            what: `images`, or the name of a file that is downloaded.
            done: images or bytes so far.
            total: how many there are; None while that is not known.
        """


class Recorder(Listener):
    """Keeps the notes, and passes everything on.

    Args:
        listener: is told as well.

    Attributes:
        notes: all of them, in their order.
    """

    def __init__(self, listener: Listener) -> None:
        self.notes: list[str] = []
        self._listener = listener

    def note(self, text: str) -> None:
        """Keep the note."""
        self.notes.append(text)
        self._listener.note(text)

    def reading(self, what: str, done: int, total: int | None) -> None:
        """Pass it on."""
        self._listener.reading(what, done, total)


class WithoutNotes(Listener):
    """Passes on how far long reading has come, and drops the notes: they were told before.

    Args:
        listener: is told.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def reading(self, what: str, done: int, total: int | None) -> None:
        """Pass it on."""
        self._listener.reading(what, done, total)
