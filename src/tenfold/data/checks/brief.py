"""A brief look at the pixels before every training, for what makes its figures misleading."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from itertools import combinations

import numpy as np

from tenfold.data.checks.duplicates import equal_images
from tenfold.data.checks.findings import image_name
from tenfold.data.checks.oddities import is_flat
from tenfold.data.checks.shortcuts import find_shortcuts
from tenfold.data.dataset import ImageDataset, fingerprint_of
from tenfold.errors import FileRefusedError, StorageError, counted, listing
from tenfold.storage import (
    cache_folder,
    mark_used,
    read_text,
    room_for,
    write_text,
)

VERSION = 2
"""Raise this when the same images would get other notes."""

_LARGEST_NOTES = 2**20

_MOST_KEPT = 1000
"""Data sets whose notes are stored."""

_MOST_NAMED = 3


def brief_notes(parts: Sequence[ImageDataset]) -> list[str]:
    """Notes on equal images, images of one color, and shortcuts; `tenfold check` finds more.

    Args:
        parts: the splits as they were read, with the same classes.
    """
    train = next(part for part in parts if part.split == "train")
    return [
        *_on_equal_images(parts),
        *_on_blank_images(parts),
        *(finding.text for finding in find_shortcuts(train)),
    ]


def checked_before(parts: Sequence[ImageDataset]) -> list[str]:
    """The same notes, which are stored, so that the same data is not looked at again."""
    path = cache_folder() / "checked" / f"{_key(parts)}.json"
    with suppress(FileRefusedError, OSError, ValueError, RecursionError):
        found = json.loads(read_text(path, _LARGEST_NOTES))
        if isinstance(found, list) and all(isinstance(note, str) for note in found):
            mark_used(path)
            return found
    notes = brief_notes(parts)
    with suppress(StorageError, UnicodeError), room_for(path, most=_MOST_KEPT):
        write_text(path, json.dumps(notes))  # if that fails, they are looked at again
    return notes


def _key(parts: Sequence[ImageDataset]) -> str:
    """Differs for data that may get other notes."""
    digest = hashlib.sha256(f"{VERSION} {fingerprint_of(parts)}".encode())
    for part in parts:
        for texts in (part.names, part.originals and part.originals.formats):
            digest.update(json.dumps(texts).encode())
        if part.originals is not None:
            digest.update(part.originals.sizes.tobytes())
    return digest.hexdigest()


def _on_equal_images(parts: Sequence[ImageDataset]) -> list[str]:
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    index = np.concatenate([np.arange(len(part)) for part in parts])
    labels = np.concatenate([part.label_array for part in parts])
    groups = equal_images([part.image_array for part in parts])
    notes = []
    for one, other in combinations(range(len(parts)), 2):
        shared = sum(int((owner[g] == other).sum()) for g in groups if (owner[g] == one).any())
        if shared:
            of, them = parts[other], "training" if parts[one].split == "train" else parts[one].split
            notes.append(
                f"{shared:,} of the {counted(len(of), f'{of.split} image')} "
                f"{'is also a' if shared == 1 else 'are also'} {them} "
                f"{'image' if shared == 1 else 'images'}, pixel for pixel"
            )
    contradictory = [group for group in groups if len(set(labels[group].tolist())) > 1]
    if contradictory:

        def named(place: int) -> str:
            part = parts[owner[place]]
            return f"{image_name(part, int(index[place]))} ({part.classes[labels[place]]})"

        shown = [" = ".join(map(named, group[:_MOST_NAMED].tolist())) for group in contradictory]
        notes.append(
            f"{counted(len(contradictory), 'image')} {'is' if len(contradictory) == 1 else 'are'} "
            f"there under different labels: {listing(shown, _MOST_NAMED)}"
        )
    train = [part.split for part in parts].index("train")
    copies = sum(max(0, int((owner[group] == train).sum()) - 1) for group in groups)
    if copies:
        notes.append(
            f"{counted(copies, 'training image')} {'is a copy' if copies == 1 else 'are copies'} "
            "of others, pixel for pixel"
        )
    return notes


def _on_blank_images(parts: Sequence[ImageDataset]) -> list[str]:
    names = [
        image_name(part, index)
        for part in parts
        for index in np.flatnonzero(is_flat(part.image_array)).tolist()
    ]
    if not names:
        return []
    note = (
        f"{counted(len(names), 'image')} {'is' if len(names) == 1 else 'are'} of one color: "
        f"{listing(names, _MOST_NAMED)}"
    )
    return [note]
