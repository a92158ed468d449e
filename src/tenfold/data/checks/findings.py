"""What checks find in a data set, and the kinds of findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tenfold.data.dataset import ImageDataset
from tenfold.errors import encodable


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        title: a heading.
        meaning: what it means, and what to do about it.
    """

    title: str
    meaning: str


KINDS: Mapping[str, Kind] = {
    "unreadable": Kind(
        "Files that cannot be read",
        "Repair or delete them; `--skip-bad` leaves them out.",
    ),
    "empty-class": Kind(
        "Classes without images",
        "Add images, or remove the folder.",
    ),
    "similar-names": Kind(
        "Classes whose names are nearly the same",
        "If two names mean the same class, move the images of one to the other.",
    ),
    "imbalance": Kind(
        "Classes of very different sizes",
        "A model sees little of a rare class. Judge it by the balanced accuracy, and try "
        "`--set class_weights=balanced`.",
    ),
    "two-labels": Kind(
        "The same image under different labels",
        "At least one of the labels is wrong: correct it, or delete both images.",
    ),
    "across-splits": Kind(
        "The same image in different splits",
        "What is tested has been trained on, so the accuracy is too high. Delete the image from "
        "one of the splits.",
    ),
    "duplicates": Kind(
        "The same image several times",
        "It counts several times. Where tenfold makes the splits, all copies are in one of them.",
    ),
    "near-duplicates": Kind(
        "Nearly the same image",
        "Saved again, scaled, moved by a pixel, brightened, or taken a moment later. Between "
        "splits, they make the accuracy too high; `--group-by` keeps together what names show to "
        "belong together.",
    ),
    "wrong-label": Kind(
        "Labels that may be wrong",
        "Models that were not trained on these images find another class more probable. The most "
        "doubtful labels come first.",
    ),
    "blank": Kind(
        "Images of one color",
        "There is nothing to recognize; the exposure or the export may have failed.",
    ),
    "tiny": Kind(
        "Very small images",
        "They were enlarged, and are blurred.",
    ),
    "extreme": Kind(
        "Images unlike the others",
        "Unusually dark, bright, flat, or long. They may have been taken or cut out wrongly.",
    ),
    "shortcut": Kind(
        "Shortcuts",
        "Something other than what is shown gives the class away, and a model may learn only "
        "that. Make it the same for all classes.",
    ),
}
"""The kinds of findings, those that matter most first."""


@dataclass(frozen=True)
class Located:
    """An image that a finding is about.

    Attributes:
        name: of its file; without files, its split and number, as in `train/12`.
        split: that it is in.
        label: its class.
        index: in its split; None if it could not be read.
    """

    name: str
    split: str
    label: str
    index: int | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that is or may be wrong.

    Attributes:
        kind: one of `KINDS`.
        text: what was found; a sentence without a full stop.
        images: that it is about.
        delete: of every image, whether deleting it would be safe.
        score: how sure it is, the lowest first: of near duplicates, their distance (see
            `doctor.near_duplicates.Pairs`); of a wrong label, its probability; of an odd image, how
            far it is from the others. None for what is certain.
        proposed: the class that the first image may be of; empty for none.
    """

    kind: str
    text: str
    images: tuple[Located, ...] = ()
    delete: tuple[bool, ...] = ()
    score: float | None = None
    proposed: str = ""


def located(part: ImageDataset, index: int) -> Located:
    """One of a split's images."""
    name = image_name(part, index)
    return Located(name, part.split, part.classes[part.label_array[index]], index)


def image_name(part: ImageDataset, index: int) -> str:
    """The name of an image's file, as a table can have it; without files, its split and number."""
    return f"{part.split}/{index}" if part.names is None else encodable(part.names[index])
