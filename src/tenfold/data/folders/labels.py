"""The split, class and group of every image: from folders, a table, or the images' names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import compress

from tenfold.data.folders.bursts import burst_hint
from tenfold.data.folders.layout import (
    LEFT_OUT,
    Images,
    Places,
    find_places,
    says_nothing,
    split_of,
)
from tenfold.data.folders.name_labels import compiled, parts_of_names, places_in_names
from tenfold.data.folders.options import FolderOptions
from tenfold.data.folders.table_labels import ImageTable, Tables
from tenfold.errors import DataError, UsageError, counted, listing, quoted


def label_images(images: Images, options: FolderOptions) -> Places:
    """The split, class and group of every image.

    Raises:
        DataError: the images' places cannot be found.
        UsageError: the options do not fit the images.
    """
    if options.label_from and options.labels:
        raise UsageError(
            "labels are either in names or in a table, but --label-from and --labels were given",
            remedy="give one of them",
        )
    tables, used = Tables(images), list[ImageTable]()
    if options.label_from:
        places = places_in_names(images, compiled(options.label_from, "--label-from"))
    elif options.labels:
        places, used = tables.chosen(options)
    else:
        places, used = _places_unasked(images, tables)
    if options.group_by:
        places, of_groups = _grouped(images, places, tables, used, options.group_by)
        used = [*used, *of_groups]
    elif hint := burst_hint(images.names, places):
        places = replace(places, notes=[*places.notes, hint])
    return replace(places, tables=tuple(dict.fromkeys(each.table.name for each in used)))


def _places_unasked(images: Images, tables: Tables) -> tuple[Places, list[ImageTable]]:
    """By class folders, or else by a table beside the images; and the tables that it is from."""
    try:
        places = find_places(images.path, images.names, images.folders)
    except DataError as error:
        # Some images may be in class folders, and a table be about something else.
        folders = {name[-2] for name in images.names if len(name) > 1}
        has_classes = sum(not says_nothing(folder) for folder in folders) > 1
        labeled = tables.beside(only_sure=has_classes)
        if labeled is None:
            raise _with_reasons(error, tables.reasons) from error
        return labeled
    # Folders may hold the images of all classes, and not be classes.
    only_one = len(places.classes) < 2
    are_splits = len(set(map(split_of, places.classes)) - {""}) > 1
    names_a_class = not are_splits and not all(map(says_nothing, places.classes))
    if only_one or not names_a_class:
        labeled = tables.beside(only_sure=names_a_class or not only_one)
        if labeled is not None:
            return labeled
        if tables.reasons and only_one and not names_a_class:
            raise DataError(
                f"{images.path}: all images are in one folder, {quoted(places.classes)}, and no "
                f"table beside them has their labels ({listing(tables.reasons, 3)})",
                remedy="mend the table, or move the images into a folder for each class",
            )
    if note := tables.note(for_all=not only_one and names_a_class):
        places = replace(places, notes=[*places.notes, note])
    return places, []


def _grouped(
    images: Images, places: Places, tables: Tables, used: Sequence[ImageTable], group_by: str
) -> tuple[Places, list[ImageTable]]:
    """The places with groups, and the tables that these are from."""
    is_used = [place != LEFT_OUT for place in places.of_image]
    found = tables.groups(used, group_by)
    if found is None:
        pattern = compiled(group_by, "--group-by")
        try:
            cells = parts_of_names(images.path, pattern, images.names, "--group-by", is_used)
        except DataError as error:
            raise _with_reasons(error, tables.without_column(group_by, used)) from error
        of_groups: list[ImageTable] = []
    else:
        cells, of_groups = found
    notes = list(places.notes)
    if alone := list(compress(cells, is_used)).count(""):
        notes.append(
            f"{counted(alone, 'image')} without {group_by!r} in the table, so each is a group of "
            "its own"
        )
    groups = [cell or f"/{place}" for place, cell in enumerate(cells)]
    if len(set(compress(groups, is_used))) == 1 < sum(is_used):
        raise UsageError(
            f"--group-by {group_by!r} puts all {counted(sum(is_used), 'image')} into one group",
            remedy="choose what differs between things, and not between images of one thing",
        )
    return replace(places, groups=groups, notes=notes), of_groups


def _with_reasons(error: DataError, reasons: Sequence[str]) -> DataError:
    """The error of a layout, with why tables beside the images were not used."""
    if not reasons:
        return error
    return DataError(f"{error.message} ({listing(list(reasons), 3)})", remedy=error.remedy)
