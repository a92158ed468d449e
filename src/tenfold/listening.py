"""How long-running work reports notes and progress to the user."""

from __future__ import annotations


class Listener:
    """Receives notes and progress. Every method does nothing; override the ones you need."""

    def note(self, text: str) -> None:
        """Something the user should know: one sentence without a full stop."""

    def reading(self, what: str, done: int, total: int | None) -> None:
        """Progress of a long read or download, or of other work on the data.

        Args:
            what: what is being done, such as `reading images`.
            done: images or bytes so far.
            total: images or bytes in all; None while unknown.
        """


class Recorder(Listener):
    """Keeps the notes, and forwards everything.

    Args:
        listener: receives everything too.

    Attributes:
        notes: all notes, in order.
    """

    def __init__(self, listener: Listener) -> None:
        self.notes: list[str] = []
        self._listener = listener

    def note(self, text: str) -> None:
        """Keep and forward the note."""
        self.notes.append(text)
        self._listener.note(text)

    def reading(self, what: str, done: int, total: int | None) -> None:
        """Forward the progress."""
        self._listener.reading(what, done, total)


class WithoutNotes(Listener):
    """Forwards progress and drops the notes, for data whose notes were already shown.

    Args:
        listener: receives the progress.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def reading(self, what: str, done: int, total: int | None) -> None:
        """Forward the progress."""
        self._listener.reading(what, done, total)
