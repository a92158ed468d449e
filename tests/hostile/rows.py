"""A row of the tables of hostile files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bad_inputs.makers.files import Maker


@dataclass(frozen=True)
class Row:
    """One hostile file.

    Attributes:
        make: creates it in a folder.
        opens: Python code that opens it there, in a process that has imported the readers.
        bound: memory in MiB that this may take in addition.
        ends: how it ends: `refused`, with our error, or `accepted`, harmless as it is.
        says: what our error must contain.
        limits: limits in tenfold that are lowered for it, by their dotted names, because a file
            over the real one takes long to make.
    """

    make: Maker
    opens: str
    bound: int = 100
    ends: str = "refused"
    says: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)
