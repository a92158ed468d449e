"""Labels and groups from the images' names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tenfold.data.folders.layout import LEFT_OUT, Images, Places, classes_of, lookalikes, same_name
from tenfold.data.folders.members import Parts
from tenfold.errors import DataError, UsageError, counted, listing


def places_in_names(images: Images, pattern: re.Pattern[str]) -> Places:
    """The split and class of every image, by a pattern that its name matches.

    Images of a test folder in which no name matches are left out.

    Args:
        images: the images.
        pattern: searched for in each image's name, with its folders; see `parts_of_names`.

    Raises:
        DataError: a name does not match.
    """
    splits, notes = images.splits, list(images.notes)
    matching = [pattern.search("/".join(parts)) is not None for parts in images.names]
    tested = [matches for matches, split in zip(matching, splits, strict=True) if split == "test"]
    used = [split != "" for split in splits]
    if tested and not any(tested) and any(matching):
        used = [split not in ("", "test") for split in splits]
        notes.append(
            f"{counted(len(tested), 'image')} of the test folder have no label in their names, so "
            "they were left out; `tenfold predict` classifies them"
        )
    labels = parts_of_names(images.path, pattern, images.names, "--label-from", used)
    found = {label for label, is_used in zip(labels, used, strict=True) if is_used}
    of_image = [
        (split, same_name(label)) if is_used else LEFT_OUT
        for split, label, is_used in zip(splits, labels, used, strict=True)
    ]
    return Places(classes_of(images.path, found), of_image, notes + lookalikes(found))


def parts_of_names(
    path: Path,
    pattern: re.Pattern[str],
    images: Sequence[Parts],
    option: str,
    used: Sequence[bool],
) -> list[str]:
    """What a pattern finds in every name: its group `label` or `group`, its first, or all of it.

    For images that are not used, it is empty.

    Raises:
        DataError: it finds nothing in the name of a used image; the option is named.
    """
    named = ("group", "label") if option == "--group-by" else ("label", "group")
    wanted = next((name for name in named if name in pattern.groupindex), None)
    group: str | int = wanted or min(pattern.groups, 1)
    found, others = [], []
    for parts, is_used in zip(images, used, strict=True):
        name = "/".join(parts)
        match = pattern.search(name) if is_used else None
        text = match[group] if match else None
        if is_used and not text:
            others.append(name)
        found.append(text or "")
    if others:
        raise DataError(
            f"{path}: {option} {pattern.pattern!r} finds nothing in "
            f"{len(others):,} of {counted(sum(used), 'name')}: {listing(sorted(others), 5)}",
            remedy="change the expression, or move these images elsewhere",
        )
    return found


def compiled(text: str, option: str) -> re.Pattern[str]:
    """A regular expression from the command line.

    Raises:
        UsageError: it is not one, or it does not say which of its groups counts.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(
            f"{option} {text!r}: not a regular expression: {error}",
            remedy=rf"write, for example, {option} '([^/\d]+)_\d+'",
        ) from error
    wanted = "group" if option == "--group-by" else "label"
    if pattern.groups > 1 and not {"label", "group"} & pattern.groupindex.keys():
        raise UsageError(
            f"{option} {text!r}: it has {pattern.groups} groups, and none is named {wanted}",
            remedy=f"write (?P<{wanted}>...) for the one that counts, or (?:...) for the others",
        )
    return pattern
